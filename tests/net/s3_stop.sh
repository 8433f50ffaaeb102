#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# An endpoint that stops does not wait for a long server-side copy: the client hears why in the answer that had begun, nothing of the
# copy stays. A cgroup makes the copy long. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"
if [ -w /sys/fs/cgroup/cpu/cgroup.procs ]; then group=/sys/fs/cgroup/cpu/weir-s3-stop; else group=/sys/fs/cgroup/weir-s3-stop; fi
# A twelfth of one CPU, where cgroups allow it (v1, else v2).
hold_back() {
	mkdir -p $group && { { [ -e $group/cpu.cfs_period_us ] && echo 50000 >$group/cpu.cfs_period_us && echo 4000 >$group/cpu.cfs_quota_us; } ||
		{ [ -e $group/cpu.max ] && echo "4000 50000" >$group/cpu.max; }; } && echo "$1" >$group/cgroup.procs
}
trap 'kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null; rmdir $group 2>/dev/null; rm -rf "$work"' EXIT
export WEIR_S3_EARLY_MS=200

node a1 a 11
start_registry || { check 1 "registry"; finish; }
start a1 && add_user; check $? "an endpoint and a user"
until_ok 10 registered 1 a1
add_key; check $? "an access key"
head -c 256M /dev/zero | curl -sf -H "$auth" -T - "$(url a1 /b/data/big)" >/dev/null; check $? "an object of 256 MiB"
hold_back "${pid[a1]}" || { echo "skip: no cgroup for CPU time"; exit 77; }
curl -sN "${signed[@]}" -X PUT -H "x-amz-copy-source: /data/big" -o "$work/answer" -w '%{http_code}' "$(url a1 /data/copy)" >"$work/code" & copy=$!
begun() { [ "$(temporaries a1)" = 1 ] && grep -q xml "$work/answer"; }
until_ok 20 begun; check $? "its copy is under way, the answer has begun"
from=$(date +%s%N); stop TERM a1; ms=$((($(date +%s%N) - from) / 1000000))
[ $ms -lt 4500 ]; check $? "it stops soon, in spite of a twelfth of a CPU: $ms ms"
wait $copy
[ "$(cat "$work/code")" = 200 ] && grep -q '<Code>ServiceUnavailable</Code>.*This endpoint stops' "$work/answer"
check $? "the client hears why: $(cat "$work/code") $(head -c 300 "$work/answer" | tr '\n' ' ')"
start a1; until_ok 10 registered 1 a1
[ "$(code a1 /b/data/copy) $(code a1 /b/data/big -I) $(temporaries a1) $(versions a1)" = "404 200 0 1" ]
check $? "nothing was copied, nothing is left: $(temporaries a1) temporaries, $(versions a1) versions"
stop TERM a1
finish
