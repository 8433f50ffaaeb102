#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""See store_hot_signed.sh: asks the endpoint at HOST twice, once so that an answer may be ready, once with a header line that
no ready answer takes."""
import hashlib
import hmac
import json
import os
import pathlib
import random
import re
import tempfile
import threading
import time
import zlib
import base64

from store_hot import BEARER, HOST, Connection, ask, check, put, ready, refused_at_once, weir

EMPTY = hashlib.sha256().hexdigest()
COMMON = "X-Other: 1"


class Key:
    """An access key, and what it signs."""

    def __init__(self, user, *scope):
        made = json.loads(weir("user", "key", "add", user, *scope, "--json"))
        self.id, self.secret = made["id"], made["secret"]

    def sign(self, method, path, *lines, at=0, body=EMPTY, region="us-east-1", day=None, names=None, unsigned=()):
        """The lines of a request: those that are signed, those that are not, and Authorization."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + at))
        day = day or stamp[:8]
        lines = [f"x-amz-date: {stamp}", f"x-amz-content-sha256: {body}", *lines]
        said = sorted([("host", f"{HOST}:8080")] + [(n.lower(), v) for n, v in (x.split(": ", 1) for x in lines)])
        if names:
            said = [x for x in said if x[0] in names]
        names, scope = ";".join(n for n, _ in said), f"{day}/{region}/s3/aws4_request"
        text = f"{method}\n{path}\n\n" + "".join(f"{n}:{v}\n" for n, v in said) + f"\n{names}\n{body}"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
        key = ("AWS4" + self.secret).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        return [*lines, *unsigned, f"Authorization: AWS4-HMAC-SHA256 Credential={self.id}/{scope}, SignedHeaders={names}, Signature={signature}"]

    def ask(self, method, path, *lines, common=False, **more):
        return ask(method, path, *self.sign(method, path, *lines, **more), *([COMMON] if common else []))

    def put(self, path, body, *lines):
        got = ask("PUT", path, *self.sign("PUT", path, *lines, body=hashlib.sha256(body).hexdigest()), body=body)
        if got[0] != 200:
            raise ValueError(f"PUT {path}: {got}")


def bare(answer):
    """What does not change from one answer to the next, in some order."""
    status, head, body = answer
    first, *lines = head.rstrip().split(b"\r\n")
    lines = [re.sub(rb"(?i)^(date|x-request-id|x-amz-request-id): .*", rb"\1", line) for line in lines]
    return status, first, sorted(lines), re.sub(rb'"request":"[0-9a-f]*"|<RequestId>[0-9a-f]*<', b"", body)


def until(what, good):
    end = time.monotonic() + 10
    while not good():
        if time.monotonic() > end:
            return check(False, f"{what}: not within 10 s")
        time.sleep(0.05)


def objects(key):
    put("/b/data/small", os.urandom(4096))
    put("/b/data/large", os.urandom(65536))
    put("/b/data/larger", os.urandom(65537))
    put("/b/data/empty", b"")
    put("/b/data/page.html", b"<p>page</p>")
    put("/b/data/in/deep", b"deep")
    put("/b/closed/small", b"closed")
    body = b"told"
    key.put("/data/told", body, "x-amz-meta-color: blue", "x-amz-meta-empty: ", "Cache-Control: max-age=60", "Content-Type: text/html",
            "Content-Disposition: attachment", "x-amz-tagging: a=b&c=d",
            f"x-amz-checksum-crc32: {base64.b64encode(zlib.crc32(body).to_bytes(4, 'big')).decode()}")
    key.put("/data/sealed", b"sealed", "x-amz-server-side-encryption: AES256")


