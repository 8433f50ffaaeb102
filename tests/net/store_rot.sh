#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Bit rot: one bit is flipped in each of 1,000 stored blocks, of small versions in segments and of large ones in files.
# Readers get right bytes or none; reading and the scrubber find all of them, and mend them from the other copy. Needs root.
# Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"
rot() { python3 "$(dirname "$0")/store_rot.py" "$@"; }

node a1 a 11; node b1 b 21
start_registry || { check 1 "registry"; finish; }
start a1 b1 && add_user
check $? "two endpoints and a user"
for e in a1 b1; do until_ok 10 registered 2 $e; done
rot put "$(url a1 /b/data)" 620 4000 small && rot put "$(url a1 /b/data)" 8 4000000 large
check $? "620 small objects and 8 of 4 MB, on both"
[ "$(find "$work/a1/state/endpoint/d" -type f | wc -l)" = 8 ]
check $? "the small ones lie in segments"
both=$(rot get "$(url b1 /b/data)" 620 4000 small)
[ "$both" = "620 0 0" ]; check $? "and are read from the second: $both"

# ---- a copy is there
rot flip "$work/a1/state/endpoint" 1000 "$work/flipped"
[ "$(rot restored "$work/flipped")" = 0 ]
check $? "a bit is flipped in each of 1,000 blocks of a1"
got=$(rot get "$(url a1 /b/data)" 300 4000 small)
[ "$got" = "300 0 0" ]; check $? "a reader of 300 damaged small objects gets right bytes: $got"
got=$(rot get "$(url a1 /b/data)" 4 4000000 large)
[ "$got" = "4 0 0" ]; check $? "and of 4 damaged large ones: $got"
ctl a1 scrub >/dev/null
all_restored() { [ "$(rot restored "$work/flipped")" = 1000 ]; }
until_ok 40 all_restored
check $? "reading and scrubbing found and mended them all: $(rot restored "$work/flipped") of 1000"
got="$(rot get "$(url a1 /b/data)" 620 4000 small) $(rot get "$(url a1 /b/data)" 8 4000000 large)"
[ "$got" = "620 0 0 8 0 0" ]; check $? "everything reads right: $got"

# ---- no copy can be had
stop TERM b1
rot flip "$work/a1/state/endpoint" 700 "$work/flipped"
got=$(rot get "$(url a1 /b/data)" 620 4000 small)
[ "${got##* }" = 0 ] && [ "${got%% *}" -lt 620 ]
check $? "without another copy: no wrong byte of small objects (right, refused, wrong: $got)"
got=$(rot get "$(url a1 /b/data)" 3 4000000 large)
[ "${got##* }" = 0 ]; check $? "nor of large ones ($got)"
start b1; until_ok 10 registered 2 a1
mended() { ctl a1 scrub >/dev/null; sleep 0.5; [ "$(rot restored "$work/flipped")" = 700 ]; }
until_ok 40 mended
check $? "once the other copy is back all are mended: $(rot restored "$work/flipped") of 700"
finish
