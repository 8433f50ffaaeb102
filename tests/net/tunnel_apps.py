#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real clients and real servers, with an edge and an origin between them.

Run by tunnel_apps.sh. Needs root, curl, nghttp, h2load, iperf3, openssl, python3-websockets, python3-grpcio.
"""
import asyncio
import hashlib
import http.server
import ssl
from concurrent import futures

from tunnel_lib import *

try:
    import grpc
    import websockets
except ImportError as e:
    skip(f"{e.name} is not installed")

APP, WS, RPC, SAFE, WRONG, UNIX = (f"{n}.edge.example" for n in ("app", "ws", "rpc", "safe", "wrong", "unix"))
P1, P2, HOSTED, RPC2 = (f"{n}.edge.example" for n in ("p1", "p2", "hosted", "rpc2"))
ALL = [APP, WS, RPC, RPC2, SAFE, WRONG, UNIX, P1, P2, HOSTED]


# ---- servers ----

class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512  # of 5, the default, 64 connections at once lose some SYNs


def python_server(folder, port, tls=None):
    s = Server(("127.0.0.1", port), lambda *a: Files(*a, directory=folder))
    if tls:
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(*tls)
        s.socket = ctx.wrap_socket(s.socket, server_side=True)
    threading.Thread(target=s.serve_forever, daemon=True).start()


def head_of(c):
    data = b""
    while b"\r\n\r\n" not in data:
        more = c.recv(65536)
        if not more:
            return data
        data += more
    return data


def answer(c, text):
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text) + text)


def proxy_server(c):
    """Tells which PROXY header came, and the request after it."""
    data = c.recv(16, socket.MSG_PEEK)
    if data.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
        head = c.recv(16)
        rest = c.recv(int.from_bytes(head[14:16], "big"))
        client, port = socket.inet_ntoa(rest[:4]), int.from_bytes(rest[8:10], "big")
        said = f"v2 {head[12]:x} {client} {port} {socket.inet_ntoa(rest[4:8])} {int.from_bytes(rest[10:12], 'big')}"
    else:
        line = b""
        while not line.endswith(b"\r\n"):
            line += c.recv(1)
        said = line.decode().strip()
    head_of(c)
    answer(c, said.encode())


def unix_server(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    os.chown(path, UID, UID)
    s.listen(16)

    def loop():
        while True:
            c, _ = s.accept()
            with c:
                answer(c, b"by unix: " + head_of(c).split(b"\r\n")[0])

    threading.Thread(target=loop, daemon=True).start()


def websocket_server(port):
    async def handler(ws):
        async for message in ws:
            await ws.send(message)

    async def run():
        async with websockets.serve(handler, "127.0.0.1", port, max_size=1 << 24, subprotocols=["chat"]):
            await asyncio.Future()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()


class Calls(grpc.GenericRpcHandler):
    """Methods without protoc: bytes in, bytes out."""

    def service(self, details):
        def unary(request, context):
            context.set_trailing_metadata((("weir-test", "trailer"),))
            return request[::-1]

        def fails(request, context):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")

        def stream(requests, context):
            for r in requests:
                yield r.upper()

        name = details.method.rsplit("/", 1)[1]
        return {"Unary": grpc.unary_unary_rpc_method_handler(unary), "Fails": grpc.unary_unary_rpc_method_handler(fails),
                "Stream": grpc.stream_stream_rpc_method_handler(stream)}.get(name)


def grpc_server(port, creds=None):
    s = grpc.server(futures.ThreadPoolExecutor(8))
    s.add_generic_rpc_handlers((Calls(),))
    if creds:
        s.add_secure_port(f"127.0.0.1:{port}", creds)
    else:
        s.add_insecure_port(f"127.0.0.1:{port}")
    s.start()
    return s


# ---- tests ----

def test_files(lab, big):
    check(lab.curl(f"http://{APP}/hello").stdout == "hello\n", "curl, HTTP/1.1, python's http.server")
    check(lab.curl(f"https://{APP}/hello", "--http1.1").stdout == "hello\n", "curl, HTTPS with HTTP/1.1")
    got = lab.curl(f"https://{APP}/hello", "--http2", "-w", "%{http_version}")
    check(got.stdout == "hello\n2", "curl, HTTP/2", got.stdout + got.stderr)
    got = lab.curl(f"http://{APP}/big", "-o", lab.work / "got", "-w", "%{size_download}")
    check(got.stdout == str(32 << 20) and hashlib.sha256((lab.work / "got").read_bytes()).hexdigest() == big, "32 MiB come unharmed", got)
    check(lab.code(f"http://{APP}/none") == "404", "the target's own 404 comes")
    got = lab.curl(f"http://{APP}/hello", "-I")
    check("200" in got.stdout.split("\n")[0] and "content-length: 6" in got.stdout.lower(), "HEAD", got.stdout)
    check(lab.curl(f"http://{UNIX}/x").stdout == "by unix: GET /x HTTP/1.1", "a Unix socket as target")
    check("host: in.lan:81" in lab.curl(f"http://{HOSTED}/").stdout.lower(), "Host is overridden")


def test_nghttp(lab):
    e = lab.edges[0]
    # neither resolves by an option: the hosts file of this mount namespace does
    hosts = lab.work / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {APP}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    got = subprocess.run(["nghttp", "-v", "-n", f"https://{APP}:{e.https}/hello"], capture_output=True, text=True, timeout=20)
    check(":status: 200" in re.sub(r"\x1b\[[0-9;]*m", "", got.stdout) and "GOAWAY" in got.stdout, "nghttp -v", got.stdout[-1500:] + got.stderr)
    got = subprocess.run(["h2load", "-n", "2000", "-c", "8", "-m", "8", f"https://{APP}:{e.https}/hello"], capture_output=True,
                         text=True, timeout=60)
    check("2000 2xx" in got.stdout, "h2load: 2,000 requests", got.stdout[-900:] + got.stderr)
    got = subprocess.run(["h2load", "--h1", "-n", "2000", "-c", "16", f"http://{APP}:{e.http}/hello"], capture_output=True, text=True,
                         timeout=60)
    check("2000 2xx" in got.stdout, "h2load --h1: 2,000 requests", got.stdout[-900:] + got.stderr)


def test_websocket(lab):
    e = lab.edges[0]
    trust = ssl.create_default_context(cafile=str(lab.work / "web.ca"))

    async def talk(url, **more):
        async with websockets.connect(url, host="127.0.0.1", max_size=1 << 24, subprotocols=["chat"], **more) as ws:
            for message in "hello", b"\0\xff" * 10, "x" * 1000000:
                await ws.send(message)
                if await asyncio.wait_for(ws.recv(), 10) != message:
                    return "differs"
            await ws.ping()
            return ws.subprotocol

    try:
        plain = asyncio.run(talk(f"ws://{WS}:{e.http}/", port=e.http))
    except Exception as x:
        plain = repr(x)
    check(plain == "chat", "WebSocket, with a subprotocol, both ways", plain)
    try:
        safe = asyncio.run(talk(f"wss://{WS}:{e.https}/", port=e.https, ssl=trust, server_hostname=WS))
    except Exception as x:
        safe = repr(x)
    check(safe == "chat", "WebSocket over TLS", safe)
    check(lab.code(f"http://{WS}/") == "426", "a plain request gets what that server says to it")


def test_grpc(lab, host, what):
    e = lab.edges[0]
    creds = grpc.ssl_channel_credentials((lab.work / "web.ca").read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{e.https}", creds, (("grpc.ssl_target_name_override", host), ("grpc.default_authority", host))) as ch:
        def call(name):
            return ch.unary_unary(f"/weir.Test/{name}")

        try:
            said, done = call("Unary").with_call(b"abc", timeout=10)
            check(said == b"cba" and ("weir-test", "trailer") in [tuple(t) for t in done.trailing_metadata()],
                  f"gRPC to {what}: a call and its trailers", (said, done.trailing_metadata()))
            said = call("Unary")(b"a" * (1 << 20) + b"b", timeout=10)
            check(said == b"b" + b"a" * (1 << 20), f"gRPC to {what}: a message of 1 MiB")
            got = list(ch.stream_stream("/weir.Test/Stream")(iter([b"a", b"b", b"c"]), timeout=10))
            check(got == [b"A", b"B", b"C"], f"gRPC to {what}: streams both ways", got)
        except grpc.RpcError as x:
            check(False, f"gRPC to {what}: calls", x)
        try:
            call("Fails")(b"", timeout=10)
            check(False, f"gRPC to {what}: an error comes as one")
        except grpc.RpcError as x:
            check(x.code() == grpc.StatusCode.FAILED_PRECONDITION and x.details() == "not today", f"gRPC to {what}: an error comes as one", x)


def test_proxy(lab):
    e = lab.edges[0]
    got = lab.curl(f"http://{P1}/", "--local-port", "40000-40999").stdout
    check(re.fullmatch(rf"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 40\d\d\d {e.http}", got), "PROXY v1 names the client and what it dialled", got)
    got = lab.curl(f"http://{P2}/", "--local-port", "41000-41999").stdout
    check(re.fullmatch(rf"v2 21 127\.0\.0\.1 41\d\d\d 127\.0\.0\.1 {e.http}", got), "PROXY v2 does so too", got)


def test_tls_targets(lab, origin):
    got = lab.curl(f"http://{SAFE}/hello")
    check(got.stdout == "hello\n", "an https target, verified by its CA", got)
    got = lab.curl(f"http://{WRONG}/hello", "-w", "%{http_code}")
    check(got.stdout.endswith("502") and "hello" not in got.stdout, "the same target with another CA: refused", got.stdout)
    check(until(lambda: "its certificate is not trusted" in origin.said(), 5), "and the log says what to do", origin.said()[-600:])


def test_bytes(lab):
    """TLS that is passed through, and the program at the other end."""
    e = lab.edges[0]
    got = lab.curl(f"https://pass.edge.example/hello", "--cacert", lab.work / "pass.pem", "-k")
    check(got.stdout == "hello\n", "TLS is passed through by its name", got)
    client = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{e.https}", "-servername", "pass.edge.example"], input="",
                            capture_output=True, text=True, timeout=10)
    check("s:CN = inner" in client.stdout, "with the target's own certificate", client.stdout[:600])


def test_slow_reader(lab):
    e = lab.edges[0]
    slow = socket.create_connection(("127.0.0.1", e.http))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    slow.sendall(f"GET /big HTTP/1.1\r\nHost: {APP}\r\n\r\n".encode())
    slow.recv(100)
    got = [lab.curl(f"http://{APP}/hello").stdout for _ in range(10)]
    check(got == ["hello\n"] * 10, "a client that does not read holds nobody up", got)
    slow.settimeout(20)
    n = 100
    while n < 32 << 20:
        more = len(slow.recv(1 << 20))
        if not more:
            break
        n += more
    check(n > 32 << 20, "and gets all of it when it reads on", n)
    slow.close()


def test_away(lab, server):
    e = lab.edges[0]
    server.kill()
    got = lab.curl(f"http://away.edge.example/", "-i")
    rid = re.search(r"x-request-id: (\w+)", got.stdout, re.I)
    check("502" in got.stdout.split("\n")[0] and rid and rid.group(1) in got.stdout.split("\n\n", 1)[1], "the target is away: 502 with an id",
          got.stdout)
    check(rid and until(lambda: any(line.get("id") == rid.group(1) for line in lab.access())), "the id stands in the edge's log")

    def lines():  # written at most each 100 ms
        log = [json.loads(x) for x in (lab.work / "origin.access").read_text().splitlines() if x.endswith("}")]
        return [x for x in log if rid and x["id"] == rid.group(1)]
    mine = until(lines, 3)
    check(mine and mine[0]["status"] == 502 and mine[0]["cause"] == "refused", "and in the origin's, with its cause", mine)
    edge = [x for x in lab.access() if rid and x.get("id") == rid.group(1)]
    check(mine and edge and mine[0]["trace"] == edge[0].get("trace"), "both have one trace id", (mine, edge))


def main():
    enter("curl", "nghttp", "h2load", "openssl")
    with Lab(edges=1) as lab:
        w = lab.work
        www = w / "www"
        www.mkdir()
        (www / "hello").write_text("hello\n")
        data = os.urandom(1 << 20) * 32
        (www / "big").write_bytes(data)
        inner = lab.certificate("inner", "localhost", "127.0.0.1")
        (w / "ext").write_text("")
        lab.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=inner", "-days", "2",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:pass.edge.example", "-keyout", w / "in.key", "-out", w / "in.pem")
        python_server(www, 9000)
        python_server(www, 9001, (w / "in.pem", w / "in.key"))
        away = subprocess.Popen([sys.executable, "-m", "http.server", "9005", "--bind", "127.0.0.1", "-d", www], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        websocket_server(9002)
        servers = [grpc_server(9003), grpc_server(9004, grpc.ssl_server_credentials([((w / "in.key").read_bytes(), (w / "in.pem").read_bytes())]))]
        unix_server(str(w / "app.sock"))
        serve(proxy_server, 9006)
        serve(lambda c: answer(c, head_of(c)), 9007)
        lab.tunnel("app", ALL + ["away.edge.example"])
        lab.tunnel("pass", ["pass.edge.example"], "--port", "443/tls")
        (w / "origin.access").touch()
        os.chown(w / "origin.access", UID, UID)
        origin = lab.origin("app", [
            {"hostname": APP, "to": "http://127.0.0.1:9000"}, {"hostname": WS, "to": "http://localhost:9002"},
            {"hostname": RPC, "to": "h2c://127.0.0.1:9003"}, {"hostname": RPC2, "to": "h2://localhost:9004", "ca": w / "in.pem"},
            {"hostname": SAFE, "to": "https://localhost:9001", "ca": w / "in.pem"},
            {"hostname": WRONG, "to": "https://localhost:9001", "ca": w / "web.ca"}, {"hostname": UNIX, "to": f"unix:{w}/app.sock"},
            {"hostname": P1, "to": "http://127.0.0.1:9006", "proxy": "v1"}, {"hostname": P2, "to": "http://127.0.0.1:9006", "proxy": "v2"},
            {"hostname": HOSTED, "to": "http://127.0.0.1:9007", "host": "in.lan:81"},
            {"hostname": "away.edge.example", "to": "http://127.0.0.1:9005"}], more=f"  access_log: {w}/origin.access\n")
        lab.origin("pass", [{"port": 443, "to": "tcp://127.0.0.1:9001"}])
        test_files(lab, hashlib.sha256(data).hexdigest())
        test_nghttp(lab)
        test_websocket(lab)
        test_grpc(lab, RPC, "h2c")
        test_grpc(lab, RPC2, "h2 over TLS")
        test_proxy(lab)
        test_tls_targets(lab, origin)
        test_bytes(lab)
        test_slow_reader(lab)
        test_away(lab, away)
        for s in servers:
            s.stop(0)
        check(origin.stop(10) == 0, "the origin ends in order")
    finish()


main()
