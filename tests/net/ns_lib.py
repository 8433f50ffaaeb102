# SPDX-License-Identifier: Apache-2.0
"""For ns_*.py: weir-ns on loopback in a namespace of one's own, questions as raw bytes, a registry, TAP."""
import atexit, base64, http.client, json, os, shutil, signal, socket, struct, subprocess, sys, tempfile, time

TOP = os.environ.get("WEIR_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("WEIR_BIN", f"{TOP}/build/bin")
PORT = 53
ZONE = """$TTL 60
@ SOA ns1 hostmaster 1 3600 900 604800 30
@ NS ns1
ns1 A 198.18.1.10
www A 198.18.1.1
www AAAA 2001:db8:1::1
alias CNAME www
*.wild TXT "wild"
files A 198.18.1.99
sub NS ns.sub
ns.sub A 198.18.3.1
""" + "".join(f"big TXT \"{chr(97 + i) * 250}\"\n" for i in range(8))

_tests = {"n": 0, "failed": 0}
_processes = []
work = tempfile.mkdtemp(prefix="weir-ns.")
os.chmod(work, 0o755)


def check(ok, what, seen=""):
    _tests["n"] += 1
    print(("ok" if ok else "not ok"), _tests["n"], "-", what, flush=True)
    if not ok:
        _tests["failed"] += 1
        print(f"# seen: {seen}", flush=True)


def finish():
    print(f"1..{_tests['n']}")
    sys.exit(1 if _tests["failed"] else 0)


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(77)


@atexit.register
def _clean():
    for p in _processes:
        if p.poll() is None:
            p.terminate()
    for p in _processes:
        try:
            p.wait(5)
        except subprocess.TimeoutExpired:
            p.kill()
    shutil.rmtree(work, ignore_errors=True)


def within(seconds, fn):
    """Until fn() is true; its last value."""
    deadline = time.monotonic() + seconds
    while True:
        got = fn()
        if got or time.monotonic() > deadline:
            return got
        time.sleep(0.02)


def spawn(argv, log):
    with open(f"{work}/{log}", "a") as out:
        p = subprocess.Popen(argv, stdout=out, stderr=out)
    _processes.append(p)
    return p


def write(name, text):
    """Replaced whole, as an editor does."""
    with open(f"{work}/{name}.tmp", "w") as f:
        f.write(text)
    os.rename(f"{work}/{name}.tmp", f"{work}/{name}")
    return f"{work}/{name}"


def config(listen='["127.0.0.1:53", "[::1]:53"]', extra="", site="a", limits=""):
    write("edge.example.zone", ZONE)
    return write("weir.yaml", f"""node: n1
site: {site}
user: "64200"
state: {work}/state
run: {work}/run
log: info
registry: {{url: "unix:{work}/registry.socket", timeout: 500ms}}
ns:
  listen: {listen}
  inside: "127.0.0.1:7002"
  zones: [{{name: edge.example, file: edge.example.zone}}]
  workers: 2
  {limits}
{extra}""")


def start_ns():
    p = spawn([f"{BIN}/weir-ns", "-c", f"{work}/weir.yaml"], "ns.log")
    if not within(15, lambda: p.poll() is not None or ask("edge.example", 6) is not None) or p.poll() is not None:
        print("# " + open(f"{work}/ns.log").read().replace("\n", "\n# "))
        raise SystemExit("weir-ns does not answer")
    return p


def stop(p, sig=signal.SIGTERM):
    p.send_signal(sig)
    return p.wait(10)


def name_wire(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".") if x) + b"\0"


def question(name, qtype=1, qid=0x1234, flags=0x0100, edns=None, qclass=1):
    msg = struct.pack(">HHHHHH", qid, flags, 1, 0, 0, 1 if edns else 0) + name_wire(name) + struct.pack(">HH", qtype, qclass)
    return msg + (b"\0" + struct.pack(">HHIH", 41, edns, 0, 0) if edns else b"")


def udp(msg, server="127.0.0.1", timeout=1.0):
    """The answer's bytes, or None when there was silence."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect((server, PORT))
        try:
            s.send(msg)
            return s.recv(65535)
        except OSError:
            return None


def rcode(answer):
    return None if answer is None else answer[3] & 15


def ask(name, qtype=1, **kw):
    return udp(question(name, qtype), **kw)


def addresses(answer):
    """The A records of an answer: their owners are pointers, as weir-ns writes them."""
    out, at = [], 12
    while answer[at]:
        at += 1 + answer[at]
    at += 5
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        if answer[at] < 0xC0:
            raise ValueError("an owner that is not compressed")
        rtype, _, _, length = struct.unpack(">HHIH", answer[at + 2:at + 12])
        if rtype == 1:
            out.append(socket.inet_ntoa(answer[at + 12:at + 16]))
        at += 12 + length
    return out


class UnixHTTP(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(f"{work}/registry.socket")


def registry(path, body):
    c = UnixHTTP("localhost")
    c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    text = r.read()
    c.close()
    if r.status != 200:
        raise RuntimeError(f"{path}: {r.status} {text!r}")
    return json.loads(text)


def _b64(text):
    return base64.b64encode(text.encode()).decode()


def put(key, value):
    registry("/v3/kv/put", {"key": _b64("/weir/v1/" + key), "value": _b64(json.dumps(value))})


def delete(key):
    registry("/v3/kv/deleterange", {"key": _b64("/weir/v1/" + key)})


def start_registry():
    if not os.path.exists(f"{BIN}/weir-registry"):
        skip("weir-registry is not built")
    write("registry.yaml", f"""node: r
site: a
user: "64200"
state: {work}/rstate
run: {work}/rrun
registry_server: {{listen: ["unix:{work}/registry.socket"]}}
""")
    p = spawn([f"{BIN}/weir-registry", "-c", f"{work}/registry.yaml"], "registry.log")

    def up():
        try:
            return registry("/v3/kv/range", {"key": _b64("/weir/v1/x")}) is not None
        except OSError:
            return False

    if not within(10, up):
        raise SystemExit("weir-registry does not answer: " + open(f"{work}/registry.log").read())
    return p


def control(do):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(f"{work}/run/ns.sock")
        s.sendall(json.dumps({"do": do}).encode() + b"\n")
        return json.loads(s.makefile().readline())
