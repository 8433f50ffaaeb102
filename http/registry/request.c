/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.c -- see request.h. The messages are etcd's own (server/etcdserver/api/v3rpc/rpctypes),
 * with a hint where one helps, so that clients that know them find them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/registry/fields.h"
#include "http/registry/request.h"
#include "lib/hash.h"
#include "lib/registry.h"

/* grpc/codes */
enum {
	CODE_INVALID = 3,
	CODE_NOT_FOUND = 5,
	CODE_DENIED = 7,
	CODE_EXHAUSTED = 8,
	CODE_PRECONDITION = 9,
	CODE_RANGE = 11,
	CODE_UNIMPLEMENTED = 12,
	CODE_INTERNAL = 13
};

/* What root alone writes, and the first key after it ('/' + 1 is '0'). */
static const struct {
	const char *from, *to;
} root_only[] = { { REG_USERS, REG_ROOT "users0" }, { REG_GROUPS, REG_ROOT "groups0" } };

static bool touches_root_only(const struct span *span)
{
	for (size_t i = 0; i < sizeof(root_only) / sizeof(*root_only); i++)
		if (span_overlaps(span, root_only[i].from, root_only[i].to))
			return true;
	return false;
}

/* ---- answers ---- */

unsigned int request_status(int code)
{
	switch (code) {
	case CODE_INVALID:
	case CODE_RANGE:
		return 400;
	case CODE_NOT_FOUND:
		return 404;
	case CODE_DENIED:
		return 403;
	case CODE_EXHAUSTED:
		return 429;
	case CODE_PRECONDITION:
		return 412;
	case CODE_UNIMPLEMENTED:
		return 501;
	default:
		return 500;
	}
}

json_t *request_error(int code, const char *message)
{
	char text[512];

	snprintf(text, sizeof(text), "%s", message);
	/* It may quote what a stranger sent, or be cut in the middle of a character. */
	for (char *c = text; *c; c++)
		if ((unsigned char)*c >= 0x80 || (unsigned char)*c < ' ')
			*c = '?';
	return json_pack("{s:s,s:s,s:i}", "error", text, "message", text, "code", code);
}

static void set_i64(json_t *object, const char *name, int64_t value)
{
	char text[24];

	if (!value)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)value);
	json_object_set_new(object, name, json_string(text));
}

static void set_bytes(json_t *object, const char *name, const void *data, size_t len)
{
	char *text = len ? base64_encode(data, len) : NULL;

	if (text)
		json_object_set_new(object, name, json_string_nocheck(text));
	free(text);
}

json_t *request_header(const struct store *s, int64_t revision)
{
	char cluster[24];
	json_t *header = json_object();

	snprintf(cluster, sizeof(cluster), "%llu", (unsigned long long)store_cluster(s));
	json_object_set_new(header, "cluster_id", json_string(cluster));
	json_object_set_new(header, "member_id", json_string("1"));
	set_i64(header, "revision", revision);
	json_object_set_new(header, "raft_term", json_string("1"));
	return header;
}

json_t *request_kv(const struct kv *kv, bool keys_only)
{
	json_t *out = json_object();

	set_bytes(out, "key", kv_key(kv), kv->key_len);
	set_i64(out, "create_revision", kv->create_revision);
	set_i64(out, "mod_revision", kv->mod_revision);
	set_i64(out, "version", kv->version);
	if (!keys_only)
		set_bytes(out, "value", kv_value(kv), kv->value_len);
	set_i64(out, "lease", kv->lease);
	return out;
}

static json_t *op_answer(const struct store *s, const struct store_op *op, int64_t revision)
{
	json_t *out = json_pack("{s:o}", "header", request_header(s, revision)), *list;

	if (op->verb == OP_PUT) {
		if (op->nkvs)
			json_object_set_new(out, "prev_kv", request_kv(op->kvs[0], false));
		return out;
	}
	if (op->nkvs) {
		list = json_array();
		for (size_t i = 0; i < op->nkvs; i++)
			json_array_append_new(list, request_kv(op->kvs[i], op->keys_only));
		json_object_set_new(out, op->verb == OP_RANGE ? "kvs" : "prev_kvs", list);
	}
	if (op->more)
		json_object_set_new(out, "more", json_true());
	set_i64(out, op->verb == OP_RANGE ? "count" : "deleted", op->count);
	return out;
}

