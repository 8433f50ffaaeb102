#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what tests/bpf left with EDGE_PCAP (record.h): reader.py FOLDER.

tshark says what it finds in every frame (lengths, checksums, fields); this program, which shares no code with the edge program,
holds that against what was in the maps: the outer header of each encapsulated packet, that the packet inside is the one that
came, what errors quote, and that every reason of abi/reasons.h was met. Prints TAP. Exit: 0 pass, 1 fail."""
import collections
import glob
import ipaddress
import json
import os
import re
import struct
import subprocess
import sys

# Reasons without a case yet, and why.
EXCEPTIONS = {}

GUE, IPIP, NAT = 0, 1, 2
DOWN = 1
MAGIC = 0x57
FIELDS = """frame.number _ws.malformed eth.type ip.src ip.dst ip.proto ip.ttl ip.len ip.id ip.flags.df ip.dsfield ip.checksum.status
ipv6.src ipv6.dst ipv6.nxt ipv6.hlim ipv6.plen ipv6.tclass ipv6.flow udp.srcport udp.dstport udp.length udp.checksum.status
tcp.checksum.status icmp.type icmp.code icmp.mtu icmp.checksum.status icmpv6.type icmpv6.code icmpv6.mtu icmpv6.checksum.status""".split()
SUMS = ["ip.checksum.status", "udp.checksum.status", "tcp.checksum.status", "icmp.checksum.status", "icmpv6.checksum.status"]


def frames_of(path):
    data = open(path, "rb").read()
    out, at = [None], 24
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        out.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return out


def write_pcap(path, frames):
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHIIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for i, frame in enumerate(frames):
            f.write(struct.pack("<IIII", i, 0, len(frame), len(frame)) + frame)


def dissect(path):
    """What tshark says: a list from 1 of {field: [values]}. Nothing above the transport is looked at."""
    command = ["tshark", "-n", "-r", path, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;",
               "-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data", "-o", "ip.check_checksum:TRUE",
               "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "udp.ignore_ipv6_zero_checksum:TRUE",
               "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]
    for f in FIELDS:
        command += ["-e", f]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True, text=True).stdout
    out = [None]
    for line in said.splitlines():
        out.append({f: [v for v in value.split(";") if v] for f, value in zip(FIELDS, line.split("\t"))})
    return out


class Packet:
    """An IP packet in bytes, its headers as far as they can be read."""

    def __init__(self, data):
        self.data = data
        self.version = data[0] >> 4 if data else 0
        if self.version == 4 and len(data) >= 20:
            self.header, self.total, self.proto = (data[0] & 15) * 4, *struct.unpack_from("!H5xB", data, 2)
            self.src, self.dst = ipaddress.ip_address(data[12:16]), ipaddress.ip_address(data[16:20])
            self.tos, self.ttl = data[1], data[8]
        elif self.version == 6 and len(data) >= 40:
            self.header, self.total, self.proto = 40, struct.unpack_from("!H", data, 4)[0] + 40, data[6]
            self.src, self.dst = ipaddress.ip_address(data[8:24]), ipaddress.ip_address(data[24:40])
            self.tos, self.ttl = (data[0] << 4 | data[1] >> 4) & 255, data[7]
        else:
            raise ValueError("no IP packet")
        if not self.header <= self.total <= len(data):
            raise ValueError("lengths")
        self.payload = data[self.header:self.total]


def link(frame):
    """(offset of the IP header, its type)"""
    kind = struct.unpack_from("!H", frame, 12)[0]
    return (18, struct.unpack_from("!H", frame, 16)[0]) if kind in (0x8100, 0x88a8) else (14, kind)


def packet_of(frame):
    return Packet(frame[link(frame)[0]:])


def want(cond, what):
    if not cond:
        raise AssertionError(what)


def flow_hash(packet):
    """The hash of a plain TCP or UDP flow, as abi/hash.h describes it: the source port for routers comes from it."""
    mask = (1 << 64) - 1

    def mix(h, word):
        h = (h ^ word) * 0x9e3779b97f4a7c15 & mask
        return h ^ h >> 32
    h = 0x5765697200000000 | packet.proto
    for i in range(0, len(packet.src.packed), 4):
        h = mix(h, struct.unpack_from("<I", packet.src.packed, i)[0] | struct.unpack_from("<I", packet.dst.packed, i)[0] << 32)
    h = mix(h, struct.unpack_from("<H", packet.payload)[0] | struct.unpack_from("<H", packet.payload, 2)[0] << 16)
    return mix(h, h >> 29) & 0xffffffff


def check_gue(run, outer, backend, said, flow):
    """UDP, GUE and private data; returns protocol and packet inside."""
    settings, udp = run["settings"], outer.payload
    words = 4 if outer.version == 4 else 13
    want(said["udp.dstport"][0] == str(settings["gue_port"]), "GUE's port")
    want(said["udp.length"][0] == str(len(udp)), "the length of UDP")
    want(int(said["udp.srcport"][0]) >= 49152, "the source port is ephemeral")
    if flow is not None:
        want(int(said["udp.srcport"][0]) == 49152 | flow & 0x3fff, "the source port is the flow's")
    checksum = struct.unpack_from("!H", udp, 6)[0]
    want(checksum == 0 or said["udp.checksum.status"][0] == "1", "UDP's checksum")
    want(outer.version == 4 or bool(checksum) == bool(settings["on"] & 64), "UDP's checksum over IPv6 as the settings say")
    word, proto, flags, magic, count, following, asks = struct.unpack_from("!BBHBBBB", udp, 8)
    want((word, flags, magic, following) == (words, 0, MAGIC, 0), "the GUE header")
    want(asks == 0 or asks == 1 and settings["on"] & 256, "feedback is asked for as the settings say")
    size = 4 if outer.version == 4 else 16
    owners = [udp[16 + size * i:16 + size * (i + 1)] for i in range(3)]
    known = {ipaddress.ip_address(b["address"]).packed for b in run["backends"] if not b["flags"] & DOWN}
    want(count <= 3 and all(o in known for o in owners[:count]), "the owners are backends that are up")
    want(len(set(owners[:count])) == count and outer.dst.packed not in owners[:count], "each owner once, not who gets it")
    want(not any(b"".join(owners[count:])), "no owner behind the count")
    return proto, udp[12 + words * 4:]


def tag_of(frame):
    """The VLAN tag, TPID and TCI, or nothing."""
    return frame[12:link(frame)[0] - 2] if link(frame)[0] == 18 else b""


def check_tag(run, frame, came):
    """Answers, and what the host gets, have the tag that came; what goes to a backend has the backend's."""
    to = [b for b in run["backends"] if b["address"] == str(packet_of(frame).dst)]
    if run["action"] == "PASS" or run["reason"] in ("ECHO", "TOO_BIG"):
        want(tag_of(frame) == tag_of(came), "the tag that came")
    elif to and to[0]["ifindex"]:
        kind = 0x88a8 if to[0]["flags"] & 8 else 0x8100
        want(tag_of(frame) == (struct.pack("!HH", kind, to[0]["vlan"]) if to[0]["flags"] & 4 else b""), "the backend's tag")


