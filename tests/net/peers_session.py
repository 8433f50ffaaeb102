# SPDX-License-Identifier: Apache-2.0
"""Viewers at a real gateway with an endpoint: who gets a session, what its token opens, who meets whom through the tracker,
what instructions say, what is refused, and what a restart leaves. UPLOAD_SAN=1 runs the programs of build/san."""
import base64
import json
import os
import socket
import time

from peers_lib import Lab, Stream, Viewer, WebSocket, check, finish, public, session, until

LIMITS = "  peers: {viewers: 40, per_address: 12, session: 60s, origins: [\"https://films.example\"]}\n"


def sessions(lab):
    got = session(lab, "films", "big", consent=True)
    s = got.json
    check(got.status == 200 and len(s["viewer"]) == 16 and s["token"].startswith("weirv1.") and len(base64.b64decode(s["key"])) == 32,
          "a public bucket's asset: everybody gets a session", got)
    port = lab.port["gw0"]
    check(s["swarm"] == "films/big" and s["trackers"] == [f"ws://127.0.0.1:{port}/_/tracker?token={s['token']}"] and
          s["gateways"] == [f"http://127.0.0.1:{port}"], "it says where the tracker and the gateways are", s)
    check(s["media"]["list"] == "/b/films/big/weir-media.json" and s["master"] == "/b/films/big/master.m3u8" and
          s["report_ms"] >= 500 and abs(s["expires"] - time.time() - 60) < 10 and abs(s["now"] / 1000 - time.time()) < 5 and s["settings"]["swarmId"] == "films/big",
          "and what there is to play", s)
    check(session(lab, "private", "big").status == 401, "another bucket's: 401 to nobody")
    check(session(lab, "private", "big", user="rita").status == 403, "403 to who may not read it")
    check(session(lab, "private", "big", user="ada").status == 200, "a session to who may")
    for name, body in {"no JSON": "{", "an array": "[]", "no asset": '{"bucket":"films"}', "dots": '{"bucket":"films","asset":"a/../../private/x"}',
                       "an empty part": '{"bucket":"films","asset":"a//b"}', "a slash first": '{"bucket":"films","asset":"/a"}',
                       "a long name": json.dumps({"bucket": "films", "asset": "x" * 192}), "a control": '{"bucket":"films","asset":"a\\u0001"}', "one of eight bits": '{"bucket":"films","asset":"a\\u009b31m"}',
                       "consent that is a word": '{"bucket":"films","asset":"a","consent":"yes"}',
                       "a bucket with a slash": '{"bucket":"films/x","asset":"a"}'}.items():
        got = lab.req("POST", "/_/peers/session", None, body)
        check(got.status == 400 and got.json["message"], f"a session of {name}: 400 and a sentence", got)
    check(lab.req("POST", "/_/peers/session", None, b"x" * 5000).status == 413, "a long body: 413")


def tokens(lab):
    v = Viewer(lab)
    payload, mac = v.token.split(".")[1:]
    says = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    again = base64.urlsafe_b64encode(json.dumps({**says, "a": "private/big"}).encode()).rstrip(b"=").decode()
    flip = lambda t, i: t[:i] + ("A" if t[i] != "A" else "B") + t[i + 1:]
    user = lab.token["ada"]
    bad = {"none": "", "another asset's": f"weirv1.{again}.{mac}", "one with a changed signature": flip(v.token, len(v.token) - 9),
           "one with a changed payload": flip(v.token, 12), "half a token": v.token[:60], "a user's": user, "words": "hello"}
    for name, token in bad.items():
        got = [WebSocket(v.port, f"/_/tracker?token={token}").status,
               lab.req("GET", f"/_/peers/events?token={token}").status,
               lab.req("POST", f"/_/peers/report?token={token}", None, "{}").status]
        check(got == [401, 401, 401], f"{name} token is refused by tracker, events and report", got)
    check(lab.req("GET", "/b/private/x", None, headers={"Authorization": f"Bearer {v.token}"}, follow=False).status == 401 and
          lab.req("GET", "/_/status", None, headers={"Authorization": f"Bearer {v.token}"}).status == 401,
          "a viewer's token is nobody's elsewhere")
    plain = lab.req("GET", f"/_/tracker?token={v.token}")
    check(plain.status in (400, 426), "the tracker without an upgrade is refused", plain)




