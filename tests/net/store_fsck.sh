#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir fsck (offline) finds and explains what does not fit, mends what is safe; weir scrub shows how far it is and mends the rest
# from the other copy. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"
rot() { python3 "$(dirname "$0")/store_rot.py" "$@"; }
fsck() { "$BIN/weir" fsck -c "$work/a1.yaml" "$@" >"$work/fsck" 2>"$work/fsck.err"; }
found() { jq -r --arg w "$1" '[.findings[] | select(.what == $w)] | length' "$work/fsck"; }
state=$work/a1/state/endpoint

node a1 a 11; node b1 b 21
start_registry || { check 1 "registry"; finish; }
start a1 b1 && add_user
check $? "two endpoints and a user"
for e in a1 b1; do until_ok 10 registered 2 $e; done
rot put "$(url a1 /b/data)" 40 4000 small && rot put "$(url a1 /b/data)" 3 700000 large
check $? "objects are stored"
fsck; [ $? = 3 ] && grep -q 'runs; stop it' "$work/fsck.err"
check $? "fsck leaves an endpoint that runs alone, and says so: $(cat "$work/fsck.err")"
stop TERM a1
fsck; c=$?
[ $c = 0 ] && grep -q '43 versions .* and 43 names: all is well' "$work/fsck"
check $? "nothing to find: $c, $(tail -n 1 "$work/fsck")"
cp -r "$state/index" "$work/index.old"
start a1; rot put "$(url a1 /b/data)" 10 4000 more; [ "$(code a1 /b/data/small3 -X DELETE)" = 204 ]; check $? "ten more objects, one fewer"
gone() { ! grep -q . <(jq -r '.outbox | select(. > 0)' <(curl -sf "http://${addr[a1]}:7004/_/status")); }
until_ok 10 gone
stop TERM a1
fsck --json; c=$?
[ $c = 0 ] && jq -e '.versions == 52 and .names == 52 and .findings == []' "$work/fsck" >/dev/null
check $? "still nothing, as JSON: $c $(jq -c . "$work/fsck" | head -c 300)"

# ---- the end of a round that a kill cut
bit() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(300); b = f.read(1)[0]; f.seek(300); f.write(bytes([b ^ 1]))' "$state/s/00000001"; }
start a1; stop KILL a1
fsck --json; c=$?
[ $c = 0 ] && jq -e '.versions == 52 and .findings == []' "$work/fsck" >/dev/null; check $? "killed while it did nothing: $c $(jq -c . "$work/fsck" | head -c 300)"
rot half "$state"
fsck --json; c=$?
[ $c = 0 ] && jq -e '.versions == 52 and ([.findings[].what] == ["unfinished"])' "$work/fsck" >/dev/null
check $? "half a record behind the last one is unfinished, and no fault: $c $(jq -r '.findings[].text' "$work/fsck")"
fsck; c=$?; [ $c = 0 ] && grep -q 'all is well; the next start' "$work/fsck"; check $? "as text, too: $c $(tail -n 1 "$work/fsck")"
bit; fsck --json; c=$?
[ $c = 1 ] && [ "$(found damaged) $(found unfinished)" = "1 1" ]; check $? "a bit in an older one is damage all the same: $c"
bit; cp "$state/s/state" "$work/state"
printf 'open another boot\n' >"$state/s/state"; fsck --json; c=$?
[ $c = 0 ] && [ "$(found damaged) $(found unfinished)" = "0 1" ]; check $? "the same after a power loss: $c"
printf 'clean\n' >"$state/s/state"; fsck --json; c=$?
[ $c = 1 ] && [ "$(found damaged) $(found unfinished)" = "1 0" ]; check $? "where segments were closed cleanly it is damage: $c"
cat "$work/state" >"$state/s/state"
start a1; stop TERM a1; fsck --json; c=$?
[ $c = 0 ] && jq -e '.versions == 52 and .findings == []' "$work/fsck" >/dev/null; check $? "the next start cut it off: $c $(jq -c . "$work/fsck" | head -c 300)"

# ---- each kind of fault
rot flip "$state" 12 "$work/flipped"
rm "$(find "$state/d" -type f | tail -n 1)"
printf 'half' >"$state/tmp/0123456789abcdef0123456789abcdef.1"
rm -r "$state/index"; cp -r "$work/index.old" "$state/index"; chown -R 64200 "$state/index"
printf 'clean\n' >"$state/s/state"
before=$(find "$state/d" "$state/s" -type f -exec sha256sum {} + | sha256sum)
fsck --json; c=$?
[ $c = 1 ] && [ "$(found damaged)" -ge 5 ] && [ "$(found missing)" = 1 ] && [ "$(found unfinished)" = 1 ] && [ "$(found index)" = 1 ]
check $? "damaged data, a missing file, an unfinished upload, an old index: found ($c: $(jq -r '[.findings[].what] | group_by(.) | map("\(.[0]) \(length)") | join(", ")' "$work/fsck"))"
jq -e '[.findings[] | select(.what == "missing")][0].where | startswith("data/")' "$work/fsck" >/dev/null
check $? "what is missing has its name: $(jq -r '[.findings[] | select(.what == "missing")][0] | .where + ": " + .text' "$work/fsck")"
[ "$(find "$state/d" "$state/s" -type f -exec sha256sum {} + | sha256sum)" = "$before" ]
check $? "and nothing was changed"
fsck --repair; c=$?
[ $c = 1 ] && [ ! -e "$state/s/state" ] && [ -z "$(ls "$state/tmp")" ]
check $? "--repair removes the upload and has the index made anew"
start a1; for e in a1 b1; do until_ok 10 registered 2 $e; done
"$BIN/weir" scrub --wait --json -c "$work/a1.yaml" >"$work/scrub" 2>"$work/scrub.err"
[ $? = 0 ] && jq -e '.rounds >= 1 and .round_done == .round_total' "$work/scrub" >/dev/null
check $? "weir scrub waits for its round: $(jq -c . "$work/scrub" 2>/dev/null; cat "$work/scrub.err")"
settled() { "$BIN/weir" scrub --wait --json -c "$work/a1.yaml" >/dev/null 2>&1; [ "$(rot get "$(url a1 /b/data)" 3 700000 large) $(rot get "$(url a1 /b/data)" 10 4000 more)" = "3 0 0 10 0 0" ] && stop TERM a1 && fsck; local rc=$?; [ $rc = 0 ] || start a1; return $rc; }
until_ok 30 settled
check $? "after it fsck finds nothing: $(tail -n 1 "$work/fsck")"
start a1
got="$(rot get "$(url a1 /b/data)" 40 4000 small) $(rot get "$(url a1 /b/data)" 3 700000 large)"
[ "$got" = "39 1 0 3 0 0" ]; check $? "and everything reads right, but what was deleted: $got"
finish
