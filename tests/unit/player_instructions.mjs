// SPDX-License-Identifier: Apache-2.0
// The shim as it is served, with a gateway of a few lines: signed lists, instructions, segments of peers. Prints TAP.
import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const { weirPeers } = await import(`data:text/javascript,${encodeURIComponent(readFileSync('build/player/shim.js', 'utf8'))}`);

let n = 0, failed = 0;
function check(good, what, ...more) {
  console.log(`${good ? 'ok' : 'not ok'} ${++n} - ${what}`);
  if (good) return;
  failed++;
  console.log(`# ${JSON.stringify(more)}`);
}

// ---- a gateway ----

const sha = data => createHash('sha256').update(data).digest('hex');
const film = Array.from({ length: 4 }, (_, i) => new TextEncoder().encode(`segment ${i}`));
const listOf = asset => ({ version: 1, asset, duration: 8, renditions: [{ name: 'a', segments: film.map((d, i) => ({ n: i, uri: `v1/a/${i}.m4s`, duration: 2, bytes: d.length, sha256: sha(d) })) }] });
const { publicKey, privateKey } = generateKeyPairSync('ed25519'), other = generateKeyPairSync('ed25519');
const raw = publicKey.export({ format: 'jwk' }).x;

const at = { list: listOf('media/film'), signer: privateKey, sessions: 0, asked: [], status: 204 };
const keyOf = s => Buffer.from(`the key of session ${s}, 32 bytes.`.padEnd(32, '.').slice(0, 32));
const viewerOf = s => String(s).padStart(16, '0');

globalThis.location = { origin: 'http://gw.example' };
Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
globalThis.EventSource = class { addEventListener() {} close() {} };
globalThis.fetch = async (url, { body, headers } = {}) => {
  const answer = (status, said) => ({ ok: status < 300, status, json: async () => said });
  at.asked.push([url, body && JSON.parse(body), headers]);
  if (url.includes('/_/peers/session')) {
    const s = ++at.sessions;
    return answer(200, { viewer: viewerOf(s), token: `token${s}`, key: keyOf(s).toString('base64'), swarm: 'media/film', trackers: [`ws://gw.example/_/tracker?token=token${s}`],
      gateways: ['http://gw.example'], report_ms: 2000, media: { list: '/b/media/film/weir-media.json', key: Buffer.from(raw, 'base64url').toString('base64') },
      master: '/b/media/film/master.m3u8', settings: { isP2PDisabled: false, announceTrackers: [`ws://gw.example/_/tracker?token=token${s}`] } });
  }
  if (url.includes('/_/peers/report')) return answer(at.status, at.status === 204 ? null : { message: 'over' });
  const payload = JSON.stringify(at.list);
  return answer(200, { payload, signature: sign(null, Buffer.from(payload), at.signer).toString('base64') });
};
const open = more => weirPeers({ asset: 'media/film', ...more });

// ---- the list ----

let p = await open();
check(!p.off, 'a session, and a list that is signed', p.off);
at.signer = other.privateKey;
check((await open()).off?.includes('not signed'), 'a list that another signed: peers are off');
at.signer = privateKey;
at.list = listOf('media/other');
check((await open()).off?.includes('media/other'), 'another asset’s list, well signed: peers are off');
at.list = listOf('media/film');

await open({ token: 'weir1.abc', headers: { 'X-Weir-CSRF': 'word' } });
const [asks, reads] = at.asked.slice(-2);
check(asks[2].Authorization === 'Bearer weir1.abc' && asks[2]['X-Weir-CSRF'] === 'word' && reads[0].endsWith('?t=weir1.abc'), 'of a bucket that is not public: by the token, the session too', asks, reads);

// ---- segments ----

const url = i => `http://peer.example/b/media/film/v1/a/${i}.m4s`, right = p.config.validateP2PSegment;
check(await right(url(1), undefined, film[1]) === true, 'a peer’s segment with its hash');
check(await right(url(1), undefined, film[2]) === false && await right('http://peer.example/b/media/other/v1/a/1.m4s', undefined, film[1]) === false &&
  await right(url(7), undefined, film[1]) === false, 'another’s bytes, another asset’s address, one that the list does not have: refused');
