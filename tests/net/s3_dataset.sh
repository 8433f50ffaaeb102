#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Datasets by S3: see s3_dataset.py. Needs root. Exit: 0 pass, 1 fail, 77 skip.
exec python3 "$(dirname "$0")/s3_dataset.py"
