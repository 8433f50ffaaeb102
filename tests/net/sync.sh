#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir sync: both directions, with kills of client, gateway and endpoint: see sync.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/sync.py"
