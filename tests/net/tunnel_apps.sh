#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Real programs through a tunnel: curl, nghttp, h2load, WebSocket, gRPC, iperf3, PROXY, TLS targets: see tunnel_apps.py.
py=/usr/bin/python3; [ -x $py ] || { echo "skip: python3 is not installed"; exit 77; }
exec $py "$(dirname "$0")/tunnel_apps.py"
