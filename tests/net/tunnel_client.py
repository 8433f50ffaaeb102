#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The client's and the target's side of tunnel_xdp_*.sh, where processes are in namespaces of their own.

    tunnel_client.py serve PORT                         any request: its body is read, "hello" answered; /big: 20,000,000 bytes
    tunnel_client.py load OUT ADDRESS PORT HOST RETRIES THREADS
                                                        asks until SIGTERM and 100 times more, one connection a thread, half
                                                        of them kept; OUT.begun is made when 50 were answered

load writes one JSON line to OUT at the end: {"asked","lost","bad","retried","longest","again"}. A request whose connection
fails or is broken is sent again on a new one while it is younger than RETRIES seconds (0: never); "lost": never answered,
"bad": another status than 200, "again": the longest time between two answers of all threads together.
"""
import http.client
import http.server
import json
import signal
import socketserver
import sys
import threading
import time


class Target(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        left = int(self.headers.get("Content-Length", 0))
        while left:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        size = 20000000 if self.path == "/big" else 0
        self.send_response(200)
        self.send_header("Content-Length", str(size or 5))
        self.end_headers()
        self.wfile.write(bytes(size) if size else b"hello")

    do_PUT = do_POST = do_GET

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 256


class Load:
    def __init__(self, address, port, host, retries):
        self.to, self.host, self.retries = (address, port), host, retries
        self.lock = threading.Lock()
        self.asked = self.lost = self.bad = self.retried = 0
        self.longest = self.again = 0.0
        self.last, self.enough = None, None
        self.why = {}

    def one(self, c):
        """A request on c or a new connection: the connection when it may be used again, else None. Raises when it is not answered."""
        c = c or http.client.HTTPConnection(*self.to, timeout=2)
        try:
            c.request("GET", "/", headers={"Host": self.host})
            r = c.getresponse()
            r.read()
        except (OSError, http.client.HTTPException):
            c.close()
            raise
        if r.status != 200:
            with self.lock:
                self.bad += 1
                self.why[r.status] = self.why.get(r.status, 0) + 1
        if r.will_close:
            c.close()
        return None if r.will_close else c

    def thread(self, keeps):
        c = None
        while not self.enough or self.asked < self.enough:
            began, answered = time.monotonic(), False
            while not answered:
                try:
                    c = self.one(c)
                    answered = True
                except (OSError, http.client.HTTPException) as e:
                    c = None
                    with self.lock:
                        self.why[repr(e)[:60]] = self.why.get(repr(e)[:60], 0) + 1
                    if time.monotonic() - began >= self.retries:
                        break
                    with self.lock:
                        self.retried += 1
                    time.sleep(0.05)
            if c and not keeps:
                c.close()
                c = None
            now = time.monotonic()
            with self.lock:
                self.asked += 1
                if self.asked == 50:
                    open(self.out + ".begun", "w").close()
                self.lost += not answered
                self.longest = max(self.longest, now - began)
                if answered:
                    self.again = max(self.again, now - (self.last or now))
                    self.last = now

    def run(self, out, threads):
        self.out = out
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "enough", self.asked + 100))
        all_ = [threading.Thread(target=self.thread, args=(i % 2 == 0,)) for i in range(threads)]
        for t in all_:
            t.start()
        for t in all_:
            t.join()
        with open(out, "w") as f:
            json.dump({"asked": self.asked, "lost": self.lost, "bad": self.bad, "retried": self.retried,
                       "longest": round(self.longest, 2), "again": round(self.again, 2), "why": self.why}, f)


if sys.argv[1] == "serve":
    Server(("127.0.0.1", int(sys.argv[2])), Target).serve_forever()
else:
    _, _, out_, address_, port_, host_, retries_, threads_ = sys.argv
    Load(address_, int(port_), host_, float(retries_)).run(out_, int(threads_))
