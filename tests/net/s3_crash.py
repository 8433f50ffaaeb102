# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of endpoints and of the gateway at moments drawn at random, under writers that speak S3: put, overwrite, delete, copy,
uploads in parts that live through kills, versions. Each writer keeps a log of what was acknowledged to it. At the end every key
and version is what the log says: none lost, none resurrected, none torn, and no other is listed.

KILLS (40) kills, SEED repeats a run, COPIES (2) endpoints and copies, SECONDS (none) ends it earlier, LOG=file keeps the log."""
import hashlib
import hmac
import random
import urllib.parse
import xml.etree.ElementTree as ET

from upload_lib import *

KILLS = int(os.environ.get("KILLS", "40"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 30))))
COPIES = int(os.environ.get("COPIES", "2"))
GATEWAYS = int(os.environ.get("GATEWAYS", "1"))
SECONDS = float(os.environ.get("SECONDS", "inf"))
WRITERS = 4
SIZES = [0, 1, 700, 4096, 4096, 16000, 70000, 300000]
PART = 5 << 20          # S3's least, but for the last one
PLAIN, VERSIONED = "plain-bucket", "versioned-bucket"
GONE = None             # the state of a key that is not there
NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def enter():
    if os.geteuid():
        skip("needs root")
    if not os.environ.get("IN_NS"):
        os.environ["IN_NS"] = "1"
        os.execvp("unshare", ["unshare", "-n", "-m", "-p", "-f", "--mount-proc", "--kill-child", "--", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


# ---- a client that signs ---------------------------------------------------------------------------

def quote(text):
    return urllib.parse.quote(text, safe="/-._~")


def sign(key, method, path, query, headers, payload):
    """Authorization of version 4; all of headers are signed."""
    now = headers["x-amz-date"]
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    names = ";".join(sorted(h.lower() for h in headers))
    pairs = "&".join(f"{urllib.parse.quote(k, safe='-._~')}={urllib.parse.quote(v, safe='-._~')}" for k, v in sorted(query.items()))
    lines = "".join(f"{k.lower()}:{headers[k]}\n" for k in sorted(headers, key=str.lower))
    canonical = f"{method}\n{path}\n{pairs}\n{lines}\n{names}\n{payload}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    k = f"AWS4{key[1]}".encode()
    for part in (now[:8], "us-east-1", "s3", "aws4_request"):
        k = hmac.new(k, part.encode(), "sha256").digest()
    signature = hmac.new(k, text.encode(), "sha256").hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={key[0]}/{scope}, SignedHeaders={names}, Signature={signature}"


def s3(port, key, method, path, query=None, body=b"", headers=None, timeout=30):
    """An Answer; status 0: nothing was sent; None: nobody knows what happened."""
    query, path = query or {}, quote(path)
    payload = hashlib.sha256(body).hexdigest()
    all_headers = {"Host": f"127.0.0.1:{port}", "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), "x-amz-content-sha256": payload,
                   **(headers or {})}
    all_headers["Authorization"] = sign(key, method, path, query, all_headers, payload)
    target = path + ("?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote, safe="") if query else "")
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        c.request(method, target, body, all_headers)
        r = c.getresponse()
        return Answer(r.status, r.getheaders(), r.read())
    except ConnectionRefusedError:
        return Answer(0, [], b"refused")
    except (OSError, http.client.HTTPException) as e:
        return Answer(None, [], f"{type(e).__name__} {e}".encode())
    finally:
        c.close()


def text_of(answer, name):
    found = ET.fromstring(answer.body).find(f".//{NS}{name}")
    return found.text if found is not None else None


class Writer(threading.Thread):
    """Owns its keys. After an answer that leaves it open what happened, a key is left alone: either is right from then on.
    A state is (SHA-256, ETag) or GONE."""

    def __init__(self, lab, number):
        super().__init__(daemon=True)
        self.lab, self.number, self.serial = lab, number, 0
        self.rng = random.Random(SEED * 100 + number)
        self.known, self.open = {}, {}          # key: state; key: states of which one must be found
        self.uploads = []                       # not completed: {key, id, parts: [(body, ETag)]}
        self.versions = {}                      # key: {version: digest, or GONE for a marker}, acknowledged and not removed
        self.removed, self.loose = {}, {}       # key: versions that must be gone; how many may be there more, or be gone
        self.counts, self.failures, self.log = {}, [], []
        self.stop = False

    # ---- asking ----

    def ask(self, what, method, key, query=None, body=b"", headers=None, bucket=PLAIN, good=(200, 204)):
        """True: acknowledged, with the answer; False: it did not happen; None: nobody knows."""
        answer = s3(self.lab.any_port(self.rng), self.lab.s3_key, method, f"/{bucket}/{key}", query, body, headers)
        self.counts[f"{what} {answer.status}"] = self.counts.get(f"{what} {answer.status}", 0) + 1
        if answer.status == 0:
            time.sleep(0.02)
            return False, answer
        if answer.status in good:
            self.log.append((time.time(), what, bucket, key, query, len(body), answer.status, answer.headers.get("x-amz-version-id")))
            return True, answer
        if answer.status is None or answer.status >= 500:
            time.sleep(0.02)
            return None, answer
        self.failures.append(f"{what} {bucket}/{key}: {answer}{self.again(bucket, key, query)}")
        return False, answer

    def again(self, bucket, key, query):
        """After a refusal of an upload that was acknowledged: is it known a moment later? For whoever reads the failure."""
        if "uploadId" not in (query or {}):
            return ""
        told = []
        for _ in range(8):
            time.sleep(0.25)
            told.append([s3(self.lab.port[d.node], self.lab.s3_key, "GET", f"/{bucket}/{key}", {"uploadId": query["uploadId"]}).status
                         for d in self.lab.endpoints])
        return f" then, by each endpoint: {told}"

    def body(self):
        return self.rng.randbytes(self.rng.choice(SIZES))

    def new_key(self):
        self.serial += 1
        return f"{self.number}/{self.rng.choice(['a', 'b c', 'ü'])}/{self.serial}"

    def settle(self, key, done, state):
        if done:
            self.known[key] = state
        elif done is None:
            self.open[key] = [self.known.pop(key, GONE), state]

    def wrong_etag(self, key, etag, body):
        if etag != '"' + hashlib.md5(body).hexdigest() + '"':
            self.failures.append(f"{key}: acknowledged with the ETag {etag}")

    # ---- operations ----

    def put(self, key):
        body = self.body()
        done, answer = self.ask("PUT", "PUT", key, body=body)
        if done:
            self.wrong_etag(key, answer.headers.get("etag"), body)
        self.settle(key, done, (hashlib.sha256(body).hexdigest(), answer.headers.get("etag")))

    def delete(self, key):
        done, _ = self.ask("DELETE", "DELETE", key)
        self.settle(key, done, GONE)

    def copy(self, key):
        to = self.rng.choice([k for k in self.known if k != key] or [self.new_key()]) if self.rng.random() < 0.3 else self.new_key()
        done, answer = self.ask("COPY", "PUT", to, headers={"x-amz-copy-source": quote(f"/{PLAIN}/{key}")})
        if done and text_of(answer, "ETag") is None:        # S3 may answer 200 and an error
            done = None
        self.settle(to, done, (self.known[key][0], text_of(answer, "ETag") if done else None))

    def get(self, key):
        good, answer = self.ask("GET", "GET", key, good=(200, 404))
        if good:
            judge(self.failures, key, [self.known[key]], answer)

    def begin_upload(self):
        key = self.rng.choice(list(self.known)) if self.known and self.rng.random() < 0.3 else self.new_key()
        if any(u["key"] == key for u in self.uploads):
            return
        done, answer = self.ask("CREATE", "POST", key, {"uploads": ""})
        if done:
            self.uploads.append({"key": key, "id": text_of(answer, "UploadId"), "parts": []})

    def go_on_upload(self):
        up = self.rng.choice(self.uploads)
        if len(up["parts"]) == up.setdefault("want", self.rng.randint(1, 3)):
            return self.complete(up)
        size = PART if len(up["parts"]) < up["want"] - 1 else self.rng.choice(SIZES[1:])
        body, number = self.rng.randbytes(size), len(up["parts"]) + 1
        done, answer = self.ask("PART", "PUT", up["key"], {"partNumber": str(number), "uploadId": up["id"]}, body)
        if done:
            self.wrong_etag(up["key"], answer.headers.get("etag"), body)
            up["parts"].append((body, answer.headers["etag"]))

    def complete(self, up):
        if up["key"] in self.open:      # its fate is open already
            self.uploads.remove(up)
            return
        parts = "".join(f"<Part><PartNumber>{i}</PartNumber><ETag>{etag}</ETag></Part>" for i, (_, etag) in enumerate(up["parts"], 1))
        body = f'<CompleteMultipartUpload xmlns="{NS[1:-1]}">{parts}</CompleteMultipartUpload>'.encode()
        done, answer = self.ask("COMPLETE", "POST", up["key"], {"uploadId": up["id"]}, body)
        if done is False:
            return
        if done and text_of(answer, "ETag") is None:
            done = None
        whole = b"".join(b for b, _ in up["parts"])
        etag = hashlib.md5(b"".join(hashlib.md5(b).digest() for b, _ in up["parts"])).hexdigest()
        state = (hashlib.sha256(whole).hexdigest(), f'"{etag}-{len(up["parts"])}"')
        if done and text_of(answer, "ETag") != state[1]:
            self.failures.append(f"{up['key']}: completed with the ETag {text_of(answer, 'ETag')}, not {state[1]}")
        self.settle(up["key"], done, state)
        self.uploads.remove(up)

    def version(self):
        key = f"{self.number}/v{self.rng.randrange(4)}"
        have = self.versions.setdefault(key, {})
        what = self.rng.random()
        if what < 0.6:
            body = self.rng.randbytes(self.rng.choice(SIZES[:5]))
            done, answer = self.ask("VPUT", "PUT", key, body=body, bucket=VERSIONED)
            state = hashlib.sha256(body).hexdigest()
        elif what < 0.8 or not have:
            done, answer = self.ask("VMARK", "DELETE", key, bucket=VERSIONED)
            state = GONE
        else:
            version = self.rng.choice(list(have))
            done, _ = self.ask("VDELETE", "DELETE", key, {"versionId": version}, bucket=VERSIONED)
            if done is not False:
                have.pop(version)
            if done:
                self.removed.setdefault(key, set()).add(version)
            elif done is None:
                self.loose[key] = self.loose.get(key, 0) + 1
            return
        if done:
            have[answer.headers["x-amz-version-id"]] = state
        elif done is None:
            self.loose[key] = self.loose.get(key, 0) + 1

    def step(self):
        what = self.rng.random()
        stored = [k for k in self.known if self.known[k] is not GONE]
        if what < 0.13:
            self.version()
        elif what < 0.17 and len(self.uploads) < 3:
            self.begin_upload()
        elif what < 0.27 and self.uploads:
            self.go_on_upload()
        elif what < 0.55 or not stored:
            self.put(self.new_key())
        elif what < 0.65:
            self.put(self.rng.choice(list(self.known)))
        elif what < 0.73:
            self.copy(self.rng.choice(stored))
        elif what < 0.83:
            self.delete(self.rng.choice(stored))
        else:
            self.get(self.rng.choice(list(self.known)))

    def run(self):
        while not self.stop:
            try:
                self.step()
            except Exception as e:      # a thread that dies unseen would pass
                self.failures.append(f"writer {self.number}: {type(e).__name__} {e}")
                return


def judge(failures, key, states, answer):
    """True when the answer was definite: 200 or 404."""
    if answer.status not in (200, 404):
        return False
    found = (hashlib.sha256(answer.body).hexdigest(), answer.headers.get("etag")) if answer.status == 200 else GONE
    for state in states:
        if found is GONE or state is GONE:
            if found is state:
                return True
        elif found[0] == state[0] and state[1] in (None, found[1]):
            return True
    failures.append(f"{key}: found {found}, wanted one of {states}")
    return True


# ---- the installation ------------------------------------------------------------------------------

class Crash(Lab):
    def __init__(self):
        super().__init__(endpoints=COPIES, gateways=GATEWAYS, copies=COPIES)
        made = json.loads(self.weir("user", "add", "writer", "--json"))
        self.s3_key = made["id"], made["secret"]
        self.front = (self.gateways or self.endpoints)[0]

    def any_port(self, rng):
        """Mostly the gateway's: it sends on to endpoints."""
        d = self.gateways[0] if self.gateways and rng.random() < 0.7 else rng.choice(self.endpoints)
        return self.port[d.node]

    def serves(self, d):
        got = s3(self.port[d.node], self.s3_key, "GET", "/", timeout=2)
        return got.status == 200 and b"ListAllMyBucketsResult" in got.body


