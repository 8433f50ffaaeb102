#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a stranger may try at the edge: malformed and smuggled requests, from clients and from targets, broken HTTP/2.

Run by tunnel_hostile.sh. Needs root, curl, openssl, python3-h2. After each attempt a good request must still be answered.
"""
import ssl
import struct

from tunnel_lib import *

try:
    import h2.config
    import h2.connection
    import hpack
    from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame,
                                  SettingsFrame, WindowUpdateFrame)
except ImportError:
    skip("python3-h2 is not installed")

HOST = "app.edge.example"
seen = []      # request lines that reached the target
answer = [b""]  # what it sends for /odd


def target(c):
    stream = c.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        seen.append(line.strip())
        length, chunked = 0, False
        while True:
            field = stream.readline().strip().lower()
            if not field:
                break
            seen.append(field)
            if field.startswith(b"content-length:"):
                length = int(field.split(b":")[1])
            chunked |= field == b"transfer-encoding: chunked"
        if chunked:
            while True:
                n = int(stream.readline(), 16)
                stream.read(n + 2)
                if not n:
                    break
        else:
            stream.read(length)
        if b" /odd" in line:
            c.sendall(answer[0])
            return
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def raw(port, data, seconds=3):
    """What comes back for these bytes, until the edge closes or is silent."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.settimeout(seconds)
        s.sendall(data)
        got = b""
        try:
            while True:
                part = s.recv(65536)
                if not part:
                    break
                got += part
                if got.count(b"HTTP/1.1 ") and b"Connection: close" not in got and b"connection: close" not in got and b"\r\n\r\n" in got:
                    s.settimeout(0.3)
        except OSError:
            pass
        return got


def statuses(data):
    return [int(x) for x in re.findall(rb"HTTP/1\.[01] (\d{3})", data) if x != b"100"]


H = f"Host: {HOST}\r\n".encode()
BAD = {
    "two Content-Length that differ": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 40\r\n\r\nabc",
    "a list as Content-Length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed Content-Length": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +3\r\n\r\nabc",
    "Content-Length with Transfer-Encoding": b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    "an obfuscated Transfer-Encoding": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a second Transfer-Encoding": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked that is not last": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\n" + H + b"Content-Length : 3\r\n\r\nabc",
    "a folded line": b"GET / HTTP/1.1\r\n" + H + b"X-A: a\r\n b\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\n" + H.replace(b"\r", b"") + b"\n",
    "a bare carriage return in a value": b"GET / HTTP/1.1\r\n" + H + b"X-A: a\rGET /evil\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\n" + H + b"X-A: a\0b\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + H + b"Host: other.example\r\n\r\n",
    "a Host with userinfo": b"GET / HTTP/1.1\r\nHost: evil@" + HOST.encode() + b"\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + H + b"\r\n",
    "an unknown version": b"GET / HTTP/3.7\r\n" + H + b"\r\n",
    "a name that is no token": b"GET / HTTP/1.1\r\n" + H + b"X[]A: a\r\n\r\n",
    "a chunk size that is none": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a chunk size that overflows": b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


def clients(lab):
    port = lab.edges[0].http
    for what, data in BAD.items():
        seen.clear()
        got = raw(port, data + b"GET /evil HTTP/1.1\r\n" + H + b"\r\n")
        codes = statuses(got)
        evil = [x for x in seen if b"/evil" in x]
        check(codes and codes[0] in (400, 404, 421, 501, 505) and len(codes) == 1 and not evil,
              f"{what}: {codes[0] if codes else 'closed'}, and nothing that follows counts", (codes, seen, got[:300]))
    got = statuses(raw(port, b"GET / HTTP/1.1\r\n" + H + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(20)) + b"\r\n"))
    check(got[:1] == [431], "20 KB of head: 431", got)
    got = raw(port, b"GET /one HTTP/1.1\r\n" + H + b"\r\nGET /two HTTP/1.1\r\n" + H + b"\r\n")
    check(statuses(got) == [200, 200], "two good requests in one packet are two answers", got)


def forged(lab):
    """What only the edge may say does not come through from a client."""
    seen.clear()
    lab.curl(f"http://{HOST}/forged", "-H", "X-Weir-Client: 9.9.9.9:1", "-H", "X-Forwarded-For: 9.9.9.9", "-H", "Forwarded: for=9.9.9.9",
             "-H", "X-Request-Id: mine", "-H", "Connection: x-secret", "-H", "X-Secret: 1", "-H", "X-Forwarded-Proto: https")
    text = b"\n".join(seen)
    check(b"9.9.9.9" not in text and b"x-weir" not in text and b"mine" not in text and b"x-secret" not in text and
          b"x-forwarded-proto: http\n" in text + b"\n" and b"x-forwarded-for: 127.0.0.1" in text,
          "forged forwarding fields, and what Connection names, do not reach the target", text.decode())