def check_encapsulated(run, came, outer, frame, said):
    backends = [b for b in run["backends"] if b["address"] == str(outer.dst)]
    want(backends, "the outer destination is a backend")
    source = backends[0]["source"] or str(came.dst)
    want(said["ip.src" if outer.version == 4 else "ipv6.src"][0] == source == str(outer.src), "the outer source")
    want(outer.ttl == run["settings"]["ttl"], "the outer time to live")
    want(outer.tos == came.tos, "ToS and ECN are copied (RFC 6040, normal mode)")
    if outer.version == 4:
        want(said["ip.flags.df"][0] in ("1", "True") and int(said["ip.id"][0], 16) == 0, "DF is set, the id zero")
        want(said["ip.checksum.status"][0] == "1", "the outer header's checksum")
    plain = came.proto in (6, 17) and not any(s["flags"] & 10 for s in run["services"]) and run["reason"] == "FORWARDED" and \
        (came.version == 6 or not struct.unpack_from("!H", came.data, 6)[0] & 0x3fff)
    flow = flow_hash(came) if plain else None
    if outer.version == 6 and flow is not None:
        want(int(said["ipv6.flow"][0], 16) == flow & 0xfffff, "the flow label is the flow's")
    if outer.proto == 17:
        proto, inside = check_gue(run, outer, backends[0], said, flow)
    else:
        proto, inside = outer.proto, outer.payload
    want(proto == (4 if came.version == 4 else 41), "the protocol of what is inside")
    want(inside == came.data[:came.total], "what is inside is what came")
    if run["reason"] == "FORWARDED" and backends[0]["ifindex"] == 1 and frame[:5] == b"\x06\0\0\0\0":
        want(frame[5] in [b["index"] for b in backends], "the link address is the backend's")