def make_buckets(lab):
    for d in lab.endpoints + lab.gateways:
        until(lambda: lab.serves(d)) or lab.bail(f"{d.name} does not answer S3")
    port = lab.port[lab.front.node]
    for bucket in (PLAIN, VERSIONED):
        got = until(lambda: (lambda a: a if a.status == 200 else None)(s3(port, lab.s3_key, "PUT", f"/{bucket}")), 10)
        got or lab.bail(f"bucket {bucket} cannot be made: {s3(port, lab.s3_key, 'PUT', f'/{bucket}')}")
    body = f'<VersioningConfiguration xmlns="{NS[1:-1]}"><Status>Enabled</Status></VersioningConfiguration>'.encode()
    got = s3(port, lab.s3_key, "PUT", f"/{VERSIONED}", {"versioning": ""}, body)
    got.status == 200 or lab.bail(f"versioning: {got}")
    # Everybody must have heard of it before versions are counted.
    for d in lab.endpoints + lab.gateways:
        heard = until(lambda: b"Enabled" in s3(lab.port[d.node], lab.s3_key, "GET", f"/{VERSIONED}", {"versioning": ""}).body, 10)
        heard or lab.bail(f"{d.name} does not hear that {VERSIONED} keeps versions")


def kill_one(lab, rng, number):
    """Returns the names of who was killed; when they serve again."""
    victims = [lab.gateways[0]] if lab.gateways and rng.random() < 0.35 else [rng.choice(lab.endpoints)]
    if number % 8 == 7:
        victims = lab.endpoints + lab.gateways
    time.sleep(0.15 + rng.random() * 0.5)      # traffic runs meanwhile: the moment of the kill, drawn at random
    for d in victims:
        d.process.send_signal(signal.SIGKILL)
    for d in victims:
        d.process.wait()
    if number % 3 == 2:
        time.sleep(rng.random() * 0.6)          # others go on without it for a while
    for d in victims:
        d.start()
    for d in victims:
        until(lambda: lab.serves(d), 30) or lab.bail(f"{d.name} does not serve again")
    for d in lab.daemons:
        d.runs() or lab.bail(f"{d.name} ended by itself: {d.process.returncode}")
    return [d.node for d in victims]


