#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A SYN flood by live frames from 256 /24s, while 1,000 clients of 64 other networks ask and open anew: with limits they
# have what they have when the same generator meets a program that drops at once, within 5%; without limits, while
# slots move, no established connection breaks. FLOOD_SECONDS (8), FLOOD_PPS (100000).
# Needs root and two CPUs. Exit: 0 pass, 1 fail, 77 skip.
[ "$(nproc)" -ge 2 ] || { echo "skip: needs two CPUs"; exit 77; }
. "$(dirname "$0")/dp_lib"
seconds=${FLOOD_SECONDS:-8} pps=${FLOOD_PPS:-100000} flows=1000
FLOOD=build/tests/net/dp_flood

ip link add sink type veth peer name sink-end && ip link set sink up && ip link set sink-end up
$FLOOD drop sink-end >"$scratch/drop" &
until_true 5 grep -qs ready "$scratch/drop" || { echo "not ok 1 - the sink drops"; exit 1; }
for k in $(seq 0 63); do in_ns client ip addr add 100.64.$k.9/32 dev lo; done
for n in edge b1 b2 b3; do
	in_ns $n ip route add 100.64.0.0/16 via 198.18.0.9
	in_ns $n ip route add 10.0.0.0/8 via 198.18.0.9 # where answers to the flood are dropped
done
for b in 1 2 3; do
	in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1     # the second chance asks the kernel's routes
	backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }
done
check "the edge's data plane opens, drain time 5 s" tool edge -t 5 -i eth0
serve
s=$(ask edge service s 251 gue "$VIP:80/tcp")
for b in 1 2 3; do ask edge backend "$s" b$b 198.18.0.1$b up; done >/dev/null
check "slots are filled" is "$(ask edge fill "$s" 251 1 1 2 3)" 251
in_ns client $FLOWS tcp $VIP 80 10 1 >/dev/null 2>&1

# The flood's work is done on CPU 1, where it is sent; everything else on CPU 0. What is compared takes turns, because
# a machine does other things, too.
for pid in $(pgrep -f "$FLOWS serve"); do chrt -a -r -p 5 "$pid" 2>/dev/null; done
flood() { chrt -r 5 taskset -c 1 $FLOOD send "$1" 02:00:00:00:00:01 $VIP 80 "$pps" "$2" 256; }
good() { DP_SPREAD=64 in_ns client chrt -r 5 taskset -c 0 $FLOWS tcp $VIP 80 $flows "$1"; }
measure() {     # measure NAME IF SECONDS: a flood into IF while the good ones go on
	local pid
	flood "$2" $(($3 + 1)) >"$scratch/flood" &
	pid=$!
	good "$3" >"$scratch/good" 2>>"$scratch/broken"
	wait $pid
	echo "# $1: $(cat "$scratch/good"); flood $(cat "$scratch/flood")"
	cat "$scratch/good" >>"$scratch/good-$1"
}
field() { awk -v at="$2" '{ n += $at } END { print n }' "$scratch/good-$1"; }
near() { awk -v a="$1" -v b="$2" 'BEGIN { d = a / b - 1; printf "# %+.1f%%\n", d * 100; exit !(d >= -0.05 && d <= 0.05) }'; }

before=$(reason edge LIMITED_SYN)
for round in 1 2; do
	ask edge limits 0 0 >/dev/null
	measure dropped sink $((seconds / 2))
	ask edge limits 20 60 >/dev/null    # new connections a second of a network, at once
	measure limited p-edge $((seconds / 2))
done
limited=$(($(reason edge LIMITED_SYN) - before))
echo "# $limited SYNs dropped by limits"
check "the flood came in, and was limited" test "$limited" -gt $((pps * seconds / 4))
check "with limits: as many new connections as beside a flood that is dropped at once" near "$(field limited 2)" "$(field dropped 2)"
check "and as many answers" near "$(field limited 4)" "$(field dropped 4)"
check "none broken, none refused" is "$(field limited 6)" 0
check "nor beside the other" is "$(field dropped 6)" 0

# Without limits, and each slot given to another backend every two seconds.
check "limits off" is "$(ask edge limits 0 0)" 0
flood p-edge $((seconds + 1)) >"$scratch/flood-off" &
flood_pid=$!
good "$seconds" >"$scratch/good-off" 2>"$scratch/broken-off" &
good_pid=$!
orders=("2 3 1" "3 1 2" "1 2 3") moves=0
for round in $(seq 1 $((seconds / 2))); do
	# shellcheck disable=SC2086
	moves=$((moves + $(ask edge fill "$s" 251 $((round + 1)) ${orders[round % 3]})))
	read -rt 2 <> <(:)
done
wait $good_pid $flood_pid
echo "# off: $(cat "$scratch/good-off"); flood $(cat "$scratch/flood-off"); $moves slot moves"
echo "# edge: $(ask edge reasons | tr ' ' '\n' | grep -v '=0$' | tr '\n' ' ')"
sed 's/^/# /' "$scratch/broken-off" | head -5
# A flood pushes notes of handshakes out of their small table within 30 ms; then the client's first ACK goes to the slot's
# previous owner, which passes it on to who answered the SYN: without forwarding 17 of 4,748 were reset there, with it 0 of
# 4,824 (64 notes, moves every 0.3 s). What is left and told: a SYN that is sent again after its slot moved has two servers.
check "without limits no established connection breaks" is "$(($(field off 6) - $(field off 8)))" 0
finish
