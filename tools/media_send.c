/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_send.c -- objects of an asset go to the gateway and by its redirect to an endpoint, several at once (libcurl's
 * multi interface: connections are kept between them). The redirect comes before the body: nothing is sent twice.
 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/media.h"

#define AT_ONCE	   6
#define TRIES	   5
#define PAUSE_MS   400
#define FETCH_MAX  (16u << 20)

struct slot {
	CURL *curl;
	bool busy, failed;
	size_t index; /* of the file */
	int fd;
	size_t at; /* of a text */
	const struct media_file *file;
	curl_off_t drawn; /* bytes of this file that the bar has */
	struct media_bar *bar;
	char answer[4096], error[CURL_ERROR_SIZE];
	size_t len;
};
struct media_sender {
	CURLM *multi;
	struct curl_slist *put, *put_once, *plain;
	char *url;
	bool token;
	struct slot slots[AT_ONCE];
};

static size_t take_answer(char *data, size_t size, size_t n, void *arg)
{
	struct slot *s = arg;
	size_t len = size * n, room = sizeof(s->answer) - 1 - s->len;

	memcpy(s->answer + s->len, data, len < room ? len : room);
	s->len += len < room ? len : room;
	s->answer[s->len] = '\0';
	return len;
}

static size_t give_body(char *buf, size_t size, size_t n, void *arg)
{
	struct slot *s = arg;
	size_t max = size * n, rest;
	ssize_t got;

	if (!s->file->path) {
		rest = s->file->len - s->at;
		max = rest < max ? rest : max;
		memcpy(buf, s->file->text + s->at, max);
		s->at += max;
		return max;
	}
	got = read(s->fd, buf, max);
	return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

static int rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct slot *s = arg;

	if (!s->file->path)
		s->at = (size_t)offset;
	else if (lseek(s->fd, offset, origin) < 0)
		return CURL_SEEKFUNC_CANTSEEK;
	return CURL_SEEKFUNC_OK;
}

static int draw(void *arg, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	struct slot *s = arg;
	char done[16], all[16];

	(void)dltotal;
	(void)dlnow;
	(void)ultotal;
	if (s->bar && ulnow > s->drawn) {
		s->bar->done += (uint64_t)(ulnow - s->drawn);
		s->drawn = ulnow;
		if (s->bar->done > s->bar->total)
			s->bar->done = s->bar->total;
		media_draw((double)s->bar->done / (double)s->bar->total, "sending  %s of %s", cmd_bytes(s->bar->done, done),
			   cmd_bytes(s->bar->total, all));
	}
	return media_stopped;
}

static CURL *easy_new(struct slot *s, const struct web_place *place)
{
	CURL *curl = curl_easy_init();

	if (!curl)
		return NULL;
	curl_easy_setopt(curl, CURLOPT_PRIVATE, s);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, s->error);
	if (place->ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, place->ca);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 4L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, draw);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, s);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, s);
	curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_body);
	curl_easy_setopt(curl, CURLOPT_READDATA, s);
	curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, rewind_body);
	curl_easy_setopt(curl, CURLOPT_SEEKDATA, s);
	return curl;
}

/* Headers go to the gateway; libcurl leaves "Authorization" out when it follows to another host. */
static int make_headers(struct media_sender *s, const struct web_place *place)
{
	char *header = web_place_header(place);

	if (header) {
		s->put = curl_slist_append(s->put, header);
		s->put_once = curl_slist_append(s->put_once, header);
		s->plain = curl_slist_append(s->plain, header);
		s->token = true;
	}
	free(header);
	s->put = curl_slist_append(s->put, "Expect: 100-continue");
	s->put_once = curl_slist_append(s->put_once, "Expect: 100-continue");
	s->put_once = curl_slist_append(s->put_once, "If-None-Match: *");
	return s->put && s->put_once ? 0 : -ENOMEM;
}

int media_sender_open(struct media_sender **out, const struct web_place *place)
{
	struct media_sender *s = calloc(1, sizeof(*s));
	bool failed = !s;

	if (s) {
		s->multi = curl_multi_init();
		s->url = strdup(place->url);
		failed = !s->multi || !s->url || make_headers(s, place);
		for (size_t i = 0; i < AT_ONCE; i++) {
			s->slots[i].fd = -1;
			s->slots[i].curl = easy_new(&s->slots[i], place);
			failed |= !s->slots[i].curl;
		}
	}
	if (failed) {
		media_sender_close(s);
		return cmd_fail("out of memory");
	}
	*out = s;
	return CMD_OK;
}

