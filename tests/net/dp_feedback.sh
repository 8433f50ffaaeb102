#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Feedback (agent.feedback): of a connection whose slot went on to others while it was idle the first packet is passed on by
# them, and its owner tells the edge, which sends the others there directly; without feedback every packet takes the long way.
# Either way the connection lives. Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

ASKED=20

for b in 1 2 3; do in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1; done
settled() { [ "$(ask edge state 0 | cut -d' ' -f2)" = 0 ]; }
relayed() { echo $(($(reason b2 RELAYED) + $(reason b2 NO_NEIGHBOUR) + $(reason b3 RELAYED) + $(reason b3 NO_NEIGHBOUR))); }
taken() { [ "$(reason edge FEEDBACK)" -gt "$1" ]; }
open_to() {     # open_to ADDRESS: a connection that is asked through a pair of pipes whenever the test wants
	mkfifo "$scratch/ask" "$scratch/answer"
	in_ns client bash -c "exec 3<>/dev/tcp/$1/80; while read -r line; do echo \"\$line\" >&3; read -t 5 -r back <&3 && echo \"\$back\" || echo broken; done" \
		<"$scratch/ask" >"$scratch/answer" 2>/dev/null &
	exec 8>"$scratch/ask" 9<"$scratch/answer"
}
shut() { exec 8>&- 9<&-; rm "$scratch/ask" "$scratch/answer"; }
say() { echo "$1" >&8; read -rt 8 -u 9 back && echo "$back"; }
many() { local n; for n in $(seq $ASKED); do [ "$(say "m$n")" = "m$n" ] || return 1; done; }
move_to() {     # move_to BACKEND: its slot, and the transition ends
	ask edge fill 0 1 1 "${index[$1]}" >/dev/null
	until_true 10 settled
}
long_way() { move_to 2 && move_to 3; }
begin() {       # begin on|off ADDRESS: a connection to b1, which has the slot
	local n
	for n in edge b1 b2 b3; do is "$(ask $n feedback $1)" 0 || return 1; done
	move_to 1 || return 1
	open_to "$2"
	is "$(say one)" one
}

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
check "the edge's data plane opens, drain time 1 s" tool edge -t 1 -i eth0 -d eth0 -f 198.18.0.0/16 -f 2001:db8::/32
serve
ask edge service s 1 gue "$VIP:80/tcp" "[$VIP6]:80/tcp" >/dev/null
declare -a index

for family in 4 6; do
	[ $family = 4 ] && address=$VIP prefix=198.18.0.1 || { address=$VIP6; prefix=2001:db8::1; }
	for b in 1 2 3; do index[b]=$(ask edge backend 0 "b$b-$family" "$prefix$b" up); done
	check "IPv$family, without feedback: a connection to b1" begin off "$address"
	check "its slot goes to b2, then to b3, while it is idle" long_way
	before=$(relayed)
	check "it answers" many
	n=$(($(relayed) - before))
	check "each packet is passed on twice ($n)" test $n -ge $((2 * ASKED))
	shut

	told=$(reason edge FEEDBACK)
	check "IPv$family, with feedback: a connection to b1" begin on "$address"
	check "its slot goes to b2, then to b3, while it is idle" long_way
	check "nobody told anything so far" is "$(reason edge FEEDBACK)" "$told"
	before=$(relayed)
	check "its first packet is passed on" is "$(say first)" first
	check "b1 tells the edge" until_true 5 taken "$told"
	first=$(($(relayed) - before))
	check "it answers" many
	n=$(($(relayed) - before - first))
	check "the others go straight to b1 ($first were passed on before, $n after)" test $n -eq 0
	check "new connections go to b3 and stay" in_ns client "$FLOWS" tcp "$address" 80 20 1
	check "when it is idle again the slot is steady" until_true 10 settled
	told=$(reason edge FEEDBACK)
	check "and all begins anew" is "$(say again)" again
	check "b1 tells it again" until_true 5 taken "$told"
	shut
done
check "the edge took all that it was told" is "$(reason edge FEEDBACK_REFUSED)" 0
finish
