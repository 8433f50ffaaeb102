#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A balancer that starts without slots copies a sister's table, whose slots have moved: the same current, previous and
# earlier owners by name, though its own indexes differ. One whose table is older catches up; with no sister alive it
# starts from the rates and says so. Agents speak TLS with certificates of one authority.
. "$(dirname "$0")/agent_lib"

with_registry
TLS=1 DRAIN=300s
# Every slot's current, previous and earlier owners as backends' ids (of their names).
table() { # PIN
	jq -c -n --argjson b "$("$tool" backends /sys/fs/bpf/"$1" 8)" --argjson s "$("$tool" slots /sys/fs/bpf/"$1" 1021)" \
		'def id: if . == 0 then 0 else $b[.] end; $s | map(map(id))'
}
indexes() { "$tool" backends /sys/fs/bpf/"$1" 4; }
moving() { # NODE: how many slots are in transition
	ask "$1" status | jq -r '.services[0].transition'
}
moved() { [ "$(moving "$1")" -ge "$2" ]; }
same_tables() { [ "$(table edge)" = "$(table edge2)" ]; }
generation() { ask "$1" status | jq '.services[0].generation'; }
caught_up() { [ "$(generation edge2)" = "$(generation edge)" ] && [ "$(generation edge)" -gt 0 ]; }
run_node() { # NODE HOST BACKENDS
	edge=$1 INSIDE="198.18.1.$2:7001" BACKENDS=$3 start_edge
}

start_registry
"$PWD/$build/bin/weir" ca init $work/ca >/dev/null
for node in edge:1 edge2:2; do
	"$PWD/$build/bin/weir" ca issue $work/ca ${node%:*} 198.18.1.${node#*:} >/dev/null
	chown 64200 $work/ca/${node%:*}.key
done
chmod 755 $work/ca
make_net
make_node edge2 2
for b in 1 2 3; do start_backend $b; done

run_node edge 1 "b1 b2 b3"; edge=edge first_pid=$edge_pid
until_ok 15 healthy 3 && until_ok 10 more b3 300
check $? "an agent without a sister fills its slots: $(slots b1) $(slots b2) $(slots b3)"
! grep -q "slot table" $work/edge.log
check $? "and misses none"
put drain/b3 '{"by":"test","since":0}'
until_ok 10 fewer b3 1 && until_ok 5 moved edge 300
check $? "a drain moved $(moving edge) slots; they keep their old owner"

run_node edge2 2 "b3 b2 b1"; second_pid=$edge_pid
until_ok 15 caught_up
check $? "a second agent starts with nothing: $(generation edge2)"
grep -q "slot table copied from edge: 1021 of 1021 slots" $work/edge2.log
check $? "$(grep -o 'slot table copied.*' $work/edge2.log)"
[ "$(indexes edge)" != "$(indexes edge2)" ]
check $? "its indexes are others"
same_tables
check $? "every slot's current, previous and earlier owners are the same"
until_ok 5 moved edge2 300
check $? "$(moving edge2) of its slots are in transition"
[ "$(table edge2 | jq 'map(select(.[1] != 0)) | length')" -ge 300 ]
check $? "and have a previous owner"

# Away for long: the sister's table is newer.
kill -9 $second_pid; wait $second_pid 2>/dev/null
delete drain/b3
until_ok 60 more b3 200
check $? "b3 is back while the second agent is dead: $(slots b3)"
put drain/b2 '{"by":"test","since":0}'
edge=edge until_ok 10 fewer b2 1
run_node edge2 2 "b3 b2 b1"; second_pid=$edge_pid
until_ok 15 caught_up
check $? "started again, the generation is the same: $(generation edge2)"
grep "slot table copied" $work/edge2.log | tail -n 1 | grep -q "generation"
check $? "$(grep -o 'slot table copied.*' $work/edge2.log | tail -n 1)"
currents() { table "$1" | jq -c 'map(.[0])'; }
same_currents() { [ "$(currents edge)" = "$(currents edge2)" ]; }
until_ok 60 same_currents
check $? "every slot's current owner is the same"

# No sister alive.
kill -9 $first_pid $second_pid; wait $first_pid $second_pid 2>/dev/null
in_net edge2 "$agent" -c $work/edge2.yaml --detach >/dev/null
rm -r $work/state-edge2
run_node edge2 2 "b1 b2 b3"
edge=edge2
filled() { [ "$(ask edge2 status | jq '[.services[0].backends[].slots] | add')" = 1021 ]; }
until_ok 20 filled
check $? "with the sister dead it starts anyway: $(slots b1) $(slots b2) $(slots b3)"
grep -qE "no slot table of another agent could be had|did not give its slot table" $work/edge2.log
check $? "and says so: $(grep -oE 'no slot table of another agent.*|.*did not give its slot table.*' $work/edge2.log | tail -n 1)"
kill -9 $edge_pid; wait $edge_pid 2>/dev/null
kill -9 $registry_pid
in_net edge2 "$agent" -c $work/edge2.yaml --detach >/dev/null
run_edge
until_ok 20 filled
check $? "so it does without a registry"
finish
