// SPDX-License-Identifier: Apache-2.0
// The one who is signed in: groups, role, and tokens for programs.
import { h, fill, card, facts, field, table, when, notice, confirmed } from './dom.js';
import { call, get, part, post, session } from './api.js';

const spans = [['3600', 'an hour'], ['86400', 'a day'], ['2592000', '30 days'], ['7776000', '90 days'], ['31536000', 'a year']];
const letters = { r: 'read', w: 'write', d: 'delete', l: 'list', a: 'administer' };

function form(made, reload) {
  const note = h('input', { id: 'token-note', maxlength: '80', required: true }), bucket = h('input', { id: 'token-bucket', spellcheck: 'false', placeholder: 'all that you may' });
  const ttl = h('select', { id: 'token-ttl' }, spans.map(([s, word]) => h('option', { value: s, selected: s === '2592000' }, word)));
  const rights = Object.entries(letters).filter(([l]) => l !== 'a').map(([l, word]) => h('label', { class: 'inline' }, h('input', { type: 'checkbox', value: l, checked: 'rl'.includes(l) }), word));
  const send = async e => {
    e.preventDefault();
    const some = rights.map(r => r.firstChild).filter(i => i.checked).map(i => i.value).join('');
    try {
      const got = await post('/_/tokens', { note: note.value.trim(), ttl: Number(ttl.value), ...(bucket.value.trim() ? { bucket: bucket.value.trim() } : {}), ...(some ? { rights: some } : {}) });
      await reload();
      const text = h('input', { id: 'new-token', readOnly: true, value: got.token, onfocus: () => text.select() });
      fill(made, h('div', { class: 'notice good', role: 'status' }, field('The new token', text, 'It is shown this once: keep it where secrets are kept.'),
        h('button', { type: 'button', onclick: () => { text.select(); navigator.clipboard?.writeText(got.token); } }, 'Copy')));
      note.value = '';
      text.focus();
    } catch (e) {
      fill(made, notice(e.message));
    }
  };
  return h('form', { class: 'search', onsubmit: send }, field('What it is for', note), field('Ends after', ttl), field('Dataset or bucket', bucket),
    h('fieldset', null, h('legend', null, 'It may'), rights), h('p', null, h('button', { class: 'main' }, 'Make a token')));
}

export async function me({ main, signal }) {
  const list = h('div'), made = h('div');
  const reload = async () => {
    const got = await get('/_/tokens', { signal }), all = Array.isArray(got) ? got : got.tokens ?? [];
    fill(list, table([['for', t => t.note || '–', 'name'], ['id', t => h('code', null, t.id)], ['bucket', t => t.bucket && t.bucket !== '*' ? `${t.bucket}${t.prefix ? `/${t.prefix}` : ''}` : 'all'],
      ['may', t => [...t.rights ?? ''].map(l => letters[l] ?? l).join(', ')], ['made', t => when(t.created)], ['ends', t => when(t.expires, 'never')],
      ['', t => h('button', { type: 'button', class: 'small', 'aria-label': `end the token ${t.note || t.id}`, onclick: () => end(t) }, 'end it')]], all, { none: 'You have no tokens.' }));
  };
  const end = async t => {
    if (!await confirmed(`End the token “${t.note || t.id}”? Programs that use it are refused at once.`, 'end it')) return;
    await call('DELETE', `/_/tokens/${part(t.id)}`).catch(e => fill(made, notice(e.message)));
    reload();
  };
  await reload();
  fill(main, h('h1', null, session.name || (session.user === 'token' ? 'Access token' : session.user)),
    card('You', facts(['name', session.user], ['e-mail', session.email], ['role', session.role], ['groups', (session.groups ?? []).join(', ') || 'none'], ['this session ends', when(session.expires)])),
    card('Tokens for programs', h('p', { class: 'note' }, 'For “weir upload”, scripts and other tools; never more than your own rights.'), form(made, reload), made, list));
}
