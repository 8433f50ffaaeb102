#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sealing keys on two sites: what needs an older key is counted, sealed anew (versions, parts, parts of uploads that are not completed)
# under overwrites and through a kill, without a byte of data written; a key goes when nothing needs it, uploads under way included; a key
# that is lost is told as what it is.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

SMALL=400 # objects: sealing them anew takes longer than it takes to say how far it is
node a1 a 11; node a2 a 12; node b1 b 21
start_registry || { check 1 "registry"; finish; }
start a1 a2 b1 && add_user
check $? "three endpoints and a user"
for e in a1 a2 b1; do until_ok 10 registered 3 $e; done
add_key || { check 1 "an access key"; finish; }
weir() { "$BIN/weir" "$@" -c "$work/registry.yaml" 2>"$work/said"; }
# of KEY MEMBER: what the last `sealing … --json` in $work/keys says of a key.
of() { jq -r --arg k "$1" ".[] | select(.kid == \$k) | .$2" "$work/keys"; }
seals() { weir sealing list --json >"$work/keys" && [ "$(jq -r '.[] | select(.state == "now") | .kid' "$work/keys")" = "$1" ]; }
rotate() { weir user key reseal --json | jq -r .kid; }
# The files of data, and what is in segments: when they were last written.
data() { for e in a1 a2 b1; do find "$work/$e/state/endpoint/d" "$work/$e/state/endpoint/s" -type f -size +0 -printf '%p %T@ %s\n' | grep -v '/s/state'; done | sort; }
reg() { curl -sf --unix-socket "$work/registry.sock" "http://localhost/v3/kv/$1" -d "$2"; }
key64() { printf '/weir/v1/sealing/%s' "$1" | base64 -w0; }
wish() { reg range "{\"key\":\"$(printf /weir/v1/reseal/wish | base64 -w0)\"}" | jq -r '.kvs[0].value' | base64 -d | jq -r .id; }
orders() { curl -sf "http://${addr[$1]}:7004/_/status" | jq -e '.buckets[] | select(.name == "vault" and .role == "primary")'; }

until_ok 10 eval '[ "$(s3 a1 /vault -X PUT)" = 200 ]'
echo '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>' >"$work/rule"
echo '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>' >"$work/keep"
c=$(s3 a1 "/vault?encryption=" -T "$work/rule")$(s3 a1 "/vault?versioning=" -T "$work/keep")
for e in a1 a2 b1; do
	until_ok 5 eval '[ "$(s3 $e "/vault?versioning=")" = 200 ] && grep -q Enabled "$work/body" && [ "$(s3 $e "/vault?encryption=")" = 200 ]' || c="$c $e"
done
[ "$c" = 200200 ]
check $? "a bucket that encrypts and keeps versions ($c)"

# part UPLOAD NUMBER NODE FILE: its ETag
part() { s3 "$3" "/vault/$name?partNumber=$2&uploadId=$1" -T "$4" >/dev/null; header ETag; }
begin_upload() { s3 a1 "/vault/$1?uploads=" -X POST >/dev/null; sed -n 's|.*<UploadId>\(.*\)</UploadId>.*|\1|p' "$work/body"; }
# complete UPLOAD ETAG...
complete() {
	local id=$1 i=0 tag; shift
	{
		printf '<CompleteMultipartUpload>'
		for tag in "$@"; do i=$((i + 1)); printf '<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>' $i "$tag"; done
		printf '</CompleteMultipartUpload>'
	} >"$work/list"
	s3 a2 "/vault/$name?uploadId=$id" -X POST --data-binary @"$work/list"
}
head -c $((5 * 1024 * 1024 + 7)) /dev/urandom >"$work/one"
head -c 300001 /dev/urandom >"$work/two"
cat "$work/one" "$work/two" >"$work/whole"
all=0
for i in $(seq 10); do [ "$(s3 a1 "/vault/small/$i" -X PUT --data-binary "old $i")" = 200 ] || all=1; done
for i in $(seq $SMALL); do printf 'content of %s' "$i" | s3 a1 "/vault/small/$i" -X PUT --data-binary @- >"$work/code"; [ "$(cat "$work/code")" = 200 ] || all=1; done
[ "$(s3 a2 /vault/large -T "$work/whole")" = 200 ] || all=1
name=parts; id=$(begin_upload parts); e1=$(part "$id" 1 a1 "$work/one"); e2=$(part "$id" 2 b1 "$work/two")
[ "$(complete "$id" "$e1" "$e2")" = 200 ] || all=1
name=open; open=$(begin_upload open); e1=$(part "$open" 1 a1 "$work/one")
check $all "objects, older versions, an object of two parts, a part of an upload"

