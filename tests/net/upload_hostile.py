#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uploads of somebody who means harm, through a real gateway and endpoint: bombs, cells and rows without end, names that are
paths or markup, malformed tus, bodies that never end, thousands of uploads, other people's uploads, forged requests on every
route, workers that die, patterns, expressions and rules that would take for ever. What gateway and workers hold of memory is
watched all the while.

    tests/net/upload_hostile.py [PART …]     only these parts
"""
import io
import struct
import urllib.parse
import zipfile
import zlib

from upload_lib import *

TUS = {"Tus-Resumable": "1.0.0"}
PATCH_TYPE = "application/offset+octet-stream"
MIB = 1 << 20
TEXT = "columns:\n  - {name: a, type: string}\n"
FILES = "accept: \"*\"\n"


# ---- memory of the gateway, its nursery and their workers ------------------------------------------

class Memory(threading.Thread):
    """Most of RssAnon in MiB that a process of the gateway had, by kind; ends with the test."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.most, self.base = lab, {"gateway": 0, "worker": 0}, None
        self.start()

    @staticmethod
    def anon(pid):
        try:
            with open(f"/proc/{pid}/status") as f:
                return next((int(line.split()[1]) // 1024 for line in f if line.startswith("RssAnon")), 0)
        except OSError:
            return 0

    def run(self):
        while True:
            gateway = self.lab.gateways[0].process.pid
            now = self.anon(gateway)
            self.base = self.base or now
            self.most["gateway"] = max(self.most["gateway"], now)
            for worker in workers(self.lab):
                self.most["worker"] = max(self.most["worker"], self.anon(worker))
            time.sleep(0.01)


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(c) for c in f.read().split()]
    except OSError:
        return []


def workers(lab):
    """Daemon, who keeps the nursery, nursery, workers."""
    return [w for keeper in children(lab.gateways[0].process.pid) for nursery in children(keeper) for w in children(nursery)]


# ---- what is sent -----------------------------------------------------------------------------------

def deflated(total):
    """Raw deflate of so many bytes of rows, made of one piece again and again."""
    piece = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = piece.compress(b"a\n" * (MIB // 2)) + piece.flush(zlib.Z_FULL_FLUSH)
    return data * (total // MIB) + b"\x03\x00"


def gzip_bomb(total):
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + deflated(total) + struct.pack("<II", 0, total & 0xffffffff)


def zstd_bomb(total):
    """Blocks of one byte again and again: 4 bytes for 128 KiB."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\n"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (total // (128 << 10)) + struct.pack("<I", 1)[:3]


def zip_of(entries, lie=None):
    """A zip; lie: the size that both headers claim."""
    out, directory = b"", b""
    for name, data, size in entries:
        claim, name = size if lie is None else lie, name if isinstance(name, bytes) else name.encode()
        fixed = struct.pack("<HHHHHIIIHH", 20, 0x800, 8, 0, 0, 0, len(data), claim, len(name), 0)
        directory += b"PK\x01\x02\x14\x00" + fixed + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, len(out)) + name
        out += b"PK\x03\x04" + fixed + name + data
    return out + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(out), 0)


def overlapping(files, kernel):
    """A zip whose entries all share one stretch of data: each header is quoted by the one before as a stored block."""
    out, spots = deflated(kernel), []
    size = kernel
    name = lambda i: b"%04d.csv" % i
    for i in reversed(range(files)):
        header = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(out), size, 8, 0) + name(i)
        spots.insert(0, (len(header), len(out), size, i))
        out = header + out
        quoted = b"\x00" + struct.pack("<HH", len(header), 0xffff ^ len(header))
        if i:
            out, size = quoted + out, size + len(header)
    directory, at = b"", 0
    for i, (header, packed, size, n) in enumerate(spots):
        directory += b"PK\x01\x02\x14\x00" + struct.pack("<HHHHHIIIHHHHHII", 20, 0, 8, 0, 0, 0, packed, size, 8, 0, 0, 0, 0, 0, at) + name(n)
        at += header + 5
    return out + directory + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, files, files, len(directory), len(out), 0)


# ---- parts ------------------------------------------------------------------------------------------

def refused(lab, name, body, rules=("bomb",), said="", seconds=20, dataset="text", ok=(422,)):
    began = time.monotonic()
    got = lab.req("PUT", f"/b/{dataset}/{name}", "ada", body, timeout=60)
    took = time.monotonic() - began
    findings = got.json.get("findings", [])
    fits = got.status in ok and (not rules or any(f["rule"] in rules for f in findings)) and said in json.dumps(findings)
    check(fits and took < seconds, f"{name} is refused and it is said why", f"{took:.1f} s {got}")
    return got


def bombs(lab):
    bomb = deflated(512 * MIB)
    refused(lab, "bomb.gz", gzip_bomb(2048 * MIB), said="more than 200 times")
    refused(lab, "bomb.zst", zstd_bomb(64 << 30), said="more than 200 times")
    refused(lab, "bomb.zip", zip_of([("a.csv", bomb, 512 * MIB)]), said="more than 200 times")
    refused(lab, "lies-little.zip", zip_of([("a.csv", bomb, 10)]), rules=("bomb", "packing", "damaged", "file_type"))
    refused(lab, "lies-much.zip", zip_of([("a.csv", zlib.compress(b"a\nb\n")[2:-4], 0xfffffff0)]), rules=())
    refused(lab, "overlapping.zip", overlapping(500, 32 * MIB), rules=("bomb", "packing", "damaged", "file_type"))
    refused(lab, "many.zip", zip_of([(f"{i}.csv", zlib.compress(b"a\nb\n")[2:-4], 4) for i in range(5000)]), rules=())
    inner = zip_of([("b.csv", bomb, 512 * MIB)])
    for i in range(4):  # each level ten times the one before
        with io.BytesIO() as f:
            with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as z:
                for n in range(10):
                    z.writestr(f"{n}.zip", inner if len(inner) < MIB else inner[:MIB])
            inner = f.getvalue()
    refused(lab, "nested.zip", inner, rules=())
    refused(lab, "nested.gz", gzip_of(gzip_bomb(512 * MIB)), rules=())
    refused(lab, "cut.gz", gzip_of(b"a\n" * 1000)[:-20], rules=())


def gzip_of(data):
    c = zlib.compressobj(6, zlib.DEFLATED, 31)
    return c.compress(data) + c.flush()


def endless(lab):
    """A cell of a gigabyte, in pieces; columns without end; JSON without bottom."""
    size = 100 if SAN else 1000
    piece = b"x" * MIB

    def cell():
        yield b"a\n"
        for _ in range(size):
            yield piece
        yield b"\nlast\n"
    refused(lab, "cell.csv", cell(), rules=("size",), seconds=60)
    quoted = (part for parts in ([b"a\n\""], (piece for _ in range(size // 10)), [b"\"\n"]) for part in parts)
    refused(lab, "quoted.csv", quoted, rules=("size",))
    refused(lab, "open.csv", b"a\n\"" + piece * 8, rules=("size", "quote"))
    refused(lab, "wide.csv", b",".join(b"c%d" % i for i in range(2_000_000)) + b"\n" + b"1," * 1_999_999 + b"1\n", rules=("columns", "size"))
    refused(lab, "wide-row.csv", b"a\n" + b"," * 2_000_000 + b"\n", rules=("columns", "size"))
    refused(lab, "names.jsonl", b"\n".join(json.dumps({f"k{i}_{j}": 1 for j in range(50)}).encode() for i in range(2000)), rules=())
    for name, data in (("deep.json", b"[" * 4_000_000), ("deep2.json", b'[{"a":' + b'{"a":' * 1_000_000), ("deep.jsonl", b'{"a":1}\n{"a":' + b"[" * 1_000_000),
                       ("string.json", b'[{"a":"' + b"x" * 8 * MIB), ("number.json", b'[{"a":' + b"9" * 4 * MIB + b"}]"), ("name.json", b'[{"' + b"n" * 4 * MIB)):
        refused(lab, name, data, rules=())


PATHS = ["../pwned", "../../../../tmp/pwned", "/etc/pwned", "a/../../pwned", "./pwned", "a//pwned", "pwned/", ".weir/pwned", "derived/pwned", ".weir", "derived",
         "..", ".", "", "pwned\0.csv", "pwned\n.csv", "pwned\x7f", b"\xc0\xae\xc0\xae/pwned", b"\xc0\xafetc\xc0\xafpwned", b"pwned\xff", b"\xed\xa0\x80pwned", "p" * 241,
         "p" * 100000]


def outside(lab):
    """Files named as the paths wanted it, anywhere that matters; keys that no rule of names allows."""
    found = [str(p) for p in lab.work.rglob("*pwned*")]
    for folder in "/tmp", "/etc", "/", "/var/tmp", os.getcwd():
        found += [os.path.join(folder, n) for n in os.listdir(folder) if "pwned" in n]
    return found


def keys(lab, dataset):
    return sorted(o["key"] for o in lab.req("GET", f"/b/{dataset}/?limit=1000", "ada", port=lab.port["ep0"]).json.get("objects", []))


def form(lab, name, data, user="ada", dataset="text", **more):
    name = name if isinstance(name, bytes) else name.encode()
    body = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n' + data + b"\r\n--XyZ--\r\n"
    return lab.req("POST", f"/_/upload/{dataset}", user, body, {"Content-Type": "multipart/form-data; boundary=XyZ", "Accept": "application/json", **more})


def raw(lab, text, body=b""):
    """One request as it is written: the status, or 0 when the connection was closed."""
    with socket.create_connection(("127.0.0.1", lab.port["gw0"]), timeout=10) as s:
        try:
            s.sendall(text + body)
            got = s.recv(4096)
        except OSError:
            return 0
    return int(got.split()[1]) if got.startswith(b"HTTP/1.1 ") else 0


def paths(lab):
    wrong = []
    quote = lambda p: urllib.parse.quote(p if isinstance(p, bytes) else p.encode(), safe="")
    auth = f"Host: x\r\nAuthorization: Bearer {lab.token['ada']}\r\n"
    for path in PATHS:
        size = len(path)
        head = lab.create("ada", "text", path, 4) if size < 8000 else None
        wrong += [("tus", path[:40], head.status)] if head and head.status != 400 else []
        for way in {quote(path), quote(path).replace("%2F", "/"), quote(path).replace(".", "%2e")}:
            status = raw(lab, f"PUT /b/text/{way} HTTP/1.1\r\n{auth}Content-Length: 4\r\n\r\n".encode(), b"a\nb\n")
            wrong += [("PUT", way[:40], status)] if status not in (0, 400, 403, 404, 405, 414, 431) else []
        got = form(lab, path, b"a\nb\n")
        wrong += [("form", path[:40], got.status, got.json.get("file"))] if got.status != 400 and not (got.status in (200, 201) and got.json["file"].startswith("pwned")) else []
    check(not wrong, "names that are paths are refused, whichever way they come", wrong)
    raw_ways = [b"/b/text/../../pwned", b"/b/../pwned", b"/b/text\\..\\pwned", b"/b/text/%2e%2e/%2e%2e/pwned", b"/b/text/a/%2e%2e%2fpwned", b"/b/text/%00pwned"]
    for way in raw_ways:
        raw(lab, b"PUT " + way + b" HTTP/1.1\r\n" + auth.encode() + b"Content-Length: 4\r\n\r\n", b"a\nb\n")
    for name in "../pwned.csv", "/etc/pwned", "C:\\pwned", ".weir/pwned", "derived/pwned", b"\xc0\xae/pwned\xff", "pwned\n", "n" * 60000 + "pwned":
        got = lab.req("PUT", "/b/text/entries.zip", "ada", zip_of([(name, zlib.compress(b"a\nb\n")[2:-4], 4)]))
        name in ("../pwned.csv",) and check(got.status in (200, 201, 422), "a zip whose entries are paths is just a table", got)
    lab.dataset("split", TEXT + "transform:\n  - {output: \"part-{value}.csv\", split: a}\n  - {output: \"{value}\", split: a}\n")
    values = ["../../pwned", "/etc/pwned", ".weir/pwned", "derived/pwned", "..", ".", "pwned\\x", "x" * 5000, "<b>", "pwned\x01", "%2e%2e%2fpwned", "\u202egnp.pwned"]
    got = lab.req("PUT", "/b/split/s.csv", "ada", ("a\n" + "".join(f'"{v}"\n' for v in values)).encode() + b"\"\xc0\xae\xc0\xae/pwned\"\n")
    made = [o["name"] for o in lab.get("ada", "/_/datasets/split/files/s.csv").json.get("outputs", [])]
    check(got.status in (201, 422), "split by values that are paths", got)
    if got.status == 422:
        got = lab.req("PUT", "/b/split/s.csv", "ada", ("a\n" + "".join(f'"{v}"\n' for v in values)).encode())
        made = [o["name"] for o in lab.get("ada", "/_/datasets/split/files/s.csv").json.get("outputs", [])]
    check(len(made) >= 10 and not any("/" in n or "\\" in n or n in (".", "..") or any(ord(c) < 32 for c in n) for n in made), "makes names, not paths", made or got)
    every = keys(lab, "split") + keys(lab, "text")
    odd = [k for k in every if any(part in ("", ".", "..") for part in k.split("/")) or
           not (k.startswith((".weir/s.csv/", ".weir/entries.zip/", "derived/s.csv/", "derived/entries.zip/", ".weir/pwned", "pwned")) or k in ("s.csv", "entries.zip"))]
    check(not odd and "s.csv" in every, "only the keys that they should be", odd or every)
    check(not outside(lab), "and nothing of that name in the file system", outside(lab))


def markup(lab):
    """Names and contents that are pages."""
    evil, page = "<img src=x onerror=alert(1)>.csv", b"<html><script>document.title='run'</script></html>"
    up = lab.tus("ada", "text", evil, b'a,"<script>alert(2)</script>"\n<svg onload=alert(3)>,2\n')
    end = up.end()
    check(end["state"] == "accepted", "markup in names is just text", json.dumps(end)[:500])
    name = urllib.parse.quote(evil)
    answers = {p: lab.get("ada", p) for p in (f"/_/uploads/{up.id}", "/_/uploads", "/_/catalogue", "/_/datasets/text/files", f"/_/datasets/text/files/{name}",
                                              f"/_/datasets/{name}", f"/b/none/{name}", f"/_/{name}", "/_/datasets/text")}
    plain = [(p, a.status, a.headers) for p, a in answers.items()
             if a.headers.get("content-type", "").split(";")[0] != "application/json" or a.headers.get("x-content-type-options") != "nosniff"]
    check(not plain, "every answer is JSON and says nosniff", plain)
    events = up.events()
    check(events.response.getheader("Content-Type", "").startswith("text/event-stream") and events.response.getheader("X-Content-Type-Options") == "nosniff",
          "events too", events.response.getheaders())
    events.close()
    wrong = []
    for name, kind, data in (("a.html", "text/html", page), ("b.svg", "image/svg+xml", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'),
                             ("c.xml", "text/xml", b'<?xml version="1.0"?><x xmlns="http://www.w3.org/1999/xhtml"/>'), ("d.pdf", "application/pdf", b"%PDF-1.4\n" + page)):
        put = lab.req("PUT", f"/b/files/{name}", "ada", data, {"Content-Type": kind})
        at = lab.req("GET", f"/b/files/{name}", "ada", follow=False)
        got = lab.get("ada", f"/b/files/{name}")
        ran = got.headers.get("content-type") != "application/octet-stream" or got.headers.get("x-content-type-options") != "nosniff"
        wrong += [(name, put, at.status, got)] if put.status != 201 or at.status != 307 or got.body != data or ran else []
    lab.user("oscar", grants=[{"bucket": "pages", "prefix": "", "rights": "rwl"}])
    plain = until(lambda: (lambda r: r if r.status in (200, 201) else None)(lab.req("PUT", "/b/pages/x.html", "oscar", page, {"Content-Type": "text/html"}, port=lab.port["ep0"])), 5)
    got = lab.req("GET", "/b/pages/x.html", "oscar", port=lab.port["ep0"])
    wrong += [("bucket", plain, got)] if got.headers.get("content-type") != "application/octet-stream" or got.headers.get("x-content-type-options") != "nosniff" else []
    check(not wrong, "a page that was uploaded is bytes to a browser, from the gateway and the endpoint", wrong)


def formulas(lab):
    lab.dataset("sheet", "columns:\n  - {name: a, type: string}\n  - {name: n, type: number}\ntolerance: {on_fault: quarantine}\ntransform:\n  - {output: all.csv}\n"
                "  - {output: all.jsonl, format: jsonl}\n")
    evil = ["=cmd|' /C calc'!A0", "+1+cmd", "-2+3+cmd", "@SUM(1)", "\t=1", "'=1"]
    rows = "a,n\n" + "".join(f'"{e}",1\n' for e in evil) + "".join(f'"{e}",x\n' for e in evil) + '"-5",-5\n'
    got = lab.req("PUT", "/b/sheet/s.csv", "ada", rows.encode())
    out = lab.get("ada", "/b/sheet/derived/s.csv/all.csv").body.decode()
    aside = lab.get("ada", "/b/sheet/.weir/s.csv/quarantine.csv").body.decode()
    starts = [line for text in (out, aside) for line in text.splitlines()[1:] if line.lstrip('"')[:1] in "=+@\t" or line.lstrip('"').startswith("-2")]
    check(got.status == 201 and not starts and "'=cmd" in out and "'=cmd" in aside and "-5,-5" in out, "formulas are marked in outputs and in quarantine, numbers are not",
          (got, starts, out, aside))
    check(lab.get("ada", "/b/sheet/s.csv").body == rows.encode(), "the original stays as it came")
    lines = [json.loads(line) for line in lab.get("ada", "/b/sheet/derived/s.csv/all.jsonl").body.splitlines()]
    check(lines and lines[0]["a"] == evil[0], "JSON Lines, which no sheet runs, too", lines)


def headers(lab):
    """tus headers that are none."""
    def post(**h):
        head = {**TUS, "Upload-Metadata": f"dataset {b64('text')},filename {b64('h.csv')}", "Upload-Length": "4", **{k.replace("_", "-"): v for k, v in h.items()}}
        return lab.req("POST", "/_/tus/", "ada", None, {k: v for k, v in head.items() if v is not None}).status
    wrong = []
    for n in "-1", "", " ", "1e3", "0x4", "4 4", "+4", "18446744073709551616", "9" * 300, "4\t5", "NaN", "٤".encode().decode("latin1"):
        wrong += [("length", n, s)] if (s := post(Upload_Length=n)) not in (400, 413) else []
    for m in ("dataset", "dataset !!!!", f"dataset {b64('text')},dataset {b64('text')},filename {b64('x')}", ",,,,", "filename", "dataset =", f"dataset {b64('text')} {b64('x')}",
              f"dataset {b64(bytes([255, 254]))},filename {b64('x')}", f"dataset {b64('../text')},filename {b64('x')}"):
        wrong += [("metadata", m, s)] if (s := post(Upload_Metadata=m)) not in (400, 404) else []
    wrong += [("huge", s)] if (s := post(Upload_Metadata=f"dataset {b64('text')},filename {b64('x')},z {b64('z' * 200000)}")) not in (400, 413, 431, 0) else []
    for c in "partial;x", "final;", "final", "final;/_/tus/x", "final;" + " ".join(["/_/tus/" + "0" * 40] * 5000), "nonsense", "final;http://other.example/_/tus/1":
        wrong += [("concat", c[:40], s)] if (s := post(Upload_Concat=c, Upload_Length=None)) not in (400, 404, 410, 413, 431) else []
    wrong += [("defer", s)] if (s := post(Upload_Length=None, Upload_Defer_Length="2")) != 400 else []
    path = lab.create("ada", "text", "h.csv", 4).headers["location"]
    for n in "-1", "x", "18446744073709551616", "0 0", "1e0", "0x0", "":
        wrong += [("offset", n, s)] if (s := lab.patch("ada", path, n, b"a").status) not in (400, 409) else []
    auth = f"Host: x\r\nAuthorization: Bearer {lab.token['ada']}\r\nTus-Resumable: 1.0.0\r\nContent-Type: {PATCH_TYPE}\r\n"
    for twice in "Upload-Offset: 0\r\nUpload-Offset: 0\r\n", "Upload-Offset: 0\r\nUpload-Offset: 3\r\n", "Upload-Offset: 3\r\nUpload-Offset: 0\r\n":
        status = raw(lab, f"PATCH {path} HTTP/1.1\r\n{auth}{twice}Content-Length: 1\r\n\r\n".encode(), b"a")
        wrong += [("twice", twice, status)] if status != 400 else []
    for c in "sha256", "sha256 !", "sha256 " + b64("short"), "md5 " + b64("x" * 16) + "x", "sha256 " + "A" * 9000:
        wrong += [("checksum", c[:30], s)] if (s := lab.patch("ada", path, 0, b"a", {"Upload-Checksum": c}).status) not in (400, 460) else []
    check(not wrong, "malformed headers of tus are refused", wrong)
    check(lab.head("ada", path).headers["upload-offset"] == "0", "and none of it left a byte", lab.head("ada", path))
    for other in "/_/tus/", "/_/tus/x", "/_/tus/..%2f..%2fetc", "/_/tus/" + "0" * 4000, "/_/tus/" + path[7:].upper():
        status = lab.head("ada", other).status
        check(status in (404, 405, 400, 410, 414), f"HEAD {other[:30]}: {status}", status)


def at_once(lab):
    """Many PATCHes of one offset: exactly one writes."""
    data = b"a\n" + b"".join(b"%d\n" % i for i in range(100000))
    path = lab.create("ada", "text", "once.csv", len(data)).headers["location"]
    got = []
    threads = [threading.Thread(target=lambda: got.append(lab.patch("ada", path, 0, data).status)) for _ in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    check(got.count(204) == 1 and set(got) <= {204, 409, 423, 403, 0}, "of eight PATCHes at one offset one writes", got)
    end = Upload(lab, "ada", path).end()
    check(end["state"] == "accepted" and lab.get("ada", "/b/text/once.csv").body == data, "what it wrote", json.dumps(end)[:400])


def slow(lab):
    """Bodies that never end, from many connections; others are served meanwhile."""
    held = []
    for i in range(150):
        path = "/b/text/slow%d.csv" % i
        s = socket.create_connection(("127.0.0.1", lab.port["gw0"]))
        s.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token['sol']}\r\nContent-Length: 1000000\r\n\r\na\n".encode())
        held.append(s)
    began = time.monotonic()
    got = lab.req("PUT", "/b/text/quick.csv", "ada", b"a\n1\n")
    check(got.status == 201 and time.monotonic() - began < 10, "150 bodies that stand still hold up nobody", (got, time.monotonic() - began))
    [s.close() for s in held]
    left = lambda: [u for u in lab.get("sol", "/_/uploads").json["uploads"] if u["state"] == "receiving"]
    check(until(lambda: not left(), 10), "and leave nothing when they are cut", len(left()))


def thousands(lab):
    """per_user: 200."""
    statuses = [lab.create("mel", "text", f"m{i}.csv", 10).status for i in range(260)]
    check(statuses[:200] == [201] * 200 and set(statuses[200:]) == {429}, "unfinished uploads of one user end at the limit", statuses[195:205])
    check(lab.req("PUT", "/b/text/m.csv", "mel", b"a\n1\n").status == 429 and form(lab, "m.csv", b"a\n", "mel").status == 429, "by PUT and form, too")
    check(lab.create("ada", "text", "not-mel.csv", 10).status == 201, "others go on")
    for u in lab.get("mel", "/_/uploads").json["uploads"]:
        lab.req("DELETE", f"/_/uploads/{u['id']}", "mel")
    check(until(lambda: lab.create("mel", "text", "again.csv", 10).status == 201, 5), "and so does she when they are gone")
    big = lab.create("ada", "text", "big.csv", 3 << 30).status, lab.req("PUT", "/b/text/big.csv", "ada", None, {"Content-Length": str(3 << 30)}, timeout=10).status
    check(big == (507, 507), "more than the spool holds: 507", big)


def strangers(lab):
    """mel writes into the same dataset as ada: her uploads are her own."""
    path = lab.create("ada", "text", "mine.csv", 100).headers["location"]
    lab.patch("ada", path, 0, b"a\n1\n")
    uid = path[7:]
    head = {"Upload-Concat": f"final;{path}", "Upload-Metadata": f"dataset {b64('text')},filename {b64('s.csv')}", **TUS}
    for who in "mel", "sol", None:
        none = "/_/tus/" + uid[:8] + "0" * (len(uid) - 8)
        asks = [("HEAD", path, None), ("PATCH", path, b"x"), ("DELETE", path, None), ("GET", f"/_/uploads/{uid}", None),
                ("DELETE", f"/_/uploads/{uid}", None), ("POST", f"/_/uploads/{uid}/replace?rows=1-1", b"x\n")]
        alike = []
        for method, where, body in asks:
            h = {**TUS, "Upload-Offset": "4", "Content-Type": PATCH_TYPE}
            one, other = lab.req(method, where, who, body, h), lab.req(method, where.replace(uid, none[7:]), who, body, h)
            said = [(a.status, {k: v for k, v in a.json.items() if k != "request"}) for a in (one, other)]
            alike += [(method, where, one, other)] if said[0] != said[1] or one.status not in (401, 404) else []
        bearer = f"Authorization: Bearer {lab.token[who]}\r\n" if who else ""
        heard = [raw(lab, f"GET /_/uploads/{i}/events HTTP/1.1\r\nHost: x\r\n{bearer}\r\n".encode()) for i in (uid, none[7:])]
        alike += [("events", heard)] if heard not in ([401, 401], [404, 404]) else []
        join = lab.req("POST", "/_/tus/", who, None, head).status
        check(not alike and join in (401, 404, 400), f"to {who or 'nobody'} ada's upload is one that is not there", (alike, join))
    listed = [u for u in lab.get("mel", "/_/uploads").json["uploads"] if u["by"] != "mel"]
    check(not listed and lab.head("ada", path).headers["upload-offset"] == "4", "nor is it in lists, and nothing was changed", listed)
    ids = [lab.create("ada", "text", "ids.csv", 5).headers["location"][7:] for _ in range(50)]
    tails = [i[8:] for i in ids]
    bits = [bin(int(t, 16)).count("1") for t in tails]
    check(len(set(tails)) == 50 and min(map(len, tails)) >= 24 and len({t[:6] for t in tails}) > 45 and len(set(bits)) > 5, "ids are not to be guessed", ids[:3])


def forged(lab):
    """Every route that changes something, by cookie without the word."""
    routes = [line.split() for line in subprocess.run([BIN / "weir-gateway", "--routes"], capture_output=True, text=True).stdout.splitlines() if line.strip()]
    changing = [(r[0], r[1]) for r in routes if r[0] in ("POST", "PUT", "PATCH", "DELETE")]
    check(len(changing) >= 15, "the program tells its routes", routes)
    real = lab.create("ada", "text", "forged.csv", 100).headers["location"][7:]
    fill = {":id": real, ":dataset": "text", ":name": "text", ":bucket": "text", "*file": "quick.csv", "*key": "quick.csv", ":upload": real}
    ways = ({}, {"X-Weir-CSRF": "0" * 64}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"})
    bodies = {"text/plain": b"{}", "application/x-www-form-urlencoded": b"a=b", "multipart/form-data; boundary=XyZ": b"--XyZ\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\n"
              b"0\r\n--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\n\r\na\n1\n\r\n--XyZ--\r\n"}
    before, went = keys(lab, "text"), []
    for method, pattern in changing:
        path = "/".join(fill.get(part, "x" if part.startswith((":", "*")) else part) for part in pattern.split("/"))
        s3 = pattern == "s3"  # no path: the row is chosen by what the request looks like
        path = ("/text?delete" if method == "POST" else "/text/quick.csv") if s3 else path
        for way in ways:
            for kind, body in ([*bodies.items(), ("text/plain", None)] if method == "POST" else [("text/plain", b"a\n1\n" if method == "PUT" else None)]):
                body = b'{"bucket":"text","asset":"film"}' if path == "/_/peers/session" else body  # else it is refused for its body
                got = lab.req(method, path, None, body, {"Cookie": f"weir={lab.token['ada']}", "Content-Type": kind, **TUS, "Upload-Offset": "0", "Upload-Length": "4", **way})
                if s3:
                    refused = got.status in (403, 405) and (b"<Code>AccessDenied<" in got.body or b"<Code>MethodNotAllowed<" in got.body)
                else:
                    refused = 400 <= got.status < 500 and got.json.get("error") in REFUSALS
                went += [] if refused else [(method, path, way, kind, got.status, got.body[:300])]
    check(not went, f"none of {len(changing)} changing routes takes a cookie without the word", "\n".join(map(str, went[:30])))
    check(keys(lab, "text") == before and Upload(lab, "ada", "/" + real).show()["state"] == "receiving", "and nothing was changed")


# For the cookie, or before anybody is asked who she is: a body that the route does not take, signing in without a password, or by a
# provider that is not there.
REFUSALS = ("csrf", "origin", "token", "too_large", "type", "bad_login", "no_provider")


def listeners(lab):
    path = lab.create("ada", "text", "heard.csv", 100).headers["location"]
    up = Upload(lab, "ada", path)
    heard = [up.events() for _ in range(70)]
    statuses = [e.status for e in heard]
    check(statuses[:64] == [200] * 64 and set(statuses[64:]) <= {503, 429} and len(statuses) == 70, "listeners of one upload are limited", statuses)
    [e.close() for e in heard]
    for at in range(0, 8, 2):  # who is gone is noticed when there is something to tell
        lab.patch("ada", path, at, b"a\n")
        time.sleep(0.3)
    check(until(lambda: (lambda e: (e.close(), e.status == 200)[1])(up.events()), 10), "and there is room again when they go")


def deaths(lab):
    """A worker that is killed is followed by another; an upload that kills them all is rejected. Others go on."""
    path = lab.create("ada", "text", "killed.csv", 1000).headers["location"]
    up, before, killed = Upload(lab, "ada", path), workers(lab), 0
    new = lambda: [w for w in workers(lab) if w not in before]
    events = up.events()
    lab.patch("ada", path, 0, b"a\n1\n")
    while killed < 20 and not events.of("finding"):
        for worker in until(lambda: new() or events.of("finding") and [0], 10) or []:
            if worker:
                before.append(worker)
                os.kill(worker, signal.SIGKILL)
                killed += 1
        if killed == 1:
            quick = lab.req("PUT", "/b/text/meanwhile.csv", "ada", b"a\n1\n").status
    told = events.wait("finding")
    check(told and told[1]["rule"] == "limits" and told[1]["mend"] and 2 <= killed < 20, "kill -9 of its workers, one after another, is told at last", (killed, events.seen))
    check(lab.patch("ada", path, 4, b"2\n" * 498).status == 204 and up.end()["state"] == "rejected", "and rejects the upload", up.show())
    events.close()
    check(quick in (200, 201) and lab.req("PUT", "/b/text/after.csv", "ada", b"a\n1\n").status in (200, 201), "other uploads go well, meanwhile and after")
    path = lab.create("ada", "text", "once.csv", 1000).headers["location"]
    before[:] = workers(lab)
    lab.patch("ada", path, 0, b"a\n1\n")
    for worker in until(new, 10) or []:
        os.kill(worker, signal.SIGKILL)
    lab.patch("ada", path, 4, b"2\n" * 498)
    shown = Upload(lab, "ada", path).end()
    check(shown["state"] == "accepted" and shown["rows"] == 499, "one death alone is nobody's fault: it is checked again", json.dumps(shown)[:400])


def forever(lab):
    """Patterns and expressions whose time or memory would not end."""
    lab.dataset("slowly", "columns:\n  - {name: a, type: string, pattern: \"(a+)+b\", level: warn}\n  - {name: b, type: string, pattern: \"(x*)*(x|xx|x?){0,50}y\", level: warn}\n"
                "rows:\n  - {rule: \"matches(a, '(.*a.*)*c')\", level: warn}\n")
    began = time.monotonic()
    got = lab.req("PUT", "/b/slowly/s.csv", "ada", b"a,b\n" + (b"a" * 900000 + b"," + b"x" * 900000 + b"\n") * 8, timeout=60)
    took = time.monotonic() - began
    check(got.status == 201 and took < (40 if SAN else 15), f"nested repetition over cells of 900 kB ends", f"{took:.1f} s {got}")
    print(f"# 14 MB of it in {took:.1f} s")
    big = "concat(" + ",".join(["a"] * 32) + ")"
    for _ in range(1):
        big = "concat(" + ",".join([big] * 25) + ")"
    lab.dataset("grown", TEXT + f"transform:\n  - output: o.csv\n    derive: {{big: \"{big}\"}}\n")
    got = lab.req("PUT", "/b/grown/g.csv", "ada", b"a\n" + (b"x" * MIB)[:-1] + b"\n", timeout=60)
    check(got.status in (201, 422), "an expression that grows 800-fold", got.json.get("why", got))
    refused_rules = []
    for what, text in (("laughs", b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\ndataset: lol\ncolumns: *c\n"),
                       ("deep", b"dataset: deep\ncolumns: " + b"[" * 50000), ("deep json", b'{"columns":' * 50000), ("keys", b"".join(b"k%d: 1\n" % i for i in range(100000))),
                       ("expression", b"dataset: e\ncolumns: [{name: a}]\nrows: [{rule: \"" + b"not " * 900 + b"a\"}]\n"),
                       ("parentheses", b"dataset: e\ncolumns: [{name: a}]\nrows: [{rule: \"" + b"(" * 2000 + b"a" + b")" * 2000 + b"\"}]\n"),
                       ("pattern", b"dataset: p\ncolumns: [{name: a, pattern: \"((((a{1,1000}){1,1000}){1,1000}){1,1000})\"}]\n"), ("tag", b"!!python/object:os.system x\n"),
                       ("large", b"# " + b"x" * 3 * MIB)):
        began = time.monotonic()
        got = lab.req("POST", "/_/datasets?name=lol", "ada", text, {"Content-Type": "application/yaml"})
        preview = lab.req("POST", "/_/preview", "ada", json.dumps({"rules": text.decode(), "sample": "a\n1\n"}).encode())
        took = time.monotonic() - began
        if got.status not in (413, 422, 400) or preview.status >= 500 or took > 4:
            refused_rules.append((what, got.status, got.body[:200], preview.status, preview.body[:200], round(took, 1)))
    check(not refused_rules, "rules that would grow without end are refused at once", "\n".join(map(str, refused_rules)))


PARTS = [bombs, endless, paths, markup, formulas, headers, at_once, slow, thousands, strangers, forged, listeners, deaths, forever]


def main():
    with Lab(uploads="expire: 1h, per_user: 200, spool: 2GiB") as lab:
        lab.group("makers", role="steward")
        lab.group("writing")
        lab.user("ada", groups=["makers"])
        for name in "mel", "sol":
            lab.user(name, groups=["writing"])
        lab.dataset("text", TEXT + "writers: [writing]\n")
        lab.dataset("files", FILES)
        memory = Memory(lab)
        for part in PARTS:
            if len(sys.argv) > 1 and part.__name__ not in sys.argv[1:]:
                continue
            began, memory.most = time.monotonic(), {"gateway": 0, "worker": 0}
            try:
                part(lab)
            except (OSError, http.client.HTTPException, LookupError, ValueError) as e:
                check(False, f"{part.__name__}: to its end", repr(e))
            print(f"# {part.__name__}: {time.monotonic() - began:.1f} s, gateway {memory.most['gateway']} MiB, worker {memory.most['worker']} MiB")
            most = (memory.most["gateway"] - memory.base, memory.most["worker"])
            SAN or check(most[0] < 96 and most[1] < 64, f"{part.__name__}: memory stays bounded", (memory.base, memory.most))
        check(lab.gateways[0].runs() and lab.endpoints[0].runs() and "Sanitizer" not in "".join(d.said() for d in lab.daemons), "nobody fell")
    finish()


main()
