#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several origins of one tunnel: a slow one gets less, a failing one next to nothing, each only the hostnames that it serves;
one that dies or leaves costs no request.

Run by tunnel_balance.sh. Needs root, curl, openssl.
"""
import collections
import http.client

from tunnel_lib import *

enter("curl", "openssl")
HOSTS = "app.edge.example", "api.edge.example"
mood = {9001: (0.002, 200), 9002: (0.002, 200)}  # seconds, status


def target(port):
    def handler(c):
        stream = c.makefile("rb")
        while stream.readline():
            while stream.readline().strip():
                pass
            takes, status = mood[port]
            time.sleep(takes)
            c.sendall(b"HTTP/1.1 %d x\r\nContent-Length: 4\r\n\r\n%d" % (status, port))
    return handler


def load(edge, seconds, threads=6, host=HOSTS[0]):
    """Answers by (status, body) of so many clients that ask one after the other."""
    seen, lock, end = collections.Counter(), threading.Lock(), time.monotonic() + seconds

    def ask():
        c = http.client.HTTPConnection("127.0.0.1", edge.http, timeout=10)
        while time.monotonic() < end:
            try:
                c.request("GET", "/", headers={"Host": host})
                r = c.getresponse()
                got = r.status, r.read().decode()
            except (OSError, http.client.HTTPException) as e:
                c.close()
                got = 0, type(e).__name__
            with lock:
                seen[got] += 1

    all_ = [threading.Thread(target=ask) for _ in range(threads)]
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    return seen


def weights(lab, edge):
    for t in lab.ask(edge.name, "edge", {"do": "status"})["tunnels"]:
        if t["name"] == "app":
            return {o["origin"]: round(o["weight"], 2) for o in t["origins"]}


def settles(edge, holds, tries=6):
    """What clients see once the edge has learned: two seconds at a time, until it holds or all tries are used up."""
    for _ in range(tries):
        seen = load(edge, 2)
        if holds(seen):
            break
    return seen


def share(seen, body):
    return sum(n for (_, b), n in seen.items() if b == body) / max(1, sum(seen.values()))


for p in mood:
    serve(target(p), p)
with Lab(edges=1) as lab:
    edge = lab.edges[0]
    lab.tunnel("app", HOSTS)
    one = lab.origin("app", [{"to": "http://127.0.0.1:9001"}], node="one")
    two = lab.origin("app", [{"to": "http://127.0.0.1:9002"}], node="two", connections=1, wait=False)
    check(until(lambda: lab.attached(edge, "app") == 5), "two origins, one with four connections, one with a single one")
    fine = lambda seen: set(s for s, _ in seen) == {200}
    seen = settles(edge, lambda seen: fine(seen) and 0.35 < share(seen, "9002") < 0.65)
    check(fine(seen) and 0.35 < share(seen, "9002") < 0.65, f"connections are not capacity: {dict(seen)}")

    mood[9002] = 0.02, 200
    seen = settles(edge, lambda seen: fine(seen) and 0.005 < share(seen, "9002") < 0.2)
    check(fine(seen) and 0.005 < share(seen, "9002") < 0.2, f"a tenth of the speed: {dict(seen)}, weights {weights(lab, edge)}")
    mood[9002] = 0.0005, 503
    seen = settles(edge, lambda seen: 0.002 < share(seen, "9002") < 0.1)
    check(0.002 < share(seen, "9002") < 0.1, f"one that fails at once is no magnet: {dict(seen)}, weights {weights(lab, edge)}")
    mood[9002] = 0.002, 200
    seen = settles(edge, lambda seen: fine(seen) and share(seen, "9002") > 0.3, tries=10)
    check(fine(seen) and share(seen, "9002") > 0.3, f"well again: {dict(seen)}, weights {weights(lab, edge)}")

    killer = threading.Timer(1, two.kill)
    killer.start()
    seen = load(edge, 2)
    check(set(s for s, _ in seen) == {200}, f"an origin is killed: {dict(seen)}")
    two = lab.origin("app", [{"to": "http://127.0.0.1:9002", "hostname": HOSTS[1]}], node="two", wait=False)
    check(until(lambda: lab.attached(edge, "app") == 8), "it comes back, for one of the hostnames alone")
    seen = load(edge, 2)
    check(seen.keys() == {(200, "9001")}, f"the other hostname's requests do not reach it: {dict(seen)}")
    seen = load(edge, 2, host=HOSTS[1])
    check(set(s for s, _ in seen) == {200} and share(seen, "9002") > 0.3, f"its own do: {dict(seen)}")
    leaver = threading.Timer(1, one.stop)
    leaver.start()
    seen = load(edge, 3, host=HOSTS[1])
    leaver.join()
    check(set(s for s, _ in seen) == {200} and not one.runs(), f"an origin leaves in order: {dict(seen)}")
    got = lab.code(f"http://{HOSTS[0]}/")
    check(got == "502", f"nobody serves the other hostname now: {got}")
finish()
