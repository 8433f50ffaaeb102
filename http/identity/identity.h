/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h -- the sign-on service that the gateway composes: an OpenID provider (authorization code with PKCE,
 * device flow), or local users with passwords; sessions by cookie; what is handed out is always the installation's
 * own token (lib/token.h), which gateways and endpoints verify alone, also while the provider is away.
 */
#ifndef WEIR_IDENTITY_H
#define WEIR_IDENTITY_H

#include "lib/audit.h"
#include "lib/conf.h"
#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/metrics.h"
#include "lib/registry.h"
#include "lib/token.h"

struct identity;
/* Privileged: reads the client's secret and the provider's CA. conf->identity may be absent: local users only. */
int identity_open(struct identity **out, const struct conf *conf);
int identity_start(struct identity *id, struct users *users, struct registry *reg, struct audit *audit, struct metrics *metrics);
/* A reload changes nothing of it: says so when something would. */
void identity_reload(const struct conf *old, const struct conf *now);
void identity_stop(struct identity *id);
void identity_free(struct identity *id); /* accepts NULL */

/* GET /_/login/start?return=/path        303 to the provider (state, nonce and verifier in a sealed short-lived cookie)
 * GET /_/login/callback?code=&state=     303 to the path, with the session's cookie
 * POST /_/login/password {user,password} 200 {user,groups,role,csrf,expires} and the cookie; with "token":true {token} instead
 * POST /_/login/device                   200 {user_code,verification_uri,verification_uri_complete,handle,interval,expires_in}
 * POST /_/login/device/token {handle}    200 {token,user,expires}; 202 {error:"pending"|"slow_down"}; 403 denied; 410 expired
 * POST /_/logout                         200 {end_session: url or null}; the token's id is ended
 * GET /_/session                         200 {user,name,groups,role,csrf,expires,provider} or {user:null,provider:bool,passwords:bool}
 * POST /_/tokens {note,ttl,bucket?,prefix?,rights?}   200 {token,id,expires}: an API token of the caller, at most its own rights;
 *                                        403 by a token for less than everything, which ends itself alone
 * GET /_/tokens, DELETE /_/tokens/ID     the caller's tokens
 * GET /_/audit                           what all gateways and endpoints wrote down, newest first: {lines,silent:[{node,role,why}],next}
 * GET /_/people                          role admin: provider's people and local users with groups, last sign-in
 * POST /_/people/NAME {signout:true}|{disabled:bool}  role admin */
enum http_next identity_login_start(struct http_req *req, struct identity *id);
enum http_next identity_login_callback(struct http_req *req, struct identity *id);
enum http_next identity_login_password(struct http_req *req, struct identity *id); /* end */
enum http_next identity_device(struct http_req *req, struct identity *id);	   /* end */
enum http_next identity_device_token(struct http_req *req, struct identity *id);   /* end */
enum http_next identity_logout(struct http_req *req, struct identity *id);	   /* end */
enum http_next identity_session(struct http_req *req, struct identity *id);
enum http_next identity_tokens(struct http_req *req, struct identity *id);	   /* GET begin, POST end, DELETE begin */
enum http_next identity_people(struct http_req *req, struct identity *id); /* GET begin, POST end */
enum http_next identity_audit(struct http_req *req, struct identity *id);

#endif
