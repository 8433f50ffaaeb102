/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_multipart.c -- CreateMultipartUpload, CompleteMultipartUpload, AbortMultipartUpload (s3_multipart.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/store/parts.h"
#include "http/store/s3_multipart.h"
#include "lib/hash.h"

/* ---- what both files need ---- */

void upload_choice_of(const json_t *meta, struct upload_choice *out)
{
	const char *algorithm = s3_meta_text(meta, UPLOAD_META_ALGORITHM), *type = s3_meta_text(meta, UPLOAD_META_TYPE);

	out->chosen = algorithm && checksum_by_name(&out->kind, algorithm);
	out->full = out->chosen && type && !strcmp(type, "FULL_OBJECT");
}

const char *upload_choice_type(const struct upload_choice *choice)
{
	return choice->full ? "FULL_OBJECT" : "COMPOSITE";
}

enum s3_error upload_id_valid(struct s3 *s3, const char **id)
{
	struct version v;

	*id = s3_query(s3, "uploadId");
	if (!*id || version_parse(&v, *id) || !names_is_group(*id))
		return s3_fault(&s3->fault, S3_NO_SUCH_UPLOAD, NULL);
	return S3_OK;
}

enum s3_error upload_find(struct s3 *s3, struct name_entry *entry, json_t **meta)
{
	const char *id;
	enum s3_error error = upload_id_valid(s3, &id);
	int rc;

	if (error)
		return error;
	rc = names_upload_get(s3->ep->names, s3->bucket, s3->key, id, entry);
	if (rc)
		return s3_names_error(s3, rc, S3_NO_SUCH_UPLOAD);
	if (!meta)
		return S3_OK;
	*meta = s3_meta_of_entry(entry);
	return *meta ? S3_OK : S3_INTERNAL;
}

enum s3_error upload_may(struct s3 *s3, enum s3_error found, const json_t *meta)
{
	if (!s3->denied || (found && found != S3_NO_SUCH_UPLOAD))
		return found;
	/* who may not is not told what is there */
	return found ? s3_fault(&s3->fault, S3_ACCESS_DENIED, NULL) : s3_may_part(s3, meta);
}

/* ---- CreateMultipartUpload ---- */

/* The checksums of parts can be made one of the whole, or not. */
static bool type_fits(enum checksum_kind kind, bool full)
{
	if (kind == CHECKSUM_CRC64NVME)
		return full;
	return !full || kind == CHECKSUM_CRC32 || kind == CHECKSUM_CRC32C;
}

static enum s3_error choose(struct s3 *s3, struct upload_choice *choice)
{
	const char *algorithm = s3_header(s3, "x-amz-checksum-algorithm"), *type = s3_header(s3, "x-amz-checksum-type");

	*choice = (struct upload_choice){ .chosen = algorithm != NULL };
	if (!algorithm)
		return type ? s3_fault(&s3->fault, S3_INVALID_REQUEST,
				       "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
			    : S3_OK;
	if (!checksum_by_name(&choice->kind, algorithm))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
				"[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
	if (type && strcasecmp(type, "FULL_OBJECT") && strcasecmp(type, "COMPOSITE"))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST, "Value for x-amz-checksum-type header is invalid.");
	choice->full = type ? !strcasecmp(type, "FULL_OBJECT") : choice->kind == CHECKSUM_CRC64NVME;
	if (!type_fits(choice->kind, choice->full))
		return s3_fault(&s3->fault, S3_INVALID_REQUEST,
				"The %s checksum type cannot be used with the %s checksum algorithm.", upload_choice_type(choice),
				checksum_name(choice->kind));
	return S3_OK;
}

static enum s3_error create(struct s3 *s3, struct name_entry *entry, struct upload_choice *choice)
{
	json_t *meta = NULL;
	enum s3_error error;
	int rc;

	error = choose(s3, choice);
	if (!error)
		error = s3_meta_of_request(s3, &meta);
	if (!error && choice->chosen) {
		json_object_set_new(meta, UPLOAD_META_ALGORITHM, json_string(checksum_name(choice->kind)));
		json_object_set_new(meta, UPLOAD_META_TYPE, json_string(upload_choice_type(choice)));
	}
	if (!error && s3_encryption_asked(s3)) {
		json_object_set_new(meta, S3_META_KEY, json_string(S3_META_KEY_PARTS));
		s3_add_encryption(s3, meta);
	}
	if (!error)
		error = s3_meta_store(s3, meta, entry);
	json_decref(meta);
	if (error)
		return error;
	strcpy(entry->key, s3->key);
	rc = names_upload_create(s3->ep->names, s3->bucket, entry);
	if (rc == -ENOENT && !buckets_open(s3->ep->buckets, s3->ep->names, s3->bucket)) /* as in s3_put.c */
		rc = names_upload_create(s3->ep->names, s3->bucket, entry);
	return rc ? s3_names_error(s3, rc, S3_NO_SUCH_BUCKET) : S3_OK;
}

void s3_upload_create_run(struct s3 *s3)
{
	struct name_entry *entry = calloc(1, sizeof(*entry));
	struct upload_choice choice;
	enum s3_error error = entry ? create(s3, entry, &choice) : S3_SERVICE_UNAVAILABLE;
	size_t len = 0;
	char *text;

	if (error) {
		s3_reply_error(s3, error);
	} else {
		if (choice.chosen) {
			http_add_header(s3->req, "x-amz-checksum-algorithm", checksum_name(choice.kind));
			http_add_header(s3->req, "x-amz-checksum-type", upload_choice_type(&choice));
		}
		s3_add_abort_date(s3, entry);
		text = s3_out_upload_created(s3->bucket, s3->key, entry->version, &len);
		s3_reply_xml(s3, 200, text, len);
	}
	free(entry);
}

/* ---- CompleteMultipartUpload ---- */

struct completing {
	struct s3 *s3;
	struct s3_complete list;
	struct upload_choice choice;
	struct names_part *parts; /* list.n, as names wants them */
	uint8_t *md5s, *sums;	  /* of the parts of the list, one after another */
	size_t at;		  /* … found so far */
	unsigned int last;	  /* the number of the last part that was told */
	uint64_t size;
	bool small, last_small; /* one but the last is; the last one is */
	bool left_out;		/* a part before the last is not in the list */
	uint8_t full[CHECKSUM_MAX];
	enum s3_error error;
};

static enum s3_error invalid_part(struct completing *c, unsigned int number)
{
	return s3_fault(&c->s3->fault, S3_INVALID_PART,
			"One or more of the specified parts could not be found. The part may not have been uploaded, or the "
			"specified entity tag may not match the part's entity tag (part %u).",
			number);
}

/* Does the list say of a part what was kept of it? Of an upload whose checksum is one of the parts'
 * it must say it of each. */
static enum s3_error compare_part(struct completing *c, const struct s3_complete_part *want,
				  const char *kept)
{
	const char *name = checksum_name(c->choice.kind);

	if (!want->algorithm[0] && !c->choice.full)
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"The upload was created using a %s checksum. The complete request "
				"must include the checksum for each "
				"part. It was missing for part %u in the request.",
				name, want->number);
	if (want->algorithm[0] && strcmp(want->algorithm, name))
		return s3_fault(&c->s3->fault, S3_BAD_DIGEST,
				"The %s you specified for part %u did not match what we received.",
				want->algorithm, want->number);
	return want->algorithm[0] && strcmp(want->checksum, kept) ? invalid_part(c, want->number)
								  : S3_OK;
}

