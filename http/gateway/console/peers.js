// SPDX-License-Identifier: Apache-2.0
// Viewers that carry each other: the assets that are watched and how their delivery is, who is in which group, who gives most.
import { h, fill, card, table, bytes, count, number, many, notice, confirmed } from './dom.js';
import { get, isAtLeast, part, post, query, session } from './api.js';

const EVERY_MS = 2000;
const rate = n => typeof n === 'number' ? `${bytes(n)}/s` : '–';
const states = { calm: 'up', strained: 'draining', outage: 'down' };
const state = s => h('span', { class: states[s] }, s);
const maySwitch = () => isAtLeast('admin') || session.user === 'token';
const to = asset => `#/peers/${part(asset)}`;
const player = asset => `/_/player?asset=${part(asset)}`;
const time = at => at ? `${count(Math.max(0, Math.round((Date.now() - at) / 1000)))} s` : '–';
const ranges = list => (list ?? []).map(([a, b]) => a === b ? a : `${a}–${b}`).join(', ');

// The operator's switch of one asset, or of all that have none of their own.
function modeOf(asset, mode, changed) {
  const says = { auto: 'by what is sensed', on: 'as if the server were strained', off: 'peers do nothing' };
  return h('span', { class: 'modes', role: 'group', 'aria-label': `switch of ${asset}` }, Object.keys(says).map(m =>
    h('button', { type: 'button', title: says[m], 'aria-pressed': String(m === mode), disabled: m === mode, onclick: async () => {
      if (m === 'off' && !await confirmed(`Viewers of ${asset === '*' ? 'all assets' : asset} go back to the server. Are you sure?`, 'switch off')) return;
      await post('/_/peers/switch', { asset, mode: m }).then(() => changed(), e => changed(e.message));
    } }, m)));
}

const roleWords = { first: 'first', second: 'second', alone: 'alone' };
const viewerColumns = [
  ['viewer', v => h('code', null, v.viewer)], ['role', v => roleWords[v.role] ?? v.role], ['gateway', v => v.home], ['plays', v => count(v.position), 'n'],
  ['buffer', v => `${number(v.buffer_ms / 1000, 1)} s`, 'n'], ['holds', v => ranges(v.hold) || '–', 'wide'], ['has', v => count(v.have), 'n'],
  ['from server', v => bytes(v.down_server), 'n'], ['from peers', v => bytes(v.down_peers), 'n'], ['gave', v => bytes(v.up), 'n'],
  ['uplink', v => v.uplink ? rate(v.uplink) : 'not known', 'n'], ['cap', v => v.cap ? rate(v.cap) : '–', 'n'],
  ['helpers', v => (v.helpers ?? []).map(x => x.slice(0, 6)).join(', ') || '–'], ['stalls', v => count(v.stalls), 'n'], ['is', v => (v.flags ?? []).join(', '), 'wide'],
];

function assets(all, changed) {
  return table([
    ['asset', a => h('a', { href: to(a.asset) }, a.asset), 'name'], ['delivery', a => state(a.state)], ['for', a => time(a.since_ms), 'n'], ['why', a => a.why, 'wide'],
    ['viewers', a => count(a.viewers), 'n'], ['first', a => count(a.first), 'n'], ['second', a => count(a.second), 'n'], ['alone', a => count(a.alone), 'n'],
    ['groups', a => count(a.groupings), 'n'], ['need', a => rate(a.demand), 'n'], ['server gives', a => rate(a.egress), 'n'],
    ['by peers', a => a.p2p <= 1 ? `${(100 * a.p2p).toFixed(0)}%` : rate(a.p2p), 'n'], ['stalls', a => count(a.stalls), 'n'],
    ['switch', a => maySwitch() ? modeOf(a.asset, a.mode, changed) : a.mode], ['', a => h('a', { href: player(a.asset) }, 'watch')],
  ], all, { none: h('span', null, 'Nobody watches anything now. ', h('a', { href: '/_/player' }, 'The films'), '.') });
}

// Again and again while the page is shown; what failed is said, and tried again.
function refresh(signal, draw, box) {
  let timer = null;
  const again = async said => {
    clearTimeout(timer);
    try {
      await draw();
      fill(box, said ? notice(said) : null);
    } catch (e) {
      if (signal.aborted) return;
      fill(box, notice(e.message));
    }
    if (!signal.aborted) timer = setTimeout(again, EVERY_MS);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  return again;
}

export async function peers({ main, signal }) {
  const list = h('div'), top = h('div'), said = h('div'), silent = h('p', { class: 'note' });
  const by = h('select', { 'aria-label': 'sorted by', onchange: () => again() }, ['up', 'down', 'stalls'].map(x => h('option', { value: x }, { up: 'given', down: 'received', stalls: 'stalls' }[x])));
  const draw = async () => {
    const [all, most] = await Promise.all([get('/_/peers', { signal }), get(`/_/peers/top${query({ by: by.value, max: 20 })}`, { signal })]);
    if (signal.aborted || list.matches(':focus-within')) return; // who is about to press a button does not lose it
    fill(list, assets([...all.assets].sort((a, b) => b.viewers - a.viewers), again));
    fill(top, table([['asset', v => v.asset, 'name'], ...viewerColumns.filter(([title]) => !['holds', 'helpers'].includes(title))], most.viewers ?? most, { none: 'nobody' }));
    silent.textContent = all.silent?.length ? `Silent: ${all.silent.map(s => s.node).join(', ')}; what they know is missing here.` : '';
  };
  const again = refresh(signal, draw, said);
  main.className = 'wide';
  fill(main, h('div', { class: 'title' }, h('h1', null, 'Peers'), maySwitch() && h('span', null, h('span', { class: 'note' }, 'all assets: '), modeOf('*', null, again)),
    h('a', { class: 'button', href: '/_/player' }, 'Player')), said, silent, card('Assets', list), card('Viewers', h('p', { class: 'row note' }, 'the twenty with the most', by), top));
  await again();
}

export async function peersOf({ main, params, signal }) {
  const { asset } = params, about = h('div'), groups = h('div'), said = h('div');
  const draw = async () => {
    const [all, found] = await Promise.all([get('/_/peers', { signal }), get(`/_/peers/groups${query({ asset })}`, { signal })]);
    if (signal.aborted || about.matches(':focus-within')) return;
    fill(about, assets(all.assets.filter(a => a.asset === asset), again));
    fill(groups, (found.groups ?? found).map(g => card(g.grouping === null ? 'In no group' : `Group ${g.grouping}, rendition ${g.rendition}: ${many(g.viewers.length, 'viewer')}`,
      table(viewerColumns, g.viewers, { none: 'nobody' }))));
  };
  const again = refresh(signal, draw, said);
  main.className = 'wide';
  fill(main, h('p', { class: 'crumbs' }, h('a', { href: '#/peers' }, 'Peers'), h('a', { href: to(asset) }, asset)), h('div', { class: 'title' }, h('h1', null, asset),
    h('a', { class: 'button', href: player(asset) }, 'Watch')), said, card('Delivery', about), groups);
  await again();
}
