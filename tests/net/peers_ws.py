#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""WebSockets, ill-treated: peers_ws.py SERVER FOLDER, in a namespace with loopback up (tests/net/peers_ws.sh)."""
import asyncio
import base64
import http.client
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import websockets

from tap import check, finish

SERVER, FOLDER = sys.argv[1], sys.argv[2]
PORT = 8080
URL = f"ws://127.0.0.1:{PORT}/ws"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3 …
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # … and its answer


class Server:
    """SERVER on PORT and on a Unix socket; it must end well."""

    def __init__(self, *addresses, **settings):
        self.unix = os.path.join(FOLDER, "echo.sock")
        if os.path.exists(self.unix):
            os.unlink(self.unix)
        env = dict(os.environ, **{k: str(v) for k, v in settings.items()})
        self.log = open(os.path.join(FOLDER, "log"), "w+")
        self.process = subprocess.Popen([SERVER, *(addresses or (f"127.0.0.1:{PORT}", "unix:" + self.unix))], env=env,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        if self.process.stdout.readline() != "ready\n":
            self.log.seek(0)
            check(False, "the server starts", self.log.read())
            finish()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
        else:
            self.stop()

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.said = self.process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.seek(0)
        if self.process.returncode != 0:
            check(False, "the server ends well", f"{self.process.returncode}\n{self.log.read()}")


def get(query=""):
    c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        c.request("GET", "/count" + query)
        return c.getresponse().read().decode()
    finally:
        c.close()


def count(name):
    return json.loads(get())[name]


def gauge(name):
    return sum(float(x.rsplit(" ", 1)[1]) for x in get("?metrics=1").splitlines() if x.startswith(f"weir_{name}{{"))


def eventually(test, seconds=5):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if test():
            return True
        time.sleep(0.02)
    return bool(test())


def frame(first, data=b"", masked=True):
    n = len(data)
    bit = 0x80 if masked else 0
    head = bytes([first, bit | n]) if n < 126 else bytes([first, bit | 126]) + struct.pack(">H", n) if n < 65536 \
        else bytes([first, bit | 127]) + struct.pack(">Q", n)
    if not masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))


def text(data):
    return frame(0x81, data if isinstance(data, bytes) else data.encode())


def request(path="/ws", method="GET", version="HTTP/1.1", body=b"", **changes):
    """A handshake; a header of changes is replaced, or left out when None."""
    headers = {"Host": "x", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Key": KEY,
               "Sec-WebSocket-Version": "13"}
    headers.update({k.replace("_", "-"): v for k, v in changes.items()})
    lines = [f"{method} {path} {version}"]
    lines += [f"{k}: {x}" for k, v in headers.items() if v is not None for x in (v if isinstance(v, list) else [v])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Raw:
    """A client of bytes."""

    def __init__(self, more=b"", head=None, unix=None, small=False):
        self.s = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        if small:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.s.settimeout(10)
        self.s.connect(unix or ("127.0.0.1", PORT))
        self.s.sendall((head or request()) + more)
        self.got = b""
        while b"\r\n\r\n" not in self.got:
            piece = self.s.recv(4096)
            if not piece:
                break
            self.got += piece
        self.head, _, self.got = self.got.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1]) if self.head else 0

    def send(self, data):
        self.s.sendall(data)
        return self

    def need(self, n):
        while len(self.got) < n:
            piece = self.s.recv(65536)
            if not piece:
                raise EOFError
            self.got += piece

    def frame(self):
        """(first byte, payload), or None at the end."""
        try:
            self.need(2)
            n, at = self.got[1], 2
            if n == 126:
                self.need(4)
                n, at = struct.unpack(">H", self.got[2:4])[0], 4
            elif n == 127:
                self.need(10)
                n, at = struct.unpack(">Q", self.got[2:10])[0], 10
            self.need(at + n)
        except (EOFError, ConnectionResetError):
            return None
        first, data, self.got = self.got[0], self.got[at:at + n], self.got[at + n:]
        return first, data

    def closing(self):
        """The code of the close frame, which comes next but for texts, and is followed by the stream's end."""
        while True:
            f = self.frame()
            if f is None:
                return None
            if f[0] == 0x88:
                code = struct.unpack(">H", f[1][:2])[0] if f[1] else 1005
                return code if self.frame() is None else "not ended"

    def close(self):
        self.s.close()


