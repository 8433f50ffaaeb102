/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.c -- `weir media`: the command; assets are listed, shown and removed here, added in media_add.c.
 */
#include "tools/media.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/media_watch.h"

/* ---- names ----------------------------------------------------------------------------------- */

/* "[BUCKET/]NAME": the bucket is "media". A name has no folder of its own and is what a path may be. */
static int take_name(struct media_cmd *m, const char *text)
{
	const char *slash = strchr(text, '/');
	size_t bucket = slash ? (size_t)(slash - text) : 5, len = strlen(slash ? slash + 1 : text);

	if (bucket < 3 || bucket > 63 || !len || len > 100 || strchr(slash ? slash + 1 : text, '/'))
		return cmd_usage(m->cmd, "%s: wanted is NAME or BUCKET/NAME (at most 100 bytes, without '/')", text);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		if (*p < 0x21 || *p == 0x7f || strchr("\"'\\<>&?#%*", *p))
			return cmd_usage(m->cmd, "%s: a name has no spaces, quotes or any of \\ < > & ? # %% *", web_safe(text));
	snprintf(m->asset, sizeof(m->asset), "%s%s", slash ? "" : "media/", text);
	m->name = strchr(m->asset, '/') + 1;
	return CMD_OK;
}

int media_open_web(struct media_cmd *m)
{
	int rc = web_open(&m->web, &m->opt, &m->flags, true);

	if (!rc)
		rc = web_find(&m->place, &m->opt, &m->flags, false);
	if (!rc)
		rc = media_sender_open(&m->sender, &m->place);
	return rc;
}

static void close_web(struct media_cmd *m)
{
	media_sender_close(m->sender);
	web_place_free(&m->place);
	web_close(m->web);
}

/* ---- what is there --------------------------------------------------------------------------- */

/* A page of a bucket's keys; -ENOENT: nothing, or no such bucket. */
static int list_page(struct media_cmd *m, const char *prefix, const char *after, unsigned int limit, json_t **out)
{
	char path[2400], *text = NULL;
	size_t len = 0;
	int rc;

	snprintf(path, sizeof(path), "/b/%.*s/?limit=%u&prefix=%s&after=%s", (int)strcspn(m->asset, "/"), m->asset, limit,
		 web_part(prefix, false), web_part(after, false));
	rc = media_fetch(m->sender, path, &text, &len);
	if (rc)
		return rc;
	*out = json_loadb(text, len, 0, NULL);
	free(text);
	return *out ? CMD_OK : cmd_fail("%s did not answer with a list", m->place.url);
}

void media_keys_free(struct media_keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->key[i]);
	free(k->key);
	*k = (struct media_keys){ 0 };
}

/* All objects of the asset. */
int media_keys_list(struct media_cmd *m, struct media_keys *out)
{
	char prefix[128], *after = strdup("");
	int rc = CMD_OK;

	*out = (struct media_keys){ 0 };
	snprintf(prefix, sizeof(prefix), "%s/", m->name);
	while (!rc && after) {
		json_t *page = NULL, *o;
		size_t i;

		rc = list_page(m, prefix, after, 1000, &page);
		free(after);
		after = NULL;
		json_array_foreach (json_object_get(page, "objects"), i, o) {
			char **more = realloc(out->key, (out->n + 1) * sizeof(*more));

			if (!more)
				break;
			out->key = more;
			out->bytes += (uint64_t)js_num(o, "size");
			if (asprintf(&more[out->n], "%.*s/%s", (int)strcspn(m->asset, "/"), m->asset, js_text(o, "key", "")) >= 0)
				out->n++;
		}
		if (!rc && json_is_string(json_object_get(page, "next")))
			after = strdup(js_text(page, "next", ""));
		json_decref(page);
	}
	free(after);
	return rc == -ENOENT ? CMD_OK : rc;
}

