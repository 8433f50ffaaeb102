#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Several origins of one tunnel share its requests: see tunnel_balance.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_balance.py"
