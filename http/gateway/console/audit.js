// SPDX-License-Identifier: Apache-2.0
// Who did what: the audit log of all gateways and endpoints, newest first.
import { h, fill, field, table, bytes, count, when, notice, announce, many } from './dom.js';
import { get, isAtLeast, query } from './api.js';

const PAGE = 100;
const whats = ['', 'login', 'logout', 'device', 'token.create', 'token.end', 'upload', 'replace', 'download', 'delete', 'dataset.create', 'dataset.change', 'dataset.delete', 'people',
  'object.get', 'object.put', 'object.list', 'object.delete', 'bucket.change', 's3.CreateBucket', 's3.DeleteBucket', 's3.PutBucketPolicy', 's3.PutBucketAcl', 's3.PutBucketVersioning',
  's3.PutObject', 's3.GetObject', 's3.DeleteObject'];
const results = ['', 'ok', 'denied', 'failed'];

const select = (name, words, value) => h('select', { name }, words.map(w => h('option', { value: w, selected: w === value }, w || 'any')));
const text = (name, value, more) => h('input', { name, value: value ?? '', spellcheck: 'false', autocapitalize: 'none', ...more });
// A local time of a form as unix seconds.
const moment = value => value && !isNaN(new Date(value)) ? Math.floor(new Date(value) / 1000) : undefined;

const columns = [
  ['when', l => when(l.at)], ['who', l => l.who || '–', 'name'], ['what', l => l.what], ['on', l => l.on, 'name wide'], ['result', l => h('span', { class: `result ${l.result}` }, l.result)],
  ['why', l => l.why, 'wide'], ['from', l => l.from], ['bytes', l => l.bytes ? bytes(l.bytes) : '', 'n'], ['at', l => l.node && `${l.node}${l.role ? ` (${l.role})` : ''}`], ['request', l => l.request && h('code', null, l.request)],
];

export async function audit({ main, query: asked, signal }) {
  const box = h('div'), q = Object.fromEntries(asked), what = whats.includes(q.what ?? '') ? whats : [...whats, q.what];
  const form = h('form', { class: 'search', role: 'search', 'aria-label': 'audit log', onsubmit: search },
    field('Who', text('who', q.who)), field('What', select('what', what, q.what ?? '')), field('On', text('on', q.on, { placeholder: 'DATASET/FILE' })),
    field('Result', select('result', results, q.result ?? '')), field('Text', text('text', q.text)), field('Since', text('since', q.since, { type: 'datetime-local' })),
    field('Until', text('until', q.until, { type: 'datetime-local' })), h('p', null, h('button', { class: 'main' }, 'Search')));
  const wanted = before => query({ ...q, since: moment(q.since), until: moment(q.until), before, max: PAGE });
  const load = async before => {
    const got = await get(`/_/audit${wanted(before)}`, { signal });
    return Array.isArray(got) ? got : got.lines ?? [];
  };
  // What is asked for is in the address: it can be kept and sent to others.
  function search(e) {
    e.preventDefault();
    const to = `#/audit${query(Object.fromEntries(new FormData(form)))}`;
    if (to === location.hash) draw();
    else location.hash = to;
  }
  async function draw() {
    const all = await load();
    let more = all.length >= PAGE;
    const show = () => fill(box, table(columns, all, { none: 'no line fits', caption: `${many(all.length, 'line')}${more ? ', there are older ones' : ''}` }),
      more && h('p', null, h('button', { type: 'button', onclick: older }, 'older lines')));
    const older = async () => {
      try {
        const got = await load(all.at(-1).id);
        all.push(...got);
        more = got.length >= PAGE;
        show();
        announce(`${count(got.length)} older lines`);
      } catch (e) {
        box.append(notice(e.message));
      }
    };
    show();
    announce(many(all.length, 'line'));
  }
  main.className = 'wide';
  fill(main, h('h1', null, 'Audit'), !isAtLeast('auditor') && h('p', { class: 'note' }, 'You see what you did yourself; auditors see all.'),
    h('section', { 'aria-label': 'search' }, form), h('section', { 'aria-label': 'lines' }, box));
  await draw();
}
