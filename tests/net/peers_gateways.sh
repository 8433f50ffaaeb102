#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Viewers of one film at several gateways, which die, hang, come back and are added: see peers_gateways.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
command -v ffmpeg >/dev/null || { echo "skip: ffmpeg is not installed"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m -- "$0" "$@"
mount -t tmpfs none /run/netns 2>/dev/null || { mkdir -p /run/netns && mount -t tmpfs none /run/netns; } || exit 1
ip link set lo up || exit 1
for gateway in 1 2 3 4 9; do ip addr add "10.77.0.$gateway/32" dev lo || exit 1; done
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.proxy_arp=1 net.ipv4.conf.default.proxy_arp=1 || exit 1
for site in 1 2 3 4; do
	ip netns add "site$site" && ip link add "site$site" type veth peer name eth0 netns "site$site" && ip link set "site$site" up &&
		ip -n "site$site" addr add "198.18.$site.2/32" dev eth0 && ip -n "site$site" link set lo up &&
		ip -n "site$site" link set eth0 up && ip -n "site$site" route add default dev eth0 &&
		ip route add "198.18.$site.2/32" dev "site$site" || exit 1
done
python3 "$(dirname "$0")/peers_gateways.py"
