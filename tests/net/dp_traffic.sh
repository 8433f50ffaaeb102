#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Real connections through the edge program to backends that decapsulate in XDP: each encapsulation, both
# families, UDP, a large packet that must be told the right size, and counters that add up.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

# No MSS is bounded here, so that the largest packets do not fit and the client must be told.
for b in 1 2 3; do backend b$b -s off || { echo "not ok 1 - b$b's data plane opens"; exit 1; }; done
check "the edge's data plane opens" tool edge -i eth0
check "native mode by link" is "$(ask edge interfaces)" "eth0 native link"
serve

both="$VIP:80/tcp $VIP:80/udp [$VIP6]:80/tcp [$VIP6]:80/udp"
four=$(ask edge service s 31 gue "$both")
for b in 1 2 3; do ask edge backend "$four" b$b 198.18.0.1$b up; done >/dev/null
check "slots are filled" is "$(ask edge fill "$four" 31 1 1 2 3)" 31

ok() { "$@" >"$scratch/out" 2>&1 || { sed 's/^/# /' "$scratch/out"; return 1; }; }
tcp() { ok in_ns client $FLOWS tcp "$1" 80 40 1; }
udp() { ok in_ns client $FLOWS udp "$1" 80 200 1000; }
udp $VIP >/dev/null || :        # neighbours
check "GUE: IPv4 in IPv4, TCP" tcp $VIP
check "GUE: IPv4 in IPv4, UDP" udp $VIP
check "GUE: IPv6 in IPv4, TCP" tcp $VIP6
check "GUE: IPv6 in IPv4, UDP" udp $VIP6
ask edge service s 31 ipip "$both" >/dev/null
check "IPIP: IPv4 in IPv4" tcp $VIP
check "IPIP: IPv6 in IPv4" tcp $VIP6
for b in 1 2 3; do ask edge backend "$four" b$b 2001:db8::1$b up; done >"$scratch/six"
mapfile -t six <"$scratch/six"
check "backends get a second, IPv6 address" is "$(ask edge fill "$four" 31 2 "${six[@]}")" 31
check "IPIP: IPv4 in IPv6" tcp $VIP
check "IPIP: IPv6 in IPv6" tcp $VIP6
ask edge service s 31 gue "$both" >/dev/null
check "GUE: IPv4 in IPv6" tcp $VIP
check "GUE: IPv6 in IPv6" tcp $VIP6
check "every backend had packets" sh -c "for n in $(ask edge counts "${six[@]}"); do [ \$n -gt 100 ] || exit 1; done"

check "echo to the service" ok in_ns client busybox ping -c3 -W2 -q $VIP
check "echo to the service, IPv6" ok in_ns client busybox ping -c3 -W2 -q $VIP6
pmtu() { in_ns client ip route get "$1" | grep -o 'mtu [0-9]*'; }
send_big() { in_ns client $FLOWS bulk "$1" 80 200000 20; }
check "200 kB through TCP: the client learns what fits" is "$(send_big $VIP)" 200000
check "by a route exception" is "$(pmtu $VIP)" "mtu $((1500 - 104))"
check "the same by IPv6" is "$(send_big $VIP6)" 200000
check "by a route exception, IPv6" is "$(pmtu $VIP6)" "mtu $((1500 - 104))"
check "told, not dropped silently" test "$(reason edge TOO_BIG)" -gt 0

total() { in_ns edge ethtool -S eth0 | awk '/rx_queue_[0-9]+_xdp_packets/ { n += $2 } END { print n }'; }
sum() { ask edge reasons | tr ' ' '\n' | awk -F= '{ n += $2 } END { print n }'; }
# Stray packets (neighbours, router solicitations) come in between: equal before and after.
adds_up() { local before now; before=$(total); now=$(sum); [ "$before" = "$now" ] || [ "$now" = "$(total)" ]; }
check "the reasons add up to the packets that XDP saw" until_true 5 adds_up
check "a health check's socket carries the mark" is "$(ask edge socket 4)" 0x77
for ns in edge b1 b2 b3; do tool_end $ns; done
check "the packet path works with no process of ours" tcp $VIP
in_ns edge $TOOL -p /sys/fs/bpf/edge -i eth0 -x >"$scratch/out"
check "detach removes the program" is "$(in_ns edge ip -d link show eth0 | grep -c xdp)" 0
check "and the pins" test ! -e /sys/fs/bpf/edge
finish
