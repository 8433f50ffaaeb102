#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `weir weights freeze`: learned weights stay, a backend that dies leaves and gets its share back; `rollback`: the slots of an
# earlier generation, at once; `thaw`; `show` lists generations, 16 at most.
. "$(dirname "$0")/agent_lib"

with_registry
start_registry
weir() { "$PWD/$build/bin/weir" "$@" -c $work/edge.yaml 2>&1; }
counts() { ask edge status | jq -c '[.services[0].backends[].slots]'; }
generation() { ask edge status | jq '.services[0].generation'; }
frozen() { ask edge status | jq -r '.services[0].frozen.by // "no"'; }
is_frozen() { [ "$(frozen)" != no ]; }
thawed() { [ "$(frozen)" = no ]; }
at_counts() { [ "$(counts)" = "$1" ]; }
near() { # COUNTS: each backend within 11 slots (1%)
	jq -e -n --argjson a "$(counts)" --argjson b "$1" '[range(3) | $a[.] - $b[.] | fabs] | max <= 11' >/dev/null
}
uptime() { ask edge status | jq .uptime_s; }
later() { [ "$(uptime)" -ge "$1" ]; }

make_net
for b in 1 2 3; do start_backend $b; done
start_edge
until_ok 20 more b3 300
check $? "three backends share the slots: $(counts)"
first=$(counts) first_generation=$(generation)
weir weights show files --json | jq -e ".services[0].history[-1].generation == $first_generation and .services[0].frozen == null" >/dev/null
check $? "its generation ($first_generation) is kept"
weir drain b3 >/dev/null
until_ok 10 fewer b3 1
weir drain --stop b3 >/dev/null
until_ok 40 more b3 40
check $? "b3 left and comes back slowly: $(counts)"

weir weights freeze files | grep -q "keeps the weights of generation"
check $? "freeze"
until_ok 5 is_frozen
check $? "is obeyed, and says by whom: $(frozen)"
held=$(counts) now=$(uptime)
until_ok 15 later $((now + 6)) && near "$held"
check $? "6 s later b3 has no more: $held, $(counts)"
[ "$(backend b3 why)" = "weights are frozen" ]
check $? "why: $(backend b3 why)"
weir weights show | grep -q "frozen by"
check $? "show says it"

weir weights rollback files 999 | grep -q "is not kept"
check $? "a rollback to what is not kept is refused"
weir weights rollback files "$first_generation" | grep -q "goes back"
check $? "rollback to generation $first_generation"
until_ok 5 at_counts "$first"
check $? "the very slots of then: $(counts)"
[ "$(generation)" -gt "$first_generation" ]
check $? "as a new generation, $(generation)"
kill -9 "$(cat $work/server1.pid)"
until_ok 15 fewer b1 1
check $? "b1 dies and leaves: $(counts)"
start_server 1
until_ok 40 near "$first"
check $? "back, it gets its share again: $(counts)"
weir weights thaw files | grep -q "learned again"
check $? "thaw"
until_ok 5 thawed
check $? "is obeyed"
weir weights thaw files | grep -q "are not frozen"
check $? "a second thaw is refused"
n=$(weir weights show files --json | jq '.services[0].history | length')
[ "$n" -le 16 ] && [ "$n" -ge 3 ]
check $? "$n generations are kept, 16 at most"
weir weights nonsense >/dev/null
[ $? = 2 ]
check $? "wrong use: exit code 2"
finish
