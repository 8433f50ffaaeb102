// SPDX-License-Identifier: Apache-2.0
// The player's page: hls.js with p2p-media-loader and the shim, and a panel that says where every segment came from.
// ?asset=BUCKET/NAME; mode=off: hls.js alone, mode=plain: p2p-media-loader without the shim; buffer=SECONDS ahead;
// gateway=ORIGIN; window=SECONDS of plain mode's prefetch. Without an asset: what there is. window.weirStats and window.weirPlayer are for tests.
import { h, fill, notice, card, table, bytes, number } from '/_/console/dom.js';
import { get, token } from '/_/console/api.js';
import { weirPeers } from '/_/peers/shim.js';
import { Panel } from '/_/player/panel.js';

const query = new URLSearchParams(location.search), main = document.getElementById('main');
const asset = query.get('asset') ?? '', mode = { off: 'off', plain: 'plain' }[query.get('mode')] ?? 'on';

// What both sides of the page look at. segments: place in the film → {source, bytes, at}.
const stats = window.weirStats = { mode, asset, started: 0, stalls: 0, stall_ms: 0, server: 0, peers: 0, up: 0, held: 0, refused: 0, failed: 0, connected: 0, played: 0,
  position: 0, buffer: 0, duration: 0, state: '', role: '', group: null, source: '', off: '', gateway: location.origin, senders: {}, bad: [], ended: false, error: '', segments: [] };

async function choose() {
  const all = await get('/_/media').catch(() => []);
  fill(main, h('h1', null, 'Player'), card('Films', table([
    ['film', a => h('a', { href: `/_/player?asset=${encodeURIComponent(a.asset)}` }, a.asset), 'name'], ['length', a => `${number(a.duration)} s`, 'n'],
    ['renditions', a => (a.renditions ?? []).map(r => r.name ?? r).join(', ')], ['size', a => bytes(a.bytes), 'n'],
  ], all.assets ?? all, { none: 'There is no film here whose bucket you may list. Sign in at the console, open one by its address, /_/player?asset=BUCKET/NAME, or make one: weir media add FILE BUCKET/NAME.' })));
}

function missing(e) {
  console.error(e);
  fill(main, h('h1', null, 'Player'), notice('The player’s libraries are not here.'),
    h('p', null, 'Run ', h('code', null, 'make player'), ' (it needs npm and fetches hls.js and p2p-media-loader), then ', h('code', null, 'make install'),
      ' and restart the gateway. Everything else works without them.'));
}

// Nobody would see a spinner: it is measured whether time goes on.
function watchStalls(video, changed) {
  let at = 0, since = performance.now(), length = 0;
  setInterval(() => {
    const now = performance.now(), passed = now - since, still = video.currentTime === at;
    since = now;
    at = video.currentTime;
    if (!stats.started || video.paused || video.ended || video.seeking || !still) {
      if (!still && !video.seeking) stats.played += passed / 1000;
      length = 0;
      return;
    }
    length += passed;
    if (length < 120) return; // a frame that took long
    if (length - passed < 120) { stats.stalls++; stats.stall_ms += length; }
    else stats.stall_ms += passed;
    changed();
  }, 40);
}

function bufferOf(video) {
  for (let i = 0; i < video.buffered.length; i++)
    if (video.buffered.start(i) < video.currentTime + .2 && video.buffered.end(i) > video.currentTime) return video.buffered.end(i) - video.currentTime;
  return 0;
}

// Which place in the film an address is.
const places = new Map();
const tail = url => new URL(url, location.href).pathname;
function learn(details) {
  details.fragments.forEach((f, i) => places.set(tail(f.url), { i, start: f.start, duration: f.duration }));
  stats.duration = details.totalduration;
  stats.count = details.fragments.length;
}

function take(url, source, size, peer) {
  const place = places.get(tail(url));
  if (!place) return;
  stats.segments[place.i] = { source, bytes: size, at: Date.now(), peer };
  if (peer) stats.senders[peer] = (stats.senders[peer] ?? 0) + size;
}

// The same for all modes: an outage is waited for, not given up.
function settings() {
  const patient = { maxTimeToFirstByteMs: 4000, maxLoadTimeMs: 20000, timeoutRetry: { maxNumRetry: 1000, retryDelayMs: 500, maxRetryDelayMs: 1000 }, errorRetry: { maxNumRetry: 1000, retryDelayMs: 500, maxRetryDelayMs: 1000 } };
  const buffer = Number(query.get('buffer')) || 15;
  return { enableWorker: false, maxBufferLength: buffer, maxMaxBufferLength: buffer, backBufferLength: 30,
    fragLoadPolicy: { default: patient }, playlistLoadPolicy: { default: patient }, manifestLoadPolicy: { default: patient } };
}

function watchEngine(engine) {
  engine.addEventListener('onSegmentLoaded', e => take(e.segmentUrl, e.downloadSource === 'p2p' ? 'peer' : 'server', e.bytesLength, e.peerId));
  engine.addEventListener('onChunkDownloaded', (n, by) => { by === 'p2p' ? stats.peers += n : stats.server += n; });
  engine.addEventListener('onChunkUploaded', n => { stats.up += n; });
  engine.addEventListener('onPeerConnect', () => { stats.connected++; });
  engine.addEventListener('onPeerClose', () => { stats.connected--; });
  engine.addEventListener('onSegmentError', e => {
    if (e.downloadSource === 'http') stats.failed++;
    if (e.error.type === 'p2p-segment-validation-failed') { stats.refused++; stats.bad.push(e.peerId); }
  });
}

