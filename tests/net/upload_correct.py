#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is kept of an upload is right: statistics against exact ones, one table in every form and encoding, outputs as DuckDB
reads them, Table Schemas, keys of other datasets, quarantine, tolerances, parts replaced, versions, lineage, pictures.

    tests/net/upload_correct.py [PART …]     only these parts
"""
import bisect
import collections
import csv
import datetime
import gzip
import hashlib
import io
import math
import random
import statistics
import struct
import zipfile
import zlib

from upload_lib import *

RULES = """columns:
  - {name: id, type: integer, required: true, minimum: 1}
  - {name: amount, type: number, maximum: 1000000}
  - {name: city, type: string, max_length: 12}
  - {name: day, type: date}
  - {name: paid, type: boolean}
"""
WARN = RULES + "tolerance: {on_fault: warn}\n"
NAMES = ["id", "amount", "city", "day", "paid"]


def table(n, seed=7):
    """Rows of Python values; None where there is none."""
    r = random.Random(seed)
    cities = [f"Stadt {i}" for i in range(3000)] + ["Köln", "Zürich", "Malmö"] * 200
    day = datetime.date(2020, 1, 1)
    return [[i + 1, None if r.random() < 0.05 else round(r.lognormvariate(3, 2), 2), r.choice(cities), (day + datetime.timedelta(r.randrange(2000))).isoformat(),
             r.random() < 0.3] for i in range(n)]


def text(v):
    return "" if v is None else str(v).lower() if isinstance(v, bool) else str(v)


def as_csv(rows, delimiter=",", end="\n"):
    out = io.StringIO()
    w = csv.writer(out, delimiter=delimiter, lineterminator=end)
    w.writerow(NAMES)
    w.writerows([text(v) for v in row] for row in rows)
    return out.getvalue()


def as_json(rows, lines):
    all_rows = [json.dumps(dict(zip(NAMES, row)), ensure_ascii=False) for row in rows]
    return "\n".join(all_rows) + "\n" if lines else "[" + ",\n".join(all_rows) + "]"


def zipped(name, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, data)
    return out.getvalue()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def manifest(lab, dataset, file):
    return lab.get("ada", f"/_/datasets/{dataset}/files/{file}").json


def put(lab, dataset, file, data, **more):
    return lab.req("PUT", f"/b/{dataset}/{file}", "ada", data, timeout=60, **more)


# ---- statistics -------------------------------------------------------------------------------------

def column_wrong(c, values, exact_min=None):
    """What is wrong with a column's statistics, beside these values (numbers, or ISO texts)."""
    there = sorted(v for v in values if v is not None)
    wrong = []
    if (c["count"], c["nulls"]) != (len(there), len(values) - len(there)):
        wrong.append(("count", c["count"], c["nulls"], len(there)))
    if (c["min"], c["max"]) != (there[0], there[-1]):
        wrong.append(("min, max", c["min"], c["max"], there[0], there[-1]))
    distinct = len(set(there))
    if abs(c["distinct"] - distinct) > 0.02 * distinct or (distinct <= 256 and c["distinct"] != distinct):
        wrong.append(("distinct", c["distinct"], distinct))
    if isinstance(there[0], (int, float)) and not isinstance(there[0], bool):
        mean, sd = statistics.fmean(there), statistics.stdev(there)
        if not math.isclose(c["mean"], mean, rel_tol=1e-9) or not math.isclose(c["stddev"], sd, rel_tol=1e-6):
            wrong.append(("mean, stddev", c["mean"], mean, c["stddev"], sd))
        if sum(b["count"] for b in c["histogram"]) != len(there):
            wrong.append(("histogram", sum(b["count"] for b in c["histogram"])))
    for q, v in c.get("quantiles", {}).items():
        low, high = bisect.bisect_left(there, v) / len(there), bisect.bisect_right(there, v) / len(there)
        if not low - 0.01 <= float(q) <= high + 0.01:
            wrong.append(("quantile", q, v, low, high))
    return wrong


