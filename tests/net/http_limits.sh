#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a stranger may use up: 500 connections that trickle their heads, uploads that are cut or refused, more
# connections than one address may have. The server serves others meanwhile, and forgets all of it.
. "$(dirname "$0")/http_serve"
ulimit -n 4096
serve HEADER_S=2 IDLE_S=4 PER_ADDRESS=600
python3 tests/net/http_limits.py 127.0.0.1 8080 "$pid" "$folder"
rc=$?
stop_well || rc=1
exit $rc
