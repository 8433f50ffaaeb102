#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""See store_hot.sh: asks the endpoint at HOST twice, once so that an answer may be ready, once with a header line that no
ready answer takes."""
import base64
import json
import os
import re
import socket
import subprocess
import threading
import time

HOST, TOKEN, OTHER = os.environ["HOST"], os.environ["TOKEN"], os.environ["OTHER"]
BEARER, STRANGER = f"Authorization: Bearer {TOKEN}", f"Authorization: Bearer {OTHER}"


def check(good, what):
    print(("ok" if good else "not ok"), "-", what, flush=True)


def weir(*args):
    return subprocess.run([os.environ["WEIR"], *args, "-c", os.environ["CONF"]], check=True, capture_output=True, text=True).stdout


class Connection:
    def __init__(self):
        self.socket = socket.create_connection((HOST, 8080), timeout=20)
        self.file = self.socket.makefile("rb")

    def ask(self, method, path, *lines, body=None):
        head = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:8080", *lines]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        self.socket.sendall("\r\n".join(head + ["", ""]).encode() + (body or b""))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            if not line:
                raise ConnectionError(f"{method} {path}: the connection ended in {head!r}")
            head += line
        status = int(head.split()[1])
        length = re.search(rb"(?i)content-length: (\d+)", head)
        length = int(length[1]) if length else 0
        return status, head, self.file.read(length) if method != "HEAD" and status != 304 and length else b""


def ask(*args, **more):
    return Connection().ask(*args, **more)


def put(path, body):
    status, _, said = ask("PUT", path, BEARER, body=body)
    if status not in (200, 201):
        raise ValueError(f"PUT {path}: {status} {said}")
    return json.loads(said)


def bare(answer):
    """What does not change from one answer to the next."""
    status, head, body = answer
    head = re.sub(rb"(?m)^(Date|X-Request-Id|x-amz-request-id): .*\r\n", b"", head)
    return status, head, re.sub(rb'"request":"[0-9a-f]*"|<RequestId>[0-9a-f]*<', b"", body)


def ready():
    text = subprocess.run(["curl", "-s", f"http://{HOST}:7004/_/metrics"], capture_output=True, text=True).stdout
    return int(float(re.search(r'(?m)^\S*http_ready_answers_total\{server="endpoint"\} (\S+)', text)[1]))


def says_the_same():
    put("/b/data/small", os.urandom(4096))
    put("/b/data/large", os.urandom(65536))
    put("/b/data/larger", os.urandom(65537))
    put("/b/data/empty", b"")
    put("/b/data/page.html", b"<p>page</p>")
    put("/b/data/.weir/x", b"kept")
    put("/b/open/list.m3u8", b"#EXTM3U\n")
    put("/b/open/page.html", b"<p>page</p>")
    weir("bucket", "set", "open", "--public", "yes")
    key = json.loads(weir("user", "key", "add", "tester", "--json"))
    basic = "Authorization: Basic " + base64.b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
    until = time.monotonic() + 10
    while ask("GET", "/b/open/page.html", "X-Other: 1")[0] != 200 or ask("GET", "/b/data/small", basic, "X-Other: 1")[0] != 200:
        if time.monotonic() > until:
            return check(False, "the bucket is public, the key is good")
        time.sleep(0.05)
    etag = re.search(rb'(?i)etag: (\S+)', ask("GET", "/b/data/small", BEARER)[1])[1].decode()
    paths = ["/b/data/small", "/b/data/large", "/b/data/larger", "/b/data/empty", "/b/data/page.html", "/b/data/.weir/x", "/b/data/none",
             "/b/none/small", "/b/open/list.m3u8", "/b/open/page.html", "/b/data/", "/b/data", "/data/small", "/b/Data/small",
             "/b/data/a/../small", "/b/data//small", "/b/data/sm%61ll", "/_/health/", "/b/data/small?x=1"]
    who = [(BEARER,), (), (STRANGER,), (basic,), ("Authorization: Bearer weir1.x.y",), ("Authorization: Basic eDp5",), (BEARER, STRANGER)]
    more = [(), (f"If-None-Match: {etag}",), ('If-None-Match: "other"',), (f'If-None-Match: "other", W/{etag}',), ("If-None-Match: *",),
            (f"If-Match: {etag}",), ("Range: bytes=0-9",), ("User-Agent: x", "Accept: */*", "Accept-Encoding: gzip", "Origin: http://x")]
    tried, wrong = 0, []
    before = ready()
    for path in paths:
        for method in "GET", "HEAD":
            for lines in [w + m for w in who for m in (more if w in who[:2] else more[:2])]:
                for _ in range(2):  # the first may make the answer that is ready
                    a = bare(ask(method, path, *lines))
                b = bare(ask(method, path, *lines, "X-Other: 1"))
                tried += 1
                if a != b:
                    wrong.append(f"{method} {path} {[x[:40] for x in lines]}: {a[0]} {a[1]!r} {len(a[2])}, not {b[0]} {b[1]!r} {len(b[2])}")
    check(not wrong, f"{tried} requests: the same answer with and without: {wrong[:2]}")
    check(ready() - before > 150, f"many of them were ready: {ready() - before}")


def stays_when_cold():
    """One connection reads objects that nobody read before: each is read from the disk, and answered as one that is ready."""
    writer, bodies = Connection(), [os.urandom(1 + 300 * i) for i in range(200)]
    for i, body in enumerate(bodies):
        writer.ask("PUT", f"/b/data/cold/{i}", BEARER, body=body)
    before, reader, good = ready(), Connection(), 0
    for i, body in enumerate(bodies):
        good += reader.ask("GET" if i % 10 else "HEAD", f"/b/data/cold/{i}", BEARER)[2] == (body if i % 10 else b"")
    count = ready() - before
    check(good == 200 and count == 200, f"200 cold objects on one connection: {good} as they were written, {count} of them ready")


class Reader(threading.Thread):
    """Reads what one writer writes: a number. None may be older than the last that was acknowledged before the request."""

    def __init__(self, shared, method, *lines):
        super().__init__()
        self.shared, self.method, self.lines, self.count, self.stale = shared, method, lines, 0, None

    def run(self):
        etags = self.shared["etags"]
        while not self.shared["end"]:
            least = self.shared["acknowledged"]
            if self.count % 20 == 0:  # one that met an object before it was open stays with the common way
                c = Connection()
            status, head, body = c.ask(self.method, "/b/data/number", BEARER, *self.lines)
            if status != 200:
                self.stale = f"{status}"
                return
            etag = re.search(rb"(?i)etag: (\S+)", head)[1]
            if body:
                self.stale = self.stale or (f"{int(body)} after {least}" if int(body) < least else None)
            elif etag in etags and etags[etag] < least:  # one that is not acknowledged yet has no number
                self.stale = f"{etags[etag]} after {least}"
            self.count += 1


def is_never_stale():
    shared = {"acknowledged": 0, "end": False, "etags": {}}
    put("/b/data/number", b"0")
    readers = [Reader(shared, "GET"), Reader(shared, "HEAD"), Reader(shared, "GET", 'If-None-Match: "other"')]
    before = ready()
    for r in readers:
        r.start()
    writer, until, n = Connection(), time.monotonic() + 2, 0
    while time.monotonic() < until:
        n += 1
        status, _, said = writer.ask("PUT", "/b/data/number", BEARER, body=str(n).encode())
        if status not in (200, 201):
            break
        shared["etags"][f'"{json.loads(said)["sha256"]}"'.encode()] = n
        shared["acknowledged"] = n
    shared["end"] = True
    for r in readers:
        r.join()
    count = sum(r.count for r in readers)
    check(n > 10 and not any(r.stale for r in readers) and ready() - before > count / 10,
          f"{n} writes and {count} reads, {ready() - before} of them ready: none is older than what was acknowledged: "
          f"{[r.stale for r in readers]}")


def forgets_what_is_deleted():
    wrong = []
    for i in range(50):
        put("/b/data/gone", b"%d" % i)
        for _ in range(3):
            if ask("GET", "/b/data/gone", BEARER)[2] != b"%d" % i:
                wrong.append(f"{i}: not what was written")
        if ask("DELETE", "/b/data/gone", BEARER)[0] != 204 or ask("GET", "/b/data/gone", BEARER)[0] != 404:
            wrong.append(f"{i}: there after its delete")
    check(not wrong, f"50 objects are gone when their delete was acknowledged: {wrong[:2]}")


def refused_at_once(what, path, lines, change):
    """As soon as the common way refuses, nothing is ready any more; it was until then."""
    before = ready()
    for _ in range(3):
        if ask("GET", path, *lines)[0] != 200:
            return check(False, f"{what}: is read before")
    good = ready() - before >= 2
    change()
    until = time.monotonic() + 10
    while ask("GET", path, *lines, "X-Other: 1")[0] == 200:
        if time.monotonic() > until:
            return check(False, f"{what}: is still read after 10 s")
    after = [ask(m, path, *lines)[0] for m in ("GET", "HEAD", "GET")]
    check(good and all(s in (401, 403) for s in after), f"{what}: was ready ({good}), then {after}")


def main():
    says_the_same()
    stays_when_cold()
    is_never_stale()
    forgets_what_is_deleted()
    put("/b/open/thing", b"thing")
    refused_at_once("a bucket made private", "/b/open/thing", [], lambda: weir("bucket", "set", "open", "--public", "no"))
    key = json.loads(weir("user", "key", "add", "tester", "--json"))
    basic = "Authorization: Basic " + base64.b64encode(f"{key['id']}:{key['secret']}".encode()).decode()
    until = time.monotonic() + 10
    while ask("GET", "/b/data/small", basic, "X-Other: 1")[0] != 200 and time.monotonic() < until:
        time.sleep(0.05)
    refused_at_once("a key revoked", "/b/data/small", [basic], lambda: weir("user", "key", "revoke", "tester", key["id"]))
    refused_at_once("a user disabled", "/b/data/small", [STRANGER], lambda: weir("user", "disable", "other"))
    short = weir("token", "tester", "--ttl", "2s").strip().splitlines()[-1]
    refused_at_once("a token that expires", "/b/data/small", [f"Authorization: Bearer {short}"], lambda: None)
    check(True, "the end")


if __name__ == "__main__":
    main()