weir sealing count --json >"$work/keys"
objects=$(of first objects) parts=$(of first parts)
[ "$objects" -ge $((SMALL + 1)) ] && [ "$parts" = 3 ] && [ "$(of first state)" = now ] && [ "$(of first secrets)" = 2 ]
check $? "weir sealing count: $objects objects, $parts parts, 2 access keys by the first key ($(cat "$work/said"))"
weir sealing remove first; [ $? = 1 ] && grep -q "newest key" "$work/said"
check $? "the newest key stays: $(cat "$work/said")"

# ---- a new key, and an upload that began with the old one
# The client sends a little every now and then, and the rest when it is told to.
cat >"$work/slow.py" <<'PY'
import os, sys, time
data, at = open(sys.argv[1], "rb").read(2001000), 0
while at < len(data):
    n = len(data) if os.path.exists(sys.argv[2]) else 1000
    at += sys.stdout.buffer.write(data[at:at + n])
    sys.stdout.buffer.flush()
    time.sleep(0.2)
PY
python3 "$work/slow.py" "$work/one" "$work/go" | curl -s -o "$work/late.body" -w '%{http_code}' "${signed[@]}" -T - -H "Content-Length: 2001000" \
	-H "Transfer-Encoding:" "$(url b1 /vault/late)" >"$work/late.code" &
late=$!
second=$(rotate)
[ "${#second}" = 16 ] && until_ok 20 seals "$second"
check $? "a new sealing key seals from now on: $second"
weir sealing remove first; rc=$?
[ $rc = 1 ] && grep -q "uploads under way" "$work/said"
check $? "an upload that began with the old key needs it: $(cat "$work/said")"
touch "$work/go"
wait $late; [ "$(cat "$work/late.code")" = 200 ]
check $? "it ends ($(cat "$work/late.code"))"
until_ok 40 eval '! weir sealing remove first && grep -q "still seals the keys of $((objects + 1)) objects and $parts parts, such as vault/" "$work/said"'
check $? "and is an object then, which needs the key like others: $(cat "$work/said")"

# ---- sealed anew, while others overwrite and one endpoint is killed
data >"$work/before"
# The second copy is held, so that none of it is done when somebody counts.
held=$(orders a1 | jq -r .secondary); kill -STOP "${pid[$held]}"
weir sealing reseal </dev/null >"$work/begun"; rc=$?
last=$(wish)
"$BIN/weir" sealing count --json -c "$work/registry.yaml" >"$work/keys" 2>"$work/said" & one=$!
until_ok 5 eval '[ "$(wish)" != "$last" ]'
kill -CONT "${pid[$held]}"
wait $one; rc="$rc $?"
[ "$rc" = "0 0" ] && grep -q 'still seals keys anew' "$work/said"
check $? "weir sealing reseal without a terminal begins ($rc, $(cat "$work/begun")), and who counts meanwhile is told of it: $(cat "$work/said")"
stop KILL a1
until_ok 20 eval 'orders a2 || orders b1' && start a1
check $? "the endpoint that orders the bucket is killed, another one takes over, and it comes back"
# Two objects are overwritten all the time, and one loses a tag and gets it back.
(
	i=0
	while [ ! -e "$work/enough" ]; do
		i=$((i + 1))
		for k in hot1 hot2; do [ "$(curl -s -o /dev/null -w '%{http_code}' "${signed[@]}" -X PUT --data-binary "turn $i" "$(url a2 "/vault/$k")")" = 200 ] && echo "turn $i" >"$work/$k"; done
	done
) &
writer=$!
# Nobody asks again: who has got the bucket goes on, as does who comes back, also behind what others ask for.
until_ok 60 eval 'weir sealing count --json >"$work/keys" && [ "$(of first objects)$(of first parts)" = 00 ] && [ "$(of "$second" objects)" -gt "$objects" ]'
check $? "what the killed one had begun is done: $(jq -c . "$work/keys")"
weir sealing reseal --wait --json >"$work/keys"; rc=$?
touch "$work/enough"; wait $writer
[ $rc = 0 ] && weir sealing count --json >"$work/keys" && [ "$(of first objects)" = 0 ] && [ "$(of first parts)" = 0 ] && [ "$(of "$second" parts)" = 3 ] &&
	[ "$(of "$second" objects)" -gt "$objects" ] && [ "$(of "$second" lost)" = 0 ]
check $? "all is sealed by the new one ($rc): $(jq -c . "$work/keys")"
data >"$work/after"
[ -z "$(comm -23 "$work/before" "$work/after" | grep /d/)" ] && cut -d' ' -f1 "$work/before" | grep -q /d/
check $? "no file of data was written or is gone"
for k in hot1 hot2; do [ "$(s3 b1 "/vault/$k")" = 200 ] && [ "$(cat "$work/body")" = "$(cat "$work/$k")" ]; check $? "$k is what was written last: $(cat "$work/$k")"; done

