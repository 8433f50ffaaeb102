#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The registry client against a real etcd over plain HTTP.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
command -v etcd >/dev/null || skip "etcd is not installed (apt-get install etcd-server)"
url=http://127.0.0.1:23791 peer=http://127.0.0.1:23801
timeout 200 "$conformance" $url -- sh -c "exec etcd --name t --data-dir '$work/etcd' --listen-client-urls $url \
	--advertise-client-urls $url --listen-peer-urls $peer --initial-advertise-peer-urls $peer \
	--initial-cluster t=$peer >>'$work/log' 2>&1"
rc=$?
[ $rc = 0 ] || tail -n 30 "$work/log" | sed 's/^/# /'
exit $rc
