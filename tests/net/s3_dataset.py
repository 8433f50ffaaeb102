# SPDX-License-Identifier: Apache-2.0
"""Files of a dataset by S3: checked as every other upload is; parts, deletes, lists; nobody goes around it at an endpoint. Needs
root. Exit: 0 pass, 1 fail, 77 skip."""
import datetime
import os
import pathlib
import re
import signal
import threading
import zlib

from s3_lib import *

debian_python()
os.environ["WEIR_S3_EARLY_MS"] = "1000"  # what takes longer answers by blanks
enter("aws", "s3cmd", "rclone")
RULES = "columns: [{name: id, type: integer}, {name: hue, type: string}]"
GOOD = b"id,hue\n" + b"".join(b"%d,red\n" % i for i in range(1000))
BAD = b"id,hue\n1,red\nx,blue\n"
PART = 5 << 20


def code(call, **words):
    try:
        call(**words)
        return "ok"
    except Exception as e:  # noqa: BLE001
        return getattr(e, "response", {}).get("Error", {}).get("Code", repr(e))


def message(call, **words):
    try:
        call(**words)
        return ""
    except Exception as e:  # noqa: BLE001
        return getattr(e, "response", {}).get("Error", {}).get("Message", repr(e))


with S3() as lab:
    lab.s3_user("ann", "--rights", "rwdla")
    lab.s3_user("bob", "--rights", "rl")
    lab.token["ann"] = lab.weir("token", "ann", "--ttl", "1h").strip()
    lab.dataset("sales", RULES, by="ann")
    s3 = lab.client("ann")
    check(s3.list_objects_v2(Bucket="sales").get("Contents", []) == [], "a new dataset is an empty bucket")
    put = s3.put_object(Bucket="sales", Key="a.csv", Body=GOOD)
    check(put["ETag"] == f'"{md5(GOOD)}"', "a good file is taken", put)
    check(s3.get_object(Bucket="sales", Key="a.csv")["Body"].read() == GOOD, "and is there")
    manifest = lab.get("ann", "/_/datasets/sales/files/a.csv")
    check(manifest.status == 200 and manifest.json.get("rows") == 1000, "with what the check found", manifest)
    check(code(s3.put_object, Bucket="sales", Key="b.csv", Body=BAD) == "UploadRejected", "a bad one is not")
    told = message(s3.put_object, Bucket="sales", Key="b.csv", Body=BAD)
    check("row 2, column id" in told, "and the first fault is told", told)
    check(code(s3.get_object, Bucket="sales", Key="b.csv") == "NoSuchKey", "nothing of it is there")
    check(code(s3.put_object, Bucket="sales", Key=".weir/x", Body=GOOD) == "InvalidArgument", "a name that datasets keep")
    check(code(s3.put_object, Bucket="sales", Key="a.csv", Body=GOOD, IfNoneMatch="*") in ("PreconditionFailed", "ParamValidationError")
          or "IfNoneMatch" in code(s3.put_object, Bucket="sales", Key="a.csv", Body=GOOD, IfNoneMatch="*"), "conditions hold")
    good, tag = lab.work / "good.csv", s3.head_object(Bucket="sales", Key="a.csv")["ETag"]
    good.write_bytes(GOOD + b"1000,blue\n")
    over = lambda t, *more: lab.curl("ann", f"{lab.url}/sales/a.csv", *(more or ("-X", "PUT", "-T", good)), "-H", f"If-Match: {t}")[:3]
    other = tag[:5] + ("1" if tag[5] == "0" else "0") + tag[6:]
    got = [over(other), over(tag), over(tag), over(tag, "-X", "DELETE")]
    check(tag.endswith('-0"') and got == ["412", "200", "412", "412"], "by the ETag that HEAD has told", (tag, got))
    tag = s3.head_object(Bucket="sales", Key="a.csv")["ETag"]
    check(over(tag, "-X", "DELETE") == "204" and code(s3.put_object, Bucket="sales", Key="a.csv", Body=GOOD) == "ok", "deletes, too", tag)
    check(code(lab.client("bob").put_object, Bucket="sales", Key="c.csv", Body=GOOD) == "AccessDenied", "who may only read may not put")
    check(code(lab.client(None).put_object, Bucket="sales", Key="c.csv", Body=GOOD) == "AccessDenied", "nor a stranger")
    check(code(lab.client("ann", url=lab.direct).put_object, Bucket="sales", Key="c.csv", Body=BAD) == "AccessDenied", "an endpoint takes none")
    told = message(s3.put_object_tagging, Bucket="sales", Key="a.csv", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    check("not copied into it, tagged" in told, "what is not done to a dataset's file is told by what it is", told)

    # ---- a session's cookie, which a browser sends for any page, changes nothing
    forged = ["-H", f"Cookie: weir={lab.token['ann']}", "-H", "Origin: http://evil.s3.test", "-H", "Content-Type: text/plain"]
    got = [lab.curl(None, f"{lab.url}/sales?delete", *forged, "-X", "POST", "-d", "<Delete><Object><Key>a.csv</Key></Object></Delete>"),
           lab.curl(None, f"{lab.url}/sales/a.csv", *forged, "-X", "DELETE"),
           lab.curl(None, f"{lab.url}/sales/a.csv", *forged, "-X", "PUT", "-d", "id,hue\n1,red\n")]
    check(all(g.startswith("403") and "AccessDenied" in g for g in got), "changes by cookie are refused", got)
    check(s3.get_object(Bucket="sales", Key="a.csv")["Body"].read() == GOOD, "and change nothing")

    # ---- chunks with trailers, other clients
    chunks = lab.work / "chunks"
    crc = b64(zlib.crc32(GOOD).to_bytes(4, "big"))

    def chunked(name, checksum):
        chunks.write_bytes(b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (GOOD[:5000], GOOD[5000:])) +
                           b"0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % checksum.encode())
        key = [w.replace("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER") for w in lab.curl_key("ann")]
        return lab.curl(None, f"{lab.url}/sales/{name}", *key, "-X", "PUT", "-T", chunks, "-H", f"x-amz-decoded-content-length: {len(GOOD)}",
                        "-H", "x-amz-trailer: x-amz-checksum-crc32", "-H", "Content-Encoding: aws-chunked")

    got = chunked("chunks.csv", crc)
    check(got.startswith("200") and s3.get_object(Bucket="sales", Key="chunks.csv")["Body"].read() == GOOD, "chunks with a trailer", got)
    got = chunked("other.csv", b64(b"\0\0\0\1"))
    check(got.startswith("400") and "BadDigest" in got and code(s3.head_object, Bucket="sales", Key="other.csv") == "404", "a trailer that does not fit", got)
    s3.delete_object(Bucket="sales", Key="chunks.csv")
    big = lab.work / "big.csv"
    big.write_bytes(b"id,hue\n" + b"".join(b"%d,green\n" % i for i in range(900000)))
    went(lab.run("ann", "aws", "--endpoint-url", lab.url, "s3", "cp", big, "s3://sales/big.csv"), "aws s3 cp of parts")
    check(s3.get_object(Bucket="sales", Key="big.csv")["Body"].read() == big.read_bytes(), "is the same file")
    check(s3.list_multipart_uploads(Bucket="sales").get("Uploads", []) == [], "and its parts are gone")
    bad = lab.work / "bad.csv"
    bad.write_bytes(big.read_bytes() + b"x,y\n")
    got = lab.run("ann", "aws", "--endpoint-url", lab.url, "s3", "cp", bad, "s3://sales/bad.csv")
    check(got.returncode != 0 and "UploadRejected" in got.stderr, "a bad one of parts is refused", got.stderr)
    check(code(s3.head_object, Bucket="sales", Key="bad.csv") == "404", "and not there")
    up = s3.create_multipart_upload(Bucket="sales", Key="p.csv")["UploadId"]
    tag = s3.upload_part(Bucket="sales", Key="p.csv", UploadId=up, PartNumber=1, Body=GOOD)["ETag"]
    parts = lambda t: {"Parts": [{"PartNumber": 1, "ETag": t}]}
    check(code(s3.complete_multipart_upload, Bucket="sales", Key="p.csv", UploadId=up, MultipartUpload=parts('"' + "0" * 32 + '"')) == "InvalidPart", "another ETag")
    done = s3.complete_multipart_upload(Bucket="sales", Key="p.csv", UploadId=up, MultipartUpload=parts(tag))
    check(done["ETag"] == f'"{multi_etag(GOOD)}"', "the ETag is of the parts'", done)
    crcs = b64(zlib.crc32(zlib.crc32(GOOD).to_bytes(4, "big")).to_bytes(4, "big")) + "-1"
    up = s3.create_multipart_upload(Bucket="sales", Key="p.csv", ChecksumAlgorithm="CRC32")["UploadId"]
    tag = s3.upload_part(Bucket="sales", Key="p.csv", UploadId=up, PartNumber=1, Body=GOOD, ChecksumAlgorithm="CRC32")["ETag"]
    done = lambda crc: code(s3.complete_multipart_upload, Bucket="sales", Key="p.csv", UploadId=up, ChecksumCRC32=crc,
                            MultipartUpload={"Parts": [{**parts(tag)["Parts"][0], "ChecksumCRC32": b64(zlib.crc32(GOOD).to_bytes(4, "big"))}]})
    got = [done("AAAAAA==-1"), done(crcs)]
    check(got == ["BadDigest", "ok"], "the checksum of the whole is compared", got)
    up = s3.create_multipart_upload(Bucket="sales", Key="d.csv")["UploadId"]
    tag = s3.upload_part(Bucket="sales", Key="d.csv", UploadId=up, PartNumber=1, Body=BAD)["ETag"]
    check(code(lab.client("ann", url=lab.direct).complete_multipart_upload, Bucket="sales", Key="d.csv", UploadId=up, MultipartUpload=parts(tag))
          == "AccessDenied", "an endpoint completes none")

    # ---- deletes
    check(code(s3.delete_object, Bucket="sales", Key="p.csv") == "ok", "a file is deleted")
    check(code(s3.delete_object, Bucket="sales", Key="p.csv") == "ok", "once more is no error")
    check(lab.get("ann", "/_/datasets/sales/files/p.csv").status == 404, "with what was made of it")
    gone = s3.delete_objects(Bucket="sales", Delete={"Objects": [{"Key": "a.csv"}, {"Key": "none.csv"}]})
    check([d["Key"] for d in gone.get("Deleted", [])] == ["a.csv", "none.csv"], "several", gone)
    s3.put_object(Bucket="sales", Key="v.csv", Body=GOOD)
    old = "0123456789abcdef" * 2
    check(code(s3.delete_object, Bucket="sales", Key="v.csv", VersionId=old) == "NotImplemented", "a version is not deleted")
    gone = s3.delete_objects(Bucket="sales", Delete={"Objects": [{"Key": "v.csv", "VersionId": old}, {"Key": "none.csv"}]})
    check([e["Code"] for e in gone.get("Errors", [])] == ["NotImplemented"] and [d["Key"] for d in gone.get("Deleted", [])] == ["none.csv"],
          "nor among several", gone)
    check(s3.get_object(Bucket="sales", Key="v.csv")["Body"].read() == GOOD and lab.get("ann", "/_/datasets/sales/files/v.csv").status == 200,
          "and the file stays, with what was made of it")
    gone = s3.delete_objects(Bucket="sales", Delete={"Objects": [{"Key": "v.csv", "VersionId": "null"}]})
    check(not gone.get("Errors") and code(s3.head_object, Bucket="sales", Key="v.csv") == "404", "the version null is the file", gone)
    check(code(lab.client("bob").delete_object, Bucket="sales", Key="big.csv") == "AccessDenied", "who may only read deletes none")
    check([o["Key"] for o in s3.list_objects_v2(Bucket="sales", Delimiter="/").get("Contents", [])] == ["big.csv"], "what is left is listed")

    # ---- nothing deletes files, or keeps what was deleted, around the upload service
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    rules = lambda **what: {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, **what}]}
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    for who, at in ("gateway", s3), ("endpoint", lab.client("ann", url=lab.direct)):
        for what in {"Expiration": {"Date": past}}, {"Expiration": {"Days": 1}, **abort}, {"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}:
            got = code(at.put_bucket_lifecycle_configuration, Bucket="sales", LifecycleConfiguration=rules(**what))
            check(got == "AccessDenied", f"files do not expire by {list(what)[0]}, said at the {who}", got)
        for state in "Enabled", "Suspended":
            got = code(at.put_bucket_versioning, Bucket="sales", VersioningConfiguration={"Status": state})
            check(got == "AccessDenied", f"versioning {state} is refused at the {who}", got)
    check(code(s3.put_bucket_lifecycle_configuration, Bucket="sales", LifecycleConfiguration=rules(**abort)) == "ok", "uploads may end by a rule")
    got = lab.weir("bucket", "set", "sales", "--versioning", "enabled", fails=True)
    check(got.returncode == 1 and "dataset" in got.stderr, "weir bucket set says the same", got)
    # A record may have got rules before: a plain bucket with the same ones, looked at twice, tells that they were looked at.
    s3.create_bucket(Bucket="beside")
    s3.put_bucket_lifecycle_configuration(Bucket="beside", LifecycleConfiguration=rules(Expiration={"Date": past}))
    before = [o["Key"] for o in s3.list_objects_v2(Bucket="sales")["Contents"]]
    lab.put("buckets/sales", {**lab.key("buckets/sales"), "lifecycle": lab.key("buckets/beside")["lifecycle"]})
    for turn in "1", "2":
        s3.put_object(Bucket="beside", Key="x", Body=b"y")
        s3.put_bucket_tagging(Bucket="beside", Tagging={"TagSet": [{"Key": "turn", "Value": turn}]})
        check(until(lambda: code(s3.head_object, Bucket="beside", Key="x") == "404", 20, 0.2), f"rules were done, {turn}")
    after = [o["Key"] for o in s3.list_objects_v2(Bucket="sales").get("Contents", [])]
    check("big.csv" in before and before == after, "of a dataset they delete nothing", after)

    # ---- files of parts wait for a slow endpoint and for their checks: nobody else waits for them
    up = s3.create_multipart_upload(Bucket="sales", Key="slow.csv")["UploadId"]
    tag = s3.upload_part(Bucket="sales", Key="slow.csv", UploadId=up, PartNumber=1, Body=GOOD)["ETag"]
    ended = []
    clients = [lab.client("ann") for _ in range(20)]
    complete = lambda mine: ended.append(code(mine.complete_multipart_upload, Bucket="sales", Key="slow.csv", UploadId=up, MultipartUpload=parts(tag)))
    lab.endpoints[0].process.send_signal(signal.SIGSTOP)
    try:
        threads = [threading.Thread(target=complete, args=(mine,)) for mine in clients]
        [t.start() for t in threads]
        time.sleep(1)  # what is with a worker has no other sign; too short a wait makes the check weaker, never wrong
        began = time.monotonic()
        got = lab.get("ann", "/_/keys", timeout=20)
        took = time.monotonic() - began
        check(got.status == 200 and took < 1 and not ended, "twenty files wait for the endpoint, keys are told at once", (got, took, ended))
    finally:
        lab.endpoints[0].process.send_signal(signal.SIGCONT)
    [t.join() for t in threads]
    check(ended.count("ok") >= 1 and set(ended) <= {"ok", "NoSuchUpload", "ServiceUnavailable"}, "then they end", ended)
    check(s3.get_object(Bucket="sales", Key="slow.csv")["Body"].read() == GOOD, "and the file is there")

    # ---- checks that take long: as many as there are threads for wait and are told so by blanks, one more is asked to come later
    MOST = 64
    begun = {}
    for i in range(MOST + 1):
        name = f"many/{i}.csv"
        up = s3.create_multipart_upload(Bucket="sales", Key=name)["UploadId"]
        begun[name] = up, s3.upload_part(Bucket="sales", Key=name, UploadId=up, PartNumber=1, Body=BAD if i == 1 else GOOD)["ETag"]
    names = list(begun)
    told = {}

    def finish_one(name):
        told[name] = code(s3.complete_multipart_upload, Bucket="sales", Key=name, UploadId=begun[name][0], MultipartUpload=parts(begun[name][1]))

    def by_curl(name, *more):
        """The command that completes it."""
        up, tag = begun[name]
        body = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
        return ["curl", "-s", "-N", "-m", "100", *lab.curl_key("ann"), "-X", "POST", "-d", body, "-H", "Content-Type: application/xml", *map(str, more),
                f"{lab.url}/sales/{name}?uploadId={up}"]

    children = lambda pid: [int(x) for x in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    below = lambda pid: [pid] + [x for child in children(pid) for x in below(child)]
    house = [pid for keeper in children(lab.gateways[0].process.pid) for pid in below(keeper)]
    at_work = lambda: [u for u in lab.get("ann", "/_/uploads").json["uploads"] if u["file"].startswith("many/") and u["state"] == "checking"]
    early = lab.work / "early.out"
    [os.kill(pid, signal.SIGSTOP) for pid in house]
    try:
        with early.open("wb") as out:
            one = subprocess.Popen(by_curl(names[0], "-w", " %{http_code}"), stdout=out)
        bad = subprocess.Popen(by_curl(names[1], "-w", " %{http_code}"), stdout=subprocess.PIPE, text=True)
        threads = [threading.Thread(target=finish_one, args=(name,)) for name in names[2:MOST]]
        [t.start() for t in threads]
        check(until(lambda: len(at_work()) == MOST, 60, 0.2), f"{MOST} files wait for their checks", len(at_work()))
        got = subprocess.run(by_curl(names[MOST], "-i"), capture_output=True, text=True).stdout
        check(got.startswith("HTTP/1.1 503") and "<Code>SlowDown</Code>" in got and re.search(r"(?i)^retry-after: [1-9]", got, re.M), "one more is asked to come later", got)
        check(until(lambda: early.read_bytes().startswith(b"<?xml"), 30, 0.1), "the answer begins while the check lasts", early.read_bytes())
        check(until(lambda: early.read_bytes().endswith(b"  "), 30, 0.1) and not told, "with blanks that keep the connection", (early.read_bytes(), told))
    finally:
        [os.kill(pid, signal.SIGCONT) for pid in house]
    [t.join() for t in threads]
    one.wait()
    got = early.read_text()
    check(re.fullmatch(r"<\?xml [^>]*\?>\n +<CompleteMultipartUploadResult.*<Key>many/0.csv</Key>.*</CompleteMultipartUploadResult> 200", got, re.S),
          "and ends with the result", got)
    check(set(told.values()) == {"ok"} and len(told) == MOST - 2, "so do the others", told)
    got = bad.communicate()[0]
    check(re.fullmatch(r"<\?xml [^>]*\?>\n +<Error><Code>UploadRejected</Code><Message>.*row 2, column id.*</Error> 200", got, re.S), "the bad one with its fault", got)
    there = [o["Key"] for o in s3.list_objects_v2(Bucket="sales", Prefix="many/")["Contents"]]
    check(sorted(there) == sorted(n for n in names[:MOST] if n != names[1]), "the good ones are there", there)
    finish_one(names[MOST])
    check(told[names[MOST]] == "ok", "and the one that was to come later", told)
    # A client that goes away when the answer has begun ends nothing.
    up = s3.create_multipart_upload(Bucket="sales", Key="left.csv")["UploadId"]
    begun["left.csv"] = up, s3.upload_part(Bucket="sales", Key="left.csv", UploadId=up, PartNumber=1, Body=GOOD)["ETag"]
    [os.kill(pid, signal.SIGSTOP) for pid in house]
    try:
        with early.open("wb") as out:
            one = subprocess.Popen(by_curl("left.csv"), stdout=out)
        check(until(lambda: early.read_bytes().startswith(b"<?xml"), 30, 0.1), "another answer begins")
        one.kill()
        one.wait()
    finally:
        [os.kill(pid, signal.SIGCONT) for pid in house]
    check(until(lambda: code(s3.head_object, Bucket="sales", Key="left.csv") == "ok", 30, 0.2), "its client is gone, and the file comes to be")
    left = lambda: [u["Key"] for u in s3.list_multipart_uploads(Bucket="sales").get("Uploads", [])]
    check(until(lambda: "left.csv" not in left(), 20, 0.2), "and its parts go", left())
finish()
