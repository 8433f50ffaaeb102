/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_hot_head.c -- see httpd_hot_head.h. What is not on a list here is not let through: a new header, method or form of
 * target costs a request some microseconds, never its meaning.
 */
#include "lib/httpd_hot_head.h"

#include <string.h>
#include <strings.h>

#include "lib/httpd_text.h"

/* Lines that may stand in a hot request. Those without a place change no answer of this server, but that a signature may be over
 * them; the others stand once. */
enum known { IGNORED, HOST, AUTHORIZATION, IF_NONE_MATCH, CONNECTION, ORIGIN, AMZ_DATE, AMZ_SHA256, AMZ_CHECKSUM, NPLACES };

static const struct {
	const char *name;
	size_t len;
	enum known what;
} lines[] = {
#define LINE(name, what) { name, sizeof(name) - 1, what }
	LINE("Host", HOST),
	LINE("User-Agent", IGNORED),
	LINE("Accept", IGNORED),
	LINE("Authorization", AUTHORIZATION),
	LINE("If-None-Match", IF_NONE_MATCH),
	LINE("Connection", CONNECTION),
	LINE("Accept-Encoding", IGNORED),
	LINE("Accept-Language", IGNORED),
	LINE("Cache-Control", IGNORED),
	LINE("Pragma", IGNORED),
	LINE("Origin", ORIGIN),
	LINE("Referer", IGNORED),
	LINE("Priority", IGNORED),
	LINE("Sec-Fetch-Dest", IGNORED),
	LINE("Sec-Fetch-Mode", IGNORED),
	LINE("Sec-Fetch-Site", IGNORED),
	LINE("X-Amz-Date", AMZ_DATE),
	LINE("X-Amz-Content-Sha256", AMZ_SHA256),
	LINE("X-Amz-Checksum-Mode", AMZ_CHECKSUM),
	LINE("Amz-Sdk-Invocation-Id", IGNORED),
	LINE("Amz-Sdk-Request", IGNORED),
#undef LINE
};
#define NLINES (sizeof(lines) / sizeof(lines[0]))

static const bool in_target[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true, ['.'] = true, ['_'] = true,
	['~'] = true, ['!'] = true, ['$'] = true, ['&'] = true, ['\''] = true, ['('] = true, [')'] = true, ['*'] = true,
	['+'] = true, [','] = true, [';'] = true, ['='] = true, [':'] = true, ['@'] = true, ['/'] = true,
};

static const bool in_host[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true, ['.'] = true, ['_'] = true,
	[':'] = true, ['['] = true, [']'] = true,
};

/* The rest of the bytes. A NUL is no character of anything: no bound is needed but where memory ends. */
struct rest {
	char *at, *end;
};

static bool take(struct rest *r, const char *word, size_t len)
{
	if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
		return false;
	r->at += len;
	return true;
}

/* From the first slash up to the space before the version. */
static bool take_target(struct rest *r, const char **target)
{
	char before = 0;

	*target = r->at;
	for (; r->at < r->end && in_target[(unsigned char)*r->at]; before = *r->at++)
		if (before == '/' && (*r->at == '/' || *r->at == '.'))
			return false;
	if (r->at == *target || **target != '/' || r->at == r->end || *r->at != ' ')
		return false;
	*r->at++ = '\0';
	return true;
}

static int find_line(const char *name, size_t len)
{
	for (size_t i = 0; i < NLINES; i++)
		if (lines[i].len == len && !strncasecmp(lines[i].name, name, len))
			return (int)i;
	return -1;
}

static bool is_host(const char *text)
{
	for (; in_host[(unsigned char)*text]; text++)
		;
	return !*text;
}

/* One line; its name ends in NUL where the colon was, its value where the CR was. */
static bool take_line(struct rest *r, struct http_pair *out, unsigned int *seen, const char *values[NPLACES])
{
	char *cr = memchr(r->at, '\r', (size_t)(r->end - r->at)), *colon, *value;
	enum known what;
	int line;

	if (!cr || cr + 1 == r->end || cr[1] != '\n')
		return false;
	colon = memchr(r->at, ':', (size_t)(cr - r->at));
	line = colon ? find_line(r->at, (size_t)(colon - r->at)) : -1;
	if (line < 0)
		return false;
	for (value = colon + 1; value < cr && *value == ' '; value++)
		;
	if (!http_is_field_value(value, (size_t)(cr - value)) || (cr > value && (cr[-1] == ' ' || cr[-1] == '\t')))
		return false;
	*colon = *cr = '\0';
	*out = (struct http_pair){ r->at, value };
	r->at = cr + 2;
	what = lines[line].what;
	if (what == IGNORED)
		return true;
	if (value == cr || (*seen & 1u << what))
		return false;
	*seen |= 1u << what;
	values[what] = value;
	return true;
}

bool http_hot_head_read(struct http_hot_head *out, char *bytes, size_t len)
{
	struct rest r = { bytes, bytes + (len < HTTP_HOT_HEAD_MAX ? len : HTTP_HOT_HEAD_MAX) };
	const char *values[NPLACES] = { NULL }, *target;
	unsigned int seen = 0;
	size_t n = 0;
	bool is_head = take(&r, "HEAD ", 5);

	if ((!is_head && !take(&r, "GET ", 4)) || !take_target(&r, &target) || !take(&r, "HTTP/1.1\r\n", 10))
		return false;
	for (; !take(&r, "\r\n", 2); n++)
		if (n == HTTP_HOT_LINES_MAX || !take_line(&r, &out->lines[n], &seen, values))
			return false;
	if (!values[HOST] || !is_host(values[HOST]) || (values[CONNECTION] && strcasecmp(values[CONNECTION], "keep-alive") != 0))
		return false;
	out->is_head = is_head;
	out->len = (size_t)(r.at - bytes);
	out->nlines = n;
	out->target = target;
	out->host = values[HOST];
	out->authorization = values[AUTHORIZATION];
	out->if_none_match = values[IF_NONE_MATCH];
	out->origin = values[ORIGIN];
	return true;
}
