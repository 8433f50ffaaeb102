#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Local users sign in by password, without a provider: see identity_password.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/identity_password.py"