def exact(lab):
    rows = table(80_000)
    got = put(lab, "plain", "exact.csv", as_csv(rows).encode())
    m = manifest(lab, "plain", "exact.csv")
    columns = {c["name"]: c for c in m["statistics"]["columns"]}
    check(got.status == 201 and (m["rows"], m["good"], m["statistics"]["rows"]) == (80_000,) * 3 and list(columns) == NAMES, "rows are counted", got)
    for i, name in enumerate(NAMES[:2]):
        wrong = column_wrong(columns[name], [row[i] for row in rows])
        check(not wrong, f"numbers: {name}: count, nulls, min, max, mean, deviation exact; distinct within 2%, quantiles within 1% of rank", wrong)
    wrong = column_wrong(columns["day"], [row[3] for row in rows])
    check(not wrong and m["statistics"]["time_range"] == {"column": "day", "from": min(r[3] for r in rows), "to": max(r[3] for r in rows)}, "dates and the time range", wrong)
    cities = collections.Counter(row[2] for row in rows)
    c, top = columns["city"], cities.most_common(3)
    check(abs(c["distinct"] - len(cities)) <= 0.02 * len(cities) and c["min_length"] == min(map(len, cities)) and c["max_length"] == max(map(len, cities)) and
          {t["value"] for t in c["top"][:3]} == {v for v, _ in top} and all(abs(t["count"] - cities[t["value"]]) <= 0.05 * cities[t["value"]] for t in c["top"][:3]),
          "texts: distinct, lengths in characters, the three that are frequent", (c, len(cities), top))
    paid = {t["value"]: t["count"] for t in columns["paid"]["top"]}
    check(paid == {text(k): n for k, n in collections.Counter(row[4] for row in rows).items()}, "booleans are counted", paid)
    check(m["sha256"] == hashlib.sha256(as_csv(rows).encode()).hexdigest() and m["size"] == len(as_csv(rows).encode()), "size and SHA-256 are the file's")


# ---- one table in all forms -------------------------------------------------------------------------

def essence(lab, dataset, file, got):
    s = manifest(lab, dataset, file)["statistics"]
    keep = ("name", "type", "count", "nulls", "distinct", "min", "max", "mean", "stddev", "quantiles", "min_length", "max_length", "invalid")
    numbers = lambda v: round(v, 9) if isinstance(v, float) else v
    return ([{k: numbers(c[k]) if not isinstance(c[k], dict) else {q: numbers(x) for q, x in c[k].items()} for k in keep if k in c} for c in s["columns"]], s["rows"],
            [(f["row"], f["column"], f["rule"], f["value"]) for f in got.json["findings"]])


def forms(lab):
    rows = table(3000, seed=3)
    rows[10][0], rows[20][1], rows[30][2], rows[2999][3] = None, 2000000.5, "x" * 13, "2026-02-30"
    plain = as_csv(rows)
    data = {"f.csv": plain.encode(), "f.tsv": as_csv(rows, "\t").encode(), "semi.csv": as_csv(rows, ";").encode(), "crlf.csv": as_csv(rows, end="\r\n").encode(),
            "cr.csv": as_csv(rows, end="\r").encode(), "bom.csv": plain.encode("utf-8-sig"), "le.csv": b"\xff\xfe" + plain.encode("utf-16-le"),
            "be.csv": b"\xfe\xff" + plain.encode("utf-16-be"), "ansi.csv": plain.encode("cp1252"), "f.json": as_json(rows, False).encode(),
            "f.jsonl": as_json(rows, True).encode(), "f.csv.gz": gzip.compress(plain.encode()), "f.csv.zst": zstd(plain.encode()), "f.zip": zipped("f.csv", plain.encode()),
            "f.jsonl.gz": gzip.compress(as_json(rows, True).encode()), "members.gz": gzip.compress(plain.encode()[:5000]) + gzip.compress(plain.encode()[5000:]),
            "f.json.zip": zipped("f.json", as_json(rows, False).encode()), "ansi.csv.gz": gzip.compress(plain.encode("cp1252")), "no-name": plain.encode(),
            "wrong-name.png": plain.encode(), "half.csv": plain.encode().rstrip(b"\n")}
    want = None
    for name, body in data.items():
        got = put(lab, "forms", name, body)
        if got.status != 201:
            check(False, f"{name}: accepted", got)
            continue
        this = essence(lab, "forms", name, got)
        want = want or this
        parts = [("columns", [(a, b) for a, b in zip(this[0], want[0]) if a != b]), ("rows", this[1], want[1]), ("findings", this[2], want[2])]
        check(this == want and len(want[2]) == 4, f"{name}: the statistics and findings of the plain table", [p for p in parts if p[1:] != ([],)])
        check(lab.get("ada", f"/b/forms/{name}").body == body, f"{name}: kept as it came")
    check(want[2] == [(11, "id", "required", ""), (21, "amount", "maximum", "2000000.5"), (31, "city", "max_length", "x" * 13), (3000, "day", "type", "2026-02-30")],
          "and these are the right ones", want[2])
    split = lab.tus("ada", "forms", "le2.csv", data["le.csv"], piece=777 * 2 + 1)
    end = split.end()
    check(end["state"] == "accepted" and essence(lab, "forms", "le2.csv", lab.get("ada", f"/_/uploads/{split.id}")) == want, "UTF-16 in odd pieces, too", json.dumps(end)[:500])


