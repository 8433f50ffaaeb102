#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For store_late.sh: N connections, each with one PUT of the same key and If-None-Match: *, all at once. Prints how often each status came."""
import collections
import os
import socket
import sys

host, token, n = os.environ["HOST"], os.environ["TOKEN"], int(sys.argv[1])


def request(condition=""):
    return (f"PUT /b/data/one HTTP/1.1\r\nHost: {host}:8080\r\nAuthorization: Bearer {token}\r\n"
            f"{condition}Content-Length: 4096\r\n\r\n").encode() + bytes(4096)


def status(s):
    s.settimeout(30)
    return s.recv(12)[9:12].decode()


first = socket.create_connection((host, 8080))
first.sendall(request())
if status(first) not in ("200", "201"):
    sys.exit("the first one failed")
all_of_them = [socket.create_connection((host, 8080)) for _ in range(n)]
for s in all_of_them:
    s.sendall(request("If-None-Match: *\r\n"))
print(" ".join(f"{k}:{v}" for k, v in sorted(collections.Counter(map(status, all_of_them)).items())))
