/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objects.c -- see objects.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/objects.h"
#include "http/upload/uniques.h"
#include "http/upload/uploads_int.h"

#define TRIES	  4
#define TRY_MS	  400 /* between two tries */
#define TOKEN_S	  600
#define JSON_MOST (16u << 20)
#define SETS_MAX  64 /* files of one dataset whose key sets are merged at once */

static __thread char error[256];

const char *objects_error(void)
{
	return error;
}

char *weir_key(const char *file, const char *what)
{
	char *key = NULL;

	return asprintf(&key, ".weir/%s/%s", file, what) < 0 ? NULL : key;
}

bool weir_key_beside(const char *file, const char *key)
{
	size_t len = strlen(file), folder = !strncmp(key, ".weir/", 6) ? 6 : !strncmp(key, "derived/", 8) ? 8 : 0;
	const char *rest;

	if (!folder || strncmp(key + folder, file, len) || key[folder + len] != '/')
		return false;
	rest = key + folder + len + 1;
	if (folder == 8)
		return !strchr(rest, '/');
	return !strncmp(rest, "keys/", 5) || !strncmp(rest, "versions/", 9) || !strcmp(rest, "quarantine.csv");
}

/* ---- one exchange ---- */

struct exchange {
	struct httpc_call call;
	struct httpc_answer answer;
	int fd;
	uint64_t at, len; /* of what is sent; of what came */
	char sha256[65];
	int rc;
};

static ssize_t read_file(void *arg, char *buf, size_t max)
{
	struct exchange *x = arg;
	uint64_t rest = x->len - x->at;
	ssize_t n = pread(x->fd, buf, rest < max ? (size_t)rest : max, (off_t)x->at);

	if (n < 0 || (n == 0 && rest))
		return n < 0 ? -errno : -ENODATA;
	x->at += (uint64_t)n;
	return n;
}

