# SPDX-License-Identifier: Apache-2.0
"""store_dmlog.py FOLDER                      records (kernel and initrd are in FOLDER), replays, checks; see tests/nightly/store_dmlog
store_dmlog.py --configure guest FOLDER    the configuration of the daemons in the machine

The machine (tests/kernel61/dmlog_init) has a registry and an endpoint on a disk that is recorded. Writers here put, overwrite,
delete, copy and send in parts by S3, and keep a log: when each operation began, when it was acknowledged, what it leaves. Meanwhile
marks are put into the record; a mark at a moment T stands behind everything that was acknowledged before T had been asked for. At
each point of the record the disk is made as a power loss leaves it, mounted, and daemons are started on it."""
import hashlib
import random
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET

from dmlog import FLUSH, FUA, Record, Replay
from dmlog_order import unordered
from s3_crash import NS, PART, enter, quote, s3, text_of
from upload_lib import *

OPERATIONS, SECONDS = int(os.environ.get("OPERATIONS", "500")), float(os.environ.get("SECONDS_OF_LOAD", "300"))
POINTS = int(os.environ.get("POINTS", "24"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 30))))
BUCKET, VERSIONED, WRITERS, KEYS = "dmlog-bucket", "dmlog-versioned", 4, 40
SIZES = [0, 1, 700, 4096, 4096, 4096, 20000, 65536, 200000, 262144, 262145, 700000]
DISK, RECORD = 1 << 30, 8 << 30
GONE = None
# What a power loss may leave: uploads cut short, data whose name had not come, an old index, a record at a segment's end that was
# not whole. Once the daemons have run on it, what lay in nobody's name is all that may be left, one for each writer.
HARMLESS = {"unfinished", "unnamed", "index", "damaged"}


def configure(folder, state, run, ip, port, inside):
    common = f"site: a\nuser: \"{UID}\"\nregistry: {{url: \"unix:{run}/registry/store.socket\", timeout: 10s}}\n"
    pathlib.Path(folder, "registry.yaml").write_text(
        f"node: registry\nstate: {state}/registry\nrun: {run}/registry\n{common}"
        f"registry_server: {{listen: [\"unix:{run}/registry/store.socket\"]}}\n")
    pathlib.Path(folder, "endpoint.yaml").write_text(
        f"node: ep\nstate: {state}/endpoint\nrun: {run}/endpoint\n{common}"
        f"endpoint:\n  listen: [\"{ip}:{port}\"]\n  url: \"http://{ip}:{port}\"\n  inside: \"127.0.0.1:{inside}\"\n  copies: 1\n  reserve: 1MiB\n")


# ---- the machine that is recorded ------------------------------------------------------------------

