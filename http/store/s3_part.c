/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_part.c -- UploadPart, UploadPartCopy, ListParts, ListMultipartUploads (s3_multipart.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/listing.h"
#include "http/s3/range.h"
#include "http/store/s3_multipart.h"
#include "lib/hash.h"

#define TRIES 256 /* that can be told apart */

/* Versions that this endpoint is writing, not on the disk yet and known to nobody, or that are being forgotten on others. */
struct claim {
	struct version version;
	struct claim *next;
};
static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct claim *claims;

struct part {
	unsigned int number;
	struct version version;
	struct claim *claim; /* of version; NULL: the upload's (claim_give()) */
};

/* False: another try has it. */
static bool claim(struct claim *new)
{
	const struct claim *other;

	pthread_mutex_lock(&claims_lock);
	for (other = claims; other && !version_equal(&other->version, &new->version); other = other->next)
		;
	if (!other) {
		new->next = claims;
		claims = new;
	}
	pthread_mutex_unlock(&claims_lock);
	return !other;
}

static void unclaim(const struct claim *old)
{
	struct claim **p = &claims;

	pthread_mutex_lock(&claims_lock);
	while (*p != old)
		p = &(*p)->next;
	*p = old->next;
	pthread_mutex_unlock(&claims_lock);
}

/* NULL is accepted. */
static void claim_free(void *arg)
{
	if (arg)
		unclaim(arg);
	free(arg);
}

/* An upload that is cut forgets its version on other endpoints later: no other try may have the version before. */
static void claim_give(struct part *part, struct upload *upload)
{
	if (!upload || !part->claim)
		return;
	upload_at_end(upload, claim_free, part->claim);
	part->claim = NULL;
}

static void part_free(void *own)
{
	claim_free(((struct part *)own)->claim);
	free(own);
}

/* Where the search for a try's number begins. It goes round, so that the same one comes again as late as can be: what forgets an
 * earlier try may be on its way yet. */
static _Atomic unsigned int attempts;
static pthread_once_t attempts_once = PTHREAD_ONCE_INIT;

static void attempts_begin(void)
{
	uint8_t first;

	random_bytes(&first, sizeof(first)); /* a restart is no reason to begin anew */
	atomic_store(&attempts, first);
}

static uint8_t next_attempt(void)
{
	pthread_once(&attempts_once, attempts_begin);
	return (uint8_t)atomic_fetch_add(&attempts, 1);
}

/* A version for this try, claimed. Other endpoints have others; of this one's only 8 bits tell the tries of a part apart, and the
 * same one twice would put these bytes in the place of those that were acknowledged, or have them forgotten with them. */
static enum s3_error part_version(struct s3 *s3, const char *id, struct part *part)
{
	struct claim *mine = calloc(1, sizeof(*mine));
	uint8_t attempt = next_attempt();
	char version[VERSION_STRLEN];
	enum s3_error error = mine ? S3_OK : S3_SERVICE_UNAVAILABLE;
	int rc;

	for (int i = 0; !error && i < TRIES; i++, attempt++) {
		rc = names_part_attempt(s3->ep->names, id, part->number, attempt, version);
		if (rc || version_parse(&mine->version, version)) {
			error = rc == -EAGAIN ? s3_names_error(s3, rc, S3_NO_SUCH_UPLOAD) : s3_fault(&s3->fault, S3_NO_SUCH_UPLOAD, NULL);
			continue;
		}
		if (!claim(mine))
			continue;
		rc = chunks_has(s3->ep->chunks, &mine->version) ? 0 : names_version_used(s3->ep->names, s3->bucket, version);
		if (rc == -ENOENT) {
			part->version = mine->version;
			part->claim = mine;
			return S3_OK;
		}
		unclaim(mine);
		if (rc)
			error = s3_names_error(s3, rc, S3_NO_SUCH_UPLOAD);
	}
	free(mine);
	return error ? error : s3_fault(&s3->fault, S3_SERVICE_UNAVAILABLE, "Too many tries of this part are known; try again.");
}

/* partNumber and uploadId of the query, and a version for this try. */
static enum s3_error part_of(struct s3 *s3, struct part *part)
{
	const char *id, *text = s3_query(s3, "partNumber");
	enum s3_error error;

	if (!text)
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "This request must have the parameters partNumber and uploadId.");
	if (s3_number_parse(&part->number, text, 1, S3_PARTS_MAX, "partNumber", NULL))
		return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Part number must be an integer between 1 and 10000, inclusive");
	error = upload_id_valid(s3, &id);
	return error ? error : part_version(s3, id, part);
}

