#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ready answers of a lone endpoint: they say the same as the common way, they are used, and none is older than the last
# acknowledged write, delete, or change of rights. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11
start_registry || { check 1 "registry"; finish; }
start a1 && add_user
check $? "an endpoint and a user"
"$BIN/weir" user add other -c "$work/registry.yaml" >/dev/null
other=$("$BIN/weir" token other --ttl 2h -c "$work/registry.yaml") || other=
export HOST=${addr[a1]} OTHER=$other WEIR="$BIN/weir" CONF="$work/registry.yaml"
told python3 "$(dirname "$0")/store_hot.py"
finish
