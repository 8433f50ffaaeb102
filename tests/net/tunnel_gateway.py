#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The edge in front of the storage gateway: plain HTTP is sent on to an endpoint, HTTPS is followed by the edge (no
downgrade), bodies go to the endpoint once and are not kept on the way, nothing is smuggled to the gateway, the console comes.

Run by tunnel_gateway.sh. Needs root, curl, nghttp, openssl.
"""
import asyncio
import hashlib
import select
import ssl

from tunnel_lib import *

FILES = "files.edge.example"
WAITS = ["-H", "Expect: 100-continue", "--expect100-timeout", "15"]


def ready(lab, auth):
    """The gateway knows an endpoint, the edge too."""
    def tried():
        return lab.code(f"https://{FILES}/b/data/none", *auth) == "404"
    check(until(tried, 15), "by HTTPS the endpoint's own answer comes: 404 of what is not there",
          lab.curl(f"https://{FILES}/b/data/none", "-i", *auth))


def secure(lab, auth):
    data = os.urandom(20_000_000)
    (lab.work / "large").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    for name, more in ("h2", []), ("h1", ["--http1.1"]), ("expect", ["--http1.1", *WAITS]), \
            ("chunked", ["--http1.1", "-H", "Transfer-Encoding: chunked"]):
        got = lab.curl(f"https://{FILES}/b/data/{name}", "-T", lab.work / "large", "-w", "\n%{http_code} %{num_redirects}", *auth, *more)
        check(got.stdout.endswith("201 0") and digest in got.stdout, f"PUT of 20 MB by HTTPS, {name}: 201, no redirect seen", got)
        got = lab.curl(f"https://{FILES}/b/data/{name}", "-o", lab.work / "back", "-w", "%{http_code} %{num_redirects}", *auth)
        check(got.stdout == "200 0" and (lab.work / "back").read_bytes() == data, "and GET gives it back", got)
    got = lab.curl(f"https://{FILES}/o/{digest}", "-o", lab.work / "back", "-w", "%{http_code}", *auth)
    check(got.stdout == "200" and (lab.work / "back").read_bytes() == data, "by its hash", got)
    got = lab.curl(f"https://{FILES}/b/data/h1", "-I", *auth).stdout
    check(" 200" in got and "content-length: 20000000" in got.lower(), "HEAD", got)
    got = lab.curl(f"https://{FILES}/b/data/h1", "-r", "5-9", "-o", lab.work / "part", "-w", "%{http_code}", *auth).stdout
    check(got == "206" and (lab.work / "part").read_bytes() == data[5:10], "a range", got)
    code = lab.code(f"https://{FILES}/b/data/h1", "-X", "DELETE", *auth)
    check(code in ("200", "204") and lab.code(f"https://{FILES}/b/data/h1", *auth) == "404", f"DELETE: {code}, and it is gone")
    code = lab.code(f"https://{FILES}/b/data/h2")
    check(code == "401", f"without a token: {code} of the gateway")
    got = lab.curl(f"https://{FILES}/b/data/none", "-T", lab.work / "large", "-w", "\n%{http_code}")
    check(got.stdout.endswith("401"), "PUT of 20 MB without a token: 401", got)
    got = lab.curl(f"https://{FILES}/b/data/none", "-T", lab.work / "large", "--http1.1", *WAITS, "-w", "\n%{http_code} %{size_upload}")
    check(got.stdout.endswith("401 0"), "who waits for 100 sends nothing of it", got)
    line = until(lambda: [a for a in lab.access() if a.get("path") == "/b/data/chunked"], 3)
    check(line and line[0]["tunnel"] == "(gateway)" and "t=" not in str(line) and line[0]["up"] == 20_000_000, "in the access log, without tokens", line)
    got = subprocess.run(["nghttp", "-n", "-s", "-m", "30", "-H", f":authority: {FILES}", "-H", f"authorization: Bearer {lab.token}",
                          f"https://127.0.0.1:{lab.edges[0].https}/b/data/none"], capture_output=True, text=True).stdout
    check(len(re.findall(r" 404 ", got)) == 30, "30 requests on one HTTP/2 connection", got[-600:])


def memory(d):
    """Bytes that are the process's own."""
    return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{d.pid}/status").read_text())[1]) << 10


