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
wait $load
result=$(cat "$scratch/load")
echo "# $moves slot moves; $result"
sed 's/^/# /' "$scratch/broken" | head -5
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
finish
