/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_ask.c -- a write as a message to the bucket's primary, and its answer; strictly, like
 * names_wire.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"

static const char *const write_names[] = {
	[WRITE_PUT] = "put",	   [WRITE_DELETE] = "delete", [WRITE_META] = "meta",
	[WRITE_UPLOAD] = "upload", [WRITE_PART] = "part",     [WRITE_COMPLETE] = "complete",
	[WRITE_ABORT] = "abort",   [WRITE_OPEN] = "open",     [WRITE_CLOSE] = "close",
};

static void text_set(json_t *o, const char *member, const char *text)
{
	if (text && *text)
		json_object_set_new(o, member, json_string(text));
}

static void number_set(json_t *o, const char *member, uint64_t v)
{
	if (v)
		json_object_set_new(o, member, json_integer((json_int_t)v));
}

json_t *names_write_encode(const char *bucket, const struct write *w, int64_t wait_ms)
{
	json_t *o = json_pack("{s:s s:s s:o s:I}", "bucket", bucket, "write", write_names[w->kind],
			      "entry", names_entry_encode(&w->entry), "wait_ms",
			      (json_int_t)wait_ms),
	       *list;

	number_set(o, "mode", w->mode);
	number_set(o, "if_seq", w->if_seq);
	number_set(o, "part_min", w->part_min);
	text_set(o, "target", w->target);
	text_set(o, "if_match", w->if_match);
	text_set(o, "if_none_match", w->if_none_match);
	if (w->nideal) {
		list = json_array();
		for (unsigned int i = 0; i < w->nideal; i++)
			json_array_append_new(list, json_string(w->ideal[i]));
		json_object_set_new(o, "ideal", list);
	}
	if (w->nlist) {
		list = json_array();
		for (size_t i = 0; i < w->nlist; i++)
			json_array_append_new(
				list, json_pack("[i s]", (int)w->list[i].number, w->list[i].etag));
		json_object_set_new(o, "parts", list);
	}
	return o;
}

/* ---- reading ---- */

/* Members that may be missing. */
static int text_get(const json_t *body, const char *member, char **out)
{
	const json_t *v = json_object_get(body, member);

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v) || json_string_length(v) > 4096)
		return -EINVAL;
	*out = strdup(json_string_value(v));
	return *out ? 0 : -ENOMEM;
}

static int number_get(const json_t *body, const char *member, uint64_t *out)
{
	*out = 0;
	return json_object_get(body, member) ? names_json_u64(body, member, out) : 0;
}

static int ideal_decode(const json_t *list, struct write *w)
{
	const json_t *value;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > NAMES_HOLDERS_MAX)
		return -EINVAL;
	json_array_foreach (list, i, value) {
		if (!json_is_string(value) || !names_node_valid(json_string_value(value)))
			return -EINVAL;
		strcpy(w->ideal[w->nideal++], json_string_value(value));
	}
	return 0;
}

static int parts_decode(const json_t *list, struct write *w)
{
	const json_t *value;
	unsigned int before = 0;
	size_t i;

	if (w->kind != WRITE_COMPLETE)
		return list ? -EINVAL : 0;
	if (!json_is_array(list) || json_array_size(list) < 1 ||
	    json_array_size(list) > NAMES_PARTS_MAX)
		return -EINVAL;
	w->list = calloc(json_array_size(list), sizeof(*w->list));
	if (!w->list)
		return -ENOMEM;
	json_array_foreach (list, i, value) {
		struct names_part *part = &w->list[w->nlist++];
		const char *etag;
		json_int_t number;

		if (json_unpack_ex((json_t *)value, NULL, JSON_STRICT, "[I s]", &number, &etag) ||
		    number <= before || number > NAMES_PARTS_MAX || strlen(etag) > NAMES_ETAG_MAX)
			return -EINVAL;
		before = part->number = (unsigned int)number;
		strcpy(part->etag, etag);
	}
	return 0;
}

static int kind_decode(const json_t *body, enum write_kind *kind)
{
	char word[16];

	if (names_json_text(body, "write", word, sizeof(word)))
		return -EINVAL;
	for (int k = WRITE_PUT; k <= WRITE_ASKED; k++)
		if (!strcmp(word, write_names[k])) {
			*kind = (enum write_kind)k;
			return 0;
		}
	return -EINVAL;
}