void media_sender_close(struct media_sender *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < AT_ONCE; i++) {
		if (s->slots[i].busy)
			curl_multi_remove_handle(s->multi, s->slots[i].curl);
		if (s->slots[i].curl)
			curl_easy_cleanup(s->slots[i].curl);
		if (s->slots[i].fd >= 0)
			close(s->slots[i].fd);
	}
	if (s->multi)
		curl_multi_cleanup(s->multi);
	curl_slist_free_all(s->put);
	curl_slist_free_all(s->put_once);
	curl_slist_free_all(s->plain);
	free(s->url);
	free(s);
}

/* ---- one file -------------------------------------------------------------------------------- */

static int begin(struct media_sender *s, struct slot *slot, const struct media_file *file, bool deletes)
{
	uint64_t size = file->len;
	struct stat st;
	char url[4096];

	slot->file = file;
	slot->at = slot->len = 0;
	slot->answer[0] = slot->error[0] = '\0';
	if (file->path) {
		slot->fd = open(file->path, O_RDONLY | O_CLOEXEC);
		if (slot->fd < 0 || fstat(slot->fd, &st))
			return cmd_fail("%s: %s", file->path, strerror(errno));
		size = (uint64_t)st.st_size;
	}
	snprintf(url, sizeof(url), "%s/b/%s", s->url, web_part(file->key, true));
	curl_easy_setopt(slot->curl, CURLOPT_URL, url);
	curl_easy_setopt(slot->curl, CURLOPT_UPLOAD, deletes ? 0L : 1L);
	curl_easy_setopt(slot->curl, CURLOPT_CUSTOMREQUEST, deletes ? "DELETE" : NULL);
	curl_easy_setopt(slot->curl, CURLOPT_HTTPHEADER, deletes ? s->plain : file->fixed ? s->put_once : s->put);
	curl_easy_setopt(slot->curl, CURLOPT_INFILESIZE_LARGE, deletes ? (curl_off_t)-1 : (curl_off_t)size);
	slot->busy = !curl_multi_add_handle(s->multi, slot->curl);
	return slot->busy ? CMD_OK : cmd_fail("libcurl refused to send %s", file->key);
}

/* 0 done, 1 worth another try, -1 not. */
static int judge(const struct slot *slot, CURLcode code, long status, bool deletes)
{
	if (code)
		return code == CURLE_ABORTED_BY_CALLBACK || code == CURLE_PEER_FAILED_VERIFICATION ? -1 : 1;
	if (status / 100 == 2 || (deletes && status == 404) || (slot->file->fixed && status == 412))
		return 0;
	return status / 100 == 5 || status == 429 ? 1 : -1;
}

static int say(const struct media_sender *s, const struct slot *slot, CURLcode code, long status, const char *doing)
{
	json_t *said = json_loads(slot->answer, 0, NULL);

	if (slot->bar)
		fputs("\r\033[K", stderr);
	if (media_stopped)
		cmd_fail("stopped; what was not complete is not shown to anybody");
	else if (code)
		cmd_fail("cannot %s %s: %s (%s)", doing, slot->file->key, *slot->error ? slot->error : curl_easy_strerror(code), s->url);
	else
		cmd_fail("cannot %s %s: %ld, %s%s", doing, slot->file->key, status,
			 web_safe(js_text(said, "message", "no reason was given")),
			 status == 401 && !s->token ? "; sign in (weir login URL), give --token-file, or set WEIR_TOKEN" : "");
	json_decref(said);
	return CMD_FAILED;
}

/* ---- all of them ----------------------------------------------------------------------------- */

struct batch {
	const struct media_file *files;
	unsigned char *tried; /* of each; also the queue's state: TRIES: over */
	size_t n, next, running;
	bool deletes;
	int rc;
};

static void finish(struct media_sender *s, struct batch *b, CURLMsg *msg)
{
	const char *doing = b->deletes ? "delete" : "put";
	CURLcode code = msg->data.result;
	struct slot *slot = NULL;
	long status = 0;
	int verdict;

	curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &slot);
	curl_easy_getinfo(slot->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(s->multi, slot->curl);
	slot->busy = false;
	b->running--;
	if (slot->fd >= 0)
		close(slot->fd);
	slot->fd = -1;
	verdict = judge(slot, code, status, b->deletes);
	if (verdict > 0 && ++b->tried[slot->index] < TRIES && !b->rc && !media_stopped) {
		struct timespec pause = { 0, PAUSE_MS * 1000000l * b->tried[slot->index] };

		nanosleep(&pause, NULL); /* the others wait too: it is one gateway */
		b->rc = begin(s, slot, slot->file, b->deletes);
		b->running += slot->busy;
		return;
	}
	if (verdict && !b->rc)
		b->rc = say(s, slot, code, status, doing);
}

