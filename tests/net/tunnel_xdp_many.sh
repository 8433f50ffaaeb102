#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 1,000 tunnels: how long until every node routes them, until they leave an edge that died, and until a restarted
# agent has them again. Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_lib"

N=1000
make_net
start_registry || { echo "not ok 1 - a registry"; exit 1; }
for node in a c; do start_agent $node && start_edge $node || { echo "not ok 1 - $node starts"; tail -n 20 $work/*$node.log; exit 1; }; done
within() { [ "$(echo "$1 < $2" | bc)" = 1 ]; }
ours() { ask c status | jq "[.tunnels[] | select(.owner == \"$1\")] | length"; }
all_of() { [ "$(ours "$1")" = $N ]; }

begun=$(date +%s%N)
echo "many $N" >&"${EDGE_IN[a]}"
read -rt 30 -u "${EDGE_OUT[a]}" line
check $? "$N tunnels are written, attached to a: $((($(date +%s%N) - begun) / 1000000)) ms"
took=$(seconds acked c "$(revision_of tunnels/m$((N - 1)))")
within "$took" 3
check $? "c acknowledges the last one after another $took s"
until_ok 10 all_of a
check $? "all of c's lead to a"
is "$(once 198.19.16.0 80) $(once 198.19.19.231 443) $(once 2001:db8:7::1:3e7 80)" \
	"a 198.19.16.0:80 a 198.19.19.231:443 a [2001:db8:7::1:3e7]:80" "the first and the last answer"

# Another edge holds all of them, the first dies.
echo "many $N" >&"${EDGE_IN[c]}"
read -rt 30 -u "${EDGE_OUT[c]}" line
took=$(seconds all_of c)
check $? "c holds them itself: all are its own after $took s"
kill_edge c
took=$(seconds all_of a)
within "$took" 5
check $? "c's edge is killed: all are a's after $took s"
is "$(once 198.19.19.231 443)" "a 198.19.19.231:443" "the last answers from there"

# A restart adopts.
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
begun=$(date +%s%N)
start_agent c
took=$(seconds all_of a)
check $? "c's agent is started again: it knows all after $(echo "scale=2; ($(date +%s%N) - $begun) / 1000000000" | bc) s"
is "$(once 198.19.19.231 443)" "a 198.19.19.231:443" "and leads as before"
cpu() { # hundredths of a second, of the agent and its loader
	local loader; read -r loader _ <"/proc/${AGENT_PID[c]}/task/${AGENT_PID[c]}/children"
	awk '{ sum += $14 + $15 } END { print sum }' "/proc/${AGENT_PID[c]}/stat" "/proc/$loader/stat"
}
before=$(cpu)
read -rt 5 <> <(:) || :
used=$((($(cpu) - before) * 2))
[ $used -le 100 ]
check $? "at rest the agent takes $used ms of CPU a second, loader included"
finish
