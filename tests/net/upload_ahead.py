#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client that sends faster than its file is checked is held: what was taken never is further than gateway.uploads.ahead beyond
what the worker has checked, by PUT, tus and form; it goes on when the worker does, hears of its death and of a cancelled upload at
once, and no time-out of the gateway cuts it meanwhile."""
import hashlib

from upload_lib import *

AHEAD = 1 << 20
RULES = "columns:\n  - {name: id, type: integer, minimum: 0, unique: true}\n  - {name: text, type: string, max_length: 40}\nwriters: [writing]\n"


def rows(n):
    return b"id,text\n" + b"".join(b"%d,some words of row %d\n" % (i, i) for i in range(n))


def children(pid):
    return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(lab):
    """Processes that the gateway's nursery has made; above it stands its keeper."""
    return [w for keeper in children(lab.gateways[0].process.pid) for nursery in children(keeper) for w in children(nursery)]


def put_later(lab, path, data, method="PUT", headers=None):
    """Sends on a thread: a dictionary that gets "answer" and "took"."""
    got = {}

    def run():
        began = time.monotonic()
        try:
            got["answer"] = lab.req(method, path, "ada", data, headers, timeout=60)
        except OSError as e:
            got["answer"] = Answer(0, [], repr(e).encode())
        got["took"] = time.monotonic() - began

    got["thread"] = threading.Thread(target=run, daemon=True)
    got["thread"].start()
    return got


def begun(lab, name):
    """The upload of that name, when it has bytes."""
    return until(lambda: next((u for u in lab.get("ada", "/_/uploads").json.get("uploads", []) if u["file"] == name and u["received"]), None))


def stop_worker(lab):
    worker = until(lambda: workers(lab))[0]
    os.kill(worker, signal.SIGSTOP)
    return worker


def settled(lab, id):
    """(received, checked) when no more bytes come in."""
    show, last = lambda: (lambda u: (u["received"], u["checked"]))(lab.get("ada", f"/_/uploads/{id}").json), None
    for _ in range(100):
        now = show()
        if now == last:
            return now
        last = now
        time.sleep(0.15)
    return last


def pulses(lab, name, sent, size, what):
    """Stops the worker again and again while the file comes."""
    id, worst, stops = begun(lab, name)["id"], 0, 0
    # What came before the worker ran is not bound.
    until(lambda: (lambda u: u["checked"] > AHEAD and u["received"] - u["checked"] <= AHEAD)(lab.get("ada", f"/_/uploads/{id}").json), pause=0.002)
    while sent["thread"].is_alive() and stops < 2:
        running = workers(lab)
        if not running:
            break
        os.kill(running[0], signal.SIGSTOP)
        received, checked = settled(lab, id)
        stops, worst = stops + (received < size), max(worst, received - checked)
        os.kill(running[0], signal.SIGCONT)
        time.sleep(0.02)
    sent["thread"].join(60)
    check(stops >= 1 and 0 < worst <= AHEAD, f"{what}: never more than {AHEAD} bytes ahead of a worker that is stopped", f"{stops} stops, {worst} ahead")
    return id


def puts(lab, data):
    sent = put_later(lab, "/b/rows/put.csv", data)
    id = pulses(lab, "put.csv", sent, len(data), "PUT")
    a = sent["answer"]
    check(a.status == 201 and a.json["result"]["sha256"] == hashlib.sha256(data).hexdigest(), "and it all arrives", a)


def patches(lab, data):
    got = {}
    made = lab.create("ada", "rows", "tus.csv", len(data))

    def run():
        at, path = 0, made.headers["location"]
        while at < len(data):
            a = lab.patch("ada", path, at, data[at:at + (8 << 20)])
            if a.status != 204:
                got["bad"] = a
                return
            at = int(a.headers["upload-offset"])

    got["thread"] = threading.Thread(target=run, daemon=True)
    got["thread"].start()
    id = pulses(lab, "tus.csv", got, len(data), "tus")
    end = Upload(lab, "ada", "/" + id).end()
    check("bad" not in got and end["state"] == "accepted" and end["result"]["sha256"] == hashlib.sha256(data).hexdigest(), "and it all arrives",
          (got.get("bad"), json.dumps(end)[:500]))


def forms(lab, data):
    body = b'--X\r\nContent-Disposition: form-data; name="file"; filename="form.csv"\r\n\r\n' + data + b"\r\n--X--\r\n"
    sent = put_later(lab, "/_/upload/rows", body, "POST", {"Content-Type": "multipart/form-data; boundary=X"})
    pulses(lab, "form.csv", sent, len(data), "form")
    check(sent["answer"].status == 201 and sent["answer"].json["result"]["sha256"] == hashlib.sha256(data).hexdigest(), "and it all arrives",
          sent["answer"])


def checksums(lab, data):
    """Bytes that are not verified are not shown to the worker: they are not waited for either."""
    made = lab.create("ada", "rows", "sum.csv", len(data))
    sha = base64.b64encode(hashlib.sha1(data).digest()).decode()
    a = lab.patch("ada", made.headers["location"], 0, data, {"Upload-Checksum": f"sha1 {sha}"})
    end = Upload(lab, "ada", made.headers["location"]).end()
    check(a.status == 204 and end["state"] == "accepted", "one PATCH with a checksum, larger than the bound", a)


def death(lab, data):
    sent = put_later(lab, "/b/rows/dead.csv", data)
    begun(lab, "dead.csv")
    worker = stop_worker(lab)
    id = begun(lab, "dead.csv")["id"]
    held = settled(lab, id)[0]
    time.sleep(2.5)  # longer than the gateway's own patience, twice
    alive = sent["thread"].is_alive()
    check(held < len(data) and alive, "a held client is not cut by the connection's time-out", (held, sent.get("answer")))
    os.kill(worker, signal.SIGKILL)
    killed = time.monotonic()
    sent["thread"].join(20)
    took, a = time.monotonic() - killed, sent.get("answer")
    check(a and a.status == 201 and took < 10, "its worker is killed: another begins anew, the client goes on", (took, a))


def cancelled(lab, data):
    sent = put_later(lab, "/b/rows/gone.csv", data)
    begun(lab, "gone.csv")
    worker = stop_worker(lab)
    id = begun(lab, "gone.csv")["id"]
    settled(lab, id)
    lab.req("DELETE", f"/_/uploads/{id}", "ada")
    began = time.monotonic()
    sent["thread"].join(20)
    check(not sent["thread"].is_alive() and time.monotonic() - began < 3 and sent["answer"].status != 201, "a cancelled one, too", sent.get("answer"))
    os.path.exists(f"/proc/{worker}") and os.kill(worker, signal.SIGCONT)


def early(lab, data):
    """A worker that has seen enough holds nobody."""
    a = lab.req("PUT", "/b/rows/no.csv", "ada", b"\x89PNG\r\n\x1a\n" + os.urandom(8 << 20))
    check(a.status == 422, "what is refused by its first bytes is not waited for", a)


DATA = rows(600_000)
with Lab(uploads="expire: 1h, ahead: 1MiB", more="  limits: {idle: 1s, request: 1s}\n") as lab:
    lab.group("makers", role="steward")
    lab.user("ada", groups=["makers"], grants=[{"bucket": "*", "prefix": "", "rights": "rwdla"}])
    lab.dataset("rows", RULES + "accept: [csv]\n")
    for test in puts, patches, forms, checksums, death, cancelled, early:
        test(lab, DATA)
finish()
