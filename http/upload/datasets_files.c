/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datasets_files.c -- the files of a dataset by their manifests, the catalogue of what somebody may read, the preview of
 * rules on a sample; and a file that is deleted, with what was made of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http/upload/datasets.h"
#include "http/upload/objects.h"

#define PAGE_MAX      100
#define CATALOGUE_MAX 1000 /* files of one dataset in the catalogue */
#define MANIFEST      "manifest.json"

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

int dataset_manifest(struct uploads *u, const char *dataset, const char *file, const char *user, json_t **out)
{
	char *key = weir_key(file, MANIFEST);
	struct object_at at = { dataset, key, user };
	int rc = key ? objects_get_json(u, &at, out, NULL) : -EAGAIN;

	free(key);
	if (rc)
		return rc;
	json_object_del(*out, "pending");
	json_object_del(*out, "upload");
	if (json_integer_value(json_object_get(*out, "version")) > 0)
		return 0;
	json_decref(*out); /* its first version is being stored */
	return -ENOENT;
}

/* Is it a file that people see, or one of ours beside it? */
static bool is_file(const char *key)
{
	return strncmp(key, ".weir/", 6) && strncmp(key, "derived/", 8);
}

int dataset_manifests(struct uploads *u, const char *dataset, const char *after, size_t max, const char *user,
		      json_t **out, char **next)
{
	json_t *all = json_array(), *page = NULL, *o;
	char *at = strdup(after);
	bool more = true, full = false;
	int rc = 0;

	*next = NULL;
	while (!rc && more && !full && at) {
		size_t i;

		rc = objects_page(u, dataset, "", at, 1000, user, &page, &more);
		if (rc)
			break;
		json_array_foreach (page, i, o) {
			const char *key = text_of(o, "key");
			json_t *manifest = NULL;

			if (is_file(key) && json_array_size(all) == max) {
				full = true;
				break;
			}
			free(at);
			at = strdup(key);
			if (is_file(key) && !dataset_manifest(u, dataset, key, user, &manifest))
				json_array_append_new(all, manifest);
		}
		more &= json_array_size(page) > 0;
		json_decref(page);
	}
	if (rc) {
		json_decref(all);
	} else {
		*out = all;
		if (full)
			*next = at;
	}
	if (*next != at)
		free(at);
	return rc;
}

static void refuse(struct http_req *req, int rc)
{
	if (rc == -ENOENT)
		http_reply_error(req, 404, "no_file", "there is no such file");
	else
		http_reply_error(req, 503, "endpoint", "the endpoints did not answer (%s); try again", objects_error());
}

/* ---- lists ---- */

static json_t *file_line(const json_t *m)
{
	static const char *const same[] = { "file", "version", "size", "rows", "uploaded", "findings", "quarantined", "type" };
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (json_object_get(m, same[i]))
			json_object_set(o, same[i], json_object_get(m, same[i]));
	json_object_set_new(o, "outputs", json_integer((json_int_t)json_array_size(json_object_get(m, "outputs"))));
	return o;
}

static void files_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	const char *after = http_query(req, "after"), *max = http_query(req, "max");
	size_t n = max ? strtoul(max, NULL, 10) : PAGE_MAX, i;
	json_t *all = NULL, *list, *m;
	char *next = NULL;
	int rc = dataset_manifests(u, http_param(req, "name"), after ? after : "", n && n < PAGE_MAX ? n : PAGE_MAX, c->who.user,
				   &all, &next);

	if (rc) {
		refuse(req, rc);
		return;
	}
	list = json_array();
	json_array_foreach (all, i, m)
		json_array_append_new(list, file_line(m));
	json_decref(all);
	http_reply_json(req, 200, json_pack("{s:o, s:s?}", "files", list, "next", next));
	free(next);
}

static void file_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	json_t *manifest = NULL;
	int rc = dataset_manifest(u, http_param(req, "name"), http_param(req, "file"), c->who.user, &manifest);

	if (rc)
		refuse(req, rc);
	else
		http_reply_json(req, 200, manifest);
}

