// SPDX-License-Identifier: Apache-2.0
// shim.js -- a viewer's side of peer-assisted delivery, for p2p-media-loader 2.3 by its public interface alone:
//
//   import { weirPeers } from '/_/peers/shim.js';
//   const peers = await weirPeers({ asset: 'media/film' });        // never throws: peers.off says why there are none
//   const hls = new (HlsJsP2PEngine.injectMixin(Hls))({ p2p: { core: peers.config } });
//   peers.follow(hls.p2pEngine, video);
//
// It opens a session, checks what it is told (the media list's Ed25519 signature, each instruction's HMAC, each segment's
// SHA-256), holds what it is asked to hold, reports how it goes, and moves to the next gateway when its own is silent.
// Options: asset "BUCKET/NAME"; gateway (origin), headers (of the session's request), token (of a bucket that is not
// public), consent, iceServers, memory (MiB of segments); onchange(peers), onheld(rendition, n, bytes).
//
// Served without these comments and the indentation (make): below 6 KB, tests/unit/player_shim.sh counts.

const subtle = globalThis.crypto?.subtle;
const bytes = b64 => Uint8Array.from(atob(b64), c => c.charCodeAt());
const coded = text => new TextEncoder().encode(text);
const hash = async data => [...new Uint8Array(await subtle.digest('SHA-256', data))].map(b => b.toString(16).padStart(2, '0')).join('');
const pause = ms => new Promise(done => setTimeout(done, ms));
const time = () => performance.now();

// The core's segment storage. What is kept counts at once, for this viewer; it is announced and given to others when its
// hash was right.
class Store {
  all = new Map();
  constructor(peers, live) { Object.assign(this, { peers, live }); }
  async initialize() {}
  onPlaybackUpdated(at) { this.at = at; }
  // The core asks for its own playback in the same breath: what it then takes is no upload. Until it stores what its
  // player waits for, nobody else may: the core looks for it in its requests alone, and would wait for ever.
  onSegmentRequested(swarm, stream, id) {
    this.own = this.waits = `${stream}|${id}`;
    if (this.waits === this.fetches?.key) this.fetches.abort();
  }
  async storeSegment(swarm, stream, id, data, start, end) {
    if (this.waits === `${stream}|${id}`) this.waits = '';
    await this.put(stream, id, data, end);
  }
  // True when some rendition of the list has these bytes there: it is also how a stream's rendition is found out.
  async put(stream, id, data, end) {
    const { peers, all } = this, key = `${stream}|${id}`, kept = { stream, id, data, end };
    all.set(key, kept);
    this.trim();
    const sum = await hash(data);
    kept.r = peers.list.renditions.findIndex(r => r.segments[id - (this.live ? r.segments[0].n : 0)]?.sha256 === sum);
    if (kept.r < 0) return all.delete(key), false;
    peers.streams[kept.r] = stream;
    this.change(stream);
    return true;
  }
  // What was played goes first, the oldest before the others; what is ahead stays.
  trim() {
    let used = 0;
    for (const s of this.all.values()) used += s.data.byteLength;
    for (const [key, s] of this.all)
      if (used > this.peers.memory && s.end < this.at) { this.all.delete(key); used -= s.data.byteLength; }
  }
  async getSegmentData(swarm, stream, id) {
    const key = `${stream}|${id}`, mine = this.own === key, kept = this.all.get(key);
    if (mine) this.own = this.waits = '';
    return kept && (mine || kept.r >= 0 && this.peers.mayGive(kept)) ? kept.data : undefined;
  }
  hasSegment(swarm, stream, id) { return this.all.has(`${stream}|${id}`); }
  getStoredSegmentIds(swarm, stream) { return [...this.all.values()].filter(s => s.stream === stream && s.r >= 0).map(s => s.id); }
  getUsage() {
    let used = 0;
    for (const s of this.all.values()) if (!(s.end < this.at)) used += s.data.byteLength;
    return { totalCapacity: this.peers.memory / 1048576, usedCapacity: used / 1048576 };
  }
  setSegmentChangeCallback(change) { this.change = change; }
  destroy() { this.all.clear(); }
}

class Peers {
  now = { role: 'alone', state: 'calm', source: 'both', seq: 0, epoch: 0 }; // the last instruction
  stats = { server: 0, peers: 0, up: 0, held: 0, stalls: 0, stall_ms: 0, failed: 0, forged: 0, rtt: 0 };
  connected = new Set();
  bad = new Set(); // whose segments had wrong hashes
  from = {}; // peer: bytes
  streams = []; // by rendition: the core's name of it
  loading = new Map(); // url: since when
  more = {}; // to be said with the next report
  slow = 0;
  r = 0; // the rendition that is loaded
  room = 0; // bytes that may be given away now
  later = {}; // stream: the timer after which it is said again what there is, however often somebody asks
  failed = -3000; // when the server last did
  fed = 0; // when a peer last sent something

