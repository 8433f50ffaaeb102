/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_disk.c -- what was read of an asset, in one file of the gateway's folder: it is there when the gateway starts while
 * no endpoint lives. The list is checked again when it is loaded; the rest is what a player would have got.
 */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/peers/media_int.h"
#include "lib/hash.h"
#include "lib/log.h"

static void path_of(const struct media *m, const char *asset, char out[4200])
{
	char hex[65];
	uint8_t sum[32];

	sha256_once(asset, strlen(asset), sum);
	snprintf(out, 4200, "%.4095s/media-%.32s.json", m->folder, hex_encode(sum, sizeof(sum), hex));
}

/* The thread and a listing may have read the same asset. Before the table's lock. */
static pthread_mutex_t saving = PTHREAD_MUTEX_INITIALIZER;

void media_disk_save(struct media *m, const char *asset, const struct media_set *set)
{
	json_t *copies = json_array(), *root;
	char path[4200], temporary[4210];
	int rc = 0;

	if (!*m->folder)
		return;
	for (size_t i = 0; i < set->ncopies; i++) {
		const struct media_copy *c = &set->copies[i];
		char *data = base64_encode(c->data, c->len);

		json_array_append_new(copies, json_pack("{s:s, s:s, s:s}", "name", c->name, "etag", c->etag, "data", data ? data : ""));
		free(data);
	}
	root = json_pack("{s:s, s:o}", "asset", asset, "copies", copies);
	path_of(m, asset, path);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	pthread_mutex_lock(&saving);
	if (!media_has(m, asset, set))
		rc = 0;
	else if (!root || json_dump_file(root, temporary, JSON_COMPACT) || rename(temporary, path))
		rc = errno ? errno : ENOMEM;
	pthread_mutex_unlock(&saving);
	json_decref(root);
	if (rc)
		log_limited(LOG_LEVEL_WARN, 60, "media: cannot keep a copy of %s in %s: %s", asset, m->folder, strerror(rc));
}

void media_disk_forget(struct media *m, const char *asset)
{
	char path[4200];

	if (!*m->folder)
		return;
	path_of(m, asset, path);
	pthread_mutex_lock(&saving);
	if (!media_has(m, asset, NULL))
		unlink(path);
	pthread_mutex_unlock(&saving);
}

static bool take_copy(struct media_set *s, const json_t *o)
{
	const char *name = json_string_value(json_object_get(o, "name")), *etag = json_string_value(json_object_get(o, "etag"));
	const char *data = json_string_value(json_object_get(o, "data"));
	struct media_copy *c = &s->copies[s->ncopies];
	long len;

	if (!name || !etag || !data || strlen(name) >= sizeof(c->name) || strlen(etag) >= sizeof(c->etag))
		return false;
	c->data = malloc(strlen(data) + 1);
	len = c->data ? base64_decode(data, strlen(data), c->data, strlen(data)) : -1;
	if (len < 0) {
		free(c->data);
		return false;
	}
	c->data[len] = '\0';
	c->len = (size_t)len;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->etag, sizeof(c->etag), "%s", etag);
	s->bytes += c->len;
	s->ncopies++;
	return true;
}

static void load_one(struct media *m, const char *path)
{
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, NULL), *o;
	const char *asset = json_string_value(json_object_get(root, "asset"));
	struct media_set *s = calloc(1, sizeof(*s));
	char why[160] = "it is no copy";
	bool good = s && asset && media_name_valid(asset);
	size_t i;

	if (s)
		s->refs = 1;
	json_array_foreach (json_object_get(root, "copies"), i, o)
		good = good && s->ncopies < MEDIA_COPIES_MAX && take_copy(s, o);
	good = good && s->ncopies && !strcmp(s->copies[0].name, MEDIA_LIST_NAME) && !media_set_parse(m, asset, s, why);
	if (good) {
		media_take(m, asset, s);
	} else {
		log_warn("media: %s is not used: %s", path, why);
		media_set_put(s);
		unlink(path);
	}
	json_decref(root);
}

void media_disk_load(struct media *m)
{
	DIR *dir = *m->folder ? opendir(m->folder) : NULL;
	const struct dirent *d;
	char path[4400];

	while (dir && (d = readdir(dir))) {
		size_t len = strlen(d->d_name);

		if (strncmp(d->d_name, "media-", 6) || len < 11 || strcmp(d->d_name + len - 5, ".json"))
			continue;
		snprintf(path, sizeof(path), "%.4095s/%s", m->folder, d->d_name);
		load_one(m, path);
	}
	if (dir)
		closedir(dir);
}
