/* SPDX-License-Identifier: Apache-2.0 */
/* httpd_text.c -- the HTTP server's pure part (see httpd_text.h); ranges and percent encoding of
 * httpd.h. */
#include "lib/httpd_text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The byte that an escape stands for, 1 to 255, or -1; len bytes follow the '%'. */
static int percent_byte(const char *text, size_t len)
{
	int hi = len >= 1 ? hex_digit(text[0]) : -1;
	int lo = len >= 2 ? hex_digit(text[1]) : -1;

	return hi < 0 || lo < 0 || (hi | lo) == 0 ? -1 : hi << 4 | lo;
}

long http_percent_decode(const char *text, size_t len, char *out, bool plus)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)text[i];

		if (c == '%') {
			c = percent_byte(text + i + 1, len - i - 1);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if (c <= 0)
			return -EINVAL;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return (long)n;
}

static bool is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

char *http_percent_encode(const char *text, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = malloc(3 * strlen(text) + 1), *at = out;

	if (!out)
		return NULL;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (is_unreserved(c) || (c == '/' && keep_slash)) {
			*at++ = (char)c;
			continue;
		}
		*at++ = '%';
		*at++ = digits[c >> 4];
		*at++ = digits[c & 15];
	}
	*at = '\0';
	return out;
}