/* What is signed of the asset: a new reference, NULL when there is none (or rc says why). */
static json_t *fetch_list(struct media_cmd *m, int *rc)
{
	json_t *file, *payload = NULL;
	char path[600], *text = NULL;
	size_t len = 0;

	snprintf(path, sizeof(path), "/b/%s/" MEDIA_LIST, web_part(m->asset, true));
	*rc = media_fetch(m->sender, path, &text, &len);
	if (*rc)
		return NULL;
	file = json_loadb(text, len, 0, NULL);
	if (file)
		payload = json_loads(js_text(file, "payload", ""), 0, NULL);
	json_decref(file);
	free(text);
	return payload;
}

/* ---- ls, show, rm ---------------------------------------------------------------------------- */

static void show_one(struct table *table, json_t *all, struct media_cmd *m, const json_t *list)
{
	json_t *renditions = json_object_get(list, "renditions"), *r, *s;
	char names[200] = "", size[16], duration[32];
	double seconds = js_num(list, "duration");
	uint64_t bytes = 0;
	size_t i, k;

	json_array_foreach (renditions, i, r) {
		size_t at = strlen(names);

		snprintf(names + at, sizeof(names) - at, "%s%s", i ? " " : "", web_safe(js_text(r, "name", "?")));
		json_array_foreach (json_object_get(r, "segments"), k, s)
			bytes += (uint64_t)fmax(0, js_num(s, "bytes"));
	}
	snprintf(duration, sizeof(duration), "%.1f s", seconds);
	if (table)
		table_row(table, web_safe(m->asset), list ? duration : "?", *names ? names : "?", list ? cmd_bytes(bytes, size) : "?",
			  list ? "yes" : "no", NULL);
	json_array_append_new(all, json_pack("{s:s, s:b, s:o, s:I, s:s}", "asset", m->asset, "signed", list != NULL, "duration",
					     isnan(seconds) ? json_null() : json_real(seconds), "bytes", (json_int_t)bytes, "renditions", names));
}

/* The first key after all of an asset's is the next asset's: '0' follows '/'. */
static int list_assets(struct media_cmd *m, const char *bucket)
{
	struct table *table = m->opt.json ? NULL : table_new("ASSET|DURATION|RENDITIONS|SIZE>|SIGNED");
	char after[160] = "";
	json_t *all = json_array();
	int rc = CMD_OK;

	while (!rc) {
		json_t *page = NULL, *list = NULL;
		const char *key;

		snprintf(m->asset, sizeof(m->asset), "%.63s/", bucket);
		rc = list_page(m, "", after, 1, &page);
		key = js_text(json_array_get(json_object_get(page, "objects"), 0), "key", "");
		if (!*key || strlen(key) >= sizeof(after)) {
			json_decref(page);
			break;
		}
		snprintf(after, sizeof(after), "%.*s%s", (int)strcspn(key, "/"), key, strchr(key, '/') ? "0" : "");
		snprintf(m->asset, sizeof(m->asset), "%.63s/%.*s", bucket, (int)strcspn(key, "/") < 120 ? (int)strcspn(key, "/") : 120, key);
		if (strchr(key, '/'))
			list = fetch_list(m, &rc);
		rc = rc == -ENOENT ? CMD_OK : rc;
		if (!rc && strchr(key, '/'))
			show_one(table, all, m, list);
		json_decref(list);
		json_decref(page);
	}
	rc = rc == -ENOENT ? CMD_OK : rc;
	if (table)
		table_print(table);
	if (m->opt.json && !rc)
		return cmd_print_json(all);
	json_decref(all);
	return rc;
}

