# SPDX-License-Identifier: Apache-2.0
"""Viewers without a screen (weir media watch), each in a network of its own (198.18.N.1: what is asked at an address of this
machine comes from that address): one film is switched off, of the other viewers carry each other while the endpoint is
killed. Who refuses gives nothing and nobody learns of it; who only takes tells no address; what a lying peer sends is
thrown away, and the liar is excluded;
whose gateway dies moves to another and is in its group again. WATCH_OUTAGE (12) seconds."""
import hashlib
import http.server
import threading

from peers_lib import Viewer as Session, WebSocket, public
from upload_lib import *

OUTAGE = int(os.environ.get("WATCH_OUTAGE", "12"))
BUFFER, BEFORE, AFTER = 5, 12, 6
FILM_S = BEFORE + OUTAGE + AFTER + 20


class WatchLab(Lab):
    """Gateways listen on every address, and tell these to viewers of the others."""

    def gateway(self, i):
        port, inside = free_port(), free_port()
        listen = ", ".join(f"\"{a}:{port}\"" for a in ["127.0.0.1"] + [f"198.18.{site}.1" for site in range(1, 10)])
        d = self.daemon("gateway", f"gw{i}", f"gateway:\n  listen: [{listen}]\n  inside: \"127.0.0.1:{inside}\"\n")
        self.port[d.node], self.inside[d.node] = port, inside
        return d


class Watcher:
    """weir media watch."""

    def __init__(self, lab, film, site, *more, seconds=BEFORE + OUTAGE + AFTER, gateway=0):
        self.site, self.port, self.began = site, lab.port[f"gw{gateway}"], time.monotonic()
        self.trace_file = lab.work / f"trace-{film}-{site}"
        self.process = subprocess.Popen([BIN / "weir", "media", "watch", film, "--gateway", f"http://198.18.{site}.1:{self.port}",
                                         "--seconds", str(seconds), "--buffer", str(BUFFER), "--trace", self.trace_file, "--json", *more],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, seconds=90):
        out, self.said = self.process.communicate(timeout=seconds)
        try:
            self.got = json.loads(out)
        except ValueError:
            self.got = {}
            print(f"# {self.site}: {out}{self.said}")
        return self.got

    def trace(self, what=None, way=None):
        lines = [json.loads(l) for l in self.trace_file.read_text().splitlines()]
        return [l["text"] for l in lines if what in (None, l["what"]) and way in (None, l["way"])]


class Liar(Session):
    """A viewer with a session of its own that says it has everything, and gives other bytes."""

    def __init__(self, lab, film, site, segments, rendition):
        super().__init__(lab, "media", film)
        self.host, self.asked, self.segments, self.heard, self.quit = f"198.18.{site}.1", 0, segments, 0, False
        self.peer, self.hash = "-XX0001-aaaaaaaaaaaa", swarm_of(f"media/{film}", rendition)
        liar = self

        class Serve(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/weir/have":
                    body = json.dumps({"have": [[0, 0, liar.segments - 1]]}).encode()
                else:
                    liar.asked += 1
                    body = b"x" * 1000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer((self.host, 0), Serve)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.ws = WebSocket(self.port, f"/_/tracker?token={self.token}", host=self.host)
        threading.Thread(target=self.lie, daemon=True).start()

    def sdp(self):
        return f"weir-tcp {self.host}:{self.server.server_port} {'0' * 32}"

    def say(self, **more):
        self.ws.send({"action": "announce", "info_hash": self.hash, "peer_id": self.peer, **more})

    def report(self, tick):
        self.lab.req("POST", f"/_/peers/report?token={self.token}", None, json.dumps(
            {"r": 0, "n": tick // 10, "pos": tick / 5, "buffer": 20000, "have": [[0, 0, self.segments - 1]], "down_server": 1000000,
             "down_peers": 0, "up": 0, "stalls": 0, "stall_ms": 0, "failed": 0, "slow": 0.1, "rtt": 1}))

    def lie(self):
        """Meets everybody, and reports as one who has the whole film."""
        for tick in range(1000):
            if self.quit or self.ws.closed:
                return
            if tick % 15 == 0:
                self.say(numwant=5, left=1, **({} if tick else {"event": "started"}), offers=[
                    {"offer_id": f"{tick:08d}-liar-{i:06d}", "offer": {"type": "offer", "sdp": self.sdp()}} for i in range(5)])
            for m in self.ws.seen[self.heard:]:
                self.heard += 1
                if "offer" in m:
                    self.say(to_peer_id=m["peer_id"], offer_id=m["offer_id"], answer={"type": "answer", "sdp": self.sdp()})
            if tick % 10 == 0:
                self.report(tick)
            time.sleep(0.2)


def swarm_of(asset, rendition):
    return base64.urlsafe_b64encode(hashlib.sha256(f"weir-tcp {asset} {rendition}".encode()).digest()).decode()[:20]


def film(lab):
    """Four assets of one film."""
    path = lab.work / "film.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc=size=160x90:rate=10:duration={FILM_S}", "-pix_fmt", "yuv420p",
                    "-c:v", "libx264", "-preset", "ultrafast", path], check=True)
    for name in "on", "off", "lies", "moves":
        got = subprocess.run([BIN / "weir", "media", "add", path, name, "--rendition", "90p@120k", "--segment", "2", "--preset", "ultrafast",
                              "--gateway", f"http://127.0.0.1:{lab.port['gw0']}"], capture_output=True, text=True,
                             env={**os.environ, "WEIR_TOKEN": lab.token["ada"]})
        if got.returncode:
            lab.bail(f"weir media add: {got.stdout}{got.stderr}")
    listed = json.loads(json.loads(lab.get("ada", "/b/media/on/weir-media.json").body)["payload"])
    return len(listed["renditions"][0]["segments"]), listed["renditions"][0]["name"]


