/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_encode.c -- ffprobe and ffmpeg (media.h): executed without a shell, with the folder as their own so that no
 * name of ours meets their patterns; what they say is kept to the last line, which says why.
 *
 * Every rendition has video and sound in one segment (fMP4, CMAF's file format): viewers who carry each other then
 * have one thing to hold, not two. Segments begin at key frames that are forced at the same times in all renditions.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/media.h"

#define LINE_MAX_KEPT 400
#define PROBE_MAX     (1u << 20)
#define ARGS_MAX      192

volatile bool media_stopped;

/* ---- one child ------------------------------------------------------------------------------- */

/* What a child writes, taken line by line; what is no whole line yet waits. */
struct lines {
	int fd;
	char text[4096];
	size_t len;
	void (*take)(void *arg, char *line);
	void *arg;
};

static void lines_feed(struct lines *l)
{
	ssize_t n = read(l->fd, l->text + l->len, sizeof(l->text) - 1 - l->len);
	char *line = l->text, *end;

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		if (l->len) {
			l->text[l->len] = '\0';
			l->take(l->arg, l->text);
		}
		close(l->fd);
		l->fd = -1;
		return;
	}
	l->len += (size_t)n;
	l->text[l->len] = '\0';
	for (; (end = strpbrk(line, "\r\n")); line = end + 1) {
		*end = '\0';
		if (end > line)
			l->take(l->arg, line);
	}
	l->len -= (size_t)(line - l->text);
	memmove(l->text, line, l->len);
	if (l->len == sizeof(l->text) - 1) /* too long a line: its end is not needed */
		l->len = 0;
}

/* Runs argv in the folder (NULL: here); its standard output and error go to two takers. The exit code, 127 when there is
 * no such program, or -errno. */
