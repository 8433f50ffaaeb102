#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# WebSockets (http/peers/ws.h) against a library's client and against raw sockets that break every rule: messages,
# fragments, limits and their close codes, silence, slow readers, refused handshakes, the server's end. SAN=1 tests the
# sanitized build. Needs root for a namespace. Exit: 0 pass, 1 fail, 77 skip.
set -u
[ "$(id -u)" = 0 ] || { echo "skip: needs root for a network namespace"; exit 77; }
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m "$0" "$@"
cd "$(dirname "$0")/../.." || exit 1
/usr/bin/python3 -c 'import websockets' 2>/dev/null || { echo "skip: python3-websockets is not installed"; exit 77; }
ip link set lo up || exit 1
server=${WS_ECHO:-build/${SAN:+san/}net/ws_echo}
[ -x "$server" ] || make -s ${SAN:+SAN=address,undefined} "$server" >&2 || { echo "not ok 1 - $server builds"; exit 1; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
/usr/bin/python3 tests/net/peers_ws.py "$server" "$folder"
