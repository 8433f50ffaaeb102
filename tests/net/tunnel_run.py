#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`weir tunnel enroll` and `weir tunnel run` as a newcomer types them, right and wrong; bytes of ports through an edge whose
tunnel addresses an agent serves.

Run by tunnel_run.sh. Needs root, curl, iperf3, openssl, BPF.
"""
import hashlib

from tunnel_lib import *

APP = "app.edge.example"


def prepare():
    """A device for the agent's program, and a place for its maps."""
    for argv in (["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], ["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"],
                 ["ip", "link", "set", "veth0", "up"], ["ip", "link", "set", "veth1", "up"],
                 ["ip", "addr", "add", "198.18.0.1/24", "dev", "veth0"]):
        if subprocess.run(argv, capture_output=True).returncode:
            skip(f"{' '.join(argv)} is not possible here")


def test_enroll(lab, token):
    e = lab.edges[0]

    def fails(says, text, edge=f"127.0.0.1:{e.attach}", folder="x", name=None):
        got = lab.weir("tunnel", "enroll", "-", "--edge", edge, "--dir", lab.work / folder, input=text, fails=True)
        check(got.returncode == 1 and says in got.stderr, name or f"enroll: {says}", got.stdout + got.stderr)

    fails("that is no token", "weirt1.nonsense\n")
    name, secret, print_ = token.split(".")[1:]
    fails("The token was not sent", f"weirt1.{name}.{secret}.{print_[::-1]}\n", name="enroll: an edge of another authority gets no token")
    fails("refuses", f"weirt1.{name}.{secret[::-1]}.{print_}\n", name="enroll: a token with another secret is refused")
    fails("cannot be reached: Connection refused", token, edge="127.0.0.1:10009")
    fails("no TLS 1.3 handshake", token, edge=f"127.0.0.1:{e.http}")
    fails("names no port", token, edge="127.0.0.1")
    check(not list((lab.work / "x").glob("*.pem")), "none of these left a file")
    (lab.work / "plain").write_text("")
    fails("name another folder with --dir", token, folder="plain/x", name="enroll: a folder that cannot be made, before the token is spent")
    got = lab.weir("tunnel", "enroll", "-", "--edge", f"127.0.0.1:{e.attach}", "--dir", lab.work / "mine", input=token + "\n")
    d = lab.work / "mine"
    check("next: weir tunnel run" in got and (d / "key.pem").stat().st_mode & 0o777 == 0o600 and
          json.loads((d / "tunnel.json").read_text())["tunnel"] == "app" and not list(d.glob("*.new")), "enrolled: four files, the key its owner's",
          got)
    said = subprocess.run(["openssl", "x509", "-in", d / "cert.pem", "-noout", "-subject", "-ext", "subjectAltName,extendedKeyUsage"],
                          capture_output=True, text=True).stdout
    check("CN = app" in said and APP in said and "Client Authentication" in said, "the certificate bears the tunnel and its hostname", said)
    key = (d / "key.pem").read_bytes()
    fails("refuses", token, folder="mine", name="enroll: the token is good once")
    check((d / "key.pem").read_bytes() == key, "and what was there stays")
    return d


def test_usage(lab, d):
    def says(text, *argv):
        got = lab.weir("tunnel", "run", "--dir", d, *argv, fails=True)
        check(got.returncode and text in got.stderr, f"run: {text}", got.stderr)

    says("--to URL is missing")
    says("there is no option --too", "--too", "x")
    says("--port 99999 is no port", "--port", "99999", "--to", "tcp://127.0.0.1:1")
    says("stand before its --to", "--to", "http://127.0.0.1:1", "--hostname", APP)
    says("write http://127.0.0.1:8080", "--to", "8080")
    got = lab.weir("tunnel", "run", "--dir", lab.work / "nowhere", "--to", "http://127.0.0.1:1", fails=True)
    check(got.returncode and "weir tunnel enroll TOKEN" in got.stderr, "run: no folder says which command makes it", got.stderr)


def iperf(address, *more):
    for _ in range(3):
        got = subprocess.run(["iperf3", "-c", address, "-p", "5201", "-J", "-n", "100M", *more], capture_output=True, text=True, timeout=60)
        said = json.loads(got.stdout)
        if "busy" not in said.get("error", ""):
            break
        time.sleep(0.3)
    return said


def test_bytes(lab, address):
    server = lab.daemon("iperf3", "iperf3", "-s", "-B", "127.0.0.1", "-p", "5201")
    until(lambda: listens(5201))
    for name, more in ("up", []), ("down, 4 streams", ["-R", "-P", "4"]):
        said = iperf(address, *more)
        end = said.get("end", {}).get("sum_received", {})
        # the receiver's count ends when the sender is done: what is on the way then is not in it
        check(end.get("bytes", 0) > 50e6, f"iperf3 -n 100M {name}: {end.get('bits_per_second', 0) / 1e9:.2f} Gbit/s", json.dumps(said)[-600:])
    server.stop()
    data = os.urandom(3 << 20)
    with socket.create_connection((address, 2222)) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        local = s.getsockname()
    check(got.split()[0] == hashlib.sha256(data).hexdigest(), "half-closed: what was sent arrives whole, the answer after it", got[:100])
    check(got.split()[1:] == ["PROXY", "TCP4", local[0], address, str(local[1]), "2222"], "PROXY v1 in front of bytes", got)
    with socket.socket() as s:
        s.settimeout(3)
        code = s.connect_ex((address, 2223))
    check(code != 0, "a port that the tunnel did not open is not there", code)


def hasher(c):
    stream = c.makefile("rb")
    line = stream.readline().decode().strip()
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read1(65536), b""):
        digest.update(block)
    c.sendall(f"{digest.hexdigest()} {line}".encode())


