#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir media watch, weir peers: viewers without a screen through an outage, a peer that lies, who refuses: see zz_watch.py.
command -v python3 >/dev/null || { echo "skip: python3 is not installed"; exit 77; }
command -v ffmpeg >/dev/null || { echo "skip: ffmpeg is not installed"; exit 77; }
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -- "$0" "$@"
ip link set lo up || exit 1
for site in 1 2 3 4 5 6 7 8 9; do ip addr add "198.18.$site.1/32" dev lo || exit 1; done
exec python3 "$(dirname "$0")/zz_watch.py"
