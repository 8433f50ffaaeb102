/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.h -- what a client sees when the edge itself answers: why, and the request's id, by which it
 * is found in the logs of edge and origin. HTML for browsers, JSON for programs that ask for it,
 * else plain text. Pure.
 */
#ifndef WEIR_TUNNEL_PAGE_H
#define WEIR_TUNNEL_PAGE_H

#include <stddef.h>

/* Why the edge answered by itself: the label of metrics and logs, the status, what people read. */
#define PAGE_CAUSES(X)                                                                             \
	X(NO_SITE, "no_site", 404, "No site of this name is served here.")                         \
	X(MISDIRECTED, "misdirected", 421, "This connection is not for that site.")                \
	X(FORBIDDEN, "forbidden", 403, "Your address may not use this site.")                      \
	X(CERTIFICATE, "certificate", 403, "This site needs a client certificate, by HTTPS.")      \
	X(RATE, "rate", 429, "Too many requests from your address. Wait a moment.")                \
	X(BODY, "body_too_large", 413, "What you sent is larger than this edge accepts.")          \
	X(METHOD, "method", 405, "This method is not offered here.")                               \
	X(NO_ORIGIN, "no_origin", 502, "The site's own server is not connected at the moment.")    \
	X(NO_GATEWAY, "no_gateway", 502, "The storage gateway does not answer at the moment.")     \
	X(LOST, "lost", 502, "The connection to the site's own server broke.")                     \
	X(INVALID, "invalid", 502, "The site's own server gave an answer that is not valid.")      \
	X(TIMEOUT, "timeout", 504, "The site's own server took too long to answer.")               \
	X(SLOW, "slow", 408, "Your request did not arrive in time.")                               \
	X(BUSY, "busy", 503, "The way to this site is full at the moment.")                        \
	X(STALE, "stale", 503, "This edge was away and is looking at the map again.")              \
	X(GONE, "gone", 502, "This site was removed.")                                             \
	X(ERROR, "error", 500, "This edge could not handle the request.")

enum page_cause {
#define X(name, label, status, text) PAGE_##name,
	PAGE_CAUSES(X)
#undef X
		PAGE_N
};

const char *page_label(enum page_cause cause);
unsigned int page_status(enum page_cause cause);

enum page_type { PAGE_TEXT, PAGE_HTML, PAGE_JSON };
/* What the Accept field (may be NULL) would rather see. */
enum page_type page_type_of(const char *accept);
const char *page_content_type(enum page_type type);
/* malloc'ed; NULL without memory. */
char *page_format(enum page_cause cause, enum page_type type, const char *id);

#endif
