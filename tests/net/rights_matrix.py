#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rights on every route: the programs tell their routes (--routes), and each is asked by nobody, a member, a reader, a writer, the
owner, an auditor, a steward, an admin, a person of a provider, the owner of another dataset, and with tokens that have
expired, were ended, are too narrow, or were signed by a gateway. A route without a row here fails the test.

    RIGHTS_VERBOSE=1 tests/net/rights_matrix.py     prints the matrix
"""
import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

from rights_s3 import rights_s3
from tunnel_lib import BIN, UID, check, enter, finish, until

GATEWAY, ENDPOINT, INSIDE = ("127.0.0.1", 8000), ("127.0.0.1", 8080), ("127.0.0.1", 7003)
VERBOSE = os.environ.get("RIGHTS_VERBOSE")


# ---- the installation ---------------------------------------------------------------------------

class UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Lab:
    def __init__(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="weir-rights."))
        # in memory: an endpoint makes thousands of folders, which take seconds to remove from a disk
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", self.work], check=True)
        self.conf = self.work / "weir.yaml"
        self.conf.write_text(f"""
node: one
site: a
user: "{UID}"
state: {self.work}/state
run: {self.work}/run
registry: {{url: "unix:{self.work}/registry.socket"}}
registry_server: {{listen: ["unix:{self.work}/registry.socket"]}}
gateway: {{listen: ["127.0.0.1:8000"], inside: "127.0.0.1:7003", redirect: {{services: [endpoints]}}}}
endpoint: {{listen: ["127.0.0.1:8080"], url: "http://127.0.0.1:8080", inside: "127.0.0.1:7004", reserve: 1MiB}}
""")
        self.log = open(self.work / "log", "wb")
        self.up = subprocess.Popen([BIN / "weir", "up", "-c", self.conf], stdout=self.log, stderr=self.log)

    def weir(self, *words, **more):
        return subprocess.run([BIN / "weir", *words, "-c", self.conf], capture_output=True, text=True, **more)

    def registry(self, path, body):
        con = UnixHTTP(str(self.work / "registry.socket"))
        con.request("POST", path, json.dumps(body))
        return json.load(con.getresponse())

    def put(self, key, value):
        b64 = lambda text: base64.b64encode(text.encode()).decode()
        self.registry("/v3/kv/put", {"key": b64(f"/weir/v1/{key}"), "value": b64(json.dumps(value))})

    def read(self, key):
        got = self.registry("/v3/kv/range", {"key": base64.b64encode(f"/weir/v1/{key}".encode()).decode()})
        return json.loads(base64.b64decode(got["kvs"][0]["value"])) if got.get("kvs") else None

    def close(self):
        self.up.terminate()
        try:
            self.up.wait(10)
        except subprocess.TimeoutExpired:
            self.up.kill()
        self.log.close()
        subprocess.run(["umount", "-l", self.work], check=False)
        self.work.rmdir()


def url64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token(key, user, *, bucket="*", prefix="", exact=False, rights="rwdla", ttl=3600, **more):
    """What a gateway signs: lib/token.h."""
    says = {"k": key["kid"], "u": user, "b": bucket, "p": prefix, "x": exact, "r": rights, "e": int(time.time()) + ttl, **more}
    text = "weir1." + url64(json.dumps(says, separators=(",", ":")).encode())
    secret = base64.urlsafe_b64decode(key["secret"] + "=")
    return f"{text}.{url64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def ask(where, method, path, token=None, body=None, headers=None):
    """Status and body; of a stream (events) the status alone."""
    con = http.client.HTTPConnection(*where, timeout=10)
    try:
        con.request(method, path, body, {**({"Authorization": f"Bearer {token}"} if token else {}),
                                         **({"Content-Type": "application/json"} if body and body[0] == "{" else {}), **(headers or {})})
        got = con.getresponse()
        stream = (got.getheader("Content-Type") or "").startswith("text/event-stream")
        return got.status, b"" if stream else got.read()
    finally:
        con.close()


# ---- who ----------------------------------------------------------------------------------------

LOCAL = {"mia": [], "rita": ["readers"], "wanda": ["writers"], "olga": [], "aude": ["auditors"], "stew": ["stewards"],
         "adam": ["admins"], "otto": []}


def set_up(lab):
    """Users and groups as root types them; what gateways write, into the registry."""
    made = [lab.weir("group", "add", name, "--role", role) for name, role in
            (("readers", "member"), ("writers", "member"), ("auditors", "auditor"), ("stewards", "steward"), ("admins", "admin"))]
    for name, groups in LOCAL.items():
        made.append(lab.weir("user", "add", name, "--bucket", f"own-{name}"))
        if groups:
            made.append(lab.weir("user", "groups", name, *groups))
    check(all(m.returncode == 0 for m in made), "groups and users are made by the command line", "".join(m.stderr for m in made))
    listed = json.loads(lab.weir("group", "list", "--json").stdout)
    check({g["name"]: g["role"] for g in listed}["stewards"] == "steward", "weir group list")
    bare = lab.weir("user", "add", "bare", "--rights", "none")
    check(bare.returncode == 0 and lab.read("users/bare")["grants"] == [] and lab.weir("user", "rm", "bare").returncode == 0,
          "a user without rights", bare)
    wrong = lab.weir("user", "groups", "mia", "none-such")
    check(wrong.returncode == 1 and "weir group add none-such" in wrong.stderr, "a group that is not there is refused", wrong.stderr)
    set_password = lab.weir("user", "password", "rita", "--stdin", input="correct horse battery\n")
    record = lab.read("users/rita")["password"]
    check(set_password.returncode == 0 and record["kdf"] == "scrypt" and
          hashlib.scrypt(b"correct horse battery", salt=bytes.fromhex(record["salt"]), n=record["n"], r=record["r"], p=record["p"],
                         maxmem=64 << 20, dklen=32).hex() == record["hash"], "a password is kept as scrypt (RFC 7914)", set_password.stderr)
    check(lab.weir("user", "password", "rita", "--stdin", input="short\n").returncode == 1, "a short password is refused")
    now = int(time.time())
    rules = {"dataset": "sales", "mask_salt": "00" * 32}
    lab.put("datasets/sales", {"name": "sales", "owner": "olga", "readers": ["readers"], "writers": ["writers"], "title": "Sales",
                               "generation": 1, "created": now, "changed": now, "rules": rules})
    lab.put("datasets/other", {"name": "other", "owner": "otto", "readers": [], "writers": [], "title": "",
                               "generation": 1, "created": now, "changed": now, "rules": {**rules, "dataset": "other"}})
    lab.put("people/pat", {"name": "pat", "issuer": "https://id.example", "subject": "1", "email": "pat@example.org",
                           "groups": ["readers"], "first": now, "last": now, "disabled": False, "not_before": 0})
    lab.put("people/gus", {"name": "gus", "disabled": True})
    lab.put("people/una", {"name": "una", "disabled": False, "not_before": now + 60})
    lab.put("ended/00000000000000ee", {"user": "olga", "until": now + 3600})


def tokens_of(lab):
    key = until(lambda: lab.read("signing/first"))
    now = int(time.time())
    person = {"i": now, "v": True, "g": "readers"}
    t = lambda user, **more: make_token(key, user, **more)
    return {
        "nobody": None,
        "member": t("mia"), "reader": t("rita"), "writer": t("wanda"), "owner": t("olga"),
        "auditor": t("aude"), "steward": t("stew"), "admin": t("adam"), "other": t("otto"),
        "person": t("pat", j="0f", **person),
        "writing person": t("pia", **{**person, "g": "writers"}),  # people/ does not know her yet
        "expired": t("olga", ttl=-1),
        "ended": t("olga", i=now, j="00000000000000ee"),
        "disabled person": t("gus", **person),
        "signed out person": t("una", **person),
        "impostor": t("olga", **person),       # a provider's olga is not the table's
        "forged": make_token({**key, "secret": url64(b"x" * 32)}, "adam"),
        "narrow": t("olga", bucket="other"),   # the owner's, for another bucket
        "read only": t("olga", rights="rl"),   # the owner's, who lends it for reading
        "no delete": t("olga", rights="rwl"),  # the owner's, who lends it for writing: it must not remove the dataset
        "by a gateway": t("wanda", bucket="sales", prefix="a.csv", exact=True, rights="rw", w=True),
    }


ROLES = ["nobody", "member", "reader", "writer", "owner", "auditor", "steward", "admin", "other", "person", "writing person",
         "expired", "ended", "disabled person", "signed out person", "impostor", "forged", "narrow", "read only", "no delete",
         "by a gateway"]
# Whose word counts for nothing. "by a gateway": at gateways; endpoints take it.
STRANGERS = {"nobody", "expired", "ended", "disabled person", "signed out person", "impostor", "forged", "by a gateway"}
LIVING = set(ROLES) - STRANGERS
READERS = {"reader", "writer", "owner", "admin", "person", "writing person", "read only", "no delete"}
WRITERS = {"writer", "owner", "admin", "writing person", "no delete"}
OWNERS = {"owner", "admin"}
KEPT = WRITERS | {"read only"}  # what lies under .weir/: who may write, also with a token for reading
NARROW = {"narrow", "read only", "no delete"}
STEWARDS = {"steward", "admin"}
AUDITORS = {"auditor", "steward", "admin"}
LISTERS = {"admin"}  # the state of the whole installation

DENIED = {401, 403, 404}
# A request that gets by is answered for what is wrong with it, so that nothing changes: none of these.
PASSES = {"any": lambda status: status not in DENIED and status < 500}


class Row:
    """One request: who gets by, and what others are told (strangers: 401 unless said otherwise)."""

    def __init__(self, server, method, path, allowed, passes=None, denied=(403,), strangers=(401,), body=None, headers=None, mixed=None, by=None):
        self.server, self.method, self.path, self.allowed = server, method, path, set(allowed)
        self.passes, self.denied, self.strangers = passes, set(denied), set(strangers)
        self.body, self.headers, self.mixed, self.by = body, headers, mixed or {}, by or ROLES

    def fits(self, role, status):
        if role in self.mixed:
            return status in self.mixed[role]
        if role in self.allowed:
            return status in self.passes if self.passes else PASSES["any"](status)
        return status in (self.strangers if role in STRANGERS else self.denied)

    def __str__(self):
        return f"{self.server} {self.method} {self.path}"


TUS = {"Tus-Resumable": "1.0.0"}


def tus(dataset, name, size=10):
    b64 = lambda text: base64.b64encode(text.encode()).decode()
    return {**TUS, "Upload-Length": str(size), "Upload-Metadata": f"dataset {b64(dataset)},filename {b64(name)}"}


def begin_upload(tokens):
    """The writer's, of which no byte has come."""
    con = http.client.HTTPConnection(*GATEWAY)
    con.request("POST", "/_/tus/", headers={"Authorization": f"Bearer {tokens['writer']}", **tus("sales", "u.csv")})
    return con.getresponse().getheader("Location", "").rsplit("/", 1)[-1]


