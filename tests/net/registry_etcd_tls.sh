#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The registry client against a real etcd over TLS, with a user, a password and etcd's authentication on.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
for program in etcd etcdctl openssl; do
	command -v $program >/dev/null || skip "$program is not installed (apt-get install etcd-server etcd-client openssl)"
done
url=https://127.0.0.1:23792 peer=http://127.0.0.1:23802
cd "$work" || exit 1
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout etcd.key -out etcd.csr -subj /CN=etcd
	openssl x509 -req -in etcd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out etcd.pem -days 2 \
		-extfile <(echo subjectAltName=IP:127.0.0.1)
} >openssl.log 2>&1 || { cat openssl.log; exit 1; }
cat >etcd.sh <<SH
#!/bin/sh
exec etcd --name t --data-dir "$work/etcd" --listen-client-urls $url --advertise-client-urls $url \
	--listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster t=$peer \
	--cert-file "$work/etcd.pem" --key-file "$work/etcd.key" >>"$work/log" 2>&1
SH
chmod +x etcd.sh
./etcd.sh &
etcd=$!
pids+=($etcd)
export ETCDCTL_API=3 ETCDCTL_CACERT=$work/ca.pem ETCDCTL_ENDPOINTS=$url
within 15 etcdctl endpoint health || { tail log; exit 1; }
{
	etcdctl user add root:root-for-this-test && etcdctl user grant-role root root &&
	etcdctl user add weir:only-for-this-test && etcdctl role add weir &&
	etcdctl role grant-permission weir --prefix=true readwrite /weir/v1/ &&
	etcdctl user grant-role weir weir && etcdctl auth enable
} >etcdctl.log 2>&1 || { cat etcdctl.log; exit 1; }
kill $etcd; wait $etcd 2>/dev/null
echo only-for-this-test >password
timeout 240 "$conformance" $url -u weir -p "$work/password" -c "$work/ca.pem" -- ./etcd.sh
rc=$?
[ $rc = 0 ] || tail -n 30 log | sed 's/^/# /'
exit $rc