def large(lab, auth):
    """256 MiB up and down, seen from the edge's memory; a download that goes on where it broke off."""
    edge, size = lab.edges[0], 256 << 20
    block = os.urandom(1 << 20)
    with open(lab.work / "huge", "wb") as f:
        for i in range(256):
            f.write(i.to_bytes(4, "big") + block[4:])
    before, most = memory(edge), []
    for name, more in [("h2", []), ("h1", ["--http1.1"])][: 2 if os.environ.get("WEIR_LONG") else 1]:
        watched = threading.Event()

        def watch():
            while not watched.wait(0.02):
                most.append(memory(edge))
        thread = threading.Thread(target=watch)
        thread.start()
        put = lab.curl(f"https://{FILES}/b/data/huge-{name}", "-T", lab.work / "huge", "-o", "/dev/null", "-w", "%{http_code} %{speed_upload}", *auth, *more,
                       timeout=60).stdout
        got = lab.curl(f"https://{FILES}/b/data/huge-{name}", "-o", lab.work / "back", "-w", "%{http_code} %{speed_download}", *auth, *more, timeout=60).stdout
        watched.set()
        thread.join()
        same = subprocess.run(["cmp", lab.work / "huge", lab.work / "back"]).returncode == 0
        check(put.startswith("201") and got.startswith("200") and same, f"256 MiB up ({int(put[4:]) >> 20} MiB/s) and down ({int(got[4:]) >> 20} MiB/s), {name}",
              (put, got))
    grown = max(most) - before
    check(grown < 8 << 20 or SAN, f"the edge grew by {grown >> 10} KiB at most meanwhile", (before, max(most)))
    os.truncate(lab.work / "back", 100_000_001)
    got = lab.curl(f"https://{FILES}/b/data/huge-h2", "-C", "-", "-o", lab.work / "back", "-w", "%{http_code} %{size_download}", *auth, timeout=60).stdout
    same = subprocess.run(["cmp", lab.work / "huge", lab.work / "back"]).returncode == 0
    check(got == f"206 {size - 100_000_001}" and same, "a download goes on where it broke off", got)
    (lab.work / "huge").unlink()
    (lab.work / "back").unlink()


def rights(lab, auth):
    lab.weir("user", "add", "bob", "--bucket", "other", conf=lab.one)
    other = lab.weir("token", "bob", "--ttl", "1h", conf=lab.one).strip()
    got = {name: (lab.code(f"https://{FILES}/b/data/h2", *more), lab.code(f"https://{FILES}/b/data/new", "-X", "PUT", "-d", "x", *more))
           for name, more in (("nobody", []), ("a wrong token", ["-H", "Authorization: Bearer weir1.x.y"]), ("bob", ["-H", f"Authorization: Bearer {other}"]))}
    check(got == {"nobody": ("401", "401"), "a wrong token": ("401", "401"), "bob": ("403", "403")}, f"who may not: {got}", got)
    seen = [lab.curl(f"https://{FILES}/{path}", "-I", *auth).stdout for path in ("", "b/data/h2", "b/data/none", "b/data/", "o/" + "0" * 64, "_/health", "nothing")]
    check(not [x for x in seen if re.search(r"^(location|link|content-location):.*http://", x.split("\n\n")[0], re.M | re.I) or ":8080" in x.split("\n\n")[0]],
          "no answer by HTTPS names a server of plain HTTP", [x[:300] for x in seen])


def plain(lab, auth):
    got = lab.curl(f"http://{FILES}/b/data/h2", "-i", *auth).stdout
    check("307" in got.splitlines()[0] and "location: http://127.0.0.1:8080/b/data/h2?t=" in got.lower(), "by plain HTTP the redirect is the client's", got)
    got = lab.curl(f"http://{FILES}/b/data/plain", "-L", "-T", lab.work / "large", "-w", "\n%{http_code}", *auth).stdout
    check(got.endswith("201"), "which curl -L follows with its body", got)
    for scheme in "http", "https":
        got = lab.curl(f"{scheme}://{FILES}/", "-i").stdout
        check("200" in got.splitlines()[0] and "content-security-policy" in got.lower() and "<html" in got, f"the console by {scheme}", got[:500])
    got = lab.curl(f"https://{FILES}/_/token", "-X", "POST", "-d", "{}", "-w", "\n%{http_code}", *auth).stdout
    check(got.splitlines()[-1][0] in "24", "a POST that the gateway answers itself", got)