def gateway_rows():
    g = lambda *a, **k: Row("gateway", *a, **k)
    everybody = set(ROLES)
    yield from [
        # objects: a redirect
        g("GET", "/b/sales/a.csv", READERS, {307}),
        g("GET", "/b/sales/", READERS, {307}),
        g("GET", "/b/sales/?prefix=derived/", READERS, {307}),
        g("GET", "/b/sales/?prefix=.weir/", KEPT, {307}),
        g("GET", "/b/sales/.weir/a.csv/manifest.json", KEPT, {307}),
        g("GET", "/b/sales/.weir/a.csv/quarantine.csv", KEPT, {307}),
        g("GET", "/b/other/a.csv", {"other", "admin"}, {307}),
        g("GET", "/b/unknown/a.csv", {"admin"}, {307}),
        g("GET", f"/o/{'a' * 64}", LIVING, {307}),
        # for everybody
        g("GET", "/", everybody, {200}),
        g("GET", "/_/health", everybody, {200}),
        g("GET", "/_/console/console.css", everybody, {200}),
        g("GET", "/_/player", everybody, {200}),
        g("GET", "/_/player/player.js", everybody, {200}),
        g("GET", "/_/player/lib/../player.js", everybody, {400}),
        g("GET", "/_/peers/shim.js", everybody, {200}),
        # the installation
        g("GET", "/_/status", LISTERS, {200}),
        g("GET", "/_/events", LISTERS, {200}),
        g("POST", "/_/token", LISTERS, {200}),  # not longer than the token that asks
        # changes: on conditions that do not hold, and by names that no file may have, so that nothing is made. Who may read knows
        # the dataset, and may be told what is wrong
        g("OPTIONS", "/b/sales/a.csv", everybody, {204}),
        g("PUT", "/b/sales/x.csv", WRITERS, {412}, body="a,b\n1,2\n", headers={"If-Match": '"none"'}),
        g("PUT", "/b/sales/derived/x.csv", WRITERS, {400}, body="a\n1\n", mixed={r: {400, 403} for r in READERS - WRITERS}),
        g("PUT", "/b/sales/.weir/x.csv", WRITERS, {400}, body="a\n1\n", mixed={"read only": {400, 403}}),
        g("PUT", "/b/unknown/x.csv", {"admin"}, {307}, body="a\n1\n"),
        g("DELETE", "/b/sales/none.csv", OWNERS, {404}),
        # sign-on: whoever comes; this installation has no provider
        g("GET", "/_/login/start", everybody, {404}),
        g("GET", "/_/login/callback", everybody, {404}),
        g("POST", "/_/login/password", everybody, {401, 403, 429}, body='{"user":"nobody","password":"wrong"}',
          by=["nobody", "forged"]),  # who tries often waits
        g("POST", "/_/login/device", everybody, {404}, body="{}"),
        g("POST", "/_/login/device/token", everybody, {404}, body='{"handle":"none"}'),
        g("GET", "/_/session", LIVING | {"nobody"}, {200}),
        # tokens of API: by who signed in, not by a token for one thing
        g("GET", "/_/tokens", LIVING - NARROW, {200}),
        g("POST", "/_/tokens", LIVING - NARROW, body='{"ttl":"never"}'),
        g("DELETE", "/_/tokens/0123456789abcdef", LIVING - NARROW, {404}),
        g("GET", "/_/people", LISTERS, {200}),
        g("POST", "/_/people/none-such", LISTERS, body='{"disabled":"maybe"}'),
        g("GET", "/_/audit", LIVING - {"narrow"}, {200}),
        # datasets: what one may not read is not there
        g("GET", "/_/datasets", LIVING, {200}),
        g("POST", "/_/datasets", STEWARDS, {422}, body="dataset: [no name]\n", headers={"Content-Type": "application/yaml"}),
        g("GET", "/_/datasets/sales", READERS, {200}, denied={404}),
        g("GET", "/_/datasets/none-such", set(), denied={404}),
        g("PUT", "/_/datasets/sales", OWNERS | {"no delete"}, {412}, denied={404}, mixed={r: {403} for r in READERS - OWNERS - {"no delete"}},
          body="dataset: sales\n", headers={"Content-Type": "application/yaml", "If-Match": '"99"'}),
        g("PUT", "/_/datasets/none-such", set(), denied={404}, body="title: no\n", headers={"Content-Type": "application/yaml"}),
        g("DELETE", "/_/datasets/sales", OWNERS, {409}, denied={404}, mixed={r: {403} for r in READERS - OWNERS}),
        g("GET", "/_/datasets/sales/files", READERS, {200}, denied={404}),
        g("GET", "/_/datasets/sales/files/none.csv", READERS, {404}, denied={404}),
        g("GET", "/_/datasets/other/files", {"other", "admin"}, {200}, denied={404}),
        g("POST", "/_/datasets/sales/replace/none.csv?rows=1-1", WRITERS, {404}, denied={404}, mixed={r: {403} for r in READERS - WRITERS},
          body="1,2\n"),
        g("GET", "/_/catalogue", LIVING, {200}),
        g("POST", "/_/preview", STEWARDS | {"owner", "other", "no delete"}, {200, 422}, body='{"rules":"title: x","sample":""}'),
        # uploads
        g("OPTIONS", "/_/tus/", everybody, {204}),
        g("POST", "/_/tus/", WRITERS, {413}, denied={404}, mixed={r: {403} for r in READERS - WRITERS}, headers=tus("sales", "x.csv", 1 << 60)),
        g("OPTIONS", "/_/tus/UPLOAD", everybody, {204}),
        g("HEAD", "/_/tus/UPLOAD", {"writer", *STEWARDS}, {200}, denied={404}, headers=TUS),
        g("GET", "/_/tus/UPLOAD", {"writer", *STEWARDS}, {200}, denied={404}, headers=TUS),
        g("PATCH", "/_/tus/UPLOAD", {"writer", "admin"}, {409}, denied={404}, body="x",
          headers={**TUS, "Upload-Offset": "7", "Content-Type": "application/offset+octet-stream"}),
        g("POST", "/_/tus/UPLOAD", {"writer", "admin"}, {409}, denied={404}, body="x",
          headers={**TUS, "X-HTTP-Method-Override": "PATCH", "Upload-Offset": "7", "Content-Type": "application/offset+octet-stream"}),
        g("GET", "/_/uploads", LIVING, {200}),
        g("GET", "/_/uploads/UPLOAD", {"writer", *STEWARDS}, {200}, denied={404}),
        g("GET", "/_/uploads/UPLOAD/events", {"writer", *STEWARDS}, {200}, denied={404}),
        g("POST", "/_/uploads/UPLOAD/replace?rows=1-1", {"writer", "admin"}, {409}, denied={404}, body="1,2\n"),
        g("GET", "/_/uploads/0123456789abcdef", set(), denied={404}),
        g("POST", "/_/upload/sales", WRITERS, {400, 415}, denied={404}, mixed={r: {403} for r in READERS - WRITERS}, body="no form"),
        # viewers: a session is for who may read the asset; its token alone opens the rest
        g("POST", "/_/peers/session", READERS, {200}, body='{"bucket":"sales","asset":"film"}'),
        g("POST", "/_/peers/session", KEPT, {200}, body='{"bucket":"sales","asset":".weir/film"}'),
        g("POST", "/_/peers/session", {"other", "admin"}, {200}, body='{"bucket":"other","asset":"film"}'),
        g("OPTIONS", "/_/peers/session", everybody, {204}),
        g("GET", "/_/tracker", set(), denied={401}),
        g("GET", "/_/peers/events", set(), denied={401}),
        g("POST", "/_/peers/report", set(), denied={401}, body="{}"),
        g("OPTIONS", "/_/peers/report", set(), denied={401}),
        g("GET", "/_/peers", LISTERS, {200}),
        g("GET", "/_/peers/groups?asset=sales/film", LISTERS, {200}),
        g("GET", "/_/peers/top", LISTERS, {200}),
        g("POST", "/_/peers/switch", LISTERS, {400}, body='{"asset":"sales/film","mode":"maybe"}'),
        # buckets: who may list sees one, who owns it (a dataset's: the dataset's owner) changes it
        g("GET", "/_/buckets", LIVING, {200}),
        g("GET", "/_/buckets/sales", READERS, {200}),
        g("POST", "/_/buckets/sales", OWNERS | {"no delete"}, {400}, body="{}"),
        g("GET", "/_/buckets/sales/objects", READERS, {200}),
        g("GET", "/_/buckets/other/objects", {"other", "admin"}, {200, 404}),
        g("GET", "/_/keys", LIVING - NARROW, {200}),
        g("GET", "/_/keys?all=1", {"admin"}, {200}),
        # what is there to play: each hears of what they may read
        g("GET", "/_/media", LIVING | {"nobody"}, {200}),
        g("POST", "/_/media/sales/film", WRITERS, {400}, body="{}"),
    ]


