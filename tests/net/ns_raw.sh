#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Malformed messages, slow and greedy TCP clients leave weir-ns serving, and get the answers that they deserve.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 77; }
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m "$0" "$@"
top=${WEIR_TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
make -s -C "$top" build/bin/weir-ns build/bin/weir-registry || exit 1
mount -t tmpfs none /run && ip link set lo up || exit 77
PYTHONDONTWRITEBYTECODE=1 exec timeout 200 python3 "$top/tests/net/ns_raw.py"