/* A failed call of the store as an answer. */
static unsigned int refuse(int code, const char *message, json_t **answer)
{
	*answer = request_error(code, message);
	return request_status(code);
}

static unsigned int store_failed(int rc, json_t **answer)
{
	switch (rc) {
	case -EEXIST:
		return refuse(CODE_INVALID, "etcdserver: duplicate key given in txn request",
			      answer);
	case -ENOKEY:
		return refuse(CODE_NOT_FOUND, "etcdserver: requested lease not found", answer);
	case -ENOSPC:
		return refuse(
			CODE_EXHAUSTED,
			"etcdserver: mvcc: database space exceeded; nothing was changed: free "
			"space on the disk of weir-registry's state folder, or delete keys",
			answer);
	case -ENOMEM:
		return refuse(CODE_EXHAUSTED, "weir-registry is out of memory; nothing was changed",
			      answer);
	default:
		return refuse(
			CODE_INTERNAL,
			"weir-registry cannot write to its disk; nothing was changed: see the "
			"kernel's log for the disk's errors",
			answer);
	}
}

/* ---- parsing ---- */

static void parse_span(struct fields *f, const json_t *o, struct span *span)
{
	span->key = fields_bytes(f, o, "key", STORE_KEY_MAX, &span->key_len);
	span->end = fields_bytes(f, o, "range_end", STORE_KEY_MAX, &span->end_len);
	if (!span->key_len)
		fields_fault(f, CODE_INVALID, "etcdserver: key is not provided");
}

static void parse_range(struct fields *f, const json_t *o, struct store_op *op)
{
	static const char *const known[] = {
		"key",	      "range_end",    "limit",	    "revision",	   "keys_only",
		"count_only", "serializable", "sort_order", "sort_target", NULL
	};
	static const char *const orders[] = { "NONE", "ASCEND", NULL };
	static const char *const targets[] = { "KEY", NULL };

	fields_only(f, o, known);
	op->verb = OP_RANGE;
	parse_span(f, o, &op->span);
	op->limit = fields_i64(f, o, "limit");
	op->keys_only = fields_bool(f, o, "keys_only");
	op->count_only = fields_bool(f, o, "count_only");
	(void)fields_i64(f, o,
			 "revision"); /* the present one is answered, and said in the header */
	(void)fields_bool(f, o, "serializable");
	(void)fields_enum(f, o, "sort_order", orders);
	(void)fields_enum(f, o, "sort_target", targets);
}

static void parse_put(struct fields *f, const json_t *o, struct store_op *op)
{
	static const char *const known[] = { "key", "value", "lease", "prev_kv", NULL };

	fields_only(f, o, known);
	op->verb = OP_PUT;
	parse_span(f, o, &op->span);
	op->value = fields_bytes(f, o, "value", STORE_VALUE_MAX, &op->value_len);
	op->lease = fields_i64(f, o, "lease");
	op->want_prev = fields_bool(f, o, "prev_kv");
	/* who may end a lease could otherwise delete a user or a group */
	if (op->lease && touches_root_only(&op->span))
		fields_fault(f, CODE_INVALID,
			     "keys under " REG_USERS " and " REG_GROUPS " cannot have a lease");
}

static void parse_delete(struct fields *f, const json_t *o, struct store_op *op)
{
	static const char *const known[] = { "key", "range_end", "prev_kv", NULL };

	fields_only(f, o, known);
	op->verb = OP_DELETE;
	parse_span(f, o, &op->span);
	op->want_prev = fields_bool(f, o, "prev_kv");
}

static void parse_compare(struct fields *f, const json_t *o, struct store_compare *c)
{
	static const char *const known[] = {
		"result",	   "target",	   "key",   "range_end", "version",
		"create_revision", "mod_revision", "value", "lease",	 NULL
	};
	static const char *const targets[] = { "VERSION", "CREATE", "MOD", "VALUE", "LEASE", NULL };
	static const char *const results[] = { "EQUAL", "GREATER", "LESS", "NOT_EQUAL", NULL };
	static const char *const operands[] = { "version", "create_revision", "mod_revision",
						"value", "lease" };

	fields_only(f, o, known);
	parse_span(f, o, &c->span);
	c->target = (enum store_target)fields_enum(f, o, "target", targets);
	c->relation = (enum store_relation)fields_enum(f, o, "result", results);
	if (c->target == TARGET_VALUE)
		c->value = fields_bytes(f, o, "value", STORE_VALUE_MAX, &c->value_len);
	else
		c->number = fields_i64(f, o, operands[c->target]);
}

