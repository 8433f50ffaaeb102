#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir media: a film becomes an asset (HLS, and DASH over the same segments), with every segment's digest in a list that the gateway
signed; types, ranges, caching and cross-origin reading; another film of the same name; playlists while no endpoint lives."""
import base64
import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from media_lib import add_asset, have_ffmpeg, make_video, run_weir
from upload_lib import BIN, Lab, check, finish, skip, until

FILMS = pathlib.Path(tempfile.mkdtemp(prefix="weir-films.", dir="/var/tmp"))


def public(lab, bucket):
    lab.put(f"buckets/{bucket}", {"name": bucket, "public": True})
    until(lambda: lab.req("GET", f"/b/{bucket}/none", follow=False).status == 307, 10)


def url_of(lab):
    return f"http://127.0.0.1:{lab.port[lab.gateways[0].node]}"


def add(lab, film, name, by="ada", **kw):
    return add_asset(url_of(lab), lab.token[by], film, name, **kw)


def keys(lab, bucket, prefix=""):
    return [o["key"] for o in lab.get("ada", f"/b/{bucket}/?prefix={prefix}").json.get("objects", [])]


def signed_list(lab, asset):
    return lab.get("ada", f"/b/{asset}/weir-media.json").json


# ---- making ----

def adding(lab):
    made = add(lab, FILMS / "film.mp4", "film", more=["--dash"])
    check(made.returncode == 0 and "HLS" in made.stdout and "DASH" in made.stdout, "a film is added", made)
    there = keys(lab, "media", "film/")
    version = next((k.split("/")[1] for k in there if k.endswith(".m4s")), "")
    check(len(version) == 17 and version[0] == "v", "its segments lie in a folder that bears their digest", there)
    check({"film/master.m3u8", "film/manifest.mpd", "film/weir-media.json"} <= set(there), "master, MPD and list beside it", there)
    listed = run_weir(url_of(lab), lab.token["ada"], "media", "ls", "--json")
    check(json.loads(listed.stdout)[0]["asset"] == "media/film" and json.loads(listed.stdout)[0]["signed"], "weir media ls", listed)
    put(lab, "media/loose/notes.m4s", b"x")
    listed = run_weir(url_of(lab), lab.token["ada"], "media", "ls", "--json")
    check([(a["asset"], a["signed"]) for a in json.loads(listed.stdout)] == [("media/film", True), ("media/loose", False)], "also what is not signed", listed)
    lab.req("DELETE", "/b/media/loose/notes.m4s", "ada")
    shown = run_weir(url_of(lab), lab.token["ada"], "media", "show", "film")
    check("320x180" in shown.stdout and "160x90" in shown.stdout, "weir media show", shown)
    return version


def refusals(lab):
    (FILMS / "text.mp4").write_text("this is no film\n")
    (FILMS / "playlist.mp4").write_text(f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:20\n#EXTINF:20,\nfile://{FILMS}/film.mp4\n#EXT-X-ENDLIST\n")
    (FILMS / "concat.mp4").write_text("ffconcat version 1.0\nfile film.mp4\n")
    for file, name, says in (("text.mp4", "x", "no film that ffmpeg can read"), ("playlist.mp4", "x", "names other files"), ("concat.mp4", "x", "names other files"), ("none.mp4", "x", "No such file"), ("tone.m4a", "x", "no video"),
                             ("film.mp4", "a b", "a name has no spaces"), ("film.mp4", "a/b/c", "NAME or BUCKET/NAME")):
        got = add(lab, FILMS / file, name)
        check(got.returncode != 0 and says in got.stderr, f"{file} as '{name}' is refused: {says}", got)
    got = add(lab, FILMS / "film.mp4", "x", renditions="1080p")
    check(got.returncode == 1 and "larger than the film" in got.stderr, "a rendition larger than the film is refused", got)
    got = run_weir(url_of(lab), lab.token["ada"], "media", "add", FILMS / "film.mp4", "x", env={"PATH": "/nowhere"})
    check(got.returncode == 1 and "ffprobe is not installed" in got.stderr, "without ffmpeg it says so", got)
    got = add(lab, FILMS / "film.mp4", "x", by="eve")
    check(got.returncode == 1 and "signed: eve" in got.stderr + got.stdout or "403" in got.stderr, "who may not write there is refused", got)
    check(not keys(lab, "media", "x/"), "and none of that left anything behind", keys(lab, "media"))


# ---- the list ----

def the_list(lab, version):
    file = signed_list(lab, "media/film")
    payload = json.loads(file["payload"])
    check(payload["asset"] == "media/film" and 19.9 < payload["duration"] < 20.3, "the list says whose it is", file["payload"][:300])
    rates = [r["bandwidth"] for r in payload["renditions"]]
    check([r["name"] for r in payload["renditions"]] == ["90p", "180p"] and rates == sorted(rates), "renditions ascend", rates)
    wrong, total = [], 0
    for r in payload["renditions"]:
        check([s["n"] for s in r["segments"]] == [0, 1, 2, 3, 4] and all(3.9 < s["duration"] < 4.1 for s in r["segments"]),
              f"{r['name']}: five segments of 4 s", r["segments"])
        for piece in [r["init"], *r["segments"]]:
            body = lab.get("ada", f"/b/media/film/{piece['uri']}").body
            total += 1
            if len(body) != piece["bytes"] or hashlib.sha256(body).hexdigest() != piece["sha256"] or not piece["uri"].startswith(version):
                wrong.append(piece)
    check(total == 12 and not wrong, "every segment's bytes and SHA-256 are those of the list", wrong)
    openssl_says(file)


def openssl_says(file):
    """The signature is checked by another program than ours."""
    raw = base64.b64decode(file["key"])
    (FILMS / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + raw)
    (FILMS / "payload").write_text(file["payload"])
    (FILMS / "signature").write_bytes(base64.b64decode(file["signature"]))
    verify = lambda: subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", FILMS / "key.der", "-keyform", "DER", "-rawin",
                                     "-in", FILMS / "payload", "-sigfile", FILMS / "signature"], capture_output=True, text=True)
    got = verify()
    check(got.returncode == 0, "openssl verifies the signature", got)
    (FILMS / "payload").write_text(file["payload"].replace('"n":1', '"n":7', 1))
    check(verify().returncode != 0, "and refuses it for another list")


def signing(lab):
    payload = signed_list(lab, "media/film")["payload"]
    sign = lambda who, path, body: lab.req("POST", f"/_/media/{path}", who, body.encode(), {"Content-Type": "application/json"})
    check(sign(None, "media/film", payload).status == 401, "no token: no signature")
    check(sign("eve", "media/film", payload).status == 403, "no right to write there: no signature")
    check(sign("ada", "media/other", payload).status == 400, "another asset's list is not signed for this one")
    check(sign("ada", "media/film", "{}").status == 400 and sign("ada", "media/film", payload[:-1]).status == 400, "nor what is no list")
    got = sign("ada", "media/film", payload.replace(".m4s", ".m4s/../../x"))
    check(got.status == 400 and "uri" in got.json["message"], "nor one that points elsewhere", got)
    check(sign("ada", "media/film", " " * (3 << 20) + payload).status == 413, "nor one that is too large")
    got = sign("ada", "media/film", payload)
    check(got.status == 200 and got.json == signed_list(lab, "media/film"), "the same list gets the same signature", got)


# ---- serving ----

def types(lab, version):
    head = lambda path, **kw: lab.req("GET", f"/b/media/film/{path}", None, **kw)
    for path, kind, cache in (("master.m3u8", "application/vnd.apple.mpegurl", "public, max-age=2, must-revalidate"),
                              ("manifest.mpd", "application/dash+xml", "public, max-age=2, must-revalidate"),
                              ("weir-media.json", "application/json", "public, max-age=2, must-revalidate"),
                              (f"{version}/90p/index.m3u8", "application/vnd.apple.mpegurl", "public, max-age=31536000, immutable"),
                              (f"{version}/90p/init.mp4", "video/mp4", "public, max-age=31536000, immutable"),
                              (f"{version}/180p/00001.m4s", "video/iso.segment", "public, max-age=31536000, immutable")):
        for method in "GET", "HEAD", "GET":
            got = lab.req(method, f"/b/media/film/{path}")
            h = got.headers
            check(got.status == 200 and h.get("content-type") == kind and h.get("cache-control") == cache and
                  h.get("x-content-type-options") == "nosniff" and h.get("access-control-allow-origin") == "*" and
                  "Content-Range" in h.get("access-control-expose-headers", "") and h.get("etag") and
                  ("sandbox" in h.get("content-security-policy", "")) == path.endswith(".mpd"), f"{method} {path}: {kind}", got)
    for key, kind in (("a.ts", "video/mp2t"), ("a.vtt", "text/vtt; charset=utf-8"), ("a.jpg", "image/jpeg"), ("a.html", "application/octet-stream"),
                      ("a.svg", "application/octet-stream"), ("m4s", "application/octet-stream")):
        lab.req("PUT", f"/b/media/{key}", "ada", follow=False)
        put(lab, f"media/{key}", b"x" * 100)
        got = lab.req("GET", f"/b/media/{key}")
        check(got.headers.get("content-type") == kind and got.headers.get("x-content-type-options") == "nosniff", f"{key}: {kind}", got)


def put(lab, path, data, who="ada"):
    to = lab.req("PUT", f"/b/{path}", who, follow=False).headers["location"].split("/", 3)
    return lab.req("PUT", "/" + to[3], None, data, port=int(to[2].split(":")[1]))


def ranges(lab, version):
    path = f"/b/media/film/{version}/180p/00001.m4s"
    whole = lab.req("GET", path)
    got = lab.req("GET", path, headers={"Range": "bytes=5-9"})
    check(got.status == 206 and got.body == whole.body[5:10] and got.headers["content-range"] == f"bytes 5-9/{len(whole.body)}" and
          got.headers["content-type"] == "video/iso.segment" and "immutable" in got.headers["cache-control"], "a range", got)
    got = lab.req("GET", path, headers={"Range": f"bytes={len(whole.body)}-"})
    check(got.status == 416 and got.headers.get("access-control-allow-origin") == "*", "a range behind its end: 416", got)
    for p in path, "/b/media/film/master.m3u8":
        etag = lab.req("GET", p).headers["etag"]
        got = lab.req("GET", p, headers={"If-None-Match": etag})
        check(got.status == 304 and not got.body and "max-age" in got.headers["cache-control"] and
              got.headers.get("access-control-allow-origin") == "*", f"{p.rsplit('/', 1)[1]}: 304 for its ETag", got)


def origins(lab, version):
    gateway, endpoint = (lab.port[d.node] for d in (lab.gateways[0], lab.endpoints[0]))
    ask = {"Origin": "https://player.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
    for port in gateway, endpoint:
        got = lab.req("OPTIONS", f"/b/media/film/{version}/90p/00000.m4s", headers=ask, port=port)
        h = got.headers
        check(got.status == 204 and h.get("access-control-allow-origin") == "*" and "Range" in h.get("access-control-allow-headers", "") and
              "PUT" not in h.get("access-control-allow-methods", "PUT") and "access-control-allow-credentials" not in h, "preflight", got)
    got = lab.req("GET", "/b/media/film/master.m3u8", headers=ask, follow=False)
    check(got.status == 307 and got.headers.get("access-control-allow-origin") == "*" and got.headers["cache-control"] == "no-store",
          "a public bucket's redirect may be followed by any page, and is kept by nobody", got)
    got = lab.req("GET", "/b/private/film/master.m3u8", "ada", headers={"Origin": "https://player.example"}, follow=False)
    check(got.status == 307 and "access-control-allow-origin" not in got.headers, "another's by pages of this gateway alone", got)
    got = lab.req("GET", f"/b/private/film/master.m3u8?t={lab.token['ada']}", headers={"Origin": "https://player.example"}, follow=False)
    check(got.status == 307 and got.headers.get("access-control-allow-origin") == "*" and "access-control-allow-credentials" not in got.headers,
          "or by who has the token in the address: a page whose gateway died asks the next one", got)
    got = lab.req("GET", f"/b/private/film/{version}/90p/init.mp4", "ada")
    check(got.status == 404, "there is nothing yet", got)
    put(lab, f"private/film/{version}/90p/init.mp4", b"x")
    for _ in range(2):
        got = lab.req("GET", f"/b/private/film/{version}/90p/init.mp4", "ada")
        check(got.headers.get("cache-control") == "private, max-age=31536000, immutable", "a private bucket's: for its reader's cache alone", got)
    # the bucket becomes public: what was kept ready for others says so
    public(lab, "private")
    got = until(lambda: (lambda a: a if "public" in a.headers.get("cache-control", "") else None)(
        lab.req("GET", f"/b/private/film/{version}/90p/init.mp4", "ada")), 10)
    check(got, "and when it becomes public, for all caches")


def playing(lab):
    for manifest, audio in ("film/master.m3u8", True), ("film/manifest.mpd", True), ("silent/master.m3u8", False), ("silent/manifest.mpd", False):
        url = f"{url_of(lab)}/b/media/{manifest}"
        probe = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", url], capture_output=True,
                               text=True, timeout=60)
        lines = set(probe.stdout.split())
        check(probe.returncode == 0 and {"h264,320", "h264,160"} <= lines and ("aac" in lines) == audio, f"ffprobe reads {manifest}", probe)
        got = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", url, "-map", "0:v:0", "-map", "0:a?", "-f", "framecrc", "-"],
                             capture_output=True, text=True, timeout=60)
        frames = sum(line.startswith("0,") for line in got.stdout.splitlines())
        check(got.returncode == 0 and not got.stderr and 298 <= frames <= 302, f"ffmpeg plays {manifest}: 20 s at 15 frames", (got.stderr, frames))


# ---- another film of the same name ----

def again(lab, version):
    made = add(lab, FILMS / "other.mp4", "film", segment=5)
    master = lab.req("GET", "/b/media/film/master.m3u8").body.decode()
    check(made.returncode == 0 and version not in master, "another film of the same name", made)
    check(lab.req("GET", f"/b/media/film/{version}/180p/00001.m4s").status == 200, "viewers of the last one go on")
    check(lab.req("GET", "/b/media/film/manifest.mpd").status == 404, "no MPD is left of it: this one was added without")
    second = next(line for line in master.split() if line.startswith("v")).split("/")[0]
    add(lab, FILMS / "film.mp4", "film", segment=3)
    folders = {k.split("/")[1] for k in keys(lab, "media", "film/") if k.count("/") > 1}
    check(len(folders) == 2 and second in folders and version not in folders, "with the next the first one goes", folders)


def interrupted(lab):
    """SIGINT while it encodes: nothing is shown, nothing is left."""
    env_tmp = FILMS / "tmp"
    env_tmp.mkdir()
    p = subprocess.Popen([str(BIN / "weir"), "media", "add", str(FILMS / "film.mp4"), "cut", "--preset", "veryslow", "--rendition", "180p,144p,90p"],
                         env={"PATH": "/usr/bin:/bin", "WEIR_URL": url_of(lab), "WEIR_TOKEN": lab.token["ada"], "TMPDIR": str(env_tmp)},
                         stderr=subprocess.PIPE, text=True)
    until(lambda: list(env_tmp.glob("weir-media.*/*/*.m4s")), 30)
    p.send_signal(signal.SIGINT)
    said = p.communicate(timeout=30)[1]
    check(p.returncode == 1 and "stopped" in said, "an interrupted one says so", said)
    check(not list(env_tmp.iterdir()) and not keys(lab, "media", "cut/"), "and leaves nothing", list(env_tmp.iterdir()))


# ---- outage ----

def outage(lab):
    gateway = lab.gateways[0]
    known = lambda who="eve", more="": [a["asset"] for a in lab.get(who, f"/_/media{more}").json]
    check(until(lambda: "media/film" in known() and "media/silent" in known(), 10), "the gateway knows its assets", known())
    check("secret/film" in known("ada", "?bucket=secret") and "secret/film" not in known(), "who may not list one's bucket does not see it", known())
    check(lab.req("GET", "/b/media/?prefix=film/").status == 401 and known(None) == [], "nobody in particular lists a public bucket, nor its assets", known(None))
    master = lab.req("GET", "/b/media/film/master.m3u8").body
    first = next(line for line in master.decode().split() if line.startswith("v"))
    paths = ["master.m3u8", "weir-media.json", first, first.replace("index.m3u8", "init.mp4")]
    # a copy is no older than a quarter of a minute
    stale = lambda: json.loads(signed_list(lab, "media/film")["payload"])["renditions"][0]["playlist"] == first
    check(stale(), "the list is of the newest version")
    before = {p: lab.req("GET", f"/b/media/film/{p}").body for p in paths}
    until(lambda: (lab.get("eve", "/_/media"), copied(lab, gateway, first))[1], 25)
    for d in lab.endpoints:
        d.kill()
    got = until(lambda: (lambda a: a if a.status == 503 else None)(lab.req("GET", f"/b/media/film/{first.replace('index.m3u8', '00000.m4s')}",
                                                                          follow=False)), 20)
    check(got, "the endpoint's death is seen")
    for again_ in "", " after a restart":
        for p in paths:
            got = until(lambda p=p: (lambda a: a if a.status == 200 else None)(lab.req("GET", f"/b/media/film/{p}", follow=False)), 10)
            check(got and got.body == before[p] and got.headers["access-control-allow-origin"] == "*" and got.headers["x-weir-from"] == "copy",
                  f"{p.rsplit('/', 1)[-1]} is answered while no endpoint lives{again_}", got)
        if not again_:
            got = lab.req("GET", "/b/media/film/master.m3u8", follow=False)
            check(lab.req("GET", "/b/media/film/master.m3u8", headers={"If-None-Match": got.headers["etag"]}, follow=False).status == 304, "304 too")
            check(lab.req("GET", "/b/secret/film/master.m3u8", follow=False).status == 401, "but to nobody who may not read it")
            check(lab.req("GET", "/b/secret/film/master.m3u8", "ada", follow=False).status == 200, "who may, gets it")
            check(lab.req("PUT", "/b/media/film/master.m3u8", "ada", b"x", follow=False).status == 503, "and nothing is written")
            lab.restart(gateway)


def copied(lab, gateway, first):
    """Does the gateway's folder hold the playlist of this version?"""
    for f in (lab.work / "state" / gateway.node / "gateway/peers").glob("media-*.json"):
        try:
            text = json.loads(f.read_text())
        except ValueError:
            continue
        if any(c["name"] == first for c in text["copies"]):
            return True
    return False