def last_rows():
    """What ends uploads and tokens: who may comes last."""
    by = [r for r in ROLES if r not in ("writer", "admin", "steward")] + ["writer"]
    yield Row("gateway", "DELETE", "/_/tus/UPLOAD", {"writer"}, {204}, denied={404}, headers=TUS, by=by)
    yield Row("gateway", "DELETE", "/_/uploads/UPLOAD", {"writer"}, {200, 204}, denied={404}, by=by)
    yield Row("gateway", "POST", "/_/logout", LIVING, {200}, mixed={"nobody": {200, 401}})


def endpoint_rows():
    e = lambda *a, **k: Row("endpoint", *a, **k)
    via = "by a gateway"
    yield from [
        e("PUT", "/b/sales/a.csv", {via}, {200, 201}, body="a,b\n1,2\n"),
        e("PUT", "/b/sales/b.csv", set(), body="no"),
        e("PUT", "/b/sales/.weir/a.csv/manifest.json", set(), body="no"),
        e("PUT", "/b/unknown/b.csv", {"admin"}, {200, 201}, body="a plain bucket", mixed={via: {403}}),
        e("OPTIONS", "/b/sales/a.csv", set(ROLES), {204}),
        e("GET", "/b/sales/a.csv", READERS | {via}, {200}),
        e("GET", "/b/sales/none.csv", READERS, {404}, mixed={via: {403}}),
        e("GET", "/b/sales/", READERS, {200}, mixed={via: {403}}),
        e("GET", "/b/sales", READERS, {200}, mixed={via: {403}}),
        e("GET", "/b/sales/?prefix=.weir/", KEPT, {200}, mixed={via: {403}}),
        e("GET", "/b/sales/.weir/a.csv/manifest.json", KEPT, {200}, mixed={via: {403}}),
        e("GET", "/b/other/none.csv", {"other", "admin"}, {404}, mixed={via: {403}}),
        e("DELETE", "/b/sales/a.csv", set(), mixed={via: {403}}),
        e("DELETE", "/b/other/none.csv", set(), mixed={via: {403}}),
        e("GET", "/o/SHA", READERS | {via}, {200}, denied={404}),
        e("GET", "/_/health", set(ROLES), {200}),
    ]


