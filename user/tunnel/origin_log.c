// SPDX-License-Identifier: Apache-2.0
/*
 * origin_log.c -- the access log of an origin: a JSON line a request, with the request id that
 * stands in the edge's log too. Lines of one batch leave in one write.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/origin.h"

#define GATHER_MAX (64u << 10)
#define LINE_SIZE  4096 /* long paths are cut */
#define TEXT_SIZE  1024

struct origin_log {
	int fd;
	struct reactor *reactor;
	struct reactor_defer flush;
	size_t len;
	char text[GATHER_MAX];
};

static void log_flush(struct origin_log *log)
{
	size_t at = 0;
	ssize_t n;

	while (at < log->len) {
		n = write(log->fd, log->text + at, log->len - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			log_limited(LOG_LEVEL_WARN, 1, "access log: %s", strerror(errno));
			break;
		}
		at += (size_t)n;
	}
	log->len = 0;
}

static void on_flush(struct reactor_defer *d)
{
	log_flush((struct origin_log *)((char *)d - offsetof(struct origin_log, flush)));
}

int origin_log_open(struct origin_log **out, const char *path)
{
	struct origin_log *log;
	int err;

	*out = NULL;
	if (!path)
		return 0;
	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	log->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (log->fd < 0) {
		err = -errno;
		free(log);
		return err;
	}
	log->flush.fn = on_flush;
	*out = log;
	return 0;
}

void origin_log_start(struct origin_log *log, struct reactor *r)
{
	if (log)
		log->reactor = r;
}

void origin_log_close(struct origin_log *log)
{
	if (!log)
		return;
	log_flush(log);
	close(log->fd);
	free(log);
}

/* ---- one line ---- */

struct line {
	char text[LINE_SIZE];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->len += (size_t)n < sizeof(l->text) - l->len ? (size_t)n
							       : sizeof(l->text) - l->len - 1;
}

/* ,"name":"value" with what JSON (RFC 8259 section 7) wants escaped; bytes above 127 that are no
 * UTF-8 for sure are escaped as Latin-1. */
static void put_text(struct line *l, const char *name, const char *value)
{
	if (!value)
		return;
	put(l, ",\"%s\":\"", name);
	for (size_t i = 0; value[i] && i < TEXT_SIZE && l->len < sizeof(l->text) - 256; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c == '"' || c == '\\')
			put(l, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			put(l, "\\u%04x", c);
		else
			l->text[l->len++] = (char)c;
	}
	put(l, "\"");
}

void origin_log_write(struct origin_log *log, const struct origin_entry *e)
{
	struct line l = { .len = 0 };
	struct timespec now;
	struct tm tm;
	char at[32];

	if (!log)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	put(&l, "{\"time\":\"%s.%03ldZ\"", at, now.tv_nsec / 1000000);
	put_text(&l, "id", e->id);
	put_text(&l, "trace", e->trace);
	put_text(&l, "client", e->client);
	put_text(&l, "method", e->method);
	put_text(&l, "host", e->hostname);
	put_text(&l, "target", e->target);
	put(&l,
	    ",\"status\":%u,\"up\":%" PRIu64 ",\"down\":%" PRIu64
	    ",\"ms\":%.3f,\"first_ms\":%.3f,\"tries\":%u",
	    e->status, e->up, e->down, (double)e->took_us / 1000, (double)e->first_us / 1000,
	    e->tries);
	put_text(&l, "cause", e->cause);
	put_text(&l, "path", e->path);
	put_text(&l, "agent", e->agent);
	put(&l, "}\n");
	if (log->len + l.len > sizeof(log->text))
		log_flush(log);
	memcpy(log->text + log->len, l.text, l.len);
	log->len += l.len;
	if (log->reactor)
		reactor_defer(log->reactor, &log->flush);
}
