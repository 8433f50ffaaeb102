/* SPDX-License-Identifier: Apache-2.0 */
/*
 * page.c -- what went wrong with a sign-in, for people: a page without script, style of its own, or anything from
 * elsewhere. Whoever does not ask for HTML gets JSON.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/identity/identity_impl.h"

/* Appends text with what means something in HTML replaced. */
static void escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		const char *as = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : *text == '"' ? "&quot;" : *text == '\'' ? "&#39;" : NULL;

		if (as)
			fputs(as, out);
		else if ((unsigned char)*text >= ' ')
			fputc(*text, out);
	}
}

static char *page(struct http_req *req, const char *sentence, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (!out)
		return NULL;
	fputs("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
	      "<title>weir: not signed in</title><link rel=\"stylesheet\" href=\"/_/console/console.css\"></head>\n"
	      "<body><main role=\"main\"><h1>You are not signed in</h1>\n<p role=\"alert\">",
	      out);
	escaped(out, sentence);
	fputs("</p>\n<p><a href=\"/_/login/start\">Try again</a> &middot; <a href=\"/\">Back to the console</a></p>\n<p><small>Request ", out);
	escaped(out, http_id(req));
	fputs("</small></p></main></body></html>\n", out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

enum http_next page_fault(struct http_req *req, unsigned int status, const char *code, const char *fmt, ...)
{
	const char *accept = http_header(req, "Accept");
	char sentence[1024], *text;
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	http_add_header(req, "Cache-Control", "no-store");
	text = accept && strstr(accept, "text/html") ? page(req, sentence, &len) : NULL;
	if (!text)
		return http_reply_error(req, status, code, "%s", sentence);
	http_add_header(req, "Content-Security-Policy",
			"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	http_add_header(req, "Referrer-Policy", "no-referrer");
	return http_reply_owned(req, status, "text/html; charset=utf-8", text, len);
}
