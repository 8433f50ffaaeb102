#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three Chromium pages carry each other through an outage of all endpoints: see peers_browser.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/peers_browser.py" "$@"
