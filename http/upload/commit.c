/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit.c -- an accepted file becomes objects of its dataset's bucket.
 *
 * The manifest orders the versions of a file, for all gateways: who stores first writes itself into it as `pending`,
 * on the condition that it is as it was read; the others wait. Then, in this order: the version that is there is
 * copied to .weir/FILE/versions/N/FILE, outputs, quarantine and key sets are written, FILE itself, the manifest (on
 * the condition that it is still ours), and what is no longer needed is deleted. Each step may be done again: a
 * gateway that died goes on when it is back, another takes over when `pending` has run out, and what a slow one
 * still tries fails on a condition. Until the manifest says so, the bytes stay in the spool: none are lost.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/objects.h"
#include "http/upload/uploads_int.h"
#include "lib/log.h"

#define PENDING_S    60		  /* and a second for each … */
#define PENDING_RATE (8u << 20)	  /* … so many bytes */
#define REJECTED_MS  600000	  /* of tokens: then their user is gone */

struct commit {
	struct upload *up;
	struct uploads *u;
	struct rules *rules;
	json_t *old;	   /* the manifest as it was, or NULL */
	char etag[80];	   /* of the manifest; "" none */
	char file_etag[80]; /* of FILE as it is */
	uint64_t version;
	json_t *outputs, *keys;
	bool quarantine;
	char sha256[65];
	char *why;
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static struct object_at at_key(const struct commit *c, const char *key)
{
	return (struct object_at){ c->up->dataset, key, c->up->by };
}

static int said(struct commit *c, int rc, const char *what)
{
	if (rc)
		snprintf(c->why, 256, "%s: %.160s", what, objects_error());
	/* A condition that no longer holds: somebody was faster. */
	return rc == -ECANCELED ? -EAGAIN : rc;
}

/* ---- the manifest: read, ours ---- */

static int read_manifest(struct commit *c)
{
	char *key = weir_key(c->up->file, "manifest.json");
	struct object_at at = at_key(c, key);
	int rc = key ? objects_get_json(c->u, &at, &c->old, c->etag) : -EAGAIN;

	free(key);
	if (rc == -ENOENT) {
		c->etag[0] = '\0';
		rc = 0;
	}
	c->version = (uint64_t)json_integer_value(json_object_get(c->old, "version"));
	return said(c, rc, "the manifest cannot be read");
}

static int write_manifest(struct commit *c, const json_t *manifest)
{
	char *key = weir_key(c->up->file, "manifest.json"), etag[80];
	struct object_at at = at_key(c, key);
	int rc = key ? objects_put_json(c->u, &at, manifest, c->etag, etag) : -EAGAIN;

	free(key);
	if (!rc)
		memcpy(c->etag, etag, sizeof(etag));
	return said(c, rc, "the manifest cannot be written");
}

/* The conditions of a PUT against the file as it is. 0, -ECANCELED. */
static int conditions(const struct commit *c)
{
	const struct upload *up = c->up;
	const char *match = up->if_match;

	/* An earlier try of ours held them when it claimed the file; it may have replaced it since. */
	if (!strcmp(text_of(json_object_get(c->old, "pending"), "upload"), up->id))
		return 0;
	if (up->if_none_match && c->version && objects_etag_named(up->if_none_match, c->file_etag))
		return -ECANCELED;
	if (match && (!c->version || !objects_etag_named(match, c->file_etag)))
		return -ECANCELED;
	return 0;
}

static int claim(struct commit *c)
{
	json_t *pending = json_object_get(c->old, "pending"), *mine;
	int64_t now = time(NULL);
	int rc;

	if (pending && strcmp(text_of(pending, "upload"), c->up->id) &&
	    json_integer_value(json_object_get(pending, "until")) > now) {
		snprintf(c->why, 256, "another version of this file is being stored");
		return -EAGAIN;
	}
	mine = c->old ? json_copy(c->old) : json_pack("{s:s, s:i}", "file", c->up->file, "version", 0);
	if (!mine)
		return -EAGAIN;
	json_object_set_new(mine, "pending",
			    json_pack("{s:s, s:I, s:I}", "upload", c->up->id, "version", (json_int_t)c->version + 1,
				      "until", (json_int_t)(now + PENDING_S + (int64_t)(c->up->received / PENDING_RATE))));
	rc = write_manifest(c, mine);
	json_decref(mine);
	return rc;
}

/* ---- what is written ---- */

/* The version that is there goes to its own place, unless an earlier try has done that. */
static int keep_old(struct commit *c)
{
	struct object_at at = at_key(c, c->up->file), to;
	char sha[65], etag[80], *key = NULL, what[FILE_NAME_MAX + 40];
	uint64_t size;
	int fd, rc;

	snprintf(sha, sizeof(sha), "%.32s", text_of(c->old, "sha256"));
	if (!c->version || !c->rules->keep_versions || !*c->file_etag || !*sha || !strstr(c->file_etag, sha))
		return 0;
	snprintf(what, sizeof(what), "versions/%llu/%s", (unsigned long long)c->version, c->up->file);
	key = weir_key(c->up->file, what);
	fd = spool_temporary(c->u->spool);
	to = at_key(c, key);
	rc = fd < 0 || !key ? -EAGAIN : objects_get_file(c->u, &at, fd, &size, etag);
	if (!rc && !strcmp(etag, c->file_etag))
		rc = objects_put_file(c->u, &to, fd, size, NULL, NULL, NULL);
	if (fd >= 0)
		close(fd);
	free(key);
	return said(c, rc, "the earlier version cannot be kept");
}

/* A file of the spool becomes an object; *bytes its size. */
static int put_spool(struct commit *c, const char *suffix, const char *key, uint64_t *bytes)
{
	int fd = spool_file(c->u->spool, c->up->id, suffix, SPOOL_READ), rc;
	struct object_at at = at_key(c, key);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		snprintf(c->why, 256, "the spool has lost %s", suffix);
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	*bytes = (uint64_t)st.st_size;
	rc = objects_put_file(c->u, &at, fd, *bytes, NULL, NULL, NULL);
	close(fd);
	return said(c, rc, "an output cannot be stored");
}

/* What the pipeline said of an output, by its file's name; NULL: the quarantine. */
static json_t *lineage_of(const struct commit *c, const char *name)
{
	json_t *o;
	size_t i;

	json_array_foreach (json_object_get(c->up->result, "outputs"), i, o)
		if (!strcmp(text_of(o, "name"), name))
			return o;
	return NULL;
}

static int put_output(struct commit *c, const char *name, int n)
{
	bool quarantine = !strcmp(name, "quarantine.csv") && !lineage_of(c, name);
	char suffix[32], *key = NULL;
	json_t *o, *lineage = lineage_of(c, name);
	uint64_t bytes;
	int rc;

	snprintf(suffix, sizeof(suffix), "out.%d", n);
	if (quarantine)
		key = weir_key(c->up->file, name);
	else if (asprintf(&key, "derived/%s/%s", c->up->file, name) < 0)
		key = NULL;
	if (!key)
		return -EAGAIN;
	rc = strlen(key) > 512 ? 0 : put_spool(c, suffix, key, &bytes);
	if (!rc && strlen(key) <= 512 && quarantine) {
		c->quarantine = true;
	} else if (!rc && strlen(key) <= 512) {
		o = json_pack("{s:s, s:s, s:I}", "name", name, "key", key, "bytes", (json_int_t)bytes);
		for (const char *const *k = (const char *const[]){ "output", "rows", "format", "packing", NULL }; *k; k++)
			if (json_object_get(lineage, *k))
				json_object_set(o, *k, json_object_get(lineage, *k));
		json_object_set(o, "lineage", lineage ? lineage : json_null());
		json_array_append_new(c->outputs, o);
	}
	free(key);
	return rc;
}

static int put_derived(struct commit *c)
{
	json_t *o;
	size_t i;
	int rc = 0;

	json_array_foreach (c->up->outputs, i, o)
		if (!rc)
			rc = put_output(c, text_of(o, "name"), (int)json_integer_value(json_object_get(o, "n")));
	json_array_foreach (c->up->keys, i, o) {
		char suffix[32], what[300], *key;
		uint64_t bytes;

		if (rc)
			break;
		snprintf(suffix, sizeof(suffix), "key.%zu", i);
		snprintf(what, sizeof(what), "keys/%.256s", json_string_value(o));
		key = weir_key(c->up->file, what);
		rc = key ? put_spool(c, suffix, key, &bytes) : -EAGAIN;
		/* A file without that column has an empty set: none. */
		if (!rc)
			json_array_append(c->keys, o);
		free(key);
	}
	return rc;
}

static int put_file(struct commit *c)
{
	struct object_at at = at_key(c, c->up->file);
	char ours[80];
	int rc;

	/* An earlier try may have come so far. */
	snprintf(ours, sizeof(ours), "\"%.32s\"", text_of(c->up->result, "sha256"));
	if (!strcmp(ours, c->file_etag) && strlen(ours) == 34) {
		snprintf(c->sha256, sizeof(c->sha256), "%s", text_of(c->up->result, "sha256"));
		return 0;
	}
	rc = objects_put_file(c->u, &at, c->up->fd, c->up->received, c->file_etag, NULL, c->sha256);
	return said(c, rc, "the file cannot be stored");
}

/* ---- the end ---- */

static json_t *compose(const struct commit *c)
{
	const struct upload *up = c->up;
	const json_t *r = up->result;
	json_t *m = json_pack("{s:s, s:I, s:I, s:s, s:O?, s:{s:s, s:I, s:s, s:s}, s:o, s:o, s:o, s:o, s:I, s:s}", "file",
			      up->file, "version", (json_int_t)c->version + 1, "size", (json_int_t)up->received, "sha256",
			      c->sha256, "type", json_object_get(r, "type"), "uploaded", "by", up->by, "at",
			      (json_int_t)time(NULL), "from", up->from, "how", up->how, "outputs", json_incref(c->outputs),
			      "keys", json_incref(c->keys), "quarantine", json_boolean(c->quarantine), "columns",
			      up->columns ? json_incref(up->columns) : json_null(), "rules_generation",
			      (json_int_t)up->rules_generation, "upload", up->id);
	static const char *const same[] = { "rows", "good", "bad", "findings", "summary", "statistics", "schema" };
	json_t *lineage = json_pack("{s:{s:s, s:I, s:s}, s:I}", "of", "file", up->file, "version",
				    (json_int_t)c->version + 1, "sha256", c->sha256, "rules_generation",
				    (json_int_t)up->rules_generation);
	const json_t *q = json_object_get(r, "quarantine");

	if (!m || !lineage) {
		json_decref(m);
		json_decref(lineage);
		return NULL;
	}
	if (up->replaced)
		json_object_set(lineage, "replaced", up->replaced);
	json_object_set_new(m, "lineage", lineage);
	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (json_object_get(r, same[i]))
			json_object_set(m, same[i], json_object_get(r, same[i]));
	json_object_set_new(m, "quarantined", json_is_integer(q) ? json_incref((json_t *)q) : json_integer(0));
	return m;
}

/* Is a key still one of the file's: an output, a key set, the quarantine, a version that is kept? */
static bool wanted(const struct commit *c, const char *key, size_t prefix)
{
	const char *rest = key + prefix;
	json_t *o;
	size_t i;

	if (!strncmp(key, "derived/", 8)) {
		json_array_foreach (c->outputs, i, o)
			if (!strcmp(text_of(o, "key"), key))
				return true;
		return false;
	}
	if (!strncmp(rest, "keys/", 5)) {
		json_array_foreach (c->keys, i, o)
			if (!strcmp(json_string_value(o), rest + 5))
				return true;
		return false;
	}
	if (!strcmp(rest, "quarantine.csv"))
		return c->quarantine;
	if (!strncmp(rest, "versions/", 9))
		return strtoull(rest + 9, NULL, 10) + c->rules->keep_versions > c->version;
	return true;
}

static void clean(struct commit *c)
{
	for (int derived = 0; derived < 2; derived++) {
		char *prefix = NULL;
		json_t *list = NULL, *o;
		size_t i;

		if (asprintf(&prefix, "%s/%s/", derived ? "derived" : ".weir", c->up->file) < 0)
			return;
		if (!objects_list(c->u, c->up->dataset, prefix, c->up->by, &list)) {
			json_array_foreach (list, i, o) {
				const char *key = text_of(o, "key");
				struct object_at at = at_key(c, key);

				if (weir_key_beside(c->up->file, key) && !wanted(c, key, strlen(prefix)))
					objects_delete(c->u, &at);
			}
			json_decref(list);
		}
		free(prefix);
	}
}

static int store_all(struct commit *c)
{
	struct object_at at = at_key(c, c->up->file);
	json_t *manifest;
	int rc = said(c, objects_head(c->u, &at, c->file_etag), "the file cannot be looked for");

	if (!rc && conditions(c)) {
		snprintf(c->why, 256, "If-Match or If-None-Match does not hold; nothing was changed");
		return -ECANCELED;
	}
	if (!rc)
		rc = claim(c);
	if (!rc)
		rc = keep_old(c);
	if (!rc)
		rc = put_derived(c);
	if (!rc)
		rc = put_file(c);
	if (rc)
		return rc;
	manifest = compose(c);
	rc = manifest ? write_manifest(c, manifest) : -EAGAIN;
	json_decref(manifest);
	if (!rc && c->old) /* a first version leaves nothing behind, unless an earlier try of it did */
		clean(c);
	return rc;
}

/* For good, or later? Everything that may be well again is tried again: a token that is refused may only be newer than
 * what an endpoint has heard of keys and users. */
static int final(const struct upload *up, int rc)
{
	if (rc == -EKEYREJECTED && now_ms() - up->store_began_ms > REJECTED_MS)
		return -EACCES;
	return rc == 0 || rc == -ECANCELED || rc == -EACCES || rc == -EFBIG || rc == -EDQUOT || rc == -EIO ? rc : -EAGAIN;
}

int commit_upload(struct upload *up, char why[256])
{
	struct commit c = { .up = up, .u = up->u, .outputs = json_array(), .keys = json_array(), .why = why };
	json_t *record = json_pack("{s:O?}", "rules", up->rules);
	int rc;

	c.rules = record_rules(record);
	rc = c.rules && c.outputs && c.keys ? read_manifest(&c) : -EAGAIN;
	if (!rc && !strcmp(text_of(c.old, "upload"), up->id)) {
		c.version--; /* it was stored, and this gateway died before it knew */
	} else if (!rc) {
		rc = store_all(&c);
	}
	if (!rc) {
		pthread_mutex_lock(&up->lock);
		up->version = c.version + 1;
		up->replaced_earlier = c.version > 0;
		pthread_mutex_unlock(&up->lock);
	}
	rules_free(c.rules);
	json_decref(record);
	json_decref(c.old);
	json_decref(c.outputs);
	json_decref(c.keys);
	return final(up, rc);
}
