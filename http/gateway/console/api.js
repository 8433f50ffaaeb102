// SPDX-License-Identifier: Apache-2.0
// Requests to the daemon: by the session's cookie with its CSRF token, or by an access token that was typed in.

const TOKEN = 'token'; // in sessionStorage: it ends with the tab

// user null: nobody is signed in; provider, passwords: how one may.
export const session = { user: null, role: 'member', groups: [], csrf: null, provider: false, passwords: false };

export class Refused extends Error {
  constructor(status, said) {
    super(said?.message ?? (typeof said?.error === 'string' ? said.error : `the daemon answered ${status}`));
    this.status = status;
    this.said = said ?? {};
    this.code = this.said.error;
  }
}

export const token = () => sessionStorage.getItem(TOKEN);
export const useToken = value => value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN);

const ranks = ['member', 'auditor', 'steward', 'admin'];
export const isAtLeast = role => ranks.indexOf(session.role) >= ranks.indexOf(role);

export function headers(changes) {
  const all = { Accept: 'application/json', 'X-Weir-Console': '1' };
  if (token()) all.Authorization = `Bearer ${token()}`;
  else if (changes && session.csrf) all['X-Weir-CSRF'] = session.csrf;
  return all;
}

// Called when a request says that nobody is signed in any more.
export const onSignedOut = { call: null };

// body: an object goes as JSON, text and Blobs as they are. JSON of the answer, or Refused.
export async function call(method, path, { body, more, signal, quiet } = {}) {
  const all = { ...headers(method !== 'GET'), ...more };
  if (body !== undefined && typeof body !== 'string' && !(body instanceof Blob)) {
    body = JSON.stringify(body);
    all['Content-Type'] ??= 'application/json';
  }
  const answer = await fetch(path, { method, headers: all, body, signal, credentials: 'same-origin' });
  const said = await answer.json().catch(() => null);
  if (answer.status === 401 && session.user !== null && !quiet) onSignedOut.call?.();
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}

export const get = (path, more) => call('GET', path, more);
export const post = (path, body, more) => call('POST', path, { body: body ?? {}, ...more });

// Each part of a key apart: '/' stays.
export const keyPath = key => key.split('/').map(encodeURIComponent).join('/');
export const part = encodeURIComponent;

export function query(all) {
  const q = new URLSearchParams(Object.entries(all).filter(([, v]) => v !== undefined && v !== null && v !== ''));
  return q.size ? `?${q}` : '';
}

// An address that the browser opens by itself (downloads, event streams) cannot bear a header.
export const withToken = url => token() ? `${url}${url.includes('?') ? '&' : '?'}t=${part(token())}` : url;
export const events = path => new EventSource(withToken(path));
export const objectUrl = (dataset, key) => withToken(`/b/${part(dataset)}/${keyPath(key)}`);

// Who is signed in? Daemons that are not asked for a session have users' tokens alone.
export async function whoami() {
  let said = null;
  try {
    said = await get('/_/session', { quiet: true });
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
  }
  Object.assign(session, { user: null, name: null, role: 'member', groups: [], csrf: null, provider: false, passwords: false }, said);
  if (!session.user && token()) {
    // 401 to a token that is none; 403 to one that may not see everything
    await call('GET', '/_/status', { quiet: true }).catch(e => { if (e.status !== 403) throw e; });
    session.user = 'token';
  }
  return session;
}
