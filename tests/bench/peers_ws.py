#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""peers_ws -- the tracker's WebSockets of a real gateway beside npm's bittorrent-tracker, by turns: the same clients
(tests/bench/ws_load, several processes) hold --connections and announce --rate times a second, with 5 offers of 1 KB each,
and answer the offers that they get.

  ws.rss        KiB of RssAnon a connection, over what the server had before the first; at the end, after all announced
  announce.p99  ms from when an announce is due to its answer

Both relay the offers to others of the swarm; ours to those of the grouping, each with a session and a token of its own.
Prints {"ours": [...], "npm": [...]}, an object of ws_load for each round. Exit: 0, 1, 77 skipped.

  peers_ws [--rounds N] [--connections N] [--rate N] [--seconds N]
"""
import argparse
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/net"))
from peers_lib import Lab, public  # noqa: E402

LOAD = TOP / "build/tests/bench/ws_load"


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--connections", type=int, default=18000)
    p.add_argument("--rate", type=int, default=2000)
    p.add_argument("--seconds", type=int, default=20)
    return p.parse_args()


def load(opt, port, pid, **more):
    words = {"connections": opt.connections, "processes": 4, "sources": 1, "rate": opt.rate, "seconds": opt.seconds, "offers": 5,
             "sdp": 1000, "swarms": 10, "pid": pid, "once": 1,
             "answers": 1, **more}
    done = subprocess.run([str(LOAD), *(f"{k}={v}" for k, v in words.items()), f"127.0.0.1:{port}"], capture_output=True, text=True,
                          timeout=opt.seconds + 300)
    if done.returncode:
        raise SystemExit(f"ws_load: {done.stderr}")
    return json.loads(done.stdout)


def sessions(lab, n, file):
    """n sessions, over a few kept connections; a line each: the tracker's path."""
    tokens, lock, failed = [], threading.Lock(), []

    def ask(count):
        at = http.client.HTTPConnection("127.0.0.1", lab.port["gw0"], timeout=30)
        for _ in range(count):
            at.request("POST", "/_/peers/session", json.dumps({"bucket": "films", "asset": "big", "consent": True}),
                       {"Content-Type": "application/json"})
            answer = at.getresponse()
            body = answer.read()
            if answer.status != 200:
                failed.append(body)
                return
            with lock:
                tokens.append(json.loads(body)["token"])
    threads = [threading.Thread(target=ask, args=(n // 8 + (i < n % 8),)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    if failed:
        raise SystemExit(f"no session: {failed[0]}")
    file.write("".join(f"/_/tracker?token={t}\n" for t in tokens))
    file.flush()


def ours(opt):
    limits = (f"  peers: {{viewers: {opt.connections + 100}, per_address: {opt.connections + 100}}}\n"
              f"  limits: {{connections: {2 * opt.connections}}}\n")  # one address has half of them
    with Lab(more=limits) as lab, tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        public(lab, "films")
        sessions(lab, opt.connections, file)
        return load(opt, lab.port["gw0"], lab.gateways[0].process.pid, paths=file.name)


def npm(opt, folder):
    with subprocess.Popen(["node", str(TOP / "tests/bench/ws_peer.mjs"), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as server:
        port, pid = server.stdout.readline().split()
        try:
            return load(opt, port, pid)
        finally:
            server.stdin.close()


def main():
    opt = arguments()
    got = subprocess.run([str(TOP / "tests/npm/install")], capture_output=True, text=True)
    if got.returncode:
        print(got.stderr.strip(), file=sys.stderr)
        return 77
    subprocess.run(["make", "-s", "-C", str(TOP), "build/tests/bench/ws_load"], check=True)
    result = {"ours": [], "npm": []}
    for _ in range(opt.rounds):
        result["ours"].append(ours(opt))
        result["npm"].append(npm(opt, got.stdout.strip()))
        print("%s" % {k: (v[-1]["p99_ms"], v[-1]["rss_end_kib"]) for k, v in result.items()}, file=sys.stderr)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
