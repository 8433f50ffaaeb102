#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Two interfaces: clients behind each reach the service, backends are behind one of them. All modes: native, generic with
# real traffic, and auto, which falls back where a driver has no XDP (lo); native refuses there and undoes what it did.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

# A second client, on a link of its own with the edge.
ip netns add far
ip link add eth0 netns far address 02:00:00:00:01:09 type veth peer name eth1 netns edge address 02:00:00:00:01:01
for at in far:eth0 edge:eth1; do in_ns ${at%:*} ethtool -K ${at#*:} tx off tso off gso off gro on >/dev/null 2>&1; done
in_ns far ip link set lo up
in_ns far ip addr add 198.19.0.9/24 dev eth0
in_ns edge ip addr add 198.19.0.1/24 dev eth1
in_ns far ip link set eth0 up
in_ns edge ip link set eth1 up
in_ns far ip route add default via 198.19.0.1
in_ns edge sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0
for b in 1 2 3; do
	in_ns b$b ip route add 198.19.0.0/24 via 198.18.0.1
	backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }
done
serve
quiet() { "$@" >/dev/null 2>&1; }
set_up() {
	ask edge service s 31 gue "$VIP:80/tcp $VIP:80/udp" >/dev/null
	for b in 1 2 3; do ask edge backend 0 b$b 198.18.0.1$b up >/dev/null; done
	ask edge fill 0 31 1 1 2 3 >/dev/null
	quiet in_ns client $FLOWS tcp $VIP 80 10 1
	quiet in_ns far $FLOWS tcp $VIP 80 10 1
}
flows() { # NODE: 40 connections for a second and 500 datagrams, all of them
	in_ns "$1" $FLOWS tcp $VIP 80 40 1 >/dev/null 2>&1 && [ "$(in_ns "$1" $FLOWS udp $VIP 80 500 1000)" = "sent 500 received 500" ]
}
attached() { in_ns edge ip -d link show "$1" | grep -c "prog/xdp"; }

# What the program knows of a device of the edge (`devices`): its flags and link address, or nothing.
known() {
	bpftool -j map dump pinned /sys/fs/bpf/edge/devices | jq -r --argjson i "$(in_ns edge ip -j link show dev "$1" | jq '.[0].ifindex')" '.[].formatted |
		select(.key == $i) | .value | "\(.flags) \(.mac | map(tostring) | join(":"))"'
}
knows() { [ "$(known "$1")" = "$2" ]; }
in_ns edge ip link add name bridge0 type bridge
declare -A host=([native]="1 0:0:0:0:0:0" [generic]="") # in generic mode the kernel sends by any device

for mode in native generic; do
	check "$mode: two interfaces" tool edge -m $mode -i eth0 -i eth1
	check "$mode: the program knows its own link address" is "$(known eth1)" "2 2:0:0:0:1:1"
	check "$mode: and what it cannot send by" is "$(known bridge0)" "${host[$mode]}"
	in_ns edge ip link set eth1 address 02:00:00:00:01:02
	check "$mode: a new address is told" until_true 5 knows eth1 "2 2:0:0:0:1:2"
	in_ns edge ip link set eth1 address 02:00:00:00:01:01
	in_ns edge ip link add link eth1 name mac0 type macvlan
	check "$mode: a new device, too" until_true 5 knows mac0 "${host[$mode]}"
	in_ns edge ip link del mac0
	check "$mode: and the old address again" until_true 5 knows eth1 "2 2:0:0:0:1:1"
	check "$mode: said" is "$(ask edge interfaces)" "eth0 $mode link eth1 $mode link"
	set_up
	check "$mode: a client on the backends' link" flows client
	check "$mode: a client behind the other interface" flows far
	tool_kill edge
	check "$mode: a new start adopts both" tool edge -m $mode -i eth0 -i eth1
	check "$mode: both, again" test "$(grep -c 'adopted, program exchanged' "$scratch/log-edge")" -ge 2
	check "$mode: traffic goes on" flows far
	tool_end edge
	check "$mode: eth1 is named no more, in an upgrade with other maps" tool edge -m $mode -i eth0 -l slots=1024
	check "$mode: it is detached" is "$(attached eth0) $(attached eth1) $(ls /sys/fs/bpf/edge/link-*)" "1 0 /sys/fs/bpf/edge/link-eth0"
	check "$mode: that is said" grep -q 'eth1: detached, agent.interfaces no longer names it' "$scratch/log-edge"
	check "$mode: traffic goes on at the other" flows client
	tool_end edge
	quiet in_ns edge $TOOL -p /sys/fs/bpf/edge -i eth0 -i eth1 -x
	check "$mode: detached from both" is "$(attached eth0) $(attached eth1)" "0 0"
	: >"$scratch/log-edge"
done

check "auto: falls back where a driver has no XDP" tool edge -i eth0 -i eth1 -i lo
check "auto: said" is "$(ask edge interfaces)" "eth0 native link eth1 native link lo generic link"
check "auto: and warned" grep -q 'lo: no native XDP' "$scratch/log-edge"
set_up
check "auto: traffic" flows far
tool_end edge
quiet in_ns edge $TOOL -p /sys/fs/bpf/edge -i eth0 -i eth1 -x
check "native: refused where there is none" is "$(in_ns edge $TOOL -m native -p /sys/fs/bpf/edge -i eth0 -i lo </dev/null >/dev/null 2>&1; echo $?)" 1
check "native: and what was attached before is undone" is "$(attached eth0)" 0
finish
