#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of the HTTP server: http_limits.py HOST PORT PID FOLDER (of tests/net/http_files with HEADER_S=2,
IDLE_S=4, PER_ADDRESS=600)."""
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time

HOST, PORT, PID, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
URL = f"http://{HOST}:{PORT}"
done = failed = 0


def check(name, good, why=""):
    global done, failed
    done += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {done} - {name}" + (f" # {why}" if not good else ""), flush=True)


def get(path="/cached"):
    c = http.client.HTTPConnection(HOST, PORT, timeout=5)
    try:
        c.request("GET", path)
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


def gauge(name):
    for line in get("/count?metrics=1")[1].decode().splitlines():
        if line.startswith(f"weir_{name}{{"):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


def eventually(test, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if test():
            return True
        time.sleep(0.05)
    return False


def rss():
    with open(f"/proc/{PID}/status") as f:
        return int([x for x in f if x.startswith("VmRSS")][0].split()[1])


def connect():
    return socket.create_connection((HOST, PORT), timeout=5)


def trickle():
    """500 connections send a byte of their head every quarter of a second."""
    start = time.monotonic()
    slow = [connect() for _ in range(500)]
    head = b"GET /cached HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1000
    worst, at, cut = 0.0, 0, None
    while slow and time.monotonic() - start < 8:
        for s in list(slow):
            try:
                s.send(head[at:at + 1])
            except OSError:
                slow.remove(s)
                s.close()
        at += 1
        t = time.monotonic()
        status, _ = get()
        worst = max(worst, time.monotonic() - t)
        if status != 200:
            break
        if not slow:
            cut = time.monotonic() - start
        time.sleep(0.25)
    check("others are served while 500 connections trickle", worst < 1.0, f"{worst:.2f} s")
    check("trickling connections are cut in time", cut is not None and cut < 6, f"{len(slow)} live")
    check("and counted", eventually(lambda: b'reason="slow"} 5' in get("/count?metrics=1")[1], 3))
    for s in slow:
        s.close()


def idle():
    s = connect()
    s.sendall(b"GET /cached HTTP/1.1\r\nHost: x\r\n\r\n")
    s.recv(4096)
    ready = select.select([s], [], [], 8)[0]
    check("an idle kept connection is closed", bool(ready) and s.recv(1) == b"")
    s.close()


def per_address():
    many = [connect() for _ in range(650)]
    closed = 0
    for s in many:
        if select.select([s], [], [], 0.002)[0]:
            try:
                closed += s.recv(1) == b""
            except ConnectionResetError:
                closed += 1
    check("an address gets so many connections and no more", 45 <= closed <= 60, f"{closed} closed")
    for s in many:
        s.close()
    check("and may come back", eventually(lambda: get_quietly() == 200, 5))


def get_quietly():
    try:
        return get()[0]
    except (OSError, http.client.HTTPException):
        return None


def curl(*args):
    return subprocess.run(["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}",
                           *args], capture_output=True, text=True).stdout


def uploads():
    small, large = os.path.join(FOLDER, "small"), os.path.join(FOLDER, "large")
    with open(small, "wb") as f:
        f.write(os.urandom(100_000))
    with open(large, "wb") as f:
        f.write(os.urandom(32 << 20))
    for name, path in ("small", small), ("large", large):
        for expect in "Expect:", "Expect: 100-continue":
            got = curl("-L", "-H", expect, "-T", path, URL + "/moved")
            same = subprocess.run(["cmp", "-s", path, os.path.join(FOLDER, "elsewhere")]).returncode == 0
            check(f"307 to a {name} upload with {expect!r} is followed", got.startswith("201") and same, got)
    got = curl("-H", "Expect:", "-T", small, URL + "/moved", "-T", small, URL + "/moved")
    check("a refused small body does not cost the connection", got.endswith("307 0"), got)
    check("a body refused in its middle gets its answer", curl("-T", large, URL + "/refuse").startswith("413")
          and curl("-T", small, URL + "/refuse").startswith("400"))
    check("chunked past the limit is refused", curl("-X", "POST", "-H", "Transfer-Encoding: chunked", "-H",
                                                    "Content-Type: x/y", "--data-binary", f"@{small}",
                                                    URL + "/gather").startswith("413"))
    check("a client that takes what comes late is served", curl("-T", small, URL + "/slow").startswith("201"))


def cut_uploads():
    before = rss()
    for path in "/f/cut", "/slow", "/gather", "/refuse":
        for n in range(25):
            s = connect()
            method = b"POST" if path == "/gather" else b"PUT"
            s.sendall(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
                      + b"x" * (n * 1000))
            s.close()
    check("uploads that are cut end", eventually(lambda: gauge("http_requests_in_flight") <= 1, 10),
          f"{gauge('http_requests_in_flight')} in flight")
    for _ in range(200):
        s = connect()
        s.sendall(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
        s.close()
    for _ in range(50):
        s = connect()
        s.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        s.close()
    check("clients that leave while work is done for them are forgotten",
          eventually(lambda: gauge("http_requests_in_flight") <= 1 and gauge("http_connections") <= 2, 15),
          f"{gauge('http_requests_in_flight')} in flight, {gauge('http_connections')} connections")
    check("memory stays bounded", rss() - before < 64 << 10, f"{rss() - before} KiB more")


def slow_reader():
    """Asks for events and never reads: cut; 64 listeners and no more."""
    listeners = []
    for _ in range(70):
        s = connect()
        s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        listeners.append(s)
    heads = [s.recv(15) for s in listeners]
    check("listeners are limited", sum(b" 200" in h for h in heads) == 64 and sum(b" 503" in h for h in heads) == 6,
          str([h for h in heads if b" 200" not in h]))
    s = listeners[0]
    got = b""
    while got.count(b"event: tick") < 3:
        got += s.recv(4096)
    first = got.index(b"event: tick")
    check("the last event comes first, then the next ones", b"text/event-stream" in got[:first], repr(got[:200]))
    for s in listeners:
        s.close()
    check("listeners that left make room", eventually(lambda: gauge("http_connections") <= 2, 10))


before = json.loads(get("/count")[1])
trickle()
idle()
per_address()
uploads()
cut_uploads()
slow_reader()
check("at the end it serves", get()[0] == 200)
print(f"1..{done}")
sys.exit(failed > 0)
