#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Health checks through the packet path: a backend whose decapsulation is gone, while its server answers as ever, is down
# for services with `check.through: service` and up for those that ask the backend's own address; every encapsulation and
# both families; what cannot be checked so is checked directly, and that is said.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"
make -s build/bin/weir-agent build/net/agent_tool build/net/ctl_ask >&2 || exit 1

check "the backends' data planes open" eval 'backend b1 && backend b2'
for b in 1 2; do
	nsenter --net=/run/netns/b$b build/net/agent_tool serve 0.0.0.0:80 "[::]:80" >"$scratch/serve-$b" 2>&1 &
done
until_true 5 in_ns b1 bash -c '</dev/tcp/198.18.0.11/80' 2>/dev/null
until_true 5 in_ns b2 bash -c '</dev/tcp/2001:db8::12/80' 2>/dev/null

service() {     # service NAME ADDRESS ENCAP THROUGH TYPE BACKENDS
	cat <<-END
		    - name: $1
		      addresses: ["$2"]
		      slots: 31
		      encap: $3
		      check: {type: $5, port: 80, interval: 200ms, timeout: 150ms, rise: 2, fall: 3, through: $4}
		      backends: [$6]
	END
}
four='{name: b1, address: 198.18.0.11}, {name: b2, address: 198.18.0.12}'
six='{name: b1, address: "2001:db8::11"}, {name: b2, address: "2001:db8::12"}'
config() {      # config THROUGH
	agent_yaml <<-END
		  gue_checksum: on
		  services:
		$(service gue44 "$VIP:8044/tcp" gue "$1" http "$four"
		service gue64 "[$VIP6]:8064/tcp" gue "$1" tcp "$four"
		service gue46 "$VIP:8046/tcp" gue "$1" tcp "$six"
		service gue66 "[$VIP6]:8066/tcp" gue "$1" http "$six"
		service ipip44 "$VIP:9044/tcp" ipip "$1" http "$four"
		service ipip64 "[$VIP6]:9064/tcp" ipip "$1" tcp "$four"
		service ipip46 "$VIP:9046/tcp" ipip "$1" tcp "$six"
		service ipip66 "[$VIP6]:9066/tcp" ipip "$1" http "$six"
		service direct "$VIP:80/tcp" gue address http "$four")
	END
}
start_agent() {
	nsenter --net=/run/netns/edge build/bin/weir-agent -c "$scratch/edge.yaml" 2>>"$scratch/agent.log" &
	agent=$!
}
status() { build/net/ctl_ask "$scratch/run/agent.sock" status; }
# are BACKEND UP THROUGH SERVICES: of so many services the backend is in that state by that way
are() { [ "$(status | jq "[.services[] | select(.backends[] | .name == \"$1\" and .up == $2 and .through == \"$3\")] | length")" = "$4" ]; }
say() { status | jq -c '.services[] | [.name, (.backends[] | [.name, .up, .through, .check])]' | sed 's/^/# /'; return 1; }
in_time() { until_true "$@" || say; }

config service
start_agent
until_true 10 test -S "$scratch/run/agent.sock"
check "both are up in every way: b1" in_time 10 are b1 true service 8
check "and b2" in_time 10 are b2 true service 8
check "one more by its own address" are b1 true address 1
check "the checks came encapsulated" test "$(reason b1 DECAPSULATED)" -gt 20
check "a rule leads them" is "$(in_ns edge ip rule show priority 119 | sed 's/.*from/from/; s/ *$//')" \
	"from all fwmark 0x77 lookup 119 proto 119"
check "by a table of its own" is "$(in_ns edge ip route show table 119 | grep -c "^$VIP dev lo")" 1
metric() { in_ns edge curl -s 127.0.0.1:7001/_/metrics | awk -v "k=$1" 'index($0, k) == 1 { print $2 }'; }
counted() { local n; n=$(metric "$1"); [ "${n:-0}" -gt "$2" ]; }
check "counted by way" until_true 3 counted 'weir_backend_checks_total{service="gue44",through="service",result="ok"}' 4
check "and by packet" until_true 3 counted 'weir_egress_packets_total{what="PROBED"}' 50

# On the wire, as the kernel finished them: what the stack leaves to the device is summed, too.
sums() { timeout 10 tshark -ni p-b2 -c 40 -f "ip6 and udp dst port 6080" -o udp.check_checksum:TRUE -T fields -e udp.checksum.status 2>/dev/null | sort | uniq -c | tr -s ' '; }
if command -v tshark >/dev/null; then
	check "agent.gue_checksum: right in each of 40 packets of checks over IPv6" is "$(sums)" " 40 1"
fi

# The decapsulation of b1 goes; its server answers by its own address as before.
tool_end b1
in_ns b1 $TOOL -p /sys/fs/bpf/b1 -i eth0 -x >/dev/null
begun=$(date +%s%N)
check "b1 without decapsulation is down in every way" in_time 5 are b1 false service 8
took=$((($(date +%s%N) - begun) / 1000000))
check "within the fall time of 3 x (200 ms + 10%) and a time-out: $took ms" test $took -lt 1500
check "the check of its own address sees nothing: that is why" are b1 true address 1
check "b2 has no part in it" are b2 true service 8
check "the data plane opens again" backend b1
check "it is back" in_time 5 are b1 true service 8

# A bound or killed agent leaves nothing behind that hurts; a new one begins anew.
kill -9 $agent; wait $agent 2>/dev/null
start_agent
until_true 10 test -S "$scratch/run/agent.sock"
check "also after kill -9 and a restart" in_time 10 are b1 true service 8

# This node has the address itself: no packet for it would leave.
in_ns edge ip addr add $VIP/32 dev lo
check "checked directly where the address is this node's" in_time 5 are b1 true address 5
check "which is said" test "$(grep -c "not through the packet path: the service's address is also this node's" "$scratch/agent.log")" = 4
in_ns edge ip addr del $VIP/32 dev lo
check "and again through the packet path" in_time 5 are b1 true service 8

# No clsact fits on an interface that has an "ingress" qdisc: no check can be led, which is no fault of a backend.
kill $agent; wait $agent
in_ns edge tc qdisc del dev lo clsact 2>/dev/null
in_ns edge tc qdisc add dev lo ingress
said=$(wc -l <"$scratch/agent.log")
since() { tail -n +$((said + 1)) "$scratch/agent.log" | grep -c -- "$1"; }
start_agent
until_true 10 test -S "$scratch/run/agent.sock"
check "where no check can be led, backends are asked directly: b1" in_time 10 are b1 true address 9
check "and b2" in_time 10 are b2 true address 9
check "none was down" test "$(since 'is down')" = 0
check "each service says why" test "$(since 'not through the packet path: a check cannot be led')" = 8
some() { [ "$1" -ge 1 ] && [ "$1" -le 6 ]; }
check "what to do stands there, and not at each check" some "$(since 'lo has the queueing discipline "ingress" where .* `tc qdisc del dev lo ingress`')"
check "nothing was put at its ingress" is "$(in_ns edge tc filter show dev lo ingress)" ""
in_ns edge tc qdisc del dev lo ingress
check "without it through the packet path again" in_time 5 are b1 true service 8

# Somebody takes the program off, or all of clsact with it.
hangs() { in_ns edge tc filter show dev lo egress 2>/dev/null | grep -q weir_egress; }
said=$(wc -l <"$scratch/agent.log")
in_ns edge tc filter del dev lo egress
check "a program that was taken off is put back" until_true 2 hangs
in_ns edge tc qdisc del dev lo clsact
check "also when its place went" until_true 2 hangs
check "and no check failed" test "$(since 'is down') $(are b1 true service 8 && are b2 true service 8 && echo up)" = "0 up"

# A reload without the option.
config address
kill -HUP $agent
check "by its own address after a reload" in_time 5 are b1 true address 9
kill $agent; wait $agent
in_ns edge build/bin/weir-agent -c "$scratch/edge.yaml" --detach >"$scratch/detach"
check "detach removes the rules" is "$(in_ns edge ip rule show priority 119; in_ns edge ip -6 rule show priority 119)" ""
check "and the routes" is "$(in_ns edge ip route show table 119 2>&1; in_ns edge ip -6 route show table 119 2>&1)" ""
check "and the program" is "$(in_ns edge tc filter show dev lo egress)" ""
[ $tests_failed = 0 ] || sed 's/^/# /' "$scratch/agent.log"
finish
