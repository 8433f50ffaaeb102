#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real clients and real servers, with an edge and an origin between them.

Run by tunnel_apps.sh. Needs root, curl, nghttp, h2load, iperf3, openssl, python3-websockets, python3-grpcio.
"""
import asyncio
import base64
import hashlib
import http.server
import ssl
from concurrent import futures

from tunnel_lib import *

try:
    import grpc
    import h2.config
    import h2.connection
    import h2.events
    import h2.settings
    import websockets
except ImportError as e:
    skip(f"{e.name} is not installed")

APP, WS, RPC, SAFE, WRONG, UNIX = (f"{n}.edge.example" for n in ("app", "ws", "rpc", "safe", "wrong", "unix"))
P1, P2, HOSTED, RPC2, ECHO, PASS = (f"{n}.edge.example" for n in ("p1", "p2", "hosted", "rpc2", "echo", "pass"))
ALL = [APP, WS, RPC, RPC2, SAFE, WRONG, UNIX, P1, P2, HOSTED, ECHO]


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


def echo_body(stream, fields):
    """A request's body and trailers, to their end: (size, sha256, trailers)."""
    digest, size, trailers = hashlib.sha256(), 0, []
    if fields.get("transfer-encoding") != "chunked":
        data = stream.read(int(fields.get("content-length", 0)))
        return len(data), hashlib.sha256(data).hexdigest(), trailers
    while n := int(stream.readline(), 16):
        digest.update(stream.read(n))
        stream.readline()
        size += n
    while (line := stream.readline().strip()):
        trailers.append(line.decode())
    return size, digest.hexdigest(), trailers


def echo_server(c):
    """/ok at once; /part a range; /chunked in parts with a trailer; /early refuses before the body; else what came, as JSON."""
    stream = c.makefile("rb")
    while line := stream.readline():
        path = line.split()[1].decode()
        fields = {}
        while (field := stream.readline().strip()):
            k, _, v = field.decode().partition(":")
            fields[k.lower()] = v.strip()
        if path == "/ok":
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        elif path == "/part":
            c.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Range: %s/10\r\nContent-Length: 3\r\n\r\n345"
                      % fields.get("range", "").replace("=", " ").encode())
        elif path == "/chunked":
            c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Sum: 6\r\n\r\n")
        elif path == "/early":
            c.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull")
            return
        else:
            if fields.get("expect") == "100-continue":
                c.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            size, digest, trailers = echo_body(stream, fields)
            text = json.dumps({"line": line.decode().strip(), "fields": fields, "size": size, "sha256": digest, "trailers": trailers}).encode()
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def proxy_v2(c):
    """A PROXY v2 header in words."""
    head = c.recv(16, socket.MSG_WAITALL)
    rest = c.recv(int.from_bytes(head[14:16], "big"), socket.MSG_WAITALL)
    client, port = socket.inet_ntoa(rest[:4]), int.from_bytes(rest[8:10], "big")
    return f"v2 {head[12]:x} {client} {port} {socket.inet_ntoa(rest[4:8])} {int.from_bytes(rest[10:12], 'big')}"


