#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An origin alone, among edges made of Python that refuse, drain, hang, die and come back.

Run by tunnel_origin.sh. Needs root, openssl, python3-h2.
"""
from tunnel_lib import *

try:
    from tunnel_fake import FakeEdge
except ImportError:
    skip("python3-h2 is not installed")

HOST = "app.edge.example"
ALL = [HOST, "gone.edge.example", "odd.edge.example"]


class Place:
    """A folder with an installation's authorities, credentials of a tunnel, and daemons."""

    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="weir-origin.", dir="/var/tmp"))
        os.chmod(self.work, 0o755)
        atexit.register(lambda: shutil.rmtree(self.work, ignore_errors=True))
        self.daemons = []
        self.run("weir", "ca", "init", self.work / "ca")
        for i in range(3):
            self.run("weir", "ca", "issue", self.work / "ca", f"edge-{i}", "127.0.0.1")
        self.credentials()

    def run(self, *argv, env=None):
        return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, env={**os.environ, **(env or {})})

    def credentials(self, ca="origins", hostnames=(HOST,), folder="cred", at=None):
        """What `weir tunnel enroll` would have written; at: when it was ("-60d")."""
        w, d = self.work, self.work / folder
        d.mkdir(exist_ok=True)
        (w / "ext").write_text("subjectAltName=" + ",".join(f"DNS:{h}" for h in hostnames) + "\nextendedKeyUsage=clientAuth\n")
        self.run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=app",
                 "-keyout", d / "key.new", "-out", w / "csr")
        self.run("openssl", "x509", "-req", "-in", w / "csr", "-CA", w / f"ca/{ca}.pem", "-CAkey", w / f"ca/{ca}.key", "-days", "30",
                 "-extfile", w / "ext", "-out", d / "cert.new",
                 env=at and {"LD_PRELOAD": "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "FAKETIME": at})
        shutil.copy(w / "ca/ca.pem", d / "ca.new")
        for name in "key", "cert", "ca":
            os.chown(d / f"{name}.new", UID, UID)
            os.rename(d / f"{name}.new", d / f"{name}.pem")
        return d

    def edge(self, i, **more):
        return FakeEdge(f"edge-{i}", 7000 + i, self.work / f"ca/edge-{i}.pem", self.work / f"ca/edge-{i}.key",
                        self.work / "ca/origins.pem", **more)

    def write(self, name, targets, edges, more=""):
        w = self.work
        for folder in f"run-{name}", f"state-{name}":
            (w / folder).mkdir(exist_ok=True)
            os.chown(w / folder, UID, UID)
        conf = w / f"{name}.yaml"
        conf.write_text(f"node: {name}\nuser: \"{UID}\"\nstate: {w}/state-{name}\nrun: {w}/run-{name}\nlog: debug\n"
                        f"origin: {json.dumps({'credentials': str(w / 'cred'), 'edges': edges, 'targets': targets})[:-1]}{more}}}\n")
        return conf

    def origin(self, name, targets, edges, more="", env=None):
        conf = self.write(name, targets, edges, more)
        d = Daemon(self, name, [BIN / "weir-tunnel", "origin", "-c", conf], env)
        d.conf = conf
        self.daemons.append(d)
        return d

    def status(self, d):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.work / f"run-{d.name}/origin.sock"))
            s.sendall(b'{"do":"status"}\n')
            return json.loads(s.makefile().readline())


def echo(c):
    """HTTP/1.1: answers with the head that came, as text; /slow after a second; /big with 8 MiB."""
    stream = c.makefile("rb")
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            head += line
        length = re.search(rb"(?i)content-length: (\d+)", head)
        body = stream.read(int(length.group(1))) if length else b""
        path = head.split()[1]
        if path == b"/slow":
            time.sleep(1)
        said = bytes(8 << 20) if path == b"/big" else head + body
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(said) + said)


def spread(*edges):
    return [len(e.live()) for e in edges]


