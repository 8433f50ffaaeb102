// SPDX-License-Identifier: Apache-2.0
// Uploads: those under way and those that were, and the page of one while it is sent and checked.
import { h, fill, field, card, facts, table, bytes, count, many, when, percent, notice, confirmed, announce } from './dom.js';
import { call, events as listen, get, isAtLeast, keyPath, part, query } from './api.js';
import { forget, kept, replace } from './tus.js';
import { byId, content, dropZone, remember, resume, send, under } from './uploading.js';
import { Findings, summary } from './findings.js';
import { hindrance, mend } from './mend.js';

const words = { receiving: 'being sent', checking: 'being checked', storing: 'being stored', accepted: 'accepted', rejected: 'rejected', failed: 'failed', cancelled: 'cancelled' };
const over = state => ['accepted', 'rejected', 'failed', 'cancelled'].includes(state);
export const stateWord = state => h('span', { class: `state ${state}` }, words[state] ?? state);
export const uploadTo = id => `#/uploads/${part(id)}`;
export const fileTo = (dataset, file) => `#/datasets/${part(dataset)}/files/${part(file)}`;
const datasetTo = name => h('a', { href: `#/datasets/${part(name)}` }, name);

// What happens to files that were dropped: one is looked at, several are listed.
export async function dropped(dataset, files, box) {
  const first = await send(dataset, files);
  if (!first.id) return fill(box, notice(first.why));
  location.hash = files.length === 1 ? uploadTo(first.id) : '#/uploads';
}

// ---- all of them ----

function listed(all) {
  return table([
    ['file', u => h('a', { href: uploadTo(u.id) }, u.file), 'name'], ['dataset', u => datasetTo(u.dataset), 'name'], ['state', u => stateWord(u.state)],
    ['size', u => bytes(u.size), 'n'], ['arrived', u => percent(u.received, u.size), 'n'], ['rows', u => count(u.rows), 'n'],
    ['findings', u => count(u.counts?.findings ?? (Array.isArray(u.findings) ? u.findings.length : u.findings)), 'n'],
    ['by', u => u.by], ['begun', u => when(u.begun)], ['', u => u.why, 'wide'],
  ], all, { none: 'no uploads yet' });
}

function lost(all) {
  const known = new Map(all.map(u => [u.id, u]));
  for (const k of kept()) if (!byId(k.id) && (!known.has(k.id) || over(known.get(k.id).state))) forget(k.id);
  return kept().filter(k => !byId(k.id));
}

export async function uploads({ main, signal, reload }) {
  const [{ uploads: all }, { datasets }] = await Promise.all([get('/_/uploads', { signal }), get('/_/datasets', { signal })]);
  const mayWrite = datasets.filter(d => d.may?.write ?? d.write ?? true), said = h('div');
  const into = h('select', null, mayWrite.map(d => h('option', { value: d.name }, d.title ? `${d.name} – ${d.title}` : d.name)));
  const waiting = lost(all);
  fill(main, h('h1', null, 'Uploads'),
    card('Send files', mayWrite.length ? [field('Dataset', into), dropZone({ label: 'Drop files here, or pick them', multiple: true,
      note: 'They are checked while they arrive.', onfiles: files => dropped(into.value, files, said).then(() => { if (location.hash === '#/uploads') reload(); }) })]
      : h('p', { class: 'empty' }, 'There is no dataset that you may write to.'), said),
    under().length > 0 && card('From this page', going(signal)),
    waiting.length > 0 && card('Interrupted', table([['file', k => h('a', { href: uploadTo(k.id) }, k.name), 'name'], ['dataset', k => datasetTo(k.dataset), 'name'],
      ['size', k => bytes(k.size), 'n'], ['begun', k => when(k.at / 1000)], ['', () => 'open it and pick the file again to go on', 'wide']], waiting)),
    card(isAtLeast('steward') ? 'All' : 'Yours', list(all, signal)));
}

