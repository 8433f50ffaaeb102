# SPDX-License-Identifier: Apache-2.0
"""See ns_dig.sh."""
import json, shutil, subprocess, urllib.request

import ns_lib as t

if not shutil.which("dig"):
    t.skip("dig (bind9-dnsutils) is not installed")


def run(*argv):
    return subprocess.run(argv, text=True, capture_output=True, timeout=20).stdout


def dig(*argv):
    return run("dig", "+tries=1", "+time=2", *argv)


for extra in ("198.18.7.1", "198.18.7.2"):
    subprocess.run(["ip", "address", "add", f"{extra}/32", "dev", "lo"], check=True)
t.config(listen='["0.0.0.0:53", "[::1]:53"]')
t.start_ns()
short = lambda *a: dig("+short", *a).split()
for at in ("@127.0.0.1", "@::1"):
    t.check(short(at, "www.edge.example") == ["198.18.1.1"], f"A from {at}")
    t.check(short(at, "www.edge.example", "AAAA") == ["2001:db8:1::1"], f"AAAA from {at}")
    t.check(short(at, "+tcp", "alias.edge.example") == ["www.edge.example.", "198.18.1.1"], f"an alias over TCP from {at}")
for at in ("198.18.7.1", "198.18.7.2"):
    t.check(short(f"@{at}", "www.edge.example") == ["198.18.1.1"], f"a wildcard listener answers from {at}, the address asked")
out = dig("@127.0.0.1", "www.edge.example")
t.check("status: NOERROR" in out and " qr aa rd" in out and "udp: 1232" in out, "with dig's own EDNS and cookie", out)
t.check("status: NXDOMAIN" in dig("@127.0.0.1", "no.edge.example"), "NXDOMAIN")
t.check("status: REFUSED" in dig("@127.0.0.1", "example.net"), "REFUSED outside the zones")
t.check("Transfer failed" in dig("@127.0.0.1", "edge.example", "AXFR"), "no transfer")
t.check("RFC8482" in dig("@127.0.0.1", "www.edge.example", "ANY", "+notcp"), "ANY is HINFO")
out = dig("@127.0.0.1", "big.edge.example", "TXT", "+ignore")
t.check("flags: qr aa tc rd" in out and "ANSWER: 0" in out, "TC when it does not fit", out)
t.check(dig("@127.0.0.1", "big.edge.example", "TXT").count("IN\tTXT\t") == 8, "and whole over TCP")
t.check("BADVERS" in dig("@127.0.0.1", "+edns=1", "+noednsneg", "www.edge.example"), "BADVERS")
t.check("flags: do" in dig("@127.0.0.1", "+dnssec", "www.edge.example"), "DO is copied")
out = dig("@127.0.0.1", "a.sub.edge.example")
t.check("ns.sub.edge.example.\t60\tIN\tA\t198.18.3.1" in out and " aa" not in out.split("QUERY:")[0], "a referral with glue", out)
t.check("NOTIMP" in dig("@127.0.0.1", "+opcode=NOTIFY", "edge.example"), "NOTIFY is NOTIMP")
t.check("REFUSED" in dig("@127.0.0.1", "CH", "version.bind", "TXT"), "CHAOS is refused")
if shutil.which("kdig"):
    t.check("198.18.1.1" in run("kdig", "@127.0.0.1", "+tcp", "+keepopen", "www.edge.example", "www.edge.example"), "kdig, two questions on one connection")
    t.check("NOERROR" in run("kdig", "@::1", "+bufsize=4096", "+cookie", "www.edge.example", "AAAA"), "kdig over IPv6")
if shutil.which("delv"):
    t.check("198.18.1.1" in run("delv", "-i", "@127.0.0.1", "www.edge.example"), "delv without validation")
page = urllib.request.urlopen("http://127.0.0.1:7002/_/metrics", timeout=5).read().decode()
t.check('weir_ns_queries_total{type="A",transport="udp"}' in page and 'weir_ns_answers_total{rcode="NXDOMAIN",transport="udp"} 1' in page,
        "metrics by type, rcode and transport")
status = t.control("status")
t.check(status["ok"] and status["role"] == "ns" and status["registry"] == "silent" and status["answers"]["REFUSED"] >= 2 and
        status["zones"][0]["serial"] == 1, "status", json.dumps(status))
t.finish()
