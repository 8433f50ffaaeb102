# SPDX-License-Identifier: Apache-2.0
"""Shared by tests/net/upload_*.py: a registry, endpoints and gateways as processes on loopback, with users, groups and
datasets, in a temporary folder that goes with the test.

    from upload_lib import *
    with Lab(gateways=2) as lab:
        lab.user("ada", groups=["makers"])                # lab.token["ada"]
        lab.group("makers", role="steward")
        lab.dataset("sales", "columns: [{name: id, type: integer}]", by="ada")
        up = lab.tus("ada", "sales", "a.csv", b"id\\n1\\n")   # created, sent; an Upload
        up.end()["state"] == "accepted"
        lab.get("ada", "/b/sales/a.csv").body
    finish()

Needs root (daemons drop to a user of their own); no network namespace: all ports are free ones of loopback.
"""
import atexit
import base64
import http.client
import json
import os
import pathlib
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
SAN = os.environ.get("UPLOAD_SAN", "")
BIN = TOP / ("build/san" if SAN else "build") / "bin"
UID = 64200


def until(test, seconds=20, pause=0.02):
    """The first true value of test() within so many seconds, else the last one."""
    end = time.monotonic() + seconds
    while True:
        got = test()
        if got or time.monotonic() > end:
            return got
        time.sleep(pause)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {k.lower(): v for k, v in headers}, body

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:1500]!r}"


