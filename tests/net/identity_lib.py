# SPDX-License-Identifier: Apache-2.0
"""Shared by tests/net/identity_*.py: a registry, gateways, an endpoint and a real OpenID provider on loopback, in
namespaces of the test's own; and a browser that keeps cookies and follows nothing by itself.

    enter("node", "npm")
    with SignOn() as s:
        b = Browser()
        answer = b.get(s.sign_in(b, "ann"))       # the way back from the provider, and what the gateway says to it
"""
import hashlib
import html
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request

from tunnel_lib import *

SECRET = "a secret of the client & more %"


class Answer:
    def __init__(self, raw):
        self.status, self.headers, self.body = raw.status, raw.headers, raw.read().decode(errors="replace")
        self.to = self.headers.get("Location")

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.to or ''} {self.headers.get_all('Set-Cookie') or ''} {self.body[:600]}"


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Browser:
    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay, urllib.request.HTTPCookieProcessor(self.jar))

    def ask(self, method, url, body=None, **headers):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()}, method=method)
        if data is not None and "Content_Type" not in headers:
            request.add_header("Content-Type", "application/json")
        try:
            return Answer(self.opener.open(request, timeout=10))
        except urllib.error.HTTPError as e:
            return Answer(e)

    def get(self, url, **headers):
        return self.ask("GET", url, **headers)

    def post(self, url, body=None, **headers):
        return self.ask("POST", url, {} if body is None else body, **headers)

    def form(self, url, **fields):
        return self.ask("POST", url, urllib.parse.urlencode(fields).encode(), Content_Type="application/x-www-form-urlencoded")

    def cookie(self, name):
        return next((c for c in self.jar if c.name == name), None)


