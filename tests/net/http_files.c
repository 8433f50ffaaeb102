/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_files.c -- the HTTP wrapper alone, serving files: `http_files ADDRESS FOLDER`. GET sends
 * FOLDER/NAME, PUT writes it (no sync, as nginx's dav does). It shows what lib/httpd itself costs
 * beside nginx, and the raw-socket tests talk to it:
 *
 * 	/f/NAME         GET by sendfile, PUT streamed to a file
 * 	/cached         a kept answer
 * 	/work           answered by a worker after 5 ms
 * 	/moved          307 to anything, PUT included
 * 	/gather         POST: the body comes back, 64 KiB at most
 * 	/slow           PUT: takes 4 KiB at a time, then rests 2 ms
 * 	/refuse         PUT: 400 after the first piece
 * 	/stream         1 MiB in pieces, half of them late
 * 	/events         an event every 100 ms
 * 	/count          how many requests reached a route
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/httpd.h"
#include "lib/log.h"
#include "lib/metrics.h"

static int folder = -1;
static struct http_cached *cached;
static struct http_topic *topic;
static struct metrics *metrics;
static _Atomic unsigned int routed;

static enum http_next file_begin(struct http_req *req, void *arg)
{
	const char *name = http_param(req, "name");
	struct stat st;
	int fd;

	(void)arg;
	routed++;
	if (!name || strchr(name, '/'))
		return http_reply_error(req, 400, "name", "bad name");
	if (http_method(req) == HTTP_PUT) {
		fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		http_set_state(req, (void *)(intptr_t)(fd + 1));
		return fd < 0 ? http_reply_error(req, 500, "io", "cannot open") : HTTP_CONTINUE;
	}
	fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return http_reply_error(req, 404, "not_found", "no such file");
	}
	return http_reply_fd(req, 200, "application/octet-stream", fd, 0, (uint64_t)st.st_size);
}

static enum http_next file_body(struct http_req *req, void *arg, const void *data, size_t len,
				size_t *taken)
{
	(void)arg;
	if (write((int)(intptr_t)http_state(req) - 1, data, len) != (ssize_t)len)
		return http_reply_error(req, 500, "io", "cannot write");
	*taken = len;
	return HTTP_CONTINUE;
}

static enum http_next file_end(struct http_req *req, void *arg)
{
	(void)arg;
	return http_reply(req, 201, NULL, NULL, 0);
}

static void file_done(struct http_req *req, void *arg)
{
	int fd = (int)(intptr_t)http_state(req) - 1;

	(void)arg;
	if (fd >= 0)
		close(fd);
}

static enum http_next cached_begin(struct http_req *req, void *arg)
{
	(void)arg;
	routed++;
	return http_reply_cached(req, cached);
}

static void work_fn(struct http_req *req, void *arg)
{
	(void)arg;
	usleep(5000);
	http_reply(req, 200, "text/plain", "worked\n", 7);
}

static enum http_next work_begin(struct http_req *req, void *arg)
{
	routed++;
	return http_work(req, work_fn, arg);
}

static enum http_next moved_begin(struct http_req *req, void *arg)
{
	(void)arg;
	routed++;
	http_add_header(req, "Location", "/f/elsewhere");
	return http_reply(req, 307, "text/plain", "use curl -L\n", 12);
}

static enum http_next gather_end(struct http_req *req, void *arg)
{
	size_t len;
	const void *body = http_body(req, &len);

	(void)arg;
	routed++;
	return http_reply(req, 200, "application/octet-stream", body, len);
}

/* ---- waiting ---- */

static void *resume_later(void *arg)
{
	usleep(2000);
	http_resume(arg);
	return NULL;
}

struct slow {
	bool full;
	pthread_t thread;
	bool threaded;
};

static void slow_rest(struct http_req *req, struct slow *slow)
{
	if (slow->threaded)
		pthread_join(slow->thread, NULL);
	slow->threaded = !pthread_create(&slow->thread, NULL, resume_later, req);
}

static enum http_next slow_begin(struct http_req *req, void *arg)
{
	(void)arg;
	routed++;
	http_set_state(req, calloc(1, sizeof(struct slow)));
	return HTTP_CONTINUE;
}

static enum http_next slow_body(struct http_req *req, void *arg, const void *data, size_t len,
				size_t *taken)
{
	struct slow *slow = http_state(req);

	(void)arg;
	(void)data;
	slow->full = !slow->full;
	*taken = slow->full ? (len < 4096 ? len : 4096) : 0;
	if (*taken < len)
		slow_rest(req, slow);
	return HTTP_CONTINUE;
}

static void slow_done(struct http_req *req, void *arg)
{
	struct slow *slow = http_state(req);

	(void)arg;
	if (slow && slow->threaded)
		pthread_join(slow->thread, NULL);
	free(slow);
}

static enum http_next refuse_body(struct http_req *req, void *arg, const void *data, size_t len,
				  size_t *taken)
{
	(void)arg;
	(void)data;
	(void)len;
	(void)taken;
	return http_reply_error(req, 400, "row", "the first row is wrong");
}

struct source {
	struct http_req *req;
	struct slow slow;
};

static ssize_t source_read(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct source *source = ctx;
	size_t n = (1u << 20) - pos < max ? (1u << 20) - (size_t)pos : max;

	if (n == 0)
		return HTTP_READ_END;
	source->slow.full = !source->slow.full;
	if (source->slow.full) {
		slow_rest(source->req, &source->slow);
		return HTTP_READ_LATER;
	}
	memset(buf, 'x', n);
	return (ssize_t)n;
}