class Machine:
    def __init__(self, work):
        self.port, self.control, self.text = free_port(), work / "control", b""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.control))
        listener.listen(1)
        with open(work / "console", "wb") as console:
            self.qemu = subprocess.Popen(
                ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1536", "-smp", "2", "-display", "none", "-no-reboot",
                 "-kernel", work / "kernel", "-initrd", work / "initrd", "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                 "-serial", "stdio", "-serial", f"unix:{self.control}",
                 # One queue: by two, a flush may be seen to end after a later one, and log-writes records what it covers behind that.
                 *(arg for name in ("recorded", "record") for arg in
                   ("-drive", f"file={work}/{name}.img,if=none,id={name},format=raw,cache=unsafe",
                    "-device", f"virtio-blk-pci,drive={name},num-queues=1")),
                 "-netdev", f"user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:8080", "-device", "virtio-net-pci,netdev=n"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        listener.settimeout(30)
        self.line = listener.accept()[0]

    def hear(self, seconds):
        """The next line of the second serial line; "failed …" when there is none."""
        self.line.settimeout(seconds)
        while b"\n" not in self.text:
            try:
                got = self.line.recv(4096)
            except socket.timeout:
                return f"failed: nothing was heard for {seconds} s"
            if not got:
                return "failed: the machine has ended"
            self.text += got
        one, self.text = self.text.split(b"\n", 1)
        return one.decode(errors="replace").strip()

    def mark(self, name):
        self.line.sendall(f"mark {name}\n".encode())
        got = self.hear(60)
        if got != f"marked {name}":
            raise RuntimeError(f"mark {name}: {got}")

    def end(self):
        self.line.sendall(b"end\n")
        self.hear(120)
        self.qemu.wait(60)


# ---- writers and their log --------------------------------------------------------------------------

class Writer(threading.Thread):
    """Owns its keys, one operation at a time. ops: (key, begun, acknowledged or None, state after it), a state is a SHA-256 or GONE.
    uploads: {key, id, created, parts: [(number, ETag, acknowledged)], closing, closed}: moments, None where it did not come to it.
    versions, of the other bucket: {key, id, sha, created, closing, closed}."""

    def __init__(self, port, s3_key, number):
        super().__init__(daemon=True)
        self.port, self.s3_key, self.number = port, s3_key, number
        self.rng = random.Random(SEED * 100 + number)
        self.ops, self.uploads, self.versions, self.state, self.failures, self.counts = [], [], [], {}, [], {}
        self.stop = False

    def ask(self, what, method, key, query=None, body=b"", headers=None, bucket=BUCKET):
        """The answer, or None; every operation must succeed here."""
        answer = s3(self.port, self.s3_key, method, f"/{bucket}/{key}", query, body, headers, timeout=120)
        if answer.status not in (200, 204):
            self.failures.append(f"{what} {key}: {answer}")
            return None
        self.counts[what] = self.counts.get(what, 0) + 1
        return answer

    def change(self, key, state, what, *how, **more):
        begun = time.monotonic()
        good = self.ask(what, *how, **more) is not None
        self.ops.append((key, begun, time.monotonic() if good else None, state))
        self.state[key] = state

    def upload(self):
        """A step of one: created, a part, then completed, or aborted, or left."""
        open_ones = [u for u in self.uploads if u["closing"] is None]
        if len(open_ones) < 2:
            key = f"{self.number}/parts/{self.rng.randrange(3)}"
            answer = self.ask("CREATE", "POST", key, {"uploads": ""})
            if answer:
                self.uploads.append({"key": key, "id": text_of(answer, "UploadId"), "created": time.monotonic(), "parts": [], "sha": hashlib.sha256(),
                                     "closing": None, "closed": None, "want": self.rng.randint(1, 2), "kept": self.rng.random() < 0.8})
            return
        u = self.rng.choice(open_ones)
        number, query = len(u["parts"]) + 1, {"uploadId": u["id"]}
        if number <= u["want"]:
            body = self.rng.randbytes(PART if number < u["want"] else self.rng.choice(SIZES[1:]))
            answer = self.ask("PART", "PUT", u["key"], {"partNumber": str(number), **query}, body)
            if answer:
                u["parts"].append((number, answer.headers["etag"], time.monotonic()))
                u["sha"].update(body)
            return
        u["closing"] = time.monotonic()
        if u["kept"]:
            parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag, _ in u["parts"])
            self.change(u["key"], u["sha"].hexdigest(), "COMPLETE", "POST", u["key"], query,
                        f'<CompleteMultipartUpload xmlns="{NS[1:-1]}">{parts}</CompleteMultipartUpload>'.encode())
        else:
            self.ask("ABORT", "DELETE", u["key"], query)
        u["closed"] = time.monotonic()

    def version(self):
        open_ones = [v for v in self.versions if v["closing"] is None]
        if open_ones and self.rng.random() < 0.3:
            v = self.rng.choice(open_ones)
            v["closing"] = time.monotonic()
            self.ask("VDELETE", "DELETE", v["key"], {"versionId": v["id"]}, bucket=VERSIONED)
            v["closed"] = time.monotonic()
            return
        key, body = f"{self.number}/{self.rng.randrange(3)}", self.rng.randbytes(self.rng.choice(SIZES[:8]))
        answer = self.ask("VPUT", "PUT", key, body=body, bucket=VERSIONED)
        if answer:
            self.versions.append({"key": key, "id": answer.headers["x-amz-version-id"], "sha": hashlib.sha256(body).hexdigest(),
                                  "created": time.monotonic(), "closing": None, "closed": None})

    def step(self):
        what, key = self.rng.random(), f"{self.number}/{self.rng.randrange(KEYS)}"
        stored = [k for k, s in self.state.items() if s is not GONE]
        if what < 0.15:
            self.upload()
        elif what < 0.27:
            self.version()
        elif what < 0.35 and stored:
            source = self.rng.choice(stored)
            if source != key:
                self.change(key, self.state[source], "COPY", "PUT", key, headers={"x-amz-copy-source": quote(f"/{BUCKET}/{source}")})
        elif what < 0.52 and stored:
            key = self.rng.choice(stored)
            self.change(key, GONE, "DELETE", "DELETE", key)
        else:
            body = self.rng.randbytes(self.rng.choice(SIZES))
            self.change(key, hashlib.sha256(body).hexdigest(), "OVERWRITE" if self.state.get(key) else "PUT", "PUT", key, body=body)

    def run(self):
        while not self.stop and not self.failures:
            try:
                self.step()
            except Exception as e:      # a thread that dies unseen would pass
                self.failures.append(f"writer {self.number}: {type(e).__name__} {e}")