static int run(char *const *argv, const char *folder, struct lines *out, struct lines *err)
{
	int a[2], b[2] = { -1, -1 }, status = 0;
	struct pollfd polled[2];
	pid_t pid;

	if (pipe2(a, O_CLOEXEC))
		return -errno;
	if (pipe2(b, O_CLOEXEC)) {
		close(a[0]);
		close(a[1]);
		return -EMFILE;
	}
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (null < 0 || dup2(null, 0) < 0 || dup2(a[1], 1) < 0 || dup2(b[1], 2) < 0 || (folder && chdir(folder)))
			_exit(126);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(a[1]);
	close(b[1]);
	out->fd = a[0];
	err->fd = b[0];
	while (pid > 0 && (out->fd >= 0 || err->fd >= 0)) {
		polled[0] = (struct pollfd){ .fd = out->fd, .events = POLLIN };
		polled[1] = (struct pollfd){ .fd = err->fd, .events = POLLIN };
		if (poll(polled, 2, 200) > 0) {
			if (out->fd >= 0 && polled[0].revents)
				lines_feed(out);
			if (err->fd >= 0 && polled[1].revents)
				lines_feed(err);
		}
		if (media_stopped)
			kill(pid, SIGKILL);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid < 0 ? -EAGAIN : WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void keep_last(void *arg, char *line)
{
	if (strspn(line, " \t") < strlen(line))
		snprintf(arg, LINE_MAX_KEPT, "%.*s", LINE_MAX_KEPT - 1, line);
}

static int not_installed(const char *program)
{
	return cmd_fail("%s is not installed: apt-get install ffmpeg (or wherever this system has it), then again", program);
}

/* ---- looking --------------------------------------------------------------------------------- */

struct gathered {
	char *text;
	size_t len;
};

static void gather(void *arg, char *line)
{
	struct gathered *g = arg;
	size_t n = strlen(line);
	char *more = g->len + n < PROBE_MAX ? realloc(g->text, g->len + n + 2) : NULL;

	if (!more)
		return;
	g->text = more;
	memcpy(more + g->len, line, n);
	g->len += n;
	more[g->len++] = '\n';
	more[g->len] = '\0';
}

/* "25/1" */
static double ratio(const char *text)
{
	char *end;
	double over = strtod(text, &end), under = *end == '/' ? strtod(end + 1, NULL) : 1;

	return under > 0 ? over / under : 0;
}

/* Is it shown lying on its side? */
static bool is_turned(const json_t *stream)
{
	json_t *list = json_object_get(stream, "side_data_list"), *one;
	double angle = strtod(js_text(json_object_get(stream, "tags"), "rotate", "0"), NULL);
	size_t i;

	json_array_foreach (list, i, one)
		if (js_num(one, "rotation") != 0)
			angle = js_num(one, "rotation");
	return fabs(fmod(fabs(angle), 180) - 90) < 1;
}

/* A text that names other files is none: a stranger's could name the private films of this machine, to have them published. */
static bool names_others(const char *format)
{
	static const char *const texts[] = { "hls", "applehttp", "dash", "webm_dash_manifest", "concat", "imf", "sdp", "image2", "avisynth", "vapoursynth" };
	size_t len = strcspn(format, ",");

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		if (strlen(texts[i]) == len && !strncmp(texts[i], format, len))
			return true;
	return false;
}

static int take_streams(struct media_source *out, const json_t *said, const char *file)
{
	const char *format = js_text(json_object_get(said, "format"), "format_name", "");
	json_t *streams = json_object_get(said, "streams"), *s;
	const json_t *video = NULL;
	size_t i;

	if (names_others(format))
		return cmd_fail("%s is no film but a text that names other files (%s): make one file of them first", file, web_safe(format));
	json_array_foreach (streams, i, s) {
		bool cover = js_num(json_object_get(s, "disposition"), "attached_pic") > 0;

		if (!strcmp(js_text(s, "codec_type", ""), "video") && !cover && !video)
			video = s;
		out->audio |= !strcmp(js_text(s, "codec_type", ""), "audio");
	}
	out->duration = strtod(js_text(json_object_get(said, "format"), "duration", "0"), NULL);
	if (!video)
		return cmd_fail("%s has no video in it (ffprobe found %zu stream%s)", file, json_array_size(streams),
				json_array_size(streams) == 1 ? "" : "s");
	out->rate = ratio(js_text(video, "avg_frame_rate", "0"));
	out->width = (unsigned int)js_num(video, is_turned(video) ? "height" : "width");
	out->height = (unsigned int)js_num(video, is_turned(video) ? "width" : "height");
	if (!out->width || !out->height || !(out->duration > 0.1))
		return cmd_fail("%s: a film with a duration is wanted; this has %ux%u and %.2f s (a picture?)", file, out->width,
				out->height, out->duration);
	return CMD_OK;
}

int media_look(struct media_source *out, const char *file)
{
	char why[LINE_MAX_KEPT] = "", url[4200], *real = realpath(file, NULL);
	char *argv[] = { "ffprobe", "-hide_banner", "-v", "error", "-protocol_whitelist", "file,crypto,data", "-print_format", "json",
			 "-show_streams", "-show_format", url, NULL };
	struct gathered g = { 0 };
	struct lines said = { .take = gather, .arg = &g }, err = { .take = keep_last, .arg = why };
	json_t *root;
	int rc;

	*out = (struct media_source){ 0 };
	if (!real || access(real, R_OK)) {
		rc = cmd_fail("%s: %s", file, strerror(errno));
		free(real);
		return rc;
	}
	snprintf(out->path, sizeof(out->path), "%.4095s", real);
	snprintf(url, sizeof(url), "file:%.4095s", real);
	free(real);
	rc = run(argv, NULL, &said, &err);
	root = g.text ? json_loads(g.text, 0, NULL) : NULL;
	if (rc == 127)
		rc = not_installed("ffprobe");
	else if (rc || !root)
		rc = cmd_fail("%s is no film that ffmpeg can read: %s", file, *why ? web_safe(why) : "ffprobe gave no reason");
	else
		rc = take_streams(out, root, file);
	json_decref(root);
	free(g.text);
	return rc;
}

/* ---- which renditions ------------------------------------------------------------------------ */

static const struct media_rung ladder[] = { { "144p", 144, 160 },   { "180p", 180, 250 },   { "240p", 240, 400 },
					    { "360p", 360, 800 },   { "480p", 480, 1400 },  { "720p", 720, 2800 },
					    { "1080p", 1080, 5000 }, { "1440p", 1440, 9000 }, { "2160p", 2160, 16000 } };
#define LADDER (sizeof(ladder) / sizeof(*ladder))

/* What so many lines need, between those of the ladder: they grow as lines^1.6. */
static unsigned int kbps_for(unsigned int lines)
{
	return (unsigned int)fmax(60, 2800 * pow(lines / 720.0, 1.6));
}

static int by_lines(const void *a, const void *b)
{
	const struct media_rung *x = a, *y = b;

	return x->lines != y->lines ? (x->lines > y->lines) - (x->lines < y->lines) : (x->kbps > y->kbps) - (x->kbps < y->kbps);
}

/* "720p", "720p@2500k", "720p@2.5M" */
static int parse_rung(struct media_rung *out, const char *text, size_t len)
{
	char word[48], *end;
	double bits;

	if (len >= sizeof(word))
		return -EINVAL;
	snprintf(word, sizeof(word), "%.*s", (int)len, text);
	out->lines = (unsigned int)strtoul(word, &end, 10);
	if (*end != 'p' || out->lines < 16 || out->lines > 4320 || out->lines % 2 || word[0] == '0')
		return -EINVAL;
	snprintf(out->name, sizeof(out->name), "%up", out->lines);
	out->kbps = kbps_for(out->lines);
	for (size_t i = 0; i < LADDER; i++)
		if (ladder[i].lines == out->lines)
			out->kbps = ladder[i].kbps;
	if (!*++end)
		return 0;
	if (*end++ != '@')
		return -EINVAL;
	bits = strtod(end, &end);
	bits *= *end == 'k' ? 1 : *end == 'M' ? 1000 : 0;
	if (bits < 20 || bits > 200000 || end[1])
		return -EINVAL;
	out->kbps = (unsigned int)bits;
	return 0;
}

static int parse_rungs(struct media_wish *wish, const char *text, unsigned int lines)
{
	for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
		struct media_rung rung;

		if (parse_rung(&rung, at, strcspn(at, ",")))
			return cmd_fail("--rendition %s: wanted are names such as 720p,360p or 720p@2500k (even lines; bits a second)",
					text);
		if (rung.lines > lines)
			return cmd_fail("--rendition %s is larger than the film, which has %u lines", rung.name, lines);
		if (wish->nrungs == MEDIA_RUNGS_MAX)
			return cmd_fail("--rendition: at most %d", MEDIA_RUNGS_MAX);
		wish->rungs[wish->nrungs++] = rung;
	}
	qsort(wish->rungs, wish->nrungs, sizeof(*wish->rungs), by_lines);
	for (size_t i = 1; i < wish->nrungs; i++)
		if (wish->rungs[i].lines == wish->rungs[i - 1].lines)
			return cmd_fail("--rendition: %s is there twice", wish->rungs[i].name);
	return CMD_OK;
}

int media_wish_parse(struct media_wish *wish, const char *renditions, const struct media_source *source)
{
	unsigned int lines = source->width < source->height ? source->width : source->height;
	size_t top = LADDER;

	wish->nrungs = 0;
	if (renditions)
		return parse_rungs(wish, renditions, lines);
	while (top && ladder[top - 1].lines > lines)
		top--;
	/* Of a film between two steps, or below all, the largest rendition is its own size when that is well above the step. */
	if (!top || lines > ladder[top - 1].lines * 5 / 4) {
		char word[16];

		snprintf(word, sizeof(word), "%up", lines & ~1u);
		if (parse_rung(&wish->rungs[0], word, strlen(word)))
			return cmd_fail("a film of %ux%u is too small, or too large", source->width, source->height);
		wish->nrungs = 1;
	}
	for (; top && wish->nrungs < 3; top--)
		wish->rungs[wish->nrungs++] = ladder[top - 1];
	qsort(wish->rungs, wish->nrungs, sizeof(*wish->rungs), by_lines);
	return CMD_OK;
}

/* ---- encoding -------------------------------------------------------------------------------- */

void media_draw(double share, const char *fmt, ...)
{
	int cells = (int)(30 * fmin(fmax(share, 0), 1));
	va_list ap;

	fprintf(stderr, "\r[%.*s%*s] %3d%%  ", cells, "==============================", 30 - cells, "",
		(int)(100 * fmin(fmax(share, 0), 1)));
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\033[K", stderr);
}

struct progress {
	double duration, at;
	char speed[16];
	bool shown;
};

/* "out_time_us=…", "speed=…", and "progress=…" at the end of each block. */
static void take_progress(void *arg, char *line)
{
	struct progress *p = arg;

	if (!strncmp(line, "out_time_us=", 12))
		p->at = strtod(line + 12, NULL) / 1e6;
	else if (!strncmp(line, "speed=", 6))
		snprintf(p->speed, sizeof(p->speed), "%.12s", line + 6 + strspn(line + 6, " "));
	else if (!strncmp(line, "progress=", 9) && p->shown && p->duration > 0)
		media_draw(p->at / p->duration, "encoding  %s", web_safe(p->speed));
}

/* The words of a command line; texts made here are freed with it. */
struct words {
	char *argv[ARGS_MAX];
	size_t n;
	bool failed;
};

static void __attribute__((format(printf, 2, 3))) add(struct words *w, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (w->n + 1 >= ARGS_MAX || vasprintf(&text, fmt, ap) < 0) {
		text = NULL;
		w->failed = true;
	}
	va_end(ap);
	if (text)
		w->argv[w->n++] = text;
}

static void add_begin(struct words *w)
{
	static const char *const begin[] = { "ffmpeg", "-nostdin", "-hide_banner", "-y", "-loglevel", "error", "-progress", "pipe:1",
					     "-protocol_whitelist", "file,crypto,data" };

	for (size_t i = 0; i < sizeof(begin) / sizeof(*begin); i++)
		add(w, "%s", begin[i]);
}

/* One decoded film, scaled once for each rendition. */
static void add_scaling(struct words *w, const struct media_source *source, const struct media_wish *wish)
{
	bool portrait = source->width < source->height;
	char graph[1200];
	size_t n = (size_t)snprintf(graph, sizeof(graph), "[0:v:0]split=%zu", wish->nrungs);

	for (size_t i = 0; i < wish->nrungs; i++)
		n += (size_t)snprintf(graph + n, sizeof(graph) - n, "[s%zu]", i);
	for (size_t i = 0; i < wish->nrungs; i++)
		n += (size_t)snprintf(graph + n, sizeof(graph) - n, portrait ? ";[s%zu]scale=%u:-2,setsar=1[v%zu]" :
										";[s%zu]scale=-2:%u,setsar=1[v%zu]",
				      i, wish->rungs[i].lines, i);
	add(w, "-filter_complex");
	add(w, "%s", graph);
	for (size_t i = 0; i < wish->nrungs; i++) {
		add(w, "-map");
		add(w, "[v%zu]", i);
		if (source->audio) {
			add(w, "-map");
			add(w, "0:a:0");
		}
	}
}

static void add_coding(struct words *w, const struct media_source *source, const struct media_wish *wish)
{
	const char *const video[] = { "-c:v",	"libx264",	"-preset", wish->preset,     "-crf",  "22",
				      "-pix_fmt", "yuv420p", "-sc_threshold", "0", "-g", "100000", "-map_metadata", "-1" };
	const char *const audio[] = { "-c:a", "aac", "-ac", "2", "-ar", "48000", "-b:a", "96k" };

	for (size_t i = 0; i < sizeof(video) / sizeof(*video); i++)
		add(w, "%s", video[i]);
	add(w, "-force_key_frames");
	add(w, "expr:gte(t,n_forced*%.3f)", wish->segment_s);
	for (size_t i = 0; i < wish->nrungs; i++) {
		add(w, "-maxrate:v:%zu", i);
		add(w, "%uk", wish->rungs[i].kbps);
		add(w, "-bufsize:v:%zu", i);
		add(w, "%uk", wish->rungs[i].kbps * 2);
	}
	for (size_t i = 0; source->audio && i < sizeof(audio) / sizeof(*audio); i++)
		add(w, "%s", audio[i]);
}

static void add_output(struct words *w, const struct media_wish *wish, const char *map, const char *folder)
{
	static const char *const hls[] = { "-hls_playlist_type", "vod", "-hls_list_size", "0", "-hls_segment_type", "fmp4", "-hls_flags",
					   "independent_segments", "-hls_fmp4_init_filename", "init.mp4", "-master_pl_name", MEDIA_MASTER };

	add(w, "-f");
	add(w, "hls");
	add(w, "-hls_time");
	add(w, "%.3f", wish->segment_s);
	for (size_t i = 0; i < sizeof(hls) / sizeof(*hls); i++)
		add(w, "%s", hls[i]);
	add(w, "-var_stream_map");
	add(w, "%s", map);
	add(w, "-hls_segment_filename");
	add(w, "%s%%v/%%05d.m4s", folder);
	add(w, "%s%%v/index.m3u8", folder);
}

/* Runs it and says why when it fails; the words are freed. */
static int run_words(struct words *w, const char *folder, const char *what, const struct media_wish *wish, double duration)
{
	struct progress p = { .duration = duration, .shown = wish->progress };
	char why[LINE_MAX_KEPT] = "";
	struct lines out = { .take = take_progress, .arg = &p }, err = { .take = keep_last, .arg = why };
	int rc = w->failed ? -ENOMEM : run(w->argv, folder, &out, &err);

	if (wish->progress)
		fputs("\r\033[K", stderr);
	if (media_stopped)
		rc = cmd_fail("stopped; nothing was kept");
	else if (rc == 127)
		rc = not_installed("ffmpeg");
	else if (rc)
		rc = cmd_fail("ffmpeg could not encode %s: %s", what, rc < 0 ? strerror(-rc) : *why ? web_safe(why) : "it gave no reason");
	for (size_t i = 0; i < w->n; i++)
		free(w->argv[i]);
	return rc;
}

int media_encode(const char *folder, const struct media_source *source, const struct media_wish *wish)
{
	struct words w = { 0 };
	char map[400];
	size_t n = 0;

	for (size_t i = 0; i < wish->nrungs; i++)
		n += source->audio ? (size_t)snprintf(map + n, sizeof(map) - n, "%sv:%zu,a:%zu,name:%s", i ? " " : "", i, i,
						      wish->rungs[i].name) :
				     (size_t)snprintf(map + n, sizeof(map) - n, "%sv:%zu,name:%s", i ? " " : "", i, wish->rungs[i].name);
	add_begin(&w);
	add(&w, "-i");
	add(&w, "file:%s", source->path);
	add_scaling(&w, source, wish);
	add_coding(&w, source, wish);
	add_output(&w, wish, map, "");
	return run_words(&w, folder, source->path, wish, source->duration);
}

int media_split(const char *folder, const struct media_wish *wish, struct media_wish *apart)
{
	struct words w = { 0 };
	char map[400], path[4200];
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/dash", folder);
	if (mkdir(path, 0700))
		return cmd_fail("%s: %s", path, strerror(errno));
	add_begin(&w);
	for (size_t i = 0; i < wish->nrungs; i++) {
		add(&w, "-i");
		add(&w, "file:%s/index.m3u8", wish->rungs[i].name);
		n += (size_t)snprintf(map + n, sizeof(map) - n, "v:%zu,name:%s ", i, wish->rungs[i].name);
	}
	for (size_t i = 0; i < wish->nrungs; i++) {
		add(&w, "-map");
		add(&w, "%zu:v:0", i);
	}
	add(&w, "-map");
	add(&w, "0:a:0");
	add(&w, "-c");
	add(&w, "copy");
	snprintf(map + n, sizeof(map) - n, "a:0,name:sound");
	add_output(&w, wish, map, "dash/");
	*apart = *wish;
	snprintf(apart->rungs[apart->nrungs++].name, sizeof(apart->rungs[0].name), "sound");
	return run_words(&w, folder, "pictures and sound apart", wish, 0);
}
