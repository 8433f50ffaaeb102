#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `attach: dispatcher`: through libxdp (where the kernel lets it, with its dispatcher; else alone), traffic flows, a new start
# takes the place of the old one, detach leaves nothing. And `mode: generic`.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
serve
quiet() { "$@" >/dev/null 2>&1; }
set_up() {
	ask edge service s 31 gue "$VIP:80/tcp $VIP:80/udp" >/dev/null
	for b in 1 2 3; do ask edge backend 0 b$b 198.18.0.1$b up >/dev/null; done
	ask edge fill 0 31 1 1 2 3 >/dev/null
}
check "opens through libxdp" tool edge -a dispatcher -i eth0
set_up
check "says how" is "$(ask edge interfaces)" "eth0 native dispatcher"
quiet in_ns client $FLOWS tcp $VIP 80 10 1
check "traffic flows" quiet in_ns client $FLOWS tcp $VIP 80 40 1
tool_kill edge
check "also without the agent" quiet in_ns client $FLOWS tcp $VIP 80 40 1
check "starts again" tool edge -a dispatcher -i eth0
check "traffic flows again" quiet in_ns client $FLOWS tcp $VIP 80 40 1

# An upgrade under a counted stream: the new program joins the dispatcher before the old one leaves it, or takes its place.
packets() { ask edge state 0 | cut -d' ' -f4; }
host() { in_ns edge awk '/^Ip: [0-9]/ { print $6 }' /proc/net/snmp; } # packets for an address that is not the host's
before=$(packets) before_host=$(host)
in_ns client $FLOWS udp $VIP 80 3000 1000 >"$scratch/udp" &
udp=$!
read -rt 1 <> <(:)
tool_kill edge
check "an upgrade under traffic" tool edge -a dispatcher -i eth0
set_up
wait $udp
# Without a program for half a second there were 500. What queues and sockets drop on a busy machine is another matter.
echo "# $(cat "$scratch/udp"), forwarded $(($(packets) - before))"
check "of 3,000 datagrams none went by the program to the host" is $(($(host) - before_host)) 0
check "they were forwarded" test $(($(packets) - before)) -ge 2500

# A start that fails at the second interface, while maps are migrated: the program that runs has the pinned ones.
PIN=/sys/fs/bpf/edge
counts() { bpftool -j map lookup pinned $PIN/service_counts key 0 0 0 0; }
ip link add eth1 netns edge type veth peer name p-edge1
in_ns edge ip link set eth1 up
nsenter --net=/run/netns/edge $TOOL -p /sys/fs/bpf/other -i eth1 </dev/null >/dev/null 2>&1   # a link holds it
tool_kill edge
quiet in_ns edge $TOOL -a dispatcher -p $PIN -l services=16 -l slots=1024 -i eth0 -i eth1 </dev/null
check "a second interface that is held: the start fails" is $? 1
check "no new- pins are left" is "$(find $PIN -name 'new-*' | wc -l)" 0
before=$(counts)
check "traffic goes on" quiet in_ns client $FLOWS udp $VIP 80 200 1000
check "and is counted in the pinned maps" test "$(counts)" != "$before"
check "the next start goes on" tool edge -a dispatcher -i eth0
check "with the service" quiet in_ns client $FLOWS tcp $VIP 80 40 1

# An interface that is no longer named, with and without a migration. That of another agent's folder stays.
ip link add eth2 netns edge type veth peer name p-edge2
in_ns edge ip link set eth2 up
xdp() { in_ns edge ip -d link show "$1" | grep -c 'prog/xdp'; }
for slots in 524288 262144; do
	tool_end edge
	check "starts with a second interface" tool edge -a dispatcher -i eth0 -i eth2
	check "  it has a program" test "$(xdp eth2)" -gt 0
	tool_end edge
	check "starts without, with $slots slots" tool edge -a dispatcher -l slots=$slots -i eth0
	check "  it has none" is "$(xdp eth2)" 0
	check "  another agent's has, and so has the first" test "$(xdp eth1)" -gt 0 -a "$(xdp eth0)" -gt 0
done
tool_end edge
quiet in_ns edge $TOOL -a dispatcher -p /sys/fs/bpf/edge -i eth0 -x
check "detach leaves no program" is "$(in_ns edge ip -d link show eth0 | grep -c xdp)" 0
check "generic mode" tool edge -m generic -i eth0
set_up
check "says so" is "$(ask edge interfaces)" "eth0 generic link"
check "traffic flows in generic mode" quiet in_ns client $FLOWS tcp $VIP 80 40 1
finish
