/* SPDX-License-Identifier: Apache-2.0 */
/*
 * repair.c -- fetching, mending (repair.h). The scrubber is scrub.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/store/repair.h"
#include "http/store/scrub.h"
#include "http/store/staged.h"
#include "http/store/transfer.h"
#include "lib/log.h"

struct repair {
	struct endpoint *ep;
	struct jobs *jobs;
	struct scrub *scrub;
};

static int append(void *arg, const void *data, size_t n)
{
	return staged_append(arg, data, n);
}

static int fetch_data(struct endpoint *ep, const struct peer *from, const struct manifest *m,
		      struct staged *s)
{
	uint64_t got, size;
	uint8_t sha256[32];
	int rc;

	rc = transfer_data(ep->httpc, from, &m->version, 0, m->size, append, s, &got);
	if (!rc)
		rc = staged_seal(s, &size, sha256);
	if (!rc && (size != m->size || memcmp(sha256, m->sha256, 32)))
		rc = -EBADMSG;
	if (!rc)
		rc = staged_finish(s, m);
	if (rc)
		return rc;
	staged_commit_begin(s);
	return staged_commit_wait(s);
}

static int fetch_from(struct endpoint *ep, const struct peer *from, const struct version *v)
{
	struct manifest m;
	struct staged *s;
	int rc;

	rc = transfer_manifest(ep->httpc, from, v, &m);
	if (rc)
		return rc;
	rc = chunks_room(ep->chunks, m.size);
	if (!rc)
		rc = staged_new(&s, ep->chunks, v);
	if (rc)
		return rc;
	rc = fetch_data(ep, from, &m, s);
	staged_free(s);
	held_drop(ep->held, v);
	return rc;
}

int repair_fetch(struct endpoint *ep, const struct version *v, const char (*holders)[CONF_NAME_MAX],
		 unsigned int nholders)
{
	unsigned int asked = 0, without = 0;
	char hex[VERSION_STRLEN];
	int rc = -EAGAIN;

	for (unsigned int i = 0; i < nholders; i++) {
		struct peer peer;

		if (peers_find(ep->peers, holders[i], &peer) || peer.self || !peer.base[0])
			continue;
		asked++;
		rc = fetch_from(ep, &peer, v);
		if (!rc) {
			atomic_fetch_add(&ep->counts.fetched, 1);
			return 0;
		}
		without += rc == -ENOENT;
		log_limited(LOG_LEVEL_WARN, 30, "cannot fetch version %s from %s: %s",
			    version_format(v, hex), peer.node, transfer_error());
	}
	return asked && asked == without ? -ENOENT : rc == -ENOENT ? -EAGAIN : rc;
}

/* The entry that needs a version, of its object or its part. */
static int find_entry(struct endpoint *ep, const char *bucket, const char *key, const char *hex,
		      struct name_entry *out)
{
	int rc = names_find(ep->names, bucket, hex, out);

	if (rc != -ENOSYS)
		return rc;
	rc = names_get(ep->names, bucket, key, out);
	return !rc && strcmp(out->version, hex) ? -ENOENT : rc;
}

/* Who should have a version: what its name says now, else what its manifest said. */
static unsigned int find_holders(struct endpoint *ep, const struct version *v, struct held *held,
				 char (*holders)[CONF_NAME_MAX])
{
	const struct manifest *m = held ? held_manifest(held) : NULL;
	struct name_entry *entry = malloc(sizeof(*entry));
	char hex[VERSION_STRLEN];
	struct peer *list;
	size_t npeers;
	unsigned int n = 0;

	version_format(v, hex);
	if (m && entry && !find_entry(ep, m->bucket, m->key, hex, entry))
		for (; n < entry->nholders; n++)
			strcpy(holders[n], entry->holders[n]);
	free(entry);
	if (n)
		return n;
	if (m) {
		for (; n < m->nholders; n++)
			strcpy(holders[n], m->holders[n]);
		return n;
	}
	/* The head is gone: whoever lives is asked. */
	if (peers_list(ep->peers, &list, &npeers))
		return 0;
	for (size_t i = 0; i < npeers && n < NAMES_HOLDERS_MAX; i++)
		if (list[i].live && !list[i].self)
			strcpy(holders[n++], list[i].node);
	free(list);
	return n;
}

struct gather {
	uint8_t *data;
	size_t len;
};

static int gather(void *arg, const void *data, size_t n)
{
	struct gather *g = arg;

	memcpy(g->data + g->len, data, n); /* transfer_data() never gives more than was asked for */
	g->len += n;
	return 0;
}

static int mend_chunk(struct endpoint *ep, struct held *held, uint64_t chunk,
		      const char (*holders)[CONF_NAME_MAX], unsigned int nholders)
{
	const struct manifest *m = held_manifest(held);
	uint32_t len = chunk_length(m->size, chunk);
	struct gather g = { .data = malloc(len) };
	int rc = g.data ? -ENOENT : -ENOMEM;

	for (unsigned int i = 0; g.data && rc && i < nholders; i++) {
		struct peer peer;
		uint64_t got;

		if (peers_find(ep->peers, holders[i], &peer) || peer.self || !peer.base[0])
			continue;
		g.len = 0;
		rc = transfer_data(ep->httpc, &peer, &m->version, chunk * CHUNK_SIZE, len, gather,
				   &g, &got);
		if (!rc)
			rc = held_repair(held, chunk, g.data, len);
	}
	free(g.data);
	return rc;
}

