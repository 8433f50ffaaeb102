# SPDX-License-Identifier: Apache-2.0
# Shared by tests/net/dp_*.sh: one link with a client, an edge and three backends, each in its own network
# namespace, all inside a private mount and network namespace that vanishes with the test.
#
#	client 198.18.0.9   edge 198.18.0.1   b1 b2 b3 198.18.0.11 .12 .13   service 198.18.100.1
#	2001:db8::9         2001:db8::1       2001:db8::11 …                  2001:db8:100::1
#
# shellcheck shell=bash
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
if [ -z "${IN_NS:-}" ]; then
	make -s build/bpf-tests >/dev/null 2>&1 || { echo "not ok 1 - builds"; exit 1; }
	IN_NS=1 exec unshare -n -m --propagation private "$0" "$@"
fi

TOOL=build/tests/net/dp_tool
FLOWS=build/tests/net/dp_flows
VIP=198.18.100.1
VIP6=2001:db8:100::1
tests_run=0 tests_failed=0
declare -A TOOL_IN TOOL_OUT TOOL_PID

mount -t tmpfs none /run && mount -t bpf bpf /sys/fs/bpf || { echo "skip: cannot mount"; exit 77; }
mkdir -p /run/netns
scratch=/run/test; mkdir "$scratch"

check() {       # check NAME COMMAND...
	local name=$1; shift
	tests_run=$((tests_run + 1))
	if "$@"; then
		echo "ok $tests_run - $name"
	else
		echo "not ok $tests_run - $name"
		tests_failed=$((tests_failed + 1))
	fi
}
is() { [ "$1" = "$2" ] || { echo "# got '$1', expected '$2'"; return 1; }; }
until_true() {  # until_true SECONDS COMMAND...: polls for an event that has no descriptor
	local end=$((SECONDS + $1)); shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		read -rt 0.05 <> <(:) || :
	done
}
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$ns" "$@"; }

node() {        # node NAME HOST-NUMBER: on the link, with its port's GRO on, so that XDP may send to it
	ip netns add "$1"
	ip link add eth0 netns "$1" address "02:00:00:00:00:$(printf %02x "$2")" type veth peer name "p-$1"
	ip link set "p-$1" master wire up
	ethtool -K "p-$1" gro on >/dev/null
	in_ns "$1" ethtool -K eth0 tx off tso off gso off >/dev/null 2>&1
	in_ns "$1" ip link set lo up
	in_ns "$1" sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv4.conf.all.rp_filter=0
	in_ns "$1" ip addr add "198.18.0.$2/16" dev eth0
	in_ns "$1" ip addr add "2001:db8::$2/64" dev eth0 nodad
	in_ns "$1" ip link set eth0 up
}

ip link set lo up
ip link add name wire type bridge && ip link set wire up || { echo "skip: no bridge"; exit 77; }
node client 9
node edge 1
for b in 1 2 3; do
	node b$b 1$b
	in_ns b$b ip addr add $VIP/32 dev lo
	in_ns b$b ip addr add $VIP6/128 dev lo
	in_ns b$b sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
done
in_ns client ip route add $VIP via 198.18.0.1
in_ns client ip route add $VIP6 via 2001:db8::1
# The client's and the servers' packets must leave by their own link addresses at once.
until_true 5 in_ns client busybox ping -c1 -W1 -q 198.18.0.11 >/dev/null

tool() {        # tool NODE OPTIONS...: starts the data plane on a node
	local ns=$1; shift
	local dir=$scratch/tool-$ns
	rm -rf "$dir"; mkdir -p "$dir"
	mkfifo "$dir/in" "$dir/out"
	in_ns "$ns" $TOOL -p "/sys/fs/bpf/$ns" "$@" <"$dir/in" >"$dir/out" 2>>"$scratch/log-$ns" &
	TOOL_PID[$ns]=$!
	exec {fd}>"$dir/in"; TOOL_IN[$ns]=$fd
	exec {fd}<"$dir/out"; TOOL_OUT[$ns]=$fd
	local line
	read -rt 20 -u "${TOOL_OUT[$ns]}" line && [ "$line" = ready ] || { sed 's/^/# /' "$scratch/log-$ns"; return 1; }
}
ask() {         # ask NODE COMMAND...: the answer on standard output
	local ns=$1 line; shift
	echo "$*" >&"${TOOL_IN[$ns]}"
	read -rt 20 -u "${TOOL_OUT[$ns]}" line
	echo "$line"
}
tool_end() {    # closes its input and waits
	exec {TOOL_IN[$1]}>&- {TOOL_OUT[$1]}<&-
	wait "${TOOL_PID[$1]}"
}
tool_kill() {   # SIGKILL to it and to its loader
	local kids
	kids=$(cat "/proc/${TOOL_PID[$1]}/task/${TOOL_PID[$1]}/children")
	# shellcheck disable=SC2086
	kill -9 "${TOOL_PID[$1]}" $kids
	wait "${TOOL_PID[$1]}" 2>/dev/null
	exec {TOOL_IN[$1]}>&- {TOOL_OUT[$1]}<&-
}
backend() { tool "$1" -i eth0 -d eth0 -f 198.18.0.0/16 -f 2001:db8::/32; }
serve() {       # an echo server on each backend
	for b in 1 2 3; do
		in_ns b$b $FLOWS serve 80 >"$scratch/serve-$b" &
		until_true 5 grep -q ready "$scratch/serve-$b"
	done
}
reason() { ask "$1" reasons | tr ' ' '\n' | sed -n "s/^$2=//p"; }
finish() {
	local pids
	pids=$(jobs -p)
	# shellcheck disable=SC2086
	[ -z "$pids" ] || kill -9 $pids 2>/dev/null
	echo "1..$tests_run"
	[ $tests_failed = 0 ]
	exit
}
