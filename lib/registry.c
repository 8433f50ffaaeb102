/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.c -- the client's simple part: opening, reading, writing, transactions.
 *
 * Requests and answers are those of etcd's JSON gateway (etcd v3.4, rpc.proto); what both servers
 * share is written down in registry_internal.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/registry_internal.h"

#define SECRET_FILE_MAX 2048
#define CA_FILE_MAX	(1u << 20)
#define VALUE_MAX	(2u << 20) /* decoded, of an answer; servers allow 1 to 1.5 MiB */
#define LIST_TRIES	5

/* ---- encodings ---- */

int64_t reg_i64(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	if (json_is_string(v))
		return strtoll(json_string_value(v), NULL, 10);
	return json_is_integer(v) ? json_integer_value(v) : 0;
}

uint64_t reg_u64(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	if (json_is_string(v))
		return strtoull(json_string_value(v), NULL, 10);
	return json_is_integer(v) ? (uint64_t)json_integer_value(v) : 0;
}

void reg_set_i64(json_t *object, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	json_object_set_new(object, name, json_string(text));
}

void reg_set_bytes(json_t *object, const char *name, const void *data, size_t len)
{
	char *text = base64_encode(data, len);

	if (text)
		json_object_set_new(object, name, json_string(text));
	free(text);
}

/* The smallest text after all that start with prefix; a lone NUL means "to the end". */
static void set_prefix_end(json_t *object, const char *prefix)
{
	size_t len = strlen(prefix);
	char *end;

	while (len && (unsigned char)prefix[len - 1] == 0xff)
		len--;
	if (!len) {
		reg_set_bytes(object, "range_end", "", 1);
		return;
	}
	end = strndup(prefix, len);
	if (!end)
		return;
	end[len - 1]++;
	reg_set_bytes(object, "range_end", end, len);
	free(end);
}

void reg_set_prefix(json_t *object, const char *prefix)
{
	reg_set_bytes(object, "key", prefix, *prefix ? strlen(prefix) : 1);
	set_prefix_end(object, prefix);
}

static char *bytes_decode(const json_t *text, size_t *len)
{
	size_t text_len = json_string_length(text), max = text_len / 4 * 3 + 3;
	char *out = text_len / 4 * 3 <= VALUE_MAX ? malloc(max + 1) : NULL;
	long n = 0;

	if (!out)
		return NULL;
	if (text_len)
		n = base64_decode(json_string_value(text), text_len, out, max);
	if (n < 0) {
		free(out);
		return NULL;
	}
	out[n] = '\0';
	*len = (size_t)n;
	return out;
}

int reg_kv_parse(struct reg_kv *out, const json_t *kv)
{
	struct reg_kv got = {
		.mod_revision = reg_i64(kv, "mod_revision"),
		.create_revision = reg_i64(kv, "create_revision"),
		.version = reg_i64(kv, "version"),
		.lease = reg_i64(kv, "lease"),
	};
	size_t key_len = 0;

	got.key = bytes_decode(json_object_get(kv, "key"), &key_len);
	got.value = bytes_decode(json_object_get(kv, "value"), &got.value_len);
	if (!got.key || !got.value || strlen(got.key) != key_len || !key_len) {
		reg_kv_free(&got);
		return -EPROTO;
	}
	*out = got;
	return 0;
}

void reg_kv_free(struct reg_kv *kv)
{
	if (!kv)
		return;
	if (kv->value)
		explicit_bzero(kv->value, kv->value_len); /* it may be a signing key */
	free(kv->key);
	free(kv->value);
	memset(kv, 0, sizeof(*kv));
}

void reg_kv_list_free(struct reg_kv *kvs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		reg_kv_free(&kvs[i]);
	free(kvs);
}

/* ---- opening ---- */