def record(work):
    """Runs the machine under the writers; leaves record.img, and the client's log, which it returns."""
    for name, size in ("disk.img", DISK), ("record.img", RECORD):
        with open(work / name, "wb") as f:
            f.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-J", "size=16", "-E", "lazy_itable_init=0,lazy_journal_init=0", work / "disk.img"], check=True)
    subprocess.run(["cp", "--sparse=always", work / "disk.img", work / "recorded.img"], check=True)
    begun, machine = time.monotonic(), Machine(work)
    said = machine.hear(300)
    if not said.startswith("key "):
        until(lambda: machine.qemu.poll() is not None, 15)      # it says why on its console
        raise RuntimeError(f"the machine: {said}")
    made = json.loads(said[4:])
    s3_key = made["id"], made["secret"]
    check(True, f"Debian's kernel has a registry and an endpoint on a recorded disk, {time.monotonic() - begun:.0f} s")
    versioning = f'<VersioningConfiguration xmlns="{NS[1:-1]}"><Status>Enabled</Status></VersioningConfiguration>'.encode()
    for bucket, query, body in (BUCKET, {}, b""), (VERSIONED, {}, b""), (VERSIONED, {"versioning": ""}, versioning):
        got = until(lambda: (lambda a: a if a.status == 200 else None)(s3(machine.port, s3_key, "PUT", f"/{bucket}", query, body)), 30, 0.2)
        if not got:
            raise RuntimeError(f"bucket {bucket} {query}: {s3(machine.port, s3_key, 'PUT', f'/{bucket}', query, body)}")
    until(lambda: b"Enabled" in s3(machine.port, s3_key, "GET", f"/{VERSIONED}", {"versioning": ""}).body, 10)
    writers, marks, begun = [Writer(machine.port, s3_key, i) for i in range(WRITERS)], [], time.monotonic()

    def mark():
        asked, name = time.monotonic(), f"m{len(marks)}"
        machine.mark(name)
        marks.append((name, asked, time.monotonic()))

    mark()
    for w in writers:
        w.start()
    while sum(sum(w.counts.values()) for w in writers) < OPERATIONS and time.monotonic() < begun + SECONDS and not any(w.failures for w in writers):
        mark()
    lasted = time.monotonic() - begun
    for w in writers:
        w.stop = True
    for w in writers:
        w.join(130)
    mark()
    machine.end()
    failures, counts = [f for w in writers for f in w.failures], {}
    for w in writers:
        for k, v in w.counts.items():
            counts[k] = counts.get(k, 0) + v
    check(not failures, f"{sum(counts.values())} operations in {lasted:.0f} s, all acknowledged: {dict(sorted(counts.items()))}; {len(marks)} marks",
          "\n".join(failures[:10]))
    for w in writers:
        for u in w.uploads:
            del u["sha"]
    log = {"key": s3_key, "marks": marks, "ops": [o for w in writers for o in w.ops], "uploads": [u for w in writers for u in w.uploads],
           "versions": [v for w in writers for v in w.versions]}
    (work / "client.json").write_text(json.dumps(log))
    return log


# ---- a disk that a power loss left --------------------------------------------------------------------

