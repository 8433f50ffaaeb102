# SPDX-License-Identifier: Apache-2.0
"""Viewers of one film, each in a network of its own, at several gateways. They are one crowd: grouped together, carrying each
other. Then a home dies, the owner hangs, the owner dies and comes back, the registry is silent, a gateway is added: everybody
keeps playing with the session that it began with, and obeys one owner at a time: its epoch never goes back.

Two more are clients of the tracker alone, as players without our shim are: no reports, no stream of instructions."""
import threading

from peers_lib import Viewer as Session, WebSocket, public
from upload_lib import *

FILM_S = 240
HOMES = ("gw0", "gw0", "gw1", "gw1")  # of viewers at sites 1 to 4; gw2 owns the film, gw3 shall


class GatewayLab(Lab):
    """A gateway at an address of its own, the endpoint too."""

    def endpoint(self, i, more=None):
        port, inside = free_port(), free_port()
        d = self.daemon("endpoint", f"ep{i}", f"endpoint:\n  listen: [\"10.77.0.9:{port}\"]\n  url: \"http://10.77.0.9:{port}\"\n"
                        f"  inside: \"127.0.0.1:{inside}\"\n  copies: 1\n  reserve: 1MiB\n")
        self.port[d.node], self.inside[d.node] = port, inside
        return d

    def gateway(self, i):
        port, inside = free_port(), free_port()
        d = self.daemon("gateway", f"gw{i}", f"gateway:\n  listen: [\"127.0.0.1:{port}\", \"10.77.0.{i + 1}:{port}\"]\n  inside: \"127.0.0.1:{inside}\"\n")
        self.port[d.node], self.inside[d.node] = port, inside
        return d

    def req(self, method, path, user=None, body=None, headers=None, follow=True, **kw):
        got = super().req(method, path, user, body, headers, follow=False, **kw)
        if follow and got.status == 307:
            where = got.headers["location"].split("/", 3)
            c = http.client.HTTPConnection(where[2], timeout=10)
            c.request(method, "/" + where[3])
            r = c.getresponse()
            got = Answer(r.status, r.getheaders(), r.read())
        return got

    def by(self, node):
        return next(g for g in self.gateways if g.node == node)


