#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The player's files as they are served: the shim is below 6 KB and free of other people's code, the page's import map is
# the one that its policy allows, and every library that the page names is one that `make player` fetches. Prints TAP.
set -u
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
folder=http/gateway/player
n=0 failed=0

# result WHAT FAULT: one TAP line; FAULT is empty when it is as it should be
result() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		failed=$((failed + 1))
		printf 'not ok %s - %s\n# %s\n' "$n" "$1" "$2"
	fi
}

make -s build/player/shim.js.gz >/dev/null || { echo "not ok 1 - the shim is made"; exit 1; }
plain=$(stat -c %s build/player/shim.js) packed=$(stat -c %s build/player/shim.js.gz)
result "the shim as browsers get it: $packed bytes of 6144 ($plain without compression)" "$([ "$packed" -lt 6144 ] || echo "$packed bytes")"
result "the shim imports nothing" "$(grep -nE '^[[:space:]]*import[[:space:]]|import\(' build/player/shim.js)"
result "what is served is what is written, without comments" \
	"$(diff <(tr -d '[:space:]' <build/player/shim.js) <(sed '/^[[:space:]]*\/\//d' $folder/shim.js | tr -d '[:space:]') >/dev/null || echo "they differ")"
map=$(sed -n 's/.*<script type="importmap">\(.*\)<\/script>.*/\1/p' $folder/index.html)
want=$(printf '%s' "$map" | openssl dgst -sha256 -binary | base64)
result "the policy allows the page's import map" "$(grep -qF "'sha256-$want'" http/gateway/player_files.c || echo "player_files.c should have sha256-$want")"
for name in $(grep -o '/_/player/lib/[^"]*' $folder/index.html | sed 's|.*/||'); do
	result "$name is fetched, and served" "$(grep -q "$name" $folder/fetch && grep -q "\"$name\"" http/gateway/player_files.c || echo "it is not in fetch or player_files.c")"
done
result "exact versions" "$(sed -n '/dependencies/,/}/p' $folder/package.json | grep -nE '[~^*]')"
echo "1..$n"
[ $failed = 0 ]
