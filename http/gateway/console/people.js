// SPDX-License-Identifier: Apache-2.0
// People, for administrators: users of the table and those of the provider, their groups, when they were last here.
import { h, fill, table, when, notice, confirmed, announce } from './dom.js';
import { get, part, post, session } from './api.js';

export async function people({ main, signal, reload }) {
  const got = await get('/_/people', { signal }), said = h('div');
  const all = Array.isArray(got) ? got : got.people ?? [];
  const act = async (p, change, done) => {
    try {
      await post(`/_/people/${part(p.name)}`, change);
      announce(done);
      reload();
    } catch (e) {
      fill(said, notice(e.message));
    }
  };
  const out = async p => { if (await confirmed(`Sign ${p.name} out everywhere?`, 'sign out')) act(p, { signout: true }, `${p.name} is signed out`); };
  const disable = async p => {
    if (p.disabled || await confirmed(`Disable ${p.name}? All tokens end at once.`, 'disable')) act(p, { disabled: !p.disabled }, `${p.name} is ${p.disabled ? 'enabled' : 'disabled'}`);
  };
  const self = p => p.name === session.user;
  fill(main, h('h1', null, 'People'), said, h('section', { 'aria-label': 'people' }, table([
    ['name', p => p.name, 'name'], ['e-mail', p => p.email], ['from', p => p.issuer ? h('span', { title: p.issuer }, p.issuer.replace(/^https?:\/\//, '')) : 'table of users', 'wide'], ['groups', p => (p.groups ?? []).join(', '), 'wide'], ['role', p => p.role],
    ['last sign-in', p => when(p.last, p.local ? '–' : 'never')], ['state', p => h('span', { class: p.disabled ? 'down' : 'up' }, p.disabled ? 'disabled' : 'enabled')],
    ['', p => h('span', { class: 'row tight' }, h('button', { type: 'button', class: 'small', 'aria-label': `sign ${p.name} out`, onclick: () => out(p) }, 'sign out'),
      h('button', { type: 'button', class: 'small', disabled: self(p), 'aria-label': `${p.disabled ? 'enable' : 'disable'} ${p.name}`, onclick: () => disable(p) }, p.disabled ? 'enable' : 'disable'))],
  ], all, { none: 'nobody has been here yet' })));
}