static int show(struct media_cmd *m)
{
	int rc;
	json_t *list = fetch_list(m, &rc), *r;
	struct table *table;
	size_t i;

	if (rc || !list)
		return rc && rc != -ENOENT ? rc : cmd_fail("there is no asset %s with a list (weir media ls)", m->asset);
	if (m->opt.json)
		return cmd_print_json(list);
	printf("%s  %.1f s\n  HLS   %s/b/%s/" MEDIA_MASTER "\n", web_safe(js_text(list, "asset", "?")), js_num(list, "duration"),
	       m->place.url, m->asset);
	table = table_new("RENDITION|SIZE|BITS/S>|CODECS|SEGMENTS>|BYTES>|PLAYLIST");
	json_array_foreach (json_object_get(list, "renditions"), i, r) {
		json_t *segments = json_object_get(r, "segments"), *s;
		char shape[32], count[16], size[16];
		uint64_t bytes = 0;
		size_t k;

		json_array_foreach (segments, k, s)
			bytes += (uint64_t)fmax(0, js_num(s, "bytes"));
		snprintf(shape, sizeof(shape), "%.0fx%.0f", js_num(r, "width"), js_num(r, "height"));
		snprintf(count, sizeof(count), "%zu", json_array_size(segments));
		table_row(table, web_safe(js_text(r, "name", "?")), shape, js_show(r, "bandwidth", 0), web_safe(js_text(r, "codecs", "?")),
			  count, cmd_bytes(bytes, size), web_safe(js_text(r, "playlist", "?")), NULL);
	}
	table_print(table);
	json_decref(list);
	return CMD_OK;
}

/* The master goes first: what is half removed is not shown. */
static int rm(struct media_cmd *m)
{
	char *first[3] = { NULL };
	struct media_keys keys = { 0 };
	char size[16];
	int rc = media_keys_list(m, &keys);

	if (!rc && !keys.n)
		rc = cmd_fail("there is no asset %s (weir media ls)", m->asset);
	if (!rc && (asprintf(&first[0], "%s/" MEDIA_MASTER, m->asset) < 0 || asprintf(&first[1], "%s/" MEDIA_DASH, m->asset) < 0 ||
		    asprintf(&first[2], "%s/" MEDIA_LIST, m->asset) < 0))
		rc = cmd_fail("out of memory");
	for (size_t i = 0; i < 3 && !rc; i++)
		rc = media_delete(m->sender, &first[i], 1);
	if (!rc)
		rc = media_delete(m->sender, keys.key, keys.n);
	if (!rc && m->opt.json)
		cmd_print_json(json_pack("{s:s, s:I}", "removed", m->asset, "objects", (json_int_t)keys.n));
	else if (!rc)
		printf("%s  removed: %zu objects, %s\n", m->asset, keys.n, cmd_bytes(keys.bytes, size));
	for (size_t i = 0; i < 3; i++)
		free(first[i]);
	media_keys_free(&keys);
	return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

int cmd_media(const struct cmd *cmd, int argc, char **argv)
{
	struct media_cmd m = { .cmd = cmd };
	const struct cmd_flag own[] = { WEB_FLAGS(m.flags),
					{ "--rendition", &m.renditions, NULL },
					{ "--segment", &m.segment, NULL },
					{ "--preset", &m.preset, NULL },
					{ "--public", NULL, &m.public },
					{ "--dash", NULL, &m.dash },
					{ NULL, NULL, NULL } };
	const char *what;
	int n, rc;

	if (argc > 0 && !strcmp(argv[0], "watch"))
		return media_watch(argc - 1, argv + 1);
	n = cmd_parse(cmd, argc, argv, &m.opt, own);
	what = n > 0 ? argv[0] : "";
	if (n < 0)
		return cmd_exit_of(n);
	if (!strcmp(what, "add") && n == 3) {
		rc = take_name(&m, argv[2]);
		rc = rc ? rc : media_add(&m, argv[1]);
	} else if (!strcmp(what, "ls") && n <= 2) {
		snprintf(m.asset, sizeof(m.asset), "%.63s/", n == 2 ? argv[1] : "media");
		rc = media_open_web(&m);
		rc = rc ? rc : list_assets(&m, n == 2 ? argv[1] : "media");
	} else if ((!strcmp(what, "show") || !strcmp(what, "rm")) && n == 2) {
		rc = take_name(&m, argv[1]);
		rc = rc ? rc : media_open_web(&m);
		rc = rc ? rc : *what == 's' ? show(&m) : rm(&m);
	} else {
		rc = cmd_usage(cmd, "wants add FILE [BUCKET/]NAME, ls [BUCKET], show NAME, or rm NAME");
	}
	close_web(&m);
	return rc;
}
