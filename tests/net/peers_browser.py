#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Three Chromium pages watch a film by /_/player, each a browser of its own, and all endpoints are killed in the middle: who stalls?

    tests/net/peers_browser.sh                                the one run of CI: peers on, 25 s of outage, a buffer of 10 s;
                                                              then a page's own gateway dies; then a page that poisons
    tests/net/peers_browser.sh --runs on,off,plain,bounded,poison --outage 60 --buffer 15     (tests/nightly/peers_browser)

Runs: on; off, hls.js alone; plain, p2p-media-loader as its makers ship it, at our tracker and without our shim; bounded, the same
with windows of 30 s instead of as much as there is; poison, peers on and one page gives away wrong bytes.
Figures: build/bench/peers_browser.json. Pictures: build/screens/peers-*.png. Needs root, chromium, ffmpeg, npm.
"""
import argparse
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

from browser import Browser
from tunnel_lib import enter
from upload_lib import BIN, TOP, Lab, check, finish, free_port, skip, until

FLAGS = ["--autoplay-policy=no-user-gesture-required", "--disable-features=WebRtcHideLocalIpsWithMdns", "--mute-audio"]
WATCH = """window.wrong = [];
window.sockets = [];
window.WebSocket = class extends WebSocket { constructor(url, ...more) { super(url, ...more); sockets.push(String(url)); } };
addEventListener('securitypolicyviolation', e => wrong.push(`${e.violatedDirective} ${e.blockedURI}`));
addEventListener('error', e => wrong.push(e.message));
addEventListener('unhandledrejection', e => wrong.push(String(e.reason?.stack ?? e.reason)));"""
SHOTS = TOP / "build/screens"
EMPTY = dict.fromkeys(("started", "buffer", "position", "connected", "refused", "stall_ms", "stalls", "played", "server", "peers", "up", "failed", "seq", "epoch"), 0) | \
    {"wrong": [], "state": "", "gateway": "", "ended": False}

# What a page has from here on without a gap, in segments: of all pages together, what they can live on.
HAVE = "weirPlayer.peers.have.flatMap(([r, a, b]) => Array.from({ length: b - a + 1 }, (_, i) => `${r}/${a + i}`))"
# The share of what it was told to hold that a page has.
HOLDS = """(() => { const all = new Set(%s), told = (weirPlayer.peers.now.hold ?? []).flatMap(([r, a, b]) => Array.from({ length: b - a + 1 }, (_, i) => `${r}/${a + i}`));
  return told.length ? told.filter(x => all.has(x)).length / told.length : 0; })()""" % HAVE
# What others are given is not what was received; what this page plays is.
POISON = """(() => { const { store } = weirPlayer.peers, right = store.getSegmentData.bind(store);
  store.getSegmentData = async (swarm, stream, id) => { const mine = store.own === `${stream}|${id}`, data = await right(swarm, stream, id);
    if (mine || !data) return data;
    const wrong = new Uint8Array(data.slice(0)); wrong[wrong.length >> 1] ^= 1; window.poisoned = (window.poisoned ?? 0) + 1; return wrong.buffer; }; return true; })()"""


FORGED = """(async () => { const p = weirPlayer.peers, was = p.now, wrong = JSON.stringify({ ...was, seq: was.seq + 1, source: 'peers', role: 'second' });
  const refused = await p.hear(JSON.stringify({ p: wrong, m: btoa('x'.repeat(32)) })).then(() => false, () => true);
  return refused && p.now.role !== 'second'; })()"""


class Page:
    def __init__(self, url, name):
        self.name, self.browser = name, Browser(*FLAGS)
        self.browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.browser.open(url)

    def js(self, text):
        return self.browser.js(text)

    def stats(self):
        """A page that is not there yet has none of anything."""
        return EMPTY | json.loads(self.js("JSON.stringify({ ...window.weirStats, segments: undefined, sources: Array.from(window.weirStats?.segments ?? [], s => s?.source?.[0] ?? '-').join(''), wrong: window.wrong ?? [] })"))

    def look(self, name):
        self.browser.screenshot(str(SHOTS / f"peers-{name}-{self.name}.png"))

    def close(self):
        self.browser.__exit__()


# Each page has a network of its own, as the gateway sees it: viewers of one network are one witness.
HOSTS = ["127.0.0.1", "127.0.1.1", "127.0.2.1"]


class Networks(Lab):
    """The first gateway listens in all of them."""

    def gateway(self, i):
        if i:
            return super().gateway(i)
        port, inside = free_port(), free_port()
        listen = ", ".join(f'"{host}:{port}"' for host in [*HOSTS, "10.77.0.1"])
        d = self.daemon("gateway", "gw0", f"gateway:\n  listen: [{listen}]\n  inside: \"127.0.0.1:{inside}\"\n{self.gateway_more}")
        self.port[d.node], self.inside[d.node] = port, inside
        return d


def network():
    """WebRTC wants an interface besides lo, with an address and a way out."""
    for host in HOSTS[1:]:
        net = host.rsplit(".", 1)[0]
        subprocess.run(["ip", "route", "add", "local", f"{net}.0/24", "dev", "lo", "src", f"{net}.9", "table", "local"], check=True)
    for line in ("link add out type veth peer name away", "addr add 10.77.0.1/24 dev out", "link set out up", "link set away up", "route add default via 10.77.0.254"):
        subprocess.run(["ip", *line.split()], check=True)


def film(lab, seconds):
    """media/film, and a bucket that everybody reads."""
    path = lab.work / "film.mp4"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=frequency=330", "-t", str(seconds),
                    "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", str(path)], check=True)
    lab.user("ada", grants=[{"bucket": "media", "rights": "rwdl"}, {"bucket": "private", "rights": "rwdl"}])
    (lab.work / "token").write_text(lab.token["ada"])
    os.chmod(lab.work / "token", 0o600)
    made = subprocess.run([BIN / "weir", "media", "add", path, "film", "--segment", "2", "--rendition", "180p@400k,120p@150k", "--preset", "ultrafast", "--public", "-c",
                           lab.gateways[0].conf, "--token-file", lab.work / "token"], capture_output=True, text=True, timeout=240)
    short = lab.work / "short.mp4"
    subprocess.run(["ffmpeg", "-loglevel", "error", "-i", str(path), "-t", "12", "-c", "copy", str(short)], check=True)
    own = subprocess.run([BIN / "weir", "media", "add", short, "private/film", "--segment", "2", "--rendition", "120p@150k", "--preset", "ultrafast", "-c", lab.gateways[0].conf,
                          "--token-file", lab.work / "token"], capture_output=True, text=True, timeout=240)
    if made.returncode or own.returncode:
        lab.bail(f"weir media add: {made.stdout}{made.stderr}{own.stdout}{own.stderr}")


def session_answers(lab, gateway):
    try:
        got = lab.req("POST", "/_/peers/session", None, b'{"bucket":"media","asset":"film","consent":true}', gateway=gateway)
    except OSError:
        return False
    return got.json if got.status == 200 and got.json["media"].get("key") else None


class Run:
    """Three pages in one mode."""

    def __init__(self, lab, args, mode, more=""):
        self.lab, self.args, self.mode, self.pages = lab, args, mode, []
        query = {"bounded": "plain&window=30", "poison": "on"}.get(mode, mode)
        for i in range(3):
            if i:
                time.sleep(args.apart)  # viewers do not come at the same moment
            self.pages.append(Page(f"http://{HOSTS[i]}:{lab.port['gw0']}/_/player?asset=media/film&mode={query}&buffer={args.buffer}{more}", str(i)))

    def __enter__(self):
        return self

    def __exit__(self, *a):
        for page in self.pages:
            page.close()

    def all(self):
        return [p.stats() for p in self.pages]

    def look(self, when, pages=None):
        for p in self.pages if pages is None else [self.pages[i] for i in pages]:
            p.look(f"{self.mode}-{when}")

    def steady(self):
        """All play with a full buffer, know each other, and hold enough together; False: it did not come to that."""
        enough = self.args.buffer - 2

        def is_it():
            s = self.all()
            if any(not x["started"] or x["buffer"] < enough or x["position"] < 6 for x in s):
                return False
            if self.mode == "off":
                return True
            if any(x["connected"] < 2 for x in s):
                return False
            if self.mode in ("plain", "bounded"):
                return min(x["position"] for x in s) >= 15  # about as long as the others took
            return self.reach() >= self.args.outage + 4 and all(p.js(HOLDS) > 0.9 for p in self.pages)
        return bool(until(is_it, 40, 0.5))

    def reach(self):
        """Seconds of film that the pages hold together beyond the position of the last of them, without a gap."""
        have, s = set(), self.all()
        for p in self.pages:
            have |= {int(x.split("/")[1]) for x in p.js(HAVE) or []}
        n = at = int(min(x["position"] for x in s) // 2)
        while n in have or n < at:
            n += 1
        return (n - at) * 2

    def outage(self):
        """Kills the endpoints, starts them again; what was before, at the end of it, and after."""
        before = self.all()
        began = time.monotonic()
        for d in self.lab.endpoints:
            d.kill()
        while time.monotonic() < began + self.args.outage * 0.6:
            time.sleep(0.2)
        states = {x["state"] for x in self.all()}
        self.look("outage")
        while time.monotonic() < began + self.args.outage:
            time.sleep(0.1)
        during = self.all()
        for d in self.lab.endpoints:
            d.start()
        until(lambda: all(self.lab.answers(d) for d in self.lab.endpoints)) or self.lab.bail("endpoints do not start again")
        length = time.monotonic() - began
        until(lambda: all(x["buffer"] >= self.args.buffer - 4 or x["ended"] for x in self.all()), 30, 0.5)
        return before, during, self.all(), states, length


def share(all_stats):
    server, peers = sum(s["server"] for s in all_stats), sum(s["peers"] for s in all_stats)
    return peers / max(1, peers + server)


def summary(mode, before, after, outage):
    played = sum(s["played"] for s in after)
    return {"mode": mode, "outage_s": round(outage, 1), "stall_s": [round((a["stall_ms"] - b["stall_ms"]) / 1000, 2) for a, b in zip(after, before)],
            "buffer_s": [round(b["buffer"], 1) for b in before], "p2p_share": round(share(after), 3), "origin_bytes_per_played_s": round(sum(s["server"] for s in after) / max(1, played)),
            "failed": [s["failed"] for s in after]}


def tell(lab):
    return "\n".join(f"{p}: {lab.get('admin', p).body.decode()[:3000]}" for p in ("/_/peers", "/_/peers/groups?asset=media/film"))


def run_outage(lab, args, mode):
    with Run(lab, args, mode) as run:
        ready = run.steady()
        check(ready, f"{mode}: three pages play, with full buffers" + ("" if mode == "off" else ", and are connected to each other"), [run.all(), tell(lab)])
        for s in run.all():
            print(f"# at {s['position']:.0f} s: {s['sources']}")
        if mode == "on":
            print(f"# together they hold {run.reach()} s beyond the last of them")
        before, during, after, states, length = run.outage()
        got = summary(mode, before, after, length)
        print(f"# {json.dumps(got)}", flush=True)
        run.look("after", [0, 1] if mode == "on" else [0])
        wrong = [w for s in after for w in s["wrong"]]
        check(not wrong, f"{mode}: nothing is wrong with the pages: policy, errors", wrong)
        total = sum(got["stall_s"])
        if mode == "on":
            check(total <= 0.5, f"on: {length:.0f} s without a server, {total:.2f} s of stalls over three pages", [before, during, after, tell(lab)])
            check("outage" in states, "and the pages were told so", states)
            check(all(s["peers"] > 0 for s in after[1:]) and got["p2p_share"] > 0.05, f"{got['p2p_share']:.0%} came from peers, {got['origin_bytes_per_played_s']} bytes from the server per second played", after)
            forged = run.pages[1].js(FORGED)
            check(forged, "an instruction that the session's key did not sign changes nothing")
            met = renews(run)
            refuses(lab, run)
            console(lab)
            met()
            gateway_dies(lab, run)
        if mode == "off":
            wanted = [max(0, length - b) for b in got["buffer_s"]]
            check(all(abs(s - w) < 8 for s, w in zip(got["stall_s"], wanted)), f"off: each stalls for about the outage less its buffer: {got['stall_s']} s of {wanted}", [before, after])
        return got


def renews(run):
    """A token that is good no longer, after many an instruction. What is left to be seen after a while, as a function."""
    page, before = run.pages[1], run.all()
    was = page.js("weirPlayer.peers.session.viewer")
    page.js("weirPlayer.peers.now.seq = 100000; weirPlayer.peers.session.token = 'over'")
    told = until(lambda: page.js(f"(p => p.session.viewer !== '{was}' && p.now.viewer === p.session.viewer)(weirPlayer.peers)"), 15, 0.2)
    check(told, "a session that is over: the page opens another, whose instructions it takes", [page.stats(), page.js("weirPlayer.peers.now")])

    def met():
        # its peer_id is free again when the viewer that it was has left
        good = until(lambda: page.js("sockets.some(u => u.endsWith(weirPlayer.peers.session.token))") and page.stats()["connected"] >= 1, 40, 0.3)
        stalls = page.stats()["stall_ms"] - before[1]["stall_ms"]
        check(good and stalls <= 500, f"its trackers come along, it meets the others again, and stalls for {stalls:.0f} ms", [page.stats(), page.js("sockets")])
    return met


class Stranger(http.server.BaseHTTPRequestHandler):
    """Somebody's own "gateway", which a link names."""
    heard = []

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.heard.append(f"{self.command} {self.path} {dict(self.headers)}")
        self.send_response(200)
        for name in "Origin", "Headers", "Methods":
            self.send_header(f"Access-Control-Allow-{name}", {"Origin": "*", "Headers": "content-type, x-weir-csrf, authorization", "Methods": "GET, POST"}[name])
        self.end_headers()
        me = f"http://127.0.0.1:{self.server.server_port}"
        self.wfile.write(json.dumps({"viewer": "0" * 16, "token": "t", "key": "AAAA", "expires": time.time() + 60, "swarm": "x", "trackers": [], "gateways": [me], "report_ms": 2000,
                                     "media": {"list": "/b/media/film/weir-media.json", "key": "A" * 43 + "="}, "settings": {}}).encode())
    do_GET = do_POST = do_OPTIONS = answer

    def log_message(self, *_):
        pass


