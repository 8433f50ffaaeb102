#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The filter with a real agent: lists of files and of the configuration, by hand, wrong lines, a reload, a restart,
# limits, a million networks while connections are made, metrics.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/agent_lib"
command -v curl >/dev/null || { echo "skip: curl is not installed"; exit 77; }
make -s ${AGENT_SAN:+SAN=$AGENT_SAN} "$build/bin/weir" >&2 || exit 1

make_net
for ns in b1 b2 b3; do
	in_net $ns sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore'
done
for a in 203.0.113.7 203.0.113.8 192.0.2.1 192.0.2.2 192.0.3.1; do
	in_net client ip addr add $a/32 dev lo
	in_net router ip route add $a dev r-client
done
for b in 1 2 3; do start_backend $b; done
printf '# who misbehaves\n\n203.0.113.0/24  # a network\n' >$work/block.txt
printf '203.0.113.8\n2001:db8:a::/48\n' >$work/allow.txt
chmod 755 $work; chmod 644 $work/block.txt $work/allow.txt
MORE="  filter: {block: [./block.txt, 198.51.100.0/24], allow: [./allow.txt]}"
start_edge
weir() { "$PWD/$build/bin/weir" "$@" -c $work/edge.yaml; }
from() { in_net client curl -s -o /dev/null -m 1 --interface "$1" http://$vip/_/health; }
filter() { weir filter list --json | jq -r "$1"; }
entries() { [ "$(filter '.entries4 + .entries6')" = "$1" ]; }

until_ok 10 healthy 3
check $? "three backends are up"
until_ok 10 entries 4
check $? "four networks in force: $(filter '.entries4') and $(filter .entries6)"
until_ok 10 from 192.0.2.1
check $? "a source on no list is served"
! from 203.0.113.7
check $? "a source that a file blocks is not"
from 203.0.113.8
check $? "one inside it that another file allows is"
out=$(weir filter test 203.0.113.7)
[ "$out" = "203.0.113.7: blocked by 203.0.113.0/24 ($work/block.txt:3)" ]
check $? "test says why, and where: $out"
out=$(weir filter test 198.51.100.9)
[ "$out" = "198.51.100.9: blocked by 198.51.100.0/24 (the configuration)" ]
check $? "also of the configuration itself: $out"
out=$(weir filter test 2001:db8:a::1)
[ "$out" = "2001:db8:a::1: allowed by 2001:db8:a::/48 ($work/allow.txt:2)" ]
check $? "and of IPv6: $out"
[ "$(weir filter test 192.0.2.1)" = "192.0.2.1: on no list" ]
check $? "or that nothing does"

# By hand.
weir filter add block 192.0.2.1 --for 3s >$work/out
check $? "add: $(cat $work/out)"
! from 192.0.2.1
check $? "at once"
from 192.0.2.2
check $? "its neighbour is served"
until_ok 8 from 192.0.2.1
check $? "and after its time it is served again"
weir filter add allow 203.0.113.0/25 >/dev/null && from 203.0.113.7
check $? "allow wins over the file's block"
weir filter add block 192.0.2.2 >/dev/null
out=$(weir filter remove 198.51.100.0/24 2>&1)
rc=$?
[ $rc = 1 ] && [[ $out == *"is from the configuration: remove it there"* ]]
check $? "what is in the configuration is not removed by hand: $out"
out=$(weir filter remove 10.0.0.0/8 2>&1)
[ $? = 1 ] && [[ $out == *"was not added"* ]]
check $? "nor what was not added"
weir filter add drop 10.0.0.0/8 2>/dev/null
[ $? = 2 ]
check $? "a wrong verdict is wrong use"
weir filter add block 10.0.0.0/33 2>$work/out
[ $? = 1 ] && grep -q 'not a network' $work/out
check $? "a wrong network is said: $(cat $work/out)"
grep -q 'filter: add block 192.0.2.2/32 by hand, for ever, by [^ ]' $work/*.log &&
	grep -q 'filter: add block 192.0.2.1/32 by hand, for 3 seconds' $work/*.log
check $? "the log says what was added by hand, and by whom"

# The agent is killed and starts again: what was added by hand is there, and nothing passes in between.
kill -9 "$edge_pid"; wait "$edge_pid" 2>/dev/null
! from 192.0.2.2
check $? "while the agent is dead the lists are in force"
run_edge
until_ok 10 healthy 3
until_ok 10 entries 5
check $? "after a restart everything is there again"
! from 192.0.2.2
check $? "also what was added by hand"
weir filter remove 192.0.2.2 >/dev/null && from 192.0.2.2
check $? "removed"

# A wrong line.
echo '203.0.113.300' >>$work/block.txt; echo '192.0.3.0/24' >>$work/block.txt
weir filter reload >$work/out 2>&1
rc=$?
[ $rc = 1 ] && grep -q "^$work/block.txt:4: \"203.0.113.300\" is not a network" $work/out
check $? "a reload says where a line is wrong: $(head -1 $work/out)"
from 192.0.3.1
check $? "and takes nothing of it"
"$agent" -n -c $work/edge.yaml 2>$work/out
[ $? != 0 ] && grep -q 'block.txt:4' $work/out
check $? "so does the check before a start"
sed -i 4d $work/block.txt
out=$(weir filter reload)
check $? "mended: $out"
! from 192.0.3.1
check $? "and in force"

# A start that cannot read a file: what was in force stays until it can.
kill -9 "$edge_pid"; wait "$edge_pid" 2>/dev/null
chmod 0 $work/block.txt
run_edge
held() { [[ $(filter .error) == *"from before the start are in force"* ]]; }
until_ok 10 healthy 3 && until_ok 5 held
check $? "a start that cannot read a file: $(filter '.fault_lines[0]')"
! from 192.0.3.1
check $? "what it closed stays closed"
out=$(weir filter add block 192.0.2.1 2>&1)
[ $? = 1 ] && [[ $out == *"a list cannot be read"* ]] && from 192.0.2.1
check $? "what is added waits, and that is said: $out"
chmod 644 $work/block.txt
known() { [ "$(filter .error)" = null ] && entries 6; }
until_ok 10 known
check $? "it can be read: all is in force ($(filter .entries4) and $(filter .entries6))"
weir filter remove 192.0.2.1 >/dev/null && ! from 192.0.3.1
check $? "as before"
sed -i '/192.0.3.0/d' $work/block.txt
kill -HUP "$edge_pid"
until_ok 5 from 192.0.3.1
check $? "SIGHUP reads the files, too"

# A million more, while connections are made.
awk 'BEGIN { for (i = 0; i < 1000000; i++) printf "%d.%d.%d.%d\n", 11 + i / 250000, i / 1000 % 250, i % 250, i / 7 % 250 }' |
	sort -u >>$work/block.txt
lines=$(grep -c '^1' $work/block.txt)
client load $vip:80 100 6 >$work/load &
load=$!
begun=$(date +%s%N)
out=$(weir filter reload)
check $? "a list of $lines networks: $out after $((($(date +%s%N) - begun) / 1000000)) ms"
[ "$(weir filter test 11.0.0.0 | grep -c 'blocked by 11.0.0.0/32')" = 1 ]
check $? "its first is found: $(weir filter test 11.0.0.0)"
wait $load
[[ $(cat $work/load) == "ok 600 failed 0" ]]
check $? "no connection noticed: $(cat $work/load)"
until_ok 1 healthy 3
check $? "no backend was taken for dead meanwhile"
begun=$(date +%s%N)
weir filter add block 192.0.2.1 >/dev/null && ! from 192.0.2.1
check $? "one more beside a million: $((($(date +%s%N) - begun) / 1000000)) ms until it was in force and tried for 1 s"
weir filter remove 192.0.2.1 >/dev/null

# What does not come into force is said. A FIFO makes nobody wait.
mkfifo $work/fifo
MORE="  filter: {block: [./fifo]}"
edge_config
timeout 5 "$agent" -n -c $work/edge.yaml 2>$work/out
rc=$?
[ $rc != 0 ] && [ $rc != 124 ] && grep -q "fifo: is not a file" $work/out
check $? "a FIFO is no list: $(head -1 $work/out)"
MORE="  filter: {block: [$(seq -s, -f 198.51.%g.0/24 0 250)]}"
edge_config
"$agent" -n -c $work/edge.yaml 2>$work/out
[ $? != 0 ] && grep -q 'more than 250 networks and files' $work/out
check $? "too many networks, before a start: $(head -1 $work/out)"
kill -HUP "$edge_pid"
said() { [[ $(filter .error) == *"more than 250 networks and files"* ]]; }
until_ok 5 said
check $? "and by a reload: $(filter .error)"
out=$(weir filter reload 2>&1)
[ $? = 1 ] && [[ $out == *"more than 250 networks and files"* ]]
check $? "which the command says, too: $out"
weir filter add block 192.0.2.1 >/dev/null && ! from 192.0.2.1 && [ "$(filter .error)" = null ]
check $? "a change by hand comes into force nevertheless"
weir filter remove 192.0.2.1 >/dev/null

# Limits, by a reload.
sed -i '/^1/d' $work/block.txt
MORE="  filter: {block: [./block.txt], allow: [192.0.2.2], limits: {syn: 1/s burst 3}}"
edge_config
kill -HUP "$edge_pid"
limited() { [ "$(filter .limits.syn.burst)" = 3 ]; }
until_ok 5 limited && until_ok 5 entries 3
check $? "limits by a reload, the million gone"
served() { local n=0 i; for i in 1 2 3 4 5 6 7 8; do in_net client curl -s -o /dev/null -m 0.3 --interface "$1" http://$vip/_/health && n=$((n + 1)); done; echo $n; }
n=$(served 192.0.3.1)
[ "$n" -ge 3 ] && [ "$n" -le 6 ]
check $? "of eight connections in a moment about the burst is served: $n"
[ "$(served 192.0.2.2)" = 8 ]
check $? "who is allowed is not limited"
out=$(weir filter top)
[[ $out == *192.0.3.0/24* ]] && [ "$(weir filter top --json | jq '.networks[0].syn > 0')" = true ]
check $? "top names the network: $(tail -1 <<<"$out")"
[ "$(filter .dropped.syn)" -gt 0 ] && [ "$(filter .dropped.blocked)" -gt 0 ] && [ "$(filter .networks)" -ge 1 ]
check $? "counters: $(filter .dropped -c | tr -d ' \n')"
in_net edge curl -s http://127.0.0.1:7001/_/metrics >$work/metrics || in_net edge curl -s http://127.0.0.1:7001/metrics >$work/metrics
grep -q '^weir_filter_dropped_packets_total{class="syn"} [1-9]' $work/metrics && grep -q '^weir_filter_entries{family="4"} ' $work/metrics
check $? "metrics: $(grep -c '^weir_filter_' $work/metrics) series"
weir filter list >$work/out
grep -q "block.txt *block *1 *0" $work/out && grep -q '^syn *1 *3' $work/out
check $? "list shows lists and limits"
MORE=
edge_config
kill -HUP "$edge_pid"
off() { [ "$(filter .limits.syn)" = null ] && entries 1; }
until_ok 5 off
check $? "switched off"
[ "$(served 192.0.3.1)" = 8 ] && from 203.0.113.9
rc=$?
[ $rc = 0 ] || [ $rc = 45 ]
check $? "and it is"
kill -TERM "$edge_pid"; wait "$edge_pid"
check $? "SIGTERM: exit 0"
finish