# ---- the matrix ---------------------------------------------------------------------------------

def routes_of(program):
    got = subprocess.run([BIN / program, "--routes"], capture_output=True, text=True, check=True).stdout.split("\n")
    # S3's requests are told by their signature or path (rights_s3.py)
    return [tuple(line.split(" ", 1)) for line in got if line and not line.endswith(" s3")]


def matches(pattern, path):
    """As lib/httpd does: ':' one part, '*' the rest."""
    wanted, got = pattern.split("/")[1:], path.split("?")[0].split("/")[1:]
    for i, part in enumerate(wanted):
        if part.startswith("*"):
            return len(got) > i
        if len(got) <= i or not (part == got[i] or (part.startswith(":") and got[i])):
            return False
    return len(got) == len(wanted)


def route_of(routes, row):
    return next((r for r in routes if r[0] == row.method and matches(r[1], row.path)), None)


def run_row(row, tokens, where, sha, upload):
    """Every role once; what does not fit."""
    wrong, line = [], []
    for role in row.by:
        strange = row.server == "endpoint" and role == "by a gateway" and role not in row.mixed and role not in row.allowed
        status, body = ask(where, row.method, row.path.replace("SHA", sha).replace("UPLOAD", upload), tokens[role], row.body, row.headers)
        fits = status in row.denied if strange else row.fits(role, status)
        line.append(f"{status}{'' if fits else '!'}")
        if not fits:
            wrong.append(f"{role}: {status} {body[:160]!r}")
    if VERBOSE:
        print(f"# {str(row):60} {' '.join(line)}")
    return wrong


