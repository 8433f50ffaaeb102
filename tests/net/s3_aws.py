#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""aws-cli, `aws s3` and `aws s3api`, at a gateway: buckets, files and streams, 200 files with odd names both ways, 64 MiB in
parts, ranges, copies, moves, removal; what arrives is compared byte by byte."""
from s3_lib import *

BIG = 64 << 20


def small(aws, lab):
    """One object: there and back, by file and by stream, a part of it, its head, a copy."""
    file, back = lab.work / "small", lab.work / "back"
    file.write_bytes(data(5000))
    went(aws("s3", "mb", "s3://cli"), "s3 mb")
    went(aws("s3", "cp", file, "s3://cli/a b/ü.txt", "--content-type", "text/x-one", "--metadata", "color=blue"), "s3 cp to it")
    went(aws("s3", "cp", "s3://cli/a b/ü.txt", back), "s3 cp from it")
    check(back.read_bytes() == file.read_bytes(), "the same bytes")
    got = aws("s3api", "head-object", "--bucket", "cli", "--key", "a b/ü.txt", "--checksum-mode", "ENABLED")
    head = json.loads(got.stdout or "{}")
    check(head.get("ContentLength") == 5000 and head.get("ETag") == f'"{md5(data(5000))}"' and head.get("ContentType") == "text/x-one" and
          head.get("Metadata") == {"color": "blue"}, "s3api head-object", got)
    got = aws("s3api", "get-object", "--bucket", "cli", "--key", "a b/ü.txt", "--range", "bytes=100-299", back)
    check(back.read_bytes() == data(5000)[100:300] and json.loads(got.stdout or "{}").get("ContentRange") == "bytes 100-299/5000",
          "s3api get-object of a range", got)
    got = aws("s3api", "put-object", "--bucket", "cli", "--key", "sum", "--body", file, "--checksum-algorithm", "CRC32C")
    check(got.returncode == 0 and "ChecksumCRC32C" in got.stdout, "s3api put-object with a CRC32C", got)
    got = aws("s3api", "get-object", "--bucket", "cli", "--key", "none", back)
    check(got.returncode and "NoSuchKey" in got.stderr, "what is not there: NoSuchKey", got)
    went(aws("s3", "cp", "s3://cli/a b/ü.txt", "s3://cli/copy+1"), "s3 cp inside the store")
    got = aws("s3", "cp", "s3://cli/copy+1", "-", text=False)
    check(got.stdout == data(5000), "the copy has the same bytes, as a stream")
    went(aws("s3", "mv", "s3://cli/copy+1", "s3://cli/moved"), "s3 mv")
    got = aws("s3api", "list-objects-v2", "--bucket", "cli", "--query", "Contents[].Key")
    check(json.loads(got.stdout or "[]") == ["a b/ü.txt", "moved", "sum"], "s3api list-objects-v2", got)


def big(aws, lab):
    file, back = lab.work / "big", lab.work / "big.back"
    file.write_bytes(data(1 << 20, 7) * 63 + data(1 << 20, 8))
    with Seconds("s3 cp of 64 MiB both ways"):
        went(aws("s3", "cp", file, "s3://cli/big"), "s3 cp of 64 MiB in parts")
        went(aws("s3", "cp", "s3://cli/big", back), "and back")
    check(subprocess.run(["cmp", file, back]).returncode == 0, "64 MiB are the same")
    got = aws("s3api", "get-object", "--bucket", "cli", "--key", "big", "--range", f"bytes={(8 << 20) - 5}-{(8 << 20) + 4}", back)
    check(back.read_bytes() == file.read_bytes()[(8 << 20) - 5:(8 << 20) + 5] and re.search(r'"\\"[0-9a-f]{32}-8\\""', got.stdout),
          "its ETag tells eight parts, and a range over the seam of two parts", got)
    with Seconds("s3 cp of 64 MiB inside"):
        went(aws("s3", "cp", "s3://cli/big", "s3://cli/big2"), "s3 cp of 64 MiB inside the store, in parts")
    got = aws("s3", "cp", "s3://cli/big2", "-", text=False)
    check(got.stdout == file.read_bytes(), "the copy has the same bytes")


def trees(aws, lab):
    keys = fit_for_files(odd_keys(230))[:200]
    tree, back = lab.folder("tree"), lab.folder("tree.back")
    make_tree(tree, keys)
    with Seconds(f"s3 sync of {len(keys)} files both ways"):
        went(aws("s3", "sync", tree, "s3://cli/tree/", "--only-show-errors"), "s3 sync of 200 files with odd names")
        went(aws("s3", "sync", "s3://cli/tree/", back, "--only-show-errors"), "and back")
    why = differences(tree_of(tree), tree_of(back))
    check(not why, "200 files are the same, by name and by byte", why)
    got = aws("s3api", "list-objects-v2", "--bucket", "cli", "--prefix", "tree/", "--page-size", "37", "--query", "Contents[].Key")
    listed = [k[5:] for k in json.loads(got.stdout or "[]")]
    check(listed == sorted(keys, key=lambda k: k.encode()), "listed by pages, in the order of their bytes",
          differences(dict.fromkeys(keys), dict.fromkeys(listed)) + got.stderr)
    got = aws("s3", "sync", tree, "s3://cli/tree/", "--dryrun")
    check(got.returncode == 0 and not got.stdout.strip(), "s3 sync again has nothing to do", got)


def rest(aws, lab):
    got = aws("s3", "ls", "s3://cli/")
    check(re.search(r"PRE a b/", got.stdout) and re.search(r"PRE tree/", got.stdout) and re.search(r"67108864 big\n", got.stdout), "s3 ls", got)
    got = aws("s3", "presign", "s3://cli/moved", "--expires-in", "60")
    url = got.stdout.strip()
    read = subprocess.run(["curl", "-sf", url], capture_output=True)
    check(read.stdout == data(5000), "s3 presign, and curl gets it", url)
    went(aws("s3", "rm", "s3://cli/moved"), "s3 rm")
    doomed = {"Objects": [{"Key": "sum"}, {"Key": "big2"}]}
    got = aws("s3api", "delete-objects", "--bucket", "cli", "--delete", json.dumps(doomed))
    check(got.returncode == 0 and len(json.loads(got.stdout)["Deleted"]) == 2, "s3api delete-objects", got)
    with Seconds("s3 rb --force"):
        went(aws("s3", "rb", "s3://cli", "--force"), "s3 rb --force")
    got = aws("s3", "ls")
    check(got.returncode == 0 and not re.search(r" cli$", got.stdout, re.M), "s3 ls shows it no more", got)


def main():
    enter("aws", "curl")
    program = "/usr/bin/aws" if os.path.exists("/usr/bin/aws") else "aws"
    with S3() as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        (lab.folder("home") / "aws.conf").write_text("[default]\ns3 =\n  addressing_style = path\n")

        def aws(*words, **more):
            return lab.run("ann", program, "--endpoint-url", lab.url, "--output", "json", *words,
                           env={"AWS_CONFIG_FILE": str(lab.work / "home/aws.conf")}, cwd=lab.work, **more)
        small(aws, lab), big(aws, lab), trees(aws, lab), rest(aws, lab)
    finish()


if __name__ == "__main__":
    main()
