#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The edge towards its clients: HTTP/1, HTTP/2, HTTPS by SNI, TLS that goes through, limits, access rules, client
certificates, the PROXY protocol, error pages and logs, reload, drain, listeners kept over a restart.

Run by tunnel_front.sh. Needs root, curl, nghttp, openssl.
"""
import http.client
import ssl

from tunnel_lib import *

HOST = "app.edge.example"
MORE = """  proxy_from: [127.0.0.9/32]
  drain: 8s
  limits: {body: 100KiB, per_address: 40, request: 2s, idle: 3s, memory: 16MiB}
"""
gate = threading.Event()


def target(c):
    """Tells what it was asked; /big sends 32 MiB in parts, /wait waits for the gate in the middle of its answer."""
    stream = c.makefile("rb")
    while True:
        line = stream.readline()
        if not line:
            return
        length, chunked, head = 0, False, line
        while True:
            field = stream.readline()
            head += field
            field = field.strip().lower()
            if not field:
                break
            if field.startswith(b"content-length:"):
                length = int(field.split(b":")[1])
            chunked |= field == b"transfer-encoding: chunked"
        size = length
        while chunked:
            n = int(stream.readline(), 16)
            stream.read(n + 2)
            size += n
            if not n:
                break
        stream.read(length)
        path = line.split()[1]
        if path.startswith(b"/wait"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
            gate.wait(30)
            c.sendall(b"56789")
            continue
        if path.startswith(b"/big"):
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 << 20))
            for _ in range(32):
                c.sendall(bytes(1 << 20))
            continue
        body = head + b"body: %d\n" % size
        c.sendall(b"HTTP/1.1 200 OK\r\nX-Request-Id: own\r\nX-Weir-Secret: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
                  + (b"" if line.startswith(b"HEAD") else body))


def fields_of(text):
    return {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines()[1:]) if v}


def raw(port, data, source="127.0.0.1", seconds=5):
    """What comes back until the edge closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as s:
        s.settimeout(seconds)
        got = b""
        try:
            s.sendall(data)
            while True:
                part = s.recv(65536)
                if not part:
                    return got
                got += part
                s.settimeout(0.5)
        except OSError:
            return got


def line_of(lab, request_id):
    return until(lambda: [a for a in lab.access() if a["id"] == request_id], 3)


