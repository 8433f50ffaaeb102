/* SPDX-License-Identifier: Apache-2.0 */
/*
 * browse.c -- buckets as pages: GET /b/BUCKET/?prefix=… by a browser, of a bucket that allows it ("browse" of its record), by who
 * may list it. Plain HTML without a script; what comes from keys goes in as text.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/gateway/buckets.h"
#include "http/s3/xml_out.h"
#include "lib/bucket.h"

#define ROWS "500"

struct browse {
	struct gateway *gw;
	struct token_scope who;
};

static void put(struct xml *html, const char *markup)
{
	xml_append(html, markup, strlen(markup));
}

/* Characters that turn the direction of what follows (U+202A to U+202E, U+2066 to U+2069): "\u202egnp.exe" would read "exe.png". */
static bool turns(const char *at)
{
	return (!strncmp(at, "\xe2\x80", 2) && (unsigned char)at[2] >= 0xaa && (unsigned char)at[2] <= 0xae) ||
	       (!strncmp(at, "\xe2\x81", 2) && (unsigned char)at[2] >= 0xa6 && (unsigned char)at[2] <= 0xa9);
}

static void put_text(struct xml *html, const char *text)
{
	const char *from = text;

	for (; *text; text++) {
		if (!turns(text))
			continue;
		xml_escape(html, from, (size_t)(text - from));
		put(html, "\xef\xbf\xbd"); /* U+FFFD */
		text += 2;
		from = text + 1;
	}
	xml_escape(html, from, strlen(from));
}

static void put_encoded(struct xml *html, const char *text, bool slash)
{
	char *encoded = http_percent_encode(text, slash);

	if (encoded)
		xml_escape(html, encoded, strlen(encoded));
	else
		html->failed = true;
	free(encoded);
}

/* <a href="?prefix=…&after=…&t=…"> */
static void put_link(struct xml *html, struct http_req *req, const char *prefix, const char *after, const char *text)
{
	const char *token = http_query(req, "t");

	put(html, "<a href=\"?prefix=");
	put_encoded(html, prefix, false);
	if (after) {
		put(html, "&amp;after=");
		put_encoded(html, after, false);
	}
	if (token) {
		put(html, "&amp;t=");
		put_encoded(html, token, false);
	}
	put(html, "\">");
	put_text(html, text);
	put(html, "</a>");
}

/* bucket / a / b: each leads there. */
static void put_way(struct xml *html, struct http_req *req, const char *bucket, const char *prefix)
{
	char part[1025];
	const char *from = prefix, *slash;

	put(html, "<nav aria-label=\"folders\"><p>");
	put_link(html, req, "", NULL, bucket);
	while ((slash = strchr(from, '/')) && (size_t)(slash + 1 - prefix) < sizeof(part)) {
		char name[1025];

		memcpy(part, prefix, (size_t)(slash + 1 - prefix));
		part[slash + 1 - prefix] = '\0';
		snprintf(name, sizeof(name), "%.*s", (int)(slash - from), from);
		put(html, " / ");
		put_link(html, req, part, NULL, slash == from ? "(nothing)" : name);
		from = slash + 1;
	}
	if (*from) {
		put(html, " / ");
		put_text(html, from);
	}
	put(html, "</p></nav>\n");
}

static void put_size(struct xml *html, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes;
	char text[40];
	int i = 0;

	for (; n >= 1024 && i < 4; i++)
		n /= 1024;
	snprintf(text, sizeof(text), "%.*f %s", i && n < 100 ? 1 : 0, n, units[i]);
	put(html, text);
}