static enum http_next stream_begin(struct http_req *req, void *arg)
{
	struct source *source = calloc(1, sizeof(*source));

	(void)arg;
	routed++;
	source->req = req;
	http_set_state(req, source);
	return http_reply_stream(req, 200, "text/plain",
				 http_query(req, "chunked") ? UINT64_MAX : 1u << 20, source_read,
				 NULL, source);
}

static void stream_done(struct http_req *req, void *arg)
{
	struct source *source = http_state(req);

	(void)arg;
	if (source && source->slow.threaded)
		pthread_join(source->slow.thread, NULL);
	free(source);
}

static enum http_next events_begin(struct http_req *req, void *arg)
{
	(void)arg;
	routed++;
	return http_reply_events(req, topic);
}

static enum http_next count_begin(struct http_req *req, void *arg)
{
	size_t len;
	char *page = http_query(req, "metrics") ? metrics_render(metrics, &len) : NULL;

	(void)arg;
	if (page)
		return http_reply_owned(req, 200, "text/plain", page, len);
	return http_reply_json(req, 200, json_pack("{s:i}", "routed", (int)routed));
}

#define GET (1u << HTTP_GET)
#define PUT (1u << HTTP_PUT)
static const struct http_route routes[] = {
	{ .methods = GET, .path = "/f/*name", .begin = file_begin },
	{ .methods = PUT,
	  .path = "/f/*name",
	  .body_max = 1ull << 40,
	  .begin = file_begin,
	  .body = file_body,
	  .end = file_end,
	  .done = file_done },
	{ .methods = GET, .path = "/cached", .begin = cached_begin },
	{ .methods = GET, .path = "/work", .begin = work_begin },
	{ .methods = GET | PUT, .path = "/moved", .body_max = 1ull << 40, .begin = moved_begin },
	{ .methods = 1u << HTTP_POST, .path = "/gather", .body_max = 64 << 10, .end = gather_end },
	{ .methods = PUT,
	  .path = "/slow",
	  .body_max = 1 << 24,
	  .begin = slow_begin,
	  .body = slow_body,
	  .end = file_end,
	  .done = slow_done },
	{ .methods = PUT,
	  .path = "/refuse",
	  .body_max = 1 << 24,
	  .body = refuse_body,
	  .end = file_end },
	{ .methods = GET, .path = "/stream", .begin = stream_begin, .done = stream_done },
	{ .methods = GET, .path = "/events", .begin = events_begin },
	{ .methods = GET, .path = "/count", .begin = count_begin },
	{ .path = NULL },
};

static void send_events(const sigset_t *until)
{
	const struct timespec tick = { .tv_nsec = 100 * 1000 * 1000 };
	char text[32];

	for (unsigned int n = 0; sigtimedwait(until, NULL, &tick) < 0; n++) {
		snprintf(text, sizeof(text), "{\"n\":%u}", n);
		http_topic_send(topic, "tick", text);
	}
}

static unsigned int from_env(const char *name)
{
	const char *value = getenv(name);

	return value ? (unsigned int)atoi(value) : 0;
}

static struct http_cached *hot(const struct http_hot_ask *ask, const struct http_route **route, struct http_warm *warm, void *arg)
{
	(void)warm;
	(void)arg;
	if (strcmp(ask->target, "/cached") != 0)
		return NULL;
	routed++;
	for (*route = routes; strcmp((*route)->path, "/cached") != 0;)
		++*route;
	return http_cached_hold(cached);
}

int main(int argc, char **argv)
{
	struct httpd_options opt = {
		.name = "files",
		.threads = from_env("THREADS"),
		.header_s = from_env("HEADER_S"),
		.idle_s = from_env("IDLE_S"),
		.upload_chunk = from_env("UPLOAD_CHUNK"),
		.connections_max = from_env("CONNECTIONS"),
		.per_address_max = from_env("PER_ADDRESS"),
		.hot = getenv("NOT_HOT") ? NULL : hot,
	};
	struct addr_port at;
	struct httpd *server;
	sigset_t quit;
	int fd;

	if (argc != 3 || addr_port_parse(&at, argv[1]) ||
	    (folder = open(argv[2], O_RDONLY | O_DIRECTORY)) < 0) {
		fprintf(stderr, "usage: http_files ADDRESS FOLDER\n");
		return 2;
	}
	log_open("http_files", LOG_LEVEL_INFO);
	sigemptyset(&quit);
	sigaddset(&quit, SIGTERM);
	sigaddset(&quit, SIGINT);
	sigprocmask(SIG_BLOCK, &quit, NULL);
	cached = http_cached_new(200, "text/plain", "cached\n", 7, NULL);
	fd = addr_bind(&at, SOCK_STREAM, 0, false, 0600);
	if (fd < 0 || metrics_new(&metrics)) {
		fprintf(stderr, "cannot listen on %s: %s\n", argv[1], strerror(-fd));
		return 1;
	}
	opt.metrics = metrics;
	if (httpd_start(&server, &opt, &fd, 1, routes, NULL))
		return 1;
	topic = http_topic_new(server, 64);
	if (!topic || httpd_listen(server))
		return 1;
	puts("ready");
	fflush(stdout);
	send_events(&quit);
	http_topic_free(topic);
	httpd_stop(server, 500);
	http_cached_free(cached);
	metrics_free(metrics);
	close(folder);
	return 0;
}
