#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Backends that run nothing of ours, behind NAT: real TCP and UDP servers without XDP and without the service's address;
# thousands of connections, both families, while slots move, and a backend goes down and comes back: not one is broken.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

NAT=198.18.0.101 NAT6=2001:db8::101
in_ns edge sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1
in_ns edge ip addr add $NAT/32 dev eth0
in_ns edge ip addr add $NAT6/128 dev eth0 nodad preferred_lft 0
for b in 1 2 3; do      # a backend is an ordinary host
	in_ns b$b ip addr del $VIP/32 dev lo
	in_ns b$b ip addr del $VIP6/128 dev lo
done
check "the edge's data plane opens" tool edge -t 3 -i eth0 -n $NAT -n $NAT6
serve
s4=$(ask edge service s4 61 nat "$VIP:80/tcp" "$VIP:80/udp")
s6=$(ask edge service s6 61 nat "[$VIP6]:80/tcp" "[$VIP6]:80/udp")
s8=$(ask edge service s8 1 nat port=80 "$VIP:8080/tcp")
for b in 1 2 3; do ask edge backend "$s4" b$b 198.18.0.1$b up; done >/dev/null
for b in 1 2 3; do ask edge backend "$s6" c$b 2001:db8::1$b up; done >/dev/null
ask edge backend "$s8" d1 198.18.0.11 up >/dev/null
check "slots are filled, IPv4" is "$(ask edge fill "$s4" 61 1 1 2 3)" 61
check "slots are filled, IPv6" is "$(ask edge fill "$s6" 61 1 4 5 6)" 61
ask edge fill "$s8" 1 1 7 >/dev/null
in_ns client $FLOWS tcp $VIP 80 10 1 >/dev/null 2>&1     # neighbours
in_ns client $FLOWS tcp $VIP6 80 10 1 >/dev/null 2>&1

broken() { cut -d' ' -f6; }
answered() { cut -d' ' -f4; }
check "another port at the backend" is "$(in_ns client $FLOWS tcp $VIP 8080 10 1 2>&1 | broken)" 0
udp() { in_ns client $FLOWS udp "$1" 80 500 500 2>&1; }
check "datagrams are answered, IPv4" is "$(udp $VIP)" "sent 500 received 500"
check "datagrams are answered, IPv6" is "$(udp $VIP6)" "sent 500 received 500"
bulk() { in_ns client timeout 30 $FLOWS bulk "$1" 80 200000 20 2>&1; }
check "200,000 bytes there and back, IPv4" is "$(bulk $VIP)" 200000
check "200,000 bytes there and back, IPv6" is "$(bulk $VIP6)" 200000

field() { ask edge nat | tr ' ' '\n' | sed -n "s/^$1=//p"; }
opened=$(field OPENED)
in_ns client $FLOWS tcp $VIP 80 1000 15 >"$scratch/load4" 2>"$scratch/broken4" & load4=$!
in_ns client $FLOWS tcp $VIP6 80 500 15 >"$scratch/load6" 2>"$scratch/broken6" & load6=$!
orders=("2 3 1" "3 1 2" "1 2 3" "3 2 1" "1 1 2" "2 2 3")
moves=0
for round in $(seq 1 12); do
	order=${orders[round % 6]}
	# shellcheck disable=SC2086
	n=$(ask edge fill "$s4" 61 $((round + 1)) $order); moves=$((moves + n))
	# shellcheck disable=SC2086
	n=$(ask edge fill "$s6" 61 $((round + 1)) $(echo "$order" | tr 123 456)); moves=$((moves + n))
	[ "$round" = 6 ] && ask edge backend "$s4" b2 198.18.0.12 down >/dev/null        # the check errs
	[ "$round" = 8 ] && ask edge backend "$s4" b2 198.18.0.12 up >/dev/null
	read -rt 1 <> <(:)      # one change a second is what this test is about
	[ "$round" = 9 ] && open=$(field open)
