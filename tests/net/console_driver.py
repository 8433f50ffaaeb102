# SPDX-License-Identifier: Apache-2.0
"""A person before the console: what tests/net/console_pages.py does in Chromium, and what must hold on every page."""
import json
import os
import time

from browser import Browser

# On every page: labels, names, headings, landmarks, ids, pictures; what is wrong, as sentences.
BASICS = r"""(() => {
  const wrong = [], shown = e => e.checkVisibility();
  const text = e => (e.getAttribute('aria-label') || (e.getAttribute('aria-labelledby') ?? '').split(' ').map(i => document.getElementById(i)?.textContent ?? '').join('')
    || e.textContent || e.title || '').trim();
  for (const e of document.querySelectorAll('input, select, textarea'))
    if (shown(e) && !e.labels?.length && !text(e)) wrong.push(`no label: ${e.outerHTML.slice(0, 100)}`);
  for (const e of document.querySelectorAll('button, a[href], summary')) if (shown(e) && !text(e)) wrong.push(`no name: ${e.outerHTML.slice(0, 100)}`);
  for (const e of document.querySelectorAll('canvas, progress, [role=img]')) if (shown(e) && !e.getAttribute('aria-label')) wrong.push(`no name: ${e.outerHTML.slice(0, 100)}`);
  for (const e of document.querySelectorAll('th')) if (!e.scope) wrong.push(`th without scope: ${e.textContent}`);
  const heads = [...document.querySelectorAll('h1, h2, h3, h4')].filter(shown);
  if (heads.filter(e => e.tagName === 'H1').length !== 1) wrong.push(`${heads.filter(e => e.tagName === 'H1').length} h1`);
  heads.reduce((was, e) => { const now = Number(e.tagName[1]); if (now > was + 1) wrong.push(`from h${was} to h${now}: ${e.textContent}`); return now; }, 0);
  for (const what of ['main', 'header', '[aria-live]']) if (!document.querySelector(what)) wrong.push(`no ${what}`);
  if (!document.documentElement.lang || !document.title) wrong.push('no language or title');
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  for (const id of new Set(ids.filter((i, n) => ids.indexOf(i) !== n))) wrong.push(`twice: #${id}`);
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) wrong.push(`wider than the window: ${document.documentElement.scrollWidth}`);
  return wrong;
})()"""

# Text whose contrast is below 4.5 (WCAG 2 AA), by the colours behind it.
CONTRAST = r"""(() => {
  const wrong = [], parse = c => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith('color(') ? [...m.slice(0, 3).map(x => x * 255), m[3] ?? 1] : [...m.slice(0, 3), m[3] ?? 1]; };
  const lum = c => c.slice(0, 3).map(x => x / 255).map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4).reduce((n, x, i) => n + x * [.2126, .7152, .0722][i], 0);
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const behind = e => { const all = []; for (; e; e = e.parentElement) all.push(parse(getComputedStyle(e).backgroundColor)); return all.reverse().reduce((b, a) => over(a, b), [255, 255, 255, 1]); };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), seen = new Set();
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || seen.has(e) || !e.checkVisibility() || e.closest(':disabled, .unseen, .skip')) continue;
    seen.add(e);
    const b = behind(e), c = over(parse(getComputedStyle(e).color), b), [hi, lo] = [lum(b), lum(c)].sort((x, y) => y - x), ratio = (hi + .05) / (lo + .05);
    if (ratio < 4.5) wrong.push(`${ratio.toFixed(2)}: ${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`);
  }
  return wrong.slice(0, 10);
})()"""

WATCH = """window.violations = []; document.addEventListener('securitypolicyviolation', e => violations.push(`${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}`));
window.alert = window.evil = x => { window.violated = String(x ?? 'called'); };"""