def test_attach(p, a, b, o):
    check(until(lambda: spread(a, b) == [2, 2]), "four connections are spread over two edges", f"{spread(a, b)}\n{o.said()}")
    hello = a.live()[0].hello
    check(hello["hostnames"] == ALL and hello["ports"] == [2222] and hello["connections"] == 4 and len(hello["origin"]) == 32,
          "the hello names hostnames, ports and connections", hello)
    check(len({c.hello["origin"] for c in a.live() + b.live()}) == 1, "all of them are of one origin")
    check(until(lambda: any("load" in line for line in a.live()[0].lines), 5), "it tells its load")
    check("published: http://app.edge.example/" in o.said(), "it says which URL leads to it")
    s = p.status(o)
    check(s["tunnel"] == "app" and s["attached"] == {"connections": 4, "edges": 2, "wanted": 4} and
          [t["answers"] for t in s["targets"]][:2] == [True, False], "status shows connections and targets", s)


def test_requests(p, a):
    c = a.live()[0]
    tell = [("x-weir-client", "192.0.2.7:4711"), ("x-weir-local", "198.18.1.1:80"), ("x-request-id", "0123456789abcdef"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7;host=app.edge.example;proto=http")]
    got = c.ask("GET", HOST, "/x?y=1", tell)
    text = got.body.decode().lower()
    check(got.status == 200 and text.startswith("get /x?y=1 http/1.1\r\n") and f"host: {HOST}\r\n" in text, "a request reaches its target",
          f"{got.status} {text}")
    check("x-weir-" not in text, "x-weir-* never reaches a target", text)
    check(all(f"{k}: {v}" in text for k, v in tell[2:]), "request id, trace and forwarded fields do", text)
    got = c.ask("POST", HOST, "/", tell + [("content-length", "100000")], b"x" * 100000)
    check(got.status == 200 and got.body.endswith(b"x" * 100000), "a body goes up and down", (got.status, len(got.body), got.reset))
    got = c.ask("GET", HOST, "/big", tell)
    check(got.status == 200 and len(got.body) == 8 << 20, "8 MiB come down", (got.status, len(got.body), got.reset))
    got = c.ask("GET", "other.edge.example", "/", tell)
    check(got.status == 421, "a hostname that the certificate does not bear gets 421", got.status)
    got = c.ask("GET", HOST, "/_/tunnel/attach", tell)
    check(got.status == 200, "the control stream's path is an ordinary one for a hostname", got.status)
    line = json.loads((p.work / "access.log").read_text().splitlines()[0])
    check(line["id"] == "0123456789abcdef" and line["trace"] == "0af7651916cd43dd8448eb211c80319c" and line["status"] == 200 and
          line["client"] == "192.0.2.7" and line["host"] == HOST and line["path"] == "/x",
          "the access log has the request id and the trace id", line)


def test_connect(a):
    c = a.live()[0]
    stream, got = c.begin("CONNECT", f"{HOST}:2222", end=False)
    got.headed.wait(5)
    c.send(stream, b"hello")
    ok = until(lambda: got.body == b"hello", 5)
    c.send(stream, b"", end=True)
    check(got.status == 200 and ok and got.ended.wait(5), "CONNECT to a port with a target carries bytes", (got.status, got.body))
    got = c.ask("CONNECT", f"{HOST}:2223", None)
    check(got.status == 403, "CONNECT to another port gets 403", got.status)
    got = c.ask("CONNECT", "127.0.0.1:22", None)
    check(got.status in (403, 421), "CONNECT to an address of its network is refused", got.status)


def test_away(p, a, o):
    c = a.live()[0]
    got = c.ask("GET", "gone.edge.example", "/", [("x-request-id", "feedbeeffeedbeef")])
    text = got.body.decode()
    check(got.status == 502 and "feedbeeffeedbeef" in text and got.field("x-request-id") == "feedbeeffeedbeef",
          "a target that is away gets 502 with the request id", f"{got.status} {text}")
    check("127.0.0.1" not in text, "strangers do not learn the target's address", text)
    check(until(lambda: "connection refused: nothing listens there" in o.said(), 5), "the log says what is wrong with the target", o.said())
    got = c.ask("GET", "odd.edge.example", "/", [("x-request-id", "1")])
    check(got.status == 502 and until(lambda: "is not known; check its spelling" in o.said() or "no name server answers" in o.said(), 15),
          "so it does for a name that is not known", f"{got.status}\n{o.said()[-500:]}")


def test_dead_edge(p, a, b, o):
    b.stop()
    check(until(lambda: spread(a) == [4], 10), "an edge died: the other has all connections", f"{spread(a)}\n{o.said()[-2000:]}")
    b2 = p.edge(1)
    check(until(lambda: spread(a, b2) == [2, 2], 20), "it came back: they are even again", f"{spread(a, b2)}\n{o.said()[-2000:]}")
    return b2


def test_edge_drains(a, b, o):
    c = b.live()[0]
    stream, slow = c.begin("GET", HOST, "/slow")
    before = len(a.conns)
    for x in b.live():
        x.say({"drain": True})
    check(until(lambda: len(a.live()) == 4, 5) and not c.closed.is_set(), "an edge drains: others have new connections before the old ones end",
          spread(a, b))
    for x in b.live():
        x.goodbye("this edge stops")
    check(slow.ended.wait(5) and slow.status == 200, "what ran there ends in order", (slow.status, slow.reset))
    return before


def test_metrics():
    page = subprocess.run(["curl", "-s", "http://127.0.0.1:7900/_/metrics"], capture_output=True, text=True).stdout
    value = {k: float(v) for k, v in re.findall(r"^weir_(origin_\S+) (\S+)$", page, re.M)}
    check(value.get("origin_connections") == 4 and value.get("origin_edges") == 2 and value.get('origin_requests_total{class="2xx"}', 0) >= 5 and
          value.get('origin_errors_total{cause="port"}') == 1 and value.get('origin_errors_total{cause="hostname"}') == 2 and value.get('origin_connections_total{event="attached"}', 0) >= 4 and
          2.5e6 < value.get("origin_certificate_seconds", 0) < 2.7e6, "metrics: connections, requests, errors by cause, the certificate's time", value)


def test_hang(a, b, o):
    c = a.live()[0]
    began = time.monotonic()
    c.deaf = True
    ok = until(lambda: len([x for x in a.live() + b.live() if not x.deaf]) >= 4, 12)
    took = time.monotonic() - began
    check(ok and 2.5 < took < 9, "an edge that hangs is left after four seconds of silence", f"{took} {spread(a, b)}\n{o.said()[-1500:]}")
    c.deaf = False
    c.cut()


def test_reload(p, a, b, o):
    old = set(map(id, a.live() + b.live()))
    c = a.live()[0]
    stream, slow = c.begin("GET", HOST, "/slow")
    edges, bytes_to = ["127.0.0.1:7000", "127.0.0.1:7001"], {"port": 2222, "to": "tcp://127.0.0.1:9002"}
    p.write("o", [{"to": "http://127.0.0.1:9001"}, bytes_to], edges)
    o.signal(signal.SIGHUP)
    check(until(lambda: "counts now" in o.said()), "SIGHUP loads the configuration")
    got = c.ask("GET", HOST, "/")
    check(got.status == 200 and got.body == b"other", "a new target counts at once", (got.status, got.body))
    check(slow.ended.wait(5) and slow.status == 200 and b"/slow" in slow.body, "what ran with the old target ends in order", slow.status)
    check(set(map(id, a.live() + b.live())) == old, "connections stay when edges, credentials and what is served do")
    (p.work / "o.yaml").write_text((p.work / "o.yaml").read_text().replace("http://127.0.0.1:9001", "127.0.0.1:9001"))
    o.signal(signal.SIGHUP)
    check(until(lambda: "is kept" in o.said()) and "write http://127.0.0.1:9001" in o.said(), "a faulty file costs nothing and says what is right",
          o.said()[-800:])
    p.write("o", [{"to": "http://127.0.0.1:9001"}], edges)
    o.signal(signal.SIGHUP)
    until(lambda: len([x for x in a.live() + b.live() if id(x) not in old]) == 4, 10)
    check(until(lambda: spread(a, b) == [2, 2], 10) and all(x.hello["ports"] == [] for x in a.live() + b.live()),
          "a port goes: connections are made anew, and tell it", [x.hello for x in a.live() + b.live()])
    old, c = set(map(id, a.live() + b.live())), a.live()[0]
    stream, slow = c.begin("GET", HOST, "/slow")
    p.credentials(hostnames=ALL)
    o.signal(signal.SIGHUP)
    ok = until(lambda: len([x for x in a.live() + b.live() if id(x) not in old]) == 4 and not [x for x in a.live() + b.live() if id(x) in old], 15)
    check(ok, "new credentials: connections are made anew, the old ones end", f"{spread(a, b)}\n{o.said()[-1500:]}")
    check(slow.ended.wait(5) and slow.status == 200, "and no request is lost by it", (slow.status, slow.reset))


def test_term(a, b, o):
    c = a.live()[0]
    stream, slow = c.begin("GET", HOST, "/sleep")
    until(lambda: waiting.is_set(), 5)
    began = time.monotonic()
    o.signal(signal.SIGTERM)
    check(until(lambda: any("detach" in line for line in c.lines), 5), "SIGTERM: it detaches")
    check(until(lambda: c.goaway, 5), "GOAWAY follows", c.goaway)
    check(slow.ended.wait(5) and slow.status == 200, "the request that ran ends in order", (slow.status, slow.reset))
    code = o.stop(10)
    check(code == 0 and time.monotonic() - began < 6, "then it ends with 0", f"{code} {time.monotonic() - began}\n{o.said()[-800:]}")


def test_spare(p, a, b):
    """An edge that is only told of is used as long as fewer than two named ones are there."""
    c = p.edge(2)
    a.edges = b.edges = ["127.0.0.1:7002"]
    o = p.origin("s", [{"to": "http://127.0.0.1:9000"}], ["127.0.0.1:7000", "127.0.0.1:7001"])
    check(until(lambda: spread(a, b, c) == [2, 2, 0], 10), "an edge that is told of is not used while two named ones are there", spread(a, b, c))
    b.stop()
    check(until(lambda: spread(a, c) == [2, 2], 10), "it is when one falls", f"{spread(a, c)}\n{o.said()[-800:]}")
    b2 = p.edge(1, edges=["127.0.0.1:7002"])
    check(until(lambda: spread(a, b2, c) == [2, 2, 0], 20), "and let go when that is back", f"{spread(a, b2, c)}\n{o.said()[-1500:]}")
    o.kill()
    c.stop()


def refused(p, name, edge_more, says, **kw):
    e = p.edge(2, **edge_more)
    o = p.origin(name, [{"to": "http://127.0.0.1:9000"}], ["127.0.0.1:7002"], **kw)
    ok = until(lambda: says in o.said(), 8)
    check(ok, f"refused: {says}", o.said()[-1200:])
    time.sleep(1.5)  # the backoff is what is looked at
    check(e.dialled <= 10, f"{name}: it does not dial in a hurry", e.dialled)
    o.kill()
    e.stop()


def test_refusals(p):
    refused(p, "r1", {"refuse": "tunnel app is not known here; weir tunnel create makes it"}, "tunnel app is not known here")
    refused(p, "r2", {"tls": ["http/1.1"]}, "is no attach listener of an edge")
    p.run("weir", "ca", "init", p.work / "ca2")
    p.run("weir", "ca", "issue", p.work / "ca2", "edge-2", "127.0.0.1")
    keep = {n: (p.work / f"ca/edge-2.{n}").read_bytes() for n in ("pem", "key")}
    for n in keep:
        shutil.copy(p.work / f"ca2/edge-2.{n}", p.work / f"ca/edge-2.{n}")
    refused(p, "r3", {}, "it is no edge of this installation")
    # of the right authority, but for a site: whoever has that key could wait for other tenants' origins
    p.run("weir", "ca", "host", p.work / "ca", "tenant.edge.example", "localhost.example")
    for n in keep:
        shutil.copy(p.work / f"ca/tenant.edge.example.{n}", p.work / f"ca/edge-2.{n}")
    refused(p, "r3h", {}, "its certificate is for a server alone")
    for n in keep:
        (p.work / f"ca/edge-2.{n}").write_bytes(keep[n])
    p.credentials(ca="ca")
    refused(p, "r4", {}, "does not know who signed")
    p.credentials()
    o = p.origin("r5", [{"to": "http://127.0.0.1:9000"}], ["no-such-edge.invalid:7000"])
    check(until(lambda: "no-such-edge.invalid" in o.said() and ("not known" in o.said() or "no name server" in o.said()), 15),
          "an edge's name that is not known is said", o.said()[-500:])
    o.kill()
    o = p.origin("r6", [{"to": "http://127.0.0.1:9000"}], ["127.0.0.1:7009"])
    check(until(lambda: "127.0.0.1:7009" in o.said() and "refused" in o.said(), 8), "an edge that is not there is said", o.said()[-500:])
    o.kill()


def test_files(p):
    def start():
        o = p.origin("f", [{"to": "http://127.0.0.1:9000"}], ["127.0.0.1:7000"])
        return o.process.wait(10), o.said()

    p.credentials(at="-60d")
    code, said = start()
    check(code == 2 and "expired at 2" in said and "weir tunnel enroll" in said, "an expired certificate: when, and what to do", said)
    os.rename(p.work / "cred", p.work / "gone")
    code, said = start()
    check(code and "there is no folder" in said and "weir tunnel enroll TOKEN --edge HOST:PORT --dir" in said,
          "no folder: which command makes it", said)
    os.rename(p.work / "gone", p.work / "cred")


waiting = threading.Event()


def main():
    enter("openssl", "curl")
    os.path.exists("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1") or skip("libfaketime is not installed")
    p = Place()
    p.credentials(hostnames=ALL)
    serve(echo, 9000)

    def other(c):
        stream = c.makefile("rb")
        while True:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            if b"/sleep" in head:
                waiting.set()
            if b"/s" in head:
                time.sleep(1)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")

    serve(other, 9001)
    serve(lambda c: [c.sendall(d) for d in iter(lambda: c.recv(65536), b"")], 9002)
    a, b = p.edge(0), p.edge(1)
    (p.work / "access.log").touch()
    os.chown(p.work / "access.log", UID, UID)
    o = p.origin("o", [{"hostname": HOST, "to": "http://localhost:9000"}, {"hostname": "gone.edge.example", "to": "http://127.0.0.1:9009"},
                       {"hostname": "odd.edge.example", "to": "http://no-such-name.invalid"},
                       {"port": 2222, "to": "tcp://127.0.0.1:9002"}],
                 ["127.0.0.1:7000", "127.0.0.1:7001"], more=f', "access_log": "{p.work}/access.log", "inside": "127.0.0.1:7900"')
    try:
        test_attach(p, a, b, o)
        test_requests(p, a)
        test_connect(a)
        test_away(p, a, o)
        test_metrics()
        b = test_dead_edge(p, a, b, o)
        test_edge_drains(a, b, o)
        b.stop()
        b = p.edge(1)
        until(lambda: spread(a, b) == [2, 2], 20)
        test_hang(a, b, o)
        until(lambda: spread(a, b) == [2, 2], 20)
        test_reload(p, a, b, o)
        test_term(a, b, o)
        test_spare(p, a, b)
        test_refusals(p)
        test_files(p)
    finally:
        for d in p.daemons:
            if d.runs():
                d.kill()
    finish()


main()
