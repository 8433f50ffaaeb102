#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The edge's TLS as sslscan and openssl s_client see it: versions, ciphers and their order, groups, signatures, renegotiation,
compression, tickets, early data, ALPN. What is not named here is not offered.

No OCSP response is stapled: public authorities have ended OCSP. Run by tunnel_tls.sh. Needs root, sslscan, openssl.
"""
import xml.etree.ElementTree

from tunnel_lib import *

HOST, RSA = "app.edge.example", "rsa.other.example"
SUITES13 = ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"]
SUITES12 = ["AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384"]


def scan(lab, port, name, key, versions):
    got = subprocess.run(["sslscan", "--xml=-", "--show-sigs", "--ocsp", "--show-certificate", f"--sni-name={name}", f"127.0.0.1:{port}"],
                         capture_output=True, timeout=60).stdout.decode(errors="replace")
    test = xml.etree.ElementTree.fromstring(re.sub(r"[^\x09\x0a\x20-\x7e]", "?", got)).find("ssltest")

    def every(kind, *names):
        return [tuple(x.get(n) for n in names) for x in test.iter(kind)]
    what = f"{name}, {key}:"
    offered = {f"TLS{v}" if t == "tls" else f"SSL{v}" for t, v, on in every("protocol", "type", "version", "enabled") if on == "1"}
    check(offered == set(versions), f"{what} {sorted(offered)} and nothing older", got)
    suites = [(v[3:], c) for v, c in every("cipher", "sslversion", "cipher")]
    wanted = [("v1.3", c) for c in SUITES13] + [("v1.2", f"ECDHE-{key}-{c}") for c in SUITES12 if "TLS1.2" in versions]
    check(sorted(suites) == sorted(wanted), f"{what} AEAD with forward secrecy alone", suites)
    first = [(v[3:], c) for v, s, c in every("cipher", "sslversion", "status", "cipher") if s == "preferred"]
    if " aes " in pathlib.Path("/proc/cpuinfo").read_text():
        check(first == [w for w in wanted if "AES" in w[1] and "128" in w[1]], f"{what} AES-128 first", first)
    groups = {n.split()[0] for n, in every("group", "name")}
    check(groups and groups <= {"secp256r1", "secp384r1", "x25519"}, f"{what} groups {sorted(groups)}", groups)
    signs = {n for n, in every("connection-signature-algorithm", "name")}
    check(signs and not [s for s in signs if re.search("sha1|sha224|md5|dsa_sha1|any", s, re.I)], f"{what} signs with {sorted(signs)}", got)
    check({v for v, in every("renegotiation", "supported")} == {"0"}, f"{what} no renegotiation", got)
    check({v for v, in every("heartbleed", "vulnerable")} == {"0"}, f"{what} no heartbeat", got)


def client(port, *args, text=""):
    got = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *args], input=text.encode(), capture_output=True, timeout=20)
    return (got.stdout + got.stderr).decode(errors="replace")


def details(lab):
    e = lab.edges[0]
    name = ["-servername", HOST]
    for version in "-tls1", "-tls1_1":
        got = client(e.https, *name, version, "-cipher", "DEFAULT:@SECLEVEL=0")
        check("alert protocol version" in got, f"{version[1:]} is refused by an alert", got[-600:])
    for cipher in "AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL":
        got = client(e.https, *name, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
        check("alert handshake failure" in got, f"TLS 1.2 with {cipher}: no", got[-600:])
    got = client(e.https, *name, "-tls1_2", "-fallback_scsv")
    check("alert inappropriate fallback" in got, "TLS_FALLBACK_SCSV is understood", got[-600:])
    got = client(e.https, *name, "-tls1_2", "-sigalgs", "ECDSA+SHA1:RSA+SHA1", "-cipher", "DEFAULT:@SECLEVEL=0")
    check("alert handshake failure" in got or "alert internal" in got, "who takes SHA-1 alone gets nothing", got[-600:])
    got = client(e.https, *name, "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256")
    check("Cipher is TLS_CHACHA20_POLY1305_SHA256" in got, "who wishes for ChaCha20 first gets it", got[-900:])
    got = client(e.https, *name, "-ciphersuites", "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256")
    check("Cipher is TLS_AES_128_GCM_SHA256" in got or " aes " not in pathlib.Path("/proc/cpuinfo").read_text(), "else the order is the edge's", got[-900:])
    again = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{e.https}", *name, "-tls1_2"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    again.stdin.write(b"R\n")
    again.stdin.flush()
    got = again.stdout.read().decode(errors="replace")  # it ends by itself, its input being open
    check("RENEGOTIATING" in got and "no renegotiation" in got and again.wait() == 1, "a client's renegotiation is refused", got[-600:])
    again.stdin.close()
    for version in "-tls1_2", "-tls1_3":
        got = client(e.https, *name, version, "-alpn", "h2,http/1.1")
        check("ALPN protocol: h2" in got and "Compression: NONE" in got and "Secure Renegotiation IS" in got, f"{version[1:]}: h2, no compression", got[-900:])
        got = client(e.https, *name, version, "-alpn", "http/1.1,h2")
        check("ALPN protocol: h2" in got, f"{version[1:]}: the order of protocols is the edge's", got[-900:])
        got = client(e.https, *name, version, "-alpn", "spdy/3,weir-tunnel/1")
        check("alert no application protocol" in got, f"{version[1:]}: none in common is an alert, not a guess", got[-600:])
        got = client(e.https, *name, version)
        check("No ALPN negotiated" in got and "Verification error: unable" in got, f"{version[1:]}: without ALPN it is HTTP/1.1", got[-900:])
    with open(lab.work / "long", "w") as f:
        f.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
    ticket = lab.work / "ticket"
    get = (lab.work / "long").read_text()
    got = client(e.https, *name, "-tls1_3", "-sess_out", ticket, "-ign_eof", text=get)
    check(got.count("Post-Handshake New Session Ticket arrived") == 1 and "Max Early Data: 0" in got and "lifetime hint: 7200" in got,
          "one ticket for two hours, without early data", got[-2500:])
    got = client(e.https, *name, "-tls1_3", "-sess_in", ticket, "-ign_eof", text=get)
    check("Reused, TLSv1.3" in got and "Early data was not sent" in got, "which resumes, with a new key exchange", got[-900:])
    got = client(e.https, "-servername", RSA, "-tls1_3", "-sess_in", ticket)
    check("New, TLSv1.3" in got, "not at a site with another certificate", got[-900:])
    got = client(e.attach, "-tls1_2")
    check("alert protocol version" in got, "origins: TLS 1.3 alone", got[-600:])
    got = client(e.attach, "-alpn", "h2")
    check("alert no application protocol" in got, "origins: h2 of clients is not offered", got[-600:])
    got = client(e.attach, "-alpn", "http/1.1", "-ign_eof", text="GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    check("Post-Handshake New Session Ticket" not in got and "weir installation, origins" in got, "origins: no tickets, and whose certificates are taken", got[-900:])


enter("sslscan", "openssl")
with Lab(edges=0) as the_lab:
    w = the_lab.work
    the_lab.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={RSA}", "-addext", f"subjectAltName=DNS:{RSA}", "-days", "2",
                    "-keyout", w / "rsa.key", "-out", w / "rsa.pem")
    os.chown(w / "rsa.key", UID, UID)
    the_lab.edges.append(the_lab.edge(0))
    edge = the_lab.edges[0]
    edge.stop()
    text = edge.conf.read_text()
    edge.conf.write_text(re.sub(r"(certificates: \[\{[^}]*\})", rf"\1, {{cert: {w}/rsa.pem, key: {w}/rsa.key}}", text))
    edge.start()
    until(lambda: listens(edge.attach)) or sys.exit(f"Bail out! the edge does not start: {edge.said()}")
    scan(the_lab, edge.https, HOST, "ECDSA", ["TLS1.2", "TLS1.3"])
    scan(the_lab, edge.https, RSA, "RSA", ["TLS1.2", "TLS1.3"])
    scan(the_lab, edge.attach, "edge-0", "attach", ["TLS1.3"])
    details(the_lab)
    check(edge.runs(), "the edge lives")
finish()
