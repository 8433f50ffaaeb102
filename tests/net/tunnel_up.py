#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One node under `weir up`: registry, authority and edge. Each is told to end (SIGTERM) under load, from new and
from kept connections, h2 ones too; `weir up` starts it again, and no client sees it.

Run by tunnel_up.sh. Needs root, curl, openssl.
"""
import http.client

from tunnel_lib import *

HOST, PORT, TLS = "app.edge.example", 8080, 8443
begun = threading.Event()


def page(c):
    """/slow takes a second and a half for its answer, /long sends a byte each 0.1 s for 6 s, everything else is at once."""
    stream = c.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        while stream.readline().strip():
            pass
        if b"/slow" in line:
            time.sleep(1.5)
        if b"/long" in line:
            begun.set()
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")
            for _ in range(60):
                c.sendall(b"x")
                time.sleep(0.1)
            continue
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class Load:
    """Threads that ask again and again, half of them by a new connection each time."""

    def __init__(self, threads=8, host=HOST):
        self.results, self.seconds, self.ends, self.lock = [], [], False, threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(host, i % 2 == 0), daemon=True) for i in range(threads)]
        for t in self.threads:
            t.start()

    def ask(self, host, keeps):
        c = None
        while not self.ends:
            began = time.monotonic()
            try:
                c = c or http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
                c.request("GET", "/", headers={"Host": host})
                r = c.getresponse()
                r.read()
                result = r.status
                if r.will_close or not keeps:
                    c.close()
                    c = None
            except (OSError, http.client.HTTPException) as e:
                result, c = repr(e), None
            with self.lock:
                self.results.append(result)
                self.seconds.append(time.monotonic() - began)

    def more(self, n):
        """Waits until so many more have been answered."""
        so_far = len(self.results)
        return until(lambda: len(self.results) >= so_far + n, 20)

    def stop(self):
        self.ends = True
        for t in self.threads:
            t.join(30)
        return [r for r in self.results if r != 200]


class H2Load:
    """curl, which asks four at a time on one kept h2 connection until it is stopped."""

    def __init__(self):
        self.out = open(w / f"h2.{id(self)}", "w+")
        self.process = subprocess.Popen(["curl", "-s", "-S", "--no-progress-meter", "-Z", "--parallel-max", "4", "--http2", "--cacert", w / "web.ca", "-o", "/dev/null",
                                         "-w", "%{http_code} %{http_version} %{num_connects} %{errormsg}\n", "--resolve", f"{HOST}:{TLS}:127.0.0.1",
                                         f"https://{HOST}:{TLS}/?[1-1000000]"], stdout=self.out, stderr=subprocess.DEVNULL)

    def lines(self):
        return pathlib.Path(self.out.name).read_text().split("\n")[:-1]  # the last one may not be whole

    def more(self, n):
        so_far = len(self.lines())
        return until(lambda: len(self.lines()) >= so_far + n, 20)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)  # no request is broken off before they are read
        lines = self.lines()
        self.process.kill()
        self.process.wait()
        return lines


def pids():
    roles = json.loads(lab.weir("status", "--json", conf=conf, fails=True).stdout)["roles"]
    return {name: r.get("pid") for name, r in roles.items()}


def restarted(role, times=1):
    """Ends the role, and waits for the one after it."""
    for _ in range(times):
        was, ready = pids()[role], f"{role} is ready"
        so_far = up.said().count(ready)
        os.kill(was, signal.SIGTERM)
        if not until(lambda: up.said().count(ready) > so_far and pids().get(role) not in (None, was), 20):
            return False
    return True


def edge_restarts():
    slow = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {HOST}",
                             f"http://127.0.0.1:{PORT}/slow"], stdout=subprocess.PIPE, text=True)
    load = Load()
    load.more(200)
    h2 = [H2Load() for _ in range(3)]
    for i in range(3):
        good = restarted("edge")
        check(good and load.more(200) and all(one.more(100) for one in h2), f"the edge was restarted ({i + 1}), and answers go on", up.said()[-1500:])
    failed = load.stop()
    check(not failed, f"{len(load.results)} requests meanwhile, {len(failed)} failed", (failed[:5], up.said()[-1500:]))
    got = [one.stop() for one in h2]
    bad = [line for one in got for line in one if not line.startswith("200 2 ")]
    opened = [sum(int(line.split()[2]) for line in one) for one in got]
    check(not bad and min(opened) >= 4, f"and {sum(map(len, got))} of h2, 4 at once on each of 3 connections that were kept, {len(bad)} failed", bad[:5])
    check(slow.communicate()[0] == "200", "the one that ran when the edge was told to end was answered")
    over = "edge ended with code 0"
    check(until(lambda: up.said().count(over) == 3, 12), "each ended in order, beside its successor or before it", up.said()[-1500:])


def long_transfer():
    """New requests do not wait for an old one to end."""
    long = subprocess.Popen(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-H", f"Host: {HOST}",
                             f"http://127.0.0.1:{PORT}/long"], stdout=subprocess.PIPE, text=True)
    begun.wait(10)
    load = Load()
    load.more(50)
    was, so_far = pids()["edge"], len(up.said())
    began = time.monotonic()
    good = restarted("edge") and load.more(100)
    took = time.monotonic() - began
    failed = load.stop()
    check(good and long.poll() is None and os.path.exists(f"/proc/{was}"), f"while a long download runs the next edge serves already, {took:.1f} s after SIGTERM",
          up.said()[-1500:])
    longest = max(load.seconds)
    check(not failed and longest < 3, f"{len(load.results)} requests meanwhile, {len(failed)} failed, the longest took {longest:.2f} s", failed[:5])
    check(long.communicate()[0] == "200 60" and until(lambda: "edge ended with code 0 after its successor took over" in up.said()[so_far:], 5), "the download ends whole, then the old edge",
          up.said()[-1500:])
    there = [key(lab, name) is not None for name in ("members/edge/box", "attachments/app/box", "routed/edge/box")]
    check(all(there), "which takes nothing of the new one's from the registry", there)


def origin_restarts():
    """An origin under a `weir up` of its own, in place of the one that ran by hand until now."""
    (w / "run/home").mkdir()
    os.chown(w / "run/home", UID, UID)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", w / "cred"], check=True)
    at = lab.write("home", f"origin: {{edges: [\"127.0.0.1:7400\"], credentials: {w}/cred, targets: [{{to: \"http://127.0.0.1:9000\"}}]}}\n")
    load = Load()
    load.more(50)
    home = lab.daemon("home", BIN / "weir", "up", "-c", at)
    until(lambda: "everything runs" in home.said())
    code = origin.stop()
    check(code == 0 and load.more(100), "another origin is started before the first one is stopped", home.said()[-1500:])
    for _ in range(3):
        ready = home.said().count("origin is ready")
        os.kill(json.loads(lab.weir("status", "--json", conf=at, fails=True).stdout)["roles"]["origin"]["pid"], signal.SIGUSR2)
        until(lambda: home.said().count("origin is ready") > ready)
        load.more(100)
    failed = load.stop()
    check(not failed and home.said().count("origin ends; its successor starts") == 3, f"which is restarted 3 times: {len(load.results)} requests meanwhile, "
          f"{len(failed)} failed, the longest took {max(load.seconds):.2f} s", (failed[:5], home.said()[-1500:]))


def others_restart():
    load = Load()
    load.more(100)
    for role in "authority", "registry":
        good = restarted(role)
        check(good and load.more(200), f"the {role} was restarted, and answers go on", up.said()[-1500:])
    failed = load.stop()
    check(not failed, f"{len(load.results)} requests meanwhile, {len(failed)} failed", (failed[:5], up.said()[-1500:]))
    lab.weir("tunnel", "create", "second", "--hostname", "second.edge.example", conf=conf)
    token = json.loads(lab.weir("tunnel", "token", "second", "--json", conf=conf))["token"]
    got = lab.weir("tunnel", "enroll", "-", "--edge", "127.0.0.1:7400", "--dir", w / "second", input=token, fails=True)
    check(got.returncode == 0, "a tunnel is made and enrolled after that", got.stderr)


def ends():
    up.signal(signal.SIGTERM)
    check(until(lambda: not up.runs(), 20) and up.process.returncode == 0, "SIGTERM ends all of them", up.said()[-1500:])
    check(not listens(PORT), "and no listener is left")


enter("curl", "openssl")
serve(page, 9000)
with Lab(edges=0) as lab:
    # all in one node, instead of the processes of the library
    for d in lab.daemons:
        d.stop()
    w = lab.work
    lab.weir("ca", "issue", w / "ca", "box", "127.0.0.1")
    conf = lab.write("box", f"registry_server: {{listen: [\"unix:{w}/run/registry.socket\"]}}\nauthority: {{folder: {w}/ca}}\n"
                     f"tls: {{ca: {w}/ca/ca.pem, cert: {w}/ca/box.pem, key: {w}/ca/box.key}}\ntunnels: {{ttl: 1s, quarantine: 2s}}\n"
                     f"edge: {{listen: [\"127.0.0.1:{PORT}\"], listen_tls: [\"127.0.0.1:{TLS}\"], certificates: [{{cert: {w}/web.pem, key: {w}/web.key}}], attach: [\"127.0.0.1:7400\"], origins: {w}/ca/origins.pem, drain: 10s}}\n")
    up = lab.daemon("up", BIN / "weir", "up", "-c", conf)
    check(until(lambda: "everything runs" in up.said()), "weir up runs registry, authority and edge", up.said()[-1500:])
    token = json.loads(lab.weir("tunnel", "create", "app", "--hostname", HOST, "--json", conf=conf))["token"]
    lab.weir("tunnel", "enroll", "-", "--edge", "127.0.0.1:7400", "--dir", w / "cred", input=token)
    origin = lab.daemon("origin", BIN / "weir", "tunnel", "run", "--dir", w / "cred", "--to", "http://127.0.0.1:9000")
    ask = ["curl", "-s", "-H", f"Host: {HOST}", f"http://127.0.0.1:{PORT}/"]
    check(until(lambda: subprocess.run(ask, capture_output=True, text=True).stdout == "hello"), "and the page comes", origin.said())
    edge_restarts()
    long_transfer()
    origin_restarts()
    others_restart()
    ends()
finish()