def removing(lab):
    for d in lab.endpoints:
        d.start()
    until(lambda: lab.req("GET", "/b/media/film/master.m3u8").status == 200, 20)
    check(until(lambda: lab.members(lab.gateways[0]) >= 1, 20), "the endpoint is back")
    got = run_weir(url_of(lab), lab.token["eve"], "media", "rm", "film")
    check(got.returncode == 1, "who may not delete does not", got)
    got = run_weir(url_of(lab), lab.token["ada"], "media", "rm", "film")
    check(got.returncode == 0 and not keys(lab, "media", "film/"), "weir media rm", got)
    check(run_weir(url_of(lab), lab.token["ada"], "media", "rm", "film").returncode == 1, "once")
    check(until(lambda: "media/film" not in [a["asset"] for a in lab.get("eve", "/_/media").json], 40), "the gateway forgets it")


def make_public(lab):
    got = run_weir(url_of(lab), lab.token["ada"], "media", "add", FILMS / "silent.mp4", "open/silent", "--rendition", "90p", "--preset", "ultrafast",
                   "--public", "-c", lab.gateways[0].conf)
    check(got.returncode == 0 and lab.key("buckets/open").get("public") is True, "--public, by the node's registry", lab.key("buckets/open"))


def main():
    if not have_ffmpeg():
        skip("ffmpeg is not installed")
    make_video(FILMS / "film.mp4", 20)
    make_video(FILMS / "other.mp4", 10, rate=10)
    make_video(FILMS / "silent.mp4", 20, audio=False)
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=2", str(FILMS / "tone.m4a")], check=True)
    with Lab() as lab:
        lab.user("ada", grants=[{"bucket": "*", "prefix": "", "rights": "rwdl"}])
        lab.user("eve", grants=[{"bucket": "media", "prefix": "", "rights": "rl"}])
        public(lab, "media")
        until(lambda: lab.req("POST", "/_/media/media/x", "ada", b"{}").status == 400, 10)
        version = adding(lab)
        check(add(lab, FILMS / "silent.mp4", "silent").returncode == 0, "a film without sound")
        check(add(lab, FILMS / "silent.mp4", "secret/film", renditions="90p").returncode == 0, "one in a bucket that is not public")
        refusals(lab)
        the_list(lab, version)
        signing(lab)
        types(lab, version)
        ranges(lab, version)
        origins(lab, version)
        playing(lab)
        again(lab, version)
        interrupted(lab)
        make_public(lab)
        outage(lab)
        removing(lab)
    shutil.rmtree(FILMS, ignore_errors=True)
    finish()


if __name__ == "__main__":
    main()