# ---- DuckDB -----------------------------------------------------------------------------------------

def duckdb(*queries):
    script = """import { DuckDBInstance } from '@duckdb/node-api';
const c = await (await DuckDBInstance.create(':memory:')).connect(), all = [];
for (const q of JSON.parse(process.argv[1])) all.push((await c.runAndReadAll(q)).getRowsJson());
console.log(JSON.stringify(all));"""
    got = subprocess.run(["node", "--input-type=module", "-e", script, json.dumps(queries)], cwd=os.environ["UPLOAD_NPM"], capture_output=True, text=True)
    return json.loads(got.stdout) if not got.returncode else [[[got.stderr[-1000:]]]] * len(queries)


def delivered(lab):
    rows = table(20000, seed=11)
    lab.dataset("deliver", RULES + "transform:\n  - {output: all.csv}\n  - {output: all.csv.gz, compression: gzip}\n  - {output: all.csv.zst, compression: zstd}\n"
                "  - {output: all.jsonl, format: jsonl}\n  - {output: all.jsonl.gz, format: jsonl, compression: gzip}\n"
                "  - {output: paid.csv, filter: \"paid and amount > 10\", keep: [id, amount], rename: {amount: euro}, derive: {cent: \"round(amount * 100)\"}}\n"
                "  - {output: \"day-{value}.csv\", split: paid, drop: [city]}\n  - {output: masked.csv, mask: {city: hash, day: truncate 7}}\n")
    got = put(lab, "deliver", "d.csv", as_csv(rows).encode())
    check(got.status == 201, "a file with eight outputs", got)
    down = lab.folder("down")
    m = manifest(lab, "deliver", "d.csv")
    for name, key in [("d.csv", "d.csv")] + [(o["name"], o["key"]) for o in m["outputs"]]:
        with open(down / name, "wb") as f:  # as people fetch it: the catalogue's address, the token in it
            subprocess.run(["curl", "-sfL", f"http://127.0.0.1:{lab.port['gw0']}/b/deliver/{key}?t={lab.token['ada']}"], stdout=f)
    names = [o["name"] for o in m["outputs"]]
    full = "select count(*), sum(id), round(sum(amount), 2), count(amount), count(distinct city), min(day)::text, count(*) filter (where paid) from "
    read = lambda n: f"read_{'json' if 'jsonl' in n else 'csv'}('{down}/{n}')"
    whole = ["d.csv", "all.csv", "all.csv.gz", "all.csv.zst", "all.jsonl", "all.jsonl.gz"]
    answers = duckdb(*[full + read(n) for n in whole], f"select count(*), sum(id), round(sum(euro), 2), sum(cent) from {read('paid.csv')}",
                     f"select count(*), sum(id) from read_csv('{down}/day-*.csv')", f"select count(distinct city), count(distinct day::text), min(length(regexp_extract(day::text, '^[0-9]{{4}}-[0-9]{{2}}'))), max(length(day::text)) from {read('masked.csv')}")
    there = [r for r in rows if r[1] is not None]
    want = [str(len(rows)), str(sum(r[0] for r in rows)), round(sum(r[1] for r in there), 2), str(len(there)), str(len({r[2] for r in rows})), min(r[3] for r in rows),
            str(sum(r[4] for r in rows))]
    for name, answer in zip(whole, answers):
        check(answer == [want], f"DuckDB reads {name}: counts and sums are equal", (answer, want))
    some = [r for r in there if r[4] and r[1] > 10]
    check(answers[6] == [[str(len(some)), str(sum(r[0] for r in some)), round(sum(r[1] for r in some), 2), answers[6][0][3]]] and
          round(float(answers[6][0][3])) == round(sum(round(r[1] * 100) for r in some)), "filtered, renamed, derived", (answers[6], len(some)))
    check(answers[7] == [[str(len(rows)), want[1]]] and {"day-true.csv", "day-false.csv"} < set(names), "split: all rows, once", (answers[7], names))
    check(answers[8] == [[want[4], str(len({r[3][:7] for r in rows})), "7", "8"]], "masked: one hash for a value; cut", answers[8])
    rows_of = {o["name"]: o["rows"] for o in m["outputs"]}
    check(rows_of["all.csv"] == 20000 and rows_of["paid.csv"] == len(some) and rows_of["day-true.csv"] + rows_of["day-false.csv"] == 20000, "the manifest counts them", rows_of)
    o = next(o for o in m["outputs"] if o["name"] == "paid.csv")
    says = {c["name"]: c.get("from") or c for c in o["lineage"]["columns"]}
    check(says["euro"] == "amount" and "cent" in says and m["lineage"]["of"]["sha256"] == m["sha256"], "lineage says where columns come from", o)
    check((down / "d.csv").read_bytes() == as_csv(rows).encode(), "the original is delivered as it came")


