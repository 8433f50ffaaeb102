#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Objects on two sites of two endpoints: put, get, ranges, conditions, by hash, fetch-through, listing, delete; on a
# lone endpoint first. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11; node a2 a 12; node b1 b 21; node b2 b 22
start_registry || { check 1 "registry"; finish; }
start a1
check $? "an endpoint starts"
add_user
check $? "a user and a token"
head -c 4096 /dev/urandom >"$work/small"

# ---- alone
until_ok 5 registered 1 a1
c=$(code a1 /b/lone/small -T "$work/small")
[ "$c" = 201 ] && jq -e '.copies == 1 and (.note | length > 0) and .endpoints == ["a1"]' "$work/body" >/dev/null
check $? "alone: 201, one copy, and it says so ($c)"
curl -sf "http://${addr[a1]}:7004/_/status" | jq -e '.note | length > 0' >/dev/null
check $? "the status says so too"
[ "$(code a1 /b/lone/small)" = 200 ] && cmp -s "$work/body" "$work/small"
check $? "and it comes back"

# ---- four
start a2 b1 b2
check $? "three more start"
ok=0; for e in a1 a2 b1 b2; do until_ok 10 registered 4 $e || ok=1; done
check $ok "all see four"
head -c $((20 * 1024 * 1024 + 12345)) /dev/urandom >"$work/large"
: >"$work/empty"
c=$(code a1 /b/data/large -T "$work/large")
[ "$c" = 201 ] && [ "$(jq -r .sha256 "$work/body")" = "$(sha "$work/large")" ]
check $? "20 MiB are stored ($c)"
cp "$work/body" "$work/answer"
jq -e '.copies == 2 and (.note == null) and (.endpoints | map(.[0:1]) | sort == ["a","b"])' "$work/answer" >/dev/null
check $? "on two endpoints of two sites: $(jq -c .endpoints "$work/answer")"
version=$(jq -r .version "$work/answer")
ok=0
for e in $(jq -r '.endpoints[]' "$work/answer"); do
	head -c "$(stat -c %s "$work/large")" "$(version_file "$e" "$version")" | cmp -s - "$work/large" || ok=1
done
check $ok "both files hold the object's bytes from offset 0"
[ "$(code b1 /b/data/small -T "$work/small")" = 201 ] && [ "$(code b2 /b/data/small)" = 200 ] && cmp -s "$work/body" "$work/small"
check $? "4 KiB"
[ "$(code b1 /b/data/empty -T "$work/empty")" = 201 ] && [ "$(code a1 /b/data/empty)" = 200 ] && [ ! -s "$work/body" ]
check $? "an empty object"
[ "$(code a2 /b/data/chunked -T - <"$work/large")" = 201 ] && [ "$(jq -r .sha256 "$work/body")" = "$(sha "$work/large")" ]
check $? "unknown length (chunked)"
head -c $((8 * 1024 * 1024)) "$work/large" >"$work/eight"
[ "$(code a2 /b/data/eight -T "$work/eight")" = 201 ] && [ "$(code b1 /b/data/eight)" = 200 ] && cmp -s "$work/body" "$work/eight"
check $? "exactly one chunk"
head -c $((16 * 1024 * 1024)) "$work/large" >"$work/sixteen"
[ "$(code a2 /b/data/sixteen -T "$work/sixteen")" = 201 ] && [ "$(code b1 /b/data/sixteen)" = 200 ] && cmp -s "$work/body" "$work/sixteen"
check $? "exactly two chunks"

holders=$(jq -r '.endpoints[]' "$work/answer")
for e in a1 a2 b1 b2; do
	[ "$(code $e /b/data/large)" = 200 ] && cmp -s "$work/body" "$work/large"
	ok=$? from=$(header X-Weir-From)
	if grep -qx "$e" <<<"$holders"; then
		[ "$from" = "$e" ] && [ $ok = 0 ]; check $? "$e holds it and sends it"
	else
		[ "$from" != "$e" ] && [ $ok = 0 ] && [ -z "$(version_file $e "$version")" ]
		check $? "$e lacks it, fetches it through from $from, and keeps nothing"
		lacks=$e
	fi
