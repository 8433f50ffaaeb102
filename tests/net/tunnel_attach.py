#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may attach as an origin and who is turned away, with a reason; one token, one enrolment; one hostname, one tenant, also
at an edge that was stopped while the hostname changed hands.

Run by tunnel_attach.sh. Needs root, curl, openssl, faketime.
"""
import base64
import resource

from tunnel_lib import *

enter("curl", "openssl", "faketime")
HOST, OTHER = "app.edge.example", "two.edge.example"


def page(text):
    def handler(c):
        stream = c.makefile("rb")
        while stream.readline():
            while stream.readline().strip():
                pass
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
    return handler


def erase(lab, name):
    """Removes keys that begin so."""
    bounds = [base64.b64encode(f"/weir/v1/{n}".encode()).decode() for n in (name, name[:-1] + chr(ord(name[-1]) + 1))]
    subprocess.run(["curl", "-s", "-m", "3", "--unix-socket", lab.work / "run/registry.socket", "http://x/v3/kv/deleterange",
                    "-d", json.dumps({"key": bounds[0], "range_end": bounds[1]})], check=True, capture_output=True)


def forged(lab, folder, tunnel, hostname, ca="origins", days=2, fake=None):
    """Credentials as `weir tunnel enroll` would write them, but not what the authority signed."""
    w = lab.work / folder
    w.mkdir()
    ext = w / "ext"
    ext.write_text(f"subjectAltName=DNS:{hostname}\nextendedKeyUsage=clientAuth\n")
    lab.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={tunnel}",
                "-keyout", w / "key.pem", "-out", w / "csr")
    subprocess.run([*(["faketime", "-f", fake] if fake else []), "openssl", "x509", "-req", "-in", w / "csr", "-CA", lab.work / f"{ca}.pem",
                    "-CAkey", lab.work / f"{ca}.key", "-CAcreateserial", "-days", str(days), "-extfile", ext, "-out", w / "cert.pem"],
                   check=True, capture_output=True)
    shutil.copy(lab.work / "ca/ca.pem", w / "ca.pem")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", w], check=True)
    return w


def dial(lab, *more, seconds=10):
    """What an attach listener says to openssl: alerts and the debug data of GOAWAY are in it."""
    got = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{lab.edges[0].attach}", "-tls1_3", "-alpn", "weir-tunnel/1",
                          "-CAfile", lab.work / "ca/ca.pem", "-quiet", *more], input=b"", capture_output=True, timeout=seconds)
    return (got.stdout + got.stderr).decode(errors="replace")


def says(daemon, text, seconds=10):
    return until(lambda: text in daemon.said(), seconds)


serve(page(b"ours"), 9001)
serve(page(b"theirs"), 9002)

with Lab(edges=2, tunnels="ttl: 1s, quarantine: 2s, ack_timeout: 2s, zone: edge.example") as lab:
    first, second = lab.edges
    lab.tunnel("app", [HOST])
    origin = lab.origin("app", [{"to": "http://127.0.0.1:9001"}])
    for e in lab.edges:
        check(until(lambda: lab.curl(f"http://{HOST}/", edge=e).stdout == "ours"), f"{e.name} serves the tunnel")
    at = until(lambda: [a for a in [key(lab, "attachments/app/edge-1")] if a and a["connections"] == 2 and a["rtt_us"]])
    check(at and at[0]["origins"] == 1 and at[0]["generation"] >= 1, f"the attachment: {at}", at)
    record = until(lambda: key(lab, "records/edge.example/app/A"))
    check(record == {"ttl": 1, "values": ["127.0.0.1"], "tunnel": "app"}, f"the name is published: {record}", record)
    state = key(lab, "published/app")
    check(state and state["silent"] == [], f"nobody was silent: {state}", state)

    # ---- who may not ----
    for ca in "origins.pem", "origins.key":
        shutil.copy(lab.work / "ca" / ca, lab.work / ca)
    to = [{"to": "http://127.0.0.1:9001"}]
    d = lab.origin("app", to, cred=forged(lab, "noname", "app", "else.edge.example"), node="noname", wait=False)
    check(says(d, "no hostname stands in the certificate"), "a certificate without the name: the origin is told", d.said())
    d.kill()
    d = lab.origin("app", to, cred=forged(lab, "ghost", "ghost", HOST), node="ghost", wait=False)
    check(says(d, "no such tunnel"), "a certificate for a tunnel that is not", d.said())
    d.kill()
    lab.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other origins",
                "-days", "2", "-keyout", lab.work / "alien.key", "-out", lab.work / "alien.pem")
    alien = forged(lab, "foreign", "app", HOST, ca="alien")
    d = lab.origin("app", to, cred=alien, node="foreign", wait=False)
    check(says(d, "does not know who signed"), "a certificate of another authority", d.said())
    d.kill()
    old = forged(lab, "old", "app", HOST, days=1, fake="-3d")
    said = dial(lab, "-cert", old / "cert.pem", "-key", old / "key.pem")
    check("certificate expired" in said, "an expired certificate is refused in the handshake", said)
    said = dial(lab)
    check("certificate is needed" in said, "without a certificate there is a reason too", said)
    node = lab.work / "ca"
    said = dial(lab, "-cert", node / "edge-1.pem", "-key", node / "edge-1.key")
    check("unknown ca" in said or "certificate" in said, "an edge's own certificate is no origin's", said)
    check(sum(lab.attached(e, "app") for e in lab.edges) == 4, "only the real origin is attached")
    metrics = lab.curl(f"http://{HOST}/", "-o", "/dev/null")
    page_ = subprocess.run(["curl", "-s", f"http://127.0.0.1:{first.inside}/_/metrics"], capture_output=True, text=True).stdout
    check('weir_edge_origin_refused_total{cause="hostname"}' in page_ and 'weir_edge_attachments 1' in page_ and
          'weir_edge_origin_connections{tunnel="app"} 2' in page_, "metrics: refusals by cause, attachments", page_[-3000:])

    # ---- one that ends while it is attached ----
    short = forged(lab, "short", "app", HOST, days=1, fake="-86394s")
    d = lab.origin("app", to, cred=short, node="short", wait=False)
    check(until(lambda: sum(lab.attached(e, "app") for e in lab.edges) > 4, 5), "a certificate of a few seconds attaches", d.said())
    check(until(lambda: sum(lab.attached(e, "app") for e in lab.edges) == 4, 15) and says(d, "expired"),
          "and is let go when it has expired", d.said())
    d.kill()

    # ---- enrolment ----
    got = lab.enroll(lab.tokens["app"], "again", fails=True)
    check(got.returncode and "a token is good once" in got.stdout + got.stderr,
          f"a token that was used: {(got.stdout + got.stderr).strip()[:150]}", got.stdout + got.stderr)
    check(not (lab.work / "cred-again/cert.pem").exists(), "gives no certificate")
    wrong = lab.tokens["app"].split(".")
    wrong[2] = "A" * 43
    got = lab.enroll(".".join(wrong), "wrong", fails=True)
    check(got.returncode != 0, f"nor does a wrong one: {(got.stdout + got.stderr).strip()[:150]}")
    got = lab.weir("tunnel", "create", "thief", "--hostname", HOST, conf=first.conf, fails=True)
    check(got.returncode and HOST in got.stdout + got.stderr, f"a hostname that is taken: {(got.stdout + got.stderr).strip()[:150]}")
    check(key(lab, "tunnels/thief") is None, "makes no tunnel")
    check(lab.curl(f"http://{HOST}/").stdout == "ours", "and the owner has it still")

    # ---- revocation ----
    held = subprocess.Popen(["curl", "-s", "-S", "-m", "20", "--resolve", f"{HOST}:{first.http}:127.0.0.1", "-T", "-",
                             f"http://{HOST}:{first.http}/"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    began = time.monotonic()
    lab.weir("tunnel", "revoke", "app", conf=first.conf)
    check(until(lambda: not any(lab.attached(e, "app") for e in lab.edges), 5, 0.01),
          f"revoked: closed at once ({time.monotonic() - began:.2f} s with the command)")
    check(says(origin, "revoked"), "the origin says why", origin.said())
    check(until(lambda: key(lab, "attachments/app/edge-0") is None), "the attachment is gone")
    began = time.monotonic()
    code = lab.code(f"http://{HOST}/")
    check(code == "502" and time.monotonic() - began < 1, f"clients get 502 at once: {code} in {time.monotonic() - began:.2f} s")
    check(key(lab, "records/edge.example/app/A") is not None, "the name stays")
    held.kill()
    origin.kill()

    # ---- a certificate of the nodes' authority, but for a site: it gets no token ----
    lab.weir("ca", "host", lab.work / "ca", "site.edge.example")
    site = lab.daemon("site", "openssl", "s_server", "-accept", "127.0.0.1:10990", "-tls1_3", "-alpn", "http/1.1", "-quiet",
                      *[x for o, n in (("-cert", "site.edge.example.pem"), ("-key", "site.edge.example.key"), ("-cert_chain", "ca.pem"))
                        for x in (o, lab.work / "ca" / n)])
    until(lambda: listens(10990))
    got = lab.weir("tunnel", "enroll", "-", "--edge", "127.0.0.1:10990", "--dir", lab.work / "cred-site", input=lab.tokens["app"], fails=True)
    check(got.returncode and "for a server alone" in got.stderr and "token was not sent" in got.stderr and "secret" not in site.said(),
          f"a site's certificate makes no edge: {got.stderr.strip()}")
    site.kill()

    # ---- one stranger who opens connections and says nothing keeps nobody else out ----
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    idle = [socket.create_connection(("127.0.0.1", first.attach)) for _ in range(1100)]
    idle[-1].settimeout(5)
    try:
        said = idle[-1].recv(1)
    except ConnectionResetError:
        said = b""
    check(said == b"", "the last of 1,100 connections of one address is closed at once")
    said = dial(lab, "-cert", lab.cred["app"] / "cert.pem", "-key", lab.cred["app"] / "key.pem", "-bind", "127.0.0.2")
    check("revoked" in said, "another address is heard all the same", said)
    for c in idle:
        c.close()

    # ---- another tunnel of the same name and hostname: the certificate of the first is none of the second's, also as long as
    # an edge has not heard of its revocation ----
    lab.tunnel("again", ["again.edge.example"])
    old, made = lab.cred["again"].rename(lab.work / "cred-before"), key(lab, "tunnels/again")["created"]
    said = dial(lab, "-cert", old / "cert.pem", "-key", old / "key.pem")
    check("earlier" not in said and "certificate" not in said, "its certificate is taken", said)
    lab.weir("tunnel", "delete", "again", conf=first.conf)
    until(lambda: time.time() >= made + 1)
    erase(lab, "revoked/")
    lab.tunnel("again", ["again.edge.example"])
    said = dial(lab, "-cert", old / "cert.pem", "-key", old / "key.pem")
    check("earlier tunnel of this name" in said, "a tunnel that is made anew: not with the certificate of the one before", said)
    said = dial(lab, "-cert", lab.cred["again"] / "cert.pem", "-key", lab.cred["again"] / "key.pem")
    check("earlier" not in said and "certificate" not in said, "but with its own", said)
    lab.weir("tunnel", "delete", "again", conf=first.conf)

    # ---- an edge that was stopped while a hostname changed hands ----
    lab.tunnel("two", [OTHER])
    origin = lab.origin("two", [{"to": "http://127.0.0.1:9001"}])
    check(until(lambda: lab.curl(f"http://{OTHER}/", edge=second).stdout == "ours"), "another tunnel, at the edge that will stop")
    second.signal(signal.SIGSTOP)
    lab.weir("tunnel", "delete", "two", conf=first.conf)
    check(until(lambda: key(lab, "records/edge.example/two/A") is None), "it is removed, so is its name")
    lab.tunnel("three", [OTHER])
    heir = lab.origin("three", [{"to": "http://127.0.0.1:9002"}], edges=[first])
    check(until(lambda: lab.curl(f"http://{OTHER}/", edge=first).stdout == "theirs"), "the next tenant has the hostname")
    check(until(lambda: key(lab, "members/edge/edge-1") is None, 10), "the stopped edge's lease has lapsed")
    check(until(lambda: key(lab, "records/edge.example/two/A") is not None, 15),
          f"so it is not waited for: {key(lab, 'published/three')}")
    lab.registry.signal(signal.SIGSTOP)
    second.signal(signal.SIGCONT)
    codes = [lab.curl(f"http://{OTHER}/", "-w", " %{http_code}", edge=second).stdout for _ in range(5)]
    check(all(c.endswith("503") and "ours" not in c for c in codes), f"awake, and the registry silent: 503 {[c[-3:] for c in codes]}", codes)
    check(lab.curl(f"http://{OTHER}/", edge=first).stdout == "theirs", "the other edge serves: it was not stopped")
    lab.registry.signal(signal.SIGCONT)
    codes = until(lambda: [c for c in [lab.curl(f"http://{OTHER}/", "-w", " %{http_code}", edge=second).stdout] if not c.endswith("503")])
    check(codes and codes[0] == "theirs 200" or codes[0].endswith("502") and "ours" not in codes[0],
          f"the registry was heard: it is the new tenant's, who may have come here meanwhile: {codes[0][-3:]}", codes)
    check(lab.attached(second, "two") == 0, "the old tenant's origin is gone from it")
    check(until(lambda: key(lab, "members/edge/edge-1") is not None), "the edge has announced itself again")

    # ---- the registry is away for longer than any lease ----
    lab.registry.kill()
    end, codes = time.monotonic() + 7, []
    while time.monotonic() < end:
        codes.append(lab.code(f"http://{OTHER}/", edge=first))
    check(set(codes) == {"200"}, f"the registry is gone for longer than a lease: {len(codes)} requests, {set(codes)}")
    lab.registry.start()
    check(until(lambda: key(lab, "attachments/three/edge-0"), 15), "it is back: so is the attachment")
    code = heir.stop()
    began = time.monotonic()
    got = lab.code(f"http://{OTHER}/", edge=first)
    check(code == 0 and got == "502" and time.monotonic() - began < 1, f"an origin that was stopped: {got} in {time.monotonic() - began:.2f} s")
    check(until(lambda: key(lab, "attachments/three/edge-0") is None, 5), "and its attachment is withdrawn")
finish()
