#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first five minutes of somebody new: she signs in through her company's OpenID provider, makes a dataset, drops a CSV of
NEWCOMER_MB (100) on it as fast as the browser sends, reads of a bad value near its end before the file has arrived, mends that row and
sends it alone, looks at the statistics, takes the file down again; somebody else is refused, and the audit log has both. On the way she
makes the mistakes that people make. Pictures of every page, also narrow and dark: build/screens/newcomer-*.png."""
import hashlib
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "net"))
from console_driver import BASICS, CONTRAST, Console  # noqa: E402
from identity_lib import TOP, SignOn, check, enter, finish  # noqa: E402

enter("curl", "node", "npm", "chromium")
MB = int(os.environ.get("NEWCOMER_MB", "100"))
SCREENS = TOP / "build/screens"
RULES = """title: Orders of all shops
accept: [csv]
columns:
  - name: order
    type: integer
    required: true
  - name: day
    type: date
  - name: shop
    type: string
    enum: [Bern, Oslo, Rome]
  - name: pieces
    type: integer
    minimum: 1
    maximum: 500
  - name: price
    type: number
    minimum: 0
"""
HEADER = b"order,day,shop,pieces,price\n"
AT = 0.95  # of the file: there the bad value stands


class Page(Console):
    """A console whose pages are looked at wide and narrow, light and dark."""

    def size(self, width, height):
        self.b.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def look(self, name):
        super().look(f"newcomer-{name}")
        self.size(390, 800)
        self.b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        time.sleep(0.2)
        self.wrong += [f"{name}, narrow: {w}" for w in self.js(BASICS) + self.js(CONTRAST)]
        self.b.screenshot(f"{self.shots}/newcomer-{name}-narrow.png")
        self.b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        self.b.call("Emulation.clearDeviceMetricsOverride")


def make_file(path):
    """Its size and the number of the bad row."""
    shops = (b"Bern", b"Oslo", b"Rome")
    block = b"".join(b"%d,2026-%02d-%02d,%s,%d,%.2f\n" % (100000 + i, i % 12 + 1, i % 28 + 1, shops[i * 7 % 3], 1 + i * i % 97,
                                                          1 + (i * 7919 % 10007) / 13) for i in range(30000))
    blocks = MB * 1000000 // len(block)
    bad = int(blocks * AT)
    with open(path, "wb") as f:
        f.write(HEADER)
        for n in range(blocks):
            f.write(block.replace(b"100000,2026-01-01,Bern,1,", b"100000,2026-01-01,Bern,many,", 1) if n == bad else block)
    return path.stat().st_size, bad * 30000 + 1


def sha(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def sign_in(s, c, login, fragment="/", look=False):
    c.b.open(s.url + fragment)
    c.wait("!!document.querySelector('#provider')", "the provider's button")
    if look:
        c.look("1-signin")
    c.press("Sign in with")
    c.wait("location.port === '9100' && !!document.querySelector('[name=login]')", "the provider's page")
    c.js(f"document.querySelector('[name=login]').value = '{login}'; document.querySelector('[name=password]').value = 'any'; document.querySelector('form').submit()")
    c.wait("location.port === '8001' || (document.readyState === 'complete' && !document.querySelector('[name=login]'))", "the consent's page")
    if c.js("location.port === '9100'"):
        c.js("document.querySelector('form').submit()")
    c.wait("location.port === '8001' && document.readyState === 'complete' && document.querySelector('#me')?.textContent === " + json.dumps(login), "the console")


def make_dataset(c):
    c.wait("document.querySelector('h1')?.textContent === 'Datasets'", "the datasets")
    c.look("2-datasets-none")
    c.open("#/datasets/+", "!!document.querySelector('#rules-text')", "the editor")
    c.look("3-rules")
    c.type("#new-name", "orders")
    c.type("#rules-text", RULES.replace("maximum", "maximun"))
    c.wait("!!document.querySelector('.faults li')", "the typo's fault")
    check("maximun" in c.text() and "maximum" in c.js("document.querySelector('.faults').innerText"), "a typo in the rules is named, and what was meant",
          c.js("document.querySelector('.faults').innerText"))
    c.look("4-rules-typo")
    c.type("#rules-text", RULES)
    c.wait("!document.querySelector('.faults li')", "no fault")
    c.press("Make the dataset")
    c.wait("location.hash === '#/datasets/orders' && !!document.querySelector('#pick')", "the dataset's page")
    c.look("5-dataset-empty")


def mistakes(c, folder):
    """Files that are none for this dataset, one by one: what the page says."""
    files = {"photo.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10\x08\2\0\0\0" + bytes(3000), "image/png; the dataset accepts csv"),
             "empty.csv": (b"", "the file is empty"),
             "customers.csv": (b"name,street,town\nAda,Long Road 1,Bern\nBob,Short Road 2,Oslo\n", "add the column order")}
    for n, (name, (data, wanted)) in enumerate(files.items()):
        (folder / name).write_bytes(data)
        c.open("#/datasets/orders", "!!document.querySelector('#pick') && document.querySelector('h1').textContent.startsWith('orders')", "the dataset")
        c.drop(".drop", folder / name)
        c.wait("!!document.querySelector('.state.rejected, .state.failed, .notice.bad')", f"that {name} is not taken")
        time.sleep(0.2)
        said = c.text()
        check(wanted in said.lower() and "findings" in said.lower(), f"{name} is refused in words", said)
        c.look(f"6-mistake-{name.split('.')[0]}")


def send(c, path, size, bad):
    c.open("#/datasets/orders", "!!document.querySelector('#pick') && document.querySelector('h1').textContent.startsWith('orders')", "the dataset")
    # The page notes for itself what it shows when the first finding comes.
    c.js("""window.first = null; new MutationObserver(() => {
      const row = document.querySelector('.findings tbody tr'), bar = document.querySelector('progress[aria-label=sent]');
      if (row && bar && !window.first && location.hash.startsWith('#/uploads/'))
        window.first = { at: performance.now(), sent: bar.value, size: bar.max, state: document.querySelector('.state').textContent,
          cells: [...row.cells].map(t => t.textContent), server: fetch('/_/uploads/' + location.hash.split('/').pop()).then(r => r.json()).then(u => { window.server = u; }) };
    }).observe(document.querySelector('main'), { childList: true, subtree: true })""")
    began = time.monotonic()
    c.drop(".drop", path)
    c.wait("location.hash.startsWith('#/uploads/') && document.querySelector('progress[aria-label=sent]')?.value > 5e6", "bytes on their way")
    c.b.screenshot(f"{c.shots}/newcomer-7-sending.png")
    c.wait("!!window.first && !!window.server", "the finding", 60)
    c.b.screenshot(f"{c.shots}/newcomer-8-finding.png")
    first, server = c.js("({ ...window.first, server: null })"), c.js("({ state: window.server.state, received: window.server.received, size: window.server.size })")
    took = time.monotonic() - began
    check(first["sent"] < first["size"] == size and server["received"] < size and server["state"] == "receiving",
          f"the finding is on the page before the upload ended: {100 * first['sent'] / size:.1f} % sent, {100 * server['received'] / size:.1f} % received, after {took:.1f} s",
          (first, server))
    check(first["cells"][1].replace(",", "").replace("\u202f", "").replace(" ", "") == str(bad) and first["cells"][2:5] == ["pieces", "type", "many"],
          "it names row, column, rule and value", (first["cells"], bad))
    c.wait("!!document.querySelector('.state.rejected')", "the verdict", 60)
    c.look("9-rejected")


def mend(c):
    at = c.js("location.hash")
    c.press("Mend")
    c.wait("document.querySelectorAll('.mend textarea').length === 1", "the row")
    row = c.js("document.querySelector('.mend textarea').value")
    check(row.startswith("100000,2026-01-01,Bern,many,"), "the editor has the row", row)
    c.look("10-mend")
    c.b.events.clear()
    c.type(".mend textarea", row.replace("many", "1"))
    c.press("Send the mended", ".mend")
    c.wait(f"location.hash !== {json.dumps(at)} && !!document.querySelector('.state.accepted')", "the mended one", 60)
    posts = [r["request"]["url"] for r in c.b.said("Network.requestWillBeSent") if r["request"]["method"] in ("POST", "PATCH")]
    first, last = map(int, posts[0].split("bytes=")[1].split("-"))
    check(len(posts) == 1 and last + 1 - first == len(row) + 1, f"mended: {last + 1 - first} bytes were sent", posts)
    c.look("11-accepted")


def statistics(c):
    c.press("Open the file")
    c.wait("document.querySelectorAll('canvas[data-drawn]').length >= 5", "plots")
    inked = c.js("[...document.querySelectorAll('canvas[data-drawn]')].map(x => x.getContext('2d').getImageData(0, 0, x.width, x.height).data.some(v => v))")
    check(all(inked) and "Rome" in c.text(), f"statistics: {len(inked)} plots are drawn", inked)
    c.look("12-file")


def download(c, folder, path, size):
    down = folder / "down"
    down.mkdir(exist_ok=True)
    c.b.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(down))
    c.press("Download")
    end = time.monotonic() + 30
    found = lambda: [p for p in down.glob("*.csv") if p.stat().st_size == size - 3]
    while not found() and time.monotonic() < end:
        time.sleep(0.1)
    with open(path, "r+b") as f:  # as it should be now
        data = f.read()
    whole = hashlib.sha256(data.replace(b",many,", b",1,")).hexdigest()
    check(found() and sha(found()[0]) == whole, "the owner takes it down: the mended file, byte for byte", [(p.name, p.stat().st_size) for p in down.glob("*")])


def stranger(s, path):
    """Another person of the same provider, with the link that she was sent."""
    with Page(s.url, SCREENS) as c:
        sign_in(s, c, "bob", f"/#/datasets/orders/files/{path.name}")
        c.wait("!!document.querySelector('main .notice, main .empty')", "a refusal")
        c.look("13-refused")
        said = c.text()
        check("there is no dataset orders" in said and "its owner can let you in" in said, "another person is told that it is not hers", said)
        status = c.js(f"fetch('/b/orders/{path.name}').then(r => r.status)")
        check(status in (403, 404), "nor may she download it", status)
        c.open("#/datasets", "document.querySelector('h1')?.textContent === 'Datasets'", "her datasets")
        c.look("14-datasets-of-nobody")
        return c.complaints() + c.wrong


def audit(c, path):
    c.open("#/audit", "document.querySelectorAll('tbody tr').length >= 3", "the audit log")
    c.look("15-audit")
    c.type("[name=on]", "orders/" + path.name)
    c.press("Search")
    c.wait("location.hash.includes('on=')", "the search")
    c.wait("[...document.querySelectorAll('tbody tr')].some(r => r.cells[1].textContent === 'bob')", "bob's line")
    rows = c.js("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(t => t.textContent))")
    check(any(r[1] == "cleo" and r[2] == "download" and "ok" in r[4:] for r in rows) and any(r[1] == "bob" and "denied" in r for r in rows),
          "both stand in the audit log", "\n".join(map(str, rows)))
    c.look("16-audit-search")


def sign_out(c):
    c.open("#/uploads", "document.querySelectorAll('tbody tr').length >= 1", "uploads")
    c.look("17-uploads")
    c.open("#/datasets", "document.querySelectorAll('tbody tr').length >= 1", "datasets")
    c.look("18-datasets")
    c.open("#/me", "!!document.querySelector('#token-note')", "her page")
    c.look("19-me")
    said = c.complaints()
    c.press("sign out")
    c.wait("location.port === '9100' || !!document.querySelector('#provider')", "signing out")
    if c.js("location.port === '9100'"):
        c.wait("document.readyState === 'complete' && !!document.querySelector('form')", "the provider's question")
        c.js("(document.querySelector('button[value=yes]') ?? document.querySelector('form button')).click()")
    c.wait("location.port === '8001' && !!document.querySelector('#provider')", "the console again")
    check(c.js("fetch('/_/session').then(r => r.json()).then(s => s.user)") is None, "signed out, at the provider too")
    return said


def journey(s):
    path = s.work / "orders-2026.csv"
    size, bad = make_file(path)
    with Page(s.url, SCREENS) as c:
        sign_in(s, c, "cleo", look=True)
        check(True, "signed in by the provider")
        make_dataset(c)
        mistakes(c, s.work)
        send(c, path, size, bad)
        mend(c)
        statistics(c)
        download(c, s.work, path, size)
        said = stranger(s, path)
        audit(c, path)
        said += sign_out(c) + c.wrong
        check(not said, "no violation of the policy, no script failed; labels, headings, contrast, width on every page", "\n".join(map(str, said)))


with SignOn() as s:
    s.put("groups/stewards", {"name": "stewards", "role": "steward", "from": ["stewards-of-idp"], "grants": []})
    try:
        journey(s)
    except (TimeoutError, RuntimeError) as e:
        check(False, "the journey goes on", e)
finish()
