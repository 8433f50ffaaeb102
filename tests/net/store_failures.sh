#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What may go wrong, goes wrong: a holder dies in mid-stream, a second dies in mid-upload, a client leaves, a disk is
# full, bits flip, an endpoint is away and comes back. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11; node a2 a 12; node b1 b 21; node b2 b 22
start_registry || { check 1 "registry"; finish; }
start a1 a2 b1 b2 && add_user
check $? "four endpoints and a user"
for e in a1 a2 b1 b2; do until_ok 10 registered 4 $e; done
head -c $((40 * 1024 * 1024 + 777)) /dev/urandom >"$work/large"
head -c 300000 "$work/large" >"$work/middle"
all() { echo a1 a2 b1 b2; }
# A node that does not hold the object of $work/body's answer, and the holders.
without() { for e in $(all); do jq -e --arg e $e '.endpoints | index($e)' "$1" >/dev/null || { echo $e; return; }; done; }

# ---- bits flip
flip() { # FILE OFFSET
	printf "\\x$(printf %02x $((0x$(xxd -p -s "$2" -l 1 "$1") ^ 0x10)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
metric() { curl -sf "http://${addr[$1]}:7004/_/metrics" | awk -v m="weir_$2" '$1 == m { print $2 }'; }
[ "$(code a1 /b/data/large -T "$work/large")" = 201 ]; check $? "40 MiB are stored"
cp "$work/body" "$work/answer"
version=$(jq -r .version "$work/answer"); first=$(jq -r '.endpoints[0]' "$work/answer"); second=$(jq -r '.endpoints[1]' "$work/answer")
file=$(version_file "$first" "$version")
same_files() { cmp -s "$(version_file "$1" "$version")" "$work/good"; }
cp "$file" "$work/good"
flip "$file" 20000000
[ "$(code "$first" /b/data/large)" = 200 ] && cmp -s "$work/body" "$work/large"
check $? "a flipped bit in the middle: the client gets the right bytes"
until_ok 10 same_files "$first"
check $? "and the file is repaired"
[ "$(code "$first" /b/data/large)" = 200 ] && cmp -s "$work/body" "$work/large" && [ "$(header X-Weir-From)" = "$first" ]
check $? "again, now from the disk"
flip "$file" 100
[ "$(code "$first" /b/data/large -r 0-999)" = 206 ] && head -c 1000 "$work/large" | cmp -s - "$work/body"
check $? "a flipped bit in a file that was hot: found all the same"
until_ok 10 same_files "$first"
check $? "and repaired"
flip "$file" $(($(stat -c %s "$file") - 40))
[ "$(code "$first" /b/data/large)" = 200 ] && cmp -s "$work/body" "$work/large"
check $? "a damaged head: the client gets the right bytes"
whole() { head -c "$(stat -c %s "$work/large")" "$(version_file "$first" "$version")" | cmp -s - "$work/large" && [ "$(code "$first" /b/data/large)" = 200 ] && [ "$(header X-Weir-From)" = "$first" ]; }
until_ok 10 whole
check $? "and the version was fetched anew"
lack=$(without "$work/answer")
for e in "$first" "$second"; do flip "$(version_file "$e" "$version")" $([ "$e" = "$first" ] && echo 30000000 || echo 10000000); done
[ "$(code "$lack" /b/data/large)" = 200 ] && cmp -s "$work/body" "$work/large"
check $? "two damaged holders behind a fetch-through: the client gets the right bytes"
for e in "$first" "$second"; do ctl "$e" scrub | grep -q '"ok": *true' || echo "# scrub at $e failed"; done
scrubbed() { local e; for e in "$first" "$second"; do
	head -c "$(stat -c %s "$work/large")" "$(version_file "$e" "$version")" | cmp -s - "$work/large" || return 1; done; }
until_ok 30 scrubbed
check $? "the scrubber repairs what nobody reads"
[ "$(code "$lack" /b/data/middle -T "$work/middle")" = 201 ]
v=$(jq -r .version "$work/body") f=$(jq -r '.endpoints[0]' "$work/body")
rm "$(version_file "$f" "$v")"
[ "$(code "$f" /b/data/middle)" = 200 ] && cmp -s "$work/body" "$work/middle"
check $? "a file that vanished: fetched through"
restored() { [ -n "$(version_file "$f" "$v")" ]; }
until_ok 20 restored
check $? "and fetched again behind it"

# ---- a holder dies in mid-stream
curl -s -o "$work/slow" -w '%{http_code}' -H "$auth" --limit-rate 12M "$(url "$lack" /b/data/large)" >"$work/code" &
curl_pid=$!
until_ok 10 test -s "$work/slow"
stop KILL "$second"
wait $curl_pid
[ "$(cat "$work/code")" = 200 ] && cmp -s "$work/slow" "$work/large"
ok=$?
start "$second"
curl -s -o "$work/slow2" -w '%{http_code}' -H "$auth" --limit-rate 12M "$(url "$lack" /b/data/large)" >"$work/code" &
curl_pid=$!
until_ok 10 test -s "$work/slow2"
stop KILL "$first"
wait $curl_pid
[ $ok = 0 ] && [ "$(cat "$work/code")" = 200 ] && cmp -s "$work/slow2" "$work/large"
check $? "either holder is killed during a fetch-through: the download goes on, whole"
start "$first"
for e in $(all); do until_ok 10 registered 4 "$e"; done
live() { [ "$("$BIN/weir" status --json -c "$work/registry.yaml" 2>/dev/null | jq '[.members[] | select(.role == "endpoint")] | length')" = "$1" ]; }

# ---- a second dies in mid-upload
seconds_of() { for e in $(all); do [ "$(temporaries "$e")" != 0 ] && echo "$e"; done; }
ok=1
for try in 1 2 3; do
	curl -s -o "$work/body" -w '%{http_code}' -H "$auth" --limit-rate 8M -T "$work/large" "$(url a1 /b/data/second$try)" >"$work/code" &
	curl_pid=$!
	another() { seconds_of | grep -qv a1; }
	until_ok 10 another || { wait $curl_pid; continue; }
	victim=$(seconds_of | grep -v a1 | head -n 1)
	stop KILL "$victim"
	wait $curl_pid
	c=$(cat "$work/code")
	if [ "$c" = 201 ] && ! jq -e --arg e "$victim" '.endpoints | index($e)' "$work/body" >/dev/null; then ok=0; fi
	echo "# try $try: $victim killed, $c $(jq -c .endpoints "$work/body" 2>/dev/null)"
	start "$victim"
	[ $ok = 0 ] && break
done
check $ok "the second copy's endpoint is killed during an upload: another takes its place, 201"
[ "$(code b1 /b/data/second$try)" = 200 ] && cmp -s "$work/body" "$work/large"
check $? "and the object is whole"

# ---- the client leaves in the middle
before=$(for e in $(all); do versions "$e"; done | paste -sd+ | bc)
timeout 1.5 curl -s -o /dev/null -H "$auth" --limit-rate 10M -T "$work/large" "$(url a2 /b/data/cut)"
clean() { local e; for e in $(all); do [ "$(temporaries "$e")" = 0 ] || return 1; done; }
until_ok 30 clean
check $? "a PUT cut in the middle leaves no temporaries anywhere"
[ "$(code a1 /b/data/cut)" = 404 ] && [ "$(for e in $(all); do versions "$e"; done | paste -sd+ | bc)" = "$before" ]
check $? "and no object"

# ---- away and back
[ "$(code a1 /b/away/gone -T "$work/middle")" = 201 ]; cp "$work/body" "$work/gone"
version=$(jq -r .version "$work/gone"); away=$(jq -r '.endpoints[1]' "$work/gone"); at=$(jq -r '.endpoints[0]' "$work/gone")
stop TERM "$away"
deleted() { [ "$(code "$at" /b/away/gone -X DELETE)" = 204 ]; }
until_ok 20 deleted
check $? "a delete while a holder ($away) is away: 204"
stored() { [ "$(code "$at" /b/away/missed$1 -T "$work/middle")" = 201 ]; }
for i in 1 2 3 4; do until_ok 20 stored $i; jq -r .version "$work/body"; done >"$work/missed"
start "$away"
dropped() { [ -z "$(version_file "$away" "$version")" ]; }
until_ok 20 dropped
check $? "it comes back and drops what was deleted"
[ "$(code "$away" /b/away/gone)" = 404 ]
check $? "which does not come back"
fetched() { local v e; while read -r v; do
	local n=0; for e in $(all); do [ -n "$(version_file "$e" "$v")" ] && n=$((n + 1)); done; [ $n -ge 2 ] || return 1; done <"$work/missed"; }
until_ok 20 fetched
check $? "what was stored meanwhile has at least two copies"
ok=0; for i in 1 2 3 4; do { [ "$(code "$away" /b/away/missed$i)" = 200 ] && cmp -s "$work/body" "$work/middle"; } || ok=1; done
check $ok "and is served by it"

# ---- nobody else is there
stop KILL a2 b1 b2
refused() { c=$(code a1 /b/alone/x -T "$work/middle" --max-time 30); [ "$c" = 503 ] || [ "$c" = 504 ]; }
until_ok 20 refused
check $? "the only one left refuses a PUT: $c $(jq -r .error "$work/body")"
start a2 b1 b2
again() { [ "$(code a1 /b/alone/x -T "$work/middle")" = 201 ]; }
until_ok 30 again
check $? "and takes it when the others are back"

# ---- a full disk
stop TERM b2
rm -rf "$work/b2/state"; mkdir "$work/b2/state"
mount -t tmpfs -o size=24m,uid=64200,mode=755 none "$work/b2/state" || check 1 "tmpfs"
start b2
full() { c=$(code b2 /b/full/large -T "$work/large"); [ "$c" = 507 ]; }
until_ok 15 full
check $? "an upload that does not fit: $c"
c=$(code b2 /b/full/chunked -T - <"$work/large")
[ "$c" = 507 ]
check $? "one of unknown length: $c $(jq -r .error "$work/body" 2>/dev/null)"
[ "$(find "$work/b2/state/endpoint/tmp" -type f -size +0 | wc -l)" = 0 ] && [ "$(code a1 /b/full/chunked)" = 404 ]
check $? "nothing is half-stored"
c=$(code b2 /b/full/middle -T "$work/middle")
[ "$c" = 201 ] && [ "$(code b2 /b/full/middle)" = 200 ] && cmp -s "$work/body" "$work/middle"
check $? "what fits is stored and served: $c $(df -h "$work/b2/state" | tail -n 1) $(head -c 200 "$work/body" | tr -dc ' -~')"
ok=0
for i in 1 2 3 4 5 6; do c=$(code a1 /b/full/to$i -T "$work/large"); [ "$c" = 201 ] || ok=1; done
check $ok "others avoid the full one: $c"
until_ok 10 clean
check $? "no temporaries anywhere"
finish