async def library():
    async with websockets.connect(URL, max_size=None) as w:
        await w.send("hello")
        check(await w.recv() == "hello", "a text comes back")
        for size in 0, 1, 125, 126, 127, 65535, 65536:
            await w.send("ä" * (size // 2) + "x" * (size % 2))
            got = await w.recv()
            check(len(got.encode()) == size, f"a text of {size} bytes comes back", len(got))
        await w.send(["a", "bc", "", "d" * 5000])
        check(await w.recv() == "abc" + "d" * 5000, "fragments are one message")
        started = time.monotonic()
        await asyncio.wait_for(await w.ping(b"x" * 125), 5)
        check(time.monotonic() - started < 1, "a ping is answered")
        check(w.response_headers.get("Sec-WebSocket-Extensions") is None, "no extension is agreed on")
    check(w.close_code == 1000, "the client's close comes back", w.close_code)
    async with websockets.connect(URL) as w:
        await w.send("close 4321 enough")
        try:
            await w.recv()
        except websockets.ConnectionClosed as e:
            check((e.code, e.reason) == (4321, "enough"), "the server's close has code and reason", e)
    many = [await websockets.connect(URL) for _ in range(200)]
    for n, w in enumerate(many):
        await w.send(f"number {n}")
    same = [await w.recv() == f"number {n}" for n, w in enumerate(many)]
    check(all(same), "200 at once get each their own")
    check(count("count") == 200, "and are counted", count("count"))
    for w in many:
        await w.close()
    check(eventually(lambda: count("count") == 0), "until they end")


def handshakes():
    r = Raw()
    lines = r.head.decode().lower().split("\r\n")
    check(r.status == 101 and f"sec-websocket-accept: {ACCEPT}".lower() in lines and "upgrade: websocket" in lines and
          "connection: upgrade" in lines, "the handshake of RFC 6455 gets the answer that it states", r.head)
    r.close()
    for name, status, head in (
            ("without an upgrade", 426, request(Upgrade=None)),
            ("to another protocol", 426, request(Upgrade="h2c")),
            ("of version 8", 426, request(Sec_WebSocket_Version="8")),
            ("without a version", 400, request(Sec_WebSocket_Version=None)),
            ("of two versions", 400, request(Sec_WebSocket_Version=["13", "13"])),
            ("without Connection: upgrade", 400, request(Connection="keep-alive")),
            ("without a key", 400, request(Sec_WebSocket_Key=None)),
            ("with two keys", 400, request(Sec_WebSocket_Key=[KEY, KEY])),
            ("with a key of 15 bytes", 400, request(Sec_WebSocket_Key=base64.b64encode(b"x" * 15).decode())),
            ("with a key of 17 bytes", 400, request(Sec_WebSocket_Key=base64.b64encode(b"x" * 17).decode())),
            ("with a key that is no base64", 400, request(Sec_WebSocket_Key="!" * 24)),
            ("by HTTP/1.0", 400, request(version="HTTP/1.0")),
            ("by HEAD", 400, request(method="HEAD")),
            ("by POST with a body", 400, request(method="POST", body=b"body", Content_Length="4"))):
        r = Raw(head=head)
        check(r.status == status, f"a handshake {name} gets {status}", r.head)
        if status == 426:
            check(b"sec-websocket-version: 13" in r.head.lower(), "… and is told the version", r.head)
        r.close()
    check(count("opened") == count("closed") + count("count"), "each that opened closes")
    r = Raw(head=request(Sec_WebSocket_Key=None), more=request(Connection="x"))
    check(r.status == 400 and eventually(lambda: count("count") == 0), "a refused one leaves nothing")
    r.close()


def extra(unix):
    for where in None, unix:
        said = "a Unix socket" if where else "TCP"
        r = Raw(text("one") + frame(0x01, b"tw"), unix=where)
        check(r.frame() == (0x81, b"one"), f"a frame sent with the handshake is not lost ({said})")
        r.send(frame(0x80, b"o"))
        check(r.frame() == (0x81, b"two"), f"nor half a one ({said})")
        r.close()
    big = b"x" * 12000
    r = Raw(text(big) + text("last"))
    check(r.frame() == (0x81, big) and r.frame() == (0x81, b"last"), "nor 12 KB of them")
    r.close()


def frames():
    for name, code, data in (
            ("unmasked", 1002, frame(0x81, b"x", masked=False)),
            ("binary", 1003, frame(0x82, b"x")),
            ("a reserved bit", 1002, frame(0xc1, b"x")),
            ("an unknown opcode", 1002, frame(0x83, b"x")),
            ("a continuation of nothing", 1002, frame(0x80, b"x")),
            ("a message inside a message", 1002, frame(0x01, b"x") + frame(0x81, b"y")),
            ("a fragmented ping", 1002, frame(0x09, b"x")),
            ("a ping of 126 bytes", 1002, frame(0x89, b"x" * 126)),
            ("bad UTF-8", 1007, frame(0x81, b"abc\xff")),
            ("bad UTF-8 over two fragments", 1007, frame(0x01, b"\xe2\x82") + frame(0x80, b"x")),
            ("a message of 64 KiB and one byte", 1009, frame(0x81, b"x" * 65537)),
            ("fragments of more than 64 KiB", 1009, frame(0x01, b"x" * 40000) + frame(0x80, b"x" * 40000)),
            ("a message of 2^63 - 1 bytes", 1009, b"\x81\xff\x7f" + b"\xff" * 7 + b"mask" + b"x"),
            ("a close of one byte", 1002, frame(0x88, b"x")),
            ("a close with 1005", 1002, frame(0x88, b"\x03\xed")),
            ("a close with 1000", 1000, frame(0x88, b"\x03\xe8bye")),
            ("a close with 4999", 4999, frame(0x88, b"\x13\x87")),
            ("a close without a code", 1005, frame(0x88))):
        r = Raw()
        r.send(text("before") + data)
        check(r.frame() == (0x81, b"before") and r.closing() == code, f"{name}: {code}")
        r.close()
    r = Raw()
    r.send(frame(0x01, "ä".encode()[:1]) + frame(0x89, b"p") + frame(0x80, "ä".encode()[1:]))
    check(r.frame() == (0x8a, b"p") and r.frame() == (0x81, "ä".encode()),
          "a ping within a message is answered first; a character may be cut")
    for b in text("bytewise"):
        r.send(bytes([b]))
    check(r.frame() == (0x81, b"bytewise"), "a frame that comes byte by byte is read")
    r.send(text("x") + frame(0x88, b"\x03\xe8") + text("after"))
    check(r.frame() == (0x81, b"x") and r.closing() == 1000, "what follows a close is not read")
    r.close()


def ends():
    """RST, half a close, an end in the middle of a frame: forgotten at once."""
    for how in "reset", "half", "middle", "drop":
        r = Raw()
        r.send(text("x"))
        r.frame()
        if how == "reset":
            r.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "half":
            r.s.shutdown(socket.SHUT_WR)
            check(r.frame() is None, "a client that ends its side is ended")
        elif how == "middle":
            r.send(frame(0x81, b"x" * 5000)[:3000])
        r.close()
        check(eventually(lambda: count("count") == 0, 2), f"an end by {how} is seen")
    r = Raw()
    r.send(text("close 1000 bye"))
    check(r.frame()[0] == 0x88, "a client is asked to end")
    check(count("count") == 1, "… and waited for")
    started = time.monotonic()
    gone = eventually(lambda: count("count") == 0, 8)
    check(gone and 1.5 < time.monotonic() - started < 6, "… for three seconds, when it does not")
    r.close()
    r = Raw()
    r.send(text("cut 1008 enough"))
    check(r.frame()[0] == 0x88 and eventually(lambda: count("count") == 0, 1), "one that is cut hears why, and holds no place")
    check(r.frame() is None, "… and is at its end")
    r.close()


def rate():
    with Server(RATE=10, BURST=20) as server:
        r = Raw()
        for n in range(20):
            r.send(text(str(n)))
        got = [r.frame()[1] for _ in range(20)]
        check(got == [str(n).encode() for n in range(20)], "a burst passes")
        time.sleep(1.1)  # time is what is tested: the bucket fills by ten a second
        for n in range(10):
            r.send(text("more"))
        check([r.frame()[1] for _ in range(10)] == [b"more"] * 10, "then so many a second")
        for n in range(40):
            r.send(text("flood"))
        check(r.closing() == 1008, "more is closed with 1008")
        r.close()
        r = Raw().send(frame(0x89) * 40)
        check(r.closing() == 1008, "as are too many pings")
        r.close()
        r = Raw().send(frame(0x01) + frame(0x00) * 200 + frame(0x80, b"x"))
        check(r.frame() == (0x81, b"x"), "200 fragments are no flood")
        r.send(frame(0x01) + frame(0x00) * 800)
        check(r.closing() == 1008, "but 1,000 are")
        r.close()


def slow_reader():
    with Server(BACKLOG_MAX=100000) as server:
        r = Raw(small=True)
        other = Raw()
        r.send(text("send 100000 1000"))  # until one does not fit
        check(eventually(lambda: count("unsent") == 1), "a client that does not read is given up at its limit")
        check(eventually(lambda: count("closed") == 1), "… and closed")
        other.send(text("still there"))
        check(other.frame() == (0x81, b"still there"), "others are served")
        sizes, code = set(), None
        while code is None:
            f = r.frame()
            if f is None:
                break
            if f[0] == 0x88:
                code = struct.unpack(">H", f[1][:2])[0]
            else:
                sizes.add((f[0], len(f[1])))
        check(code == 1013 and sizes == {(0x81, 1000)}, "who reads after all finds whole frames, then 1013",
              (code, sizes))
        other.close()
        r.close()
        check(eventually(lambda: count("count") == 0), "and both are gone")
    with Server(BACKLOG_MAX=3000000) as server:
        r = Raw(small=True)
        r.send(text("send 2000 1000"))
        check(eventually(lambda: count("messages") == 1), "what fits waits")
        got = [r.frame() for _ in range(2000)]
        check(got == [(0x81, b"x" * 1000)] * 2000 and count("unsent") == 0, "a slow reader below the limit gets all")
        r.close()


def silence():
    with Server(PING_S=1, IDLE_S=1) as server:
        r = Raw()
        started = time.monotonic()
        f = r.frame()
        check(f == (0x89, b"") and time.monotonic() - started < 3.5, "who is silent is pinged", f)
        for _ in range(4):
            r.send(frame(0x8a))
            f = r.frame()
        check(f == (0x89, b""), "who answers lives, past the HTTP server's idle time")
        check(r.closing() == 1001, "who does not is closed with 1001")
        r.close()


def limit():
    with Server(MAX=5, CONNECTIONS=100, PER_ADDRESS=4, HTTP_THREADS=1) as server:
        held = [Raw() for _ in range(5)]
        check([r.status for r in held] == [101] * 5, "five of five; the HTTP server's own limit is not theirs")
        r = Raw()
        check(r.status == 503 and b"retry-after" in r.head.lower(), "the sixth gets 503", r.head)
        r.close()
        check(eventually(lambda: gauge("http_connections") == 1) and gauge("http_requests_in_flight") == 1,
              "for the HTTP server they are over", get("?metrics=1"))
        check('route="/ws",status="101"} 5' in get("?metrics=1"), "but were counted", get("?metrics=1"))
        held.pop().close()
        check(eventually(lambda: count("count") == 4), "one leaves")
        held.append(Raw())
        check(held[-1].status == 101, "and makes room")
        for r in held:
            r.close()


def stop():
    for how, name in (signal.SIGTERM, "before the HTTP server"), (signal.SIGUSR1, "after it"):
        server = Server(THREADS=2)
        held = [Raw() for _ in range(6)]
        for r in held:
            r.send(text("x"))
            r.frame()
        held[0].send(frame(0x01, b"half"))
        server.process.send_signal(how)
        codes = [r.closing() for r in held]
        check(codes == [1001] * 6, f"the service's end {name} says 1001 to all", codes)
        for r in held[1:]:
            r.close()
        started = time.monotonic()
        server.stop(how)
        check(server.process.returncode == 0 and time.monotonic() - started < 4 and
              server.said == "6 opened 6 closed 0 refused\n", "… and waits for nobody", server.said)
        held[0].close()


def stop_while_they_come():
    """Handshakes run on while the service stops: each is opened and closed, or refused."""
    server = Server(THREADS=2, MAX=10000)
    child = os.fork()
    if child == 0:
        try:
            while True:
                Raw(text("x"), head=request()).close()
        finally:
            os._exit(0)
    check(eventually(lambda: count("opened") > 50), "handshakes come")
    server.stop()
    os.waitpid(child, 0)
    check(server.process.returncode == 0, "a stop in their midst is clean", server.said)


def tls():
    cert, key = os.path.join(FOLDER, "cert"), os.path.join(FOLDER, "key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=x", "-keyout", key, "-out", cert], check=True, capture_output=True)
    with Server(f"127.0.0.1:{PORT}", TLS=f"{cert}:{key}") as server:
        import ssl
        context = ssl._create_unverified_context()
        with socket.create_connection(("127.0.0.1", PORT), timeout=5) as plain, context.wrap_socket(plain) as s:
            s.sendall(request(Connection="Upgrade"))
            got = s.recv(4096)
            while b"}" not in got:
                got += s.recv(4096)
            check(b" 501 " in got.split(b"\r\n")[0] and b"speaks TLS" in got, "over the server's own TLS it says why not",
                  got)


def memory():
    """A burst of large messages, half of them incomplete, leaves nothing behind."""
    with Server(MAX=3000, CONNECTIONS=4000, PER_ADDRESS=4000) as server:
        def anon():
            get("?trim=1")
            with open(f"/proc/{server.process.pid}/status") as f:
                return int([x for x in f if x.startswith("RssAnon")][0].split()[1])

        warm = [Raw() for _ in range(50)]
        for r in warm:
            r.send(text("x"))
            r.frame()
            r.close()
        before = anon()
        held = [Raw() for _ in range(1000)]
        for r in held:
            r.send(frame(0x01, b"x" * 30000))
        eventually(lambda: anon() - before > 20000, 3)
        most = anon() - before
        for r in held:
            r.send(frame(0x80, b"x"))
            check_len = len(r.frame()[1])
            if check_len != 30001:
                check(False, "a message in halves comes back", check_len)
        after = anon() - before
        check(most > 20000, "incomplete messages take memory while they are", f"{most} KiB")
        check(after < 2500, "1,000 connections that had a message of 30 KB hold at most 2.5 KiB each", f"{after} KiB")
        for r in held:
            r.close()


with Server() as whole:
    asyncio.run(library())
    handshakes()
    extra(whole.unix)
    frames()
    ends()
    check(count("errors") == 0, "every connection was opened, heard and closed in that order")
rate()
slow_reader()
silence()
limit()
stop()
stop_while_they_come()
tls()
if "/san/" not in SERVER:
    memory()
finish()