class Watcher:
    """weir media watch at a site."""

    def __init__(self, lab, film, site, home):
        self.lab, self.site, self.home = lab, site, home
        self.trace_file = lab.work / f"trace-{site}"
        self.process = subprocess.Popen(["ip", "netns", "exec", f"site{site}", BIN / "weir", "media", "watch", film, "--gateway",
                                         f"http://10.77.0.{int(home[2:]) + 1}:{lab.port[home]}", "--buffer", "8", "--json", "--trace", self.trace_file],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def lines(self):
        try:
            return [json.loads(l) for l in self.trace_file.read_text().splitlines()]
        except FileNotFoundError:
            return []
        except ValueError:
            return self.lines()  # half a line

    def told(self, since=0):
        """[(unix s, instruction)]"""
        return [(l["at"] / 1000, json.loads(json.loads(l["text"])["p"])) for l in self.lines() if l["what"] == "instruction" and l["at"] >= since * 1000]

    def last_epoch(self):
        return max((i["epoch"] for _, i in self.told()), default=0)

    def report(self):
        return next((json.loads(l["text"]) for l in reversed(self.lines()) if l["what"] == "report" and l["way"] == "out"), {})

    def end(self):
        self.process.terminate()
        out, self.said = self.process.communicate(timeout=30)
        try:
            return json.loads(out)
        except ValueError:
            print(f"# site {self.site}: {out}{self.said}")
            return {}


class Client(Session):
    """Speaks with the tracker as bittorrent-tracker's client does: announces with offers when the answer's interval is over,
    answers each offer, connects again when the socket ends."""

    def __init__(self, lab, film, home):
        super().__init__(lab, "media", film, gateway=[g.node for g in lab.gateways].index(home))
        self.quit, self.met, self.answered = False, [], []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.quit:
            try:
                self.live()
            except OSError:
                pass
            time.sleep(1)

    def live(self):
        heard, due, event = 0, 0, "started"
        self.connect()
        while not self.ws.closed and not self.quit:
            if time.monotonic() >= due:
                due, event = time.monotonic() + 30, self.announce(offers=3, event=event)
            for m in self.ws.seen[heard:]:
                heard += 1
                if "interval" in m:
                    due = time.monotonic() + m["interval"]
                if "offer" in m:
                    self.met.append((time.time(), m["peer_id"]))
                    self.answer(m)
                if "answer" in m:
                    self.answered.append((time.time(), m["peer_id"]))
            time.sleep(0.05)


def names(lab):
    """A film that gw2 owns of three gateways, and gw3 of four."""
    tried = [f"film{i}" for i in range(60)]

    def owners():
        for name in tried:
            gateway = next(i for i in range(len(lab.gateways)) if lab.gateways[i].runs())
            v = Session(lab, "media", name, gateway=gateway)
            v.report()
        return lambda: {a["asset"][6:]: a["owner"] for a in lab.get("ada", "/_/peers").json.get("assets", []) if a["viewers"]}
    look = owners()
    until(lambda: len(look()) == len(tried) and len(set(look().values())) == 4, 15, 0.5)
    four = look()
    lab.by("gw3").stop()
    until(lambda: "gw3" not in json.dumps(lab.get("ada", "/_/peers").json), 15, 0.2)
    until(lambda: set(look()) >= set(tried) and len(set(look().values())) == 3, 15, 0.5)
    three = look()
    both = [n for n in tried if four.get(n) == "gw3" and three.get(n) == "gw2"]
    moved = [n for n in tried if four.get(n) != "gw3" and four.get(n) != three.get(n)]
    share = {g: list(four.values()).count(g) for g in ("gw0", "gw1", "gw2", "gw3")}
    check(len(four) == len(three) == len(tried) and min(share.values()) > 0 and not moved,
          f"of 60 films, four gateways own {list(share.values())}; when one goes, only its own go to others", (moved, four, three))
    return both[0] if both else lab.bail(f"no name is right: {four} {three}")


def film(lab, name):
    path = lab.work / "film.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc=size=160x90:rate=10:duration={FILM_S}", "-pix_fmt", "yuv420p",
                    "-c:v", "libx264", "-preset", "ultrafast", path], check=True)
    got = subprocess.run([BIN / "weir", "media", "add", path, name, "--rendition", "90p@120k", "--segment", "2", "--preset", "ultrafast",
                          "--gateway", f"http://127.0.0.1:{lab.port['gw0']}"], capture_output=True, text=True,
                         env={**os.environ, "WEIR_TOKEN": lab.token["ada"]})
    if got.returncode:
        lab.bail(f"weir media add: {got.stdout}{got.stderr}")


def peers(lab, at, *argv):
    got = subprocess.run([BIN / "weir", "peers", *argv, "--json", "--url", f"http://127.0.0.1:{lab.port[at]}"], capture_output=True,
                         text=True, env={**os.environ, "WEIR_TOKEN": lab.token["ada"]})
    try:
        return json.loads(got.stdout)
    except ValueError:
        print(f"# weir peers {' '.join(argv)}: {got.stdout}{got.stderr}")
        return []


class Crowd:
    def __init__(self, lab, name):
        self.lab, self.name = lab, name
        self.watchers = [Watcher(lab, name, site + 1, home) for site, home in enumerate(HOMES)]
        self.clients = [Client(lab, name, home) for home in ("gw0", "gw1")]

    def groups(self, at="gw0"):
        return peers(self.lab, at, "groups", f"media/{self.name}")

    def together(self, at="gw0"):
        """{viewer: home} of the grouping that has most."""
        return max(({v["viewer"]: v["home"] for v in g["viewers"] if v["role"] != "alone"} for g in self.groups(at)), key=len, default={})

    def ids(self):
        return [w.told()[-1][1]["viewer"] for w in self.watchers]

    def owner(self, at="gw0"):
        return [a["owner"] for a in peers(self.lab, at, "list").get("assets", []) if a["asset"] == f"media/{self.name}"]

    def regrouped(self, since, watchers=None, seconds=40):
        """s until each has an instruction that puts it into a group, of one who began to instruct it after `since`."""
        watchers = watchers or self.watchers
        before = {w.site: max((i["epoch"] for t, i in w.told() if t < since), default=0) for w in watchers}
        first = lambda w: next((t - since for t, i in w.told(since) if i["epoch"] > before[w.site] and i["role"] != "alone"), None)
        until(lambda: all(first(w) is not None for w in watchers), seconds, 0.2)
        return [first(w) for w in watchers]

    def stalls(self):
        return [w.report().get("stall_ms", -1) for w in self.watchers]


