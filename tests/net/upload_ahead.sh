#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Clients that send faster than their files are checked: see upload_ahead.py.
exec "$(dirname "$0")/upload_ahead.py"
