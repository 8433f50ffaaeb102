#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests a second of one address, large heads, silence, time in all, networks that are not let in, one id and one
trace in all logs, and ACME's files: what must be refused is, with its status and its line in the log, and no more.

Run by tunnel_limits.sh. Needs root, curl.
"""
from concurrent import futures

from tunnel_lib import *

HOST, SHUT, DEAF = "app.edge.example", "shut.edge.example", "deaf.edge.example"
reached = []  # the first bytes that a target of bytes got
TRACE = "0af7651916cd43dd8448eb211c80319c"


def target(c):
    stream = c.makefile("rb")
    while True:
        head = stream.readline()
        if not head:
            return
        path = head.split()[1].decode()
        while True:
            field = stream.readline()
            head += field
            if field in (b"\r\n", b""):
                break
        if path == "/silent":  # says nothing until the other end goes
            stream.read()
            return
        if path == "/soon":
            while True:
                c.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
                time.sleep(0.5)
        if path == "/stops":
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
            stream.read()
            return
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(head) + head)


def line_of(lab, request_id):
    got = until(lambda: [a for a in lab.access() if a["id"] == request_id], 3)
    return got[0] if got else {}


def id_of(text):
    got = re.search(r"^x-request-id: ([0-9a-f]{16})\r?$", text, re.M | re.I)
    return got[1] if got else "?"


def rate(lab):
    """30 a second: of 150 requests at once the burst is served, the others are told when to come again."""
    e = lab.edges[0]
    began = time.monotonic()
    got = subprocess.run(["curl", "-s", "-Z", "--interface", "127.0.0.5", "--resolve", f"{HOST}:{e.http}:127.0.0.1", "-o", "/dev/null", "-w",
                          "%{http_code} %header{retry-after}\n", f"http://{HOST}:{e.http}/[1-150]"],
                         capture_output=True, text=True).stdout.splitlines()
    took = time.monotonic() - began
    served, refused = got.count("200 "), [x for x in got if x.startswith("429")]
    check(served + len(refused) == 150 and 30 <= served <= 62 + 30 * took and set(refused) == {"429 1"},
          f"150 requests of one address in {took:.1f} s: {served} served, {len(refused)} told 429 with Retry-After", got)
    check(lab.code(f"http://{HOST}/", "--interface", "127.0.0.6") == "200", "another address is not meant")
    check(until(lambda: lab.code(f"http://{HOST}/", "--interface", "127.0.0.5") == "200", 3), "and the first is served again after a moment")
    check(until(lambda: sum(a.get("cause") == "rate" for a in lab.access()) >= len(refused), 3), "each with its cause in the log")


def heads(lab):
    for more in [], ["--http2-prior-knowledge"]:
        fits = lab.code(f"http://{HOST}/", "-H", "X: " + "a" * 3000, *more)
        code = lab.code(f"http://{HOST}/", "-H", "X: " + "a" * 5000, *more)
        check(fits == "200" and code == "431", f"a head over the limit {more}: {code}, under it: {fits}")
        got = lab.curl(f"http://{HOST}/", "-i", "-H", "X: " + "a" * 5000, *more).stdout
        line = line_of(lab, id_of(got))
        check(line.get("status") == 431 and line.get("cause") == "malformed", f"its id stands in the log {more}", (got, line))
    many = [x for i in range(140) for x in ("-H", f"X{i}: a")]
    for more in [], ["--http2-prior-knowledge"]:
        code = lab.code(f"http://{HOST}/", *many, *more)
        check(code == "431", f"140 fields {more}: {code}")
    check(lab.code(f"http://{HOST}/") == "200", "the next one is served")
    got = lab.curl(f"http://{HOST}/", "-X", "TRACE", "-i").stdout
    check(" 405" in got.splitlines()[0] and line_of(lab, id_of(got)).get("cause") == "method", "TRACE is not passed on", got)


def goes_up(lab):
    """A body without an end, a byte at a time: what is answered."""
    with socket.create_connection(("127.0.0.1", lab.edges[0].http)) as s:
        s.sendall(f"POST /silent HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        s.settimeout(0.4)
        for _ in range(40):
            try:
                return s.recv(65536)
            except TimeoutError:
                s.sendall(b"1\r\nx\r\n")
            except OSError:
                break
    return b""


def stays(lab):
    """A connection after its request: what is answered, and then."""
    with socket.create_connection(("127.0.0.1", lab.edges[0].http)) as s:
        s.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        s.settimeout(10)
        return s.recv(65536), s.recv(100)


def times(lab):
    """At once, since each waits; idle: 2 s, total: 4 s."""
    def timed(fn, *args):
        began = time.monotonic()
        return fn(*args), time.monotonic() - began

    with futures.ThreadPoolExecutor() as pool:
        asked = [pool.submit(timed, fn, *args) for fn, *args in (
            (lab.curl, f"http://{HOST}/silent", "-i"), (lab.curl, f"http://{HOST}/stops"), (goes_up, lab), (lab.code, f"http://{HOST}/soon"),
            (stays, lab))]
    (silent, t1), (stops, t2), (up, t3), (soon, t4), (stayed, t5) = [a.result() for a in asked]
    rid = id_of(silent.stdout)
    check("504" in silent.stdout.splitlines()[0] and rid in silent.stdout.split("\n\n", 1)[1] and 1.5 < t1 < 3.9,
          f"a target that says nothing: 504 after {t1:.1f} s", silent)
    check(line_of(lab, rid).get("cause") == "timeout" and line_of(lab, rid).get("status") == 504, "its line says why", line_of(lab, rid))
    check(stops.returncode in (18, 56, 92) and stops.stdout.startswith("01234") and 1.5 < t2 < 3.9,
          f"one that stops in the middle: the answer is broken off, not ended, after {t2:.1f} s", stops)
    check(up.startswith(b"HTTP/1.1 408") and 3.5 < t3 < 8, f"bytes go up for ever: 408 when the time in all is over, {t3:.1f} s", up)
    check(soon == "504" and 3.5 < t4 < 8, f"a target that promises for ever: {soon} then too, {t4:.1f} s")
    check(stayed[0].startswith(b"HTTP/1.1 200") and stayed[1] == b"" and 1.5 < t5 < 3.9, f"a connection without a request ends after {t5:.1f} s", stayed)


def networks(lab):
    got = {a: lab.code(f"http://{SHUT}/", "--interface", a) for a in ("127.0.0.7", "127.0.1.7", "127.0.1.8")}
    check(got == {"127.0.0.7": "403", "127.0.1.7": "200", "127.0.1.8": "403"}, "--allow a network and --deny one address of it", got)
    deaf = {a: lab.curl(f"https://{DEAF}/", "-k", "--interface", a).returncode for a in ("127.0.1.7", "127.0.0.7")}
    hellos = [x for x in reached if x.startswith(b"\x16\x03")]
    check(deaf["127.0.0.7"] and len(hellos) == 1, "the same of TLS that goes through: one of two reached the target", (deaf, reached))


def traces(lab):
    """The trace that the client began, and one that the edge begins, at the target and in both logs."""
    own = ["-H", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"]
    for what, more in ("the client's trace", own), ("a trace of the edge's", []):
        got = lab.curl(f"http://{HOST}/t", "-i", *more).stdout
        rid = id_of(got)
        asked = re.search(r"^traceparent: 00-([0-9a-f]{32})-[0-9a-f]{16}-01", got, re.M | re.I)
        here = line_of(lab, rid).get("trace", "")
        there = until(lambda: [x for x in map(json.loads, (lab.work / "origin.access").read_text().splitlines()) if x["id"] == rid], 3)
        check(asked and here[:32] == asked[1] and there and there[0]["trace"][:32] == asked[1] and (not more or asked[1] == TRACE),
              f"{what}: the same in the edge's log, the origin's and at the target", (got, here, there))


def acme(lab):
    folder = lab.work / "acme/.well-known/acme-challenge"
    folder.mkdir(parents=True)
    token, text = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
    (folder / token).write_text(text)
    (folder / "large").write_text("x" * 4097)
    (folder / "a.txt").write_text("dotted")
    (folder / "link").symlink_to(lab.work / "secret")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (lab.work / "secret").write_text("secret")
    (lab.work / "acme/secret").write_text("secret")
    at = "/.well-known/acme-challenge/"
    for host in HOST, "new.other.example", SHUT:
        got = lab.curl(f"http://{host}{at}{token}", "-i").stdout
        check("200" in got.splitlines()[0] and "content-type: text/plain" in got.lower() and got.endswith("\n\n" + text), f"a token is shown to who asks {host}", got)
    got = lab.curl(f"http://{HOST}{at}{token}", "-I").stdout
    check(" 200" in got.splitlines()[0], "HEAD", got)
    got = lab.curl(f"http://{HOST}{at}{token}", "--http2-prior-knowledge")
    check(got.stdout == text, "by HTTP/2", got)
    got = lab.curl(f"https://{HOST}{at}{token}").stdout
    check(text not in got and got.startswith(f"GET {at}"), "by HTTPS it is the site's own path", got)
    check(lab.curl(f"http://{HOST}{at}{token}", "-d", "x").stdout.startswith("POST "), "POST is the site's too")
    for path in "none", "large", "a.txt", "link", "folder", "pipe", "", "../../secret", "..%2f..%2fsecret", "%2e%2e/secret", f"./{token}", token + "%00", \
            token + "/", token + "?x", "/" + token, f"../acme-challenge/{token}", "a" * 129, f"%{ord(token[0]):x}{token[1:]}":
        got = lab.curl(f"http://new.other.example{at}{path}", "--path-as-is", "-w", "\n%{http_code}").stdout
        check(got.endswith("404") or got.endswith("400"), f"not shown: {path[:30]}", got)
    check(lab.code(f"http://{HOST}{at}none") == "200", "what is not there is asked of the site")
    check(lab.code(f"http://{HOST}/") == "200", "the edge lives")


enter("curl")
with Lab(edges=0) as the_lab:
    the_lab.edge_more = f"  acme: {the_lab.work}/acme\n  limits: {{headers: 4KiB, rate: 30, idle: 2s, request: 2s, total: 4s}}\n"
    the_lab.edges.append(the_lab.edge(0))
    serve(target, 9000)
    the_lab.tunnel("app", [HOST])
    the_lab.tunnel("shut", [SHUT], "--allow", "127.0.1.0/24", "--deny", "127.0.1.8/32")
    (the_lab.work / "origin.access").touch()
    os.chown(the_lab.work / "origin.access", UID, UID)
    the_lab.origin("app", [{"to": "http://127.0.0.1:9000"}], more=f"  access_log: {the_lab.work}/origin.access\n")
    the_lab.origin("shut", [{"to": "http://127.0.0.1:9000"}], connections=2)
    serve(lambda c: reached.append(c.recv(1000)), 9001)
    the_lab.tunnel("deaf", [DEAF], "--port", "443/tls", "--deny", "127.0.0.7/32")
    the_lab.origin("deaf", [{"to": "tcp://127.0.0.1:9001", "port": 443}], connections=2)
    heads(the_lab)
    times(the_lab)
    networks(the_lab)
    traces(the_lab)
    rate(the_lab)
    acme(the_lab)
finish()
