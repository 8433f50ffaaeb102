// SPDX-License-Identifier: Apache-2.0
// Findings as a table that grows while they come.
import { h, fill, count, many, announce, table } from './dom.js';

const SHOWN = 1000;
const levels = { reject: 'fault', quarantine: 'set aside', warn: 'warning' };
export const level = f => h('span', { class: `level ${levels[f.level] ? f.level : 'reject'}` }, levels[f.level] ?? String(f.level ?? 'fault'));

const cells = [
  ['level', level], ['row', f => f.row ? count(f.row) : 'file', 'n'], ['column', f => f.column || '–', 'name'], ['rule', f => f.rule, 'name'],
  ['value', f => f.value === undefined || f.value === '' ? '–' : h('code', null, f.value), 'value'],
  ['what is wrong', f => f.message, 'wide'], ['how to mend', f => f.mend, 'wide'],
];

export class Findings {
  constructor(none) {
    this.list = [];
    this.shown = 0;
    this.none = h('p', { class: 'empty' }, none);
    this.body = h('tbody');
    this.table = h('div', { class: 'scroll', hidden: true }, h('table', { class: 'findings stack' },
      h('caption', { class: 'unseen' }, 'findings, in the order in which they were found'),
      h('thead', null, h('tr', null, cells.map(([title, , cls]) => h('th', { scope: 'col', class: cls === 'n' ? 'n' : null }, title)))), this.body));
    this.more = h('p', { class: 'note', hidden: true });
    this.box = h('div', { class: 'findings-box' }, this.none, this.table, this.more);
  }

  reset() {
    this.list = [];
    this.shown = 0;
    this.body.replaceChildren();
    this.later();
  }

  add(...all) {
    this.list.push(...all);
    this.later();
  }

  later() {
    this.frame ??= setTimeout(() => { this.frame = null; this.draw(); }, 50);
  }

  draw() {
    const upto = Math.min(this.list.length, SHOWN), had = this.shown;
    for (; this.shown < upto; this.shown++) {
      const f = this.list[this.shown];
      this.body.append(h('tr', null, cells.map(([title, cell, cls]) => h('td', { class: cls, 'data-th': title }, cell(f)))));
    }
    this.none.hidden = upto > 0;
    this.table.hidden = !upto;
    this.more.hidden = this.list.length <= SHOWN;
    this.more.textContent = `The first ${count(SHOWN)} of ${many(this.list.length, 'finding')}.`;
    if (this.shown > had) {
      const f = this.list[this.shown - 1];
      announce(`${many(this.list.length, 'finding')}; the last: ${f.row ? `row ${f.row}, ` : ''}${f.column ? `column ${f.column}: ` : ''}${f.message}`);
    }
  }

  say(text) { this.none.textContent = text; }
}

// Counts by column and rule: [{rule, column, count}]
export const summary = rows => table([
  ['column', r => r.column || '–', 'name'], ['rule', r => r.rule, 'name'], ['findings', r => count(r.count), 'n'],
], [...rows].sort((a, b) => b.count - a.count), { none: 'no findings' });

export const static_ = (list, none) => {
  const f = new Findings(none);
  f.list = list;
  f.draw();
  return fill(h('div'), f.box);
};
