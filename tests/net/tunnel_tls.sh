#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What sslscan and openssl say of the edge's two TLS listeners: see tunnel_tls.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_tls.py"
