#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/one-box.yaml as a newcomer would try it: weir up, curl, dig, weir status, top, put, get, ls, rm; the
# mistakes of a newcomer get a sentence that says what to do. With REGISTRY=etcd against a real etcd with TLS
# and users (one_box_etcd.sh).
set -u
[ "$(id -u)" = 0 ] || { echo "skip: needs root"; exit 77; }
top=$(cd "$(dirname "$0")/../.." && pwd)
[ -n "${IN_NS:-}" ] || IN_NS=1 exec unshare -n -m -p -f --kill-child --mount-proc "$0" "$@"
mount -t tmpfs -o mode=755 none /run
ip link set lo up
work=$(mktemp -d /var/tmp/weir-one-box.XXXXXX) || exit 1
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
PATH=$top/build/bin:$PATH
n=0 bad=0
check() { n=$((n + 1)); if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; bad=$((bad + 1)); fi; }

# The example itself, with state and run folders of this test and a numeric user.
conf=$work/one-box.yaml
chmod 755 "$work"
cp "$top/examples/one-box.zone" "$work/"
sed -e "s|^state: .*|state: $work/state|; s|^run: .*|run: /run/weir|" -e '/^site:/a user: "64200"' -e '/^gateway:/a\  limits: {object: 64MiB, request: 2s}' "$top/examples/one-box.yaml" >"$conf"
[ -z "${ETCD_REGISTRY:-}" ] || sed -i -e "s|^registry: .*|registry: $ETCD_REGISTRY|" -e '/^registry_server:/d' "$conf"
[ -z "${BEFORE:-}" ] || . "$BEFORE"

weir status -c "$conf" >"$work/out" 2>&1
[ $? = 1 ] && grep -q "not running" "$work/out"
check $? "weir status before anything runs says so"
mkfifo "$work/ready"
weir up -c "$conf" --ready "$work/ready" >"$work/log" 2>&1 &
up=$!
timeout 20 head -n 1 "$work/ready" >/dev/null
check $? "weir up says when everything runs" || sed 's/^/# /' "$work/log"
weir put "$top/README.md" data/readme -c "$conf" >"$work/out" 2>&1
[ $? = 1 ] && grep -q "weir token" "$work/out"
check $? "weir put without a token says how to get one"
weir user add ada -c "$conf" >"$work/key" 2>"$work/err"
check $? "weir user add"
read -r id secret < <(weir user key ada -c "$conf" --json 2>/dev/null | jq -r '"\(.id) \(.secret)"')
[ -n "$id" ] && [ -n "$secret" ]
check $? "weir user key --json gives a key"
export WEIR_TOKEN; WEIR_TOKEN=$(weir token ada --ttl 1h -c "$conf")
check $? "weir token"

head -c 3000000 /dev/urandom >"$work/file"
base=http://127.0.0.1:8000
code=$(curl -sSL -u "$id:$secret" -T "$work/file" $base/b/data/file -o "$work/answer" -w '%{http_code}' 2>"$work/err")
[ "$code" = 201 ] && [ "$(jq -r .sha256 "$work/answer")" = "$(sha256sum "$work/file" | cut -d' ' -f1)" ]
check $? "curl -L -T with a key: $code"
jq -e '.copies == 1 and (.note | length > 0)' "$work/answer" >/dev/null
check $? "the answer says that there is one copy only: $(jq -r .note "$work/answer" | cut -c1-70)"
(cd "$work" && mkdir -p down && cd down && curl -sSL -u "$id:$secret" -O $base/b/data/file && cmp -s file "$work/file")
check $? "curl -L -O gives it back"
code=$(curl -s -o /dev/null -w '%{http_code}' -u "$id:$secret" -H 'Expect: 100-continue' -H 'Content-Length: 67108865' -X PUT $base/b/data/large)
[ "$code" = 413 ]
check $? "what is larger than gateway.limits.object is refused before a body comes: $code"
exec 9<>/dev/tcp/127.0.0.1/8000
printf 'GET / HTTP/1.1\r\nHost' >&9
SECONDS=0
timeout 20 cat <&9 >/dev/null && [ $SECONDS -lt 8 ]
check $? "half a head is cut after gateway.limits.request: $SECONDS s"
exec 9>&-
[ "$(curl -s -o /dev/null -w '%{http_code}' $base/b/data/file)" = 401 ]
check $? "without a key: 401"
[ "$(curl -sL -u "$id:wrong" -o /dev/null -w '%{http_code}' $base/b/data/file)" = 401 ]
check $? "with a wrong key: 401"
[ "$(curl -sSL -H "Authorization: Bearer $WEIR_TOKEN" -r 5-9 $base/b/data/file | xxd -p)" = "$(tail -c +6 "$work/file" | head -c 5 | xxd -p)" ]
check $? "a range"
[ "$(curl -sL -H "Authorization: Bearer $WEIR_TOKEN" -o /dev/null -w '%{http_code}' $base/b/data/none)" = 404 ]
check $? "what is not there: 404"
etag=$(curl -sIL -H "Authorization: Bearer $WEIR_TOKEN" $base/b/data/file | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
[ "$(curl -sL -H "Authorization: Bearer $WEIR_TOKEN" -H "If-None-Match: $etag" -o /dev/null -w '%{http_code}' $base/b/data/file)" = 304 ]
check $? "If-None-Match with its ETag $etag: 304"

weir put "$top/README.md" data/texts/ -c "$conf" >"$work/out" 2>&1
check $? "weir put: $(cut -c1-60 "$work/out" | head -n 1)"
weir get data/texts/README.md "$work/readme" -c "$conf" >"$work/out" 2>&1 && cmp -s "$work/readme" "$top/README.md"
check $? "weir get, digest verified"
weir get "sha256:$(sha256sum "$work/file" | cut -d' ' -f1)" "$work/by-hash" -c "$conf" >/dev/null 2>&1 && cmp -s "$work/by-hash" "$work/file"
check $? "weir get by hash"
python3 -c 'import hashlib, http.server
class Liar(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("X-Weir-Sha256", hashlib.sha256(b"x").hexdigest())
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"x")
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 8099), Liar)
print("ready", flush=True)
server.handle_request()' >"$work/ready" &
liar=$!
timeout 10 head -n 1 "$work/ready" >/dev/null
! weir get "sha256:$(sha256sum "$work/file" | cut -d' ' -f1)" "$work/lie" --gateway http://127.0.0.1:8099 2>"$work/err" && [ ! -e "$work/lie" ]
check $? "weir get by hash believes the hash that was asked for: $(cut -c1-60 "$work/err")"
kill $liar 2>/dev/null
sum=$(sha256sum "$work/file" | cut -d' ' -f1)
listing=$(weir token ada --rights l -c "$conf")
[ "$(curl -s -o "$work/answer" -D "$work/head" -w '%{http_code}' -H "Authorization: Bearer $listing" "$base/o/$sum")" = 403 ] &&
	! grep -qi '^location' "$work/head"