# ---- rules ------------------------------------------------------------------------------------------

def schema(lab):
    """A Frictionless Table Schema, not touched."""
    s = {"fields": [{"name": "id", "type": "integer", "constraints": {"required": True, "unique": True}}, {"name": "name", "type": "string", "constraints": {"minLength": 2, "pattern": "[A-Z].*"}},
                    {"name": "kind", "type": "string", "constraints": {"enum": ["x", "y"]}}, {"name": "born", "type": "date", "format": "%d/%m/%Y"},
                    {"name": "price", "type": "number", "decimalChar": ",", "groupChar": ".", "constraints": {"minimum": 0}},
                    {"name": "ok", "type": "boolean", "trueValues": ["ja"], "falseValues": ["nein"]}, {"name": "mail", "type": "string", "format": "email"}],
         "missingValues": ["", "NA"], "primaryKey": ["id"], "somethingElse": {"a": 1}}
    made = lab.req("POST", "/_/datasets?name=schema", "ada", json.dumps(s).encode(), {"Content-Type": "application/json"})
    check(made.status == 201, "a Table Schema makes a dataset", made)
    head = "id;name;kind;born;price;ok;mail\n"
    good = put(lab, "schema", "g.csv", (head + "1;Ana;x;31/12/1999;1.234,50;ja;a@b.org\n2;NA;y;NA;0;nein;NA\n").encode())
    check(good.status == 201, "and takes what fits it", good)
    stat = {c["name"]: c for c in manifest(lab, "schema", "g.csv")["statistics"]["columns"]}
    check(stat["price"]["max"] == 1234.5 and stat["name"]["nulls"] == 1 and stat["born"]["min"] == "1999-12-31", "read as it says", stat)
    bad = put(lab, "schema", "b.csv", (head + "1;ana;z;1999-12-31;-1;yes;nobody\nNA;A;x;;;;\n1;Ben;x;;;;\n").encode())
    got = sorted((f["row"], f["column"], f["rule"]) for f in bad.json.get("findings", []))
    want = [(1, "born", "type"), (1, "kind", "enum"), (1, "mail", "format"), (1, "name", "pattern"), (1, "ok", "type"), (1, "price", "minimum"), (2, "id", "required"),
            (2, "name", "min_length"), (3, "id", "unique")]
    check(bad.status == 422 and [(r, c) for r, c, _ in got] == [(r, c) for r, c, _ in want] and sum(a == b for a, b in zip(got, want)) >= 8, "each constraint is told where it is broken", got)
    yaml = lab.get("ada", "/_/datasets/schema").json.get("yaml", "")
    check("pattern" in yaml and lab.req("PUT", "/_/datasets/schema", "ada", yaml.encode()).status == 200, "its YAML is taken back", yaml)


