// SPDX-License-Identifier: Apache-2.0
// A client for tus 1.0 (https://tus.io/protocols/resumable-upload): creation, PATCH in pieces, HEAD to go on after
// the network or the page was lost. What is under way is remembered in localStorage until it has ended.
import { headers, onSignedOut, Refused } from './api.js';

const PIECE = 8 << 20;
const KEPT = 'weir-uploads'; // [{id, name, size, dataset, at}]
const WAITS_MS = [500, 1000, 2000, 5000, 10000, 20000];

export function kept() {
  try {
    const all = JSON.parse(localStorage.getItem(KEPT) ?? '[]');
    return Array.isArray(all) ? all.filter(k => typeof k?.id === 'string') : [];
  } catch {
    return [];
  }
}
const keep = entry => localStorage.setItem(KEPT, JSON.stringify([...kept().filter(k => k.id !== entry.id), entry].slice(-50)));
export const forget = id => localStorage.setItem(KEPT, JSON.stringify(kept().filter(k => k.id !== id)));

const base64 = text => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// One request by XMLHttpRequest, for its upload's progress: {status, header(name), said}. Rejects with TypeError when the
// network failed, and with AbortError.
function ask(method, url, { more = {}, body, onprogress, signal } = {}) {
  return new Promise((resolve, reject) => {
    const x = new XMLHttpRequest(), stop = () => x.abort();
    x.open(method, url);
    for (const [name, value] of Object.entries({ ...headers(true), 'Tus-Resumable': '1.0.0', ...more })) x.setRequestHeader(name, value);
    if (onprogress) x.upload.onprogress = e => onprogress(e.loaded);
    x.onload = () => {
      let said = null;
      try { said = JSON.parse(x.responseText); } catch { /* no JSON: nothing said */ }
      resolve({ status: x.status, header: name => x.getResponseHeader(name), said });
    };
    x.onerror = x.ontimeout = () => reject(new TypeError('the network failed'));
    x.onabort = () => reject(new DOMException('stopped', 'AbortError'));
    x.onloadend = () => signal?.removeEventListener('abort', stop);
    signal?.addEventListener('abort', stop);
    x.send(body);
  });
}

const pause = (ms, signal) => new Promise(resolve => {
  const done = () => { clearTimeout(timer); removeEventListener('online', done); signal.removeEventListener('abort', done); resolve(); };
  const timer = setTimeout(done, ms);
  addEventListener('online', done);
  signal.addEventListener('abort', done);
});

// Events: "change" whenever id, sent, state or why is another. States: new, sending, waiting (for the network), paused,
// sent (all of it), ended (the daemon wants no more: why).
export class Upload extends EventTarget {
  constructor({ dataset, file, name, id = null, size = file?.size }) {
    super();
    Object.assign(this, { dataset, file, name: name ?? file?.name, id, size, sent: 0, state: 'new', why: '', began: Date.now(), fast: 0 });
  }

  set(what) {
    Object.assign(this, what);
    this.dispatchEvent(new Event('change'));
  }

  // What the daemon says has arrived: what has left is more, by what lies in the network.
  told(received) {
    this.arrived = received;
    this.toldAt = performance.now();
    this.dispatchEvent(new Event('change'));
  }

  get shown() { return this.toldAt > performance.now() - 3000 ? Math.min(this.arrived, this.sent) : this.sent; }

  get active() { return ['sending', 'waiting'].includes(this.state); }

  stop(state = 'paused') {
    this.aborter?.abort();
    this.set({ state });
  }

  // Sends until all is there. Never rejects: the end is in state and why.
  async run() {
    if (this.active) return;
    this.aborter = new AbortController();
    const { signal } = this.aborter;
    this.set({ state: 'sending', why: '' });
    for (let failures = 0; !signal.aborted;) {
      const before = this.sent;
      try {
        if (!this.id) await this.create(signal);
        else await this.position(signal);
        await this.patches(signal);
        forget(this.id);
        this.set({ state: 'sent', sent: this.size });
        return;
      } catch (e) {
        if (signal.aborted || e.name === 'AbortError') return;
        if (e instanceof Refused && !this.again(e)) {
          if (e.status === 401) { // signed out meanwhile: it goes on when one is signed in again
            this.set({ state: 'paused', why: e.message });
            onSignedOut.call?.();
            return;
          }
          if (this.id) forget(this.id);
          this.set({ state: 'ended', why: e.message });
          return;
        }
        if (this.sent > before) failures = 0;
        this.set({ state: 'waiting', why: e.message });
        await pause(WAITS_MS[Math.min(failures++, WAITS_MS.length - 1)], signal);
        if (!signal.aborted) this.set({ state: 'sending' });
      }
    }
  }

  // Is it worth another try? 409: the position was wrong; 423: another request has it; 429, 5xx: later.
  again(e) {
    return this.id ? [409, 423, 429, 460].includes(e.status) || e.status >= 500 : [500, 502, 503, 504].includes(e.status);
  }

  async create(signal) {
    const meta = `dataset ${base64(this.dataset)},filename ${base64(this.name)}`;
    const got = await ask('POST', '/_/tus/', { more: { 'Upload-Length': String(this.size), 'Upload-Metadata': meta }, signal });
    if (got.status !== 201) throw new Refused(got.status, got.said);
    this.id = got.header('Location').replace(/[?#].*/, '').split('/').pop();
    keep({ id: this.id, name: this.name, size: this.size, dataset: this.dataset, at: Date.now() });
    this.set({ sent: 0 });
  }

  async position(signal) {
    const got = await ask('HEAD', `/_/tus/${this.id}`, { signal });
    if (got.status !== 200 && got.status !== 204) throw new Refused(got.status, got.status === 404 || got.status === 410 ? { message: 'this upload is over' } : null);
    this.set({ sent: Number(got.header('Upload-Offset')) });
  }

  async patches(signal) {
    while (this.sent < this.size) {
      const from = this.sent, piece = this.file.slice(from, Math.min(from + PIECE, this.size)), began = performance.now();
      const got = await ask('PATCH', `/_/tus/${this.id}`, {
        more: { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(from) }, body: piece, signal,
        onprogress: loaded => this.set({ sent: from + Math.min(loaded, piece.size) }),
      });
      if (got.status !== 204 && got.status !== 200) {
        this.set({ sent: from });
        throw new Refused(got.status, got.said);
      }
      const now = piece.size / Math.max(1, performance.now() - began) * 1000;
      this.set({ sent: Number(got.header('Upload-Offset')), fast: this.fast ? 0.7 * this.fast + 0.3 * now : now });
    }
  }

  async cancel() {
    this.stop('ended');
    this.set({ why: 'cancelled' });
    if (!this.id) return;
    forget(this.id);
    await ask('DELETE', `/_/tus/${this.id}`).catch(() => {}); // it expires anyhow
  }
}

// The body of a replacement, with progress: the new upload's id.
export async function replace(url, body, onprogress) {
  const got = await ask('POST', url, { more: { 'Content-Type': 'application/octet-stream' }, body, onprogress });
  if (got.status !== 201) throw new Refused(got.status, got.said);
  return got.said.id;
}