static void parse_op(struct fields *f, const json_t *o, struct store_op *op)
{
	static const char *const known[] = { "request_range", "request_put", "request_delete_range",
					     NULL };
	const json_t *inner;

	fields_only(f, o, known);
	if ((inner = fields_get(o, "request_range")))
		parse_range(f, inner, op);
	else if ((inner = fields_get(o, "request_put")))
		parse_put(f, inner, op);
	else if ((inner = fields_get(o, "request_delete_range")))
		parse_delete(f, inner, op);
	else
		fields_fault(
			f, CODE_INVALID,
			"an operation needs request_range, request_put or request_delete_range");
}

static const json_t *parse_list(struct fields *f, const json_t *o, const char *name, size_t *n)
{
	const json_t *list = fields_get(o, name);

	*n = json_array_size(list);
	if (list && !json_is_array(list))
		fields_fault(f, CODE_INVALID, "%s must be a list", name);
	if (*n > STORE_OPS_MAX) {
		fields_fault(f, CODE_INVALID, "etcdserver: too many operations in txn request");
		*n = 0;
	}
	return list;
}

/* ---- running ---- */

/* May this peer do these? */
static bool permitted(enum request_power power, const struct store_op *ops, size_t n)
{
	if (power == POWER_ALL)
		return true;
	for (size_t i = 0; i < n; i++)
		if (ops[i].verb != OP_RANGE && touches_root_only(&ops[i].span))
			return false;
	return power == POWER_DAEMON;
}

static unsigned int deny(json_t **answer)
{
	return refuse(
		CODE_DENIED,
		"etcdserver: permission denied; users and groups are changed by root or with "
		"weir-registry's token, everything else also by the daemons' user",
		answer);
}

static unsigned int run_op(struct store *s, enum request_power power, struct store_op *op,
			   json_t **answer)
{
	struct store_txn txn = { .then = op, .nthen = 1 };
	int rc;

	if (!permitted(power, op, 1))
		return deny(answer);
	rc = store_run(s, &txn);
	if (rc)
		return store_failed(rc, answer);
	*answer = op_answer(s, op, txn.revision);
	store_ops_clear(op, 1);
	return 200;
}

static json_t *txn_answer(const struct store *s, const struct store_txn *txn)
{
	static const char *const names[] = { "response_range", "response_put",
					     "response_delete_range" };
	const struct store_op *ops = txn->succeeded ? txn->then : txn->otherwise;
	size_t n = txn->succeeded ? txn->nthen : txn->notherwise;
	json_t *out = json_pack("{s:o}", "header", request_header(s, txn->revision)),
	       *list = json_array();

	if (txn->succeeded)
		json_object_set_new(out, "succeeded", json_true());
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:o}", names[ops[i].verb],
						      op_answer(s, &ops[i], txn->revision)));
	if (n)
		json_object_set_new(out, "responses", list);
	else
		json_decref(list);
	return out;
}

struct txn_room {
	struct store_compare compares[STORE_OPS_MAX];
	struct store_op then[STORE_OPS_MAX], otherwise[STORE_OPS_MAX];
};

static void parse_txn(struct fields *f, const json_t *o, struct store_txn *txn,
		      struct txn_room *room)
{
	static const char *const known[] = { "compare", "success", "failure", NULL };
	const json_t *list;

	fields_only(f, o, known);
	txn->compares = room->compares;
	txn->then = room->then;
	txn->otherwise = room->otherwise;
	list = parse_list(f, o, "compare", &txn->ncompares);
	for (size_t i = 0; i < txn->ncompares; i++)
		parse_compare(f, json_array_get(list, i), &txn->compares[i]);
	list = parse_list(f, o, "success", &txn->nthen);
	for (size_t i = 0; i < txn->nthen; i++)
		parse_op(f, json_array_get(list, i), &txn->then[i]);
	list = parse_list(f, o, "failure", &txn->notherwise);
	for (size_t i = 0; i < txn->notherwise; i++)
		parse_op(f, json_array_get(list, i), &txn->otherwise[i]);
}