/* The checksum of a part: kept, compared with what the list says, and made one with those before. */
static enum s3_error take_checksum(struct completing *c, const struct s3_complete_part *want, const struct name_entry *part)
{
	size_t size = checksum_size(c->choice.kind);
	json_t *meta = s3_meta_of_entry(part);
	struct s3_checksum_text sum = s3_meta_checksum_text(meta);
	uint8_t *at = c->sums + c->at * CHECKSUM_MAX;
	enum s3_error error = S3_OK;

	if (!sum.value || strcmp(sum.algorithm, checksum_name(c->choice.kind)) || checksum_parse(c->choice.kind, sum.value, at))
		error = s3_fault(&c->s3->fault, S3_INVALID_PART, "Part %u was uploaded without the checksum that the upload was begun with (%s).",
				 part->part, checksum_name(c->choice.kind));
	else
		error = compare_part(c, want, sum.value);
	if (!error && !c->at)
		memcpy(c->full, at, size);
	else if (!error && c->choice.full)
		checksum_combine(c->choice.kind, c->full, at, part->size);
	json_decref(meta);
	return error;
}

static int take_part(void *arg, const char *bucket, const struct name_entry *part)
{
	const struct s3_complete_part *want;
	struct completing *c = arg;

	(void)bucket;
	c->last = part->part;
	if (c->at == c->list.n)
		return 1;
	want = &c->list.parts[c->at];
	if (part->part < want->number) {
		c->left_out = true;
		return 0; /* not named: it will be forgotten */
	}
	if (part->part > want->number || strcasecmp(want->etag, part->etag) ||
	    hex_decode(part->etag, c->md5s + c->at * 16, 16)) {
		c->error = invalid_part(c, want->number);
		return 1;
	}
	if (c->choice.chosen)
		c->error = take_checksum(c, want, part);
	if (c->error)
		return 1;
	/* names takes them as they are stored */
	c->parts[c->at].number = want->number;
	strcpy(c->parts[c->at].etag, part->etag);
	c->size += part->size;
	c->small |= c->last_small;
	c->last_small = part->size < S3_PART_MIN;
	c->at++;
	return 0;
}

