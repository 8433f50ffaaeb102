#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One sign-on by a real OpenID provider: the code flow with PKCE and each attack on it, groups and roles, names that
collide, keys that rotate, a provider that is away, signing out, and the device flow of `weir login`."""
from identity_lib import *

enter("curl", "node", "npm")


def query(url, **change):
    """The address with parameters of its query changed (None: removed)."""
    at = urllib.parse.urlsplit(url)
    asked = dict(urllib.parse.parse_qsl(at.query))
    asked.update(change)
    return urllib.parse.urlunsplit(at._replace(query=urllib.parse.urlencode({k: v for k, v in asked.items() if v is not None})))


with SignOn() as s:
    PAGE = {"Accept": "text/html"}
    ready = until(lambda: Browser().get(s.url + "/_/login/start").status == 303)
    check(ready and Browser().get(s.url + "/_/session").json == {"user": None, "provider": True, "passwords": True}, "the provider is known")

    # ---- the way there
    ann = Browser()
    begun = ann.get(s.url + "/_/login/start?return=/%23/datasets")
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(begun.to).query))
    check(asked["response_type"] == "code" and asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43
          and asked["client_id"] == "weir" and len(asked["state"]) == len(asked["nonce"]) == 43 and "openid" in asked["scope"],
          "code, PKCE S256, state and nonce", asked)
    flags = begun.headers["Set-Cookie"]
    check(all(f in flags for f in ("HttpOnly", "SameSite=Lax", "Max-Age=600")) and asked["state"] not in flags and asked["nonce"] not in flags,
          "what must be known again is in a sealed cookie", flags)
    back = s.through(ann, begun.to, "ann", s.url + "/_/login/callback")
    check("iss=" in back and "code=" in back, "the provider sends the browser back", back)

    # ---- attacks on the way back; each with a browser that holds the cookie, unless said
    thief = Browser()
    check(thief.get(back).status == 400, "an answer in another browser is refused")
    check(ann.get(query(back, state="x" * 43), **PAGE).status == 400, "a wrong state is refused")
    check(ann.get(query(back, state=None)).status == 400, "no state too")
    mixed = ann.get(query(back, iss="https://evil.example"))
    check(mixed.status == 400 and "iss" in mixed.body, "an answer of another provider is refused (RFC 9207)", mixed)
    check(ann.get(query(back, iss=None)).status == 400, "and one that does not say whose it is")
    login = ann.cookie("weir-login").value
    good = ann.get(back)
    check(good.status == 303 and good.to == "/#/datasets" and ann.cookie("weir-login") is None, "the right one signs in and leads where one was", good)
    flags = next(c for c in good.headers.get_all("Set-Cookie") if c.startswith("weir="))
    check("HttpOnly" in flags and "SameSite=Lax" in flags and "Path=/" in flags and "Domain" not in flags, "with the session's cookie", flags)
    again = ann.get(back, **PAGE)
    check(again.status == 400 and again.headers["Content-Type"].startswith("text/html") and "script" not in again.body and
          "Content-Security-Policy" in again.headers, "the same answer once more is refused, on a readable page", again)
    copied = Browser().ask("GET", back, Cookie=f"weir-login={login}")
    check(copied.status == 400 and "already" in copied.body, "also with a copy of the cookie", copied)
    copied = Browser().ask("GET", back.replace(":8001", ":8002"), Cookie=f"weir-login={login}")
    check(copied.status == 400 and "used already" in copied.body, "at another gateway the provider refuses the code", copied)
    forged = Browser().ask("GET", back, Cookie=f"weir-login={login[:-4]}AAAA")
    check(forged.status == 400, "a cookie that was changed is none")
    xss = ann.get(s.url + "/_/login/start")
    state = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(xss.to).query))["state"]
    xss = ann.get(f"{s.url}/_/login/callback?" + urllib.parse.urlencode({"error": "access_denied", "error_description": "<script>alert(1)</script>",
                                                                       "state": state, "iss": s.issuer}), **PAGE)
    check(xss.status == 403 and "<script" not in xss.body and "&lt;script" in xss.body, "what the provider says stays text", xss)
    for to in "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x=y", "javascript:alert(1)":
        b = Browser()
        done = b.get(s.sign_in(b, "bob", to))
        check(done.status == 303 and done.to == "/", f"no way out of the site by {to!r}", done)

    # ---- who it is
    session = ann.get(s.url + "/_/session").json
    check(session["user"] == "ann" and session["provider"] and sorted(session["groups"]) == ["auditors", "staff"] and session["role"] == "auditor",
          "groups of the provider are weir's by groups/NAME.from", session)
    csrf = session["csrf"]
    people = s.keys("people/")
    check(people["ann"]["subject"] == "ann" and people["ann"]["issuer"] == s.issuer and people["ann"]["email"] == "ann@example.org"
          and sorted(people["ann"]["groups"]) == ["auditors", "staff"] and people["ann"]["disabled"] is False, "people/ann is remembered", people)
    for who, word in (("thief", "somebody else"), ("clash", "local user"), ("spaced", "cannot be a name")):
        b = Browser()
        got = b.get(s.sign_in(b, who))
        check(got.status == 403 and word in got.body and b.cookie("weir") is None, f"a name that is taken or none is refused, clearly ({who})", got)
    root = Browser()
    root.get(s.sign_in(root, "root"))
    word = root.get(s.url + "/_/session").json["csrf"]
    listed = {p["name"]: p for p in root.get(s.url + "/_/people").json["people"]}
    check(listed["ann"]["local"] is False and listed["ann"]["role"] == "auditor" and listed["local"]["local"] is True, "an administrator sees them", listed)

    carol = Browser()
    carol.get(s.sign_in(carol, "carol"))
    out = root.post(s.url + "/_/people/carol", {"disabled": True}, X_Weir_CSRF=word)
    check(out.status == 200 and until(lambda: carol.get(s.url + "/_/session").json["user"] is None, 5), "who is disabled is out at once", out)
    got = carol.get(s.sign_in(carol, "carol"))
    check(got.status == 403 and "disabled" in got.body, "and cannot sign in again", got)

    # ---- the token, everywhere
    token = ann.cookie("weir").value
    bearer = {"Authorization": f"Bearer {token}"}
    api = Browser()
    endpoint = lambda headers=bearer, bucket="data": api.get(f"http://127.0.0.1:8080/b/{bucket}/?limit=1", **headers).status
    check(until(lambda: endpoint() in (200, 404)), "the same token opens the endpoint, by the group's rights", endpoint())
    check(endpoint(bucket="other") == 403, "and not what the group has no right to")
    check(api.post(s.url + "/_/logout", {}, Cookie=f"weir={token}").status == 403 and ann.get(s.url + "/_/session").json["user"] == "ann",
          "another site cannot sign somebody out")

    # ---- device flow
    tool = Browser()
    began = time.monotonic()
    device = tool.post(s.url + "/_/login/device", {}).json
    check({"user_code", "verification_uri", "handle", "interval", "expires_in"} <= set(device) and "device_code" not in device, "a device begins", device)
    poll = lambda at=s.url, handle=None: tool.post(at + "/_/login/device/token", {"handle": handle or device["handle"]})
    first, second = poll(), poll()
    check(first.status == 202 and first.json["error"] == "pending" and second.status == 202 and second.json["error"] == "slow_down",
          "it is pending; who asks too soon is told so", [first, second])
    check(poll(handle=device["handle"][:-3] + "AAA").status == 410 and poll(handle="x").status == 410, "a made-up handle is none")
    sealed = Browser()
    sealed.get(s.url + "/_/login/start")
    check(poll(handle=sealed.cookie("weir-login").value).status == 410, "what is sealed for something else too")
    home = {**os.environ, "HOME": str(s.work / "home"), "XDG_CONFIG_HOME": str(s.work / "home")}
    command = subprocess.Popen([BIN / "weir", "login", s.url, "--device"], env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = ""
    while "or at once:" not in said and (line := command.stderr.readline()):
        said += line
    other = re.search(r"or at once: (\S+)", said).group(1)
    for who, at in ("bob", device["verification_uri_complete"]), ("ann", other):
        last = s.confirm(Browser(), at, who)
    time.sleep(max(0, began + device["interval"] + 0.5 - time.monotonic()))
    done = until(lambda: (lambda a: a if a.status != 202 else None)(poll("http://127.0.0.1:8002")), 12, 1)
    check(done and done.status == 200 and done.json["user"] == "bob" and done.json["token"].startswith("weir1."), "it has a token, at any gateway", done or last)
    check(done and endpoint({"Authorization": f"Bearer {done.json['token']}"}) in (200, 404), "which opens the endpoint")
    once = poll("http://127.0.0.1:8001")
    check(once.status == 410, "once", once)
    out, err = command.communicate(timeout=20)
    me = subprocess.run([BIN / "weir", "whoami", "--json"], env=home, capture_output=True, text=True)
    check(command.returncode == 0 and me.returncode == 0 and json.loads(me.stdout)["user"] == "ann", "weir login --device signs in", [said, out, err, me])

    # ---- keys rotate; the provider is away
    s.kid = "k2"
    s.provide()
    b = Browser()
    done = b.get(s.sign_in(b, "bob"))
    check(done.status == 303 and b.get(s.url + "/_/session").json["user"] == "bob", "keys that were rotated are fetched anew", done)
    s.idp.kill()
    check(ann.get(s.url + "/_/session").json["user"] == "ann" and endpoint() in (200, 404), "the provider is away: who is signed in stays so, everywhere")
    b = Browser()
    back = f"{s.url}/_/login/callback?" + urllib.parse.urlencode({"code": "c", "iss": s.issuer, "state": dict(urllib.parse.parse_qsl(
        urllib.parse.urlsplit(b.get(s.url + "/_/login/start").to).query))["state"]})
    away = b.get(back, **PAGE)
    check(away.status == 502 and "does not answer" in away.body, "who comes meanwhile is told", away)
    check(Browser().post(s.url + "/_/login/password", {"user": "local", "password": "correct horse"}).status == 200, "local users sign in")

    # ---- out
    out = ann.post(s.url + "/_/logout", {}, X_Weir_CSRF=csrf)
    end = out.json["end_session"] or ""
    check(out.status == 200 and end.startswith(s.issuer + "/session/end?") and "client_id=weir" in end and ann.cookie("weir") is None,
          "signing out leads to the provider's own", out)
    check(until(lambda: endpoint() == 401, 5), "the token is ended, also at the endpoint", endpoint())

    lines = root.get(s.url + "/_/audit?max=1000").json["lines"]
    kinds = {(l["what"], l["result"]) for l in lines}
    check({("login", "ok"), ("login", "denied"), ("login", "failed"), ("device", "ok"), ("logout", "ok"), ("people", "ok")} <= kinds, "all is in the audit log", kinds)
    text = json.dumps(lines) + "".join(d.said() for d in s.daemons)
    check(SECRET not in text and "weir1." not in text and "code=" not in text, "no secret, token or code is in it, nor in a log")
finish()
