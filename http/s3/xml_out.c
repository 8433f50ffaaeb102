// SPDX-License-Identifier: Apache-2.0
/*
 * xml_out.c -- the writer of XML.
 */
#include "http/s3/xml_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/conditions.h"

/* A place for len more bytes and a terminator; NULL without memory. */
static char *room_for(struct xml *xml, size_t len)
{
	size_t room = xml->room ? xml->room : 512;
	char *more;

	if (xml->failed)
		return NULL;
	if (xml->room - xml->len > len)
		return xml->text + xml->len;
	while (room - xml->len <= len)
		room *= 2;
	more = realloc(xml->text, room);
	if (!more) {
		xml->failed = true;
		return NULL;
	}
	xml->text = more;
	xml->room = room;
	return xml->text + xml->len;
}

void xml_append(struct xml *xml, const char *text, size_t len)
{
	char *at = room_for(xml, len);

	if (!at)
		return;
	memcpy(at, text, len);
	at[len] = '\0';
	xml->len += len;
}

static void append_str(struct xml *xml, const char *text)
{
	xml_append(xml, text, strlen(text));
}

void xml_begin(struct xml *xml, const char *root, bool ns)
{
	memset(xml, 0, sizeof(*xml));
	append_str(xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
	append_str(xml, root);
	append_str(xml, ns ? " xmlns=\"" S3_XML_NS "\">" : ">");
}

/* Most of a page are tags: each is put in at once. */
static void append_tag(struct xml *xml, const char *name, bool close)
{
	size_t len = strlen(name), all = len + 2 + close;
	char *at = room_for(xml, all);

	if (!at)
		return;
	*at++ = '<';
	if (close)
		*at++ = '/';
	memcpy(at, name, len);
	memcpy(at + len, ">", 2);
	xml->len += all;
}

void xml_open(struct xml *xml, const char *name)
{
	append_tag(xml, name, false);
}

void xml_close(struct xml *xml, const char *name)
{
	append_tag(xml, name, true);
}

/* What stands for a character that may not stand in text; "": a reference by its number; NULL: it
 * may. */
static const char *const entities[256] = {
	[0 ... 8] = "", [0x0b ... 0x1f] = "", [0x7f] = "",	['&'] = "&amp;",
	['<'] = "&lt;", ['>'] = "&gt;",	      ['"'] = "&quot;",
};

void xml_escape(struct xml *xml, const char *text, size_t len)
{
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		const char *as = entities[c];
		char reference[8];

		if (!as)
			continue;
		if (!*as) {
			snprintf(reference, sizeof(reference), "&#x%x;", c);
			as = reference;
		}
		xml_append(xml, text + from, i - from);
		append_str(xml, as);
		from = i + 1;
	}
	xml_append(xml, text + from, len - from);
}

void xml_text(struct xml *xml, const char *name, const char *value)
{
	if (!value)
		return;
	xml_open(xml, name);
	xml_escape(xml, value, strlen(value));
	xml_close(xml, name);
}

void xml_key(struct xml *xml, const char *name, const char *value, bool url)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/*";

	if (!url || !value) {
		xml_text(xml, name, value);
		return;
	}
	xml_open(xml, name);
	while (*value) {
		size_t n = strspn(value, plain);
		char escape[4];

		xml_append(xml, value, n);
		value += n;
		if (!*value)
			break;
		snprintf(escape, sizeof(escape), "%%%02X", (unsigned char)*value++);
		xml_append(xml, escape, 3);
	}
	xml_close(xml, name);
}

void xml_uint(struct xml *xml, const char *name, uint64_t value)
{
	char digits[20], *at = digits + sizeof(digits);

	do
		*--at = (char)('0' + value % 10);
	while (value /= 10);
	xml_open(xml, name);
	xml_append(xml, at, (size_t)(digits + sizeof(digits) - at));
	xml_close(xml, name);
}

void xml_bool(struct xml *xml, const char *name, bool value)
{
	xml_text(xml, name, value ? "true" : "false");
}

void xml_time(struct xml *xml, const char *name, int64_t unix_s)
{
	char text[25];

	s3_iso_format(text, unix_s);
	xml_text(xml, name, text);
}

void xml_etag(struct xml *xml, const char *name, const char *etag)
{
	size_t len;

	if (!etag)
		return;
	len = strlen(etag);
	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	xml_open(xml, name);
	append_str(xml, "&quot;");
	xml_escape(xml, etag, len);
	append_str(xml, "&quot;");
	xml_close(xml, name);
}

char *xml_take(struct xml *xml, const char *root, size_t *len)
{
	char *text;

	xml_close(xml, root);
	if (xml->failed) {
		xml_drop(xml);
		return NULL;
	}
	text = xml->text;
	*len = xml->len;
	memset(xml, 0, sizeof(*xml));
	return text;
}

void xml_drop(struct xml *xml)
{
	free(xml->text);
	memset(xml, 0, sizeof(*xml));
}