def stranger(lab, b):
    """b is signed in."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    b.open(f"http://127.0.0.1:{lab.port['gw0']}/_/player?asset=media/film&gateway=http://127.0.0.1:{server.server_port}")
    until(lambda: any("/b/media/film/" in x for x in Stranger.heard), 15, 0.2)
    told = [x for x in Stranger.heard if lab.token["ada"] in x or "Cookie" in x]
    check(Stranger.heard and not told, "a link that names a stranger's gateway: it is not told who is signed in here", told or Stranger.heard)
    server.shutdown()
    b.js("sessionStorage.clear()")


def refuses(lab, run):
    """The switch on the page."""
    me, page = run.pages[2].js("weirPlayer.peers.session.viewer"), run.pages[2]
    page.js("document.querySelector('#consent').click()")
    flags = lambda: [v["flags"] for g in lab.get("admin", "/_/peers/groups?asset=media/film").json or [] for v in g["viewers"] if v["viewer"] == me]
    told = until(lambda: flags() and "consent" not in flags()[0], 10, 0.2)
    off = page.js("weirPlayer.hls.p2pEngine.getConfig().core.mainStream.isP2PUploadDisabled")
    check(told and off, "who refuses gives nothing from then on, and the gateway knows", [flags(), off])


def console(lab):
    """What an operator sees of it."""
    with Browser() as b:
        b.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        b.open(f"http://127.0.0.1:{lab.port['gw0']}/")
        b.wait("document.readyState === 'complete'", "the console")
        b.js(f"sessionStorage.setItem('token', {json.dumps(lab.token['admin'])})")
        for at, want, name in (("#/peers", "[...document.querySelectorAll('main td a')].some(a => a.textContent === 'media/film')", "console"),
                               ("#/peers/media%2Ffilm", "document.querySelectorAll('main tbody tr').length >= 4", "console-groups")):
            b.open(f"http://127.0.0.1:{lab.port['gw0']}/?{name}{at}")  # another address: not only another hash
            b.wait("document.readyState === 'complete'", "the page")
            shown = until(lambda: b.js(want), 15, 0.2)
            b.screenshot(str(SHOTS / f"peers-{name}.png"))
            check(shown and not b.js("window.wrong.length"), f"the console shows it: {at}", [b.js("document.querySelector('main').innerText"), b.js("window.wrong")])


def little(lab):
    """What a page does that lacks something."""
    with Browser(*FLAGS) as b:
        b.open(f"http://10.77.0.1:{lab.port['gw0']}/_/player?asset=media/film")
        got = until(lambda: b.js("window.weirStats?.started && weirStats.off"), 15, 0.2)
        check(got and "secure context" in got, f"over plain HTTP from elsewhere peers are off, it says why, and the film plays: {got}", b.js("document.body.innerText"))
        b.call("Network.setBlockedURLs", urls=["*/_/player/lib/*"])
        b.open(f"http://127.0.0.1:{lab.port['gw0']}/_/player?asset=media/film")
        said = until(lambda: "make player" in (b.js("document.querySelector('main')?.innerText") or ""), 15, 0.2)
        check(said, "without its libraries the page says what to run", b.js("document.body.innerText"))
        b.call("Network.setBlockedURLs", urls=[])
        b.open(f"http://127.0.0.1:{lab.port['gw0']}/_/player")
        said = until(lambda: "Sign in" in (b.js("document.querySelector('main')?.innerText") or ""), 15, 0.2)
        check(said and "media/film" not in b.js("document.body.innerText"), "without an asset it lists no films to nobody in particular", b.js("document.body.innerText"))
        b.js(f"sessionStorage.setItem('token', {json.dumps(lab.token['ada'])})")
        b.open(f"http://127.0.0.1:{lab.port['gw0']}/_/player?")
        check(until(lambda: b.js("[...document.querySelectorAll('main td a')].some(a => a.textContent === 'media/film')"), 15, 0.2), "and to who is signed in which there are",
              b.js("document.body.innerText"))
        b.open(f"http://127.0.0.1:{lab.port['gw0']}/_/player?asset=private/film")
        told = until(lambda: b.js("window.weirStats?.started && weirStats.seq > 0"), 20, 0.2)
        check(told and not b.js("weirStats.off"), "a film of a bucket that is not public plays by the token, and its session too", b.js("JSON.stringify(weirStats)"))
        stranger(lab, b)


def gateway_dies(lab, run):
    """The page itself came from it; nobody reloads."""
    before = run.all()
    lab.gateways[0].kill()
    other = f"http://127.0.0.1:{lab.port['gw1']}"
    moved = until(lambda: all(s["gateway"] == other for s in run.all()), 20, 0.2)
    seq = [s["seq"] for s in run.all()]
    told = until(lambda: all(s["epoch"] > b["epoch"] or s["seq"] > q for s, b, q in zip(run.all(), before, seq)), 30, 0.3)
    after = run.all()
    stalls = sum(a["stall_ms"] - b["stall_ms"] for a, b in zip(after, before)) / 1000
    check(moved and told, "their gateway dies: all move to the next one, and are instructed by it", [s["gateway"] for s in after] + [s["wrong"] for s in after])
    at = [s["position"] for s in after]
    on = until(lambda: all(s["position"] > a + 4 or s["ended"] for s, a in zip(run.all(), at)), 15, 0.3)
    check(on and stalls <= 0.5, f"and go on playing, {stalls:.2f} s of stalls", [before, run.all()])
    lab.gateways[0].start()
    until(lambda: session_answers(lab, 0), 20) or lab.bail("the gateway does not start again")


def run_poison(lab, args):
    """Without a server, so that peers are needed: what it holds another holds too. One gateway: trackers of the second would see all
    pages come from one network, and two are asked for who saw the wrong bytes."""
    lab.gateways[1].stop()
    until(lambda: len(session_answers(lab, 0)["gateways"]) == 1, 20, 0.2)
    with Run(lab, args, "poison") as run:
        until(lambda: run.pages[0].js("window.weirPlayer?.peers?.store?.change ? true : false"), 20, 0.05)
        run.pages[0].js(POISON)
        run.steady()
        before = run.all()
        me = run.pages[0].js("weirPlayer.peers.session.viewer")
        for d in lab.endpoints:
            d.kill()
        is_out = lambda: any(v["viewer"] == me and "excluded" in v["flags"] for g in lab.get("admin", "/_/peers/groups?asset=media/film").json or [] for v in g["viewers"])
        out = until(is_out, 30, 0.3)
        refused, given = [s["refused"] for s in run.all()[1:]], run.pages[0].js("window.poisoned ?? 0")
        check(all(refused), f"poison: of {given} wrong segments the two others refused {refused}, by their hashes", [run.all(), tell(lab)])
        check(out, "the sender is excluded", tell(lab))
        gone = until(lambda: not run.pages[0].stats()["connected"], 20, 0.3)
        check(gone, "and nobody is connected to it any more", run.all())
        at = [s["position"] for s in run.all()[1:]]
        until(lambda: all(s["position"] > a + 6 for s, a in zip(run.all()[1:], at)), 15, 0.3)
        after = run.all()
        stalls = sum(a["stall_ms"] - b["stall_ms"] for a, b in zip(after[1:], before[1:])) / 1000
        check(stalls <= 0.5 and all(s["position"] > a + 6 for s, a in zip(after[1:], at)), f"those who refused play on without a server, {stalls:.2f} s of stalls", after)
        run.look("after", [0, 1])
        for d in lab.endpoints:
            d.start()
        until(lambda: all(lab.answers(d) for d in lab.endpoints)) or lab.bail("endpoints do not start again")
        return {"mode": "poison", "refused": refused, "stall_s": stalls}


def main():
    ask = argparse.ArgumentParser()
    ask.add_argument("--runs", default="on,poison")
    ask.add_argument("--outage", type=float, default=25)
    ask.add_argument("--buffer", type=float, default=10)
    ask.add_argument("--apart", type=float, default=3, help="seconds between the pages")
    ask.add_argument("--length", type=float, default=180, help="of the film")
    args = ask.parse_args()
    if not (TOP / "build/player/www/hls.min.mjs").exists() and subprocess.run(["make", "-s", "-C", TOP, "player"]).returncode:
        skip("make player did not work: no npm, or no network")
    enter("chromium", "ffmpeg", "ip")
    network()
    SHOTS.mkdir(parents=True, exist_ok=True)
    figures = []
    with Networks(endpoints=2, gateways=2, more="  peers: {origins: [\"*\"]}\n", endpoint_more="") as lab:
        lab.put("users/admin", {"name": "admin", "disabled": False, "grants": [], "keys": [], "groups": ["admins"]})
        lab.group("admins", role="admin")
        lab.user("admin", groups=["admins"], grants=[{"bucket": "*", "rights": "a"}])
        film(lab, args.length)
        for i in range(2):
            until(lambda: session_answers(lab, i), 20) or lab.bail("no session")
        little(lab)
        for mode in args.runs.split(",") if args.runs else []:
            figures.append(run_poison(lab, args) if mode == "poison" else run_outage(lab, args, mode))
    of = {f["mode"]: f for f in figures}
    for plain in "plain", "bounded":
        if plain in of and "off" in of:
            a, b = sum(of[plain]["stall_s"]), sum(of["off"]["stall_s"])
            check(a < b, f"{plain}: without our shim {a:.1f} s of stalls over three pages, without peers {b:.1f} s")
    (TOP / "build/bench").mkdir(parents=True, exist_ok=True)
    (TOP / "build/bench/peers_browser.json").write_text(json.dumps(figures, indent=1) + "\n")
    finish()


if __name__ == "__main__":
    main()
