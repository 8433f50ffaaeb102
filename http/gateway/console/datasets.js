// SPDX-License-Identifier: Apache-2.0
// The catalogue of datasets, and the page of one: its files, what it wants of them, who may.
import { h, fill, card, facts, table, bytes, count, many, when, confirmed, notice } from './dom.js';
import { call, get, isAtLeast, objectUrl, part, query } from './api.js';
import { dropZone } from './uploading.js';
import { dropped, fileTo } from './uploads.js';

const to = (name, more = '') => `#/datasets/${part(name)}${more}`;
const words = list => (list ?? []).join(', ') || 'nobody else';

export async function datasets({ main, signal }) {
  const { datasets: all } = await get('/_/datasets', { signal });
  const filter = h('input', { type: 'search', id: 'filter', 'aria-label': 'only datasets with', placeholder: 'name or title', spellcheck: 'false' });
  const box = h('div');
  const draw = () => {
    const text = filter.value.trim().toLowerCase();
    fill(box, table([
      ['dataset', d => h('a', { href: to(d.name) }, d.name), 'name'], ['title', d => d.title, 'wide'], ['owner', d => d.owner],
      ['files', d => count(d.files), 'n'], ['size', d => bytes(d.bytes ?? d.size), 'n'], ['you may', d => may(d.may ?? d)], ['changed', d => when(d.changed)],
    ], all.filter(d => !text || `${d.name} ${d.title ?? ''}`.toLowerCase().includes(text)), {
      none: all.length ? 'none with this in its name' : isAtLeast('steward') ? 'No dataset yet: “New dataset” makes the first.' : 'There is no dataset that you may read.' }));
  };
  filter.addEventListener('input', draw);
  draw();
  fill(main, h('div', { class: 'title' }, h('h1', null, 'Datasets'), all.length > 5 && filter,
    isAtLeast('steward') && h('a', { class: 'button main', href: '#/datasets/+' }, 'New dataset')), h('section', { 'aria-label': 'datasets' }, box));
}

const may = m => [m.read && 'read', m.write && 'write', m.own && 'change'].filter(Boolean).join(', ') || '–';

// ---- one ----

function limits(c) {
  const more = [c.required && 'required', c.unique && 'unique', c.minimum !== undefined && `≥ ${c.minimum}`, c.maximum !== undefined && `≤ ${c.maximum}`,
    c.min_length && `at least ${many(c.min_length, 'character')}`, c.max_length !== undefined && `at most ${many(c.max_length, 'character')}`,
    c.enum?.length && `one of ${c.enum.slice(0, 12).join(', ')}${c.enum.length > 12 ? ', …' : ''}`, c.pattern && `like ${c.pattern}`,
    c.references && `a value of ${c.references.dataset}.${c.references.column}`, c.personal && 'personal', c.level && `else ${c.level}`];
  return more.filter(Boolean).join('; ');
}

function schema(rules) {
  const columns = rules.columns ?? rules.fields ?? [];
  return table([['column', c => c.name, 'name'], ['type', c => c.format && c.format !== 'default' ? `${c.type ?? 'any'}, ${c.format}` : c.type ?? 'any'],
    ['must be', limits, 'wide'], ['title', c => c.title ?? c.description, 'wide']], columns, { none: 'The rules name no columns: types are found out.' });
}

function tolerance(rules) {
  const t = rules.tolerance ?? {}, on = t.on_fault ?? 'reject';
  return { reject: 'a fault rejects the file', quarantine: 'rows with faults are set aside', warn: 'faults are told' }[on] ?? on;
}

function about(d) {
  const r = d.rules ?? {};
  return facts(['owner', d.owner], ['readers', words(d.readers)], ['writers', words(d.writers)], ['accepts', (r.accept ?? []).join(', ') || null],
    ['largest file', r.max_size ? typeof r.max_size === 'number' ? bytes(r.max_size) : r.max_size : null], ['most rows', r.max_rows ? count(r.max_rows) : null],
    ['faults', tolerance(r)], ['primary key', (r.primary_key ?? []).join(', ') || null], ['earlier versions kept', r.keep_versions], ['rules', `generation ${d.generation}`],
    ['outputs', (r.transform ?? []).map(o => o.output).join(', ') || null]);
}

const rowRules = rules => rules.rows?.length ? card('Rules over rows', table([['rule', r => h('code', null, typeof r === 'string' ? r : r.rule), 'wide'],
  ['says', r => r.message, 'wide'], ['else', r => r.level]], rules.rows)) : null;

// Files come in pages: a button appends the next.
function files(d, first, signal) {
  const all = [...first.files ?? []], box = h('div');
  let next = first.next;
  const draw = () => fill(box, table([
    ['file', f => h('a', { href: fileTo(d.name, f.file) }, f.file), 'name'], ['version', f => count(f.version), 'n'], ['size', f => bytes(f.size), 'n'],
    ['rows', f => count(f.rows), 'n'], ['findings', f => count(f.findings), 'n'], ['uploaded', f => when(f.uploaded?.at ?? f.uploaded)], ['by', f => f.uploaded?.by],
    ['', f => h('a', { href: objectUrl(d.name, f.file), download: '', 'aria-label': `download ${f.file}` }, 'download')],
  ], all, { none: 'No files yet.' }), next && h('p', null, h('button', { type: 'button', onclick: more }, 'more files')));
  async function more() {
    const got = await get(`/_/datasets/${part(d.name)}/files${query({ after: next })}`, { signal });
    all.push(...got.files);
    next = got.next;
    draw();
  }
  draw();
  return box;
}

async function remove(d, box) {
  if (!await confirmed(`Remove the dataset ${d.name}?`, 'remove it')) return;
  try {
    await call('DELETE', `/_/datasets/${part(d.name)}`);
    location.hash = '#/datasets';
  } catch (e) {
    fill(box, notice(e.message));
  }
}

export async function dataset({ main, params, signal }) {
  const path = `/_/datasets/${part(params.name)}`;
  const [d, first] = await Promise.all([get(path, { signal }), get(`${path}/files`, { signal })]);
  const said = h('div'), r = d.rules ?? {};
  fill(main, h('nav', { class: 'crumbs', 'aria-label': 'where' }, h('a', { href: '#/datasets' }, 'Datasets')),
    h('div', { class: 'title' }, h('h1', null, d.name), d.may?.own && h('a', { class: 'button', href: to(d.name, '/rules') }, 'Edit the rules'),
      d.may?.own && h('button', { type: 'button', class: 'danger', onclick: () => remove(d, said) }, 'Remove')),
    d.title && h('p', { class: 'lead' }, d.title), r.description && h('p', { class: 'text' }, r.description), said,
    d.may?.write && h('section', { 'aria-label': 'upload' }, dropZone({ label: 'Drop files here, or pick them', multiple: true,
      note: 'They are checked while they arrive; you see what is wrong before the last byte is sent.', onfiles: list => dropped(d.name, list, said) })),
    card('Files', files(d, first, signal)),
    card('Rights and rules', about(d)), card('Columns', schema(r)), rowRules(r));
}
