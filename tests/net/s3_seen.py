#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is seen of S3 requests: metrics of each operation (requests, bytes, latency, errors by code) at an endpoint, lines of the
audit log for what changes a bucket and for what was denied; strangers are counted, not written down; what lifecycle rules say of
objects and uploads."""
import hashlib
import re

from upload_lib import *

BODY = b"0123456789" * 100


def main():
    with Lab() as lab:
        lab.user("root", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
        keys = {}
        for name, grants in ("ada", [{"bucket": "seen", "prefix": "", "rights": "rwdla"}]), ("eve", []):
            lab.user(name, grants=grants)
            keys[name] = json.loads(lab.weir("user", "key", "add", name, "--json"))
        base = f"http://127.0.0.1:{lab.port['ep0']}"

        def s3(user, method, path, *more, body=None):
            return int(ask(user, method, path, "-o", "/dev/null", "-w", "%{http_code}", *more, body=body) or 0)

        def text(user, method, path, *more, body=None):
            return ask(user, method, path, *more, body=body).decode()

        def ask(user, method, path, *more, body=None):
            key = ["--user", f"{keys[user]['id']}:{keys[user]['secret']}", "--aws-sigv4", "aws:amz:us-east-1:s3",
                   "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"] if user else []
            sent = ["--data-binary", "@-", "-H", "Content-Type: text/plain"] if body is not None else []
            return subprocess.run(["curl", "-s", "-m", "20", "-X", method, *key, *sent, *more, base + path], input=body, capture_output=True).stdout

        def page():
            text = lab.req("GET", "/_/metrics", port=lab.inside["ep0"]).body.decode()
            return {k: float(v) for k, v in re.findall(r'^(weir_s3_[a-z_]+\{[^}]*\}) (\S+)$', text, re.M)}

        def metric(name, **labels):
            wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
            return page().get(f"weir_s3_{name}{{{wanted}}}", 0)

        until(lambda: s3("ada", "GET", "/") == 200, 10) or lab.bail("the endpoint does not know the key")
        check(s3("ada", "PUT", "/seen") == 200, "a bucket is made")
        until(lambda: s3("ada", "HEAD", "/seen", "-I") == 200, 5)
        check(s3("ada", "PUT", "/seen/key", body=BODY) == 200 and s3("ada", "GET", "/seen/key") == 200, "an object is put and got")
        check(s3("ada", "GET", "/seen/none") == 404 and s3("eve", "GET", "/seen/key") == 403 and s3(None, "GET", "/seen/key") == 403,
              "one that is not there, one that may not, a stranger")
        check(until(lambda: metric("requests_total", operation="GetObject") == 4, 5), "each request is counted by its operation", page())
        check(metric("received_bytes_total", operation="PutObject") == len(BODY), "bytes that came", page())
        check(metric("sent_bytes_total", operation="GetObject") >= len(BODY), "bytes that went", page())
        check(metric("errors_total", operation="GetObject", code="NoSuchKey") == 1 and
              metric("errors_total", operation="GetObject", code="AccessDenied") == 2, "errors by their code", page())
        check(metric("request_seconds_count", operation="PutObject") == 1, "and how long each took", page())
        # Buckets that are not there: the registry is asked for users alone (which it does not answer: 2 s).
        registry = next(d for d in lab.daemons if d.node == "registry").process
        registry.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        got = [s3(None, "GET", f"/none{i}/key") for i in range(20)], s3(None, "PUT", "/none/key", body=BODY)
        took = time.monotonic() - begun
        begun = time.monotonic()
        s3("ada", "GET", "/seen-none/key")
        waited = time.monotonic() - begun
        registry.send_signal(signal.SIGCONT)
        check(got == ([404] * 20, 404) and took < 2 and waited > 1, "the registry is not asked for what strangers think up", (got, took, waited))
        rules = (b"<LifecycleConfiguration><Rule><ID>old ones</ID><Status>Enabled</Status><Filter><Prefix>k</Prefix></Filter>"
                 b"<Expiration><Days>1</Days></Expiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>"
                 b"</AbortIncompleteMultipartUpload></Rule></LifecycleConfiguration>")
        check(s3("ada", "PUT", "/seen?lifecycle=", body=rules) == 200, "lifecycle rules")

        def header(name, *request, body=None):
            out = lab.work / "head"
            s3("ada", *request, "-D", str(out), body=body)
            return dict(re.findall(r"^([^:\r]+): (.*?)\r$", out.read_bytes().decode().lower(), re.M)).get(name, "")

        got = until(lambda: header("x-amz-expiration", "HEAD", "/seen/key", "-I"), 5)
        check(re.fullmatch(r'expiry-date="[a-z]{3}, \d\d [a-z]{3} \d{4} 00:00:00 gmt", rule-id="old%20ones"', got), "when an object expires, and by which rule", got)
        check(header("x-amz-abort-rule-id", "POST", "/seen/kept?uploads=") == "old%20ones" and not header("x-amz-expiration", "PUT", "/seen/other", body=b""),
              "when an upload is given up; what no rule names stays")
        copied = header("x-amz-expiration", "PUT", "/seen/kopie", "-H", "x-amz-copy-source: /seen/key")
        check("old%20ones" in copied, "a copy tells it, too", copied)
        made = re.search("<UploadId>([0-9a-f]+)", text("ada", "POST", "/seen/known?uploads=")).group(1)
        etag = header("etag", "PUT", f"/seen/known?partNumber=1&uploadId={made}", body=BODY)
        whole = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>".encode()
        done = header("x-amz-expiration", "POST", f"/seen/known?uploadId={made}", body=whole)
        check("old%20ones" in done, "and an upload that is complete", done)
        location = re.search("<Location>(.*?)</", text("ada", "POST", f"/seen/known?uploadId={made}", body=whole))
        check(location and location[1] == f"{base}/seen/known", "which tells where it is, also once more", location and location[1])
        gone = b"".join(b"<Object><Key>%s</Key></Object>" % k for k in (b"kopie", b"known", b"never"))
        gone = b"<Delete>" + gone + b"</Delete>"
        digest = ["-H", "Content-MD5: " + base64.b64encode(hashlib.md5(gone).digest()).decode()]
        check(s3("ada", "POST", "/seen?delete=", *digest, body=gone) == 200, "several are deleted at once")
        got = text("eve", "POST", "/seen?delete=", *digest, body=gone)
        check(got.count("<Code>AccessDenied</Code>") == 3, "which somebody else may not", got)
        check(s3("ada", "DELETE", "/seen/other") == 204, "the other one goes")
        ids = re.findall(r"<UploadId>([0-9a-f]+)</UploadId>", subprocess.run(
            ["curl", "-s", "--user", f"{keys['ada']['id']}:{keys['ada']['secret']}", "--aws-sigv4", "aws:amz:us-east-1:s3", "-H",
             "x-amz-content-sha256: UNSIGNED-PAYLOAD", base + "/seen?uploads="], capture_output=True, text=True).stdout)
        check(len(ids) == 1 and s3("ada", "DELETE", f"/seen/kept?uploadId={ids[0]}") == 204, "the upload is aborted", ids)
        check(s3("ada", "DELETE", "/seen/key") == 204 and s3("ada", "DELETE", "/seen") == 204, "all is deleted again")

        def lines(**query):
            return [(l["who"], l["what"], l["on"].rstrip("/"), l["result"]) for l in lab.audit(**query)["lines"]]

        got = until(lambda: (lambda r: r if ("ada", "s3.DeleteBucket", "seen", "ok") in r else None)(lines()), 5) or lines()
        check(("ada", "s3.CreateBucket", "seen", "ok") in got and ("ada", "s3.DeleteBucket", "seen", "ok") in got, "the audit log has what changed a bucket", got)
        check(("eve", "s3.GetObject", "seen/key", "denied") in got, "and who was denied what", got)
        check({l[2] for l in got if l[0] == "eve" and l[1] == "s3.DeleteObject"} == {"seen/kopie", "seen/known", "seen/never"},
              "each key of many is a line, as if it were deleted alone", got)
        check(not [l for l in got if not l[0]], "but no stranger", got)
        check(not [l for l in got if l[1] == "s3.PutObject"], "and no objects of a bucket that is no dataset's", got)
    finish()


main()
