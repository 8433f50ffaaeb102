/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.c -- `weir media add`, `ls`, `show`, `rm`: assets that viewers watch, made of a film (media.h).
 *
 * The order of sending is the promise: segments and media playlists first, under a folder that no playlist names yet,
 * then the signed list, then the MPD, then the master playlist. Whoever asks sees the asset of before, or the new one.
 */
#include "tools/media.h"
#include "tools/media_watch.h"

#include <errno.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/registry.h"

#define SEGMENT_S  4
#define SIGNED_MAX (1u << 20) /* bytes of a list that a gateway signs */

struct media_cmd {
	const struct cmd *cmd;
	struct cmd_options opt;
	struct web_flags flags;
	const char *renditions, *segment, *preset;
	bool public, dash;
	struct web *web;
	struct web_place place;
	struct media_sender *sender;
	char asset[192], *name; /* BUCKET/NAME; NAME */
};

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

static int open_web(struct media_cmd *m)
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

struct keys {
	char **key; /* BUCKET/KEY */
	size_t n;
	uint64_t bytes;
};

static void keys_free(struct keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->key[i]);
	free(k->key);
	*k = (struct keys){ 0 };
}

/* All objects of the asset. */
static int list_objects(struct media_cmd *m, struct keys *out)
{
	char prefix[128], *after = strdup("");
	int rc = CMD_OK;

	*out = (struct keys){ 0 };
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

/* "vHASH" of a key of the asset, "" when it is in no version's folder. */
static void version_of(const struct media_cmd *m, const char *key, char out[20])
{
	const char *at = key + strlen(m->asset) + 1;
	size_t len = strcspn(at, "/");

	out[0] = '\0';
	if (len == 17 && at[0] == 'v' && at[len] == '/' && strspn(at + 1, "0123456789abcdef") == 16)
		snprintf(out, 20, "%.17s", at);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static void on_signal(int number)
{
	(void)number;
	media_stopped = true;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

/* The signed list's text; "" when the gateway signs none (gateway.peers is off). malloc'ed; NULL: it was said why. */
static char *sign(struct media_cmd *m, const char *payload)
{
	struct web_call call = { .doing = "have the list of segments signed", .method = "POST", .body = payload, .len = strlen(payload),
				 .type = "application/json" };
	struct web_answer answer = { 0 };
	char path[600], *text = NULL;

	snprintf(path, sizeof(path), "/_/media/%s", web_part(m->asset, true));
	call.path = path;
	if (call.len > SIGNED_MAX) {
		cmd_fail("the list of segments has %zu KiB, a gateway signs at most %u: make them longer (--segment) or have fewer "
			 "renditions (--rendition)", call.len / 1024, SIGNED_MAX / 1024);
		return NULL;
	}
	if (web_ask(m->web, &call, &answer))
		return NULL;
	if (answer.status == 404) {
		fprintf(stderr, "weir: the gateway signs no lists (gateway.peers is off): the asset plays, but viewers cannot carry each "
			"other\n");
		text = strdup("");
	} else if (answer.status / 100 != 2) {
		web_fail(m->web, call.doing, 0, answer.status, answer.json, NULL);
	} else {
		text = answer.text ? strdup(answer.text) : NULL;
	}
	web_answer_free(&answer);
	return text;
}

/* A file of the asset to be sent: of the encoder's (path) or a text, which is then the batch's. */
static int put(struct media_cmd *m, struct media_file *file, const char *version, const char *uri, char *path, char *text)
{
	*file = (struct media_file){ .path = path, .text = text, .len = text ? strlen(text) : 0, .fixed = *version };
	if ((!path && !text) || asprintf(&file->key, "%s/%s%s%s", m->asset, version, *version ? "/" : "", uri) < 0) {
		file->key = NULL;
		return cmd_fail("out of memory");
	}
	return CMD_OK;
}

static void files_free(struct media_file *files, size_t n)
{
	for (size_t i = 0; files && i < n; i++) {
		free(files[i].key);
		free((char *)files[i].path);
		free((char *)files[i].text);
	}
	free(files);
}

static char *piece_path(const struct media_pack *pack, const struct media_piece *p)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s", pack->folder, p->uri) < 0 ? NULL : path;
}

/* All that lies below the version's folder: nothing names it yet. */
static int send_version(struct media_cmd *m, const struct media_pack *pack, struct media_bar *bar)
{
	size_t n = 0, all = 0;
	struct media_file *files;
	char uri[64];
	int rc = CMD_OK;

	for (size_t i = 0; i < pack->ntracks; i++)
		all += pack->tracks[i].nsegments + 2;
	files = calloc(all, sizeof(*files));
	if (!files)
		return cmd_fail("out of memory");
	for (size_t i = 0; i < pack->ntracks && !rc; i++) {
		const struct media_track *t = &pack->tracks[i];

		for (size_t k = 0; k < t->nsegments && !rc; k++)
			rc = put(m, &files[n++], pack->version, t->segments[k].uri, piece_path(pack, &t->segments[k]), NULL);
		snprintf(uri, sizeof(uri), "%s/init.mp4", t->name);
		if (!rc)
			rc = put(m, &files[n++], pack->version, uri, piece_path(pack, &t->init), NULL);
		snprintf(uri, sizeof(uri), "%s/index.m3u8", t->name);
		if (!rc)
			rc = put(m, &files[n++], pack->version, uri, NULL, media_pack_playlist(pack, i));
	}
	if (!rc)
		rc = media_send(m->sender, files, n, bar);
	files_free(files, all);
	return rc;
}

static int send_text(struct media_cmd *m, const char *name, char *text)
{
	struct media_file file;
	int rc = put(m, &file, "", name, NULL, text);

	if (!rc)
		rc = media_send(m->sender, &file, 1, NULL);
	free(file.key);
	free(text);
	return rc;
}

/* Versions that are neither this one nor the one of before, which viewers may be in the middle of. */
static int remove_old(struct media_cmd *m, const struct keys *before, const char *now, const char *last)
{
	char **gone = calloc(before->n + 1, sizeof(*gone)), version[20];
	size_t n = 0;
	int rc;

	for (size_t i = 0; gone && i < before->n; i++) {
		version_of(m, before->key[i], version);
		if (*version && strcmp(version, now) && strcmp(version, last))
			gone[n++] = before->key[i];
	}
	rc = gone ? media_delete(m->sender, gone, n) : cmd_fail("out of memory");
	free(gone);
	return rc;
}

/* The version that the master playlist of before names; "" without one. */
static int version_before(struct media_cmd *m, char out[20])
{
	char path[600], *text = NULL;
	size_t len = 0;
	int rc;

	snprintf(path, sizeof(path), "/b/%s/" MEDIA_MASTER, web_part(m->asset, true));
	rc = media_fetch(m->sender, path, &text, &len);
	out[0] = '\0';
	for (char *at = text; at && (at = strstr(at, "\nv")); at++)
		if (at[18] == '/' && strspn(at + 2, "0123456789abcdef") == 16)
			snprintf(out, 20, "%.17s", at + 1);
	free(text);
	return rc == -ENOENT ? CMD_OK : rc;
}

/* dash: what is sent for it beside, or NULL; pack itself serves both when it has no sound. */
static int send_all(struct media_cmd *m, const struct media_pack *pack, const struct media_pack *dash)
{
	struct media_bar bar = { .total = pack->bytes + (dash && dash != pack ? dash->bytes : 0) };
	struct keys before = { 0 };
	char last[20] = "", mpd_key[256], *mpd = mpd_key, *payload = media_pack_list(pack, m->asset), *list = NULL;
	bool shown = isatty(STDERR_FILENO) && !m->opt.json;
	int rc = payload ? CMD_OK : cmd_fail("out of memory");

	snprintf(mpd_key, sizeof(mpd_key), "%s/" MEDIA_DASH, m->asset);
	if (!rc && !(list = sign(m, payload)))
		rc = CMD_FAILED;
	if (!rc)
		rc = version_before(m, last);
	if (!rc)
		rc = list_objects(m, &before);
	if (!rc)
		rc = send_version(m, pack, shown ? &bar : NULL);
	if (!rc && dash && dash != pack)
		rc = send_version(m, dash, shown ? &bar : NULL);
	if (shown)
		fputs("\r\033[K", stderr);
	if (!rc && *list)
		rc = send_text(m, MEDIA_LIST, strdup(list));
	if (!rc && dash)
		rc = send_text(m, MEDIA_DASH, media_pack_dash(dash));
	else if (!rc) /* of a version of before */
		rc = media_delete(m->sender, &mpd, 1);
	if (!rc)
		rc = send_text(m, MEDIA_MASTER, media_pack_master(pack));
	if (!rc)
		rc = remove_old(m, &before, pack->version, last);
	keys_free(&before);
	free(payload);
	free(list);
	return rc;
}

/* Readable by everybody: as users and groups, by the registry of the node's own file. */
static int make_public(struct media_cmd *m)
{
	struct conf *conf = cmd_conf(&m->opt);
	struct registry *reg = conf ? cmd_registry(conf) : NULL;
	char key[128], bucket[64], *value;
	struct reg_kv kv = { 0 };
	json_t *record = NULL;
	int rc;

	if (!reg) {
		conf_free(conf);
		return cmd_fail("--public changes the registry: run it on a node, with -c FILE of it");
	}
	snprintf(bucket, sizeof(bucket), "%.*s", (int)strcspn(m->asset, "/"), m->asset);
	snprintf(key, sizeof(key), REG_BUCKETS "%s", bucket);
	rc = registry_get(reg, key, &kv);
	if (!rc)
		record = json_loads(kv.value, 0, NULL);
	if (!json_is_object(record)) {
		json_decref(record);
		record = json_object();
	}
	json_object_set_new(record, "name", json_string(bucket));
	json_object_set_new(record, "public", json_true());
	value = json_dumps(record, JSON_COMPACT);
	if (!rc || rc == -ENOENT)
		rc = value ? registry_put(reg, key, value, 0) : -ENOMEM;
	if (rc)
		rc = cmd_fail("cannot make the bucket %s public: %s", bucket, registry_error());
	free(value);
	json_decref(record);
	reg_kv_free(&kv);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

static int say_added(struct media_cmd *m, const struct media_pack *pack, bool dash)
{
	json_t *renditions = json_array();
	char size[16], names[MEDIA_RUNGS_MAX * 18] = "";

	for (size_t i = 0; i < pack->ntracks; i++) {
		const struct media_track *t = &pack->tracks[i];

		json_array_append_new(renditions, json_pack("{s:s, s:I, s:I, s:I}", "name", t->name, "bandwidth", (json_int_t)t->peak,
							    "width", (json_int_t)t->width, "height", (json_int_t)t->height));
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? ", " : "", t->name);
	}
	if (m->opt.json)
		return cmd_print_json(json_pack("{s:s, s:s, s:f, s:I, s:I, s:o, s:s+++}", "asset", m->asset, "version", pack->version,
						"duration", pack->duration, "segments", (json_int_t)pack->tracks[0].nsegments, "bytes",
						(json_int_t)pack->bytes, "renditions", renditions, "master", m->place.url, "/b/", m->asset, "/" MEDIA_MASTER));
	json_decref(renditions);
	printf("%s  %.1f s, %s, %zu segments of each, %s\n  HLS   %s/b/%s/" MEDIA_MASTER "\n", m->asset, pack->duration, names,
	       pack->tracks[0].nsegments, cmd_bytes(pack->bytes, size), m->place.url, m->asset);
	if (dash)
		printf("  DASH  %s/b/%s/" MEDIA_DASH "\n", m->place.url, m->asset);
	return CMD_OK;
}

static int encode_and_send(struct media_cmd *m, const struct media_source *source, struct media_wish *wish)
{
	const char *tmp = getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
	struct media_pack pack = { 0 }, apart = { 0 };
	const struct media_pack *dash = source->audio ? NULL : &pack;
	struct media_wish apart_wish;
	char folder[4096], below[4200];
	int rc;

	snprintf(folder, sizeof(folder), "%.3900s/weir-media.XXXXXX", tmp);
	if (!mkdtemp(folder))
		return cmd_fail("cannot make a folder in %s: %s", tmp, strerror(errno));
	rc = media_encode(folder, source, wish);
	if (!rc)
		rc = media_pack_read(&pack, folder, wish, NULL);
	pack.rate = source->rate;
	if (!rc && m->dash && !dash) {
		snprintf(below, sizeof(below), "%s/dash", folder);
		rc = media_split(folder, wish, &apart_wish);
		if (!rc)
			rc = media_pack_read(&apart, below, &apart_wish, &pack);
		snprintf(apart.version, sizeof(apart.version), "%.17s/dash", pack.version);
		dash = &apart;
	}
	if (!rc)
		rc = send_all(m, &pack, dash);
	if (!rc && m->public)
		rc = make_public(m);
	if (!rc)
		rc = say_added(m, &pack, dash);
	media_pack_free(&apart);
	media_pack_free(&pack);
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return rc;
}

static int add(struct media_cmd *m, const char *file)
{
	struct media_wish wish = { .segment_s = m->segment ? strtod(m->segment, NULL) : SEGMENT_S,
				   .preset = m->preset ? m->preset : "veryfast",
				   .progress = isatty(STDERR_FILENO) && !m->opt.json };
	struct sigaction action = { .sa_handler = on_signal };
	struct media_source source;
	int rc;

	if (wish.segment_s < 1 || wish.segment_s > 30)
		return cmd_usage(m->cmd, "--segment %s: 1 to 30 seconds are wanted", m->segment);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	rc = media_look(&source, file);
	if (!rc)
		rc = media_wish_parse(&wish, m->renditions, &source);
	if (!rc)
		rc = open_web(m);
	return rc ? rc : encode_and_send(m, &source, &wish);
}

/* ---- ls, show, rm ---------------------------------------------------------------------------- */

static void show_one(struct table *table, json_t *all, struct media_cmd *m, const json_t *list)
{
	json_t *renditions = json_object_get(list, "renditions"), *r, *s;
	char names[200] = "", size[16], duration[32];
	uint64_t bytes = 0;
	size_t i, k;

	json_array_foreach (renditions, i, r) {
		size_t at = strlen(names);

		snprintf(names + at, sizeof(names) - at, "%s%s", i ? " " : "", web_safe(js_text(r, "name", "?")));
		json_array_foreach (json_object_get(r, "segments"), k, s)
			bytes += (uint64_t)fmax(0, js_num(s, "bytes"));
	}
	snprintf(duration, sizeof(duration), "%.1f s", js_num(list, "duration"));
	if (table)
		table_row(table, web_safe(m->asset), list ? duration : "?", *names ? names : "?", list ? cmd_bytes(bytes, size) : "?",
			  list ? "yes" : "no", NULL);
	json_array_append_new(all, json_pack("{s:s, s:b, s:f, s:I, s:s}", "asset", m->asset, "signed", list != NULL, "duration",
					     js_num(list, "duration"), "bytes", (json_int_t)bytes, "renditions", names));
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
	struct keys keys = { 0 };
	char size[16];
	int rc = list_objects(m, &keys);

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
	keys_free(&keys);
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
		rc = rc ? rc : add(&m, argv[1]);
	} else if (!strcmp(what, "ls") && n <= 2) {
		snprintf(m.asset, sizeof(m.asset), "%.63s/", n == 2 ? argv[1] : "media");
		rc = open_web(&m);
		rc = rc ? rc : list_assets(&m, n == 2 ? argv[1] : "media");
	} else if ((!strcmp(what, "show") || !strcmp(what, "rm")) && n == 2) {
		rc = take_name(&m, argv[1]);
		rc = rc ? rc : open_web(&m);
		rc = rc ? rc : *what == 's' ? show(&m) : rm(&m);
	} else {
		rc = cmd_usage(cmd, "wants add FILE [BUCKET/]NAME, ls [BUCKET], show NAME, or rm NAME");
	}
	close_web(&m);
	return rc;
}
