/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_parse.c -- a list's payload into an asset (media.h): pure, with limits on all that it says.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media_int.h"
#include "lib/hash.h"

#define SEGMENT_S_MAX  60
#define SEGMENT_MAX    (256u << 20) /* bytes */
#define BANDWIDTH_MAX  1000000000u
#define DURATION_S_MAX (7 * 86400)

static int __attribute__((format(printf, 2, 3))) fail(char why[160], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, 160, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A path below the asset: no scheme, no query, no step up. */
static bool uri_valid(const char *uri, size_t max)
{
	size_t len = strlen(uri);

	if (!len || len >= max || uri[0] == '/' || uri[0] == '.' || uri[len - 1] == '/' || strstr(uri, "//") || strstr(uri, "/."))
		return false;
	return strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/") == len;
}

bool media_name_valid(const char *asset)
{
	const char *slash = strchr(asset, '/');
	size_t len = strlen(asset);

	if (!slash || slash - asset < 3 || slash - asset > 63 || !slash[1] || len >= MEDIA_ASSET_MAX || asset[len - 1] == '/' ||
	    strstr(asset, "//"))
		return false;
	for (const unsigned char *p = (const unsigned char *)asset; *p; p++)
		if (*p < 0x21 || *p == 0x7f || strchr("\"'\\<>?#", *p))
			return false;
	return true;
}

static const char *text_of(const json_t *o, const char *key)
{
	const json_t *value = json_object_get(o, key);

	/* jansson refuses U+0000 within strings unless told otherwise */
	return json_is_string(value) ? json_string_value(value) : "";
}

/* A whole number of at most max into *out. */
static bool count_of(const json_t *o, const char *key, json_int_t max, uint32_t *out)
{
	const json_t *value = json_object_get(o, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
		return false;
	*out = (uint32_t)json_integer_value(value);
	return true;
}

/* Seconds as milliseconds. */
static bool ms_of(const json_t *o, double max_s, uint32_t *out)
{
	const json_t *value = json_object_get(o, "duration");
	double s = json_number_value(value);

	if (!json_is_number(value) || !(s >= 0.001) || !(s <= max_s))
		return false;
	*out = (uint32_t)llround(s * 1000);
	return true;
}

static int parse_segment(struct media_segment *out, const json_t *o, char why[160])
{
	if (!count_of(o, "n", 0x7fffffff, &out->n) || !count_of(o, "bytes", SEGMENT_MAX, &out->bytes) || !out->bytes)
		return fail(why, "n is a whole number, bytes one of 1 to %u", SEGMENT_MAX);
	if (!ms_of(o, SEGMENT_S_MAX, &out->duration_ms))
		return fail(why, "duration is 0.001 to %d seconds", SEGMENT_S_MAX);
	if (!uri_valid(text_of(o, "uri"), 200))
		return fail(why, "uri is a plain path below the asset");
	if (hex_decode(text_of(o, "sha256"), out->sha256, sizeof(out->sha256)))
		return fail(why, "sha256 is 64 hexadecimal digits");
	return 0;
}

static int parse_segments(struct media_segment *out, const json_t *list, const char *name, char why[160])
{
	char because[160];
	json_t *o;
	size_t i;

	json_array_foreach (list, i, o) {
		if (parse_segment(&out[i], o, because))
			return fail(why, "rendition %s, segment %zu: %.100s", name, i, because);
		if (i && out[i].n != out[i - 1].n + 1)
			return fail(why, "rendition %s: segment %zu has n %u after %u", name, i, out[i].n, out[i - 1].n);
	}
	return 0;
}

static int parse_rendition(struct media_rendition *out, const json_t *o, size_t at, char why[160])
{
	const char *name = text_of(o, "name"), *codecs = text_of(o, "codecs"), *playlist = text_of(o, "playlist");
	const json_t *init = json_object_get(o, "init");

	if (!uri_valid(name, sizeof(out->name)) || strchr(name, '/'))
		return fail(why, "rendition %zu: a name has 1 to 31 letters, digits, '-', '.' or '_'", at);
	snprintf(out->name, sizeof(out->name), "%.31s", name);
	if (!count_of(o, "bandwidth", BANDWIDTH_MAX, &out->bandwidth) || !out->bandwidth ||
	    !count_of(o, "width", 32768, &out->width) || !count_of(o, "height", 32768, &out->height))
		return fail(why, "rendition %s: bandwidth, width and height are whole numbers", name);
	if (strlen(codecs) >= sizeof(out->codecs) || strspn(codecs, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-_ ") !=
							     strlen(codecs))
		return fail(why, "rendition %s: codecs is no list of codecs", name);
	snprintf(out->codecs, sizeof(out->codecs), "%.79s", codecs);
	if (!uri_valid(playlist, 128) || (init && !uri_valid(text_of(init, "uri"), 128)))
		return fail(why, "rendition %s: playlist and init's uri are plain paths below the asset", name);
	out->playlist = strdup(playlist);
	out->init = strdup(init ? text_of(init, "uri") : "");
	return out->playlist && out->init ? 0 : fail(why, "out of memory");
}

static int parse_renditions(struct media_asset *a, const json_t *list, char why[160])
{
	size_t n = json_array_size(list), total = 0, i;
	struct media_rendition *all = n && n <= MEDIA_RENDITIONS_MAX ? calloc(n, sizeof(*all)) : NULL;
	json_t *o;

	if (!all)
		return fail(why, "renditions is an array of 1 to %d", MEDIA_RENDITIONS_MAX);
	a->renditions = all;
	json_array_foreach (list, i, o) {
		const json_t *segments = json_object_get(o, "segments");
		struct media_segment *s;

		a->nrenditions++;
		total += json_array_size(segments);
		if (parse_rendition(&all[i], o, i, why))
			return -EINVAL;
		for (size_t k = 0; k < i; k++)
			if (!strcmp(all[k].name, all[i].name))
				return fail(why, "two renditions are called %s", all[i].name);
		if (!json_array_size(segments) || total > MEDIA_SEGMENTS_MAX)
			return fail(why, "rendition %s: no segments, or more than %d in all", all[i].name, MEDIA_SEGMENTS_MAX);
		s = calloc(json_array_size(segments), sizeof(*s));
		if (!s)
			return fail(why, "out of memory");
		all[i].segments = s;
		all[i].nsegments = (uint32_t)json_array_size(segments);
		if (parse_segments(s, segments, all[i].name, why))
			return -EINVAL;
	}
	return 0;
}

int media_parse(struct media_asset **out, const char *payload, size_t len, char why[160])
{
	struct media_asset *a = NULL;
	json_error_t error;
	json_t *root;
	int rc = 0;

	if (len > MEDIA_PAYLOAD_MAX)
		return fail(why, "a list has at most %u bytes", MEDIA_PAYLOAD_MAX);
	root = json_loadb(payload, len, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(root))
		rc = root ? fail(why, "a list is a JSON object") : fail(why, "line %d is no JSON: %.100s", error.line, error.text);
	if (!rc && json_integer_value(json_object_get(root, "version")) != 1)
		rc = fail(why, "version 1 is known here");
	if (!rc && !media_name_valid(text_of(root, "asset")))
		rc = fail(why, "asset is BUCKET/NAME");
	a = calloc(1, sizeof(*a));
	if (!rc && !a)
		rc = fail(why, "out of memory");
	if (!rc && !ms_of(root, DURATION_S_MAX, &a->duration_ms))
		rc = fail(why, "duration is 0.001 to %d seconds", DURATION_S_MAX);
	if (!rc) {
		snprintf(a->name, sizeof(a->name), "%s", text_of(root, "asset"));
		rc = parse_renditions(a, json_object_get(root, "renditions"), why);
	}
	json_decref(root);
	if (rc)
		media_asset_free(a);
	else
		*out = a;
	return rc;
}

void media_asset_free(struct media_asset *a)
{
	if (!a)
		return;
	for (uint32_t i = 0; i < a->nrenditions; i++) {
		free((void *)a->renditions[i].segments);
		free((void *)a->renditions[i].playlist);
		free((void *)a->renditions[i].init);
	}
	free((void *)a->renditions);
	free(a);
}
