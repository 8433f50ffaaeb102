#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles without one warning with clang (tests/all looks at what gcc says, and at clang itself: WEIR_CLANG_BUILT); the BPF
# objects also with clang 19, for arm64, and with the checked-in kernel types instead of the running kernel's.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
# Clang warns before it optimizes: -O0 says as much in half the time.
objects="build/bpf/edge.bpf.o build/bpf/listen.bpf.o build/bpf/egress.bpf.o build/bpf/crypt.bpf.o"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0 bad=0
check() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=$((bad + 1)); sed 's/^/# /' "$work/log" | grep -iE -A3 'warning|error' | head -n 30; fi; }
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

(cd "$top" && { git ls-files 2>/dev/null || find . -type f -not -path './build/*' -not -path './.git/*'; } | tar -cf - -T -) | tar -xf - -C "$work"
cd "$work" || exit 1
if [ -n "${WEIR_CLANG_BUILT:-}" ]; then :
elif ! command -v clang-14 >/dev/null; then skip clang-14 "it is not installed"
else
	rm -rf build
	nice make -j"$(nproc)" --no-print-directory CC=clang-14 CFLAGS="-O0 -g" all >"$work/log" 2>&1 && ! grep -qi 'warning' "$work/log"
	check $? "make CC=clang-14: no warning"
fi
for how in CLANG=clang-19 bpf_arch=arm64; do
	if [ $how = CLANG=clang-19 ] && ! command -v clang-19 >/dev/null; then skip "$how" "it is not installed"; continue; fi
	rm -rf build/bpf
	nice make -j"$(nproc)" --no-print-directory $how $objects >"$work/log" 2>&1 && ! grep -qi 'warning' "$work/log"
	check $? "make $how, the BPF objects: no warning"
done
rm -rf build/bpf build/vmlinux
mkdir -p build/vmlinux && cp vmlinux/vmlinux.h build/vmlinux/ && touch build/vmlinux/vmlinux.h
nice make -j"$(nproc)" --no-print-directory $objects >"$work/log" 2>&1 && ! grep -qi 'warning' "$work/log"
check $? "with the checked-in kernel types: no warning"
echo "1..$n"
[ $bad = 0 ]
