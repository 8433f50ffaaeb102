#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Who may do what at weir-registry: root everything, the daemons' user all but users, others nothing; TCP only on
# loopback and with the token; limits hold.
# shellcheck source=tests/net/registry_common
. "$(dirname "$0")/registry_common"
[ "$(id -u)" = 0 ] || skip "needs root (to be several users)"
socket=$work/registry.socket
echo 0123456789abcdef0123456789abcdef >"$work/token"
registry_file ', "127.0.0.1:23794"' ", token: $work/token"
"$daemon" -c "$work/weir.yaml" 2>"$work/log" &
pids+=($!)
b64() { printf %s "$1" | base64 -w0; }
# as UID GID PATH BODY: the status, the answer in $work/answer
as() { setpriv --reuid "$1" --regid "$2" --clear-groups curl -s -o "$work/answer" -w '%{http_code}' --unix-socket "$socket" \
	-d "$4" "http://localhost$3"; }
tcp() { curl -s -o "$work/answer" -w '%{http_code}' -d "$3" ${1:+-H "Authorization: Bearer $1"} "http://127.0.0.1:23794$2"; }
put() { echo "{\"key\":\"$(b64 "$1")\",\"value\":\"$(b64 "$2")\"}"; }
range() { echo "{\"key\":\"$(b64 "$1")\"}"; }
touch "$work/answer" && chmod 666 "$work/answer"
within 10 curl -sf --unix-socket "$socket" http://localhost/health
check $? "it serves its socket"

[ "$(as 0 0 /v3/kv/put "$(put /weir/v1/users/a x)")" = 200 ]; check $? "root writes a user"
[ "$(as 64200 64200 /v3/kv/range "$(range /weir/v1/users/a)")" = 200 ] && grep -q '"kvs"' "$work/answer"
check $? "the daemons' user reads it"
[ "$(as 64200 64200 /v3/kv/put "$(put /weir/v1/rates/a x)")" = 200 ]; check $? "and writes other keys"
[ "$(as 64200 64200 /v3/kv/put "$(put /weir/v1/users/a y)")" = 403 ]; check $? "but no user"
[ "$(as 64200 64200 /v3/kv/deleterange "$(range /weir/v1/users/a)")" = 403 ]; check $? "nor deletes one"
[ "$(as 0 0 /v3/kv/put "$(put /weir/v1/groups/a x)")" = 200 ] && [ "$(as 64200 64200 /v3/kv/put "$(put /weir/v1/groups/a y)")" = 403 ] &&
	[ "$(as 64200 64200 /v3/kv/deleterange "$(range /weir/v1/groups/a)")" = 403 ]