def clients(lab):
    edge = lab.edges[0]
    got = lab.curl(f"http://{HOST}/a?token=secret", "-i", "-H", "X-Forwarded-For: 1.2.3.4", "-H", "X-Weir-Client: 1.2.3.4:5",
                   "-H", "X_Forwarded_For: 1.2.3.4", "-H", "Forwarded: for=1.2.3.4", "-H", "X-Request-Id: mine")
    head, _, body = got.stdout.partition("\n\n")
    answer, asked = fields_of(head), fields_of(body)
    check(asked.get("x-forwarded-for") == "127.0.0.1" and asked.get("x-forwarded-proto") == "http" and "1.2.3.4" not in body
          and asked.get("forwarded", "").startswith("for=127.0.0.1;") and "x-weir-client" not in asked,
          "the target hears who asks from the edge alone", body)
    rid = answer.get("x-request-id", "")
    check(re.fullmatch("[0-9a-f]{16}", rid) and asked.get("x-request-id") == rid and "x-weir-secret" not in answer,
          "one request id in the answer and at the target", head)
    line = line_of(lab, rid)
    check(line and line[0]["status"] == 200 and line[0]["path"] == "/a" and line[0]["tunnel"] == "app" and "secret" not in str(line),
          "and in the access log, without the query", line)
    check(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", asked.get("traceparent", "")), "a trace was begun", asked)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    got = fields_of(lab.curl(f"http://{HOST}/", "-H", f"traceparent: {trace}", "-H", "tracestate: a=1").stdout)
    check(got.get("traceparent") == trace and got.get("tracestate") == "a=1", "a client's trace goes on", got)
    got = lab.curl(f"https://{HOST}/", "-w", "\n%{http_version}").stdout
    check(got.endswith("2") and fields_of(got).get("x-forwarded-proto") == "https", "HTTPS with HTTP/2", got)
    got = lab.curl(f"https://{HOST}/", "--http1.1", "-w", "\n%{http_version}").stdout
    check(got.endswith("1.1"), "HTTPS with HTTP/1.1", got)
    got = lab.curl(f"http://{HOST}/", "--http2-prior-knowledge", "-w", "\n%{http_version}").stdout
    check(got.endswith("2"), "HTTP/2 in the clear by prior knowledge", got)
    got = lab.curl(f"http://{HOST}/", "-T", "-", "-H", "Transfer-Encoding: chunked").stdout
    check("body: 0" in got, "a chunked body without bytes", got)
    (lab.work / "body").write_bytes(b"x" * 90000)
    for more in [], ["-H", "Transfer-Encoding: chunked"], ["--http2-prior-knowledge"]:
        got = lab.curl(f"http://{HOST}/", "-T", lab.work / "body", *more).stdout
        check("body: 90000" in got, f"90,000 bytes go up {more}", got)
    got = lab.curl(f"http://{HOST}/", "-I").stdout
    check("200" in got and "content-length" in got.lower(), "HEAD", got)
    got = subprocess.run(["nghttp", "-n", "-s", "-m", "20", "-H", f":authority: {HOST}", f"https://127.0.0.1:{edge.https}/"],
                         capture_output=True, text=True).stdout
    check(len(re.findall(r" 200 .*/$", got, re.M)) == 20, "nghttp: 20 requests on one connection", got[-1500:])
    got = subprocess.run(["curl", "-s", "-Z", "-k", "--resolve", f"{HOST}:{edge.https}:127.0.0.1", "-o", "/dev/null", "-w", "%{http_code} ",
                          f"https://{HOST}:{edge.https}/[1-60]"], capture_output=True, text=True).stdout
    check(got.split() == ["200"] * 60, "curl -Z: 60 requests at once", got)


def pages(lab):
    got = lab.curl("http://nobody.edge.example/", "-i", "-H", "Accept: text/html,*/*").stdout
    rid = fields_of(got).get("x-request-id", "?")
    check("404" in got and "text/html" in got and f"<code>{rid}</code>" in got, "a name that nobody has: a page for people", got)
    line = line_of(lab, rid)
    check(line and line[0]["status"] == 404 and line[0]["cause"] == "no_site", "its id stands in the log, with the cause", line)
    got = json.loads(lab.curl("http://nobody.edge.example/", "-H", "Accept: application/json").stdout)
    check(got["error"] == "no_site" and got["status"] == 404 and re.fullmatch("[0-9a-f]{16}", got["request"]), "the same as JSON", got)
    got = lab.curl("http://nobody.edge.example/").stdout
    check(got.startswith("404 ") and "request " in got, "and as text", got)
    got = lab.curl("http://idle.edge.example/", "-i").stdout
    check("502" in got.splitlines()[0] and "retry-after: 1" in got, "no origin: 502 at once", got)
    code = lab.code(f"https://{HOST}/", "-H", "Host: nobody.other.example")
    check(code == "404", f"a name that neither certificate nor tunnel has, on another's connection: {code}")
    code = lab.code(f"https://{HOST}/", "--http1.1", "-H", "Host: app2.other.example")
    check(code == "421", f"a tunnel's name that the connection's certificate has not: {code}")
    code = lab.code("http://far.edge.example/")
    check(code == "403", f"a client outside of --allow: {code}")
    code = lab.code("http://only.edge.example/")
    check(code == "404", f"a tunnel that opened no port for HTTP: {code}")
    logs = lab.ask("edge-0", "edge", {"do": "logs", "tunnel": "far", "max": 5})
    check([x["status"] for x in logs["lines"]] == [403] and logs["last"] > 20, "logs of one tunnel by the control socket", logs)
    got = lab.curl(f"http://127.0.0.1:{lab.edges[0].inside}/_/metrics").stdout if False else subprocess.run(
        ["curl", "-s", f"http://127.0.0.1:{lab.edges[0].inside}/_/metrics"], capture_output=True, text=True).stdout
    check(re.search(r'weir_edge_requests_total\{tunnel="app",status="2xx"\} [1-9]', got)
          and re.search(r'weir_edge_errors_total\{cause="no_site"\} [1-9]', got)
          and re.search(r'weir_edge_tls_handshakes_total\{result="ok"\} [1-9]', got), "metrics by tunnel, class and cause", got[-3000:])


def limits(lab):
    edge = lab.edges[0]
    (lab.work / "large").write_bytes(b"x" * 150000)
    for more in [], ["-H", "Transfer-Encoding: chunked"], ["--http2-prior-knowledge", "-H", "Content-Length:"]:
        code = lab.code(f"http://{HOST}/", "-T", lab.work / "large", *more)
        check(code == "413", f"a body over the limit {more}: {code}")
    check(lab.code(f"http://{HOST}/") == "200", "and the next request is served")
    held = [socket.create_connection(("127.0.0.1", edge.http)) for _ in range(45)]
    count = lambda: lab.ask("edge-0", "edge", {"do": "status"})["clients"]["connections"]["new"]
    check(until(lambda: count() == 40, 3), f"one address holds 40 connections, not 45: {count()}")
    one = socket.create_connection(("127.0.0.1", edge.http), source_address=("127.0.0.2", 0))
    one.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    check(one.recv(100).startswith(b"HTTP/1.1 200"), "another address is served meanwhile")
    for s in held:
        s.close()
    one.close()
    check(until(lambda: count() == 0, 3), "what is closed is not counted any more")
    began = time.monotonic()
    got = raw(edge.http, f"GET / HTTP/1.1\r\nHost: {HOST}\r\n".encode(), seconds=8)
    took = time.monotonic() - began
    check(got.startswith(b"HTTP/1.1 408") and 1.5 < took < 4, f"half a head: 408 after {took:.1f} s", got)
    began = time.monotonic()
    raw(edge.https, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", seconds=8)
    took = time.monotonic() - began
    check(1.5 < took < 4, f"half a ClientHello is let go after {took:.1f} s")
    got = raw(edge.https, b"GET / HTTP/1.1\r\n\r\n")
    check(got == b"", "no TLS at all is closed", got)


def memory(lab):
    """Clients that ask for much and read nothing: together they get so much memory and no more."""
    edge = lab.edges[0]
    waiting = lambda: lab.ask("edge-0", "edge", {"do": "status"})["clients"]["waiting_bytes"]
    held = []
    for _ in range(38):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", edge.http))
        s.sendall(f"GET /big HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        held.append(s)
    until(lambda: waiting() > 12 << 20, 5)
    most = 0
    for _ in range(20):
        most = max(most, waiting())
        time.sleep(0.02)
    check(10 << 20 < most < 18 << 20, f"38 clients that do not read: {most >> 20} MiB wait at most, of 16")
    got = raw(edge.http, f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(), "127.0.0.2")
    check(got.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in got.lower(), "a new request is told to wait", got)
    for s in held:
        s.close()
    check(until(lambda: waiting() < 1 << 20, 5), "what waited goes with them", waiting())
    check(lab.code(f"http://{HOST}/") == "200", "and requests are served again")


def rate(lab):
    """Limits of a reload count at once, for connections that are there too."""
    edge = lab.edges[0]
    text = edge.conf.read_text()
    with lab_http(edge) as c:
        c.request("GET", "/", headers={"Host": HOST})
        c.getresponse().read()
        edge.conf.write_text(text.replace("request: 2s", "request: 2s, rate: 5"))
        lab.ask("edge-0", "edge", {"do": "reload"})
        codes = []
        for _ in range(12):
            c.request("GET", "/", headers={"Host": HOST})
            answer = c.getresponse()
            answer.read()
            codes.append(answer.status)
        check(codes[:5] == [200] * 5 and codes.count(429) >= 5, "rate: 5 requests of a burst, then 429", codes)
    edge.conf.write_text(text)
    lab.ask("edge-0", "edge", {"do": "reload"})


def proxied(lab):
    edge = lab.edges[0]
    get = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    got = raw(edge.http, b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 80\r\n" + get, "127.0.0.9")
    check(b"x-forwarded-for: 203.0.113.7" in got, "PROXY v1 of a balancer", got)
    v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + \
        socket.inet_pton(socket.AF_INET6, "2001:db8::1") + b"\x9c\x40\0\x50"
    got = raw(edge.http, v2 + get, "127.0.0.9")
    check(b"x-forwarded-for: 2001:db8::7" in got, "PROXY v2", got)
    with socket.create_connection(("127.0.0.1", edge.https), source_address=("127.0.0.9", 0)) as s:
        s.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n")
        context = ssl.create_default_context(cafile=str(lab.work / "web.ca"))
        with context.wrap_socket(s, server_hostname=HOST) as t:
            t.sendall(get)
            check(b"x-forwarded-for: 203.0.113.7" in t.recv(65536) + t.recv(65536), "PROXY v1 before TLS")
    check(raw(edge.http, get, "127.0.0.9") == b"", "a balancer without the header is not served")
    got = raw(edge.http, b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 80\r\n" + get)
    check(got.startswith(b"HTTP/1.1 400") or got == b"", "a stranger's header is none", got)


def certificates(lab):
    edge = lab.edges[0]
    client = ["--cert", lab.work / "client.pem", "--key", lab.work / "client.key"]
    lab.certificate("client", "somebody.example")
    got = lab.curl("https://private.edge.example/")
    check(got.returncode in (35, 52, 55, 56), "a site with --client-ca: no certificate, no connection", got)
    code = lab.code("https://private.edge.example/", *client)
    check(code == "200", f"with a certificate of its authority: {code}")
    lab.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-days", "2", "-keyout",
                lab.work / "other.key", "-out", lab.work / "other.pem")
    got = lab.curl("https://private.edge.example/", "--cert", lab.work / "other.pem", "--key", lab.work / "other.key")
    check(got.returncode in (35, 52, 55, 56), "with another's: no connection", got)
    code = lab.code(f"https://{HOST}/", *client, "-H", "Host: private.edge.example")
    check(code == "421", f"on a connection to another site, whose certificate has the name too: {code}")
    for more in [], ["--http2-prior-knowledge"]:
        code = lab.code("http://private.edge.example/", *more)
        check(code == "403", f"by plain HTTP there is no way around it {more}: {code}")
    # a session of the open site is not resumed at the private one
    context = ssl.create_default_context(cafile=str(lab.work / "web.ca"))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", edge.https)), server_hostname=HOST) as t:
        t.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        while t.recv(65536):
            pass
        session = t.session
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", edge.https)), server_hostname="private.edge.example", session=session) as t:
            t.sendall(b"GET / HTTP/1.1\r\nHost: private.edge.example\r\n\r\n")
            got = t.recv(65536)
    except OSError:
        got = b""
    check(got == b"", "a session of the open site opens nothing there", got)


def reload(lab):
    edge = lab.edges[0]
    subject = lambda name: subprocess.run(f"openssl s_client -connect 127.0.0.1:{edge.https} -servername {name} </dev/null 2>/dev/null "
                                          "| openssl x509 -noout -subject", shell=True, capture_output=True, text=True).stdout.strip()
    check("*.edge.example" in subject("new.other.example"), "the first certificate for unknown names", subject("new.other.example"))
    pem, key = lab.certificate("second", "new.other.example")
    text = edge.conf.read_text()
    edge.conf.write_text(text.replace("certificates: [", f"certificates: [{{cert: {pem}, key: {key}}}, "))
    with lab_http(edge) as c:
        c.request("GET", "/", headers={"Host": HOST})
        c.getresponse().read()
        lab.weir("status", conf=edge.conf)
        check(lab.ask("edge-0", "edge", {"do": "reload"}).get("ok"), "reload")
        c.request("GET", "/", headers={"Host": HOST})
        check(c.getresponse().status == 200, "a connection of before goes on")
    check("new.other.example" in subject("new.other.example") and "*.edge.example" in subject(HOST), "the new certificate for its name",
          subject("new.other.example"))
    (lab.work / "second.key").write_text("broken")
    check(not lab.ask("edge-0", "edge", {"do": "reload"}).get("ok") and "new.other.example" in subject("new.other.example"),
          "a key that cannot be read: the old certificates stay")
    edge.conf.write_text(text)
    check(lab.ask("edge-0", "edge", {"do": "reload"}).get("ok"), "and with a good file again")


def sslscan(lab):
    if not shutil.which("sslscan"):
        return
    got = subprocess.run(["sslscan", "--no-colour", f"--sni-name={HOST}", f"127.0.0.1:{lab.edges[0].https}"], capture_output=True, text=True).stdout
    offered = set(re.findall(r"^(\S+) +enabled", got, re.M))
    weak = [line for line in got.splitlines() if re.match("(Preferred|Accepted)", line) and not re.search("GCM|POLY1305", line)]
    check(offered == {"TLSv1.2", "TLSv1.3"} and not weak and "renegotiation not supported" in got and " vulnerable" not in got.replace("not vulnerable", ""),
          "sslscan finds nothing old", got)


def lab_http(edge):
    class Connection(http.client.HTTPConnection):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()
    return Connection("127.0.0.1", edge.http, timeout=20)


def through(lab):
    """TLS that goes through: the edge has no part in it, the certificate is the target's."""
    pem, key = lab.certificate("own", "own.edge.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)

    def answer(c):
        with context.wrap_socket(c, server_side=True) as t:
            t.recv(65536)
            t.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nown")
    serve(answer, 9443)
    lab.tunnel("own", ["own.edge.example"], "--port", "443/tls")
    lab.origin("own", [{"to": "tcp://127.0.0.1:9443", "port": 443}], connections=2)
    got = lab.curl("https://own.edge.example/", "-v")
    check(got.stdout == "own" and "CN=own.edge.example" in got.stderr, "TLS goes through to the target by SNI", got)
    line = until(lambda: [a for a in lab.access() if a.get("tunnel") == "own"], 3)
    check(line and line[0]["protocol"] == "tcp" and line[0]["down"] > 500, "with a line of its own in the log", line)


def drain(lab):
    edge = lab.edges[0]
    with lab_http(edge) as c, lab_http(edge) as idle:
        idle.request("GET", "/", headers={"Host": HOST})
        idle.getresponse().read()
        c.request("GET", "/wait", headers={"Host": HOST})
        answer = c.getresponse()
        check(answer.read(5) == b"01234", "an answer has begun")
        edge.signal(signal.SIGTERM)
        check(until(lambda: not listens(edge.http), 3), "SIGTERM: nothing is accepted any more")
        check(edge.runs(), "but what runs goes on")
        gate.set()
        check(answer.read() == b"56789", "the answer comes to its end")
    check(edge.stop(5) == 0, "and then the edge ends", edge.said()[-800:])


def kept_listeners(lab):
    """As a service manager: what it is given by FDSTORE=1 it hands to the next process."""
    edge = lab.edges[0]
    gate.clear()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = lab.work / "notify"
        notify.bind(str(path))
        os.chmod(path, 0o777)
        edge.env = {"NOTIFY_SOCKET": str(path)}
        edge.start()
        stored = {}
        notify.settimeout(5)
        for _ in range(40):
            data, fds, _, _ = socket.recv_fds(notify, 4096, 8)
            name = re.search(rb"FDNAME=(.*)", data)
            if b"FDSTORE=1" in data and fds:
                stored[name[1].decode()] = fds[0]
            if b"READY=1" in data:
                break
        check(len(stored) == 3, "the edge stores its three listeners", stored)
        check(until(lambda: lab.attached(edge, "app") > 0, 10), "origins come back")
        edge.signal(signal.SIGTERM)
        check(edge.stop(8) == 0, "it ends")
        results = []
        client = threading.Thread(target=lambda: results.append(lab.code(f"http://{HOST}/", "--retry", "0")))
        client.start()
        time.sleep(0.3)  # the request waits in the backlog of a listener that nobody serves
        check(not results, "a request waits while no process runs", results)

        def pass_on():
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(stored)), LISTEN_FDNAMES=":".join(stored))
            high = [os.dup2(fd, 100 + i) for i, fd in enumerate(stored.values())]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
        with open(edge.log, "ab") as log:
            edge.process = subprocess.Popen(edge.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False,
                                            preexec_fn=pass_on)
        client.join(15)
        check(results == ["200"], "and is answered by the next one", (results, edge.said()[-1500:]))
        for fd in stored.values():
            os.close(fd)


enter("curl", "nghttp", "openssl")
with Lab(edges=1, edge_more=MORE) as the_lab:
    serve(target, 9000)
    ca = the_lab.work / "web.ca"
    the_lab.tunnel("app", [HOST])
    the_lab.tunnel("app2", ["app2.other.example"], enroll=False)
    the_lab.tunnel("idle", ["idle.edge.example"], enroll=False)
    the_lab.tunnel("far", ["far.edge.example"], "--allow", "198.51.100.0/24", enroll=False)
    the_lab.tunnel("only", ["only.edge.example"], "--port", "443/https", enroll=False)
    the_lab.tunnel("private", ["private.edge.example"], "--client-ca", ca)
    the_lab.origin("app", [{"to": "http://127.0.0.1:9000"}])
    the_lab.origin("private", [{"to": "http://127.0.0.1:9000"}], connections=2)
    clients(the_lab)
    pages(the_lab)
    limits(the_lab)
    memory(the_lab)
    rate(the_lab)
    proxied(the_lab)
    certificates(the_lab)
    sslscan(the_lab)
    reload(the_lab)
    through(the_lab)
    drain(the_lab)
    kept_listeners(the_lab)
finish()