def run_rows(rows, tokens, sha, upload):
    for row in rows:
        wrong = run_row(row, tokens, GATEWAY if row.server == "gateway" else ENDPOINT, sha, upload)
        check(not wrong, str(row), "\n".join(wrong))
    return sum(len(row.by) for row in rows)


def check_rows(program, rows):
    """Every route has a row, every row a route."""
    routes = routes_of(program)
    found = {str(row): route_of(routes, row) for row in rows}
    missing = [f"{m} {p}" for m, p in routes if (m, p) not in found.values()]
    check(not missing, f"every route of {program} has a row", "\n".join(missing))
    check(all(found.values()), f"and every row a route of {program}", "\n".join(r for r, route in found.items() if not route))


# ---- beside the matrix --------------------------------------------------------------------------

def more(lab, tokens):
    status, body = ask(ENDPOINT, "PUT", "/b/sales/b.csv", tokens["owner"], "x")
    said = json.loads(body)
    check(status == 403 and said["error"] == "dataset" and "gateway" in said["message"], "an owner is sent to a gateway", body)
    status, body = ask(ENDPOINT, "PUT", "/b/sales/b.csv", tokens["other"], "x")
    check(status == 403 and json.loads(body)["error"] == "forbidden", "who may not write is not told that it is a dataset", body)
    keys = lambda role: [o["key"] for o in json.loads(ask(ENDPOINT, "GET", "/b/sales/", tokens[role])[1])["objects"]]
    check(keys("reader") == ["a.csv"], "readers do not see what the dataset keeps", keys("reader"))
    check(".weir/a.csv/manifest.json" in keys("writer"), "writers do", keys("writer"))
    page = json.loads(ask(ENDPOINT, "GET", "/b/sales/?limit=1", tokens["reader"])[1])
    check(page["objects"] == [] and page["next"], "a page of hidden keys goes on", page)
    # a token for keys below q/ is not led out of there by dots
    below = make_token(lab.read("signing/first"), "olga", bucket="sales", prefix="q/", rights="rwd")
    there = lambda: ask(ENDPOINT, "GET", "/b/sales/a.csv", tokens["owner"])[0]
    got = [ask(GATEWAY, "DELETE", f"/b/sales/q/{dots}/a.csv", below)[0] for dots in ("..", "%2e%2e", "./..", "x/../..")]
    check(set(got) <= DENIED | {400} and there() == 200, "a token for keys below q/ deletes nothing beside them", got)
    got = [ask(GATEWAY, "DELETE", f"/b/sales/{key}", tokens["owner"])[0] for key in (".weir/a.csv/manifest.json", "x/../.weir/a.csv/manifest.json")]
    kept = ask(ENDPOINT, "GET", "/b/sales/.weir/a.csv/manifest.json", tokens["writer"])[0]
    check(set(got) <= DENIED | {400} and kept == 200, "what a dataset keeps is not deleted by its name", [got, kept])
    # a public bucket does not become a dataset that everybody reads
    lab.put("buckets/open-house", {"name": "open-house", "public": True})
    make = lambda: ask(GATEWAY, "POST", "/_/datasets?name=open-house", tokens["steward"], "title: open\n", {"Content-Type": "application/yaml"})[0]
    check(until(lambda: ask(GATEWAY, "GET", "/b/open-house/x")[0] == 307) and make() == 409, "a public bucket's name is taken")
    # a redirect carries the person's groups and id: the endpoint asks again
    con = http.client.HTTPConnection(*GATEWAY)
    con.request("GET", "/b/sales/a.csv", headers={"Authorization": f"Bearer {tokens['person']}"})
    to = con.getresponse().getheader("Location")
    path = to.removeprefix("http://127.0.0.1:8080")
    check(ask(ENDPOINT, "GET", path)[0] == 200, "a person's redirect leads to the object")
    lab.put("ended/0f", {"user": "pat", "until": int(time.time()) + 600})
    check(until(lambda: ask(ENDPOINT, "GET", path)[0] == 401), "and to nothing when the sign-in was ended")
    check(until(lambda: ask(GATEWAY, "GET", "/b/sales/a.csv", tokens["person"])[0] == 401), "nor at the gateway")