def check_too_big(run, came, out, said):
    kind = "icmp" if out.version == 4 else "icmpv6"
    want((out.src, out.dst) == (came.dst, came.src), "told to who sent it, by the service")
    want([said[kind + ".type"][0], said[kind + ".code"][0]] == (["3", "4"] if out.version == 4 else ["2", "0"]), "its type")
    want(said[kind + ".checksum.status"][0] == "1", "its checksum")
    quote = out.payload[8:]
    want(quote == came.data[:len(quote)] and len(quote) >= 28, "it quotes the packet")
    mtu = int(said[kind + ".mtu"][0])
    limits = {b["mtu"] or run["settings"]["mtu"] for b in run["backends"]}
    want(came.total > mtu and mtu in {limit - added for limit in limits for added in (0, 20, 40, 48, 104)}, f"the size that fits, {mtu}")


def check_sums(said, before):
    """What was right when it came is right when it leaves (quotes inside errors are cut, and do not count)."""
    for f in SUMS:
        if before[f][:1] == ["1"]:
            want(said[f][:1] == ["1"], f)


def check_opened(frame, came):
    at, kind = link(frame)
    want(kind == (0x0800 if frame[at] >> 4 == 4 else 0x86dd), "the link header's type")
    inner = Packet(frame[at:])
    where = came.payload.find(inner.data[inner.header:inner.total]) if inner.total > inner.header else 0
    want(where >= 0, "what was inside")
    was = Packet(came.payload[where - inner.header if inner.total > inner.header else -inner.total:])
    want((was.src, was.dst, was.proto, was.ttl, was.tos >> 2) == (inner.src, inner.dst, inner.proto, inner.ttl, inner.tos >> 2),
         "the header of what was inside")


def check_run(run, frames, said):
    if not run["out"]:
        return want(run["action"] == "DROP", "nothing came out")
    frame, came = frames[run["out"]], frames[run["in"]]
    if run["action"] == "PASS" and run["reason"] not in ("DECAPSULATED", "NO_NEIGHBOUR", "NO_DEVICE"):
        return want(frame == came, "passed as it came")
    check_tag(run, frame, came)
    now, before = said[run["out"]], said[run["in"]]
    want(not now["_ws.malformed"] or before["_ws.malformed"], "tshark finds it malformed")
    inside, out = packet_of(came), packet_of(frame)
    reason = run["reason"]
    if reason == "DECAPSULATED":
        check_opened(frame, inside)
    elif reason == "FORWARDED" or out.total != inside.total and reason in ("ICMP_ERROR", "FRAGMENT", "RELAYED", "NO_NEIGHBOUR", "NO_DEVICE"):
        check_encapsulated(run, inside, out, frame, now)
    elif reason == "TOO_BIG":
        check_too_big(run, inside, out, now)
    else:
        want(out.total == inside.total, "the length")
        check_sums(now, before)
        if reason == "ECHO":
            want((out.src, out.dst, out.payload[4:]) == (inside.dst, inside.src, inside.payload[4:]), "the echo")
    return None


def main(folder):
    n = bad = runs = 0
    met, cases = collections.Counter(), collections.OrderedDict()
    for path in sorted(glob.glob(folder + "/test_*.jsonl")):
        suite = os.path.basename(path)[:-6]
        frames, said = frames_of(path[:-5] + "pcap"), dissect(path[:-5] + "pcap")
        want(len(frames) == len(said), "tshark sees every frame")
        for line in open(path):
            run = json.loads(line)
            runs += 1
            met[run["reason"]] += 1
            name = suite[5:] + "/" + run["case"]
            cases.setdefault(name, None)
            try:
                check_run(run, frames, said)
            except (AssertionError, ValueError, IndexError, struct.error) as e:
                cases[name] = cases[name] or f"frames {run['in']}, {run['out']} of {suite}.pcap, {run['action']} {run['reason']}: {e}"
    for name, fault in cases.items():
        if fault:
            bad += 1
            n += 1
            print(f"not ok {n} - {name}: {fault}")
    n += 1
    print(f"{'not ' if bad or not runs else ''}ok {n} - tshark and this reader agree with {len(cases) - bad} of {len(cases)} cases, {runs} runs")
    reasons = re.findall(r"^\tX\((\w+),", open("bpf/abi/reasons.h").read(), re.M)
    missing = [r for r in reasons if not met[r] and r not in EXCEPTIONS]
    for r in missing:
        n += 1
        print(f"not ok {n} - no case of tests/bpf ends with {r}")
    n += 1
    print(f"{'not ' if missing else ''}ok {n} - {sum(met[r] > 0 for r in reasons)} of {len(reasons)} reasons have a case")
    for r, why in EXCEPTIONS.items():
        print(f"# {r} {'has one, and may leave EXCEPTIONS' if met[r] else f'has none: {why}'}")
    print(f"1..{n}")
    return bad or missing or not runs


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1]) else 0)