static void fill(struct media_sender *s, struct batch *b, struct media_bar *bar)
{
	for (size_t i = 0; i < AT_ONCE && b->next < b->n && !b->rc && !media_stopped; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->busy)
			continue;
		slot->bar = bar;
		slot->drawn = 0;
		slot->index = b->next;
		b->rc = begin(s, slot, &b->files[b->next++], b->deletes);
		b->running += slot->busy;
	}
}

static int run(struct media_sender *s, struct batch *b, struct media_bar *bar)
{
	CURLMsg *msg;
	int left;

	b->tried = calloc(b->n + 1, 1);
	if (!b->tried)
		return cmd_fail("out of memory");
	do {
		fill(s, b, bar);
		if (curl_multi_perform(s->multi, &left) && !b->rc)
			b->rc = cmd_fail("libcurl failed");
		while ((msg = curl_multi_info_read(s->multi, &left)))
			if (msg->msg == CURLMSG_DONE)
				finish(s, b, msg);
		if (b->running)
			curl_multi_poll(s->multi, NULL, 0, 100, NULL);
	} while (b->running || (b->next < b->n && !b->rc && !media_stopped));
	free(b->tried);
	if (media_stopped && !b->rc)
		b->rc = cmd_fail("stopped; what was not complete is not shown to anybody");
	return b->rc;
}

int media_send(struct media_sender *s, const struct media_file *files, size_t n, struct media_bar *bar)
{
	struct batch b = { .files = files, .n = n };

	return run(s, &b, bar);
}

int media_delete(struct media_sender *s, char *const *keys, size_t n)
{
	struct media_file *files = calloc(n + 1, sizeof(*files));
	struct batch b = { .files = files, .n = n, .deletes = true };
	int rc;

	if (!files)
		return cmd_fail("out of memory");
	for (size_t i = 0; i < n; i++)
		files[i].key = keys[i];
	rc = run(s, &b, NULL);
	free(files);
	return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

static size_t gather(char *data, size_t size, size_t n, void *arg)
{
	return fwrite(data, size, n, arg) * size;
}

int media_fetch(struct media_sender *s, const char *path, char **text, size_t *len)
{
	struct slot *slot = &s->slots[0];
	FILE *out = open_memstream(text, len);
	char url[4096];
	long status = 0;
	json_t *said;
	CURLcode code;

	if (!out)
		return cmd_fail("out of memory");
	slot->bar = NULL;
	slot->error[0] = '\0';
	snprintf(url, sizeof(url), "%s%s", s->url, path);
	curl_easy_setopt(slot->curl, CURLOPT_URL, url);
	curl_easy_setopt(slot->curl, CURLOPT_UPLOAD, 0L);
	curl_easy_setopt(slot->curl, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(slot->curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(slot->curl, CURLOPT_HTTPHEADER, s->plain);
	curl_easy_setopt(slot->curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)FETCH_MAX);
	curl_easy_setopt(slot->curl, CURLOPT_WRITEFUNCTION, gather);
	curl_easy_setopt(slot->curl, CURLOPT_WRITEDATA, out);
	code = curl_easy_perform(slot->curl);
	curl_easy_getinfo(slot->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_setopt(slot->curl, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(slot->curl, CURLOPT_WRITEDATA, slot);
	curl_easy_setopt(slot->curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)0);
	if (fclose(out))
		code = CURLE_OUT_OF_MEMORY;
	if (!code && status == 200)
		return CMD_OK;
	said = !code && *text ? json_loads(*text, 0, NULL) : NULL;
	free(*text);
	*text = NULL;
	if (code)
		cmd_fail("cannot ask %s: %s", s->url, *slot->error ? slot->error : curl_easy_strerror(code));
	else if (status != 404)
		cmd_fail("cannot read %s: %ld, %s%s", path, status, web_safe(js_text(said, "message", "no reason was given")),
			 status == 401 && !s->token ? "; sign in (weir login URL), give --token-file, or set WEIR_TOKEN" : "");
	json_decref(said);
	return !code && status == 404 ? -ENOENT : CMD_FAILED;
}
