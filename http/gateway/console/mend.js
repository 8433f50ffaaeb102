// SPDX-License-Identifier: Apache-2.0
// The editor of failing rows: they come from the file on this computer, by the offsets that findings have; what is
// sent is the part from the first to the last of them, what lies between as it was.
import { h, fill, bytes, count, many, notice, percent } from './dom.js';
import { level } from './findings.js';

const ROWS_MAX = 200; // in one go: the rest comes up when the whole is checked again
const ROW_MAX = 65536; // bytes of a row that a text field takes

// Why the rows cannot be edited here, or null.
export function hindrance(blob, type, list) {
  if (!list.some(f => f.row && f.row_length)) return 'these findings are about the whole file, not about rows';
  if (type?.packing && type.packing !== 'none') return `the file is packed (${type.packing}): mend it where it was made`;
  if (/^(zip|gzip|zstd|gz|zst)$/i.test(type?.kind ?? '')) return `the file is packed (${type.kind}): mend it where it was made`;
  if (type?.encoding && !/^(utf-?8|us-?ascii)/i.test(type.encoding)) return `the file is in ${type.encoding}: mend it where it was made`;
  return blob ? null : 'pick';
}

// [{row, offset, length, findings}] by their place in the file.
function failing(list) {
  const rows = new Map();
  for (const f of list) {
    if (!f.row || !f.row_length) continue;
    const r = rows.get(f.row) ?? { row: f.row, offset: f.row_offset, length: f.row_length, findings: [] };
    r.findings.push(f);
    rows.set(f.row, r);
  }
  return [...rows.values()].sort((a, b) => a.offset - b.offset).slice(0, ROWS_MAX);
}

async function original(blob, r) {
  if (r.offset + r.length > blob.size) throw new Error(`row ${r.row} lies behind the end of this file: it is not the one that was sent`);
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await blob.slice(r.offset, r.offset + r.length).arrayBuffer());
  r.end = text.match(/(\r\n|\n|\r)?$/)[0];
  r.text = text.slice(0, text.length - r.end.length);
}

async function firstLine(blob) {
  const text = new TextDecoder().decode(await blob.slice(0, 4096).arrayBuffer());
  return text.split(/\r\n|\n|\r/, 1)[0].slice(0, 1000);
}

// Text fields turn every line end into LF.
const bytesOf = (r, typed) => typed === '' ? '' : (/\r\n/.test(r.text + r.end) ? typed.replace(/\n/g, '\r\n') : typed) + r.end;

// The part that goes out: {first, last, body, whole: the file as it will be}.
export function patch(blob, rows, typed) {
  const first = rows[0].offset, end = rows.at(-1).offset + rows.at(-1).length, pieces = [];
  let at = first;
  rows.forEach((r, i) => {
    pieces.push(blob.slice(at, r.offset), bytesOf(r, typed[i]));
    at = r.offset + r.length;
  });
  const body = new Blob(pieces);
  return { first, last: end - 1, body, whole: new Blob([blob.slice(0, first), body, blob.slice(end)]) };
}

function rowField(r, i) {
  const text = h('textarea', { id: `mend-${i}`, rows: Math.min(6, r.text.split('\n').length), wrap: 'off', spellcheck: 'false', 'aria-describedby': `mend-${i}-why`, value: r.text });
  return h('div', { class: 'mend-row' }, h('label', { for: text.id }, `Row ${count(r.row)}`),
    h('ul', { id: `mend-${i}-why` }, r.findings.map(f => h('li', null, level(f), ' ', f.column && h('b', null, f.column), f.column && ': ', f.message, ' ', h('span', { class: 'note' }, f.mend)))),
    text);
}

// onsend(part, progress) sends it and goes elsewhere; whole: all of the file is sent. The box is shown in place, the first row has the focus.
export async function mend(box, { blob, list, onsend, whole }) {
  const rows = failing(list), what = `Send the mended ${whole ? 'file' : rows.length === 1 ? 'row' : 'rows'}`;
  try {
    for (const r of rows) {
      if (r.length > ROW_MAX) throw new Error(`row ${r.row} has ${bytes(r.length)}: too long to be edited here`);
      await original(blob, r);
    }
  } catch (e) {
    return fill(box, notice(e instanceof TypeError ? 'The rows are not UTF-8: mend the file where it was made.' : e.message));
  }
  const head = await firstLine(blob), said = h('div');
  const span = rows.at(-1).offset + rows.at(-1).length - rows[0].offset;
  const fields = rows.map(rowField), send = h('button', { class: 'main' }, what);
  const form = h('form', { class: 'mend', onsubmit: go },
    h('p', { class: 'note' }, `${many(rows.length, 'row')}, from the file on this computer. An empty field takes its row out. `,
      whole ? 'The file is sent anew with it, under the same name.' : rows.length > 1 ? `What is sent is the part from the first to the last of them, about ${bytes(span)}.` : `Only this row is sent, about ${bytes(span)}.`),
    h('p', { class: 'head' }, h('span', { class: 'note' }, 'First line: '), h('code', null, head)),
    fields, h('p', { class: 'row' }, send, h('button', { type: 'button', onclick: () => { fill(box); } }, 'Leave it')), said);
  async function go(e) {
    e.preventDefault();
    const part = patch(blob, rows, fields.map(f => f.querySelector('textarea').value));
    send.disabled = true;
    try {
      await onsend(part, sent => { send.textContent = `sending ${percent(sent, part.body.size)}`; });
    } catch (e) {
      fill(said, notice(e.message));
    }
    send.disabled = false;
    send.textContent = what;
  }
  fill(box, form);
  form.querySelector('textarea').focus();
}
