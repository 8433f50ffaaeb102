# SPDX-License-Identifier: Apache-2.0
"""Whole transfers over one TCP connection, compared by hash.

dp_bytes.py serve PORT				answers "up N" (then N bytes) with their SHA-256 and
						"down N" with N bytes
dp_bytes.py up|down ADDRESS PORT BYTES SECONDS	prints "ok" and the megabytes a second, or what was wrong
"""
import hashlib
import random
import socket
import sys
import threading
import time

PART = 1 << 18
BASE = random.Random(1).randbytes(PART)


def parts(total):
    """The bytes that both ends know: each part differs from the others."""
    for at in range(0, total, PART):
        yield (at.to_bytes(8, 'big') + BASE[8:])[:total - at]


def digest(total):
    h = hashlib.sha256()
    for part in parts(total):
        h.update(part)
    return h.hexdigest()


def read_digest(sock, total):
    h, left = hashlib.sha256(), total
    while left:
        data = sock.recv(min(left, PART))
        if not data:
            raise OSError(f'closed with {left} of {total} bytes missing')
        h.update(data)
        left -= len(data)
    return h.hexdigest()


def answer(sock):
    try:
        line = b''
        while not line.endswith(b'\n'):
            line += sock.recv(1)
        word, total = line.split()
        if word == b'up':
            sock.sendall(read_digest(sock, int(total)).encode())
        else:
            for part in parts(int(total)):
                sock.sendall(part)
    except OSError:
        pass
    sock.close()


def serve(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('::', port))
    listener.listen(64)
    print('ready', flush=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def transfer(way, address, port, total, seconds):
    sock = socket.create_connection((address, port), seconds)
    sock.settimeout(seconds)
    begun = time.monotonic()
    sock.sendall(f'{way} {total}\n'.encode())
    if way == 'up':
        for part in parts(total):
            sock.sendall(part)
        said = sock.recv(64).decode()
    else:
        said = read_digest(sock, total)
    took = time.monotonic() - begun
    if said != digest(total):
        raise OSError('other bytes came than were sent')
    print(f'ok {total / took / 1e6:.0f}')


if __name__ == '__main__':
    if sys.argv[1] == 'serve':
        serve(int(sys.argv[2]))
    try:
        transfer(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
    except OSError as e:
        print(e)
        sys.exit(1)
