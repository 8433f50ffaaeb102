#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Small uploads that are stored and named without a worker (a lone endpoint), and are refused a name: more at once than may wait for
# a worker hear what is so, and nothing of them stays. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11
start_registry || { check 1 "registry"; finish; }
ulimit -n 20000
sed -i 's/^endpoint:/endpoint:\n  limits: {connections: 8000}/' "$work/a1.yaml"
start a1 && add_user
check $? "an endpoint and a user"
got=$(HOST=${addr[a1]} python3 "$(dirname "$0")/store_late.py" 2000)
[ "$got" = 412:2000 ]; check $? "2,000 at once are refused by their condition, none for want of a worker: $got"
stop TERM a1; check $? "the endpoint stops"
"$BIN/weir-endpoint" fsck -c "$work/a1.yaml" --json >"$work/fsck" 2>/dev/null
[ "$(jq '[.findings[] | select(.what == "unnamed")] | length' "$work/fsck")" = 0 ] && [ "$(jq .versions "$work/fsck")" = 1 ]
check $? "none left its data: $(jq -c '[.versions, .names, (.findings | length)]' "$work/fsck")"
finish