class SignOn(Lab):
    def __init__(self, provider=True, session="12h"):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="weir-identity.", dir="/var/tmp"))
        os.chmod(self.work, 0o755)
        atexit.register(lambda: shutil.rmtree(self.work, ignore_errors=True))
        self.daemons, self.idp = [], None
        for folder in "state", "run", "run/g1", "run/g2":
            (self.work / folder).mkdir()
            os.chown(self.work / folder, UID, UID)
        (self.work / "secret").write_text(SECRET + "\n")
        self.issuer, self.kid = "http://127.0.0.1:9100", "k1"
        self.conf = self.write("reg", f"registry_server: {{listen: [\"unix:{self.work}/run/registry.socket\"]}}\n")
        self.daemon("registry", BIN / "weir-registry", "-c", self.conf)
        until((self.work / "run/registry.sock").exists) or sys.exit("Bail out! the registry does not start")
        self.fill()
        identity = (f"identity:\n  issuer: \"{self.issuer}\"\n  client_id: weir\n  client_secret: {self.work}/secret\n"
                    f"  url: \"http://127.0.0.1:8001\"\n  session: {session}\n") if provider else ""
        if provider:
            self.provide()
        self.gateways = [self.gateway(i, identity) for i in (1, 2)]
        until(lambda: listens(8080)) or sys.exit(f"Bail out! the endpoint does not start: {self.endpoint.said()[-1500:]}")
        self.url = "http://127.0.0.1:8001"

    def put(self, key, value):
        """Into the registry, as root by its socket."""
        code = lambda text: base64.b64encode(text.encode()).decode()
        body = json.dumps({"key": code("/weir/v1/" + key), "value": code(json.dumps(value))})
        got = subprocess.run(["curl", "-sS", "-f", "--unix-socket", str(self.work / "run/registry.socket"), "-d", body,
                              "http://localhost/v3/kv/put"], capture_output=True, text=True)
        if got.returncode:
            sys.exit(f"Bail out! the registry does not take {key}: {got.stdout}{got.stderr}")

    def keys(self, prefix):
        """What the registry has below a prefix: {rest of the key: value}."""
        code = lambda text: base64.b64encode(text.encode()).decode()
        prefix = "/weir/v1/" + prefix
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        got = subprocess.run(["curl", "-sS", "-f", "--unix-socket", str(self.work / "run/registry.socket"), "-d",
                              json.dumps({"key": code(prefix), "range_end": code(end)}), "http://localhost/v3/kv/range"],
                             capture_output=True, text=True)
        return {base64.b64decode(kv["key"]).decode()[len(prefix):]: json.loads(base64.b64decode(kv["value"]))
                for kv in json.loads(got.stdout).get("kvs", [])}

    def fill(self):
        """Local users (local: password and the role auditor; plain) and groups."""
        salt = os.urandom(16)
        password = lambda text: {"kdf": "scrypt", "n": 32768, "r": 8, "p": 1, "salt": salt.hex(), "hash":
                                 hashlib.scrypt(text.encode(), salt=salt, n=32768, r=8, p=1, maxmem=1 << 27, dklen=32).hex()}
        user = lambda name, **more: self.put(f"users/{name}", {"name": name, "disabled": False, "grants": [], "keys": [], **more})
        user("local", groups=["auditors"], password=password("correct horse"), grants=[{"bucket": "data", "prefix": "", "rights": "rwl"}])
        user("boss", groups=["admins"], password=password("battery staple"))
        self.put("groups/staff", {"name": "staff", "role": "member", "grants": [{"bucket": "data", "prefix": "", "rights": "rl"}]})
        self.put("groups/auditors", {"name": "auditors", "role": "auditor", "from": ["auditors-of-idp"], "grants": []})
        self.put("groups/admins", {"name": "admins", "role": "admin", "grants": [{"bucket": "*", "prefix": "", "rights": "rwdla"}]})

    def provide(self):
        modules = subprocess.run([TOP / "tests/npm/install"], capture_output=True, text=True) if not os.environ.get("NODE_MODULES") else None
        if modules and modules.returncode:
            skip(modules.stderr.strip().removeprefix("skip: ") or "npm could not install")
        folder = os.environ.get("NODE_MODULES") or modules.stdout.strip()
        if self.idp and self.idp.runs():
            self.idp.kill()
        self.idp = self.daemon("provider", "node", TOP / "tests/net/identity_provider.mjs", "9100", "http://127.0.0.1:8001/_/login/callback",
                               self.kid, SECRET, env={"NODE_MODULES": folder, "NODE_NO_WARNINGS": "1"})
        if not until(lambda: listens(9100)):
            sys.exit(f"Bail out! the provider does not start: {self.idp.said()[-1500:]}")

    def gateway(self, i, identity):
        endpoint = ("endpoint:\n  listen: [\"127.0.0.1:8080\"]\n  url: \"http://127.0.0.1:8080\"\n  inside: \"127.0.0.1:7010\"\n  copies: 1\n"
                    if i == 1 else "")
        conf = self.write(f"g{i}", f"gateway:\n  listen: [\"127.0.0.1:800{i}\", \"unix:{self.work}/run/g{i}/http.sock\"]\n"
                          f"  inside: \"127.0.0.1:700{i}\"\n{endpoint}{identity}")
        if endpoint:
            self.endpoint = self.daemon("endpoint", BIN / "weir-endpoint", "-c", conf)
        d = self.daemon(f"gateway-{i}", BIN / "weir-gateway", "-c", conf)
        if not until(lambda: listens(8000 + i)):
            sys.exit(f"Bail out! gateway {i} does not start: {d.said()[-1500:]}")
        return d

    def through(self, browser, at, login, stop):
        """Follows the provider's pages, signing in as `login`, until they lead to something that begins with stop."""
        for _ in range(12):
            if at.startswith(stop):
                return at
            page = browser.get(at)
            if page.status == 200:
                fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.body))
                if "login" in fields.get("prompt", "") or 'name="login"' in page.body:
                    fields.update(login=login, password="any")
                page = browser.form(html.unescape(re.search(r'action="([^"]+)"', page.body).group(1)), **fields)
            if not page.to:
                text = " ".join(re.sub("<style.*?</style>|<[^>]*>", " ", page.body, flags=re.S).split())
                sys.exit(f"Bail out! at {at} the provider says {page.status}: {text}")
            at = urllib.parse.urljoin(at, page.to)
        sys.exit("Bail out! the provider leads nowhere")

    def confirm(self, browser, at, login):
        """Enters a device's code at the provider and signs in there; the last page."""
        page, first = browser.get(at), True
        for _ in range(12):
            if page.to:
                at = urllib.parse.urljoin(at, page.to)
                page = browser.get(at)
                continue
            action = re.search(r'action="([^"]+)"', page.body)
            if not action:
                break
            fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page.body))
            if 'name="login"' in page.body:
                fields.update(login=login, password="any")
            elif first:
                fields.update(confirm="yes")
            first = False
            page = browser.form(html.unescape(action.group(1)), **fields)
        return page

    def sign_in(self, browser, login, to="/"):
        """From the gateway through the provider; the way back, not yet gone."""
        begun = browser.get(f"{self.url}/_/login/start?return={urllib.parse.quote(to)}")
        if begun.status != 303:
            sys.exit(f"Bail out! sign-in does not begin: {begun}")
        return self.through(browser, begun.to, login, f"{self.url}/_/login/callback")
