#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Real programs under load by way of a forwarding edge: agents restarted, edges killed and cut off, with counts; 20 MB each
# way where every link has an MTU of 1500, with and without ICMP, the answer straight from the edge that has the origin.
# Needs root, nft. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_real_lib"
command -v nft >/dev/null || { echo "skip: nft is not installed"; exit 77; }

start_all
in_net o python3 tests/net/tunnel_client.py serve 8080 >/dev/null 2>&1 &
until_ok 5 ok
check $? "the client, who reaches c, is answered by $(owner c app)"

# ---- 20 MB each way, 1500 everywhere ----
head -c 20000000 /dev/zero >$work/20MB
passed() { in_net "$1" ip -s -j link show eth0 | jq ".[0].stats64.$2.bytes"; }  # NODE rx|tx
big() { # NAME: up and down by both families
	local at args codes="" c0 c1 o0 o1
	o0=$(($(passed a tx) + $(passed b tx)))
	c0=$(passed c rx)
	for at in "$address" "[$address6]"; do
		for args in "-T $work/20MB http://app.edge.example/up" "http://app.edge.example/big"; do
			# shellcheck disable=SC2086
			codes+=$(in_net client curl -sS -m 20 --resolve "app.edge.example:80:$at" -o /dev/null -w '%{http_code} %{size_upload} %{size_download}, ' $args 2>&1)
		done
	done
	is "$codes" "200 20000000 5, 200 0 20000000, 200 20000000 5, 200 0 20000000, " "20 MB up and down by IPv4 and IPv6 $1"
	c1=$(passed c rx) o1=$(($(passed a tx) + $(passed b tx)))
	# c has the uploads, and of the downloads acknowledgements alone
	[ $((c1 - c0)) -gt 40000000 ] && [ $((c1 - c0)) -lt 52000000 ] && [ $((o1 - o0)) -gt 80000000 ]
	check $? "the answers came straight from the owner: c received $((c1 - c0)) bytes, a and b sent $((o1 - o0))"
}
is "$(for n in client a b c o; do in_net $n ip -j link show eth0 | jq .[0].mtu; done | sort -u)" 1500 "every link has an MTU of 1500"
big "with ICMP"
in_net client nft -f - <<-END
	table inet no { chain in { type filter hook input priority 0; icmp type destination-unreachable counter drop; icmpv6 type packet-too-big counter drop; }; chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }; }
END
big "without ICMP"
in_net client nft delete table inet no
is "$(reason a TOO_BIG) $(reason b TOO_BIG) $(reason c TOO_BIG)" "0 0 0" "no packet was too big"

# ---- agents restarted under load ----
load() { # RETRIES
	rm -f $work/load $work/load.begun
	nsenter --net=/run/netns/client -- python3 tests/net/tunnel_client.py load $work/load "$address" 80 app.edge.example "$1" 8 2>>$work/load.log &
	loading=$!
	until_ok 10 test -e $work/load.begun
}
load_end() { kill $loading; wait $loading; said=$(cat $work/load); }
of() { jq -rc ".$1" <<<"$said"; }
restart_agent() {
	kill "${AGENT_PID[$1]}"; wait "${AGENT_PID[$1]}"
	local code=$?
	start_node "$1" && until_ok 10 attached '["a","b"]' && return $code
}
for node in c "$(owner c app)"; do
	before=$(reason c FORWARDED)
	load 0
	good=0
	for _ in 1 2 3; do
		restart_agent "$node" && until_ok 5 ok && good=$((good + 1))
	done
	load_end
	[ $good = 3 ] && [ "$(of asked)" -gt 100 ] && [ "$(of lost) $(of bad)" = "0 0" ]
	check $? "the agent of $node was restarted 3 times under load: $(of asked) requests, $(of lost) lost, $(of bad) not 200, longest $(of longest) s, FORWARDED $before → $(reason c FORWARDED)$([ "$(of lost) $(of bad)" = "0 0" ] || echo ": $(of why)")"
done

# ---- edges that die under load; clients try again ----
dies() { # TEXT: what was done a moment ago
	until_ok 10 owned c app "$other"
	local took=$?
	load_end
	if [ "$(of bad)" != 0 ]; then ask c status | jq -c '.tunnels, .edges' | sed 's/^/# c: /'; fi
	[ $took = 0 ] && [ "$(of asked)" -gt 100 ] && [ "$(of lost) $(of bad)" = "0 0" ] && [ "$(echo "$(of longest) <= 5" | bc)" = 1 ]
	check $? "$1: $(of asked) requests, $(of retried) tried again, $(of lost) lost, $(of bad) not 200; answered again after $(of longest) s$([ "$(of bad)" = 0 ] || echo ": $(of why)")"
}
choose() { victim=$(owner c app); other=$([ "$victim" = a ] && echo b || echo a); load 10; }
choose
kill -9 "${TUNNEL_PID[$victim]}"; wait "${TUNNEL_PID[$victim]}" 2>/dev/null
dies "the edge $victim was killed"
start_real "$victim"
until_ok 15 attached '["a","b"]'
choose
ip link set "p-$victim" down
dies "the node $victim was cut off"
ip link set "p-$victim" up
until_ok 20 attached '["a","b"]'
check $? "and is back"
before=$(reason c FORWARDED)
load 0
kill -9 "${TUNNEL_PID[c]}"; wait "${TUNNEL_PID[c]}" 2>/dev/null
until_ok 10 ok
load_end
[ "$(of asked)" -gt 100 ] && [ "$(of lost) $(of bad)" = "0 0" ]
check $? "the forwarding edge was killed, its agent goes on: $(of asked) requests, $(of lost) lost, $(of bad) not 200, FORWARDED $before → $(reason c FORWARDED)"
finish
