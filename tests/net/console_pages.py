#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The console's pages in Chromium: sign-in, a dataset by the rule editor, a file with a bad value whose finding is seen before the
file has arrived, going on after a reload, mending, statistics, audit, people, tokens. Hostile names stay text, the policy holds,
labels, headings, focus and contrast are as they must be. Pictures of all pages: build/screens/."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from console_driver import Console  # noqa: E402
from upload_lib import BIN, TOP, Lab, check, finish, skip  # noqa: E402

PASSWORD = "correct horse battery"

BAD_ROW = 220_000  # of 400,000: the finding is there long before the end
EVIL_FILE = "<img src=x onerror=evil(1)>.csv"
EVIL_COLUMN = '"><script>evil(2)</script>'
RULES = f"""title: Orders <img src=x onerror=evil(3)>
description: One line for each order.
accept: [csv]
columns:
  - name: id
    type: integer
    required: true
  - name: shop
    type: string
    enum: [north, south, east]
  - name: amount
    type: number
    minimum: 0
  - name: day
    type: date
  - name: '{EVIL_COLUMN}'
    type: string
tolerance:
  on_fault: reject
"""
HEADER = 'id,shop,amount,day,"""><script>evil(2)</script>"\n'
SAMPLE = HEADER + "1,north,2.50,2026-01-01,a\n2,south,dear,2026-01-02,b\n3,east,4,2026-01-03,a\n"


def make_file(folder):
    path = folder / EVIL_FILE
    r, shops, notes = random.Random(7), ["north", "south", "south", "east"], ["", "<b>bold</b>", "=1+1"]
    with open(path, "w") as f:
        f.write(HEADER)
        for i in range(1, 400_001):
            amount = "n/a" if i == BAD_ROW else f"{r.lognormvariate(3, 1):.2f}"
            f.write(f"{i},{shops[i % 4]},{amount},2026-{i % 12 + 1:02d}-{i % 28 + 1:02d},{notes[i % 3]}\n")
    return path


def sign_in(c, check, user, password):
    c.b.open(c.base + "/")
    c.wait("!!document.querySelector('#user')", "the password's form")
    c.look("signin")
    c.type("#user", user)
    c.type("#password", "wrong")
    c.press("Sign in", "#by-password")
    c.wait("!!document.querySelector('#by-password .notice.bad')", "a refusal")
    check("wrong" in c.text(), "a wrong password is refused in words", c.text())
    c.type("#password", password)
    c.press("Sign in", "#by-password")
    c.wait("document.querySelector('h1')?.textContent === 'Datasets' && document.querySelector('#me').textContent !== ''", "the datasets")
    check(c.js("document.querySelector('#me').textContent") == user, "signed in by password")


def rule_editor(c, check, name):
    c.open("#/datasets/+", "!!document.querySelector('#rules-text')", "the editor")
    c.type("#new-name", name)
    c.type("#rules-text", RULES.replace("minimum: 0", "minimun: 0"))
    c.wait("document.querySelectorAll('.gutter .at-fault').length === 1 && !!document.querySelector('.faults li')", "the fault")
    check(c.js("document.querySelector('.gutter .at-fault').textContent") == "13", "a fault of the rules stands at its line", c.text())
    c.look("rules-fault")
    c.type("#rules-text", RULES)
    c.type("#sample", SAMPLE)
    c.wait("document.querySelectorAll('#preview .findings tbody tr').length === 1 && document.querySelectorAll('#preview canvas[data-drawn]').length > 0", "the preview")
    row = c.js("[...document.querySelectorAll('#preview .findings tbody td')].map(t => t.textContent)")
    check(row[1:5] == ["2", "amount", "type", "dear"], "the preview finds the sample's bad value", row)
    c.look("rules-preview")
    c.press("Make the dataset")
    c.wait(f"location.hash === '#/datasets/{name}' && !!document.querySelector('#pick')", "the dataset's page")
    check("Orders <img src=x" in c.text() and EVIL_COLUMN in c.text(), "the dataset is there, hostile text is text", c.text())
    c.look("dataset-empty")


def send(c, check, path):
    size = path.stat().st_size
    c.throttle(3_000_000)
    c.pick("#pick", path)
    c.wait("location.hash.startsWith('#/uploads/') && document.querySelector('progress[aria-label=sent]')?.value > 2e6", "bytes on their way")
    c.look("sending")
    at = c.js("location.hash")
    check(json.loads(c.js("localStorage.getItem('weir-uploads')"))[0]["size"] == size, "what is under way is remembered")
    before = c.complaints()
    c.reload("document.querySelector('#pick-note')?.textContent.includes('have arrived')", "the page asks for the file again")
    c.look("interrupted")
    c.pick("#pick", path)
    c.wait("document.querySelector('progress[aria-label=sent]').value > 3.5e6", "more bytes on their way")
    c.throttle(-1, offline=True)
    c.wait("document.querySelector('main').textContent.includes('waits for the network')", "that the network is gone")
    c.throttle(3_000_000)
    c.wait("document.querySelectorAll('.findings tbody tr').length >= 1", "the finding", 30)
    sent, total, state = c.js("[document.querySelector('progress[aria-label=sent]').value, document.querySelector('progress[aria-label=sent]').max, document.querySelector('.state').className]")
    check(sent < total and "receiving" in state, "the finding is on the page before the file has arrived, after a reload and without a network in between", f"{sent} of {total}, {state}")
    row = c.js("[...document.querySelectorAll('.findings tbody td')].map(t => t.textContent)")
    check(row[1].replace("\u202f", "") == str(BAD_ROW) and row[2:5] == ["amount", "type", "n/a"] and row[6], "with row, column, rule, value and how to mend it", row)
    c.look("finding")
    c.throttle(-1)
    c.wait("!!document.querySelector('.state.rejected')", "the verdict")
    check(c.js("location.hash") == at and EVIL_FILE in c.text(), "rejected; its name is text", c.text())
    c.look("rejected")
    return before


