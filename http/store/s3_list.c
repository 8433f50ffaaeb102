/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_list.c -- ListObjects, ListObjectsV2, ListObjectVersions.
 */
#include <string.h>

#include "http/s3/listing.h"
#include "http/store/dataset.h"
#include "http/store/s3_ops.h"

struct listing {
	struct s3 *s3;
	struct s3_list_params params;
	struct s3_list list;
	struct s3_owner owner;
	bool hides; /* what a dataset keeps for itself */
};

static bool is_hidden(const struct listing *l, const char *key)
{
	return l->hides && !strncmp(key, DATASET_KEPT, strlen(DATASET_KEPT));
}

static int list_entry(void *arg, const char *bucket, const struct name_entry *entry)
{
	struct listing *l = arg;
	char etag[S3_ETAG_MAX];
	struct s3_list_row row = { .key = entry->key,
				   .version = s3_version_text(entry),
				   .size = entry->size,
				   .modified = entry->modified,
				   .etag = s3_etag(entry, etag),
				   .latest = entry->current,
				   .marker = entry->marker };

	char algorithm[16];
	bool composite;

	(void)bucket;
	if (is_hidden(l, entry->key))
		return 0;
	if (entry->meta_len && s3_meta_has_checksum(entry->meta, algorithm, &composite))
		row.checksum = (struct s3_checksum_text){ .algorithm = algorithm,
							  .type = composite ? "COMPOSITE"
									    : "FULL_OBJECT" };
	if (l->params.kind != S3_LIST_V2 || l->params.fetch_owner)
		row.owner = l->owner;
	return s3_list_row(&l->list, &row);
}

static int list_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct listing *l = arg;

	(void)bucket;
	return is_hidden(l, prefix) ? 0 : s3_list_prefix(&l->list, prefix);
}

/* A page of names may be shorter than S3's: it is filled up. */
static int fill(struct listing *l, bool *more)
{
	struct names_select select = { .prefix = l->params.prefix,
				       .delimiter = l->params.delimiter,
				       .after = l->params.after,
				       .after_version = l->params.after_version,
				       .meta = true }; /* says which checksum there is */
	struct names *names = l->s3->ep->names;
	struct names_page page;
	char after[NAMES_KEY_MAX + 1], version[NAMES_MARKER_MAX + 1];
	int rc;

	*more = false;
	if (!l->params.max)
		return 0;
	do {
		select.limit = l->params.max - l->list.n;
		rc = (l->params.kind == S3_LIST_VERSIONS ? names_versions : names_list_with)(
			names, l->s3->bucket, &select, list_entry, list_prefix, l, &page);
		if (rc)
			return rc < 0 ? rc : 0;
		strcpy(after, page.next);
		strcpy(version, page.next_version);
		select.after = after;
		select.after_version = version;
		*more = page.more;
	} while (page.more && l->list.n < l->params.max);
	return 0;
}

/* It need not be there any more: who removes versions while listing them goes on behind one that is
 * gone. */
static enum s3_error check_marker(struct s3 *s3, const struct s3_list_params *params)
{
	const char *marker = params->after_version;
	struct version v;

	if (!*marker || !strcmp(marker, "null") || !version_parse(&v, marker))
		return S3_OK;
	return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid version id specified");
}

static void list(struct s3 *s3, enum s3_list_kind kind)
{
	struct listing l = { .s3 = s3 };
	enum s3_error error;
	size_t len;
	char *text;
	bool more;
	int rc;

	error = s3_list_params(&l.params, kind, &s3->target, &s3->fault);
	if (!error)
		error = check_marker(s3, &l.params);
	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	l.owner.id = s3->config && s3->config->owner[0] ? s3->config->owner : "weir";
	l.hides = dataset_hides(s3->ep, &s3->who, s3->bucket);
	s3_list_begin(&l.list, &l.params, s3->bucket);
	rc = fill(&l, &more);
	if (rc && rc != -ENOENT) { /* a bucket that nobody has written to is empty */
		s3_list_drop(&l.list);
		s3_reply_names(s3, rc, S3_NO_SUCH_BUCKET);
		return;
	}
	atomic_fetch_add(&s3->ep->counts.lists, 1);
	text = s3_list_end(&l.list, more, &len);
	s3_reply_xml(s3, 200, text, len);
}

void s3_list_run(struct s3 *s3)
{
	list(s3, s3->op->op == S3_OP_ListObjectsV2 ? S3_LIST_V2 : S3_LIST_V1);
}

void s3_list_versions_run(struct s3 *s3)
{
	list(s3, S3_LIST_VERSIONS);
}
