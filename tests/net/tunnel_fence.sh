#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Claims, quarantines, tokens by the clock, and edges that wake up too late: see tunnel_fence.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_fence.py"
