#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one-box example with a real etcd instead of our registry: TLS, a user and a password.
set -u
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
command -v etcd >/dev/null && command -v etcdctl >/dev/null || { echo "skip: there is no etcd (etcd-server, etcd-client)"; exit 77; }
top=$(cd "$(dirname "$0")/../.." && pwd)
# Runs inside the test's namespaces, before anything else; $work and $conf are its.
export BEFORE=$top/tests/e2e/start_etcd
export ETCD_REGISTRY='{url: "https://127.0.0.1:23790", user: weir, password: etcd-password, ca: etcd-ca/ca.pem}'
exec "$top/tests/e2e/one_box.sh" "$@"
