#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""http_stress.py HOST PORT N: N connections that keep being suspended (answers by workers, late streams, slow
uploads) and one that asks for something quick, for four seconds. Prints the longest waits; fails when a quick
request took over a second, or when anything never got its answer."""
import asyncio
import sys
import time

HOST, PORT, N = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
END = time.monotonic() + 4
BODY = b"x" * 40_000
WORK = b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"GET /stream?chunked=1 HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
QUICK = b"GET /cached HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" in head:
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
        return head
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            await reader.readexactly(int(line[15:]))
    return head


async def ask_on(requests, pause, worst):
    reader, writer = await asyncio.open_connection(HOST, PORT)
    count = 0
    while time.monotonic() < END:
        for request in requests:
            start = time.monotonic()
            writer.write(request)
            head = await asyncio.wait_for(answer(reader), 20)
            assert b" 20" in head[:12], head
            worst[0] = max(worst[0], time.monotonic() - start)
            count += 1
            if pause:
                await asyncio.sleep(pause)
    writer.close()
    return count


async def main():
    mixes = [[WORK], [STREAM, WORK], [SLOW], [CHUNKED, SLOW, WORK]]
    slow, quick = [0.0], [0.0]
    tasks = [ask_on(mixes[i % len(mixes)], 0, slow) for i in range(N)]
    tasks += [ask_on([QUICK], 0.01, quick) for _ in range(2)]
    counts = await asyncio.gather(*tasks)
    print(f"{sum(counts[:N])} suspended at most {slow[0]:.2f} s, "
          f"{sum(counts[N:])} quick at most {quick[0] * 1000:.0f} ms")
    return quick[0] < 1.0


sys.exit(0 if asyncio.run(main()) else 1)