class Daemon:
    def __init__(self, lab, name, *argv):
        self.lab, self.name, self.argv, self.log = lab, name, [str(a) for a in argv], lab.work / f"{name}.log"
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def runs(self):
        return self.process.poll() is None

    def kill(self):
        """SIGKILL, also for what it forked: its nursery sees the end of its socket."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=20):
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def said(self):
        return self.log.read_text(errors="replace")


class Lab:
    def __init__(self, endpoints=1, gateways=1, uploads="expire: 1h", more="", endpoint_more="", copies=1):
        if os.geteuid():
            skip("needs root")
        for program in "weir", "weir-registry", "weir-endpoint", "weir-gateway":
            if not (BIN / program).exists():
                skip(f"{BIN / program} was not built (make)")
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="weir-upload.", dir="/var/tmp"))
        os.chmod(self.work, 0o755)
        atexit.register(lambda: shutil.rmtree(self.work, ignore_errors=True))
        self.daemons, self.token, self.port, self.inside, self.copies = [], {}, {}, {}, copies
        self.uploads, self.gateway_more, self.endpoint_more = uploads, more, endpoint_more
        for folder in "state", "run":
            self.folder(folder)
        self.daemon("registry", "registry", "registry_server: {listen: [\"unix:%s/run/registry.sock\"]}\n" % self.work)
        until((self.work / "run/registry.sock").exists) or self.bail("the registry does not start")
        self.endpoints = [self.endpoint(i) for i in range(endpoints)]
        self.gateways = [self.gateway(i) for i in range(gateways)]
        until(lambda: all(self.members(g) >= endpoints for g in self.gateways)) or self.bail("endpoints do not come")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind or tap.failures:
            for d in self.daemons:
                print(f"# ---- {d.name}")
                for line in d.said().splitlines()[-25:]:
                    print(f"# {line}")
        for d in reversed(self.daemons):
            if d.runs():
                d.process.send_signal(signal.SIGCONT)
                d.kill()

    def bail(self, why):
        for d in self.daemons:
            print(f"# ---- {d.name}\n" + d.said()[-1500:])
        print(f"Bail out! {why}")
        sys.exit(1)

    # ---- daemons ----

    def folder(self, *parts):
        path = self.work.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, UID, UID)
        return path

    def daemon(self, role, node, sections):
        self.folder("run", node), self.folder("state", node)
        conf = self.work / f"{node}.yaml"
        conf.write_text(f"node: {node}\nsite: test\nuser: \"{UID}\"\nstate: {self.work}/state/{node}\nrun: {self.work}/run/{node}\n"
                        f"log: debug\nregistry: {{url: \"unix:{self.work}/run/registry.sock\", timeout: 2s}}\n{sections}")
        d = Daemon(self, node, BIN / f"weir-{role}", "-c", conf)
        d.conf, d.node = conf, node
        self.daemons.append(d)
        return d

    def endpoint(self, i, more=None):
        port, inside = free_port(), free_port()
        d = self.daemon("endpoint", f"ep{i}", f"endpoint:\n  listen: [\"127.0.0.1:{port}\"]\n  url: \"http://127.0.0.1:{port}\"\n"
                        f"  inside: \"127.0.0.1:{inside}\"\n  copies: {self.copies}\n  reserve: 1MiB\n{self.endpoint_more if more is None else more}")
        self.port[d.node], self.inside[d.node] = port, inside
        return d

    def gateway(self, i):
        port, inside = free_port(), free_port()
        d = self.daemon("gateway", f"gw{i}", f"gateway:\n  listen: [\"127.0.0.1:{port}\"]\n  inside: \"127.0.0.1:{inside}\"\n"
                        f"  uploads: {{{self.uploads}}}\n{self.gateway_more}")
        self.port[d.node], self.inside[d.node] = port, inside
        return d

    def answers(self, d):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port[d.node])) == 0

    def restart(self, d, kill=True):
        """kill -9 (or SIGTERM) and a new process; returns when it answers."""
        d.kill() if kill else d.stop()
        d.start()
        until(lambda: self.answers(d)) or self.bail(f"{d.name} does not start again")

    def members(self, gateway):
        try:
            s = json.loads(self.ask(gateway.node, "gateway", {"do": "status"}))
            return sum(e["up"] for e in s["endpoints"])
        except (OSError, ValueError, KeyError):
            return -1

    def ask(self, node, role, request):
        """One question to a daemon's control socket: the answer's text."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(self.work / "run" / node / f"{role}.sock"))
            s.sendall((json.dumps(request) + "\n").encode())
            data = b""
            while not data.endswith(b"\n"):
                more = s.recv(65536)
                if not more:
                    break
                data += more
        return data.decode()

    # ---- the registry ----

    def registry(self, what, body):
        got = subprocess.run(["curl", "-s", "-m", "5", "--unix-socket", self.work / "run/registry.sock", f"http://x/v3/kv/{what}",
                              "-d", json.dumps(body)], capture_output=True, text=True).stdout
        return json.loads(got or "{}")

    def put(self, key, value):
        self.registry("put", {"key": b64(f"/weir/v1/{key}"), "value": b64(json.dumps(value))})

    def key(self, key):
        kvs = self.registry("range", {"key": b64(f"/weir/v1/{key}")}).get("kvs", [])
        return json.loads(base64.b64decode(kvs[0]["value"])) if kvs else None

    def weir(self, *argv, fails=False):
        got = subprocess.run([str(BIN / "weir"), *map(str, argv), "-c", str((self.gateways or self.daemons)[0].conf)], capture_output=True, text=True,
                             timeout=30)
        if got.returncode and not fails:
            self.bail(f"weir {' '.join(map(str, argv))}: {got.stdout}{got.stderr}")
        return got if fails else got.stdout

    def group(self, name, role="member", grants=()):
        self.put(f"groups/{name}", {"name": name, "role": role, "from": [name], "grants": list(grants)})

    def user(self, name, groups=(), grants=(), ttl="1h"):
        """Signs a token for the user when every gateway knows her."""
        self.put(f"users/{name}", {"name": name, "disabled": False, "grants": list(grants), "keys": [], "groups": list(groups)})
        got = until(lambda: (lambda r: r.stdout.strip() if not r.returncode else "")(self.weir("token", name, "--ttl", ttl, fails=True)), 10)
        self.token[name] = got or self.bail(f"no token for {name}")
        until(lambda: all(self.get(name, "/_/uploads?here=1", gateway=i).status == 200 for i in range(len(self.gateways))), 10)

    def dataset(self, name, rules, by="ada", gateway=0):
        """rules: YAML without the name."""
        text = f"dataset: {name}\n{rules}\n"
        made = self.req("POST", f"/_/datasets?name={name}", by, text.encode(), {"Content-Type": "application/yaml"}, gateway=gateway)
        if made.status != 201:
            self.bail(f"dataset {name}: {made}")
        for i in range(len(self.gateways)):
            until(lambda: self.get(by, f"/_/datasets/{name}", gateway=i).status == 200, 10)
        return made.json

    # ---- HTTP ----

    def req(self, method, path, user=None, body=None, headers=None, gateway=0, follow=True, timeout=30, port=None):
        """One request over a connection of its own; redirects of GET and HEAD are followed."""
        port = port or self.port[self.gateways[gateway].node]
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            all_headers = {**({"Authorization": f"Bearer {self.token[user]}"} if user else {}), **(headers or {})}
            c.request(method, path, body, all_headers)
            r = c.getresponse()
            got = Answer(r.status, r.getheaders(), r.read())
        finally:
            c.close()
        if follow and got.status == 307 and method in ("GET", "HEAD"):
            url = got.headers["location"].split("/", 3)
            return self.req(method, "/" + url[3], None, None, {k: v for k, v in (headers or {}).items() if k != "Authorization"},
                            port=int(url[2].split(":")[1]))
        return got

    def get(self, user, path, **kw):
        return self.req("GET", path, user, **kw)

    def create(self, user, dataset, name, size=None, headers=None, body=None, gateway=0):
        """tus creation: the answer."""
        head = {"Tus-Resumable": "1.0.0", "Upload-Metadata": f"dataset {b64(dataset)},filename {b64(name)}"}
        head |= {"Upload-Defer-Length": "1"} if size is None else {"Upload-Length": str(size)}
        if body is not None:
            head["Content-Type"] = "application/offset+octet-stream"
        return self.req("POST", "/_/tus/", user, body, {**head, **(headers or {})}, gateway=gateway)

    def patch(self, user, path, offset, data, headers=None, gateway=0):
        return self.req("PATCH", path, user, data, {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset),
                                                    "Content-Type": "application/offset+octet-stream", **(headers or {})}, gateway=gateway)

    def head(self, user, path, gateway=0):
        return self.req("HEAD", path, user, None, {"Tus-Resumable": "1.0.0"}, gateway=gateway)

    def tus(self, user, dataset, name, data, gateway=0, piece=None):
        """The whole way of tus: an Upload."""
        made = self.create(user, dataset, name, len(data), gateway=gateway)
        if made.status != 201:
            self.bail(f"tus: {made}")
        up = Upload(self, user, made.headers["location"], gateway)
        at = 0
        while at < len(data):
            got = self.patch(user, up.path, at, data[at:at + (piece or len(data))], gateway=gateway)
            if got.status != 204:
                self.bail(f"tus: {got}")
            at = int(got.headers["upload-offset"])
        return up

    def audit(self, user="root", **query):
        text = "&".join(f"{k}={v}" for k, v in query.items())
        return self.get(user, f"/_/audit?{text}").json


