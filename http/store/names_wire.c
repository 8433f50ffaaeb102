/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_wire.c -- the messages among endpoints as JSON, strictly: an unknown kind, a missing
 * member, a number out of range or a name that could not have been stored refuses the whole
 * message.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_op.h"
#include "lib/hash.h"

static const char *const kind_names[] = {
	[NAMES_OP_PUT] = "put",
	[NAMES_OP_DELETE] = "delete",
	[NAMES_OP_FORGOTTEN] = "forgotten",
	[NAMES_OP_FETCHED] = "fetched",
	[NAMES_OP_OPEN] = "open",
	[NAMES_OP_CLOSE] = "close",
	[NAMES_OP_COMPLETE] = "complete",
};

int names_json_text(const json_t *object, const char *member, char *out, size_t room)
{
	const json_t *v = json_object_get(object, member);

	if (!json_is_string(v) || json_string_length(v) >= room ||
	    strlen(json_string_value(v)) != json_string_length(v))
		return -EINVAL;
	strcpy(out, json_string_value(v));
	return 0;
}

int names_json_u64(const json_t *object, const char *member, uint64_t *out)
{
	const json_t *v = json_object_get(object, member);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return -EINVAL;
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int node_decode(const json_t *value, char out[CONF_NAME_MAX])
{
	if (!json_is_string(value) || json_string_length(value) >= CONF_NAME_MAX ||
	    !names_node_valid(json_string_value(value)))
		return -EINVAL;
	strcpy(out, json_string_value(value));
	return 0;
}

static json_t *nodes_encode(char (*nodes)[CONF_NAME_MAX], unsigned int n)
{
	json_t *list = json_array();

	for (unsigned int i = 0; list && i < n; i++)
		json_array_append_new(list, json_string(nodes[i]));
	return list;
}

static int nodes_decode(const json_t *list, char (*out)[CONF_NAME_MAX], unsigned int max,
			unsigned int *n)
{
	if (!json_is_array(list) || json_array_size(list) > max)
		return -EINVAL;
	*n = (unsigned int)json_array_size(list);
	for (unsigned int i = 0; i < *n; i++)
		if (node_decode(json_array_get(list, i), out[i]))
			return -EINVAL;
	return 0;
}

json_t *names_entry_encode(const struct name_entry *entry)
{
	char sha[65];
	json_t *holders = nodes_encode((char(*)[CONF_NAME_MAX])entry->holders, entry->nholders);
	json_t *o = json_pack("{s:s s:s s:I s:s s:I s:o s:b s:I s:I s:I s:b}", "key", entry->key,
			      "version", entry->version, "size", (json_int_t)entry->size, "sha256",
			      hex_encode(entry->sha256, 32, sha), "modified",
			      (json_int_t)entry->modified, "holders", holders, "deleted",
			      entry->deleted, "epoch", (json_int_t)entry->epoch, "seq",
			      (json_int_t)entry->seq, "order", (json_int_t)entry->order, "null",
			      entry->null_version);

	/* The rare ones only when they say something. */
	if (entry->marker)
		json_object_set_new(o, "marker", json_true());
	if (entry->current)
		json_object_set_new(o, "current", json_true());
	if (entry->nparts)
		json_object_set_new(o, "nparts", json_integer(entry->nparts));
	if (entry->part)
		json_object_set_new(o, "part", json_integer(entry->part));
	if (entry->etag[0])
		json_object_set_new(o, "etag", json_string(entry->etag));
	if (entry->meta_len)
		json_object_set_new(o, "meta", json_string(entry->meta));
	return o;
}

/* name: with the comma or brace before it, the quotes and the colon. */
static void text_write(struct json_text *json, const char *name, const char *value)
{
	json_text_raw(json, name, strlen(name));
	json_text_string(json, value);
}

static void number_write(struct json_text *json, const char *name, uint64_t value)
{
	json_text_raw(json, name, strlen(name));
	json_text_int(json, (int64_t)value);
}

static void bool_write(struct json_text *json, const char *name, bool value)
{
	json_text_raw(json, name, strlen(name));
	json_text_bool(json, value);
}

static void rare_write(struct json_text *json, const struct name_entry *entry)
{
	if (entry->marker)
		bool_write(json, ",\"marker\":", true);
	if (entry->current)
		bool_write(json, ",\"current\":", true);
	if (entry->nparts)
		number_write(json, ",\"nparts\":", entry->nparts);
	if (entry->part)
		number_write(json, ",\"part\":", entry->part);
	if (entry->etag[0])
		text_write(json, ",\"etag\":", entry->etag);
	if (entry->meta_len)
		text_write(json, ",\"meta\":", entry->meta);
}

void names_entry_write(struct json_text *json, const struct name_entry *entry)
{
	char sha[65];

	text_write(json, "{\"key\":", entry->key);
	text_write(json, ",\"version\":", entry->version);
	number_write(json, ",\"size\":", entry->size);
	text_write(json, ",\"sha256\":", hex_encode(entry->sha256, 32, sha));
	number_write(json, ",\"modified\":", (uint64_t)entry->modified);
	json_text_raw(json, ",\"holders\":[", 12);
	for (unsigned int i = 0; i < entry->nholders; i++)
		text_write(json, i ? "," : "", entry->holders[i]);
	bool_write(json, "],\"deleted\":", entry->deleted);
	number_write(json, ",\"epoch\":", entry->epoch);
	number_write(json, ",\"seq\":", entry->seq);
	number_write(json, ",\"order\":", entry->order);
	bool_write(json, ",\"null\":", entry->null_version);
	rare_write(json, entry);
	json_text_raw(json, "}", 1);
}

/* Bytes of a JSON string with these. */
static size_t json_weight(const char *text)
{
	size_t n = 2;

	for (; *text; text++)
		n += (unsigned char)*text < 0x20 ? 6 : *text == '"' || *text == '\\' ? 2 : 1;
	return n;
}

size_t names_entry_weight(const struct name_entry *entry)
{
	return 480 + json_weight(entry->key) + strlen(entry->etag) +
	       (entry->meta_len ? json_weight(entry->meta) : 0) +
	       (size_t)entry->nholders * (CONF_NAME_MAX + 3);
}

/* A member that may be missing: 0 then. */
static int small_decode(const json_t *value, const char *member, unsigned int *out)
{
	uint64_t v = 0;

	if (json_object_get(value, member) &&
	    (names_json_u64(value, member, &v) || v > NAMES_PARTS_MAX))
		return -EINVAL;
	*out = (unsigned int)v;
	return 0;
}

static int rare_decode(struct name_entry *out, const json_t *value)
{
	const json_t *null_version = json_object_get(value, "null");

	if (!json_is_boolean(null_version) || names_json_u64(value, "order", &out->order) ||
	    small_decode(value, "nparts", &out->nparts) ||
	    small_decode(value, "part", &out->part) ||
	    (json_object_get(value, "etag") &&
	     names_json_text(value, "etag", out->etag, sizeof(out->etag))) ||
	    (json_object_get(value, "meta") &&
	     names_json_text(value, "meta", out->meta, sizeof(out->meta))))
		return -EINVAL;
	out->meta_len = (unsigned int)strlen(out->meta);
	out->null_version = json_is_true(null_version);
	out->marker = json_is_true(json_object_get(value, "marker"));
	out->current = json_is_true(json_object_get(value, "current"));
	return 0;
}

int names_entry_decode(struct name_entry *out, const json_t *value)
{
	const json_t *deleted = json_object_get(value, "deleted");
	char sha[65];
	uint64_t modified;

	memset(out, 0, sizeof(*out));
	if (names_json_text(value, "key", out->key, sizeof(out->key)) ||
	    names_json_text(value, "version", out->version, sizeof(out->version)) ||
	    names_json_u64(value, "size", &out->size) ||
	    names_json_text(value, "sha256", sha, sizeof(sha)) || strlen(sha) != 64 ||
	    hex_decode(sha, out->sha256, 32) || names_json_u64(value, "modified", &modified) ||
	    nodes_decode(json_object_get(value, "holders"), out->holders, NAMES_HOLDERS_MAX,
			 &out->nholders) ||
	    names_json_u64(value, "epoch", &out->epoch) ||
	    names_json_u64(value, "seq", &out->seq) || !json_is_boolean(deleted) ||
	    rare_decode(out, value))
		return -EINVAL;
	out->modified = (int64_t)modified;
	out->deleted = json_is_true(deleted);
	return names_entry_check(out);
}

static bool writes(enum names_op_kind kind)
{
	return kind == NAMES_OP_PUT || kind == NAMES_OP_DELETE || kind == NAMES_OP_COMPLETE;
}

static void keep_encode(json_t *o, const uint8_t keep[NAMES_KEEP_BYTES])
{
	char hex[2 * NAMES_KEEP_BYTES + 1];

	json_object_set_new(o, "keep", json_string(hex_encode(keep, NAMES_KEEP_BYTES, hex)));
}

static json_t *op_encode(const struct names_op *op)
{
	json_t *o = json_pack("{s:s s:I s:I}", "do", kind_names[op->kind], "epoch",
			      (json_int_t)op->epoch, "seq", (json_int_t)op->seq);
	json_t *seqs;

	if (op->id[0])
		json_object_set_new(o, "id", json_string(op->id));
	if (op->kind == NAMES_OP_OPEN || op->kind == NAMES_OP_CLOSE)
		return o;
	if (op->kind == NAMES_OP_COMPLETE)
		keep_encode(o, op->keep);
	if (writes(op->kind)) {
		if (op->space)
			json_object_set_new(o, "space", json_integer(op->space));
		json_object_set_new(o, "entry", names_entry_encode(&op->entry));
		json_object_set_new(o, "replaced", json_boolean(op->replaced));
		json_object_set_new(o, "forget", json_string(op->forget));
		json_object_set_new(o, "fetch",
				    nodes_encode((char(*)[CONF_NAME_MAX])op->fetch, op->nfetch));
		return o;
	}
	if (op->kind == NAMES_OP_FETCHED) {
		json_object_set_new(o, "version", json_string(op->entry.version));
		json_object_set_new(o, "holds", json_boolean(op->holds));
	}
	seqs = json_array();
	for (unsigned int i = 0; i < op->nseqs; i++)
		json_array_append_new(seqs, json_integer((json_int_t)op->seqs[i]));
	json_object_set_new(o, "node", json_string(op->node));
	json_object_set_new(o, "tasks", seqs);
	return o;
}

static int write_decode(struct names_op *out, const json_t *value)
{
	const json_t *replaced = json_object_get(value, "replaced");
	uint8_t version[16];
	unsigned int space;

	if (small_decode(value, "space", &space) || space > NAMES_DROPPED ||
	    names_entry_decode(&out->entry, json_object_get(value, "entry")) ||
	    !json_is_boolean(replaced) ||
	    names_json_text(value, "forget", out->forget, sizeof(out->forget)) ||
	    (out->forget[0] && names_version_pack(version, out->forget)) ||
	    nodes_decode(json_object_get(value, "fetch"), out->fetch, NAMES_HOLDERS_MAX,
			 &out->nfetch))
		return -EINVAL;
	out->replaced = json_is_true(replaced);
	out->space = (enum names_space)space;
	if (out->entry.order < 1 || out->entry.order > out->seq)
		return -EINVAL;
	if (out->entry.epoch != out->epoch || out->entry.seq != out->seq ||
	    out->entry.deleted != (out->kind == NAMES_OP_DELETE))
		return -EINVAL;
	return 0;
}

static int complete_decode(struct names_op *out, const json_t *value)
{
	char hex[2 * NAMES_KEEP_BYTES + 1];

	if (write_decode(out, value) || out->space || !out->entry.nparts ||
	    names_json_text(value, "keep", hex, sizeof(hex)) || strlen(hex) != sizeof(hex) - 1 ||
	    hex_decode(hex, out->keep, NAMES_KEEP_BYTES))
		return -EINVAL;
	return 0;
}

static int done_decode(struct names_op *out, const json_t *value)
{
	const json_t *seqs = json_object_get(value, "tasks");
	const json_t *holds = json_object_get(value, "holds");
	uint8_t version[16];

	if (node_decode(json_object_get(value, "node"), out->node) || !json_is_array(seqs) ||
	    json_array_size(seqs) < 1 || json_array_size(seqs) > NAMES_DONE_MAX)
		return -EINVAL;
	out->nseqs = (unsigned int)json_array_size(seqs);
	for (unsigned int i = 0; i < out->nseqs; i++) {
		const json_t *v = json_array_get(seqs, i);

		if (!json_is_integer(v) || json_integer_value(v) < 1)
			return -EINVAL;
		out->seqs[i] = (uint64_t)json_integer_value(v);
	}
	if (out->kind == NAMES_OP_FORGOTTEN)
		return 0;
	if (names_json_text(value, "version", out->entry.version, sizeof(out->entry.version)) ||
	    names_version_pack(version, out->entry.version) || !json_is_boolean(holds) ||
	    out->nseqs != 1)
		return -EINVAL;
	out->holds = json_is_true(holds);
	return 0;
}

static int op_decode(struct names_op *out, const json_t *value)
{
	uint8_t id[16];
	char kind[16];

	memset(out, 0, sizeof(*out));
	if (names_json_text(value, "do", kind, sizeof(kind)) ||
	    names_json_u64(value, "epoch", &out->epoch) ||
	    names_json_u64(value, "seq", &out->seq) || out->seq < 1)
		return -EINVAL;
	if (json_object_get(value, "id") &&
	    (names_json_text(value, "id", out->id, sizeof(out->id)) ||
	     names_version_pack(id, out->id)))
		return -EINVAL;
	for (int k = NAMES_OP_PUT; k <= NAMES_OP_COMPLETE; k++)
		if (!strcmp(kind, kind_names[k]))
			out->kind = (enum names_op_kind)k;
	switch (out->kind) {
	case NAMES_OP_PUT:
	case NAMES_OP_DELETE:
		return write_decode(out, value);
	case NAMES_OP_COMPLETE:
		return complete_decode(out, value);
	case NAMES_OP_FORGOTTEN:
	case NAMES_OP_FETCHED:
		return done_decode(out, value);
	case NAMES_OP_OPEN:
	case NAMES_OP_CLOSE:
		return 0;
	}
	return -EINVAL;
}

json_t *names_batch_encode(const struct names_batch *batch)
{
	json_t *ops = json_array();

	for (unsigned int i = 0; i < batch->nops; i++)
		json_array_append_new(ops, op_encode(&batch->ops[i]));
	return json_pack("{s:s s:s s:I s:I s:I s:o s:o}", "bucket", batch->bucket, "primary",
			 batch->primary, "epoch", (json_int_t)batch->epoch, "prev_epoch",
			 (json_int_t)batch->prev_epoch, "prev_seq", (json_int_t)batch->prev_seq,
			 "targets", nodes_encode(batch->targets, batch->ntargets), "ops", ops);
}

static int batch_lists_decode(struct names_batch *out, const json_t *value)
{
	const json_t *targets = json_object_get(value, "targets");
	const json_t *ops = json_object_get(value, "ops");

	if (!json_is_array(targets) || !json_is_array(ops) || json_array_size(ops) < 1 ||
	    json_array_size(ops) > NAMES_BATCH_MAX || json_array_size(targets) > NAMES_TARGETS_MAX)
		return -EINVAL;
	out->targets = calloc(json_array_size(targets) + 1, sizeof(*out->targets));
	out->ops = calloc(json_array_size(ops), sizeof(*out->ops));
	if (!out->targets || !out->ops ||
	    nodes_decode(targets, out->targets, NAMES_TARGETS_MAX, &out->ntargets))
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(ops); i++) {
		struct names_op *op = &out->ops[i];

		if (op_decode(op, json_array_get(ops, i)) || op->epoch != out->epoch ||
		    op->seq != out->prev_seq + 1 + i)
			return -EINVAL;
		out->nops++;
	}
	return 0;
}

