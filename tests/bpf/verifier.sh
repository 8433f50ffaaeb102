#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every BPF object, compiled by every clang that is there, is loaded: the kernel takes it, and its verifier goes through fewer than
# 300,000 instructions for each program, global functions included. The counts are printed. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
make -s build/tests/bpf/verify >/dev/null || exit 1
objects=()
for clang in $(cd /usr/bin && ls clang-[0-9]* | grep -xE 'clang-[0-9]+' | sort -V); do
	want=()
	for source in bpf/*.bpf.c; do object=${source#bpf/}; want+=("build/verify/$clang/${object%.c}.o"); done
	make -s CLANG="$clang" "${want[@]}" 2>&1 >/dev/null | sed 's/^/# /'
	objects+=("${want[@]}")
done
exec build/tests/bpf/verify "${objects[@]}"
