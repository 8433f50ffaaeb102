#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `weir up` keeps a role's listeners while the role is away: a client that connects meanwhile waits in the
# backlog and is served by the next process; an orderly end is followed by a start at once.
set -u
top=${WEIR_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
dir=$(mktemp -d) n=0 failed=0 up=
trap '[ -n "$up" ] && kill "$up" 2>/dev/null && wait "$up"; rm -rf "$dir"' EXIT
[ -x "$top/build/bin/weir" ] || { echo "skip: build/bin/weir is missing; run make"; exit 77; }
command -v python3 >/dev/null || { echo "skip: needs python3"; exit 77; }

check() { # WHAT COMMAND…
	n=$((n + 1))
	local what=$1; shift
	if "$@"; then echo "ok $n - $what"; else failed=1; echo "not ok $n - $what"; sed 's/^/# /' "$dir/log"; fi
}
# Waits until a line of the log matches for the COUNTth time (5 s).
said() { timeout 5 sh -c "until [ \$(grep -c '$1' '$dir/log') -ge $2 ]; do sleep 0.02; done"; }
ask() { timeout 5 bash -c "exec 3<>/dev/tcp/127.0.0.1/$(cat "$dir/port") && cat <&3"; }
pid_of() { echo "${1%% *}"; }

cp "$top/build/bin/weir" "$dir/weir" && cp "$top/tests/net/up_child.py" "$dir/weir-tunnel" || exit 1
printf 'run: run\nstate: state\nedge: {listen: ["127.0.0.1:1"]}\n' >"$dir/weir.yaml"
"$dir/weir" up -c "$dir/weir.yaml" 2>"$dir/log" &
up=$!
check "the role starts" said "edge is ready" 1
first=$(ask)
check "it was given its mode, and nothing else" [ "${first#* }" = "edge nothing" ]

# It must have run for a second to be started without a pause.
timeout 5 sh -c "until [ \$(ps -o etimes= -p $(pid_of "$first")) -ge 2 ]; do sleep 0.1; done"
mkfifo "$dir/gate"
kill -TERM "$(pid_of "$first")"
check "an orderly end is followed by a start at once" said "ended with code 0; it starts again$" 1
ask >"$dir/answer" &
asking=$!
check "the next process is ready" said "edge is ready" 2
: >"$dir/gate"
rm "$dir/gate"
check "a client that came in between is not refused" wait $asking
second=$(cat "$dir/answer")
check "it is served by the next process" [ "$(pid_of "$second")" != "$(pid_of "$first")" ]
check "which has both descriptors, each once, by their names" [ "${second#* }" = "edge other:front" ]

kill -KILL "$(pid_of "$second")"
check "a killed one is started again after a pause" said "signal 9 (Killed); it starts again in 0.2 s" 1
check "and is ready again" said "edge is ready" 3
third=$(ask)
check "its listener outlived it too" [ "${third#* }" = "edge other:front" ]

port=$(cat "$dir/port")
kill -USR1 "$(pid_of "$third")"
kill -TERM "$(pid_of "$third")"
check "one that had its listener forgotten starts again" said "edge is ready" 4
fourth=$(ask)
check "without that listener" [ "${fourth#* }" = "edge other" ]
check "which is elsewhere now" [ "$port" != "$(cat "$dir/port")" ]

fifth=$(ask)
kill -USR2 "$(pid_of "$fifth")"
check "one that drains has its successor at once" said "edge ends; its successor starts" 1
check "which is ready" said "edge is ready" 5
sixth=$(ask)
check "and serves" [ "$(pid_of "$sixth")" != "$(pid_of "$fifth")" ]
check "while the old one still runs" kill -0 "$(pid_of "$fifth")"
: >"$dir/over"
check "until it has drained" said "edge ended with code 0 after its successor took over" 1
kill -0 "$(pid_of "$sixth")"
check "without another start" [ $? = 0 ]
kill -TERM "$up"
wait "$up"
check "weir up ends with 0" [ $? = 0 ]
up=
check "and keeps no listener" sh -c "! timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/$(cat "$dir/port")' 2>/dev/null"
echo "1..$n"
exit $failed
