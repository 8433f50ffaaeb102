#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tus as tus-js-client speaks it: a whole upload, one whose length comes last, clients and gateways that are killed in the
middle and go on where they were, checksums, parts sent at once and joined, one that is terminated, one that expired."""
import hashlib

from upload_lib import *

RULES = "columns:\n  - {name: id, type: integer, required: true}\n  - {name: name, type: string}\n"
TUS = {"Tus-Resumable": "1.0.0"}
PROGRAM = pathlib.Path(__file__).with_suffix(".mjs")


class Client:
    """One process of tus-js-client: .said is what it said, line by line."""

    def __init__(self, lab, file, name, **more):
        job = {"endpoint": f"http://127.0.0.1:{lab.port['gw0']}/_/tus/", "token": lab.token["ada"], "file": str(file),
               "metadata": {"dataset": "sales", "filename": name}, **more}
        self.said, self.log = [], lab.work / f"tusjs-{name}.err"
        self.process = subprocess.Popen(["node", PROGRAM, json.dumps(job)], stdout=subprocess.PIPE, stderr=open(self.log, "wb"), text=True)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def of(self, member):
        return [s for s in list(self.said) if member in s]

    def sent(self, bytes_):
        """Waits until so many bytes were taken: how many."""
        until(lambda: any(s["sent"] >= bytes_ for s in self.of("sent")) or self.process.poll() is not None)
        return max((s["sent"] for s in self.of("sent")), default=0)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.thread.join()

    def end(self, seconds=15):
        """The upload's address, or None."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.thread.join()
        done = self.of("done")
        return done[0]["done"] if done else None

    def __repr__(self):
        return "\n".join(map(str, self.said[-12:])) + self.log.read_text()[-1000:]


def file_of(lab, name, rows):
    path = lab.work / name
    path.write_bytes(b"id,name\n" + b"".join(b"%d,name of %d\n" % (i, i) for i in range(rows)))
    return path


def kept(lab, client, url, name, path):
    """It ended, is accepted, and what is stored is what was sent."""
    end = Upload(lab, "ada", "/_/tus/" + url.rsplit("/", 1)[1]).end() if url else {}
    return check(end.get("state") == "accepted" and lab.get("ada", f"/b/sales/{name}").body == path.read_bytes(), f"{name}: accepted, and stored as it was sent",
                 f"{client}\n{json.dumps(end)[:500]}")


def whole(lab, path):
    one = Client(lab, path, "whole.csv")
    kept(lab, one, one.end(), "whole.csv", path)
    created = Client(lab, path, "created.csv", options={"uploadDataDuringCreation": True, "chunkSize": 1 << 20})
    kept(lab, created, created.end(), "created.csv", path)
    check([r["request"] for r in created.of("request")][:2] == ["POST", "PATCH"] and int(created.of("request")[1]["offset"]) == 1 << 20, "bytes in the creation", created)
    late = Client(lab, path, "late.csv", stream=True, options={"chunkSize": 300_000})
    kept(lab, late, late.end(), "late.csv", path)


def client_killed(lab, path):
    storage, pieces = str(lab.work / "urls.json"), {"chunkSize": 50_000}
    first = Client(lab, path, "client.csv", storage=storage, pause=20, options=pieces)
    sent = first.sent(300_000)
    first.kill()
    url = first.of("at")[0]["at"]
    where = "/_/tus/" + url.rsplit("/", 1)[1]
    at = int(lab.head("ada", where).headers["upload-offset"])
    check(300_000 <= sent <= at < path.stat().st_size, "a client is killed in the middle", (sent, at))
    data = path.read_bytes()[at:at + 1000]
    bad = lab.patch("ada", where, at, data, {"Upload-Checksum": f"sha256 {b64(hashlib.sha256(b'other').digest())}"})
    check(bad.status == 460 and lab.head("ada", where).headers["upload-offset"] == str(at), "bytes with another's checksum: 460, and none of them stays", bad)
    good = lab.patch("ada", where, at, data, {"Upload-Checksum": f"sha256 {b64(hashlib.sha256(data).digest())}"})
    second = Client(lab, path, "client.csv", storage=storage, options=pieces)
    end = second.end()
    patches = [int(r["offset"]) for r in second.of("request") if r["request"] == "PATCH"]
    check(good.status == 204 and end == url and second.of("former") and second.of("request")[0]["request"] == "HEAD" and patches[0] == at + 1000,
          "the next one goes on from its URL storage, at the byte where they were", second)
    kept(lab, second, end, "client.csv", path)


