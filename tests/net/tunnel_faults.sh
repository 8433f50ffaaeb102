#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Faults of tunnels, with counts: see tunnel_faults.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
exec python3 "$(dirname "$0")/tunnel_faults.py"
