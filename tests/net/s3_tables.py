#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A table that anybody may read: Parquet and CSV made by DuckDB, put by S3, and read over plain HTTP without a key by a Parquet
reader that asks for ranges, by curl, and by DuckDB through `rclone mount` (skipped where there is no FUSE). All sums agree."""
from s3_lib import *

ROWS = 200000
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
                                                  "Resource": ["arn:aws:s3:::tables", "arn:aws:s3:::tables/*"]}]}


def node(lab, modules, *words):
    return lab.run(None, "node", TOP / "tests/net/s3_tables.mjs", *words, env={"NODE_MODULES": modules, "NODE_NO_WARNINGS": "1"})


def lines(got):
    try:
        return [json.loads(line) for line in got.stdout.splitlines()]
    except ValueError:
        return []


def over_http(lab, modules, want):
    got = node(lab, modules, "http", f"{lab.url}/tables")
    said = lines(got)
    check(len(said) == 2 and said[0] == want and said[1]["asked"] > 2, "a Parquet reader over plain HTTP, by ranges", f"{said} {want} {got.stderr}")
    got = subprocess.run(["curl", "-sf", f"{lab.url}/tables/table.csv"], capture_output=True, text=True)
    rows = [line.split(",") for line in got.stdout.splitlines()[1:]]
    sums = {"n": len(rows), "ids": sum(int(r[0]) for r in rows), "prices": sum(float(r[2]) for r in rows), "names": len({r[1] for r in rows})}
    check(sums == want, "CSV over plain HTTP", sums)
    got = lab.curl(None, f"{lab.url}/tables?list-type=2")
    check("<Key>table.parquet</Key>" in got, "anybody lists the bucket", got)
    got = lab.curl(None, f"{lab.url}/tables/table.csv", "-T", lab.work / "table.csv")
    check(got.startswith("403"), "but nobody writes", got)


def by_mount(lab, modules, want):
    if not os.path.exists("/dev/fuse") or not (shutil.which("fusermount3") or shutil.which("fusermount")):
        tap.tests += 1
        return print(f"ok {tap.tests} - DuckDB through rclone mount # SKIP no FUSE here", flush=True)
    at = lab.folder("mounted")
    env = lab.environ(None) | {f"RCLONE_CONFIG_W_{k}": v for k, v in {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": lab.url, "REGION": REGION,
                                                                      "FORCE_PATH_STYLE": "true", "ENV_AUTH": "false"}.items()}
    mount = subprocess.Popen(["rclone", "--config", "/dev/null", "mount", "w:tables", str(at), "--read-only"], env=env,
                             stdout=subprocess.DEVNULL, stderr=open(lab.work / "mount.log", "w"))
    try:
        up = until(lambda: os.path.ismount(at) or mount.poll() is not None, 15) and os.path.ismount(at)
        said = (lab.work / "mount.log").read_text()
        if not up and re.search("fuse|permitted", said) and "http" not in said.lower():
            tap.tests += 1
            return print(f"ok {tap.tests} - DuckDB through rclone mount # SKIP FUSE is not permitted here", flush=True)
        got = node(lab, modules, "duck", at)
        check(lines(got) == [want, want], "DuckDB reads Parquet and CSV through rclone mount, without a key", f"{got} {said}")
    finally:
        subprocess.run(["umount", "-l", at], capture_output=True)
        mount.terminate()
        mount.wait(10)


def main():
    debian_python()
    modules = os.environ.get("NODE_MODULES")
    if not modules:
        made = subprocess.run([TOP / "tests/npm/install"], capture_output=True, text=True)
        if made.returncode:
            skip(made.stderr.strip().removeprefix("skip: ") or "npm could not install")
        modules = os.environ["NODE_MODULES"] = made.stdout.strip()
    enter("node", "curl", "rclone")
    with S3() as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        got = node(lab, modules, "make", lab.work, ROWS)
        want = (lines(got) or lab.bail(f"DuckDB makes no table: {got.stderr}"))[0]
        s3 = lab.client("ann")
        s3.create_bucket(Bucket="tables")
        for name in "table.parquet", "table.csv":
            s3.upload_file(str(lab.work / name), "tables", name)
        got = lab.curl(None, f"{lab.url}/tables/table.csv")
        check(got.startswith("403"), "before there is a policy nobody reads", got[:300])
        s3.put_bucket_policy(Bucket="tables", Policy=json.dumps(POLICY))
        until(lambda: lab.curl(None, f"{lab.url}/tables/table.csv").startswith("200"), 5)
        over_http(lab, modules, want), by_mount(lab, modules, want)
    finish()


if __name__ == "__main__":
    main()
