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

/* Answers 401 (with WWW-Authenticate) or 403 and returns false, or fills *who and returns true.
 * Reads `Authorization` and, when there is none, the query's `t`. A public bucket is readable by
 * nobody in particular (who->user is ""). bucket and key may be NULL (rights on the whole
 * installation). */
bool access_check(struct http_req *req, struct users *users, unsigned int right, const char *bucket,
		  const char *key, struct token_scope *who);

/* Only who: 401, or *who. For requests whose rights can be told later alone (by hash). */
bool access_who(struct http_req *req, struct users *users, struct token_scope *who);

/* The public listeners of a server: loopback ones listen at once, others when the first user exists
 * (httpd_listen, called on the users' watch). access_bind: while privileged; Unix sockets are given to
 * uid, as whom other daemons (the edge) connect. */
int access_bind(const struct addr_port *listen, size_t n, uid_t uid, int *fds /* [n] */);
int access_listen_local(const struct addr_port *listen, size_t n, const int *fds);

#endif