static unsigned int run_txn(struct store *s, enum request_power power, struct fields *f,
			    const json_t *o, json_t **answer)
{
	struct txn_room *room = calloc(1, sizeof(*room));
	struct store_txn txn = { 0 };
	unsigned int status;
	int rc;

	if (!room)
		return store_failed(-ENOMEM, answer);
	parse_txn(f, o, &txn, room);
	if (f->fault[0]) {
		status = refuse(f->code, f->fault, answer);
	} else if (!permitted(power, txn.then, txn.nthen) ||
		   !permitted(power, txn.otherwise, txn.notherwise)) {
		status = deny(answer);
	} else if ((rc = store_run(s, &txn))) {
		status = store_failed(rc, answer);
	} else {
		*answer = txn_answer(s, &txn);
		store_ops_clear(txn.then, txn.nthen);
		store_ops_clear(txn.otherwise, txn.notherwise);
		status = 200;
	}
	free(room);
	return status;
}

static unsigned int run_compact(struct store *s, struct fields *f, const json_t *o, json_t **answer)
{
	static const char *const known[] = { "revision", "physical", NULL };
	int64_t revision = fields_i64(f, o, "revision");
	int rc;

	fields_only(f, o, known);
	(void)fields_bool(f, o, "physical");
	if (f->fault[0])
		return refuse(f->code, f->fault, answer);
	rc = store_compact(s, revision);
	if (rc == -ESTALE)
		return refuse(CODE_RANGE, "etcdserver: mvcc: required revision has been compacted",
			      answer);
	if (rc == -ERANGE)
		return refuse(CODE_RANGE,
			      "etcdserver: mvcc: required revision is a future revision", answer);
	if (rc)
		return store_failed(rc, answer);
	*answer = json_pack("{s:o}", "header", request_header(s, store_revision(s)));
	return 200;
}

static unsigned int run_grant(struct store *s, struct fields *f, const json_t *o, json_t **answer)
{
	static const char *const known[] = { "TTL", "ID", NULL };
	int64_t ttl = fields_i64(f, o, "TTL"), id = fields_i64(f, o, "ID");
	int rc;

	fields_only(f, o, known);
	if (ttl > STORE_LEASE_TTL_MAX)
		fields_fault(f, CODE_RANGE, "etcdserver: too large lease TTL");
	if (ttl < 1 || id < 0)
		fields_fault(f, CODE_INVALID,
			     "a lease needs a TTL of at least one second, and no negative ID");
	if (f->fault[0])
		return refuse(f->code, f->fault, answer);
	rc = store_lease_grant(s, &id, ttl);
	if (rc == -EEXIST)
		return refuse(CODE_PRECONDITION, "etcdserver: lease already exists", answer);
	if (rc)
		return store_failed(rc, answer);
	*answer = json_pack("{s:o}", "header", request_header(s, store_revision(s)));
	set_i64(*answer, "ID", id);
	set_i64(*answer, "TTL", ttl);
	return 200;
}

static unsigned int run_lease(struct store *s, bool keep, struct fields *f, const json_t *o,
			      json_t **answer)
{
	static const char *const known[] = { "ID", NULL };
	int64_t id = fields_i64(f, o, "ID");
	json_t *result;
	int rc;

	fields_only(f, o, known);
	if (f->fault[0])
		return refuse(f->code, f->fault, answer);
	if (!keep) {
		rc = store_lease_revoke(s, id);
		if (rc)
			return store_failed(rc, answer);
		*answer = json_pack("{s:o}", "header", request_header(s, store_revision(s)));
		return 200;
	}
	/* without the revision: it would have to wait for a change that is on its way to the disk
	 */
	result = json_pack("{s:o}", "header", request_header(s, 0));
	set_i64(result, "ID", id);
	set_i64(result, "TTL", store_lease_keep(s, id));
	*answer = json_pack("{s:o}", "result", result);
	return 200;
}

