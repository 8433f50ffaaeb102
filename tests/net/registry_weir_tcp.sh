#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir-registry over TCP on loopback, with a token, does all that the conformance suite asks.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
echo 0123456789abcdef0123456789abcdef >"$work/token"
registry_file ', "127.0.0.1:23793"' ", token: $work/token"
timeout 200 "$conformance" http://127.0.0.1:23793 -t "$work/token" -- "$daemon" -c "$work/weir.yaml" 2>"$work/log"
rc=$?
[ $rc = 0 ] || sed 's/^/# /' "$work/log"
exit $rc
