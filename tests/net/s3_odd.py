#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""boto3's managed transfers, 200 keys with odd names and those that only careful servers keep apart ("//", "..", control
characters), 64 MiB in parts, virtual-host style; and curl with --aws-sigv4, and without a key."""
from concurrent.futures import ThreadPoolExecutor

from s3_lib import *

BUCKET = "odd"


def all_pages(s3, **more):
    return [c["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **more) for c in page.get("Contents", [])]


def each(work, keys):
    """work(number, key) for each on eight threads: the keys for which it failed, with what."""
    def one(pair):
        try:
            return work(*pair)
        except Exception as e:  # whatever a client raises is the finding
            return repr(e)
    with ThreadPoolExecutor(8) as pool:
        return [(keys[i], why) for i, why in enumerate(pool.map(one, enumerate(keys))) if why]


def odd(lab, s3):
    keys = odd_keys(200) + PATH_KEYS + CONTROL_KEYS
    body = lambda i: data(1 + i * 37 % 3000, i)
    with Seconds(f"{len(keys)} odd keys"):
        bad = each(lambda i, k: s3.put_object(Bucket=BUCKET, Key=k, Body=body(i)) and None, keys)
        check(not bad, f"{len(keys)} odd keys are put", bad[:8])
        listed = all_pages(s3, PaginationConfig={"PageSize": 23})
        why = differences(dict.fromkeys(keys), dict.fromkeys(listed))
        check(not why and len(listed) == len(set(listed)), "all are listed by pages of 23, each once", why)
        check(listed == sorted(listed, key=lambda k: k.encode()), "in the order of their bytes")
        old = [c["Key"] for page in s3.get_paginator("list_objects").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 29})
               for c in page.get("Contents", [])]
        check(old == listed, "the same by ListObjects of version 1", differences(dict.fromkeys(listed), dict.fromkeys(old)))
        bad = each(lambda i, k: None if s3.get_object(Bucket=BUCKET, Key=k)["Body"].read() == body(i) else "other bytes", keys)
        check(not bad, "each comes back with its own bytes", bad[:8])
        bad = each(lambda i, k: None if len(body(i)) < 3 or s3.get_object(Bucket=BUCKET, Key=k, Range="bytes=1-2")["Body"].read() == body(i)[1:3]
                   else "other bytes", keys)
        check(not bad, "and so does a range of each", bad[:8])
        bad = each(lambda i, k: None if requests_get(s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": k})) == body(i)
                   else "other bytes", keys)
        check(not bad, "and each by a presigned URL", bad[:8])
        short = [k for k in keys if len(k.encode()) <= 1018]
        bad = each(lambda i, k: s3.copy_object(Bucket=BUCKET, Key=f"copy/{k}", CopySource={"Bucket": BUCKET, "Key": k}) and None, short)
        check(not bad, "each is copied", bad[:8])
        bad = each(lambda i, k: None if s3.head_object(Bucket=BUCKET, Key=f"copy/{k}")["ETag"] == f'"{md5(body(keys.index(k)))}"' else "ETag", short)
        check(not bad, "and the copy has the same ETag", bad[:8])
        folders(s3, keys)
        for doomed in keys, [f"copy/{k}" for k in short]:
            for k in doomed:
                if not fit_for_xml(k):
                    s3.delete_object(Bucket=BUCKET, Key=k)
            doomed = list(filter(fit_for_xml, doomed))
            got = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in doomed]})
            check(len(got.get("Deleted", [])) == len(doomed) and not got.get("Errors"), f"DeleteObjects of {len(doomed)}", got.get("Errors"))
        check(not all_pages(s3), "none is left", all_pages(s3)[:5])


def folders(s3, keys):
    """Common prefixes of every delimiter are what the keys say."""
    for delimiter, prefix in (("/", ""), ("/", "sub/"), ("//", ""), ("e", ""), (" ", ""), ("日", ""), ("%", "")):
        below = [k for k in keys + [f"copy/{k}" for k in keys if len(k.encode()) <= 1018] if k.startswith(prefix)]
        cut = lambda k: prefix + k[len(prefix):].split(delimiter)[0] + delimiter
        want = {cut(k) for k in below if delimiter in k[len(prefix):]}
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Delimiter=delimiter, Prefix=prefix,
                                                                  PaginationConfig={"PageSize": 17}))
        got = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
        plain = [c["Key"] for page in pages for c in page.get("Contents", [])]
        check(set(got) == want and len(got) == len(want) and set(plain) == {k for k in below if delimiter not in k[len(prefix):]},
              f"common prefixes by {delimiter!r} below {prefix!r}", f"{sorted(set(got) ^ want)[:10]}")


def requests_get(url):
    """The bytes behind a URL, asked as it stands."""
    host, _, path = url.split("://", 1)[1].partition("/")
    c = http.client.HTTPConnection(*host.split(":"), timeout=30)
    try:
        c.putrequest("GET", "/" + path, skip_accept_encoding=True)
        c.endheaders()
        return c.getresponse().read()
    finally:
        c.close()


def transfers(lab, s3):
    from boto3.s3.transfer import TransferConfig
    file, back = lab.work / "big", lab.work / "big.back"
    file.write_bytes(data(1 << 20, 7) * 63 + data(1 << 20, 8))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=8 << 20, max_concurrency=4)
    with Seconds("64 MiB there, copied, and back"):
        try:
            s3.upload_file(str(file), BUCKET, "big", ExtraArgs={"Metadata": {"a": "b"}}, Config=config)
            s3.copy({"Bucket": BUCKET, "Key": "big"}, BUCKET, "big2", Config=config)
            s3.download_file(BUCKET, "big2", str(back), Config=config)
        except Exception as e:  # whatever a client raises is the finding
            return check(False, "upload_file, copy and download_file", repr(e))
    check(subprocess.run(["cmp", file, back]).returncode == 0, "upload_file, copy and download_file of 64 MiB: the same bytes")
    got = s3.head_object(Bucket=BUCKET, Key="big")
    whole = file.read_bytes()
    check(got["ETag"] == f'"{multi_etag(*(whole[i:i + (8 << 20)] for i in range(0, len(whole), 8 << 20)))}"' and got["Metadata"] == {"a": "b"},
          "ETag of eight parts, metadata", got)


def by_curl(lab, s3):
    file, out = lab.work / "file", lab.work / "out"
    file.write_bytes(data(70000))
    got = lab.curl("ann", f"{lab.url}/{BUCKET}/by-curl", "-T", file)
    check(got.startswith("200"), "curl --aws-sigv4: PUT", got)
    got = lab.curl("ann", f"{lab.url}/{BUCKET}/by-curl", "-I")
    check(got.startswith("200"), "HEAD", got)
    for where, more in ((f"{lab.url}/{BUCKET}/by-curl", ()), (f"{lab.direct}/{BUCKET}/by-curl", ()),
                        (lab.hosted.replace("//", f"//{BUCKET}.") + "/by-curl", ())):
        got = subprocess.run(["curl", "-s", "-o", out, "-w", "%{http_code}", *lab.curl_key("ann"), *more, where], capture_output=True, text=True)
        check(got.stdout == "200" and out.read_bytes() == data(70000), f"GET of {where.split('/', 2)[2]}", out.read_bytes()[:600])
    got = subprocess.run(["curl", "-s", "-o", out, "-w", "%{http_code}", "-r", "100-199", *lab.curl_key("ann"),
                          f"{lab.url}/{BUCKET}/by-curl"], capture_output=True, text=True)
    check(got.stdout == "206" and out.read_bytes() == data(70000)[100:200], "GET of a range", got.stdout)
    got = lab.curl(None, f"{lab.url}/{BUCKET}/by-curl")
    check(got.startswith("403") and "<Code>AccessDenied</Code>" in got, "without a key: AccessDenied", got)
    lab.keys["liar"] = lab.keys["ann"][0], "A" * 40
    got = lab.curl("liar", f"{lab.url}/{BUCKET}/by-curl")
    check(got.startswith("403") and "<Code>SignatureDoesNotMatch</Code>" in got, "with a wrong secret: SignatureDoesNotMatch", got)
    got = lab.curl("ann", f"{lab.url}/{BUCKET}/by-curl", "-X", "DELETE")
    check(got.startswith("204"), "DELETE", got)
    got = lab.curl("ann", f"{lab.url}/{BUCKET}/by-curl")
    check(got.startswith("404") and "<Code>NoSuchKey</Code>" in got, "then NoSuchKey", got)


def by_host(lab):
    """boto3 with virtual-host style against BUCKET.s3.test."""
    s3 = lab.client("ann", lab.hosted, style="virtual")
    try:
        s3.create_bucket(Bucket="hosted")
        s3.put_object(Bucket="hosted", Key="a b/ü", Body=b"by its host")
        got = s3.get_object(Bucket="hosted", Key="a b/ü")["Body"].read()
        listed = [c["Key"] for c in s3.list_objects_v2(Bucket="hosted")["Contents"]]
        s3.delete_object(Bucket="hosted", Key="a b/ü")
        s3.delete_bucket(Bucket="hosted")
        check(got == b"by its host" and listed == ["a b/ü"], "virtual-host style: create, put, get, list, delete", (got, listed))
    except Exception as e:  # whatever a client raises is the finding
        check(False, "virtual-host style", repr(e))


def there(s3, bucket):
    try:
        return bool(s3.head_bucket(Bucket=bucket))
    except s3.exceptions.ClientError:
        return False


def gone(lab):
    s3 = lab.client("ann", lab.direct)
    late = []
    for bucket in (f"gone-{i}" for i in range(80)):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        s3.delete_bucket(Bucket=bucket)
        if there(s3, bucket):
            late.append(bucket)
    check(not late, "who removed a bucket finds it gone", late)


def main():
    debian_python()
    enter("curl", hosts=("odd", "hosted"))
    with S3(endpoints=2) as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        s3 = lab.client("ann", max_pool_connections=16)
        s3.create_bucket(Bucket=BUCKET)
        odd(lab, s3), transfers(lab, s3), by_curl(lab, s3), by_host(lab), gone(lab)
    finish()


if __name__ == "__main__":
    main()
