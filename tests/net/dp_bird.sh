#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Addresses reach the machine by BGP: two balancers each with BIRD (examples/bird.conf) and a router that spreads flows over
# both. A balancer that sees no backend, is drained, is taken down or falls off the network loses the route, one whose agent
# was killed does not; the flows go on through the other and none breaks, because both have the same slots.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
DP_BACKENDS="1 2 3"
. "$(dirname "$0")/dp_lib"
command -v bird >/dev/null || { echo "skip: bird2 is not installed"; exit 77; }
make -s build/bin/weir-agent build/bin/weir-registry build/bin/weir >&2 || exit 1

node edge2 2
node router 3
in_ns router sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0 \
	net.ipv4.conf.eth0.send_redirects=0 net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
in_ns client sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv6.conf.all.accept_redirects=0
in_ns client ip route replace $VIP via 198.18.0.3
in_ns client ip -6 route replace $VIP6 via 2001:db8::3

# ---- BIRD
soon="error wait time 1, 2; connect delay time 1; connect retry time 2;"
bird_begin() {  # bird_begin NODE
	nsenter --net="/run/netns/$1" bird -f -c "$scratch/bird-$1.conf" -s "$scratch/bird-$1.ctl" -P "$scratch/bird-$1.pid" \
		2>>"$scratch/bird-$1.log" &
	BIRD_PID[$1]=$!
}
declare -A BIRD_PID AGENT_PID
balancer_bird() { # balancer_bird NODE HOST-NUMBER: the example, with this node's addresses and faster clocks
	sed -e "s/198\.18\.0\.1\b/198.18.0.$2/; s/2001:db8::1\b/2001:db8::$2/; s/^log .*/log stderr all;/" \
		-e "s/hold time 9;/hold time 6; $soon/; s/multiplier 3/multiplier 10/" examples/bird.conf >"$scratch/bird-$1.conf"
	bird_begin "$1"
}
cat >"$scratch/bird-router.conf" <<-END
	log stderr all;
	router id 198.18.0.3;
	protocol device { }
	protocol bfd { interface "eth*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 10; }; }
	protocol kernel { merge paths on; ipv4 { import none; export all; }; }
	protocol kernel { merge paths on; ipv6 { import none; export all; }; }
	template bgp balancer {
		local 198.18.0.3 as 64513; hold time 6; $soon bfd graceful;
		ipv4 { import all; export none; };
		ipv6 { import all; export none; };
	}
	protocol bgp edge from balancer { neighbor 198.18.0.1 as 64512; }
	protocol bgp edge2 from balancer { neighbor 198.18.0.2 as 64512; }
END
balancer_bird edge 1
balancer_bird edge2 2
bird_begin router

# ---- the registry, two agents, three backends
cat >"$scratch/registry.yaml" <<-END
	node: registry
	user: "64200"
	run: $scratch/run-registry
	state: $scratch/state-registry
	registry_server: {listen: ["unix:$scratch/registry.socket"]}
END
build/bin/weir-registry -c "$scratch/registry.yaml" 2>"$scratch/registry.log" &
until_true 10 test -S "$scratch/registry.socket"
agent_begin() { # agent_begin NODE
	cat >"$scratch/$1.yaml" <<-END
		node: $1
		user: "64200"
		run: $scratch/run-$1
		state: $scratch/state-$1
		registry: {url: "unix:$scratch/registry.socket"}
		agent:
		  interfaces: [eth0]
		  pin: /sys/fs/bpf/$1
		  announce: 120
		  services:
		    - name: echo
		      addresses: ["$VIP:80/tcp", "[$VIP6]:80/tcp"]
		      slots: 509
		      check: {type: tcp, interval: 200ms, timeout: 200ms, rise: 2, fall: 3}
		      backends: [{name: b1, address: 198.18.0.11}, {name: b2, address: 198.18.0.12}, {name: b3, address: 198.18.0.13}]
	END
	nsenter --net="/run/netns/$1" build/bin/weir-agent -c "$scratch/$1.yaml" 2>>"$scratch/agent-$1.log" &
	AGENT_PID[$1]=$!
}
# A connection that began in a slot that had just moved is its new owner's, which the other balancer does not know: there it
# comes to the old owner, who passes it on where forwarding is on.
for b in 1 2 3; do in_ns b$b sysctl -qw net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1; done
for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b's data plane opens"; exit 1; }; done
serve
# The first publishes the rates: what it believes of backends is every balancer's.
agent_begin edge
until_true 20 grep -q publishes "$scratch/agent-edge.log"
agent_begin edge2

hops() {        # the next hops of the service on the router, both families
	{ in_ns router ip route show $VIP; in_ns router ip -6 route show $VIP6; } | grep -o 'via [^ ]*' | cut -d' ' -f2 | sort | tr '\n' ' '
}
both="198.18.0.1 198.18.0.2 2001:db8::1 2001:db8::2 "
are_hops() { [ "$(hops)" = "$1" ]; }
say() { echo "# $(hops)"; in_ns router birdc -s "$scratch/bird-router.ctl" show protocols | sed 's/^/# /'; return 1; }
routed() { until_true "$1" are_hops "$2" || say; }
check "the router spreads the service over both balancers" routed 20 "$both"
[ $tests_failed = 0 ] || { tail -n 15 "$scratch"/*.log | sed 's/^/# /'; finish; }
check "the kernel itself does not use these routes" sh -c "nsenter --net=/run/netns/edge ip route get $VIP | grep -qv blackhole"

# Connections that go on while the route changes: the event, then the rest of their time.
flows=0
during() {      # during NAME HOPS COMMAND...: while 200 connections ask and open anew for 4 s
	local name=$1 want=$2 pid pid6 said; shift 2
	in_ns client $FLOWS tcp $VIP 80 150 4 >"$scratch/flows4" 2>&1 &
	pid=$!
	in_ns client $FLOWS tcp $VIP6 80 50 4 >"$scratch/flows6" 2>&1 &
	pid6=$!
	read -rt 1 <> <(:) || :                         # all of them are open by then
	local begun; begun=$(date +%s%N)
	"$@"
	check "$name" routed 6 "$want"
	echo "# after $((($(date +%s%N) - begun) / 1000000)) ms"
	wait $pid; wait $pid6
	said=$(grep -h opened "$scratch/flows4" "$scratch/flows6" | tr '\n' ' ')
	flows=$((flows + $(echo "$said" | awk '{ print $2 + $8 }')))
	check "no connection broke: $said" sh -c "! grep -q broken: '$scratch/flows4' '$scratch/flows6'"
}
only="198.18.0.2 2001:db8::2 "
# One backend's checks fail and recover a little before the others': the first is not taken for dead.
drop() {        # drop TABLE ADDRESSES
	in_ns edge nft -f - <<-END
		table inet $1 {
			chain out {
				type filter hook output priority 0
				ip daddr { $2 } tcp dport 80 drop
			}
		}
	END
}
blind() { drop one 198.18.0.11; read -rt 0.05 <> <(:) || :; drop others "198.18.0.12, 198.18.0.13"; }
sees() { in_ns edge nft delete table inet others; read -rt 0.05 <> <(:) || :; in_ns edge nft delete table inet one; }
during "a balancer that sees no backend any more is left" "$only" blind
during "it sees them again" "$both" sees
weir() { build/bin/weir "$@" -c "$scratch/edge.yaml" >>"$scratch/weir.log" 2>&1; }
during "one that is drained is left" "$only" weir drain edge
during "and back" "$both" weir drain --stop edge
killed() { kill -9 "${AGENT_PID[edge]}"; wait "${AGENT_PID[edge]}" 2>/dev/null; }
during "one whose agent was killed goes on" "$both" killed
agent_begin edge
during "one that falls off the network is left" "$only" ip link set p-edge down
ip link set p-edge up
check "and comes back" routed 20 "$both"
detach() {
	kill "${AGENT_PID[edge]}"; wait "${AGENT_PID[edge]}"
	in_ns edge build/bin/weir-agent -c "$scratch/edge.yaml" --detach >>"$scratch/weir.log" 2>&1
}
detach
check "one that is taken down is left" routed 6 "$only"
check "nothing of it is in the table" is "$(in_ns edge ip route show table 120; in_ns edge ip -6 route show table 120)" ""
in_ns edge2 birdc -s "$scratch/bird-edge2.ctl" down >/dev/null
echo "# $flows connections in all"
[ $tests_failed = 0 ] || for f in "$scratch"/*.log "$scratch"/flows?; do echo "# $f"; tail -n 15 "$f" | sed 's/^/# /'; done
finish
