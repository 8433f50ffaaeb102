#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# RANDOM_PACKETS (1,000,000) random and mutated packets (test_random.c), spread over the cores, each with a seed of its own: RANDOM_SEED
# and those after it (of the clock). RANDOM_PARTS: other than one a core. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
make -s build/bpf-tests >/dev/null || exit 1
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m "$0" "$@"
ip link set lo up
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
parts=${RANDOM_PARTS:-$(nproc)} seed=${RANDOM_SEED:-$(date +%s)} total=${RANDOM_PACKETS:-1000000}
for i in $(seq "$parts"); do
	RANDOM_PACKETS=$((total / parts)) RANDOM_SEED=$((seed + i - 1)) build/tests/bpf/test_random 2>&1 >"$work/$i" | sed -u "s/^# /# part $i: /" &
done
wait
cat "$work"/* | awk -v parts="$parts" -v total="$((total / parts * parts))" '
	# "# kinds: NAME=N ...": added up over the parts
	/^# (kinds|reasons):/ {
		for (i = 3; i <= NF; i++) { split($i, a, "="); if (!(($2, a[1]) in sum)) order[$2, ++count[$2]] = a[1]; sum[$2, a[1]] += a[2]; all[$2] += a[2] }
		next
	}
	/^(not )?ok/ { sub(/ok [0-9]+/, "ok " ++n) }
	/^1\.\./ { next }
	{ print }
	/^not ok|^Bail/ { bad = 1 }
	function table(what, title,    i, name) {
		print "# " title ":"
		for (i = 1; i <= count[what]; i++) { name = order[what, i]; printf "#   %-16s %12d %7.3f%%\n", name, sum[what, name], 100 * sum[what, name] / all["reasons:"] }
	}
	END {
		# Each part alone is too small for that, where cores are many.
		for (i = 1; total >= 500000 && i <= count["reasons:"]; i++) {
			name = order["reasons:", i]
			if (!sum["reasons:", name] && name != "NO_ROOM" && name !~ /^FEEDBACK/) { print "not ok " ++n " - " name " was never met"; extra++ }
		}
		if (all["reasons:"]) { table("kinds:", "kinds of packets (some are several)"); table("reasons:", "what became of them") }
		if (n != 2 * parts + extra) print "Bail out! a part has not come to its end"
		exit bad || extra || n != 2 * parts
	}'