/* Reads all of it; the first damaged chunk by *bad. 0, -EBADMSG, -errno. */
static int check_all(struct held *held, uint64_t *bad)
{
	struct held_cursor *cur = held_cursor_new(held);
	uint64_t pos = 0;
	ssize_t n = 0;
	char byte;

	if (!cur)
		return -ENOMEM;
	/* One byte of each block: the whole block is checked. */
	for (; pos < held_manifest(held)->size; pos += BLOCK_SIZE) {
		n = held_read(cur, pos, &byte, 1);
		if (n < 0)
			break;
	}
	*bad = cur->bad;
	held_cursor_free(cur);
	return n < 0 ? (int)n : 0;
}

/* Chunk by chunk in place; whatever does not heal so is fetched whole. */
static int mend(struct endpoint *ep, const struct version *v, unsigned int *mended)
{
	char holders[NAMES_HOLDERS_MAX][CONF_NAME_MAX];
	struct held *held = NULL;
	unsigned int n;
	uint64_t bad;
	int rc;

	*mended = 0;
	rc = held_get(ep->held, v, &held);
	if (rc && rc != -EBADMSG)
		return rc == -ENOENT ? 0 : rc; /* forgotten meanwhile */
	n = find_holders(ep, v, held, holders);
	while (!rc) {
		rc = check_all(held, &bad);
		if (!rc || rc != -EBADMSG)
			break;
		rc = mend_chunk(ep, held, bad, (const char(*)[CONF_NAME_MAX])holders, n);
		*mended += !rc;
	}
	if (rc == -EBADMSG) {
		rc = repair_fetch(ep, v, (const char(*)[CONF_NAME_MAX])holders, n);
		*mended += !rc;
	}
	held_put(held);
	held_drop(ep->held, v);
	return rc;
}

struct mending {
	struct endpoint *ep;
	struct version version;
};

static void mend_job(void *arg)
{
	struct mending *job = arg;
	char hex[VERSION_STRLEN];
	unsigned int mended;
	int rc = mend(job->ep, &job->version, &mended);

	version_format(&job->version, hex);
	if (mended) {
		atomic_fetch_add(&job->ep->counts.repaired, mended);
		log_warn("version %s: %u damaged chunk%s repaired from another copy", hex, mended,
			 mended == 1 ? "" : "s");
	}
	if (rc)
		log_limited(LOG_LEVEL_ERROR, 30, "version %s is damaged and could not be repaired (%s); it is tried again "
			  "by the "
			  "next reader and by the scrubber",
			  hex, strerror(-rc));
	free(job);
}

void repair_queue(struct repair *r, const struct version *v)
{
	struct mending *job = malloc(sizeof(*job));

	if (!job)
		return; /* the scrubber finds it */
	*job = (struct mending){ r->ep, *v };
	if (jobs_add(r->jobs, mend_job, job))
		free(job);
}

struct missing {
	struct endpoint *ep;
	char bucket[BUCKET_MAX];
	struct name_entry entry;
};

int repair_missing_now(struct endpoint *ep, const char *bucket, const struct name_entry *entry)
{
	struct name_entry *now;
	struct version v;
	int rc;

	if (entry->marker || entry->nparts || version_parse(&v, entry->version) ||
	    chunks_has(ep->chunks, &v))
		return 0;
	rc = repair_fetch(ep, &v, entry->holders, entry->nholders);
	log_warn("version %s should be here and was missing: %s", entry->version,
		 rc ? strerror(-rc) : "fetched");
	if (rc)
		return rc;
	/* Deleted or replaced meanwhile: nobody would tell this endpoint once more. */
	now = malloc(sizeof(*now));
	if (now && find_entry(ep, bucket, entry->key, entry->version, now) == -ENOENT)
		chunks_forget(ep->chunks, &v);
	free(now);
	return 0;
}

static void missing_job(void *arg)
{
	struct missing *job = arg;

	repair_missing_now(job->ep, job->bucket, &job->entry);
	free(job);
}

void repair_missing(struct repair *r, const char *bucket, const struct name_entry *entry)
{
	struct missing *job;

	for (unsigned int i = 0; i < entry->nholders; i++) {
		if (strcmp(entry->holders[i], r->ep->node))
			continue;
		job = malloc(sizeof(*job));
		if (!job)
			return;
		*job = (struct missing){ .ep = r->ep, .entry = *entry };
		snprintf(job->bucket, sizeof(job->bucket), "%s", bucket);
		if (jobs_add(r->jobs, missing_job, job))
			free(job);
	}
}

int repair_new(struct repair **out, struct endpoint *ep)
{
	struct repair *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->ep = ep;
	rc = jobs_new(&r->jobs, "repair", 2);
	if (!rc)
		rc = scrub_new(&r->scrub, ep);
	if (rc) {
		repair_free(r);
		return rc;
	}
	*out = r;
	return 0;
}

void repair_free(struct repair *r)
{
	if (!r)
		return;
	scrub_free(r->scrub);
	jobs_free(r->jobs);
	free(r);
}

json_t *repair_status(struct repair *r)
{
	return scrub_status(r->scrub);
}

struct orphans *repair_orphans(struct repair *r)
{
	return scrub_orphans(r->scrub);
}

void repair_scrub(struct repair *r)
{
	scrub_now(r->scrub);
}
