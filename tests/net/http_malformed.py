#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Malformed requests on raw sockets: each is refused, or read in the one way that RFC 9112 allows; a refused
request ends its connection, so no byte behind it is ever taken for a second request; the server goes on.

Usage: http_malformed.py HOST PORT   (of tests/net/http_files; /count says how many requests were routed)
"""
import json
import socket
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
# What an attacker would like to see executed: a second request on the same connection.
SMUGGLED = b"GET /cached HTTP/1.1\r\nHost: x\r\n\r\n"
done = failed = 0


def talk(data, wait=2.0, pieces=None):
    """Everything that comes back until the server closes, and whether it closed."""
    s = socket.create_connection((HOST, PORT))
    s.settimeout(wait)
    out = b""
    try:
        for piece in pieces or [data]:
            s.sendall(piece)
        while True:
            got = s.recv(65536)
            if not got:
                return out, True
            out += got
    except socket.timeout:
        return out, False
    except (ConnectionResetError, BrokenPipeError):
        return out, True
    finally:
        s.close()


def routed():
    out, _ = talk(b"GET /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return json.loads(out.split(b"\r\n\r\n", 1)[1])["routed"]


def check(name, good, why=""):
    global done, failed
    done += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {done} - {name}" + (f" # {why}" if not good and why else ""), flush=True)


def refused(name, request, statuses=(400,), heads=1):
    """Refused with one of these statuses (None: closed without a word) and nothing behind it was processed."""
    before = routed()
    out, closed = talk(request + SMUGGLED)
    answers = out.count(b"HTTP/1.1 ")
    status = int(out.split(b" ", 2)[1]) if out.startswith(b"HTTP/1.1 ") else None
    after = routed()
    check(name, status in statuses and closed and answers <= heads and after == before,
          f"status {status}, closed {closed}, {answers} answers, {after - before} routed: {out[:120]!r}")


def taken(name, request, answers=1, bodies=()):
    """Read in one way: so many answers, and the server goes on."""
    out, _ = talk(request, wait=0.7)
    got = out.count(b"HTTP/1.1 ")
    check(name, got == answers and all(b in out for b in bodies), f"{got} answers: {out[:200]!r}")


def req(line=b"GET /cached HTTP/1.1", *headers, host=b"Host: x", body=b"", eol=b"\r\n"):
    lines = [line] + ([host] if host else []) + list(headers)
    return eol.join(lines) + eol + eol + body


POST = b"POST /gather HTTP/1.1"
# ---- framing (RFC 9112 section 6) ----
refused("two differing Content-Length", req(POST, b"Content-Length: 5", b"Content-Length: 6", body=b"hello"))
refused("the same Content-Length twice", req(POST, b"Content-Length: 5", b"Content-Length: 5", body=b"hello"))
refused("a list of lengths", req(POST, b"Content-Length: 5, 5", body=b"hello"), heads=2)
refused("Content-Length and Transfer-Encoding",
        req(POST, b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
refused("Transfer-Encoding and Content-Length",
        req(POST, b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"))
refused("unknown Transfer-Encoding", req(POST, b"Transfer-Encoding: gzip", body=b"hello"))
refused("gzip, chunked", req(POST, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"))
refused("chunked, identity", req(POST, b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"))
refused("two Transfer-Encoding lines", req(POST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
                                           body=b"0\r\n\r\n"))
refused("xchunked", req(POST, b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"))
refused("chunked with a vertical tab", req(POST, b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"))
refused("Transfer-Encoding in HTTP/1.0", req(b"POST /gather HTTP/1.0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"))
# libmicrohttpd 0.9.75 says its own 400 to these, and says it twice.
for value in (b"-1", b"+5", b"5x", b"0x5", b"5 5", b"", b"1e1", b"99999999999999999999999"):
    refused(f"Content-Length {value.decode()!r}", req(POST, b"Content-Length: " + value, body=b"hello"), (400, 413), 2)
refused("space before the colon", req(POST, b"Content-Length : 5", body=b"hello"))
refused("tab before the colon", req(POST, b"Content-Length\t: 5", body=b"hello"))
refused("a name with a space inside", req(b"GET /cached HTTP/1.1", b"X Y: 1"))
refused("an empty name", req(b"GET /cached HTTP/1.1", b": 1"))
refused("an empty name first", req(b"GET /cached HTTP/1.1", b"Host: x", host=b": 1"))
refused("a NUL in a value", req(b"GET /cached HTTP/1.1", b"X: a\0b"))
refused("a NUL in a name", req(b"GET /cached HTTP/1.1", b"X\0: a"))
refused("a bare LF between header lines", req(b"GET /cached HTTP/1.1", b"X: a\nY: b"))
refused("a bare LF after the request line", req(b"GET /cached HTTP/1.1\nX: y"))
refused("bare LF as line end", req(eol=b"\n"))
refused("a bare LF before the body", req(POST, b"Content-Length: 5").replace(b"5\r\n\r\n", b"5\r\n\nhello"))
refused("obs-fold", req(b"GET /cached HTTP/1.1", b"X: a", b" Content-Length: 5"))
refused("obs-fold on the first line", req(b"GET /cached HTTP/1.1", host=b" Host: x"))
refused("a line without a colon", req(b"GET /cached HTTP/1.1", b"nonsense"))
refused("a bare CR in a value", req(b"GET /cached HTTP/1.1", b"X: a\rContent-Length: 5"))
refused("a control character in a value", req(b"GET /cached HTTP/1.1", b"X: a\x01b"))
# ---- chunks (RFC 9112 section 7.1) ----
CH = b"Transfer-Encoding: chunked"
for name, body in {"chunk size in letters": b"zz\r\nhello\r\n0\r\n\r\n", "negative chunk size": b"-5\r\nhello\r\n0\r\n\r\n",
                   "chunk size past 64 bits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
                   "no line end after a chunk": b"5\r\nhelloXX0\r\n\r\n", "0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
                   "space before the size": b" 5\r\nhello\r\n0\r\n\r\n"}.items():
    refused("chunks: " + name, req(POST, CH, body=body), (400, 413, None))
taken("chunks: well formed", req(POST, CH, body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), 1, (b"hello world",))
taken("chunks: an extension is ignored", req(POST, CH, body=b"5;a=b\r\nhello\r\n0\r\n\r\n"), 1, (b"hello",))
taken("chunks: a trailer does not become a header",
      req(POST, CH, body=b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n" + SMUGGLED), 2, (b"hello",))
# ---- Host (RFC 9112 section 3.2) ----
refused("no Host in HTTP/1.1", req(host=b""))
refused("two Host lines", req(b"GET /cached HTTP/1.1", b"Host: y"))
refused("the same Host twice", req(b"GET /cached HTTP/1.1", b"Host: x"))
refused("Host with a space", req(host=b"Host: a b"))
refused("Host with a path", req(host=b"Host: a/b"))
taken("no Host in HTTP/1.0", req(b"GET /cached HTTP/1.0", host=b""))
# ---- the target (RFC 9112 section 3.2, RFC 3986) ----
for name, target in {"control character": b"/ca\x01ched", "DEL": b"/ca\x7fched", "NUL": b"/cached\0x",
                     "encoded NUL": b"/f/a%00b", "fragment": b"/cached#x", "broken escape": b"/f/%zz",
                     "half an escape": b"/f/%4", "dot segments": b"/f/../cached", "encoded dot segments": b"/f/%2e%2E/cached",
                     "dot segment behind %2f": b"/f/a%2f..%2fb", "single dot": b"/f/./4k", "no slash": b"cached",
                     "elsewhere": b"http://elsewhere.example/cached", "user in the authority": b"http://u@x/cached",
                     "another scheme": b"ftp://x/cached", "authority form": b"x:80", "bare CR": b"/cached\rX",
                     "tab": b"/f/a\tb"}.items():
    refused("target: " + name, req(b"GET " + target + b" HTTP/1.1"), (400, None))
refused("target: a space inside", req(b"GET /f/a b HTTP/1.1"), (400, None))
taken("target: two spaces before it", req(b"GET  /cached HTTP/1.1"), 1)
taken("target: absolute form to us", req(b"GET http://x/cached HTTP/1.1"), 1, (b"cached\n",))
refused("unknown method", req(b"BREW /cached HTTP/1.1"), (501,))
refused("lower-case method", req(b"get /cached HTTP/1.1"), (501,))
refused("CONNECT", req(b"CONNECT x:443 HTTP/1.1"), (400, 501))
refused("HTTP/2.0", req(b"GET /cached HTTP/2.0"), (400, 505, None))
refused("HTTP/0.9", b"GET /cached\r\n\r\n", (400, 505, None))
refused("no target", b"GET\r\n\r\n", (400, None))
refused("binary", bytes(range(256)) + b"\r\n\r\n", (400, 501, 505, None))
refused("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200 + b"\r\n\r\n", (400, 501, 505, None))
refused("the HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 501, 505, None))
# ---- sizes ----
refused("17 KiB of header", req(b"GET /cached HTTP/1.1", b"X: " + b"a" * 17000), (431, None))
refused("20 KiB of target", req(b"GET /f/" + b"a" * 20000 + b" HTTP/1.1"), (414, 431, None))
refused("500 header lines", req(b"GET /cached HTTP/1.1", *[b"X%d: 1" % i for i in range(500)]), (431, None))
out, closed = talk(b"", wait=10, pieces=[b"GET /cached HTTP/1.1\r\nHost: x\r\n"] +
                   [b"X%d: %s\r\n" % (i, b"a" * 1000) for i in range(10 * 1024)])
check("10 MiB of headers", closed and (not out or b" 431 " in out[:20]), repr(out[:80]))
# ---- read in one way only ----
taken("an empty line before a request", b"\r\n" + req(), 1)
taken("two requests at once", req() + req(), 2)
taken("a body of no route is not a request", req(b"POST /nope HTTP/1.1", b"Content-Length: %d" % len(SMUGGLED),
                                                 body=SMUGGLED), 1)
taken("a body on GET is not a request", req(b"GET /cached HTTP/1.1", b"Content-Length: %d" % len(SMUGGLED),
                                            body=SMUGGLED), 1)
taken("at the end it still serves", req(), 1, (b"cached\n",))
print(f"1..{done}")
sys.exit(failed > 0)
