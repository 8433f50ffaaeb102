/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync_ignore.c -- see sync_ignore.h.
 */
#include "tools/sync_ignore.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX  (1u << 20)
#define STEPS_MAX 200000 /* of one match: patterns with many stars end as "no" */

static const char built_in[] = IGNORE_FILE "\n.weir-sync/\n.git/\n*~\n.*.sw?\n.#*\n\\#*#\n4913\n*.tmp\n*.temp\n*.part\n*.partial\n"
					   "*.crdownload\n*.download\n.~lock.*\n~$*\n.goutputstream-*\n.nfs*\n.DS_Store\nThumbs.db\n";

struct pattern {
	char *text;
	bool negated, folder, anchored;
};

struct ignore {
	struct pattern *list;
	size_t n;
};

/* ---- matching -------------------------------------------------------------------------------- */

/* "[a-z]" or "[!a-z]" at p against c: behind it, or NULL when it is no class. */
static const char *match_class(const char *p, char c, bool *matches)
{
	bool negated = p[1] == '!' || p[1] == '^', found = false;
	const char *at = p + 1 + negated;

	for (bool first = true; *at && (first || *at != ']'); first = false) {
		char low = *at == '\\' && at[1] ? *++at : *at, high = low;

		if (at[1] == '-' && at[2] && at[2] != ']') {
			high = at[2];
			at += 2;
		}
		found |= low <= c && c <= high;
		at++;
	}
	*matches = found != negated && c != '/';
	return *at ? at + 1 : NULL;
}

static bool match(const char *p, const char *t, unsigned int *steps)
{
	if (++*steps > STEPS_MAX)
		return false;
	for (; *p; p++, t++) {
		bool matches;
		const char *after;

		if (*p == '*') {
			bool deep = p[1] == '*';

			p += deep ? 2 : 1;
			if (deep && *p == '/' && match(p + 1, t, steps)) /* "**" + "/": no folder at all too */
				return true;
			for (;; t++) {
				if (match(p, t, steps))
					return true;
				if (!*t || (!deep && *t == '/'))
					return false;
			}
		}
		if (!*t)
			return false;
		if (*p == '?') {
			if (*t == '/')
				return false;
			continue;
		}
		after = *p == '[' ? match_class(p, *t, &matches) : NULL;
		if (after) {
			if (!matches)
				return false;
			p = after - 1;
			continue;
		}
		if (*p == '\\' && p[1])
			p++;
		if (*p != *t)
			return false;
	}
	return !*t;
}

bool ignore_one(const struct ignore *ig, const char *path, bool is_folder)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

	for (size_t i = ig->n; i-- > 0;) {
		const struct pattern *p = &ig->list[i];
		unsigned int steps = 0;

		if ((!p->folder || is_folder) && match(p->text, p->anchored ? path : base, &steps))
			return !p->negated;
	}
	return false;
}

bool ignore_path(const struct ignore *ig, const char *path)
{
	char *copy = strdup(path);
	bool ignored = !copy;

	for (char *slash = copy; !ignored && slash && (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		ignored = ignore_one(ig, copy, true);
		*slash = '/';
	}
	free(copy);
	return ignored || ignore_one(ig, path, false);
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool add(struct ignore *ig, const char *line, size_t len)
{
	struct pattern p = { 0 }, *more;

	while (len && (line[len - 1] == '\r' || line[len - 1] == '\t' ||
		       (line[len - 1] == ' ' && (len < 2 || line[len - 2] != '\\'))))
		len--;
	if (!len || *line == '#')
		return true;
	if (*line == '!') {
		p.negated = true;
		line++, len--;
	}
	if (len && line[len - 1] == '/') {
		p.folder = true;
		len--;
	}
	p.anchored = memchr(line, '/', len) != NULL;
	if (len && *line == '/')
		line++, len--;
	if (!len)
		return true;
	p.text = strndup(line, len);
	more = p.text ? realloc(ig->list, (ig->n + 1) * sizeof(p)) : NULL;
	if (!more) {
		free(p.text);
		return false;
	}
	ig->list = more;
	ig->list[ig->n++] = p;
	return true;
}

static bool add_lines(struct ignore *ig, const char *text)
{
	bool good = true;

	while (*text && good) {
		size_t len = strcspn(text, "\n");

		good = add(ig, text, len);
		text += len + (text[len] == '\n');
	}
	return good;
}

struct ignore *ignore_new(const char *text)
{
	struct ignore *ig = calloc(1, sizeof(*ig));

	if (ig && add_lines(ig, built_in) && (!text || add_lines(ig, text)))
		return ig;
	ignore_free(ig);
	return NULL;
}

struct ignore *ignore_read(int folder)
{
	int fd = openat(folder, IGNORE_FILE, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : calloc(1, TEXT_MAX + 1);
	struct ignore *ig;
	size_t len = 0;
	ssize_t n;

	while (text && len < TEXT_MAX && (n = read(fd, text + len, TEXT_MAX - len)) > 0)
		len += (size_t)n;
	if (fd >= 0)
		close(fd);
	ig = ignore_new(text);
	free(text);
	return ig;
}

void ignore_free(struct ignore *ig)
{
	if (!ig)
		return;
	for (size_t i = 0; i < ig->n; i++)
		free(ig->list[i].text);
	free(ig->list);
	free(ig);
}