def tls_after_proxy(tls):
    """TLS of its own after a PROXY v2 header, which it tells."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(*tls)

    def handler(c):
        said = proxy_v2(c)
        with ctx.wrap_socket(c, server_side=True) as t:
            head_of(t)
            answer(t, said.encode())
    return handler


def proxy_server(c):
    """Tells which PROXY header came, and the request after it."""
    data = c.recv(16, socket.MSG_PEEK)
    if data.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
        said = proxy_v2(c)
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


def test_curl(lab, big):
    """Every way in which curl sends and asks."""
    for scheme, more in ("http", []), ("https", ["--http1.1"]), ("https", ["--http2"]):
        for what, args in ("with a length", []), ("chunked", ["-H", "Transfer-Encoding: chunked"]), ("after 100", ["-H", "Expect: 100-continue", "--expect100-timeout", "15"]):
            if "--http2" in more and what == "chunked":
                args = ["-H", "Content-Length:"]
            got = lab.curl(f"{scheme}://{ECHO}/up", "-T", lab.work / "www/big", "-X", "POST", *args, *more)
            said = json.loads(got.stdout or "{}")
            check((said.get("size"), said.get("sha256")) == (32 << 20, big), f"32 MiB up {what}: {scheme} {' '.join(more)}", got)
    got = lab.curl(f"http://{ECHO}/early", "-T", lab.work / "www/big", "-H", "Expect: 100-continue", "--expect100-timeout", "15", "-w",
                   " %{http_code} %{size_upload}")
    check(got.stdout == "full 413 0", "refused by the head: not a byte of the body is sent", got)
    for scheme, more in ("http", ["-H", "Expect:"]), ("https", ["--http2"]):
        got = lab.curl(f"{scheme}://{ECHO}/early", "-T", lab.work / "www/big", *more, "-w", " %{http_code}")
        check(got.stdout == "full 413", f"an answer in the middle of an upload: {scheme}", got)
        check(lab.curl(f"{scheme}://{ECHO}/ok").stdout == "ok", "and the next request is served")
    got = lab.curl(f"http://{ECHO}/x", "--http1.0", "-w", "\n%{http_code}").stdout
    check(got.endswith("\n200") and json.loads(got[:-4])["line"] == "GET /x HTTP/1.1", "an HTTP/1.0 client", got)
    got = lab.curl(f"http://{ECHO}/chunked", "--http1.0", "--raw", "-i").stdout
    check(got.endswith("\n\nabcdef") and "chunked" not in got, "gets no chunks, which it would not know", got)
    got = lab.curl(f"http://{ECHO}/chunked", "--raw").stdout
    check(got.replace("\r", "").endswith("0\nx-sum: 6\n\n"), "an HTTP/1.1 client gets chunks and trailers", got)
    got = lab.curl(f"https://{ECHO}/part", "-r", "3-5", "-i").stdout
    check(" 206" in got and "content-range: bytes 3-5/10" in got.lower() and got.endswith("345"), "a range", got)
    got = lab.curl(f"https://{ECHO}/%2e%2e/a%2fb;c=%C3%A9?q=a+b%20c&&=", "--path-as-is").stdout
    check(json.loads(got)["line"] == "GET /%2e%2e/a%2fb;c=%C3%A9?q=a+b%20c&&= HTTP/1.1", "the target is passed on as it was sent", got)
    got = lab.curl(f"https://{ECHO}/", "-H", "Cookie: a=1", "-H", "X-Twice: 1", "-H", "X-Twice: 2", "-H", "X-Empty;", "-A", "t", "--compressed").stdout
    f = json.loads(got)["fields"]
    check(f["cookie"] == "a=1" and f["x-twice"] == "2" and f["x-empty"] == "" and f["user-agent"] == "t" and "gzip" in f["accept-encoding"]
          and f["host"].split(":")[0] == ECHO, "fields too", f)


def test_nghttp(lab):
    e = lab.edges[0]
    # neither resolves by an option: the hosts file of this mount namespace does
    hosts = lab.work / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {APP} {ECHO}\n")
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    got = subprocess.run(["nghttp", "-v", "-n", f"https://{APP}:{e.https}/hello"], capture_output=True, text=True, timeout=20)
    check(":status: 200" in re.sub(r"\x1b\[[0-9;]*m", "", got.stdout) and "GOAWAY" in got.stdout, "nghttp -v", got.stdout[-1500:] + got.stderr)

    def nghttp(*args):
        got = subprocess.run(["nghttp", "-v", *args], capture_output=True, text=True, timeout=20)
        return re.sub(r"\x1b\[[0-9;]*m", "", got.stdout + got.stderr)

    base = f"https://{ECHO}:{e.https}"
    got = nghttp("-n", "-p", "256", "-p", "1", *(f"{base}/ok?{i}" for i in range(3)), f"{base}/ok", f"{base}/chunked")
    check(len(re.findall(r":status: 200", got)) == 5 and got.count("The negotiated protocol: h2") == 1 and "weight=256" in got,
          "nghttp: five requests with priorities on one connection", got[-1500:])
    check("x-sum: 6" in got, "nghttp: a trailer comes down", got[-1500:])
    (lab.work / "body").write_text("0123456789")
    got = nghttp("--no-content-length", "-d", str(lab.work / "body"), "--trailer", "x-check: ten", f"{base}/up")
    check('"size": 10' in got and '"x-check: ten"' in got.lower(), "nghttp: a trailer goes up", got[-1500:])
    got = nghttp("--expect-continue", "-d", str(lab.work / "body"), f"{base}/up")
    check(":status: 100" in got and '"size": 10' in got, "nghttp: 100 comes from the target", got[-1500:])
    for name, more, url in ("h2load", ["-c", "16", "-m", "16"], f"{base}/ok"), ("h2load --h1", ["--h1", "-c", "16"], f"http://{ECHO}:{e.http}/ok"):
        got = subprocess.run(["h2load", "-n", "10000", *more, url], capture_output=True, text=True, timeout=60).stdout
        check("10000 succeeded, 0 failed, 0 errored" in got and "10000 2xx" in got, f"{name}: 10,000 requests, "
              + "".join(re.findall(r"finished in [^,]*, [^,]*", got)), got[-900:])
    got = subprocess.run(["h2load", "-n", "1000", "-c", "8", "-m", "8", f"https://{APP}:{e.https}/hello"], capture_output=True, text=True,
                         timeout=60).stdout
    check("1000 succeeded, 0 failed, 0 errored" in got and "1000 2xx" in got, "h2load: 1,000 to python's http.server", got[-900:])


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


def test_websocket_h2(lab):
    """RFC 8441 by python3-h2: CONNECT with :protocol on a stream of HTTP/2."""
    ctx = ssl.create_default_context(cafile=str(lab.work / "web.ca"))
    ctx.set_alpn_protocols(["h2"])
    conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    got, status, offered = b"", None, False
    with ctx.wrap_socket(socket.create_connection(("127.0.0.1", lab.edges[0].https), timeout=10), server_hostname=WS) as s:
        conn.initiate_connection()
        s.sendall(conn.data_to_send())
        key = base64.b64encode(os.urandom(16)).decode()
        while len(got) < 2 + 5 + 2 + 2:
            data = s.recv(65536)
            if not data:
                break
            for event in conn.receive_data(data):
                if isinstance(event, h2.events.RemoteSettingsChanged) and not offered:
                    offered = conn.remote_settings.enable_connect_protocol == 1
                    conn.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"),
                                          (":authority", WS), ("sec-websocket-version", "13"), ("sec-websocket-key", key)])
                elif isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                    conn.send_data(1, b"\x81\x85\0\0\0\0hello")  # masked with zeros
                elif isinstance(event, h2.events.DataReceived):
                    got += event.data
                    if got == b"\x81\x05hello":
                        conn.send_data(1, b"\x88\x82\0\0\0\0\x03\xe8")  # close, 1000
                elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                    got += b"reset........."
            s.sendall(conn.data_to_send())
    check(offered and status == "200" and got == b"\x81\x05hello\x88\x02\x03\xe8", "WebSocket on a stream of HTTP/2 (RFC 8441)", (offered, status, got))


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
    got = lab.curl(f"https://{PASS}/hello", "--cacert", lab.work / "in.pem", "--local-port", "42000-42999", "-w", "\n%{ssl_verify_result}")
    said = re.fullmatch(rf"v2 21 127\.0\.0\.1 42\d\d\d 127\.0\.0\.1 {e.https}\n0", got.stdout)
    check(said, "TLS is passed through by its name; the target's certificate is verified, PROXY v2 names the client", got)
    client = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{e.https}", "-servername", PASS], input="",
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
        serve(echo_server, 9008)
        serve(tls_after_proxy((w / "in.pem", w / "in.key")), 9009)
        away = subprocess.Popen([sys.executable, "-m", "http.server", "9005", "--bind", "127.0.0.1", "-d", www], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        websocket_server(9002)
        servers = [grpc_server(9003), grpc_server(9004, grpc.ssl_server_credentials([((w / "in.key").read_bytes(), (w / "in.pem").read_bytes())]))]
        unix_server(str(w / "app.sock"))
        serve(proxy_server, 9006)
        serve(lambda c: answer(c, head_of(c)), 9007)
        lab.tunnel("app", ALL + ["away.edge.example"])
        lab.tunnel("pass", [PASS], "--port", "443/tls")
        (w / "origin.access").touch()
        os.chown(w / "origin.access", UID, UID)
        origin = lab.origin("app", [
            {"hostname": APP, "to": "http://127.0.0.1:9000"}, {"hostname": WS, "to": "http://localhost:9002"},
            {"hostname": RPC, "to": "h2c://127.0.0.1:9003"}, {"hostname": RPC2, "to": "h2://localhost:9004", "ca": w / "in.pem"},
            {"hostname": SAFE, "to": "https://localhost:9001", "ca": w / "in.pem"},
            {"hostname": WRONG, "to": "https://localhost:9001", "ca": w / "web.ca"}, {"hostname": UNIX, "to": f"unix:{w}/app.sock"},
            {"hostname": P1, "to": "http://127.0.0.1:9006", "proxy": "v1"}, {"hostname": P2, "to": "http://127.0.0.1:9006", "proxy": "v2"},
            {"hostname": HOSTED, "to": "http://127.0.0.1:9007", "host": "in.lan:81"}, {"hostname": ECHO, "to": "http://127.0.0.1:9008"},
            {"hostname": "away.edge.example", "to": "http://127.0.0.1:9005"}], more=f"  access_log: {w}/origin.access\n")
        lab.origin("pass", [{"port": 443, "to": "tcp://127.0.0.1:9009", "proxy": "v2"}])
        test_files(lab, hashlib.sha256(data).hexdigest())
        test_curl(lab, hashlib.sha256(data).hexdigest())
        test_nghttp(lab)
        test_websocket(lab)
        test_websocket_h2(lab)
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
