#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CSV reader against Python's csv module: 10,000 odd files, every row and cell the same.

Where they differ by decision: Python gives an empty list for an empty line, the reader passes it over.
"""
import csv
import io
import random
import subprocess
import sys

FILES = 10000
PIECES = ["a", "b", "7", "é", "€", "😀", " ", "\t", "'", "abc def", "12.50", "-", "\0", "x" * 70, "=1+2", "\\"]


def odd(rng, delimiter, quote):
    """Text without rules: any mixture of what matters and what does not."""
    parts = [delimiter, delimiter, quote, quote, "\n", "\r\n", "\r", quote * 2, *PIECES]
    return "".join(rng.choice(parts) for _ in range(rng.randrange(0, 60)))


def tidy(rng, delimiter, quote):
    """What a writer makes of odd cells, with any line end."""
    out = io.StringIO(newline="")
    end = rng.choice(["\n", "\r\n", "\r"])
    writer = csv.writer(out, delimiter=delimiter, quotechar=quote, lineterminator=end, quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    for _ in range(rng.randrange(1, 12)):
        cells = []
        for _ in range(rng.randrange(1, 8)):
            cells.append("".join(rng.choice([*PIECES, delimiter, quote, "\n", "\r\n"]) for _ in range(rng.randrange(0, 5))))
        writer.writerow(cells)
    text = out.getvalue()
    return text[: -len(end)] if rng.random() < 0.2 else text


def expected(text, delimiter, quote):
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quotechar=quote, strict=False)
    return [row for row in rows if row]


def read_rows(out):
    rows = []
    for _ in range(int(out.readline())):
        row = []
        for _ in range(int(out.readline())):
            size = b""
            while (c := out.read(1)) != b" ":
                size += c
            row.append(out.read(int(size)).decode())
            assert out.read(1) == b"\n"
        rows.append(row)
    return rows


def main(program, seed):
    rng = random.Random(seed)
    csv.field_size_limit(1 << 30)
    files, given = [], io.BytesIO()
    for _ in range(FILES):
        delimiter, quote = rng.choice([",", ";", "\t", "|"]), rng.choice(['"', '"', '"', "'"])
        text = rng.choice([odd, tidy])(rng, delimiter, quote)
        if text.startswith("\ufeff"):
            continue
        data = text.encode()
        piece = rng.choice([1, 2, 3, 7, 64, 100000])
        given.write(b"%d %d %d %d\n" % (len(data), ord(delimiter), ord(quote), piece) + data)
        files.append((text, delimiter, quote, piece))
    ran = subprocess.run([program], input=given.getvalue(), stdout=subprocess.PIPE, check=True)
    out, bad = io.BytesIO(ran.stdout), 0
    for text, delimiter, quote, piece in files:
        want, got = expected(text, delimiter, quote), read_rows(out)
        if want != got:
            bad += 1
            if bad <= 3:
                print(f"# {text!r} delimiter {delimiter!r} quote {quote!r} pieces of {piece}\n#   want {want!r}\n#   got  {got!r}")
    print(f"{'not ok' if bad else 'ok'} 1 - {len(files)} files as Python's csv module reads them (seed {seed}, {bad} differ)")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20261126))
