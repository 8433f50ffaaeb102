# SPDX-License-Identifier: Apache-2.0
"""What tests/net/store_rot.sh does with stored blocks.

  store_rot.py put URL COUNT SIZE PREFIX     stores objects PREFIX0 ... whose bytes follow from their names
  store_rot.py flip DIR COUNT LIST           flips one bit in each of COUNT blocks below DIR (segments and files alike),
                                             spread over all; writes where to LIST
  store_rot.py restored LIST                 how many of those bytes are as they were
  store_rot.py get URL COUNT SIZE PREFIX     reads them: prints right, refused, wrong
  store_rot.py find DIR VERSION              where a version lies: PATH OFFSET LENGTH
  store_rot.py record DIR VERSION            a small version's record as hex
  store_rot.py append DIR < HEX              that record behind the last one
  store_rot.py half DIR                      half a record behind the last one, as a kill in the middle of a round leaves it
TOKEN: the token."""
import hashlib
import http.client
import os
import pathlib
import random
import struct
import sys
import urllib.parse

BLOCK = 65536


def body(name, size):
    out, n = b"", 0
    while len(out) < size:
        out += hashlib.shake_256(f"{name}.{n}".encode()).digest(1 << 20)
        n += 1
    return out[:size]


def connect(url):
    at = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(at.hostname, at.port, timeout=30), at.path


def versions(folder):
    """(hex, path, offset of the data, bytes of the data, bytes with records, head, footer) of every stored version; of one
    stored twice the last."""
    found = {}
    folder = pathlib.Path(folder)
    for path in sorted((folder / "s").glob("[0-9a-f]" * 8)):
        data = path.read_bytes()
        at = 64
        while at + 64 <= len(data):
            magic, kind, length = struct.unpack_from("<4sB3xI", data, at)
            if magic != b"wseg":
                at += 64
                continue
            version = data[at + 16:at + 32].hex()
            if kind == 1:
                size, = struct.unpack_from("<Q", data, at + 64 + length - 24)
                found[version] = (version, path, at + 64, size, length)
            else:
                target = struct.unpack_from("<II", data, at + 32)
                old = found.get(version)
                if old and (int(old[1].name, 16), old[2] - 64) == target:
                    del found[version]
            at += 64 + (length + 63) // 64 * 64
    for path in (folder / "d").glob("*/*/*"):
        size, = struct.unpack_from("<Q", path.read_bytes()[-24:])
        found[path.name] = (path.name, path, 0, size, path.stat().st_size)
    return list(found.values())


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def segment_end(folder):
    """(path, data, where its last STORED record begins, where the next one would) of the last segment."""
    path = max((pathlib.Path(folder) / "s").glob("[0-9a-f]" * 8))
    data, at, last = path.read_bytes(), 64, None
    while data[at:at + 4] == b"wseg":
        kind, length = struct.unpack_from("<B3xI", data, at + 4)
        last = at if kind == 1 else last
        at += 64 + (length + 63) // 64 * 64
    return path, data, last, at


def half(folder):
    """The last segment's last record once more, of another version, without the end of its data."""
    path, data, last, end = segment_end(folder)
    length, = struct.unpack_from("<I", data, last + 8)
    head = data[last:last + 16] + os.urandom(16) + data[last + 32:last + 60]
    with path.open("r+b") as f:
        f.seek(end)
        f.write(head + struct.pack("<I", crc32c(head)) + data[last + 64:last + 64 + length // 2])


def record(folder, version):
    for v, path, at, _, length in versions(folder):
        if v == version:
            print(path.read_bytes()[at - 64:at + (length + 63) // 64 * 64].hex())


def append(folder, text):
    path, _, _, end = segment_end(folder)
    with path.open("r+b") as f:
        f.seek(end)
        f.write(bytes.fromhex(text))


def put(url, count, size, prefix):
    conn, path = connect(url)
    for i in range(count):
        name = f"{prefix}{i}"
        conn.request("PUT", f"{path}/{name}", body(name, size), {"Authorization": f"Bearer {os.environ['TOKEN']}"})
        answer = conn.getresponse()
        answer.read()
        if answer.status not in (200, 201):
            sys.exit(f"{name}: {answer.status}")


def get(url, count, size, prefix):
    right = refused = wrong = 0
    conn, path = connect(url)
    for i in range(count):
        name = f"{prefix}{i}"
        want = body(name, size)
        try:
            conn.request("GET", f"{path}/{name}", headers={"Authorization": f"Bearer {os.environ['TOKEN']}"})
            answer = conn.getresponse()
            got, whole = b"", True
            try:
                got = answer.read()
            except (http.client.IncompleteRead, OSError) as e:
                got, whole = getattr(e, "partial", b""), False
            if answer.status != 200:
                refused += 1
            elif whole and got == want:
                right += 1
            elif not whole and want.startswith(got):
                refused += 1        # cut where the damage began
            else:
                wrong += 1
            if not whole:
                conn.close()
        except (http.client.HTTPException, OSError):
            refused += 1
            conn.close()
    print(right, refused, wrong)


def flip(folder, count, listed):
    blocks = [(path, at + n, min(BLOCK, size - n)) for _, path, at, size, _ in versions(folder)
              for n in range(0, size, BLOCK)]
    if len(blocks) < count:
        sys.exit(f"only {len(blocks)} blocks are stored")
    with open(listed, "w") as out:
        for path, at, length in random.Random(7).sample(blocks, count):
            place = at + random.randrange(length)
            with open(path, "r+b") as f:
                f.seek(place)
                old = f.read(1)[0]
                f.seek(place)
                f.write(bytes([old ^ 1 << random.randrange(8)]))
            out.write(f"{path} {place} {old}\n")


def restored(listed):
    good = 0
    for line in open(listed):
        path, place, old = line.split()
        try:
            with open(path, "rb") as f:
                f.seek(int(place))
                good += f.read(1) == bytes([int(old)])
        except FileNotFoundError:
            pass
    print(good)


def find(folder, version):
    for v in versions(folder):
        if v[0] == version:
            print(v[1], v[2], v[4])


match sys.argv[1:]:
    case ["put", url, count, size, prefix]:
        put(url, int(count), int(size), prefix)
    case ["get", url, count, size, prefix]:
        get(url, int(count), int(size), prefix)
    case ["flip", folder, count, listed]:
        flip(folder, int(count), listed)
    case ["restored", listed]:
        restored(listed)
    case ["find", folder, version]:
        find(folder, version)
    case ["record", folder, version]:
        record(folder, version)
    case ["append", folder]:
        append(folder, sys.stdin.read())
    case ["half", folder]:
        half(folder)
    case _:
        sys.exit(__doc__)
