// SPDX-License-Identifier: Apache-2.0
/*
 * xml_out.c -- the writer of XML.
 */
#include "http/s3/xml_out.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/conditions.h"

void xml_append(struct xml *xml, const char *text, size_t len)
{
	if (xml->failed)
		return;
	if (xml->room - xml->len <= len) {
		size_t room = xml->room ? xml->room * 2 : 512;
		char *more;

		while (room - xml->len <= len)
			room *= 2;
		more = realloc(xml->text, room);
		if (!more) {
			xml->failed = true;
			return;
		}
		xml->text = more;
		xml->room = room;
	}
	memcpy(xml->text + xml->len, text, len);
	xml->len += len;
	xml->text[xml->len] = '\0';
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

void xml_open(struct xml *xml, const char *name)
{
	append_str(xml, "<");
	append_str(xml, name);
	append_str(xml, ">");
}

void xml_close(struct xml *xml, const char *name)
{
	append_str(xml, "</");
	append_str(xml, name);
	append_str(xml, ">");
}

void xml_escape(struct xml *xml, const char *text, size_t len)
{
	size_t from = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		char reference[8];
		const char *as = NULL;

		if (c == '&')
			as = "&amp;";
		else if (c == '<')
			as = "&lt;";
		else if (c == '>')
			as = "&gt;";
		else if (c == '"')
			as = "&quot;";
		else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			as = reference;
		if (!as)
			continue;
		if (as == reference)
			snprintf(reference, sizeof(reference), "&#x%x;", c);
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
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	xml_text(xml, name, text);
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