// The table, fetched again while something in it moves.
function list(all, signal) {
  const box = h('div');
  let shown = '';
  const draw = () => {
    const sorted = [...all].sort((a, b) => b.begun - a.begun || (a.id < b.id ? -1 : 1)), now = JSON.stringify(sorted.map(u => [u.id, u.state, u.received, u.rows]));
    if (now === shown || (shown && box.contains(document.activeElement))) return; // who is in it is not thrown out
    shown = now;
    fill(box, listed(sorted));
  };
  const timer = setInterval(async () => {
    if (!under().length && all.every(u => over(u.state))) return;
    all = (await get('/_/uploads', { signal }).catch(() => ({ uploads: all }))).uploads;
    draw();
  }, 2000);
  signal.addEventListener('abort', () => clearInterval(timer));
  draw();
  return box;
}

function going(signal) {
  const box = h('div');
  const draw = () => fill(box, table([
    ['file', u => u.id ? h('a', { href: uploadTo(u.id) }, u.name) : u.name, 'name'], ['dataset', u => u.dataset, 'name'],
    ['sent', u => h('progress', { max: u.size || 1, value: u.sent, 'aria-label': `sent of ${u.name}` })], ['', u => `${bytes(u.sent)} of ${bytes(u.size)}`, 'n'],
    ['', u => u.state === 'waiting' ? `waits for the network: ${u.why}` : u.state === 'new' ? 'its turn comes' : u.state, 'wide']], under(), { none: 'all is sent' }));
  const timer = setInterval(draw, 500);
  signal.addEventListener('abort', () => clearInterval(timer));
  draw();
  return box;
}

// ---- one ----

class Page {
  constructor({ main, params, signal }) {
    Object.assign(this, { main, signal, id: params.id, up: null, type: null, columns: null, checked: 0, rows: 0 });
    this.findings = new Findings('No findings so far.');
  }

  async open() {
    this.up = await get(`/_/uploads/${part(this.id)}`, { signal: this.signal });
    this.build();
    this.take(this.up);
    this.findings.add(...this.up.findings ?? []);
    this.watchOwn();
    if (!over(this.up.state)) this.listen();
    this.draw();
  }

  // The events ended with an answer that is none: what is the matter?
  async relisten() {
    if (this.signal.aborted) return;
    const u = await get(`/_/uploads/${part(this.id)}`, { signal: this.signal }).catch(e => ({ state: e.status === 404 || e.status === 410 ? 'cancelled' : this.up.state }));
    this.take(u);
    this.draw();
    if (!over(this.up.state)) this.listen();
  }

  build() {
    const bar = label => h('progress', { max: 1, value: 0, 'aria-label': label });
    this.parts = { state: h('p', { class: 'big' }), bars: h('div', { class: 'bars' }), sent: bar('sent'), checked: bar('checked'), sentText: h('span'), checkedText: h('span'),
      actions: h('div', { class: 'row' }), about: h('div'), pick: h('div'), mending: h('div'), result: h('div') };
    const p = this.parts;
    put2(p.bars, [['sent', p.sent, p.sentText], ['checked', p.checked, p.checkedText]]);
    this.title = h('h2', null, 'Findings');
    fill(this.main, h('h1', null, this.up.file, h('span', { class: 'of' }, ' to ', datasetTo(this.up.dataset))),
      h('section', { 'aria-label': 'progress' }, p.state, p.bars, p.about, p.actions, p.pick),
      p.result,
      h('section', { 'aria-label': 'findings' }, this.title, p.mending, this.findings.box));
  }

  take(u) {
    for (const name of ['state', 'received', 'size', 'rows', 'why', 'counts', 'summary', 'result', 'version', 'checked'])
      if (u[name] !== undefined && u[name] !== null) this.up[name] = u[name];
    this.type = u.type ?? this.up.result?.type ?? this.type;
    this.columns = u.columns ?? this.columns;
  }

  // The part of this page itself: bytes that leave this computer.
  watchOwn() {
    this.own = byId(this.id);
    if (!this.own || this.own === this.watched) return;
    this.watched = this.own;
    const draw = () => this.draw();
    this.own.addEventListener('change', draw);
    this.signal.addEventListener('abort', () => this.own.removeEventListener('change', draw));
  }

