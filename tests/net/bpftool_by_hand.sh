#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands of examples/bpftool.md, as they stand there: without the agent, a packet is forwarded, decapsulated
# and answered. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
if [ -z "${IN_NS:-}" ]; then
	make -s build/bpf/edge.bpf.o build/tests/net/dp_flows >/dev/null 2>&1 || exit 1
	IN_NS=1 exec unshare -n -m -p --fork --kill-child --mount-proc "$0" "$@"
fi
mount -t tmpfs none /run && mkdir /run/netns && mount -t bpf bpf /sys/fs/bpf || { echo "skip: cannot mount"; exit 77; }
n=0 failed=0
check() { n=$((n + 1)); if "${@:2}"; then echo "ok $n - $1"; else echo "not ok $n - $1"; failed=1; fi; }
at() { local ns=$1; shift; nsenter --net="/run/netns/$ns" "$@"; }

# client 198.18.1.2 -- eth1 edge eth2 -- eth1 back 198.18.2.2; this namespace is the edge.
ip link set lo up
for ns in client back; do ip netns add $ns; at $ns ip link set lo up; done
ip link add eth1 type veth peer name eth1 netns client
ip link add eth2 type veth peer name eth1 netns back
ip addr add 198.18.1.1/24 dev eth1; ip addr add 198.18.2.1/24 dev eth2
at client ip addr add 198.18.1.2/24 dev eth1; at back ip addr add 198.18.2.2/24 dev eth1
at back ip addr add 198.18.100.1/32 dev lo
for i in eth1 eth2; do ip link set $i up; ethtool -K $i tx off gro on >/dev/null 2>&1; done
for ns in client back; do at $ns ip link set eth1 up; at $ns ethtool -K eth1 tx off tso off gro on >/dev/null 2>&1; done
at client ip route add default via 198.18.1.1; at back ip route add default via 198.18.2.1
at back sysctl -qw net.ipv4.conf.all.rp_filter=0

# The first block is the edge's; on the backend the same load and attach, then the second block.
block() { awk -v want="$1" '/^```sh/ { k++; on = k == want; next } /^```/ { on = 0 } on' examples/bpftool.md; }
block 1 | grep -v '^mount' >/run/edge.sh
{ block 1 | sed -n '/^W=/,/net attach/p'; block 2; } | sed 's#/sys/fs/bpf/weir#/sys/fs/bpf/back#' >/run/back.sh
check "the edge's commands work" bash -e /run/edge.sh >/run/out 2>&1
sed -n 's/^ok\|^not ok/&/p' /run/out; grep -iE "^error" /run/out
check "the backend's commands work" at back bash -e /run/back.sh >/run/out 2>&1
sed -n 's/^ok\|^not ok/&/p' /run/out; grep -iE "^error" /run/out
at back build/tests/net/dp_flows serve 80 >/run/ready &
until grep -qs ready /run/ready; do read -rt 0.05 <> <(:); done
load() { at client build/tests/net/dp_flows tcp 198.18.100.1 80 20 1 >/run/out 2>&1; }
load || :                               # the first packets only make the kernel find its neighbours
check "connections through it, none broken" load
sed 's/^/# /' /run/out | tail -2
count() { bpftool -j map lookup pinned "$1/reasons" key "$2" 0 0 0 | jq '[.formatted.values[].value.packets] | add'; }
check "packets were sent" test "$(count /sys/fs/bpf/weir 0)" -gt 100
check "and opened" test "$(count /sys/fs/bpf/back 2)" -gt 100
check "maps have names for every field" sh -c 'bpftool map dump pinned /sys/fs/bpf/weir/services | grep -q "\"slots\": 1"'
at client ip addr add 203.0.113.9/32 dev lo
ip route add 203.0.113.9 via 198.18.1.2
ping_from() { at client busybox ping -I "$1" -c1 -W1 -q 198.18.1.1 >/dev/null; }
check "a source is heard" ping_from 203.0.113.9
{ block 1 | grep -E '^(W=|zeros)'; block 3; } >/run/filter.sh
check "the filter's commands work" bash -e /run/filter.sh
check "it is not heard any more" test -n "$(ping_from 203.0.113.9 || echo blocked)"
check "another is" ping_from 198.18.1.2
check "it was counted as blocked" test "$(count /sys/fs/bpf/weir 22)" -gt 0
{ block 1 | grep -E '^(W=|zeros)'; block 4; } >/run/flags.sh
load
check "the commands that count SYN, FIN and RST work" sh -c "bash -e /run/flags.sh >/run/out"
load
bpftool -j map lookup pinned /sys/fs/bpf/weir/flag_counts key 0 0 0 0 | jq -c '[.formatted.values[].value.syn] | add' >/run/out
check "SYN by service: $(cat /run/out)" test "$(cat /run/out)" -ge 20
bpftool net detach xdpdrv dev eth1 && rm -r /sys/fs/bpf/weir
check "taken off again" sh -c '! ip link show eth1 | grep -q xdp'
echo "1..$n"
exit $failed