static enum s3_error collect(struct completing *c, const char *id)
{
	bool more = true;
	int rc = 0;

	while (rc == 0 && more && c->at < c->list.n) {
		unsigned int before = c->last;

		rc = names_parts(c->s3->ep->names, c->s3->bucket, id, c->last, 0, c->choice.chosen, take_part, c, &more);
		if (!rc && c->last == before)
			break;
	}
	if (rc < 0)
		return s3_names_error(c->s3, rc, S3_NO_SUCH_UPLOAD);
	if (!c->error && c->at < c->list.n)
		c->error = invalid_part(c, c->list.parts[c->at].number);
	return c->error;
}

/* A checksum that the upload was not begun with is not known of the parts: what it says of the whole cannot be compared. */
static enum s3_error refuse_others(struct completing *c)
{
	for (int kind = CHECKSUM_CRC32; kind < CHECKSUM_KINDS; kind++) {
		const char *name = checksum_header((enum checksum_kind)kind);

		if (!name || (c->choice.chosen && c->choice.kind == (enum checksum_kind)kind) || !s3_header(c->s3, name))
			continue;
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"Checksum Type mismatch occurred, expected checksum Type: %s, actual checksum Type: %s",
				c->choice.chosen ? checksum_name(c->choice.kind) : "null", checksum_name((enum checksum_kind)kind));
	}
	return S3_OK;
}

/* "VALUE", or "VALUE-N" of parts' checksums: how long VALUE is, 0 when it is neither. */
static size_t whole_length(const struct completing *c, const char *said)
{
	char value[CHECKSUM_TEXT_MAX];
	uint8_t bytes[CHECKSUM_MAX];
	size_t len = c->choice.full ? strlen(said) : strcspn(said, "-");

	if (len >= sizeof(value) ||
	    (said[len] && (!said[len + 1] || said[len + 1 + strspn(said + len + 1, "0123456789")])))
		return 0;
	memcpy(value, said, len);
	value[len] = '\0';
	return checksum_parse(c->choice.kind, value, bytes) ? 0 : len;
}

static enum s3_error compare_size(struct completing *c)
{
	const char *size = s3_header(c->s3, "x-amz-mp-object-size");
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, c->size);
	if (!size || !strcmp(size, text))
		return S3_OK;
	if (!*size || size[strspn(size, "0123456789")])
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"Value for x-amz-mp-object-size header is invalid: '%.64s'", size);
	return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
			"The provided 'x-amz-mp-object-size' header value %.24s does not match "
			"what was computed: %s",
			size, text);
}

/* x-amz-mp-object-size, and a checksum of the whole in a header. */
static enum s3_error compare_whole(struct completing *c, const char *checksum)
{
	const char *said;
	enum s3_error error;
	size_t len;

