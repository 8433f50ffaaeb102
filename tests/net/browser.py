# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium by the DevTools protocol over --remote-debugging-pipe: no packages needed.

    with Browser("--host-resolver-rules=MAP * 127.0.0.1") as b:
        b.open("https://app.edge.example:10001/")
        b.wait("document.readyState === 'complete'", "the page")
"""
import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile
import time


class Browser:
    def __init__(self, *flags):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_r, self.to = os.pipe()
        self.back, from_w = os.pipe()
        # Neither may be 3 or 4 already when they are moved there.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_r, from_w)]
        os.close(to_r)
        os.close(from_w)

        def move():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--window-size=1280,1000",
             "--no-first-run", "--disable-background-networking", f"--user-data-dir={self.profile.name}", *flags, "about:blank"],
            preexec_fn=move, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in theirs:
            os.close(fd)
        self.number, self.buffer, self.events = 0, b"", []
        self.page = None
        self.page = self.call("Target.attachToTarget", targetId=self.call("Target.createTarget", url="about:blank")["targetId"],
                              flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Network":
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.profile.cleanup()

    def read(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.back], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.back, 1 << 16)
            if not part:
                raise EOFError("the browser ended")
            self.buffer += part
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        os.write(self.to, json.dumps({"id": self.number, "method": method, "params": params,
                                      **({"sessionId": self.page} if self.page else {})}).encode() + b"\0")
        deadline = time.monotonic() + 40
        while True:
            got = self.read(deadline)
            if got.get("id") == self.number:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']}")
                return got["result"]
            self.events.append(got)

    def open(self, url):
        got = self.call("Page.navigate", url=url)
        if got.get("errorText"):
            raise RuntimeError(f"{url}: {got['errorText']}")

    def js(self, text):
        got = self.call("Runtime.evaluate", expression=text, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"])
        return got["result"].get("value")

    def holds(self, text):
        """False also of a page that is just being left for the next."""
        try:
            return self.js(text)
        except RuntimeError as e:
            if "navigated" in str(e):
                return False
            raise

    def wait(self, text, what, seconds=20):
        deadline = time.monotonic() + seconds
        while not self.holds(text):
            if time.monotonic() > deadline:
                raise TimeoutError(f"never saw: {what}")
            time.sleep(0.1)

    def said(self, method):
        """Parameters of the events of that name."""
        return [e["params"] for e in self.events if e.get("method") == method]

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]))
