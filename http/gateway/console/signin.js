// SPDX-License-Identifier: Apache-2.0
// The ways in: the organisation's provider, a password, or a key or token of weir's own.
import { h, fill, field, notice } from './dom.js';
import { call, post, Refused, session, useToken, whoami } from './api.js';

const input = more => h('input', { spellcheck: 'false', autocapitalize: 'none', required: true, ...more });

function byProvider() {
  const to = `/_/login/start?return=${encodeURIComponent(`/${location.hash || '#/'}`)}`;
  return h('p', null, h('a', { class: 'button main', href: to, id: 'provider' }, 'Sign in with your organisation'));
}

function byPassword(entered) {
  const user = input({ autocomplete: 'username', id: 'user' });
  const password = input({ type: 'password', autocomplete: 'current-password', id: 'password' });
  const said = h('div', { 'aria-live': 'assertive' });
  const button = h('button', { class: 'main' }, 'Sign in');
  const send = async e => {
    e.preventDefault();
    button.disabled = true;
    fill(said);
    try {
      useToken(null);
      await post('/_/login/password', { user: user.value.trim(), password: password.value }, { quiet: true });
      password.value = '';
      await entered();
    } catch (e) {
      const key = /^WEIR[A-Z0-9]{16}$/.test(user.value.trim());
      fill(said, notice(!(e instanceof Refused && e.status === 401) ? e.message : key ? 'This is an access key: it goes to “Use an access key or token”.' : 'Name or password is wrong.'));
      password.select();
    }
    button.disabled = false;
  };
  return h('form', { id: 'by-password', onsubmit: send }, field('Name', user), field('Password', password), h('p', null, button), said);
}

// A key becomes a token of 12 hours, so that the key itself is not kept.
function byToken(entered, open) {
  const key = h('input', { id: 'key-id', autocomplete: 'username', spellcheck: 'false' });
  const secret = input({ id: 'secret', type: 'password', autocomplete: 'off' });
  const refused = h('p', { id: 'refused', role: 'alert', class: 'notice bad', hidden: true });
  const refuse = text => { refused.textContent = text; refused.hidden = !text; };
  const send = async e => {
    e.preventDefault();
    refuse('');
    const id = key.value.trim(), typed = secret.value.trim();
    try {
      useToken(null);
      useToken(id ? (await call('POST', '/_/token', { quiet: true, more: { Authorization: `Basic ${btoa(`${id}:${typed}`)}` } })).token : typed);
      await whoami();
      if (!session.user) throw new Refused(401, { message: 'this is no token of this installation' });
      secret.value = '';
      await entered();
    } catch (e) {
      useToken(null);
      refuse(e.message);
    }
  };
  return h('details', { open },
    h('summary', null, 'Use an access key or token'),
    h('form', { id: 'enter', autocomplete: 'off', onsubmit: send },
      h('p', { class: 'note' }, 'A token of “weir token NAME”, or a key that “weir user add NAME” printed.'),
      field('Key id, if it is a key', key), field('Secret or token', secret), h('p', null, h('button', null, 'Sign in')), refused));
}

export function signIn(main, entered) {
  main.className = 'narrow';
  fill(main, h('section', { 'aria-labelledby': 'sign-in' },
    h('h1', { id: 'sign-in' }, 'Sign in'),
    session.provider && byProvider(),
    session.provider && session.passwords && h('p', { class: 'or' }, 'or'),
    session.passwords && byPassword(entered),
    byToken(entered, !session.provider && !session.passwords)));
  (main.querySelector('#provider') ?? main.querySelector('#user') ?? main.querySelector('#secret')).focus();
}