  constructor(o) {
    this.o = o;
    this.willing = o.consent ?? true;
    this.memory = (o.memory ?? 256) * 1048576;
    this.gates = [o.gateway ?? location.origin];
  }
  get gate() { return this.gates[0]; }
  // The next gateway, unless another request found that already.
  move(from) {
    if (from !== this.gate) return;
    this.gates.push(this.gates.shift());
    if (this.events) this.listen();
  }
  async post(path, body, headers) {
    for (let tries = 0; ; tries++) {
      const at = this.gate;
      try {
        const answer = await fetch(`${at}/_/peers/${path}`, { method: 'POST', body: JSON.stringify(body), headers, signal: AbortSignal.timeout(4000) });
        if (answer.ok) return answer.status === 204 ? null : await answer.json();
        if (answer.status < 500) throw Object.assign(Error((await answer.json()).message), { status: answer.status });
      } catch (e) {
        if (e.status || tries > this.gates.length) throw e;
      }
      if (tries > this.gates.length) throw Error('no gateway answers');
      this.move(at);
      await pause(200);
    }
  }
  async open() {
    if (!subtle) throw Error('segments can be checked in a secure context alone: https, or localhost');
    const [bucket, ...name] = this.o.asset.split('/'), battery = await navigator.getBattery?.().catch(() => null);
    const s = this.session = await this.post('session', { bucket, asset: name.join('/'), consent: this.willing, metered: this.metered,
      cellular: this.cellular, battery: battery && !battery.charging ? battery.level : null }, { ...this.o.headers, ...this.o.token && { Authorization: `Bearer ${this.o.token}` } });
    this.gates = s.gateways;
    this.skew = (s.now ?? Date.now()) - Date.now();
    this.key = await subtle.importKey('raw', bytes(s.key), { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
    this.now = { ...this.now, seq: 0, epoch: 0 }; // another viewer's are counted anew
    if (this.list) return;
    const list = await (await fetch(this.via(s.media.list))).json();
    const key = await subtle.importKey('raw', bytes(s.media.key), 'Ed25519', false, ['verify']);
    if (!await subtle.verify('Ed25519', key, bytes(list.signature), coded(list.payload))) throw Error('the list of segments is not signed by this installation');
    this.list = JSON.parse(list.payload);
    if (this.list.asset !== this.o.asset) throw Error(`the list of segments is that of ${this.list.asset}`);
    this.known = new Map();
    for (const [r, { segments }] of this.list.renditions.entries()) {
      let end = 0;
      for (const s of segments) this.known.set(s.uri, Object.assign(s, { r, end: end += s.duration }));
    }
  }
  get master() { return this.via(this.session?.master ?? `/b/${this.o.asset}/master.m3u8`); }
  // That object by a gateway that lives, whichever machine's address it was.
  via(url) { return this.gate + new URL(url, this.gate).pathname + (this.o.token ? `?t=${this.o.token}` : ''); }
  segment(url) { return this.known.get(decodeURIComponent(new URL(url).pathname).split(`/b/${this.o.asset}/`)[1]); }
  get cellular() { return navigator.connection?.type === 'cellular'; }
  get metered() { return !!navigator.connection?.saveData; }
  get shares() { return this.willing && !this.cellular && !this.metered; }

  get config() {
    if (this.off) return { isP2PDisabled: true };
    const { settings, swarm, trackers } = this.session;
    return { ...settings, swarmId: swarm, announceTrackers: trackers, rtcConfig: { iceServers: this.o.iceServers ?? [] }, isP2PUploadDisabled: !this.shares,
      customSegmentStorageFactory: live => this.store = new Store(this, live),
      validateP2PSegment: async (url, range, data) => await hash(data) === this.segment(url)?.sha256,
      httpRequestSetup: async (url, range, signal, part) => new Request(this.via(url), { signal, headers: part && { Range: `bytes=${part.start}-${part.end ?? ''}` } }) };
  }

  follow(engine, video) {
    if (this.off) return;
    Object.assign(this, { engine, video });
    const { stats, loading, from, connected } = this, on = (name, act) => engine.addEventListener(name, act);
    on('onChunkDownloaded', (n, by) => { by === 'http' ? stats.server += n : (stats.peers += n, this.fed = time()); });
    on('onChunkUploaded', n => stats.up += n);
    on('onPeerConnect', p => connected.add(p.peerId));
    on('onPeerClose', p => connected.delete(p.peerId));
    on('onSegmentStart', e => {
      loading.set(e.segment.url, [time(), e.downloadSource]);
      this.r = this.segment(e.segment.url)?.r ?? this.r;
    });
    on('onSegmentAbort', e => loading.delete(e.segment.url));
    on('onSegmentLoaded', e => {
      if (e.peerId) from[e.peerId] = (from[e.peerId] ?? 0) + e.bytesLength;
      else this.late(e.segmentUrl);
      loading.delete(e.segmentUrl);
    });
    on('onSegmentError', e => {
      loading.delete(e.segment.url);
      if (e.downloadSource === 'http') {
        stats.failed++;
        this.failed = time();
        if (this.starves) this.tend(); // peers have their turn
      }
      if (e.error.type === 'p2p-segment-validation-failed' && this.segment(e.segment.url)) this.bad.add(e.peerId);
    });
    const goes = () => {
      if (this.waits) stats.stall_ms += time() - this.waits;
      this.waits = 0;
    };
    video.addEventListener('waiting', () => {
      if (this.waits || video.seeking || !video.played.length) return;
      stats.stalls++;
      this.waits = time();
    });
    video.addEventListener('playing', goes);
    video.addEventListener('timeupdate', () => video.readyState > 2 && goes());
    navigator.connection?.addEventListener('change', () => this.consent(this.willing));
    this.listen();
    this.beat = setInterval(() => this.tend(), 500);
    this.tell();
  }
  stop() {
    clearInterval(this.beat);
    this.events?.close();
    this.video = null;
  }
  consent(yes) {
    this.willing = yes;
    this.apply();
    this.more.consent = this.shares;
    this.report().catch(() => {}); // or with the next one
  }

  listen() {
    const at = this.gate, e = new EventSource(`${at}/_/peers/events?token=${this.session.token}`);
    this.events?.close();
    this.events = e;
    e.addEventListener('instruction', m => this.hear(m.data).catch(() => this.stats.forged++));
    e.onerror = () => {
      e.close();
      setTimeout(() => this.events === e && (this.move(at), this.events === e && this.listen()), 500 + 1000 * Math.random());
    };
  }
  async hear(data) {
    const { p, m } = JSON.parse(data);
    if (!await subtle.verify('HMAC', this.key, bytes(m), coded(p))) throw 0;
    const next = JSON.parse(p), { seq, epoch } = this.now;
    if (next.v !== 1 || next.viewer !== this.session.viewer) throw 0;
    if (next.epoch < epoch || next.epoch === epoch && next.seq > seq + 1 && seq) this.more.resync = true;
    if (next.epoch < epoch || next.epoch === epoch && next.seq <= seq) return;
    this.now = next;
    this.apply();
  }

  get buffer() {
    if (!this.video) return 0;
    const { buffered, currentTime: t } = this.video;
    for (let i = 0; i < buffered.length; i++) if (buffered.start(i) < t + .2 && buffered.end(i) > t) return buffered.end(i) - t;
    return 0;
  }
  // By order of the instruction; but nobody stalls by order: who starves and is fed by no peer asks the server.
  apply() {
    const { now, session, engine } = this, core = { simultaneousHttpDownloads: 2, simultaneousP2PDownloads: 3, httpErrorRetries: 3, ...session.settings, ...now.settings };
    if (now.source === 'peers') {
      core.simultaneousHttpDownloads = +!!this.starves;
      // the core's queue ends where neither window reaches and no peer has the segment: one that is held here would end it
      core.httpDownloadTimeWindow = core.p2pDownloadTimeWindow;
    }
    if (now.source === 'server' && !this.hungry) core.simultaneousP2PDownloads = 0;
    core.isP2PUploadDisabled = !this.shares || now.cap === 0;
    engine?.applyDynamicConfig({ core });
    this.o.onchange?.(this);
  }
  // Twice a second.
  tend() {
    const { now, starves, hungry } = this;
    if (now.until && Date.now() + this.skew > now.until) this.now = { ...now, role: 'alone', source: 'both', state: 'calm', hold: [], until: 0, settings: {} };
    this.hungry = this.buffer < 4;
    this.starves = this.hungry && time() - this.fed > 2000 && time() - this.failed > 3000;
    if (starves !== this.starves || hungry !== this.hungry || now !== this.now) this.apply();
    if (!this.holds) this.hold().catch(() => {}).finally(() => this.holds = false);
  }
  // What it is asked to hold, as ordered, from the server; its own playback goes first.
  async hold() {
    const { now, store, stats } = this;
    this.holds = true;
    for (const [r, first, last] of now.hold ?? [])
      for (let n = first; n <= last; n++) {
        const all = this.list.renditions[r].segments, i = n - all[0].n, s = all[i], id = store?.live ? n : i, stream = this.streams[r];
        const key = `${stream}|${id}`;
        if (!s || !stream || store.all.has(key) || store.waits === key) continue;
        if (now !== this.now || now.source === 'peers' || !this.video || this.buffer < 4 || store.getUsage().usedCapacity > .9 * this.memory / 1048576) return;
        const url = this.via(`/b/${this.o.asset}/${s.uri}`);
        if ([...this.loading.keys()].some(u => this.segment(u) === s)) continue;
        this.loading.set(url, [time(), 'http']);
        const { signal } = store.fetches = Object.assign(new AbortController(), { key });
        try {
          const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(8000)]) });
          if (!answer.ok) throw 0;
          const data = await answer.arrayBuffer();
          this.late(url);
          stats.server += data.byteLength;
          stats.held += data.byteLength;
          if (await store.put(stream, id, data, s.end)) this.o.onheld?.(r, n, data.byteLength);
          await pause(s.duration * 100); // what peers have meanwhile they give
        } catch {
          if (signal.aborted) continue;
          stats.failed++;
          return;
        } finally {
          this.loading.delete(url);
          store.fetches = null;
        }
      }
  }
  // The cap on what is given away: who would have to wait is told that it is not there, and of it again when it may be had.
  // Slow answers instead would make players believe in a slow network, and choose a worse picture.
  mayGive({ stream, data }) {
    const cap = this.now.cap ?? 1e9, t = time();
    this.room = Math.min(2 * cap, this.room + (t - (this.filled ?? 0)) * cap / 1000);
    this.filled = t;
    if (this.room > 0) return this.room -= data.byteLength, true;
    this.later[stream] ??= setTimeout(() => { delete this.later[stream]; this.store.change(stream); }, 50 - 1000 * this.room / cap);
    return false;
  }

  late(url) {
    const [since, by] = this.loading.get(url) ?? [];
    if (by === 'http') this.slow = Math.max(this.slow, (time() - since) / 1000 / (this.segment(url)?.duration ?? 1e9));
  }
  // [rendition, first, last]…
  get have() {
    const out = [];
    for (const [r, stream] of this.streams.entries())
      for (const n of this.store.getStoredSegmentIds(0, stream).map(id => this.store.live ? id : id + this.list.renditions[r].segments[0].n).sort((a, b) => a - b)) {
        const last = out.at(-1);
        if (last?.[0] === r && last[2] === n - 1) last[2] = n;
        else out.push([r, n, n]);
      }
    return out;
  }
  async report() {
    const { stats: s, video, r } = this, n = this.list.renditions[r].segments.find(s => s.end > video.currentTime)?.n ?? 0, since = time(), { more } = this;
    for (const url of this.loading.keys()) this.late(url);
    const body = { r, n, pos: video.currentTime, buffer: Math.round(this.buffer * 1000), have: this.have.slice(-64), down_server: s.server, down_peers: s.peers, up: s.up, stalls: s.stalls,
      stall_ms: Math.round(s.stall_ms + (this.waits ? since - this.waits : 0)), failed: s.failed, slow: this.slow, rtt: Math.round(s.rtt), peers: [...this.connected].slice(-64),
      bad: [...this.bad].slice(-64), from: Object.fromEntries(Object.entries(this.from).slice(-64)), forged: s.forged, epoch: this.now.epoch, ...more };
    this.slow = 0;
    this.more = {};
    await this.post(`report?token=${this.session.token}`, body).catch(e => {
      this.more = { ...more, ...this.more };
      throw e;
    });
    s.rtt = time() - since;
  }
  // The session was over. The core's trackers have the old token in their addresses and would be refused for ever: its loader
  // begins anew with the next segment, and finds in the store what it had.
  async renew() {
    await this.open();
    if (!this.video) return; // it was stopped meanwhile
    this.listen();
    this.loading.clear();
    this.connected.clear();
    this.engine.applyDynamicConfig({ core: { isP2PDisabled: true } });
    this.apply();
  }
  async tell() {
    while (this.video) {
      await this.report().catch(async e => {
        if (e.status === 401) await this.renew();
      }).catch(() => {});
      await pause(this.now.report ?? this.session.report_ms);
    }
  }
}

export async function weirPeers(options) {
  const peers = new Peers(options);
  await peers.open().catch(e => { peers.off = e.message; });
  return peers;
}
