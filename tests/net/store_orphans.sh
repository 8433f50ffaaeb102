#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Data that no name refers to, small ones in segments and big files: counted; with orphans: remove gone after two rounds of the
# scrubber, and kept for each reason that there is. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"
rot() { python3 "$(dirname "$0")/store_rot.py" "$@"; }
export WEIR_ORPHANS_AGE_S=1
state=$work/a1/state/endpoint
# round [OPTION]: a whole round of the scrubber; its outcome in $work/scrub.
round() { "$BIN/weir" scrub --wait --json "$@" -c "$work/a1.yaml" >"$work/scrub" 2>"$work/scrub.err"; }
told() { jq -c '[.orphans, .orphans_removed, .orphans_kept]' "$work/scrub"; }
kept() { [ "$(jq --arg w "$1" '[.orphans_kept | to_entries[] | select(.key | startswith($w)) | .value] | add // 0' "$work/scrub")" = "$2" ]; }
both() { [ -n "$(version_file a1 "$big")" ] && [ -n "$(rot find "$state" "$small")" ]; }
neither() { [ -z "$(version_file a1 "$big")" ] && [ -z "$(rot find "$state" "$small")" ]; }
version() { [ "$(code a1 "$1" -T "$2")" = 201 ] && jq -r .version "$work/body"; }
metric() { curl -sf "http://${addr[a1]}:7004/_/metrics" | awk -v m="weir_$1" '$1 == m || index($1, m "{") == 1 {print $2}'; }
since() { "$BIN/weir" scrub --status --json -c "$work/a1.yaml" | jq .orphans_since; }
covers_nothing() { [ "$(since)" = -1 ]; }
unregister() { curl -sf --unix-socket "$work/registry.sock" http://localhost/v3/kv/deleterange -d "{\"key\":\"$(printf '/weir/v1/endpoints/%s' "$1" | base64 -w0)\"}" >"$work/out"; }
# after SECONDS: the clock's second is a later one. A program may take itself for a second older than it is (two clocks, in
# whole seconds): what is to be older than it is two.
after() { [ "$(date +%s)" -gt "$1" ]; }

# Two versions that had a name, are as they were on the disk, and have none: what a kill between data and name leaves.
leave() {
	local record path
	small=$(version /b/data/small "$work/small") && big=$(version /b/data/big "$work/big") || return 1
	record=$(rot record "$state" "$small")
	path=$(version_file a1 "$big")
	cp -p "$path" "$work/copy" || return 1
	code a1 /b/data/small -X DELETE >/dev/null; code a1 /b/data/big -X DELETE >/dev/null
	until_ok 10 neither && stop TERM a1 && cp -p "$work/copy" "$path" && rot append "$state" <<<"$record" && until_ok 5 after "$(($(date +%s) + 1))"
}

head -c 4000 /dev/urandom >"$work/small"; head -c 700000 /dev/urandom >"$work/big"
node a1 a 11; node b1 b 21
start_registry || { check 1 "registry"; finish; }
start a1 && add_user; check $? "an endpoint and a user"
until_ok 10 registered 1 a1
[ "$(version /b/data/stays "$work/small")$(version /b/data/stays2 "$work/big")" != "" ]; check $? "two objects that stay"

# ---- these names cover nothing yet: the first start
leave; check $? "two versions without a name: $small $big"
"$BIN/weir" fsck --json -c "$work/a1.yaml" >"$work/fsck"
[ "$(jq -c '[.findings[] | select(.what == "unnamed") | .where] | sort' "$work/fsck")" = "$(jq -nc --arg a "$small" --arg b "$big" '[$a, $b] | sort')" ] &&
	[ "$(jq .unnamed_bytes "$work/fsck")" = 704000 ]
check $? "fsck says so, and how many bytes: $(jq .unnamed_bytes "$work/fsck")"
sed -i 's/^  copies: 2/  copies: 2\n  orphans: remove/' "$work/a1.yaml"
start a1; until_ok 10 registered 1 a1; until_ok 5 after "$(($(date +%s) + 1))"
round; round
both && kept older 2; check $? "of before these names were known: kept in three rounds, $(told)"
[ "$(metric store_orphans) $(metric store_orphan_bytes) $(metric store_orphans_swept_total)" = "2 704000 0" ]
check $? "and counted: $(metric store_orphans), $(metric store_orphan_bytes) bytes, $(metric store_orphans_swept_total) removed"
[ "$(jq .rounds "$work/scrub")" -ge 2 ] && [ "$(metric store_scrub_rounds_total) $(metric store_scrub_done_ratio)" = "$(jq .rounds "$work/scrub") 1" ] &&
	[ "$(metric store_scrubbed_versions_total) $(metric store_scrubbed_bytes_total)" = "$(jq -r '"\(.versions) \(.bytes)"' "$work/scrub")" ]
check $? "the scrubber's rounds, versions and bytes are counted: $(metric store_scrub_rounds_total), $(metric store_scrubbed_versions_total), $(metric store_scrubbed_bytes_total)"
round --orphans
both && kept seen 2; check $? "the operator says that the names are right; one round removes nothing: $(told)"
round
neither && [ "$(jq -c '[.orphans, .orphans_removed]' "$work/scrub")" = "[0,2]" ] && [ "$(metric store_orphans_swept_total)" = 2 ]
check $? "two do: $(told)"
grep -q 'removed 2 versions without a name' "$work/a1.log"; check $? "the log says it: $(grep -c 'without a name' "$work/a1.log") lines"

# ---- covered from now on
until_ok 5 after "$(date +%s)"
leave; start a1; until_ok 10 registered 1 a1; until_ok 5 after "$(($(date +%s) + 1))"
round; both && kept seen 2; check $? "left by a later run: the first round only sees them: $(told)"
stop KILL a1; start a1; until_ok 10 registered 1 a1; round
both && kept seen 2; check $? "what a round saw is not known after a kill: $(told)"
sed -i 's/orphans: remove/orphans: keep/' "$work/a1.yaml"; kill -HUP "${pid[a1]}"
mode() { round; [ "$(jq -r .orphans_mode "$work/scrub")" = "$1" ]; }
until_ok 10 mode keep; round; round
both && kept without 2; check $? "orphans: keep counts them: $(told)"
cp "$(version_file a1 "$big")" "$work/copy"; young=$(version_file a1 "$big"); rm "$young"; cp "$work/copy" "$young"; chown 64200 "$young"
sed -i 's/orphans: keep/orphans: remove/' "$work/a1.yaml"; kill -HUP "${pid[a1]}"
until_ok 10 mode remove; until_ok 5 after "$(($(date +%s) + 2))"; round; round
[ -n "$(version_file a1 "$big")" ] && [ -z "$(rot find "$state" "$small")" ] && kept young 1
check $? "what came since this start is young, the other one went: $(told)"
stop TERM a1; start a1; until_ok 10 registered 1 a1; round; round
neither; check $? "after the next start it goes, too: $(told)"

# ---- names that cannot be asked
until_ok 5 after "$(date +%s)"
leave; stop TERM registry
"$BIN/weir-endpoint" -c "$work/a1.yaml" >>"$work/a1.log" 2>&1 & pid[a1]=$!
until_ok 20 curl -sf "http://${addr[a1]}:8080/_/health"; until_ok 5 after "$(($(date +%s) + 1))"
round; round
both && [ "$(jq .orphans_removed "$work/scrub")" = 0 ]; check $? "the registry is away: kept, $(told)"
rm -f "$work/registry.sock"; start_registry; until_ok 20 registered 1 a1
swept() { round; neither; }
until_ok 30 swept; check $? "it is back: gone, $(told)"

# ---- a backup of the names
"$BIN/weir-endpoint" backup-names -c "$work/a1.yaml" "$work/backup" >/dev/null; check $? "a backup of the names"
until_ok 5 after "$(date +%s)"
small=$(version /b/data/late "$work/small") && big=$(version /b/data/late2 "$work/big"); check $? "objects that it does not know"
until_ok 5 after "$(($(date +%s) + 1))"
stop KILL a1; rm "$state/names/data.mdb"; cp "$work/backup/data.mdb" "$state/names/"; chown 64200 "$state/names/data.mdb"
start a1; until_ok 10 registered 1 a1; until_ok 5 after "$(($(date +%s) + 1))"
[ "$(code a1 /b/data/late)" = 404 ]; check $? "it is put in place: they have no name"
round; round
both && kept older 2; check $? "and stay: $(told)"
grep -q 'names are not the ones that were here last' "$work/a1.log"; check $? "the log says why"
stop TERM a1; start a1; until_ok 10 registered 1 a1; round; round
both && kept older 2; check $? "also after one more start: $(told)"
round --orphans; round; neither; check $? "until the operator says that they may go: $(told)"

# ---- another endpoint
until_ok 5 after "$(date +%s)"
leave; start a1; until_ok 10 registered 1 a1; round
[ "$(since)" -ge 0 ]; check $? "alone these names cover what comes: since $(since)"
start b1; until_ok 10 covers_nothing && [ "$(jq .since "$state/names.seen")" = -1 ]
check $? "another endpoint joins: nothing is covered at once, without a round, and that is on the disk"
stop KILL b1; unregister b1; stop KILL a1; start a1; until_ok 10 registered 1 a1 && covers_nothing
check $? "it is gone and off the list before the next round, a1 was killed: still so"
start b1; until_ok 10 registered 2 a1; until_ok 5 after "$(($(date +%s) + 1))"
round; round
both && kept in 2; check $? "of an installation of two they are counted and kept: $(told)"
! "$BIN/weir" scrub --orphans -c "$work/a1.yaml" >"$work/out" 2>&1 && grep -q 'other endpoints' "$work/out"
check $? "also when the operator says otherwise: $(cat "$work/out")"
[ "$(code a1 /b/data/stays) $(code a1 /b/data/stays2)" = "200 200" ]; check $? "what has a name is there all the time"
finish
