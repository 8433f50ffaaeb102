/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_pack.c -- what the encoder left, read back: durations from its playlists, bytes and digests from its files; and
 * the texts that say so (master and media playlists by RFC 8216, an MPD by ISO/IEC 23009-1, the list that is signed).
 *
 * Pure but for reading the folder: the same files give the same version and the same texts.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/hash.h"
#include "tools/media.h"

#define PLAYLIST_MAX (4u << 20)

/* ---- reading --------------------------------------------------------------------------------- */

static char *read_text(const char *folder, const char *name)
{
	char path[4200], *text = NULL;
	size_t len = 0;
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	in = fopen(path, "re");
	if (in)
		text = malloc(PLAYLIST_MAX + 1);
	if (text) {
		len = fread(text, 1, PLAYLIST_MAX, in);
		text[len] = '\0';
	}
	if (in)
		fclose(in);
	if (!text)
		cmd_fail("ffmpeg left no %s: %s", name, strerror(errno));
	return text;
}

static int digest(const char *folder, struct media_piece *piece)
{
	struct sha256 *sha = sha256_new();
	char path[4200], block[65536];
	uint64_t bytes = 0;
	uint8_t sum[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, piece->uri);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (sha && fd >= 0 && (n = read(fd, block, sizeof(block))) > 0) {
		sha256_add(sha, block, (size_t)n);
		bytes += (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	if (sha)
		sha256_end(sha, sum);
	if (!sha || fd < 0 || n < 0 || !bytes || bytes > UINT32_MAX)
		return cmd_fail("ffmpeg left no usable %s", piece->uri);
	piece->bytes = (uint32_t)bytes;
	hex_encode(sum, sizeof(sum), piece->sha256);
	return CMD_OK;
}

/* A line of an encoder's media playlist. */
static int take_line(struct media_track *t, char *line, double *duration)
{
	struct media_piece *p;
	char name[16];

	memcpy(name, t->name, sizeof(name));
	if (!strncmp(line, "#EXTINF:", 8)) {
		*duration = strtod(line + 8, NULL);
	} else if (!strncmp(line, "#EXT-X-MAP:URI=\"", 16)) {
		snprintf(t->init.uri, sizeof(t->init.uri), "%.15s/%.*s", name, (int)strcspn(line + 16, "\""), line + 16);
	} else if (*line && *line != '#') {
		if (t->nsegments == MEDIA_SEGMENTS_MAX || !(*duration > 0))
			return cmd_fail("%zu segments are too many (or one has no duration); make them longer: --segment", t->nsegments);
		p = realloc(t->segments, (t->nsegments + 1) * sizeof(*p));
		if (!p)
			return cmd_fail("out of memory");
		t->segments = p;
		p += t->nsegments++;
		*p = (struct media_piece){ .duration = *duration };
		snprintf(p->uri, sizeof(p->uri), "%.15s/%.40s", name, line);
		*duration = 0;
	}
	return CMD_OK;
}

static int read_track(struct media_pack *pack, struct media_track *t)
{
	double duration = 0, whole = 0, bits = 0, peak = 0;
	char name[64], *text, *save = NULL;
	int rc = CMD_OK;

	snprintf(name, sizeof(name), "%.15s/index.m3u8", t->name);
	text = read_text(pack->folder, name);
	if (!text)
		return CMD_FAILED;
	for (char *line = strtok_r(text, "\r\n", &save); line && !rc; line = strtok_r(NULL, "\r\n", &save))
		rc = take_line(t, line, &duration);
	free(text);
	if (!rc && (!t->nsegments || !*t->init.uri))
		rc = cmd_fail("ffmpeg made no segment of %s", t->name);
	if (!rc)
		rc = digest(pack->folder, &t->init);
	for (size_t i = 0; i < t->nsegments && !rc; i++) {
		struct media_piece *p = &t->segments[i];

		rc = digest(pack->folder, p);
		whole += p->duration;
		bits += 8.0 * p->bytes;
		if (p->duration >= 0.5 || t->nsegments == 1) /* a short last one says nothing of the rate */
			peak = fmax(peak, 8.0 * p->bytes / p->duration);
		pack->bytes += p->bytes;
	}
	pack->bytes += t->init.bytes;
	pack->duration = fmax(pack->duration, whole);
	t->average = (unsigned int)ceil(bits / fmax(whole, 0.001));
	t->peak = (unsigned int)ceil(fmax(peak, t->average));
	return rc;
}

/* RESOLUTION and CODECS of the track: what the encoder's master playlist says before the track's name. */
static int read_facts(const char *master, struct media_track *t)
{
	char line[80];
	const char *at, *info = NULL, *codecs, *shape;

	snprintf(line, sizeof(line), "\n%s/index.m3u8", t->name);
	at = strstr(master, line);
	for (const char *p = master; at && (p = strstr(p, "#EXT-X-STREAM-INF:")) && p < at; p++)
		info = p;
	codecs = info ? strstr(info, "CODECS=\"") : NULL;
	shape = info ? strstr(info, "RESOLUTION=") : NULL;
	if (!codecs || codecs > at)
		return cmd_fail("ffmpeg's master playlist does not say what %s is", t->name);
	snprintf(t->codecs, sizeof(t->codecs), "%.*s", (int)strcspn(codecs + 8, "\""), codecs + 8);
	if (shape && shape < at && sscanf(shape, "RESOLUTION=%ux%u", &t->width, &t->height) != 2)
		t->width = t->height = 0;
	if (!t->width && strncmp(t->codecs, "mp4a", 4))
		return cmd_fail("ffmpeg's master playlist does not say how large %s is", t->name);
	return CMD_OK;
}

/* The same of what was copied, of which the encoder's playlist says nothing: pictures are those of the track of this name, the
 * rest is sound. */
static void take_facts(const struct media_pack *whole, struct media_track *t)
{
	const char *sound = strstr(whole->tracks[0].codecs, "mp4a");

	snprintf(t->codecs, sizeof(t->codecs), "%s", sound ? sound : "mp4a.40.2");
	for (size_t i = 0; i < whole->ntracks; i++) {
		const struct media_track *w = &whole->tracks[i];

		if (strcmp(w->name, t->name))
			continue;
		snprintf(t->codecs, sizeof(t->codecs), "%.*s", (int)strcspn(w->codecs, ","), w->codecs);
		t->width = w->width;
		t->height = w->height;
	}
}

static int by_bandwidth(const void *a, const void *b)
{
	const struct media_track *x = a, *y = b;

	return (x->peak > y->peak) - (x->peak < y->peak);
}

/* "v" and the first half of a digest over all digests. */
static void name_version(struct media_pack *pack)
{
	struct sha256 *sha = sha256_new();
	uint8_t sum[32] = { 0 };

	for (size_t i = 0; sha && i < pack->ntracks; i++) {
		const struct media_track *t = &pack->tracks[i];

		sha256_add(sha, t->name, strlen(t->name) + 1);
		sha256_add(sha, t->init.sha256, 64);
		for (size_t k = 0; k < t->nsegments; k++)
			sha256_add(sha, t->segments[k].sha256, 64);
	}
	if (sha)
		sha256_end(sha, sum);
	pack->version[0] = 'v';
	hex_encode(sum, 8, pack->version + 1);
}

int media_pack_read(struct media_pack *out, const char *folder, const struct media_wish *wish, const struct media_pack *whole)
{
	char *master = whole ? NULL : read_text(folder, MEDIA_MASTER);
	int rc = master || whole ? CMD_OK : CMD_FAILED;

	*out = (struct media_pack){ 0 };
	snprintf(out->folder, sizeof(out->folder), "%s", folder);
	for (size_t i = 0; i < wish->nrungs && !rc; i++) {
		struct media_track *t = &out->tracks[out->ntracks++];

		memcpy(t->name, wish->rungs[i].name, sizeof(t->name));
		rc = read_track(out, t);
		if (!rc && whole)
			take_facts(whole, t);
		else if (!rc)
			rc = read_facts(master, t);
	}
	free(master);
	for (size_t i = 1; i < out->ntracks && !rc; i++)
		if (out->tracks[i].width && out->tracks[0].width && out->tracks[i].nsegments != out->tracks[0].nsegments)
			rc = cmd_fail("ffmpeg cut %s into %zu segments, %s into %zu: viewers could not change between them",
				      out->tracks[i].name, out->tracks[i].nsegments, out->tracks[0].name, out->tracks[0].nsegments);
	if (!rc) {
		qsort(out->tracks, out->ntracks, sizeof(out->tracks[0]), by_bandwidth);
		name_version(out);
	}
	return rc;
}

void media_pack_free(struct media_pack *pack)
{
	for (size_t i = 0; i < pack->ntracks; i++)
		free(pack->tracks[i].segments);
	*pack = (struct media_pack){ 0 };
}

/* ---- texts ----------------------------------------------------------------------------------- */

char *media_pack_master(const struct media_pack *pack)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fputs("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n", out);
	for (size_t i = 0; i < pack->ntracks; i++) {
		const struct media_track *t = &pack->tracks[i];

		fprintf(out, "#EXT-X-STREAM-INF:BANDWIDTH=%u,AVERAGE-BANDWIDTH=%u,RESOLUTION=%ux%u,CODECS=\"%s\"", t->peak, t->average,
			t->width, t->height, t->codecs);
		if (pack->rate > 0)
			fprintf(out, ",FRAME-RATE=%.3f", pack->rate);
		fprintf(out, ",NAME=\"%s\"\n%s/%s/index.m3u8\n", t->name, pack->version, t->name);
	}
	return fclose(out) ? NULL : text;
}

char *media_pack_playlist(const struct media_pack *pack, size_t track)
{
	const struct media_track *t = &pack->tracks[track];
	double longest = 0;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	for (size_t i = 0; i < t->nsegments; i++)
		longest = fmax(longest, t->segments[i].duration);
	fprintf(out, "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:%u\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n"
		"#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init.mp4\"\n", (unsigned int)round(longest));
	for (size_t i = 0; i < t->nsegments; i++)
		fprintf(out, "#EXTINF:%.6f,\n%s\n", t->segments[i].duration, strchr(t->segments[i].uri, '/') + 1);
	fputs("#EXT-X-ENDLIST\n", out);
	return fclose(out) ? NULL : text;
}

/* Durations in microseconds; equal neighbours become one line. */
static void print_timeline(FILE *out, const struct media_track *t)
{
	for (size_t i = 0, n; i < t->nsegments; i += n) {
		long long us = llround(t->segments[i].duration * 1e6);

		for (n = 1; i + n < t->nsegments && llround(t->segments[i + n].duration * 1e6) == us; n++)
			;
		fprintf(out, "          <S d=\"%lld\"", us);
		if (n > 1)
			fprintf(out, " r=\"%zu\"", n - 1);
		fputs("/>\n", out);
	}
}

/* One AdaptationSet: the pictures, or the sound. */
static void print_set(FILE *out, const struct media_pack *pack, bool sound)
{
	fprintf(out, "    <AdaptationSet id=\"%d\" contentType=\"%s\" mimeType=\"%s/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n",
		sound, sound ? "audio" : "video", sound ? "audio" : "video");
	for (size_t i = 0; i < pack->ntracks; i++) {
		const struct media_track *t = &pack->tracks[i];

		if (!t->width != sound)
			continue;
		fprintf(out, "      <Representation id=\"%s\" bandwidth=\"%u\" codecs=\"%s\"", t->name, t->peak, t->codecs);
		if (t->width)
			fprintf(out, " width=\"%u\" height=\"%u\"", t->width, t->height);
		fprintf(out, ">\n        <BaseURL>%s/%s/</BaseURL>\n        <SegmentTemplate timescale=\"1000000\" startNumber=\"0\" "
			"initialization=\"init.mp4\" media=\"$Number%%05d$.m4s\">\n          <SegmentTimeline>\n", pack->version, t->name);
		print_timeline(out, t);
		fputs("          </SegmentTimeline>\n        </SegmentTemplate>\n      </Representation>\n", out);
	}
	fputs("    </AdaptationSet>\n", out);
}

char *media_pack_dash(const struct media_pack *pack)
{
	bool sound = false;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	fprintf(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" "
		"profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" minBufferTime=\"PT4S\" "
		"mediaPresentationDuration=\"PT%.3fS\">\n  <Period id=\"0\" start=\"PT0S\">\n", pack->duration);
	print_set(out, pack, false);
	for (size_t i = 0; i < pack->ntracks; i++)
		sound |= !pack->tracks[i].width;
	if (sound)
		print_set(out, pack, true);
	fputs("  </Period>\n</MPD>\n", out);
	return fclose(out) ? NULL : text;
}

char *media_pack_list(const struct media_pack *pack, const char *asset)
{
	json_t *all = json_array(), *root;
	char *text;

	for (size_t i = 0; i < pack->ntracks; i++) {
		const struct media_track *t = &pack->tracks[i];
		json_t *segments = json_array();
		char at[128];

		for (size_t k = 0; k < t->nsegments; k++) {
			const struct media_piece *p = &t->segments[k];

			snprintf(at, sizeof(at), "%s/%s", pack->version, p->uri);
			json_array_append_new(segments, json_pack("{s:I, s:s, s:f, s:I, s:s}", "n", (json_int_t)k, "uri", at, "duration",
								  round(p->duration * 1e6) / 1e6, "bytes", (json_int_t)p->bytes, "sha256",
								  p->sha256));
		}
		snprintf(at, sizeof(at), "%s/%s/index.m3u8", pack->version, t->name);
		root = json_pack("{s:s, s:I, s:I, s:I, s:s, s:s}", "name", t->name, "bandwidth", (json_int_t)t->peak, "width",
				 (json_int_t)t->width, "height", (json_int_t)t->height, "codecs", t->codecs, "playlist", at);
		snprintf(at, sizeof(at), "%s/%s/init.mp4", pack->version, t->name);
		json_object_set_new(root, "init", json_pack("{s:s, s:I, s:s}", "uri", at, "bytes", (json_int_t)t->init.bytes, "sha256",
							    t->init.sha256));
		json_object_set_new(root, "segments", segments);
		json_array_append_new(all, root);
	}
	root = json_pack("{s:i, s:s, s:f, s:o}", "version", 1, "asset", asset, "duration", round(pack->duration * 1e6) / 1e6, "renditions",
			 all);
	text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(12));
	json_decref(root);
	return text;
}
