// SPDX-License-Identifier: Apache-2.0
// What the machines do: listens to /_/events and shows the last overview.
import { h as make, fill, number, bytes, script, table } from './dom.js';
import { events as listen, get } from './api.js';

const $ = id => document.getElementById(id);
let plot = null, before = null;
const history = { names: [], rows: [] };
const HISTORY_ROWS = 300;

const element = (tag, text, cls) => make(tag, { class: cls }, text);

function state(b) {
  const word = b.draining ? 'draining' : b.up ? 'up' : 'down';
  return element('span', word, word);
}

function meter(value, max) {
  const m = element('meter');
  m.max = max || 1;
  m.value = value || 0;
  m.title = number(value, 3);
  return m;
}

const show = (into, columns, rows, none) => fill($(into), table(columns, rows, { none }));

const of = (all, role) => all.members.filter(m => m.role === role && m.status && !m.status.error);

function total(label, value) {
  const box = element('div');
  box.append(element('b', value), element('span', label));
  return box;
}

function showTotals(all, services) {
  const endpoints = of(all, 'endpoint'), gateways = of(all, 'gateway');
  const backends = services.flatMap(s => s.backends ?? []);
  const sum = (list, get) => list.reduce((n, m) => n + (get(m) ?? 0), 0);
  $('totals').replaceChildren(
    total('sites', new Set(all.members.map(m => m.site)).size),
    total('members', all.members.length),
    total('backends up', `${backends.filter(b => b.up).length} of ${backends.length}`),
    total('endpoints', endpoints.length),
    total('objects held', sum(endpoints, m => m.status.objects)),
    total('requests redirected', sum(gateways, m => m.status.requests?.redirected)),
    ...(all.tunnels?.length ? [total('tunnels up', `${all.tunnels.filter(t => t.up).length} of ${all.tunnels.length}`)] : []),
    total('names asked', sum(of(all, 'ns'), m => m.status.queries)));
}

function showServices(services) {
  const rows = services.flatMap(s => (s.backends ?? []).map(b => ({ ...b, service: s })));
  show('services', [
    ['service', b => b.service.name], ['backend', b => b.name], ['address', b => b.address], ['state', state],
    ['load', b => meter(b.load, 1)], ['wanted', b => number(b.wanted, 3), 'n'], ['applied', b => number(b.applied, 3), 'n'],
    ['slots', b => `${number(b.slots)} of ${number(b.service.slots)}`, 'n'], ['packets', b => number(b.packets), 'n'],
    ['why', b => b.why, 'wide'],
  ], rows, 'no agent tells of services');
}

function showSites(all) {
  const rows = of(all, 'ns').flatMap(m => (m.status.steer ?? []).flatMap(n => n.sites.map(s => ({ ...s, name: n.name, asked: m.node }))));
  show('sites', [
    ['name', s => s.name], ['name server', s => s.asked], ['site', s => s.site], ['service', s => s.service], ['state', state],
    ['addresses', s => (s.addresses ?? []).join(', ')], ['weight', s => number(s.weight, 2), 'n'], ['why', s => s.why, 'wide'],
  ], rows, 'no name server steers a name');
}

function showLearned(services) {
  const rows = services.filter(s => s.metrics);
  show('learned', [
    ['service', s => s.name], ['load is', s => s.metrics.map(m => `${number(m.coefficient, 2)} × ${m.name}`).join(' + '), 'wide'],
    ['error', s => number(s.error, 3), 'n'], ['by cpu alone', s => number(s.prior_error, 3), 'n'], ['samples', s => number(s.samples), 'n'],
  ], rows, 'no agent has a model yet');
}