	error = compare_size(c);
	if (!error)
		error = refuse_others(c);
	if (error || !c->choice.chosen)
		return error;
	said = s3_header(c->s3, "x-amz-checksum-type");
	if (said && strcasecmp(said, "FULL_OBJECT") && strcasecmp(said, "COMPOSITE"))
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"Value for x-amz-checksum-type header is invalid.");
	if (said && strcasecmp(said, upload_choice_type(&c->choice)))
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"The upload was created using the %s checksum mode. The complete request must use the same checksum mode.",
				upload_choice_type(&c->choice));
	said = s3_header(c->s3, checksum_header(c->choice.kind));
	len = said ? whole_length(c, said) : 0;
	if (said && !len)
		return s3_fault(&c->s3->fault, S3_INVALID_REQUEST,
				"Value for %s header is invalid.", checksum_header(c->choice.kind));
	/* "VALUE-N" and "VALUE" both stand for one of the parts' checksums. */
	if (said && strcmp(said, checksum) &&
	    (said[len] || len != strcspn(checksum, "-") || strncmp(said, checksum, len)))
		return s3_fault(&c->s3->fault, S3_BAD_DIGEST, "The %s you specified did not match the calculated checksum.",
				checksum_name(c->choice.kind));
	return S3_OK;
}

/* The ETag and the checksum of the whole, into the entry and the meta that the object gets. */
static enum s3_error sum_up(struct completing *c, struct name_entry *entry, json_t *meta)
{
	size_t size = c->choice.chosen ? checksum_size(c->choice.kind) : 0;
	char text[CHECKSUM_TEXT_MAX] = "", whole[CHECKSUM_TEXT_MAX + 8] = "", hex[33];
	uint8_t sum[CHECKSUM_MAX];

	checksum_composite(CHECKSUM_MD5, c->md5s, c->list.n, sum);
	snprintf(entry->etag, sizeof(entry->etag), "%s-%zu", hex_encode(sum, 16, hex), c->list.n);
	json_object_del(meta, UPLOAD_META_ALGORITHM);
	json_object_del(meta, UPLOAD_META_TYPE);
	if (c->choice.chosen) {
		for (size_t i = 0; i < c->list.n; i++)
			memmove(c->sums + i * size, c->sums + i * CHECKSUM_MAX, size);
		if (!c->choice.full)
			checksum_composite(c->choice.kind, c->sums, c->list.n, c->full);
		checksum_text(c->choice.kind, c->full, text);
		if (c->choice.full)
			snprintf(whole, sizeof(whole), "%s", text);
		else
			snprintf(whole, sizeof(whole), "%s-%zu", text, c->list.n);
		json_object_set_new(meta, S3_META_CHECKSUM, json_pack("{s:s}", checksum_name(c->choice.kind), whole));
		json_object_set_new(meta, S3_META_KIND, json_string(upload_choice_type(&c->choice)));
	}
	return compare_whole(c, whole);
}

/* What the object will be is known and right. */
static enum s3_error prepare(struct completing *c, struct name_entry *entry, json_t *meta, const char *id)
{
	enum s3_error error;

	c->parts = calloc(c->list.n, sizeof(*c->parts));
	c->md5s = calloc(c->list.n, 16);
	c->sums = calloc(c->list.n, CHECKSUM_MAX);
	if (!c->parts || !c->md5s || !c->sums)
		return S3_SERVICE_UNAVAILABLE;
	error = collect(c, id);
	memset(entry, 0, sizeof(*entry));
	if (!error)
		error = sum_up(c, entry, meta);
	return error ? error : s3_meta_store(c->s3, meta, entry);
}

static enum s3_error complete(struct completing *c, struct name_entry *entry, json_t *meta, const char *id)
{
	struct s3 *s3 = c->s3;
	struct names_how how;
	enum s3_error error = prepare(c, entry, meta, id);
	int rc;

	if (!error)
		error = s3_names_how(s3, &how);
	if (error)
		return error;
	rc = names_upload_complete(s3->ep->names, s3->bucket, s3->key, id, c->parts, c->list.n, S3_PART_MIN, entry, &how, NULL);
	if (rc == -EBADMSG)
		return s3_fault(&s3->fault, S3_INVALID_PART, NULL);
	if (rc == -EMSGSIZE)
		return s3_fault(&s3->fault, S3_ENTITY_TOO_SMALL, NULL);
	if (rc == -EINVAL)
		return s3_fault(&s3->fault, S3_INVALID_PART_ORDER, NULL);
	return rc ? s3_put_refused(s3, rc, &how, S3_NO_SUCH_UPLOAD) : S3_OK;
}

/* Of a dataset: the file is checked by the gateway that asks, which gets it as one stream; the parts stay what they are. */
static enum s3_error hand_over(struct completing *c, struct name_entry *entry, json_t *meta, const char *id)
{
	struct s3 *s3 = c->s3;
	struct reader_job job = { .status = 200, .type = READER_TYPE, .refuse = s3_send_refuse, .refuse_arg = c->s3 };
	enum s3_error error = prepare(c, entry, meta, id);
	char etag[S3_ETAG_MAX];

