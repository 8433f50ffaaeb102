#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Uploads in parts whose bucket is told to encrypt, or not to, in the middle: a part is kept as its upload was begun. Objects that
# programs of before have made of plain and sealed parts, and that do not say so, are read all the same, in every way, and their parts are
# counted and sealed anew before a sealing key goes.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11
start_registry || { check 1 "registry"; finish; }
start a1 && add_user
until_ok 10 registered 1 a1
add_key || { check 1 "an access key"; finish; }
weir() { "$BIN/weir" "$@" -c "$work/registry.yaml" 2>"$work/said"; }
of() { jq -r --arg k "$1" ".[] | select(.kid == \$k) | .$2" "$work/keys"; }
# What lies on the disk, but the names.
kept() { find "$work/a1/state/endpoint" -type f ! -path '*/names/*' -exec cat {} +; }
sealed() { header x-amz-server-side-encryption; }
echo '<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>' >"$work/rule"
# A write says how things stand, once the endpoint has heard of it.
encrypt_on() { [ "$(s3 a1 "/mparts?encryption=" -T "$work/rule")" = 200 ] && until_ok 10 eval 's3 a1 /mparts/probe -X PUT -d x >/dev/null; [ "$(sealed)" = AES256 ]'; }
encrypt_off() { [ "$(s3 a1 "/mparts?encryption=" -X DELETE)" = 204 ] && until_ok 10 eval 's3 a1 /mparts/probe -X PUT -d x >/dev/null; [ -z "$(sealed)" ]'; }
# begin KEY [curl's words]: the upload's id.
begin() { local key=$1; shift; s3 a1 "/mparts/$key?uploads=" -X POST "$@" >/dev/null; sed -n 's|.*<UploadId>\(.*\)</UploadId>.*|\1|p' "$work/body"; }
# part KEY UPLOAD NUMBER FILE: its ETag.
part() { s3 a1 "/mparts/$1?partNumber=$3&uploadId=$2" -T "$4" >/dev/null; header ETag; }
# copied KEY UPLOAD NUMBER SOURCE [curl's words]: the code; its ETag is in $work/tag.
copied() {
	local key=$1 id=$2 number=$3 from=$4; shift 4
	s3 a1 "/mparts/$key?partNumber=$number&uploadId=$id" -X PUT -H "x-amz-copy-source: /mparts/$from" "$@"
	sed -n 's|.*<ETag>&quot;\(.*\)&quot;</ETag>.*|"\1"|p' "$work/body" >"$work/tag"
}
# complete KEY UPLOAD ETAG...
complete() {
	local key=$1 id=$2 i=0 tag; shift 2
	{
		printf '<CompleteMultipartUpload>'
		for tag in "$@"; do i=$((i + 1)); printf '<Part><PartNumber>%s</PartNumber><ETag>%s</ETag></Part>' $i "$tag"; done
		printf '</CompleteMultipartUpload>'
	} >"$work/list"
	s3 a1 "/mparts/$key?uploadId=$id" -X POST --data-binary @"$work/list"
}
# is KEY FILE: its bytes?
is() { [ "$(s3 a1 "/mparts/$1")" = 200 ] && cmp -s "$work/body" "$2"; }

yes "the first part's line" | head -c $((5 * 1024 * 1024 + 3)) >"$work/one"
yes "the last part's line" | head -c 300001 >"$work/two"
cat "$work/one" "$work/two" >"$work/whole"
until_ok 10 eval '[ "$(s3 a1 /mparts -X PUT)" = 200 ]' && [ "$(s3 a1 /mparts/source -T "$work/whole")" = 200 ]
check $? "a bucket and an object that is plain"

# ---- the bucket is told in the middle
id=$(begin on); e1=$(part on "$id" 1 "$work/one")
encrypt_on
check $? "the bucket is told to encrypt, in the middle of an upload"
e2=$(part on "$id" 2 "$work/two"); said=$(sealed)
[ -z "$said" ] && [ "$(complete on "$id" "$e1" "$e2")" = 200 ] && [ -z "$(sealed)" ] && is on "$work/whole"
check $? "the upload stays plain, and the object is what was sent ($said)"

id=$(begin off); e1=$(part off "$id" 1 "$work/one"); said=$(sealed)
encrypt_off
check $? "the bucket is told not to, in the middle of another"
yes "a line that must be sealed" | head -c 300002 >"$work/secret"
cat "$work/one" "$work/secret" >"$work/off"
e2=$(part off "$id" 2 "$work/secret"); said="$said $(sealed)"
[ "$said" = "AES256 AES256" ] && [ "$(complete off "$id" "$e1" "$e2")" = 200 ] && [ "$(sealed)" = AES256 ] && is off "$work/off" && [ "$(sealed)" = AES256 ]
check $? "the upload stays encrypted, and the object is what was sent ($said)"
[ "$(kept | grep -ac "must be sealed")" = 0 ] && [ "$(kept | grep -ac "the last part")" -gt 0 ]
check $? "no plain text of it is on the disk"