check $? "a token for listing alone gets no object by hash, and no better token"
curl -s -o /dev/null -D "$work/head" -H "Authorization: Bearer $WEIR_TOKEN" "$base/b/a%3Fb%23c%2Fd/key"
grep -q '^Location: http://127.0.0.1:8080/b/a%3Fb%23c%2Fd/key?t=' "$work/head"
check $? "a redirect's bucket stays what was asked for, and one part of the path"
weir ls data -c "$conf" >"$work/out" && grep -q '^file ' "$work/out" && grep -q '^texts/README.md' "$work/out"
check $? "weir ls"
[ "$(weir ls data/texts/ --json -c "$conf" | jq -r '.[].key')" = texts/README.md ]
check $? "weir ls with a prefix, --json"
weir rm data/file -c "$conf" >/dev/null && ! weir get data/file "$work/gone" -c "$conf" 2>/dev/null
check $? "weir rm, and it is gone"
weir get data/file "$work/gone" -c "$conf" 2>"$work/err"; grep -q 404 "$work/err" && [ ! -e "$work/gone" ] && [ ! -e "$work/gone.part" ]
check $? "weir get of what is not there: $(head -c 80 "$work/err")"

[ "$(dig @127.0.0.1 -p 5300 +short files.edge.example)" = 127.0.0.1 ]
check $? "dig"
weir status -c "$conf" >"$work/out"
check $? "weir status: exit code 0 when everything answers"
grep -q 'storage: ' "$work/out" && grep -q gateway "$work/out"
check $? "and it shows storage and gateway"
grep -q 'storage: .* 1 copy; one copy: ' "$work/out"
check $? "and that there is one copy only"
weir top --rounds 2 --interval 1s -c "$conf" >"$work/out" && grep -q endpoint "$work/out"
check $? "weir top, not on a terminal"
weir status --json -c "$conf" | jq -e '.roles.endpoint.ok and (.members | length >= 2)' >/dev/null
check $? "weir status --json"
weir stauts -c "$conf" 2>"$work/err"; [ $? = 2 ] && grep -q "status" "$work/err"
check $? "a command misspelt gets a hint"
weir drain one -c "$conf" >/dev/null && weir drain -c "$conf" | grep -q one && weir drain --stop one -c "$conf" >/dev/null
check $? "weir drain and back"
curl -s $base/ | grep -q '<title>weir</title>' && [ "$(curl -s -o /dev/null -w '%{http_code}' $base/_/status)" = 401 ]
check $? "the console's page is served, its data only to users"
curl -s -H "Authorization: Bearer $WEIR_TOKEN" $base/_/status | jq -e '.members | map(select(.status.role)) | length >= 2' >/dev/null
check $? "and with a token it has every member's status"
weir user add watcher --rights a -c "$conf" >/dev/null && weir user add reader --rights r -c "$conf" >/dev/null
watcher="Authorization: Bearer $(weir token watcher -c "$conf")" reader="Authorization: Bearer $(weir token reader -c "$conf")"
seen() { curl -s -o /dev/null -w '%{http_code}' -H "$1" "$base$2"; }
[ "$(seen "$watcher" /_/status) $(seen "$reader" /_/status) $(seen "$watcher" '/b/data/?limit=1')" = "200 403 403" ]
check $? "with the right a the console alone, with r not even that"
timeout 8 curl -sN -H "Authorization: Bearer $WEIR_TOKEN" $base/_/events | grep -q -m 1 '^event: overview'
check $? "it updates itself by server-sent events"
if command -v chromium >/dev/null; then
	TOKEN=$WEIR_TOKEN OUT=$work/console.png BASE=$base "$top/tests/e2e/console_shot.py" >"$work/out" 2>&1
	check $? "the console in Chromium: $(tail -n 1 "$work/out" | cut -c1-100)"
	[ -n "${KEEP_SHOT:-}" ] && cp "$work/console.png" "$KEEP_SHOT"
else
	n=$((n + 1)); echo "ok $n - console in Chromium # SKIP there is no chromium"
fi
kill -TERM $up
wait $up
check $? "weir up ends with 0 after SIGTERM"
! pgrep -x 'weir.*' >/dev/null
check $? "and nothing of it is left"
[ $bad = 0 ] || sed 's/^/# /' "$work/log"
echo "1..$n"
[ $bad = 0 ]