check $? "groups are root's like users"
all=0
for key in datasets people ended token/ann peers; do [ "$(as 64200 64200 /v3/kv/put "$(put /weir/v1/$key/a x)")" = 200 ] || all=1; done
check $all "datasets, people, ended and issued tokens, what peers share are the daemons'"
[ "$(as 64200 64200 /v3/kv/deleterange "{\"key\":\"$(b64 /weir/)\",\"range_end\":\"$(b64 /weis)\"}")" = 403 ]
check $? "nor a range around them"
[ "$(as 64200 64200 /v3/kv/deleterange '{"key":"AA==","range_end":"AA=="}')" = 403 ]; check $? "nor everything"
[ "$(as 64200 64200 /v3/kv/txn "{\"success\":[{\"request_put\":$(put /weir/v1/users/b x)}]}")" = 403 ]
check $? "nor in a transaction"
[ "$(as 64200 64200 /v3/kv/txn "{\"failure\":[{\"requestPut\":$(put /weir/v1/users/b x)}]}")" = 403 ]
check $? "nor in the part of a transaction that is not run, nor in camelCase"
[ "$(as 64201 64200 /v3/kv/range "$(range /weir/v1/users/a)")" = 403 ] && grep -q 'daemons. user' "$work/answer"
check $? "another user gets 403 and a sentence"
[ "$(as 64200 64200 /v3/kv/put "$(put /weir/v1/peers/secret x)")" = 200 ] && [ "$(as 64201 64200 /v3/kv/range "$(range /weir/v1/peers/secret)")" = 403 ]
check $? "the peers secret is read by no other user"
[ "$(as 64201 64200 /v3/watch '{"create_request":{"key":"YQ=="}}')" = 403 ]; check $? "and no watch"
[ "$(as 64201 64201 /v3/kv/range "$(range a)")" = 000 ]; check $? "one that is not of the group cannot even connect"

[ "$(tcp '' /v3/kv/range "$(range a)")" = 401 ]; check $? "TCP without a token is 401"
[ "$(tcp 0123456789abcdef0123456789abcdeg /v3/kv/range "$(range a)")" = 401 ]; check $? "with a wrong one too"
[ "$(tcp 0123456789abcdef /v3/kv/range "$(range a)")" = 401 ]; check $? "with a part of it too"
[ "$(tcp 0123456789abcdef0123456789abcdef /v3/kv/put "$(put /weir/v1/users/c x)")" = 200 ]
check $? "with the token everything may be done"
[ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:23794/_/metrics)" = 401 ]; check $? "metrics need it too"
curl -s --unix-socket "$socket" http://localhost/_/metrics | grep -q '^weir_registry_requests_total'
check $? "metrics are served"

head -c 3000000 /dev/zero | tr '\0' a >"$work/big"
code=$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$socket" -d @"$work/big" http://localhost/v3/kv/put)
[ "$code" = 413 ]; check $? "a body of 3 MB is 413 ($code)"
code=$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$socket" -H 'Transfer-Encoding: chunked' -d @"$work/big" http://localhost/v3/kv/put)
[ "$code" = 413 ] || [ "$code" = 000 ]; check $? "also when it does not say how long it is ($code)"
[ "$(as 0 0 /v3/kv/put "$(put "$(head -c 4097 /dev/zero | tr '\0' k)" x)")" = 400 ]; check $? "a key of 4,097 bytes is refused"
[ "$(as 0 0 /v3/kv/put '{"key":"YQ==","ignore_value":true}')" = 501 ]; check $? "what is not supported is refused by name"
[ "$(as 0 0 /v3/kv/put '[1]')" = 400 ] && [ "$(as 0 0 /v3/kv/put '{"key":"YQ==","key":"Yg=="}')" = 400 ]
check $? "what is no object, or says a thing twice, is refused"
[ "$(as 0 0 /v3/kv/put "{\"key\":\"$(b64 /weir/v1/users/d)\",\"lease\":\"1\"}")" = 400 ]; check $? "users have no lease"
[ "$(as 0 0 /v3/kv/put "{\"key\":\"$(b64 /weir/v1/groups/d)\",\"lease\":\"1\"}")" = 400 ]; check $? "nor have groups"

# 1,024 watches and not one more; they go when their clients do
cat >"$work/watches.py" <<'PY'
import socket, sys
body = b'{"create_request":{"key":"YQ=="}}'
request = b"POST /v3/watch HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
answers = []
for i in range(1026):
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(request); answers.append((s, s.recv(4096)))
ok = sum(a.startswith(b"HTTP/1.1 200") for _, a in answers)
busy = sum(a.startswith(b"HTTP/1.1 429") for _, a in answers)
print(ok, busy)
PY
[ "$(python3 "$work/watches.py" "$socket")" = "1024 2" ]; check $? "1,024 watches, the next are 429"
open_watches() { curl -s --unix-socket "$socket" http://localhost/_/metrics | awk '$1 == "weir_registry_watches" { print $2 }'; }
no_watches() { [ "$(open_watches)" = 0 ]; }
within 15 no_watches; check $? "they are gone when their clients are"

second() { "$daemon" -c "$1" >"$work/second" 2>&1; }
sed "s#run: .*#run: $work/run2#; s#, \"127.*\]#]#; s#registry.socket#second.socket#" "$work/weir.yaml" >"$work/two.yaml"
! timeout 5 "$daemon" -c "$work/two.yaml" >"$work/second" 2>&1 && grep -q "in use by another" "$work/second"
check $? "a second one on the same folder says so"
sed 's#127.0.0.1:23794#192.0.2.1:23794#; s#run: .*#run: '"$work"'/run3#' "$work/weir.yaml" >"$work/three.yaml"
! timeout 5 "$daemon" -c "$work/three.yaml" >"$work/second" 2>&1 && grep -q loopback "$work/second"
check $? "it does not listen off loopback"
grep -v '^$' "$work/log" | grep -c 'ERROR\|runtime error\|Sanitizer' | grep -qx 0; check $? "its log has no fault"
echo "1..$n"
exit $failed