def most(times):
    return f"{max(times):.1f} s" if None not in times else "never"


def begin(lab, crowd):
    check(until(lambda: all(w.told() for w in crowd.watchers), 20, 0.2), "each viewer is instructed", [w.lines()[-3:] for w in crowd.watchers])
    ids = crowd.ids()
    check(until(lambda: set(ids) <= set(crowd.together()), 30, 0.5), "viewers at two gateways are grouped together", crowd.groups())
    shown = crowd.together()
    check([shown.get(i) for i in ids] == list(HOMES) and crowd.owner() == ["gw2"], "by a third one, that is nobody's home", (shown, crowd.owner()))
    check(all(set(ids) <= set(crowd.together(g)) and crowd.owner(g) == ["gw2"] for g in ("gw0", "gw1", "gw2")), "weir peers says so at each gateway")
    peer_home = lambda: {l: w.home for w in crowd.watchers for l in [next((json.loads(x["text"])["peer_id"] for x in w.lines() if x["what"] == "tracker" and x["way"] == "out"), None)]}

    def crossed():
        """Bytes from viewers of the other gateway, when two have some: who feeds whom is the owner's choice."""
        homes = peer_home()
        got = [sum(n for p, n in w.report().get("from", {}).items() if homes.get(p, w.home) != w.home) for w in crowd.watchers]
        return sum(n > 0 for n in got) >= 2 and sum(got)
    check(until(crossed, 40, 0.5), f"bytes flow between viewers of different gateways ({crossed()})", [w.report() for w in crowd.watchers])
    a, b = crowd.clients
    check(until(lambda: (a.met or b.met) and (a.answered or b.answered), 30, 0.2) and
          {p for _, p in a.met + a.answered} <= {b.peer} and {p for _, p in b.met + b.answered} <= {a.peer},
          "clients of the tracker alone, at two gateways: an offer goes across, its answer back", (a.met, a.answered, b.met, b.answered))
    return ids


def home_dies(lab, crowd, ids):
    moved = crowd.watchers[2:]
    now = time.time()
    lab.by("gw1").kill()
    times = crowd.regrouped(now, moved)
    check(None not in times and max(times) < 12, f"a home dies: its viewers are in a group again after {most(times)}", [w.told(now) for w in moved])
    check(crowd.ids() == ids, "with the sessions that they had")
    homes = until(lambda: (lambda t: t if set(ids) <= set(t) and "gw1" not in t.values() else None)(crowd.together()), 15, 0.5)
    check(homes, f"all are one group again, with other homes, {time.time() - now:.1f} s after", crowd.groups())
    lab.by("gw1").start()
    until(lambda: lab.answers(lab.by("gw1")))
    time.sleep(3)
    check(set(ids) <= set(crowd.together("gw1")), "it comes back: nothing changes, and it shows what there is", crowd.groups("gw1"))


def owner_hangs(lab, crowd, ids):
    now, gateway = time.time(), lab.by("gw2")
    gateway.process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    gateway.process.send_signal(signal.SIGCONT)
    until(lambda: crowd.owner() == ["gw2"] and set(ids) <= set(crowd.together()), 30, 0.5)
    check(crowd.owner() == ["gw2"] and set(ids) <= set(crowd.together()), f"the owner hangs for 5 s: {time.time() - now - 5:.1f} s later it groups all as before",
          (crowd.owner(), crowd.groups()))