/* Does the kind have what it needs? */
static int target_check(const struct write *w)
{
	uint8_t packed[16];

	switch (w->kind) {
	case WRITE_PART:
		if (w->entry.part < 1 || strncmp(w->entry.version, w->target, 24))
			return -EINVAL;
		/* fallthrough */
	case WRITE_COMPLETE:
	case WRITE_ABORT:
		return names_is_group(w->target) ? names_version_pack(packed, w->target) : -EINVAL;
	case WRITE_UPLOAD:
		return names_is_group(w->entry.version) ? 0 : -EINVAL;
	case WRITE_DELETE:
	case WRITE_META:
		return *w->target && strcmp(w->target, "null")
			       ? names_version_pack(packed, w->target)
			       : 0;
	default:
		return *w->target ? -EINVAL : 0;
	}
}

static int write_decode(const json_t *body, struct write *w)
{
	uint64_t mode;
	char *target = NULL;
	int rc;

	if (names_entry_decode(&w->entry, json_object_get(body, "entry")) || w->entry.deleted ||
	    w->entry.marker || number_get(body, "mode", &mode) || mode > NAMES_SUSPENDED ||
	    number_get(body, "if_seq", &w->if_seq) || number_get(body, "part_min", &w->part_min))
		return -EINVAL;
	w->mode = (enum names_mode)mode;
	rc = text_get(body, "target", &target);
	if (!rc && target && strlen(target) < sizeof(w->target))
		strcpy(w->target, target);
	else if (!rc && target)
		rc = -EINVAL;
	free(target);
	if (!rc)
		rc = text_get(body, "if_match", &w->if_match);
	if (!rc)
		rc = text_get(body, "if_none_match", &w->if_none_match);
	if (!rc)
		rc = ideal_decode(json_object_get(body, "ideal"), w);
	if (!rc)
		rc = parts_decode(json_object_get(body, "parts"), w);
	return rc ? rc : target_check(w);
}

int names_write_decode(const json_t *body, char bucket[NAMES_BUCKET_MAX + 1], struct write **w)
{
	enum write_kind kind;
	uint64_t wait_ms;
	int rc;

	*w = NULL;
	if (names_json_text(body, "bucket", bucket, NAMES_BUCKET_MAX + 1) ||
	    !names_bucket_valid(bucket) || names_json_u64(body, "wait_ms", &wait_ms) ||
	    kind_decode(body, &kind))
		return -EINVAL;
	*w = write_new(kind);
	rc = *w ? write_decode(body, *w) : -ENOMEM;
	if (rc) {
		write_free(*w);
		*w = NULL;
		return rc;
	}
	(*w)->deadline =
		now_ms() + (int64_t)(wait_ms < NAMES_TIMEOUT_MS ? wait_ms : NAMES_TIMEOUT_MS);
	return 0;
}

/* ---- the answer ---- */

json_t *names_answer_encode(const struct write *w)
{
	json_t *o = json_pack("{s:o s:b}", "entry", names_entry_encode(&w->entry), "replaced",
			      w->replaced);

	if (w->kind == WRITE_DELETE)
		json_object_set_new(o, "deleted",
				    json_pack("{s:b s:b s:s}", "marker", w->deleted.marker, "null",
					      w->deleted.null_version, "version",
					      w->deleted.version));
	return o;
}

int names_answer_decode(struct write *w, const json_t *answer)
{
	const json_t *deleted = json_object_get(answer, "deleted");
	struct name_entry e;

	if (names_entry_decode(&e, json_object_get(answer, "entry")))
		return -EPROTO;
	w->entry = e;
	w->replaced = json_is_true(json_object_get(answer, "replaced"));
	if (!deleted)
		return 0;
	w->deleted.marker = json_is_true(json_object_get(deleted, "marker"));
	w->deleted.null_version = json_is_true(json_object_get(deleted, "null"));
	return names_json_text(deleted, "version", w->deleted.version, sizeof(w->deleted.version))
		       ? -EPROTO
		       : 0;
}
