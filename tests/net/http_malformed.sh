#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Malformed requests are refused, end their connection, and never become a second request.
. "$(dirname "$0")/http_serve"
serve
python3 tests/net/http_malformed.py 127.0.0.1 8080
rc=$?
stop_well || rc=1
exit $rc