# ---- what is there at the end ----------------------------------------------------------------------

def read_until(lab, rng, failures, bucket, key, states, query=None):
    end = time.monotonic() + 30
    while not judge(failures, f"{bucket}/{key} {query or ''}", states, s3(lab.any_port(rng), lab.s3_key, "GET", f"/{bucket}/{key}", query)):
        if time.monotonic() > end:
            failures.append(f"{bucket}/{key}: cannot be read")
            return
        time.sleep(0.1)


def pages(lab, bucket, query, node):
    """The roots of a listing's pages."""
    more = {}
    while True:
        got = until(lambda: (lambda a: a if a.status == 200 else None)(s3(lab.port[node.node], lab.s3_key, "GET", f"/{bucket}", {**query, **more})), 30)
        if not got:
            raise RuntimeError(f"{bucket} cannot be listed")
        root = ET.fromstring(got.body)
        yield root
        if root.findtext(f"{NS}IsTruncated") != "true":
            return
        more = {"continuation-token": root.findtext(f"{NS}NextContinuationToken")} if "list-type" in query else \
            {"key-marker": root.findtext(f"{NS}NextKeyMarker"), "version-id-marker": root.findtext(f"{NS}NextVersionIdMarker")}


def check_objects(lab, writers):
    failures = []

    def read(w):
        rng = random.Random(SEED * 100 + 50 + w.number)
        for key, states in [(k, [s]) for k, s in w.known.items()] + list(w.open.items()):
            read_until(lab, rng, failures, PLAIN, key, states)

    readers = [threading.Thread(target=read, args=(w,)) for w in writers]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    stored = {k for w in writers for k, s in w.known.items() if s is not GONE}
    perhaps = {k for w in writers for k in w.open}
    for node in lab.gateways + lab.endpoints:
        listed = [e.findtext(f"{NS}Key") for page in pages(lab, PLAIN, {"list-type": "2", "max-keys": "100"}, node) for e in page.iter(f"{NS}Contents")]
        if len(set(listed)) != len(listed):
            failures.append(f"{node.node} lists keys twice")
        if set(listed) - perhaps != stored - perhaps:
            failures.append(f"{node.node}: not listed: {sorted(stored - perhaps - set(listed))[:5]}, too many: {sorted(set(listed) - perhaps - stored)[:5]}")
    return failures


