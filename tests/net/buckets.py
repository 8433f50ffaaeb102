#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Buckets as the console, `weir du` and a browser see them: who sees which, what they hold, folders and pages of objects,
access keys, a browse page that is there when its owner allows it and is text alone."""
import html
import re
import urllib.parse

from upload_lib import *

KEYS = {"a.txt": b"one", "logs/1": b"x" * 100, "logs/2": b"y" * 200, "logs/deep/3": b"z" * 300, "<b>&\"'.txt": b"odd",
        "sp ace+plus%25.txt": b"odd too"}
PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9"}


def lines(lab, **query):
    return lab.audit(**query)["lines"]


def path(key):
    return urllib.parse.quote(key, safe="/")


def api(lab):
    rows = {r["name"]: r for r in lab.get("ada", "/_/buckets").json["buckets"]}
    check("data" in rows and rows["data"]["owner"] == "ada" and rows["data"]["versioning"] == "off" and not rows["data"]["browse"],
          "who owns a bucket sees what it is", rows)
    got = until(lambda: (lambda r: r if r.get("objects") == len(KEYS) else None)(lab.get("ada", "/_/buckets/data").json), 10)
    check(got and got["bytes"] == sum(map(len, KEYS.values())), "objects and bytes are those of its primary", got)
    check("data" not in {r["name"] for r in lab.get("eve", "/_/buckets").json["buckets"]}, "who may not list it does not see it")
    check(lab.get("eve", "/_/buckets/data").status == 403 and lab.get("eve", "/_/buckets/data/objects").status == 403,
          "nor what is in it: 403")
    check(lab.get(None, "/_/buckets").status == 401, "a stranger: 401")
    top = lab.get("ada", "/_/buckets/data/objects?delimiter=/").json
    check(top["prefixes"] == ["logs/"] and len(top["objects"]) == 3 and top["next"] is None, "a folder is one row", top)
    below = lab.get("ada", "/_/buckets/data/objects?delimiter=/&prefix=logs/").json
    check(below["prefixes"] == ["logs/deep/"] and [o["key"] for o in below["objects"]] == ["logs/1", "logs/2"], "a prefix", below)
    seen, after = [], ""
    while after is not None:
        page = lab.get("ada", f"/_/buckets/data/objects?limit=2&after={urllib.parse.quote(after)}").json
        seen += [o["key"] for o in page["objects"]]
        after = page["next"]
    check(seen == sorted(KEYS), "pages of two have all keys in order", seen)
    versions = lab.get("ada", "/_/buckets/data/objects?versions=1").json["objects"]
    check(len(versions) == len(KEYS) and all(v["version"] == "null" and v["current"] and not v["marker"] for v in versions),
          "versions of a bucket that keeps none", versions)


def browse(lab):
    got = lab.get("ada", "/b/data/", headers=PAGE)
    check(got.headers["content-type"].startswith("application/json"), "a bucket that may not be browsed is a list, also for a browser", got)
    check(lab.req("POST", "/_/buckets/data", "eve", b'{"browse": true}').status == 403, "others may not allow it: 403")
    check(lab.req("POST", "/_/buckets/data", "ada", b'{"browse": 1}').status == 400, "no truth value: 400")
    check(lab.req("POST", "/_/buckets/data", "ada", b'{"browse": true}').json == {"name": "data", "browse": True}, "the owner allows it")
    got = until(lambda: (lambda r: r if "html" in r.headers["content-type"] else None)(lab.get("ada", "/b/data/", headers=PAGE)), 5)
    if not check(got is not None, "then it is a page"):
        return
    text = got.body.decode()
    links = {html.unescape(m) for m in re.findall(r'href="(/b/[^"]*)"', text)}
    check(links == {f"/b/data/{path(k)}" for k in KEYS if "/" not in k}, "with a link to each object", links)
    check(all(lab.get("ada", l).body == KEYS[urllib.parse.unquote(l[8:])] for l in links), "that leads to its bytes")
    check("<b>&" not in text and "&lt;b&gt;&amp;" in text and "<script" not in text, "what keys say is text", text)
    check("default-src 'none'" in got.headers["content-security-policy"], "and nothing could run")
    below = lab.get("ada", "/b/data/?prefix=logs/", headers=PAGE).body.decode()
    check('href="?prefix=logs%2Fdeep%2F"' in below and "/b/data/logs/1" in below and "a.txt" not in below, "a folder is a page", below)
    check(lab.get("ada", "/b/data/").headers["content-type"].startswith("application/json"), "programs get the list as before")
    check(lab.get("eve", "/b/data/", headers=PAGE).status == 403, "who may not list it: 403")
    check(any(l["what"] == "bucket.change" and l["on"].startswith("data") and l["who"] == "ada" for l in lines(lab, what="bucket.change")),
          "the audit log has who allowed it")


def du(lab):
    env = {**os.environ, "WEIR_URL": f"http://127.0.0.1:{lab.port['gw0']}", "WEIR_TOKEN": lab.token["ada"]}

    def run(*argv):
        return subprocess.run([str(BIN / "weir"), "du", *argv], capture_output=True, text=True, timeout=30, env=env)

    got = json.loads(run("data", "--json").stdout)
    check(got["objects"] == len(KEYS) and got["bytes"] == sum(map(len, KEYS.values())), "weir du BUCKET counts all", got)
    check({"name": "logs/", "objects": 3, "bytes": 600} in got["below"], "and each folder", got)
    got = json.loads(run("data/logs/", "--versions", "--json").stdout)
    check([b["name"] for b in got["below"]] == ["1", "2", "deep/"], "below a prefix", got)
    text = run()
    check(text.returncode == 0 and re.search(r"^data +6 +", text.stdout, re.M), "weir du: a line for each bucket", text)
    check(run("none").returncode == 1, "a bucket that is not there is a failure")


def keys(lab):
    made = json.loads(lab.weir("user", "key", "add", "ada", "--json"))
    rows = until(lambda: lab.get("ada", "/_/keys").json["keys"], 5)
    check([r["id"] for r in rows] == [made["id"]] and rows[0]["s3"] and made["secret"] not in json.dumps(rows),
          "a key is listed without its secret", rows)
    check(lab.get("eve", "/_/keys").json["keys"] == [], "others do not see it")
    check(lab.get("eve", "/_/keys?all=1").status == 403 and lab.get(None, "/_/keys").status == 401, "everybody's are for administrators: 403")
    check(made["id"] in {r["id"] for r in lab.get("root", "/_/keys?all=1").json["keys"]}, "who see it")


def console(lab):
    if not shutil.which("chromium"):
        return
    from console_driver import Console
    with Console(f"http://127.0.0.1:{lab.port['gw0']}", TOP / "build/screens") as c:
        c.b.open(c.base + "/")
        c.js(f"sessionStorage.setItem('token', {json.dumps(lab.token['ada'])})")
        c.reload("document.querySelector('h1')?.textContent === 'Datasets'", "the datasets")
        c.open("#/buckets", "document.querySelectorAll('tbody tr').length === 1", "the buckets")
        check(f"{len(KEYS)}" in c.text() and "ada" in c.text(), "the console has the bucket, its owner and what it holds", c.text())
        c.look("buckets")
        c.press("data", "main")
        c.wait("document.querySelectorAll('section[aria-label=objects] tbody tr').length === 4", "the bucket's objects")
        check("<b>&\"'.txt" in c.text() and "logs/" in c.text(), "a bucket has folders and objects; what keys say is text", c.text())
        c.look("bucket")
        c.press("logs/", "main")
        c.wait("document.querySelectorAll('section[aria-label=objects] tbody tr').length === 3", "the folder")
        check("deep/" in c.text() and "a.txt" not in c.text(), "a folder has what is in it", c.text())
        c.press("with older versions", "main")
        c.wait("location.hash.includes('versions=1') && document.querySelector('main').innerText.includes('null')", "versions")
        c.look("versions")
        c.press("no page for browsers", "main")
        c.wait("document.querySelector('main').innerText.includes('let browsers see it')", "the other word")
        check(until(lambda: not lab.get("ada", "/_/buckets/data").json["browse"], 5), "the owner ends the page there")
        c.open("#/keys", "document.querySelectorAll('tbody tr').length === 1", "the keys")
        check("WEIR" in c.text() and "weir user key add ada" in c.text(), "access keys, and how one is made", c.text())
        c.look("keys")
        said = c.complaints()
        check(not said and not c.wrong, "no violation of the policy, labels, headings and contrast are as they must be", said + c.wrong)


def console_later(lab):
    """The console on a bucket with older versions and more rows than a page."""
    if not shutil.which("chromium"):
        return
    from console_driver import Console
    put(lab, " two  spaces ", b"x")
    put(lab, "\u202egnp.exe", b"x")
    lab.weir("bucket", "set", "data", "--browse", "yes")
    got = until(lambda: (lambda r: r.body.decode() if "html" in r.headers["content-type"] else "")(lab.get("ada", "/b/data/", headers=PAGE)), 5)
    check("\ufffdgnp.exe</a>" in got and "\u202e" not in got and "/b/data/%E2%80%AEgnp.exe" in got, "a name cannot turn what stands behind it around", got)
    all(put(lab, f"m/{i:03}", b"m") for i in range(201)) or lab.bail("cannot put")
    with Console(f"http://127.0.0.1:{lab.port['gw0']}", TOP / "build/screens") as c:
        c.b.open(c.base + "/")
        c.js(f"sessionStorage.setItem('token', {json.dumps(lab.token['ada'])})")
        c.reload("document.querySelector('h1')?.textContent === 'Datasets'", "the datasets")
        rows = "[...document.querySelectorAll('section[aria-label=objects] tbody tr')]"
        c.open("#/buckets/data?versions=1", f"{rows}.length > 6", "the versions")
        got = c.js(f"{rows}.filter(r => r.textContent.startsWith('a.txt')).map(r => [!!r.querySelector('a'), r.lastChild.textContent])")
        check(got == [[True, "now"], [False, "older"]], "what a link gives is what stands in its row: an older version is no link", got)
        got = c.js("document.querySelector('main').innerText")
        check("\ufffdgnp.exe" in got and "\u202e" not in got, "nor in the console", got)
        wide = c.js("(() => { const a = [...document.querySelectorAll('td.name a')].find(a => a.textContent === ' two  spaces '), w = a.offsetWidth;"
                    " a.textContent = 'two spaces'; return w > a.offsetWidth; })()")
        check(wide, "spaces of a key are seen", wide)
        c.look("versions-older")
        c.open("#/buckets/data?prefix=m/", f"{rows}.length === 200", "a page of 200")
        c.press("more", "main")
        c.wait(f"{rows}.length === 201", "the rest")
        got = c.js("document.activeElement.textContent")
        check(got == "200", "who goes on by keyboard is at the first new row", got)
        c.open("#/keys", "document.querySelectorAll('tbody tr').length === 1", "the keys")
        check(c.js("document.querySelector('[aria-current=page]').textContent") == "Buckets", "keys are found below Buckets")
        said = c.complaints()
        check(not said and not c.wrong, "no violation of the policy, labels, headings and contrast there, too", said + c.wrong)


def empty(lab):
    """A bucket that was made by hand, before anybody wrote to it."""
    lab.weir("bucket", "add", "bare", "--owner", "root")
    lab.weir("bucket", "set", "bare", "--browse", "yes")
    got = until(lambda: (lambda r: r if r.json.get("objects") == [] else None)(lab.get("root", "/_/buckets/bare/objects?delimiter=/")), 5)
    check(got and (got.json["prefixes"], got.json["next"]) == ([], None), "a bucket without an object is an empty list", got)
    got = until(lambda: (lambda r: r if b"nothing here" in r.body else None)(lab.get("root", "/b/bare/", headers=PAGE)), 5)
    check(got and got.status == 200, "and an empty page", got)
    got = lab.get("root", "/b/barre/")
    check(got.status == 404 and "no bucket barre" in got.json["message"], "one that is not there: 404, and it is said what is not there", got)
    got = lab.get("root", "/b/barre/x")
    check(got.status == 404 and "no bucket barre" in got.json["message"], "also to who asks for an object in it", got)
    got = lab.get("root", "/b/bare/x")
    check(got.status == 404 and "bucket" not in got.json["message"], "an object that is not there: 404", got)


def tool(lab):
    """What a newcomer gets wrong with weir bucket and weir user key, and what it says."""
    def said(*argv):
        got = lab.weir(*argv, fails=True)
        return got.returncode, got.stdout + got.stderr

    for argv, code, words in (
            (["bucket", "set", "bare"], 2, "what of bare?"),
            (["bucket", "set", "bare", "--objects", "10MiB"], 2, "--objects 10MiB: a number"),
            (["bucket", "remove", "bare"], 2, "s3 rb s3://bare"),
            (["bucket", "set", "bare", "--owner", "nobody"], 0, "there is no user nobody yet"),
            (["bucket", "show", "barre"], 1, "there is no bucket barre"),
            (["user", "key", "add"], 2, "wants a user's NAME"),
            (["user", "key", "list", "nobody"], 1, "there is no user nobody"),
            (["sealing", "remove"], 2, "remove wants a KEY"),
            (["ls", "bare", "--gateway", "127.0.0.1:8000", "--profile", "w"], 1, "is no address of a gateway"),
            (["ls", "bare", "--gateway", f"https://127.0.0.1:{lab.port['gw0']}", "--profile", "w"], 1, "does not speak TLS")):
        got = said(*argv)
        check(got[0] == code and words in got[1], f"weir {' '.join(argv[:3])}: {words}", got)
    lab.weir("bucket", "set", "bare", "--quota", "5GiB")
    lab.weir("bucket", "set", "bare", "--objects", "100")
    quota = lambda: json.loads(lab.weir("bucket", "show", "bare", "--json")).get("quota")
    check(quota() == {"bytes": 5 << 30, "objects": 100}, "half of a quota leaves the other as it was", quota())
    check("5.0 GiB, 100 objects" in lab.weir("bucket", "show", "bare"), "and is shown as people write it", lab.weir("bucket", "show", "bare"))
    for way in (["BucketOwnerEnforced"], ["none", "--acl", "public-read"], ["BucketOwnerEnforced", "--acl", "private"]):
        got = said("bucket", "set", "bare", "--ownership", *way)
        check(got[0] == 0, f"ownership {' '.join(way)}: ownership and ACL change together, whichever forbids the other", got)
    lab.weir("bucket", "set", "bare", "--quota", "none")
    check(not any((quota() or {}).values()), "none ends both", quota())


def sign_in(lab):
    """Who types an access key as name and password is told where it goes."""
    if not shutil.which("chromium"):
        return
    from console_driver import Console
    made = json.loads(lab.weir("user", "key", "add", "root", "--json"))
    with Console(f"http://127.0.0.1:{lab.port['gw0']}", TOP / "build/screens") as c:
        c.b.open(c.base + "/")
        c.wait("!!document.querySelector('#by-password')", "the sign-in")
        c.type("#user", made["id"])
        c.type("#password", made["secret"])
        c.press("Sign in", "#by-password")
        c.wait("document.querySelector('#by-password').innerText.includes('access key')", "where the key goes")
        c.press("Use an access key", "main")
        c.type("#key-id", made["id"])
        c.type("#secret", made["secret"])
        c.press("Sign in", "#enter")
        c.wait("document.querySelector('h1')?.textContent === 'Datasets'", "the datasets")
        check(c.js("document.querySelector('#me').textContent") in ("root", "access token"), "there it signs in")
        check(not c.complaints(), "no violation of the policy", c.complaints())


def put(lab, key, body):
    to = lab.req("PUT", f"/b/data/{path(key)}", "ada", b"", follow=False).headers["location"].split("/", 3)
    return lab.req("PUT", "/" + to[3], None, body, port=int(to[2].split(":")[1])).status in (200, 201)


def versions(lab):
    lab.weir("bucket", "set", "data", "--versioning", "enabled")
    until(lambda: lab.get("ada", "/_/buckets/data").json["versioning"] == "enabled", 5)
    time.sleep(0.3)  # the endpoint hears of it by a watch of its own
    to = lab.req("DELETE", "/b/data/logs/1", "ada", follow=False).headers["location"].split("/", 3)
    check(put(lab, "a.txt", b"two!") and lab.req("DELETE", "/" + to[3], port=int(to[2].split(":")[1])).status == 204, "a bucket keeps versions")
    rows = lab.get("ada", "/_/buckets/data/objects?versions=1&prefix=a").json["objects"]
    check([(r["size"], r["current"], r["version"] == "null") for r in rows] == [(4, True, False), (3, False, True)], "the older version is told, newest first", rows)
    rows = lab.get("ada", "/_/buckets/data/objects?versions=1&prefix=logs/1").json["objects"]
    check([(r["marker"], r["current"]) for r in rows] == [(True, True), (False, False)], "a delete marker stands before what it hides", rows)
    seen, at = [], ""
    while at is not None:
        page = lab.get("ada", f"/_/buckets/data/objects?versions=1&limit=1{at}").json
        seen += [(r["key"], r["version"]) for r in page["objects"]]
        at = page["next"] and f"&after={urllib.parse.quote(page['next'])}&after_version={page['next_version']}"
    check(len(seen) == len(set(seen)) == len(KEYS) + 2, "pages of one have every version once", seen)
    env = {**os.environ, "WEIR_URL": f"http://127.0.0.1:{lab.port['gw0']}", "WEIR_TOKEN": lab.token["ada"]}
    du = lambda *more: json.loads(subprocess.run([str(BIN / "weir"), "du", "data", "--json", *more], capture_output=True, text=True, timeout=30, env=env).stdout)
    check((du()["objects"], du("--versions")["objects"]) == (len(KEYS) - 1, len(KEYS) + 1), "weir du counts them when asked to", du("--versions"))


with Lab() as lab:
    lab.user("root", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
    lab.user("ada", grants=[{"bucket": "data", "prefix": "", "rights": "rwdl"}])
    lab.user("eve")
    for key, body in KEYS.items():
        put(lab, key, body) or lab.bail(f"cannot put {key}")
    api(lab)
    browse(lab)
    du(lab)
    keys(lab)
    console(lab)
    versions(lab)
    console_later(lab)
    empty(lab)
    home = lab.folder("home")
    (home / "credentials").write_text("[w]\naws_access_key_id = WEIRAAAAAAAAAAAAAAAA\naws_secret_access_key = x\n")
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(home / "credentials")
    tool(lab)
    sign_in(lab)
finish()
