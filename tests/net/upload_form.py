#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An HTML form in Chromium: a file posted with the session's cookie and word arrives; without the word, from a page of another
port, and from another site it does not. A page that was uploaded does not run when it is opened."""
import http.server

from browser import Browser
from upload_lib import *

RULES = "columns:\n  - {name: id, type: integer, required: true}\n  - {name: name, type: string}\n"
FORM = """(() => { const f = document.createElement('form'); f.method = 'post'; f.enctype = 'multipart/form-data'; f.action = %s;
for (const [name, value] of Object.entries(%s)) { const i = document.createElement('input'); i.type = 'hidden'; i.name = name; i.value = value; f.append(i); }
const i = document.createElement('input'); i.type = 'file'; i.name = 'file'; i.id = 'file'; f.append(i); document.body.append(f); })()"""


def post(b, page, action, fields, path):
    """Opens a page, puts a form into it, and submits it with the file: the status of the POST, and where it led."""
    b.events.clear()
    b.open(page)
    b.wait("document.readyState === 'complete'", page)
    b.js(FORM % (json.dumps(action), json.dumps(fields)))
    node = b.call("DOM.querySelector", nodeId=b.call("DOM.getDocument")["root"]["nodeId"], selector="#file")["nodeId"]
    b.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
    b.js("document.querySelector('form').submit()")

    def answered():
        b.js("1")  # events come with answers
        led = [e["redirectResponse"]["status"] for e in b.said("Network.requestWillBeSent") if e.get("redirectResponse") and e["redirectResponse"]["url"] == action]
        return led + [e["response"]["status"] for e in b.said("Network.responseReceived") if e["response"]["url"] == action]
    return (until(answered, 10) or [0])[0]


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>other</title><body>")

    def log_message(self, *_):
        pass


def forms(lab, b, base, other, path):
    action = f"{base}/_/upload/sales"
    word = lab.req("GET", "/_/session", None, None, {"Cookie": f"weir={lab.token['ada']}"}).json["csrf"]
    files = lambda: sorted(f["file"] for f in lab.get("ada", "/_/datasets/sales/files").json["files"])
    for name, page, fields in (("without the word", f"{base}/_/session", {}), ("with another's word", f"{base}/_/session", {"csrf": "0" * 64}),
                               ("from a page of another port", f"http://127.0.0.1:{other}/", {}), ("from another site", f"http://evil.example:{other}/", {})):
        status = post(b, page, action, fields, path)
        check(status in (401, 403) and files() == [], f"a form {name} is refused", (status, files()))
    status = post(b, f"http://evil.example:{other}/", action, {"csrf": word}, path)
    check(status in (401, 403) and files() == [], "a form from another site has no cookie, whatever it knows", (status, files()))
    status = post(b, f"{base}/_/session", action, {"csrf": word}, path)
    b.wait("location.hash.startsWith('#/uploads/')", "the upload's page")
    b.wait("!!document.querySelector('.state.accepted')", "that it was accepted")
    check(status == 303 and files() == ["form & Co. – ä.csv"], "with the session's cookie and word it arrives, and its page is shown", (status, files()))
    check(lab.get("ada", "/b/sales/form%20%26%20Co.%20%E2%80%93%20%C3%A4.csv").body == path.read_bytes(), "stored as it was, under its name")


def pages(lab, b, base):
    """Opened in the browser with the owner's session."""
    page = b"<!doctype html><title>ran</title><script>document.title = 'ran'</script>"
    for name, data in (("a.html", page), ("b.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title = "ran"</script></svg>')):
        lab.req("PUT", f"/b/files/{name}", "ada", data)
        b.open(f"{base}/_/session")
        b.events.clear()
        try:
            b.open(f"{base}/b/files/{name}")
        except RuntimeError as e:
            said = str(e)
        else:
            said = "it was opened"
        check("ERR_ABORTED" in said and b.js("document.title") != "ran" and b.js("location.pathname") == "/_/session", f"{name} is a download, it does not run", said)


with Lab() as lab:
    lab.group("makers", role="steward")
    lab.user("ada", groups=["makers"])
    lab.dataset("sales", RULES)
    lab.dataset("files", "accept: \"*\"\n")
    path = lab.work / "form & Co. – ä.csv"
    path.write_bytes(b"id,name\n" + b"".join(b"%d,n\n" % i for i in range(1000)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{lab.port['gw0']}"
    with Browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as b:
        b.call("DOM.enable")
        b.call("Network.setCookie", name="weir", value=lab.token["ada"], url=base, httpOnly=True, sameSite="Lax")
        forms(lab, b, base, server.server_address[1], path)
        pages(lab, b, base)
finish()
