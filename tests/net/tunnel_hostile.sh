#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What strangers try at the edge, under address and undefined behaviour sanitizers: see tunnel_hostile.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
TUNNEL_SAN=address,undefined exec $py "$(dirname "$0")/tunnel_hostile.py"