id=$(begin copy)
c=$(copied copy "$id" 1 source -H "x-amz-server-side-encryption: AES256")
[ "$c" = 400 ] && grep -q "<Code>InvalidArgument</Code>" "$work/body"
check $? "a part's copy has no encryption of its own ($c, $(grep -o '<Code>.*</Message>' "$work/body"))"
c=$(copied copy "$id" 1 source)
[ "$c" = 200 ] && [ "$(complete copy "$id" "$(cat "$work/tag")")" = 200 ] && is copy "$work/whole"
check $? "without, it is copied ($c)"
id=$(begin copy2 -H "x-amz-server-side-encryption: AES256")
c=$(copied copy2 "$id" 1 off)
[ "$c" = 200 ] && [ "$(complete copy2 "$id" "$(cat "$work/tag")")" = 200 ] && is copy2 "$work/off" && [ "$(sealed)" = AES256 ] &&
	[ "$(kept | grep -ac "must be sealed")" = 0 ]
check $? "into an upload that was begun encrypted it is encrypted ($c)"

# ---- what programs of before have left: the upload and the object do not say that a part is sealed
id=$(begin mixed -H "x-amz-server-side-encryption: AES256"); e2=$(part mixed "$id" 2 "$work/two"); said=$(sealed)
stop TERM a1
python3 - "$work/a1/state/endpoint/names" <<'PY'
import os, sys
n = 0
for root, _, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(root, name)
        data = open(path, "rb").read()
        n += data.count(b'"k":"parts"')
        changed = data.replace(b'"k":"parts"', b'"K":"parts"')
        if changed != data:
            with open(path, "r+b") as f:
                f.write(changed)
sys.exit(n < 3)  # the upload, off and copy2
PY
rc=$?
start a1 && until_ok 10 eval '[ "$(s3 a1 /mparts/source -I)" = 200 ]' && [ $rc = 0 ] && [ "$said" = AES256 ]
check $? "names as of before ($rc, $said)"
e1=$(part mixed "$id" 1 "$work/one"); said=$(sealed)
[ -z "$said" ] && [ "$(complete mixed "$id" "$e1" "$e2")" = 200 ] && [ -z "$(sealed)" ]
check $? "an object of a plain part and a sealed one"

# all NAME FILE: whole, in ranges, by parts, plainly.
all() {
	local size=$(stat -c %s "$2") at split=$((5 * 1024 * 1024 + 3))
	is "$1" "$2"
	check $? "$1: whole"
	for at in 7-9 $((split - 9))-$((split + 9)) $((split + 65530))-$((split + 65545)) $split-$((split + 99)) $((split - 70))-$((size - 1)); do
		tail -c +$((${at%-*} + 1)) "$2" | head -c $((${at#*-} - ${at%-*} + 1)) >"$work/want"
		c=$(s3 a1 "/mparts/$1" -r "$at")
		[ "$c" = 206 ] && cmp -s "$work/body" "$work/want"
		check $? "$1: range $at ($c)"
	done
	c=$(s3 a1 "/mparts/$1?partNumber=1"); [ "$c" = 206 ] && head -c $split "$2" | cmp -s - "$work/body" && c=$(s3 a1 "/mparts/$1?partNumber=2") &&
		[ "$c" = 206 ] && tail -c +$((split + 1)) "$2" | cmp -s - "$work/body"
	check $? "$1: part 1 and part 2 ($c)"
	c=$(code a1 "/b/mparts/$1"); [ "$c" = 200 ] && cmp -s "$work/body" "$2"
	check $? "$1: plainly ($c)"
}
all mixed "$work/whole"
all off "$work/off"
is copy2 "$work/off"
check $? "an object of one part"
[ "$(s3 a1 /mparts/mixed -I)" = 200 ] && [ "$(header Content-Length)" = "$(stat -c %s "$work/whole")" ]
check $? "HEAD tells the plain length"
c=$(s3 a1 /mparts/again -X PUT -H "x-amz-copy-source: /mparts/mixed"); [ "$c" = 200 ] && grep -q "$(md5sum <"$work/whole" | cut -d' ' -f1)" "$work/body" && is again "$work/whole"
check $? "a copy ($c)"
id=$(begin again2); c=$(copied again2 "$id" 1 mixed)
[ "$c" = 200 ] && [ "$(complete again2 "$id" "$(cat "$work/tag")")" = 200 ] && is again2 "$work/whole"
check $? "and as a part of another ($c)"

# ---- their key is not let go before they are sealed anew
second=$(weir user key reseal --json | jq -r .kid)
until_ok 20 eval 'weir sealing list --json >"$work/keys" && [ "$(jq -r ".[] | select(.state == \"now\") | .kid" "$work/keys")" = "$second" ]'
check $? "a new sealing key: $second"
weir sealing count --json >"$work/keys"; [ "$(of first parts)" = 4 ]
check $? "weir sealing count finds their parts: $(jq -c . "$work/keys")"
until_ok 40 eval '! weir sealing remove first && grep -q "4 parts, such as mparts/" "$work/said"'
check $? "the older key stays: $(cat "$work/said")"
weir sealing reseal --wait --json >"$work/keys"; weir sealing count --json >"$work/keys"
[ "$(of first parts)" = 0 ] && [ "$(of "$second" parts)" = 4 ]
check $? "they are sealed anew: $(jq -c . "$work/keys")"
until_ok 30 weir sealing remove first
check $? "the older key goes ($(cat "$work/said"))"
stop TERM a1; start a1
until_ok 20 is mixed "$work/whole" && is off "$work/off" && is copy2 "$work/off" && is on "$work/whole"
check $? "all is read without it"
finish
