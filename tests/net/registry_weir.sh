#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weir-registry over its Unix socket does all that the conformance suite asks.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
registry_file
timeout 200 "$conformance" "unix:$work/registry.socket" -- "$daemon" -c "$work/weir.yaml" 2>"$work/log"
rc=$?
[ $rc = 0 ] || sed 's/^/# /' "$work/log"
exit $rc
