// SPDX-License-Identifier: Apache-2.0
// The editor of a dataset's rules, with a preview against a sample.
import { h, fill, field, card, count, many, notice, announce, facts } from './dom.js';
import { call, get, part, Refused } from './api.js';
import { static_, summary } from './findings.js';
import { statistics } from './statistics.js';

const SAMPLE_MAX = 384 * 1024; // a preview may have 1 MiB as JSON
const START = `title: A new dataset
description: what the files hold, and who makes them
readers: []
writers: []
accept: [csv]

columns:
  - name: id
    type: integer
    required: true
    unique: true
  - name: name
    type: string
    max_length: 80

tolerance:
  on_fault: reject   # or quarantine, or warn
`;

// A text field whose lines have numbers; marks: Map of line → what is wrong there.
function editor(text, changed) {
  const gutter = h('div', { class: 'gutter', 'aria-hidden': 'true' });
  const area = h('textarea', { id: 'rules-text', class: 'code', wrap: 'off', spellcheck: 'false', autocapitalize: 'none', value: text, 'aria-describedby': 'faults' });
  let marks = new Map();
  const draw = () => {
    const lines = area.value.split('\n').length;
    fill(gutter, Array.from({ length: lines }, (_, i) => h('span', { class: marks.has(i + 1) && 'at-fault', title: marks.get(i + 1) }, i + 1)));
    gutter.scrollTop = area.scrollTop;
  };
  area.addEventListener('input', () => { draw(); changed(); });
  area.addEventListener('scroll', () => { gutter.scrollTop = area.scrollTop; });
  draw();
  return {
    box: h('div', { class: 'editor' }, gutter, area), area,
    mark(to) { marks = to; area.setAttribute('aria-invalid', String(to.size > 0)); draw(); },
    go(line) {
      const lines = area.value.split('\n'), from = lines.slice(0, line - 1).reduce((n, l) => n + l.length + 1, 0);
      area.focus();
      area.setSelectionRange(from, from + (lines[line - 1]?.length ?? 0));
      area.scrollTop = Math.max(0, (line - 5) * parseFloat(getComputedStyle(area).lineHeight));
    },
  };
}

// "LINE: KEY: what is wrong; what would be right"
function faultOf(text) {
  const m = String(text).match(/^(\d+):\s*(.*)$/s);
  return m ? { line: Number(m[1]), text: m[2] } : { line: 0, text: String(text) };
}

function showFaults(box, edit, list) {
  const faults = (list ?? []).map(faultOf);
  edit.mark(new Map(faults.filter(f => f.line).map(f => [f.line, f.text])));
  fill(box, faults.length > 0 && h('ul', { class: 'faults' }, faults.map(f => h('li', null,
    f.line ? h('button', { type: 'button', class: 'link', onclick: () => edit.go(f.line) }, `line ${f.line}`) : null, f.line ? ': ' : null, f.text))));
  return faults.length;
}

// What the sample gave.
function showPreview(box, p, signal) {
  if (p.faults?.length) return fill(box, h('p', { class: 'empty' }, 'The preview waits for rules without faults.'));
  if (p.why) return fill(box, notice(`The sample could not be checked: ${p.why}`));
  const r = p.result ?? {}, list = p.findings ?? [];
  fill(box, h('p', { class: `verdict ${r.verdict}` }, r.verdict === 'accepted' ? 'The sample would be accepted' : 'The sample would be rejected',
    `: ${many(r.rows ?? p.statistics?.rows ?? 0, 'row')}, ${many(r.findings ?? list.length, 'finding')}.`),
  r.type && facts(['type', [r.type.kind, r.type.encoding, r.type.delimiter && `delimiter ${JSON.stringify(r.type.delimiter)}`].filter(Boolean).join(', ')], ['good rows', r.good === undefined ? null : count(r.good)], ['rows with faults', r.bad ? count(r.bad) : null]),
  h('h3', null, 'Findings'), static_(list, 'Nothing is wrong with it.'), r.summary?.length > 1 && summary(r.summary),
  h('h3', null, 'Columns'), statistics(p.statistics ?? { columns: p.columns }, signal));
}

// The beginning of a file, up to a line's end.
async function beginning(file) {
  const text = new TextDecoder().decode(await file.slice(0, SAMPLE_MAX).arrayBuffer());
  return file.size > SAMPLE_MAX ? text.slice(0, text.lastIndexOf('\n') + 1) : text;
}

class Page {
  constructor({ main, params, signal }) {
    Object.assign(this, { main, signal, name: params.name, generation: null, file: undefined });
  }