class Upload:
    def __init__(self, lab, user, path, gateway=0):
        self.lab, self.user, self.path, self.gateway = lab, user, path, gateway
        self.id = path.rsplit("/", 1)[1]

    def show(self):
        return self.lab.get(self.user, f"/_/uploads/{self.id}", gateway=self.gateway).json

    def end(self, seconds=20):
        """Waits until it is accepted, rejected, failed or cancelled; what is shown of it."""
        return until(lambda: (lambda s: s if s.get("state") in ("accepted", "rejected", "failed", "cancelled") else None)(self.show()),
                     seconds) or self.show()

    def events(self):
        return Events(self.lab, self.user, f"/_/uploads/{self.id}/events", self.gateway)


class Events:
    """Listens on a thread: .seen is [(monotonic time, event, value)]."""

    def __init__(self, lab, user, path, gateway=0):
        self.seen, self.closed = [], False
        self.sock = socket.create_connection(("127.0.0.1", lab.port[lab.gateways[gateway].node]))
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token[user]}\r\n\r\n".encode())
        self.response = http.client.HTTPResponse(self.sock)
        self.response.begin()
        self.status = self.response.status
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        name = None
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: ") and name:
                    self.seen.append((time.monotonic(), name, json.loads(line[6:])))
                elif not line:
                    name = None
        except (OSError, ValueError, http.client.HTTPException):
            pass
        self.closed = True

    def of(self, name):
        return [v for _, n, v in list(self.seen) if n == name]

    def wait(self, name, test=lambda v: True, seconds=10):
        """The first event of that name for which test holds: (time, value), or None."""
        return until(lambda: next(((t, v) for t, n, v in list(self.seen) if n == name and test(v)), None), seconds, 0.002)

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