def references(lab):
    lab.dataset("customers", "columns:\n  - {name: number, type: integer, required: true, unique: true}\n  - {name: name, type: string}\n")
    lab.dataset("orders", "columns:\n  - {name: customer, type: integer, references: {dataset: customers, column: number}}\n")
    none = put(lab, "orders", "early.csv", b"customer\n1\n")
    check(none.status == 422 and none.json["findings"][0]["rule"] == "reference", "a key into a dataset without files is a fault", none)
    put(lab, "customers", "c.csv", b"number,name\n" + b"".join(b"%d,n\n" % i for i in range(1, 20001)))
    check(put(lab, "orders", "o.csv", b"customer\n" + b"".join(b"%d\n" % i for i in range(1, 20001, 3)) + b"\n").status == 201, "keys that are there")
    bad = put(lab, "orders", "p.csv", b"customer\n1\n20001\n0\n5\n")
    check(bad.status == 422 and [f["row"] for f in bad.json["findings"]] == [2, 3], "keys that are not are told", bad)
    put(lab, "customers", "c.csv", b"number,name\n20001,n\n0,z\n")
    bad = put(lab, "orders", "p.csv", b"customer\n1\n20001\n0\n5\n")
    check(bad.status == 422 and [f["row"] for f in bad.json["findings"]] == [1, 4], "after the other file changed: by what it has now", bad)
    check(lab.req("DELETE", "/b/customers/c.csv", "ada").status == 204 and put(lab, "orders", "q.csv", b"customer\n0\n").status == 422, "and after it went")


def quarantine(lab):
    lab.dataset("aside", RULES + "rows:\n  - {rule: \"amount is null or amount < 500 or paid\", message: \"Large ones are paid.\"}\ntolerance: {on_fault: quarantine, max_faults: 5}\n"
                "transform:\n  - {output: good.csv}\n")
    lines = ["1,5,a,2026-01-01,true", "x,5,b,2026-01-01,true", "3,600,\"c, \"\"d\"\"\",2026-01-01,false", "4,7,\"e\nf\",2026-01-01,true", "5,8,\"" + "g" * 13 + "\",2026-13-01,maybe"]
    got = put(lab, "aside", "a.csv", ("id,amount,city,day,paid\n" + "\n".join(lines) + "\n").encode())
    m = manifest(lab, "aside", "a.csv")
    check(got.status == 201 and (m["rows"], m["good"], m["quarantined"]) == (5, 2, 3) and m["statistics"]["rows"] == 2, "good rows are accepted, statistics are of them", (got, m))
    good = list(csv.reader(io.StringIO(lab.get("ada", "/b/aside/derived/a.csv/good.csv").body.decode())))
    check([r[0] for r in good] == ["id", "1", "4"] and good[2][2] == "e\nf", "and delivered", good)
    q = list(csv.reader(io.StringIO(lab.get("ada", "/b/aside/.weir/a.csv/quarantine.csv").body.decode())))
    head, body = q[0], q[1:]
    check([r[head.index("id")] for r in body] == ["x", "3", "5"] and body[1][head.index("city")] == 'c, "d"', "the others are in the quarantine, cell by cell", q)
    texts = [" ".join(r) for r in body]
    check("id: type" in texts[0] and "Large ones are paid." in texts[1] and all(w in texts[2] for w in ("city: max_length", "day: type", "paid: type")), "with every reason", q)
    lab.dataset("share", RULES + "tolerance: {on_fault: quarantine, max_share: 10%}\n")
    some = lambda n, bad: ("id,amount,city,day,paid\n" + "".join(f"{'x' if i < bad else i + 1},1,a,2026-01-01,true\n" for i in range(n))).encode()
    statuses = [put(lab, d, "s.csv", some(n, bad)).status for d, n, bad in (("aside", 100, 5), ("aside", 100, 6), ("share", 1000, 100), ("share", 1000, 101))]
    check([s in (200, 201) for s in statuses] == [True, False, True, False], "max_faults and max_share: at the limit, and one more", statuses)
    lab.dataset("few", RULES + "tolerance: {on_fault: quarantine, show: 3}\n")
    put(lab, "few", "s.csv", some(100, 20))
    q = list(csv.reader(io.StringIO(lab.get("ada", "/b/few/.weir/s.csv/quarantine.csv").body.decode())))
    check(len(q) == 21 and all("id: type" in r[q[0].index("_faults")] for r in q[1:]), "rows whose findings are only counted have their reasons, too", q)
    lab.dataset("stopped", RULES + "tolerance: {stop: true}\n")
    lab.dataset("shown", RULES + "tolerance: {show: 7}\n")
    first, seven = put(lab, "stopped", "s.csv", some(5000, 5000)), put(lab, "shown", "s.csv", some(5000, 5000))
    check(first.status == 422 and len(first.json["findings"]) == 1, "stop: the first fault ends it", first)
    check(seven.status == 422 and len(seven.json["findings"]) == 7 and seven.json["counts"]["findings"] == 5000, "show: further ones are counted", seven)


