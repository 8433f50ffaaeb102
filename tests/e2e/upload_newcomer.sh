#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The five minutes of a newcomer, in Chromium with a real OpenID provider: see upload_newcomer.py. NEWCOMER_MB=200 is the full size.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
# Before the test is in a namespace, from which no registry is seen.
NODE_MODULES=${NODE_MODULES:-$("$(dirname "$0")/../npm/install")} || exit 77
export NODE_MODULES
exec $py "$(dirname "$0")/upload_newcomer.py"
