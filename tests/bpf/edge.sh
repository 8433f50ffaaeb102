#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The edge program packet by packet, under BPF_PROG_TEST_RUN; then what tshark and reader.py say to every frame. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
make -s build/bpf-tests >/dev/null || exit 1
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m "$0" "$@"
ip link set lo up
failed=0
export EDGE_PCAP=build/cases
rm -rf $EDGE_PCAP; mkdir -p $EDGE_PCAP || exit 1
for t in build/tests/bpf/test_*[a-z]; do
	[ -f "tests/bpf/${t##*/}.c" ] && [ "$t" != build/tests/bpf/test_random ] || continue    # not what an older tree left; random.sh
	CMOCKA_MESSAGE_OUTPUT=TAP "$t" | grep -v '^1\.\.' || failed=1
	[ "${PIPESTATUS[0]}" = 0 ] || failed=1
done
if command -v tshark >/dev/null; then tests/bpf/reader.py $EDGE_PCAP || failed=1; else echo "ok - reader # SKIP no tshark"; fi
exit $failed
