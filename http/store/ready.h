/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.h -- which ready answer a request got, remembered for the next one like it: the same target and host, of the same
 * sender, byte for byte. It is good while nothing changed that it depends on: names (names_moment()), users and
 * buckets (users_generation()), and the second, by which tokens and keys end.
 *
 * Who asks, the caller knows and has found good now: of S3, that is, a signature is checked each time.
 *
 * Thread-safe. READY_MAX answers at most, each of at most TOLD_SMALL_MAX bytes: 32 MiB, which the cache of open
 * versions has as well, as a rule. Authorizations are compared in constant time and wiped when they go.
 */
#ifndef WEIR_STORE_READY_H
#define WEIR_STORE_READY_H

#include "http/store/endpoint.h"
#include "lib/httpd.h"

#define READY_MAX 512

/* Which requests are alike. */
struct ready_for {
	const char *kind; /* of answers, none of which is another's: "", of S3 the method */
	const char *target, *host, *who; /* who: an authorization, or whoever proved to have signed; NULL: nobody */
};

/* What an answer depends on; taken before anything is asked. */
struct ready_now {
	int64_t second;
	uint64_t users;
	struct names_moment names;
};
struct ready_answer {
	struct http_cached *answer, *unchanged; /* 200, 304 (may be NULL: then it is not asked for) */
	char etag[NAMES_ETAG_MAX + 3];
};

struct ready_cache;
int ready_cache_new(struct ready_cache **out);
void ready_cache_free(struct ready_cache *cache); /* accepts NULL */
/* The answer for such a request, one reference more; NULL: none is kept, or it is not good any more. */
struct http_cached *ready_find(struct endpoint *ep, const struct ready_for *whose, const char *if_none_match);
void ready_keep(struct endpoint *ep, const struct ready_for *whose, const struct ready_now *now, const struct ready_answer *answer);
/* The 304 or the 200. */
struct http_cached *ready_pick(const struct ready_answer *answer, const char *if_none_match);

#endif
