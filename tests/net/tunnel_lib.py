# SPDX-License-Identifier: Apache-2.0
"""Shared by tests/net/tunnel_*.py: edges, origins, a registry and an authority as processes on loopback, all in
namespaces of the test's own that vanish with it.

    from tunnel_lib import *
    with Lab(edges=2) as lab:
        lab.tunnel("app", ["app.edge.example"])                # created and enrolled: lab.cred["app"]
        lab.origin("app", [{"to": "http://127.0.0.1:9000"}])   # attached to every edge when it returns
        check(lab.curl("http://app.edge.example/").stdout == "hello", "the page comes")
    finish()
"""
import atexit
import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import tap
from tap import check, finish, skip

TOP = pathlib.Path(__file__).resolve().parents[2]
SAN = os.environ.get("TUNNEL_SAN", "")
BUILD = TOP / ("build/san" if SAN else "build")
BIN = BUILD / "bin"
UID = 64200


def enter(*tools):
    """Root, tools and a built tree; then once more inside namespaces of our own."""
    if os.geteuid():
        skip("needs root")
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}:/usr/sbin:/sbin"
    for tool in tools:
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if not os.environ.get("IN_NS"):
        made = subprocess.run(["make", "-s", "-C", TOP, *([f"SAN={SAN}"] if SAN else []), "all"], capture_output=True, text=True)
        if made.returncode:
            print(f"not ok 1 - builds\n# {made.stderr[-2000:]}")
            sys.exit(1)
        os.environ["IN_NS"] = "1"
        os.execvp("unshare", ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", "--", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # faketime names what it has there by its process id, which others have too in namespaces of their own
    subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/shm"], check=True)


def until(test, seconds=20, pause=0.05):
    """The first true value of test() within so many seconds, else the last one."""
    end = time.monotonic() + seconds
    while True:
        got = test()
        if got or time.monotonic() > end:
            return got
        time.sleep(pause)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """A process of ours with its log."""

    def __init__(self, lab, name, argv, env=None):
        self.lab, self.name, self.argv, self.env = lab, name, [str(a) for a in argv], env
        self.log = lab.work / f"{name}.log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(self.env or {})})

    @property
    def pid(self):
        return self.process.pid

    def runs(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)
        if number == signal.SIGSTOP:  # one thread takes it when it gets a processor; the others serve until then
            until(lambda: all(stat.read_text().rsplit(")", 1)[1].split()[0] == "T"
                              for stat in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat")), 5, 0.001)

    def stop(self, seconds=40):
        """SIGTERM and the exit code; None when it had to be killed."""
        if self.runs():
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def said(self):
        return self.log.read_text(errors="replace")


class Lab:
    """edges: how many; each listens on ports of its own: http, https, attach, inside."""

    def __init__(self, edges=1, tunnels="ttl: 1s, quarantine: 2s", edge_more="", zone=None):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="weir-tunnel.", dir="/var/tmp"))
        os.chmod(self.work, 0o755)
        atexit.register(lambda: shutil.rmtree(self.work, ignore_errors=True))
        self.daemons, self.edges, self.cred, self.tokens = [], [], {}, {}
        self.tunnels_section, self.edge_more = tunnels, edge_more
        for folder in "state", "run":
            (self.work / folder).mkdir()
            os.chown(self.work / folder, UID, UID)
        self.weir("ca", "init", self.work / "ca")
        self.certificate("web", "*.edge.example", "edge.example")
        self.conf = self.write("reg", f"registry_server: {{listen: [\"unix:{self.work}/run/registry.socket\"]}}\n"
                               f"tunnels: {{{tunnels}}}\nauthority: {{folder: {self.work}/ca}}\n")
        self.registry = self.daemon("registry", BIN / "weir-registry", "-c", self.conf)
        until((self.work / "run/registry.sock").exists) or sys.exit("Bail out! the registry does not start")
        self.authority = self.daemon("authority", BIN / "weir-tunnel", "authority", "-c", self.conf)
        for i in range(edges):
            self.edges.append(self.edge(i))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind or tap.failures:
            for d in self.daemons:
                print(f"# ---- {d.name}")
                for line in d.said().splitlines()[-15:]:
                    print(f"# {line}")
        for d in reversed(self.daemons):
            if d.runs():
                d.signal(signal.SIGCONT)
                d.kill()

    def daemon(self, name, *argv, env=None):
        d = Daemon(self, name, argv, env)
        self.daemons.append(d)
        return d

    def write(self, node, sections):
        """The configuration of a node, with what all have."""
        path = self.work / f"{node}.yaml"
        path.write_text(f"node: {node}\nsite: test\nuser: \"{UID}\"\nstate: {self.work}/state/{node}\nrun: {self.work}/run"
                        f"{'' if node == 'reg' else '/' + node}\nlog: debug\n"
                        f"registry: {{url: \"unix:{self.work}/run/registry.socket\"}}\n{sections}")
        return path

    def weir(self, *argv, conf=None, input=None, fails=False):
        got = subprocess.run([str(BIN / "weir"), *map(str, argv), *(["-c", str(conf)] if conf else [])], input=input,
                             capture_output=True, text=True, timeout=60)
        if got.returncode and not fails:
            print(f"Bail out! weir {' '.join(map(str, argv))}: {got.stdout}{got.stderr}")
            sys.exit(1)
        return got if fails else got.stdout

    def certificate(self, name, *hostnames, days=2):
        """A server certificate for hostnames by an authority of the test's own, web.ca: (cert, key)."""
        ca = self.work / "web.ca"
        if not ca.exists():
            self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=web ca",
                         "-days", "2", "-keyout", self.work / "web.cakey", "-out", ca)
        pem, key = self.work / f"{name}.pem", self.work / f"{name}.key"
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={hostnames[0]}",
                     "-keyout", key, "-out", self.work / "csr")
        (self.work / "ext").write_text("subjectAltName=" + ",".join(f"DNS:{h}" for h in hostnames) + "\n")
        self.openssl("x509", "-req", "-in", self.work / "csr", "-CA", ca, "-CAkey", self.work / "web.cakey", "-CAcreateserial",
                     "-days", days, "-extfile", self.work / "ext", "-out", pem)
        os.chown(key, UID, UID)
        return pem, key

    def openssl(self, *argv):
        subprocess.run(["openssl", *map(str, argv)], check=True, capture_output=True)

    def edge(self, i, more=None):
        name, base = f"edge-{i}", 10000 + 10 * i
        if not (self.work / f"ca/{name}.pem").exists():
            self.weir("ca", "issue", self.work / "ca", name, "127.0.0.1")
        w = self.work
        (w / f"run/{name}").mkdir(exist_ok=True)
        os.chown(w / f"run/{name}", UID, UID)
        conf = self.write(name, f"tls: {{ca: {w}/ca/ca.pem, cert: {w}/ca/{name}.pem, key: {w}/ca/{name}.key}}\n"
                          f"tunnels: {{{self.tunnels_section}}}\n"
                          f"edge:\n  listen: [\"127.0.0.1:{base}\"]\n  listen_tls: [\"127.0.0.1:{base + 1}\"]\n"
                          f"  attach: [\"127.0.0.1:{base + 2}\"]\n  inside: \"127.0.0.1:{base + 3}\"\n  origins: {w}/ca/origins.pem\n"
                          f"  certificates: [{{cert: {w}/web.pem, key: {w}/web.key}}]\n  access_log: {w}/{name}.access\n"
                          f"{self.edge_more if more is None else more}")
        (w / f"{name}.access").touch()
        os.chown(w / f"{name}.access", UID, UID)
        d = self.daemon(name, BIN / "weir-tunnel", "edge", "-c", conf)
        d.conf, d.http, d.https, d.attach, d.inside = conf, base, base + 1, base + 2, base + 3
        if not until(lambda: listens(d.attach) and (w / f"run/{name}/edge.sock").exists()):
            print(f"Bail out! {name} does not start: {d.said()[-1500:]}")
            sys.exit(1)
        return d

    # ---- tunnels and origins ----

    def tunnel(self, name, hostnames, *more, enroll=True):
        """Makes a tunnel, and enrols: credentials in self.cred[name]."""
        args = [x for h in hostnames for x in ("--hostname", h)]
        made = json.loads(self.weir("tunnel", "create", name, *args, *more, "--json", conf=self.edges[0].conf))
        self.tokens[name] = made["token"]
        if enroll:
            self.cred[name] = self.enroll(made["token"], name)
        return made

    def enroll(self, token, name, fails=False):
        folder = self.work / f"cred-{name}"
        got = self.weir("tunnel", "enroll", "-", "--edge", f"127.0.0.1:{self.edges[0].attach}", "--dir", folder, input=token,
                        fails=fails)
        if fails:
            return got
        subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)
        return folder

    def origin(self, name, targets, edges=None, connections=4, node=None, cred=None, wait=True, more="", env=None):
        node = node or f"origin-{name}"
        (self.work / f"run/{node}").mkdir(exist_ok=True)
        os.chown(self.work / f"run/{node}", UID, UID)
        to = ", ".join("{" + ", ".join(f'{k}: "{v}"' if k != "port" else f"{k}: {v}" for k, v in t.items()) + "}" for t in targets)
        at = ", ".join(f'"127.0.0.1:{e.attach}"' for e in (edges or self.edges))
        conf = self.write(node, f"origin:\n  edges: [{at}]\n  credentials: {cred or self.cred[name]}\n  connections: {connections}\n"
                          f"  targets: [{to}]\n{more}")
        d = self.daemon(node, BIN / "weir-tunnel", "origin", "-c", conf, env=env)
        d.conf, d.tunnel = conf, name
        if wait and not until(lambda: all(self.attached(e, name) for e in (edges or self.edges)[:connections])):
            print(f"Bail out! {node} does not attach: {d.said()[-1500:]}")
            sys.exit(1)
        return d

    def ask(self, node, role, request):
        """One question to a daemon's control socket."""
        run = self.work / "run" / (node if node != "reg" else "")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(run / f"{role}.sock"))
            s.sendall((json.dumps(request) + "\n").encode())
            data = b""
            while not data.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                data += more
        return json.loads(data)

    def attached(self, edge, tunnel):
        """Connections of the tunnel's origins at an edge."""
        try:
            for t in self.ask(edge.name, "edge", {"do": "status"}).get("tunnels", []):
                if t["name"] == tunnel:
                    return sum(o["connections"] for o in t["origins"])
        except (OSError, ValueError, KeyError):
            pass
        return 0

    def storage(self):
        """A gateway on a Unix socket and an endpoint, of one node, and a user: curl's arguments for her."""
        w = self.work
        (w / "run/one").mkdir()
        os.chown(w / "run/one", UID, UID)
        self.one = self.write("one", f"gateway:\n  listen: [\"unix:{w}/run/one/gateway-http.sock\"]\n  inside: \"127.0.0.1:7003\"\n"
                              "endpoint:\n  listen: [\"127.0.0.1:8080\"]\n  url: \"http://127.0.0.1:8080\"\n"
                              "  inside: \"127.0.0.1:7004\"\n  copies: 1\n")
        for role in "endpoint", "gateway":
            self.daemon(role, BIN / f"weir-{role}", "-c", self.one)
        until((w / "run/one/gateway-http.sock").exists) or sys.exit("Bail out! the gateway does not start")
        self.weir("user", "add", "ada", conf=self.one)
        self.token = self.weir("token", "ada", "--ttl", "1h", conf=self.one).strip()
        return ["-H", f"Authorization: Bearer {self.token}"]

    # ---- clients ----

    def curl(self, url, *args, edge=None, timeout=20):
        """curl as a client that resolves every name to an edge; stdout is the body."""
        e = edge or self.edges[0]
        scheme, rest = url.split("://", 1)
        host = re.split("[/:]", rest)[0]
        port = {"http": e.http, "https": e.https}[scheme]
        rest = rest if ":" in rest.split("/")[0] else rest.replace(host, f"{host}:{port}", 1)
        return subprocess.run(["curl", "-s", "-S", "-m", str(timeout), "--cacert", str(self.work / "web.ca"), "--resolve",
                               f"{host}:{port}:127.0.0.1", *args, f"{scheme}://{rest}"], capture_output=True, text=True)

    def code(self, url, *args, **kw):
        """Just the status."""
        return self.curl(url, "-o", "/dev/null", "-w", "%{http_code}", *args, **kw).stdout

    def access(self, edge=None):
        """The lines of an edge's access log."""
        text = (self.work / f"{(edge or self.edges[0]).name}.access").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def key(lab, name):
    """A value of the registry, parsed; None when there is none."""
    wanted = base64.b64encode(f"/weir/v1/{name}".encode()).decode()
    got = subprocess.run(["curl", "-s", "-m", "3", "--unix-socket", lab.work / "run/registry.socket", "http://x/v3/kv/range",
                          "-d", json.dumps({"key": wanted})], capture_output=True, text=True).stdout
    kvs = json.loads(got or "{}").get("kvs", [])
    return json.loads(base64.b64decode(kvs[0]["value"])) if kvs else None


def serve(handler, port):
    """A Python server on a thread: handler(connection) for each connection."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(1024)

    def one(c):
        with c:
            try:
                handler(c)
            except OSError:
                pass

    def loop():
        while True:
            c, _ = s.accept()
            threading.Thread(target=one, args=(c,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return s
