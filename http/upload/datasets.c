/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datasets.c -- datasets are made, shown, changed and removed.
 *
 * The registry holds {"name","owner","readers","writers","title","generation","created","changed","rules","yaml"}: the rules
 * normalised, with the salt of masks that nobody is shown, and the text as its author wrote it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/upload/datasets.h"
#include "http/upload/objects.h"
#include "lib/hash.h"

#define TEXT_MAX   (256u << 10)
#define SEEN_MS	   2000 /* a change is waited for so long to come back by the watch */
#define COUNTED    50	/* datasets whose files a list counts */

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

bool dataset_allowed(struct uploads *u, struct http_req *req, unsigned int right, const char *name,
		     struct token_scope *who)
{
	if (!access_who(req, u->opt.users, who))
		return false;
	if (strlen(name) < sizeof(who->bucket) && users_dataset(u->opt.users, name)) {
		if (users_allow(u->opt.users, who, right, name, ""))
			return true;
		if (users_allow(u->opt.users, who, RIGHT_READ | RIGHT_LIST, name, "")) {
			http_reply_error(req, 403, "forbidden", "%s may read the dataset %s, not this", who->user, name);
			return false;
		}
	}
	http_reply_error(req, 404, "no_dataset", "there is no dataset %.63s", name);
	return false;
}

/* ---- shown ---- */

static json_t *may_json(struct uploads *u, const struct token_scope *who, const char *name)
{
	return json_pack("{s:b, s:b, s:b}", "read", users_allow(u->opt.users, who, RIGHT_READ, name, ""), "write",
			 users_allow(u->opt.users, who, RIGHT_WRITE, name, ""), "own",
			 users_dataset_owned(u->opt.users, who, name));
}

static json_t *dataset_json(struct uploads *u, const struct token_scope *who, const json_t *record)
{
	static const char *const same[] = { "name",	  "title",   "owner",	"readers",
					    "writers", "generation", "created", "changed" };
	json_t *o = json_object(), *rules = json_deep_copy(json_object_get(record, "rules"));
	const json_t *yaml = json_object_get(record, "yaml");
	char *text;

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (json_object_get(record, same[i]))
			json_object_set(o, same[i], json_object_get(record, same[i]));
	json_object_del(rules, "mask_salt");
	text = json_is_string(yaml) ? strdup(json_string_value(yaml)) : json_dumps(rules, JSON_INDENT(2));
	json_object_set_new(o, "yaml", json_string(text ? text : ""));
	json_object_set_new(o, "rules", rules);
	json_object_set_new(o, "may", may_json(u, who, text_of(record, "name")));
	free(text);
	return o;
}

/* How many files, and bytes of them, by the keys of the bucket. False: the endpoints do not answer. */
static bool count_files(struct uploads *u, const char *name, const char *user, json_t *o)
{
	json_t *list = NULL, *one;
	json_int_t files = 0, bytes = 0;
	size_t i;

	if (objects_list(u, name, "", user, &list))
		return false;
	json_array_foreach (list, i, one) {
		const char *key = text_of(one, "key");

		if (!strncmp(key, ".weir/", 6) || !strncmp(key, "derived/", 8))
			continue;
		files++;
		bytes += json_integer_value(json_object_get(one, "size"));
	}
	json_decref(list);
	json_object_set_new(o, "files", json_integer(files));
	json_object_set_new(o, "bytes", json_integer(bytes));
	return true;
}

static void list_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	json_t *all = users_datasets(u->opt.users, &c->who), *list = json_array(), *one;
	bool counts = true;
	size_t i;

	json_array_foreach (all, i, one) {
		const json_t *record = json_object_get(one, "record");
		json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "name", text_of(one, "name"), "title",
				      text_of(record, "title"), "owner", text_of(record, "owner"), "generation",
				      json_integer_value(json_object_get(record, "generation")), "changed",
				      json_integer_value(json_object_get(record, "changed")), "may",
				      may_json(u, &c->who, text_of(one, "name")));

		if (o && i < COUNTED && counts)
			counts = count_files(u, text_of(one, "name"), c->who.user, o);
		json_array_append_new(list, o);
	}
	json_decref(all);
	http_reply_json(req, 200, json_pack("{s:o}", "datasets", list));
}

/* ---- made and changed ---- */