def owner_dies(lab, crowd, ids):
    now, gateway = time.time(), lab.by("gw2")
    gateway.kill()
    before = {w.site: max(i["epoch"] for t, i in w.told() if t < now) for w in crowd.watchers}
    first = lambda w: next((t - now for t, i in w.told(now) if i["epoch"] > before[w.site]), None)
    until(lambda: all(first(w) is not None for w in crowd.watchers), 30, 0.2)
    heard, times = [first(w) for w in crowd.watchers], crowd.regrouped(now)
    check(None not in heard and max(heard) < 8, f"the owner dies: each viewer hears of another one after {most(heard)}", heard)
    check(None not in times and max(times) < 12, f"and has its place in a group after {most(times)}", [w.told(now) for w in crowd.watchers])
    check(until(lambda: set(ids) <= set(crowd.together()), 15, 0.5), "all are one group", crowd.groups())
    alone = [i["role"] for w in crowd.watchers for _, i in w.told(now)].count("alone")
    check(not alone, "nobody was told to be alone meanwhile", alone)
    a, b = crowd.clients
    met = len(a.met + b.met)
    check(until(lambda: len(a.met + b.met) > met, 45, 0.2), f"clients of the tracker alone meet again after {time.time() - now:.1f} s", (a.met, b.met))
    back = time.time()
    gateway.start()
    until(lambda: lab.answers(gateway))
    until(lambda: crowd.owner() == ["gw2"] and set(ids) <= set(crowd.together()), 20, 0.5)
    check(crowd.owner() == ["gw2"] and set(ids) <= set(crowd.together()), f"it comes back: after {time.time() - back:.1f} s it groups all, and the other let go",
          (crowd.owner(), crowd.groups()))


def silent_registry(lab, crowd, ids):
    time.sleep(3)  # an owner who took over waits before it speaks
    before = [w.last_epoch() for w in crowd.watchers]
    lab.daemons[0].process.send_signal(signal.SIGSTOP)
    time.sleep(12)
    check(set(ids) <= set(crowd.together()) and [w.last_epoch() for w in crowd.watchers] == before, "the registry is silent for 12 s: nothing changes", crowd.groups())
    lab.daemons[0].process.send_signal(signal.SIGCONT)
    time.sleep(5)
    check(set(ids) <= set(crowd.together()) and [w.last_epoch() for w in crowd.watchers] == before, "nor when it speaks again", (before, [w.told()[-1] for w in crowd.watchers]))


def added(lab, crowd, ids):
    now = time.time()
    lab.by("gw3").start()
    until(lambda: crowd.owner() == ["gw3"] and set(ids) <= set(crowd.together()), 20, 0.5)
    times = crowd.regrouped(now)
    check(crowd.owner() == ["gw3"] and set(ids) <= set(crowd.together()), f"a gateway is added: {most(times)} after its start it groups its share", (crowd.owner(), crowd.groups()))
    told = [i for w in crowd.watchers for _, i in w.told(now)]
    check(not any(i["role"] == "alone" for i in told), "viewers hear of nothing but a new epoch", told)


def end(lab, crowd, ids):
    for c in crowd.clients:
        c.quit = True
    for w in crowd.watchers:
        said = [i["epoch"] for _, i in w.told()]
        check(said == sorted(said), f"the epoch of viewer {w.site} never went back", said)
    got = [w.end() for w in crowd.watchers]
    check([g.get("viewer") for g in got] == ids and all(g.get("stall", 9) <= 0.5 for g in got),
          f"all played to this point with one session each; stood still {[g.get('stall') for g in got]} s", got)
    check(all(g.get("forged") == 0 and g.get("refused") == 0 for g in got), "no instruction or segment was wrong", got)


def main():
    with GatewayLab(gateways=4) as lab:
        lab.user("ada", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
        public(lab, "media")
        name = names(lab)
        film(lab, name)
        crowd = Crowd(lab, name)
        ids = begin(lab, crowd)
        for part in home_dies, owner_hangs, owner_dies, silent_registry, added:
            part(lab, crowd, ids)
            stalls = crowd.stalls()
            check(max(stalls) <= 500, f"… nobody stood still ({stalls} ms so far)")
        end(lab, crowd, ids)
        if os.environ.get("UPLOAD_SAN"):
            check(not any("Sanitizer" in d.said() or "runtime error" in d.said() for d in lab.daemons), "no sanitizer said anything")
    finish()


main()
