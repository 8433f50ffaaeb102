#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The life of a tunnel from the command line: made, published, enrolled, changed, revoked, removed; two who want the
same; an edge that is silent; addresses that rest. Two edges, a registry and an authority on loopback.

Run by tunnel_control.sh. Needs root, curl, openssl.
"""
from tunnel_lib import *

HOST = "app.edge.example"
TUNNELS = "zone: edge.example, prefix: [198.18.100.0/29], ttl: 1s, quarantine: 3s, ack_timeout: 1s"


def page(c):
    c.recv(65536)
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


def tunnel(*argv, fails=False, json_of=True):
    """weir tunnel …: its JSON, or the finished process when it shall fail."""
    got = lab.weir("tunnel", *argv, *(["--json"] if json_of else []), conf=lab.edges[0].conf, fails=fails)
    return got if fails or not json_of else json.loads(got)


def refused(sentence, *argv):
    got = tunnel(*argv, fails=True, json_of=False)
    check(got.returncode == 1 and sentence in got.stderr and not got.stdout,
          f"weir tunnel {' '.join(argv)}: {got.stderr.strip()[:110]}", (got.returncode, got.stdout, got.stderr))


def info(name="app"):
    return tunnel("info", name)


def key(name):
    """The registry's value, by its etcd JSON API."""
    import base64
    body = json.dumps({"key": base64.b64encode(f"/weir/v1/{name}".encode()).decode()})
    got = subprocess.run(["curl", "-s", "--unix-socket", f"{lab.work}/run/registry.socket", "http://x/v3/kv/range", "-d", body],
                         capture_output=True, text=True).stdout
    kvs = json.loads(got).get("kvs", [])
    return json.loads(base64.b64decode(kvs[0]["value"])) if kvs else None


def makes():
    made = tunnel("create", "app", "--hostname", "App.Edge.example.")
    check(made["hostnames"] == [HOST] and made["address"] == "198.18.100.1" and made["published"] and made["silent"] == [],
          "create: the lowest address, and every edge routes it before the name is published", made)
    record = key("records/edge.example/app/A")
    check(record and record["values"] == ["198.18.100.1"] and record["ttl"] == 1, f"the record is {record}")
    check(made["next"][0] == f"weir tunnel enroll - --edge 127.0.0.1:{lab.edges[0].attach}" or
          made["next"][0] == f"weir tunnel enroll - --edge 127.0.0.1:{lab.edges[1].attach}", f"and it says: {made['next'][0]}")
    refused("there is a tunnel app already", "create", "app", "--hostname", "other.edge.example")
    refused(f"hostname {HOST} belongs to another tunnel", "create", "thief", "--hostname", HOST)
    refused("no hostname", "create", "thief", "--hostname", "app")
    refused("443/https", "create", "thief", "--hostname", "t.edge.example", "--port", "443/udp")
    check(key("hostnames/other.edge.example") is None and key("tunnels/thief") is None and key("addresses/198.18.100.2") is None,
          "of what was refused nothing is left")
    listed = tunnel("list")
    check([t["name"] for t in listed] == ["app"] and listed[0]["state"] == "no origin", "list", listed)
    return made["token"]


def enrols(token):
    lab.cred["app"] = lab.enroll(token, "app")
    check(info()["certificates"] and not info()["enrolment_until"], f"enrolled: certificate {info()['certificates'][0]['serial']}")
    got = lab.enroll(token, "again", fails=True)
    check(got.returncode == 1 and "a token is good once" in got.stderr, f"the token again: {got.stderr.strip()[:130]}", got)
    late = tunnel("token", "app", "--token-ttl", "1s")["token"]
    until(lambda: not info()["enrolment_until"], 5)
    got = lab.enroll(late, "late", fails=True)
    check(got.returncode == 1 and "has expired" in got.stderr, f"a token of a second, later: {got.stderr.strip()[:130]}", got)
    got = lab.enroll(token[:-1] + ("0" if token[-1] != "0" else "1"), "other", fails=True)
    check(got.returncode == 1 and not (lab.work / "cred-other/cert.pem").exists(),
          f"edges of another installation get nothing: {got.stderr.strip()[:130]}", got)


