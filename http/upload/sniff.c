/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sniff.c -- what a file is by its first bytes. Packings and JSON by their own marks, the encoding by BOM and by what is
 * valid, all other text is a table unless it begins as something else does; what is no text is libmagic's.
 */
#include <jansson.h>
#include <magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/upload/csv_text.h"
#include "http/upload/sniff.h"
#include "http/upload/sniff_dialect.h"
#include "lib/utf8.h"

static bool begins(const void *data, size_t len, const char *with, size_t n)
{
	return len >= n && !memcmp(data, with, n);
}

static void is(struct sniffed *out, enum file_kind kind, const char *mime)
{
	out->kind = kind;
	snprintf(out->mime, sizeof(out->mime), "%s", mime);
}

/* What is neither text nor packed, when there is no libmagic, or it does not know. */
static const struct {
	const char *mark;
	size_t len;
	const char *mime;
	bool word; /* text may begin with it too */
} marks[] = {
	{ "%PDF-", 5, "application/pdf", false },
	{ "\x89PNG\r\n\x1a\n", 8, "image/png", false },
	{ "\xff\xd8\xff", 3, "image/jpeg", false },
	{ "GIF8", 4, "image/gif", true },
	{ "{\\rtf", 5, "text/rtf", false },
	{ "%!PS", 4, "application/postscript", false },
	{ "PAR1", 4, "application/vnd.apache.parquet", true },
	{ "SQLite format 3", 16, "application/vnd.sqlite3", false },
	{ "BZh", 3, "application/x-bzip2", true },
	{ "\xfd" "7zXZ", 6, "application/x-xz", false },
	{ "7z\xbc\xaf\x27\x1c", 6, "application/x-7z-compressed", false },
	{ "\xd0\xcf\x11\xe0", 4, "application/x-ole-storage", false },
	{ "#!", 2, "text/x-script", false },
	{ "\x7f" "ELF", 4, "application/x-executable", false },
};

static const char *mark_of(const void *data, size_t len, bool text)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (!(text && marks[i].word) && begins(data, len, marks[i].mark, marks[i].len))
			return marks[i].mime;
	return NULL;
}

static void is_other(struct sniffed *out, const void *data, size_t len, void *magic, const char *known)
{
	const char *mime = magic ? magic_buffer(magic, data, len) : NULL;

	if (!mime || !strchr(mime, '/') || !strcmp(mime, "application/octet-stream") || (known && !strncmp(mime, "text/plain", 10)))
		mime = known ? known : mark_of(data, len, false);
	is(out, KIND_OTHER, mime ? mime : "application/octet-stream");
}

/* Office documents, JARs and such are zips of their own kind. */
static void is_zip(struct sniffed *out, const char *data, size_t len, void *magic)
{
	const char *mime = magic ? magic_buffer(magic, data, len) : NULL;

	if (mime && strchr(mime, '/') && strcmp(mime, "application/zip") && strcmp(mime, "application/octet-stream"))
		is(out, KIND_OTHER, mime);
	else if (len > 49 && (begins(data + 30, len - 30, "[Content_Types].xml", 19) || begins(data + 30, len - 30, "_rels/", 6)))
		is(out, KIND_OTHER, "application/vnd.openxmlformats-officedocument");
	else if (len > 38 && begins(data + 30, len - 30, "mimetype", 8))
		is(out, KIND_OTHER, "application/vnd.oasis.opendocument");
	else
		is(out, KIND_ZIP, "application/zip");
}

static bool packed(struct sniffed *out, const char *data, size_t len, void *magic)
{
	if (begins(data, len, "\x1f\x8b", 2))
		is(out, KIND_GZIP, "application/gzip");
	else if (begins(data, len, "\x28\xb5\x2f\xfd", 4))
		is(out, KIND_ZSTD, "application/zstd");
	else if (len >= 4 && (data[0] & 0xf0) == 0x50 && begins(data + 1, len - 1, "\x2a\x4d\x18", 3))
		is(out, KIND_ZSTD, "application/zstd"); /* a skippable frame first (RFC 8878, 3.1.2) */
	else if (begins(data, len, "PK\3\4", 4) || begins(data, len, "PK\5\6", 4))
		is_zip(out, data, len, magic);
	else
		return false;
	return true;
}

/* UTF-16 without a BOM: zeros, and they are all on one side. False: it is not. */
static bool utf16_guess(struct sniffed *out, const char *data, size_t len)
{
	size_t zeros[2] = { 0, 0 };

	for (size_t i = 0; i < len; i++)
		zeros[i & 1] += !data[i];
	if (len < 4 || zeros[0] + zeros[1] < len / 4)
		return false;
	if (zeros[1] > 20 * zeros[0])
		out->encoding = ENC_UTF16LE;
	else if (zeros[0] > 20 * zeros[1])
		out->encoding = ENC_UTF16BE;
	else
		return false;
	return true;
}

/* UTF-8 when it is, or when more characters of it are right than bytes are wrong; else Windows-1252. */
static enum text_encoding bytes_guess(const char *data, size_t len, bool whole)
{
	size_t at = 0, right = 0, wrong = 0;

