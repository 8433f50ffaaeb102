#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Three nodes with weir-agent, a registry and edges: a client that reaches the wrong node is led to the edge that
# holds the attachment, by XDP and sk_lookup, and answered straight from there; owners that die, drain, stall or
# are cut off are left; ports that nobody opened are refused. Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_lib"

make_net
start_registry || { echo "not ok 1 - a registry"; exit 1; }
tunnel app 1 "80 443"
for node in a b c; do start_agent $node && start_edge $node || { echo "not ok 1 - $node starts"; tail -n 20 $work/*$node.log; exit 1; }; done
edge a attach app 1 5000
until_ok 5 owned c app a
check $? "c leads the tunnel to a, which holds the attachment: $(ask c status | jq -c '.tunnels[0]')"
until_ok 5 owned a app a
is "$(ask a status | jq -c '.tunnels[0] | [.local, .why, .ports]')" '[true,"attached here",[80,443]]' "a answers itself"
for node in a b c; do until_ok 5 acked $node "$(revision_of tunnels/app)"; done
check $? "all three acknowledged the tunnel's revision: $(get routed/agent/c)"
is "$(get members/agent/c | jq .tunnels)" true "and say that they route tunnels"

is "$(once 198.19.0.1 80)" "a 198.19.0.1:80" "IPv4 through the wrong node"
is "$(once 2001:db8:7::1 443)" "a [2001:db8:7::1]:443" "IPv6 through the wrong node"
[ "$(reason c FORWARDED)" -gt 0 ] && [ "$(reason a DECAPSULATED)" -gt 0 ]
check $? "encapsulated by c: $(reason c FORWARDED), opened by a: $(reason a DECAPSULATED)"
[ "$(ask c status | jq '.tunnels[0].packets')" -gt 5 ]
check $? "counted for the tunnel: $(ask c status | jq -c '.tunnels[0] | [.packets, .bytes]')"
by a
is "$(once 198.19.0.1 443)" "a 198.19.0.1:443" "through the right node"
[ "$(reason a LOCAL)" -gt 0 ]
check $? "left to the host by a: $(reason a LOCAL)"
by c
finish
