#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# examples/grafana.json loads, its panels have ids of their own and do not lie on each other, and every metric that they
# name is one that a program of ours registers. Prints TAP.
set -u
cd "$(dirname "$0")/../.." || exit 1
python3 - <<'END'
import json, re, subprocess, sys

tests = failed = 0
def check(what, faults):
    global tests, failed
    tests += 1
    failed += bool(faults)
    print(("not ok" if faults else "ok"), tests, "-", what)
    for f in faults:
        print("#", f)

board = json.load(open("examples/grafana.json"))
panels = board["panels"]
check("it loads: %d panels" % len(panels), [] if len(panels) > 40 else ["there were more"])
ids = [p["id"] for p in panels]
check("ids are unique", sorted(i for i in set(ids) if ids.count(i) > 1))
taken, faults = {}, []
for p in panels:
    g = p["gridPos"]
    for x in range(g["x"], g["x"] + g["w"]):
        for y in range(g["y"], g["y"] + g["h"]):
            if (x, y) in taken:
                faults.append("%s lies on %s" % (p["title"], taken[x, y]))
            taken[x, y] = p["title"]
check("no panel lies on another", sorted(set(faults)))
# A metric's name is a string of its own where it is registered (metric_add), without weir_.
sources = ""
for folder in ("lib", "user", "dns", "http"):
    out = subprocess.run(["grep", "-rhoE", r'"[a-z0-9_]+"', "--include=*.c", folder], capture_output=True, text=True)
    sources += out.stdout
known = set(sources.replace('"', "").split())
unknown = []
for p in panels:
    for t in p.get("targets", []):
        for name in re.findall(r"\bweir_([a-z0-9_]+)", t["expr"]):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            if name not in known and base not in known:
                unknown.append("%s: weir_%s" % (p["title"], name))
    if p["type"] != "row" and not p.get("targets"):
        unknown.append("%s: asks for nothing" % p["title"])
check("every metric exists", unknown)
print("1..%d" % tests)
sys.exit(failed > 0)
END
