// SPDX-License-Identifier: Apache-2.0
// Buckets, what is in them (folders, objects, versions), and the access keys that reach them.
import { h, fill, card, facts, table, bytes, count, many, when, notice, announce } from './dom.js';
import { get, isAtLeast, objectUrl, part, post, query, session } from './api.js';

const PAGE = 200;
const to = (bucket, q = {}) => `#/buckets/${part(bucket)}${query(q)}`;
const held = b => count(b.objects);
const limit = q => [q?.bytes && bytes(q.bytes), q?.objects && many(q.objects, 'object')].filter(Boolean).join(', ');

// How a bucket may be read by others, in a word.
const open = b => [b.public && 'public', b.acl && b.acl !== 'private' && b.acl, b.policy && 'by policy', b.browse && 'a page'].filter(Boolean).join(', ') || 'private';

export async function buckets({ main, signal }) {
  const { buckets: all } = await get('/_/buckets', { signal });
  fill(main, h('h1', null, 'Buckets'), h('section', { 'aria-label': 'buckets' }, table([
    ['name', b => h('a', { href: to(b.name) }, b.name), 'name'], ['owner', b => b.owner || '–'], ['versions', held, 'n'], ['size', b => bytes(b.bytes), 'n'],
    ['uploads', b => count(b.uploads), 'n'], ['versioning', b => b.versioning ?? '–'], ['open to others', open, 'wide'],
    ['quota', b => limit(b.quota) || '–', 'n'], ['made', b => when(b.created)],
  ], all, { none: 'There is no bucket that you own or may list. The first object that is put makes one.', caption: many(all.length, 'bucket') })),
  h('p', null, h('a', { href: '#/keys' }, 'Access keys'), ' for S3 clients and programs.'));
}

// a / b / c, each of which leads there.
function way(bucket, prefix, versions) {
  const parts = prefix.split('/'), links = [h('a', { href: to(bucket, { versions }) }, bucket)];
  parts.slice(0, -1).forEach((p, i) => links.push(' / ', h('a', { href: to(bucket, { prefix: `${parts.slice(0, i + 1).join('/')}/`, versions }) }, p || '(nothing)')));
  if (parts.at(-1)) links.push(` / ${parts.at(-1)}`);
  return h('nav', { 'aria-label': 'folders' }, h('p', null, links));
}

// Without the characters that turn the direction of what follows: "\u202egnp.exe" would read "exe.png".
const straight = text => text.replace(/[\u202a-\u202e\u2066-\u2069]/g, '\ufffd');

function columns(bucket, prefix, versions) {
  const name = o => o.folder ? h('a', { href: to(bucket, { prefix: o.folder, versions }) }, straight(o.folder.slice(prefix.length)))
    : o.marker || (versions && !o.current) ? h('span', null, straight(o.key.slice(prefix.length) || o.key)) // /b/… gives what is there now
    : h('a', { href: objectUrl(bucket, o.key), download: '' }, straight(o.key.slice(prefix.length) || o.key));
  return [['name', name, 'name wide'], ['size', o => o.folder || o.marker ? '' : bytes(o.size), 'n'], ['changed', o => o.folder ? '' : when(o.modified)],
    ...versions ? [['version', o => o.version && h('code', null, o.version)], ['state', o => o.folder ? '' : o.marker ? `delete marker${o.current ? ', now' : ''}` : o.current ? 'now' : 'older']]
      : [['ETag', o => o.etag && h('code', null, o.etag.replaceAll('"', '').slice(0, 12))]]];
}

