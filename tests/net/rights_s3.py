# SPDX-License-Identifier: Apache-2.0
"""Who may what by S3: access keys (scoped, expired, revoked, disabled), bucket policies, canned ACLs, quotas, at the gateway and
at the endpoint. Called by rights_matrix.py."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import time
import urllib.parse

from tunnel_lib import BIN, check, until

BUCKET = "s3box"


def sign(key, method, host, path, query, body, headers, when=None):
    """Headers of a signed request (Signature Version 4, one chunk)."""
    now = datetime.datetime.fromtimestamp(when or time.time(), datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "host": host, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    names = ";".join(sorted(h.lower() for h in all_headers))
    lower = {h.lower(): v for h, v in all_headers.items()}
    quote = lambda text: urllib.parse.quote(text, safe="-_.~")
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/-_.~"),
                           "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query)),
                           *[f"{h}:{lower[h]}" for h in sorted(lower)], "", names, digest])
    scope = f"{day}/us-east-1/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    step = ("AWS4" + key["secret"]).encode()
    for part in scope.split("/"):
        step = hmac.new(step, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(step, text.encode(), hashlib.sha256).hexdigest()
    return {**all_headers, "Authorization": f"AWS4-HMAC-SHA256 Credential={key['id']}/{scope}, SignedHeaders={names}, Signature={signature}"}


def s3(where, key, method, path, query=(), body=b"", headers=None):
    """Status and S3's code ("" when it has none) or the body."""
    body = body.encode() if isinstance(body, str) else body
    host = f"{where[0]}:{where[1]}"
    target = urllib.parse.quote(path, safe="/-_.~") + ("?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote) if query else "")
    if key:
        headers = sign(key, method, host, path, list(query), body, headers or {})
    con = http.client.HTTPConnection(*where, timeout=15)
    try:
        con.request(method, target, body or None, {**(headers or {}), **({"X-Amz-Nothing": "1"} if not key else {})})
        got = con.getresponse()
        text = got.read()
        code = re.search(rb"<Code>(\w+)</Code>", text)
        return got.status, code[1].decode() if code else text
    finally:
        con.close()


class Setup:
    def __init__(self, lab):
        self.lab = lab
        self.keys = {"nobody": None}
        self.user("sue", "--bucket", BUCKET)
        self.user("rex", "--bucket", BUCKET, "--rights", "rl")
        self.user("nul", "--rights", "none")
        self.user("eve", "--bucket", "evebox")
        self.keys["owner"] = self.key("sue")
        self.keys["reader"] = self.key("rex")
        self.keys["member"] = self.key("nul")
        self.keys["other"] = self.key("eve")
        self.keys["admin"] = self.key("adam")
        self.keys["drop"] = self.key("sue", "--scope", f"w:{BUCKET}/in/", "--scope", f"l:{BUCKET}/in/")
        self.keys["revoked"] = self.key("sue")
        self.keys["disabled"] = self.key("sue")
        self.keys["expired"] = self.key("sue", "--expires", "1h")
        self.keys["wrong"] = {**self.keys["owner"], "secret": "x" * 40}
        self.keys["stranger"] = {"id": "WEIR" + "A" * 16, "secret": "x" * 40}
        lab.weir("user", "key", "revoke", "sue", self.keys["revoked"]["id"])
        lab.weir("user", "key", "disable", "sue", self.keys["disabled"]["id"])
        record = lab.read("users/sue")
        for one in record["keys"]:
            if one["id"] == self.keys["expired"]["id"]:
                one["expires"] = int(time.time()) - 1
        lab.put("users/sue", record)

    def user(self, name, *more):
        got = self.lab.weir("user", "add", name, *more)
        check(got.returncode == 0, f"user {name}", got.stderr)

    def key(self, name, *more):
        got = self.lab.weir("user", "key", "add", name, "--json", *more)
        check(got.returncode == 0, f"a key of {name}", got.stderr)
        return json.loads(got.stdout)


GOOD = {"owner", "reader", "member", "other", "admin", "drop"}  # who is somebody
CODES = {"wrong": "SignatureDoesNotMatch", "stranger": "InvalidAccessKeyId", "revoked": "InvalidAccessKeyId"}


def rows():
    """method, path, query, body, who may, with which status."""
    everyone = lambda *names: set(names)
    sub = lambda name: [(name, "")]
    yield "GET", "/", [], b"", GOOD, {200}
    yield "PUT", f"/{BUCKET}", [], b"", {"owner", "admin"}, {200, 409}
    yield "HEAD", f"/{BUCKET}", [], b"", everyone("owner", "reader", "admin"), {200}
    yield "PUT", f"/{BUCKET}/a", [], b"aa", everyone("owner", "admin"), {200}
    yield "PUT", f"/{BUCKET}/in/b", [], b"bb", everyone("owner", "admin", "drop"), {200}
    yield "GET", f"/{BUCKET}/a", [], b"", everyone("owner", "reader", "admin"), {200}
    yield "GET", f"/{BUCKET}/in/b", [], b"", everyone("owner", "reader", "admin"), {200}
    yield "GET", f"/{BUCKET}/none", [], b"", everyone("owner", "reader", "admin"), {404}
    yield "GET", f"/{BUCKET}", [("list-type", "2")], b"", everyone("owner", "reader", "admin"), {200}
    yield "GET", f"/{BUCKET}", [("list-type", "2"), ("prefix", "in/")], b"", everyone("owner", "reader", "admin", "drop"), {200}
    yield "GET", f"/{BUCKET}", sub("location"), b"", everyone("owner", "reader", "admin"), {200}
    yield "GET", f"/{BUCKET}", sub("policy"), b"", everyone("owner", "admin"), {404}
    yield "PUT", f"/{BUCKET}", sub("versioning"), b"<VersioningConfiguration/>", everyone("owner", "admin"), {200, 400}
    yield "PUT", f"/{BUCKET}", sub("policy"), b"{}", everyone("owner", "admin"), {400}
    yield "DELETE", f"/{BUCKET}/none", [], b"", everyone("owner", "admin"), {204}
    yield "DELETE", f"/{BUCKET}", [], b"", everyone("owner", "admin"), {409}
    yield "POST", f"/{BUCKET}", sub("delete"), b"<Delete><Object><Key>none</Key></Object></Delete>", GOOD, {200}


def matrix(setup, where, name):
    asked, wrong = 0, []
    for method, path, query, body, may, good in rows():
        for who, key in setup.keys.items():
            if not key and (method == "POST" or path == "/"):
                continue  # a page of forms, the console: not S3's
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            headers = {"x-amz-checksum-sha256": digest} if method == "POST" else {}
            status, said = s3(where, key, method, path, query, body, headers)
            fits = status in good if who in may else status == 403
            if fits and who in CODES and method != "HEAD":
                fits = said == CODES[who]
            asked += 1
            if not fits:
                wrong.append(f"{method} {path} {query} by {who}: {status} {said[:200]!r}")
    check(not wrong, f"S3 at the {name}: each key may what it may, and no more", "\n".join(wrong))
    return asked


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(effect, who, action, *resources, **condition):
    return {"Effect": effect, "Principal": who, "Action": action,
            "Resource": [f"arn:aws:s3:::{r}" for r in resources], **({"Condition": condition} if condition else {})}


def policies(setup, where, gateway):
    """Put by S3, asked by S3 and by the plain interface."""
    keys = setup.keys
    user = lambda name: {"AWS": f"arn:aws:iam::weir:user/{name}"}
    put = lambda text: s3(where, keys["owner"], "PUT", f"/{BUCKET}", [("policy", "")], text)[0]
    get = lambda who, path: s3(where, keys[who], "GET", path)[0]

    def plain(path, at=where):
        con = http.client.HTTPConnection(*at, timeout=10)
        con.request("GET", path)
        got = con.getresponse()
        got.read()
        con.close()
        return got.status

    check(put(policy(statement("Allow", "*", "s3:GetObject", f"{BUCKET}/in/*"), statement("Allow", user("nul"), "s3:ListBucket", BUCKET),
                     statement("Deny", user("rex"), "s3:GetObject", f"{BUCKET}/a"))) == 204, "a policy is put")
    check(until(lambda: get("member", f"/{BUCKET}/in/b") == 200), "it lets in whom it names")
    check(plain(f"/b/{BUCKET}/in/b") == 200 and plain(f"/b/{BUCKET}/a") == 401, "the plain interface asks the same policy")
    check(get("nobody", f"/{BUCKET}/in/b") == 200 and get("nobody", f"/{BUCKET}/a") == 403, "nobody in particular reads what is public")
    check(get("reader", f"/{BUCKET}/a") == 403 and get("owner", f"/{BUCKET}/a") == 200, "a Deny wins over a grant")
    check(get("member", f"/{BUCKET}") == 200 and get("other", f"/{BUCKET}") == 403, "a list for one user")
    check(get("drop", f"/{BUCKET}/a") == 403, "a narrow key stays narrow")
    versions = lambda who: s3(where, keys[who], "GET", f"/{BUCKET}", [("versions", "")])[0]
    check(put(policy(statement("Allow", "*", "s3:ListBucket", BUCKET))) == 204 and until(lambda: plain(f"/b/{BUCKET}/") == 200) and
          versions("nobody") == 403 and plain(f"/b/{BUCKET}/?versions=1") == 401 and plain(f"/b/{BUCKET}/?versions=0") == 200,
          "who may list may not list versions, by neither interface")
    check(until(lambda: plain(f"/_/buckets/{BUCKET}/objects", gateway) == 200) and plain(f"/_/buckets/{BUCKET}/objects?versions=1", gateway) == 401,
          "nor by the gateway's listing")
    check(put(policy(statement("Allow", "*", ["s3:ListBucket", "s3:ListBucketVersions"], BUCKET))) == 204 and
          until(lambda: plain(f"/b/{BUCKET}/?versions=1") == 200) and versions("nobody") == 200 and
          until(lambda: plain(f"/_/buckets/{BUCKET}/objects?versions=1", gateway) == 200), "but when it is allowed")
    status, code = s3(where, keys["owner"], "PUT", f"/{BUCKET}", [("policy", "")], policy(statement("Allow", "*", "s3:Frob", f"{BUCKET}/*")))
    check(status == 400 and code == "MalformedPolicy", "what is not understood is refused", (status, code))
    check(put(policy(statement("Deny", "*", "s3:*", BUCKET, f"{BUCKET}/*", NotIpAddress={"aws:SourceIp": "127.0.0.0/8"}))) == 204 and
          until(lambda: get("member", f"/{BUCKET}/in/b") == 403) and get("owner", f"/{BUCKET}/a") == 200, "a condition on the address, met")
    check(put(policy(statement("Deny", "*", "s3:*", BUCKET, f"{BUCKET}/*", NotIpAddress={"aws:SourceIp": "203.0.113.0/24"}))) == 204 and
          until(lambda: get("owner", f"/{BUCKET}/a") == 403) and get("admin", f"/{BUCKET}/a") == 403, "and not met: not even for an admin")
    check(put(policy(statement("Allow", "*", "s3:*", BUCKET, f"{BUCKET}/*"))) == 204 and until(lambda: get("nobody", f"/{BUCKET}/a") == 200),
          "all for everybody")
    asked = lambda who, method, at, text=b"": s3(at, keys[who], method, f"/{BUCKET}", [("policy", "")], text)[0]
    got = [(who, method, asked(who, method, at, policy(statement("Deny", "*", "s3:GetObject", f"{BUCKET}/*")) if method == "PUT" else b""))
           for who in ("nobody", "drop") for method in ("GET", "PUT", "DELETE") for at in (where, gateway)]
    check(all(status == 403 for _, _, status in got), "but the policy: no stranger, and no key for one prefix, has it from a policy", got)
    check(asked("owner", "GET", where) == 200 and asked("member", "GET", where) == 200, "a user of the installation may have it from one")
    no_overwriting(put, where)
    check(s3(where, keys["other"], "DELETE", f"/{BUCKET}", [("policy", "")])[0] == 403 and
          s3(where, keys["owner"], "DELETE", f"/{BUCKET}", [("policy", "")])[0] == 204 and
          until(lambda: get("owner", f"/{BUCKET}/a") == 200), "the owner takes the policy away, and nobody else")


def no_overwriting(put, where):
    """The policy of Amazon's "Enforce conditional writes", at the plain interface."""
    def send(*conditions):
        con = http.client.HTTPConnection(*where, timeout=10)
        con.putrequest("PUT", f"/b/{BUCKET}/once")
        for condition in conditions:
            con.putheader("If-None-Match", condition)
        con.putheader("Content-Length", "1")
        con.endheaders(b"x")
        got = con.getresponse()
        got.read()
        con.close()
        return got.status

    check(put(policy(statement("Allow", "*", "s3:PutObject", f"{BUCKET}/*"),
                     statement("Deny", "*", "s3:PutObject", f"{BUCKET}/*", Null={"s3:if-none-match": "true"},
                               Bool={"s3:ObjectCreationOperation": "true"}))) == 204 and until(lambda: send() == 401),
          "a policy that wants If-None-Match refuses a PUT without")
    check(send("*") in (200, 201) and send("*") == 412, "with * it makes what is not there")
    got = [send(*c) for c in (("",), (" ",), ('"x"',), ('"*"',), ('"x", *',), ("*, *",), ('"x"', "*"), ("W/*",))]
    check(not set(got) - {400, 401, 412}, "whatever else stands there overwrites nothing", got)


def held_back(where):
    """The status that a stranger gets for DeleteObjects before the body came."""
    con = http.client.HTTPConnection(*where, timeout=5)
    con.putrequest("POST", f"/{BUCKET}?delete")
    con.putheader("Content-Length", "2000000")
    con.endheaders(b"<Delete>")
    try:
        return con.getresponse().status
    except OSError as e:
        return e
    finally:
        con.close()


def acls(setup, where):
    keys = setup.keys
    said = held_back(where)
    check(said == 403, "whom nothing allows to delete, whose keys are not waited for", said)
    get = lambda who: s3(where, keys[who], "GET", f"/{BUCKET}")[0]
    put = lambda name: s3(where, keys["owner"], "PUT", f"/{BUCKET}", [("acl", "")], b"", {"x-amz-acl": name})[0]
    check(put("authenticated-read") == 200 and until(lambda: get("member") == 200) and get("nobody") == 403, "authenticated-read")
    check(put("public-read") == 200 and until(lambda: get("nobody") == 200), "public-read")
    check(s3(where, None, "PUT", f"/{BUCKET}/c", [], b"c")[0] == 403 and s3(where, None, "GET", f"/{BUCKET}/a")[0] == 403,
          "which is to list, and no more")
    check(put("private") == 200 and until(lambda: get("nobody") == 403), "private again")


def told_by_hand(setup, where):
    """The public access block and the ownership of objects, by `weir bucket set`: what it says holds, and what is malformed changes nothing."""
    lab, keys = setup.lab, setup.keys
    told = lambda: json.loads(lab.weir("bucket", "show", BUCKET, "--json").stdout)
    given = lambda *flags: lab.weir("bucket", "set", BUCKET, *flags)
    get = lambda: s3(where, None, "GET", f"/{BUCKET}")[0]
    block = lambda: s3(where, keys["owner"], "GET", f"/{BUCKET}", [("publicAccessBlock", "")])
    check(given("--acl", "public-read").returncode == 0 and until(lambda: get() == 200), "a bucket that everybody lists by its ACL")
    check(given("--block", "restrict,ignore").returncode == 0 and told()["block"] == "ignore restrict" and until(lambda: get() == 403),
          "--block ignore,restrict takes that away", told())
    check(b"<IgnorePublicAcls>true" in block()[1] and b"<BlockPublicAcls>false" in block()[1], "as S3 tells it", block())
    for bad in ("acl", "acls,", ",acls", "acls ignore", "", "acls,none"):
        got = given("--block", bad)
        check(got.returncode == 2 and "acls,ignore,policy,restrict" in got.stderr and told()["block"] == "ignore restrict", f"--block '{bad}' is refused", got)
    check(given("--block", "all").returncode == 0 and told()["block"] == "acls ignore policy restrict", "--block all")
    check(given("--block", "none").returncode == 0 and "block" not in told() and until(lambda: get() == 200), "--block none: as before")
    got = given("--ownership", "BucketOwnerEnforced")
    check(got.returncode == 1 and "BucketOwnerEnforced" in got.stderr and "ownership" not in told() and get() == 200,
          "no ACL stops to count without a word", got)
    check(given("--acl", "private", "--ownership", "BucketOwnerEnforced").returncode == 0 and told()["ownership"] == "BucketOwnerEnforced",
          "--ownership BucketOwnerEnforced")
    check(until(lambda: s3(where, keys["owner"], "PUT", f"/{BUCKET}", [("acl", "")], headers={"x-amz-acl": "public-read"}) ==
                (400, "AccessControlListNotSupported")), "no ACL is taken then")
    check(given("--acl", "public-read").returncode == 1 and "acl" not in told(), "neither by hand", told())
    got = given("--ownership", "Nobody")
    check(got.returncode == 1 and "ObjectWriter" in got.stderr, "an ownership that is none", got)
    check(given("--ownership", "none").returncode == 0 and "ownership" not in told() and until(lambda: get() == 403), "--ownership none")


def quotas(setup, where, ask, token):
    lab, keys = setup.lab, setup.keys
    put = lambda path, size: s3(where, keys["owner"], "PUT", path, [], b"x" * size)
    got = lab.weir("bucket", "set", BUCKET, "--quota", "1KiB")
    check(got.returncode == 0, "weir bucket set --quota", got.stderr)
    check(until(lambda: put(f"/{BUCKET}/q1", 900) == (200, b"") and put(f"/{BUCKET}/q2", 2000) == (403, "QuotaExceeded")),
          "more than the quota is refused")
    check(put(f"/{BUCKET}/q2", 200) == (403, "QuotaExceeded"), "and what would pass it with what is there")
    check(put(f"/{BUCKET}/q1", 800) == (200, b""), "what is replaced does not count")
    status, body = ask(where, "PUT", f"/b/{BUCKET}/q3", token, "x" * 500)
    check(status == 507 and json.loads(body)["error"] == "quota" and "1024 bytes" in json.loads(body)["message"],
          "the plain interface says which quota", (status, body))
    check(lab.weir("bucket", "set", BUCKET, "--quota", "none").returncode == 0 and
          until(lambda: put(f"/{BUCKET}/q2", 200) == (200, b"")), "without one it goes on")
    check(lab.weir("user", "quota", "sue", "none", "--objects", "3").returncode == 0 and
          until(lambda: put(f"/{BUCKET}/q4", 1) == (403, "QuotaExceeded")), "a quota of the owner's")
    check(lab.weir("user", "quota", "sue", "none").returncode == 0 and until(lambda: put(f"/{BUCKET}/q4", 1) == (200, b"")), "taken away")
    listed = json.loads(lab.weir("bucket", "show", BUCKET, "--json").stdout)
    check(listed["owner"] == "sue" and "quota" not in listed, "weir bucket show", listed)


def dataset_quota(setup, where, ask, token):
    """A file that is fine but does not fit fails for good, and says why."""
    lab = setup.lab
    lab.put("datasets/tight", {"name": "tight", "owner": "adam", "readers": [], "writers": [], "title": "", "generation": 1, "created": 1,
                               "changed": 1, "rules": {"dataset": "tight", "mask_salt": "00" * 32}})
    check(lab.weir("bucket", "add", "tight", "--owner", "adam").returncode == 0 and
          lab.weir("bucket", "set", "tight", "--quota", "100B").returncode == 0, "a dataset's bucket has a quota")
    check(until(lambda: ask(where, "GET", "/_/datasets/tight", token)[0] == 200 and
                json.loads(ask(where, "GET", "/_/buckets/tight", token)[1]).get("name") == "tight"), "it is known")
    got = []
    began = time.monotonic()
    check(until(lambda: got.append(ask(where, "PUT", "/b/tight/x.csv", token, "a\n" + "1\n" * 500)) or got[-1][0] >= 400) and
          b"quota of bucket tight is 100 bytes" in got[-1][1] and time.monotonic() - began < 5, "a file beyond it is refused with that sentence", got)


def narrow(setup, where, ask):
    """A key for one thing is no sign-in: by Basic it makes and ends no tokens, reads no audit log, sees no people."""
    basic = lambda key: {"Authorization": "Basic " + base64.b64encode(f"{key['id']}:{key['secret']}".encode()).decode()}
    status = lambda who, method, path, body=None: ask(where, method, path, None, body, basic(setup.keys[who]))[0]
    check(status("owner", "GET", "/_/tokens") == 200 and status("owner", "GET", "/_/audit") == 200, "a whole key is a sign-in")
    got = [status("drop", *what) for what in (("GET", "/_/tokens"), ("POST", "/_/tokens", '{"ttl":60}'), ("DELETE", "/_/tokens/a123456789abcdef"),
                                              ("GET", "/_/audit"), ("GET", "/_/people"), ("GET", "/_/keys"), ("POST", "/_/token"))]
    check(got == [403] * 7, "a key for one prefix is none", got)
    check(status("drop", "PUT", f"/b/{BUCKET}/in/x", "x") in (307, 308) and status("drop", "PUT", f"/b/{BUCKET}/out/x", "x") == 403,
          "it does what it is for")


def profile(setup, where):
    """`weir` by the key of another S3 client's profile and variables."""
    lab, key = setup.lab, setup.keys["owner"]
    url = f"http://{where[0]}:{where[1]}"
    home = lab.work / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text(f"[box]\naws_access_key_id = {key['id']}\naws_secret_access_key = {key['secret']}\n"
                                           "[cloud]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n")
    (home / ".aws/config").write_text(f"[profile box]\nendpoint_url = {url}\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEIR_", "XDG_"))} | {"HOME": str(home)}
    run = lambda *words, **more: subprocess.run([BIN / "weir", *words], capture_output=True, text=True, cwd=lab.work, env={**env, **more})
    got = run("get", f"{BUCKET}/a", "-", "--profile", "box")
    check(got.returncode == 0 and got.stdout == "aa", "weir get --profile", got)
    got = run("get", f"{BUCKET}/a", "-", AWS_PROFILE="box")
    check(got.returncode == 0 and got.stdout == "aa", "AWS_PROFILE", got)
    got = run("get", f"{BUCKET}/a", "-", AWS_ACCESS_KEY_ID=setup.keys["reader"]["id"], AWS_SECRET_ACCESS_KEY=setup.keys["reader"]["secret"],
              AWS_ENDPOINT_URL_S3=url)
    check(got.returncode == 0 and got.stdout == "aa", "the variables", got)
    got = run("rm", f"{BUCKET}/a", AWS_ACCESS_KEY_ID=setup.keys["reader"]["id"], AWS_SECRET_ACCESS_KEY=setup.keys["reader"]["secret"],
              AWS_ENDPOINT_URL_S3=url)
    check(got.returncode == 1, "with that key's rights", got)
    got = run("get", f"{BUCKET}/a", "-", "--profile", "cloud", "--url", url)
    check(got.returncode == 1 and "not one of weir's" in got.stderr, "another's key is not sent", got)
    got = run("get", f"{BUCKET}/a", "-", "--profile", "box", "--url", "http://203.0.113.1:1")
    check(got.returncode == 1 and "not encrypted" in got.stderr, "nor one over the wire in the clear", got)
    got = run("ls", BUCKET, "--profile", "none", "--url", url)
    check(got.returncode == 1 and "no profile none" in got.stderr, "a profile that is not there", got)


def rights_s3(lab, gateway, endpoint, ask, token):
    """How many requests were made. token: of an admin."""
    setup = Setup(lab)
    check(until(lambda: all(s3(w, setup.keys["owner"], "GET", "/")[0] == 200 and s3(w, setup.keys["expired"], "GET", "/")[0] == 403
                            for w in (gateway, endpoint))), "the keys are known")
    asked = matrix(setup, endpoint, "endpoint") + matrix(setup, gateway, "gateway")
    narrow(setup, gateway, ask)
    dataset_quota(setup, gateway, ask, token)
    profile(setup, gateway)
    policies(setup, endpoint, gateway)
    acls(setup, endpoint)
    told_by_hand(setup, endpoint)
    quotas(setup, endpoint, ask, token)
    return asked