def test_user(lab):
    """Without root: credentials in the home folder, the one tunnel there needs no name."""
    home, programs = lab.work / "home", lab.work / "bin"
    for folder in home, programs:
        folder.mkdir()
    os.chown(home, UID, UID)
    for name in "weir", "weir-tunnel":
        shutil.copy(BIN / name, programs)
    made = lab.tunnel("own", ["own.edge.example"], enroll=False)
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env", f"HOME={home}", programs / "weir", "tunnel"]
    got = subprocess.run([*map(str, user), "enroll", "-", "--edge", f"127.0.0.1:{lab.edges[0].attach}"], input=made["token"],
                         capture_output=True, text=True)
    check(got.returncode == 0 and (home / ".config/weir/tunnels/own/key.pem").stat().st_uid == UID and "weir tunnel run own" in got.stdout,
          "without root: enrolled into the home folder", got.stdout + got.stderr)
    run = lab.daemon("own", *user, "run", "--to", "http://127.0.0.1:9000")
    check(until(lambda: lab.curl("http://own.edge.example/").stdout == "hello\n", 15), "without root: run needs no name and no root", run.said())
    check(run.stop(15) == 0, "and ends in order", run.said()[-400:])


def main():
    enter("curl", "iperf3", "openssl", "setpriv")
    prepare()
    agent = "agent: {interfaces: [veth0], pin: /sys/fs/bpf/run}\n"
    with Lab(edges=1, tunnels="prefix: [198.18.64.0/24], ttl: 1s, quarantine: 2s", edge_more=agent) as lab:
        a = lab.daemon("agent", BIN / "weir-agent", "-c", lab.edges[0].conf)
        if not until(lambda: (lab.work / "run/edge-0/agent.sock").exists(), 15):
            print(f"Bail out! the agent does not start: {a.said()[-800:]}")
            sys.exit(1)
        serve(lambda c: (c.recv(65536), c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")), 9000)
        serve(hasher, 9001)
        made = lab.tunnel("app", [APP], "--port", "5201/tcp", "--port", "2222/tcp", "--port", "80/http", enroll=False)
        address = made.get("address") or made["tunnel"]["address"]
        d = test_enroll(lab, made["token"])
        test_usage(lab, d)
        run = lab.daemon("run", BIN / "weir", "tunnel", "run", "--dir", d, "--hostname", APP, "--to", "http://127.0.0.1:9000",
                         "--port", "5201", "--to", "tcp://127.0.0.1:5201", "--port", "2222", "--proxy", "v1", "--to", "tcp://127.0.0.1:9001")
        check(until(lambda: f"published: http://{APP}/" in run.said(), 15), "run: the URL is said once it is attached", run.said())
        check(lab.curl(f"http://{APP}/").stdout == "hello\n", "and leads to the server")
        got = until(lambda: subprocess.run(["curl", "-s", "-m", "5", "--resolve", f"{APP}:80:{address}", f"http://{APP}/"], capture_output=True,
                                           text=True).stdout, 10)
        check(got == "hello\n", "so does the tunnel's own address", got)
        said = json.loads(lab.weir("status", "--json", conf=d / "run.yaml"))
        check("origin" in json.dumps(said) and said["roles"]["origin"]["tunnel"] == "app", "weir status reads its configuration", json.dumps(said)[:600])
        test_bytes(lab, address)
        lab.weir("tunnel", "set", "app", "--hostname", "a-new.edge.example", "--hostname", APP, conf=lab.edges[0].conf)
        until(lambda: any(t["hostnames"][0] == "a-new.edge.example" for t in lab.ask("edge-0", "edge", {"do": "status"})["tunnels"]))
        with socket.create_connection((address, 2222)) as s:
            s.shutdown(socket.SHUT_WR)
            got = s.makefile("rb").read()
        check(got.startswith(hashlib.sha256(b"").hexdigest().encode()), "bytes still come when a hostname is new that no certificate has yet", got)
        run.signal(signal.SIGINT)
        check(run.process.wait(15) == 0, "Ctrl-C ends it", run.said()[-400:])
        test_user(lab)
        a.stop()
    finish()


main()
