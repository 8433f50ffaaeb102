#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lab.sh -- two sites on one machine; run by `weir lab up|down|nodes|exec|kill|start`.
#
# One process holds private mount, network and process namespaces; everything lives in them and vanishes with it.
# A router namespace joins the nodes, each by its own veth pair:
#
#     client ──┐                 198.18.3.10
#     edge-a ──┤                 198.18.1.1   virtual address 198.18.1.100
#     gw-a1 … ─┼─ router         198.18.1.11  198.18.1.12
#     ep-a1 … ─┤  198.18.0.1     198.18.1.21  198.18.1.22
#     edge-b, gw-b1 … ep-b2 ─┤   the same in 198.18.2.x; 2001:db8:S::N beside each
#     edge-c ────────────────┤   198.18.4.1   tunnels' addresses, 198.18.100.0/24, are routed here
#     origin ────────────────┘   198.18.5.10  behind a firewall: it may dial out, nobody may dial in
#
# reg holds the registry and the authority: nodes reach the registry over a Unix socket.
set -u
self=$(readlink -f "$0")
top=$(dirname "$self")
examples=$top/../examples/lab
[ -d "$examples" ] || examples=$top/../../share/weir/examples/lab
bin=${WEIR_BIN:-$top/../build/bin}
place=/run/weir-lab             # on the host: the holder's process number and messages
nodes="reg edge-a gw-a1 gw-a2 ep-a1 ep-a2 edge-b gw-b1 gw-b2 ep-b1 ep-b2 edge-c"
bare="client origin"             # nodes on which nothing of ours is started

die() { echo "weir lab: $*" >&2; exit 1; }

address() {     # NODE → site number and host number
	case $1 in
	client) echo 3 10 ;; edge-c) echo 4 1 ;; origin) echo 5 10 ;;
	edge-a) echo 1 1 ;; gw-a1) echo 1 11 ;; gw-a2) echo 1 12 ;; ep-a1) echo 1 21 ;; ep-a2) echo 1 22 ;;
	edge-b) echo 2 1 ;; gw-b1) echo 2 11 ;; gw-b2) echo 2 12 ;; ep-b1) echo 2 21 ;; ep-b2) echo 2 22 ;;
	esac
}

