#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""restic at a gateway: a repository of backups in a bucket. Two backups with changes between them, the older one forgotten and its
data pruned, all that is left read and checked by its SHA-256, the newer one restored and compared byte by byte. restic locks
with objects, lists, reads ranges and deletes much at once; a second writer is told by a lock that it sees."""
from s3_lib import *


def tree_at(folder, seed):
    make_tree(folder, [f"{seed}/{i % 7}/{i:03}" for i in range(120)])
    (folder / f"big{seed}").write_bytes(data(24 << 20, seed))


def main():
    enter("restic")
    with S3() as lab:
        lab.s3_user("ann", "--rights", "rwdla")
        tree, back = lab.folder("tree"), lab.folder("back")
        own = {"RESTIC_REPOSITORY": f"s3:{lab.url}/backups/of/ann", "RESTIC_PASSWORD": "secret", "RESTIC_CACHE_DIR": str(lab.folder("cache"))}

        def restic(*words):
            with Seconds(f"restic {words[0]}"):
                return lab.run("ann", "restic", *words, env=own, cwd=tree)
        went(restic("init"), "init, which makes the bucket")
        tree_at(tree, 1)
        went(restic("backup", "."), "a backup")
        (tree / "1/3/003").write_text("changed")
        shutil.rmtree(tree / "1/4")
        (tree / "big1").unlink()
        tree_at(tree, 2)
        went(restic("backup", "."), "a second, of changed files")
        went(restic("forget", "--keep-last", "1", "--prune", "--max-unused", "0"), "the first is forgotten, its data pruned")
        went(restic("check", "--read-data"), "what is left, all read and checked")
        went(restic("restore", "latest", "--target", str(back)), "the second restored")
        why = differences(tree_of(tree), tree_of(back))
        check(not why, "all files are the same, by name and by byte", why)
        s3 = lab.client("ann")
        keys = [c["Key"] for c in s3.list_objects_v2(Bucket="backups")["Contents"]]
        check(not [k for k in keys if "/locks/" in k] and sum("/snapshots/" in k for k in keys) == 1, "one snapshot, and no lock is left", keys)
    finish()


if __name__ == "__main__":
    debian_python()
    main()