def claimed(lab, auth):
    """A tunnel that has the gateway's hostname in the registry (made where the gateway is not known) gets nothing of it."""
    lab.weir("tunnel", "create", "thief", "--hostname", FILES, "--port", "80/http", "--port", "443/tls", "--no-wait", conf=lab.conf)
    known = lambda: [t for t in lab.ask("edge-0", "edge", {"do": "status"})["tunnels"] if t["name"] == "thief"]
    check(until(known), "a tunnel claims the gateway's hostname, with TLS passed through")
    for scheme in "https", "http":
        code = lab.code(f"{scheme}://{FILES}/_/health", *auth)
        check(code == "200", f"{scheme} is the gateway's all the same: {code}")
    lab.weir("tunnel", "delete", "thief", conf=lab.conf)


def not_followed(lab, auth):
    """A gateway that lies: what is no endpoint of the installation is not asked."""
    asked = []
    serve(lambda c: asked.append(c.recv(1000)), 8099)

    def liar(c):
        c.recv(65536)
        c.sendall(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:8099/b/x?t=1\r\nContent-Length: 0\r\n\r\n")
    serve(liar, 8098)
    conf = lab.edges[0].conf
    text = conf.read_text()
    lab.edges[0].stop()
    conf.write_text(re.sub(r"gateway: \"unix:[^\"]*\"", 'gateway: "127.0.0.1:8098"', text))
    lab.edges[0].start()
    until(lambda: listens(lab.edges[0].https))
    got = lab.curl(f"https://{FILES}/b/x/y", "-i", "-T", lab.work / "large", *auth).stdout
    check(" 502" in got.splitlines()[0] and not asked and "http://" not in got, "a redirect to a stranger is not followed, nor told to who came by HTTPS", got)
    got = lab.curl(f"http://{FILES}/b/x/y", "-i", *auth).stdout
    check(" 307" in got.splitlines()[0] and not asked, "who came by HTTP is told", got)
    lab.edges[0].stop()
    conf.write_text(text)
    lab.edges[0].start()
    until(lambda: listens(lab.edges[0].https))


def smuggled(lab, auth):
    """The gateway gets requests that the edge composed, whatever came."""
    seen = []

    def target(c):
        while True:
            data = c.recv(65536)
            if not data:
                return
            seen.append(data)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    serve(target, 8097)
    conf = lab.edges[0].conf
    text = conf.read_text()
    lab.edges[0].stop()
    conf.write_text(re.sub(r"gateway: \"unix:[^\"]*\"", 'gateway: "127.0.0.1:8097"', text))
    lab.edges[0].start()
    until(lambda: listens(lab.edges[0].http))
    h = f"Host: {FILES}\r\n".encode()
    for what, data in {
        "Content-Length and chunked": b"POST / HTTP/1.1\r\n" + h + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
        "a bare CR in a field": b"GET / HTTP/1.1\r\n" + h + b"X: a\rGET /evil HTTP/1.1\r\n\r\n",
        "an absolute target of another host": b"GET http://other.example/evil HTTP/1.1\r\n" + h + b"\r\n",
        "a folded field": b"GET / HTTP/1.1\r\n" + h + b"X: a\r\n GET /evil HTTP/1.1\r\n\r\n",
    }.items():
        seen.clear()
        with socket.create_connection(("127.0.0.1", lab.edges[0].http)) as s:
            s.sendall(data)
            s.settimeout(3)
            got = s.recv(65536)
        check(not seen and re.match(rb"HTTP/1.1 4\d\d", got), f"{what}: {got[9:12].decode()}, the gateway hears nothing", (got, seen))
    seen.clear()
    got = lab.curl(f"http://{FILES}/a%0d%0aX:%20evil?b=%00", "-H", "Connection: x-secret", "-H", "X-Secret: 1", "-H", "TE: gzip",
                   "-H", "X-Weir-Client: 9.9.9.9:9", "-H", "Upgrade: h2c").stdout
    sent = b"".join(seen).decode().lower()
    check(got == "ok" and "x-secret" not in sent and "9.9.9.9" not in sent and "te:" not in sent and "upgrade" not in sent
          and sent.startswith("get /a%0d%0ax:%20evil?b=%00 http/1.1\r\nhost: " + FILES), "what belongs to the client's connection stays there", sent)
    lab.edges[0].stop()
    conf.write_text(text)


def websocket(lab):
    """The gateway's WebSockets, by a server that has nothing else in the gateway's place."""
    try:
        import websockets
    except ImportError:
        check(True, "WebSockets of the gateway # SKIP python3-websockets is not installed")
        return
    program, at, conf = BUILD / "net" / "ws_echo", lab.work / "echo.sock", lab.edges[0].conf
    subprocess.run(["make", "-s", "-C", TOP, *([f"SAN={SAN}"] if SAN else []), program.relative_to(TOP)], check=True)
    echo = subprocess.Popen([program, f"unix:{at}"], stdout=subprocess.PIPE, text=True)
    echo.stdout.readline()
    at.chmod(0o666)
    text = conf.read_text()
    lab.edges[0].stop()
    conf.write_text(re.sub(r"gateway: \"unix:[^\"]*\"", f'gateway: "unix:{at}"', text))
    lab.edges[0].start()
    until(lambda: listens(lab.edges[0].https))
    trust = ssl.create_default_context(cafile=str(lab.work / "web.ca"))

    async def talk(url, **more):
        async with websockets.connect(url, host="127.0.0.1", **more) as ws:
            for message in "hello", "x" * 60000:
                await ws.send(message)
                if await asyncio.wait_for(ws.recv(), 5) != message:
                    return "differs"
            await asyncio.wait_for(await ws.ping(), 5)
            await ws.send("close 4000 enough")
            try:
                await asyncio.wait_for(ws.recv(), 5)
            except websockets.ConnectionClosed as x:
                return x.code
    for scheme, port, more in ("ws", lab.edges[0].http, {}), ("wss", lab.edges[0].https, {"ssl": trust, "server_hostname": FILES}):
        try:
            got = asyncio.run(talk(f"{scheme}://{FILES}:{port}/ws", port=port, **more))
        except Exception as x:
            got = repr(x)
        check(got == 4000, f"a WebSocket of the gateway by {scheme}: texts, pings, its close", got)
    lab.edges[0].stop()
    conf.write_text(text)
    lab.edges[0].start()
    until(lambda: listens(lab.edges[0].https))
    echo.terminate()
    check(echo.wait(10) == 0, "and nothing of them is left there", echo.returncode)


def signed_in(lab):
    """A browser's session through the edge: its cookie, and the word against forged requests, which the edge lets through."""
    lab.weir("user", "password", "ada", "--stdin", conf=lab.one, input="correct horse battery")
    jar, login = lab.work / "jar", json.dumps({"user": "ada", "password": "correct horse battery"})
    asked = ["-i", "-c", jar, "-H", "Content-Type: application/json", "-H", f"Origin: https://{FILES}:{lab.edges[0].https}", "-d", login]
    got = until(lambda: (lambda g: g if '"csrf"' in g else None)(lab.curl(f"https://{FILES}/_/login/password", *asked).stdout), 5, 0.5) or ""
    check("set-cookie: __Host-weir=weir1." in got and "; Secure" in got, "signing in by HTTPS sets __Host-weir, Secure", got)
    word = re.search(r'"csrf":"([0-9a-f]{64})"', got)
    make = lambda *more: lab.code(f"https://{FILES}/_/tokens", "-b", jar, "-H", "Content-Type: application/json", "-d", "{}", *more)
    codes = make(), make("-H", f"X-Weir-CSRF: {word and word.group(1)}")
    check(codes == ("403", "200"), "changes need the word, which passes the edge", codes)


def away(lab, auth):
    gateway = [d for d in lab.daemons if d.name == "gateway"][0]
    gateway.kill()
    code = lab.code(f"https://{FILES}/b/data/h2", *auth)
    check(code == "502", f"no gateway: {code} at once")


enter("curl", "nghttp", "openssl")
with Lab(edges=0) as the_lab:
    the_lab.edge_more = f"  gateway: \"unix:{the_lab.work}/run/one/gateway-http.sock\"\n  gateway_hostnames: [{FILES}]\n"
    the_auth = the_lab.storage()
    the_lab.edges.append(the_lab.edge(0))
    ready(the_lab, the_auth)
    secure(the_lab, the_auth)
    rights(the_lab, the_auth)
    large(the_lab, the_auth)
    plain(the_lab, the_auth)
    claimed(the_lab, the_auth)
    not_followed(the_lab, the_auth)
    websocket(the_lab)
    signed_in(the_lab)
    until(lambda: the_lab.code(f"https://{FILES}/b/data/none", *the_auth) == "404", 10)
    away(the_lab, the_auth)
    smuggled(the_lab, the_auth)
finish()
