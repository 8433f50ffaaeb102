#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A service of networks: real connections to their addresses, which another start adopts and a sweep removes.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

NET=198.18.64.0/20 NET6=2001:db8:64::/64
for b in 1 2 3; do
	in_ns b$b ip route add local $NET dev lo
	in_ns b$b ip -6 route add local $NET6 dev lo
	backend b$b || { echo "not ok 1 - b$b's data plane opens"; exit 1; }
done
in_ns client ip route add $NET via 198.18.0.1
in_ns client ip route add $NET6 via 2001:db8::1
check "the edge's data plane opens" tool edge -i eth0
serve
service() { ask edge service networks 31 gue "$NET:80/tcp" "$NET:80/udp" "[2001:db8:64::]/64:80/tcp"; }
number=$(service)
for b in 1 2 3; do ask edge backend "$number" b$b 198.18.0.1$b up; done >/dev/null
check "slots are filled" is "$(ask edge fill "$number" 31 1 1 2 3)" 31

ok() { "$@" >"$scratch/out" 2>&1 || { sed 's/^/# /' "$scratch/out"; return 1; }; }
tcp() { ok in_ns client $FLOWS tcp "$1" 80 20 1; }
in_ns client $FLOWS udp 198.18.64.1 80 200 1000 >/dev/null || :       # neighbours
check "TCP to the first address" tcp 198.18.64.0
check "TCP to the last" tcp 198.18.79.255
check "UDP in between" ok in_ns client $FLOWS udp 198.18.70.7 80 200 1000
check "IPv6" tcp 2001:db8:64::abcd
check "echo" ok in_ns client busybox ping -c2 -W2 -q 198.18.71.1
check "echo, IPv6" ok in_ns client busybox ping -c2 -W2 -q 2001:db8:64::77
refused() { ! in_ns client timeout 2 $FLOWS bulk "$1" 81 100 1 >/dev/null 2>&1; }
check "no other port" refused 198.18.64.1
check "another service may not have it" is "$(ask edge service other 31 gue $NET:80/tcp)" \
	"error -98 198.18.64.0/20 port 80 already belongs to service networks"
one=$(ask edge service one 1 gue 198.18.64.9:80/tcp)
first=$(ask edge backend "$one" b1 198.18.0.11 up)
ask edge fill "$one" 1 1 "$first" >/dev/null
check "an address of its own comes before the network" tcp 198.18.64.9
check "by that service" test "$(ask edge counts "$first")" -gt 0
check "nothing is removed while it is set" is "$(ask edge sweep)" 0
check "and still led" tcp 198.18.64.1

tool_kill edge
check "the packet path lives without its processes" tcp 198.18.64.2
check "another start" tool edge -i eth0
check "adopts the networks" tcp 198.18.64.3
check "the same number" is "$(service)" "$number"
check "a sweep keeps what was set" is "$(ask edge sweep)" 0
check "as it was" tcp 198.18.64.4
ask edge service networks 31 gue "$VIP:80/tcp" >/dev/null
ask edge service other 31 gue "$NET6:80/tcp" >/dev/null
check "an address in place of networks" is "$(ask edge sweep)" 0
check "networks are gone" refused 198.18.64.1
check "the address is there" tcp $VIP
finish
