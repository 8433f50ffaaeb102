#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The life of a tunnel from the command line: see tunnel_control.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_control.py"
