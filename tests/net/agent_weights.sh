#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Weights follow load that is really there: nothing moves while all are alike; a backend held back by a cgroup
# loses slots and gets them back; connections that were open finish; `weights` says what was learned.
. "$(dirname "$0")/agent_lib"

# A fifth of one CPU, where cgroups allow it (v1, else v2).
hold_back() {
	if [ -w /sys/fs/cgroup/cpu/cgroup.procs ]; then
		group=/sys/fs/cgroup/cpu/weir-agent-test
		mkdir -p $group && echo 50000 >$group/cpu.cfs_period_us && echo 4000 >$group/cpu.cfs_quota_us
	else
		group=/sys/fs/cgroup/weir-agent-test
		mkdir -p $group && echo "4000 50000" >$group/cpu.max
	fi && echo "$1" >$group/cgroup.procs
}
let_go() { echo "$1" >"${group%/*}/cgroup.procs" && until_ok 5 rmdir $group; }
trap '[ -n "${group:-}" ] && [ -d "$group" ] && let_go "$(cat $work/server2.pid)"' EXIT

make_net
for b in 1 2 3; do start_backend $b; done
start_edge
until_ok 10 healthy 3 && until_ok 10 more b2 300
check $? "three backends share the slots: $(slots b1) $(slots b2) $(slots b3)"

client load $vip:80 60 70 >$work/load &
load=$!
sample() { ask edge weights | jq -e '.services[0].samples > 60' >/dev/null; }
until_ok 30 sample
check $? "the learner has its first samples"
fewer b1 400 && fewer b2 400 && fewer b3 400
check $? "all are alike: $(slots b1) $(slots b2) $(slots b3)"

if hold_back "$(cat $work/server2.pid)"; then
	touch $work/go
	client hold $vip:80 90 $work/go >$work/held &
	held=$!
	begun=$SECONDS
	until_ok 25 fewer b2 200
	check $? "b2 at 8% of a CPU: $(slots b2) slots after $((SECONDS - begun)) s (others: $(slots b1), $(slots b3)); why: $(backend b2 why)"
	ask edge weights | jq -c '.services[0] | {metrics: (.metrics | map({(.name): (.coefficient * 100 | round / 100)}) | add), error, prior_error, samples}' | sed 's/^/# /'
	[ "$(ask edge weights | jq '.services[0].backends | (.[1].load > .[0].load) and (.[1].wanted < .[0].wanted)')" = true ]
	check $? "its learned load is higher, its wanted share lower"
	let_go "$(cat $work/server2.pid)"
	until_ok 40 more b2 250
	check $? "let go: $(slots b2) slots again"
	rm $work/go
	wait $held
	[ "$(awk '{ print $4 }' $work/held)" = 0 ]
	check $? "of 90 connections that were open all the time none broke: $(cat $work/held)"
else
	group=
	for what in moved learned "let go" held; do
		tests=$((tests + 1))
		echo "ok $tests - # SKIP no cpu cgroup to hold a backend back ($what)"
	done
fi
wait $load
failed=$(awk '{ print $4 }' $work/load)
[ "$failed" -le 42 ]
check $? "at most 1% of 4,200 requests were late by 3 s while a backend crawled: $(cat $work/load)"
group=
finish