function showStorage(all) {
  const about = new Map(of(all, 'endpoint').map(m => [m.node, m.status]));
  show('endpoints', [
    ['endpoint', e => e.node], ['site', e => e.site], ['state', state], ['weight', e => number(e.weight, 2), 'n'],
    ['objects', e => number(about.get(e.node)?.objects), 'n'], ['stored', e => bytes(about.get(e.node)?.bytes), 'n'],
    ['free', e => bytes(about.get(e.node)?.free), 'n'], ['copies', e => number(about.get(e.node)?.copies), 'n'],
    ['to do', e => number(about.get(e.node)?.outbox), 'n'], ['note', e => e.why || about.get(e.node)?.note, 'wide'],
  ], all.endpoints, 'no endpoint is alive');
  const rows = of(all, 'endpoint').flatMap(m => (m.status.buckets ?? []).map(b => ({ ...b, node: m.node })))
    .filter(b => b.role === 'primary' || b.role === 'secondary').sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  show('buckets', [['bucket', b => b.name], ['endpoint', b => b.node], ['role', b => b.role], ['epoch', b => number(b.epoch), 'n'],
    ['objects', b => number(b.objects), 'n']], rows, 'nothing was stored yet');
}

// What all edges counted for a tunnel, and how fast it grew since the overview before.
function tunnelCounts(all) {
  const counts = new Map();
  for (const m of of(all, 'edge')) for (const t of m.status.tunnels ?? []) {
    const c = counts.get(t.name) ?? { requests: 0, open: 0, bytes: 0, errors: 0 };
    c.requests += t.requests ?? 0;
    c.open += t.open ?? 0;
    c.bytes += (t.bytes_up ?? 0) + (t.bytes_down ?? 0);
    c.errors += t.errors ?? 0;
    counts.set(t.name, c);
  }
  const seconds = all.at - (before?.at ?? all.at), per = (now, was) => seconds > 0 && now >= was ? (now - was) / seconds : undefined;
  for (const [name, c] of counts) {
    const was = before?.counts.get(name);
    if (!was) continue;
    c.rate = per(c.requests, was.requests);
    c.flow = per(c.bytes, was.bytes);
  }
  if (!before || seconds > 0) before = { at: all.at, counts };
  return counts;
}

function tunnelState(t) {
  if (!t.published) return element('span', t.up ? 'up, names are not published yet' : 'no origin yet', 'draining');
  return element('span', t.up ? 'up' : 'no origin', t.up ? 'up' : 'down');
}

function attachedTo(a) {
  const rtt = a.rtt_us ? `, ${number(a.rtt_us / 1000, 1)} ms` : '';
  return `${a.edge} (${a.why || (a.draining ? 'draining' : `${number(a.connections)} connections${rtt}`)})`;
}

function showTunnels(all) {
  const counts = tunnelCounts(all), count = (t, what) => counts.get(t.name)?.[what];
  const rows = [...(all.tunnels ?? [])].sort((a, b) => a.name < b.name ? -1 : 1);
  show('tunnels', [
    ['tunnel', t => t.name], ['state', tunnelState], ['hostnames', t => (t.hostnames ?? []).join(' '), 'wide'],
    ['address', t => [t.address, t.address6].filter(Boolean).join(' ') || 'the edges’ own', 'wide'],
    ['ports', t => (t.ports ?? []).map(p => `${p.port}/${p.mode}`).join(' ')],
    ['attached to', t => (t.attachments ?? []).map(attachedTo).join(', ') || '–', 'wide'],
    ['open', t => number(count(t, 'open')), 'n'], ['requests/s', t => number(count(t, 'rate'), 1), 'n'],
    ['flow', t => count(t, 'flow') === undefined ? '–' : `${bytes(count(t, 'flow'))}/s`, 'n'],
    ['requests', t => number(count(t, 'requests')), 'n'], ['errors', t => number(count(t, 'errors')), 'n'],
    ['note', t => t.silent?.length ? `silent: ${t.silent.join(', ')}` : t.owner ? `of ${t.owner}` : '', 'wide'],
  ], rows, 'no tunnels; `weir tunnel create` makes one');
  $('tunnels').parentElement.hidden = $('edges').parentElement.hidden = !rows.length && !of(all, 'edge').length;
}