ODD = {
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 20\r\n\r\nok",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a NUL in a field": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(100)) + b"\r\n",
    "nothing": b"",
}


def targets(lab):
    for what, data in ODD.items():
        answer[0] = data
        code = lab.code(f"http://{HOST}/odd")
        check(code == "502", f"a target that answers with {what}: {code}")
    answer[0] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    got = lab.curl(f"http://{HOST}/odd", "-w", "%{http_code}").stdout
    after = [lab.curl(f"http://{HOST}/").stdout for _ in range(4)]
    check(got == "ok200" and after == ["ok"] * 4, "a second answer that nobody asked for is nobody's", (got, after))
    answer[0] = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"
    got = lab.curl(f"http://{HOST}/odd")
    check(got.returncode in (18, 56) and got.stdout == "ok", "an answer that is cut is cut for the client too", got)


class H2:
    """A TLS connection that sends whatever frames."""

    def __init__(self, edge):
        context = ssl.create_default_context(cafile=str(the_lab.work / "web.ca"))
        context.set_alpn_protocols(["h2"])
        self.s = context.wrap_socket(socket.create_connection(("127.0.0.1", edge.https)), server_hostname=HOST)
        self.s.settimeout(3)
        self.c = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
        self.c.initiate_connection()
        self.decoder = hpack.Decoder()
        self.s.sendall(self.c.data_to_send())

    def head(self, stream, fields, end=True):
        base = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/h2")]
        self.frame(self.headers(stream, fields if fields is not None else base, end))

    def headers(self, stream, fields, end=True, whole=True):
        f = HeadersFrame(stream)
        f.data = self.c.encoder.encode(fields)
        if whole:
            f.flags.add("END_HEADERS")
        if end:
            f.flags.add("END_STREAM")
        return f

    def frame(self, *frames):
        self.s.sendall(b"".join(f.serialize() if not isinstance(f, bytes) else f for f in frames))

    def events(self, seconds=3):
        """Types of the frames that come until stream or connection end, or silence; "closed" at the end."""
        out, self.status, buf, end = [], None, b"", time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                data = self.s.recv(65536)
            except socket.timeout:
                break
            except OSError:
                data = b""
            if not data:
                return out + ["closed"]
            buf += data
            while len(buf) >= 9 and len(buf) >= 9 + int.from_bytes(buf[:3], "big"):
                f, length = Frame.parse_frame_header(memoryview(buf[:9]))
                f.parse_body(memoryview(buf[9:9 + length]))
                buf = buf[9 + length:]
                out.append(type(f).__name__)
                if isinstance(f, HeadersFrame):
                    self.status = dict(self.decoder.decode(f.data)).get(":status")
                if isinstance(f, (RstStreamFrame, GoAwayFrame)) or "END_STREAM" in f.flags:
                    return out
        return out


GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/h2")]


def fields(**change):
    return [(k, change.get(k[1:], v)) for k, v in GOOD if change.get(k[1:], v) is not None]


STREAM_ERRORS = {
    "an upper-case name": GOOD + [("X-Upper", "1")],
    "a Connection field": GOOD + [("connection", "close")],
    "Transfer-Encoding": GOOD + [("transfer-encoding", "chunked")],
    "no :path": fields(path=None),
    "no :method": fields(method=None),
    "two :path": GOOD + [(":path", "/evil")],
    "a pseudo-field after others": GOOD[:3] + [("a", "b")] + GOOD[3:],
    "an unknown pseudo-field": GOOD + [(":evil", "1")],
    "a line feed in a value": GOOD + [("x-a", "b\r\nGET /evil HTTP/1.1")],
    "a Host that differs": GOOD + [("host", "other.example")],
    "a body that is shorter than said": GOOD + [("content-length", "100")],
    "a space in the path": fields(path="/a b HTTP/1.1\r\nX: y"),
    "an authority with userinfo": fields(authority="evil@" + HOST),
}


