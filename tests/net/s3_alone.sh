#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An endpoint whose second copy is gone: see s3_alone.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/s3_alone.py"
