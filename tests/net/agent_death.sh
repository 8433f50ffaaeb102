#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Traffic through the ring; a backend that dies leaves it in time; kill -9 of the agent costs nothing, and its
# restart adopts; a drained agent's packet path goes away by --detach only.
. "$(dirname "$0")/agent_lib"

make_net
for b in 1 2 3; do start_backend $b; done
start_edge
until_ok 10 healthy 3
check $? "three backends are up"
until_ok 5 more b1 300
check $? "each has a third of the slots: $(slots b1) $(slots b2) $(slots b3)"
out=$(client load $vip:80 50 2)
[ "$out" = "ok 100 failed 0" ]
check $? "100 connections through the ring: $out"

# kill -9 while connections are open: nobody notices.
touch $work/go
client hold $vip:80 60 $work/go >$work/held &
held=$!
client load $vip:80 50 5 >$work/load &
load=$!
kill -9 "$edge_pid"
wait "$edge_pid" 2>/dev/null
wait $load
[ "$(cat $work/load)" = "ok 250 failed 0" ]
check $? "250 new connections while the agent is dead: $(cat $work/load)"
before=$(owners edge)
run_edge
until_ok 10 healthy 3
check $? "started again"
changed=$(jq -n --argjson a "$before" --argjson b "$(owners edge)" '[range(1021) | select($a[.] != $b[.])] | length')
[ "$changed" -le 100 ]
check $? "what was pinned is adopted: $changed of 1,021 slots differ (the learner may have moved some, 5% a second)"

# A backend dies: out within fall x interval (and its jitter, and a tick).
kill -9 "$(cat $work/server3.pid)"
begun=$(date +%s%N)
until_ok 5 fewer b3 1
check $? "a dead backend has no slots after $((($(date +%s%N) - begun) / 1000000)) ms (fall 3 x 300 ms, and a tick)"
[ $((($(date +%s%N) - begun) / 1000000)) -lt 2800 ]
check $? "that was in time"
out=$(client load $vip:80 50 2)
[ "$out" = "ok 100 failed 0" ]
check $? "new connections go to the others: $out"
rm $work/go
wait $held
failed=$(awk '{ print $4 }' $work/held)
[ "$failed" -le 35 ]
check $? "of 60 open connections only those of the dead backend broke: $(cat $work/held)"
start_server 3
until_ok 30 more b3 150
check $? "back, slowly: $(slots b3) slots, why: $(backend b3 why)"

kill -TERM "$edge_pid"
wait "$edge_pid"
check $? "SIGTERM: exit 0"
out=$(client load $vip:80 50 1)
[ "$out" = "ok 50 failed 0" ]
check $? "traffic goes on without an agent: $out"
in_net edge "$agent" -c $work/edge.yaml --detach >$work/detach.log 2>&1
check $? "--detach"
[ -z "$(ls /sys/fs/bpf/edge 2>/dev/null)" ]
check $? "nothing of it is pinned any more"
finish
