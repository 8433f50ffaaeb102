#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What S3 answers to boto3, call by call: see s3_calls.py and s3_calls.table.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/s3_calls.py"
