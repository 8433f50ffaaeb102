/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access_impl.h -- what access.c and access_cookie.c share; nobody else includes it.
 */
#ifndef WEIR_ACCESS_IMPL_H
#define WEIR_ACCESS_IMPL_H

#include "lib/access.h"

/* The session's token, when cookies are taken and there is one. */
bool access_session_cookie(const struct http_req *req, char token[TOKEN_MAX]);
/* May a request that is known by its cookie alone do what it asks? */
bool access_csrf_fine(const struct http_req *req, struct users *users, const struct token_scope *who);

#endif
