/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.c -- see audit.h: how lines are written and kept. audit_search.c reads them.
 *
 * A line is one write() to a file opened with O_APPEND, so that a process that is killed leaves whole lines, at worst
 * one torn one at the end, which the next start ends with a newline and the search skips. Files are DAY.PART.jsonl; a
 * new part begins when one has an eighth of what all may have, so that "the oldest go" never takes a whole day of
 * a busy node at once.
 */
#include "lib/audit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/audit_impl.h"
#include "lib/hash.h"
#include "lib/log.h"

#define KEEP_DAYS  90
#define BYTES_MAX  (1ull << 30)
#define PARTS	   8	/* a part has at most so much of bytes_max */
#define TEXT_MAX   1024 /* bytes of one field */
#define DAY_US	   86400000000ull
#define PARTS_LAST 999

/* ---- files ----------------------------------------------------------------------------------- */

static bool file_valid(const char *name)
{
	static const char like[] = "dddd-dd-dd.ddd.jsonl";

	if (strlen(name) != sizeof(like) - 1)
		return false;
	for (size_t i = 0; like[i]; i++)
		if (like[i] == 'd' ? name[i] < '0' || name[i] > '9' : name[i] != like[i])
			return false;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct audit_file *)a)->name, ((const struct audit_file *)b)->name);
}

int audit_files(const char *folder, struct audit_file **out, size_t *n)
{
	DIR *dir = opendir(folder);
	struct audit_file *files = NULL;
	struct dirent *e;
	size_t count = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		struct audit_file *more;
		struct stat st;

		if (!file_valid(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, 0))
			continue;
		more = realloc(files, (count + 1) * sizeof(*files));
		if (!more) {
			closedir(dir);
			free(files);
			return -ENOMEM;
		}
		files = more;
		memcpy(files[count].name, e->d_name, sizeof(files[count].name));
		files[count++].size = (uint64_t)st.st_size;
	}
	closedir(dir);
	if (count)
		qsort(files, count, sizeof(*files), by_name);
	*out = files;
	*n = count;
	return 0;
}

static void day_of(uint64_t at_us, char out[11])
{
	time_t at = (time_t)(at_us / 1000000);
	struct tm tm;

	gmtime_r(&at, &tm);
	strftime(out, 11, "%Y-%m-%d", &tm);
}

/* What is older than keep_days goes, then the oldest until all fit. */
static void sweep(struct audit *a, uint64_t now_us)
{
	uint64_t total = 0, days = (uint64_t)a->keep_days * DAY_US;
	struct audit_file *files;
	char oldest[11];
	size_t n;

	if (audit_files(a->folder, &files, &n))
		return;
	day_of(now_us > days ? now_us - days : 0, oldest);
	for (size_t i = 0; i < n; i++)
		total += files[i].size;
	for (size_t i = 0; i + 1 < n; i++) { /* the newest is written to */
		char path[AUDIT_PATH_MAX];

		if (strncmp(files[i].name, oldest, 10) >= 0 && total <= a->bytes_max)
			break;
		snprintf(path, sizeof(path), "%s/%s", a->folder, files[i].name);
		if (!unlink(path))
			total -= files[i].size;
	}
	free(files);
}

