// SPDX-License-Identifier: Apache-2.0
// A real OpenID provider on loopback for tests: node identity_provider.mjs PORT REDIRECT KEYSEED [SECRET]
// Its folder of modules is $NODE_MODULES. People are whoever signs in: the login is the person (see claims()).
// Says "listening" when it serves.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { generateKeyPairSync, createHash } from 'node:crypto';

const require = createRequire(pathToFileURL(`${process.env.NODE_MODULES}/x.js`));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const [port, redirect, kid, secret] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

// ann and bob have groups; "spaced" a name that weir does not take; "thief" bears ann's name, "clash" a local user's.
function claims(login) {
  const names = { spaced: 'Ann Smith', thief: 'ann', clash: 'local' };
  const groups = { ann: ['staff', 'auditors-of-idp'], bob: ['staff'], cleo: ['staff', 'stewards-of-idp'], root: ['admins'] };
  return { sub: login, preferred_username: names[login] ?? login, name: `The ${login}`, email: `${login}@example.org`,
    email_verified: true, groups: groups[login] ?? [] };
}

const key = (type, options, alg) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${kid}-${alg}` });
const post = new URL('/', redirect).href;
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'weir', redirect_uris: [redirect], post_logout_redirect_uris: [post], response_types: ['code'],
    grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    ...(secret ? { client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' } : { token_endpoint_auth_method: 'none' }),
  }],
  jwks: { keys: [key('rsa', { modulusLength: 2048 }, 'RS256'), key('ec', { namedCurve: 'P-256' }, 'ES256')] },
  claims: { openid: ['sub'], profile: ['preferred_username', 'name'], email: ['email', 'email_verified'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  features: { deviceFlow: { enabled: true }, rpInitiatedLogout: { enabled: true }, devInteractions: { enabled: true } },
  pkce: { required: () => true },
  cookies: { keys: [createHash('sha256').update(kid).digest('hex')] },
  ttl: { Session: 600, Interaction: 600, Grant: 600, AccessToken: 600, IdToken: 600, DeviceCode: 600, AuthorizationCode: 60 },
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => claims(sub) }),
});
provider.on('server_error', (ctx, e) => console.error(e));
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
