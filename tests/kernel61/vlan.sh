#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# VLAN devices (8021q): a client behind one, backends without, behind the same and behind another; checks through the packet path,
# replies of backends behind NAT, and the relay, by what routes say. Each reaches whom it is for in that one's VLAN, and no other.
# Needs 8021q and ipip. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/../net/dp_lib"

NAT=198.18.7.101
in_ns client ip link add link eth0 name eth0.7 type vlan id 7 2>/dev/null || { echo "skip: no 8021q"; exit 77; }
in_ns client ip link del eth0.7
tagged() { # tagged NODE HOST VLAN: a VLAN device whose tags lie in the packets, where XDP sees them
	ethtool -K "p-$1" txvlan off >/dev/null
	in_ns "$1" ethtool -K eth0 txvlan off >/dev/null
	in_ns "$1" ip link add link eth0 name "eth0.$3" type vlan id "$3"
	in_ns "$1" ip addr add "198.18.$3.$2/24" dev "eth0.$3"
	in_ns "$1" sysctl -qw net.ipv4.conf.default.rp_filter=0 "net.ipv4.conf.eth0/$3.rp_filter=0"
	in_ns "$1" ip link set "eth0.$3" up
}
tagged client 9 9; tagged edge 1 9; tagged edge 1 7
for b in 1 2 3; do tagged b$b 1$b 7; in_ns b$b ip link set tunl0 up || { echo "skip: no ipip"; exit 77; }; done
in_ns edge sysctl -qw net.ipv4.conf.all.forwarding=1
in_ns edge ip addr add $NAT/32 dev eth0.7
client_in() { in_ns client ip route replace $VIP via "198.18.$1.1"; }
check "the edge's data plane opens" tool edge -t 1 -i eth0 -n $NAT
serve
s=$(ask edge service s 31 ipip "$VIP:80/tcp $VIP:80/udp")
g=$(ask edge service g 31 gue "$VIP:81/tcp")
n=$(ask edge service n 31 nat port=80 "$VIP:82/tcp")
ok() { "$@" >"$scratch/out" 2>&1 || { sed 's/^/# /' "$scratch/out"; return 1; }; }
tcp() { ok in_ns client $FLOWS tcp $VIP "$1" 10 2; }
backends() { # backends SERVICE NETWORK: their indexes, b1 to b3
	for b in 1 2 3; do
		in_ns b$b busybox ping -c1 -W2 -q "198.18.$2.1" >/dev/null
		ask edge backend "$1" "b$b" "198.18.$2.1$b" up
	done >"$scratch/index"
	mapfile -t index < <(grep -E '^[0-9]+$' "$scratch/index")
}
each() { local c; for c in $(ask edge counts "${index[@]}"); do [ "$c" -gt 0 ] || return 1; done; }

client_in 9
backends "$s" 0
ask edge fill "$s" 31 1 "${index[@]}" >/dev/null
in_ns client $FLOWS udp $VIP 80 50 5000 >/dev/null || :
check "client in a VLAN, backends in none: TCP" tcp 80
check "UDP" ok in_ns client $FLOWS udp $VIP 80 100 5000
check "forwarded by the program" test "$(reason edge FORWARDED)" -gt 100
check "echo through a VLAN" ok in_ns client busybox ping -c3 -W2 -q $VIP

backends "$s" 7
check "backends behind another VLAN" is "$(ask edge fill "$s" 31 2 "${index[@]}")" 31
check "are reached" tcp 80
check "each of them" each
client_in 0
check "by a client in none, too" tcp 80

# Checks that travel as traffic does, encapsulated by IPIP; the kernel's ipip opens them.
check "a check through the packet path comes to a VLAN and back" is "$(ask edge probe "${index[0]}" ipip $VIP:80)" answered
check "counted" test "$(ask edge egress | tr ' ' '\n' | sed -n 's/^PROBED=//p')" -ge 3

# NAT: ordinary hosts, whose replies the edge's routes lead to the client's VLAN.
client_in 9
backends "$n" 7
check "backends behind NAT in a VLAN" is "$(ask edge fill "$n" 31 1 "${index[@]}")" 31
in_ns client $FLOWS tcp $VIP 82 3 1 >/dev/null 2>&1     # neighbours
returned=$(reason edge RETURNED)
check "client in another: TCP" tcp 82
check "each of them" each
check "replies went by the program" test $(($(reason edge RETURNED) - returned)) -gt 20

# Our own decapsulation, GUE, and the relay.
for b in 1 2 3; do
	in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1
	in_ns b$b ip link set tunl0 down
	backend b$b || { echo "not ok - b$b opens"; exit 1; }
	nsenter --net=/run/netns/b$b $FLOWS serve 81 >"$scratch/serve81-$b" &
	until_true 20 grep -qs ready "$scratch/serve81-$b"
done
backends "$g" 7
for b in 1 2 3; do in_ns b$b busybox ping -c1 -W2 -q 198.18.7.11 >/dev/null; in_ns b$b busybox ping -c1 -W2 -q 198.18.7.12 >/dev/null; done
ask edge fill "$g" 31 1 "${index[0]}" >/dev/null
check "a check by GUE" is "$(ask edge probe "${index[1]}" gue $VIP:81)" answered
mkfifo "$scratch/ask" "$scratch/answer"
in_ns client bash -c "exec 3<>/dev/tcp/$VIP/81; while read -r line; do echo \"\$line\" >&3; read -t 3 -r back <&3 && echo \"\$back\" || echo broken; done" \
	<"$scratch/ask" >"$scratch/answer" 2>/dev/null &
exec 8>"$scratch/ask" 9<"$scratch/answer"
say() { echo "$1" >&8; read -rt 5 -u 9 back && echo "$back"; }
check "a connection to b1 in its VLAN" is "$(say one)" one
check "counted as decapsulated" test "$(reason b1 DECAPSULATED)" -gt 0
settled() { [ "$(ask edge state "$g" | cut -d' ' -f2)" = 0 ]; }
ask edge fill "$g" 31 2 "${index[1]}" >/dev/null
check "the transition to b2 ends" until_true 20 settled
check "its next packet comes to b2, which passes it on in the VLAN" is "$(say two)" two
check "by the program" test "$(reason b2 RELAYED)" -gt 0
exec 8>&- 9<&-
finish
