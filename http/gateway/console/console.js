// SPDX-License-Identifier: Apache-2.0
// The console: who is signed in, the menu, and which page the address after '#' names. A page is a function of
// ({main, params, query, signal}); it fills main, and ends what it began when the signal aborts.
import { h, fill, notice } from './dom.js';
import { call, isAtLeast, onSignedOut, Refused, session, token, useToken, whoami } from './api.js';
import { anyActive, onMoving } from './uploading.js';
import { signIn } from './signin.js';
import { machines } from './machines.js';
import { datasets, dataset } from './datasets.js';
import { uploads, upload } from './uploads.js';
import { file } from './file.js';
import { rules } from './rules.js';
import { bucket, buckets, keys } from './buckets.js';
import { audit } from './audit.js';
import { peers, peersOf } from './peers.js';
import { people } from './people.js';
import { me } from './me.js';

const $ = id => document.getElementById(id);

// [path, page, title, menu's word, who sees it in the menu]
const pages = [
  ['datasets', datasets, 'Datasets', 'Datasets'],
  ['datasets/+', rules, 'New dataset'],
  ['datasets/:name', dataset, ':name'],
  ['datasets/:name/rules', rules, 'Rules of :name'],
  ['datasets/:name/files/:file', file, ':file'],
  ['uploads', uploads, 'Uploads', 'Uploads'],
  ['uploads/:id', upload, 'Upload'],
  ['buckets', buckets, 'Buckets', 'Buckets'],
  ['buckets/:name', bucket, ':name'],
  ['keys', keys, 'Access keys'],
  ['machines', machines, 'Machines', 'Machines', () => isAtLeast('admin') || session.user === 'token'],
  ['peers', peers, 'Peers', 'Peers', () => isAtLeast('admin') || session.user === 'token'],
  ['peers/:asset', peersOf, ':asset'],
  ['audit', audit, 'Audit', 'Audit'],
  ['people', people, 'People', 'People', () => isAtLeast('admin')],
  ['me', me, 'You'],
];

let page = null; // the aborter of the one that is shown

function match(path) {
  const parts = path.split('/').filter(Boolean);
  for (const [pattern, show, title] of pages) {
    const wanted = pattern.split('/'), params = {};
    if (wanted.length !== parts.length) continue;
    if (wanted.every((w, i) => w.startsWith(':') ? (params[w.slice(1)] = decode(parts[i])) : w === parts[i]))
      return { show, params, title: title.replace(/:(\w+)/, (_, name) => params[name]) };
  }
  return null;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function menu(path) {
  const first = path.split('/').filter(Boolean)[0]?.replace(/^keys$/, 'buckets'); // keys are reached from there
  fill($('menu'), h('ul', null, pages.filter(([, , , word, sees]) => word && (!sees || sees()))
    .map(([to, , , word]) => h('li', null, h('a', { href: `#/${to}`, 'aria-current': to === first && 'page' }, word)))));
  $('menu').hidden = $('account').hidden = !session.user;
  if (session.user) fill($('me'), session.user === 'token' ? 'access token' : session.user);
  $('me').setAttribute('aria-current', first === 'me' ? 'page' : 'false');
}

async function show(moved) {
  const [path, search] = location.hash.replace(/^#\/?/, '').split('?');
  if (!session.user) {
    page?.abort();
    menu('');
    document.title = 'weir';
    signIn($('main'), entered);
    return;
  }
  if (!path) return location.replace('#/datasets');
  const found = match(path);
  page?.abort();
  page = new AbortController();
  const { signal } = page, main = $('main');
  menu(path);
  $('live').textContent = '';
  $('live').className = '';
  fill(main);
  document.title = `${found?.title ?? 'No such page'} – weir`;
  main.className = '';
  if (moved) { main.focus(); scrollTo(0, 0); }
  try {
    if (!found) return fill(main, h('h1', null, 'No such page'), h('p', null, h('a', { href: '#/datasets' }, 'The datasets')));
    await found.show({ main, params: found.params, query: new URLSearchParams(search), signal, reload: () => show(false) });
  } catch (e) {
    if (signal.aborted) return;
    if (!(e instanceof Refused)) console.error(e);
    const lost = e instanceof TypeError && /fetch/i.test(e.message);
    const unknown = e instanceof Refused && e.status === 404; // what one may not read looks the same
    fill(main, h('h1', null, found.title), notice(lost ? 'The daemon does not answer.' : e.message),
      unknown && h('p', null, 'Or there is, and you may not read it: then its owner can let you in. ', h('a', { href: '#/datasets' }, 'What you may read'), '.'),
      h('p', null, h('button', { type: 'button', onclick: () => show(false) }, 'try again')));
  }
  if (moved && !signal.aborted && document.activeElement === document.body) main.focus();
}

async function entered() {
  await whoami();
  await show(true);
}

function signedOut() {
  useToken(null);
  session.user = null;
  whoami().catch(() => {}).finally(() => show(true));
}

async function leave() {
  let to = null;
  if (!token()) to = (await call('POST', '/_/logout', { body: {} }).catch(() => null))?.end_session;
  useToken(null);
  if (to && /^https?:/.test(to)) return location.assign(to);
  await whoami().catch(() => {});
  session.user = null;
  location.hash = '#/';
  await show(true);
}

onSignedOut.call = signedOut;
onMoving(text => {
  $('moving').hidden = !text;
  fill($('moving'), h('a', { href: '#/uploads' }, text));
});
$('leave').addEventListener('click', leave);
$('skip').addEventListener('click', e => { e.preventDefault(); $('main').focus(); });
addEventListener('hashchange', () => show(true));
addEventListener('beforeunload', e => { if (anyActive()) e.preventDefault(); });

try {
  await whoami();
} catch (e) {
  if (token()) useToken(null);
  else fill($('main'), notice(e.message));
}
await show(false);