done
for at in 0-0 8388600-8388615 1048576-12000000 20971520- -100; do
	c=$(code "$lacks" /b/data/large -r "$at")
	case $at in
	-*) tail -c "${at#-}" "$work/large" >"$work/part" ;;
	*-) tail -c +$((${at%-} + 1)) "$work/large" >"$work/part" ;;
	*) tail -c +$((${at%-*} + 1)) "$work/large" | head -c $((${at#*-} - ${at%-*} + 1)) >"$work/part" ;;
	esac
	[ "$c" = 206 ] && cmp -s "$work/body" "$work/part" && c=$(code a1 /b/data/large -r "$at") && cmp -s "$work/body" "$work/part"
	check $? "range $at, through and direct: $c"
done
[ "$(code a1 /b/data/large -r 99999999-)" = 416 ] && [ "$(header Content-Range)" = "bytes */$(stat -c %s "$work/large")" ]
check $? "a range past the end: 416"
etag=$(jq -r .etag "$work/answer")
[ "$(code b1 /b/data/large -I)" = 200 ] && [ "$(header Content-Length)" = "$(stat -c %s "$work/large")" ] && [ "$(header ETag)" = "$etag" ] &&
	[ "$(header X-Weir-Sha256)" = "$(sha "$work/large")" ]
check $? "HEAD has length, ETag and SHA-256"
[ "$(code b1 /b/data/large -H "If-None-Match: $etag")" = 304 ] && [ "$(code b1 /b/data/large -H 'If-Match: "other"')" = 412 ]
check $? "conditions of a GET: 304, 412"
[ "$(code b1 /b/data/large -r 5-9 -H 'If-Range: "other"')" = 200 ] && [ "$(code b1 /b/data/large -r 5-9 -H "If-Range: $etag")" = 206 ]
check $? "If-Range"
[ "$(code a2 /b/data/small -T "$work/empty" -H 'If-None-Match: *')" = 412 ] && [ "$(code b1 /b/data/small)" = 200 ] && cmp -s "$work/body" "$work/small"
check $? "If-None-Match: * on an object that is there: 412, nothing changed"
small=$(header ETag)
[ "$(code a2 /b/data/small -T "$work/eight" -H "If-Match: $small")" = 200 ] && [ "$(code b1 /b/data/small)" = 200 ] && cmp -s "$work/body" "$work/eight"
check $? "If-Match replaces: 200"
[ "$(code a2 /b/data/small -T "$work/empty" -H "If-Match: $small")" = 412 ]
check $? "the same If-Match again: 412"

# ---- by hash
ok=0
for e in a1 a2 b1 b2; do
	[ "$(code $e /o/"$(sha "$work/large")")" = 200 ] && cmp -s "$work/body" "$work/large" || ok=1
done
check $ok "by hash from each"
[ "$(code a1 /o/"$(printf %064d 7)")" = 404 ] && [ "$(code a1 /o/xyz)" = 400 ]
check $? "an unknown hash: 404; no hash: 400"
# As many names of the same data as are looked through (names.h), and more.
ok=0; for i in $(seq 66); do [ "$(code a1 "/b/same/$i" -T "$work/small")" = 201 ] || ok=1; done
[ $ok = 0 ] && [ "$(code b1 /o/"$(sha "$work/small")")" = 200 ] && cmp -s "$work/body" "$work/small"
check $? "by hash, of which there are 66"

# ---- listing
for k in z/1 z/2 z/3 "z/ä" "a b"; do code a1 "/b/list/$(jq -rn --arg k "$k" '$k|@uri' | sed 's|%2F|/|g')" -T "$work/empty" >/dev/null; done
[ "$(code b2 "/b/list/")" = 200 ] && [ "$(jq -c '[.objects[].key]' "$work/body")" = '["a b","z/1","z/2","z/3","z/ä"]' ]
check $? "a listing is in key order: $(jq -c '[.objects[].key]' "$work/body")"
[ "$(code b2 "/b/list/?prefix=z/&limit=2")" = 200 ] && [ "$(jq -c '[[.objects[].key],.next]' "$work/body")" = '[["z/1","z/2"],"z/2"]' ]
check $? "a page, its token is the last key"
[ "$(code b2 "/b/list/?prefix=z/&limit=2&after=z/2")" = 200 ] && [ "$(jq -c '[[.objects[].key],.next]' "$work/body")" = '[["z/3","z/ä"],null]' ]
check $? "the page after it, and no more"
for k in 'odd/"q"' 'odd/\b'; do code a1 "/b/list/$(jq -rn --arg k "$k" '$k|@uri' | sed 's|%2F|/|g')" -T "$work/small" >/dev/null; done
[ "$(code b2 "/b/list/?prefix=odd/")" = 200 ] && jq -e --arg sha "$(sha "$work/small")" '[.objects[].key] == ["odd/\"q\"", "odd/\\b"] and
	all(.objects[]; keys_unsorted == ["key","size","version","modified","etag","sha256"] and .size == 4096 and .sha256 == $sha and
		.etag == "\"\($sha[:32])\"" and (.version | length == 32) and now - .modified < 600)' "$work/body" >/dev/null
check $? "quotes and backslashes in keys, and what is said of each object"
[ "$(code b2 "/b/list/?delimiter=/")" = 200 ] && [ "$(jq -c '[[.objects[].key],.prefixes,.next]' "$work/body")" = '[["a b"],["odd/","z/"],null]' ] &&
	[ "$(code b2 "/b/list/?delimiter=/&limit=2&versions=1")" = 200 ] &&
	[ "$(jq -c '[[.objects[] | .key, .version, .current, .marker],.prefixes,.next]' "$work/body")" = '[["a b","null",true,false],["odd/"],"odd/"]' ]
check $? "common prefixes, versions"
[ "$(code b2 "/b/list/?delimiter=%A4")" = 400 ] && [ "$(code a1 "/b/list/?prefix=z/%C3")" = 400 ] && [ "$(code b1 "/b/list/?after=%FF")" = 400 ]
check $? "half a character as delimiter, prefix or after: 400"

# ---- refusals
c=$(curl -s -o "$work/body" -w '%{http_code}' "$(url b1 /b/data/large)")
[ "$c" = 401 ] && [ "$(curl -s -o "$work/body" -w '%{http_code}' "$(url b1 /o/"$(sha "$work/large")")")" = 401 ] &&
	[ "$(curl -s -o "$work/body" -w '%{http_code}' -T "$work/small" "$(url b1 /b/data/x)")" = 401 ]
check $? "without a token: 401, by name, by hash, for a PUT"
[ "$(code a1 /b/UP/x -T "$work/small")" = 400 ] && [ "$(code a1 /b/data/%01 -T "$work/small")" = 400 ] && [ "$(code a1 /b/data/ --data-binary @"$work/small" -X PUT)" = 400 ]
check $? "a bad bucket, a bad key, no key: 400"
[ "$(code a1 /b/data/none)" = 404 ] && [ "$(code a1 /b/never/none)" = 404 ]
check $? "what is not there: 404"

# ---- delete
[ "$(code "$lacks" /b/data/large -X DELETE)" = 204 ]
check $? "delete: 204"
ok=0; for e in a1 a2 b1 b2; do { [ "$(code $e /b/data/large)" = 404 ]; } || ok=1; done
check $ok "gone at each"
[ "$(code a1 /b/data/large -X DELETE)" = 404 ]
check $? "again: 404"
gone() { for e in a1 a2 b1 b2; do [ -z "$(version_file $e "$version")" ] || return 1; done; }
until_ok 15 gone
check $? "its data vanish from every disk"
t=0; for e in a1 a2 b1 b2; do t=$((t + $(temporaries $e))); done
[ $t = 0 ]
check $? "nothing is left half-stored"
curl -sf "http://${addr[a1]}:7004/_/metrics" | grep -q '^# HELP weir_store_puts_total' && curl -sf "http://${addr[a1]}:7004/_/metrics" | grep -Eq '^weir_store_free_bytes [0-9]'
check $? "metrics"
curl -sfi "$(url a1 /_/health)" | grep -qi '^endpoint-load-metrics: '
check $? "health carries the load report"
stop TERM a1 a2 b1 b2
check $? "all end"
finish
