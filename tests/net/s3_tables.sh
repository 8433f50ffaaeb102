#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Parquet and CSV in a bucket that anybody may read: see s3_tables.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/s3_tables.py"
