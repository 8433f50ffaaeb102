#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One hostname that many claim at once, addresses in and out of quarantine, tokens before and after their end (libfaketime),
and an edge that slept (SIGSTOP) while a hostname went to another tenant.

Run by tunnel_fence.sh. Needs root, curl, openssl, faketime.
"""
import http.client

from tunnel_lib import *

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
HOST = "app.edge.example"
HOUR = 3600


class Page:
    """A target that counts its requests."""

    def __init__(self, text, port):
        self.text, self.hits = text.encode(), 0
        serve(self.serve, port)

    def serve(self, c):
        stream = c.makefile("rb")
        while stream.readline():
            while stream.readline().strip():
                pass
            self.hits += 1
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.text), self.text))


def at(seconds, *argv):
    """`weir argv` with a clock that is so much ahead."""
    return subprocess.run(["faketime", "-f", f"{seconds:+d}s", BIN / "weir", *argv, "-c", lab.edges[0].conf], capture_output=True, text=True, timeout=60)


def create(name, *more, ahead=0, hostname=None):
    """Its address, or None and what was said."""
    got = at(ahead, "tunnel", "create", name, "--hostname", hostname or f"{name}.edge.example", "--json", *more)
    if got.returncode:
        return None, got.stdout + got.stderr
    made = json.loads(got.stdout)
    lab.tokens[name] = made["token"]
    return made["address"], None


def claims():
    out = [None] * 8

    def one(i):
        out[i] = create(f"claim{i}", hostname="claim.edge.example")
    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    won = [i for i in range(8) if out[i][0]]
    check(len(won) == 1 and all("claim.edge.example" in out[i][1] for i in range(8) if i not in won),
          f"8 claims of one hostname at once: {len(won)} has it, the others are told who does", out)
    there = [i for i in range(8) if key(lab, f"tunnels/claim{i}")]
    check(there == won, "no other tunnel was made")
    lab.weir("tunnel", "delete", f"claim{won[0]}", conf=lab.edges[0].conf)


def quarantine():
    """The pool has six addresses; one is in quarantine since claims()."""
    made = [create(f"q{i}") for i in range(6)]
    check([bool(a) for a, _ in made] == [True] * 5 + [False], f"5 of 6 addresses are to be had: {made[5][1].strip()[:120]}", made)
    where = f"198.19.7.{({1, 2, 3, 4, 5, 6} - {int(a.split('.')[3]) for a, _ in made if a}).pop()}"
    left = key(lab, f"addresses/{where}")["until"] - time.time()
    check(0.9 * HOUR < left <= HOUR, f"the other one, {where}, is in quarantine for {left:.0f} s")
    got, why = create("late", ahead=int(left) - 10)
    check(not got, "10 s before its end it is nobody's", got)
    got, why = create("late", ahead=int(left) + 2)
    check(got == where, "after it the next tunnel has it", why)
    # of edges, which clear away what is over, the clocks are right
    lab.weir("tunnel", "delete", "q0", conf=lab.edges[0].conf)
    gone = at(-HOUR + 4, "tunnel", "delete", "q1")
    there = key(lab, f"addresses/{made[1][0]}")
    check(gone.returncode == 0 and there, f"another's quarantine ends in {there['until'] - time.time():.1f} s")
    check(until(lambda: not key(lab, f"addresses/{made[1][0]}"), 12) and time.time() >= there["until"],
          f"an edge clears it away {time.time() - there['until']:.1f} s after its end")
    check(key(lab, f"addresses/{made[0][0]}"), "but not the one that was given back at the same time, for an hour")


def tokens():
    at(-25 * HOUR, "tunnel", "create", "old", "--hostname", "old.edge.example")
    got = at(-25 * HOUR, "tunnel", "token", "old", "--json")
    token = json.loads(got.stdout)["token"]
    got = lab.enroll(token, "old", fails=True)
    check(got.returncode and "has expired" in got.stdout + got.stderr and not (lab.work / "cred-old/cert.pem").exists(),
          f"a token of 25 hours ago: {(got.stdout + got.stderr).strip()[:120]}")
    token = json.loads(at(-24 * HOUR + 120, "tunnel", "token", "old", "--json").stdout)["token"]
    lab.authority.stop()
    lab.authority.env = {"LD_PRELOAD": FAKETIME, "FAKETIME": "+180s", "DONT_FAKE_MONOTONIC": "1"}
    lab.authority.start()
    got = lab.enroll(token, "old", fails=True)
    check(got.returncode and "has expired" in got.stdout + got.stderr, "one of two minutes before its end, where the authority's clock is 3 ahead")
    lab.authority.stop()
    lab.authority.env = None
    lab.authority.start()
    got = lab.enroll(token, "old", fails=True)
    check(got.returncode == 0 and (lab.work / "cred-old/cert.pem").exists(), "and where it is right: it is good", got.stdout + got.stderr)


def request_on(s):
    s.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())


def answer_on(s):
    """Status and body, or what became of the connection."""
    try:
        r = http.client.HTTPResponse(s)
        r.begin()
        return r.status, r.read().decode()[:10]
    except (OSError, http.client.HTTPException) as e:
        return 0, type(e).__name__


def stale_edge():
    """Edge and origin sleep together, so that the connection between them outlives the lease; requests wait for the edge, on
    connections that it knows and on new ones."""
    first, second = lab.edges
    for name in "q2", "q3":  # room for two
        at(-2 * HOUR, "tunnel", "delete", name)
    ours, theirs = Page("ours", 9001), Page("theirs", 9002)
    lab.tunnel("ours", [HOST])
    origin = lab.origin("ours", [{"to": "http://127.0.0.1:9001"}], edges=[second])
    until(lambda: lab.curl(f"http://{HOST}/", edge=second).stdout == "ours")
    kept = [socket.create_connection(("127.0.0.1", second.http), timeout=20) for _ in range(12)]
    for s in kept:
        request_on(s)
    check([answer_on(s) for s in kept] == [(200, "ours")] * 12, "12 clients have connections to the edge that will sleep")
    second.signal(signal.SIGSTOP)
    origin.signal(signal.SIGSTOP)
    lab.weir("tunnel", "delete", "ours", conf=first.conf)
    lab.tunnel("theirs", [HOST])
    heir = lab.origin("theirs", [{"to": "http://127.0.0.1:9002"}], edges=[first])
    check(until(lambda: lab.curl(f"http://{HOST}/", edge=first).stdout == "theirs"), "meanwhile another tenant has the hostname")
    check(until(lambda: key(lab, "members/edge/edge-1") is None, 10), "and the edge's lease has lapsed")
    before = ours.hits
    new = [socket.create_connection(("127.0.0.1", second.http), timeout=20) for _ in range(12)]
    for s in kept + new:
        request_on(s)
    second.signal(signal.SIGCONT)
    origin.signal(signal.SIGCONT)
    load, end = [], time.monotonic() + 3
    while time.monotonic() < end:
        load.append(lab.curl(f"http://{HOST}/", "-w", " %{http_code}", edge=second).stdout)
    got = [answer_on(s) for s in kept + new]
    count = lambda all_: {x: all_.count(x) for x in sorted(set(all_), key=str)}
    check(not any("ours" in g for g in got) and not any("ours" in g for g in load) and ours.hits == before,
          f"awake: 24 requests that waited: {count(got)}, {len(load)} more: {count([x[-3:] for x in load])}; "
          f"{ours.hits - before} reached the old origin", (got, load[:10]))
    check(until(lambda: lab.attached(second, "ours") == 0 and "certificate was revoked" in origin.said()), "its origin is told that its certificate went with the tunnel",
          origin.said()[-500:])
    check(lab.curl(f"http://{HOST}/", edge=first).stdout == "theirs" and ours.hits == before, "the new tenant is served")
    heir.stop()


enter("curl", "openssl", "faketime")
os.path.exists(FAKETIME) or skip("libfaketime is not installed")
with Lab(edges=2, tunnels="ttl: 1s, quarantine: 1h, ack_timeout: 2s, zone: edge.example, prefix: [198.19.7.0/29]") as lab:
    if not SAN:  # libfaketime must come first, and so must they
        claims()
        quarantine()
        tokens()
    stale_edge()
finish()