# ---- parts replaced, versions -----------------------------------------------------------------------

def spans(data, end):
    """[from, to) of each record; the first is the header."""
    out, at, quoted = [], 0, False
    for i, c in enumerate(data):
        quoted ^= c == 34
        if not quoted and data[: i + 1].endswith(end):
            out.append((at, i + 1))
            at = i + 1
    return out + ([(at, len(data))] if at < len(data) else [])


def replaced(lab):
    lab.dataset("parts", "columns:\n  - {name: id, type: integer}\n  - {name: t, type: string}\nkeep_versions: 2\n")
    for end in b"\n", b"\r\n":
        data = end.join([b"id,t"] + [b'%d,"line%sof %d"' % (i, end, i) if i % 7 == 0 else b"%d,t%d" % (i, i) for i in range(1, 61)]) + end
        where = spans(data, end)
        name = f"r{len(end)}.csv"
        put(lab, "parts", name, data)
        wrong = []
        for what, part, span in (("rows=1", b"100,first" + end, where[1]), ("rows=1-1", b"", where[1]), ("rows=60", b"600,last" + end, where[60]), ("rows=7-14", b"7,a" + end + b"8,b" + end, (where[7][0], where[14][1])),
                                 ("rows=1-60", b"1,only" + end, (where[1][0], where[60][1])), ("bytes=0-%d" % (where[0][1] - 1), b"t,id" + end, None),
                                 ("bytes=%d-%d" % (where[0][0], where[0][1] - 1), b"id,t" + end, where[0]), ("bytes=0-%d" % (len(data) - 1), data, (0, len(data))),
                                 ("bytes=%d-%d" % (len(data) - 3, len(data) - 1), b"9" + end, (len(data) - 3, len(data)))):
            put(lab, "parts", name, data)
            made = lab.req("POST", f"/_/datasets/parts/replace/{name}?{what}", "ada", part)
            shown = Upload(lab, "ada", "/" + made.json.get("id", "none")).end()
            want = data if span is None else data[: span[0]] + part + data[span[1]:]
            if shown.get("state") != ("rejected" if span is None else "accepted") or lab.get("ada", f"/b/parts/{name}").body != want:
                wrong.append((what, made.status, shown.get("state"), [f["message"] for f in shown.get("findings", [])][:2]))
        check(not wrong, f"parts replaced where lines end in {end!r}: first, last, several, all, header, to the byte", wrong)
    for what in "rows=61", "rows=0", "rows=5-4", f"bytes={len(data)}-{len(data)}", "bytes=5-4", "bytes=-1-3", "rows=x", "rows=1&bytes=1-2":
        status = lab.req("POST", f"/_/datasets/parts/replace/r1.csv?{what}", "ada", b"1,x\n").status
        check(status in (400, 416), f"{what}: no such part", status)


