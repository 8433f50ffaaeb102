# SPDX-License-Identifier: Apache-2.0
"""See ns_raw.sh."""
import os, random, socket, struct, time

import ns_lib as t

t.config(limits="limits: {tcp_connections: 16, tcp_idle: 2s}")
daemon = t.start_ns()
good = t.question("www.edge.example")
FORMERR, NOTIMP, REFUSED = 1, 4, 5


def put16(msg, at, value):
    return msg[:at] + struct.pack(">H", value) + msg[at + 2:]


opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
for what, msg, want in (
        ("a good one", good, 0),
        ("QDCOUNT 0", put16(good, 4, 0), FORMERR),
        ("QDCOUNT 2", put16(good, 4, 2), FORMERR),
        ("ANCOUNT 1", put16(good, 6, 1), FORMERR),
        ("trailing bytes", good + b"x", FORMERR),
        ("two OPT records", put16(good, 10, 2) + opt + opt, FORMERR),
        ("an OPT that is announced but absent", put16(good, 10, 1), FORMERR),
        ("an option longer than its record", put16(good, 10, 1) + opt[:9] + b"\0\4\0\12\0\11", FORMERR),
        ("a compression pointer in the question", good[:12] + b"\3www\xc0\x0c" + good[-4:], FORMERR),
        ("a label of 64", good[:12] + b"\x40" + b"a" * 64 + b"\0" + good[-4:], FORMERR),
        ("a name of 300 bytes", good[:12] + (b"\x3b" + b"a" * 59) * 5 + b"\0" + good[-4:], FORMERR),
        ("a question cut short", good[:-3], FORMERR),
        ("opcode UPDATE", put16(good, 2, 5 << 11), NOTIMP),
        ("class ANY", good[:-2] + b"\0\xff", REFUSED),
        ("an IXFR", t.question("edge.example", 251), REFUSED)):
    answer = t.udp(msg)
    t.check(t.rcode(answer) == want, f"{what}: rcode {want}", answer)
    t.check(want == 0 or len(answer or b"") <= len(msg) + 11, f"{what}: the answer is not larger than the question")
t.check(t.udp(put16(good, 2, 0x8100), timeout=0.3) is None, "an answer is not answered")
t.check(t.udp(good[:11], timeout=0.3) is None, "less than a header is not answered")
answer = t.udp(t.question("wWw.EdGe.eXample"))
t.check(answer[12:30] == t.question("wWw.EdGe.eXample")[12:30], "the letter case comes back")

random.seed(7)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.connect(("127.0.0.1", t.PORT))
    for _ in range(5000):
        msg = bytearray(good + opt)
        for _ in range(random.randint(1, 6)):
            msg[random.randrange(len(msg))] = random.randrange(256)
        s.send(bytes(msg[:random.randint(0, len(msg))]))
        if random.random() < 0.02:
            s.send(os.urandom(random.randint(1, 3000)))
t.check(t.rcode(t.udp(good)) == 0 and daemon.poll() is None, "5,000 mangled messages later it serves")


def tcp(timeout=5):
    s = socket.create_connection(("127.0.0.1", t.PORT), timeout=timeout)
    return s


def framed(*messages):
    return b"".join(struct.pack(">H", len(m)) + m for m in messages)


def read_one(s):
    head = s.recv(2, socket.MSG_WAITALL)
    return s.recv(struct.unpack(">H", head)[0], socket.MSG_WAITALL) if len(head) == 2 else None


def closed(s, timeout):
    """Was the connection ended by the server within the time?"""
    s.settimeout(timeout)
    try:
        return s.recv(1) == b""
    except socket.timeout:
        return False
    except OSError:
        return True


with tcp() as s:
    s.sendall(framed(*(t.question("www.edge.example", qid=i) for i in range(100))))
    ids = [struct.unpack(">H", read_one(s)[:2])[0] for _ in range(100)]
    t.check(ids == list(range(100)), "100 pipelined questions are answered in order", ids)
    for byte in framed(good):
        s.send(bytes([byte]))
    t.check(t.rcode(read_one(s)) == 0, "a question in single bytes")
with tcp() as s:
    s.sendall(framed(good, put16(good, 4, 0), good))
    t.check([t.rcode(read_one(s)) for _ in range(3)] == [0, FORMERR, 0], "a malformed question in the middle")
with tcp() as s:
    s.sendall(b"\xff\xff" + b"x" * 100)
    t.check(closed(s, 1), "a length beyond 4,096 ends the connection")
with tcp() as s:
    s.sendall(framed(put16(good, 2, 0x8100)))
    t.check(closed(s, 1), "an answer ends the connection")
with tcp() as s:
    start = time.monotonic()
    s.sendall(b"\0")
    t.check(closed(s, 6) and 1.5 < time.monotonic() - start < 5, "a silent one is closed after its time")
with tcp() as s:
    start = time.monotonic()
    s.settimeout(0.2)
    gone = False
    while not gone and time.monotonic() - start < 6:
        try:
            s.send(b"\0")
            gone = s.recv(1) == b""
        except socket.timeout:
            pass
        except OSError:
            gone = True
    t.check(gone, "one byte now and then does not hold it open")
crowd = [tcp() for _ in range(4)]
with tcp() as s:
    t.check(closed(s, 1), "a fifth connection of one network is refused (a quarter of 16)")
for s in crowd:
    s.close()


def served():
    try:
        with tcp(1) as c:
            c.sendall(framed(good))
            return t.rcode(read_one(c)) == 0
    except OSError:
        return False


t.check(t.within(5, served), "and afterwards TCP serves")
# Asks much and reads nothing: memory stays bounded, others are served.
s = tcp()
s.setblocking(False)
sent = 0
deadline = time.monotonic() + 1.5
block = framed(*[t.question("big.edge.example", 16)] * 100)
while time.monotonic() < deadline:
    try:
        sent += s.send(block)
    except BlockingIOError:
        time.sleep(0.01)
    except OSError:
        break
rss = int(next(line for line in open(f"/proc/{daemon.pid}/status") if line.startswith("VmRSS")).split()[1])
t.check(rss < 65536 and t.rcode(t.udp(good)) == 0, f"a client that does not read: {rss} KiB resident, others are served")
s.close()
t.check(t.stop(daemon) == 0, "it ends cleanly")
t.finish()
