#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The edge in front of the storage gateway: see tunnel_gateway.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_gateway.py"
