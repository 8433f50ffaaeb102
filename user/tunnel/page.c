// SPDX-License-Identifier: Apache-2.0
/* page.c -- the edge's own answers (see page.h). Nothing that a client sent stands in them. */
#include <stdio.h>
#include <string.h>

#include "user/tunnel/page.h"

static const struct {
	const char *label, *text;
	unsigned int status;
} causes[PAGE_N] = {
#define X(name, label_, status_, text_)                                                            \
	[PAGE_##name] = { .label = label_, .text = text_, .status = status_ },
	PAGE_CAUSES(X)
#undef X
};

const char *page_label(enum page_cause cause)
{
	return causes[cause].label;
}

unsigned int page_status(enum page_cause cause)
{
	return causes[cause].status;
}

static const char *reason(unsigned int status)
{
	switch (status) {
	case 403:
		return "Forbidden";
	case 404:
		return "Not found";
	case 408:
		return "Too slow";
	case 413:
		return "Too large";
	case 421:
		return "Misdirected";
	case 429:
		return "Too many requests";
	case 500:
		return "Error";
	case 405:
		return "Not allowed";
	case 502:
		return "Not reachable";
	case 503:
		return "Not available";
	default:
		return "Timed out";
	}
}

enum page_type page_type_of(const char *accept)
{
	if (!accept)
		return PAGE_TEXT;
	if (strstr(accept, "text/html"))
		return PAGE_HTML;
	return strstr(accept, "application/json") ? PAGE_JSON : PAGE_TEXT;
}

const char *page_content_type(enum page_type type)
{
	return type == PAGE_HTML   ? "text/html; charset=utf-8"
	       : type == PAGE_JSON ? "application/json"
				   : "text/plain; charset=utf-8";
}

static const char html[] =
	"<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
	"<meta name=\"viewport\" content=\"width=device-width\">\n<title>%u %s</title>\n<style>\n"
	"body { font: 1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 18vh auto 0; "
	"padding: 0 1.5rem; color: #222; background: #fff }\n"
	"h1 { font-size: 1.4rem; margin: 0 0 .5rem } code { color: #555 }\n"
	"hr { border: 0; border-top: 1px solid #8884; margin: 1.5rem 0 .8rem }\n"
	"small { color: #666 }\n"
	"@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } "
	"small, code { color: #aaa } }\n"
	"</style>\n<h1>%u &middot; %s</h1>\n<p>%s</p>\n<hr>\n"
	"<small>Request <code>%s</code></small>\n</html>\n";

char *page_format(enum page_cause cause, enum page_type type, const char *id)
{
	unsigned int status = causes[cause].status;
	const char *text = causes[cause].text, *word = reason(status);
	char *out = NULL;
	int n;

	if (type == PAGE_HTML)
		n = asprintf(&out, html, status, word, status, word, text, id);
	else if (type == PAGE_JSON)
		n = asprintf(
			&out,
			"{\"error\":\"%s\",\"status\":%u,\"message\":\"%s\",\"request\":\"%s\"}\n",
			causes[cause].label, status, text, id);
	else
		n = asprintf(&out, "%u %s: %s\nrequest %s\n", status, word, text, id);
	return n < 0 ? NULL : out;
}