/* Is the upload there, may this be done to it, and with which checksum was it begun? */
static enum s3_error find_choice(struct s3 *s3, struct upload_choice *choice)
{
	struct name_entry *upload = calloc(1, sizeof(*upload));
	json_t *meta = NULL;
	enum s3_error error = upload ? upload_find(s3, upload, &meta) : S3_SERVICE_UNAVAILABLE;

	error = upload_may(s3, error, meta);
	if (!error) {
		upload_choice_of(meta, choice);
		s3->encrypt = s3_meta_text(meta, S3_META_KEY) != NULL;
	}
	json_decref(meta);
	free(upload);
	return error;
}

static enum s3_error check_upload(struct s3 *s3)
{
	struct upload_choice choice;
	enum s3_error error = find_choice(s3, &choice);

	if (!error && choice.full) /* one of the whole is made of the parts' own: who sends none has
				      it computed here */
		s3_body_choose(s3, choice.kind);
	if (error || !choice.chosen || (s3->body.has_kind && s3->body.kind == choice.kind))
		return error;
	return s3_fault(&s3->fault, S3_INVALID_REQUEST,
			"Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
			checksum_name(choice.kind), s3->body.has_kind ? checksum_name(s3->body.kind) : "null");
}

/* What was received is stored, and becomes the part. */
static enum s3_error keep(struct s3 *s3, unsigned int number, struct name_entry *entry, json_t *meta)
{
	struct names_how how = { .mode = NAMES_PLAIN };
	struct upload_nodes ideal;
	enum s3_error error;
	int rc;

	s3_meta_checksum(s3, meta);
	rc = upload_store(s3->body.upload);
	if (rc)
		return s3_store_error(s3, rc);
	upload_entry(s3->body.upload, entry);
	error = s3_meta_store(s3, meta, entry);
	if (error) {
		upload_named(s3->body.upload, -EINVAL);
		return error;
	}
	strcpy(entry->etag, s3->body.etag);
	entry->size = s3->body.size;
	memcpy(entry->sha256, s3->body.sha256, sizeof(entry->sha256));
	how.nideal = upload_ideal(s3->body.upload, &ideal);
	how.ideal = ideal.names;
	rc = names_part_put(s3->ep->names, s3->bucket, s3->key, s3_query(s3, "uploadId"), number, entry, &how);
	upload_named(s3->body.upload, rc);
	return rc ? s3_names_error(s3, rc, S3_NO_SUCH_UPLOAD) : S3_OK;
}

/* ---- UploadPart ---- */

enum s3_error s3_part_begin(struct s3 *s3)
{
	struct part *part = calloc(1, sizeof(*part));
	enum s3_error error;

	if (!part)
		return S3_SERVICE_UNAVAILABLE;
	s3->own = part;
	s3->free_own = part_free;
	error = part_of(s3, part);
	if (!error)
		error = check_upload(s3);
	if (error)
		return error;
	error = s3_body_store(s3, &part->version);
	claim_give(part, s3->body.upload);
	return error;
}

void s3_part_run(struct s3 *s3)
{
	struct name_entry *entry = calloc(1, sizeof(*entry));
	const struct part *part = s3->own;
	json_t *meta = json_object();
	enum s3_error error = entry && meta ? S3_OK : S3_SERVICE_UNAVAILABLE;
	char etag[S3_ETAG_MAX];

	if (!error)
		error = keep(s3, part->number, entry, meta);
	if (error) {
		s3_reply_error(s3, error);
	} else {
		http_add_header(s3->req, "ETag", s3_etag(entry, etag));
		s3_add_checksum(s3, meta);
		s3_add_encryption(s3, meta);
		s3_reply_empty(s3, 200);
	}
	json_decref(meta);
	free(entry);
}

/* ---- UploadPartCopy ---- */

/* The whole object when the request names no range. */
static enum s3_error copy_range(struct s3 *s3, const struct name_entry *from, struct http_range *out)
{
	const char *text = s3_header(s3, "x-amz-copy-source-range");

