# SPDX-License-Identifier: Apache-2.0
"""Does a flush lie between each small version and the commit of names that first speaks of it? Power losses at some points of a record
find the lack of one by luck alone; here the whole record is looked at, once.

A version's record in a segment is complete with the last of the writes that brought its pages; the names' commit is the write of
either of LMDB's two first pages that follows the first page with the version's 16 bytes. Which block of the disk is whose is what
the file system says in the end: segments and names only grow."""
import bisect
import re
import struct
import subprocess

from dmlog import DISCARD, FLUSH, Replay

BLOCK, HEADER, STORED = 4096, 64, 1


def blocks_of(path):
    """[(block of the disk, page of the file)]"""
    said = subprocess.run(["filefrag", "-v", f"-b{BLOCK}", path], capture_output=True, text=True, check=True).stdout
    for a, b, disk in re.findall(r"^\s*\d+:\s+(\d+)\.\.\s*(\d+):\s+(\d+)\.\.", said, re.M):
        for k in range(int(b) - int(a) + 1):
            yield int(disk) + k, int(a) + k


def records_of(segment):
    """{version: (offset of its record, bytes with the header)}"""
    data, found = segment.read_bytes(), {}
    for m in re.finditer(b"wseg", data):
        if m.start() % HEADER == 0 and data[m.start() + 4] == STORED:
            found[data[m.start() + 16:m.start() + 32]] = m.start(), HEADER + struct.unpack_from("<I", data, m.start() + 8)[0]
    return found


class Wanted:
    """What is waited for: pages[block] = [(version, where its record begins, seen from the page)]; left[version] = pages to come."""

    def __init__(self, state):
        self.pages, self.left, self.names, self.commits = {}, {}, set(), set()
        for segment in sorted(state.glob("s/0*")):
            records, pages = records_of(segment), {page: block for block, page in blocks_of(segment)}
            for version, (offset, size) in records.items():
                inside = range(offset // BLOCK, (offset + size - 1) // BLOCK + 1)
                self.left[version] = len(inside)
                for page in inside:
                    self.pages.setdefault(pages[page], []).append((version, offset - page * BLOCK, offset + size - page * BLOCK))
        for block, page in blocks_of(state / "names/data.mdb"):
            (self.commits if page < 2 else self.names).add(block)

    def came(self, block, page):
        """The versions that are complete with this write."""
        for item in list(self.pages.get(block, [])):
            version, begin, end = item
            there = page[begin:begin + 4] == b"wseg" and page[begin + 16:begin + 32] == version if begin >= 0 else any(page[:end])
            if there:
                self.pages[block].remove(item)
                self.left[version] -= 1
                if not self.left[version]:
                    yield version


def look(rec, wanted):
    """({version: entry}, {version: entry}, [entry], [entry]): complete, first among names, commits, flushes."""
    complete, named, commits, flushes, unnamed = {}, {}, [], [], set(wanted.left)
    for i, e in enumerate(rec.entries):
        if e.flags & FLUSH:
            flushes.append(i)
        if not e.sectors or e.flags & DISCARD:
            continue
        rec.file.seek(e.at)
        data = rec.file.read(e.sectors * rec.size)
        for at in range(0, len(data), BLOCK):
            block, page = (e.sector * rec.size + at) // BLOCK, data[at:at + BLOCK]
            if block in wanted.commits:
                commits.append(i)
            elif block in wanted.names:
                for version in [v for v in unnamed if v in page]:
                    named[version] = i
                    unnamed.remove(version)
            else:
                complete.update((v, i) for v in wanted.came(block, page))
    return complete, named, commits, flushes


def unordered(rec, base, work):
    """(how many versions were looked at, a line for each that was named before a flush). base: the disk before the record."""
    Replay(rec, base, work / "whole.img").disk(len(rec.entries) - 1, work / "trial.img")
    mount = work / "mnt"
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "loop", work / "trial.img", mount], check=True)
    try:
        wanted = Wanted(next(mount.rglob("names/data.mdb")).parent.parent)
    finally:
        subprocess.run(["umount", mount], check=True)
    complete, named, commits, flushes = look(rec, wanted)
    bad = []
    for version, first in named.items():
        commit = next(iter(commits[bisect.bisect(commits, first):]), None)
        flush = next(iter(flushes[bisect.bisect(flushes, complete[version]):]), None) if version in complete else None
        if commit is not None and (flush is None or flush > commit):
            bad.append(f"version {version.hex()}: complete at entry {complete.get(version)}, flushed at {flush}, named by the commit at {commit}")
    return len(named), bad
