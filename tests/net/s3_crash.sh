#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 40 SIGKILLs of endpoints and gateway under writers of S3: see s3_crash.py (200 in tests/nightly/s3_crash).
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/s3_crash.py"