def mend(c, check):
    at = c.js("location.hash")
    c.press("Mend")
    c.wait("document.querySelectorAll('.mend textarea').length === 1", "the row")
    row = c.js("document.querySelector('.mend textarea').value")
    check(row.startswith(f"{BAD_ROW},north,n/a,"), "the editor has the row as it was sent", row)
    check(c.js("document.activeElement === document.querySelector('.mend textarea')"), "and the focus is in it")
    c.look("mend")
    c.b.events.clear()
    c.type(".mend textarea", row.replace("n/a", "17.25"))
    c.press("Send the mended", ".mend")
    c.wait(f"location.hash !== {json.dumps(at)} && !!document.querySelector('.state.accepted')", "the mended one", 30)
    posts = [r["request"]["url"] for r in c.b.said("Network.requestWillBeSent") if r["request"]["method"] in ("POST", "PATCH")]
    first, last = map(int, posts[0].split("bytes=")[1].split("-")) if "bytes=" in posts[0] else (0, 0)
    check(len(posts) == 1 and last + 1 - first == len(row) + 1, "accepted; that row alone was sent", posts)
    c.look("accepted")


# Rows whose bytes are not what a text field shows: name, the file, the failing row as it is shown, what it becomes, the file then.
ODD = [
    ("bom.csv", b"\xef\xbb\xbfid,note\n1,a\nx,b\n3,c", "x,b", "2,b", b"\xef\xbb\xbfid,note\n1,a\n2,b\n3,c"),
    ("quoted.csv", b'id,note\r\n1,"two\r\nlines"\r\nx,"m\r\n""n"" o"\r\n', 'x,"m\n""n"" o"', '2,"m\n""n"" o"',
     b'id,note\r\n1,"two\r\nlines"\r\n2,"m\r\n""n"" o"\r\n'),
    ("array.json", b'[\n {"id":1},\n {"id":"x"}\n]\n', '{"id":"x"}', '{"id":2}', b'[\n {"id":1},\n {"id":2}\n]\n'),
    ("gone.csv", b"id,note\n1,a\nx,b\n3,c\n", "x,b", "", b"id,note\n1,a\n3,c\n"),
]


def odd_rows(c, check, lab, folder):
    wrong = []
    for name, before, shown, typed, after in ODD:
        (folder / name).write_bytes(before)
        c.open("#/datasets/odd", "!!document.querySelector('#pick') && document.querySelector('h1').textContent === 'odd'", "the dataset")
        c.drop(".drop", folder / name)
        c.wait("!!document.querySelector('.state.rejected')", f"{name} rejected")
        at = c.js("location.hash")
        c.press("Mend")
        c.wait("!!document.querySelector('.mend textarea')", f"the row of {name}")
        row = c.js("document.querySelector('.mend textarea').value")
        c.type(".mend textarea", typed)
        c.press("Send the mended", ".mend")
        c.wait(f"location.hash !== {json.dumps(at)} && !!document.querySelector('.state.accepted')", f"{name} accepted")
        got = lab.get("ada", f"/b/odd/{name}").body
        if (row, got) != (shown, after):
            wrong.append(f"{name}: {row!r}, {got!r}")
    check(c.over, "files are dropped on the page")
    check(not wrong, "rows behind a byte order mark, with line ends in quotes, of JSON, taken out: the bytes around them stay", "\n".join(wrong))


def file_page(c, check):
    c.press("Open the file")
    c.wait("document.querySelectorAll('canvas[data-drawn]').length >= 6", "plots")
    inked = c.js("[...document.querySelectorAll('canvas[data-drawn]')].map(x => x.getContext('2d').getImageData(0, 0, x.width, x.height).data.some(v => v))")
    check(all(inked) and EVIL_COLUMN in c.text(), f"statistics: {len(inked)} plots are drawn, column names are text", inked)
    c.js("document.querySelector('article:nth-of-type(3) details').open = true")
    c.look("file")
    c.dark("file-dark")


