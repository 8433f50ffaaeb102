#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Nothing breaks: two balancers behind a router that spreads flows (ECMP), six backends that pass on what they do not
# know, 2,000 open connections of mixed life (dp_churn.c), drain time 60 s. For 3 minutes weights change every second
# within the move budget (0.1% of the slots a second); a backend is added, one drained, the agent of either balancer is
# killed, and one balancer is replaced by a new one that has no notes and its sister's slot table, copied as agents do it. Not one connection may
# break. Beside it, at the same time, runs the same without the second chance (WEIR_OFF_RELAY); what breaks there is told.
#
#	CHURN_SECONDS CHURN_FLOWS CHURN_DRAIN CHURN_IDLE (longest silence) CHURN_STEP (a weight's change, in 1/1000)
#	CHURN_VARIANTS: of "relay" and "alone" (no second chance); with a step of its own after a colon: "relay:80"
#
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
: "${CHURN_SECONDS:=180}" "${CHURN_FLOWS:=2000}" "${CHURN_DRAIN:=60}" "${CHURN_IDLE:=45}" "${CHURN_STEP:=5}"
: "${CHURN_VARIANTS:=relay alone}"
SLOTS=4093
export CHURN_SECONDS CHURN_FLOWS CHURN_DRAIN CHURN_IDLE CHURN_STEP

ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
if [ $# = 0 ]; then
	[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
	make -s -C "$(dirname "$0")/../.." build/bpf-tests >/dev/null 2>&1 || { echo "not ok 1 - builds"; exit 1; }
	work=$(mktemp -d) || exit 1
	trap 'rm -rf "$work"' EXIT
	export DP_BUILT=yes
	for v in $CHURN_VARIANTS; do "$0" "${v%:*}" "${v#*:}" >"$work/$v" 2>&1 & done
	wait
	for v in $CHURN_VARIANTS; do cat "$work/$v"; done | awk '
		/^(not )?ok/ { sub(/ok [0-9]+ /, "ok " ++n " ") } !/^1\.\./ { print }
		/^not ok/ { bad = 1 } END { print "1.." n; exit bad || !n }'
	exit
fi

variant=$1
case $2 in *[!0-9]*) ;; *) CHURN_STEP=$2 ;; esac
DP_BACKENDS="1 2 3 4 5 6"
. "$(dirname "$0")/dp_lib"
CHURN=build/tests/net/dp_churn
edges="edge edge2"
said() { check "$variant, step $CHURN_STEP: $1" "${@:2}"; }
quiet() { "$@" >/dev/null 2>&1; }

node edge2 2
in_ns client sysctl -qw net.ipv4.fib_multipath_hash_policy=1
ways() { # the router's equal paths: the address after each "via"
	local w="" a
	for a in "$@"; do w="$w nexthop via $a"; done
	# shellcheck disable=SC2086
	in_ns client ip route replace $VIP $w
}
for b in $DP_BACKENDS; do
	in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1     # the relay asks the kernel's routes
	backend_begin b$b
done
for e in $edges; do tool_begin "$e" -t "$CHURN_DRAIN" -i eth0; done
for b in $DP_BACKENDS; do
	tool_ready b$b || { echo "not ok 1 - b$b opens"; exit 1; }
	[ "$variant" = relay ] || bpftool map update pinned /sys/fs/bpf/b$b/settings key 0 0 0 0 \
		value 4 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
done
serve

# Rates by backend; b6 comes later.
rate=(0 10000 10000 10000 10000 10000 0)
generation=0 moved=0 asked=0
declare -A index # of a backend at a balancer
backends() { # backends EDGE BACKEND...: in that order
	local b e=$1
	for b in "${@:2}"; do index[$e-$b]=$(ask "$e" backend 0 b$b 198.18.0.1$b up); done
}
set_up() { # set_up EDGE
	ask "$1" service s $SLOTS gue "$VIP:80/tcp" >/dev/null
	# shellcheck disable=SC2086
	backends "$1" $DP_BACKENDS
}
publish() { # the rates, to all balancers; counts the moves of the first
	local b e set n first=yes
	generation=$((generation + 1))
	for e in $edges; do
		set=
		for b in $DP_BACKENDS; do set="$set b$b:${index[$e-$b]}:${rate[b]}"; done
		n=$(ask "$e" ring 0 $SLOTS $generation "$set")
		[ $first = no ] || { moved=$((moved + n)); first=no; }
	done
}
RANDOM=1
step() { # one backend's rate changes by up to CHURN_STEP thousandths
	local b=$((RANDOM % 6 + 1))
	[ "${rate[b]}" = 0 ] && b=3
	rate[b]=$((rate[b] * (1000 + (RANDOM % 2 ? CHURN_STEP : -CHURN_STEP)) / 1000))
	publish; asked=$((asked + 1))
}
for e in $edges; do
	tool_ready "$e" || { echo "not ok 1 - $e opens"; exit 1; }
	set_up "$e"
