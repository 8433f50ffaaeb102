#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What breaks, and who notices: connections cut, the registry away, origins paused, slow readers, loss, restarts.

Run by tunnel_faults.sh. Needs root, curl, h2load, nft, openssl. WEIR_LONG=1: the times of the issue (60 s, 10 s) instead of short ones.
"""
import http.client

from tunnel_lib import *

LONG = os.environ.get("WEIR_LONG") == "1"
HOST, ONE = "app.edge.example", "one.edge.example"


def target(c):
    """Answers GET /slow after a second, /big with 64 GiB, everything else at once; POST after its body."""
    stream = c.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        method, path, _ = line.decode().split()
        length = 0
        while True:
            field = stream.readline().strip().lower()
            if not field:
                break
            if field.startswith(b"content-length:"):
                length = int(field.split(b":")[1])
        stream.read(length)
        if path.startswith("/slow"):
            time.sleep(1)
        if path.startswith("/big"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 68719476736\r\n\r\n")
            for _ in range(1 << 16):
                c.sendall(bytes(1 << 20))
            continue
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Cut:
    """One connection of an origin to an edge is reset, as a line that fails on the way does it."""

    def __init__(self, edge, port):
        rules = "; ".join(f"tcp {a} {edge.attach} tcp {b} {port} reject with tcp reset" for a, b in (("dport", "sport"), ("sport", "dport")))
        subprocess.run(["nft", "-f", "-"], input=f"table inet cut {{ chain in {{ type filter hook input priority 0; {rules}; }}\n}}\n", text=True, check=True)

    def end(self):
        subprocess.run(["nft", "delete", "table", "inet", "cut"], check=True)


class Load:
    """Threads that ask again and again; a broken kept connection that had not answered counts as failed."""

    def __init__(self, port, threads=8, path="/", method="GET"):
        self.results, self.stop_at, self.lock = [], None, threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(port, path, method), daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def ask(self, port, path, method):
        c = None
        while self.stop_at is None:
            began = time.monotonic()
            try:
                c = c or http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                c.request(method, path, headers={"Host": HOST})
                r = c.getresponse()
                r.read()
                result = r.status
                if r.will_close:
                    c.close()
                    c = None
            except (OSError, http.client.HTTPException) as e:
                result, c = repr(e), None
            with self.lock:
                self.results.append((result, time.monotonic() - began))

    def stop(self):
        self.stop_at = time.monotonic()
        for t in self.threads:
            t.join(30)
        return self.results

    def failed(self):
        return [r for r, _ in self.results if r != 200]


def many(lab, n, path, *args, host=HOST):
    """n requests at once: their statuses."""
    out = [None] * n

    def one(i):
        out[i] = lab.code(f"http://{host}{path}", *args)
    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    return threads, out


def origins(lab, edge=0):
    return [o for t in lab.ask(f"edge-{edge}", "edge", {"do": "status"})["tunnels"] for o in t["origins"]]


def cut_connection(lab):
    """All four of an origin's connections are at one edge; requests wait on each."""
    origin = lab.origin("one", TARGETS, edges=lab.edges[:1], node="origin-cut")
    until(lambda: lab.attached(lab.edges[0], "one") == 4)
    gets, got = many(lab, 24, "/slow", host=ONE)
    posts, posted = many(lab, 8, "/slow", "-d", "x=1", host=ONE)
    until(lambda: sum(o["open"] for o in origins(lab)) >= 32, 5)
    cut = Cut(lab.edges[0], origins(lab)[0]["from"][0].split(":")[1])
    for t in gets + posts:
        t.join()
    cut.end()
    check(got == ["200"] * 24, f"one of four connections was cut: {got.count('200')} of 24 GETs in flight answered (retried)", got)
    lost = posted.count("502")
    check(0 < lost <= 4 and posted.count("200") == 8 - lost,
          f"of 8 POSTs in flight {lost} were on it and got 502, {posted.count('200')} answered", posted)
    bad = until(lambda: [a for a in lab.access() if a["status"] == 502], 2)
    check(len(bad) == lost and all(re.fullmatch("[0-9a-f]{16}", a["id"]) for a in bad), "each stands in the access log with its id", bad)
    check(until(lambda: lab.attached(lab.edges[0], "one") == 4, 5), "the origin dialled again: four connections")
    origin.stop()


