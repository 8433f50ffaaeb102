// SPDX-License-Identifier: Apache-2.0
// A file of a dataset: what the manifest says of it, statistics, what was derived from it, earlier versions.
import { h, fill, card, facts, table, bytes, count, when, confirmed, notice } from './dom.js';
import { call, get, keyPath, objectUrl, part } from './api.js';
import { summary } from './findings.js';
import { statistics } from './statistics.js';

const download = (dataset, key, text, label) => h('a', { href: objectUrl(dataset, key), download: '', 'aria-label': label }, text);

function lineage(m) {
  const l = m.lineage ?? {};
  return l.replaced && `bytes ${(l.replaced.bytes ?? []).map(count).join(' to ')} of ${l.replaced.version ? `version ${l.replaced.version}` : 'an upload'} were replaced`;
}

function typeOf(t) {
  return t && [t.kind ?? t.mime, t.encoding, t.delimiter && `delimiter ${JSON.stringify(t.delimiter)}`, t.packing && t.packing !== 'none' && t.packing].filter(Boolean).join(', ');
}

function about(m) {
  const u = m.uploaded ?? {};
  return facts(['version', m.version], ['size', `${bytes(m.size)} (${count(m.size)} bytes)`], ['type', typeOf(m.type)], ['rows', count(m.rows)],
    ['good', m.quarantined ? count(m.good) : null], ['set aside', m.quarantined ? count(m.quarantined) : null], ['uploaded', when(u.at)], ['by', u.by], ['from', u.from], ['by way of', u.how],
    ['lineage', lineage(m)], ['rules', m.rules_generation === undefined ? null : `generation ${m.rules_generation}`], ['sha256', h('code', { class: 'hash' }, m.sha256)]);
}

function made(dataset, m) {
  const list = [...m.outputs ?? []];
  if (m.quarantine) list.push({ name: 'rows that were set aside', key: `.weir/${m.file}/quarantine.csv`, rows: m.quarantined, format: 'csv' });
  return list.length ? card('Made from it', table([['output', o => o.name, 'name'], ['rows', o => count(o.rows), 'n'], ['size', o => bytes(o.bytes), 'n'],
    ['format', o => [o.format, o.packing && o.packing !== 'none' && o.packing].filter(Boolean).join(', ')], ['how', o => how(o.lineage), 'wide'],
    ['', o => download(dataset, o.key, 'download', `download ${o.name}`)]], list)) : null;
}

function how(l) {
  if (!l) return '';
  const columns = l.columns ?? [];
  return [l.filter && `rows where ${l.filter}`, ...columns.filter(c => c.mask).map(c => `${c.name} masked (${c.mask})`), ...columns.filter(c => c.derived).map(c => `${c.name} = ${c.derived === true ? 'derived' : c.derived}`),
    ...columns.filter(c => c.from && c.from !== c.name).map(c => `${c.from} → ${c.name}`)].filter(Boolean).join('; ');
}

function versions(d, m) {
  const told = Array.from({ length: Math.max(0, m.version - 1) }, (_, i) => m.version - 1 - i).slice(0, d.rules?.keep_versions ?? 3);
  if (!told.length || !d.may?.write) return null;
  return card('Earlier versions', h('p', { class: 'row' }, told.map(v => download(d.name, `.weir/${m.file}/versions/${v}/${m.file}`, `version ${v}`, `download version ${v}`))));
}

export async function file({ main, params, signal }) {
  const at = `/_/datasets/${part(params.name)}`;
  const [d, m] = await Promise.all([get(at, { signal }), get(`${at}/files/${keyPath(params.file)}`, { signal })]);
  const said = h('div');
  const remove = async () => {
    if (!await confirmed(`Remove ${m.file} and what was made from it?`, 'remove it')) return;
    await call('DELETE', `/b/${part(d.name)}/${keyPath(m.file)}`).then(() => { location.hash = `#/datasets/${part(d.name)}`; }, e => fill(said, notice(e.message)));
  };
  fill(main, h('nav', { class: 'crumbs', 'aria-label': 'where' }, h('a', { href: '#/datasets' }, 'Datasets'), h('a', { href: `#/datasets/${part(d.name)}` }, d.name)),
    h('div', { class: 'title' }, h('h1', null, m.file), h('a', { class: 'button main', href: objectUrl(d.name, m.file), download: '' }, 'Download'),
      d.may?.own && h('button', { type: 'button', class: 'danger', onclick: remove }, 'Remove')), said,
    card('The file', about(m)), made(d.name, m), versions(d, m),
    m.summary?.length > 0 && card('Findings', summary(m.summary)), card('Columns', statistics(m.statistics, signal)));
}