def peers(lab, *argv, gateway=0):
    got = subprocess.run([BIN / "weir", "peers", *argv, "--json", "--url", f"http://127.0.0.1:{lab.port[f'gw{gateway}']}"], capture_output=True,
                         text=True, env={**os.environ, "WEIR_TOKEN": lab.token["ada"]})
    try:
        return json.loads(got.stdout)
    except ValueError:
        print(f"# weir peers {' '.join(argv)}: {got.stdout}{got.stderr}")
        return {}


def asset(lab, name, gateway=0):
    return next((a for a in peers(lab, "list", gateway=gateway).get("assets", []) if a["asset"] == f"media/{name}"), {})


def lies(lab, segments, rendition):
    honest = [Watcher(lab, "lies", site, seconds=24) for site in (1, 2, 3)]
    liar = Liar(lab, "lies", 9, segments, rendition)
    excluded = until(lambda: any("excluded" in v["flags"] for g in peers(lab, "groups", "media/lies") for v in g["viewers"]), 20, 0.3)
    shown = peers(lab, "groups", "media/lies")
    liar.quit = True
    got = [w.end() for w in honest]
    check(excluded, "who sends wrong bytes to viewers of several networks is excluded", (shown, liar.asked))
    check(liar.asked and sum(g.get("refused", 0) for g in got) >= 2 and all(g.get("bad") in ([], [liar.peer]) for g in got),
          "what it sent was thrown away by each who asked it", (liar.asked, got))
    check(all(g.get("stall", 9) <= 0.5 and g.get("played", 0) > 20 for g in got), "and nobody stood still for it", got)
    check(liar.ws.closed, "its connection was closed", liar.ws.seen[-3:])


