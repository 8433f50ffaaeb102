#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Encrypted objects by S3 (curl --aws-sigv4) on two sites: what lies on disks is no plain text, every endpoint gives it back
# whole and in ranges, by S3 and by the plain interface, also past a damaged block; a copy and parts are encrypted, too.
# Needs root. Exit: 0 pass, 1 fail, 77 skip.
set -u
. "$(dirname "$0")/store_lib"

node a1 a 11; node a2 a 12; node b1 b 21
start_registry || { check 1 "registry"; finish; }
start a1 a2 b1 && add_user
check $? "three endpoints and a user"
for e in a1 a2 b1; do until_ok 10 registered 3 $e; done
add_key || { check 1 "an access key"; finish; }
# The version's bytes as a node keeps them, in a file of its own or in segments.
kept() { find "$work/$1/state/endpoint" -type f ! -path '*/names/*' -exec cat {} + 2>/dev/null; }

until_ok 10 eval '[ "$(s3 a1 /sealed -X PUT)" = 200 ]'
[ "$(s3 a1 /sealed -I)" = 200 ]
check $? "a bucket"
cat >"$work/rule" <<XML
<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>
XML
c=$(s3 a1 "/sealed?encryption=" -T "$work/rule")
[ "$c" = 200 ] && until_ok 5 eval 'c=$(s3 b1 "/sealed?encryption="); grep -q AES256 "$work/body"'
check $? "is told to encrypt ($c)"

# Plain text that is known by its look: 9 MiB of lines, of several blocks and chunks.
yes "nobody may read this line" | head -c $((9 * 1024 * 1024 + 4321)) >"$work/large"
printf 'nobody may read this line either' >"$work/small"
for name in large small; do
	c=$(s3 a1 "/sealed/$name" -T "$work/$name")
	[ "$c" = 200 ] && [ "$(header x-amz-server-side-encryption)" = AES256 ] && [ "$(header ETag)" = "\"$(md5sum <"$work/$name" | cut -d' ' -f1)\"" ]
	check $? "put $name: its ETag is its MD5 ($c)"
done
for e in a1 b1 a2; do [ "$(kept $e | grep -ac "nobody may read")" = 0 ]; check $? "$e: no plain text on disk"; done

