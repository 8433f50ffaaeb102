// SPDX-License-Identifier: Apache-2.0
// What the columns of a file hold: a card for each, plots and the same as figures.
import { h, facts, figure, count, percent, table } from './dom.js';
import { place, plot } from './charts.js';

const numeric = c => c.quantiles && Number.isFinite(place(c.quantiles['0.5'])) && c.distinct > 1;
const share = (n, all) => n ? `${count(n)} (${percent(n, all)})` : '0';

function quantileTable(c) {
  const q = Object.entries(c.quantiles).sort(([a], [b]) => a - b);
  return h('table', { class: 'small' }, h('thead', null, h('tr', null, q.map(([p]) => h('th', { scope: 'col', class: 'n' }, `${+(p * 100).toFixed(1)}%`)))),
    h('tbody', null, h('tr', null, q.map(([, v]) => h('td', { class: 'n' }, figure(v))))));
}

function column(c, rows, signal) {
  const all = (c.count ?? 0) + (c.nulls ?? 0) || rows; // count: those with a value
  const plots = [
    c.histogram?.length && [plot('histogram', c, `Histogram of ${c.name}: from ${figure(c.min)} to ${figure(c.max)}`, signal), 'values'],
    numeric(c) && [plot('quantiles', c, `Quantiles of ${c.name}: the median is ${figure(c.quantiles['0.5'])}`, signal), 'quantiles'],
    c.top?.some(t => t.count > 1) && [plot('top', c, `Top values of ${c.name}: ${c.top.slice(0, 3).map(t => `${figure(t.value)}, ${count(t.count)} times`).join('; ')}`, signal), 'top values'],
  ].filter(Boolean).map(([box, title]) => h('figure', null, h('figcaption', null, title), box));
  return h('article', { class: 'column', 'aria-label': `column ${c.name}` },
    h('div', null, h('h3', null, c.name, h('span', { class: 'type' }, c.type)),
      facts(['nulls', share(c.nulls, all)], ['distinct', c.distinct === undefined ? null : `${c.distinct_error ? '≈ ' : ''}${count(c.distinct)}`], ['min', c.min === undefined ? null : figure(c.min)], ['max', c.max === undefined ? null : figure(c.max)], ['not of the type', c.invalid ? count(c.invalid) : null],
        ['mean', c.mean === undefined ? null : figure(c.mean)], ['deviation', c.stddev === undefined ? null : figure(c.stddev)],
        ['length', c.min_length === undefined ? null : `${count(c.min_length)} to ${count(c.max_length)}`])),
    h('div', { class: 'plots' }, plots, !plots.length && h('p', { class: 'empty' }, c.personal ? 'personal data: counts alone' : c.top?.length ? 'no value comes twice' : 'counts alone')),
    (c.quantiles || c.top?.length) && h('details', null, h('summary', null, 'as figures'), c.quantiles && h('div', { class: 'scroll' }, quantileTable(c)),
      c.top?.length > 0 && table([['value', t => h('code', null, figure(t.value)), 'value'], ['rows', t => `${t.at_most ? '≤ ' : ''}${count(t.count)}`, 'n'], ['share', t => percent(t.count, all), 'n']], c.top)));
}

export function statistics(s, signal) {
  if (!s?.columns?.length) return h('p', { class: 'empty' }, 'There are no columns in this file.');
  const range = s.time_range;
  return h('div', null, range && h('p', { class: 'note' }, `${range.column} goes from ${range.from} to ${range.to}.`), s.columns.map(c => column(c, s.rows, signal)));
}
