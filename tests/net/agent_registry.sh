#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two agents and a registry: one publishes, both have the same ring; the other takes over when it dies; a drain
# empties a backend; a silent registry changes nothing, but a dead backend still goes; a reload adds and removes.
. "$(dirname "$0")/agent_lib"

with_registry
publisher() { ask "$1" status | jq -e '.services[0].publisher' >/dev/null; }
one_publisher() { [ "$( (publisher edge && echo 1; publisher edge2 && echo 2) | wc -l)" = 1 ]; }
counts() { ask "$1" status | jq -c '.services[0] | [.generation, .backends[].slots]'; }
same_ring() { [ "$(counts edge)" = "$(counts edge2)" ] && [ "$(counts edge | jq '.[0] > 0')" = true ]; }
total() { [ "$(ask $edge status | jq -r '.services | length')" = "$1" ]; }

start_registry
make_net
make_node edge2 2
for b in 1 2 3; do start_backend $b; done
start_edge
first_pid=$edge_pid
edge=edge2 && start_edge && edge=edge
until_ok 15 one_publisher && until_ok 10 same_ring
check $? "one of two agents publishes, both are at the same generation: $(counts edge)"
[ "$(owners edge)" = "$(owners edge2)" ] && [ "$(owners edge | jq 'map(select(. == 0)) | length')" = 0 ]
check $? "slot by slot the same ring, and none is empty"
get rates/files | jq -e '.slots == 1021 and (.rates | length) == 3 and .generation > 0' >/dev/null
check $? "rates/files: $(get rates/files)"
get services/files | jq -e '.site == "a" and .addresses == ["198.18.1.100:80/tcp"] and (.backends | length) == 3' >/dev/null
check $? "services/files: $(get services/files)"
seen() { get capacity/files | jq -e '.healthy == 3 and .total == 3 and .site == "a"' >/dev/null; }
until_ok 10 seen
check $? "capacity/files: $(get capacity/files)"
[ "$(get members/agent/edge | jq -r '.services[0]')" = files ]
check $? "members/agent/edge: $(get members/agent/edge)"

put drain/b3 '{"by":"test","since":0}'
until_ok 5 fewer b3 1
check $? "a drained backend has no slots: $(slots b3), why: $(backend b3 why)"
until_ok 5 same_ring
check $? "on both agents"
out=$(client load $vip:80 40 1)
[ "$out" = "ok 40 failed 0" ]
check $? "traffic meanwhile: $out"
delete drain/b3
until_ok 60 more b3 200
check $? "back from draining: $(slots b3)"

# The registry falls silent: nothing changes; then a backend dies.
before=$(owners edge)
kill -9 $registry_pid
silent() { [ "$(ask edge status | jq -r .registry)" = silent ]; }
until_ok 15 silent
[ "$(jq -n --argjson a "$before" --argjson b "$(owners edge)" '[range(1021) | select($a[.] != $b[.])] | length')" -lt 200 ]
check $? "the registry is silent: the ring stays"
# The status tells a lost connection at once; a publisher holds still after 5 s without a word, when the metric is 0.
holds_still() { in_net "$1" curl -s http://127.0.0.1:7001/_/metrics | grep -qE '^[a-z_]*registry_reachable(\{[^}]*\})? 0'; }
until_ok 15 holds_still edge && until_ok 15 holds_still edge2
check $? "both agents hold still"
# It comes to rest in a few steps of two or three slots each.
at_rest() { local was; was=$(counts edge)$(counts edge2); sleep 2.5; [ "$was" = "$(counts edge)$(counts edge2)" ]; }
until_ok 20 at_rest
later() { [ "$(ask edge status | jq .uptime_s)" -ge $((now + 5)) ]; }
before=$(owners edge)$(owners edge2) now=$(ask edge status | jq .uptime_s)
until_ok 10 later && [ "$before" = "$(owners edge)$(owners edge2)" ]
check $? "nor does a publisher move what the other could not follow"
kill -9 "$(cat $work/server1.pid)"
until_ok 20 fewer b1 1
check $? "a backend that dies meanwhile is taken out"
gone2() { [ "$(ask edge2 status | jq -r '.services[0].backends[0].slots')" = 0 ]; }
until_ok 20 gone2
check $? "by the other agent too"
start_server 1
start_registry
until_ok 30 one_publisher && until_ok 30 same_ring
check $? "the registry is back: one publisher, one ring"

# The publisher dies: the other takes over.
if publisher edge; then dead=edge left=edge2 pid=$first_pid; else dead=edge2 left=edge pid=$edge_pid; fi
kill -9 "$pid"
until_ok 20 publisher $left
check $? "$dead was killed: $left publishes"
[ $left = edge ] || edge=$left

# A reload: another service, a backend less; what is open stays.
touch $work/go
[ $left = edge ] && { client hold $vip:80 40 $work/go >$work/held & held=$!; }
MORE='    - {name: measured, slots: 101, check: {type: http, path: /_/health, port: 80, interval: 300ms, timeout: 200ms}, backends: [{name: b1, address: 198.18.1.11}]}'
BACKENDS="b1 b2" edge_config
ask $edge reload | jq -e .ok >/dev/null
check $? "reload"
until_ok 10 total 2
check $? "there is a second service, measured only"
generation() { [ "$(get rates/measured | jq .generation)" -ge 1 ]; }
until_ok 10 generation
check $? "rates/measured: $(get rates/measured)"
[ -z "$(backend b3 name)" ]
check $? "and b3 is gone"
rm $work/go
if [ $left = edge ]; then
	wait $held
	[ "$(awk '{ print $4 }' $work/held)" = 0 ]
	check $? "40 open connections: $(cat $work/held)"
fi
sed -i 's/slots: 1021/slots: many/' $work/$edge.yaml
ask $edge reload | jq -r .error | grep -q "slots"
check $? "a broken file is refused: $(ask $edge reload | jq -r .error | head -n 1)"
out=$(in_net $edge curl -s http://127.0.0.1:7001/_/metrics | grep -c '^weir_backend_applied_ratio{service="files"')
[ "$out" -ge 2 ]
check $? "metrics: $out backends"
finish
