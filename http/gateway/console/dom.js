// SPDX-License-Identifier: Apache-2.0
// Elements, tables and figures for every page. Whatever comes from data goes in as text, never as markup.

// h('a', { href: '#/x', class: 'n', onclick: f }, 'text', element, [more]): an element.
export function h(tag, props, ...kids) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) e.addEventListener(name.slice(2), value);
    else if (name === 'class') e.className = value;
    else if (name in e && typeof value !== 'string') e[name] = value;
    else if (name === 'value') e.value = value;
    else e.setAttribute(name, value === true ? '' : value);
  }
  put(e, ...kids);
  return e;
}

export function put(into, ...kids) {
  into.append(...kids.flat(Infinity).filter(k => k !== undefined && k !== null && k !== false).map(k => k instanceof Node ? k : String(k)));
  return into;
}

export function fill(into, ...kids) {
  into.replaceChildren();
  return put(into, ...kids);
}

let names = 0;
export const fresh = prefix => `${prefix}-${++names}`;

// A labelled control; note is read with it.
export function field(label, control, note) {
  control.id ||= fresh('f');
  const said = note && h('span', { class: 'note', id: `${control.id}-note` }, note);
  if (said) control.setAttribute('aria-describedby', said.id);
  return h('div', { class: 'field' }, h('label', { for: control.id }, label), control, said);
}

// columns: [title, function of a row → text or element, class]
export function table(columns, rows, { none = 'nothing', caption, row: each } = {}) {
  if (!rows.length) return h('p', { class: 'empty' }, none);
  const body = h('tbody');
  for (const row of rows) {
    const tr = h('tr', null, columns.map(([title, cell, cls]) => h('td', { class: cls, 'data-th': title || null }, cell(row))));
    each?.(tr, row);
    body.append(tr);
  }
  return h('div', { class: 'scroll' }, h('table', { class: 'stack' }, caption && h('caption', null, caption),
    h('thead', null, h('tr', null, columns.map(([title, , cls]) => h('th', { scope: 'col', class: cls }, title)))), body));
}

// [term, what] pairs; empty ones are left out.
export function facts(...pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(([, what]) => what !== undefined && what !== null && what !== '')
    .map(([term, what]) => h('div', null, h('dt', null, term), h('dd', null, what))));
}

export const card = (title, ...kids) => {
  const id = fresh('s');
  return h('section', { 'aria-labelledby': title && id }, title && h('h2', { id }, title), kids);
};

export const number = (x, digits = 0) => typeof x === 'number' ? x.toFixed(digits) : '–';

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
export const count = n => typeof n === 'number' ? grouped.format(n).replaceAll(',', '\u202f') : '–'; // narrow spaces between thousands
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 5, useGrouping: false });
// A value of statistics: a number is shortened, text stays.
export function figure(x) {
  if (x === undefined || x === null) return '–';
  if (typeof x !== 'number') return String(x);
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return count(x);
  if (Math.abs(x) >= 1e4 && Math.abs(x) < 1e12) return count(x);
  return Math.abs(x) >= 1e12 || (x && Math.abs(x) < 1e-4) ? x.toExponential(3) : fine.format(x);
}

export function bytes(n) {
  if (typeof n !== 'number') return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < 4) { n /= 1024; i++; }
  return `${n.toFixed(i && n < 100 ? 1 : 0)} ${units[i]}`;
}

// Unix seconds or ISO 8601 as local time; the exact moment is the element's title.
export function when(t, none = '–') {
  if (!t) return none;
  const at = new Date(typeof t === 'number' ? t * 1000 : t);
  if (isNaN(at)) return String(t);
  const pad = n => String(n).padStart(2, '0');
  return h('time', { datetime: at.toISOString(), title: at.toISOString() },
    `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`);
}

export const percent = (part, whole) => whole ? `${(100 * part / whole).toFixed(part && part < whole / 100 ? 2 : 0)}%` : '–';

// Says something to screen readers, at most every two seconds, the last one counts.
let waiting = null, said = 0;
export function announce(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    said = Date.now();
    document.getElementById('said').textContent = text;
  }, Math.max(50, 2000 - (Date.now() - said)));
}

// A line about how it went; errors are alerts.
export function notice(text, kind = 'bad') {
  return h('p', { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : 'status' }, text);
}

// Asks in a modal dialog; true when the answer was yes.
export function confirmed(question, yes) {
  return new Promise(resolve => {
    const d = h('dialog', { 'aria-label': question, onclose: () => { d.remove(); resolve(d.returnValue === 'yes'); } },
      h('form', { method: 'dialog' }, h('p', null, question),
        h('div', { class: 'row' }, h('button', { value: 'yes', class: 'danger' }, yes), h('button', { value: 'no' }, 'keep as it is'))));
    document.body.append(d);
    d.showModal();
  });
}

// A script of ours that is needed on some pages alone.
const loaded = new Map();
export function script(src) {
  if (!loaded.has(src))
    loaded.set(src, new Promise((resolve, reject) => {
      const s = h('script', { src, onload: resolve, onerror: () => reject(new Error(`${src} was not found`)) });
      document.head.append(s);
    }));
  return loaded.get(src);
}