class Disk:
    """Daemons on a disk, mounted."""

    def __init__(self, work, image):
        self.work, self.image, self.mount, self.logs = work, image, work / "mnt", {}
        self.mount.mkdir(exist_ok=True)
        shutil.rmtree(work / "run", ignore_errors=True)
        for part in "registry", "endpoint":
            (work / "run" / part).mkdir(parents=True)
            os.chown(work / "run" / part, UID, UID)
        self.port, self.processes = free_port(), {}
        configure(work, self.mount, work / "run", "127.0.0.1", self.port, free_port())
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", image, self.mount], check=True)

    def start(self, name):
        with open(self.work / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([BIN / f"weir-{name}", "-c", self.work / f"{name}.yaml"], stdout=log, stderr=log)

    def serve(self, s3_key):
        self.start("registry")
        if not until((self.work / "run/registry/store.socket").exists, 10):
            raise RuntimeError("the registry does not start")
        self.start("endpoint")
        if not until(lambda: s3(self.port, s3_key, "HEAD", f"/{BUCKET}", timeout=5).status == 200, 20):
            raise RuntimeError(f"the endpoint does not serve the bucket: {s3(self.port, s3_key, 'HEAD', f'/{BUCKET}')}")

    def stop(self):
        for name in "endpoint", "registry":
            if name in self.processes:
                self.processes[name].terminate()
                try:
                    self.processes[name].wait(20)
                except subprocess.TimeoutExpired:
                    self.processes[name].kill()
                    self.processes[name].wait()
        self.processes = {}

    def fsck(self):
        """Its findings, and what is checked as text."""
        got = subprocess.run([BIN / "weir", "fsck", "--json", "-c", self.work / "endpoint.yaml"], capture_output=True, text=True)
        try:
            return json.loads(got.stdout)["findings"]
        except (ValueError, KeyError):
            return [{"what": "no answer", "where": str(got.returncode), "text": got.stdout + got.stderr}]

    def scrub(self):
        subprocess.run([BIN / "weir", "scrub", "--wait", "-c", self.work / "endpoint.yaml"], capture_output=True, timeout=60)

    def close(self):
        self.stop()
        until(lambda: subprocess.run(["umount", self.mount], capture_output=True).returncode == 0, 20)


def wanted(log, sure, perhaps):
    """{key: states of which one must be there}: what was acknowledged before `sure`, or what began after that and before `perhaps`."""
    want = {}
    for key, begun, acknowledged, state in log["ops"]:
        if acknowledged is not None and acknowledged <= sure:
            want[key] = [state]
        elif begun < perhaps:
            want.setdefault(key, [GONE]).append(state)
        else:
            want.setdefault(key, [GONE])
    return want


def check_keys(log, disk, want, bad):
    for key, states in want.items():
        got = s3(disk.port, log["key"], "GET", f"/{BUCKET}/{key}")
        if got.status not in (200, 404):
            bad.append(f"{key}: {got}")
        elif (hashlib.sha256(got.body).hexdigest() if got.status == 200 else GONE) not in states:
            bad.append(f"{key}: {got.status}, {len(got.body)} bytes, is none of {[s and s[:12] for s in states]}")
    root = ET.fromstring(s3(disk.port, log["key"], "GET", f"/{BUCKET}", {"list-type": "2", "max-keys": "1000"}).body)
    listed = {e.findtext(f"{NS}Key") for e in root.iter(f"{NS}Contents")}
    for key in listed ^ {k for k, s in want.items() if GONE not in s}:
        if len(set(want.get(key, [GONE]))) == 1:
            bad.append(f"{key}: {'listed' if key in listed else 'not listed'}")


def certain(things, sure, perhaps):
    """(thing, was it ended?) of uploads or versions whose fate is certain."""
    for t in things:
        ended = t["closed"] is not None and t["closed"] <= sure
        if t["created"] <= sure and (ended or t["closing"] is None or t["closing"] >= perhaps):
            yield t, ended


def check_versions(log, disk, sure, perhaps, bad):
    n = 0
    for v, ended in certain(log["versions"], sure, perhaps):
        n += 1
        got = s3(disk.port, log["key"], "GET", f"/{VERSIONED}/{v['key']}", {"versionId": v["id"]})
        if got.status != (404 if ended else 200) or not ended and hashlib.sha256(got.body).hexdigest() != v["sha"]:
            bad.append(f"version {v['id']} of {v['key']}: {got.status}, {len(got.body)} bytes, it was {'deleted' if ended else 'stored'}")
    return n


def check_uploads(log, disk, sure, perhaps, bad):
    """Those that were open keep their parts, those that were ended are gone. Returns how many were looked at."""
    n = 0
    for u, ended in certain(log["uploads"], sure, perhaps):
        n += 1
        got = s3(disk.port, log["key"], "GET", f"/{BUCKET}/{u['key']}", {"uploadId": u["id"]})
        if got.status != (404 if ended else 200):
            bad.append(f"upload {u['id']} of {u['key']}: {got.status}, it was {'ended' if ended else 'open'}")
        elif not ended:
            there = {(int(p.findtext(f"{NS}PartNumber")), p.findtext(f"{NS}ETag")) for p in ET.fromstring(got.body).iter(f"{NS}Part")}
            for number, etag, acknowledged in u["parts"]:
                if acknowledged <= sure and (number, etag) not in there:
                    bad.append(f"upload {u['id']} of {u['key']}: part {number} is lost")
    return n


def told(findings):
    return [f"fsck: {f['what']} {f['where']}: {f['text']}" for f in findings]


def check_disk(work, log, image, sure, perhaps):
    """(what is wrong, what was looked at)"""
    bad, want = [], wanted(log, sure, perhaps)
    disk = Disk(work, image)
    try:
        left = disk.fsck()
        bad += told([f for f in left if f["what"] not in HARMLESS])
        disk.serve(log["key"])
        check_keys(log, disk, want, bad)
        uploads, versions = check_uploads(log, disk, sure, perhaps, bad), check_versions(log, disk, sure, perhaps, bad)
        disk.scrub()
        disk.stop()
        after = disk.fsck()
        bad += told([f for f in after if f["what"] != "unnamed"])
        if len(after) > WRITERS:
            bad += told(after)
    except RuntimeError as e:
        return bad + [str(e)], ""
    finally:
        disk.close()
    got = subprocess.run(["e2fsck", "-fn", image], capture_output=True, text=True)
    if got.returncode:
        bad.append(f"ext4 itself: {got.stdout[-1500:]}")
    states = list(want.values())
    kinds = sorted({f["what"] for f in left})
    return bad, (f"{sum(len(s) == 1 and s != [GONE] for s in states)} objects, {sum(s == [GONE] for s in states)} without, "
                 f"{sum(len(s) > 1 for s in states)} in doubt, {uploads} uploads, {versions} versions"
                 + (f"; fsck first: {', '.join(kinds)}" if kinds else "") + (f", then {len(after)} unnamed" if after else ""))


def choose(rec, rng):
    """Points of the record behind the first mark: (entry, do only some of the unflushed writes survive?), in their order.
    Right at marks, right at flushes, anywhere, and as often just before a flush that had several writes to wait for."""
    first, last = rec.marks[0][0], rec.marks[-1][0]
    flushes = [i for i in range(first, last) if rec.entries[i].flags & FLUSH]
    unflushed = [sum(e.sectors > 0 and not e.flags & FUA for e in rec.entries[a + 1:b]) for a, b in zip(flushes, flushes[1:])]
    full = [b - 1 for b, n in zip(flushes[1:], unflushed) if n >= 2]
    marks = [i for i, _ in rec.marks]
    points = {last: True}
    for n in range(POINTS * 10):
        if len(points) < POINTS:
            where = (marks, full, flushes, full, range(first, last), full)[n % 6]
            points.setdefault(rng.choice(where), where is full or n % 4 == 0)
    return sorted(points.items())


def main(work):
    enter()
    os.umask(0o022)
    reuse = (work / "client.json").exists()
    log = json.loads((work / "client.json").read_text()) if reuse else record(work)
    rng, rec = random.Random(SEED), Record(work / "record.img")
    asked = {name: (a, b) for name, a, b in log["marks"]}
    rec.marks = [m for m in rec.marks if m[1] in asked]         # not the kernel's own at the end
    flags = [e.flags for e in rec.entries]
    check(len(rec.marks) == len(log["marks"]) and len(rec.entries) > 100,
          f"the record: {len(rec.entries)} entries, {sum(f & 1 for f in flags)} flushes, {sum(f >> 1 & 1 for f in flags)} FUA, "
          f"{sum(e.sectors for e in rec.entries) * rec.size >> 20} MiB")
    small, early = unordered(rec, work / "disk.img", work)
    check(small > 50 and not early, f"a flush lies between each of {small} small versions and the commit that names it", "\n".join(early[:20]))
    print(f"# seed {SEED}", flush=True)
    replay = Replay(rec, work / "disk.img", work / "replayed.img", int(os.environ.get("LIES", "0")))
    for point, holes in choose(rec, rng):
        before = [m for i, m in rec.marks if i <= point][-1]
        after = [m for i, m in rec.marks if i > point][:1]
        begun = time.monotonic()
        lost = replay.disk(point, work / "trial.img", rng if holes else None)
        bad, looked = check_disk(work, log, work / "trial.img", asked[before][0], asked[after[0]][1] if after else float("inf"))
        where = f"power lost at entry {point}, behind mark {before}" + (f", without {lost} writes" if holes else "")
        logs = (work / "endpoint.log").read_text(errors="replace").splitlines()
        check(not bad, f"{where}: {looked} ({time.monotonic() - begun:.1f} s)", "\n".join(bad[:20] + logs[-10:]))
        for name in "registry", "endpoint":
            (work / f"{name}.log").write_text("")
    finish()


if sys.argv[1] == "--configure":
    configure(sys.argv[3], "/state", "/run", "10.0.2.15", 8080, 7004)
else:
    try:
        main(pathlib.Path(sys.argv[1]))
    except (RuntimeError, subprocess.CalledProcessError, ValueError) as e:
        print(f"not ok - {e}")
        if pathlib.Path(sys.argv[1], "console").exists():
            print("# " + pathlib.Path(sys.argv[1], "console").read_text(errors="replace")[-4000:].replace("\n", "\n# "))
        sys.exit(1)
