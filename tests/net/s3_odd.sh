#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# boto3 and curl with odd keys and large objects: see s3_odd.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/s3_odd.py"
