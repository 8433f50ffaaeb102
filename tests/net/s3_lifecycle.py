# SPDX-License-Identifier: Apache-2.0
"""What a bucket's lifecycle says is done within seconds of saying it: objects below a prefix expire on a date that has passed, with a
marker where versions are kept, and the others stay. What takes days is in tests/unit/test_store_lifecycle.c. Needs root. Exit: 0 pass,
1 fail, 77 skip."""
import datetime

from s3_lib import *

debian_python()
enter()

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


def rule(prefix):
    return {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Date": PAST}}]}


def keys(s3, bucket):
    return [o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


with S3() as lab:
    lab.s3_user("ann", "--rights", "rwdla")
    s3 = lab.client("ann")
    for bucket in ("plain", "kept"):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    for bucket in ("plain", "kept"):
        for key in ("tmp/a", "tmp/b", "stays"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 1000)
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rule("tmp/"))
    check(until(lambda: keys(s3, "plain") == ["stays"] and keys(s3, "kept") == ["stays"], 30, 0.2), "expired objects go")
    listed = s3.list_object_versions(Bucket="kept")
    check(len(listed.get("Versions", [])) == 3 and len(listed.get("DeleteMarkers", [])) == 2, "versions are kept below their markers", listed)
    s3.put_object(Bucket="plain", Key="tmp/new", Body=b"y")
    s3.delete_bucket_lifecycle(Bucket="plain")
    check(keys(s3, "plain") == ["stays", "tmp/new"], "without rules nothing expires")
finish()