static bool name_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 3 && len <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len && name[0] != '-' &&
	       name[0] != '.';
}

/* The rules of the body; NULL: answered with each fault. */
static struct rules *read_rules(struct http_req *req, const char *name, json_t **yaml)
{
	size_t len, faults_len = 0;
	const char *text = http_body(req, &len);
	char *faults = NULL, *line, *rest;
	FILE *out = open_memstream(&faults, &faults_len);
	struct rules *rules = NULL;
	json_t *list;
	int rc = out ? rules_parse(&rules, text, len, name, out) : -ENOMEM;

	if (out)
		fclose(out);
	if (!rc) {
		free(faults);
		*yaml = json_stringn(text, len);
		return rules;
	}
	list = json_array();
	for (line = strtok_r(faults, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		json_array_append_new(list, json_string(line));
	free(faults);
	http_reply_json(req, 422, json_pack("{s:s, s:s, s:s, s:o}", "error", "rules", "message", "the rules have faults",
					    "request", http_id(req), "faults", list));
	return NULL;
}

static json_t *names(char **list, size_t n)
{
	json_t *o = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(o, json_string(list[i]));
	return o;
}

/* The record of rules, after `before` (NULL: a new one). */
static json_t *record_of(const struct rules *rules, json_t *yaml, const char *owner, const json_t *before)
{
	json_t *json = json_deep_copy(rules->json);
	const char *salt = json_string_value(json_object_get(json_object_get(before, "rules"), "mask_salt"));
	json_int_t now = time(NULL), generation = json_integer_value(json_object_get(before, "generation"));
	uint8_t bytes[32];
	char hex[65];
	json_t *o;

	if (!salt || !*salt) {
		random_bytes(bytes, sizeof(bytes));
		salt = hex_encode(bytes, sizeof(bytes), hex);
	}
	json_object_set_new(json, "mask_salt", json_string(salt));
	o = json_pack("{s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:o}", "name", rules->name, "owner",
		      rules->owner && *rules->owner ? rules->owner : owner, "readers",
		      names(rules->readers, rules->nreaders), "writers", names(rules->writers, rules->nwriters), "title",
		      rules->title ? rules->title : "", "generation", generation + 1, "created",
		      before ? json_integer_value(json_object_get(before, "created")) : now, "changed", now, "rules", json);
	if (o && yaml)
		json_object_set(o, "yaml", yaml);
	return o;
}

/* What was written comes back by the watch: who made a dataset may use it at once. generation 0: it is gone. */
static void wait_seen(struct uploads *u, const char *name, json_int_t generation)
{
	int64_t until = now_ms() + SEEN_MS;
	bool seen = false;

	while (!seen && now_ms() < until) {
		json_t *record = users_dataset_record(u->opt.users, name);
		struct timespec pause = { 0, 5000000 };

		seen = generation ? json_integer_value(json_object_get(record, "generation")) >= generation : !record;
		json_decref(record);
		if (!seen)
			nanosleep(&pause, NULL);
	}
}

static int write_record(struct uploads *u, const json_t *record, int64_t revision)
{
	char key[128], *text = json_dumps(record, JSON_COMPACT);
	struct reg_cond cond = { .key = key, .mod_revision = revision };
	struct reg_change change = { .key = key, .value = text };
	int rc;

	snprintf(key, sizeof(key), REG_DATASETS "%s", text_of(record, "name"));
	rc = text ? registry_txn(u->opt.registry, &cond, 1, &change, 1, NULL) : -ENOMEM;
	free(text);
	if (!rc)
		wait_seen(u, text_of(record, "name"), json_integer_value(json_object_get(record, "generation")));
	return rc;
}

static void audit_dataset(struct call *c, const char *what, const char *name, const char *result, const char *why)
{
	char on[80];

	snprintf(on, sizeof(on), "dataset %.63s", name);
	uploads_audit(c->u, c->req, &c->who, what, on, result, why, 0);
}

static void refuse_registry(struct http_req *req, int rc)
{
	http_reply_error(req, 503, "registry", "the registry did not take it (%s); try again", strerror(-rc));
}

/* Does the bucket have objects? 0 no, -EEXIST yes, -EHOSTUNREACH: the endpoints do not say, which is no "no". */
static int bucket_used(struct call *c, const char *name)
{
	json_t *page = NULL;
	bool more;
	int rc = objects_page(c->u, name, "", "", 1, c->who.user, &page, &more) ? -EHOSTUNREACH : 0;

	if (!rc && json_array_size(page) > 0)
		rc = -EEXIST;
	json_decref(page);
	return rc;
}

static void refuse_endpoints(struct http_req *req)
{
	http_reply_error(req, 503, "endpoint", "the endpoints do not say whether the bucket has objects (%s); try again",
			 objects_error());
}

/* Objects of a plain bucket would be taken over with its name, and a public one would show the dataset to everybody. */
static int name_taken(struct call *c, const char *name)
{
	if (users_dataset(c->u->opt.users, name) || users_bucket_public(c->u->opt.users, name))
		return -EEXIST;
	return bucket_used(c, name);
}

static void create(struct call *c, const struct rules *rules, json_t *yaml)
{
	struct http_req *req = c->req;
	const char *name = rules->name ? rules->name : "";
	json_t *record;
	char location[96];
	int rc;

	if (!name_valid(name)) {
		http_reply_error(req, 422, "name", "a dataset's name has 3 to 63 of a-z 0-9 - . and begins with a letter or digit "
				 "(dataset: NAME, or ?name=NAME)");
		return;
	}
	record = record_of(rules, yaml, c->who.user, NULL);
	rc = name_taken(c, name);
	if (!rc)
		rc = write_record(c->u, record, 0);
	if (rc == -EAGAIN) /* made by somebody else meanwhile */
		rc = -EEXIST;
	audit_dataset(c, "dataset.create", name, rc ? "failed" : "ok", rc == -EEXIST ? "the name is taken" : NULL);
	if (rc == -EHOSTUNREACH) {
		refuse_endpoints(req);
	} else if (rc == -EEXIST) {
		http_reply_error(req, 409, "exists", "there is a dataset or bucket %s already", name);
	} else if (rc) {
		refuse_registry(req, rc);
	} else {
		snprintf(location, sizeof(location), "/_/datasets/%s", name);
		http_add_header(req, "Location", location);
		http_reply_json(req, 201, dataset_json(c->u, &c->who, record));
	}
	json_decref(record);
}

static void create_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	json_t *yaml = NULL;
	struct rules *rules = read_rules(req, http_query(req, "name"), &yaml);

	(void)arg;
	if (rules)
		create(c, rules, yaml);
	rules_free(rules);
	json_decref(yaml);
}

enum http_next datasets_begin(struct http_req *req, struct uploads *u)
{
	struct call *c = call_new(u, req);

