#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Buckets, folders, keys and the browse page through a gateway: see buckets.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/buckets.py"
