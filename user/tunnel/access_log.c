// SPDX-License-Identifier: Apache-2.0
/*
 * access_log.c -- one line a request (see access_log.h).
 *
 * Lines are made by hand: at 50 µs for a whole request a JSON library's tree would be felt. What is
 * not a printable ASCII character leaves escaped, so that a line is a line and valid JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/access_log.h"

#define KEPT	 4096	     /* lines in memory */
#define GATHERED (64u << 10) /* bytes for one write */
#define WRITE_MS 100

/* Of what a client sent; the rest is cut. Six bytes for each at worst. */
#define METHOD_MAX 24
#define HOST_MAX   255
#define TARGET_MAX 500
#define AGENT_MAX  120

struct kept {
	char *text;  /* JSON without its end */
	size_t size; /* of its memory, which the next line takes over when it fits */
	char tunnel[64];
};

struct access_log {
	int fd;
	bool common;
	struct reactor *reactor;
	struct reactor_timer timer;
	struct reactor_last last;
	bool armed;
	char *gathered;
	size_t len;
	uint64_t lost; /* lines, since it was said last */
	uint64_t seq;  /* of the last line */
	struct kept kept[KEPT];
};

/* ---- lines ----------------------------------------------------------------------------------- */

static char *put(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n);
	return to + n;
}

static char *put_number(char *to, uint64_t n)
{
	char digits[24];
	size_t len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*to++ = digits[--len];
	return to;
}

/* Microseconds as milliseconds with three decimals. */
static char *put_ms(char *to, uint64_t us)
{
	to = put_number(to, us / 1000);
	*to++ = '.';
	*to++ = (char)('0' + us / 100 % 10);
	*to++ = (char)('0' + us / 10 % 10);
	*to++ = (char)('0' + us % 10);
	return to;
}

static const char hex[] = "0123456789abcdef";

/* What stands in a line as it is: printable ASCII but quotes and backslashes. */
static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

#define ONES 0x0101010101010101ull
#define TOPS (ONES << 7)
/* Is one of eight bytes c? (Exact as a yes or no, like the one below.) */
#define HAS(w, c) ((((w) ^ ONES * (c)) - ONES) & ~((w) ^ ONES * (c)) & TOPS)

static bool all_plain(uint64_t w)
{
	uint64_t below = (w - ONES * 0x20) & ~w & TOPS;

	return !(below | (w & TOPS) | HAS(w, 0x7f) | HAS(w, '"') | HAS(w, '\\'));
}

/* At most max bytes of text, up to its end or to `stop`; escape: "\\u00" or "\\x". */
static char *put_escaped(char *to, const char *text, size_t max, char stop, const char *escape)
{
	size_t n = strnlen(text, max), i = 0;
	const char *end = stop ? memchr(text, stop, n) : NULL;
	uint64_t w;

	n = end ? (size_t)(end - text) : n;
	while (i < n) {
		unsigned char c = (unsigned char)text[i];

		if (n - i >= sizeof(w)) {
			memcpy(&w, text + i, sizeof(w));
			if (all_plain(w)) {
				memcpy(to, &w, sizeof(w));
				to += sizeof(w);
				i += sizeof(w);
				continue;
			}
		}
		i++;
		if (is_plain(c)) {
			*to++ = (char)c;
			continue;
		}
		to = put(to, escape);
		*to++ = hex[c >> 4];
		*to++ = hex[c & 15];
	}
	return to;
}

/* ,"name": -- the name with its signs, of a length that the compiler knows. */
#define PUT_NAME(to, name) (char *)mempcpy(to, ",\"" name "\":", sizeof(name) + 3)

static char *put_value(char *to, const char *value, size_t max, char stop)
{
	*to++ = '"';
	to = put_escaped(to, value, max, stop, "\\u00");
	*to++ = '"';
	return to;
}

#define PUT_TEXT(to, name, value, max, stop)                                                       \
	((value) ? put_value(PUT_NAME(to, name), value, max, stop) : (to))
/* Of our own making: nothing to escape. */
static char *put_own(char *to, const char *value, size_t max)
{
	size_t n = strnlen(value, max);

	*to++ = '"';
	to = mempcpy(to, value, n);
	*to++ = '"';
	return to;
}

#define PUT_OWN(to, name, value, max) ((value) ? put_own(PUT_NAME(to, name), value, max) : (to))
#define PUT_MEMBER(to, name, value)   put_number(PUT_NAME(to, name), value)

