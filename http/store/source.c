/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.c -- see source.h.
 */
#include <errno.h>
#include <stdlib.h>

#include "http/store/repair.h"
#include "http/store/source.h"
#include "http/store/transfer.h"

#define PARTS_A_TIME 100

struct source {
	struct endpoint *ep;
	const char *bucket;
	source_fn *fn;
	void *arg;
};

/* What was read from a peer: counted, so that the next one goes on behind it. */
struct pass {
	const struct source *source;
	int rc; /* of fn */
};

static int pass_on(void *arg, const void *data, size_t len)
{
	struct pass *pass = arg;

	pass->rc = pass->source->fn(pass->source->arg, data, len);
	return pass->rc;
}

/* From this disk as far as it is good: *done bytes. 0, or what fn returned; *done < len without a failure: others must help. */
static int read_here(const struct source *s, const struct name_entry *entry, const struct version *v, uint64_t first,
		     uint64_t len, uint64_t *done)
{
	struct held_cursor *cur;
	struct held *held;
	uint8_t *buf;
	ssize_t n = 1;
	int rc;

	rc = held_get(s->ep->held, v, &held);
	if (rc == -EBADMSG)
		repair_queue(s->ep->repair, v);
	else if (rc == -ENOENT)
		repair_missing(s->ep->repair, s->bucket, entry);
	if (rc)
		return 0;
	cur = held_cursor_new(held);
	buf = malloc(BLOCK_SIZE);
	while (cur && buf && !rc && n > 0 && *done < len) {
		n = held_read(cur, first + *done, buf, len - *done < BLOCK_SIZE ? len - *done : BLOCK_SIZE);
		if (n > 0) {
			rc = s->fn(s->arg, buf, (size_t)n);
			*done += (uint64_t)n;
		}
	}
	if (n < 0)
		repair_queue(s->ep->repair, v);
	free(buf);
	held_cursor_free(cur);
	held_put(held);
	return rc;
}

static int read_peers(const struct source *s, const struct name_entry *entry, const struct version *v, uint64_t first,
		      uint64_t len, uint64_t *done)
{
	for (unsigned int i = 0; i < entry->nholders && *done < len; i++) {
		struct pass pass = { s, 0 };
		struct peer peer;
		uint64_t got = 0;

		if (peers_find(s->ep->peers, entry->holders[i], &peer) || peer.self || !peer.live)
			continue;
		transfer_data(s->ep->httpc, &peer, v, first + *done, len - *done, pass_on, &pass, &got);
		*done += got;
		if (pass.rc)
			return pass.rc;
	}
	return *done < len ? -EAGAIN : 0;
}

static int read_one(const struct source *s, const struct name_entry *entry, uint64_t first, uint64_t len)
{
	struct version v;
	uint64_t done = 0;
	int rc;

	if (version_parse(&v, entry->version))
		return -EIO;
	if (!len)
		return 0;
	rc = read_here(s, entry, &v, first, len, &done);
	return rc || done == len ? rc : read_peers(s, entry, &v, first, len, &done);
}

/* ---- objects of parts ---- */

struct parts {
	const struct source *source;
	uint64_t skip, left; /* bytes before, and of what is wanted */
	unsigned int last;   /* number seen */
	struct name_entry *page;
	unsigned int n;
};

static int take_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct parts *parts = arg;

	(void)bucket;
	parts->last = part->part;
	if (part->size <= parts->skip) {
		parts->skip -= part->size;
		return 0;
	}
	parts->page[parts->n++] = *part;
	return 0;
}

static int read_page(struct parts *parts)
{
	int rc = 0;

	for (unsigned int i = 0; !rc && i < parts->n && parts->left; i++) {
		uint64_t len = parts->page[i].size - parts->skip;

		if (len > parts->left)
			len = parts->left;
		rc = read_one(parts->source, &parts->page[i], parts->skip, len);
		parts->skip = 0;
		parts->left -= len;
	}
	return rc;
}

static int read_parts(const struct source *s, const struct name_entry *entry, uint64_t first, uint64_t len)
{
	struct parts parts = { .source = s, .skip = first, .left = len };
	bool more = true;
	int rc = 0;

	parts.page = malloc(PARTS_A_TIME * sizeof(*parts.page));
	if (!parts.page)
		return -ENOMEM;
	while (!rc && more && parts.left) {
		parts.n = 0;
		rc = names_parts(s->ep->names, s->bucket, entry->version, parts.last, PARTS_A_TIME, false, take_part,
				 &parts, &more);
		if (!rc)
			rc = read_page(&parts);
	}
	free(parts.page);
	return rc ? rc : parts.left ? -EIO : 0;
}

int source_read(struct endpoint *ep, const char *bucket, const struct name_entry *entry, uint64_t first, uint64_t len,
		source_fn *fn, void *arg)
{
	struct source s = { ep, bucket, fn, arg };

	return entry->nparts ? read_parts(&s, entry, first, len) : read_one(&s, entry, first, len);
}