def versions(lab):
    bodies = {v: f"id,t\n{v},v{v}\n".encode() for v in range(1, 7)}
    for v, body in bodies.items():
        got = put(lab, "parts", "v.csv", body)
        check(got.json.get("version") == v, f"version {v}", got)
    have = {v: lab.get("ada", f"/b/parts/.weir/v.csv/versions/{v}/v.csv") for v in bodies}
    check([v for v, a in have.items() if a.status == 200] == [4, 5] and have[4].body == bodies[4] and have[5].body == bodies[5], "two earlier ones are kept, older ones went", have)
    m = manifest(lab, "parts", "v.csv")
    made = lab.req("POST", "/_/datasets/parts/replace/v.csv?rows=1", "ada", b"7,seven\n")
    Upload(lab, "ada", "/" + made.json["id"]).end()
    n = manifest(lab, "parts", "v.csv")
    check(m["version"] == 6 and n["version"] == 7 and n["lineage"]["replaced"] == {"version": 6, "bytes": [5, 9]} and n["lineage"]["of"] == {"file": "v.csv", "version": 7, "sha256": n["sha256"]} and
          n["uploaded"]["by"] == "ada" and n["rules_generation"] == 1, "the manifest says what was replaced, of what, by whom, by which rules", n)
    put(lab, "parts", "sub", bodies[1]), put(lab, "parts", "sub/deep.csv", bodies[2]), put(lab, "parts", "sub/deep.csv", bodies[3]), put(lab, "parts", "sub", bodies[4])
    lab.req("DELETE", "/b/parts/sub", "ada")
    check(manifest(lab, "parts", "sub/deep.csv").get("version") == 2 and lab.get("ada", "/b/parts/.weir/sub/deep.csv/versions/1/sub/deep.csv").body == bodies[2] and
          lab.get("ada", "/b/parts/sub").status == 404, "a file and one below its name do not touch each other")


# ---- pictures, documents ----------------------------------------------------------------------------

def others(lab):
    lab.dataset("media", "accept: \"*\"\n")
    lab.dataset("pictures", "accept: [image/png, image/jpeg]\n")
    chunk = lambda kind, d: struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 640, 480, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(bytes(480 * 1921))) + chunk(b"IEND", b"")
    jpeg = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08" + struct.pack(">HH", 77, 99) + b"\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9"
    gif = b"GIF89a" + struct.pack("<HH", 12, 34) + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    pdf = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
    for name, data, mime, size in (("a.png", png, "image/png", (640, 480)), ("b.jpg", jpeg, "image/jpeg", (99, 77)), ("c.gif", gif, "image/gif", (12, 34)), ("d.pdf", pdf, "application/pdf", None),
                                   ("picture.csv", png, "image/png", (640, 480)), ("e.bin", b"\0\xffweir\xfe" * 40, "application/octet-stream", None)):
        got, m = put(lab, "media", name, data), manifest(lab, "media", name)
        t = m.get("type", {})
        check(got.status == 201 and t.get("mime") == mime and m["size"] == len(data) and m["sha256"] == hashlib.sha256(data).hexdigest() and
              (not size or (t.get("width"), t.get("height")) == size), f"{name}: {mime} {size or ''} by its content", (got, t))
    check(m.get("statistics") in (None, {}) or not m["statistics"].get("columns"), "without statistics of columns", m)
    pdf_type = manifest(lab, "media", "d.pdf")["type"]
    check("1.7" in json.dumps(pdf_type), "the PDF's version", pdf_type)
    check(put(lab, "pictures", "x.png", png).status == 201 and put(lab, "pictures", "y.png", pdf).status == 422 and put(lab, "pictures", "z.png", b"a,b\n1,2\n").status == 422,
          "a dataset of pictures takes pictures, whatever others are called")


PARTS = [exact, forms, delivered, schema, references, quarantine, replaced, versions, others]


def main():
    with Lab() as lab:
        lab.group("makers", role="steward")
        lab.user("ada", groups=["makers"])
        lab.dataset("plain", RULES)
        lab.dataset("forms", WARN)
        for part in PARTS:
            if len(sys.argv) > 1 and part.__name__ not in sys.argv[1:]:
                continue
            began = time.monotonic()
            try:
                part(lab)
            except (OSError, http.client.HTTPException, LookupError, ValueError) as e:
                check(False, f"{part.__name__}: to its end", repr(e))
            print(f"# {part.__name__}: {time.monotonic() - began:.1f} s")
    finish()


main()
