#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may attach as an origin, and what an edge does that was away: see tunnel_attach.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_attach.py"
