#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The console in Chromium with a real OpenID provider: there and back to the page that was asked for, who one is then, what one's
role shows, and signing out at both."""
from console_driver import Console
from identity_lib import TOP, SignOn, check, enter, finish

enter("curl", "node", "npm", "chromium")


def at_provider(c, login):
    """The provider's own pages: who one is, and that weir may know it."""
    c.wait("location.port === '9100' && !!document.querySelector('[name=login]')", "the provider's page")
    c.js(f"document.querySelector('[name=login]').value = '{login}'; document.querySelector('[name=password]').value = 'any';"
         " document.querySelector('form').submit()")
    c.wait("location.port === '8001' || (document.readyState === 'complete' && !document.querySelector('[name=login]'))", "the consent's page")
    if c.js("location.port === '9100'"):
        c.js("document.querySelector('form').submit()")
    c.wait("location.port === '8001' && document.readyState === 'complete'", "the way back")


def journey(s, c):
    c.b.open(s.url + "/#/audit?what=login")
    c.wait("!!document.querySelector('#provider')", "the provider's button")
    c.look("signin-provider")
    c.press("Sign in with")
    at_provider(c, "ann")
    c.wait("document.querySelectorAll('tbody tr').length >= 1", "the page that was asked for")
    check(c.js("location.hash") == "#/audit?what=login", "signed in by the provider, back on the page that was asked for", c.js("location.href"))
    rows = c.js("[...document.querySelectorAll('tbody tr')].map(r => [...r.cells].map(t => t.textContent))")
    check(any(r[1:3] == ["ann", "login"] and r[5] == "provider" for r in rows), "an auditor by the provider's groups sees the sign-in", rows)
    check(c.js("document.querySelector('#menu').textContent") == "DatasetsUploadsBucketsAudit", "her menu has no people and no machines")
    c.open("#/me", "!!document.querySelector('#token-note')", "her page")
    check("auditor" in c.text() and "staff" in c.text(), "her role and groups", c.text())
    c.look("me-provider")
    said = c.complaints()
    c.press("sign out")
    c.wait("location.port === '9100' || !!document.querySelector('#provider')", "signing out")
    if c.js("location.port === '9100'"):  # the provider asks whether its session is to end too
        c.wait("document.readyState === 'complete' && !!document.querySelector('form')", "the provider's question")
        c.js("(document.querySelector('button[value=yes]') ?? document.querySelector('form button')).click()")
    c.wait("location.port === '8001' && !!document.querySelector('#provider')", "the console again")
    check(c.js("fetch('/_/session').then(r => r.json()).then(s => s.user)") is None, "signed out, at the provider too")
    check(not said and not c.wrong, "no violation of the policy; labels, contrast", "\n".join(said + c.wrong))


with SignOn() as s:
    with Console(s.url, TOP / "build/screens") as c:
        try:
            journey(s, c)
        except (TimeoutError, RuntimeError) as e:
            check(False, "the journey goes on", e)
finish()