	while (at < len) {
		size_t n = utf8_char(data + at, len - at);

		if (n > 1)
			right++;
		else if (!n && !(len - at < 4 && !whole)) /* the last character may be cut off */
			wrong++;
		at += n ? n : 1;
	}
	return wrong > right ? ENC_LATIN1 : ENC_UTF8;
}

/* Is it text, and in which encoding? */
static bool text_guess(struct sniffed *out, const char *data, size_t len, bool whole)
{
	size_t controls = 0;

	if (begins(data, len, "\xff\xfe\0\0", 4) || begins(data, len, "\0\0\xfe\xff", 4))
		return false; /* UTF-32 */
	if (begins(data, len, "\xef\xbb\xbf", 3))
		out->encoding = ENC_UTF8_BOM;
	else if (begins(data, len, "\xff\xfe", 2))
		out->encoding = ENC_UTF16LE;
	else if (begins(data, len, "\xfe\xff", 2))
		out->encoding = ENC_UTF16BE;
	else if (!utf16_guess(out, data, len))
		out->encoding = bytes_guess(data, len, whole);
	if (out->encoding == ENC_UTF16LE || out->encoding == ENC_UTF16BE)
		return true;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];

		controls += c < 0x20 && c != '\t' && c != '\n' && c != '\r' && c != '\f' && c != 0x1b;
	}
	return controls * 200 <= len || controls <= 1;
}

static const char *blank_skip(const char *s, const char *end)
{
	while (s < end && strchr(" \t\r\n", *s) && *s)
		s++;
	return s;
}

static bool json_whole(const char *s, size_t len)
{
	json_error_t error;
	json_t *j = json_loadb(s, len, 0, &error);
	bool fine = json_is_object(j) || json_is_array(j);

	json_decref(j);
	return fine;
}

/* Text that begins as JSON does, or false. Lines that are values each are JSON Lines; so is a first line that is broken
 * when the second begins as it does. */
static bool json_guess(struct sniffed *out, const char *text, const char *end, bool whole)
{
	const char *s = blank_skip(text, end), *inside = s < end ? blank_skip(s + 1, end) : end, *line, *second;
	bool complete;
	char next;

	if (s == end || (*s != '{' && *s != '['))
		return false;
	line = memchr(s, '\n', (size_t)(end - s));
	line = line ? line : end;
	second = blank_skip(line, end);
	complete = (line < end || whole) && json_whole(s, (size_t)(line - s));
	next = inside < end ? *inside : *s == '{' ? '}' : ']'; /* a piece that ends here may be the beginning of it */
	if (*s == '{' ? next != '"' && next != '}' : !next || (!strchr("{[]\"", next) && !complete))
		return false;
	if (*s == '[' && next == '"' && !complete && !memchr(s, ']', (size_t)(end - s)) && line < end)
		return false; /* "[" as a character */
	if (*s == '{' ? complete || (second < end && *second == '{') : complete && second < end && *second == '[')
		is(out, KIND_JSONL, "application/x-ndjson");
	else
		is(out, KIND_JSON, "application/json");
	return true;
}

static bool markup(const char *s, const char *end)
{
	s = blank_skip(s, end);
	return end - s > 3 && *s == '<' && (s[1] == '?' || s[1] == '!' || (s[1] | 0x20) == 'h' || (s[1] | 0x20) == 's') && memchr(s, '>', (size_t)(end - s));
}

static const char *markup_mime(const char *s, const char *end)
{
	s = blank_skip(s, end);
	if ((size_t)(end - s) > 5 && (!strncasecmp(s, "<html", 5) || !strncasecmp(s, "<!doc", 5)))
		return "text/html";
	return "text/xml";
}

static void text_kind(struct sniffed *out, const void *data, size_t len, const char *text, size_t n, bool whole, void *magic)
{
	const char *end, *known;

	if (begins(text, n, "\xef\xbb\xbf", 3)) {
		text += 3;
		n -= 3;
	}
	end = text + n;
	known = mark_of(data, len, true);
	if (!known)
		known = mark_of(text, n, true);
	if (!known && markup(text, end))
		known = markup_mime(text, end);
	if (known) {
		is_other(out, data, len, magic, known);
		return;
	}
	if (json_guess(out, text, end, whole))
		return;
	sniff_dialect(out, text, n, whole);
	is(out, KIND_CSV, out->delimiter == '\t' ? "text/tab-separated-values" : "text/csv");
}

void sniff(struct sniffed *out, const void *data, size_t len, bool whole, void *magic)
{
	size_t used, n;
	char *text;

	memset(out, 0, sizeof(*out));
	if (len > SNIFF_BYTES) {
		len = SNIFF_BYTES;
		whole = false;
	}
	if (!len) {
		is(out, KIND_EMPTY, "application/x-empty");
		return;
	}
	if (packed(out, data, len, magic))
		return;
	if (!text_guess(out, data, len, whole)) {
		is_other(out, data, len, magic, NULL);
		return;
	}
	if (out->encoding < ENC_UTF16LE) {
		text_kind(out, data, len, data, len, whole, magic);
		return;
	}
	text = malloc(3 * len + 16);
	if (!text) {
		is(out, KIND_OTHER, "application/octet-stream");
		return;
	}
	n = text_convert(&(struct text_convert){ .encoding = out->encoding }, data, len, &used, text, 3 * len + 16);
	text_kind(out, data, len, text, n, whole, magic);
	free(text);
}