done
publish
ways 198.18.0.1 198.18.0.2
for _ in 1 2 3; do quiet in_ns client $FLOWS tcp $VIP 80 40 1; done      # neighbours
moved=0

in_ns client $CHURN $VIP 80 "$CHURN_FLOWS" "$CHURN_SECONDS" "$CHURN_IDLE" >"$scratch/load" 2>"$scratch/broken" &
load=$!
extra=0 copied=0
outside() { # a change that the budget does not bound
	local before=$moved
	publish; extra=$((extra + moved - before))
}
replace() { # edge dies with all its notes; its flows go to the sister, then to a new balancer with the sister's table
	ways 198.18.0.2
	tool_kill edge
	in_ns edge ip link del eth0
	rm -r /sys/fs/bpf/edge
	edges="edge2"
}
replaced() {
	node edge3 3
	tool edge3 -t "$CHURN_DRAIN" -i eth0 || return 1
	# As agents do it (rule 7): by names, as indexes differ, and who is not configured here comes with the table.
	ask edge3 service s $SLOTS gue "$VIP:80/tcp" >/dev/null
	backends edge3 6 5 4
	[ "$(ask edge2 table 0 $SLOTS "$scratch/table")" = 6 ] || return 1
	copied=$(ask edge3 take 0 "$scratch/table")
	backends edge3 3 2 1
	edges="edge2 edge3"
	publish
	ways 198.18.0.3 198.18.0.2
}

at() { [ $((SECONDS - begun)) -ge $((CHURN_SECONDS * $1 / 100)) ] && [ $((done_ & 1 << $2)) = 0 ] && done_=$((done_ | 1 << $2)); }
begun=$SECONDS done_=0
while kill -0 $load 2>/dev/null && [ $((SECONDS - begun)) -lt "$CHURN_SECONDS" ]; do
	step
	if at 15 0; then rate[6]=10000; outside; fi                             # one more
	if at 25 1; then tool_kill edge2; tool edge2 -t "$CHURN_DRAIN" -i eth0; set_up edge2; fi
	if at 35 2; then rate[2]=0; outside; fi                                 # drained
	if at 50 3; then replace; fi
	if at 52 4; then replaced || echo "# the new balancer does not open"; fi
	if at 65 5; then tool_kill edge3; tool edge3 -t "$CHURN_DRAIN" -i eth0; set_up edge3; fi
	read -rt 1 <> <(:)      # one change a second is what this test is about
done
wait $load
result=$(cat "$scratch/load")
broken=$(echo "$result" | cut -d' ' -f6)
share=$(awk "BEGIN { printf \"%.4f\", 100 * ($moved - $extra) / $SLOTS / $asked }")
relayed=0
for b in $DP_BACKENDS; do relayed=$((relayed + $(reason b$b RELAYED) + $(reason b$b NO_NEIGHBOUR))); done
echo "# $variant, step $CHURN_STEP: $result; $asked changes moved $share% of the slots each; $extra slots by the added and the drained backend"
echo "# $variant, step $CHURN_STEP: slots in transition now: $(ask edge2 state 0 | cut -d' ' -f2) of $SLOTS; packets passed on by backends: $relayed"
sed "s/^/# $variant: /" "$scratch/broken" | head -5
said "the new balancer took over its sister's table, its own indexes in it" test "$copied" -gt $((SLOTS * 9 / 10)) -a "${index[edge3-1]}" != "${index[edge2-1]}"
said "every part of the plan was carried out" is $done_ 63
said "thousands of questions were answered" test "$(echo "$result" | cut -d' ' -f4)" -gt $((CHURN_FLOWS * CHURN_SECONDS / 10))
said "some connection was silent for most of $CHURN_IDLE s" test "$(echo "$result" | cut -d' ' -f8)" -ge $((CHURN_IDLE * 8 / 10))
[ "$CHURN_STEP" -gt 5 ] || said "within the budget: 0.1% of the slots a second" awk "BEGIN { exit !($share > 0.01 && $share <= 0.1) }"
case $variant-$CHURN_STEP in
relay-5) said "not one connection broken" is "$broken" 0 ;;
*) said "$broken connections broke (told, not judged)" test -n "$broken" ;;
esac
finish
