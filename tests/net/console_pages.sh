#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The console's pages in Chromium against a real gateway: see console_pages.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/console_pages.py"
