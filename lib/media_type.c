/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_type.c -- see media_type.h. On the way of every GET: no allocation, one look at the key.
 */
#include "lib/media_type.h"

#include <string.h>
#include <strings.h>

/* A playlist is asked for again before a viewer would notice that it changed; 304 is the usual answer then. */
#define PLAYLIST { "private, max-age=2, must-revalidate", "public, max-age=2, must-revalidate" }
#define PIECE	 { "private, max-age=60, must-revalidate", "public, max-age=60, must-revalidate" }
#define FIXED	 { "private, max-age=31536000, immutable", "public, max-age=31536000, immutable" }

static const struct media_type other = { "application/octet-stream", { NULL, NULL }, false };

/* Each as it is, and within a folder that bears its content's digest. */
static const struct {
	const char *end;
	struct media_type plain, fixed;
} types[] = {
	/* RFC 8216 section 4; ISO/IEC 23009-1 annex C; RFC 4337 and ISO/IEC 23000-19 (CMAF); RFC 3555; W3C WebVTT */
	{ ".m3u8", { "application/vnd.apple.mpegurl", PLAYLIST, false }, { "application/vnd.apple.mpegurl", FIXED, false } },
	{ ".mpd", { "application/dash+xml", PLAYLIST, true }, { "application/dash+xml", FIXED, true } },
	{ ".m4s", { "video/iso.segment", PIECE, false }, { "video/iso.segment", FIXED, false } },
	{ ".mp4", { "video/mp4", PIECE, false }, { "video/mp4", FIXED, false } },
	{ ".m4a", { "audio/mp4", PIECE, false }, { "audio/mp4", FIXED, false } },
	{ ".ts", { "video/mp2t", PIECE, false }, { "video/mp2t", FIXED, false } },
	{ ".webm", { "video/webm", PIECE, false }, { "video/webm", FIXED, false } },
	{ ".aac", { "audio/aac", PIECE, false }, { "audio/aac", FIXED, false } },
	{ ".vtt", { "text/vtt; charset=utf-8", PIECE, false }, { "text/vtt; charset=utf-8", FIXED, false } },
	{ ".jpg", { "image/jpeg", PIECE, false }, { "image/jpeg", FIXED, false } },
	{ ".jpeg", { "image/jpeg", PIECE, false }, { "image/jpeg", FIXED, false } },
	{ ".png", { "image/png", PIECE, false }, { "image/png", FIXED, false } },
	{ "/weir-media.json", { "application/json", PLAYLIST, false }, { "application/json", PLAYLIST, false } },
};

/* Is one of the key's folders "v" and 16 hexadecimal digits? */
static bool is_fixed(const char *key)
{
	for (const char *at = key; at; at = strchr(at, '/'), at = at ? at + 1 : NULL)
		if (at[0] == 'v' && strspn(at + 1, "0123456789abcdef") == 16 && at[17] == '/')
			return true;
	return false;
}

const struct media_type *media_type_of(const char *key)
{
	size_t len = strlen(key);

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		size_t n = strlen(types[i].end);

		if (len > n && key[len - 1] == types[i].end[n - 1] && !strcmp(key + len - n, types[i].end))
			return is_fixed(key) ? &types[i].fixed : &types[i].plain;
	}
	return &other;
}

/* Of a family any is inert but those that are XML by their name (image/svg+xml, audio/x+xml: WHATWG MIME Sniffing, "XML MIME type"). */
static bool is_inert_family(const char *type, size_t len)
{
	static const char *const families[] = { "audio/", "video/", "font/" };
	bool found = false;

	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		found = found || !strncasecmp(type, families[i], strlen(families[i]));
	for (size_t i = 0; found && i + 3 <= len; i++)
		found = strncasecmp(type + i, "xml", 3) != 0;
	return found;
}

/* PDF: viewers of browsers run its scripts apart from the page's origin, and show nothing at all within a sandbox. */
bool media_type_is_inert(const char *type)
{
	static const char *const names[] = { "application/octet-stream", "binary/octet-stream", "application/json",
					     "application/pdf",		 "text/plain",		"text/csv",
					     "image/png",		 "image/jpeg",		"image/gif",
					     "image/webp",		 "image/avif",		"image/bmp",
					     "image/tiff" };
	size_t len = strcspn(type, "; \t");

	/* "text/plain, text/html" and `text/plain;a="b",text/html`: browsers take the last of several. */
	if (strchr(type, ','))
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (len == strlen(names[i]) && !strncasecmp(type, names[i], len))
			return true;
	return is_inert_family(type, len);
}

void media_cors_add(struct http_req *req)
{
	http_add_header(req, "Access-Control-Allow-Origin", "*");
	http_add_header(req, "Access-Control-Expose-Headers", MEDIA_CORS_EXPOSE);
}

enum http_next media_cors_preflight(struct http_req *req, void *arg)
{
	(void)arg;
	http_add_header(req, "Access-Control-Allow-Origin", "*");
	http_add_header(req, "Access-Control-Allow-Methods", "GET, HEAD");
	http_add_header(req, "Access-Control-Allow-Headers", "Range, If-Range, If-None-Match, Cache-Control, Pragma");
	http_add_header(req, "Access-Control-Max-Age", "7200"); /* what Chromium keeps at most */
	return http_reply(req, 204, NULL, NULL, 0);
}
