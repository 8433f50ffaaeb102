#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Chromium by HTTPS: a page behind a tunnel, and the console behind the gateway: see tunnel_browser.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_browser.py"
