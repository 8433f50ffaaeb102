#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PUT and forms into a dataset: accepted, rejected, set aside in quarantine; parts replaced; versions, conditions and two
uploads of one file at once; downloads by right, deletes, the audit log; endpoints that are away while a file is stored, a
gateway that is killed then, and a spool on a disk that is full."""
from upload_lib import *

RULES = """columns:
  - {name: id, type: integer, required: true, unique: true}
  - {name: city, type: string}
  - {name: amount, type: number, minimum: 0}
readers: [reading]
writers: [writing]
keep_versions: 2
"""
QUARANTINE = RULES.replace("keep_versions: 2", "tolerance: {on_fault: quarantine}")
OUTPUTS = """columns:
  - {name: id, type: integer}
  - {name: city, type: string}
transform:
  - {output: "cities-{value}.jsonl", format: jsonl, split: city}
  - {output: all.csv}
"""


def rows(n, bad=()):
    return b"id,city,amount\n" + b"".join(b"%d,%s,%s\n" % (i, b"Rome" if i % 2 else b"Oslo", b"-1" if i in bad else b"%d.5" % i)
                                          for i in range(n))


def keys(lab, dataset, prefix=""):
    """As the owner sees them; redirects of a list carry less."""
    got = lab.req("GET", f"/b/{dataset}/?prefix={prefix}&limit=1000", "ada", port=lab.port["ep0"]).json
    return sorted(o["key"] for o in got.get("objects", []))


def puts(lab):
    a = lab.req("PUT", "/b/sales/a.csv", "wim", rows(10))
    check(a.status == 201 and a.json["version"] == 1 and a.json["rows"] == 10 and a.json["upload"], "PUT by a writer: 201 and the result", a)
    check(lab.get("rita", "/b/sales/a.csv").body == rows(10), "a reader gets it as it came")
    check(lab.req("PUT", "/b/sales/a.csv", "rita", rows(1)).status == 403, "a reader may not write: 403")
    check(lab.req("PUT", "/b/sales/a.csv", "bob", rows(1)).status == 403, "to who may not read it looks like any bucket: 403")
    check(lab.get("bob", "/b/sales/a.csv").status in (403, 404) and lab.get("bob", "/_/datasets/sales").status == 404, "bob gets nothing of it")
    bad = lab.req("PUT", "/b/sales/a.csv", "wim", rows(100, bad={50}))
    f = bad.json.get("findings", [{}])
    check(bad.status == 422 and bad.json["error"] == "rejected" and f[0].get("row") == 51 and f[0].get("column") == "amount" and
          f[0].get("rule") == "minimum" and f[0].get("value") == "-1" and f[0].get("mend"), "a fault: 422 with row, column, rule, value", bad)
    check(lab.get("ada", "/b/sales/a.csv").body == rows(10), "and nothing was changed")
    check(lab.req("PUT", "/b/sales/a.csv", "ada", rows(3), {"If-None-Match": "*"}).status == 412, "If-None-Match: * of a file that is there: 412")
    etag = lab.get("ada", "/b/sales/a.csv").headers["etag"]
    check(lab.req("PUT", "/b/sales/a.csv", "ada", rows(3), {"If-Match": '"other"'}).status == 412, "If-Match of another: 412")
    b = lab.req("PUT", "/b/sales/a.csv", "ada", rows(20), {"If-Match": etag})
    check(b.status == 200 and b.json["version"] == 2, "If-Match of this one: 200, version 2", b)
    chunked = lab.req("PUT", "/b/sales/sub/b.csv", "ada", iter([rows(5)[:20], rows(5)[20:]]))
    check(chunked.status == 201 and lab.get("ada", "/b/sales/sub/b.csv").body == rows(5), "chunked", chunked)
    (lab.work / "x.csv").write_bytes(rows(50000))
    curl = subprocess.run(["curl", "-s", "-T", lab.work / "x.csv", "-H", "Expect: 100-continue", "-H", f"Authorization: Bearer {lab.token['ada']}",
                           "-w", "%{http_code}", "-o", "/dev/null", f"http://127.0.0.1:{lab.port['gw0']}/b/sales/x.csv"], capture_output=True, text=True)
    check(curl.stdout == "201", "curl -T with Expect: 100-continue, without a redirect", curl)
    return bad.json["upload"]


def replacing(lab, rejected):
    bad = rows(100, bad={50})
    line = b"50,Oslo,50.5\n"
    check(lab.req("POST", f"/_/uploads/{rejected}/replace?rows=51-51", "bob", line).status == 404, "bob may not mend wim's upload")
    check(lab.req("POST", f"/_/uploads/{rejected}/replace?rows=200-201", "wim", line).status == 416, "rows that are not there: 416")
    check(lab.req("POST", f"/_/uploads/{rejected}/replace", "wim", line).status == 400, "no range: 400")
    made = lab.req("POST", f"/_/uploads/{rejected}/replace?rows=51", "wim", line)
    check(made.status == 201 and made.json.get("id"), "one row is sent again: a new upload", made)
    end = Upload(lab, "wim", "/" + made.json["id"]).end()
    check(end["state"] == "accepted" and end["version"] == 3 and lab.get("ada", "/b/sales/a.csv").body == rows(100),
          "the whole is checked and stored", json.dumps(end)[:600])
    first = bad.index(b"50,Oslo")
    made = lab.req("POST", f"/_/uploads/{rejected}/replace?bytes={first}-{first + len(b'50,Oslo,-1') - 1}", "wim", b"50,Oslo,50.5")
    end = Upload(lab, "wim", "/" + made.json["id"]).end()
    check(end["state"] == "accepted" and end["version"] == 4, "by bytes", json.dumps(end)[:600])
    made = lab.req("POST", "/_/datasets/sales/replace/a.csv?rows=1-2", "ada", b"100,Bern,1\n")
    end = Upload(lab, "ada", "/" + made.json["id"]).end()
    body = lab.get("ada", "/b/sales/a.csv").body
    check(end["state"] == "accepted" and end["version"] == 5 and body.startswith(b"id,city,amount\n100,Bern,1\n2,Oslo"), "of an accepted file: its next version",
          (made, json.dumps(end)[:600], body[:80]))
    m = lab.get("ada", "/_/datasets/sales/files/a.csv").json
    check(m["version"] == 5 and m["lineage"]["replaced"]["version"] == 4, "its lineage says what was replaced", json.dumps(m)[:600])
    check(keys(lab, "sales", ".weir/a.csv/versions/") == [f".weir/a.csv/versions/{v}/a.csv" for v in (3, 4)], "two earlier versions are kept",
          keys(lab, "sales", ".weir/a.csv/"))
    check(lab.get("ada", "/b/sales/.weir/a.csv/versions/4/a.csv").body == rows(100), "as they were")
    check(lab.get("rita", "/b/sales/.weir/a.csv/manifest.json").status in (403, 404), "readers do not see what is below .weir")


def forms(lab):
    def form(user, name, data, csrf=None, accept="application/json", path="/_/upload/sales", cookie=None):
        body = b"--XyZ\r\n"
        if csrf is not None:
            body += b'Content-Disposition: form-data; name="csrf"\r\n\r\n' + csrf.encode() + b"\r\n--XyZ\r\n"
        body += (f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n').encode() + data + b"\r\n--XyZ--\r\n"
        head = {"Content-Type": "multipart/form-data; boundary=XyZ", "Accept": accept}
        if cookie:
            head["Cookie"] = f"weir={cookie}"
        return lab.req("POST", path, user, body, head)

    a = form("ada", "C:\\\\dir\\\\form.csv", rows(7))
    check(a.status == 201 and a.json["file"] == "form.csv" and lab.get("ada", "/b/sales/form.csv").body == rows(7), "a form: stored under its last name", a)
    page = form("ada", "page.csv", rows(7), accept="text/html,*/*")
    check(page.status == 303 and "/#/uploads/" in page.headers["location"], "a browser goes to the upload's page", page)
    check(form("ada", "../x/..", rows(1)).status == 400, "a name that is no name: 400")
    check(form("rita", "r.csv", rows(1)).status == 403 and form("bob", "r.csv", rows(1)).status == 404, "by right alone")
    token = lab.token["ada"]
    check(form(None, "c.csv", rows(1), cookie=token).status == 403 and form(None, "c.csv", rows(1), csrf="0" * 64, cookie=token).status == 403,
          "by cookie without the word, or with a wrong one: 403")
    csrf = lab.req("GET", "/_/session", None, None, {"Cookie": f"weir={token}"}).json.get("csrf")
    check(form(None, "c.csv", rows(3), csrf=csrf or "", cookie=token).status == 201, "with it: 201", csrf)


def quarantine(lab):
    lab.dataset("loose", QUARANTINE)
    a = lab.req("PUT", "/b/loose/a.csv", "ada", rows(20, bad={3, 4}))
    check(a.status == 201 and a.json["counts"]["quarantine"] == 2, "rows with faults are set aside", a)
    q = lab.get("ada", "/b/loose/.weir/a.csv/quarantine.csv")
    check(q.status == 200 and b"3,Rome,-1" in q.body and b"5,Rome" not in q.body, "into a file", q)
    lab.req("PUT", "/b/loose/a.csv", "ada", rows(20))
    check(".weir/a.csv/quarantine.csv" not in keys(lab, "loose", ".weir/"), "which goes with a version that has none", keys(lab, "loose", ".weir/"))


def outputs(lab):
    lab.dataset("out", OUTPUTS)
    a = lab.req("PUT", "/b/out/t.csv", "ada", b"id,city\n1,Rome\n2,Oslo\n")
    m = lab.get("ada", "/_/datasets/out/files/t.csv").json
    names = sorted(o["name"] for o in m.get("outputs", []))
    check(names == ["all.csv", "cities-Oslo.jsonl", "cities-Rome.jsonl"], "outputs stand in the manifest", (a, m))
    check(lab.get("ada", "/b/out/derived/t.csv/cities-Rome.jsonl").json == {"id": 1, "city": "Rome"}, "and are objects",
          lab.get("ada", "/b/out/derived/t.csv/cities-Rome.jsonl"))
    lab.req("PUT", "/b/out/t.csv", "ada", b"id,city\n1,Bern\n")
    check(keys(lab, "out", "derived/") == ["derived/t.csv/all.csv", "derived/t.csv/cities-Bern.jsonl"], "those of the version before are gone",
          keys(lab, "out", "derived/"))
    c = next(d for d in lab.get("ada", "/_/catalogue").json["datasets"] if d["name"] == "out")
    check(c["files"][0]["rows"] == 1 and len(c["files"][0]["outputs"]) == 2, "the catalogue has both", c)


def references(lab):
    lab.dataset("towns", "columns:\n  - {name: name, type: string, unique: true}\n")
    lab.dataset("visits", "columns:\n  - {name: town, type: string, references: {dataset: towns, column: name}}\n")
    lab.req("PUT", "/b/towns/a.csv", "ada", b"name\nRome\n")
    lab.req("PUT", "/b/towns/b.csv", "ada", b"name\nOslo\n")
    good = lab.req("PUT", "/b/visits/v.csv", "ada", b"town\nOslo\nRome\n")
    bad = lab.req("PUT", "/b/visits/w.csv", "ada", b"town\nOslo\nBern\n")
    check(good.status == 201, "references into the union of the other dataset's files hold", good)
    check(bad.status == 422 and bad.json["findings"][0]["rule"] == "reference" and bad.json["findings"][0]["row"] == 2, "and one that does not is told", bad)


def at_once(lab):
    results = []
    body = [rows(2000 + i) for i in range(6)]
    threads = [threading.Thread(target=lambda i=i: results.append(lab.req("PUT", "/b/sales/race.csv", "ada", body[i], gateway=i % 2))) for i in range(6)]
    [t.start() for t in threads], [t.join() for t in threads]
    check(sorted(r.json.get("version") for r in results) == [1, 2, 3, 4, 5, 6], "six uploads of one file at two gateways are six versions, none lost",
          [(r.status, r.json.get("version"), r.json.get("why")) for r in results])
    last = next(r for r in results if r.json.get("version") == 6)
    m = lab.get("ada", "/_/datasets/sales/files/race.csv").json
    check(m["version"] == 6 and m["rows"] == last.json["rows"] and len(lab.get("ada", "/b/sales/race.csv").body) == m["size"], "the last one is there", m)


def deleting(lab):
    check(lab.req("DELETE", "/b/sales/race.csv", "wim").status == 403, "files are the owner's to delete: 403")
    check(lab.req("DELETE", "/b/sales/race.csv", "ada").status == 204 and lab.get("ada", "/b/sales/race.csv").status == 404, "DELETE: 204")
    check(not [k for k in keys(lab, "sales") if "race" in k], "nothing stays of it", keys(lab, "sales"))
    check(lab.req("DELETE", "/_/datasets/out", "ada").status == 409, "a dataset with files is not removed: 409")
    check(lab.req("DELETE", "/_/datasets/out?force=1", "rita").status == 404, "nor by others")
    check(lab.req("DELETE", "/_/datasets/out?force=1", "ada").status == 204 and lab.get("ada", "/_/datasets/out").status == 404, "with force it is")
    lines = [(l["who"], l["what"], l["on"], l["result"]) for l in lab.get("audrey", "/_/audit?max=1000").json.get("lines", [])]
    for want in (("wim", "upload", "sales/a.csv", "ok"), ("rita", "upload", "sales/a.csv", "denied"), ("rita", "download", "sales/a.csv", "ok"),
                 ("wim", "upload", "sales/a.csv", "failed"), ("wim", "replace", "sales/a.csv", "ok"), ("ada", "delete", "sales/race.csv", "ok"),
                 ("wim", "delete", "sales/race.csv", "denied"), ("ada", "dataset.create", "dataset out", "ok"), ("ada", "dataset.delete", "dataset out", "ok"),
                 ("bob", "download", "sales/a.csv", "denied")):
        check(want in lines, f"audit: {' '.join(want)}", lines[:30])


def changing(lab):
    d = lab.get("ada", "/_/datasets/sales")
    change = lambda user, match: lab.req("PUT", "/_/datasets/sales", user, f"dataset: sales\n{RULES}title: Sales\n".encode(), {"If-Match": match})
    check(change("wim", '"1"').status == 403, "rules are the owner's to change")
    check(change("ada", '"7"').status == 412, "of another generation: 412")
    check(change("ada", d.headers["etag"]).status == 200 and lab.get("ada", "/_/datasets/sales").json["title"] == "Sales", "of this one: 200")
    faults = lab.req("PUT", "/_/datasets/sales", "ada", b"dataset: sales\ncolumns:\n  - {name: id, type: nonsense}\nwhat: 1\n")
    check(faults.status == 422 and len(faults.json["faults"]) == 2, "rules with faults: 422 and each with its line", faults)
    check(lab.req("POST", "/_/datasets", "wim", b"dataset: mine\ncolumns: [{name: a}]\n").status == 403, "datasets are made by stewards")
    check(lab.req("POST", "/_/datasets", "ada", b"dataset: sales\ncolumns: [{name: a}]\n").status == 409, "a name that is taken: 409")
    p = lab.req("POST", "/_/preview", "ada", json.dumps({"rules": "columns: [{name: a, type: integer}]", "sample": "a\n1\nx\n"}).encode())
    check(p.status == 200 and p.json["findings"][0]["row"] == 2 and p.json["columns"] and "statistics" in p.json, "a preview of rules on a sample", p)
    p = lab.req("POST", "/_/preview", "ada", json.dumps({"rules": "columns: [{name: a, type: nonsense}]", "sample": ""}).encode())
    check(p.status == 200 and len(p.json["faults"]) == 1, "and of rules with faults", p)


def endpoint_away(lab):
    lab.endpoints[0].stop()
    up = lab.tus("ada", "sales", "later.csv", rows(500))
    check(until(lambda: up.show().get("state") == "storing" and up.show()["why"], 15), "without an endpoint it waits and says why", up.show())
    lab.restart(lab.gateways[0])
    lab.endpoints[0].start()
    end = up.end(25)
    check(end["state"] == "accepted" and lab.get("ada", "/b/sales/later.csv").body == rows(500), "a gateway that was killed meanwhile stores it when an endpoint is back",
          json.dumps(end)[:600])


def full():
    """A spool on a disk of 2 MiB."""
    os.environ.get("IN_MNT") or os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv, "full"], {**os.environ, "IN_MNT": "1"})
    with Lab(uploads="spool: 64MiB") as lab:
        lab.group("makers", role="steward")
        lab.user("ada", groups=["makers"])
        lab.dataset("sales", RULES)
        spool = lab.work / "state/gw0/gateway/uploads"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=2M,uid={UID},mode=700", "none", spool], check=True)
        lab.restart(lab.gateways[0])
        until(lambda: lab.get("ada", "/_/datasets/sales").status == 200)
        check(lab.create("ada", "sales", "big.csv", 8 << 20).status == 507, "announced bytes that the disk has no room for: 507")
        path = lab.create("ada", "sales", "big.csv").headers["location"]
        check(lab.patch("ada", path, 0, rows(200000)).status == 507, "bytes that do not fit: 507")
        check(lab.req("DELETE", path, "ada", None, {"Tus-Resumable": "1.0.0"}).status == 204, "a full disk cancels")
        a = until(lambda: (lambda r: r if r.status == 201 else None)(lab.req("PUT", "/b/sales/a.csv", "ada", rows(100))), 5)
        check(a, "and goes on when there is room")
        subprocess.run(["umount", "-l", spool])


if sys.argv[1:] == ["full"]:
    full()
    finish()
with Lab(gateways=2) as lab:
    for name, role in (("makers", "steward"), ("reading", "member"), ("writing", "member"), ("auditors", "auditor")):
        lab.group(name, role)
    for name, groups in (("ada", ["makers"]), ("bob", []), ("rita", ["reading"]), ("wim", ["writing"]), ("audrey", ["auditors"])):
        lab.user(name, groups=groups)
    lab.dataset("sales", RULES)
    rejected = puts(lab)
    replacing(lab, rejected)
    for part in forms, quarantine, outputs, references, at_once, deleting, changing, endpoint_away:
        part(lab)
got = subprocess.run(["unshare", "-m", sys.executable, sys.argv[0], "full"], capture_output=True, text=True, env={**os.environ, "IN_MNT": "1"})
check(got.returncode == 0, "full disks", got.stdout + got.stderr)
finish()