def meet(lab):
    a, b, alone = Viewer(lab), Viewer(lab), Viewer(lab, consent=False, receive=False)
    for v in a, b, alone:
        check(v.connect().accepted and v.listen().status == 200, "a viewer connects: 101, and a stream of events", v.ws.status)
        v.announce(offers=3)
    check(a.ws.wait(lambda m: m.get("action") == "announce" and "interval" in m), "an announce is answered", a.ws.seen)
    for v in a, b, alone:
        check(v.report().status == 204, "a report is taken")
    renew = lambda: [v.announce(offers=3, event=None) for v in (a, b, alone)]
    meets = lambda: a.ws.wait(lambda m: "offer" in m, 1) or b.ws.wait(lambda m: "offer" in m, 1) or renew() and None
    check(until(meets, 20), "offers of two viewers of an asset come to one of them", (a.ws.seen, b.ws.seen))
    to, of = (a, b) if a.ws.wait(lambda m: "offer" in m, 0.1) else (b, a)
    offer = to.ws.wait(lambda m: "offer" in m)
    check(offer["peer_id"] == of.peer and offer["offer"]["sdp"] == f"v=0 of {of.peer}" and offer["info_hash"] == of.hash,
          "the offer is the other's, as it was made", offer)
    to.answer(offer)
    answer = of.ws.wait(lambda m: "answer" in m)
    check(answer and answer["peer_id"] == to.peer and answer["offer_id"] == offer["offer_id"] and
          answer["answer"]["sdp"] == f"v=0 by {to.peer}", "the answer comes back", of.ws.seen)
    for v in a, b:
        i = v.instruction(lambda i: i["role"] in ("first", "second"), 15)
        check(i and i["v"] == 1 and i["viewer"] == v.viewer and i["state"] == "calm" and i["until"] > time.time() * 1000,
              "an instruction with a role comes, and its MAC is right", v.stream.seen or v.stream.wrong)
        check(not v.stream.wrong, "no instruction has a wrong MAC", v.stream.wrong)
    late = Stream(a.port, f"/_/peers/events?token={a.token}", a.key)
    check(late.wait(lambda i: i["seq"] == a.stream.seen[-1][1]["seq"]), "a stream that begins anew gets the last instruction first", late.seen)
    check(until(lambda: a.stream.closed, 5), "and ends the former one")
    a.stream = late
    check(Stream(b.port, f"/_/peers/events?token={b.token}", a.key).wait(lambda i: True, 1) is None, "another session's key does not verify it")
    b.listen()
    heard = json.dumps(alone.ws.seen) + json.dumps([i for _, i in alone.stream.seen])
    check(a.peer not in heard and b.peer not in heard, "who wants nothing from others hears of nobody", heard)
    heard = json.dumps(a.ws.seen + b.ws.seen) + json.dumps([i for v in (a, b) for _, i in v.stream.seen])
    check(alone.peer not in heard, "and nobody of them", heard)
    return a, b, alone


def watchers(lab):
    """Two without consent: neither may be shown to the other, as none of them would help."""
    a, b = Viewer(lab, asset="quiet", consent=False), Viewer(lab, asset="quiet", consent=False)
    for _ in range(3):
        for v in a, b:
            if not v.ws:
                v.connect()
                v.listen()
            v.announce(offers=3)
            v.report()
        time.sleep(1.1)  # reports and grouping go by the clock: what must not happen has time to
    check(not any("offer" in m for m in a.ws.seen + b.ws.seen), "two who do not consent never get each other's offers", a.ws.seen)
    check(b.peer not in json.dumps(a.stream.seen) and a.peer not in json.dumps(b.stream.seen), "nor each other's ids")
    a.leave()
    b.leave()


