#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `attach: dispatcher`: through libxdp (where the kernel lets it, with its dispatcher; else alone), traffic flows, a new start
# takes the place of the old one, detach leaves nothing. And `mode: generic`.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/dp_lib"

for b in 1 2 3; do backend b$b || { echo "not ok 1 - b$b opens"; exit 1; }; done
serve
quiet() { "$@" >/dev/null 2>&1; }
set_up() {
	ask edge service s 31 gue "$VIP:80/tcp" >/dev/null
	for b in 1 2 3; do ask edge backend 0 b$b 198.18.0.1$b up >/dev/null; done
	ask edge fill 0 31 1 1 2 3 >/dev/null
}
check "opens through libxdp" tool edge -a dispatcher -i eth0
set_up
check "says how" is "$(ask edge interfaces)" "eth0 native dispatcher"
quiet in_ns client $FLOWS tcp $VIP 80 10 1
check "traffic flows" quiet in_ns client $FLOWS tcp $VIP 80 40 1
tool_kill edge
check "also without the agent" quiet in_ns client $FLOWS tcp $VIP 80 40 1
check "starts again" tool edge -a dispatcher -i eth0
check "traffic flows again" quiet in_ns client $FLOWS tcp $VIP 80 40 1
tool_end edge
quiet in_ns edge $TOOL -a dispatcher -p /sys/fs/bpf/edge -i eth0 -x
check "detach leaves no program" is "$(in_ns edge ip -d link show eth0 | grep -c xdp)" 0
check "generic mode" tool edge -m generic -i eth0
set_up
check "says so" is "$(ask edge interfaces)" "eth0 generic link"
check "traffic flows in generic mode" quiet in_ns client $FLOWS tcp $VIP 80 40 1
finish