static void put_when(struct xml *html, int64_t unix_s)
{
	time_t t = (time_t)unix_s;
	char text[40] = "";
	struct tm tm;

	if (gmtime_r(&t, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	put(html, text);
}

static void put_object(struct xml *html, struct http_req *req, const char *bucket, const char *prefix, const json_t *object)
{
	const char *key = json_string_value(json_object_get(object, "key")), *token = http_query(req, "t");

	if (!key)
		return;
	put(html, "<tr><td class=\"name\"><a href=\"/b/");
	put_encoded(html, bucket, false);
	put(html, "/");
	put_encoded(html, key, true);
	if (token) {
		put(html, "?t=");
		put_encoded(html, token, false);
	}
	put(html, "\">");
	put_text(html, key[strlen(prefix)] ? key + strlen(prefix) : key);
	put(html, "</a></td><td class=\"n\">");
	put_size(html, (uint64_t)json_integer_value(json_object_get(object, "size")));
	put(html, "</td><td>");
	put_when(html, json_integer_value(json_object_get(object, "modified")));
	put(html, "</td></tr>\n");
}

static void put_table(struct xml *html, struct http_req *req, const char *bucket, const char *prefix, const json_t *page)
{
	json_t *objects = json_object_get(page, "objects"), *prefixes = json_object_get(page, "prefixes"), *row;
	size_t i;

	if (!json_array_size(objects) && !json_array_size(prefixes)) {
		put(html, "<p class=\"empty\">nothing here</p>\n");
		return;
	}
	put(html, "<table class=\"stack\"><thead><tr><th scope=\"col\">name</th><th scope=\"col\" class=\"n\">size</th>"
		  "<th scope=\"col\">changed</th></tr></thead>\n<tbody>\n");
	json_array_foreach (prefixes, i, row) {
		put(html, "<tr><td class=\"name\">");
		put_link(html, req, json_string_value(row), NULL, json_string_value(row) + strlen(prefix));
		put(html, "</td><td></td><td></td></tr>\n");
	}
	json_array_foreach (objects, i, row)
		put_object(html, req, bucket, prefix, row);
	put(html, "</tbody></table>\n");
}

static void send_page(struct http_req *req, const char *bucket, const char *prefix, const json_t *page)
{
	const char *next = json_string_value(json_object_get(page, "next"));
	struct xml html = { 0 };

	put(&html, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
		   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>");
	put_text(&html, bucket);
	put(&html, "/");
	put_text(&html, prefix);
	put(&html, "</title><link rel=\"stylesheet\" href=\"/_/console/console.css\"><link rel=\"icon\" href=\"data:,\"></head>\n"
		   "<body><main><h1>");
	put_text(&html, bucket);
	put(&html, "</h1>\n");
	if (*prefix)
		put_way(&html, req, bucket, prefix);
	put_table(&html, req, bucket, prefix, page);
	if (next) {
		put(&html, "<p>");
		put_link(&html, req, prefix, next, "more");
		put(&html, "</p>\n");
	}
	put(&html, "</main></body></html>\n");
	if (html.failed) {
		xml_drop(&html);
		http_reply_error(req, 503, "memory", "out of memory; try again");
		return;
	}
	http_add_header(req, "Content-Security-Policy",
			"default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	http_add_header(req, "X-Content-Type-Options", "nosniff");
	http_add_header(req, "Referrer-Policy", "no-referrer");
	http_reply_owned(req, 200, "text/html; charset=utf-8", html.text, html.len);
}

static void browse_work(struct http_req *req, void *arg)
{
	const char *bucket = http_param(req, "bucket"), *prefix = http_query(req, "prefix");
	struct browse *b = arg;
	struct listing_ask ask = { .bucket = bucket, .prefix = prefix, .delimiter = "/", .after = http_query(req, "after"), .limit = ROWS };
	unsigned int status = 0;
	json_t *page = NULL;
	char err[256];

	http_add_header(req, "Cache-Control", "no-store");
	http_add_header(req, "Vary", "Accept");
	if (buckets_page(b->gw, &b->who, &ask, &page, &status, err))
		http_reply_error(req, status >= 400 && status < 500 ? status : 503, "listing", "%s", err);
	else
		send_page(req, bucket, prefix ? prefix : "", page);
	json_decref(page);
	free(b);
}

bool browse_reply(struct gateway *gw, struct http_req *req, const struct token_scope *who, enum http_next *next)
{
	const char *accept = http_header(req, "Accept");
	const struct bucket *bucket;
	struct browse *b;
	bool browse;

	if (!accept || !strstr(accept, "text/html"))
		return false;
	bucket = users_bucket(gw->users, http_param(req, "bucket"));
	browse = bucket && bucket->browse;
	bucket_put(bucket);
	if (!browse)
		return false;
	b = malloc(sizeof(*b));
	if (!b) {
		*next = http_reply_error(req, 503, "memory", "out of memory; try again");
		return true;
	}
	*b = (struct browse){ gw, *who };
	*next = http_work(req, browse_work, b);
	if (*next == HTTP_ANSWERED)
		free(b);
	return true;
}
