#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The whole with real programs: an origin behind the edges a and b, a client that reaches c alone. Requests are led to the
# edge that has the origin; it is stopped in order while a download runs, and another is killed.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
. "$(dirname "$0")/tunnel_xdp_real_lib"

start_all
mkdir $work/www && echo hello >$work/www/index.html && head -c 60000000 /dev/zero >$work/www/big
in_net o python3 -m http.server -d $work/www -b 127.0.0.1 8080 >/dev/null 2>&1 &
until_ok 5 ok
is "$(fetch 80 $work/got http://app.edge.example/) $(cat $work/got)" "200 hello" "the client, who reaches c, gets the page"
is "$(fetch 443 $work/got https://app.edge.example/ --http2) $(cat $work/got)" "200 hello" "by HTTPS and HTTP/2"
is "$(fetch 80 /dev/null http://app.edge.example/big) $(fetch 443 /dev/null https://app.edge.example/big)" "200 200" "60 MB by both"
[ "$(reason c FORWARDED)" -gt 100 ]
check $? "c encapsulated: $(reason c FORWARDED), TOO_BIG $(reason c TOO_BIG)"
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
