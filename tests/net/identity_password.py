#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Local users without a provider: sessions by cookie and their flags, the word against forged requests, guessing is
slowed down, API tokens, people, the audit log of two gateways and an endpoint."""
from identity_lib import *

enter("curl")
with SignOn(provider=False) as s:
    b = Browser()
    nobody = b.get(s.url + "/_/session").json
    check(nobody == {"user": None, "provider": False, "passwords": True}, "nobody is signed in", nobody)
    check(b.get(s.url + "/_/login/start").status == 404, "without a provider there is no way to one")
    wrong = b.post(s.url + "/_/login/password", {"user": "local", "password": "wrong"})
    check(wrong.status == 401 and not wrong.headers.get("Set-Cookie"), "a wrong password is refused", wrong)
    times = {}
    for user in "boss", "nobody-like-this":
        begun = time.monotonic()
        b.post(s.url + "/_/login/password", {"user": user, "password": "wrong"})
        times[user] = time.monotonic() - begun
    check(min(times.values()) > 0.02 and max(times.values()) < 5 * min(times.values()), "an unknown user takes about as long", times)
    check(b.ask("POST", s.url + "/_/login/password", b'{"user":"local","password":"correct horse"}', Content_Type="text/plain").status == 415,
          "a form of another site cannot sign in (415)")
    check(b.post(s.url + "/_/login/password", {"user": "local", "password": "correct horse"}, Origin="http://evil.example").status == 400,
          "nor a script of one")
    got = b.post(s.url + "/_/login/password", {"user": "local", "password": "correct horse"})
    flags = got.headers.get("Set-Cookie", "")
    check(got.status == 200 and got.json["user"] == "local" and got.json["role"] == "auditor" and got.json["groups"] == ["auditors"],
          "the right one signs in, with groups and role", got)
    check(flags.startswith("weir=weir1.") and "HttpOnly" in flags and "SameSite=Lax" in flags and "Path=/" in flags and "Secure" not in flags
          and "Max-Age=43200" in flags, "the cookie: HttpOnly, SameSite=Lax, Path=/", flags)
    csrf = got.json["csrf"]
    session = b.get(s.url + "/_/session").json
    check(session["user"] == "local" and session["csrf"] == csrf and session["provider"] is False, "the session is known", session)
    check(b.get("http://127.0.0.1:8002/_/session").json["user"] == "local", "at the other gateway too")

    # by the edge's Unix socket
    def edge(*args):
        return subprocess.run(["curl", "-sS", "-i", "--unix-socket", str(s.work / "run/g1/http.sock"), *args], capture_output=True, text=True).stdout
    login = ["-H", "Content-Type: application/json", "-d", '{"user":"local","password":"correct horse"}', "http://files.example/_/login/password"]
    https = edge("-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-For: 203.0.113.77", *login)
    check("__Host-weir=weir1." in https and "; Secure" in https, "over HTTPS it is __Host-weir and Secure", https)
    fake = subprocess.run(["curl", "-sS", "-i", "-H", "X-Forwarded-Proto: https", *login[:-1], s.url + "/_/login/password"],
                          capture_output=True, text=True).stdout
    check("__Host-" not in fake, "nobody but the edge says that it came by HTTPS", fake)
    token = re.search(r"__Host-weir=([^;]+)", https).group(1)
    tossed = edge("-H", "X-Forwarded-Proto: https", "-H", f"Cookie: weir={token}", "http://files.example/_/session")
    kept = edge("-H", "X-Forwarded-Proto: https", "-H", f"Cookie: __Host-weir={token}", "http://files.example/_/session")
    check('"user":null' in tossed.replace(" ", "") and '"user":"local"' in kept.replace(" ", ""), "there the short name counts nothing", tossed + kept)

    # forged requests
    check(b.post(s.url + "/_/tokens", {"note": "x"}).status == 403, "a change by cookie without the word is refused")
    check(b.post(s.url + "/_/tokens", {"note": "x"}, X_Weir_CSRF="0" * 64).status == 403, "with a wrong one too")
    check(b.post(s.url + "/_/tokens", {"note": "x"}, X_Weir_CSRF=csrf, Origin="https://evil.example").status == 403, "and from another origin")

    # API tokens
    made = b.post(s.url + "/_/tokens", {"note": "nightly <job>", "ttl": 3600, "bucket": "data", "rights": "rl"}, X_Weir_CSRF=csrf)
    check(made.status == 200 and made.json["id"].startswith("a"), "an API token is made", made)
    bearer = {"Authorization": f"Bearer {made.json['token']}"}
    api = Browser()
    listing = lambda: api.get("http://127.0.0.1:8080/b/data/?limit=1", **bearer).status
    check(until(lambda: listing() in (200, 404)), "it opens the endpoint", listing())
    check(api.get("http://127.0.0.1:8080/b/other/?limit=1", **bearer).status == 403, "for its bucket alone")
    check(api.post(s.url + "/_/tokens", {"note": "more"}, **bearer).status == 403, "it makes no further ones")
    check(api.get(s.url + "/_/tokens", **bearer).status == 403 and api.ask("DELETE", s.url + "/_/tokens/a000000000000000", **bearer).status == 403,
          "and neither sees nor ends others")
    to = b.get(f"{s.url}/o/{'0' * 64}").to
    short = {"Authorization": "Bearer " + re.search(r"[?&]t=([^&]+)", to).group(1)}
    check(api.get(s.url + "/_/session", **short).json["user"] == "local" and api.post(s.url + "/_/tokens", {"ttl": 3600, "rights": "r"}, **short).status == 403,
          "nor does the token of a redirect become one that lives for a year")
    for ask, what in (({"rights": "rx"}, "unknown rights"), ({"ttl": 10 ** 9}, "more than a year"), ({"ttl": "soon"}, "a ttl that is no number"),
                      ({"prefix": "p"}, "a prefix without bucket")):
        check(b.post(s.url + "/_/tokens", ask, X_Weir_CSRF=csrf).status == 422, f"refused: {what}")
    listed = b.get(s.url + "/_/tokens").json["tokens"]
    check([t["note"] for t in listed] == ["nightly <job>"] and "token" not in listed[0], "it is listed, without its secret", listed)
    check(b.ask("DELETE", f"{s.url}/_/tokens/{made.json['id']}", X_Weir_CSRF=csrf).status == 200 and b.get(s.url + "/_/tokens").json["tokens"] == [],
          "it is revoked")
    check(until(lambda: listing() == 401, 5), "and opens nothing any more", listing())
    check(b.ask("DELETE", f"{s.url}/_/tokens/{made.json['id']}", X_Weir_CSRF=csrf).status == 404, "twice is once")

    code = lambda text: base64.b64encode(text.encode()).decode()
    puts = [{"request_put": {"key": code(f"/weir/v1/token/local/a{i:015x}"), "value": code("{}")}} for i in range(100)]
    registry = ["curl", "-sS", "-f", "--unix-socket", str(s.work / "run/registry.socket")]
    subprocess.run([*registry, "-d", json.dumps({"success": puts}), "http://localhost/v3/kv/txn"], check=True, capture_output=True)
    full = b.post(s.url + "/_/tokens", {"note": "one more"}, X_Weir_CSRF=csrf)
    check(full.status == 422 and full.json["error"] == "too_many", "a user has so many tokens, and not more", full)
    end = {"key": code("/weir/v1/token/local/"), "range_end": code("/weir/v1/token/local0")}
    subprocess.run([*registry, "-d", json.dumps(end), "http://localhost/v3/kv/deleterange"], check=True, capture_output=True)
    check(b.post(s.url + "/_/tokens", {"note": "again"}, X_Weir_CSRF=csrf).status == 200, "and another when some have ended")

    # people
    check(b.get(s.url + "/_/people").status == 403, "people are for administrators")
    boss = Browser()
    word = boss.post(s.url + "/_/login/password", {"user": "boss", "password": "battery staple"}).json["csrf"]
    people = {p["name"]: p for p in boss.get(s.url + "/_/people").json["people"]}
    check(people["local"]["role"] == "auditor" and people["boss"]["role"] == "admin" and people["local"]["local"], "they see all", people)
    flip = lambda **headers: boss.post(s.url + "/_/peers/switch", {"asset": "*", "mode": "auto"}, **headers).status
    check([flip(), flip(X_Weir_CSRF="0" * 64), flip(X_Weir_CSRF=word, Origin="https://evil.example"), flip(X_Weir_CSRF=word)] == [403, 403, 403, 200],
          "the switch of peers: by a page of ours alone")

    # guessing
    tries = [b.post(s.url + "/_/login/password", {"user": "guess", "password": str(i)}) for i in range(12)]
    check([t.status for t in tries[:10]] == [401] * 10 and tries[11].status == 429 and tries[11].headers["Retry-After"],
          "who guesses has to wait (429)", [t.status for t in tries])

    # who floods does not push others out of the audit log: a few lines of each address, all are counted
    for _ in range(60):
        Browser().get(s.url + "/_/login/callback?state=x")
    for _ in range(30):
        b.post(s.url + "/_/login/password", {"user": "guess", "password": "x"})
    noise = [l for l in boss.get(s.url + "/_/audit?max=1000&what=login").json["lines"] if l["why"] == "too many attempts"]
    check(0 < len(noise) <= 22, "who floods does not fill the audit log", len(noise))

    # one address does not lock a user out of another
    for i in range(25):
        b.post("http://127.0.0.1:8002/_/login/password", {"user": "local", "password": "x"})
    here = b.post("http://127.0.0.1:8002/_/login/password", {"user": "local", "password": "correct horse"}).status
    there = subprocess.run(["curl", "-sS", "-o", s.work / "out", "-w", "%{http_code}", "--unix-socket", s.work / "run/g2/http.sock",
                            "-H", "X-Forwarded-For: 203.0.113.9", *login], capture_output=True, text=True).stdout
    check(here == 429 and there == "200", "who guesses a user's password from one address does not lock the user out", [here, there])
    near = [subprocess.run(["curl", "-sS", "-o", s.work / "out", "-w", "%{http_code}", "--unix-socket", s.work / "run/g2/http.sock",
                            "-H", f"X-Forwarded-For: 2001:db8::{i}", *login[:2], "-d", '{"user":"guess","password":"x"}', login[-1]],
                           capture_output=True, text=True).stdout for i in range(1, 13)]
    check(near[:10] == ["401"] * 10 and near[11] == "429", "the addresses of an IPv6 /64 are one", near)

    # the audit log: of both gateways; auditors see all, others their own
    Browser().post("http://127.0.0.1:8002/_/login/password", {"user": "boss", "password": "battery staple"})
    lines = b.get(s.url + "/_/audit?what=login&result=ok").json
    seen = [(l["who"], l["node"]) for l in lines["lines"]]
    check(("local", "g1") in seen and ("boss", "g2") in seen and lines["silent"] == [], "the audit log of all gateways", lines)
    ids = [l["id"] for l in b.get(s.url + "/_/audit?max=1000").json["lines"]]
    check(ids == sorted(ids, reverse=True) and len(ids) == len(set(ids)) > 15, "newest first, each line once", ids[:5])
    page = b.get(s.url + "/_/audit?max=3").json
    following = b.get(f"{s.url}/_/audit?max=3&before={page['next']}").json
    check([l["id"] for l in page["lines"] + following["lines"]] == ids[:6], "page by page", [page, ids[:6]])
    check(b.get(s.url + "/_/audit?text=203.0.113.77").json["lines"][0]["from"] == "203.0.113.77", "with the address that the edge says")
    check(all("correct horse" not in json.dumps(l) and "weir1." not in json.dumps(l) for l in b.get(s.url + "/_/audit?max=1000").json["lines"]),
          "no password and no token stands in it")
    check(b.get(s.url + "/_/audit?since=soon").status == 400, "a query that is none is said")
    inside = urllib.request.Request("http://127.0.0.1:7001/_/audit")
    try:
        urllib.request.urlopen(inside, timeout=5)
        check(False, "the inside listener asks who it is")
    except urllib.error.HTTPError as e:
        check(e.code == 401, "the inside listener asks who it is", e.code)

    # who searches much leaves workers to others
    import concurrent.futures
    search = lambda _: Browser().get(s.url + "/_/audit?max=1000&text=none-such", Cookie=f"weir={b.cookie('weir').value}").status
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        got = list(pool.map(search, range(48)))
    check(set(got) <= {200, 503} and 200 in got and until(lambda: search(0) == 200), "few searches of the audit log run at once", got)

    # the command line, by the same routes
    home = {**os.environ, "HOME": str(s.work / "home"), "XDG_CONFIG_HOME": str(s.work / "home")}
    weir = lambda *argv, **more: subprocess.run([BIN / "weir", *argv], env=home, capture_output=True, text=True, timeout=20, **more)
    signed = weir("login", s.url, "--user", "local", "--stdin", input="correct horse\n")
    me = weir("whoami", "--json")
    check(signed.returncode == 0 and json.loads(me.stdout or "{}").get("user") == "local", "weir login --user signs in", [signed, me])
    audit = weir("audit", "--json")
    check(audit.returncode == 0 and '"token.create"' in audit.stdout, "weir audit shows the log", audit)
    check(weir("logout").returncode == 0 and weir("whoami").returncode == 1, "weir logout ends it")

    # everybody out
    out = boss.post(s.url + "/_/people/local", {"signout": True}, X_Weir_CSRF=word)
    check(out.status == 200 and until(lambda: b.get(s.url + "/_/session").json["user"] is None, 5), "an administrator signs somebody out everywhere", out)
    old = boss.cookie("weir").value
    left = boss.post(s.url + "/_/logout", {}, X_Weir_CSRF=word)
    check(left.status == 200 and left.json == {"end_session": None} and boss.cookie("weir") is None, "signing out takes the cookie", left)
    stolen = {"Authorization": f"Bearer {old}"}
    check(until(lambda: api.get("http://127.0.0.1:8080/b/data/?limit=1", **stolen).status == 401, 5), "and ends the token, also at the endpoint")
    check(b.post(s.url + "/_/logout", {}).status == 200, "signing out twice does no harm")

    # the endpoints are silent: a name that may be a bucket's is nobody's
    s.endpoint.kill()
    word = boss.post(s.url + "/_/login/password", {"user": "boss", "password": "battery staple"}).json["csrf"]
    got = boss.ask("POST", s.url + "/_/datasets?name=somebodys", b"title: mine\n", Content_Type="application/yaml", X_Weir_CSRF=word)
    check(got.status == 503 and got.json["error"] == "endpoint", "no dataset takes a name while the endpoints do not say whether it is a bucket's", got)
finish()