def audit(tokens):
    """What happened stands in the logs of gateway and endpoint."""
    lines = lambda where, who, query="": json.loads(ask(where, "GET", f"/_/audit?max=1000{query}", tokens[who])[1])
    inside = ("127.0.0.1", 7004)
    has = lambda rows, **want: any(all(r.get(k) == v for k, v in want.items()) for r in rows)
    gateway, endpoint = lines(INSIDE, "auditor"), lines(inside, "auditor")
    check(has(gateway, who="olga", what="download", on="sales/a.csv", result="ok"), "the gateway's log has the download")
    check(has(gateway, who="otto", what="download", on="sales/a.csv", result="denied"), "and the refusal")
    check(has(endpoint, who="olga", what="object.get", on="sales/a.csv", result="ok", bytes=8), "the endpoint's log has the bytes")
    check(not has(endpoint, what="object.put", result="ok") and has(endpoint, who="wanda", what="object.get", result="denied"),
          "what a gateway does for somebody is in the gateway's alone, unless it is refused")
    check(has(endpoint, who="olga", what="object.put", result="denied", why="not through a gateway"), "and who was sent to a gateway")
    check(not any(r["who"] == "" for r in gateway + endpoint), "strangers who are refused do not fill it")
    own = lines(inside, "reader")
    check(own and all(r["who"] == "rita" for r in own), "others see their own lines")
    check("weir1." not in json.dumps(gateway + endpoint), "no token stands there")


