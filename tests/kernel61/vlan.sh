#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Traffic of a VLAN device (8021q): the client's packets reach the edge's program with their tag, leave with it, encapsulated, and
# arrive at real sockets behind the backends' VLAN devices. Needs 8021q and ipip. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/../net/dp_lib"

in_ns client ip link add link eth0 name eth0.7 type vlan id 7 2>/dev/null || { echo "skip: no 8021q"; exit 77; }
in_ns client ip link del eth0.7
tagged() { # tagged NODE HOST: a VLAN device whose tags lie in the packets, where XDP sees them
	ethtool -K "p-$1" txvlan off >/dev/null
	in_ns "$1" ethtool -K eth0 txvlan off >/dev/null
	in_ns "$1" ip link add link eth0 name eth0.7 type vlan id 7
	in_ns "$1" ip addr add "198.18.7.$2/24" dev eth0.7 2>/dev/null
	in_ns "$1" sysctl -qw net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0/7.rp_filter=0
	in_ns "$1" ip link set eth0.7 up
}
tagged client 9; tagged edge 1
for b in 1 2 3; do tagged b$b 1$b; in_ns b$b ip link set tunl0 up || { echo "skip: no ipip"; exit 77; }; done
in_ns client ip route replace $VIP via 198.18.7.1
check "the edge's data plane opens" tool edge -i eth0
serve
s=$(ask edge service s 31 ipip "$VIP:80/tcp $VIP:80/udp")
for b in 1 2 3; do ask edge backend "$s" b$b 198.18.0.1$b up >/dev/null; done
ask edge fill "$s" 31 1 1 2 3 >/dev/null
in_ns client $FLOWS udp $VIP 80 50 5000 >/dev/null || :
ok() { "$@" >"$scratch/out" 2>&1 || { sed 's/^/# /' "$scratch/out"; return 1; }; }
check "TCP through a VLAN" ok in_ns client $FLOWS tcp $VIP 80 10 2
check "UDP through a VLAN" ok in_ns client $FLOWS udp $VIP 80 100 5000
check "forwarded by the program" test "$(reason edge FORWARDED)" -gt 100
for b in 1 2 3; do in_ns b$b busybox ping -c1 -W2 -q 198.18.7.1 >/dev/null; ask edge backend "$s" b$b 198.18.7.1$b up; done >"$scratch/index"
mapfile -t index < <(grep -E '^[0-9]+$' "$scratch/index")
check "backends behind VLAN devices" is "$(ask edge fill "$s" 31 2 "${index[@]}")" 31
check "are reached" ok in_ns client $FLOWS tcp $VIP 80 10 2
check "each of them" sh -c "for n in $(ask edge counts "${index[@]}"); do [ \$n -gt 0 ] || exit 1; done"
check "echo through a VLAN" ok in_ns client busybox ping -c3 -W2 -q $VIP
finish
