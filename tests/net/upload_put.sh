#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# PUT, forms, replacing, versions, full disks and endpoints that are away: see upload_put.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/upload_put.py"
