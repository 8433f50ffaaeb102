#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Connections while slots change: 400 at a time, each slot given to another backend every second for 20 s, not
# one broken; the same again with a drained backend; transitions end after the drain time.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
check "the edge's data plane opens, drain time 3 s" tool edge -t 3 -i eth0
serve
s=$(ask edge service s 61 gue "$VIP:80/tcp")
for b in 1 2 3; do ask edge backend "$s" b$b 198.18.0.1$b up; done >/dev/null
check "slots are filled" is "$(ask edge fill "$s" 61 1 1 2 3)" 61
in_ns client $FLOWS tcp $VIP 80 10 1 >/dev/null 2>&1     # neighbours

in_ns client $FLOWS tcp $VIP 80 400 20 >"$scratch/load" 2>"$scratch/broken" &
load=$!
orders=("2 3 1" "3 1 2" "1 2 3" "3 2 1" "1 1 2" "2 2 3")
moves=0
for round in $(seq 1 18); do
	# shellcheck disable=SC2086
	n=$(ask edge fill "$s" 61 $((round + 1)) ${orders[round % 6]})
	moves=$((moves + n))
	read -rt 1 <> <(:)      # one change a second is what this test is about
done
noted=$(ask edge notes)
wait $load
result=$(cat "$scratch/load")
echo "# $moves slot moves; $result"
sed 's/^/# /' "$scratch/broken" | head -5
# shellcheck disable=SC2086
set -- $noted
check "flows are noted, about as many as were open, of room for 131072" test "$1" -gt 50 -a "$1" -lt 5000 -a "$2" = 131072
check "slots moved" test $moves -gt 300
check "thousands of questions were answered" test "$(echo "$result" | cut -d' ' -f4)" -gt 5000
check "not one connection broken" is "$(echo "$result" | cut -d' ' -f6)" 0

in_ns client $FLOWS tcp $VIP 80 200 8 >"$scratch/load" 2>"$scratch/broken" &
load=$!
read -rt 2 <> <(:)
ask edge fill "$s" 61 99 2 3 >/dev/null
wait $load
check "draining a backend breaks nothing" is "$(cut -d' ' -f6 "$scratch/load")" 0
settled() { [ "$(ask edge state "$s" | cut -d' ' -f2)" = 0 ]; }
check "transitions end after the drain time" until_true 10 settled
check "what is left of their notes does not count" is "$(ask edge notes | cut -d' ' -f1)" 0

# Two candidates: loads turn round each second, so new connections leave their slots; none breaks, also not when slots move.
t=$(ask edge service t 61 gue two "$VIP:8080/tcp")
for b in 1 2 3; do
	nsenter --net=/run/netns/b$b $FLOWS serve 8080 >"$scratch/serve8080-$b" &
	until_true 5 grep -qs ready "$scratch/serve8080-$b"
done
i=(); for b in 1 2 3; do i+=("$(ask edge backend "$t" b$b 198.18.0.1$b up)"); done
ask edge fill "$t" 61 1 "${i[@]}" >/dev/null
in_ns client $FLOWS tcp $VIP 8080 400 12 >"$scratch/load" 2>"$scratch/broken" &
load=$!
turns=("60000 20000 20000" "20000 60000 20000" "20000 20000 60000")
for round in $(seq 1 9); do
	# shellcheck disable=SC2086
	set -- ${turns[round % 3]}
	ask edge loads "${i[0]}" "$1" "${i[1]}" "$2" "${i[2]}" "$3" >/dev/null
	[ "$round" = 4 ] && ask edge fill "$t" 61 2 "${i[1]}" "${i[2]}" "${i[0]}" >/dev/null
	read -rt 1 <> <(:)      # one change a second
done
kept=$(ask edge notes | cut -d' ' -f5)
wait $load
echo "# $(cat "$scratch/load"); $kept flows left their slots"
sed 's/^/# /' "$scratch/broken" | head -5
check "flows left their slots" test "$kept" -gt 100
check "not one of them broken" is "$(cut -d' ' -f6 "$scratch/load")" 0
finish
