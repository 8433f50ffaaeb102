/* SPDX-License-Identifier: Apache-2.0 */
/* value_text.c -- formats of text: email, URI, UUID, base64, addresses, host names. */
#include <arpa/inet.h>
#include <string.h>

#include "http/upload/value_parse.h"

static const bool alnums[256] = {
	['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['A'] = 1, ['B'] = 1, ['C'] = 1,
	['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
	['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1, ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1,
	['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1,
	['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1, ['z'] = 1,
};

static bool alnum(char c)
{
	return alnums[(unsigned char)c];
}

static bool hex(char c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* RFC 1123, 2.1: labels of 1 to 63 letters, digits and hyphens, no hyphen at an end; 253 in all; one dot may end it. */
static bool hostname(const char *s, size_t len)
{
	size_t label = 0;

	if (len && s[len - 1] == '.')
		len--;
	if (!len || len > 253)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '.') {
			if (!label || s[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if ((!alnum(s[i]) && s[i] != '-') || (!label && s[i] == '-') || ++label > 63)
			return false;
	}
	return label && s[len - 1] != '-';
}

/* As browsers take it (WHATWG HTML, "valid e-mail address"), and letters beyond ASCII before the @ (RFC 6531). */
static bool email(const char *s, size_t len)
{
	const char *at = memrchr(s, '@', len);
	size_t local = at ? (size_t)(at - s) : 0;

	if (!local || local > 64)
		return false;
	for (size_t i = 0; i < local; i++) {
		if (s[i] == '.' && (!i || i + 1 == local || s[i - 1] == '.'))
			return false;
		if (!s[i] || (!alnum(s[i]) && (unsigned char)s[i] < 0x80 && !strchr(".!#$%&'*+/=?^_`{|}~-", s[i])))
			return false;
	}
	return s[len - 1] != '.' && hostname(at + 1, len - local - 1);
}

/* RFC 3986: a scheme, and behind it only characters that a URI may have. */
static bool uri(const char *s, size_t len)
{
	size_t i = 0;

	if (!len || (s[0] | 0x20) < 'a' || (s[0] | 0x20) > 'z')
		return false;
	while (i < len && (alnum(s[i]) || s[i] == '+' || s[i] == '-' || s[i] == '.'))
		i++;
	if (i == len || s[i] != ':' || i + 1 == len)
		return false;
	for (i++; i < len; i++) {
		if (s[i] == '%') {
			if (i + 2 >= len || !hex(s[i + 1]) || !hex(s[i + 2]))
				return false;
			i += 2;
		} else if (!s[i] || (!alnum(s[i]) && !strchr("-._~:/?#[]@!$&'()*+,;=", s[i]))) {
			return false;
		}
	}
	return true;
}

static bool uuid(const char *s, size_t len)
{
	if (len != 36)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;

		if (hyphen ? s[i] != '-' : !hex(s[i]))
			return false;
	}
	return true;
}

static bool base64(const char *s, size_t len)
{
	size_t pad = 0;

	if (len % 4)
		return false;
	while (pad < 2 && pad < len && s[len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < len - pad; i++)
		if (!alnum(s[i]) && s[i] != '+' && s[i] != '/')
			return false;
	return true;
}

static bool address(int family, const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN], out[16];

	if (!len || len >= sizeof(text) || memchr(s, '\0', len))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	return inet_pton(family, text, out) == 1;
}

bool value_format_ok(enum field_format format, const char *s, size_t len)
{
	switch (format) {
	case FORMAT_EMAIL:
		return email(s, len);
	case FORMAT_URI:
		return uri(s, len);
	case FORMAT_UUID:
		return uuid(s, len);
	case FORMAT_BINARY:
		return base64(s, len);
	case FORMAT_IPV4:
		return address(AF_INET, s, len);
	case FORMAT_IPV6:
		return address(AF_INET6, s, len);
	case FORMAT_HOSTNAME:
		return hostname(s, len);
	case FORMAT_NONE:
	case FORMAT_PATTERN:
		break;
	}
	return true;
}
