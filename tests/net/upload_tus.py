#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tus 1.0 as the protocol says it, spoken raw: creation, offsets, errors, checksums, deferred length, concatenation,
termination, expiry; an upload that goes on after kill -9 of its gateway; findings while bytes still arrive; a second
gateway that leads everything to the one that began."""
import hashlib
import zlib

from upload_lib import *

RULES = "columns:\n  - {name: id, type: integer, required: true}\n  - {name: name, type: string}\nmax_size: 64MiB\n"
TUS = {"Tus-Resumable": "1.0.0"}


def csv(rows, bad=()):
    return b"id,name\n" + b"".join(b"%s,name %d\n" % (b"x" if i in bad else b"%d" % i, i) for i in range(rows))


def creation(lab):
    o = lab.req("OPTIONS", "/_/tus/")
    check(o.status == 204 and o.headers["tus-version"] == "1.0.0" and "concatenation" in o.headers["tus-extension"] and
          "sha256" in o.headers["tus-checksum-algorithm"] and int(o.headers["tus-max-size"]) > 0, "OPTIONS says what is offered", o)
    check(lab.req("POST", "/_/tus/", "ada", None, {"Upload-Length": "1"}).status == 412, "without Tus-Resumable: 412")
    check(lab.req("POST", "/_/tus/", None, None, {**TUS, "Upload-Length": "1"}).status == 401, "without a token: 401")
    check(lab.create("ada", "sales", "a.csv", 1 << 40).status == 413, "larger than the dataset takes: 413")
    check(lab.create("ada", "none", "a.csv", 1).status == 404, "no such dataset: 404")
    check(lab.create("bob", "sales", "a.csv", 1).status == 404, "a dataset that one may not read: 404, as if it were not there")
    check(lab.create("rita", "sales", "a.csv", 1).status == 403, "one that one may only read: 403")
    for name in "", "../a", "a//b", "/a", ".weir/a", "derived/a", "a\nb", "x" * 241:
        check(lab.create("ada", "sales", name, 1).status == 400, f"file name {name[:12]!r}: 400")
    check(lab.req("POST", "/_/tus/", "ada", None, {**TUS, "Upload-Length": "1", "Upload-Metadata": "dataset !"}).status == 400,
          "malformed metadata: 400")
    check(lab.req("POST", "/_/tus/", "ada", None, {**TUS, "Upload-Length": "1", "Upload-Defer-Length": "1"}).status == 400,
          "both lengths: 400")
    a = lab.create("ada", "sales", "a.csv", 10)
    check(a.status == 201 and a.headers["location"].startswith("/_/tus/") and "upload-expires" in a.headers, "201, Location, Upload-Expires", a)
    return a.headers["location"]


def offsets(lab, path):
    h = lab.head("ada", path)
    check(h.status == 200 and h.headers["upload-offset"] == "0" and h.headers["upload-length"] == "10" and
          h.headers["cache-control"] == "no-store" and "dataset" in h.headers["upload-metadata"], "HEAD says offset, length, metadata", h)
    check(lab.head("bob", path).status == 404, "another's upload: 404")
    check(lab.patch("bob", path, 0, b"id\n").status == 404, "another's upload takes no bytes from bob")
    check(lab.patch("ada", path, 3, b"id\n").status == 409, "wrong offset: 409")
    check(lab.patch("ada", path, 0, b"id\n", {"Content-Type": "text/csv"}).status == 415, "wrong type: 415")
    check(lab.req("PATCH", path, "ada", b"x", {**TUS, "Content-Type": "application/offset+octet-stream"}).status == 400, "no offset: 400")
    check(lab.patch("ada", path, 0, b"x" * 11).status == 413, "more than announced: 413")
    check(lab.head("ada", path).headers["upload-offset"] == "0", "nothing of that was kept")
    p = lab.patch("ada", path, 0, b"id,name\n")
    check(p.status == 204 and p.headers["upload-offset"] == "8", "PATCH: 204 and the offset", p)
    p = lab.req("POST", path, "ada", b"1\n", {**TUS, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "8",
                                             "Content-Type": "application/offset+octet-stream"})
    check(p.status == 204 and p.headers["upload-offset"] == "10", "PATCH said in a header of POST", p)


def checksums(lab):
    path = lab.create("ada", "sales", "sums.csv").headers["location"]
    h = lab.head("ada", path)
    check(h.headers.get("upload-defer-length") == "1" and "upload-length" not in h.headers, "a length that comes later", h)
    at = 0
    data = csv(4)
    for name, digest in (("sha1", hashlib.sha1), ("sha256", hashlib.sha256), ("md5", hashlib.md5),
                         ("crc32", lambda b: type("d", (), {"digest": lambda s: zlib.crc32(b).to_bytes(4, "big")})())):
        piece = data[at:at + 7]
        bad = lab.patch("ada", path, at, piece, {"Upload-Checksum": f"{name} {b64(digest(b'other').digest())}"})
        good = lab.patch("ada", path, at, piece, {"Upload-Checksum": f"{name} {b64(digest(piece).digest())}"})
        check(bad.status == 460 and good.status == 204 and good.headers["upload-offset"] == str(at + 7),
              f"{name}: 460 and nothing kept when it is not so, 204 when it is", (bad, good))
        at += 7
    check(lab.patch("ada", path, at, b"x", {"Upload-Checksum": "sha9 AAAA"}).status == 400, "an algorithm that is not offered: 400")
    check(lab.patch("ada", path, at, data[at:], {"Upload-Length": str(len(data))}).status == 204, "the length comes with a PATCH")
    end = Upload(lab, "ada", path).end()
    check(end["state"] == "accepted" and lab.get("ada", "/b/sales/sums.csv").body == data, "it is stored as it was sent", end)


def concatenation(lab):
    data = csv(30000)
    cut = [0, 100000, 250000, len(data)]
    parts = []
    for n, (a, b) in enumerate(zip(cut, cut[1:])):  # over connections that come to both gateways
        made = lab.req("POST", "/_/tus/", "ada", data[a:b], {**TUS, "Upload-Length": str(b - a), "Upload-Concat": "partial",
                                                            "Content-Type": "application/offset+octet-stream"}, gateway=n % 2)
        check(made.status == 201 and made.headers.get("upload-offset") == str(b - a), "a part, with its bytes in the POST", made)
        parts.append(made.headers["location"])
    head = {**TUS, "Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": f"dataset {b64('sales')},filename {b64('joined.csv')}"}
    check(lab.req("POST", "/_/tus/", "bob", None, head).status == 404, "bob may not join ada's parts")
    made = lab.req("POST", "/_/tus/", "ada", None, head, gateway=1)
    check(made.status == 201, "the parts are joined, wherever they are", made)
    up = Upload(lab, "ada", made.headers["location"])
    check(lab.patch("ada", up.path, 0, b"x").status == 403, "a final upload takes no bytes")
    end = up.end()
    check(end["state"] == "accepted" and end["rows"] == 30000 and lab.get("ada", "/b/sales/joined.csv").body == data, "and stored whole",
          json.dumps(end)[:800])


def termination(lab):
    path = lab.create("ada", "sales", "gone.csv", 100).headers["location"]
    lab.patch("ada", path, 0, b"id,name\n")
    check(lab.req("DELETE", path, "bob", None, TUS).status == 404, "bob cannot cancel ada's upload")
    check(lab.req("DELETE", path, "ada", None, TUS).status == 204, "DELETE: 204")
    check(until(lambda: lab.head("ada", path).status == 410), "and then 410")
    files = lambda: [p for p in (lab.work / "state/gw0/gateway/uploads").iterdir() if p.name.startswith(path[7:])]
    check(until(lambda: not files()), "its files are gone", files())


def kill9(lab):
    data = csv(200000)
    path = lab.create("ada", "sales", "killed.csv", len(data)).headers["location"]
    half = len(data) // 2
    check(lab.patch("ada", path, 0, data[:half]).status == 204, "half of it is sent")
    # in the middle of a PATCH: what came of it may count, what did not is sent again
    s = socket.create_connection(("127.0.0.1", lab.port["gw0"]))
    s.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token['ada']}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {half}\r\n"
              f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data) - half}\r\n\r\n".encode() + data[half:half + 300000])
    until(lambda: int(lab.head("ada", path).headers["upload-offset"]) > half)
    lab.restart(lab.gateways[0])
    s.close()
    at = int(until(lambda: lab.head("ada", path).headers.get("upload-offset"), 10) or 0)
    check(half <= at <= half + 300000, "after kill -9 the gateway knows what it had", at)
    check(lab.patch("ada", path, at, data[at:]).status == 204, "the rest is sent")
    end = Upload(lab, "ada", path).end()
    check(end["state"] == "accepted" and lab.get("ada", "/b/sales/killed.csv").body == data, "and all of it is stored", json.dumps(end)[:800])


def hanging(lab):
    data = csv(1000)
    path = lab.create("ada", "sales", "hung.csv", len(data)).headers["location"]
    s = socket.create_connection(("127.0.0.1", lab.port["gw0"]))
    s.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token['ada']}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
              f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:1000])
    until(lambda: lab.head("ada", path).headers["upload-offset"] == "1000")
    first = lab.patch("ada", path, 1000, data[1000:])
    began = time.monotonic()
    got = until(lambda: (lambda a: a if a.status != 423 else None)(lab.patch("ada", path, 1000, data[1000:])), 10, 0.2)
    check(first.status == 423 and got.status == 204, "a connection that hangs keeps others out, and not for long", (first, got))
    check(time.monotonic() - began < 4, "at most some seconds", time.monotonic() - began)
    s.close()


def live(lab):
    """A finding is told while the rest still arrives."""
    data = csv(300000, bad={100})
    path = lab.create("ada", "sales", "live.csv", len(data)).headers["location"]
    up = Upload(lab, "ada", path)
    events = up.events()
    check(events.status == 200 and events.wait("state"), "events begin with the state", events.seen)
    sent = time.monotonic()
    lab.patch("ada", path, 0, data[:100000])
    first = events.wait("finding")
    check(first and first[1]["row"] == 101 and first[1]["column"] == "id" and first[1]["rule"] == "type", "row, column and rule of the finding", first)
    check(first and first[0] - sent < 0.5, "told soon after its byte arrived", first and first[0] - sent)
    print(f"# first finding {(first[0] - sent) * 1000:.0f} ms after its PATCH began" if first else "# none")
    lab.patch("ada", path, 100000, data[100000:])
    state = events.wait("state", lambda s: s["state"] == "rejected", 20)
    check(state and events.of("result")[-1]["verdict"] == "rejected", "result and state at the end", events.seen[-3:])
    late = up.events()
    check(late.wait("result") and len(late.of("finding")) == 1 and late.of("type"), "who listens later hears all of it", late.seen[:5])
    shown = up.show()
    check(shown["state"] == "rejected" and shown["findings"][0]["row"] == 101 and shown["counts"]["findings"] == 1, "GET shows it", json.dumps(shown)[:900])
    check(lab.get("bob", f"/_/uploads/{up.id}").status == 404 and lab.get("bob", f"/_/uploads/{up.id}/events").status == 404, "bob sees nothing of it")
    check(lab.get("rita", "/_/uploads").json["uploads"] == [] and any(u["id"] == up.id for u in lab.get("ada", "/_/uploads").json["uploads"]),
          "lists show one's own")
    events.close(), late.close()


def forwarded(lab):
    data = csv(50000)
    up = lab.tus("ada", "sales", "far.csv", data[:0] + data, gateway=0)
    far = Upload(lab, "ada", up.path, gateway=1)
    check(far.end()["state"] == "accepted", "another gateway shows an upload that is not its own", far.show())
    path = lab.create("ada", "sales", "led.csv", len(data), gateway=0).headers["location"]
    events = Upload(lab, "ada", path, 1).events()
    check(events.wait("state"), "and its events", events.seen)
    h = lab.head("ada", path, gateway=1)
    check(h.status == 200 and h.headers["upload-offset"] == "0" and h.headers["upload-length"] == str(len(data)), "HEAD at another gateway", h)
    p = lab.patch("ada", path, 0, data[:200000], gateway=1)
    check(p.status == 204 and p.headers["upload-offset"] == "200000" and p.headers["tus-resumable"] == "1.0.0", "PATCH there", p)
    check(lab.patch("ada", path, 5, b"x", gateway=1).status == 409, "errors come back as they are")
    check(lab.patch("bob", path, 200000, data[200000:], gateway=1).status == 404, "rights too")
    check(lab.patch("ada", path, 200000, data[200000:], gateway=1).status == 204, "the rest of it there")
    check(events.wait("state", lambda s: s["state"] == "accepted"), "told to the end", events.seen[-3:])
    check(lab.get("ada", "/b/sales/led.csv").body == data, "stored as it was sent")
    check(any(u["file"] == "led.csv" for u in lab.get("ada", "/_/uploads", gateway=1).json["uploads"]), "lists are of all gateways")
    events.close()


def expiry():
    with Lab(uploads="expire: 1s, per_user: 2, spool: 1MiB") as lab:
        lab.group("makers", role="steward")
        lab.user("ada", groups=["makers"])
        lab.dataset("sales", RULES)
        path = lab.create("ada", "sales", "old.csv", 100).headers["location"]
        lab.create("ada", "sales", "old2.csv", 100)
        check(lab.create("ada", "sales", "old3.csv", 100).status == 429, "more unfinished uploads than one user may have: 429")
        check(until(lambda: lab.head("ada", path).status == 410, 10), "an upload that gets no bytes expires: 410")
        until(lambda: lab.create("ada", "sales", "new.csv", 100).status == 201)
        check(lab.create("ada", "sales", "big.csv", 1 << 20).status == 507, "more than the spool may hold: 507")
        check(until(lambda: not list((lab.work / "state/gw0/gateway/uploads").iterdir()), 10), "nothing stays of them")


with Lab(gateways=2) as lab:
    lab.group("makers", role="steward")
    lab.group("reading")
    for name, groups in (("ada", ["makers"]), ("bob", []), ("rita", ["reading"])):
        lab.user(name, groups=groups)
    lab.dataset("sales", RULES + "readers: [reading]\n")
    offsets(lab, creation(lab))
    for part in checksums, concatenation, termination, live, hanging, kill9, forwarded:
        part(lab)
expiry()
finish()
