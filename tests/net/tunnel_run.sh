#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir tunnel enroll and run as a newcomer types them, right and wrong, and bytes of ports through them: see tunnel_run.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_run.py"
