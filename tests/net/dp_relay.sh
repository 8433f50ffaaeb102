#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Rule 4: a connection that was idle for longer than the drain time, its slot long given to others, still lives, because the
# backend that gets its packet passes it on to an earlier owner; nobody passes on what he knows, nor new ones.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do
	in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1     # the relay asks the kernel's routes
	backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }
done
check "the edge's data plane opens, drain time 1 s" tool edge -t 1 -i eth0
serve
ask edge service s 1 gue "$VIP:80/tcp" >/dev/null
for b in 1 2 3; do ask edge backend 0 b$b 198.18.0.1$b up; done >/dev/null
ask edge fill 0 1 1 1 >/dev/null
settled() { [ "$(ask edge state 0 | cut -d' ' -f2)" = 0 ]; }

# One connection, asked through a pair of pipes whenever the test wants.
mkfifo "$scratch/ask" "$scratch/answer"
in_ns client bash -c "exec 3<>/dev/tcp/$VIP/80; while read -r line; do echo \"\$line\" >&3; read -t 3 -r back <&3 && echo \"\$back\" || echo broken; done" \
	<"$scratch/ask" >"$scratch/answer" 2>/dev/null &
exec 8>"$scratch/ask" 9<"$scratch/answer"
say() { echo "$1" >&8; read -rt 5 -u 9 back && echo "$back"; }
check "a connection to b1" is "$(say one)" one
ask edge fill 0 1 2 2 >/dev/null
check "the transition to b2 ends while it is idle" until_true 10 settled
check "its next packet comes to b2, which passes it on" is "$(say two)" two
check "counted as relayed" test $(($(reason b2 RELAYED) + $(reason b2 NO_NEIGHBOUR))) -gt 0
ask edge fill 0 1 3 3 >/dev/null
check "the transition to b3 ends too" until_true 10 settled
check "through b3 and b2 to b1" is "$(say three)" three
check "b3 passed on" test $(($(reason b3 RELAYED) + $(reason b3 NO_NEIGHBOUR))) -gt 0
relayed=$(reason b3 RELAYED)
check "new connections stay with b3" sh -c "nsenter --net=/run/netns/client $FLOWS tcp $VIP 80 20 1 >/dev/null 2>&1"
check "none of theirs is passed on but what is left of closed ones" test $(($(reason b3 RELAYED) - relayed)) -le 25
exec 8>&- 9<&-
finish
