#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# libmicrohttpd before 1.0.3 could skip a ready connection while another was suspended: hundreds of connections
# that are suspended and resumed, by workers, by readers and by uploads, beside one that asks now and then.
# No request may wait longer than the others make it, with one thread and with several.
. "$(dirname "$0")/http_serve"
n=0 rc=0
for threads in 1 2; do
	serve THREADS=$threads
	for what in "quiet 4" "busy 300"; do
		n=$((n + 1))
		if out=$(python3 tests/net/http_stress.py 127.0.0.1 8080 ${what#* }); then
			echo "ok $n - $threads threads, ${what% *}: $out"
		else
			echo "not ok $n - $threads threads, ${what% *}: $out"
			rc=1
		fi
	done
	stop_well || rc=1
	rm -f "$folder/.ready"
done
echo "1..$n"
exit $rc
