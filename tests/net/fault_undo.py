# SPDX-License-Identifier: Apache-2.0
"""fault_undo.py LOG-FOLDER: undoes what fault_shim.so noted and what was never synced, the last first; then the folder is as a
power loss may leave it. Prints how many changes were lost."""
import os
import pathlib
import struct
import sys

WRITE, SYNC, CREATE, RENAME, UNLINK = 1, 2, 3, 4, 5
HEAD = struct.Struct("=IIQQQQQ")

folder = pathlib.Path(sys.argv[1])
data = (folder / "log").read_bytes() if (folder / "log").exists() else b""
notes, synced, folders, at = [], {}, {}, 0
while at + HEAD.size <= len(data):
    kind, path_len, inode, offset, length, size, seq = HEAD.unpack_from(data, at)
    path = data[at + HEAD.size:at + HEAD.size + path_len].decode()
    more = data[at + HEAD.size + path_len:at + HEAD.size + path_len + length]
    at += HEAD.size + path_len + length
    if kind == SYNC:
        synced[inode] = max(synced.get(inode, 0), offset)
        folders[path] = max(folders.get(path, 0), offset)
    else:
        notes.append((kind, path, inode, offset, more, size, seq))

lost, now_at = 0, {}


def durable_name(path, seq):
    return folders.get(os.path.dirname(path), 0) >= seq


for kind, path, inode, offset, more, size, seq in reversed(notes):
    if kind == WRITE and synced.get(inode, 0) < seq:
        # It may have another name since.
        name = next((p for p in (path, now_at.get(inode)) if p and os.path.exists(p) and os.stat(p).st_ino == inode), None)
        if not name:
            found = os.popen(f"find {os.path.dirname(folder)} -inum {inode} -type f").read().split("\n")[0]
            name = now_at[inode] = found or None
        if name:
            with open(name, "r+b") as f:
                f.seek(offset)
                f.write(more)
                f.truncate(size)
            lost += 1
    elif kind == CREATE and not durable_name(path, seq):
        if os.path.exists(path):
            os.unlink(path)
            lost += 1
    elif kind == RENAME:
        to, kept = more.decode().split("\0")
        if not durable_name(to, seq):
            if os.path.exists(to):
                os.rename(to, path)
                lost += 1
            if kept and os.path.exists(kept):
                os.link(kept, to)
    elif kind == UNLINK and not durable_name(path, seq):
        kept = more.decode()
        if kept and os.path.exists(kept) and not os.path.exists(path):
            os.link(kept, path)
            lost += 1
for name in folder.iterdir():
    name.unlink()
print(lost)