def hostile(lab):
    long = lab.req("POST", "/_/media/films/big", "rita", b" " * (2 << 20))
    check(long.status == 403, "two megabytes of a list: who may not write is told before", long)
    check(lab.req("POST", "/_/media/films/big", "root", b" " * (2 << 20)).status == 400, "who may is told that it is none")
    c = Viewer(lab, asset="hostile")
    c.connect().send('{"action":"\x01"}')
    check(until(lambda: c.ws.code == 1008, 5), "control characters end the socket", c.ws.code)
    v = Viewer(lab, asset="hostile")
    v.connect()
    for text in "no json", "[]", '{"action":"announce"}', '{"action":"x"}', '{"action":"announce","info_hash":"short","peer_id":"p"}', "{" * 2000:
        v.ws.send(text)
    v.announce()
    check(v.ws.wait(lambda m: "interval" in m) or v.ws.closed, "malformed messages are answered or closed, and the gateway lives", v.ws.seen)
    w = Viewer(lab, asset="hostile")
    w.connect()
    w.ws.frame(1, b"x" * (300 << 10))
    check(until(lambda: w.ws.code == 1009 or w.ws.closed, 10), "a message of 300 KiB ends the socket", w.ws.code)
    w.connect().frame(1, b'{"a":1}', mask=False)
    check(until(lambda: w.ws.closed, 10) and w.ws.code in (1002, None), "so does a frame without a mask", w.ws.code)
    for name, body in {"no JSON": "{", "an array": "[]", "a negative number": '{"buffer":-1}', "a word for a number": '{"n":"1"}', "infinity": '{"pos":1e999}',
                       "a range backwards": '{"have":[[0,5,3]]}', "a range of two": '{"have":[[0,5]]}', "too many ranges": json.dumps({"have": [[0, 1, 1]] * 65}),
                       "ids that are numbers": '{"peers":[1]}', "too many ids": json.dumps({"peers": ["p"] * 65}), "from as a list": '{"from":[]}',
                       "consent as a word": '{"consent":"no"}', "a name twice": '{"n":1,"n":2}'}.items():
        got = lab.req("POST", f"/_/peers/report?token={v.token}", None, body)
        check(got.status == 400, f"a report with {name}: 400", got)
    check(lab.req("POST", f"/_/peers/report?token={v.token}", None, b" " * 20000).status == 413, "a report of 20 KB: 413")
    codes = [v.report().status for _ in range(3)]
    check(codes == [204, 429, 429], "one report in half the time is taken, more are early", codes)
    v.leave()