def check_versions(lab, writers):
    rng, failures, there = random.Random(SEED + 8), [], {}
    for page in pages(lab, VERSIONED, {"versions": "", "max-keys": "100"}, lab.front):
        for e in page:
            if e.tag in (f"{NS}Version", f"{NS}DeleteMarker"):
                there.setdefault(e.findtext(f"{NS}Key"), {})[e.findtext(f"{NS}VersionId")] = e.tag == f"{NS}DeleteMarker"
    for w in writers:
        for key, have in w.versions.items():
            found, loose = there.get(key, {}), w.loose.get(key, 0)
            for version, digest in have.items():
                if version not in found or found[version] != (digest is GONE):
                    failures.append(f"{key}: version {version} is lost")
                elif digest is not GONE and rng.random() < 0.5:
                    read_until(lab, rng, failures, VERSIONED, key, [(digest, None)], {"versionId": version})
            for version in w.removed.get(key, ()):
                if version in found:
                    failures.append(f"{key}: version {version} is back")
            if len(found.keys() - have.keys()) > loose:
                failures.append(f"{key}: {len(found.keys() - have.keys())} versions that nobody was told of, {loose} may be")
    return failures


def main():
    enter()
    with Crash() as lab:
        make_buckets(lab)
        writers = [Writer(lab, i) for i in range(WRITERS)]
        for w in writers:
            w.start()
        rng, killed, kills, begun = random.Random(SEED), {}, 0, time.monotonic()
        while kills < KILLS and time.monotonic() - begun < SECONDS:
            for name in kill_one(lab, rng, kills):
                killed[name] = killed.get(name, 0) + 1
                kills += 1
        for w in writers:
            w.stop = True
        for w in writers:
            w.join(90)
        for w in writers:       # uploads that lived through kills
            for up in list(w.uploads):
                for _ in range(60):
                    if up in w.uploads and up["parts"]:
                        w.complete(up)
                        time.sleep(0 if up not in w.uploads else 0.5)
        counts, failures = {}, [f for w in writers for f in w.failures]
        for w in writers:
            for k, v in w.counts.items():
                counts[k] = counts.get(k, 0) + v
        print(f"# seed {SEED}, {time.monotonic() - begun:.0f} s: {dict(sorted(counts.items()))}", flush=True)
        if "LOG" in os.environ:
            pathlib.Path(os.environ["LOG"]).write_text("".join(f"{line}\n" for w in writers for line in w.log))
        check(not failures, f"{kills} kills ({killed}): what was answered meanwhile was right", "\n".join(failures))
        objects = check_objects(lab, writers)
        stored = sum(s is not GONE for w in writers for s in w.known.values())
        deleted = sum(s is GONE for w in writers for s in w.known.values())
        check(not objects, f"{stored} objects stored, {deleted} deleted, {sum(len(w.open) for w in writers)} left open: as acknowledged", "\n".join(objects))
        versions = check_versions(lab, writers)
        kept = sum(len(v) for w in writers for v in w.versions.values())
        check(not versions, f"{kept} versions kept, {sum(len(v) for w in writers for v in w.removed.values())} removed: as acknowledged", "\n".join(versions))
        acknowledged = {what: sum(v for k, v in counts.items() if k.split()[0] == what and k.split()[1] in ("200", "204"))
                        for what in ("PUT", "DELETE", "COPY", "COMPLETE", "VPUT", "VMARK", "VDELETE")}
        print(f"# checked after {time.monotonic() - begun:.0f} s", flush=True)
        check(all(acknowledged.values()) and stored > kills, f"there was enough to lose: {acknowledged}")
    finish()


if __name__ == "__main__":
    main()
