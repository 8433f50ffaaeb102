# SPDX-License-Identifier: Apache-2.0
"""store_power.py load URL SECONDS STATE     4 writers put, overwrite and delete; what was acknowledged goes to STATE
store_power.py check URL STATE              every key has what was acknowledged last, or what was under way
TOKEN: the token."""
import hashlib
import http.client
import json
import os
import random
import sys
import threading
import time
import urllib.parse

SIZES = [0, 1, 100, 4096, 4096, 4096, 20000, 65536, 200000, 262144, 262145, 700000]
AUTH = {"Authorization": f"Bearer {os.environ['TOKEN']}"}


def body(seed, size):
    return hashlib.shake_128(seed.encode()).digest(size)


def connect(url):
    at = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(at.hostname, at.port, timeout=20), at.path


def writer(number, url, until, state):
    """state: key -> [acceptable values], a value is null or [seed, size]."""
    rnd = random.Random(os.urandom(8))
    conn, path = connect(url)
    while time.monotonic() < until:
        key = f"w{number}/{rnd.randrange(40)}"
        old = state.get(key, [None])
        gone = rnd.random() < 0.2
        new = None if gone else [f"{key}.{rnd.random()}", rnd.choice(SIZES)]
        state[key] = old + [new]
        try:
            if gone:
                conn.request("DELETE", f"{path}/{key}", headers=AUTH)
            else:
                conn.request("PUT", f"{path}/{key}", body(*new), AUTH)
            answer = conn.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return          # killed: nobody knows
        if answer.status in (200, 201, 204) or (gone and answer.status == 404):
            state[key] = [new]
        elif answer.status >= 500 and answer.status != 504:
            state[key] = old
        else:
            print(f"# {key}: {answer.status}")


def load(url, seconds, file):
    state = json.load(open(file)) if os.path.exists(file) else {}
    parts = [dict((k, v) for k, v in state.items() if k.startswith(f"w{n}/")) for n in range(4)]
    threads = [threading.Thread(target=writer, args=(n, url, time.monotonic() + seconds, parts[n])) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    json.dump({k: v for p in parts for k, v in p.items()}, open(file, "w"))


def check(url, file):
    state, bad = json.load(open(file)), 0
    conn, path = connect(url)
    for key, values in state.items():
        conn.request("GET", f"{path}/{key}", headers=AUTH)
        answer = conn.getresponse()
        got = answer.read()
        if answer.status not in (200, 404):
            print(f"# {key}: {answer.status}")
            bad += 1
            continue
        match = [v for v in values if (v is None and answer.status == 404) or
                 (v is not None and answer.status == 200 and body(*v) == got)]
        if not match:
            print(f"# {key}: {answer.status}, {len(got)} bytes, is none of {values}")
            bad += 1
        else:
            state[key] = [match[0]]     # from here on it is certain
    json.dump(state, open(file, "w"))
    print(len(state), "keys,", bad, "wrong")
    sys.exit(bad != 0)


if sys.argv[1] == "load":
    load(sys.argv[2], float(sys.argv[3]), sys.argv[4])
else:
    check(sys.argv[2], sys.argv[3])