static enum http_next begin(struct http_req *req, struct uploads *u, http_work_fn *work)
{
	struct call *c = call_new(u, req);

	http_add_header(req, "Cache-Control", "no-store");
	if (!c)
		return http_reply_error(req, 503, "memory", "out of memory");
	if (!dataset_allowed(u, req, RIGHT_READ, http_param(req, "name"), &c->who))
		return HTTP_ANSWERED;
	return http_work(req, work, u);
}

enum http_next datasets_files(struct http_req *req, struct uploads *u)
{
	return begin(req, u, files_work);
}

enum http_next datasets_file(struct http_req *req, struct uploads *u)
{
	const char *file = http_param(req, "file");

	if (!*file)
		return datasets_files(req, u);
	if (file_name_valid(file))
		return begin(req, u, file_work);
	http_add_header(req, "Cache-Control", "no-store");
	return http_reply_error(req, 404, "no_file", "there is no such file");
}

/* ---- the catalogue ---- */

static char *object_url(const char *dataset, const char *key)
{
	char *encoded = http_percent_encode(key, true), *url = NULL;

	if (encoded && asprintf(&url, "/b/%s/%s", dataset, encoded) < 0)
		url = NULL;
	free(encoded);
	return url;
}

static json_t *catalogue_file(const char *dataset, const json_t *m)
{
	json_t *outputs = json_array(), *o, *line;
	const json_t *range = json_object_get(json_object_get(m, "statistics"), "time_range");
	char *url = object_url(dataset, text_of(m, "file"));
	size_t i;

	json_array_foreach (json_object_get(m, "outputs"), i, o) {
		char *at = object_url(dataset, text_of(o, "key"));

		json_array_append_new(outputs, json_pack("{s:s, s:O?, s:O?, s:O?, s:s?}", "name", text_of(o, "name"), "rows",
							 json_object_get(o, "rows"), "bytes", json_object_get(o, "bytes"),
							 "format", json_object_get(o, "format"), "url", at));
		free(at);
	}
	line = json_pack("{s:s, s:O?, s:O?, s:O?, s:O?, s:s?, s:o}", "file", text_of(m, "file"), "version",
			 json_object_get(m, "version"), "size", json_object_get(m, "size"), "rows", json_object_get(m, "rows"),
			 "time_range", range, "url", url, "outputs", outputs);
	if (line && json_object_get(m, "schema"))
		json_object_set(line, "schema", json_object_get(m, "schema"));
	free(url);
	return line;
}

/* The columns that the rules name, as a Table Schema has them. */
static json_t *schema_of(const json_t *record)
{
	const json_t *rules = json_object_get(record, "rules");
	json_t *columns = json_object_get(rules, "columns");

	if (!columns)
		columns = json_object_get(rules, "fields");
	return json_pack("{s:o}", "fields", columns ? json_deep_copy(columns) : json_array());
}

static void catalogue_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	struct call *c = http_state(req);
	json_t *all = users_datasets(u->opt.users, &c->who), *list = json_array(), *one;
	bool answers = true;
	size_t i, k;

	json_array_foreach (all, i, one) {
		const json_t *record = json_object_get(one, "record");
		json_t *files = NULL, *lines = json_array(), *m;
		char *next = NULL;

		if (!json_is_true(json_object_get(one, "read"))) {
			json_decref(lines);
			continue;
		}
		/* Endpoints that do not answer are asked once: the rest is said without files. */
		answers = answers && !dataset_manifests(u, text_of(one, "name"), "", CATALOGUE_MAX, c->who.user, &files, &next);
		json_array_foreach (files, k, m)
			json_array_append_new(lines, catalogue_file(text_of(one, "name"), m));
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o, s:o, s:b}", "name", text_of(one, "name"), "title",
						      text_of(record, "title"), "owner", text_of(record, "owner"), "schema",
						      schema_of(record), "files", lines, "complete", answers && !next));
		json_decref(files);
		free(next);
	}
	json_decref(all);
	http_reply_json(req, 200, json_pack("{s:o}", "datasets", list));
}

