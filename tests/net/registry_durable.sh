#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What weir-registry acknowledged is there: after 20 × SIGKILL while it writes, and after its disk was full.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
[ "$(id -u)" = 0 ] || skip "needs root (to mount a small disk)"
mkdir "$work/disk" && mount -t tmpfs -o size=6m none "$work/disk" && chmod 755 "$work/disk" || exit 1
socket=$work/registry.socket
state=$work/disk registry_file
start() { "$daemon" -c "$work/weir.yaml" 2>>"$work/log" & server=$!; pids+=($server); within 10 healthy; }
healthy() { curl -sf --unix-socket "$socket" http://localhost/health; }
post() { printf %s "$2" | curl -s -m 5 --unix-socket "$socket" -d @- "http://localhost$1"; }
b64() { printf %s "$1" | base64 -w0; }
value() { post /v3/kv/range "{\"key\":\"$(b64 "$1")\"}" | sed -n 's/.*"value":"\([^"]*\)".*/\1/p' | base64 -d; }
revision() { post /v3/kv/range '{"key":"YQ=="}' | sed -n 's/.*"revision":"\([0-9]*\)".*/\1/p'; }

writer() {      # writer NAME: counts up, notes what was acknowledged
	local i=0
	while :; do
		i=$((i + 1))
		post /v3/kv/put "{\"key\":\"$(b64 "$1")\",\"value\":\"$(b64 $i)\"}" | grep -q revision && echo $i >>"$work/acked.$1"
	done
}
lost=0 back=0 before=0
for round in $(seq 20); do
	start || { check 1 "round $round: it starts"; break; }
	now=$(revision); [ "$now" -ge "$before" ] || back=1
	for w in a b; do
		[ ! -f "$work/acked.$w" ] || [ "$(value $w)" -ge "$(tail -n 1 "$work/acked.$w")" ] || lost=1
		echo 0 >"$work/acked.$w"
	done
	writer a & wa=$!
	writer b & wb=$!
	some() { [ "$(tail -n 1 "$work/acked.a")" -gt 3 ] && [ "$(tail -n 1 "$work/acked.b")" -gt 3 ]; }
	within 10 some
	before=$(revision)
	kill -9 $server
	kill $wa $wb 2>/dev/null; wait $server $wa $wb 2>/dev/null
done
[ "$round" = 20 ] && [ $lost = 0 ]; check $? "20 × SIGKILL: every acknowledged value is there"
[ $back = 0 ]; check $? "and the revision never went back"

start; check $? "it starts on the small disk"
big=$(head -c 200000 /dev/urandom | base64 -w0)
acked=0
for i in $(seq 60); do
	post /v3/kv/put "{\"key\":\"$(b64 "fill/$i")\",\"value\":\"$big\"}" >"$work/answer"
	grep -q '"error"' "$work/answer" && { sed 's/^/# /' "$work/answer"; echo; break; }
	acked=$i
done
grep -q 'database space exceeded.*free' "$work/answer"; check $? "a full disk is an error that says what to do (after $acked)"
count() { post /v3/kv/range "{\"key\":\"$(b64 fill/)\",\"range_end\":\"$(b64 fill0)\",\"count_only\":true}" |
	sed -n 's/.*"count":"\([0-9]*\)".*/\1/p'; }
[ "$(count)" = $acked ]; check $? "what was refused is not there, the rest is"
at=$(revision)
kill -9 $server; wait $server 2>/dev/null
start; check $? "it starts with the disk full"
[ "$(count)" = $acked ] && [ "$(revision)" = "$at" ]; check $? "with all that was there"
mount -o remount,size=24m "$work/disk"
post /v3/kv/put "{\"key\":\"$(b64 again)\",\"value\":\"$big\"}" | grep -q revision; check $? "with space again it writes again"
kill -TERM $server; wait $server; check $? "it ends well on SIGTERM"
echo "1..$n"
exit $failed
