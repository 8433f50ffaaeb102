# SPDX-License-Identifier: Apache-2.0
"""Reads what device-mapper's log-writes target recorded, and makes the disks that a power loss could have left.

The format (Documentation/admin-guide/device-mapper/log-writes.rst of the kernel, and struct log_write_super and log_write_entry):
a sector with magic, version, number of entries (u64) and the size of a sector (u32); then entries, each a sector with (u64) first
sector, number of sectors, flags and length of a mark's text, which follows them; then the data, unless it was a discard.
Writes that were complete when a flush began are recorded before it, others after it, whatever has FUA when it is complete."""
import os
import shutil
import struct
import subprocess

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6a736677736872
SUPER, ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")


class Entry:
    __slots__ = "sector", "sectors", "flags", "mark", "at"

    def __init__(self, sector, sectors, flags, mark, at):
        self.sector, self.sectors, self.flags, self.mark, self.at = sector, sectors, flags, mark, at


class Record:
    """entries: all of them; marks: [(number of the entry, text)]."""

    def __init__(self, path):
        self.file = open(path, "rb")
        magic, version, n, self.size = SUPER.unpack(self.file.read(SUPER.size))
        if magic != MAGIC or version != 1 or self.size not in (512, 4096):
            raise ValueError(f"{path} is no record of log-writes: magic {magic:x}, version {version}, sectors of {self.size}")
        self.entries, self.marks, at = [], [], self.size
        end = os.path.getsize(path)
        for i in range(n):
            self.file.seek(at)
            sector, sectors, flags, length = ENTRY.unpack(self.file.read(ENTRY.size))
            mark = self.file.read(length).rstrip(b"\0").decode() if flags & MARK else None
            at += self.size
            self.entries.append(Entry(sector, sectors, flags, mark, at))
            if flags & MARK:
                self.marks.append((i, mark))
            if not flags & DISCARD:
                at += sectors * self.size
            if at > end or flags >> 5:
                raise ValueError(f"{path}: entry {i} of {n} is no entry: sector {sector}, {sectors}, flags {flags}")

    def apply(self, disk, entry, sectors=None):
        """Writes the entry, or its first sectors alone, to the open file."""
        n = (entry.sectors if sectors is None else sectors) * self.size
        if not n:
            return
        disk.seek(entry.sector * self.size)
        if entry.flags & DISCARD:
            disk.write(bytes(n))
            return
        self.file.seek(entry.at)
        disk.write(self.file.read(n))


class Replay:
    """The disk as it was before the recording goes forward in a file of its own; points must be asked for in their order.
    lies: the disk has forgotten so many of the last flushes, as one does that answers them and keeps what it has in a cache."""

    def __init__(self, record, base, path, lies=0):
        self.record, self.path, self.done, self.lies = record, path, 0, lies
        copy(base, path)

    def disk(self, point, path, rng=None):
        """A disk at which the power went when entry number `point` was the last: everything up to it, or with rng a part of what
        no flush had made durable (FUA had), the last of it perhaps torn. Returns how many entries are not on it."""
        entries = self.record.entries
        flushes = [i for i in range(self.done, point + 1) if entries[i].flags & FLUSH]
        flushed = flushes[-1 - self.lies] if len(flushes) > self.lies else self.done - 1
        with open(self.path, "r+b") as f:
            for e in entries[self.done:flushed + 1]:
                self.record.apply(f, e)
        self.done = flushed + 1
        copy(self.path, path)
        lost, share = 0, rng.random() if rng else 1
        with open(path, "r+b") as f:
            for e in entries[self.done:point + 1]:
                if not e.sectors or not rng or e.flags & FUA and not self.lies or rng.random() < share:
                    self.record.apply(f, e)
                else:
                    lost += 1
                    if rng.random() < 0.3:
                        self.record.apply(f, e, rng.randrange(e.sectors))
        return lost


def copy(a, b):
    if os.path.exists(b):
        os.unlink(b)
    if subprocess.run(["cp", "--sparse=always", a, b]).returncode:
        shutil.copy(a, b)
