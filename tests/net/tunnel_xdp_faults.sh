#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Owners of a tunnel that die, are cut off or stall are left within 5 s (by the probe, or when their lease ends); a
# registry that is silent, a restart of the agent, a reload and an agent that dies change nothing.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_lib"

make_net
start_registry || { echo "not ok 1 - a registry"; exit 1; }
tunnel app 1 "80"
for node in a b c; do start_agent $node && start_edge $node || { echo "not ok 1 - $node starts"; tail -n 20 $work/*$node.log; exit 1; }; done
edge a attach app 1 5000
until_ok 5 owned c app a
edge b attach app 1 5000
both() { [ "$(ask c status | jq -c '.tunnels[0].attached | sort')" = '["a","b"]' ]; }
until_ok 5 both
is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "a answers, b could"
within() { [ "$(echo "$1 < $2" | bc)" = 1 ]; }
answers() { [ "$(once 198.19.0.1 80)" = "$1 198.19.0.1:80" ]; }

# ---- the edge's process dies ----
kill_edge a
took=$(seconds answers b)
within "$took" 5
check $? "a's edge was killed: b answers after $took s"
is "$(once 2001:db8:7::1 80)" "b [2001:db8:7::1]:80" "also by IPv6"
by a
took=$(seconds answers b)
within "$took" 5
check $? "packets that reach a, whose edge is dead, are led to b too: after $took s"
by c
start_edge a && edge a attach app 1 5000
until_ok 5 both
is "$(owner c app)" b "a is back: b stays"

# ---- the node is cut off ----
ip link set p-b down
took=$(seconds answers a)
within "$took" 5
check $? "b's link went down: a answers after $took s"
[ "$(ask c status | jq -r '.edges[] | select(.name == "b") | .alive')" = false ]
check $? "b is seen dead: $(ask c status | jq -r '.edges[] | select(.name == "b") | .check')"
ip link set p-b up
back() { [ "$(ask c status | jq -r '.edges[] | select(.name == "b") | .alive')" = true ]; }
until_ok 15 back
check $? "and alive again"
until_ok 5 both

# ---- the edge stalls: its port still answers, its lease ends ----
kill -STOP "${EDGE_PID[a]}"
took=$(seconds owned c app b)
within "$took" 8
check $? "a is stopped (SIGSTOP): b answers when its lease has ended, after $took s"
is "$(once 198.19.0.1 80)" "b 198.19.0.1:80" "b does"
kill -CONT "${EDGE_PID[a]}"
until_ok 15 both
is "$(owner c app)" b "a goes on: b stays"

# ---- reload, registry away, agent restarted ----
hold one 198.19.0.1 80
is "$(say one)" "b 198.19.0.1:80" "a connection to b"
sed -i 's/drain: 1s/drain: 3s/' $work/c.yaml
is "$(ask c reload | jq .ok)" true "c is reloaded"
is "$(say one) $(once 198.19.0.1 80)" "b 198.19.0.1:80 b 198.19.0.1:80" "nothing changes"
kill -9 $registry_pid; wait $registry_pid 2>/dev/null
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
is "$(say one) $(once 198.19.0.1 80)" "b 198.19.0.1:80 b 198.19.0.1:80" "the registry is killed, the agent of c has ended"
start_agent c
silent() { [ "$(ask c status | jq -r '.registry')" = silent ]; }
until_ok 15 silent
is "$(ask c status | jq -c '.tunnels | length')" 0 "it is started again and hears nothing"
is "$(say one) $(once 198.19.0.1 80)" "b 198.19.0.1:80 b 198.19.0.1:80" "what the maps hold goes on"
is "$(in_net b ip route get 198.19.0.200 | head -n 1 | cut -d' ' -f1) $(in_net b ip -6 route get 2001:db8:7::99 | head -n 1 | cut -d' ' -f1)" "local local" "the prefixes are local on each node"
kill "${AGENT_PID[b]}"; wait "${AGENT_PID[b]}" 2>/dev/null
start_agent b
given() { [ "$(ask b status | jq .listener.there)" = true ]; }
until_ok 5 given
check $? "b's agent is restarted as well: the edge hands its listener over again"
is "$(say one) $(once 198.19.0.1 80)" "b 198.19.0.1:80 b 198.19.0.1:80" "and goes on answering"
kill_edge b
# c and b know nothing of edges, but a's agent does: it probes without a registry
by a
took=$(seconds answers a)
within "$took" 5
check $? "b's edge is killed while the registry is silent: a answers after $took s where the agent knew both"
start_registry
by c
took=$(seconds answers a)
[ "$took" != never ]
check $? "the registry is back: c leads to a after $took s"

# ---- what goes while nobody looks ----
tunnel other 2 80
until_ok 5 acked c "$(revision_of tunnels/other)"
ports() { bpftool -j map dump pinned /sys/fs/bpf/c/tunnel_ports 2>/dev/null | jq length; }
is "$(ports)" 4 "two tunnels, four ports of both families"
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
delete tunnels/other
is "$(ports)" 4 "one is removed while c's agent is away"
start_agent c
one_left() { [ "$(ports)" = 2 ]; }
until_ok 10 one_left
check $? "the next start takes it away"
is "$(once 198.19.0.2 80) $(once 198.19.0.1 80)" "refused a 198.19.0.1:80" "and keeps the other"
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
sed '/tunnels:/d' $work/c.yaml >$work/without.yaml
nsenter --net=/run/netns/c -- $build/bin/weir-agent -c $work/without.yaml >>$work/c.log 2>&1 &
AGENT_PID[c]=$!
until_ok 10 ask c status >/dev/null
kill -0 "${AGENT_PID[c]}"
check $? "an agent without tunnels: in its configuration"
is "$(bpftool -j map dump pinned /sys/fs/bpf/c/services 2>/dev/null | jq length) $(ls /sys/fs/bpf/c | grep -c listen)" "0 0" "takes all of it away"
is "$(in_net c ip route show table local proto 119)" "" "the route, too"
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
start_agent c
until_ok 10 owned c app a
is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "and comes back with it"

# ---- taking it down ----
kill "${AGENT_PID[c]}"; wait "${AGENT_PID[c]}" 2>/dev/null
in_net c $build/bin/weir-agent -c $work/c.yaml --detach >$work/detach
check $? "weir-agent --detach: $(tr '\n' ' ' <$work/detach)"
is "$(in_net c ip route show table local proto 119; in_net c ip -6 route show table local proto 119; ls /sys/fs/bpf/c 2>/dev/null)" "" "no route, no pin is left"
in_net c python3 -m http.server -b 0.0.0.0 9000 >/dev/null 2>&1 &
in_net c ip addr add 198.19.9.9/32 dev lo
until_ok 5 in_net client curl -so /dev/null http://198.19.9.9:9000/
check $? "nor the program that refused"
finish
