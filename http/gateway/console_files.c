/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console_files.c -- the console's files, compiled in, so that it needs no other host and no build
 * of its own: a page, modules of plain JavaScript, styles, and two libraries as Debian has them.
 */
#include <stdio.h>
#include <string.h>

#include "http/gateway/gateway.h"
#include "lib/hash.h"

#define EMBED(symbol, path)                                                                        \
	__asm__(".section .rodata\n.balign 16\nfile_" #symbol ":\n.incbin \"" path "\"\n"          \
		"file_" #symbol "_end:\n.byte 0\n.previous\n");                                    \
	extern const char file_##symbol[], file_##symbol##_end[]
#define OURS(symbol, name) EMBED(symbol, "http/gateway/console/" name)

/* The console's own modules: symbol and name. */
#define MODULES(X)                                                                                 \
	X(api, "api.js")                                                                           \
	X(audit, "audit.js")                                                                       \
	X(buckets, "buckets.js")                                                                   \
	X(charts, "charts.js")                                                                     \
	X(console, "console.js")                                                                   \
	X(datasets, "datasets.js")                                                                 \
	X(dom, "dom.js")                                                                           \
	X(file, "file.js")                                                                         \
	X(findings, "findings.js")                                                                 \
	X(machines, "machines.js")                                                                 \
	X(me, "me.js")                                                                             \
	X(mend, "mend.js")                                                                         \
	X(peers, "peers.js")                                                                       \
	X(people, "people.js")                                                                     \
	X(rules, "rules.js")                                                                       \
	X(signin, "signin.js")                                                                     \
	X(statistics, "statistics.js")                                                             \
	X(tus, "tus.js")                                                                           \
	X(uploading, "uploading.js")                                                               \
	X(uploads, "uploads.js")

#define EMBED_MODULE(symbol, name) OURS(symbol, name);
MODULES(EMBED_MODULE)
OURS(page, "index.html");
OURS(style, "console.css");
EMBED(chart, "/usr/share/javascript/chart.js/chart.min.js");
EMBED(dygraph, "/usr/share/javascript/dygraphs/dygraph.js");
EMBED(dygraph_style, "/usr/share/javascript/dygraphs/dygraph.css");

static const char html[] = "text/html; charset=utf-8", css[] = "text/css; charset=utf-8",
		  javascript[] = "text/javascript; charset=utf-8";

#define MODULE(symbol, name) { name, javascript, file_##symbol, file_##symbol##_end },
static const struct console_file {
	const char *name, *type, *data, *end;
} files[] = { { "", html, file_page, file_page_end },
	      { "console.css", css, file_style, file_style_end },
	      { "chart.js", javascript, file_chart, file_chart_end },
	      { "dygraph.js", javascript, file_dygraph, file_dygraph_end },
	      { "dygraph.css", css, file_dygraph_style, file_dygraph_style_end },
	      MODULES(MODULE) };

/* Tells this file from that of another build. */
static void etag_of(const struct console_file *file, char out[24])
{
	snprintf(out, 24, "\"%016llx\"",
		 (unsigned long long)hash64(file->data, (size_t)(file->end - file->data), 0));
}

static enum http_next send_file(struct http_req *req, const struct console_file *file)
{
	char etag[24];
	int status;

	etag_of(file, etag);
	http_add_header(req, "Content-Security-Policy",
			"default-src 'none'; script-src 'self'; style-src 'self'; "
			"connect-src 'self'; img-src 'self' data:; "
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	http_add_header(req, "Referrer-Policy", "no-referrer");
	http_add_header(req, "Cache-Control", "no-cache");
	http_add_header(req, "ETag", etag);
	status = http_conditions(req, etag);
	if (status)
		return http_reply(req, (unsigned int)status, file->type, "", 0);
	return http_reply(req, 200, file->type, file->data, (size_t)(file->end - file->data));
}

enum http_next console_page(struct http_req *req, void *arg)
{
	(void)arg;
	return send_file(req, &files[0]);
}

/* Also "/_/console/" is the page. */
enum http_next console_file(struct http_req *req, void *arg)
{
	const char *name = http_param(req, "file");

	(void)arg;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (!strcmp(files[i].name, name))
			return send_file(req, &files[i]);
	return http_reply_error(req, 404, "no_such_file", "the console has no file %.64s", name);
}