int names_batch_decode(struct names_batch *out, const json_t *value)
{
	memset(out, 0, sizeof(*out));
	if (names_json_text(value, "bucket", out->bucket, sizeof(out->bucket)) ||
	    !names_bucket_valid(out->bucket) ||
	    node_decode(json_object_get(value, "primary"), out->primary) ||
	    names_json_u64(value, "epoch", &out->epoch) ||
	    names_json_u64(value, "prev_epoch", &out->prev_epoch) ||
	    names_json_u64(value, "prev_seq", &out->prev_seq) || out->prev_epoch > out->epoch)
		return -EINVAL;
	if (batch_lists_decode(out, value)) {
		names_batch_free(out);
		return -EINVAL;
	}
	return 0;
}

char *names_record_encode(const struct names_record *record)
{
	json_t *o = json_pack("{s:I s:s s:s?}", "epoch", (json_int_t)record->epoch, "primary",
			      record->primary, "secondary",
			      record->secondary[0] ? record->secondary : NULL);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

int names_record_decode(struct names_record *out, const char *text, size_t len)
{
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *second = json_object_get(o, "secondary");
	struct names_record r = { 0 };
	int rc = -EINVAL;

	if (!names_json_u64(o, "epoch", &r.epoch) && r.epoch >= 1 &&
	    !node_decode(json_object_get(o, "primary"), r.primary) &&
	    (json_is_null(second) || !node_decode(second, r.secondary)) &&
	    strcmp(r.primary, r.secondary)) {
		*out = r;
		rc = 0;
	}
	json_decref(o);
	return rc;
}