for e in a1 a2 b1; do
	for name in large small; do
		c=$(s3 $e "/sealed/$name")
		[ "$c" = 200 ] && cmp -s "$work/body" "$work/$name" && [ "$(header x-amz-server-side-encryption)" = AES256 ]
		check $? "$e gives $name back ($c)"
	done
	for at in 0-0 65530-65545 65536-131071 8388600-8388700 -70000; do
		case $at in
		-*) tail -c "${at#-}" "$work/large" >"$work/part" ;;
		*) tail -c +$((${at%-*} + 1)) "$work/large" | head -c $((${at#*-} - ${at%-*} + 1)) >"$work/part" ;;
		esac
		c=$(s3 $e /sealed/large -r "$at")
		[ "$c" = 206 ] && cmp -s "$work/body" "$work/part"
		check $? "$e, range $at ($c)"
	done
	c=$(code $e /b/sealed/large)
	[ "$c" = 200 ] && cmp -s "$work/body" "$work/large"
	check $? "$e, plain interface ($c)"
	c=$(code $e /b/sealed/small)
	[ "$c" = 200 ] && cmp -s "$work/body" "$work/small" && c=$(code $e /b/sealed/small) && cmp -s "$work/body" "$work/small"
	check $? "$e, plain interface, small and hot ($c)"
done
[ "$(s3 b1 /sealed/large -I)" = 200 ] && [ "$(header Content-Length)" = "$(stat -c %s "$work/large")" ]
check $? "HEAD tells the plain length"

c=$(code a2 /b/sealed/plain -T "$work/large")
[ "$c" = 201 ] && [ "$(jq -r .sha256 "$work/body")" = "$(sha "$work/large")" ] && [ "$(s3 b1 /sealed/plain)" = 200 ] &&
	cmp -s "$work/body" "$work/large" && [ "$(header x-amz-server-side-encryption)" = AES256 ]
check $? "a plain PUT is encrypted, too ($c)"

# S3 has a name of its own for what is no MD5; conditions of writes know it, and only that of the object that is there.
s3 b1 /sealed/plain -I >/dev/null; tag=$(header ETag); c=$(code a2 /b/sealed/plain -I); plain=$(header ETag)
[ "$tag" = "${plain%\"}-0\"" ] && [ "$(s3 a1 /sealed/plain -T "$work/small" -H "If-Match: \"${tag:2}")" = 412 ] &&
	[ "$(s3 a1 /sealed/plain -X DELETE -H "If-Match: \"${tag:2}")" = 412 ] && [ "$(s3 a1 /sealed/plain -T "$work/small" -H "If-Match: $tag")" = 200 ] &&
	[ "$(s3 a1 /sealed/plain -T "$work/small" -H "If-Match: $tag")" = 412 ]
check $? "a write only over what the ETag $tag names (plainly $plain)"
c=$(code a2 /b/sealed/plain -T "$work/small"); s3 b1 /sealed/plain -I >/dev/null; tag=$(header ETag)
[ "${tag: -3}" = '-0"' ] && [ "$(s3 a1 /sealed/plain -X DELETE -H "If-Match: $tag")" = 204 ] && [ "$(s3 b1 /sealed/plain)" = 404 ]
check $? "and a delete"
c=$(s3 a2 /sealed/copy -X PUT -H "x-amz-copy-source: /sealed/large")
[ "$c" = 200 ] && [ "$(s3 b1 /sealed/copy)" = 200 ] && cmp -s "$work/body" "$work/large"
check $? "a copy ($c)"

# In parts: the second begins in the middle of a block of the whole.
head -c $((5 * 1024 * 1024 + 1)) "$work/large" >"$work/one"
tail -c +$((5 * 1024 * 1024 + 2)) "$work/large" >"$work/two"
s3 a1 "/sealed/parts?uploads=" -X POST >/dev/null
id=$(sed -n 's|.*<UploadId>\(.*\)</UploadId>.*|\1|p' "$work/body")
s3 a1 "/sealed/parts?partNumber=1&uploadId=$id" -T "$work/one" >/dev/null; e1=$(header ETag)
s3 b1 "/sealed/parts?partNumber=2&uploadId=$id" -T "$work/two" >/dev/null; e2=$(header ETag)
printf '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part><Part><PartNumber>2</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>' "$e1" "$e2" >"$work/list"
c=$(s3 a2 "/sealed/parts?uploadId=$id" -X POST --data-binary @"$work/list")
[ "$c" = 200 ]
check $? "an upload of two parts ($c)"
for e in a1 a2 b1; do
	c=$(s3 $e /sealed/parts)
	[ "$c" = 200 ] && cmp -s "$work/body" "$work/large"
	check $? "$e gives it back ($c)"
done
c=$(s3 a2 /sealed/parts -r $((5 * 1024 * 1024 - 5))-$((5 * 1024 * 1024 + 9)))
tail -c +$((5 * 1024 * 1024 - 4)) "$work/large" | head -c 15 >"$work/part"
[ "$c" = 206 ] && cmp -s "$work/body" "$work/part"
check $? "a range across its parts ($c)"
for e in a1 b1 a2; do [ "$(kept $e | grep -ac "nobody may read")" = 0 ]; check $? "$e: still no plain text on disk"; done

# A damaged block: another copy takes over within the stream of cipher text.
version=$(curl -s -H "$auth" "$(url a1 '/b/sealed?prefix=large')" | jq -r '.objects[0].version')
for e in a1 a2 b1; do
	file=$(version_file $e "$version")
	[ -n "$file" ] || continue
	stop TERM $e
	printf X | dd of="$file" bs=1 seek=3000000 conv=notrunc status=none
	start $e
	until_ok 10 eval '[ "$(s3 $e /sealed/small)" = 200 ]'
	c=$(s3 $e /sealed/large)
	[ "$c" = 200 ] && cmp -s "$work/body" "$work/large"
	check $? "a damaged block at $e is never told ($c)"
	break
done
finish
