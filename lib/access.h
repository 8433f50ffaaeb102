/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h -- who may, for HTTP servers: token or key of a request against the users of the
 * registry.
 *
 * The rule of the house: nothing is anonymous but public buckets; a server without users
 * serves loopback only.
 */
#ifndef WEIR_ACCESS_H
#define WEIR_ACCESS_H

#include "lib/httpd.h"
#include "lib/token.h"

/* Answers 401 (with WWW-Authenticate) or 403 and returns false, or fills *who and returns true. With 403
 * *who says who was refused, otherwise who->user is "" then.
 * Reads `Authorization` and, when there is none, the query's `t`. A public bucket is readable by
 * nobody in particular (who->user is ""). bucket and key may be NULL (rights on the whole
 * installation). */
bool access_check(struct http_req *req, struct users *users, unsigned int right, const char *bucket,
		  const char *key, struct token_scope *who);
/* For what policies know by a narrower name than a right's ("s3:ListBucketVersions"): asked after access_check(), of whom that
 * found. */
bool access_check_action(struct http_req *req, struct users *users, const char *action, const char *bucket, const char *key,
			 const struct token_scope *who);

/* Cookies. The gateway alone takes them: access_cookies(true) once at its start. A session's cookie ("weir", or
 * "__Host-weir" when it came by HTTPS) holds a token. Requests that change something (all but GET, HEAD, OPTIONS) by
 * cookie need the header X-Weir-CSRF with access_csrf() of the session, compared in constant time, and an Origin, when
 * there is one, of the request's own host; else 403 "csrf". */
#define ACCESS_COOKIE "weir"
void access_cookies(bool taken);
/* 64 hex digits; "" while there is no signing key. It changes when the installation gets a new signing key: who is
 * refused for it asks /_/session again. */
void access_csrf(struct users *users, const struct token_scope *scope, char out[65]);
bool access_csrf_matches(struct users *users, const struct token_scope *scope, const char *sent /* may be NULL */);
bool access_is_cookie(const struct http_req *req); /* did identity come by cookie */
/* For forms that carry the word in a field: as access_who(), but when access_is_cookie() the caller checks the field by
 * access_csrf_matches() before anything is changed. */
bool access_who_form(struct http_req *req, struct users *users, struct token_scope *who);
/* Is the Origin, when there is one, the request's own host (and Sec-Fetch-Site not "cross-site")? */
bool access_origin_own(const struct http_req *req);
/* Did the client come by HTTPS? What the edge says counts on Unix sockets alone. */
bool access_is_https(const struct http_req *req);
/* The client's address without port, as the edge says it on Unix sockets; "local" there without an edge. Returns out. */
char *access_client(const struct http_req *req, char out[ADDR_PORT_STRLEN]);
/* The request's credentials as a header line ("Authorization: …"), to ask other daemons for whoever asks here; malloc'ed,
 * NULL when there are none. It is a secret. */
char *access_credentials(const struct http_req *req);
/* Reads "__Host-NAME", or NAME when the request did not come by HTTPS. */
bool access_cookie(const struct http_req *req, const char *name, char *out, size_t size);
/* HttpOnly, SameSite=Lax, Path=/; secure: Secure, with the prefix __Host-. seconds 0 removes it. */
int access_set_cookie(struct http_req *req, const char *name, const char *value, int64_t seconds, bool secure);

/* 403 unless the caller has at least that role (users_role). */
bool access_role(struct http_req *req, struct users *users, enum role role, struct token_scope *who);

/* The same without an answer and without a look at forged requests: 0, or as users_authorize(). */
int access_identify(struct http_req *req, struct users *users, struct token_scope *who);
enum http_next access_refuse(struct http_req *req, int rc); /* the 401 for that */
/* Only who: 401, or *who. For requests whose rights can be told later alone (by hash). */
bool access_who(struct http_req *req, struct users *users, struct token_scope *who);

/* The public listeners of a server: loopback ones listen at once, others when the first user exists
 * (httpd_listen, called on the users' watch). access_bind: while privileged; Unix sockets are given to
 * uid, as whom other daemons (the edge) connect. */
int access_bind(const struct addr_port *listen, size_t n, uid_t uid, int *fds /* [n] */);
int access_listen_local(const struct addr_port *listen, size_t n, const int *fds);

#endif
