#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Signing in to the console by a real OpenID provider, in Chromium: see console_signon.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
# Before the test is in a namespace, from which no registry is seen.
NODE_MODULES=${NODE_MODULES:-$("$(dirname "$0")/../npm/install")} || exit 77
export NODE_MODULES
exec $py "$(dirname "$0")/console_signon.py"