def http2(lab):
    edge = lab.edges[0]
    for what, head in STREAM_ERRORS.items():
        seen.clear()
        c = H2(edge)
        c.head(1, head)
        got = c.events()
        refused = c.status in ("400", "421") or {"RstStreamFrame", "GoAwayFrame", "closed"} & set(got)
        check(refused and not any(b"/evil" in x for x in seen), f"h2, {what}: refused", (got, c.status, seen))
    wrong = {
        "DATA on a stream that is idle": lambda c: c.frame(DataFrame(5, b"x")),
        "an even stream": lambda c: c.frame(c.headers(2, GOOD)),
        "a window that overflows": lambda c: c.frame(WindowUpdateFrame(0, window_increment=2**31 - 1), WindowUpdateFrame(0, window_increment=2**31 - 1)),
        "SETTINGS of a wrong size": lambda c: c.frame(struct.pack(">IBBI", 5 << 8 | 4, 0, 0, 0)[0:9] + b"12345"),
        "a frame that is too long": lambda c: c.frame(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(1000)),
        "CONTINUATION without HEADERS": lambda c: c.frame(ContinuationFrame(1, b"x")),
        "HPACK that is none": lambda c: c.frame(b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff"),
        "a PING of five bytes": lambda c: c.frame(b"\x00\x00\x05\x06\x00\x00\x00\x00\x0012345"),
    }
    for what, send in wrong.items():
        c = H2(edge)
        send(c)
        got = c.events()
        check({"GoAwayFrame", "closed"} & set(got), f"h2, {what}: the connection ends", got)
    floods(edge)


def flood(edge, make, bytes_max=64 << 20):
    """Sends make(i) until the edge ends the connection: how many, or None."""
    c = H2(edge)
    c.s.settimeout(0.0)
    sent, out, end = 0, b"", time.monotonic() + 20
    while time.monotonic() < end and sent < bytes_max:
        if len(out) < 65536:
            for i in range(100):
                out += make(c, flood.n)
                flood.n += 1
        try:
            n = c.s.send(out)
            sent, out = sent + n, out[n:]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError:
            return sent
        try:
            data = c.s.recv(65536)
            if not data:
                return sent
        except (ssl.SSLWantReadError, BlockingIOError):
            time.sleep(0.001)
        except OSError:
            return sent
    return None


def floods(edge):
    def rapid(c, i):
        return c.headers(2 * i + 1, GOOD).serialize() + RstStreamFrame(2 * i + 1, 8).serialize()

    def continuation(c, i):
        if i == 0:
            return c.headers(1, GOOD, whole=False).serialize()
        return ContinuationFrame(1, b"\x00\x01a\x01b" * 100).serialize()

    def settings(c, i):
        return SettingsFrame(0, settings={4: 65535}).serialize()

    def ping(c, i):
        return PingFrame(0, b"12345678").serialize()

    for what, make, bound in (("rapid reset (CVE-2023-44487)", rapid, 4 << 20), ("CONTINUATION without end (CVE-2024-27316)", continuation, 4 << 20),
                              ("SETTINGS without end", settings, None), ("PING without end", ping, None)):
        flood.n = 0
        before = len(seen)
        got = flood(edge, make, 8 << 20)
        memory = int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{edge.pid}/status").read_text())[1])
        if bound:
            check(got is not None and got < bound, f"h2, {what}: ended after {got} bytes, {len(seen) - before} requests reached the target")
        check(memory < 64 << 10 and edge.runs(), f"h2, {what}: the edge has {memory} KiB")
        check(the_lab.curl(f"https://{HOST}/after").stdout == "ok", f"h2, {what}: others are served")


def connect(lab):
    got = statuses(raw(lab.edges[0].http, b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n"))
    check(got and got[0] in (400, 403, 404, 405), f"CONNECT to anywhere: {got}")
    got = statuses(raw(lab.edges[0].http, f"CONNECT {HOST}:22 HTTP/1.1\r\nHost: {HOST}:22\r\n\r\n".encode()))
    check(got and got[0] in (400, 403, 404, 405), f"CONNECT to a port of the tunnel's name that is not open: {got}")
    c = H2(lab.edges[0])
    c.head(1, [(":method", "CONNECT"), (":authority", f"{HOST}:22")], end=False)
    got = c.events()
    check("RstStreamFrame" in got or (c.status or "").startswith("4"), f"h2, CONNECT to it: {c.status}", got)
    code = lab.code("http://nobody.edge.example/")
    check(code == "404", f"a hostname that nobody has: {code}")


enter("curl", "openssl")
with Lab(edges=1) as the_lab:
    serve(target, 9000)
    the_lab.tunnel("app", [HOST])
    the_lab.origin("app", [{"to": "http://127.0.0.1:9000"}])
    clients(the_lab)
    forged(the_lab)
    targets(the_lab)
    http2(the_lab)
    connect(the_lab)
    check(the_lab.curl(f"http://{HOST}/").stdout == "ok" and the_lab.edges[0].runs(), "after all of it the edge serves")
    check("Sanitizer" not in the_lab.edges[0].said() and "runtime error" not in the_lab.edges[0].said(), "and said nothing of memory")
finish()
