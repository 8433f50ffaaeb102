#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An origin among edges made of Python, which refuse, drain, hang, die and come back: see tunnel_origin.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_origin.py"