  async open() {
    let text = START;
    if (this.name) {
      const d = await get(`/_/datasets/${part(this.name)}`, { signal: this.signal });
      text = d.yaml ?? JSON.stringify(d.rules, null, 2);
      this.generation = d.generation;
    }
    this.build(text);
    this.later();
  }

  build(text) {
    const later = () => this.later();
    this.edit = editor(text, later);
    this.faults = h('div', { id: 'faults', 'aria-live': 'polite' });
    this.said = h('div');
    this.preview = h('div', { id: 'preview' }, h('p', { class: 'empty' }, 'Paste some lines of a file, or pick one, to see what these rules say of it.'));
    this.nameField = this.name ? null : h('input', { id: 'new-name', required: true, pattern: '[a-z0-9][a-z0-9.\\-]*', minlength: '3', maxlength: '63', spellcheck: 'false', autocapitalize: 'none' });
    this.sample = h('textarea', { id: 'sample', class: 'code', rows: 9, wrap: 'off', spellcheck: 'false', oninput: () => { this.file = undefined; later(); } });
    const pick = h('input', { type: 'file', id: 'sample-file', onchange: async () => {
      if (!pick.files[0]) return;
      const text = await beginning(pick.files[0]);
      if (text.includes('\0')) return fill(this.preview, notice('This file is no text: only text can be previewed.'));
      this.sample.value = text;
      this.file = pick.files[0].name;
      later();
    } });
    const where = this.name ? [h('a', { href: '#/datasets' }, 'Datasets'), h('a', { href: `#/datasets/${part(this.name)}` }, this.name)] : h('a', { href: '#/datasets' }, 'Datasets');
    this.main.className = 'wide';
    fill(this.main, h('nav', { class: 'crumbs', 'aria-label': 'where' }, where),
      h('form', { onsubmit: e => this.save(e) },
        h('div', { class: 'title' }, h('h1', null, this.name ? `Rules of ${this.name}` : 'New dataset'), h('button', { type: 'button', onclick: () => this.look() }, 'Preview'),
          h('button', { class: 'main', id: 'save' }, this.name ? 'Save' : 'Make the dataset')), this.said,
        h('div', { class: 'halves' },
          card(null, this.nameField && field('Name', this.nameField, 'lower-case letters, digits, “-” and “.”; it is the bucket’s name too'),
            h('label', { for: 'rules-text' }, 'Rules, as YAML'), this.edit.box, this.faults),
          card(null, field('Sample', this.sample), field('or the beginning of a file', pick), h('h2', null, 'Preview'), this.preview))));
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look().catch(e => { if (!this.signal.aborted) fill(this.preview, notice(e.message)); }), 500);
    this.signal.addEventListener('abort', () => clearTimeout(this.timer), { once: true });
  }

  // The answer to the last question counts.
  async look() {
    const number = this.asked = (this.asked ?? 0) + 1, sample = this.sample.value;
    this.plots?.abort();
    this.plots = new AbortController();
    this.signal.addEventListener('abort', () => this.plots.abort(), { once: true });
    try {
      const p = await call('POST', '/_/preview', { body: { rules: this.edit.area.value, sample, ...(this.file ? { file: this.file } : {}) }, signal: this.signal });
      if (number !== this.asked) return;
      const n = showFaults(this.faults, this.edit, p.faults);
      if (sample) showPreview(this.preview, p, this.plots.signal);
      announce(n ? many(n, 'fault') : sample ? `no faults in the rules; ${many(p.findings?.length ?? 0, 'finding')} in the sample` : 'no faults in the rules');
    } catch (e) {
      if (this.signal.aborted || number !== this.asked) return;
      if (!(e instanceof Refused) || !e.said.faults) throw e;
      showFaults(this.faults, this.edit, e.said.faults);
    }
  }

  async save(e) {
    e.preventDefault();
    let name = this.name ?? this.nameField.value.trim();
    const text = this.edit.area.value, more = { 'Content-Type': 'application/yaml' };
    fill(this.said);
    try {
      if (this.name) await call('PUT', `/_/datasets/${part(name)}`, { body: text, more: { ...more, 'If-Match': `"${this.generation}"` } });
      else name = (await call('POST', `/_/datasets?name=${part(name)}`, { body: text, more }))?.name ?? name;
      location.hash = `#/datasets/${part(name)}`;
    } catch (e) {
      if (e.said?.faults) showFaults(this.faults, this.edit, e.said.faults);
      fill(this.said, notice(e.status === 412 ? 'Somebody else has changed these rules meanwhile: open them again, and bring your change in.'
        : e.status === 409 ? `There is a dataset or bucket ${name} already.` : e.said?.faults ? 'The rules have faults.' : e.message));
    }
  }
}

export const rules = context => new Page(context).open();
