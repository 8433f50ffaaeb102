#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""10,000 keys (S3_KEYS) and 1 GiB (S3_MIB) through a gateway: put and listed by boto3, synchronised and checked by rclone, and the
large one by aws-cli; bytes compared. Run by tests/nightly/s3_many; too long for make test."""
from concurrent.futures import ThreadPoolExecutor

from s3_lib import *

KEYS, MIB = int(os.environ.get("S3_KEYS", 10000)), int(os.environ.get("S3_MIB", 1024))


def listing(s3, wanted):
    """Pages of 1,000 and of 333, and by folders."""
    for size in 1000, 333:
        got = [c["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="many", PaginationConfig={"PageSize": size})
               for c in page.get("Contents", [])]
        check(got == wanted, f"{len(wanted)} keys by pages of {size}, in order", differences(dict.fromkeys(wanted), dict.fromkeys(got)))
    pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="many", Delimiter="/", PaginationConfig={"PageSize": 7}))
    got = [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])]
    check(got == sorted({k.split("/")[0] + "/" for k in wanted}), "its folders by pages of 7", got[:20])


def many(lab, s3, rclone):
    wanted = sorted((f"folder {i % 97:02}/ключ+{i:05}" for i in range(KEYS)), key=lambda k: k.encode())
    body = lambda k: hashlib.sha512(k.encode()).digest() * (1 + int(k[-2:]))
    with Seconds(f"{KEYS} objects are put"), ThreadPoolExecutor(8) as pool:
        tags = list(pool.map(lambda k: s3.put_object(Bucket="many", Key=k, Body=body(k))["ETag"], wanted))
    check(all(tag == f'"{md5(body(k))}"' for k, tag in zip(wanted, tags)), f"{KEYS} objects are put, each with its ETag")
    with Seconds("lists"):
        listing(s3, wanted)
    back = lab.folder("back")
    with Seconds("rclone brings all"):
        went(rclone("sync", "w:many", back), "rclone sync of all to files")
    why = differences({k: md5(body(k)) for k in wanted}, tree_of(back))
    check(not why, "the same names and bytes", why)
    with Seconds("rclone copies all inside"):
        went(rclone("sync", "w:many", "w:twin"), "rclone sync of all into a second bucket")
        went(rclone("check", "w:many", "w:twin"), "rclone check of both")
    with Seconds("all are removed"):
        for bucket in "many", "twin":
            for at in range(0, KEYS, 1000):
                got = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": k} for k in wanted[at:at + 1000]], "Quiet": True})
                if got.get("Errors"):
                    check(False, "DeleteObjects", got["Errors"][:3])
        check(s3.list_objects_v2(Bucket="many")["KeyCount"] == 0, "none is left")
        s3.delete_bucket(Bucket="many"), s3.delete_bucket(Bucket="twin")


def large(lab, s3, aws):
    file, back = lab.work / "large", lab.work / "large.back"
    with open(file, "wb") as out:
        for i in range(MIB):
            out.write(i.to_bytes(4, "big") + data(1 << 20, 1)[4:])
    with Seconds(f"{MIB} MiB there, copied and back"):
        went(aws("s3", "cp", file, "s3://large/one"), f"aws s3 cp of {MIB} MiB")
        went(aws("s3", "cp", "s3://large/one", "s3://large/two"), "a copy inside the store")
        went(aws("s3", "rm", "s3://large/one"), "the first is removed")
        went(aws("s3", "cp", "s3://large/two", back), "the copy comes back")
    check(subprocess.run(["cmp", file, back]).returncode == 0, "the same bytes")
    at = (MIB << 20) // 2 - 7
    got = s3.get_object(Bucket="large", Key="two", Range=f"bytes={at}-{at + 99}")["Body"].read()
    with open(file, "rb") as f:
        f.seek(at)
        check(got == f.read(100), "a range from its middle")


def main():
    debian_python()
    enter("aws", "rclone")
    program = "/usr/bin/aws" if os.path.exists("/usr/bin/aws") else "aws"
    with S3() as lab:
        id, secret = lab.s3_user("ann", "--rights", "rwdla")
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": id, "SECRET_ACCESS_KEY": secret, "ENDPOINT": lab.url, "REGION": REGION,
                  "FORCE_PATH_STYLE": "true"}
        rclone = lambda *words: lab.run(None, "rclone", "--config", "/dev/null", "--transfers", "8", "--checkers", "8", *words, timeout=900,
                                        env={f"RCLONE_CONFIG_W_{k}": v for k, v in remote.items()})
        aws = lambda *words: lab.run("ann", program, "--endpoint-url", lab.url, *words, timeout=900)
        s3 = lab.client("ann", max_pool_connections=16)
        for bucket in "many", "twin", "large":
            s3.create_bucket(Bucket=bucket)
        many(lab, s3, rclone), large(lab, s3, aws)
    finish()


if __name__ == "__main__":
    main()