// One listing that grows page by page.
async function listing(box, bucket, prefix, versions, signal) {
  const all = [], ask = async (after, afterVersion) => {
    const got = await get(`/_/buckets/${part(bucket)}/objects${query({ prefix, delimiter: '/', versions, after, after_version: afterVersion, limit: PAGE })}`, { signal });
    // folders and objects come in two lists: one order for the eye
    const rows = [...(got.prefixes ?? []).map(folder => ({ folder, key: folder })), ...got.objects];
    rows.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
    all.push(...rows);
    return got;
  };
  const draw = got => fill(box, table(columns(bucket, prefix, versions), all, { none: 'nothing here', caption: `${many(all.length, 'row')}${got.next ? ', there are more' : ''}` }),
    got.next && h('p', null, h('button', { type: 'button', onclick: () => more(got) }, 'more')));
  const more = async got => {
    try {
      const before = all.length;
      draw(await ask(got.next, got.next_version));
      box.querySelectorAll('tbody tr')[before]?.querySelector('a')?.focus(); // the button that had it is gone
      announce(many(all.length, 'row'));
    } catch (e) {
      box.append(notice(e.message));
    }
  };
  draw(await ask());
}

export async function bucket({ main, params, query: asked, signal, reload }) {
  const { name } = params, prefix = asked.get('prefix') ?? '', versions = asked.get('versions') ?? undefined;
  const b = await get(`/_/buckets/${part(name)}`, { signal }), box = h('div'), said = h('div');
  const browse = async () => {
    try {
      await post(`/_/buckets/${part(name)}`, { browse: !b.browse });
      announce(b.browse ? 'it is no page any more' : 'it may be browsed as a page');
      await reload();
      main.querySelector('section button')?.focus();
    } catch (e) {
      fill(said, notice(e.message));
    }
  };
  main.className = 'wide';
  fill(main, h('h1', null, name), card('Bucket', facts(['owner', b.owner], ['holds', typeof b.objects === 'number' ? `${many(b.objects, 'version')}, ${bytes(b.bytes)}` : '–'], ['uploads under way', b.uploads || null],
    ['versioning', b.versioning], ['encrypted', b.encrypted ? 'every object' : null], ['open to others', open(b)], ['quota', limit(b.quota)],
    ['dataset', b.dataset ? h('a', { href: `#/datasets/${part(name)}` }, name) : null], ['made', when(b.created)]),
  (b.owner === session.user || isAtLeast('admin')) && h('p', null, h('button', { type: 'button', onclick: browse }, b.browse ? 'no page for browsers any more' : 'let browsers see it as a page'),
    b.browse && [' ', h('a', { href: `/b/${part(name)}/${prefix ? query({ prefix }) : ''}` }, 'the page')]), said),
  h('section', { 'aria-label': 'objects' }, prefix && way(name, prefix, versions), h('p', null, versions ? h('a', { href: to(name, { prefix }) }, 'what is there now')
    : h('a', { href: to(name, { prefix, versions: 1 }) }, 'with older versions')),
  versions && h('p', { class: 'note' }, 'S3 clients read an older version by its id: ', h('code', null, `aws s3api get-object --bucket ${name} --version-id …`)), box));
  await listing(box, name, prefix, versions, signal);
}

const scope = s => `${s.rights} ${s.bucket}${s.prefix ? `/${s.prefix}` : ''}`;
const state = k => k.disabled ? 'disabled' : k.expires && k.expires * 1000 < Date.now() ? 'expired' : 'good';

export async function keys({ main, signal }) {
  const all = isAtLeast('admin'), { keys: rows } = await get(`/_/keys${query({ all: all ? 1 : undefined })}`, { signal });
  fill(main, h('h1', null, 'Access keys'), h('section', { 'aria-label': 'keys' }, table([
    ['id', k => h('code', null, k.id), 'id'], all && ['user', k => k.user], ['for', k => k.note || '–', 'wide'], ['may', k => (k.scopes ?? []).map(scope).join(', ') || 'all that its user may', 'wide'],
    ['signs S3', k => k.s3 ? 'yes' : 'no'], ['made', k => when(k.created)], ['ends', k => when(k.expires, 'never')], ['state', k => h('span', { class: state(k) === 'good' ? 'up' : 'down' }, state(k))],
  ].filter(Boolean), rows, { none: 'no key' })),
  h('p', { class: 'note' }, 'Keys are made, rotated and revoked on the command line, so that no daemon can make one: ', h('code', null, `weir user key add ${session.user === 'token' ? 'NAME' : session.user}`), '.'));
}