def registry_gone(lab):
    seconds = 60 if LONG else 7  # an edge's lease lasts 5 s
    load = Load(lab.edges[0].http, 4)
    lab.registry.signal(signal.SIGSTOP)
    time.sleep(seconds)
    lab.registry.signal(signal.SIGCONT)
    n = len(load.stop())
    check(not load.failed() and n > 100, f"the registry was away for {seconds} s: {n} requests, {len(load.failed())} failed", load.failed()[:5])
    check(until(lambda: lab.attached(lab.edges[0], "app") == 2, 5), "and the origin stays attached")


def origin_paused(lab, origin):
    origin.signal(signal.SIGSTOP)
    began = time.monotonic()
    gone = until(lambda: lab.attached(lab.edges[0], "app") == 0, 10)
    check(gone, f"a paused origin is missed after {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    code = lab.code(f"http://{HOST}/")
    check(code == "502", f"then the answer is {code} after {time.monotonic() - began:.1f} s")
    time.sleep(max(0, 10 - (time.monotonic() - began)) if LONG else 0)
    origin.signal(signal.SIGCONT)
    began = time.monotonic()
    back = until(lambda: lab.code(f"http://{HOST}/") == "200", 10)
    check(back, f"it answers again {time.monotonic() - began:.1f} s after it went on")
    until(lambda: all(lab.attached(e, "app") for e in lab.edges), 10)


def rate(lab, seconds=2):
    """Bytes that four downloads at once bring in so many seconds."""
    ps = [subprocess.Popen(["curl", "-s", "-m", str(seconds), "-o", "/dev/null", "-w", "%{size_download}\n", "--resolve",
                            f"{HOST}:{lab.edges[0].http}:127.0.0.1", f"http://{HOST}:{lab.edges[0].http}/big"],
                           stdout=subprocess.PIPE, text=True) for _ in range(4)]
    return sum(int(line) for p in ps for line in p.communicate()[0].split())


def anon_kib(pid):
    return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def slow_readers(lab, n):
    """Clients that take the first bytes of /big and then nothing."""
    slow = []
    for _ in range(n):
        s = socket.create_connection(("127.0.0.1", lab.edges[0].http))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        s.recv(100)
        slow.append(s)
    return slow


def slow_reader(lab, origin):
    rate(lab, 0.5)
    rounds = []
    for _ in range(5):  # again when the machine was busy with other things
        alone = rate(lab, 1.5)
        before = anon_kib(lab.edges[0].pid) + anon_kib(origin.pid)
        slow = slow_readers(lab, 4)
        beside = rate(lab, 1.5)
        grown = anon_kib(lab.edges[0].pid) + anon_kib(origin.pid) - before
        for s in slow:
            s.close()
        rounds.append(round(beside / alone, 2))
        if beside >= 0.9 * alone:
            break
    check(beside >= 0.9 * alone, f"beside 4 readers that stand still the others keep {beside / alone:.0%} of their rate", rounds)
    check(grown < (256 if SAN else 32) << 10, f"which costs {grown} KiB of memory at both ends")


def loss(lab):
    rules = f"table inet loss {{ chain in {{ type filter hook input priority 0; tcp dport {lab.edges[0].attach} numgen random mod 100 < 5 drop; " \
            f"tcp sport {lab.edges[0].attach} numgen random mod 100 < 5 drop; }}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    n = 300 if LONG else 60
    threads, codes = many(lab, n, "/", host=HOST)
    for t in threads:
        t.join()
    subprocess.run(["nft", "delete", "table", "inet", "loss"], check=True)
    check(codes == ["200"] * n, f"5% of the tunnel's packets are lost: {codes.count('200')} of {n} requests answered", codes)


class H2Load:
    """h2load with kept h2 connections of 8 streams each; it ends when told."""

    def __init__(self, lab, url, seconds):
        self.process = subprocess.Popen(["h2load", "-c", "4", "-m", "8", "-D", str(seconds), "--connect-to", f"127.0.0.1:{lab.edges[0].https}", url],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait(self):
        """Requests that were answered and how many were not, with everything that it said."""
        said = self.process.communicate()[0]
        got = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        status = re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        if not got or not status:
            return 0, 1, said
        return int(status[1]), sum(map(int, got.groups()[1:])) + sum(map(int, status.groups()[1:])), said


def restart_origin(lab, origin):
    """As systemd does it for `restart`: SIGUSR2, and the next process when this one has ended. Then a plain stop."""
    load, posts = Load(lab.edges[0].http, 6), Load(lab.edges[0].http, 2, method="POST")
    h2 = H2Load(lab, f"https://{HOST}/", 6)
    codes, longest = [], 0
    for i in range(3):
        n = len(load.results)
        until(lambda: len(load.results) > n + 200)
        origin.signal(signal.SIGUSR2)
        codes.append(origin.process.wait(20))
        origin.start()
        until(lambda: all(lab.attached(e, "app") for e in lab.edges), 10)
    n, answered = len(load.results), len(posts.results)
    until(lambda: len(load.results) > n + 50 and len(posts.results) > answered + 10)
    longest = max(s for _, s in load.stop() + posts.stop())
    bad = load.failed() + posts.failed()
    check(codes == [0] * 3 and not bad, f"the origin was restarted 3 times under load: {len(load.results)} GETs and {len(posts.results)} POSTs, "
          f"{len(bad)} failed, the longest took {longest:.2f} s", (codes, bad[:5]))
    good, failed, said = h2.wait()
    check(good > 100 and not failed, f"of kept h2 connections: {good} requests, {failed} failed", said)
    # an edge must not wait after a stop that is no restart
    code = origin.stop()
    began = time.monotonic()
    got = lab.code(f"http://{HOST}/")
    check(code == 0 and got == "502" and time.monotonic() - began < 1, f"after a stop it is {got} at once ({time.monotonic() - began:.2f} s)")
    origin.start()
    until(lambda: all(lab.attached(e, "app") for e in lab.edges), 10)


def overlap(lab, origin):
    """A second process with the same credentials before the first one is stopped."""
    load = Load(lab.edges[0].http, 8)
    until(lambda: len(load.results) > 200)
    other = lab.origin("app", TARGETS, node="origin-2", wait=False)
    until(lambda: all(lab.attached(e, "app") == 4 for e in lab.edges), 10)
    codes = [origin.stop()]
    origin.start()
    until(lambda: all(lab.attached(e, "app") == 4 for e in lab.edges), 10)
    codes.append(other.stop())
    n = len(load.results)
    until(lambda: len(load.results) > n + 50)
    load.stop()
    check(codes == [0, 0] and not load.failed(), f"a second process before the first is stopped, and back: {len(load.results)} requests, "
          f"{len(load.failed())} failed", load.failed()[:5])


def second_origin(lab, origin):
    other = lab.origin("app", TARGETS, node="origin-2")
    until(lambda: lab.attached(lab.edges[0], "app") == 4, 10)
    load = Load(lab.edges[0].http, 8)
    until(lambda: len(load.results) > 200)
    origin.kill()
    time.sleep(0.5)
    n = len(load.stop())
    check(not load.failed(), f"one of two origins was killed (SIGKILL) under load: {n} requests, {len(load.failed())} failed", load.failed()[:5])
    other.stop()
    origin.start()
    until(lambda: all(lab.attached(e, "app") for e in lab.edges), 10)


TARGETS = [{"to": "http://127.0.0.1:9000"}]
enter("curl", "h2load", "nft", "openssl")
with Lab(edges=1) as the_lab:
    serve(target, 9000)
    the_lab.tunnel("one", [ONE])
    the_lab.tunnel("app", [HOST])
    cut_connection(the_lab)
    the_lab.edges.append(the_lab.edge(1))
    app = the_lab.origin("app", TARGETS)
    registry_gone(the_lab)
    origin_paused(the_lab, app)
    slow_reader(the_lab, app)
    loss(the_lab)
    restart_origin(the_lab, app)
    overlap(the_lab, app)
    second_origin(the_lab, app)
finish()