def says_the_same(key):
    narrow, deep, ends = Key("tester", "--scope", "r:closed"), Key("tester", "--scope", "r:data/in/"), Key("other")
    nobody = Key("tester")
    nobody.secret += "x"
    unknown = Key("tester")
    unknown.id = "WEIR2ABCDEFGHIJKLMNO"
    until("keys are known", lambda: nobody.ask("GET", "/data/small", common=True)[0] == 403
          and narrow.ask("GET", "/closed/small", common=True)[0] == 200 and deep.ask("GET", "/data/in/deep", common=True)[0] == 200)
    etag = re.search(rb'(?i)etag: (\S+)', key.ask("GET", "/data/small")[1])[1].decode()
    old = time.strftime("%Y%m%d", time.gmtime(time.time() - 86400))
    paths = ["/data/small", "/data/large", "/data/larger", "/data/empty", "/data/page.html", "/data/told", "/data/in/deep", "/data/none",
             "/closed/small", "/data/sealed", "/none/small", "/data", "/data/", "/b/data/small", "/Data/small"]
    ways = [  # lines that are signed, and how
        ((), {}), (("User-Agent: x", "Accept-Encoding: identity"), {}), ((), {"unsigned": ("User-Agent: x", "Accept: */*")}),
        (("x-amz-checksum-mode: ENABLED",), {}), (("x-amz-checksum-mode: DISABLED",), {}),
        (("amz-sdk-invocation-id: 1", "amz-sdk-request: attempt=1"), {}),
        ((), {"body": "UNSIGNED-PAYLOAD"}), ((), {"body": hashlib.sha256(b"x").hexdigest()}), ((), {"region": "eu-north-1"}),
        ((), {"unsigned": (f"If-None-Match: {etag}",)}), ((), {"unsigned": ("If-None-Match: *",)}),
        ((), {"unsigned": ('If-Match: "x"',)}), ((), {"unsigned": ("Range: bytes=0-1",)}), ((), {"unsigned": ("Origin: http://x",)}),
        # what is to be refused
        ((), {"at": -1000}), ((), {"at": 1000}), ((), {"day": old}), ((), {"body": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}),
        ((), {"names": ("host", "x-amz-date")}), ((), {"names": ("x-amz-date", "x-amz-content-sha256")}),
        (("x-amz-security-token: x",), {}), ((), {"unsigned": ("x-amz-checksum-mode: ENABLED",)}),
        ((), {"unsigned": ("X-Amz-Date: 20260101T000000Z",)}), ((), {"unsigned": (f"x-amz-content-sha256: {EMPTY}",)}),
        ((), {"unsigned": (BEARER,)}), (("x-amz-expected-bucket-owner: nobody",), {}),
    ]
    tried, wrong, statuses, before = 0, [], {}, ready()
    for path in paths:
        for method in "GET", "HEAD":
            for who in key, narrow, deep, ends, nobody, unknown:
                for lines, how in ways if who is key else ways[:2]:
                    signed = who.sign(method, path, *lines, **how)
                    for _ in range(2):  # the first may make the answer that is ready
                        a = bare(ask(method, path, *signed))
                    b = bare(ask(method, path, *signed, COMMON))
                    tried += 1
                    statuses[a[0]] = statuses.get(a[0], 0) + 1
                    if a != b:
                        wrong.append(f"{method} {path} {lines} {how}: {a}, not {b}"[:1500])
    check(not wrong, f"{tried} signed requests: the same answer with and without {statuses}: {wrong[:2]}")
    count = ready() - before
    check(count > 200, f"many of them were ready: {count}")
    ids = [re.findall(rb"(?i)^(x-(?:amz-)?request-id): (\S+)\r$", key.ask("GET", "/data/small")[1], re.M) for _ in range(3)]
    check(all(len(i) == 2 and i[0][1] == i[1][1] for i in ids) and len({i[0][1] for i in ids}) == 3, f"each has an id of its own: {ids[0]}")


def has_paths_of_its_own(key):
    """What is kept for S3 is nobody's who does not sign, whatever stands in Authorization."""
    key.ask("GET", "/data/small")
    before, wrong = ready(), []
    signed = key.sign("GET", "/data/small")
    for line in (key.id, f"GET {key.id}", f"AWS4-HMAC-SHA256 {key.id}", f"AWS4-HMAC-SHA256 Credential={key.id}", signed[-1][15:-1], BEARER[15:], ""):
        got = ask("GET", "/data/small", *signed[:-1], *([f"Authorization: {line}"] if line else []))
        if got[0] == 200 and not line.startswith("Bearer"):
            wrong.append(line)
    check(not wrong and ready() == before, f"who signs nothing gets none of them: {wrong}")


def refuses_mutated(key):
    """1,000 signed requests, each with one character changed, while the unchanged one is ready."""
    rng, tried, good, wrong, before = random.Random(7), 0, 0, [], ready()
    for name in "smal", "smalk", "smakl":  # what a changed path may name
        put(f"/b/data/{name}", b"another")
    while tried < 1000:
        lines = key.sign("GET", "/data/small")
        texts = ["/data/small", f"{HOST}:8080", *lines]
        which = rng.choice([0, 1, 2, 3, 4, 4, 4, 4])
        text = texts[which]
        least = {0: 1, 1: 0, 2: 12, 3: 22, 4: text.index("Credential=") + 11 if which == 4 else 0}[which]
        at = rng.randrange(least, len(text))
        other = rng.choice([c for c in "abcdefghijklmnopqrstuvwxyz0123456789/;=ABC" if c != text[at]])
        changed = text[:at] + rng.choice([other, "", other + text[at]]) + text[at + 1:]
        if changed == text or text[at] in ", ":  # what stands between the parts of Authorization says nothing
            continue
        tried += 1
        texts[which] = changed
        raw = "\r\n".join([f"GET {texts[0]} HTTP/1.1", f"Host: {texts[1]}", *texts[2:], "", ""])
        c = Connection()
        if tried % 20 == 0:
            good += c.ask("GET", "/data/small", *lines)[0] == 200  # on the lane, which then reads the changed one
        c.socket.sendall(raw.encode())
        status = int(c.file.readline().split()[1])
        if status < 400:
            wrong.append(f"{status} for {raw!r}, of {text!r}")
    count = ready() - before
    check(not wrong and good == 50 == count, f"1,000 changed requests are refused: {wrong[:2]}; {good} unchanged ones not, {count} were ready")


