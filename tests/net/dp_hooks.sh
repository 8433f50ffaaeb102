#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the agent puts into a host beside XDP: the tc program that bounds the MSS, the one that leads checks with its rule and
# routes, and announced routes. Each goes when its part of the configuration does, by a start and by a reload; what leads
# checks ends with the agent; `weir rescue` and --detach leave nothing, and somebody else's filters stay.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
DP_BACKENDS=1
. "$(dirname "$0")/dp_lib"
make -s build/bin/weir build/bin/weir-agent build/net/agent_tool >&2 || exit 1

check "the backend's data plane opens" backend b1
nsenter --net=/run/netns/b1 build/net/agent_tool serve 0.0.0.0:80 >"$scratch/serve" 2>&1 &
until_true 5 in_ns b1 bash -c '</dev/tcp/198.18.0.11/80' 2>/dev/null
# Two interfaces more, where packets could be taken.
for i in one two; do in_ns edge ip link add $i type veth peer name peer-$i; in_ns edge ip link set $i up; done

config() {      # config ANNOUNCE MSS DECAP-INTERFACES NAT-ADDRESSES
	agent_yaml <<-END
		  announce: $1
		  decap: {interfaces: [$3], from: [198.18.0.0/16], mss: $2}
		  nat: {addresses: [$4]}
		  services:
		    - name: web
		      addresses: ["$VIP:80/tcp", "[$VIP6]:80/tcp"]
		      slots: 31
		      check: {type: http, port: 80, interval: 200ms, timeout: 150ms, rise: 2, fall: 3, through: service}
		      backends: [{name: b1, address: 198.18.0.11}]
	END
}
begin() {
	nsenter --net=/run/netns/edge build/bin/weir-agent -c "$scratch/edge.yaml" 2>>"$scratch/agent.log" &
	agent=$!
}
end() { kill $agent; wait $agent; }
reload() { kill -HUP $agent; }
hangs() { in_ns edge tc filter show dev "$1" egress 2>/dev/null | grep -c weir_egress; }
on() {          # on INTERFACE...: these have the program, no other has
	local i have=
	for i in lo eth0 one two; do [ "$(hangs $i)" = 0 ] || have="$have $i"; done
	[ "$have" = "${*:+ $*}" ] || { had=$have; return 1; }
}
soon() { until_true 10 "$@" || { echo "# programs on$had, expected $*"; return 1; }; }
announced() { echo "$(in_ns edge ip route show table "$1" 2>/dev/null) $(in_ns edge ip -6 route show table "$1" 2>/dev/null)" | tr -s ' \n' ' '; }
routes() { [ "$(announced "$1" | grep -o blackhole | wc -l)" = "$2" ]; }
rules() { in_ns edge ip rule show priority 119; in_ns edge ip -6 rule show priority 119; in_ns edge ip route show table 119 2>/dev/null; }
metric() { in_ns edge curl -s 127.0.0.1:7001/_/metrics | awk -v "k=$1" 'index($0, k) == 1 { print $2 }'; }

plan() { in_ns edge build/bin/weir-agent -c "$scratch/edge.yaml" --dry-run --json 2>/dev/null | jq -r "$1" | xargs; }
config 120 auto eth0,tow 198.18.0.7
check "a name that decap mistypes: a dry run says so" is "$(plan '.ok, (.decap[] | .would, .why)')" \
	"false take fail there is no such interface"
in_ns edge timeout 30 build/bin/weir-agent -c "$scratch/edge.yaml" 2>"$scratch/out"
check "  a start fails" is "$? $(grep -c 'agent.decap.interfaces: there is no interface tow' "$scratch/out")" "1 1"
check "  and leaves nothing behind" is "$(find /sys/fs/bpf/edge 2>/dev/null | wc -l) $(in_ns edge ip -d link show eth0 | grep -c xdp)" "0 0"
config 120 auto eth0,one 198.18.0.7
check "a dry run names each place of the tc program" is "$(plan '.ok, .egress.interfaces[]')" "true lo eth0 one"
begin
check "the MSS is bounded where answers leave, checks are led" soon on lo eth0 one
check "the addresses are announced" until_true 10 routes 120 2
ports() { [ "$(metric 'weir_nat_ports ' | cut -d. -f1)" "$1" 0 ]; }
check "NAT has ports" until_true 5 ports -gt

# ---- a reload: what is no longer wanted goes
config 120 auto eth0,two ""
reload
check "an interface that decap no longer names loses the program" soon on lo eth0 two
check "  and clsact" is "$(in_ns edge tc qdisc show dev one | grep -c clsact)" 0
check "NAT has none after its addresses went, and says so" until_true 5 ports -eq
in_ns edge tc qdisc del dev two clsact
check "a place that somebody took away is filled again" soon on lo eth0 two

# ---- a restart with another configuration
end
check "without an agent nobody is led, the bound stays" soon on eth0 two
check "  nor is the rule there" is "$(rules)" ""
check "announced routes outlive it" routes 120 2
config 121 auto eth0 ""
begin
check "a start takes it off an interface that nothing names any more" soon on lo eth0
check "another table: announced there" until_true 10 routes 121 2
check "  and not in the one of the process before" until_true 2 routes 120 0
kill -9 $agent; wait $agent 2>/dev/null
check "also when the agent was killed nobody is led" soon on eth0
begin
check "a restart leads again" soon on lo eth0
config 121 off eth0 ""
end
begin
check "no bound, no program: by a restart" soon on lo
config 0 auto eth0 ""
reload
check "a bound again, by a reload" soon on lo eth0
check "nothing is announced after a reload without a table" until_true 5 routes 121 0
config 122 auto eth0 ""
reload
check "and again" until_true 5 routes 122 2

# ---- all of it away
in_ns edge tc filter add dev eth0 egress prio 7 protocol ip u32 match u32 0 0 flowid 1:1
nothing() { on && [ -z "$(rules)" ] && routes 122 0 && [ "$(in_ns edge ip -d link show eth0 | grep -c xdp)" = 0 ]; }
end
in_ns edge build/bin/weir rescue >"$scratch/out" 2>&1
check "weir rescue leaves nothing" is "$? $(nothing && echo nothing)" "0 nothing"
check "  and somebody else's filter where it is" is "$(in_ns edge tc filter show dev eth0 egress | grep -c 'pref 7 u32.*match\|pref 7 u32.*flowid')" 1
check "  and no clsact where nothing else is" is "$(in_ns edge tc qdisc show dev lo | grep -c clsact)" 0
begin
check "a start after it" soon on lo eth0
check "  announces" until_true 10 routes 122 2
in_ns edge build/bin/weir rescue >"$scratch/out" 2>&1
back() { until_true 2 eval '! on'; }
check "a rescue beside a living agent: it puts no program back" eval 'on && ! back'
end
in_ns edge build/bin/weir rescue >"$scratch/out" 2>&1
begin
check "a start after that one" soon on lo eth0
end
in_ns edge build/bin/weir-agent -c "$scratch/edge.yaml" --detach >"$scratch/out" 2>&1
check "--detach leaves nothing" is "$? $(nothing && echo nothing)" "0 nothing"
[ $tests_failed = 0 ] || tail -n 60 "$scratch/agent.log" | sed 's/^/# /'
finish