def downloads(c, check, path, folder):
    c.b.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "down"))
    c.press("Download")
    wanted, end = path.stat().st_size + 2, time.monotonic() + 10  # 17.25 for n/a
    while not any(p.stat().st_size == wanted for p in (folder / "down").glob("*.csv")) and time.monotonic() < end:
        time.sleep(0.05)
    got = [p for p in (folder / "down").glob("*") if p.stat().st_size == wanted]
    check(got and f"{BAD_ROW},north,17.25," in got[0].read_text(), "the mended file is downloaded", list((folder / "down").glob("*")))


def others(c, check, name, user):
    c.open("#/datasets/" + name, "document.querySelectorAll('tbody tr').length > 1", "the dataset")
    c.look("dataset")
    c.open("#/datasets", "document.querySelectorAll('tbody tr').length >= 1", "the datasets")
    c.look("datasets")
    c.open("#/uploads", "document.querySelectorAll('tbody tr').length >= 2", "the uploads")
    c.look("uploads")
    c.open("#/audit", "document.querySelectorAll('tbody tr').length >= 3", "lines of the audit log")
    c.look("audit")
    c.type("[name=what]", "upload")
    c.press("Search")
    c.wait("location.hash.includes('what=upload') && document.querySelectorAll('tbody tr').length >= 1", "the search")
    rows = c.js("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(t => t.textContent))")
    check(all(r[2] == "upload" for r in rows) and any(r[1] == user and EVIL_FILE in r[3] for r in rows), "the audit log is searched, and has the upload", rows[:5])
    c.open("#/people", "document.querySelectorAll('tbody tr').length >= 1", "people")
    check(user in c.text(), "people", c.text())
    c.look("people")
    c.open("#/machines", "document.querySelectorAll('#members tbody tr').length >= 1", "the machines")
    c.look("machines")
    c.open("#/me", "!!document.querySelector('#token-note')", "tokens")
    c.type("#token-note", "a <b>test</b>")
    c.press("Make a token")
    c.wait("document.querySelector('#new-token')?.value.startsWith('weir1.')", "the token")
    check("a <b>test</b>" in c.text(), "a token is made, and shown once", c.text())
    c.look("tokens")


def keyboard(c, check):
    c.open("#/uploads", "!!document.querySelector('#pick')", "the uploads")
    c.reload("document.querySelectorAll('tbody tr').length > 1", "the uploads again")
    names = c.tabs()
    order = [names.index(n) for n in ("skip to the page", "Datasets", "Audit", "sign out", "Dataset", "Drop files here, or pick them") if n in names]
    check(len(order) == 6 and order == sorted(order), "Tab leads from the skip link by the menu to the files", names)
    c.press("sign out")
    c.wait("!!document.querySelector('#user')", "the sign-in")
    check(c.js("document.querySelector('#menu').hidden"), "signed out")


def files(lab):
    """The files of the console as HTTP has them."""
    page, again = lab.req("GET", "/"), lab.req("GET", "/_/console/")
    check(page.status == 200 and page.body == again.body and "default-src 'none'" in page.headers["content-security-policy"]
          and "unsafe" not in page.headers["content-security-policy"] and b"style=" not in page.body, "the page, its policy", page)
    chart = lab.req("GET", "/_/console/chart.js")
    kept = lab.req("GET", "/_/console/chart.js", headers={"If-None-Match": chart.headers["etag"]})
    check(b"Chart.js v3" in chart.body and (kept.status, kept.body) == (304, b""), "files are not sent twice", kept)
    check(lab.req("GET", "/_/console/nothing.js").status == 404 and lab.req("GET", "/_/console/../../etc/passwd").status in (400, 404), "no other files")


def journey(base, folder, screens, check, lab, user="ada", password=PASSWORD, name="orders-2"):
    (folder / "down").mkdir(exist_ok=True)
    path = make_file(folder)
    with Console(base, screens) as c:
        sign_in(c, check, user, password)
        rule_editor(c, check, name)
        before = send(c, check, path)
        mend(c, check)
        file_page(c, check)
        downloads(c, check, path, folder)
        odd_rows(c, check, lab, folder)
        others(c, check, name, user)
        before += c.complaints()
        keyboard(c, check)
        said = before + c.complaints()
        check(not said, "no violation of the policy, no script failed, nothing of the data ran", "\n".join(said))
        check(not c.wrong, "labels, headings, landmarks, focus and contrast on every page", "\n".join(c.wrong))


def main():
    if not shutil.which("chromium"):
        skip("chromium is not installed")
    with Lab() as lab:
        lab.group("boss", role="admin")
        lab.user("ada", groups=["boss"])
        lab.dataset("odd", "columns: [{name: id, type: integer}]")
        subprocess.run([BIN / "weir", "user", "password", "ada", "--stdin", "-c", lab.gateways[0].conf], input=f"{PASSWORD}\n",
                       text=True, check=True, capture_output=True)
        files(lab)
        try:
            journey(f"http://127.0.0.1:{lab.port['gw0']}", lab.work, TOP / "build/screens", check, lab)
        except (TimeoutError, RuntimeError) as e:
            check(False, "the journey goes on", e)
    finish()


if __name__ == "__main__":
    main()
