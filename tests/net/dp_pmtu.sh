#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Full-size transfers, up and down, through each encapsulation over links of 1500 bytes, both families inside and out: by
# the MSS that the backend announces where "too big" is lost on the way, and by "too big" where no MSS is bounded. Bytes are
# compared by hash; what the backend answers does not pass the edge.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

check "the backend's data plane opens" backend b1
check "the edge's data plane opens" tool edge -i eth0
nsenter --net=/run/netns/b1 python3 tests/net/dp_bytes.py serve 80 >"$scratch/serve" &
until_true 5 grep -qs ready "$scratch/serve"
both="$VIP:80/tcp [$VIP6]:80/tcp"
ask edge service s 31 gue "$both" >/dev/null
declare -A by=([4]="$(ask edge backend 0 four 198.18.0.11 up)" [6]="$(ask edge backend 0 six 2001:db8::11 up)")

way() {         # way ENCAP OUTER-FAMILY
	ask edge service s 31 "$1" "$both" >/dev/null
	ask edge fill 0 31 $((++generation)) "${by[$2]}" >/dev/null
}
generation=0
edge_bytes() { in_ns edge ip -s -j link show eth0 | jq '.[0].stats64.rx.bytes'; }
said=
move() {        # move up|down ADDRESS MEGABYTES SECONDS
	said=$(in_ns client python3 tests/net/dp_bytes.py "$1" "$2" 80 $(($3 * 1000000)) "$4")
	case $said in ok*) ;; *) echo "# $said"; return 1 ;; esac
}
# What the client learnt about the size of the way is forgotten.
forget() { in_ns client ip route flush cache; in_ns client ip -6 route flush cache; }
lose_icmp() {
	in_ns client nft -f - <<-END
		table inet lost {
			chain in {
				type filter hook input priority 0
				icmp type destination-unreachable counter drop
				icmpv6 type packet-too-big counter drop
			}
		}
	END
}
keep_icmp() { in_ns client nft delete table inet lost; }
inner() { [ "$1" = 4 ] && echo $VIP || echo $VIP6; }
all_ways() {    # all_ways WHAT
	local encap out in
	for encap in gue ipip; do for out in 4 6; do
		way $encap $out
		for in in 4 6; do
			forget
			check "$1: $encap, IPv$in in IPv$out, 100 MB up" move up "$(inner $in)" 100 30
			echo "# ${said#ok } MB/s"
			forget
			check "$1: $encap, IPv$in in IPv$out, 100 MB down" move down "$(inner $in)" 100 30
			echo "# ${said#ok } MB/s"
		done
	done; done
}

lose_icmp
all_ways "no ICMP"
clamped() { ask "$1" egress | tr ' ' '\n' | sed -n 's/^CLAMPED=//p'; }
check "the backend lowered what it announced" test "$(clamped b1)" -ge 16
check "nothing had to be told" is "$(reason edge TOO_BIG)" 0
way gue 4
before=$(edge_bytes)
check "100 MB down once more" move down $VIP 100 30
passed=$(($(edge_bytes) - before))
check "the edge saw the acknowledgements alone: $passed bytes" test "$passed" -gt 1000 -a "$passed" -lt 6000000

# The contrast: what the bound is for. And again when it is back, by a restart over what is there.
tool_end b1
check "without a bound" backend b1 -s off
check "the program is gone from the interface" is "$(in_ns b1 tc filter show dev eth0 egress)" ""
forget
stuck() { ! move up "$1" 1 3 >/dev/null; }
check "and without ICMP an upload gets stuck" stuck $VIP
check "also over IPv6" stuck $VIP6
keep_icmp
all_ways "no bound"
check "the client was told" test "$(reason edge TOO_BIG)" -gt 0
tool_end b1
check "a number" backend b1 -s 1000
announced() {
	in_ns client timeout 5 tcpdump -c1 -nni eth0 "src host $VIP and tcp[tcpflags] & tcp-syn != 0" 2>/dev/null >"$scratch/syn" &
	local dump=$!
	until_true 5 grep -qs "" /proc/$dump/net/packet
	move up $VIP 1 10
	wait $dump
	grep -o 'mss [0-9]*' "$scratch/syn"
}
check "is what is announced" is "$(announced)" "mss 1000"
tool_kill b1
check "also while every process of ours is dead" is "$(announced)" "mss 1000"
check "started again" backend b1
check "the interface's MTU less GUE over IPv6: 1500 - 104 - 40" is "$(announced)" "mss 1356"
check "one program hangs there" is "$(in_ns b1 tc filter show dev eth0 egress | grep -c weir_egress)" 1
tool_end b1
in_ns b1 $TOOL -p /sys/fs/bpf/b1 -i eth0 -x >"$scratch/out"
check "detach removes it" is "$(in_ns b1 tc filter show dev eth0 egress)" ""
check "and clsact, where nothing else is" is "$(in_ns b1 tc qdisc show dev eth0 | grep -c clsact)" 0
finish