/* A small file as text; a secret loses its last line end. */
static int read_text(char **out, const char *path, size_t max, bool secret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t len = 0;
	ssize_t n = 0;
	int rc;

	if (fd < 0)
		goto failed;
	text = calloc(1, max + 2);
	if (!text)
		goto failed;
	while (len <= max && (n = read(fd, text + len, max + 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		goto failed;
	close(fd);
	while (secret && len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		text[--len] = '\0';
	if (!len || len > max || strlen(text) != len || (secret && strpbrk(text, "\r\n"))) {
		reg_error_set("%s: must hold one %s of at most %zu bytes", path,
			      secret ? "line" : "PEM text", max);
		free(text);
		return -EINVAL;
	}
	*out = text;
	return 0;
failed:
	rc = -errno;
	reg_error_set("%s cannot be read: %s", path, strerror(-rc));
	free(text);
	if (fd >= 0)
		close(fd);
	return rc;
}

static int parse_url(struct registry *reg, const char *url)
{
	reg->shown = strdup(url ? url : "");
	if (url && !strncmp(url, "unix:/", 6)) {
		reg->unix_path = strdup(url + 5);
		reg->base = strdup("http://localhost");
		return reg->unix_path && reg->base && reg->shown ? 0 : -ENOMEM;
	}
	if (url && (!strncmp(url, "http://", 7) || !strncmp(url, "https://", 8))) {
		reg->base = strdup(url);
		if (!reg->base || !reg->shown)
			return -ENOMEM;
		for (size_t n = strlen(reg->base); n && reg->base[n - 1] == '/'; n--)
			reg->base[n - 1] = '\0';
		return strlen(reg->base) < 512 ? 0 : -EINVAL;
	}
	reg_error_set("`registry: url` is \"%s\"; write unix:/path, http://host:port or "
		      "https://host:port",
		      url ? url : "");
	return -EINVAL;
}

static int read_secrets(struct registry *reg, const struct conf_registry *conf)
{
	int rc = 0;

	if (conf->token_file)
		rc = read_text(&reg->bearer, conf->token_file, SECRET_FILE_MAX, true);
	if (!rc && conf->ca)
		rc = read_text(&reg->ca, conf->ca, CA_FILE_MAX, false);
	if (rc || !conf->user)
		return rc;
	if (!conf->password_file) {
		reg_error_set("`registry: user` is set, so `registry: password` must name a file");
		return -EINVAL;
	}
	reg->user = strdup(conf->user);
	return reg->user ? read_text(&reg->password, conf->password_file, SECRET_FILE_MAX, true)
			 : -ENOMEM;
}

static void curl_begin(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int registry_open(struct registry **out, const struct conf_registry *conf)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct registry *reg = calloc(1, sizeof(*reg));
	int rc;

	if (!reg)
		return -ENOMEM;
	pthread_once(&once, curl_begin);
	pthread_mutex_init(&reg->lock, NULL);
	pthread_mutex_init(&reg->login_lock, NULL);
	reg->timeout_ms = conf->timeout_us ? (long)((conf->timeout_us + 999) / 1000) : 2000;
	rc = parse_url(reg, conf->url);
	if (!rc)
		rc = read_secrets(reg, conf);
	if (rc) {
		registry_close(reg);
		return rc;
	}
	*out = reg;
	return 0;
}

static void free_secret(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void registry_close(struct registry *reg)
{
	if (!reg)
		return;
	while (reg->watches)
		registry_unwatch(reg->watches);
	while (reg->leases)
		registry_lease_end(reg->leases, false);
	for (size_t i = 0; i < reg->nidle; i++)
		curl_easy_cleanup(reg->idle[i]);
	free_secret(reg->password);
	free_secret(reg->bearer);
	free_secret(reg->auth_token);
	free(reg->user);
	free(reg->ca);
	free(reg->shown);
	free(reg->base);
	free(reg->unix_path);
	pthread_mutex_destroy(&reg->lock);
	pthread_mutex_destroy(&reg->login_lock);
	free(reg);
}

bool registry_reachable(const struct registry *reg)
{
	return atomic_load(&reg->reachable);
}

/* ---- reading ---- */

int registry_get(struct registry *reg, const char *key, struct reg_kv *out)
{
	json_t *request = json_object(), *answer = NULL, *kvs;
	int rc;

	reg_set_bytes(request, "key", key, strlen(key));
	rc = reg_call(reg, "/v3/kv/range", request, 0, &answer);
	if (rc)
		return rc;
	kvs = json_object_get(answer, "kvs");
	if (!json_array_size(kvs)) {
		reg_error_set("the registry at %s has no key %s", reg->shown, key);
		rc = -ENOENT;
	} else {
		rc = reg_kv_parse(out, json_array_get(kvs, 0));
	}
	json_decref(answer);
	return rc;
}

struct listing {
	struct reg_kv *kvs;
	size_t n, room;
	int64_t revision;
	uint64_t cluster;
};

static int listing_add(struct listing *l, const json_t *kvs)
{
	const json_t *kv;
	size_t i;

	json_array_foreach (kvs, i, kv) {
		if (l->n == l->room) {
			size_t room = l->room ? l->room * 2 : 64;
			struct reg_kv *more = reallocarray(l->kvs, room, sizeof(*more));

			if (!more)
				return -ENOMEM;
			l->kvs = more;
			l->room = room;
		}
		if (!reg_kv_parse(&l->kvs[l->n], kv)) /* a key with NUL bytes is nobody's here */
			l->n++;
	}
	return 0;
}

/* One page that starts at from (NULL: at the prefix). *more says whether another follows, after
 * *last. */
static int list_page(struct registry *reg, const char *prefix, const json_t *from,
		     struct listing *l, json_t **last)
{
	json_t *request = json_object(), *answer = NULL, *kvs, *key;
	bool more;
	int rc;

	reg_set_prefix(request, prefix);
	reg_set_i64(request, "limit", REG_PAGE);
	if (from) {
		size_t len = 0;
		char *start = bytes_decode(from, &len);

		if (!start) {
			json_decref(request);
			return -EPROTO;
		}
		reg_set_bytes(request, "key", start,
			      len + 1); /* the terminator makes it the next key */
		reg_set_i64(request, "revision", l->revision);
		free(start);
	}
	rc = reg_call(reg, "/v3/kv/range", request, 0, &answer);
	if (rc)
		return rc;
	if (!from) {
		l->revision = reg_i64(json_object_get(answer, "header"), "revision");
		l->cluster = reg_u64(json_object_get(answer, "header"), "cluster_id");
	}
	kvs = json_object_get(answer, "kvs");
	more = json_is_true(json_object_get(answer, "more"));
	rc = listing_add(l, kvs);
	key = json_object_get(json_array_get(kvs, json_array_size(kvs) - 1), "key");
	*last = !rc && more && key ? json_incref(key) : NULL;
	json_decref(answer);
	return rc;
}

int reg_list(struct registry *reg, const char *prefix, struct reg_kv **out, size_t *n,
	     int64_t *revision, uint64_t *cluster)
{
	struct listing l;
	json_t *from, *last;
	int rc, tries = 0;

	do {
		l = (struct listing){ 0 };
		from = NULL;
		do {
			last = NULL;
			rc = list_page(reg, prefix, from, &l, &last);
			json_decref(from);
			from = last;
		} while (!rc && from);
		if (rc)
			reg_kv_list_free(l.kvs, l.n);
		/* -ESTALE: the snapshot of the first page was compacted before the last was read */
	} while (rc == -ESTALE && ++tries < LIST_TRIES);
	if (rc)
		return rc;
	*out = l.kvs;
	*n = l.n;
	if (revision)
		*revision = l.revision;
	if (cluster)
		*cluster = l.cluster;
	return 0;
}

int registry_list(struct registry *reg, const char *prefix, struct reg_kv **out, size_t *n,
		  int64_t *revision)
{
	return reg_list(reg, prefix, out, n, revision, NULL);
}

/* ---- writing ---- */

int registry_put(struct registry *reg, const char *key, const char *value, int64_t lease)
{
	json_t *request = json_object(), *answer = NULL;
	int rc;

	reg_set_bytes(request, "key", key, strlen(key));
	reg_set_bytes(request, "value", value, strlen(value));
	if (lease)
		reg_set_i64(request, "lease", lease);
	rc = reg_call(reg, "/v3/kv/put", request, 0, &answer);
	if (!rc)
		json_decref(answer);
	return rc;
}

static int delete_range(struct registry *reg, json_t *request, int64_t *deleted)
{
	json_t *answer = NULL;
	int rc = reg_call(reg, "/v3/kv/deleterange", request, 0, &answer);

	if (rc)
		return rc;
	*deleted = reg_i64(answer, "deleted");
	json_decref(answer);
	return 0;
}

int registry_delete(struct registry *reg, const char *key)
{
	json_t *request = json_object();
	int64_t deleted = 0;
	int rc;

	reg_set_bytes(request, "key", key, strlen(key));
	rc = delete_range(reg, request, &deleted);
	if (!rc && !deleted) {
		reg_error_set("the registry at %s has no key %s", reg->shown, key);
		rc = -ENOENT;
	}
	return rc;
}

int registry_delete_prefix(struct registry *reg, const char *prefix, int64_t *deleted)
{
	json_t *request = json_object();
	int64_t n = 0;
	int rc;

	reg_set_prefix(request, prefix);
	rc = delete_range(reg, request, &n);
	if (!rc && deleted)
		*deleted = n;
	return rc;
}

static json_t *cond_json(const struct reg_cond *cond)
{
	json_t *c = json_pack("{s:s,s:s}", "target", "MOD", "result", "EQUAL");

	reg_set_bytes(c, "key", cond->key, strlen(cond->key));
	reg_set_i64(c, "mod_revision", cond->mod_revision);
	return c;
}

static json_t *change_json(const struct reg_change *change)
{
	json_t *op = json_object();

	reg_set_bytes(op, "key", change->key, strlen(change->key));
	if (!change->value)
		return json_pack("{s:o}", "request_delete_range", op);
	reg_set_bytes(op, "value", change->value, strlen(change->value));
	if (change->lease)
		reg_set_i64(op, "lease", change->lease);
	return json_pack("{s:o}", "request_put", op);
}

int registry_txn(struct registry *reg, const struct reg_cond *conds, size_t nconds,
		 const struct reg_change *changes, size_t nchanges, int64_t *revision)
{
	json_t *compare = json_array(), *success = json_array(), *request, *answer = NULL;
	int rc;

	for (size_t i = 0; i < nconds; i++)
		json_array_append_new(compare, cond_json(&conds[i]));
	for (size_t i = 0; i < nchanges; i++)
		json_array_append_new(success, change_json(&changes[i]));
	request = json_pack("{s:o,s:o}", "compare", compare, "success", success);
	/* A repeated compare-and-swap would find its own first run and call it somebody else's. */
	rc = reg_call(reg, "/v3/kv/txn", request, REG_FRESH, &answer);
	if (rc)
		return rc;
	if (!json_is_true(json_object_get(answer, "succeeded"))) {
		reg_error_set("somebody else changed %s in between",
			      nconds ? conds[0].key : "the keys");
		rc = -EAGAIN;
	} else if (revision) {
		*revision = reg_i64(json_object_get(answer, "header"), "revision");
	}
	json_decref(answer);
	return rc;
}