	*out = (struct http_range){ 0, from->size };
	return text ? s3_range_copy(out, text, from->size, &s3->fault) : S3_OK;
}

/* meta: says which checksum the copy gets: the one that the upload was begun with. */
static enum s3_error copy_part(struct s3 *s3, struct s3_source *source, struct part *part, json_t **meta)
{
	struct upload_choice choice;
	struct http_range range;
	enum s3_error error = find_choice(s3, &choice); /* first: may it be done at all? */

	if (!error)
		error = s3_source_find(s3, source);
	if (!error)
		error = part_of(s3, part);
	if (!error)
		error = copy_range(s3, &source->entry, &range);
	if (!error && range.len > S3_PART_MAX)
		error = s3_fault(&s3->fault, S3_ENTITY_TOO_LARGE, NULL);
	if (error)
		return error;
	if (choice.chosen)
		json_object_set_new(*meta, S3_META_CHECKSUM, json_pack("{s:s}", checksum_name(choice.kind), ""));
	error = s3_source_copy(s3, source, *meta, range.first, range.len, &part->version);
	json_object_clear(*meta);
	return error;
}

void s3_part_copy_run(struct s3 *s3)
{
	struct s3_source *source = calloc(1, sizeof(*source));
	struct name_entry *entry = calloc(1, sizeof(*entry));
	json_t *meta = json_object();
	struct part part = { .number = 0 };
	enum s3_error error = source && entry && meta ? copy_part(s3, source, &part, &meta) : S3_SERVICE_UNAVAILABLE;
	struct s3_checksum_text checksum;
	char etag[S3_ETAG_MAX], *text;
	size_t len = 0;

	if (!error)
		error = keep(s3, part.number, entry, meta);
	if (error) {
		s3_reply_error(s3, error);
	} else {
		checksum = s3_meta_checksum_text(meta);
		text = s3_out_copy("CopyPartResult", s3_etag(entry, etag), entry->modified, &checksum, &len);
		s3_reply_xml(s3, 200, text, len);
	}
	claim_give(&part, s3->body.upload);
	claim_free(part.claim);
	json_decref(meta);
	free(entry);
	free(source);
}

/* ---- ListParts, ListMultipartUploads ---- */

struct listing {
	struct s3_list_params params;
	struct s3_list list;
	bool full;
};

static int list_part(void *arg, const char *bucket, const struct name_entry *part)
{
	struct listing *l = arg;
	json_t *meta = s3_meta_of_entry(part);
	char etag[S3_ETAG_MAX];
	struct s3_list_row row = { .part = part->part,
				   .size = part->size,
				   .modified = part->modified,
				   .etag = s3_etag(part, etag),
				   .checksum = s3_meta_checksum_text(meta) };

	(void)bucket;
	l->full = s3_list_row(&l->list, &row);
	json_decref(meta);
	return l->full;
}

static struct s3_owner owner_of(const struct s3 *s3)
{
	return (struct s3_owner){ s3->config && s3->config->owner[0] ? s3->config->owner : "weir", NULL };
}

static int fill_parts(struct s3 *s3, struct listing *l, const char *id, bool *more)
{
	unsigned int after = l->params.after_part;
	int rc = 0;

	*more = l->params.max > 0;
	while (rc == 0 && *more && l->list.n < l->params.max) {
		unsigned int before = l->list.n;

		rc = names_parts(s3->ep->names, s3->bucket, id, after, l->params.max - l->list.n, true, list_part, l, more);
		after = l->list.last_part;
		if (l->list.n == before)
			break;
	}
	*more = *more || l->full;
	return rc < 0 ? rc : 0;
}

