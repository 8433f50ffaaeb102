#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# RANDOM_PACKETS (1,000,000) random and mutated packets (test_random.c), spread over the cores, each with a seed of its own: RANDOM_SEED
# and those after it (of the clock). Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
make -s build/bpf-tests >/dev/null || exit 1
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m "$0" "$@"
ip link set lo up
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cores=$(nproc) seed=${RANDOM_SEED:-$(date +%s)}
for i in $(seq "$cores"); do
	RANDOM_PACKETS=$((${RANDOM_PACKETS:-1000000} / cores)) RANDOM_SEED=$((seed + i - 1)) build/tests/bpf/test_random >"$work/$i" 2>&1 &
done
wait
cat "$work"/* | awk '/^(not )?ok/ { sub(/ok [0-9]+/, "ok " ++n) } /^1\.\./ { next } { print } /^not ok|^Bail/ { bad = 1 } END { exit bad || !n }'
