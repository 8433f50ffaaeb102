#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# One sign-on by a real OpenID provider: see identity_oidc.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/identity_oidc.py"