def stays_when_cold(key):
    bodies = [os.urandom(1 + 300 * i) for i in range(100)]
    for i, body in enumerate(bodies):
        put(f"/b/data/cold/{i}", body)
    before, reader, good = ready(), Connection(), 0
    for i, body in enumerate(bodies):
        good += reader.ask("GET", f"/data/cold/{i}", *key.sign("GET", f"/data/cold/{i}"))[2] == body
    count = ready() - before
    check(good == 100 and count == 100, f"100 cold objects on one connection: {good} as they were written, {count} of them ready")


def is_never_stale(key):
    shared = {"least": 0, "end": False, "count": 0, "stale": []}
    put("/b/data/number", b"0")

    def read():
        c = Connection()
        while not shared["end"]:
            least = shared["least"]
            status, _, body = c.ask("GET", "/data/number", *key.sign("GET", "/data/number"))
            if status != 200 or int(body) < least:
                shared["stale"].append(f"{status}, {body} after {least}")
            shared["count"] += 1
            if shared["count"] % 20 == 0:
                c = Connection()
    readers, before, n = [threading.Thread(target=read) for _ in range(2)], ready(), 0
    for r in readers:
        r.start()
    writer, end = Connection(), time.monotonic() + 2
    while n <= 10 or time.monotonic() < end:
        n += 1
        if writer.ask("PUT", "/b/data/number", BEARER, body=b"%d" % n)[0] not in (200, 201):
            break
        shared["least"] = n
    shared["end"] = True
    for r in readers:
        r.join()
    count = ready() - before
    check(n > 10 and not shared["stale"] and count > shared["count"] / 10,
          f"{n} writes and {shared['count']} reads, {count} of them ready: none is older than what was acknowledged: {shared['stale'][:2]}")


def forgets_what_is_deleted(key):
    wrong, before = [], ready()
    for i in range(50):
        put("/b/data/gone", b"%d" % i)
        for _ in range(3):
            if key.ask("GET", "/data/gone")[2] != b"%d" % i:
                wrong.append(f"{i}: not what was written")
        if key.ask("DELETE", "/data/gone")[0] != 204 or key.ask("GET", "/data/gone")[0] != 404:
            wrong.append(f"{i}: there after its delete")
    check(not wrong and ready() - before >= 100, f"50 objects are gone when their delete was acknowledged: {wrong[:2]}")


def tells_of_the_bucket(key):
    """Versioning changes what is told of an object, at once."""
    put("/b/versions/small", b"small")
    before = ready()
    key.ask("GET", "/versions/small")
    key.ask("GET", "/versions/small")
    weir("bucket", "set", "versions", "--versioning", "enabled")
    until("versions are told of", lambda: b"x-amz-version-id" in key.ask("HEAD", "/versions/small", common=True)[1])
    same = [bare(key.ask(m, "/versions/small")) == bare(key.ask(m, "/versions/small", common=True)) for m in ("GET", "HEAD") * 2]
    check(all(same) and ready() - before >= 4, f"what the bucket is told to be is told: {same}")


def refused(key):
    path = "/closed/small"
    policy = pathlib.Path(tempfile.mkdtemp()) / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::closed/*"}]}))
    refused_at_once("a policy that denies", path, key.sign("GET", path), lambda: weir("bucket", "set", "closed", "--policy", str(policy)))
    path = "/data/small"
    for what, verb in ("a key disabled", "disable"), ("a key revoked", "revoke"):
        one = Key("tester")
        until("the key is known", lambda: one.ask("GET", path, common=True)[0] == 200)
        refused_at_once(what, path, one.sign("GET", path), lambda: weir("user", "key", verb, "tester", one.id))
    weir("user", "add", "third")
    one = Key("third")
    until("the key is known", lambda: one.ask("GET", path, common=True)[0] == 200)
    refused_at_once("a user disabled", path, one.sign("GET", path), lambda: weir("user", "disable", "third"))
    one = Key("tester", "--expires", "3s")
    until("the key is known", lambda: one.ask("GET", path, common=True)[0] == 200)
    refused_at_once("a key that expires", path, one.sign("GET", path), lambda: None)
    old = key.sign("GET", path, at=-897)
    refused_at_once("a signature that grows old", path, old, lambda: None)


def main():
    key = Key("tester")
    put("/b/data/small", b"small")
    until("the key is known", lambda: key.ask("GET", "/data/small", common=True)[0] == 200)
    objects(key)
    says_the_same(key)
    has_paths_of_its_own(key)
    refuses_mutated(key)
    stays_when_cold(key)
    is_never_stale(key)
    forgets_what_is_deleted(key)
    tells_of_the_bucket(key)
    refused(key)
    check(True, "the end")


main()