# ---- two who ask at once, of whom neither gets an answer yet
kill -STOP "${pid[b1]}"; last=$(wish)
"$BIN/weir" sealing count -c "$work/registry.yaml" >"$work/out" 2>"$work/said1" & one=$!
until_ok 5 eval '[ "$(wish)" != "$last" ]'
"$BIN/weir" sealing count -c "$work/registry.yaml" >"$work/out" 2>"$work/said2" & two=$!
wait $one; rc=$?
kill -CONT "${pid[b1]}"
wait $two; rc="$rc $?"
[ "$rc" = "1 0" ] && grep -q 'somebody else asked for .count. meanwhile' "$work/said1"
check $? "the first is told of the other ($rc): $(cat "$work/said1" "$work/said2")"

# ---- the old key goes, and is not missed
stop TERM b1
weir sealing remove first; rc=$?
[ $rc = 1 ] && grep -q "b1 is registered, and away" "$work/said"
check $? "not while an endpoint is away: $(cat "$work/said")"
start b1
until_ok 30 weir sealing remove first
check $? "removed ($(cat "$work/said"))"
weir sealing list --json >"$work/keys"; [ "$(jq length "$work/keys")" = 1 ] && ! weir sealing remove first && grep -q "no sealing key first" "$work/said"
check $? "and gone"
for e in a1 a2 b1; do
	stop TERM $e; start $e
	until_ok 20 eval '[ "$(s3 $e /vault/large)" = 200 ]' && cmp -s "$work/body" "$work/whole" && [ "$(s3 $e /vault/parts)" = 200 ] && cmp -s "$work/body" "$work/whole"
	check $? "$e, which knows the new key alone, gives large objects back"
	all=0
	for i in 1 7 50 100 150 $SMALL; do [ "$(s3 $e "/vault/small/$i")" = 200 ] && [ "$(cat "$work/body")" = "content of $i" ] || all=1; done
	check $all "$e, and small ones"
done
s3 a1 "/vault?prefix=small%2F7&versions=" >/dev/null
old=$(grep -o '<VersionId>[0-9a-f]*</VersionId>' "$work/body" | sed 's/<[^>]*>//g' | sed -n 2p)
[ -n "$old" ] && c=$(s3 b1 "/vault/small/7?versionId=$old") && [ "$c" = 200 ] && [ "$(cat "$work/body")" = "old 7" ]
check $? "an older version, too ($old: $c, $(cat "$work/body"))"
name=open; e2=$(part "$open" 2 b1 "$work/two")
[ "$(complete "$open" "$e1" "$e2")" = 200 ] && [ "$(s3 b1 /vault/open)" = 200 ] && cmp -s "$work/body" "$work/whole"
check $? "the upload goes on, with a part by each key"

# ---- a key that is lost
third=$(rotate); until_ok 20 seals "$third"
check $? "a third key"
value=$(reg range "{\"key\":\"$(key64 "$second")\"}" | jq -r '.kvs[0].value')
reg deleterange "{\"key\":\"$(key64 "$second")\"}" >/dev/null
until_ok 10 eval '[ "$(s3 a1 /vault/large)" = 400 ]' && grep -q "<Code>EncryptionKeyNotFound</Code>" "$work/body" && grep -q "sealing key that opens it is lost" "$work/body"
check $? "S3 is told that asking again does not help: $(grep -o '<Code>.*</Message>' "$work/body")"
[ "$(s3 a1 /vault/large -I)" = 200 ] && [ "$(s3 a1 /vault/copy -X PUT -H "x-amz-copy-source: /vault/large")" = 400 ] && grep -q EncryptionKeyNotFound "$work/body"
check $? "what it is, is known; a copy is refused likewise"
c=$(code b1 /b/vault/parts)
[ "$c" = 410 ] && [ "$(jq -r .error "$work/body")" = key ] && [ "$(header Cache-Control)" = no-store ]
check $? "plainly $c: $(jq -r .message "$work/body")"
weir sealing count --json >"$work/keys"; [ "$(of "$second" state)" = lost ] && [ "$(of "$second" objects)" -gt "$objects" ]
check $? "weir sealing count says what is lost: $(jq -c . "$work/keys")"
weir sealing reseal --wait --json >"$work/keys"; [ "$(of "$second" lost)" -gt "$objects" ] && [ "$(of "$second" parts)" = 4 ]
check $? "and sealing anew leaves it as it is"
reg put "{\"key\":\"$(key64 "$second")\",\"value\":\"$value\"}" >/dev/null
until_ok 15 eval '[ "$(s3 a1 /vault/large)" = 200 ]' && cmp -s "$work/body" "$work/whole"
check $? "the key is put back, and it opens again"
finish