in_net() { local ns=$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

make_router() {
	ip netns add router
	in_net router sh -c 'ip link set lo up; cd /proc/sys/net
		echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding
		for f in ipv4/conf/*/rp_filter; do echo 0 >"$f"; done'
	in_net router ip addr add 198.18.0.1/32 dev lo
	in_net router ip addr add 2001:db8::1/128 dev lo nodad
}

# XDP on veth sees packets whose checksums nobody finished: checksum offload is off on both sides. The router's
# side needs NAPI (gro) to take what XDP sends back.
make_node() {
	local node=$1 site host
	ip netns add "$node"
	in_net "$node" ip link set lo up
	[ "$node" = reg ] && return
	read -r site host < <(address "$node")
	ip link add eth0 netns "$node" mtu 1600 type veth peer name "r-$node" netns router
	in_net router ip link set "r-$node" mtu 1600
	in_net "$node" ethtool -K eth0 tx off tso off gso off gro on >/dev/null 2>&1
	in_net router ethtool -K "r-$node" tx off tso off gso off gro on >/dev/null 2>&1
	in_net "$node" sh -c 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$f"; done'
	in_net router sh -c "echo 0 >/proc/sys/net/ipv4/conf/r-$node/rp_filter"
	in_net "$node" sh -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down'
	in_net "$node" ip addr add "198.18.$site.$host/32" dev eth0
	in_net "$node" ip addr add "2001:db8:$site::$host/128" dev eth0 nodad
	in_net router ip addr add fe80::1/64 dev "r-$node" nodad   # IPv6 answers for an interface's own addresses alone
	in_net router ip link set "r-$node" up
	plug "$node"
	in_net router ip route add "198.18.$site.$host" dev "r-$node"
	in_net router ip route add "2001:db8:$site::$host" dev "r-$node"
	case $node in
	edge-c) in_net router ip route add 198.18.100.0/24 via 198.18.4.1 dev r-edge-c onlink
		in_net router ip route add 2001:db8:64::/64 via 2001:db8:4::1 dev r-edge-c onlink ;;
	origin) firewall ;;
	edge-*) in_net router ip route add "198.18.$site.100" via "198.18.$site.1" dev "r-$node" onlink
		in_net router ip route add "2001:db8:$site::100" via "2001:db8:$site::1" dev "r-$node" onlink ;;
	gw-*)   in_net "$node" ip addr add "198.18.$site.100/32" dev lo
		in_net "$node" ip addr add "2001:db8:$site::100/128" dev lo nodad ;;
	client) in_net "$node" ip link set eth0 mtu 1500
		in_net "$node" sh -c 'echo 1 >/proc/sys/net/ipv4/tcp_orphan_retries' ;;
	esac
}

# What begins outside is dropped, whatever it is.
firewall() {
	in_net origin nft -f - <<-RULES
		table inet firewall {
			chain input {
				type filter hook input priority filter; policy drop;
				iif lo accept
				ct state established,related accept
				meta l4proto ipv6-icmp accept
			}
		}
	RULES
}

# The cable: a node that was pulled off lost its default routes.
plug() {
	in_net "$1" ip link set eth0 up
	in_net "$1" ip route replace default via 198.18.0.1 dev eth0 onlink
	in_net "$1" ip route replace default via fe80::1 dev eth0
}

make_certificates() {
	local node site host
	"$bin/weir" ca init /run/lab/ca >/dev/null || return 1
	for node in $nodes; do
		[ "$node" = reg ] && continue
		read -r site host < <(address "$node")
		"$bin/weir" ca issue /run/lab/ca "$node" "198.18.$site.$host" "2001:db8:$site::$host" >/dev/null || return 1
	done
	"$bin/weir" ca host /run/lab/ca '*.edge.example' >/dev/null || return 1
	chgrp 64200 /run/lab/ca/_.edge.example.key && chmod 640 /run/lab/ca/_.edge.example.key
}

use_resolver() {
	local real
	printf 'nameserver 198.18.1.1\nnameserver 198.18.2.1\noptions timeout:1 attempts:3\n' >/run/lab/resolv.conf
	real=$(readlink -f /etc/resolv.conf) || return 0
	mkdir -p "$(dirname "$real")" && touch "$real" && mount --bind /run/lab/resolv.conf "$real"
}

start_node() {
	{ in_net "$1" "$bin/weir" up -c "$examples/$1.yaml" --ready /run/lab/ready >>"/run/lab/log/$1" 2>&1 || echo "failed $1" >&7; } &
}

await() {       # so many nodes
	local n=$1 name
	while [ "$n" -gt 0 ]; do
		read -r -t 30 name <&7 || return 1
		case $name in failed*) cat "/run/lab/log/${name#failed }" >&2; return 1 ;; esac
		n=$((n - 1))
	done
}

hold() {        # STATE-FOLDER: runs as the first process of the namespaces
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -p /run/netns /run/lab/log /run/lab/state
	mount --bind "$1" /run/lab/state
	mount -t bpf bpf /sys/fs/bpf || die "cannot mount a BPF file system"
	chmod 755 /run/lab/state
	mkfifo -m 600 /run/lab/ready
	exec 7<>/run/lab/ready
	make_router
	for node in $bare $nodes; do make_node "$node" || die "cannot make $node"; done
	make_certificates || die "cannot make certificates"
	use_resolver
	start_node reg
	await 1 || die "the registry did not become ready"
	for node in $nodes; do [ "$node" = reg ] || start_node "$node"; done
	await $(($(echo "$nodes" | wc -w) - 1)) || die "not every node became ready"
	echo ready >&8
	exec 8>&-
	while :; do wait -n 2>/dev/null || read -r -t 3600 _ <&7; done
}

holder_pid() { cat "$place/pid" 2>/dev/null; }

lab_up() {
	[ "$(id -u)" = 0 ] || die "needs root: namespaces and BPF (sudo weir lab up)"
	[ -n "$(holder_pid)" ] && kill -0 "$(holder_pid)" 2>/dev/null && die "is up already; weir lab down ends it"
	lab_down
	mkdir -p "$place" && mkfifo "$place/told" || die "cannot write to $place"
	state=$(mktemp -d /var/tmp/weir-lab.XXXXXX) || die "cannot make a folder in /var/tmp"
	echo "$state" >"$place/state"
	setsid unshare -m -n -p -f --kill-child --mount-proc --propagation private \
		"$self" hold "$state" 8>"$place/told" >"$place/log" 2>&1 </dev/null &
	echo $! >"$place/unshare"
	read -r answer <"$place/told"
	if [ "${answer:-}" != ready ]; then
		cat "$place/log" >&2
		lab_down
		exit 1
	fi
	pgrep -P "$(cat "$place/unshare")" | head -n 1 >"$place/pid"
	echo "the lab is up: weir lab exec client dig files.edge.example"
}

lab_down() {
	local pid state
	pid=$(cat "$place/unshare" 2>/dev/null)
	state=$(cat "$place/state" 2>/dev/null)
	# a number may have gone to another process since: the lab's own is known by its folder
	if [ -n "$pid" ] && [ -n "$state" ] && grep -qaF "$state" "/proc/$pid/cmdline" 2>/dev/null && kill -9 "$pid" 2>/dev/null; then
		while [ -n "$(holder_pid)" ] && kill -0 "$(holder_pid)" 2>/dev/null; do read -r -t 0.05 _ <> <(:); done
	fi
	[ -z "$state" ] || rm -rf -- "$state"
	rm -rf "$place"
}

lab_exec() {
	local node=$1 pid
	shift
	pid=$(holder_pid)
	[ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || die "is not up; weir lab up starts it"
	[ $# -gt 0 ] || die "exec wants a command: weir lab exec $node COMMAND…"
	nsenter -t "$pid" -m test -e "/run/netns/$node" || die "there is no node $node ($(echo router $bare $nodes))"
	nsenter -t "$pid" -m -p -- nsenter --net="/run/netns/$node" -- \
		sh -c 'cd "$0" 2>/dev/null; exec "$@"' "$PWD" env PATH="$(readlink -f "$bin"):$PATH" \
		WEIR_CONFIG="$(readlink -f "$examples")/$node.yaml" "$@"
}

# A power cut: the link goes and every process of the node, at once; nothing is said to anybody.
lab_kill() {
	local pids
	[ "$1" = reg ] || lab_exec "$1" ip link set eth0 down || die "$1 has no link"
	pids=$(lab_exec "$1" ip netns pids "$1" | grep -vx "$$") || die "$1 runs nothing"
	lab_exec router sh -c 'kill -9 "$@" 2>/dev/null; exit 0' sh $pids
}

lab_start() {
	local ready=/run/lab/ready-$1
	[ "$1" = reg ] || lab_exec "$1" sh -c 'ip link set eth0 up; ip route replace default via 198.18.0.1 dev eth0 onlink
		ip route replace default via fe80::1 dev eth0' || die "cannot plug $1 in"
	lab_exec router sh -c 'rm -f "$1"; mkfifo -m 600 "$1"' sh "$ready" || die "cannot prepare $1"
	lab_exec "$1" sh -c 'setsid weir up --ready "$1" >>"/run/lab/log/$2" 2>&1 </dev/null &' sh "$ready" "$1"
	lab_exec router timeout 30 head -n 1 "$ready" >/dev/null || die "$1 was not ready within 30 s (weir lab exec $1 tail /run/lab/log/$1)"
}

case ${1:-} in
up) lab_up ;;
down) lab_down ;;
nodes) for node in router $bare $nodes; do echo "$node"; done ;;
exec) [ $# -gt 1 ] || die "exec wants a node and a command"; shift; lab_exec "$@" ;;
hold) hold "$2" ;;
kill) [ $# = 2 ] || die "kill wants a node"; (lab_kill "$2") ;;
start) [ $# = 2 ] || die "start wants a node"; (lab_start "$2") ;;
*) die "wants up, down, nodes, exec NODE COMMAND…, kill NODE or start NODE" ;;
esac
