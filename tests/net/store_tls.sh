#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Off loopback: endpoints speak to each other with certificates of the installation and to nobody else, and public
# listeners open when the first user exists. Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

for ip in 198.18.0.11 198.18.0.21; do ip addr add $ip/32 dev lo; done
"$BIN/weir" ca init "$work/ca" >"$work/ca.log" 2>&1
check $? "weir ca init" || sed 's/^/# /' "$work/ca.log"
for e in "a1 198.18.0.11" "b1 198.18.0.21"; do
	"$BIN/weir" ca issue "$work/ca" $e >>"$work/ca.log" 2>&1
	check $? "a certificate for $e" || sed 's/^/# /' "$work/ca.log"
done
node a1 a 11; node b1 b 21
for e in a1 b1; do
	sed -i "s/127\.0\.0\./198.18.0./g" "$work/$e.yaml"
	echo "tls: {ca: $work/ca/ca.pem, cert: $work/ca/$e.pem, key: $work/ca/$e.key}" >>"$work/$e.yaml"
	addr[$e]=${addr[$e]/127.0.0/198.18.0}
done
start_registry
for e in a1 b1; do "$BIN/weir-endpoint" -c "$work/$e.yaml" >>"$work/$e.log" 2>&1 & pid[$e]=$!; done
inside() { curl -sf --cacert "$work/ca/ca.pem" --cert "$work/ca/a1.pem" --key "$work/ca/a1.key" "https://${addr[$1]}:7004$2"; }
until_ok 10 inside a1 /_/health && until_ok 10 inside b1 /_/health
check $? "the inside listeners speak TLS to a certificate of the installation"
! curl -s -o /dev/null "$(url a1 /_/health)"
check $? "the public listener is closed as long as there is no user"
add_user
check $? "a user"
opened() { curl -sf "$(url a1 /_/health)" && curl -sf "$(url b1 /_/health)"; }
until_ok 10 opened
check $? "now it is open"
! curl -sf --cacert "$work/ca/ca.pem" "https://${addr[a1]}:7004/_/health" && ! curl -sf "http://${addr[a1]}:7004/_/health"
check $? "without a certificate the inside listener says nothing, nor in plain text"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/other.key" -out "$work/other.pem" -subj /CN=a1 -days 2 2>/dev/null
! curl -sf --cacert "$work/ca/ca.pem" --cert "$work/other.pem" --key "$work/other.key" "https://${addr[a1]}:7004/_/health"
check $? "nor with somebody else's"
both() { [ "$(inside a1 /_/status | jq .endpoints)" = 2 ] && [ "$(inside b1 /_/status | jq .endpoints)" = 2 ]; }
until_ok 10 both
head -c 12000000 /dev/urandom >"$work/file"
c=$(code a1 /b/data/file -T "$work/file")
[ "$c" = 201 ] && jq -e '.copies == 2' "$work/body" >/dev/null
check $? "an object on both, copied over TLS: $c"
ok=0; for e in a1 b1; do { [ "$(code $e /b/data/file)" = 200 ] && cmp -s "$work/body" "$work/file"; } || ok=1; done
check $ok "and read from both"
version=$(find "$work/b1/state/endpoint/d" -type f -printf '%f\n')
rm -f "$(version_file b1 "$version")"
[ "$(code b1 /b/data/file)" = 200 ] && cmp -s "$work/body" "$work/file" && [ "$(header X-Weir-From)" = a1 ]
check $? "and fetched through over TLS"
finish