  listen() {
    const e = listen(`/_/uploads/${part(this.id)}/events`), on = (name, f) => e.addEventListener(name, m => { f(JSON.parse(m.data)); this.draw(); });
    this.signal.addEventListener('abort', () => e.close());
    e.onopen = () => this.findings.reset(); // each connection tells all from the beginning
    e.onerror = () => { // the browser connects again by itself, but not after an answer of 4xx or 5xx
      if (e.readyState === EventSource.CLOSED && !this.signal.aborted) setTimeout(() => this.relisten(), 2000);
    };
    on('state', s => {
      this.take(s);
      if (!over(this.up.state)) return;
      e.close();
      this.settle();
    });
    on('progress', s => {
      this.heard = performance.now();
      this.take(s);
      this.own?.told(s.received);
    });
    on('type', s => { this.type = s; });
    on('columns', s => { this.columns = s; });
    on('finding', f => this.findings.add(f));
    on('result', r => { this.up.result = r; }); // it may be known while bytes still come
  }

  // It is over: counts and summary as the daemon keeps them.
  async settle() {
    const u = await get(`/_/uploads/${part(this.id)}`, { signal: this.signal }).catch(() => null);
    if (u) this.take(u);
    if ((u?.findings?.length ?? 0) > this.findings.list.length) { this.findings.reset(); this.findings.add(...u.findings); }
    this.draw();
    announce(`${this.up.file} ${words[this.up.state]}`);
  }

  draw() {
    if (this.frame || this.signal.aborted) return;
    this.frame = requestAnimationFrame(() => { this.frame = null; this.show(); });
  }

  show() {
    const { up, parts: p, own } = this, size = up.size ?? own?.size;
    const arrived = over(up.state) && up.state !== 'cancelled' && up.state !== 'failed' ? size : this.heard > performance.now() - 3000 ? up.received
      : Math.max(up.received ?? 0, own?.sent ?? 0); // what has arrived; while the daemon says nothing, what has left
    const checked = up.state === 'accepted' || up.state === 'rejected' || up.state === 'storing' ? size : up.checked ?? 0;
    const aside = up.state === 'accepted' && up.result?.quarantine > 0 && `${many(up.result.quarantine, 'row')} set aside`;
    fill(p.state, stateWord(up.state), (up.why || aside) && h('span', { class: 'note' }, ` ${up.why || aside}`));
    set(p.sent, arrived, size);
    set(p.checked, checked, size);
    p.sentText.textContent = `${bytes(arrived)} of ${bytes(size)}${own?.state === 'sending' && own.fast ? `, ${bytes(own.fast)}/s` : ''}${own?.state === 'waiting' ? `; waits for the network (${own.why})` : ''}`;
    p.checkedText.textContent = `${bytes(checked)}${up.rows ? `, ${many(up.rows, 'row')}` : ''}`;
    p.bars.hidden = over(up.state);
    const t = this.type;
    const about = facts(['type', t && [t.kind === 'other' ? t.mime : t.kind, t.encoding, t.delimiter && `delimiter ${JSON.stringify(t.delimiter)}`, t.packing && t.packing !== 'none' && t.packing].filter(Boolean).join(', ')],
      ['columns', this.columns && many(this.columns.length, 'column')], ['size', bytes(size)], ['rows', up.rows ? count(up.rows) : null], ['by', up.by], ['begun', when(up.begun, null)]);
    if (about.textContent !== p.about.textContent) fill(p.about, about);
    this.title.textContent = this.findings.list.length ? `Findings: ${count(Math.max(up.counts?.findings ?? 0, this.findings.list.length))}` : 'Findings';
    if (up.state === 'accepted') this.findings.say('Nothing is wrong with it.');
    this.actions();
  }