function showEdges(all) {
  const open = c => ['http1', 'http2', 'bytes'].reduce((n, k) => n + (c?.connections?.[k] ?? 0), 0);
  show('edges', [
    ['edge', m => m.node], ['site', m => m.site], ['state', m => state({ up: !m.status.stale, draining: m.status.draining })],
    ['clients', m => number(open(m.status.clients)), 'n'], ['running', m => number(m.status.clients?.requests), 'n'], ['served', m => number(m.status.clients?.served), 'n'],
    ['refused', m => number(m.status.clients?.refused), 'n'],
    ['tunnels with origins', m => number((m.status.tunnels ?? []).filter(t => t.origins?.length).length), 'n'],
    ['origins dial', m => (m.attach ?? []).join(' ')],
    ['certificates', m => (m.status.clients?.certificates ?? []).map(c => `${c.name} (${Math.floor((c.until - all.at) / 86400)} days)`).join(', '), 'wide'],
  ], of(all, 'edge'), 'no edge answers');
}

function showMembers(all) {
  show('members', [
    ['node', m => m.node], ['site', m => m.site], ['role', m => m.role],
    ['state', m => m.inside ? state({ up: m.status && !m.status.error }) : element('span', 'not asked', 'draining')], ['up for', m => m.status?.uptime_s === undefined ? '–' : `${m.status.uptime_s} s`, 'n'],
    ['registry', m => m.status?.registry], ['note', m => m.status?.error, 'wide'],
  ], all.members, 'the registry knows nobody');
}

function record(all, services) {
  const share = {};
  for (const s of services) for (const b of s.backends ?? []) if (s.slots) share[`${s.name} ${b.name}`] = (b.slots ?? 0) / s.slots;
  const names = Object.keys(share).sort();
  $('shares').hidden = !names.length;
  if (!names.length) return;
  if (names.join() !== history.names.join()) {
    history.names = names;
    history.rows = [];
    plot?.destroy();
    plot = null;
  }
  history.rows.push([new Date(all.at * 1000), ...names.map(n => share[n])]);
  if (history.rows.length > HISTORY_ROWS) history.rows.shift();
  if (plot) plot.updateOptions({ file: history.rows });
  else plot = new window.Dygraph($('plot'), history.rows, { labels: ['time', ...names], valueRange: [0, 1.02], legend: 'always', strokeWidth: 2 });
}

function update(all) {
  const services = of(all, 'agent').flatMap(m => m.status.services ?? []);
  $('where').textContent = `${all.node}, site ${all.site}`;
  showTotals(all, services);
  showSites(all);
  showServices(services);
  showLearned(services);
  showStorage(all);
  showTunnels(all);
  showEdges(all);
  showMembers(all);
  record(all, services);
}

function live(word, cls) {
  if ($('live').textContent !== word) $('live').textContent = word;
  $('live').className = cls;
}

const sections = [['sites', 'Names and sites'], ['services', 'Services and backends'], ['plot', 'Share of the slots'], ['learned', 'What was learned'],
  ['endpoints', 'Endpoints'], ['buckets', 'Buckets'], ['tunnels', 'Tunnels'], ['edges', 'Edges'], ['members', 'Members']];

export async function machines({ main, signal }) {
  const all = await get('/_/status', { signal });
  await script('/_/console/dygraph.js');
  if (signal.aborted) return;
  plot = null; // the one before went with its page
  fill(main, make('h1', null, 'Machines'), make('p', { id: 'where', class: 'note' }),
    make('div', { id: 'view' }, make('section', { id: 'totals', 'aria-label': 'totals' }),
      sections.map(([id, title]) => make('section', { 'aria-labelledby': `${id}-title` }, make('h2', { id: `${id}-title` }, title), make('div', { id })))));
  $('plot').parentElement.id = 'shares';
  $('plot').setAttribute('role', 'img');
  $('plot').setAttribute('aria-label', 'share of the slots of each backend over time');
  update(all);
  const events = listen('/_/events');
  signal.addEventListener('abort', () => events.close());
  events.addEventListener('overview', e => { live('live', 'on'); update(JSON.parse(e.data)); });
  events.onerror = () => live('reconnecting', 'off');
}