def cors(lab):
    there, here = "https://films.example", f"http://127.0.0.1:{lab.port['gw0']}"
    for origin, may in (there, True), (here, True), ("https://evil.example", False), ("null", False):
        got = session(lab, "films", "big", headers={"Origin": origin})
        check(got.status == (200 if may else 403) and got.headers.get("access-control-allow-origin") == (origin if may else None),
              f"a session for a page of {origin}: {'yes' if may else 'no'}", got)
        pre = lab.req("OPTIONS", "/_/peers/session", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
        check(pre.status == (204 if may else 403) and ("access-control-allow-methods" in pre.headers) == may, "and its preflight", pre)
    v = Viewer(lab, asset="cors")
    check(v.report(headers={"Origin": "https://evil.example"}).status == 403 and v.connect(headers={"Origin": "https://evil.example"}).status == 403 and
          v.listen(headers={"Origin": "https://evil.example"}).status == 403, "another origin's page cannot use a token")
    check(v.connect(headers={"Origin": there}).status == 101 and v.report(headers={"Origin": there}).headers["access-control-allow-origin"] == there,
          "a known one's can")
    pre = lab.req("OPTIONS", f"/_/peers/report?token={v.token}", headers={"Origin": there, "Access-Control-Request-Method": "POST"})
    check(pre.status == 204 and lab.req("OPTIONS", "/_/peers/report?token=x", headers={"Origin": there}).status == 401, "the preflight of a report", pre)
    v.leave()


def shown(lab, a):
    for path in "/_/peers", "/_/peers/groups?asset=films/big", "/_/peers/top":
        check([lab.get(u, path).status for u in (None, "rita", "root")] == [401, 403, 200], f"{path}: admins alone")
    assets = lab.get("root", "/_/peers").json
    mine = next((x for x in assets["assets"] if x["asset"] == "films/big"), {})
    check(mine.get("viewers", 0) >= 3 and mine["owner"] == "gw0" and assets["silent"] == [] and assets["here"]["sockets"] >= 3, "the asset's viewers are counted", assets)
    groups = lab.get("root", "/_/peers/groups?asset=films/big").json
    names = [v["viewer"] for g in groups for v in g["viewers"]]
    check(a.viewer in names, "its groupings name them", groups)
    check("127.0.0.1" not in json.dumps(groups), "without addresses")
    top = lab.get("root", "/_/peers/top?by=down&max=2").json
    check(len(top) == 2 and top[0]["down_server"] + top[0]["down_peers"] >= top[1]["down_server"] + top[1]["down_peers"] and top[0]["asset"], "top by bytes received", top)
    check(lab.get("root", "/_/peers/top?by=size").status == 400, "top by what is not counted: 400")
    with_metrics = lab.req("GET", "/_/metrics", port=lab.inside["gw0"]).body.decode()
    for line in 'weir_peers_viewers{role="first"}', "weir_peers_websockets ", "weir_peers_offers_relayed_total ", 'weir_peers_reports_total{result="taken"}', \
            'weir_peers_sessions_total{result="refused"}', "weir_peers_regroup_seconds ":
        check(any(x.startswith(line) and float(x.split()[-1]) >= 0 for x in with_metrics.splitlines()), f"metrics: {line}")


def switch(lab, a):
    ask = lambda user, body: lab.req("POST", "/_/peers/switch", user, body if isinstance(body, str) else json.dumps(body))
    check([ask(u, {"asset": "films/big", "mode": "on"}).status for u in (None, "rita")] == [401, 403], "the switch: admins alone")
    check([ask("root", b).status for b in ("{", {"asset": "films/big", "mode": "maybe"}, {"mode": "on"}, {"asset": "x" * 300, "mode": "on"}, {"asset": "big", "mode": "on"},
                                         {"asset": "films/a/../b", "mode": "on"}, {"asset": "*/x", "mode": "on"}, {"asset": "films/", "mode": "on"})] == [400] * 8,
          "what is no mode of an asset: 400")
    t = time.monotonic()
    got = ask("root", {"asset": "films/big", "mode": "on"})
    check(got.status == 200 and lab.key("peers/switch") == {"films/big": "on"}, "switched on: the registry has it", got)
    check(a.instruction(lambda i: i["state"] == "strained", 10, t), "instructions say strained", a.stream.seen)
    t = time.monotonic()
    check(ask("root", {"asset": "films/big", "mode": "off"}).status == 200 and a.instruction(lambda i: i["source"] == "server" or i["role"] == "alone", 10, t),
          "switched off: they say server", a.stream.seen)
    t = time.monotonic()
    check(ask("root", {"asset": "films/big", "mode": "auto"}).status == 200 and a.instruction(lambda i: i["role"] != "alone", 20, t), "back to auto", a.stream.seen)
    lines = lab.audit(what="peers.switch")["lines"]
    check([(x["on"], x["why"], x["result"]) for x in lines][::-1] == [("films/big", m, "ok") for m in ("on", "off", "auto")], "all of it is in the audit log", lines)
    check(not a.stream.wrong, "every MAC was right")


class Deaf(WebSocket):
    """Never reads, and so never ends."""

    def run(self):
        pass

    def close(self):
        self.sock.close()


def caps(lab):
    held = [Viewer(lab, asset="caps") for _ in range(12)]
    codes = [v.connect().status for v in held]
    check(101 in codes and codes[-1] == 429, "twelve viewers of an address, with those that are here: the last are refused", codes)
    got = session(lab, "films", "caps")
    check(got.status == 429 and "retry-after" in got.headers, "nor is there a session for another", got)
    one = held[0]
    more = [WebSocket(one.port, f"/_/tracker?token={one.token}") for _ in range(4)]
    check(all(m.status == 101 for m in more) and until(lambda: one.ws.code == 1008, 5), "a viewer's fifth socket closes its eldest", one.ws.code)
    places = lambda: next(float(x.split()[-1]) for x in lab.req("GET", "/_/metrics", port=lab.inside["gw0"]).body.decode().splitlines()
                          if x.startswith("weir_peers_websockets"))
    had = places()
    more += [Deaf(one.port, f"/_/tracker?token={one.token}") for _ in range(20)]
    check(until(lambda: places() <= had, 1.5), "who opens one after the other, and ends none, holds four places", (had, places()))
    for v in held:
        v.leave()
    for m in more:
        m.close()
    check(until(lambda: session(lab, "films", "caps").status == 200, 20), "who left makes room, after a grace")


def restart(lab, a, b):
    seq = a.stream.seen[-1][1]["epoch"]
    lab.restart(lab.gateways[0])
    check(until(lambda: a.ws.closed and a.stream.closed, 5), "the gateway dies: sockets and streams end")
    back = lambda v: v.connect().status == 101 and v.listen().status == 200
    check(until(lambda: back(a), 10, 0.2) and until(lambda: back(b), 10, 0.2), "its viewers come back with the same tokens", a.ws.status)
    for v in a, b:
        v.announce(offers=3)
        v.report()
    i = a.instruction(lambda i: i["role"] != "alone", 20)
    check(i and i["epoch"] >= seq, "and are grouped again; the epoch does not go back", a.stream.seen)
    check(not a.stream.wrong, "signed with the same key")


def silent_registry(lab):
    registry, gateway = lab.daemons[0], lab.gateways[0]
    check(gateway.stop() == 0, "a gateway with viewers ends when it is told to, and has given back all (SAN)", gateway.said()[-3000:])
    registry.kill()
    gateway.start()
    until(lambda: lab.answers(gateway), 20)
    got = until(lambda: (lambda r: r if r.status == 503 else None)(session(lab, "films", "big")), 10)
    check(got and "secret" in got.json["message"] and "retry-after" in got.headers, "the registry is silent: 503 and why", got)
    registry.start()
    check(until(lambda: session(lab, "films", "big").status == 200, 20), "it answers: sessions are opened")


def two_gateways():
    """Started at once: one secret. What one signed the other takes, also from the first one's page when that is dead."""
    with Lab(gateways=2) as lab:
        public(lab, "films")
        urls = [f"http://127.0.0.1:{lab.port[g.node]}" for g in lab.gateways]
        check(until(lambda: Viewer(lab, gateway=1).gateways == [urls[1], urls[0]], 10, 0.5), "a session says both gateways, its own first")
        got = session(lab, "films", "big", headers={"Origin": urls[0]}, consent=True).json
        check(got["trackers"] == [f"ws{u[4:]}/_/tracker?token={got['token']}" for u in urls], "and both trackers", got)
        pair = [Viewer(lab, gateway=i) for i in (0, 1)]
        for v in pair:
            v.connect()
            v.listen()

        def met():
            for v in pair:
                v.announce(offers=3, event=None)
                v.report()
            return pair[0].ws.wait(lambda m: "offer" in m, 1) or pair[1].ws.wait(lambda m: "offer" in m, 1)
        check(until(met, 20), "viewers of an asset at two gateways meet", [v.ws.seen for v in pair])
        check(all(v.instruction(lambda i: i["role"] != "alone", 15) for v in pair), "and are grouped", [v.stream.seen for v in pair])
        batch = json.dumps({"from": "gw1", "messages": [[1, pair[0].viewer, "", "{}"]]})
        for way in "up", "down":
            codes = [lab.req("POST", f"/_/peers/{way}", None, batch, h, port=lab.inside["gw0"]).status
                     for h in ({}, {"X-Weir-Peers": base64.b64encode(b"x" * 32).decode()}, {"Authorization": f"Bearer {pair[0].token}"})]
            check(codes == [403] * 3, f"nobody of this machine speaks for a gateway ({way})", codes)
        lab.gateways[0].kill()
        page = {"Origin": urls[0]}
        stream = Stream(lab.port["gw1"], f"/_/peers/events?token={got['token']}", got["key"], headers=page)
        check(stream.status == 200 and WebSocket(lab.port["gw1"], f"/_/tracker?token={got['token']}", headers=page).status == 101,
              "the first dies: its page goes on at the second with the same token")
        check(session(lab, "films", "big", gateway=1, headers=page).status == 200, "and opens sessions there")
        stream.close()


def streams_apart():
    """More viewers' streams than gateway.limits.connections, each from an address of its own, and the others are served."""
    with Lab(more="  peers: {viewers: 80}\n  limits: {connections: 24}\n") as lab:
        lab.user("root", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
        public(lab, "films")
        held = []
        for i in range(60):
            v, s = Viewer(lab), socket.socket()
            s.bind((f"127.0.1.{i + 1}", 0))
            s.settimeout(5)
            s.connect(("127.0.0.1", lab.port["gw0"]))
            s.sendall(f"GET /_/peers/events?token={v.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            try:
                held.append((s, s.recv(4096)[9:12]))
            except OSError as e:
                held.append((s, e))
        check([code for _, code in held] == [b"200"] * 60, "60 streams of instructions where 24 connections may be", [code for _, code in held])
        check(session(lab, "films", "big").status == 200, "and the others are served")
        for s, _ in held:
            s.close()


def main():
    two_gateways()
    streams_apart()
    with Lab(more=LIMITS) as lab:
        lab.user("root", grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
        lab.user("ada", grants=[{"bucket": "private", "prefix": "", "rights": "r"}])
        lab.user("rita")
        public(lab, "films")
        begun, old = time.monotonic(), Viewer(lab, asset="old")
        old.connect()
        old.listen()
        sessions(lab)
        tokens(lab)
        a, b, alone = meet(lab)
        shown(lab, a)
        switch(lab, a)
        watchers(lab)
        hostile(lab)
        cors(lab)
        caps(lab)
        check(until(lambda: old.ws.code == 1008 and old.stream.closed, 75), "a session that is over: its socket and its stream are closed", old.ws.code)
        check(time.monotonic() - begun > 58, "not before")
        codes = [old.connect().status, old.listen().status, old.report().status]
        check(codes == [401, 401, 401], "its token opens nothing any more", codes)
        a, b = Viewer(lab), Viewer(lab)
        for v in a, b:
            v.connect()
            v.listen()
            v.announce(offers=3)
            v.report()
        a.instruction(lambda i: i["role"] != "alone", 20)
        restart(lab, a, b)
        silent_registry(lab)
        if os.environ.get("UPLOAD_SAN"):
            check("Sanitizer" not in lab.gateways[0].said() and "runtime error" not in lab.gateways[0].said(), "no sanitizer said anything")
    finish()


main()