enum http_next datasets_catalogue(struct http_req *req, struct uploads *u)
{
	struct call *c;

	http_add_header(req, "Cache-Control", "no-store");
	c = call_signed(u, req);
	if (!c)
		return HTTP_ANSWERED;
	return http_work(req, catalogue_work, u);
}

/* ---- the preview ---- */

static json_t *fault_lines(char *faults)
{
	json_t *list = json_array();
	char *rest, *line;

	for (line = strtok_r(faults, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		json_array_append_new(list, json_string(line));
	return list;
}

/* The sample, by a worker; o gets what it says. */
static int check_sample(struct uploads *u, const json_t *rules, const json_t *sample, json_t *o)
{
	int fd = memfd_create("sample", MFD_CLOEXEC), rc = fd < 0 ? -errno : 0;
	size_t len = json_string_length(sample);
	json_t *said = NULL;
	char why[160] = "", path[64];
	int reading = -1;

	if (!rc && write(fd, json_string_value(sample), len) != (ssize_t)len)
		rc = -EIO;
	if (!rc) { /* workers want a descriptor that reads alone */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		reading = open(path, O_RDONLY | O_CLOEXEC);
		rc = worker_check(u->nursery, rules, reading >= 0 ? reading : fd, &said, why);
	}
	if (reading >= 0)
		close(reading);
	if (fd >= 0)
		close(fd);
	if (!rc) {
		const json_t *result = json_object_get(said, "result");

		json_object_update(o, said);
		if (json_object_get(result, "statistics"))
			json_object_set(o, "statistics", json_object_get(result, "statistics"));
		json_object_del(o, "keys");
	} else {
		json_object_set_new(o, "why", json_string(*why ? why : strerror(-rc)));
	}
	json_decref(said);
	return rc;
}

static void preview_work(struct http_req *req, void *arg)
{
	struct uploads *u = arg;
	size_t len, faults_len = 0;
	const char *body = http_body(req, &len);
	json_t *in = json_loadb(body, len, 0, NULL), *o = json_pack("{s:[], s:[], s:[]}", "faults", "findings", "columns");
	const json_t *text = json_object_get(in, "rules"), *sample = json_object_get(in, "sample");
	struct rules *rules = NULL;
	char *faults = NULL;
	FILE *out = open_memstream(&faults, &faults_len);
	int rc = -EINVAL;

	if (out && json_is_string(text))
		rc = rules_parse(&rules, json_string_value(text), json_string_length(text), "preview", out);
	if (out)
		fclose(out);
	if (!json_is_string(text)) {
		http_reply_error(req, 400, "form", "the body should be {\"rules\": TEXT, \"sample\": TEXT}");
	} else {
		json_object_set_new(o, "faults", fault_lines(faults));
		if (!rc && json_is_string(sample) && json_string_length(sample))
			check_sample(u, rules->json, sample, o);
		http_reply_json(req, 200, json_incref(o));
	}
	rules_free(rules);
	free(faults);
	json_decref(in);
	json_decref(o);
}

/* Who may make or change a dataset somewhere. */
static bool may_edit(struct uploads *u, const struct token_scope *who)
{
	json_t *all, *one;
	bool may = users_role(u->opt.users, who) >= ROLE_STEWARD;
	size_t i;

	if (may)
		return true;
	all = users_datasets(u->opt.users, who);
	json_array_foreach (all, i, one)
		may |= json_is_true(json_object_get(one, "own"));
	json_decref(all);
	return may;
}

enum http_next datasets_preview_begin(struct http_req *req, struct uploads *u)
{
	struct call *c;

	http_add_header(req, "Cache-Control", "no-store");
	c = call_signed(u, req);
	if (!c)
		return HTTP_ANSWERED;
	if (!may_edit(u, &c->who))
		return http_reply_error(req, 403, "forbidden", "%s may change no dataset's rules", c->who.user);
	return HTTP_CONTINUE;
}

enum http_next datasets_preview_end(struct http_req *req, struct uploads *u)
{
	return http_work(req, preview_work, u);
}

/* ---- one file ---- */

int datasets_condition(struct uploads *u, const char *dataset, const char *file, const char *match, const char *none)
{
	struct object_at at = { dataset, file, "gateway" };
	char etag[80];
	int rc = objects_head(u, &at, etag);

	if (rc)
		return -EAGAIN;
	if (none && objects_etag_named(none, etag))
		return -ECANCELED;
	if (match && !objects_etag_named(match, etag))
		return -ECANCELED;
	return 0;
}

/* The file first: what is left of it when this breaks off is found by the next DELETE. The manifest last. */
static int delete_file(struct uploads *u, const char *user, const char *dataset, const char *file)
{
	char *key = weir_key(file, MANIFEST), *prefix = NULL;
	struct object_at at = { dataset, file, user }, manifest = { dataset, key, user };
	json_t *list = NULL, *o;
	size_t i;
	int rc = key ? objects_delete(u, &at) : -EAGAIN;

	for (int derived = 0; derived < 2 && !rc; derived++) {
		if (asprintf(&prefix, "%s/%s/", derived ? "derived" : ".weir", file) < 0)
			break;
		rc = objects_list(u, dataset, prefix, user, &list);
		json_array_foreach (list, i, o) {
			struct object_at one = { dataset, text_of(o, "key"), user };

			if (!rc && weir_key_beside(file, one.key))
				rc = objects_delete(u, &one);
		}
		json_decref(list);
		list = NULL;
		free(prefix);
	}
	if (!rc)
		rc = objects_delete(u, &manifest);
	free(key);
	return rc;
}

int datasets_delete(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset, const char *file,
		    const char *if_match)
{
	struct object_at at = { dataset, file, who->user };
	char on[320], etag[80];
	int rc = objects_head(u, &at, etag);

	snprintf(on, sizeof(on), "%.63s/%.240s", dataset, file);
	if (!rc && !*etag)
		rc = -ENOENT;
	if (!rc && if_match && datasets_condition(u, dataset, file, if_match, NULL))
		return -ECANCELED;
	if (!rc)
		rc = delete_file(u, who->user, dataset, file);
	uploads_audit(u, req, who, "delete", on, rc ? "failed" : "ok", rc == -ENOENT ? "no such file" : NULL, 0);
	return rc;
}

static void delete_work(struct http_req *req, void *arg)
{
	struct call *c = http_state(req);
	int rc = datasets_delete(c->u, req, &c->who, http_param(req, "bucket"), http_param(req, "key"), http_header(req, "If-Match"));

	(void)arg;
	if (rc == -ECANCELED)
		http_reply_error(req, 412, "condition", "If-Match does not hold; nothing was changed");
	else if (rc)
		refuse(req, rc);
	else
		http_reply(req, 204, NULL, NULL, 0);
}

enum http_next datasets_delete_file(struct call *c, const char *dataset, const char *file)
{
	char on[320];

	if (users_allow(c->u->opt.users, &c->who, RIGHT_DELETE, dataset, file) && file_name_valid(file))
		return http_work(c->req, delete_work, NULL);
	snprintf(on, sizeof(on), "%.63s/%.240s", dataset, file);
	uploads_audit(c->u, c->req, &c->who, "delete", on, "denied", NULL, 0);
	if (users_allow(c->u->opt.users, &c->who, RIGHT_READ, dataset, file))
		return http_reply_error(c->req, 403, "forbidden", "files of the dataset %s are its owner's to delete", dataset);
	return http_reply_error(c->req, 404, "no_dataset", "there is no dataset %.63s", dataset);
}
