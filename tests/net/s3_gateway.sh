#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# S3 through a gateway: see s3_gateway.py. Needs root. Exit: 0 pass, 1 fail, 77 skip.
exec python3 "$(dirname "$0")/s3_gateway.py"
