// SPDX-License-Identifier: Apache-2.0
// Plots of a column's statistics by Chart.js, in the page's own colours. They are drawn when they come into view.
import { h, script, figure, count, percent } from './dom.js';

const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = text => text === '' ? '(empty)' : text.length > 22 ? `${text.slice(0, 21)}…` : text;
const whole = { precision: 0, callback: v => Number.isInteger(v) ? count(v) : '' };

function common() {
  const ticks = { color: css('--dim'), font: { size: 11 }, maxRotation: 0, autoSkipPadding: 12 }, grid = { color: css('--line'), drawBorder: false, tickLength: 4 };
  return {
    animation: false, responsive: true, maintainAspectRatio: false, devicePixelRatio: Math.max(1, window.devicePixelRatio),
    plugins: { legend: { display: false }, tooltip: { displayColors: false, animation: false } },
    scales: { x: { ticks: { ...ticks }, grid: { ...grid } }, y: { ticks: { ...ticks }, grid: { ...grid } } },
  };
}

// Moments without what all of them share.
function edge(v, c) {
  if (typeof v !== 'string' || !/^\d{4}-\d\d-\d\dT/.test(v)) return figure(v);
  const days = (place(c.max) - place(c.min)) / 86400e3;
  return days > 4 ? v.slice(0, 10) : days > 1 ? v.slice(5, 16).replace('T', ' ') : v.slice(11, 19);
}

function histogram(c) {
  const o = common();
  o.scales.x.grid.display = false;
  Object.assign(o.scales.y.ticks, { maxTicksLimit: 4, ...whole });
  o.scales.y.beginAtZero = true;
  o.plugins.tooltip.callbacks = { title: ([i]) => `${figure(c.histogram[i.dataIndex].from)} to ${figure(c.histogram[i.dataIndex].to)}`, label: i => `${count(i.raw)} rows` };
  return { type: 'bar', options: o, data: { labels: c.histogram.map(b => edge(b.from, c)),
    datasets: [{ data: c.histogram.map(b => b.count), backgroundColor: css('--plot'), barPercentage: 1, categoryPercentage: .94 }] } };
}

function top(c) {
  const o = common(), list = c.top.slice(0, 10);
  o.indexAxis = 'y';
  o.scales.y.grid.display = false;
  o.scales.y.ticks.autoSkip = false;
  Object.assign(o.scales.x.ticks, { maxTicksLimit: 5, ...whole });
  o.scales.x.beginAtZero = true;
  o.plugins.tooltip.callbacks = { title: ([i]) => String(list[i.dataIndex].value), label: i => `${count(i.raw)} rows, ${percent(i.raw, c.count)}` };
  return { type: 'bar', options: o, data: { labels: list.map(t => short(figure(t.value))),
    datasets: [{ data: list.map(t => t.count), backgroundColor: css('--plot2'), barPercentage: 1, categoryPercentage: .8 }] } };
}

// Where a value lies on an axis: numbers as they are, dates and times by their moment.
export const place = v => typeof v === 'number' ? v : Date.parse(v);

// 5% to 95%, the middle half, and the median on one line.
function quantiles(c) {
  const o = common(), told = c.quantiles, q = Object.fromEntries(Object.entries(told).map(([p, v]) => [p, place(v)]));
  const width = q['0.95'] - q['0.05'] || 1, dates = typeof told['0.5'] !== 'number';
  o.indexAxis = 'y';
  o.scales.y.display = false;
  Object.assign(o.scales.x, { min: q['0.05'] - width * .05, max: q['0.95'] + width * .05 });
  Object.assign(o.scales.x.ticks, { includeBounds: false, maxTicksLimit: 6 });
  if (dates) o.scales.x.afterBuildTicks = axis => { axis.ticks = [q['0.05'], (q['0.05'] + q['0.95']) / 2, q['0.95']].map(value => ({ value })); };
  o.scales.x.ticks.callback = v => dates ? new Date(v).toISOString().slice(0, width < 8e7 ? 16 : 10).replace('T', ' ') : figure(v);
  o.plugins.tooltip.callbacks = { title: () => '', label: i => `${i.dataset.label}: ${i.dataset.of.map(p => figure(told[p])).join(' to ')}` };
  const bar = (label, data, colour, thick) => ({ label, data: [data], backgroundColor: colour, barThickness: thick, grouped: false });
  return { type: 'bar', options: o, data: { labels: ['quantiles'], datasets: [
    { ...bar('5% to 95%', [q['0.05'], q['0.95']], css('--plot-light'), 12), of: ['0.05', '0.95'], order: 3 },
    { ...bar('25% to 75%', [q['0.25'], q['0.75']], css('--plot'), 24), of: ['0.25', '0.75'], order: 2 },
    { ...bar('median', [q['0.5'] - width * .004, q['0.5'] + width * .004], css('--text'), 34), of: ['0.5'], order: 1 }] } };
}

const kinds = { histogram, top, quantiles };
const drawn = new Set();

function draw(canvas) {
  canvas.chart?.destroy();
  canvas.chart = new window.Chart(canvas, kinds[canvas.kind](canvas.column));
  canvas.dataset.drawn = 'yes';
}

// A canvas with its plot; said is what a screen reader tells of it.
export function plot(kind, column, said, signal) {
  const canvas = h('canvas', { role: 'img', 'aria-label': said });
  Object.assign(canvas, { kind, column });
  const seen = new IntersectionObserver(async ([e]) => {
    if (!e.isIntersecting) return;
    seen.disconnect();
    await script('/_/console/chart.js');
    if (signal.aborted) return;
    draw(canvas);
    drawn.add(canvas);
  }, { rootMargin: '2000px' });
  signal.addEventListener('abort', () => { seen.disconnect(); drawn.delete(canvas); canvas.chart?.destroy(); });
  seen.observe(canvas);
  return h('div', { class: `plot ${kind}` }, canvas);
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawn.forEach(draw));