bool http_is_token(const char *text, size_t len)
{
	static const bool is_tchar[256] = {
		['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['!'] = true,
		['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true, ['*'] = true,
		['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true, ['`'] = true,
		['|'] = true, ['~'] = true,
	};

	for (size_t i = 0; i < len; i++)
		if (!is_tchar[(unsigned char)text[i]])
			return false;
	return len > 0;
}

/* Eight bytes at once (values are long: tokens, signatures): does a byte of w equal c, or is one less than n? Exact for
 * bytes below 0x80, which are those asked about ("Bit Twiddling Hacks", S. E. Anderson). */
#define ONES		(~(uint64_t)0 / 255)
#define HAS_LESS(w, n)	(((w) - ONES * (n)) & ~(w) & ONES * 0x80)
#define HAS_BYTE(w, c)	HAS_LESS((w) ^ (ONES * (c)), 1)

bool http_is_field_value(const char *text, size_t len)
{
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t w;

		memcpy(&w, text + i, 8);
		if (HAS_LESS(w, 0x20) | HAS_BYTE(w, 0x7f))
			break; /* a tab is fine: byte by byte from here */
	}
	for (; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

int http_length_parse(uint64_t *out, const char *text, size_t len)
{
	uint64_t n = 0;

	/* 18 digits always fit, and nobody has more bytes. */
	if (len == 0 || len > 18)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	*out = n;
	return 0;
}

/* Walks the path's decoded characters: an encoded slash ends a segment here too, so that nobody who
 * decodes later meets a "..". */
static bool has_dot_segment(const char *path, size_t len)
{
	size_t dots = 0, others = 0;

	for (size_t i = 0; i < len; i++) {
		int c = (unsigned char)path[i];

		if (c == '%') {
			c = percent_byte(path + i + 1, len - i - 1);
			i += 2;
		}
		if (c == '/') {
			if (!others && (dots == 1 || dots == 2))
				return true;
			dots = others = 0;
		} else if (c == '.') {
			dots++;
		} else {
			others++;
		}
	}
	return !others && (dots == 1 || dots == 2);
}

static bool target_text_ok(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c <= 0x20 || c == 0x7f || c == '#')
			return false;
		if (c == '%' && percent_byte(text + i + 1, len - i - 1) < 0)
			return false;
	}
	return true;
}

int http_target_parse_any(struct http_target *out, const char *text)
{
	struct http_target t = { .path = text };
	size_t len = strlen(text);

	if (!target_text_ok(text, len))
		return -EINVAL;
	if (!strncasecmp(text, "http://", 7) || !strncasecmp(text, "https://", 8)) {
		t.authority = strchr(text, ':') + 3;
		t.authority_len = strcspn(t.authority, "/?");
		t.path = t.authority + t.authority_len;
		if (t.authority_len == 0 || memchr(t.authority, '@', t.authority_len))
			return -EINVAL;
	}
	t.path_len = strcspn(t.path, "?");
	if (t.path[t.path_len] == '?')
		t.query = t.path + t.path_len + 1;
	if (t.authority && t.path_len == 0) {
		t.path = "/";
		t.path_len = 1;
	}
	if (!(t.path_len == 1 && *t.path == '*' && !t.query) && *t.path != '/')
		return -EINVAL;
	*out = t;
	return 0;
}

bool http_target_has_dots(const struct http_target *target)
{
	return has_dot_segment(target->path, target->path_len);
}

int http_target_parse(struct http_target *out, const char *text)
{
	struct http_target t;
	int err = http_target_parse_any(&t, text);

	if (err || http_target_has_dots(&t))
		return -EINVAL;
	*out = t;
	return 0;
}

/* The end of a segment: the next '/' or the end. */
static const char *segment_end(const char *at, const char *end)
{
	const char *slash = memchr(at, '/', (size_t)(end - at));

	return slash ? slash : end;
}

int http_route_match(const char *pattern, const char *path, size_t path_len,
		     struct http_param_at params[HTTP_PARAMS_MAX])
{
	const char *p = pattern, *p_end = pattern + strlen(pattern), *t = path,
		   *end = path + path_len;
	int n = 0;

	for (;;) {
		const char *p_seg, *t_seg;

		if (*p == '*' && n < HTTP_PARAMS_MAX) {
			params[n++] = (struct http_param_at){ p + 1, (size_t)(p_end - p - 1), t,
							      (size_t)(end - t) };
			return n;
		}
		p_seg = segment_end(p, p_end);
		t_seg = segment_end(t, end);
		if (*p == ':' && n < HTTP_PARAMS_MAX) {
			if (t_seg == t)
				return -1;
			params[n++] = (struct http_param_at){ p + 1, (size_t)(p_seg - p - 1), t,
							      (size_t)(t_seg - t) };
		} else if (p_seg - p != t_seg - t || memcmp(p, t, (size_t)(p_seg - p)) != 0) {
			return -1;
		}
		if (p_seg == p_end || t_seg == end)
			return p_seg == p_end && t_seg == end ? n : -1;
		p = p_seg + 1;
		t = t_seg + 1;
	}
}

/* Digits of any number; past 64 bits they say "more than there is". */
static int range_number(uint64_t *out, const char *text, size_t len)
{
	uint64_t n = 0;
	bool over = false;

	if (len == 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		over |= __builtin_mul_overflow(n, 10u, &n) ||
			__builtin_add_overflow(n, (unsigned)(text[i] - '0'), &n);
	}
	*out = over ? UINT64_MAX : n;
	return 0;
}

int http_range_parse(struct http_range *out, const char *header, uint64_t size)
{
	uint64_t first = 0, last = 0;
	const char *dash, *end;

	if (!header || strncasecmp(header, "bytes=", 6) != 0)
		return 0;
	header += 6;
	header += strspn(header, " \t");
	end = header + strlen(header);
	while (end > header && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	dash = memchr(header, '-', (size_t)(end - header));
	if (!dash)
		return 0;
	if (dash + 1 < end && range_number(&last, dash + 1, (size_t)(end - dash - 1)))
		return 0;
	if (dash == header) { /* the last so many bytes */
		if (dash + 1 == end)
			return 0;
		if (last == 0 || size == 0)
			return -ERANGE;
		out->len = last < size ? last : size;
		out->first = size - out->len;
		return 1;
	}
	if (range_number(&first, header, (size_t)(dash - header)))
		return 0;
	if (dash + 1 == end)
		last = UINT64_MAX;
	if (last < first)
		return 0;
	if (first >= size)
		return -ERANGE;
	out->first = first;
	out->len = (last < size ? last : size - 1) - first + 1;
	return 1;
}

/* Is etag in the comma-separated list? A weak entry matches only when weak. */
static bool etag_in_list(const char *list, const char *etag, bool weak)
{
	size_t len = strlen(etag);

	while (*list) {
		bool is_weak;
		const char *end;

		list += strspn(list, " \t,");
		is_weak = !strncmp(list, "W/", 2);
		if (is_weak)
			list += 2;
		if (*list != '"') /* no entity tag: the rest means nothing */
			return false;
		end = strchr(list + 1, '"');
		if (!end)
			return false;
		if ((size_t)(end + 1 - list) == len && !memcmp(list, etag, len) &&
		    (weak || !is_weak))
			return true;
		list = end + 1;
	}
	return false;
}

static bool is_star(const char *list)
{
	list += strspn(list, " \t");
	return *list == '*' && list[1 + strspn(list + 1, " \t")] == '\0';
}

int http_conditions_eval(const char *if_match, const char *if_none_match, const char *etag,
			 bool safe)
{
	if (if_match && !(etag && (is_star(if_match) || etag_in_list(if_match, etag, false))))
		return 412;
	if (if_none_match && etag &&
	    (is_star(if_none_match) || etag_in_list(if_none_match, etag, true)))
		return safe ? 304 : 412;
	return 0;
}
