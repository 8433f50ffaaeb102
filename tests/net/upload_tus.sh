#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The tus protocol, spoken raw: see upload_tus.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/upload_tus.py"
