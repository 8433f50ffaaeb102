#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole with real programs: an origin behind the edges a and b, a client that reaches c alone. Requests are led to the
# edge that has the origin; it is stopped in order while a download runs, and another is killed.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_lib"

make -s $build/bin/weir $build/bin/weir-tunnel >&2 || exit 1
HOST[o]=7
make_net && make_node o
in_net o ip route add unreachable 198.18.0.3/32     # the edges tell it of c, which it cannot reach
weir=$build/bin/weir
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=app.edge.example -days 2 \
	-addext "subjectAltName=DNS:app.edge.example" -keyout $work/web.key -out $work/web.pem 2>/dev/null && chown 64200 $work/web.key
$weir ca init $work/ca >/dev/null
for node in a b c; do $weir ca issue $work/ca $node 198.18.0.${HOST[$node]} >/dev/null; chown 64200 $work/ca/$node.key; done
chmod 755 $work/ca
REGISTRY_MORE="tunnels: {zone: edge.example}
authority: {folder: $work/ca}" start_registry || { echo "not ok 1 - a registry"; cat $work/reg.log; exit 1; }
$build/bin/weir-tunnel authority -c $work/reg.yaml >>$work/authority.log 2>&1 &
declare -A TUNNEL_PID
start_real() { # NODE
	nsenter --net="/run/netns/$1" -- $build/bin/weir-tunnel edge -c $work/$1.yaml >>$work/edge-$1.log 2>&1 &
	TUNNEL_PID[$1]=$!
	until_ok 10 in_net "$1" bash -c "exec 3<>/dev/tcp/198.18.0.${HOST[$1]}/7443"
}
for node in a b c; do
	EDGE="tls: {ca: $work/ca/ca.pem, cert: $work/ca/$node.pem, key: $work/ca/$node.key}
edge: {attach: [\"198.18.0.${HOST[$node]}:7443\"], address6: \"2001:db8::${HOST[$node]}\", origins: $work/ca/origins.pem, certificates: [{cert: $work/web.pem, key: $work/web.key}], drain: 20s}"
	start_agent $node && start_real $node || { echo "not ok 1 - $node starts"; tail -n 20 $work/*.log; exit 1; }
done

# ---- the origin ----
token=$($weir tunnel create app --hostname app.edge.example --json -c $work/a.yaml 2>>$work/weir.log | jq -r .token)
in_net o $weir tunnel enroll - --edge 198.18.0.1:7443 --dir $work/cred <<<"$token" >>$work/weir.log 2>&1
check $? "a tunnel was made, its origin is enrolled"
chown -R 64200:64200 $work/cred
mkdir $work/www && echo hello >$work/www/index.html && head -c 60000000 /dev/zero >$work/www/big
in_net o python3 -m http.server -d $work/www -b 127.0.0.1 8080 >/dev/null 2>&1 &
cat >$work/o.yaml <<-END
	node: o
	user: "64200"
	run: $work/run-o
	state: $work/state-o
	origin: {edges: ["198.18.0.1:7443", "198.18.0.2:7443"], credentials: $work/cred, connections: 4, targets: [{to: "http://127.0.0.1:8080"}]}
END
in_net o $build/bin/weir-tunnel origin -c $work/o.yaml >>$work/origin.log 2>&1 &
address=$(ask a status | jq -r '.tunnels[0].address')
attached() { [ "$(ask c status | jq -c '.tunnels[0].attached | sort')" = "$1" ]; }
until_ok 15 attached '["a","b"]'
check $? "$address is attached to a and b"
fetch() { in_net client curl -sS -m 20 --resolve "app.edge.example:$1:$address" --cacert $work/web.pem -o "$2" -w '%{http_code}' "$3" "${@:4}"; }
ok() { [ "$(fetch 80 /dev/null http://app.edge.example/)" = 200 ]; }
until_ok 5 ok
is "$(fetch 80 $work/got http://app.edge.example/) $(cat $work/got)" "200 hello" "the client, who reaches c, gets the page"
is "$(fetch 443 $work/got https://app.edge.example/ --http2) $(cat $work/got)" "200 hello" "by HTTPS and HTTP/2"
is "$(fetch 80 /dev/null http://app.edge.example/big) $(fetch 443 /dev/null https://app.edge.example/big)" "200 200" "60 MB by both"
[ "$(reason c FORWARDED)" -gt 100 ]
check $? "c encapsulated: $(reason c FORWARDED), TOO_BIG $(reason c TOO_BIG)"
address6=$(ask a status | jq -r '.tunnels[0].address6')
is "$(in_net client curl -sS -m 5 --resolve "app.edge.example:80:[$address6]" http://app.edge.example/)" hello "by IPv6"
is "$(in_net client curl -s -m 5 -o /dev/null -w '%{http_code}' -H 'Host: other.edge.example' http://$address/)" 421 "another name at this address: 421"

# ---- the owner is stopped in order, a download runs ----
first=$(owner c app)
other=$([ "$first" = a ] && echo b || echo a)
in_net client curl -sS -m 40 --limit-rate 15M --resolve "app.edge.example:80:$address" -o $work/slow -w '%{http_code} %{size_download}' http://app.edge.example/big >$work/slow.said 2>&1 & slow=$!
begun() { [ "$(stat -c %s $work/slow)" -gt 1000000 ]; }
until_ok 10 begun
kill -TERM "${TUNNEL_PID[$first]}"
until_ok 5 owned c app "$other"
check $? "$first gets SIGTERM: new connections go to $other"
bad=0
for _ in $(seq 20); do ok || bad=$((bad + 1)); done
is $bad 0 "20 requests meanwhile"
wait $slow
is "$(cat $work/slow.said)" "200 60000000" "the download from $first ended whole"
wait "${TUNNEL_PID[$first]}"
check $? "and $first ended"
start_real "$first"
until_ok 15 attached '["a","b"]'
check $? "$first is back"
victim=$(owner c app)
kill -9 "${TUNNEL_PID[$victim]}"; wait "${TUNNEL_PID[$victim]}" 2>/dev/null
took=$(seconds ok)
[ "$(echo "$took < 5" | bc)" = 1 ]
check $? "$victim is killed: answered again after $took s by $(owner c app)"
delete_it() { $weir tunnel delete app -c $work/a.yaml >>$work/weir.log 2>&1 </dev/null; }
delete_it
refused() { [ "$(once "$address" 80)" = refused ]; }
until_ok 5 refused
check $? "the tunnel is deleted: its address refuses"
finish