def outage(lab):
    check(peers(lab, "switch", "media/off", "off").get("mode") == "off", "weir peers switch: one film's viewers do not carry each other")
    on = [Watcher(lab, "on", site) for site in (1, 2, 3, 4)]
    taker = Watcher(lab, "on", 5, "--consent", "receive")
    alone = Watcher(lab, "on", 6, "--consent", "no")
    off = [Watcher(lab, "off", site) for site in (7, 8)]
    check(until(lambda: asset(lab, "on").get("first", 0) >= 2, BEFORE - 3, 0.3), "weir peers list: a first group of several", peers(lab, "list"))
    groups = peers(lab, "groups", "media/on")
    check(sum(len(g["viewers"]) for g in groups) == 6, "weir peers groups: six viewers", groups)
    time.sleep(max(0, on[0].began + BEFORE - time.monotonic()))
    lab.endpoints[0].kill()
    died = time.monotonic()
    state = until(lambda: asset(lab, "on").get("state") == "outage", OUTAGE - 2, 0.2)
    check(state, f"the outage is noticed, after {time.monotonic() - died:.1f} s", peers(lab, "list"))
    time.sleep(max(0, died + OUTAGE - time.monotonic()))
    lab.endpoints[0].start()
    for w in on + [taker, alone] + off:
        w.end()
    show = lambda l: [{k: w.got.get(k) for k in ("played", "stall", "stalls", "down_server", "down_peers", "up", "failed", "role", "peers")} for w in l]
    check(all(w.got.get("stall", 99) <= 0.5 and w.got.get("played", 0) > BEFORE + OUTAGE for w in on),
          f"{OUTAGE} s without an endpoint: {len(on)} viewers who carry each other stood still for "
          f"{sum(w.got.get('stall', 99) for w in on):.1f} s together", show(on))
    check(all(OUTAGE - BUFFER - 4 <= w.got.get("stall", 0) <= OUTAGE + 4 for w in off),
          f"those who are switched off for {[w.got.get('stall') for w in off]} s each", show(off))
    check(all(w.got.get("down_peers") == 0 and w.got.get("up") == 0 for w in off), "and they give and take nothing", show(off))
    check(sum(w.got.get("down_peers", 0) for w in on) > 0 and sum(w.got.get("up", 0) for w in on) > 0, "bytes were carried", show(on))
    check(taker.got.get("up") == 0 and taker.got.get("down_peers", 0) > 0 and taker.got.get("stall", 99) <= 0.5,
          "who only takes is fed, and gives nothing", show([taker]))
    check(alone.got.get("up") == 0 and alone.got.get("down_peers") == 0 and alone.got.get("stall", 0) >= OUTAGE - BUFFER - 4,
          "who refuses gives and takes nothing, and stands still", show([alone]))
    return on, taker, alone


def moves(lab):
    """Last: nothing is started again."""
    here = [Watcher(lab, "moves", site, seconds=34) for site in (1, 2)] + [Watcher(lab, "moves", 3, seconds=34, gateway=1)]
    check(until(lambda: asset(lab, "moves", 1).get("first", 0) == 3, 12, 0.3), "viewers at two gateways are one group", peers(lab, "list", gateway=1))
    lab.gateways[0].kill()
    died = time.monotonic()
    moved = until(lambda: (lambda a: a.get("viewers") == 3 and a.get("first") == 3)(asset(lab, "moves", 1)) and
                  all(v["home"] == "gw1" for g in peers(lab, "groups", "media/moves", gateway=1) for v in g["viewers"]), 15, 0.3)
    check(moved, f"a gateway dies: its viewers are at the other after {time.monotonic() - died:.1f} s, and one group again",
          peers(lab, "groups", "media/moves", gateway=1))
    time.sleep(3)
    lab.endpoints[0].kill()
    got = [w.end() for w in here]
    check(all(g.get("stall", 99) <= 0.5 and g.get("played", 0) > 30 for g in got) and sum(g.get("down_peers", 0) for g in got) > 0,
          "and they outlive the endpoint, too", [got, [w.said for w in here]])


def addresses(on, taker, alone):
    """Who learned which address: by all that was said, both ways."""
    every = on + [taker, alone]
    own = {w: f"198.18.{w.site}.1:" for w in every}

    def said(w, of, way):
        """What w said ("out") or heard with the address of another, but that of the gateway, which is the same."""
        return [t for t in w.trace(None, way) if own[of] in t.replace(f"{own[of]}{w.port}", "")]

    check(all('"sdp":"weir-tcp 198.18' in t and ('"offers"' in t or '"answer"' in t) for w in on for t in said(w, w, "out")) and
          all(said(w, w, "out") for w in on), "a viewer says its address in its own offers and answers alone")
    check(not any(said(w, w, "out") for w in (taker, alone)), "who only takes, and who refuses, say none")
    check(not any(said(w, of, "in") for w in every for of in (taker, alone)), "nobody is told theirs")
    check(not any(said(w, of, "out") for w in every for of in every if of is not w), "nobody says another's")
    check(not alone.trace("tracker") and not any(alone.got.get("peer", "?") in t for w in on + [taker] for t in w.trace()),
          "who refuses is at no tracker, and no viewer knows of it")


with WatchLab(gateways=2) as lab:
    lab.user("ada", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
    public(lab, "media")
    made = film(lab)
    lies(lab, *made)
    addresses(*outage(lab))
    moves(lab)
finish()