static json_t *parse_body(struct fields *f, const char *body, size_t len)
{
	json_error_t error;
	json_t *o = json_loadb(body, len, JSON_REJECT_DUPLICATES, &error);

	if (!json_is_object(o))
		fields_fault(f, CODE_INVALID, "the body is no JSON object: %.80s",
			     o ? "another value" : error.text);
	return o;
}

static unsigned int run_kv(struct store *s, enum request_kind kind, enum request_power power,
			   struct fields *f, const json_t *o, json_t **answer)
{
	struct store_op op = { 0 };

	if (kind == REQUEST_RANGE)
		parse_range(f, o, &op);
	else if (kind == REQUEST_PUT)
		parse_put(f, o, &op);
	else
		parse_delete(f, o, &op);
	if (f->fault[0])
		return refuse(f->code, f->fault, answer);
	return run_op(s, power, &op, answer);
}

unsigned int request_run(struct store *s, enum request_kind kind, enum request_power power,
			 const char *body, size_t len, json_t **answer)
{
	struct fields f = { 0 };
	json_t *o = power == POWER_NONE ? NULL : parse_body(&f, body, len);
	unsigned int status;

	if (power == POWER_NONE)
		return deny(answer);
	if (f.fault[0])
		status = refuse(f.code, f.fault, answer);
	else if (kind == REQUEST_TXN)
		status = run_txn(s, power, &f, o, answer);
	else if (kind == REQUEST_COMPACT)
		status = run_compact(s, &f, o, answer);
	else if (kind == REQUEST_GRANT)
		status = run_grant(s, &f, o, answer);
	else if (kind == REQUEST_REVOKE || kind == REQUEST_KEEPALIVE)
		status = run_lease(s, kind == REQUEST_KEEPALIVE, &f, o, answer);
	else
		status = run_kv(s, kind, power, &f, o, answer);
	fields_clear(&f);
	json_decref(o);
	return status;
}

const char *request_path(enum request_kind kind)
{
	static const char *const paths[REQUEST_KINDS] = {
		[REQUEST_RANGE] = "/v3/kv/range",
		[REQUEST_PUT] = "/v3/kv/put",
		[REQUEST_DELETE] = "/v3/kv/deleterange",
		[REQUEST_TXN] = "/v3/kv/txn",
		[REQUEST_COMPACT] = "/v3/kv/compaction",
		[REQUEST_GRANT] = "/v3/lease/grant",
		[REQUEST_REVOKE] = "/v3/lease/revoke",
		[REQUEST_KEEPALIVE] = "/v3/lease/keepalive",
	};

	return paths[kind];
}

/* ---- watches ---- */

static char *copy(const char *data, size_t len)
{
	char *out = malloc(len + 1);

	if (out) {
		memcpy(out, data, len);
		out[len] = '\0';
	}
	return out;
}

unsigned int request_watch_parse(struct request_watch *out, const char *body, size_t len,
				 json_t **answer)
{
	static const char *const outer[] = { "create_request", NULL };
	static const char *const known[] = { "key", "range_end", "start_revision",
					     "progress_notify", NULL };
	struct fields f = { 0 };
	json_t *o = parse_body(&f, body, len);
	const json_t *create = fields_get(o, "create_request");
	struct span span = { 0 };
	unsigned int status = 200;

	fields_only(&f, o, outer);
	fields_only(&f, create, known);
	parse_span(&f, create, &span);
	*out = (struct request_watch){ .start = fields_i64(&f, create, "start_revision") };
	(void)fields_bool(&f, create, "progress_notify"); /* progress is always told */
	if (out->start < 0)
		fields_fault(&f, CODE_INVALID, "start_revision is negative");
	if (!f.fault[0]) {
		out->key = copy(span.key, span.key_len);
		out->end = copy(span.end, span.end_len);
		out->span = (struct span){ out->key, out->end, span.key_len, span.end_len };
		if (!out->key || !out->end)
			fields_fault(&f, CODE_EXHAUSTED, "out of memory");
	}
	if (f.fault[0]) {
		free(out->key);
		free(out->end);
		status = refuse(f.code, f.fault, answer);
	}
	fields_clear(&f);
	json_decref(o);
	return status;
}
