/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_cache.h -- tokens that were verified, so that a client's next request costs no HMAC and no JSON.
 *
 * Only what token_verify() found good is kept, so strangers cannot fill it. An entry is found by the whole text, compared
 * in constant time; where it is looked for depends on a hash under a random seed. What a token says cannot change, but the
 * keys that sign can be taken away: then the owner clears the cache. Expiry and the bearer are looked at on each request.
 */
#ifndef WEIR_TOKEN_CACHE_H
#define WEIR_TOKEN_CACHE_H

#include "lib/token.h"

struct token_cache;

int token_cache_new(struct token_cache **out); /* 0 or -errno */
void token_cache_free(struct token_cache *c);  /* accepts NULL */
/* Thread-safe. The scope of a token that was kept, unless it has expired: true and *out. */
bool token_cache_get(struct token_cache *c, const char *token, int64_t now, struct token_scope *out);
/* A verified token. */
void token_cache_put(struct token_cache *c, const char *token, const struct token_scope *scope);
void token_cache_clear(struct token_cache *c);

#endif
