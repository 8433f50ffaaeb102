#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Backends that run nothing of ours: the kernel's own ipip, sit, ip6_tunnel and fou open what the edge sends, to real sockets, in
# every combination of families, over TCP and UDP; fou skips GUE's private data, also when it names earlier owners. The edge's
# program is in libxdp's dispatcher. Needs those modules. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/../net/dp_lib"

for b in 1 2 3; do
	in_ns b$b ip link set tunl0 up 2>/dev/null || { echo "skip: no ipip"; exit 77; }
	in_ns b$b ip link set sit0 up || { echo "skip: no sit"; exit 77; }
	in_ns b$b ip link add t6 type ip6tnl mode any local 2001:db8::1$b remote 2001:db8::1 || { echo "skip: no ip6_tunnel"; exit 77; }
	in_ns b$b ip link set t6 up
	in_ns b$b ip fou add port 6080 gue || { echo "skip: no fou"; exit 77; }
	in_ns b$b ip -6 fou add port 6080 gue || { echo "skip: no fou6"; exit 77; }
	in_ns b$b sysctl -qw net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0
done
check "the edge's data plane opens through libxdp" tool edge -a dispatcher -i eth0
check "in the dispatcher" is "$(ask edge interfaces)" "eth0 native dispatcher"
echo "# $(in_ns edge bpftool prog show | grep -cE ' (xdp|ext) ') programs: the dispatcher, and ours as an extension of it"
check "as an extension, which this kernel allows" sh -c "bpftool prog show | grep -q ' ext '"
serve
both="$VIP:80/tcp $VIP:80/udp [$VIP6]:80/tcp [$VIP6]:80/udp"
encap() { ask edge service s 31 "$1" "$both"; }
s=$(encap gue)
ok() { "$@" >"$scratch/out" 2>&1 || { sed 's/^/# /' "$scratch/out"; return 1; }; }
all() { # all WHAT OUTER: both inner families, both protocols
	check "$1: IPv4 in $2, TCP" ok in_ns client $FLOWS tcp $VIP 80 10 2
	check "$1: IPv4 in $2, UDP" ok in_ns client $FLOWS udp $VIP 80 100 5000
	check "$1: IPv6 in $2, TCP" ok in_ns client $FLOWS tcp $VIP6 80 10 2
	check "$1: IPv6 in $2, UDP" ok in_ns client $FLOWS udp $VIP6 80 100 5000
}
for b in 1 2 3; do ask edge backend "$s" b$b 198.18.0.1$b up >/dev/null; done
ask edge fill "$s" 31 1 1 2 3 >/dev/null
in_ns client $FLOWS udp $VIP 80 50 5000 >/dev/null; in_ns client $FLOWS udp $VIP6 80 50 5000 >/dev/null      # neighbours
all "fou with private data" IPv4
ask edge fill "$s" 31 2 2 3 1 >/dev/null
all "fou with private data that names owners" IPv4
encap ipip >/dev/null
all "ipip and sit" IPv4
for b in 1 2 3; do ask edge backend "$s" b$b 2001:db8::1$b up; done >"$scratch/six"
mapfile -t six <"$scratch/six"
ask edge fill "$s" 31 3 "${six[@]}" >/dev/null
in_ns client $FLOWS udp $VIP 80 50 5000 >/dev/null
all "ip6_tunnel" IPv6
encap gue >/dev/null
all "fou with private data" IPv6
had() { [ "$(in_ns b1 awk -v d="$1:" '$1 == d { print $3 }' /proc/net/dev)" -gt 20 ]; }
for d in tunl0 sit0 t6; do check "$d had packets" had $d; done
finish
