#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""weir sync: files are made, changed and renamed while client, gateway and endpoint are killed at random moments; at the
end both sides are equal, nothing is lost, and nothing was sent twice in full. Then what is half written, ignored, rejected
or throttled; and the reverse direction, with kills. SYNC_FILES (600) and SYNC_KILLS (8) make it longer; SYNC_SEED repeats."""
import hashlib
import random

from upload_lib import *

FILES, KILLS = int(os.environ.get("SYNC_FILES", "600")), int(os.environ.get("SYNC_KILLS", "8"))
SEED = int(os.environ.get("SYNC_SEED", random.randrange(1 << 30)))
PIECE, PARALLEL = 4 << 20, 4
RULES = "columns:\n  - {name: id, type: integer, required: true}\n  - {name: name, type: string}\nmax_size: 64MiB\n"


def content(rnd, size):
    row = b"%d,%s\n" % (rnd.randrange(1 << 40), b"%x" % rnd.getrandbits(200))
    return b"id,name\n" + row * max(1, size // len(row))


def digests(folder, skip=lambda p: False):
    out = {}
    for p in folder.rglob("*"):
        name = str(p.relative_to(folder))
        if p.is_file() and not skip(name) and not name.startswith(".weir-sync"):
            out[name] = hashlib.sha256(p.read_bytes()).hexdigest()
    return out


def remote(lab, dataset):
    out, after = {}, ""
    while True:
        page = lab.get("ada", f"/b/{dataset}/?limit=1000&prefix=&after={after}").json
        out |= {o["key"]: o["sha256"] for o in page.get("objects", []) if not o["key"].startswith((".weir/", "derived/"))}
        after = page.get("next")
        if not after:
            return out


class Client:
    """weir sync; what all of its processes said is in .log."""

    def __init__(self, lab, name, *argv):
        self.lab, self.argv, self.log, self.process = lab, argv, lab.work / f"{name}.log", None
        self.env = {**os.environ, "WEIR_TOKEN": lab.token["ada"], "WEIR_URL": f"http://127.0.0.1:{lab.port['gw0']}",
                    "XDG_STATE_HOME": str(lab.work / "xdg")}

    def start(self, *more):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BIN / "weir", "sync", *map(str, self.argv), *more], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.env)
        return self

    def kill(self, sig=signal.SIGKILL):
        self.process.send_signal(sig)
        return self.process.wait(20)

    def once(self, *more, seconds=120 + FILES // 25):
        self.start("--once", *more)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it does not end"

    def said(self):
        return self.log.read_text(errors="replace")


class Meter:
    """Bytes that gateways received, over their restarts."""

    def __init__(self, lab):
        self.lab, self.before = lab, 0

    def now(self):
        text = lab_metrics(self.lab)
        return self.before + sum(int(float(l.split()[-1])) for l in text.splitlines() if l.startswith("weir_uploads_received_bytes_total"))

    def restart(self, gateway):
        self.before = self.now()
        self.lab.restart(gateway)


def lab_metrics(lab):
    return lab.req("GET", "/_/metrics", port=lab.inside["gw0"]).body.decode()


class Writer(threading.Thread):
    """Makes, changes and renames files; .written: bytes of all contents, .contents: how many each path had."""

    def __init__(self, folder, rnd):
        super().__init__(daemon=True)
        self.folder, self.rnd, self.written, self.contents, self.paths = folder, rnd, 0, {}, []

    def put(self, name):
        big = self.rnd.random() < max(12, FILES / 250) / FILES
        data = content(self.rnd, self.rnd.randrange(PIECE // 2, 3 * PIECE) if big else self.rnd.randrange(20, 20000))
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.rnd.random() < 0.5:
            part = path.with_name(path.name + ".tmp")
            part.write_bytes(data)
            part.rename(path)
        else:
            path.write_bytes(data)
        self.written += len(data)
        self.contents[name] = self.contents.get(name, 0) + 1

    def run(self):
        for i in range(FILES):
            name = f"d{self.rnd.randrange(9)}/" * self.rnd.randrange(3) + f"f{i}.csv"
            self.put(name)
            self.paths.append(name)
            at = self.rnd.randrange(len(self.paths))
            dice = self.rnd.random()
            if dice < 0.1:
                self.put(self.paths[at])
            elif dice < 0.2:
                to = f"renamed/r{i}.csv"
                (self.folder / to).parent.mkdir(exist_ok=True)
                (self.folder / self.paths[at]).rename(self.folder / to)
                self.written += (self.folder / to).stat().st_size
                self.contents[to] = 1
                self.paths[at] = to
            time.sleep(0.002 if self.rnd.random() < 0.9 else 0.03)


def churn(lab, meter):
    rnd = random.Random(SEED)
    folder = lab.folder("in")
    client = Client(lab, "up", folder, "churn", "--delete", "--parallel", PARALLEL)
    writer = Writer(folder, random.Random(SEED + 1))
    before, began = meter.now(), time.monotonic()
    writer.start()
    client.start()
    for i in range(KILLS):
        time.sleep(rnd.uniform(0.3, 1.3))
        what = ("client", "gateway", "client", "endpoint", "sleep")[i % 5]
        if what == "gateway":
            meter.restart(lab.gateways[0])
        elif what == "endpoint":
            lab.restart(lab.endpoints[0])
        elif what == "sleep":
            client.process.send_signal(signal.SIGSTOP)
            time.sleep(1.5)
            client.process.send_signal(signal.SIGCONT)
        else:
            client.kill()
            client.start()
    writer.join()
    here = digests(folder)
    settled = until(lambda: here == remote(lab, "churn"), 30 + FILES / 25, max(0.5, FILES / 2000))
    alive = client.process.poll() is None
    check(client.kill(signal.SIGTERM) == 0 and settled and alive,
          "after all kills it runs on until both are equal, and ends at SIGTERM", client.said()[-1500:])
    rc = client.once()
    seconds = time.monotonic() - began
    here, there = digests(folder), remote(lab, "churn")
    differ = {k: (here.get(k), there.get(k)) for k in here.keys() | there.keys() if here.get(k) != there.get(k)}
    check(rc == 0 and here and not differ, f"{len(here)} files: both sides are equal (seed {SEED})", (rc, differ, client.said()[-2000:]))
    sent = meter.now() - before
    print(f"# {sent} bytes came for {writer.written} bytes written in {len(writer.contents)} files, {KILLS} kills, {seconds:.1f} s")
    check(sent <= writer.written + KILLS * PARALLEL * PIECE, "a kill costs at most a piece of each file on its way", sent)
    twice = {}
    for name in there:
        version = lab.get("ada", f"/_/datasets/churn/files/{name}").json.get("version", 0)
        if not 1 <= version <= writer.contents.get(name, 0):
            twice[name] = version
    check(not twice, "no content became two versions", twice)
    at = meter.now()
    rc = client.once()
    shutil.rmtree(lab.work / "xdg")
    check(rc == 0 and client.once() == 0 and meter.now() == at, "another run sends nothing, also when its state is lost", meter.now() - at)
    big = folder / "big.csv"
    big.write_bytes(content(random.Random(3), 5 << 20))
    check(client.once() == 0 and meter.now() - at > 5 << 20, "5 MiB more are sent")
    at = meter.now()
    big.rename(folder / "moved.csv")
    check(client.once("--delete") == 0 and meter.now() == at and digests(folder) == remote(lab, "churn"),
          "renamed, they are not sent again", (meter.now() - at, client.said()[-500:]))
    return folder


def live(lab, meter):
    folder = lab.folder("live")
    (folder / ".weirignore").write_text("# no logs\n*.log\n!keep.log\n/top.csv\nskip/\n")
    client = Client(lab, "live", folder, "live").start()
    has = lambda name: name in remote(lab, "live")
    with open(folder / "half.csv", "wb") as half:
        half.write(b"id,name\n1,a\n")
        half.flush()
        for name in "a.log", "keep.log", "top.csv", "skip/b.csv", "sub/top.csv", "x.csv~", ".x.csv.swp", "y.csv.part":
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"id,name\n1,a\n")
        check(until(lambda: has("sub/top.csv") and has("keep.log"), 10), "what comes is sent", client.said())
        time.sleep(1.2)
        got = set(remote(lab, "live"))
        check(got == {"sub/top.csv", "keep.log"}, "what is half written, ignored or temporary is not", got)
        half.write(b"2,b\n")
    check(until(lambda: has("half.csv"), 10) and lab.get("ada", "/b/live/half.csv").body.endswith(b"2,b\n"), "closed, it is sent whole")
    (folder / "bad.csv").write_bytes(b"id,name\n1,a\nx,b\n")
    check(until(lambda: "rejected  bad.csv" in client.said(), 10) and "row 2, column id" in client.said(), "a rejected file is told with row and column",
          client.said())
    at = meter.now()
    os.utime(folder / "bad.csv", (1, 1))
    (folder / "bad.csv").open("ab").close()
    time.sleep(0.7)
    check(meter.now() == at, "and not sent again until it changes")
    (folder / "bad.csv").write_bytes(b"id,name\n1,a\n2,b\n")
    check(until(lambda: has("bad.csv"), 10), "mended, it is")
    (folder / "moved").mkdir()
    (folder / "sub").rename(folder / "moved/sub")
    (folder / "moved/sub/new.csv").write_bytes(b"id,name\n5,a\n")
    check(until(lambda: has("moved/sub/top.csv") and has("moved/sub/new.csv"), 10), "a folder that was moved is followed", client.said())
    check(has("sub/top.csv"), "without --delete nothing is removed")
    check(client.kill(signal.SIGTERM) == 0, "SIGTERM ends it", client.said())
    second = lab.folder("slow")
    (second / "slow.csv").write_bytes(content(random.Random(1), 3 << 20))
    began = time.monotonic()
    rc = Client(lab, "slow", second, "live", "--rate", "1MiB").once()
    check(rc == 0 and 2.3 < time.monotonic() - began < 6, "3 MiB at 1 MiB a second take so long", time.monotonic() - began)


def reverse(lab, meter, source):
    rnd = random.Random(SEED + 2)
    out = lab.folder("out")
    client = Client(lab, "down", "churn", out, "--delete", "--interval", "1s").start()
    for i in range(max(4, KILLS // 2)):
        time.sleep(rnd.uniform(0.1, 0.6))
        if i % 4 == 3:
            lab.restart(lab.endpoints[0])
        else:
            client.kill()
            client.start()
    want = digests(source)
    check(until(lambda: digests(out) == want, 60 + FILES / 50, max(0.5, FILES / 2000)), "the other way, with kills: equal", client.said()[-1500:])
    name = sorted(n for n in want if "/" not in n)[0]
    (out / name).write_bytes(b"mine")
    lab.tus("ada", "churn", name, b"id,name\n77,new\n").end()
    check(until(lambda: (out / name).read_bytes() == b"id,name\n77,new\n", 10), "a new version comes", client.said()[-500:])
    check((out / (name + ".local-COPY")).read_bytes() == b"mine" and "conflict" in client.said(), "what was changed here is kept beside, and it is said")
    lab.req("DELETE", f"/b/churn/{name}", "ada")
    check(until(lambda: not (out / name).exists(), 10) and (out / (name + ".local-COPY")).exists(), "with --delete what is gone there goes here")
    check(client.kill(signal.SIGTERM) == 0, "SIGTERM ends it")


with Lab() as lab:
    grants = [{"bucket": "*", "prefix": "", "rights": "rwdl"}]
    lab.group("stewards", "steward")
    lab.user("ada", ["stewards"], grants)
    lab.dataset("churn", RULES), lab.dataset("live", RULES)
    meter = Meter(lab)
    folder = churn(lab, meter)
    live(lab, meter)
    reverse(lab, meter, folder)
finish()
