/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_add.c -- `weir media add`: assets that viewers watch, made of a film (media.h).
 *
 * The order of sending is the promise: segments and media playlists first, under a folder that no playlist names yet,
 * then the signed list, then the MPD, then the master playlist. Whoever asks sees the asset of before, or the new one.
 */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/registry.h"
#include "tools/media.h"

#define SEGMENT_S  4
#define SIGNED_MAX (3u << 20) /* bytes of a list that a gateway signs */

/* "vHASH" of a key of the asset, "" when it is in no version's folder. */
static void version_of(const struct media_cmd *m, const char *key, char out[20])
{
	const char *at = key + strlen(m->asset) + 1;
	size_t len = strcspn(at, "/");

	out[0] = '\0';
	if (len == 17 && at[0] == 'v' && at[len] == '/' && strspn(at + 1, "0123456789abcdef") == 16)
		snprintf(out, 20, "%.17s", at);
}

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
static int remove_old(struct media_cmd *m, const struct media_keys *before, const char *now, const char *last)
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
	struct media_keys before = { 0 };
	char last[20] = "", mpd_key[256], *mpd = mpd_key, *payload = media_pack_list(pack, m->asset), *list = NULL;
	bool shown = isatty(STDERR_FILENO) && !m->opt.json;
	int rc = payload ? CMD_OK : cmd_fail("out of memory");

	snprintf(mpd_key, sizeof(mpd_key), "%s/" MEDIA_DASH, m->asset);
	if (!rc && !(list = sign(m, payload)))
		rc = CMD_FAILED;
	if (!rc)
		rc = version_before(m, last);
	if (!rc)
		rc = media_keys_list(m, &before);
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
	media_keys_free(&before);
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

int media_add(struct media_cmd *m, const char *file)
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
		rc = media_open_web(m);
	return rc ? rc : encode_and_send(m, &source, &wish);
}