void s3_parts_list_run(struct s3 *s3)
{
	struct name_entry *upload = calloc(1, sizeof(*upload));
	struct listing *l = calloc(1, sizeof(*l));
	struct upload_choice choice = { 0 };
	json_t *meta = NULL;
	enum s3_error error = upload && l ? s3_list_params(&l->params, S3_LIST_PARTS, &s3->target, &s3->fault) : S3_SERVICE_UNAVAILABLE;
	size_t len = 0;
	char *text;
	bool more;
	int rc;

	if (!error)
		error = upload_find(s3, upload, &meta);
	if (error) {
		s3_reply_error(s3, error);
		goto out;
	}
	upload_choice_of(meta, &choice);
	s3_list_begin(&l->list, &l->params, s3->bucket);
	l->list.upload_key = s3->key;
	l->list.upload_id = upload->version;
	l->list.owner = owner_of(s3);
	l->list.upload_checksum.algorithm = choice.chosen ? checksum_name(choice.kind) : "";
	l->list.upload_checksum.type = choice.chosen ? upload_choice_type(&choice) : NULL;
	rc = fill_parts(s3, l, upload->version, &more);
	if (rc) {
		s3_list_drop(&l->list);
		s3_reply_names(s3, rc, S3_NO_SUCH_UPLOAD);
		goto out;
	}
	s3_add_abort_date(s3, upload);
	text = s3_list_end(&l->list, more, &len);
	s3_reply_xml(s3, 200, text, len);
out:
	json_decref(meta);
	free(upload);
	free(l);
}

static int list_upload(void *arg, const char *bucket, const struct name_entry *upload)
{
	struct listing *l = arg;
	json_t *meta = s3_meta_of_entry(upload);
	struct upload_choice choice;
	struct s3_list_row row = { .key = upload->key, .version = upload->version, .modified = upload->modified, .owner = l->list.owner };

	(void)bucket;
	upload_choice_of(meta, &choice);
	row.checksum.algorithm = choice.chosen ? checksum_name(choice.kind) : "";
	row.checksum.type = choice.chosen ? upload_choice_type(&choice) : NULL;
	l->full = s3_list_row(&l->list, &row);
	json_decref(meta);
	return l->full;
}

static int list_prefix(void *arg, const char *bucket, const char *prefix)
{
	struct listing *l = arg;

	(void)bucket;
	l->full = s3_list_prefix(&l->list, prefix);
	return l->full;
}

/* A page of names may be shorter than S3's: it is filled up. */
static int fill_uploads(struct s3 *s3, struct listing *l, bool *more)
{
	struct names_select select = { .prefix = l->params.prefix,
				       .delimiter = l->params.delimiter,
				       .after = l->params.after,
				       .after_version = l->params.after_version,
				       .meta = true };
	struct names_page *pages = calloc(2, sizeof(*pages)), *page = pages;
	int rc = pages ? 0 : -ENOMEM;

	*more = l->params.max > 0;
	while (!rc && *more && l->list.n < l->params.max) {
		select.limit = l->params.max - l->list.n;
		rc = names_uploads(s3->ep->names, s3->bucket, &select, list_upload, list_prefix, l, page);
		*more = page->more || l->full;
		select.after = page->next;
		select.after_version = page->next_version;
		page = page == pages ? pages + 1 : pages;
	}
	free(pages);
	return rc < 0 ? rc : 0;
}

/* It need not be there any more: who ends uploads while he lists them goes on behind one that he
 * has ended. */
static enum s3_error check_marker(struct s3 *s3, const struct s3_list_params *params)
{
	struct version v;

	if (!*params->after_version ||
	    (!version_parse(&v, params->after_version) && names_is_group(params->after_version)))
		return S3_OK;
	return s3_fault(&s3->fault, S3_INVALID_ARGUMENT, "Invalid uploadId marker");
}

void s3_uploads_list_run(struct s3 *s3)
{
	struct listing *l = calloc(1, sizeof(*l));
	enum s3_error error = l ? s3_list_params(&l->params, S3_LIST_UPLOADS, &s3->target, &s3->fault) : S3_SERVICE_UNAVAILABLE;
	size_t len = 0;
	char *text;
	bool more;
	int rc;

	if (!error)
		error = check_marker(s3, &l->params);
	if (error) {
		s3_reply_error(s3, error);
		free(l);
		return;
	}
	s3_list_begin(&l->list, &l->params, s3->bucket);
	l->list.owner = owner_of(s3);
	rc = fill_uploads(s3, l, &more);
	if (rc && rc != -ENOENT) { /* a bucket that nobody has written to has none */
		s3_list_drop(&l->list);
		s3_reply_names(s3, rc, S3_NO_SUCH_BUCKET);
	} else {
		text = s3_list_end(&l->list, rc ? false : more, &len);
		s3_reply_xml(s3, 200, text, len);
	}
	free(l);
}