// Whoever made a link chose its gateway: one that is not ours learns nothing of who is signed in here.
async function makePeers(changed) {
  const gateway = query.get('gateway') || location.origin, ours = URL.canParse(gateway) && new URL(gateway).origin === location.origin;
  const session = !ours || token() ? null : await get('/_/session', { quiet: true }).catch(() => null);
  return weirPeers({
    asset, gateway, token: ours && token() || undefined, consent: localStorage.getItem('weir-peers') !== 'no',
    headers: session?.csrf ? { 'X-Weir-CSRF': session.csrf } : undefined, onchange: changed,
    onheld: (r, n, size) => {
      const i = n - peersOf.list.renditions[r].segments[0].n;
      stats.segments[i] = { source: 'held', bytes: size, at: Date.now() };
      stats.server += size;
      stats.held += size;
    },
  });
}
let peersOf = null;

// Playlists come by a gateway that lives, whichever endpoint it names: they keep the address that was asked for, by which
// p2p-media-loader knows a rendition again. (Segments go through the shim.)
const byGateway = (Hls, peers) => ({
  xhrSetup: (xhr, url) => xhr.open('GET', peers.via(url), true),
  loader: class extends Hls.DefaultConfig.loader {
    load(context, config, callbacks) {
      super.load(context, config, { ...callbacks, onSuccess: (answer, ...more) => callbacks.onSuccess(Object.assign(answer, { url: context.url }), ...more) });
    }
  },
});

function make(Hls, HlsJsP2PEngine, peers, trackers) {
  const ahead = Number(query.get('window'));
  const core = mode === 'plain' ? { announceTrackers: trackers, rtcConfig: { iceServers: [] }, swarmId: asset,
    ...ahead && { httpDownloadTimeWindow: ahead, p2pDownloadTimeWindow: ahead } } : peers?.config;
  const WithPeers = mode === 'off' ? Hls : HlsJsP2PEngine.injectMixin(Hls);
  const hls = new WithPeers({ ...settings(), ...mode !== 'off' && { p2p: { core } }, ...mode === 'on' && byGateway(Hls, peers) });
  hls.on(Hls.Events.LEVEL_LOADED, (_, d) => learn(d.details));
  hls.on(Hls.Events.ERROR, (_, e) => {
    stats.error = e.details;
    if (mode === 'off' && e.frag && e.type === 'networkError') stats.failed++;
    if (!e.fatal) return;
    if (e.type === 'mediaError') hls.recoverMediaError();
    else setTimeout(() => stats.started ? hls.startLoad() : hls.loadSource(source(peers)), 1000);
  });
  if (mode === 'off') hls.on(Hls.Events.FRAG_LOADED, (_, d) => {
    if (d.frag.sn === 'initSegment') return;
    stats.server += d.frag.stats.total;
    take(d.frag.url, 'server', d.frag.stats.total);
  });
  else watchEngine(hls.p2pEngine);
  return hls;
}

const source = peers => mode === 'on' ? peers.master : `/b/${asset}/master.m3u8`;

async function play() {
  let Hls, HlsJsP2PEngine;
  try {
    ({ default: Hls } = await import('hls.js'));
    if (mode !== 'off') ({ HlsJsP2PEngine } = await import('p2p-media-loader-hlsjs'));
  } catch (e) {
    return missing(e);
  }
  const video = h('video', { controls: true, muted: true, autoplay: true, playsInline: true, 'aria-label': asset });
  const panel = new Panel(main, asset, mode, video, stats);
  const changed = () => panel.draw();
  video.addEventListener('playing', () => { stats.started ||= Date.now(); });
  video.addEventListener('ended', () => { stats.ended = true; });
  watchStalls(video, changed);
  // without the shim a player gets its tracker's address from whoever made the page: a session's is as good as any
  const peers = mode === 'off' ? null : peersOf = await makePeers(changed);
  const hls = make(Hls, HlsJsP2PEngine, peers, peers?.session?.trackers ?? []);
  window.weirPlayer = { hls, peers, video, Hls };
  stats.off = peers?.off ?? '';
  if (mode === 'on') peers.follow(hls.p2pEngine, video);
  hls.loadSource(source(peers));
  hls.attachMedia(video);
  if (mode === 'on' && !peers.off) panel.consent(peers.willing, yes => {
    localStorage.setItem('weir-peers', yes ? 'yes' : 'no');
    peers.consent(yes);
  });
  let state = '';
  setInterval(() => {
    Object.assign(stats, { position: video.currentTime, buffer: bufferOf(video) });
    if (mode === 'on' && !peers.off) {
      const { now } = peers;
      Object.assign(stats, { state: now.state, role: now.role, group: now.group ?? null, source: now.source, gateway: peers.gate, connected: peers.connected.size,
        forged: peers.stats.forged, starves: peers.starves, r: peers.r, hold: now.hold ?? [], seq: now.seq, epoch: now.epoch, cap: now.cap });
      // others hold this rendition: another one would be held by nobody (to set it, even to what it is, pins it)
      if (now.state === 'outage' && state !== 'outage') hls.loadLevel = hls.loadLevel;
      else if (now.state !== 'outage' && state === 'outage') hls.loadLevel = -1;
      state = now.state;
    }
    panel.tick();
  }, 250);
  video.play().catch(() => {});
}

await (asset ? play() : choose());