def gateway_killed(lab, path):
    client = Client(lab, path, "gateway.csv", pause=20, options={"chunkSize": 50_000})
    sent = client.sent(300_000)
    lab.restart(lab.gateways[0])
    end = client.end()
    posts = [r for r in client.of("request") if r["request"] == "POST"]
    heads = [r for r in client.of("request") if r["request"] == "HEAD"]
    offsets = [int(r["offset"]) for r in client.of("request") if r["request"] == "PATCH"]
    check(300_000 <= sent < path.stat().st_size and end and len(posts) == 1 and heads and min(b - a for a, b in zip(offsets, offsets[1:])) >= -50_000,
          "kill -9 of the gateway in the middle: the client goes on, with at most one piece sent again", client)
    kept(lab, client, end, "gateway.csv", path)


def parallel(lab, path):
    client = Client(lab, path, "parallel.csv", options={"parallelUploads": 4, "chunkSize": 100_000})
    end = client.end()
    posts = [r for r in client.of("request") if r["request"] == "POST"]
    check(end and len(posts) == 5, "four parts at once, and one that joins them", client)
    kept(lab, client, end, "parallel.csv", path)
    storage = str(lab.work / "parallel.json")
    first = Client(lab, path, "parallel2.csv", storage=storage, pause=20, options={"parallelUploads": 3, "chunkSize": 20_000})
    first.sent(300_000)
    first.kill()
    second = Client(lab, path, "parallel2.csv", storage=storage, options={"parallelUploads": 3, "chunkSize": 20_000})
    end = second.end()
    check(second.of("former") and len([r for r in second.of("request") if r["request"] == "POST"]) == 1, "parts that were begun are gone on with", second)
    kept(lab, second, end, "parallel2.csv", path)


def terminated(lab, path):
    client = Client(lab, path, "gone.csv", abort=200_000, pause=10, options={"chunkSize": 50_000})
    client.end()
    gone = client.of("aborted")
    check(gone and {"answer": 204, "to": "DELETE"} in client.said and not client.of("done"), "terminated by the client", client)
    where = "/_/tus/" + gone[0]["aborted"].rsplit("/", 1)[1] if gone else "/"
    check(lab.head("ada", where).status == 410 and lab.get("ada", "/b/sales/gone.csv").status == 404, "nothing is left of it")


def expired(path_rows):
    with Lab(uploads="expire: 2s") as lab:
        lab.group("makers", role="steward")
        lab.user("ada", groups=["makers"])
        lab.dataset("sales", RULES)
        path = file_of(lab, "expired.csv", path_rows)
        storage = str(lab.work / "urls.json")
        first = Client(lab, path, "expired.csv", storage=storage, pause=20, options={"chunkSize": 20_000})
        first.sent(60_000)
        first.kill()
        where = "/_/tus/" + first.of("at")[0]["at"].rsplit("/", 1)[1]
        check(until(lambda: lab.head("ada", where).status == 410, 10), "what gets no bytes expires: 410")
        second = Client(lab, path, "expired.csv", storage=storage)
        end = second.end()
        check(second.of("former") and {"answer": 410, "to": "HEAD"} in second.said and end and not end.endswith(where), "the client begins anew", second)
        kept(lab, second, end, "expired.csv", path)


with Lab() as lab:
    lab.group("makers", role="steward")
    lab.user("ada", groups=["makers"])
    lab.dataset("sales", RULES)
    path = file_of(lab, "big.csv", 150_000)
    for part in whole, client_killed, gateway_killed, parallel, terminated:
        part(lab, path)
expired(150_000)
finish()
