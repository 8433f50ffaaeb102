#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Signing in to the console by a real OpenID provider, in Chromium: see console_signon.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/console_signon.py"