/* Seconds as the format says; the same second is not formatted twice. */
static const char *second_text(time_t second, const char *format)
{
	static _Thread_local char text[2][40];
	static _Thread_local time_t of[2] = { -1, -1 };
	int which = format[1] == 'd';
	struct tm tm;

	if (of[which] != second) {
		gmtime_r(&second, &tm);
		strftime(text[which], sizeof(text[which]), format, &tm);
		of[which] = second;
	}
	return text[which];
}

static char *put_time(char *to, int64_t us)
{
	to = put(to, "{\"time\":\"");
	to = put(to, second_text((time_t)(us / 1000000), "%Y-%m-%dT%H:%M:%S"));
	*to++ = '.';
	us = us % 1000000 / 1000;
	*to++ = (char)('0' + us / 100);
	*to++ = (char)('0' + us / 10 % 10);
	*to++ = (char)('0' + us % 10);
	return put(to, "Z\"");
}

size_t access_line_json(char out[ACCESS_LINE_MAX], const struct access_line *line)
{
	char client[ADDR_STRLEN], *to = put_time(out, line->time_us);

	addr_format(line->client, client, sizeof(client));
	to = PUT_TEXT(to, "id", line->id, 32, '\0');
	to = PUT_TEXT(to, "trace", line->trace, 32, '\0');
	to = put_own(PUT_NAME(to, "client"), client, sizeof(client));
	to = PUT_OWN(to, "tunnel", line->tunnel, 63);
	to = PUT_TEXT(to, "method", line->method, METHOD_MAX, '\0');
	to = PUT_TEXT(to, "host", line->host, HOST_MAX, '\0');
	to = PUT_TEXT(to, "path", line->path, TARGET_MAX, '?');
	to = PUT_OWN(to, "protocol", line->protocol, 16);
	to = PUT_TEXT(to, "target", line->target, HOST_MAX, '\0');
	to = PUT_MEMBER(to, "status", line->status);
	to = PUT_MEMBER(to, "up", line->bytes_up);
	to = PUT_MEMBER(to, "down", line->bytes_down);
	to = put_ms(PUT_NAME(to, "ms"), line->took_us);
	if (line->first_us)
		to = put_ms(PUT_NAME(to, "first_ms"), line->first_us);
	if (line->tries > 1)
		to = PUT_MEMBER(to, "tries", line->tries);
	to = PUT_OWN(to, "cause", line->cause, 32);
	to = PUT_TEXT(to, "agent", line->agent, AGENT_MAX, '\0');
	to = put(to, "}\n");
	*to = '\0';
	return (size_t)(to - out);
}

