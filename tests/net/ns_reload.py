# SPDX-License-Identifier: Apache-2.0
"""See ns_reload.sh."""
import signal, socket, struct, threading, time

import ns_lib as t

reg = t.start_registry()
t.config()
daemon = t.start_ns()


def serial():
    answer = t.ask("edge.example", 6)
    return struct.unpack(">I", answer[-20:-16])[0]


# Eight askers, each with one question under way, while zones are read again.
stopping = threading.Event()
asked, lost, wrong = [0] * 8, [0] * 8, [0] * 8


def asker(i):
    msg = bytearray(t.question("www.edge.example"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect(("127.0.0.1", t.PORT))
        while not stopping.is_set():
            asked[i] += 1
            msg[0:2] = struct.pack(">H", asked[i] & 0xffff)
            s.send(msg)
            try:
                answer = s.recv(2048)
            except OSError:
                lost[i] += 1
                continue
            wrong[i] += answer[:2] != msg[:2] or t.addresses(answer)[0] not in ("198.18.1.1", "198.18.1.2")


threads = [threading.Thread(target=asker, args=(i,)) for i in range(8)]
for th in threads:
    th.start()
seen = []
for i in range(50):
    t.write("edge.example.zone", t.ZONE.replace("www A 198.18.1.1", f"www A 198.18.1.{1 + i % 2}\nextra{i} A 192.0.2.1")
            .replace("hostmaster 1 ", f"hostmaster {i + 10} "))
    if i % 2:
        daemon.send_signal(signal.SIGHUP)
    else:
        t.control("reload")
    if not t.within(5, lambda: t.rcode(t.ask(f"extra{i}.edge.example")) == 0):
        break
    seen.append(serial())
stopping.set()
for th in threads:
    th.join()
t.check(len(seen) == 50 and seen == sorted(seen), "50 reloads by SIGHUP and control socket, each seen, serials ascend", seen)
t.check(sum(asked) > 1000 and sum(lost) == 0 and sum(wrong) == 0,
        f"{sum(asked)} questions during them: {sum(lost)} lost, {sum(wrong)} wrong")

t.write("edge.example.zone", t.ZONE + "broken A 300.1.2.3\n")
t.control("reload")
line = t.ZONE.count("\n") + 1
t.check(t.rcode(t.ask("www.edge.example")) == 0 and t.rcode(t.ask("extra49.edge.example")) == 0, "a broken zone keeps the old one")
t.check(f"edge.example.zone:{line}: " in open(f"{t.work}/ns.log").read(), "and file and line are in the log")

t.write("edge.example.zone", t.ZONE)
t.control("reload")
before = serial()
t.check(before == seen[-1] + 1, "a file with an older serial still moves the serial on", before)
t.put("records/edge.example/origin/A", {"ttl": 60, "values": ["198.18.9.1", "198.18.9.2"]})
t.check(t.within(5, lambda: t.rcode(t.ask("origin.edge.example")) == 0), "a record of the registry comes")
t.check(t.addresses(t.ask("origin.edge.example")) == ["198.18.9.1", "198.18.9.2"], "with both its values")
t.check(serial() == before + 1, "the serial follows", (before, serial()))
t.put("records/edge.example/www/A", {"ttl": 60, "values": ["198.18.9.3"]})
t.check(t.within(5, lambda: t.addresses(t.ask("www.edge.example")) == ["198.18.9.3"]), "a record replaces the zone's own")
t.put("records/edge.example/odd/A", {"ttl": 60, "values": ["nonsense"]})
t.check(t.within(5, lambda: "records/edge.example/odd/A is left out" in open(f"{t.work}/ns.log").read()), "a bad record is named in the log")
t.delete("records/edge.example/www/A")
t.delete("records/edge.example/origin/A")
t.check(t.within(5, lambda: t.rcode(t.ask("origin.edge.example")) == 3), "a record goes")
t.check(t.addresses(t.ask("www.edge.example")) == ["198.18.1.1"], "and the zone's own is back")
last = serial()
t.stop(daemon)
daemon = t.start_ns()
t.check(serial() >= last, "the serial does not fall over a restart", (last, serial()))
t.check(t.stop(daemon) == 0, "it ends cleanly")
t.finish()