def command_line(lab):
    """A person at a terminal: in, who, data, out."""
    home = lab.work / "home"
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")} | {"HOME": str(home), "WEIR_CONFIG": "/nonexistent"}
    env.pop("XDG_CONFIG_HOME", None)
    weir = lambda *words, **more: subprocess.run([BIN / "weir", *words], capture_output=True, text=True, env=env, cwd=lab.work, **more)
    says = lambda got, code, text: got.returncode == code and text in got.stdout + got.stderr
    got = weir("whoami", "--url", "http://127.0.0.1:8000")
    check(says(got, 1, "weir login http://127.0.0.1:8000"), "who is not signed in is told how", got)
    got = weir("login", "http://127.0.0.1:8000", "--user", "rita", "--stdin", input="wrong horse battery\n")
    check(got.returncode == 1 and "password is wrong" in got.stderr and not (home / ".config/weir/login.json").exists(), "a wrong password signs nobody in", got)
    got = weir("login", "http://127.0.0.1:8000/", "--stdin", "--user", "rita", input="correct horse battery\n")
    check(says(got, 0, "signed in at http://127.0.0.1:8000 as rita"), "weir login", got)
    kept = home / ".config/weir/login.json"
    check(kept.stat().st_mode & 0o777 == 0o600 and json.loads(kept.read_text())["user"] == "rita", "the login is its owner's alone")
    got = weir("whoami")
    check(says(got, 0, "rita at http://127.0.0.1:8000") and "readers" in got.stdout, "weir whoami", got)
    got = weir("whoami", "--json")
    check(got.returncode == 0 and json.loads(got.stdout)["role"] == "member", "weir whoami --json", got)
    got = weir("ls", "sales")
    check(says(got, 0, "a.csv"), "weir ls goes by the login", got)
    got = weir("get", "sales/a.csv", "-")
    check(got.stdout == "a,b\n1,2\n", "weir get too", got)
    got = weir("ls", "other")
    check(says(got, 1, "has not the right l"), "what rita may not read is refused", got)
    got = weir("audit", "--json", "--since", "1h")
    check(got.returncode == 0 and json.loads(got.stdout) and {r["who"] for r in json.loads(got.stdout)} == {"rita"}, "weir audit: her own lines", got)
    token = json.loads(kept.read_text())["token"]
    got = weir("whoami", "--url", "http://127.0.0.1:8001")
    check(says(got, 1, "not signed in at http://127.0.0.1:8001"), "the login's token goes to its gateway alone", got)
    got = weir("logout")
    check(says(got, 0, "signed out") and not kept.exists(), "weir logout", got)
    check(until(lambda: ask(GATEWAY, "GET", "/_/session", token)[0] == 401), "its token is refused from then on")
    got = weir("logout")
    check(says(got, 1, "not signed in"), "once is enough", got)
    got = weir("login", "ftp://x")
    check(got.returncode == 2, "another kind of URL is wrong use", got)
    (lab.work / "t.csv").write_text("a\n1\n")
    got = weir("dataset", "check", "-", "t.csv", "--json")
    check(got.returncode == 0 and json.loads(got.stdout)["result"]["verdict"] == "accepted", "weir dataset check, without a gateway", got)


