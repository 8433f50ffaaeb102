# SPDX-License-Identifier: Apache-2.0
"""Viewers of one asset, for tests: sessions, the tracker's WebSocket (RFC 6455, by hand), instructions and reports, at the
gateways of upload_lib's Lab.

    from peers_lib import *
    with Lab() as lab:
        public(lab, "films")
        v = Viewer(lab, "films", "big", consent=True)     # a session
        v.connect(); v.listen()
        v.announce(offers=2); v.ws.wait(lambda m: "offer" in m)
        v.instruction(lambda i: i["state"] == "calm")     # its MAC was checked
        v.report(n=3, buffer=8000)
"""
import base64
import hashlib
import hmac
import http.client
import json
import os
import socket
import struct
import threading
import time

from upload_lib import Lab, check, finish, until  # noqa: F401 (for those who import this)


class WebSocket:
    """Connects, or keeps .status and .body of the refusal. A thread reads: .seen holds messages, .code the close code."""

    def __init__(self, port, path, headers=None, host="127.0.0.1"):
        self.seen, self.code, self.reason, self.closed = [], None, "", False
        self.sock = socket.create_connection((host, port), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        head = {"Host": f"{host}:{port}", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key,
                "Sec-WebSocket-Version": "13", **(headers or {})}
        self.sock.sendall((f"GET {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in head.items()) + "\r\n").encode())
        self.response = http.client.HTTPResponse(self.sock)
        self.response.begin()
        self.status = self.response.status
        if self.status != 101:
            self.body, self.closed = self.response.read(), True
            self.sock.close()
            return
        self.sock.settimeout(None)
        want = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.accepted = self.response.getheader("Sec-WebSocket-Accept") == want
        threading.Thread(target=self.run, daemon=True).start()

    def frame(self, opcode, payload=b"", fin=True, mask=True):
        """One frame onto the wire."""
        key = os.urandom(4)
        n = len(payload)
        head = bytes([(128 if fin else 0) | opcode])
        bit = 128 if mask else 0
        head += bytes([bit | n]) if n < 126 else bytes([bit | 126]) + struct.pack(">H", n) if n < 65536 else bytes([bit | 127]) + struct.pack(">Q", n)
        body = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if mask and n < 4096 else payload
        if mask and n >= 4096:
            body = (int.from_bytes(payload, "big") ^ int.from_bytes((key * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
        try:
            self.sock.sendall(head + (key if mask else b"") + body)
        except OSError:
            self.closed = True

    def send(self, message):
        self.frame(1, (message if isinstance(message, str) else json.dumps(message)).encode())

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.response.fp.read(n - len(data)) if self.response.fp else b""
            if not more:
                raise OSError("end")
            data += more
        return data

    def run(self):
        self.response.fp = self.response.fp or self.sock.makefile("rb")
        text = b""
        try:
            while True:
                first, second = self.exactly(2)
                n = second & 127
                n = struct.unpack(">H", self.exactly(2))[0] if n == 126 else struct.unpack(">Q", self.exactly(8))[0] if n == 127 else n
                payload = self.exactly(n)
                if first & 15 == 8:
                    self.code = struct.unpack(">H", payload[:2])[0] if n >= 2 else 1005
                    self.reason = payload[2:].decode(errors="replace")
                    self.frame(8, payload)
                    break
                if first & 15 == 9:
                    self.frame(10, payload)
                elif first & 15 in (0, 1):
                    text += payload
                    if first & 128:
                        self.seen.append(json.loads(text))
                        text = b""
        except (OSError, ValueError, AttributeError):
            pass
        self.closed = True
        self.sock.close()

    def wait(self, test, seconds=10):
        """The first message for which test holds."""
        return until(lambda: next((m for m in list(self.seen) if test(m)), None), seconds, 0.01)

    def close(self, code=1000):
        self.frame(8, struct.pack(">H", code))
        until(lambda: self.closed, 5)
        self.sock.close()

    def cut(self):
        """Gone without a word."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Stream:
    """Server-sent events on a thread: .seen is [(monotonic time, instruction)], each of which had a right MAC; .wrong others."""

    def __init__(self, port, path, key, headers=None):
        self.seen, self.wrong, self.closed, self.key = [], [], False, base64.b64decode(key)
        self.sock = socket.create_connection(("127.0.0.1", port))
        lines = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n".encode())
        self.response = http.client.HTTPResponse(self.sock)
        self.response.begin()
        self.status = self.response.status
        if self.status == 200:
            threading.Thread(target=self.run, daemon=True).start()
        else:
            self.body, self.closed = self.response.read(), True

    def take(self, data):
        mac = base64.b64encode(hmac.new(self.key, data["p"].encode(), hashlib.sha256).digest()).decode()
        (self.seen if mac == data["m"] else self.wrong).append((time.monotonic(), json.loads(data["p"])))

    def run(self):
        event = None
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "instruction":
                    self.take(json.loads(line[6:]))
                elif not line:
                    event = None
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.closed = True

    def wait(self, test=lambda i: True, seconds=10, after=0):
        """The first instruction since `after` for which test holds."""
        return until(lambda: next((i for t, i in list(self.seen) if t >= after and test(i)), None), seconds, 0.01)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def public(lab, bucket):
    """A bucket that everybody reads."""
    lab.put(f"buckets/{bucket}", {"name": bucket, "public": True})
    until(lambda: all(lab.req("GET", f"/b/{bucket}/x", gateway=i, follow=False).status == 307 for i in range(len(lab.gateways)))) or \
        lab.bail(f"{bucket} does not become public")


def session(lab, bucket, asset, user=None, gateway=0, headers=None, **wish):
    body = json.dumps({"bucket": bucket, "asset": asset, **wish})
    return lab.req("POST", "/_/peers/session", user, body, {"Content-Type": "application/json", **(headers or {})}, gateway=gateway)


class Viewer:
    count = 0

    def __init__(self, lab, bucket="films", asset="big", gateway=0, consent=True, **wish):
        self.lab, self.gateway = lab, gateway
        # right after its start a gateway may not know the secret yet
        got = until(lambda: (lambda a: a if a.status != 503 else None)(session(lab, bucket, asset, gateway=gateway, consent=consent, **wish)), 10)
        if not got or got.status != 200:
            lab.bail(f"session: {got}")
        self.__dict__.update({k: got.json[k] for k in ("viewer", "token", "key", "swarm", "trackers", "gateways")})
        Viewer.count += 1
        self.peer = f"-PM0200-{Viewer.count:012d}"
        self.hash = "R" * 19 + "0"
        self.ws = self.stream = None

    @property
    def port(self):
        return self.lab.port[self.lab.gateways[self.gateway].node]

    def connect(self, **kw):
        self.ws = WebSocket(self.port, f"/_/tracker?token={self.token}", **kw)
        return self.ws

    def listen(self, **kw):
        self.stream = Stream(self.port, f"/_/peers/events?token={self.token}", self.key, **kw)
        return self.stream

    def announce(self, offers=0, event="started", numwant=None):
        self.ws.send({"action": "announce", "event": event, "info_hash": self.hash, "peer_id": self.peer, "numwant": numwant or offers,
                      "uploaded": 0, "downloaded": 0, "left": 1,
                      "offers": [{"offer_id": f"{self.peer[-4:]}{int(time.monotonic() * 1000) % 10 ** 12:012d}{i:04d}", "offer":
                                  {"type": "offer", "sdp": f"v=0 of {self.peer}"}} for i in range(offers)]})

    def answer(self, offer):
        self.ws.send({"action": "announce", "info_hash": self.hash, "peer_id": self.peer, "to_peer_id": offer["peer_id"],
                      "offer_id": offer["offer_id"], "answer": {"type": "answer", "sdp": f"v=0 by {self.peer}"}})

    def report(self, headers=None, **says):
        body = {"r": 0, "n": 1, "pos": 2.0, "buffer": 8000, "have": [[0, 0, 3]], "down_server": 1000000, "down_peers": 0, "up": 0,
                "stalls": 0, "stall_ms": 0, "failed": 0, "slow": 0.2, "rtt": 20, "peers": [], "bad": [], "from": {}, **says}
        return self.lab.req("POST", f"/_/peers/report?token={self.token}", None, json.dumps(body),
                            {"Content-Type": "application/json", **(headers or {})}, gateway=self.gateway)

    def instruction(self, test=lambda i: True, seconds=10, after=0):
        return self.stream.wait(test, seconds, after)

    def leave(self):
        for end in self.ws, self.stream:
            if end:
                end.close()
