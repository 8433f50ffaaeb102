#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agent.forward: packets between two interfaces go on in the packet path by the kernel's routes, both ways and both families;
# what needs thought (TTL, unknown neighbours, a smaller MTU) is left to the host, which answers as it always did.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
DP_BACKENDS=''
. "$(dirname "$0")/dp_lib"

# far behind the edge's second interface, which has a smaller MTU
ip netns add far
ip link add eth1 netns edge mtu 1400 type veth peer name eth0 netns far mtu 1400
for side in 'edge eth1 1' 'far eth0 9'; do
	read -r ns dev host <<<"$side"
	in_ns "$ns" sysctl -qw "net.ipv6.conf.$dev.accept_dad=0" net.ipv4.conf.all.rp_filter=0
	in_ns "$ns" ip addr add "203.0.113.$host/24" dev "$dev"
	in_ns "$ns" ip addr add "2001:db8:9::$host/64" dev "$dev" nodad
	in_ns "$ns" ip link set "$dev" up
	# Up first: only then does the other end learn that XDP may send to it.
	in_ns "$ns" ethtool -K "$dev" gro on tx off tso off gso off >/dev/null 2>&1
done
in_ns far ip link set lo up
in_ns edge sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1
in_ns far ip route add default via 203.0.113.1
in_ns far ip route add default via 2001:db8:9::1
in_ns client ip route add 203.0.113.0/24 via 198.18.0.1
in_ns client ip route add 2001:db8:9::/64 via 2001:db8::1
nsenter --net=/run/netns/far $FLOWS serve 80 >"$scratch/serve-far" &
until_true 5 grep -qs ready "$scratch/serve-far"

udp() { in_ns client $FLOWS udp "$1" 80 200 1000; }
check "the host alone forwards" until_true 5 is "$(udp 203.0.113.9)" "sent 200 received 200"
until_true 5 is "$(udp 2001:db8:9::9)" "sent 200 received 200" >/dev/null

check "the edge's data plane opens, forward off" tool edge -i eth0 -i eth1
check "all pass" is "$(udp 203.0.113.9)" "sent 200 received 200"
check "by the host" is "$(reason edge ROUTED)" 0
tool_end edge
check "forward on" tool edge -i eth0 -i eth1 -r
before=$(reason edge ROUTED)
routed_since() { # routed_since NUMBER: at least so many
	local now; now=$(reason edge ROUTED)
	[ $((${now:-0} - ${before:-0})) -ge "$1" ] || { echo "# ${before:-0} → ${now:-0}"; return 1; }
}
check "all pass, IPv4" is "$(udp 203.0.113.9)" "sent 200 received 200"
check "in the packet path, both ways" routed_since 390
before=$(reason edge ROUTED)
check "all pass, IPv6" is "$(udp 2001:db8:9::9)" "sent 200 received 200"
check "in the packet path, both ways" routed_since 390
hops() { in_ns client busybox traceroute -n -m 3 -q 1 -w 2 203.0.113.9 2>/dev/null | awk '/^ *[0-9]/ {printf "%s ", $2}'; }
check "the host answers for TTL at its end" is "$(hops)" "198.18.0.1 203.0.113.9 "
before=$(reason edge TTL_EXPIRED)
hops >/dev/null
check "which is counted" test "$(reason edge TTL_EXPIRED)" -gt "${before:-0}"
in_ns far ip link set eth0 address 02:00:00:00:00:99
in_ns edge ip neigh flush dev eth1
check "a neighbour that is not known is resolved by the host" until_true 10 is "$(udp 203.0.113.9)" "sent 200 received 200"
mtu() { in_ns client ip route get 203.0.113.9 | grep -o 'mtu [0-9]*'; }
in_ns client busybox ping -c 1 -W 1 -s 1450 203.0.113.9 >/dev/null
check "who sends too large packets learns the way's MTU from the host" until_true 5 is "$(mtu)" "mtu 1400"
in_ns client $FLOWS tcp 203.0.113.9 80 20 2 >"$scratch/tcp" 2>/dev/null
check "connections work" is "$(cut -d' ' -f6 "$scratch/tcp")" 0
finish
