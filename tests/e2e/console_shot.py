#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens the console in headless Chromium, signs in with a token, waits for live data, checks it, takes a screenshot.

Environment: BASE, TOKEN, OUT. Speaks the DevTools protocol over --remote-debugging-pipe: no packages needed.
"""
import base64, json, os, select, subprocess, sys, tempfile, time

def main():
    base, token, out = os.environ['BASE'], os.environ['TOKEN'], os.environ['OUT']
    to_r, to_w = os.pipe()
    from_r, from_w = os.pipe()
    profile = tempfile.TemporaryDirectory()

    def fds():
        os.dup2(to_r, 3)
        os.dup2(from_w, 4)

    # The two ends must not already be 3 or 4 when they are moved there.
    import fcntl
    to_r, from_w = fcntl.fcntl(to_r, fcntl.F_DUPFD, 20), fcntl.fcntl(from_w, fcntl.F_DUPFD, 20)
    browser = subprocess.Popen(['chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe',
                                '--window-size=1280,1500', '--no-first-run', '--disable-background-networking',
                                '--user-data-dir=' + profile.name, 'about:blank'],
                               preexec_fn=fds, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = {'id': 0, 'buf': b'', 'events': []}

    def read(deadline):
        while b'\0' not in state['buf']:
            if not select.select([from_r], [], [], max(0, deadline - time.time()))[0]:
                raise TimeoutError('the browser does not answer')
            state['buf'] += os.read(from_r, 1 << 16)
        text, state['buf'] = state['buf'].split(b'\0', 1)
        return json.loads(text)

    def call(method, session=None, **params):
        state['id'] += 1
        msg = {'id': state['id'], 'method': method, 'params': params}
        if session:
            msg['sessionId'] = session
        os.write(to_w, json.dumps(msg).encode() + b'\0')
        deadline = time.time() + 30
        while True:
            got = read(deadline)
            if got.get('id') == state['id']:
                if 'error' in got:
                    raise RuntimeError(got['error'])
                return got['result']
            state['events'].append(got)

    try:
        target = call('Target.createTarget', url='about:blank')['targetId']
        page = call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        call('Page.enable', page)
        call('Runtime.enable', page)
        call('Network.enable', page)

        def js(text):
            result = call('Runtime.evaluate', page, expression=text, awaitPromise=True, returnByValue=True)
            if 'exceptionDetails' in result:
                raise RuntimeError(result['exceptionDetails'])
            return result['result'].get('value')

        def wait(text, what):
            deadline = time.time() + 20
            while not js(text):
                if time.time() > deadline:
                    raise TimeoutError('never saw: ' + what)
                time.sleep(0.1)

        call('Page.navigate', page, url=base + '/#/machines')
        wait("document.readyState === 'complete' && !!document.getElementById('enter')", 'the sign-in form')
        js("document.getElementById('secret').value = 'weir1.nonsense'; document.querySelector('#enter button').click()")
        wait("document.getElementById('refused').textContent !== ''", 'a refusal of a wrong token')
        js("document.getElementById('secret').value = %s; document.querySelector('#enter button').click()" % json.dumps(token))
        wait("document.querySelectorAll('#members tbody tr').length >= 2", 'the members')
        wait("document.getElementById('live').textContent === 'live'", 'live events')
        time_before = js("document.querySelector('#members tbody').textContent")
        wait("document.querySelector('#members tbody').textContent !== %s" % json.dumps(time_before), 'an update by itself')
        hosts = {e['params']['request']['url'] for e in state['events'] if e.get('method') == 'Network.requestWillBeSent'}
        outside = [u for u in hosts if not u.startswith((base, 'data:', 'about:'))]
        if outside:
            raise RuntimeError('asked another host: %s' % outside)
        errors = [e for e in state['events'] if e.get('method') == 'Runtime.exceptionThrown']
        if errors:
            raise RuntimeError('script error: %s' % errors[0]['params'])
        shot = call('Page.captureScreenshot', page, format='png', captureBeyondViewport=True)
        with open(out, 'wb') as f:
            f.write(base64.b64decode(shot['data']))
        members = js("document.querySelectorAll('#members tbody tr').length")
        print('%d members shown, live, no other host asked' % members)
        return 0
    finally:
        browser.kill()
        browser.wait()

sys.exit(main())