	http_add_header(req, "Cache-Control", "no-store");
	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (http_method(req) == HTTP_GET) {
		if (!access_who(req, u->opt.users, &c->who))
			return HTTP_ANSWERED;
		return http_work(req, list_work, u);
	}
	if (!access_role(req, u->opt.users, ROLE_STEWARD, &c->who)) {
		if (c->who.user[0])
			audit_dataset(c, "dataset.create", http_query(req, "name") ? http_query(req, "name") : "", "denied",
				      NULL);
		return HTTP_ANSWERED;
	}
	return HTTP_CONTINUE;
}

enum http_next datasets_end(struct http_req *req, struct uploads *u)
{
	return http_work(req, create_work, u);
}

/* ---- one ---- */

/* The record as the registry has it now; 0, -ENOENT, -errno. */
static int read_record(struct uploads *u, const char *name, json_t **record, int64_t *revision)
{
	struct reg_kv kv;
	char key[128];
	int rc;

	snprintf(key, sizeof(key), REG_DATASETS "%.63s", name);
	rc = registry_get(u->opt.registry, key, &kv);
	if (rc)
		return rc;
	*record = json_loadb(kv.value, kv.value_len, 0, NULL);
	*revision = kv.mod_revision;
	reg_kv_free(&kv);
	return *record ? 0 : -EBADMSG;
}

static bool generation_matches(struct http_req *req, const json_t *record)
{
	const char *match = http_header(req, "If-Match");
	char ours[32];

	snprintf(ours, sizeof(ours), "\"%lld\"", json_integer_value(json_object_get(record, "generation")));
	if (!match || !strcmp(match, "*") || !strcmp(match, ours))
		return true;
	http_reply_error(req, 412, "condition", "the dataset was changed meanwhile: its generation is %s", ours);
	return false;
}

static void change(struct call *c, const char *name, const struct rules *rules, json_t *yaml)
{
	json_t *before = NULL, *record = NULL;
	int64_t revision = 0;
	int rc = read_record(c->u, name, &before, &revision);

	if (strcmp(rules->name ? rules->name : name, name)) {
		http_reply_error(c->req, 422, "name", "these are the rules of %.63s, not of %s: a dataset keeps its name",
				 rules->name, name);
	} else if (rc) {
		refuse_registry(c->req, rc);
	} else if (generation_matches(c->req, before)) {
		record = record_of(rules, yaml, text_of(before, "owner"), before);
		rc = write_record(c->u, record, revision);
		audit_dataset(c, "dataset.change", name, rc ? "failed" : "ok", NULL);
		if (rc == -EAGAIN)
			http_reply_error(c->req, 412, "condition", "somebody else changed the dataset just now");
		else if (rc)
			refuse_registry(c->req, rc);
		else
			http_reply_json(c->req, 200, dataset_json(c->u, &c->who, record));
	}
	json_decref(before);
	json_decref(record);
}

static void change_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	const char *name = http_param(req, "name");
	json_t *yaml = NULL;
	struct rules *rules = read_rules(req, name, &yaml);