size_t access_line_common(char out[ACCESS_LINE_MAX], const struct access_line *line)
{
	char client[ADDR_STRLEN], *to;

	to = put(out, addr_format(line->client, client, sizeof(client)));
	to = put(to, " - - [");
	to = put(to, second_text((time_t)(line->time_us / 1000000), "%d/%b/%Y:%H:%M:%S +0000"));
	to = put(to, "] \"");
	to = put_escaped(to, line->method ? line->method : "-", METHOD_MAX, '\0', "\\x");
	*to++ = ' ';
	to = put_escaped(to,
			 line->path   ? line->path
			 : line->host ? line->host
				      : "-",
			 HOST_MAX, '?', "\\x");
	*to++ = ' ';
	to = put(to, line->protocol ? line->protocol : "-");
	to = put(to, "\" ");
	to = put_number(to, line->status);
	*to++ = ' ';
	to = put_number(to, line->bytes_down);
	to = put(to, "\n");
	*to = '\0';
	return (size_t)(to - out);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* As root no link is followed: the folder is the daemons' user's, who could name any file by one.
 * /dev/stdout is a link, too. */
static int open_file(const char *path)
{
	bool follow = geteuid() || !strncmp(path, "/dev/", 5);
	int fd = open(path,
		      O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY |
			      (follow ? 0 : O_NOFOLLOW),
		      0640);

	return fd < 0 ? -errno : fd;
}

int access_log_open(struct access_log **out, const char *path, bool common, uid_t uid, gid_t gid)
{
	struct access_log *log = calloc(1, sizeof(*log));
	struct stat st;

	if (!log)
		return -ENOMEM;
	*log = (struct access_log){ .fd = -1, .common = common };
	if (path) {
		log->gathered = malloc(GATHERED);
		log->fd = log->gathered ? open_file(path) : -ENOMEM;
		if (log->fd < 0) {
			int rc = log->fd;

			log_error("access_log: cannot write %s: %s", path, strerror(-rc));
			access_log_close(log);
			return rc;
		}
		/* A new one: the daemons' user opens it again after a rotation. */
		if (!geteuid() && !fstat(log->fd, &st) && !st.st_size && S_ISREG(st.st_mode) &&
		    fchown(log->fd, uid, gid))
			log_warn("access_log: cannot give %s to user %u: %s", path, uid,
				 strerror(errno));
	}
	*out = log;
	return 0;
}

static void write_out(struct access_log *log)
{
	size_t done = 0;

	while (done < log->len) {
		ssize_t n = write(log->fd, log->gathered + done, log->len - done);

		if (n <= 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			for (; done < log->len; done++)
				log->lost += log->gathered[done] == '\n';
			log_limited(LOG_LEVEL_WARN, 2,
				    "access log: %llu lines could not be written: %s",
				    (unsigned long long)log->lost, strerror(errno));
			break;
		}
		done += (size_t)n;
	}
	log->len = 0;
}

static void on_timer(struct reactor_timer *t)
{
	struct access_log *log = (void *)((char *)t - offsetof(struct access_log, timer));

	log->armed = false;
	write_out(log);
}

/* The reactor goes; requests that it ends then are still logged, and written by the close. */
static void on_last(struct reactor_last *last)
{
	struct access_log *log = (void *)((char *)last - offsetof(struct access_log, last));

	if (log->armed)
		reactor_timer_stop(log->reactor, &log->timer);
	log->armed = false;
	log->reactor = NULL;
}

void access_log_start(struct access_log *log, struct reactor *r)
{
	log->reactor = r;
	log->timer.fn = on_timer;
	log->last.fn = on_last;
	reactor_last_add(r, &log->last);
}

int access_log_reopen(struct access_log *log, const char *path, bool common)
{
	int fd = path ? open_file(path) : -1;

	if (path && fd < 0) {
		log_warn("access_log: cannot open %s again: %s; the old file is written on", path,
			 strerror(-fd));
		return fd;
	}
	if (log->fd >= 0) {
		write_out(log);
		close(log->fd);
	}
	if (fd >= 0 && !log->gathered)
		log->gathered = malloc(GATHERED);
	if (fd >= 0 && !log->gathered) {
		close(fd);
		fd = -1;
	}
	log->fd = fd;
	log->common = common;
	return 0;
}

void access_log_close(struct access_log *log)
{
	if (!log)
		return;
	reactor_last_remove(&log->last);
	if (log->armed)
		reactor_timer_stop(log->reactor, &log->timer);
	if (log->fd >= 0) {
		write_out(log);
		close(log->fd);
	}
	for (size_t i = 0; i < KEPT; i++)
		free(log->kept[i].text);
	free(log->gathered);
	free(log);
}

static void gather(struct access_log *log, const char *text, size_t len)
{
	if (log->len + len > GATHERED)
		write_out(log);
	memcpy(log->gathered + log->len, text, len);
	log->len += len;
	if (log->armed || !log->reactor)
		return;
	log->armed = true;
	reactor_timer_set(log->reactor, &log->timer, WRITE_MS);
}

/* text ends with a newline. */
static void remember(struct access_log *log, const struct access_line *line, const char *text,
		     size_t len)
{
	struct kept *k = &log->kept[++log->seq % KEPT];

	if (k->size < len) {
		free(k->text);
		k->size = (len + 63) / 64 * 64;
		k->text = malloc(k->size);
	}
	if (!k->text) {
		k->size = 0;
		return;
	}
	memcpy(k->text, text, len - 1);
	k->text[len - 1] = '\0';
	strncpy(k->tunnel, line->tunnel ? line->tunnel : "", sizeof(k->tunnel) - 1);
}

void access_log_add(struct access_log *log, const struct access_line *line)
{
	char text[ACCESS_LINE_MAX];
	size_t len = access_line_json(text, line);

	remember(log, line, text, len);
	if (log->fd < 0)
		return;
	if (log->common)
		len = access_line_common(text, line);
	gather(log, text, len);
}

json_t *access_log_lines(const struct access_log *log, const char *tunnel, uint64_t after,
			 size_t max)
{
	uint64_t first = log->seq >= KEPT ? log->seq - KEPT + 1 : 1, seq = log->seq;
	json_t *lines = json_array();

	/* From the newest back, until there are enough. */
	for (; seq >= first && seq > after && json_array_size(lines) < max; seq--) {
		const struct kept *k = &log->kept[seq % KEPT];
		json_t *line;

		if (!k->text || (tunnel && strcmp(tunnel, k->tunnel) != 0))
			continue;
		line = json_loads(k->text, 0, NULL);
		if (line) {
			json_object_set_new(line, "seq", json_integer((json_int_t)seq));
			json_array_insert_new(lines, 0, line);
		}
	}
	return json_pack("{s:o, s:I}", "lines", lines, "last", (json_int_t)log->seq);
}