def dataset_commands(lab, tokens):
    """weir dataset, as a steward who makes one and its owner types it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    env |= {"HOME": str(lab.work), "WEIR_CONFIG": "/nonexistent", "WEIR_URL": "http://127.0.0.1:8000"}

    def weir(who, *words, **more):
        return subprocess.run([BIN / "weir", *words], capture_output=True, text=True, env={**env, "WEIR_TOKEN": tokens[who]}, cwd=lab.work, **more)

    def says(got, code, text):
        return got.returncode == code and text in got.stdout + got.stderr
    rules = "owner: olga\nreaders: [readers]\ncolumns:\n  - {name: a, type: integer, required: yes}\n"
    (lab.work / "cars.yaml").write_text(rules)
    (lab.work / "bad.yaml").write_text("columns:\n  - {name: a, type: number of things}\n")
    got = weir("steward", "dataset", "create", "cars", "bad.yaml")
    check(got.returncode == 1 and "bad.yaml:2" in got.stderr, "faults of rules are told with file and line", got)
    got = weir("steward", "dataset", "create", "cars", "cars.yaml")
    check(says(got, 0, "cars: made, generation 1"), "weir dataset create", got)
    got = weir("steward", "dataset", "create", "cars", "cars.yaml")
    check(says(got, 1, "409"), "once", got)
    got = weir("owner", "dataset", "create", "trains")
    check(says(got, 1, "needs the role steward"), "an owner is no steward", got)
    got = weir("reader", "dataset", "list", "--json")
    check(got.returncode == 0 and {d["name"] for d in json.loads(got.stdout)["datasets"]} == {"sales", "cars"}, "weir dataset list", got)
    got = weir("reader", "dataset", "list")
    check(says(got, 0, "cars") and "read" in got.stdout, "as a table", got)
    got = weir("owner", "dataset", "show", "cars")
    check(says(got, 0, "required") and "integer" in got.stdout and "readers" in got.stdout, "weir dataset show", got)
    got = weir("other", "dataset", "show", "cars")
    check(says(got, 1, "there is no dataset"), "what one may not read is not there", got)
    got = weir("owner", "dataset", "rules", "cars")
    check(got.returncode == 0 and "type: integer" in got.stdout, "weir dataset rules", got)
    got = weir("owner", "dataset", "set", "cars", "-", input=rules.replace("integer", "number"))
    check(says(got, 0, "generation 2"), "weir dataset set, from standard input", got)
    got = weir("owner", "dataset", "set", "cars", "cars.yaml", "--generation", "1")
    check(says(got, 1, "412"), "a change by another is not undone", got)
    got = weir("reader", "dataset", "set", "cars", "cars.yaml")
    check(got.returncode == 1, "readers change nothing", got)
    (lab.work / "x.csv").write_text("a\n1\n2\n")
    (lab.work / "y.csv").write_text("a\nnone\n2\n")
    got = weir("owner", "put", "x.csv", "cars/")
    check(got.returncode == 0, "weir put brings a file to a dataset", got)
    got = weir("owner", "put", "y.csv", "cars/")
    check(says(got, 1, "422"), "and says when it is rejected", got)
    got = weir("reader", "dataset", "files", "cars")
    check(says(got, 0, "x.csv"), "weir dataset files", got)
    got = weir("owner", "dataset", "files", "cars", "x.csv")
    lines = got.stdout.split("\n")
    check(got.returncode == 0 and lines[0].startswith("x.csv  version 1, 6 B") and any(l.split()[:5] == ["a", "number", "2", "0", "2"] for l in lines),
          "and what one is, with its columns", got.stdout)
    got = weir("owner", "dataset", "files", "cars", "x.csv", "--json")
    check(got.returncode == 0 and json.loads(got.stdout)["rows"] == 2 and not re.search(r"\.\d{16}", got.stdout), "all that is known as JSON", got)
    got = weir("reader", "catalogue")
    check(says(got, 0, "x.csv"), "weir catalogue", got)
    got = weir("reader", "get", "cars/x.csv", "-")
    check(got.stdout == "a\n1\n2\n", "a reader gets it", got)
    got = weir("auditor", "audit", "--on", "cars/", "--json")
    seen = {(r["role"], r["what"]) for r in json.loads(got.stdout or "[]")}
    check(got.returncode == 0 and seen == {("gateway", "upload"), ("gateway", "download"), ("endpoint", "object.get")},
          "weir audit: gateway's and endpoint's lines; what a gateway stores for an upload is one line", got)
    got = weir("auditor", "audit", "--who", "olga", "--max", "3")
    check(says(got, 0, "olga") and len(got.stdout.splitlines()) == 4, "as a table", got)
    got = weir("owner", "dataset", "check", "cars.yaml", "y.csv")
    check(says(got, 1, "rejected") and "none" in got.stdout, "weir dataset check tells what is wrong", got)
    got = weir("owner", "dataset", "remove", "cars")
    check(says(got, 1, "--force") or says(got, 1, "force"), "a dataset with files stays", got)
    got = weir("owner", "dataset", "remove", "cars", "--force")
    check(says(got, 0, "removed"), "weir dataset remove --force", got)


def main():
    enter("unshare", "ip")
    lab = Lab()
    try:
        check(until(lambda: ready(lab)), "registry, gateway and endpoint run", (lab.work / "log").read_text())
        set_up(lab)
        tokens = tokens_of(lab)
        key = lab.read("signing/first")
        check(until(lambda: ask(GATEWAY, "GET", "/b/sales/a.csv", tokens["person"])[0] == 307 and
                    ask(ENDPOINT, "GET", "/b/sales/none", tokens["reader"])[0] == 404), "both know all of it")
        via = make_token(key, "wanda", bucket="sales", prefix=".weir/a.csv/manifest.json", exact=True, rights="w", w=True)
        ask(ENDPOINT, "PUT", "/b/sales/.weir/a.csv/manifest.json", via, "{}")
        gateway, endpoint, last = list(gateway_rows()), list(endpoint_rows()), list(last_rows())
        check_rows("weir-gateway", gateway + last)
        check_rows("weir-endpoint", endpoint)
        sha = hashlib.sha256(b"a,b\n1,2\n").hexdigest()
        upload = begin_upload(tokens)
        check(upload, "a writer begins an upload")
        asked = run_rows(gateway + endpoint, tokens, sha, upload)
        audit(tokens)
        more(lab, tokens)
        dataset_commands(lab, tokens)
        tokens["person"] = make_token(key, "pat", i=int(time.time()), v=True, g="readers", j="0e")
        asked += run_rows(last[:1], tokens, sha, upload) + run_rows(last[1:], tokens, sha, begin_upload(tokens))
        check(until(lambda: ask(GATEWAY, "GET", "/_/session", tokens["person"])[0] == 401), "who signed out is nobody")
        command_line(lab)
        asked += rights_s3(lab, GATEWAY, ENDPOINT, ask, tokens["admin"])
        log = (lab.work / "log").read_text(errors="replace")
        check("Sanitizer" not in log and "runtime error" not in log, "the daemons' log has no fault", log[-4000:])
        print(f"# {asked} requests by {len(ROLES)} roles")
    finally:
        lab.close()
    finish()


def ready(lab):
    try:
        return lab.read("members/endpoint/one") and ask(GATEWAY, "GET", "/_/health")[0] == 200 and ask(ENDPOINT, "GET", "/_/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    main()
