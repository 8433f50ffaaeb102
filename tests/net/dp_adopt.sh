#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent's side dies: SIGKILL to it and its loader in the middle of traffic loses not one packet, a new start adopts
# link, maps, numbers and slots and loses none either; a reload that removes a service sweeps it.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
check "the edge's data plane opens" tool edge -i eth0
serve
set_up() { # the numbers that are given out
	local s
	s=$(ask edge service s 31 gue "$VIP:80/tcp $VIP:80/udp"); echo -n "$s "
	for b in 1 2 3; do echo -n "$(ask edge backend "$s" b$b 198.18.0.1$b up) "; done
}
first=$(set_up)
extra=$(ask edge service extra 7 ipip "$VIP:81/tcp")
ask edge fill 0 31 5 1 2 3 >/dev/null
ask edge fill 0 31 6 2 2 3 >/dev/null
owners=$(ask edge get 0 31) state=$(ask edge state 0 | cut -d' ' -f1-3)
in_ns client $FLOWS udp $VIP 80 50 1000 >/dev/null

id() { in_ns edge ip link show eth0 | grep -o 'prog/xdp id [0-9]*'; }
program=$(id)
in_ns client $FLOWS udp $VIP 80 4000 1000 >"$scratch/udp" &
udp=$!
in_ns client $FLOWS tcp $VIP 80 100 4 >"$scratch/tcp" 2>/dev/null &
tcp=$!
read -rt 1 <> <(:)
tool_kill edge
check "killed: the program stays" is "$(id)" "$program"
read -rt 1 <> <(:)
check "a new start adopts" tool edge -i eth0
check "and says so" grep -q 'adopted' "$scratch/log-edge"
check "the program was exchanged" test "$(id)" != "$program"
wait $udp
check "not one of 4,000 datagrams lost" is "$(cat "$scratch/udp")" "sent 4000 received 4000"
wait $tcp
check "not one connection broken" is "$(cut -d' ' -f6 "$scratch/tcp")" 0

check "numbers and indexes are the same" is "$(set_up)" "$first"
check "so are the slots" is "$(ask edge get 0 31)" "$owners"
check "transitions and generation too" is "$(ask edge state 0 | cut -d' ' -f1-3)" "$state"
quiet() { "$@" >/dev/null; }
keys() { bpftool -j map dump pinned /sys/fs/bpf/edge/services | jq length; }
check "the other service is still there" is "$(keys)" 4
check "a sweep" is "$(ask edge sweep)" 0
check "removes it" is "$(keys)" 3
case $(ask edge state "$extra") in error*) gone=yes ;; *) gone=no ;; esac
check "and its number" is $gone yes
ask edge service s 53 gue "$VIP:80/tcp" >/dev/null
ask edge fill 0 53 7 1 2 3 >/dev/null
check "another number of slots" is "$(ask edge state 0 | cut -d' ' -f1,3)" "53 7"
check "still forwards" quiet in_ns client $FLOWS tcp $VIP 80 20 1
in_ns edge ip link del eth0
node2() { ip link add eth0 netns edge address 02:00:00:00:00:01 type veth peer name p-edge; ip link set p-edge master wire up; in_ns edge ip addr add 198.18.0.1/16 dev eth0; in_ns edge ip link set eth0 up; }
node2
tool_end edge
check "an interface that was made anew is attached anew" tool edge -i eth0
check "and carries the program" test -n "$(id)"
finish
