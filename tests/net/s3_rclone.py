#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rclone at a gateway: sync and check of 200 files with odd names, copies inside the store (whole and in parts), 64 MiB in
parts, a range, MD5 sums, removal; what arrives is compared byte by byte."""
from s3_lib import *


def trees(rclone, lab):
    keys = fit_for_files(odd_keys(240))[:200]
    tree, back = lab.folder("tree"), lab.folder("tree.back")
    make_tree(tree, keys)
    with Seconds(f"sync, check and back, {len(keys)} files"):
        went(rclone("mkdir", "w:clone"), "mkdir")
        went(rclone("sync", tree, "w:clone/tree"), "sync of 200 files with odd names")
        went(rclone("check", tree, "w:clone/tree"), "check, by MD5")
        went(rclone("check", tree, "w:clone/tree", "--download"), "check --download, by byte")
        went(rclone("sync", "w:clone/tree", back), "sync back")
    why = differences(tree_of(tree), tree_of(back))
    check(not why, "200 files are the same, by name and by byte", why)
    got = rclone("lsf", "-R", "--files-only", "w:clone/tree")
    why = differences(dict.fromkeys(keys), dict.fromkeys(got.stdout.splitlines()))
    check(not why, "lsf -R has the same names", why)
    with Seconds("sync inside the store"):
        went(rclone("sync", "w:clone/tree", "w:second/tree"), "sync of a bucket into another, inside the store")
        went(rclone("check", "w:clone/tree", "w:second/tree"), "both are the same")
    (tree / "plain").unlink()
    (tree / "new").write_text("new")
    went(rclone("sync", tree, "w:clone/tree"), "sync of one file less and one more")
    went(rclone("check", tree, "w:clone/tree"), "check")


def parts(rclone, lab):
    file, back = lab.work / "big", lab.work / "big.back"
    file.write_bytes(data(1 << 20, 7) * 63 + data(1 << 20, 8))
    with Seconds("64 MiB in parts, there, a copy inside, and back"):
        went(rclone("copyto", file, "w:clone/big", "--s3-upload-cutoff", "5Mi", "--s3-chunk-size", "8Mi"), "copyto of 64 MiB in parts")
        went(rclone("copyto", "w:clone/big", "w:clone/big2", "--s3-copy-cutoff", "9Mi"), "copyto inside the store, in parts")
        went(rclone("copyto", "w:clone/big2", back), "copyto back")
    check(subprocess.run(["cmp", file, back]).returncode == 0, "64 MiB are the same")
    got = rclone("hashsum", "md5", "w:clone/big")
    check(md5(file.read_bytes()) in got.stdout, "hashsum md5, which is kept in the metadata", got)
    got = rclone("cat", "w:clone/big", "--offset", str((8 << 20) - 5), "--count", "10", text=False)
    check(got.stdout == file.read_bytes()[(8 << 20) - 5:(8 << 20) + 5], "cat of a range over the seam of two parts", got)
    got = rclone("rcat", "w:clone/stream", text=False, stdin=open(file, "rb"))
    check(got.returncode == 0, "rcat of a stream of unknown length", got)
    got = rclone("cat", "w:clone/stream", text=False)
    check(got.stdout == file.read_bytes(), "which comes back")
    went(rclone("moveto", "w:clone/big2", "w:clone/moved"), "moveto")
    went(rclone("deletefile", "w:clone/moved"), "deletefile")
    got = rclone("backend", "list-multipart-uploads", "w:clone")
    check(got.returncode == 0 and json.loads(got.stdout or "{}").get("clone", 1) in ([], None), "no upload is left", got)


def removal(rclone):
    went(rclone("delete", "w:clone/tree"), "delete")
    went(rclone("purge", "w:clone"), "purge")
    went(rclone("purge", "w:second"), "purge of the second")
    got = rclone("lsd", "w:")
    check(got.returncode == 0 and "clone" not in got.stdout and "second" not in got.stdout, "lsd shows none", got)


def main():
    enter("rclone")
    with S3() as lab:
        id, secret = lab.s3_user("ann", "--rights", "rwdla")
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": id, "SECRET_ACCESS_KEY": secret, "ENDPOINT": lab.url, "REGION": REGION,
                  "FORCE_PATH_STYLE": "true"}

        def rclone(*words, **more):
            return lab.run(None, "rclone", "--config", "/dev/null", "--retries", "1", "--low-level-retries", "1", "--no-unicode-normalization", "--transfers", "8",
                           "--checkers", "8", *words, env={f"RCLONE_CONFIG_W_{k}": v for k, v in remote.items()}, cwd=lab.work, **more)
        trees(rclone, lab), parts(rclone, lab), removal(rclone)
    finish()


if __name__ == "__main__":
    main()
