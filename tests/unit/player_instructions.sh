#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The shim without a browser: whom it believes, and what it gives away. Prints TAP.
cd "${WEIR_TOP:-$(dirname "$0")/../..}" || exit 1
command -v node >/dev/null || { echo "1..0 # SKIP node is not installed"; exit 77; }
make -s build/player/shim.js >/dev/null || { echo "not ok 1 - the shim is made"; exit 1; }
exec node tests/unit/player_instructions.mjs
