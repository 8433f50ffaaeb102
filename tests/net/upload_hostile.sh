#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Uploads of somebody who means harm, through a real gateway and endpoint: see upload_hostile.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/upload_hostile.py" "$@"