  // Drawn anew only when another set of buttons is due: the focus stays where it was.
  actions() {
    const { up, own, parts: p } = this, n = this.findings.list.length;
    const rows = this.findings.list.some(f => f.row && f.row_length); // else they are about the whole file
    const due = `${up.state} ${own?.state} ${n > 0} ${rows} ${!!up.result} ${up.version}`;
    if (due === this.due) return;
    this.due = due;
    const button = (text, onclick, cls) => h('button', { type: 'button', onclick, class: cls }, text);
    fill(p.actions,
      up.state === 'accepted' && h('a', { class: 'button main', href: fileTo(up.dataset, up.file) }, `Open the file${up.version ? `, version ${up.version}` : ''}`),
      ['rejected', 'accepted'].includes(up.state) && rows && button('Mend…', () => this.mend(), up.state === 'rejected' ? 'main' : ''),
      up.state === 'rejected' && n > 0 && !rows && h('a', { class: 'button main', href: `#/datasets/${part(up.dataset)}` }, 'Send another file'),
      up.state === 'receiving' && rows && content(this.id) && button('Stop and mend…', () => this.mend(), 'main'),
      own?.active && button('Pause', () => own.stop()),
      own?.state === 'paused' && button('Go on', () => resume(own)),
      (!over(up.state) || up.state === 'rejected') && button(up.state === 'rejected' ? 'Throw away' : 'Cancel', () => this.cancel()));
    this.pick();
    fill(p.result, up.state === 'rejected' && n > 10 && up.summary?.length > 0 && card('By column and rule', summary(up.summary)));
  }

  // Interrupted before: the browser must be shown the file again.
  pick() {
    const { up, own, parts: p } = this;
    if (up.state !== 'receiving' || (own && own.state !== 'ended')) return fill(p.pick);
    if (p.pick.firstChild) return;
    const said = h('div');
    fill(p.pick, dropZone({ label: `Pick ${up.file} again to go on`, note: `${bytes(up.received ?? 0)} have arrived; only what is missing is sent.`,
      onfiles: ([file]) => {
        if (file.size !== up.size) return fill(said, notice(`This file has ${bytes(file.size)} (${count(file.size)} bytes), the one begun has ${count(up.size)}.`));
        resume({ id: this.id, dataset: up.dataset, name: up.file, size: up.size, file });
        this.watchOwn();
        this.due = null;
        this.draw();
      } }), said);
  }

  async cancel() {
    if (!await confirmed(`Cancel the upload of ${this.up.file}?`, 'cancel it')) return;
    if (this.own) this.own.stop('ended');
    forget(this.id);
    await call('DELETE', `/_/uploads/${part(this.id)}`).catch(e => fill(this.parts.mending, notice(e.message)));
    location.hash = '#/uploads';
  }

  mend() {
    const box = this.parts.mending, list = this.findings.list, why = hindrance(content(this.id), this.type, list);
    if (why === 'pick')
      return fill(box, dropZone({ label: `Pick ${this.up.file} on this computer`, note: 'The rows to mend are read from it; nothing is sent yet.', onfiles: ([file]) => {
        if (file.size !== this.up.size) return box.append(notice(`This file has ${count(file.size)} bytes, the one sent has ${count(this.up.size)}.`));
        remember(this.id, file);
        this.mend();
      } }));
    if (why) return fill(box, notice(`Not here: ${why}.`));
    const early = this.up.state === 'receiving';
    if (early) this.own?.stop();
    return mend(box, { blob: content(this.id), list, whole: early, onsend: early ? part => this.again(part) : (part, progress) => this.replaced(part, progress) });
  }

  // The daemon makes the new upload of what it has and the mended part.
  async replaced({ first, last, body, whole }, progress) {
    const to = this.up.state === 'rejected' ? `/_/uploads/${part(this.id)}/replace` : `/_/datasets/${part(this.up.dataset)}/replace/${keyPath(this.up.file)}`;
    const id = await replace(`${to}${query({ bytes: `${first}-${last}` })}`, body, progress);
    remember(id, whole);
    location.hash = uploadTo(id);
  }

  // Not all had arrived: the mended file is sent instead.
  async again({ whole }) {
    await this.own?.cancel();
    const u = await send(this.up.dataset, [whole], this.up.file);
    if (!u.id) throw new Error(u.why);
    location.hash = uploadTo(u.id);
  }
}

function put2(box, lines) {
  for (const [name, bar, text] of lines) box.append(h('span', null, name), bar, text);
}

function set(bar, value, max) {
  bar.max = max || 1;
  bar.value = value || 0;
}

export const upload = context => new Page(context).open();