const store = p.config.customSegmentStorageFactory(false), told = [];
store.setSegmentChangeCallback(s => told.push(s));
await store.storeSegment('w', 's', 1, film[1].buffer, 2, 4);
await store.storeSegment('w', 's', 2, film[3].buffer.slice(0, 3), 4, 6);
check(told.length === 1 && String(store.getStoredSegmentIds('w', 's')) === '1', 'wrong bytes are neither kept nor announced', told, store.getStoredSegmentIds('w', 's'));
check(await store.getSegmentData('w', 's', 2) === undefined && await store.getSegmentData('w', 's', 1) !== undefined, 'nor given to others');

// ---- instructions ----

const event = (payload, session = 1, key = keyOf(session)) => {
  const text = JSON.stringify({ v: 1, viewer: viewerOf(session), state: 'calm', role: 'first', source: 'both', hold: [], cap: 1000, until: Date.now() + 60000, settings: {}, ...payload });
  return JSON.stringify({ p: text, m: createHmac('sha256', key).update(text).digest('base64') });
};
const heard = (text, of = p) => of.hear(text).then(() => true, () => false);
check(await heard(event({ epoch: 1, seq: 1 })) && p.now.seq === 1 && p.now.role === 'first', 'an instruction of its own session');
check(!await heard(event({ epoch: 1, seq: 2, role: 'second' }, 1, keyOf(9))) && p.now.seq === 1, 'one that another key signed changes nothing');
check(!await heard(event({ epoch: 1, seq: 2, viewer: viewerOf(7), role: 'second' })) && p.now.seq === 1, 'nor one of another viewer');
check(!await heard(event({ epoch: 1, seq: 2, v: 2 })) && !await heard('{}') && !await heard('no JSON') && p.now.seq === 1, 'nor one of another version, nor what is none');
await heard(event({ epoch: 1, seq: 1, role: 'second' }));
check(p.now.role === 'first' && !p.more.resync, 'nor one that was heard already');
await heard(event({ epoch: 1, seq: 5 }));
check(p.now.seq === 5 && p.more.resync === true, 'a gap asks for all of it again');
p.more = {};
await heard(event({ epoch: 0, seq: 9 }));
check(p.now.seq === 5 && p.more.resync === true, 'so does an epoch that goes back, and it changes nothing');

// ---- the cap ----

p.now.cap = 1000;
p.room = 0;
p.filled = performance.now();
told.length = 0;
for (let i = 0; i < 200; i++) await store.getSegmentData('w', 's', 1);
await new Promise(done => setTimeout(done, 300));
check(p.room > -2000 && told.length === 1, 'above the cap a segment is not there, and all are told once when it is again', told.length, p.room);

// ---- another session ----

const said = [], listeners = {};
const engine = { addEventListener: (name, act) => { listeners[name] = act; }, applyDynamicConfig: c => said.push(c.core) };
const video = Object.assign(new EventTarget(), { buffered: [], currentTime: 0, played: [], readyState: 4 });
at.sessions = 1;
at.status = 401;
p.follow(engine, video);
for (let i = 0; i < 100 && at.sessions < 2; i++) await new Promise(done => setTimeout(done, 20));
at.status = 204;
for (let i = 0; i < 100 && said.at(-1)?.isP2PDisabled !== false; i++) await new Promise(done => setTimeout(done, 20));
check(p.session.viewer === viewerOf(2) && await heard(event({ epoch: 1, seq: 1, role: 'second' }, 2)) && p.now.role === 'second', 'after the session’s end: the next one’s instructions are taken from the first on');
check(said.some(c => c.isP2PDisabled === true) && said.at(-1).isP2PDisabled === false && String(said.at(-1).announceTrackers).endsWith('token2'), 'and the core begins anew with its trackers', said);
p.stop();

// ---- who gives nothing ----

const gives = async (connection, more) => {
  Object.defineProperty(globalThis, 'navigator', { value: { connection }, configurable: true });
  const q = await open(more);
  return [!q.config.isP2PUploadDisabled, at.asked.findLast(([u]) => u.includes('session'))[1]];
};
let [yes, wish] = await gives(undefined);
check(yes && wish.consent && !wish.metered && !wish.cellular, 'who consents gives', wish);
[yes, wish] = await gives(undefined, { consent: false });
check(!yes && !wish.consent, 'who does not, does not', wish);
[yes, wish] = await gives(Object.assign(new EventTarget(), { type: 'cellular' }));
check(!yes && wish.cellular, 'nor who is on a mobile network', wish);
[yes, wish] = await gives(Object.assign(new EventTarget(), { saveData: true }));
check(!yes && wish.metered, 'nor who saves data, from the beginning', wish);

console.log(`1..${n}`);
process.exit(failed ? 1 : 0);
