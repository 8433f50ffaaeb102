#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An HTML form in Chromium: see upload_form.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
command -v chromium >/dev/null || { echo "skip: chromium is not installed"; exit 77; }
exec python3 "$(dirname "$0")/upload_form.py"
