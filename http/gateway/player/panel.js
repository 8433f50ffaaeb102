// SPDX-License-Identifier: Apache-2.0
// What the player's page shows beside the film: figures, each segment's source, and the last minutes over time.
import { h, fill, card, bytes, number, percent } from '/_/console/dom.js';

const STEP_MS = 1000, KEPT = 180; // of which the last three minutes are drawn, and at first one
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const words = { server: 'from the server', peer: 'from peers', held: 'held ahead for others' };
const roles = { first: 'first group: holds and shares', second: 'second group: is fed by helpers', alone: 'alone' };
const modes = { on: 'peers assist, the server steers', plain: 'p2p-media-loader without the shim', off: 'no peers' };
const takes = { both: 'server and peers', server: 'the server', peers: 'peers alone' };

// A canvas as sharp as the screen is; draw(context, width, height).
function sketch(canvas, draw) {
  const { clientWidth: w, clientHeight: height } = canvas, scale = window.devicePixelRatio || 1;
  if (!w) return;
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(height * scale)) Object.assign(canvas, { width: Math.round(w * scale), height: Math.round(height * scale) });
  const c = canvas.getContext('2d');
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, w, height);
  c.font = '11px system-ui, sans-serif';
  draw(c, w, height);
}

export class Panel {
  constructor(main, asset, mode, video, stats) {
    Object.assign(this, { stats, mode, video, past: [], was: null });
    document.title = `${asset} – weir`;
    fill(document.getElementById('title'), asset);
    this.figures = h('dl', { class: 'figures' });
    this.switch = h('div', { class: 'consent' });
    this.strip = h('canvas', { class: 'strip', role: 'img', 'aria-label': 'the source of each segment of the film' });
    this.counts = h('p', { class: 'legend' });
    this.line = h('canvas', { class: 'timeline', role: 'img', 'aria-label': 'bytes from the server and from peers, the buffer, and stalls, over the last minutes' });
    this.key = h('p', { class: 'legend' });
    fill(main, h('h1', { class: 'unseen' }, asset), h('div', { class: 'watch' },
      h('div', null, h('section', { class: 'screen', 'aria-label': 'the film' }, video), card('Segments', this.strip, this.counts)),
      h('div', null, card('Delivery', this.figures, this.switch), card('The last minutes', this.line, this.key))));
    fill(this.key, this.mark('--server', 'server'), this.mark('--peer', 'peers'), this.mark('--up', 'given to others'), this.mark('--text', 'buffer', 'stroke'),
      this.mark('--bad', 'stall'), this.mark('--outage', 'outage'), this.mark('--strained', 'strained'));
    new ResizeObserver(() => requestAnimationFrame(() => this.draw())).observe(main);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  mark(colour, word, kind = 'box') {
    const i = h('i', { class: kind });
    i.style.setProperty('--of', `var(${colour})`);
    return h('span', null, i, word);
  }

  consent(yes, changed) {
    const box = h('input', { type: 'checkbox', id: 'consent', checked: yes, onchange: () => changed(box.checked) });
    fill(this.switch, box, h('label', { for: 'consent' }, 'Pass on to other viewers what I have received'));
  }

  // Four times a second.
  tick() {
    const { stats } = this, now = Date.now(), last = this.past.at(-1);
    if (!last || now - last.at >= STEP_MS) {
      const sum = { server: stats.server, peers: stats.peers, up: stats.up, stall: stats.stall_ms }, was = this.was ?? sum, s = last ? (now - last.at) / 1000 : 1;
      this.past.push({ at: now, server: (sum.server - was.server) / s, peers: (sum.peers - was.peers) / s, up: (sum.up - was.up) / s,
        stall: sum.stall > was.stall, buffer: stats.buffer, state: stats.state });
      this.was = sum;
      while (this.past.length > KEPT) this.past.shift();
    }
    this.draw();
  }

  draw() {
    const { stats: s } = this, got = s.server + s.peers;
    const live = document.getElementById('live'), word = s.off ? 'peers are off' : s.state || modes[this.mode];
    if (live.textContent !== word) live.textContent = word;
    live.className = s.state === 'outage' ? 'off' : s.state === 'calm' ? 'on' : '';
    const facts = [
      ['mode', modes[this.mode]], s.off && ['peers are off', s.off],
      this.mode === 'on' && !s.off && ['delivery', h('b', { class: `state-${s.state}` }, s.state)], s.role && ['role', roles[s.role] ?? s.role],
      s.group !== null && ['group', s.group], s.source && ['takes from', takes[s.source] ?? s.source],
      ['buffer', h('span', null, h('meter', { min: 0, max: 20, low: 4, value: s.buffer, 'aria-label': 'buffer' }), ` ${number(s.buffer, 1)} s`)],
      this.mode !== 'off' && ['peers connected', s.connected], ['from the server', s.held ? `${bytes(s.server)}, ${bytes(s.held)} of it to hold` : bytes(s.server)],
      this.mode !== 'off' && ['from peers', `${bytes(s.peers)} (${percent(s.peers, got)})`], this.mode !== 'off' && ['given to others', bytes(s.up)],
      ['stalls', s.stalls ? h('b', { class: 'state-outage' }, `${s.stalls}, ${number(s.stall_ms / 1000, 1)} s`) : 'none'],
      s.failed > 0 && ['requests that failed', s.failed], s.refused > 0 && ['refused by hash', h('b', { class: 'state-outage' }, s.refused)], s.gateway !== location.origin && ['gateway', s.gateway],
    ].filter(Boolean);
    fill(this.figures, facts.map(([t, d]) => h('div', null, h('dt', null, t), h('dd', null, d))));
    const counts = { server: 0, peer: 0, held: 0 };
    for (const x of s.segments) if (x) counts[x.source]++;
    fill(this.counts, Object.entries(counts).map(([k, n]) => this.mark(`--${k}`, `${n} ${words[k]}`)));
    sketch(this.strip, (c, w, height) => this.drawStrip(c, w, height));
    sketch(this.line, (c, w, height) => this.drawLine(c, w, height));
  }

  drawStrip(c, w, height) {
    const { stats: s } = this, n = s.count ?? 0;
    if (!n) return;
    const rows = Math.min(4, Math.ceil(n * 7 / w)) || 1, per = Math.ceil(n / rows), cell = w / per, tall = height / rows;
    for (let i = 0; i < n; i++) {
      const x = i % per * cell, y = Math.floor(i / per) * tall;
      c.fillStyle = css(s.segments[i] ? `--${s.segments[i].source}` : '--line');
      c.fillRect(x, y + 2, Math.max(1, cell - 1), tall - 4);
    }
    const at = s.duration ? s.position / s.duration * n : 0, i = Math.min(n - 1, Math.floor(at));
    c.fillStyle = css('--text');
    c.fillRect((at - Math.floor(i / per) * per) * cell - 1, Math.floor(i / per) * tall, 2, tall);
  }

  // Where an outage or a strained server was: spans, so that no seams show.
  drawStates(c, x, top, height) {
    for (const [i, p] of this.past.entries()) {
      if (p.state !== 'outage' && p.state !== 'strained' || this.past[i - 1]?.state === p.state) continue;
      let last = i;
      while (this.past[last + 1]?.state === p.state) last++;
      c.fillStyle = css(`--${p.state}`);
      c.fillRect(x(p.at - STEP_MS), top, x(this.past[last].at) - x(p.at - STEP_MS), height);
    }
  }

  drawLine(c, w, height) {
    const left = 46, right = 30, bottom = 16, top = 6, mid = top + (height - top - bottom) * .72, end = this.past.at(-1)?.at ?? Date.now();
    const minutes = Math.max(1, Math.min(3, Math.ceil((end - (this.past[0]?.at ?? end)) / 60000))), span = minutes * 60000;
    const x = at => left + (w - left - right) * (1 - (end - at) / span), wide = (w - left - right) * STEP_MS / span;
    // one second of a burst does not flatten all the others
    const sums = this.past.map(p => Math.max(p.server + p.peers, p.up)).sort((a, b) => a - b), most = Math.max(32768, (sums[Math.floor(sums.length * .98)] ?? 0) * 1.15);
    const long = Math.max(20, ...this.past.map(p => p.buffer)), up = v => Math.min(1, v / most) * (mid - top), down = v => Math.min(1, v / most) * (height - bottom - mid);
    const bar = (colour, p, y, tall) => {
      c.fillStyle = css(colour);
      c.fillRect(x(p.at) - wide, y, wide + .3, tall);
    };
    this.drawStates(c, x, top, height - top - bottom);
    for (const p of this.past) {
      bar('--server', p, mid - up(p.server), up(p.server));
      bar('--peer', p, mid - up(p.server + p.peers), up(p.server + p.peers) - up(p.server));
      bar('--up', p, mid, down(p.up));
      if (p.stall) bar('--bad', p, top, 5);
    }
    c.strokeStyle = css('--text');
    c.lineWidth = 1.5;
    c.beginPath();
    this.past.forEach((p, i) => c[i ? 'lineTo' : 'moveTo'](x(p.at), mid - Math.min(1, p.buffer / long) * (mid - top)));
    c.stroke();
    c.fillStyle = css('--dim');
    c.fillRect(left, mid, w - left - right, 1);
    c.textAlign = 'left';
    c.fillText(`${Math.round(most / 1024)} KiB/s`, 0, top + 9);
    c.fillText('0', 36, mid + 4);
    c.fillText(`${Math.round(long)} s`, w - right + 5, top + 9);
    for (let at = 0; at <= span; at += minutes > 1 ? 60000 : 20000) {
      c.textAlign = at === span ? 'left' : at ? 'center' : 'right';
      c.fillText(at ? `−${minutes > 1 ? `${at / 60000} min` : `${at / 1000} s`}` : 'now', x(end - at), height - 3);
    }
  }
}
