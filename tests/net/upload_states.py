#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of uploads when something breaks off: the gateway is killed before and after each object that it stores, an
endpoint fails between file and manifest, processes that check die, bytes that were acknowledged before a kill -9, parts that
cannot be kept, uploads that expire while a process checks them."""
import hashlib
import http.server

from upload_lib import *

RULES = """columns:
  - {name: id, type: integer, required: true}
  - {name: city, type: string}
max_size: 1MiB
keep_versions: 1
transform:
  - {output: all.csv}
"""


def rows(n, city=b"Rome"):
    return b"id,city\n" + b"".join(b"%d,%s\n" % (i, city) for i in range(n))


class Proxy(http.server.ThreadingHTTPServer):
    """Between gateway and endpoint. .before and .after are asked (method, path): true means that the request is not led on, or
    its answer not given back, but 503, or the number that .before says."""
    daemon_threads = True

    def __init__(self, port):
        self.to, self.before, self.after = port, lambda *_: False, lambda *_: False
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        c = http.client.HTTPConnection("127.0.0.1", self.server.to, timeout=20)
        no = self.server.before(self.command, path)
        if no:
            return self.answer(503 if no is True else no, [], b"")
        c.request(self.command, self.path, body or None, {k: v for k, v in self.headers.items() if k.lower() not in ("host", "expect")})
        r = c.getresponse()
        data = r.read()
        c.close()
        if self.server.after(self.command, path):
            return self.answer(503, [], b"")
        self.answer(r.status, r.getheaders(), data)

    def answer(self, status, headers, data):
        length = dict((k.lower(), v) for k, v in headers).get("content-length", len(data))
        self.send_response_only(status)
        for k, v in headers:
            if k.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(k, v)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = one


class Proxied(Lab):
    def endpoint(self, i, more=None):
        port, inside = free_port(), free_port()
        self.proxy = Proxy(port)
        d = self.daemon("endpoint", f"ep{i}", f"endpoint:\n  listen: [\"127.0.0.1:{port}\"]\n  url: \"http://127.0.0.1:{self.proxy.server_port}\"\n"
                        f"  inside: \"127.0.0.1:{inside}\"\n  copies: 1\n  reserve: 1MiB\n")
        self.port[d.node], self.inside[d.node] = port, inside
        return d

    def spool(self):
        return self.work / "state/gw0/gateway/uploads"

    def manifest(self, name, dataset="sales"):
        return self.get("ada", f"/_/datasets/{dataset}/files/{name}").json


def killed_while_storing(lab):
    """At each step, and the next version is there once, with what belongs to it."""
    gateway, version = lab.gateways[0], 0
    steps = [("PUT", "/b/sales/.weir/k.csv/manifest.json", 1), ("PUT", "/b/sales/.weir/k.csv/versions/", 1),
             ("PUT", "/b/sales/derived/k.csv/all.csv", 1), ("PUT", "/b/sales/k.csv", 1), ("PUT", "/b/sales/.weir/k.csv/manifest.json", 2)]
    lab.tus("ada", "sales", "k.csv", rows(3)).end()
    version += 1
    for method, path, nth in steps:
        for when in "before", "after":
            seen, dead = [], threading.Event()

            def kill(m, p):
                if m == method and p.startswith(path) and not dead.is_set():
                    seen.append(p)
                    if len(seen) == nth:
                        gateway.kill()
                        dead.set()
                        return True
                return False

            setattr(lab.proxy, when, kill)
            version += 1
            data = rows(10 + version)
            up = lab.tus("ada", "sales", "k.csv", data)
            reached = dead.wait(10)
            setattr(lab.proxy, when, lambda *_: False)
            gateway.start() if reached else None
            until(lambda: lab.answers(gateway))
            end = up.end()
            m = lab.manifest("k.csv")
            check(reached and end.get("state") == "accepted" and end["version"] == version == m.get("version") and
                  m["sha256"] == hashlib.sha256(data).hexdigest() and lab.get("ada", "/b/sales/k.csv").body == data and
                  m["outputs"][0]["rows"] == 10 + version, f"killed {when} {method} {path[9:]} ({nth}): one version more, and whole",
                  (reached, json.dumps(end)[:600], json.dumps(m)[:600]))


def condition_after_a_failure(lab):
    first = lab.req("PUT", "/b/sales/c.csv", "ada", rows(5))
    etag = lab.get("ada", "/b/sales/c.csv").headers["etag"]
    failed, puts = [], []

    def fail(method, path):
        if method == "PUT" and path == "/b/sales/c.csv":
            puts.append(path)
        if method == "PUT" and path.endswith("c.csv/manifest.json") and puts and len(failed) < 4:
            failed.append(path)
            return True
        return False

    lab.proxy.before = fail
    second = lab.req("PUT", "/b/sales/c.csv", "ada", rows(6), {"If-Match": etag})
    lab.proxy.before = lambda *_: False
    check(first.status == 201 and len(failed) == 4 and second.status == 200 and second.json["version"] == 2 and
          lab.manifest("c.csv")["version"] == 2, "the manifest's endpoint failed behind a file with If-Match: stored when it is back",
          (len(failed), second))


def refused_token(lab):
    """An endpoint that has not heard of a new signing key yet."""
    said = []
    lab.proxy.before = lambda method, path: 401 if method == "PUT" and path == "/b/sales/t.csv" and not said.append(path) and len(said) < 3 else False
    a = lab.req("PUT", "/b/sales/t.csv", "ada", rows(5))
    lab.proxy.before = lambda *_: False
    check(a.status == 201 and len(said) == 3, "an endpoint refuses the gateway's token for a while: the file is stored then", (said, a))


def acknowledged(lab):
    data = rows(2000)
    path = lab.create("ada", "sales", "ack.csv", len(data)).headers["location"]
    lab.patch("ada", path, 0, data[:1000])
    s = socket.create_connection(("127.0.0.1", lab.port["gw0"]))  # breaks off: what came is not verified
    s.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token['ada']}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 1000\r\n"
              f"Content-Type: application/offset+octet-stream\r\nUpload-Checksum: sha1 {b64(b'x' * 20)}\r\nContent-Length: 500\r\n\r\n".encode() + b"y" * 100)
    held = until(lambda: any("hold" in f.read_text() for f in lab.spool().glob(path[7:] + ".json")))
    s.close()
    got = until(lambda: (lambda a: a if a.status == 204 else None)(lab.patch("ada", path, 1000, data[1000:9000])), 10, 0.2)
    lab.restart(lab.gateways[0])
    h = lab.head("ada", path)
    check(held and got and h.headers.get("upload-offset") == "9000", "an offset of a 204 holds after kill -9, also behind a checksum that broke off", h)
    lab.patch("ada", path, 9000, data[9000:])
    end = Upload(lab, "ada", path).end()
    check(end["state"] == "accepted" and lab.get("ada", "/b/sales/ack.csv").body == data, "and the file is what was sent", json.dumps(end)[:500])


def too_large_in_the_end(lab):
    """A replaced part that makes the file too large, found when the rest is put behind it: its check runs at that time."""
    data = rows(40000)
    data = data.replace(b"77,Rome\n", b"x,Rome\n", 1)
    up = lab.tus("ada", "sales", "r.csv", data)
    check(up.end()["state"] == "rejected", "a file with a fault", up.show())
    for _ in range(3):
        a = lab.req("POST", f"/_/uploads/{up.id}/replace?bytes=400000-400009", "ada", b"1,a\n" * 200000)
        check(a.status == 413, "a part that makes the file too large: 413", a)
    alive = lambda: json.loads(lab.ask("gw0", "gateway", {"do": "status"}))["uploads"]
    check(until(lambda: alive()["workers"] == 0 and alive()["cancelled"] == 0), "and nothing of it is left at work", alive())
    check(up.show()["state"] == "rejected" and lab.gateways[0].runs(), "the rejected one is there to be mended", up.show())
    a = lab.req("POST", f"/_/uploads/{up.id}/replace?rows=78-78", "ada", b"77,Rome\n")
    check(a.status == 201 and Upload(lab, "ada", "/_/tus/" + a.json["id"]).end()["state"] == "accepted", "and is", a)


def children(pid):
    return [int(x) for x in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def checkers_die(lab):
    data = rows(3000)
    path = lab.create("ada", "sales", "die.csv", len(data)).headers["location"]
    lab.patch("ada", path, 0, data[:5000])
    keeper = children(lab.gateways[0].process.pid)[0]
    house = until(lambda: children(keeper))[0]
    until(lambda: children(house))
    os.kill(house, signal.SIGKILL)
    lab.patch("ada", path, 5000, data[5000:])
    end = Upload(lab, "ada", path).end()
    check(end["state"] == "accepted", "the process that starts workers is killed: the file is checked by another", json.dumps(end)[:500])
    path = lab.create("ada", "sales", "die2.csv", len(data)).headers["location"]
    lab.patch("ada", path, 0, data[:5000])
    os.kill(keeper, signal.SIGKILL)
    check(until(lambda: not lab.gateways[0].runs()) and lab.gateways[0].process.returncode == 1 and "no file can be checked" in
          lab.gateways[0].said(), "with nobody to start another, the gateway ends and says why", lab.gateways[0].process.returncode)
    lab.gateways[0].start()
    until(lambda: lab.answers(lab.gateways[0]))
    lab.patch("ada", path, 5000, data[5000:])
    check(Upload(lab, "ada", path).end()["state"] == "accepted", "and goes on when it is started anew")


def joining_broke_off(lab):
    path = lab.create("ada", "sales", "half.csv", 1000).headers["location"]
    lab.patch("ada", path, 0, rows(10))
    lab.gateways[0].kill()
    file = lab.spool() / (path[7:] + ".json")
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "concat": 2}))  # as a kill within the copying leaves it
    lab.gateways[0].start()
    until(lambda: lab.answers(lab.gateways[0]))
    check(lab.head("ada", path).status == 404 and not list(lab.spool().glob(path[7:] + "*")),
          "parts that were being joined at a kill: nothing stays, the parts are joined again")


def expires_while_checked():
    with Lab(uploads="expire: 1s") as lab:
        lab.group("makers", role="steward")
        lab.user("ada", groups=["makers"])
        lab.dataset("sales", RULES)
        path = lab.create("ada", "sales", "old.csv", 1000).headers["location"]
        check(lab.patch("ada", path, 0, rows(10)).status == 204, "an upload of which a part is there, and checked")
        check(until(lambda: lab.head("ada", path).status == 410, 10), "expires like any other")
        folder = lab.work / "state/gw0/gateway/uploads"
        check(until(lambda: not list(folder.iterdir())), "and nothing stays of it", list(folder.iterdir()))
        path = lab.create("ada", "sales", "slow.csv", 1000).headers["location"]
        s = socket.create_connection(("127.0.0.1", lab.port["gw0"]))
        s.sendall(f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.token['ada']}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
                  f"Content-Type: application/offset+octet-stream\r\nContent-Length: 20\r\n\r\n".encode() + b"id,city\n")
        time.sleep(1.6)  # longer than it may be without a byte
        s.sendall(rows(9)[8:20])
        got = s.recv(4096).split(b"\r\n")[0]
        status = lab.head("ada", path).status
        check(b" 204 " in got and status == 200, "one that is being sent does not, and its 204 is true", (got, status))
        s.close()


with Proxied(uploads="expire: 1h") as lab:
    lab.group("makers", role="steward")
    lab.user("ada", groups=["makers"])
    lab.dataset("sales", RULES)
    for part in refused_token, acknowledged, condition_after_a_failure, too_large_in_the_end, joining_broke_off, checkers_die, killed_while_storing:
        began = time.monotonic()
        part(lab)
        print(f"# {part.__name__}: {time.monotonic() - began:.1f} s")
expires_while_checked()
finish()
