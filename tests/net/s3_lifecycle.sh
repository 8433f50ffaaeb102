#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lifecycle rules of a bucket are done: see s3_lifecycle.py. Needs root. Exit: 0 pass, 1 fail, 77 skip.
exec python3 "$(dirname "$0")/s3_lifecycle.py"