static int write_file(void *arg, const void *data, size_t len)
{
	struct exchange *x = arg;
	const char *p = data;

	if (x->answer.status >= 300)
		return 0;
	while (len) {
		ssize_t n = pwrite(x->fd, p, len, (off_t)x->at);

		if (n < 0)
			return -errno;
		x->at += (uint64_t)n;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static void take_header(void *arg, const char *name, const char *value)
{
	struct exchange *x = arg;

	if (!strcasecmp(name, "X-Weir-Sha256"))
		snprintf(x->sha256, sizeof(x->sha256), "%s", value);
}

static int token_for(struct uploads *u, const struct object_at *at, char token[TOKEN_MAX])
{
	struct token_scope scope = { .rights = RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST,
				     .expires = time(NULL) + TOKEN_S,
				     .via_gateway = true };

	snprintf(scope.user, sizeof(scope.user), "%s", at->user);
	snprintf(scope.bucket, sizeof(scope.bucket), "%s", at->bucket);
	return users_sign(u->opt.users, &scope, token);
}

/* The address at a picked endpoint; malloc'ed, NULL with the error. query: "" or "&…". */
static char *address(struct uploads *u, const struct object_at *at, const char *query)
{
	char endpoint[256], token[TOKEN_MAX], *key = http_percent_encode(at->key, true), *url = NULL;

	if (u->opt.pick(u->opt.arg, endpoint))
		snprintf(error, sizeof(error), "no endpoint is alive");
	else if (token_for(u, at, token))
		snprintf(error, sizeof(error), "the registry gave no key to sign with yet");
	else if (key && asprintf(&url, "%s/b/%s/%s?t=%s%s", endpoint, at->bucket, key, token, query) < 0)
		url = NULL;
	free(key);
	return url;
}

/* 507: the disk is full, which may be well again, or a quota, whose sentence says what to do. */
static int no_room(const struct exchange *x)
{
	json_t *said = x->answer.body ? json_loads(x->answer.body, 0, NULL) : NULL;
	const char *code = json_string_value(json_object_get(said, "error")),
		   *message = json_string_value(json_object_get(said, "message"));
	bool quota = code && !strcmp(code, "quota");

	if (quota && message)
		snprintf(error, sizeof(error), "%s", message);
	json_decref(said);
	return quota ? -EDQUOT : -EAGAIN;
}

static int rc_of(const struct exchange *x, int rc)
{
	if (rc) {
		snprintf(error, sizeof(error), "%s", x->answer.error[0] ? x->answer.error : strerror(-rc));
		return -EAGAIN;
	}
	if (x->answer.status < 300)
		return 0;
	snprintf(error, sizeof(error), "an endpoint answered %ld", x->answer.status);
	switch (x->answer.status) {
	case 404:
		return -ENOENT;
	case 412:
		return -ECANCELED;
	case 401:
		return -EKEYREJECTED;
	case 400:
	case 403:
		return -EACCES;
	case 413:
		return -EFBIG;
	case 507:
		return no_room(x);
	default:
		return -EAGAIN;
	}
}

/* Tries at one endpoint after the other. The caller frees x->answer. */
static int exchange(struct uploads *u, const struct object_at *at, const char *query, struct exchange *x)
{
	int rc = -EAGAIN;

	error[0] = '\0';
	for (int i = 0; i < TRIES && rc == -EAGAIN; i++) {
		char *url;

		if (i) {
			struct timespec pause = { 0, TRY_MS * 1000000l };

			if (uploads_quitting(u))
				break;
			nanosleep(&pause, NULL);
		}
		url = address(u, at, query);
		if (!url)
			continue;
		httpc_answer_free(&x->answer);
		memset(&x->answer, 0, sizeof(x->answer));
		x->at = 0;
		x->call.url = url;
		x->call.arg = x;
		x->call.on_header = take_header;
		rc = rc_of(x, httpc_do(u->opt.client, &x->call, &x->answer));
		free(url);
	}
	return rc;
}

static void give_etag(const struct exchange *x, char *etag)
{
	if (etag)
		snprintf(etag, 80, "%s", x->answer.etag);
}

/* ---- reading ---- */

int objects_get_json(struct uploads *u, const struct object_at *at, json_t **out, char etag[80])
{
	struct exchange x = { .call = { .body_max = JSON_MOST } };
	int rc = exchange(u, at, "", &x);

	if (!rc) {
		*out = json_loadb(x.answer.body, x.answer.len, 0, NULL);
		if (!*out) {
			snprintf(error, sizeof(error), "%s is no JSON", at->key);
			rc = -EACCES;
		}
		give_etag(&x, etag);
	}
	httpc_answer_free(&x.answer);
	return rc;
}

int objects_get_file(struct uploads *u, const struct object_at *at, int fd, uint64_t *size, char etag[80])
{
	struct exchange x = { .call = { .on_data = write_file }, .fd = fd };
	int rc = exchange(u, at, "", &x);

	*size = x.at;
	give_etag(&x, etag);
	httpc_answer_free(&x.answer);
	return rc;
}

int objects_head(struct uploads *u, const struct object_at *at, char etag[80])
{
	struct exchange x = { .call = { .method = "HEAD" } };
	int rc = exchange(u, at, "", &x);

	etag[0] = '\0';
	if (!rc)
		give_etag(&x, etag);
	httpc_answer_free(&x.answer);
	return rc == -ENOENT ? 0 : rc;
}

int objects_page(struct uploads *u, const char *bucket, const char *prefix, const char *after, unsigned int max,
		 const char *user, json_t **out, bool *more)
{
	struct object_at at = { bucket, "", user };
	struct exchange x = { .call = { .body_max = JSON_MOST } };
	char *p = http_percent_encode(prefix, false), *a = http_percent_encode(after, false), *query = NULL;
	json_t *page = NULL;
	int rc = -EAGAIN;

	if (p && a && asprintf(&query, "&prefix=%s&after=%s&limit=%u", p, a, max) >= 0)
		rc = exchange(u, &at, query, &x);
	if (!rc)
		page = json_loadb(x.answer.body, x.answer.len, 0, NULL);
	if (!rc && !json_is_array(json_object_get(page, "objects")))
		rc = -EAGAIN;
	if (rc == -ENOENT) { /* no file was stored yet */
		rc = 0;
		*out = json_array();
		*more = false;
	} else if (!rc) {
		*out = json_incref(json_object_get(page, "objects"));
		*more = json_is_string(json_object_get(page, "next"));
	}
	json_decref(page);
	httpc_answer_free(&x.answer);
	free(query);
	free(p);
	free(a);
	return rc;
}

int objects_list(struct uploads *u, const char *bucket, const char *prefix, const char *user, json_t **out)
{
	json_t *all = json_array(), *page;
	char *after = strdup("");
	bool more = true;
	int rc = all && after ? 0 : -EAGAIN;

	while (!rc && more) {
		const char *last;

		rc = objects_page(u, bucket, prefix, after, 1000, user, &page, &more);
		if (rc)
			break;
		json_array_extend(all, page);
		last = json_string_value(json_object_get(json_array_get(page, json_array_size(page) - 1), "key"));
		free(after);
		after = last ? strdup(last) : NULL;
		more &= after != NULL;
		json_decref(page);
	}
	free(after);
	if (rc)
		json_decref(all);
	else
		*out = all;
	return rc;
}

bool objects_etag_named(const char *list, const char *etag)
{
	size_t len = strlen(etag);
	char s3[84];

	if (len < 2 || len >= 80)
		return false;
	snprintf(s3, sizeof(s3), "%.*s-0\"", (int)len - 1, etag);
	return !strcmp(list, "*") || strstr(list, etag) || strstr(list, s3);
}

/* ---- writing ---- */

static int put(struct uploads *u, const struct object_at *at, struct exchange *x, const char *if_match, char *etag,
	       char *sha256)
{
	char match[100];
	const char *headers[] = { "Content-Type: application/octet-stream", NULL, NULL };
	int rc;

	if (if_match && *if_match)
		snprintf(match, sizeof(match), "If-Match: %.80s", if_match);
	else
		snprintf(match, sizeof(match), "If-None-Match: *");
	if (if_match)
		headers[1] = match;
	x->call.method = "PUT";
	x->call.headers = headers;
	rc = exchange(u, at, "", x);
	give_etag(x, etag);
	if (sha256)
		snprintf(sha256, 65, "%s", x->sha256);
	httpc_answer_free(&x->answer);
	return rc;
}

int objects_put_file(struct uploads *u, const struct object_at *at, int fd, uint64_t len, const char *if_match,
		     char etag[80], char *sha256)
{
	struct exchange x = { .call = { .read = read_file, .read_len = len }, .fd = fd, .len = len };

	if (!len)
		x.call = (struct httpc_call){ .body = "", .body_len = 0 };
	return put(u, at, &x, if_match, etag, sha256);
}

int objects_put_json(struct uploads *u, const struct object_at *at, const json_t *value, const char *if_match,
		     char etag[80])
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
	struct exchange x = { .call = { .body = text, .body_len = text ? strlen(text) : 0 } };
	int rc = text ? put(u, at, &x, if_match, etag, NULL) : -EAGAIN;

	free(text);
	return rc;
}

int objects_delete(struct uploads *u, const struct object_at *at)
{
	struct exchange x = { .call = { .method = "DELETE" } };
	int rc = exchange(u, at, "", &x);

	httpc_answer_free(&x.answer);
	return rc == -ENOENT ? 0 : rc;
}

/* ---- key sets ---- */

/* Is the key one of a column's key sets: ".weir/FILE/keys/COLUMN"? */
static bool is_keys_of(const char *key, const char *column)
{
	size_t len = strlen(key), n = strlen(column);

	return len > n + 6 && !strcmp(key + len - n, column) && !memcmp(key + len - n - 6, "/keys/", 6);
}

/* What was fetched so far becomes one set: however many files a dataset has, few are open. */
static int merge_sets(struct uploads *u, int *fds, size_t *n)
{
	int merged = spool_temporary(u->spool);
	int rc = merged < 0 ? merged : uniques_merge_keys(fds, *n, merged);

	if (rc && merged >= 0)
		close(merged);
	if (rc)
		return rc;
	while (*n)
		close(fds[--*n]);
	fds[(*n)++] = merged;
	return 0;
}

static int fetch_sets(struct uploads *u, const char *dataset, const char *column, const char *user, int *fds, size_t *n)
{
	json_t *list = NULL, *o;
	uint64_t size;
	size_t i;
	int rc = objects_list(u, dataset, ".weir/", user, &list);

	json_array_foreach (list, i, o) {
		const char *key = json_string_value(json_object_get(o, "key"));
		struct object_at at = { dataset, key, user };

		if (rc || !key || !is_keys_of(key, column))
			continue;
		if (*n == SETS_MAX)
			rc = merge_sets(u, fds, n);
		if (rc)
			break;
		fds[*n] = spool_temporary(u->spool);
		rc = fds[*n] < 0 ? fds[*n] : 0;
		if (!rc) {
			rc = objects_get_file(u, &at, fds[*n], &size, NULL);
			(*n)++;
		}
		if (rc == -ENOENT) { /* deleted meanwhile */
			(*n)--;
			close(fds[*n]);
			rc = 0;
		}
	}
	json_decref(list);
	return rc;
}

int objects_keys(struct uploads *u, const char *dataset, const char *column, const char *user, int *fd)
{
	int fds[SETS_MAX];
	size_t n = 0;
	int rc = fetch_sets(u, dataset, column, user, fds, &n);

	if (!rc && !n)
		rc = -ENOENT;
	if (!rc)
		rc = merge_sets(u, fds, &n);
	if (!rc)
		*fd = fds[--n];
	while (n)
		close(fds[--n]);
	return rc;
}

/* Columns of others' rules that refer to a dataset's, into references: {dataset: [columns]}. */
static void add_references(json_t *all, const char *value)
{
	json_t *record = json_loads(value, 0, NULL);
	struct rules *rules = record_rules(record);

	for (size_t i = 0; rules && i < rules->nfields; i++) {
		const struct field *f = &rules->fields[i];
		json_t *list;
		bool known = false;

		if (!f->reference_dataset)
			continue;
		list = json_object_get(all, f->reference_dataset);
		if (!list) {
			list = json_array();
			json_object_set_new(all, f->reference_dataset, list);
		}
		for (size_t k = 0; k < json_array_size(list); k++)
			known |= !strcmp(json_string_value(json_array_get(list, k)), f->reference_column);
		if (!known)
			json_array_append_new(list, json_string(f->reference_column));
	}
	rules_free(rules);
	json_decref(record);
}

json_t *objects_referred(struct uploads *u, const char *dataset)
{
	struct reg_kv *kvs = NULL;
	json_t *all = json_object(), *mine;
	size_t n = 0;
	int rc = registry_list(u->opt.registry, REG_DATASETS, &kvs, &n, NULL);

	for (size_t i = 0; !rc && i < n; i++)
		add_references(all, kvs[i].value);
	if (!rc)
		reg_kv_list_free(kvs, n);
	pthread_mutex_lock(&u->kick_lock);
	if (!rc) { /* a registry that is silent leaves what was known */
		json_decref(u->references);
		u->references = json_incref(all);
	}
	mine = json_deep_copy(json_object_get(u->references, dataset));
	pthread_mutex_unlock(&u->kick_lock);
	json_decref(all);
	return mine ? mine : json_array();
}
