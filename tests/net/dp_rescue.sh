#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `weir rescue`: with an agent that lives, one that is dead, without a configuration, with damaged pins, with a program that
# hangs without a link: everything of ours goes, the host is reachable, another namespace's data plane goes on.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
make -s -C "$(dirname "$0")/../.." build/bin/weir build/bin/weir-agent >/dev/null 2>&1
. "$(dirname "$0")/dp_lib"

backend b1 && backend b2 || { echo "not ok 1 - backends open"; exit 1; }
WEIR=$PWD/build/bin/weir
PIN=/sys/fs/bpf/edge
quiet() { "$@" >/dev/null 2>&1; }
rescue() { in_ns edge "$WEIR" rescue "$@" >"$scratch/out" 2>&1; }
xdp() { in_ns "$1" ip -d link show eth0 | grep -c xdp; }
reachable() { in_ns client busybox ping -c1 -W2 -q 198.18.0.1 >/dev/null; }
says() { grep -q "$1" "$scratch/out" || { sed 's/^/# /' "$scratch/out"; return 1; }; }
set_up() {
	ask edge service s 31 gue "$VIP:80/tcp" >/dev/null
	for b in 1 2; do ask edge backend 0 b$b 198.18.0.1$b up >/dev/null; done
	ask edge fill 0 31 1 1 2 >/dev/null
}

check "nothing there: nothing to do" rescue
check "  it says so" says "nothing of weir is in the way"
check "  other namespaces' links are left" says "of another network namespace: left"

# ---- what a start would do
plan() { # SLOTS INTERFACE [tunnels|"" [ATTACH]]
	cat >"$scratch/plan.yaml" <<-END
		node: edge
		agent:
		  interfaces: [$2]
		  attach: ${4:-link}
		  pin: $PIN
		  limits: {slots: $1}
		  services: [{name: s, addresses: ["$VIP:80/tcp"], slots: 31, backends: [{name: b1, address: 198.18.0.11}]}]
	END
	[ -z "${3:-}" ] || printf 'tunnels:\n  prefix: [198.18.200.0/24]\n' >>"$scratch/plan.yaml"
	in_ns edge build/bin/weir-agent -c "$scratch/plan.yaml" --dry-run >"$scratch/out" 2>&1
}
plan_json() { in_ns edge build/bin/weir-agent -c "$scratch/plan.yaml" --dry-run --json | jq -r "$1"; }
check "a start's dry run" plan 524288 eth0
check "  attaches" says "eth0 .*attached by a link"
check "  makes all maps" says "0 kept, 0 migrated, [1-9][0-9]* made"
check "  made nothing" is "$(xdp edge) $(test -e $PIN && echo pinned)" "0 "
check "with tunnels" plan 524288 eth0 tunnels
check "  their listener's program is attached" says "tunnels' listener: attached by a link"
check "  and its maps are made" says "tunnel_ports *made, of tunnels' listener"
check "  JSON: each" is "$(plan_json '.listen.would, ([.maps.list[] | select(.of == "listen") | .name] | sort | join(" "))' | xargs)" \
	"attach listen_counts listeners tunnel_ports"
check "too few slots: it would fail" is "$(plan 30 eth0; echo $?)" 1
check "  and says why" says "slots *31 of 30: too many; raise agent.limits.slots"
check "no such interface: it would fail" is "$(plan 31 eth7; echo $?)" 1
check "the edge opens" tool edge -i eth0
set_up
check "a dry run over it" plan 524288 eth0
check "  adopts" says "eth0 .*adopted: program [0-9]* is exchanged in its link"
check "  keeps all maps but" says "[1-9][0-9]* kept, 0 migrated, 0 made, 0 in the way"
check "other limits" plan 1024 eth0
check "  migrate" says "slots *migrated: 524288 entries of 16 bytes become 1024 of 16"
check "  as JSON, too" is "$(plan_json '[.ok, .interfaces[0].would, (.maps.list[] | select(.name == "slots") | .would, .had_entries, .entries), .limits[1].used] | @csv')" \
	'true,"adopt","migrate",524288,1024,31'
check "no longer named: its start goes on" plan 524288 lo
check "  and it is detached" says "eth0 .*detached: agent.interfaces does not name it any more"
check "the program of a link: libxdp would fail" is "$(plan 524288 eth0 "" dispatcher; echo $?)" 1
check "  and says so" says "eth0 .*program [0-9]* is there and not ours to exchange"
check "limits below what is there" is "$(plan 30 eth0; echo $?)" 1
check "  are in the way" says "slots *in the way: 1 of its entries have no room in 30"
tool_end edge
check "and away" rescue

