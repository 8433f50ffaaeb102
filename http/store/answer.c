/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answer.c -- see answer.h.
 */
#include <stdlib.h>
#include <string.h>

#include "http/store/answer.h"
#include "lib/hash.h"

/* A small object's whole answer, kept while it is open. */
struct ready {
	struct http_cached *answer, *unchanged; /* 200, 304 */
	bool open; /* what it says of caches is for a public bucket */
};

static void free_ready(void *arg)
{
	struct ready *r = arg;

	http_cached_free(r->answer);
	http_cached_free(r->unchanged);
	free(r);
}

static const char *cache_of(const struct told *told)
{
	return told->media->cache[told->open];
}

static struct http_cached *make_answer(struct endpoint *ep, const struct told *told, unsigned int status, const char *data,
				       size_t size)
{
	const char *headers[20] = { "ETag", told->etag, "X-Weir-Sha256", told->sha, "X-Weir-From", ep->node, "Accept-Ranges", "bytes",
				    "X-Content-Type-Options", "nosniff", "Access-Control-Allow-Origin", "*",
				    "Access-Control-Expose-Headers", MEDIA_CORS_EXPOSE };
	size_t n = 14;

	if (cache_of(told)) {
		headers[n++] = "Cache-Control";
		headers[n++] = cache_of(told);
	}
	if (told->media->markup) {
		headers[n++] = "Content-Security-Policy";
		headers[n++] = MEDIA_TYPE_SANDBOX;
	}
	return http_cached_new(status, status == 304 ? NULL : told->media->type, data, size, headers);
}

struct http_cached *told_unchanged(struct held *held, const struct told *told)
{
	struct ready *ready = held_attached(held);

	return ready && ready->open == told->open ? ready->unchanged : NULL;
}

struct http_cached *told_body(struct held *held)
{
	struct ready *ready = held_attached(held);

	return ready ? ready->answer : NULL;
}

struct http_cached *told_small(struct endpoint *ep, struct held *held, const struct told *told)
{
	uint64_t size = held_manifest(held)->size;
	struct ready *ready = held_attached(held), *kept;
	struct held_cursor *cur;
	char data[TOLD_SMALL_MAX];
	ssize_t n;

	if (ready)
		return ready->open == told->open ? ready->answer : NULL;
	cur = held_cursor_new(held);
	n = cur ? held_read(cur, 0, data, sizeof(data)) : -1;
	held_cursor_free(cur);
	ready = n == (ssize_t)size ? calloc(1, sizeof(*ready)) : NULL;
	if (!ready)
		return NULL;
	ready->open = told->open;
	ready->answer = make_answer(ep, told, 200, data, size);
	ready->unchanged = make_answer(ep, told, 304, "", 0);
	if (!ready->answer || !ready->unchanged) {
		free_ready(ready);
		return NULL;
	}
	kept = held_attach(held, ready, free_ready);
	if (kept != ready)
		free_ready(ready);
	return kept->open == told->open ? kept->answer : NULL;
}

/* Endpoints take no cookies: who reads has a token in hand, or the bucket is public; a page of any origin may do the same. */
void told_add(struct http_req *req, const struct told *told)
{
	http_add_header(req, "ETag", told->etag);
	if (told->sha[0])
		http_add_header(req, "X-Weir-Sha256", told->sha);
	http_add_header(req, "Accept-Ranges", "bytes");
	media_cors_add(req);
	if (cache_of(told))
		http_add_header(req, "Cache-Control", cache_of(told));
	if (told->media->markup)
		http_add_header(req, "Content-Security-Policy", MEDIA_TYPE_SANDBOX);
}

bool told_here(const struct endpoint *ep, const struct name_entry *entry)
{
	for (unsigned int i = 0; i < entry->nholders; i++)
		if (!strcmp(entry->holders[i], ep->node))
			return true;
	return false;
}

void told_fill(struct told *out, struct endpoint *ep, const char *bucket, const struct name_entry *entry)
{
	out->media = media_type_of(entry->key);
	names_entry_etag(entry, out->etag);
	if (entry->nparts)
		out->sha[0] = '\0';
	else
		hex_encode(entry->sha256, 32, out->sha);
	out->open = out->media->cache[1] && users_bucket_public(ep->users, bucket);
}

/* A small object whose answer a worker makes. */
struct cold {
	struct version version;
	struct told told;
};

/* On a worker. What is missing or damaged is left to the common way, which has it mended. */
static void read_cold(void *what, void *arg)
{
	struct endpoint *ep = arg;
	struct cold *cold = what;
	struct held *held;

	if (held_get(ep->held, &cold->version, &held))
		return;
	told_small(ep, held, &cold->told);
	held_put(held);
}

void told_warm(struct http_warm *warm, struct endpoint *ep, const char *bucket, const struct name_entry *entry)
{
	struct cold *cold = told_here(ep, entry) ? malloc(sizeof(*cold)) : NULL;

	if (!cold || version_parse(&cold->version, entry->version)) {
		free(cold);
		return;
	}
	told_fill(&cold->told, ep, bucket, entry);
	*warm = (struct http_warm){ read_cold, cold };
}
