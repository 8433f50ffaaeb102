#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Power losses, and disks that fail, by a shim (fault_shim.c): what was not synced when the endpoint was killed is undone,
# and the kernel's boot_id is another. Whatever was acknowledged must be there, whatever was deleted must not. Then a disk that
# is full, read-only, or answers EIO: a clear error, no wrong data. ROUNDS (4) power losses. Needs root. Exit: 0, 1, 77 skip.
set -u
. "$(dirname "$0")/store_lib"
here=$(dirname "$0")
shim=$top/build/net/fault_shim.so
[ -e "$shim" ] || { echo "skip: $shim was not built (make net-tests)"; exit 77; }

node a1 a 11
start_registry || { check 1 "registry"; finish; }
mkdir "$work/a1/undo"; chown 64200 "$work/a1/undo"; echo >"$work/ctl"
shimmed() { LD_PRELOAD=$shim FAULT_DIR=$work/a1/state FAULT_LOG=$work/a1/undo FAULT_BOOT=$work/boot FAULT_CTL=$work/ctl start a1; }
boot() { echo "boot-$1-$RANDOM" >"$work/boot"; }
all_lost=0
boot 0; shimmed && add_user
check $? "an endpoint on a disk that forgets"
for i in $(seq "${ROUNDS:-4}"); do
	python3 "$here/store_power.py" load "$(url a1 /b/data)" 20 "$work/state" & load=$!
	sleep 1.$((RANDOM % 900 + 100))
	stop KILL a1
	wait $load
	lost=$(python3 "$here/fault_undo.py" "$work/a1/undo")
	all_lost=$((all_lost + lost))
	boot $i; shimmed
	check $? "power loss $i: $lost changes were not synced and are gone; it starts again"
	said=$(python3 "$here/store_power.py" check "$(url a1 /b/data)" "$work/state")
	check $? "everything is as it was acknowledged: $said"
done
# Without the shim these would be kills only.
[ $all_lost -gt 0 ]; check $? "the power losses took $all_lost changes with them"

# ---- a disk that fails
head -c 5000 /dev/urandom >"$work/small"; head -c 600000 /dev/urandom >"$work/big"
for what in write=EIO write=ENOSPC write=EROFS sync=EIO create=EROFS; do
	for f in small big; do
		[ "$(code a1 "/b/data/before-$f" -T "$work/$f")" -lt 300 ]
		check $? "$what, $f: before it all is well" >/dev/null
		echo "$what" >"$work/ctl"
		c=$(code a1 "/b/data/failed-$f" -T "$work/$f"); why=$(jq -r '.message // .error // empty' "$work/body" 2>/dev/null | head -c 100)
		echo >"$work/ctl"
		# A small object needs no new file.
		if [ "$what-$f" = create=EROFS-small ]; then [ "$c" = 201 ]; else [ "$c" -ge 500 ] && [ -n "$why" ]; fi
		check $? "$what while a $f object is stored: $c $why"
		[ "$c" = 201 ] || [ "$(code a1 "/b/data/failed-$f")" = 404 ]
		check $? "no such object is there" >/dev/null
		[ "$(code a1 "/b/data/before-$f")" = 200 ] && cmp -s "$work/body" "$work/$f"
		check $? "what was there is read as before"
		again() { [ "$(code a1 "/b/data/after-$f" -T "$work/$f")" -lt 300 ] && [ "$(code a1 "/b/data/after-$f")" = 200 ] && cmp -s "$work/body" "$work/$f"; }
		until_ok 15 again
		check $? "and it goes on when the disk does"
		code a1 "/b/data/failed-$f" -X DELETE >/dev/null
	done
done
said=$(python3 "$here/store_power.py" check "$(url a1 /b/data)" "$work/state")
check $? "nothing else changed: $said"
stop TERM a1; start a1
said=$(python3 "$here/store_power.py" check "$(url a1 /b/data)" "$work/state")
check $? "also after a restart: $said"
finish