def serves():
    lab.origin("app", [{"to": "http://127.0.0.1:9000"}])
    check(lab.curl(f"http://{HOST}/").stdout == "hello" and lab.curl(f"http://{HOST}/", edge=lab.edges[1]).stdout == "hello",
          "the page, through both edges")
    check(until(lambda: info()["edges"] == 2 and info()["origins"] == 1 and info()["state"] == "up" and
                sum(a["connections"] for a in info()["attachments"]) == 4), "info: one origin, four connections, two edges", info())
    lines = tunnel("logs", "app", json_of=False).splitlines()
    check(lines and HOST in lines[-1] and " 200 " in lines[-1], f"logs: {(lines or ['-'])[-1]}")
    follow = subprocess.Popen([str(BIN / "weir"), "tunnel", "logs", "app", "--follow", "--json", "-c", str(lab.edges[0].conf)],
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    follow.stdout.readline()
    lab.curl(f"http://{HOST}/followed")
    seen = until(lambda: "/followed" in follow.stdout.readline(), 10)
    follow.kill()
    follow.wait()
    check(seen, "logs --follow shows the next request")
    top = lab.weir("tunnel", "top", "--rounds", "2", conf=lab.edges[0].conf)
    check("REQUESTS/S" in top and top.count("app ") >= 2, "top shows it twice", top)


def changes():
    generation = info()["generation"]
    tunnel("set", "app", "--deny", "127.0.0.0/8")
    check(until(lambda: lab.code(f"http://{HOST}/") == "403"), "set --deny: 403 for this client", lab.code(f"http://{HOST}/"))
    check(info()["generation"] == generation + 1 and info()["address"] == "198.18.100.1", "a generation more, the same address")
    tunnel("set", "app", "--deny", "none")
    check(until(lambda: lab.code(f"http://{HOST}/") == "200"), "set --deny none: 200", lab.code(f"http://{HOST}/"))
    refused("there is no tunnel absent", "set", "absent", "--deny", "none")
    tunnel("create", "second", "--hostname", "second.edge.example")
    refused("belongs to another tunnel", "set", "second", "--hostname", HOST)
    tunnel("set", "second", "--hostname", "moved.edge.example")
    check(until(lambda: key("records/edge.example/moved/A") and not key("records/edge.example/second/A")),
          "another hostname: its record comes, the old one goes")


def revokes():
    serial = info()["certificates"][0]["serial"]
    refused("signed no certificate", "revoke", "app", "--serial", "00AA")
    check(tunnel("revoke", "app", "--serial", serial.lower())["revoked"] == 1, f"revoke --serial {serial}")
    check(until(lambda: lab.code(f"http://{HOST}/") == "502", 10), "the origin is dropped: 502", lab.code(f"http://{HOST}/"))
    check(info()["certificates"] == [] and key(f"revoked/{serial}"), "and its certificate is in the list")
    lab.cred["app"] = lab.enroll(tunnel("token", "app")["token"], "app2")
    lab.origin("app", [{"to": "http://127.0.0.1:9000"}], node="origin-2")
    check(lab.curl(f"http://{HOST}/").stdout == "hello", "with a new token it is back")


def silent():
    lab.edges[1].signal(signal.SIGSTOP)
    began = time.monotonic()
    made = tunnel("create", "third", "--hostname", "third.edge.example")
    took = time.monotonic() - began
    lab.edges[1].signal(signal.SIGCONT)
    check(made["silent"] == ["edge-1"] and made["published"], f"an edge stands still: published after {took:.1f} s, named as silent", made)
    check(0.9 < took < 4, "that is ack_timeout, not more", took)
    check(until(lambda: lab.code("http://third.edge.example/", edge=lab.edges[1]) == "502", 10), "it goes on, and knows the tunnel",
          lab.code("http://third.edge.example/", edge=lab.edges[1]))


def stays():
    """A record that people made is theirs, whatever a tunnel claims."""
    import base64
    name = "records/edge.example/hand/A"
    coded = lambda text: base64.b64encode(text.encode()).decode()
    change = lambda what, **body: subprocess.run(["curl", "-s", "--unix-socket", f"{lab.work}/run/registry.socket", f"http://x/v3/kv/{what}",
                                                  "-d", json.dumps({"key": coded(f"/weir/v1/{name}"), **body})], check=True, capture_output=True)
    mine = {"ttl": 60, "values": ["192.0.2.7"]}
    change("put", value=coded(json.dumps(mine)))
    tunnel("set", "app", "--hostname", HOST, "--hostname", "hand.edge.example")
    check(until(lambda: info().get("taken") == ["edge.example/hand/A"]), "a name that has a record by hand: info says so", info())
    check(key(name) == mine, "and the record stays as it was", key(name))
    change("deleterange")
    check(until(lambda: (key(name) or {}).get("tunnel") == "app"), "it is removed: the tunnel's comes by itself", key(name))
    tunnel("set", "app", "--hostname", HOST)
    check(until(lambda: key(name) is None) and "taken" not in info(), "and goes with its hostname", info())


def removes():
    address = info("third")["address"]
    serial = info()["certificates"][0]["serial"]
    tunnel("delete", "third")
    check(until(lambda: key("records/edge.example/third/A") is None), "delete: the name goes")
    until_at = key(f"addresses/{address}")["until"]
    check(until_at > time.time(), f"its address rests for {until_at - time.time():.0f} s more")
    made = tunnel("create", "fourth", "--hostname", "third.edge.example", "--no-wait")
    check(made["address"] != address, f"who comes next gets {made['address']}, not {address}")
    check(until(lambda: time.time() > until_at, 10) and tunnel("create", "fifth", "--hostname", "fifth.edge.example",
                                                               "--no-wait")["address"] == address, "then it is given out again")
    tunnel("create", "sixth", "--hostname", "sixth.edge.example", "--no-wait")
    tunnel("create", "seventh", "--hostname", "seventh.edge.example", "--no-wait")
    refused("no IPv4 address is free", "create", "eighth", "--hostname", "eighth.edge.example")
    tunnel("delete", "app")
    check(until(lambda: lab.code(f"http://{HOST}/") == "404", 10), "app is deleted: 404", lab.code(f"http://{HOST}/"))
    check(key(f"revoked/{serial}"), "and its certificate revoked")
    refused("there is no tunnel app", "delete", "app")


def without_registry():
    lab.registry.kill()
    got = tunnel("list", fails=True)
    check(got.returncode == 1 and got.stderr.startswith("weir: cannot read the tunnels: "), f"without a registry: {got.stderr.strip()[:120]}", got)


enter("curl", "openssl")
serve(page, 9000)
with Lab(edges=2, tunnels=TUNNELS) as lab:
    enrols(makes())
    serves()
    changes()
    revokes()
    silent()
    stays()
    removes()
    without_registry()
finish()
