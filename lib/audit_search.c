/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit_search.c -- the audit log read backwards, newest line first.
 *
 * A line is looked at as text before it is parsed: its id is at a fixed place, and what a field must be stands in the
 * line exactly as it would be written. So a search that finds little goes through a gigabyte at the speed of memmem().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/audit_impl.h"

#define MAX_DEFAULT 100
#define MAX_MOST    1000
#define PIECE	    (256u << 10)
#define LINE_MAX_   (32u << 10) /* lines are shorter: ten fields of 1 KiB, escaped */
#define ID_AT	    7		/* {"id":" */

enum { WHO, WHAT, RESULT, ON, EXACTS };

/* A text as it stands in a line, in small letters. */
struct needle {
	char *text; /* NULL: any */
	size_t len;
};

struct search {
	const struct audit_query *q;
	size_t max;
	char *wanted[EXACTS]; /* as it stands in a line; NULL: any */
	struct needle needle;
	char since[17], before[AUDIT_ID_LEN + 1];
	json_t *found;
	bool over; /* older lines are of no interest */
};

/* `"who":"ann"`; a prefix without the last quote. */
static char *as_written(const char *key, const char *value, bool prefix)
{
	json_t *text = json_string(value);
	char *dumped = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL, *out = NULL;

	if (dumped && prefix)
		dumped[strlen(dumped) - 1] = '\0';
	if (dumped && asprintf(&out, "\"%s\":%s", key, dumped) < 0)
		out = NULL;
	json_decref(text);
	free(dumped);
	return out;
}

static unsigned char small(char c)
{
	return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static void needle_of(struct needle *n, const char *text)
{
	json_t *value = text ? json_string(text) : NULL;
	char *dumped = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;

	json_decref(value);
	if (!dumped)
		return;
	n->len = strlen(dumped) - 2;
	memmove(dumped, dumped + 1, n->len);
	for (size_t i = 0; i < n->len; i++)
		dumped[i] = (char)small(dumped[i]);
	n->text = dumped;
}

/* May the line have the text? */
static bool needle_maybe(const struct needle *n, const char *line, size_t len)
{
	const char *end;
	unsigned char first;

	if (!n->text || !n->len)
		return true;
	if (len < n->len)
		return false;
	end = line + len - n->len;
	first = (unsigned char)n->text[0];
	for (const char *at = line; at <= end; at++) {
		size_t i = 1;

		if (small(*at) != first)
			continue;
		while (i < n->len && small(at[i]) == (unsigned char)n->text[i])
			i++;
		if (i == n->len)
			return true;
	}
	return false;
}

static bool text_found(const json_t *line, const char *text)
{
	static const char *const keys[] = { "who", "what", "on", "result", "why", "from", "request", "node", "role" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *value = json_string_value(json_object_get(line, keys[i]));

		if (value && strcasestr(value, text))
			return true;
	}
	return false;
}

static bool member_is(const json_t *line, const char *key, const char *want)
{
	const char *value = json_string_value(json_object_get(line, key));

	return !want || (value && !strcmp(value, want));
}

static bool matches(const struct search *s, const json_t *line)
{
	const struct audit_query *q = s->q;
	const char *on = json_string_value(json_object_get(line, "on"));

	if (!member_is(line, "who", q->who) || !member_is(line, "what", q->what) || !member_is(line, "result", q->result))
		return false;
	if (q->on && (!on || strncmp(on, q->on, strlen(q->on))))
		return false;
	return !q->text || text_found(line, q->text);
}

static void look(struct search *s, const char *text, size_t len)
{
	char id[AUDIT_ID_LEN + 1], until[17];
	json_t *line;

	if (len < ID_AT + AUDIT_ID_LEN || memcmp(text, "{\"id\":\"", ID_AT))
		return;
	memcpy(id, text + ID_AT, AUDIT_ID_LEN);
	id[AUDIT_ID_LEN] = '\0';
	if (s->q->since > 0 && strncmp(id, s->since, 16) < 0) {
		s->over = true;
		return;
	}
	if (*s->before && strcmp(id, s->before) >= 0)
		return;
	if (s->q->until > 0) {
		snprintf(until, sizeof(until), "%016llx", (unsigned long long)s->q->until * 1000000 + 999999);
		if (strncmp(id, until, 16) > 0)
			return;
	}
	for (int i = 0; i < EXACTS; i++)
		if (s->wanted[i] && !memmem(text, len, s->wanted[i], strlen(s->wanted[i])))
			return;
	if (!needle_maybe(&s->needle, text, len))
		return;
	line = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	if (line && matches(s, line))
		json_array_append(s->found, line);
	json_decref(line);
	s->over = json_array_size(s->found) >= s->max;
}

/* Whole lines of [buf, buf+len), last first; what stands before the first newline stays for the next piece. The bytes
 * of that rest. */
static size_t look_back(struct search *s, const char *buf, size_t len, bool first)
{
	size_t end = len;

	while (end && !s->over) {
		const char *nl = memrchr(buf, '\n', end - 1);
		size_t begin = nl ? (size_t)(nl - buf) + 1 : 0;

		if (!nl && !first)
			return end;
		if (buf[end - 1] == '\n') /* else it is torn, or being written */
			look(s, buf + begin, end - begin - 1);
		end = begin;
	}
	return 0;
}

static void search_file(struct search *s, int fd, uint64_t size, char *buf)
{
	uint64_t at = size;
	size_t rest = 0;

	while (at && !s->over) {
		size_t take = at < PIECE ? (size_t)at : PIECE;

		if (rest > LINE_MAX_)
			rest = 0; /* no line of ours */
		memmove(buf + take, buf, rest);
		at -= take;
		if (pread(fd, buf, take, (off_t)at) != (ssize_t)take)
			return;
		rest = look_back(s, buf, take + rest, at == 0);
	}
}

static void search_folder(struct search *s, const char *folder)
{
	char *buf = malloc(PIECE + LINE_MAX_);
	struct audit_file *files = NULL;
	size_t n = 0;

	if (buf && !audit_files(folder, &files, &n)) {
		for (size_t i = n; i-- > 0 && !s->over;) {
			char path[AUDIT_PATH_MAX];
			int fd;

			snprintf(path, sizeof(path), "%s/%s", folder, files[i].name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			search_file(s, fd, files[i].size, buf);
			close(fd);
		}
	}
	free(files);
	free(buf);
}

json_t *audit_search(struct audit *a, const struct audit_query *q)
{
	struct search s = { .q = q, .max = q->max ? q->max : MAX_DEFAULT, .found = json_array() };

	if (s.max > MAX_MOST)
		s.max = MAX_MOST;
	if (q->since > 0)
		snprintf(s.since, sizeof(s.since), "%016llx", (unsigned long long)q->since * 1000000);
	if (q->before)
		snprintf(s.before, sizeof(s.before), "%s", q->before);
	s.wanted[WHO] = q->who ? as_written("who", q->who, false) : NULL;
	s.wanted[WHAT] = q->what ? as_written("what", q->what, false) : NULL;
	s.wanted[RESULT] = q->result ? as_written("result", q->result, false) : NULL;
	s.wanted[ON] = q->on ? as_written("on", q->on, true) : NULL;
	needle_of(&s.needle, q->text);
	if (s.found && a)
		search_folder(&s, a->folder);
	for (int i = 0; i < EXACTS; i++)
		free(s.wanted[i]);
	free(s.needle.text);
	return s.found;
}
