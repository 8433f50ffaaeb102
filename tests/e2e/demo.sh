#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make demo` holds every check within four minutes, and leaves nothing behind, also after SIGINT in its middle.
set -u
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
# Among processes and mounts of its own, so that traces of other tests are not taken for the demo's.
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -m -p -f --kill-child --mount-proc "$0" "$@"
# And with a /var/tmp of its own: other tests' labs come and go there.
own=$(mktemp -d /var/tmp/weir-test.XXXXXX) && mount --bind "$own" /var/tmp || exit 1
out=$(mktemp) n=0 bad=0
trap 'rm -f "$out"; umount /var/tmp && rm -rf "$own"' EXIT
check() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=$((bad + 1)); fi; }
traces() { ip netns list; mount | sort; pgrep -f "$PWD/build/bin/weir"; ls -d /run/weir-lab /var/tmp/weir-demo.* /var/tmp/weir-lab.* /sys/fs/cgroup/cpu/weir-demo 2>/dev/null; bpftool net show; }

before=$(traces)
as_before() {
	local now
	now=$(traces)
	[ "$before" = "$now" ] || { diff <(echo "$before") <(echo "$now") | sed 's/^/# /'; return 1; }
}
begun=$SECONDS
tests/demo >"$out" 2>&1
check $? "make demo: $(tail -n 1 "$out")"
[ $bad = 0 ] || sed 's/^/# /' "$out"
[ $((SECONDS - begun)) -lt 290 ]
check $? "it took $((SECONDS - begun)) s"
as_before
check $? "nothing is left behind"

setsid env --default-signal=INT tests/demo >"$out" 2>&1 &
pid=$!
for _ in $(seq 900); do grep -q '^3\. ' "$out" && break; sleep 0.1; done
grep -q '^3\. ' "$out"
check $? "a second demo is in its middle"
kill -INT -- -$pid
for _ in $(seq 300); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
! kill -0 $pid 2>/dev/null
check $? "it ends after SIGINT"
as_before
check $? "and nothing is left behind"
echo "1..$n"
[ $bad = 0 ]