/* A torn line at the end of a file that an earlier process left. */
static void end_torn(int fd, off_t size)
{
	char last = '\n';

	if (size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n')
		(void)!write(fd, "\n", 1);
}

/* The file for a line of that moment; the lock is held. */
static int current(struct audit *a, uint64_t at_us)
{
	char day[11], path[AUDIT_PATH_MAX];
	struct stat st;

	day_of(at_us, day);
	if (a->fd >= 0 && !strcmp(day, a->day) && a->size < a->bytes_max / PARTS)
		return 0;
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	a->part = strcmp(day, a->day) ? 0 : a->part;
	for (;; a->part++) {
		snprintf(path, sizeof(path), "%s/%s.%03u.jsonl", a->folder, day, a->part);
		a->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (a->fd < 0)
			return -errno;
		if (fstat(a->fd, &st))
			st.st_size = 0;
		if ((uint64_t)st.st_size < a->bytes_max / PARTS || a->part >= PARTS_LAST)
			break;
		close(a->fd);
	}
	end_torn(a->fd, st.st_size);
	a->size = (uint64_t)st.st_size;
	memcpy(a->day, day, sizeof(day));
	sweep(a, at_us);
	return 0;
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Text that anybody may have sent: cut where a character ends, and what is no UTF-8 replaced. */
static json_t *text_json(const char *text)
{
	size_t len = text ? strnlen(text, TEXT_MAX) : 0;
	char copy[TEXT_MAX + 1];
	json_t *value;

	if (len == TEXT_MAX)
		while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	value = json_stringn(len ? text : "", len);
	if (value)
		return value;
	for (size_t i = 0; i < len; i++)
		copy[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	return json_stringn(copy, len);
}

/* Lines of one process have ids in the order in which they were written, also when the clock is set back. */
static uint64_t next_moment(struct audit *a)
{
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_REALTIME, &ts);
	now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	a->last_us = now > a->last_us ? now : a->last_us + 1;
	return a->last_us;
}

static char *line_of(const struct audit *a, const struct audit_entry *e, uint64_t at_us, size_t *len)
{
	char id[AUDIT_ID_LEN + 1], *text, *line;
	json_t *o;

	snprintf(id, sizeof(id), "%016llx%08x", (unsigned long long)at_us, a->source);
	o = json_pack("{s:s, s:f, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "id", id, "at",
		      (double)(at_us / 1000) / 1000, "node", text_json(a->node), "role", text_json(a->role),
		      "who", text_json(e->who), "what", text_json(e->what), "on", text_json(e->on), "result",
		      text_json(e->result), "why", text_json(e->why), "from", text_json(e->from), "request",
		      text_json(e->request), "bytes", (json_int_t)e->bytes);
	text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(13)) : NULL;
	json_decref(o);
	*len = text ? strlen(text) + 1 : 0;
	line = text ? realloc(text, *len + 1) : NULL;
	if (line)
		memcpy(line + *len - 1, "\n", 2);
	else
		free(text);
	return line;
}

static int append(struct audit *a, const struct audit_entry *e)
{
	uint64_t at_us = next_moment(a);
	size_t len = 0;
	char *line = line_of(a, e, at_us, &len);
	int rc = line ? current(a, at_us) : -ENOMEM;
	ssize_t n;

	if (!rc) {
		n = write(a->fd, line, len);
		rc = n < 0 ? -errno : (size_t)n < len ? -ENOSPC : 0;
		if (n > 0)
			a->size += (uint64_t)n;
		if (n > 0 && rc) { /* half a line: the next begins behind a newline */
			close(a->fd);
			a->fd = -1;
		}
	}
	free(line);
	return rc;
}

void audit_write(struct audit *a, const struct audit_entry *e)
{
	int rc;

	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	rc = append(a, e);
	pthread_mutex_unlock(&a->lock);
	if (!rc)
		return;
	if (a->failed)
		metric_inc(a->failed, 1);
	log_limited(LOG_LEVEL_ERROR, 1, "%s: the audit log cannot be written: %s; what happens is not recorded", a->folder,
		    strerror(-rc));
}

/* ---- open and close -------------------------------------------------------------------------- */

static int count_failures(struct audit *a, struct metrics *metrics)
{
	struct metric *m;

	if (!metrics)
		return 0;
	m = metric_add(metrics, METRIC_COUNTER, "audit_failed_total", "Lines of the audit log that could not be written.", NULL);
	if (m)
		a->failed = metric_series(m, NULL);
	return m ? 0 : -ENOMEM;
}

int audit_open(struct audit **out, const struct audit_options *opt)
{
	struct audit *a = calloc(1, sizeof(*a));
	char name[160];
	int rc;

	if (!a)
		return -ENOMEM;
	a->fd = -1;
	a->keep_days = opt->keep_days ? opt->keep_days : KEEP_DAYS;
	a->bytes_max = opt->bytes_max ? opt->bytes_max : BYTES_MAX;
	pthread_mutex_init(&a->lock, NULL);
	snprintf(a->node, sizeof(a->node), "%s", opt->node);
	snprintf(a->role, sizeof(a->role), "%s", opt->role);
	snprintf(name, sizeof(name), "%s/%s", a->role, a->node);
	a->source = (uint32_t)hash64(name, strlen(name), 0);
	rc = snprintf(a->folder, sizeof(a->folder), "%s", opt->folder) < (int)sizeof(a->folder) ? 0 : -ENAMETOOLONG;
	if (!rc && mkdir(a->folder, 0700) && errno != EEXIST)
		rc = -errno;
	if (!rc)
		rc = count_failures(a, opt->metrics);
	if (!rc)
		rc = current(a, next_moment(a));
	if (rc) {
		audit_close(a);
		return rc;
	}
	*out = a;
	return 0;
}

void audit_close(struct audit *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		close(a->fd);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