done
wait $load4 $load6
echo "# $moves slot moves; $(cat "$scratch/load4"); $(cat "$scratch/load6")"
echo "# $(ask edge nat)"
sed 's/^/# /' "$scratch/broken4" "$scratch/broken6" | head -5
check "slots moved" test $moves -gt 400
check "thousands of connections" test $(($(field OPENED) - opened)) -gt 3000
check "more than a thousand were open at once" test "$open" -gt 1000
check "thousands of questions were answered" test $(($(answered <"$scratch/load4") + $(answered <"$scratch/load6"))) -gt 50000
check "not one connection broken, IPv4" is "$(broken <"$scratch/load4")" 0
check "not one connection broken, IPv6" is "$(broken <"$scratch/load6")" 0
check "nothing was evicted" is "$(field EVICTED)" 0
check "no reply was strange" is "$(field STRANGE)" 0
check "every backend was used" sh -c "for n in $(ask edge counts 1 2 3 4 5 6); do [ \$n -gt 1000 ] || exit 1; done"

# The agent stops in the middle and comes back: entries stay where they are.
in_ns client $FLOWS tcp $VIP 80 200 6 >"$scratch/load4" 2>/dev/null & load4=$!
read -rt 2 <> <(:)
tool_kill edge
check "a new loader adopts what is there" tool edge -t 3 -i eth0 -n $NAT -n $NAT6
wait $load4
check "not one connection broken by it" is "$(broken <"$scratch/load4")" 0

# The table of ports grows and shrinks in the middle of traffic: what is open stays where it is.
PIN=/sys/fs/bpf/edge
entries() { bpftool -j map show pinned $PIN/"$1" | jq .max_entries; }
resize() { # ENTRIES
	in_ns client $FLOWS tcp $VIP 80 500 6 >"$scratch/load4" 2>"$scratch/broken4" & load4=$!
	in_ns client $FLOWS tcp $VIP6 80 300 6 >"$scratch/load6" 2>/dev/null & load6=$!
	read -rt 2 <> <(:)
	tool_kill edge
	check "started with agent.limits.nat_ports $1" tool edge -t 3 -i eth0 -n $NAT -n $NAT6 -l nat_ports="$1"
	check "  so large are both maps" is "$(entries nat_ports) $(entries nat_flows)" "$1 $1"
	wait $load4 $load6
	echo "# $(cat "$scratch/load4"); $(cat "$scratch/load6")"
	check "  not one connection broken" is "$(broken <"$scratch/load4")$(broken <"$scratch/load6")" 00
}
resize 1048576
resize 131072
tool_kill edge
check "a table without room for what is open is refused" test "$(in_ns edge $TOOL -p $PIN -i eth0 -n $NAT -l nat_ports=65536 </dev/null 2>&1 |
	grep -c "nat_ports: [0-9]* of its entries have no room in 65536: raise agent.limits.nat_ports")" = 1
check "  and nothing was touched" is "$(entries nat_ports)" 131072
check "a third address has no room" test "$(in_ns edge $TOOL -p $PIN -i eth0 -n $NAT -n $NAT6 -n 198.18.0.102 -l nat_ports=131072 </dev/null 2>&1 |
	grep -c "agent.nat.addresses: 3 are more than the table of ports has room for; raise agent.limits.nat_ports to 196608")" = 1
check "started as before" tool edge -t 3 -i eth0 -n $NAT -n $NAT6

# A router's "too big" about the way to the backend reaches the client's connection: see tests/bpf/test_nat. Here: a closed port.
check "a refused connection is refused at once" sh -c "! nsenter --net=/run/netns/client timeout 2 bash -c 'exec 3<>/dev/tcp/$VIP/81' 2>/dev/null"
closed=$(ask edge service s9 1 nat port=81 "$VIP:82/tcp" "$VIP:82/udp")
i=$(ask edge backend "$closed" e1 198.18.0.11 up)
ask edge fill "$closed" 1 1 "$i" >/dev/null
refused() { in_ns client timeout 3 bash -c "exec 3<>/dev/tcp/$VIP/82" 2>&1 | grep -qi refused; }
check "the backend's reset reaches the client" refused
icmp() { in_ns client timeout 3 bash -c "exec 3<>/dev/udp/$VIP/82; echo x >&3; read -t 2 -r <&3 2>&1; echo y >&3" 2>&1 | grep -qi refused; }
check "its ICMP error too" icmp
finish