	(void)arg;
	if (rules)
		change(c, name, rules, yaml);
	rules_free(rules);
	json_decref(yaml);
}

static int delete_objects(struct call *c, const char *name)
{
	json_t *list = NULL, *o;
	size_t i;
	int rc = objects_list(c->u, name, "", c->who.user, &list);

	json_array_foreach (list, i, o) {
		struct object_at at = { name, text_of(o, "key"), c->who.user };

		if (!rc)
			rc = objects_delete(c->u, &at);
	}
	json_decref(list);
	return rc;
}

static void delete_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	const char *name = http_param(req, "name"), *force = http_query(req, "force");
	char key[128];
	int rc = 0;

	rc = force && !strcmp(force, "1") ? delete_objects(c, name) : bucket_used(c, name);
	if (rc == -EEXIST) {
		http_reply_error(req, 409, "not_empty", "the dataset has files; ?force=1 removes them with it");
		return;
	}
	if (rc == -EHOSTUNREACH) {
		refuse_endpoints(req);
		return;
	}
	snprintf(key, sizeof(key), REG_DATASETS "%s", name);
	if (!rc)
		rc = registry_delete(u->opt.registry, key);
	if (!rc || rc == -ENOENT)
		wait_seen(u, name, 0);
	audit_dataset(c, "dataset.delete", name, rc ? "failed" : "ok", NULL);
	if (rc && rc != -ENOENT)
		refuse_registry(req, rc);
	else
		http_reply(req, 204, NULL, NULL, 0);
}

enum http_next datasets_one_begin(struct http_req *req, struct uploads *u)
{
	const char *name = http_param(req, "name");
	struct call *c = call_new(u, req);
	json_t *record, *o;

	http_add_header(req, "Cache-Control", "no-store");
	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!dataset_allowed(u, req, RIGHT_LIST, name, &c->who))
		return HTTP_ANSWERED;
	if (http_method(req) <= HTTP_HEAD) {
		char etag[32];

		record = users_dataset_record(u->opt.users, name);
		o = dataset_json(u, &c->who, record);
		snprintf(etag, sizeof(etag), "\"%lld\"", json_integer_value(json_object_get(record, "generation")));
		http_add_header(req, "ETag", etag);
		json_decref(record);
		return http_reply_json(req, 200, o);
	}
	if (!users_dataset_owned(u->opt.users, &c->who, name) ||
	    (http_method(req) == HTTP_DELETE && !users_covers(c->u->opt.users, &c->who, RIGHT_DELETE, name))) {
		audit_dataset(c, http_method(req) == HTTP_PUT ? "dataset.change" : "dataset.delete", name, "denied", NULL);
		return http_reply_error(req, 403, "forbidden", "the dataset %s is its owner's to change", name);
	}
	return http_method(req) == HTTP_PUT ? HTTP_CONTINUE : http_work(req, delete_work, u);
}

enum http_next datasets_one_end(struct http_req *req, struct uploads *u)
{
	return http_work(req, change_work, u);
}