	if (error)
		return error;
	if (c->small)
		return s3_fault(&s3->fault, S3_ENTITY_TOO_SMALL, NULL);
	if (c->left_out)
		return s3_fault(&s3->fault, S3_INVALID_PART_ORDER,
				"Of a dataset's file all parts before the last one must be listed: begin anew without those that are not.");
	strcpy(entry->version, id);
	entry->nparts = (unsigned int)c->list.n;
	entry->size = job.len = c->size;
	http_add_header(s3->req, "ETag", s3_etag(entry, etag));
	s3_add_ids(s3);
	s3->answered = true;
	parts_reply(s3->ep, s3->req, s3->bucket, entry, &job, &s3->parts);
	return S3_OK;
}

static void reply_complete(struct s3 *s3, const struct name_entry *entry, const json_t *meta)
{
	struct s3_checksum_text checksum = s3_meta_checksum_text(meta);
	const char *host = s3_header(s3, s3->inside ? "X-Weir-S3-Host" : "Host");
	char *location = NULL, *encoded = http_percent_encode(s3->key, true), etag[S3_ETAG_MAX], *text = NULL;
	size_t len = 0;

	if (encoded && asprintf(&location, "%s://%s/%s%s%s", s3_is_https(s3) ? "https" : "http", host ? host : "",
				s3->target.virtual_host ? "" : s3->bucket, s3->target.virtual_host ? "" : "/", encoded) < 0)
		location = NULL;
	if (location)
		text = s3_out_upload_complete(location, s3->bucket, s3->key, s3_etag(entry, etag), &checksum, &len);
	s3_add_version(s3, entry);
	s3_add_expiration(s3, entry, meta);
	s3_add_encryption(s3, meta);
	s3_reply_xml(s3, 200, text, len);
	free(location);
	free(encoded);
}

/* A retry of what has succeeded gets the same answer. */
static bool completed_before(struct s3 *s3, struct name_entry *entry)
{
	const char *id = s3_query(s3, "uploadId");
	json_t *meta;
	bool allowed;

	if (!id || (names_get_version(s3->ep->names, s3->bucket, s3->key, id, entry) &&
		    names_get_version(s3->ep->names, s3->bucket, s3->key, "null", entry)))
		return false;
	if (!entry->nparts || strcmp(entry->version, id))
		return false;
	meta = s3_meta_of_entry(entry);
	allowed = !s3->denied || (meta && !s3_may_part(s3, meta));
	if (allowed)
		reply_complete(s3, entry, meta);
	json_decref(meta);
	return allowed;
}

void s3_upload_complete_run(struct s3 *s3)
{
	struct name_entry *entry = calloc(1, sizeof(*entry));
	struct completing c = { .s3 = s3 };
	enum s3_error error = entry ? S3_OK : S3_SERVICE_UNAVAILABLE;
	json_t *meta = NULL;

	if (!error)
		error = s3_in_complete(&c.list, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);
	if (!error)
		error = upload_find(s3, entry, &meta);
	if (error == S3_NO_SUCH_UPLOAD && completed_before(s3, entry))
		goto out;
	error = upload_may(s3, error, meta);
	if (!error) {
		upload_choice_of(meta, &c.choice);
		error = users_dataset(s3->ep->users, s3->bucket) ? hand_over(&c, entry, meta, s3_query(s3, "uploadId"))
								  : complete(&c, entry, meta, s3_query(s3, "uploadId"));
	}
	if (error)
		s3_reply_error(s3, error);
	else if (!s3->answered)
		reply_complete(s3, entry, meta);
out:
	json_decref(meta);
	s3_complete_free(&c.list);
	free(c.parts);
	free(c.md5s);
	free(c.sums);
	free(entry);
}

/* ---- AbortMultipartUpload ---- */

void s3_upload_abort_run(struct s3 *s3)
{
	const char *id;
	enum s3_error error = upload_id_valid(s3, &id);
	int rc;

	if (error) {
		s3_reply_error(s3, error);
		return;
	}
	rc = names_upload_abort(s3->ep->names, s3->bucket, s3->key, id);
	if (rc)
		s3_reply_names(s3, rc, S3_NO_SUCH_UPLOAD);
	else
		s3_reply_empty(s3, 204);
}