class Console:
    """with Console(base, shots) as c: …; shots: a folder for screenshots."""

    def __init__(self, base, shots):
        self.base, self.shots, self.wrong = base, shots, []
        os.makedirs(shots, exist_ok=True)
        self.b = Browser()
        self.b.call("Emulation.setScrollbarsHidden", hidden=True)
        for domain in "DOM", "Log":
            self.b.call(f"{domain}.enable")
        self.b.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.b.__exit__(*a)

    def js(self, text):
        return self.b.js(text)

    def wait(self, text, what, seconds=20):
        try:
            self.b.wait(text, what, seconds)
        except TimeoutError as e:
            self.b.screenshot(f"{self.shots}/failed.png")
            raise TimeoutError(f"{e}; the page says: {self.text()[-1500:]}") from None

    def text(self):
        return self.js("document.querySelector('main').innerText")

    def type(self, selector, text):
        self.js(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(text)};"
                " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change', {bubbles: true})); })()")

    def press(self, name, within="body"):
        """Clicks the button or link of that name, or which begins so."""
        found = (f"[...document.querySelector({json.dumps(within)}).querySelectorAll('button, a, summary')]"
                 f".find(e => (e.getAttribute('aria-label') ?? e.textContent).trim().startsWith({json.dumps(name)}))")
        self.wait(f"!!{found}", f"something to press: {name}")
        self.js(f"{found}.click()")

    def pick(self, selector, *paths):
        root = self.b.call("DOM.getDocument")["root"]["nodeId"]
        node = self.b.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.b.call("DOM.setFileInputFiles", nodeId=node, files=[str(p) for p in paths])

    def drop(self, selector, *paths):
        """Files from the desktop, dropped on an element."""
        x, y = self.js(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView(); const r = e.getBoundingClientRect();"
                       " return [r.x + 20, r.y + 20]; })()")
        for kind in "dragEnter", "dragOver", "drop":
            self.b.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data={"items": [], "files": [str(p) for p in paths], "dragOperationsMask": 1})
            if kind == "dragOver":
                self.over = self.js(f"document.querySelector({json.dumps(selector)}).classList.contains('over')")

    def throttle(self, up, offline=False):
        self.b.call("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=up)

    def open(self, fragment, ready, what):
        self.js(f"location.hash = {json.dumps(fragment)}")
        self.wait(ready, what)

    def reload(self, ready, what):
        self.js("window.former = true")
        self.b.call("Page.reload")
        self.wait(f"!window.former && document.readyState === 'complete' && {ready}", what)

    def look(self, name):
        """What must hold on every page, and its picture."""
        time.sleep(0.15)  # plots and tables of the next frame
        self.wrong += [f"{name}: {w}" for w in self.js(BASICS)]
        for scheme in "dark", "light":
            self.b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            self.wrong += [f"{name}, {scheme}: contrast {w}" for w in self.js(CONTRAST)]
        self.b.screenshot(f"{self.shots}/{name}.png")

    def dark(self, name):
        self.b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        time.sleep(0.2)
        self.b.screenshot(f"{self.shots}/{name}.png")
        self.b.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])

    def tabs(self, times=40):
        """Names of what has the focus by Tab, one after another; a focus that nobody sees is in self.wrong."""
        names = []
        for _ in range(times):
            for kind in "rawKeyDown", "keyUp":
                self.b.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
            name, seen = self.js("""(() => { const e = document.activeElement, s = getComputedStyle(e), box = getComputedStyle(e.closest('.editor') ?? e);
              return [e === document.body ? '' : (e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent ?? e.textContent).trim().slice(0, 40),
                e === document.body || [s, box].some(x => x.outlineStyle !== 'none' && parseFloat(x.outlineWidth) >= 1)]; })()""")
            if not name:
                break
            names.append(name)
            if not seen:
                self.wrong.append(f"focus is not seen on {name}")
        return names

    def complaints(self):
        """Violations of the policy, scripts that failed, data that ran, answers of 5xx, other hosts asked."""
        said = self.js("window.violations.concat(window.violated ?? [])")
        said += [e["entry"]["text"] for e in self.b.said("Log.entryAdded") if "Content Security" in e["entry"]["text"] or e["entry"]["source"] == "security"]
        said += [str(e["exceptionDetails"].get("exception", {}).get("description")) for e in self.b.said("Runtime.exceptionThrown")]
        said += [str([a.get("value") or a.get("description") for a in e["args"]]) for e in self.b.said("Runtime.consoleAPICalled") if e["type"] == "error"]
        said += [f"{e['response']['status']} {e['response']['url']}" for e in self.b.said("Network.responseReceived") if e["response"]["status"] >= 500]
        return said
