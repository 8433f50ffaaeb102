#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chromium by HTTPS: a page behind a tunnel with an image, uploads with progress, a stream of events and a WebSocket, all over
one HTTP/2 connection; the console through the same edge.

OUT=FOLDER keeps the screenshots. Run by tunnel_browser.sh. Needs root, chromium, openssl, python3-websockets.
"""
import asyncio
import hashlib
import http.server
import pathlib
import struct
import zlib

from browser import Browser
from tunnel_lib import *

try:
    import websockets
except ImportError:
    skip("python3-websockets is not installed")

APP, FILES = "app.edge.example", "files.edge.example"
PAGE = """<!doctype html><meta charset=utf-8><title>behind a tunnel</title>
<style>body { font: 16px sans-serif; margin: 2rem } td { padding: .3rem 1rem; border-bottom: 1px solid #ccc }</style>
<h1>Behind a tunnel</h1><img id=image src=/image.png width=128 height=64>
<table>""" + "".join(f"<tr><td>{n}<td id={n}>" for n in ("protocol", "upload", "progress", "stream", "events", "again", "socket", "large")) + """</table>
<script>
const say = (id, text) => document.getElementById(id).textContent = text;
say('protocol', performance.getEntriesByType('navigation')[0].nextHopProtocol);
const block = new Uint8Array(65536).map((_, i) => i * 7);

const ask = new XMLHttpRequest(), steps = [];  // upload with progress
ask.upload.onprogress = e => steps.push(e.loaded);
ask.onload = () => { say('upload', ask.responseText);
  say('progress', steps.length > 1 && steps.every((n, i) => !i || n > steps[i - 1]) && steps.pop() === 12582912 ? 'rose to 12582912' : 'no: ' + steps); };
ask.onerror = () => say('upload', 'failed');
ask.open('POST', '/upload');
ask.send(new Blob(Array(192).fill(block)));

let parts = 0;  // upload of a stream whose length nobody knows
fetch('/upload', {method: 'POST', duplex: 'half', body: new ReadableStream({pull(c) { parts++ < 64 ? c.enqueue(block) : c.close(); }})})
  .then(r => r.text()).then(t => say('stream', t), e => say('stream', e));

const events = new EventSource('/events'), heard = [];
events.onmessage = e => { heard.push(e.data); say('events', heard.slice(0, 5).join(' '));
  if (heard.length > 5) { say('again', heard[5]); events.close(); } };

const socket = new WebSocket('wss://' + location.host + '/socket', 'chat');
socket.binaryType = 'arraybuffer';
socket.onopen = () => socket.send('hello');
socket.onerror = () => say('socket', 'failed');
socket.onmessage = e => {
  if (typeof e.data === 'string') { say('socket', e.data + ' by ' + socket.protocol); socket.send(new Uint8Array(1000000).fill(9)); }
  else { say('large', e.data.byteLength); socket.close(1000); } };
</script>"""


def png(width, height):
    rows = b"".join(b"\0" + bytes(v for x in range(width) for v in (x * 2 % 256, y * 4 % 256, 160)) for y in range(height))

    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


class Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    last_event = []

    def log_message(self, *_):
        pass

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/socket":
            self.socket()
        elif self.path == "/events":
            self.happens()
        elif self.path == "/image.png":
            self.answer("image/png", png(128, 64))
        else:
            self.answer("text/html", PAGE.encode())

    def happens(self):
        """Five events each as it happens; then the end, after which the browser asks again with the last one's id."""
        last = self.headers.get("Last-Event-ID")
        self.last_event.append(last)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        if last:
            self.wfile.write(f"id: 9\ndata: after {last}\n\n".encode())
            self.pump(self.rfile.read1, self.connection)  # until the browser has closed it
            return
        self.wfile.write(b"retry: 100\n\n")
        for i in range(5):
            self.wfile.write(f"id: {i}\ndata: {i}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.05)

    def do_POST(self):
        digest, size = hashlib.sha256(), 0
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        while True:
            n = int(self.rfile.readline(), 16) if chunked else int(self.headers["Content-Length"])
            digest.update(self.rfile.read(n))
            size += n
            if chunked:
                self.rfile.readline()
            if not chunked or not n:
                break
        self.answer("text/plain", f"{size} {digest.hexdigest()[:16]}".encode())

    def socket(self):
        """python3-websockets speaks, over a connection of its own."""
        with socket.create_connection(("127.0.0.1", 9002)) as s:
            s.sendall("\r\n".join([self.requestline, *(f"{k}: {v}" for k, v in self.headers.items()), "", ""]).encode())
            up = threading.Thread(target=self.pump, args=(self.rfile.read1, s), daemon=True)
            up.start()
            self.pump(s.recv, self.connection)
        self.close_connection = True

    @staticmethod
    def pump(read, to):
        try:
            for data in iter(lambda: read(65536), b""):
                to.sendall(data)
        except OSError:
            pass


def websocket_server(port):
    async def handler(ws):
        async for message in ws:
            await ws.send(message)

    async def run():
        async with websockets.serve(handler, "127.0.0.1", port, max_size=1 << 24, subprotocols=["chat"]):
            await asyncio.Future()
    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()


def pin(cert):
    """The key of a certificate as Chromium's list of those to be trusted wants it."""
    return subprocess.run(f"openssl x509 -in {cert} -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
                          shell=True, capture_output=True, text=True, check=True).stdout.strip()


def keep(browser, name):
    if os.environ.get("OUT"):
        browser.screenshot(pathlib.Path(os.environ["OUT"]) / f"{name}.png")


def site(lab, b):
    b.open(f"https://{APP}:{lab.edges[0].https}/")
    ends = {"protocol": "1", "upload": "1", "stream": "1", "again": "1", "large": "1"}
    try:
        b.wait("['%s'].every(id => document.getElementById(id) && document.getElementById(id).textContent)" % "','".join(ends), "every part of the page")
    except TimeoutError as x:
        print(f"# {x}")
    keep(b, "site")
    cells = json.loads(b.js("JSON.stringify(Object.fromEntries([...document.querySelectorAll('td[id]')].map(t => [t.id, t.textContent])))"))
    block = bytes(i * 7 % 256 for i in range(65536))
    check(b.js("isSecureContext && document.title") == "behind a tunnel" and cells["protocol"] == "h2", "the page comes by HTTPS and HTTP/2", cells)
    check(b.js("document.getElementById('image').naturalWidth") == 128, "with its image")
    check(cells["upload"] == f"{192 << 16} {hashlib.sha256(block * 192).hexdigest()[:16]}", "12 MiB go up", cells)
    check(cells["progress"] == "rose to 12582912", "with progress", cells)
    check(cells["stream"] == f"{64 << 16} {hashlib.sha256(block * 64).hexdigest()[:16]}", "fetch() sends a stream of 4 MiB of unknown length", cells)
    check(cells["events"] == "0 1 2 3 4", "events come one by one", cells)
    check(cells["again"] == "after 4", "and again with the last one's id after the end", cells)
    check(cells["socket"] == "hello by chat" and cells["large"] == "1000000", "a WebSocket, both ways, with a message of 1 MB", cells)
    line = until(lambda: [a for a in lab.access() if a.get("path") == "/socket"], 5)
    check(line and line[0]["protocol"] == "h2" and line[0]["method"] == "websocket", "it was a stream of the HTTP/2 connection (RFC 8441)", line)
    failed = b.said("Runtime.exceptionThrown") + [x for x in b.said("Network.loadingFailed") if not x.get("canceled")]
    check(not failed, "no script and no load failed", failed)
    b.open("about:blank")
    check(until(lambda: lab.ask("edge-0", "edge", {"do": "status"})["tunnels"][0]["open"] == 0, 10), "nothing is left open at the edge",
          lab.ask("edge-0", "edge", {"do": "status"})["tunnels"])


def console(lab, b):
    base = f"https://{FILES}:{lab.edges[0].https}"
    b.events.clear()
    b.open(base + "/#/machines")
    b.wait("document.readyState === 'complete' && !!document.getElementById('enter')", "the sign-in form")
    b.js(f"document.getElementById('secret').value = {json.dumps(lab.token)}; document.querySelector('#enter button').click()")
    b.wait("document.querySelectorAll('#members tbody tr').length >= 2", "the members")
    b.wait("document.getElementById('live').textContent === 'live'", "server-sent events")
    before = b.js("document.querySelector('#members tbody').textContent")
    b.wait(f"document.querySelector('#members tbody').textContent !== {json.dumps(before)}", "an update by itself")
    keep(b, "console")
    check(True, "the console by HTTPS: signed in, members, updates by server-sent events")
    asked = [r["request"]["url"] for r in b.said("Network.requestWillBeSent")]
    check(asked and all(u.startswith((base, "data:", "about:")) for u in asked), "it asks nobody else, and nothing by plain HTTP", asked)
    check(not b.said("Runtime.exceptionThrown"), "no script failed", b.said("Runtime.exceptionThrown"))


enter("chromium", "openssl")
with Lab(edges=0) as the_lab:
    the_lab.edge_more = f"  gateway: \"unix:{the_lab.work}/run/one/gateway-http.sock\"\n  gateway_hostnames: [{FILES}]\n"
    the_lab.storage()
    the_lab.edges.append(the_lab.edge(0))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    websocket_server(9002)
    the_lab.tunnel("app", [APP])
    the_lab.origin("app", [{"to": "http://127.0.0.1:9000"}])
    with Browser("--host-resolver-rules=MAP *.edge.example 127.0.0.1", f"--ignore-certificate-errors-spki-list={pin(the_lab.work / 'web.pem')}") as one:
        site(the_lab, one)
        console(the_lab, one)
finish()
