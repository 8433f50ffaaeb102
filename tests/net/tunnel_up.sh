#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Roles of tunnels restarted under `weir up`, under load: see tunnel_up.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_up.py"