# ---- a dry run, and an agent that lives
check "the edge opens" tool edge -i eth0
set_up
check "a dry run" rescue --dry-run
check "  tells the link" says "^eth0: XDP program .* by link .*: would be removed"
check "  tells the pins" says "^$PIN: [0-9]* pins: would be removed"
check "  changes nothing" is "$(xdp edge) $(test -e $PIN/slots && echo pinned)" "$(xdp b1) pinned"
check "a rescue while the agent lives" rescue
check "  no program" is "$(xdp edge)" 0
check "  no pins" test ! -e $PIN
check "  the loader is named" says "weir-loader runs"
check "  the host is reachable" reachable
check "  the backends' data planes go on" test "$(xdp b1)" -gt 0
tool_end edge

# ---- a dead agent, damaged pins
check "the edge opens again" tool edge -i eth0
set_up
tool_kill edge
rm $PIN/slots $PIN/link-eth0        # the link lives no longer than its pin then
check "a rescue with damaged pins" rescue
check "  no program, no pins" is "$(xdp edge) $(find $PIN 2>/dev/null | wc -l)" "0 0"
check "the edge opens" tool edge -i eth0
tool_kill edge
program=$(bpftool -j link show pinned $PIN/link-eth0 | jq .prog_id)
mv $PIN/link-eth0 /sys/fs/bpf/elsewhere
rm -r $PIN
check "a rescue when only a link is left, pinned elsewhere" rescue
check "  finds it" says "XDP program $program by link"
check "  no program" is "$(xdp edge)" 0
rm -f /sys/fs/bpf/elsewhere

# ---- no link at all
check "the edge opens through libxdp" tool edge -a dispatcher -i eth0
tool_kill edge
check "has a program" test "$(xdp edge)" -gt 0
check "  which a start through libxdp exchanges or joins" plan 524288 eth0 "" dispatcher
check "a rescue without a link" rescue
check "  no program" is "$(xdp edge)" 0

# ---- somebody else's program stays
in_ns edge ip link set dev eth0 xdp off
cat >"$scratch/pass.c" <<-END
	__attribute__((section("xdp"), used)) int edge(void *ctx) { return 2; }
	char gpl[] __attribute__((section("license"), used)) = "GPL";
END
clang-14 -O2 -target bpf -g -c "$scratch/pass.c" -o "$scratch/pass.o" 2>/dev/null || clang -O2 -target bpf -g -c "$scratch/pass.c" -o "$scratch/pass.o"
in_ns edge ip link set dev eth0 xdp obj "$scratch/pass.o" sec xdp
check "another program of the same name" test "$(xdp edge)" -gt 0
check "a rescue" rescue
check "  leaves it" test "$(xdp edge)" -gt 0
id() { in_ns edge ip -d link show eth0 | grep -o 'prog/xdp id [0-9]*'; }
before=$(id)
in_ns edge $TOOL -p $PIN -a dispatcher -i eth0 </dev/null >"$scratch/out" 2>&1
check "a start through libxdp leaves it, too" is "$(id) $(says "libxdp cannot attach" && echo said)" "$before said"
check "  as a dry run has said" is "$(plan 524288 eth0 "" dispatcher; echo $?) $(plan_json '.ok, .interfaces[0].would, .interfaces[0].why' | xargs)" \
	"1 false fail a program is there that does not share"

# ---- a folder that was mistyped
mkdir "$scratch/precious" && touch "$scratch/precious/slots" "$scratch/precious/edge" "$scratch/precious/service_info"
check "a folder that is not on a BPF file system: refused" is "$(rescue "$scratch/precious"; echo $?)" 1
check "  and says why" says "precious: not on a BPF file system"
check "  its files stay" is "$(find "$scratch/precious" -type f | wc -l)" 3
check "a folder of pins elsewhere on one" mkdir -p /sys/fs/bpf/a/b/c/d
check "  is removed" is "$(rescue /sys/fs/bpf/a/b/c/d; echo $?) $(find /sys/fs/bpf/a/b/c -type d | wc -l)" "0 1"
check "wrong use: exit code 2" is "$(in_ns edge "$WEIR" rescue --nonsense >/dev/null 2>&1; echo $?)" 2
check "not root: refused" is "$(in_ns edge setpriv --reuid 64200 --clear-groups "$WEIR" rescue >/dev/null 2>&1; echo $?)" 1
finish
