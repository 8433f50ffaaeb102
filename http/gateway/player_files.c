/* SPDX-License-Identifier: Apache-2.0 */
/*
 * player_files.c -- the page that plays assets, and the shim for anybody's page. Ours is compiled in; the libraries that
 * the page plays with are not ours and come from a folder that `make player` fills, by names that are known here.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/gateway/gateway.h"
#include "lib/hash.h"
#include "lib/log.h"

#define EMBED(symbol, path)                                                                        \
	__asm__(".section .rodata\n.balign 16\nplayer_" #symbol ":\n.incbin \"" path "\"\n"        \
		"player_" #symbol "_end:\n.byte 0\n.previous\n");                                  \
	extern const char player_##symbol[], player_##symbol##_end[]

EMBED(page_text, "http/gateway/player/index.html");
EMBED(script, "http/gateway/player/player.js");
EMBED(panel, "http/gateway/player/panel.js");
EMBED(style, "http/gateway/player/player.css");
EMBED(shim, "build/player/shim.js");
EMBED(shim_gz, "build/player/shim.js.gz");

static const char html[] = "text/html; charset=utf-8", css[] = "text/css; charset=utf-8",
		  javascript[] = "text/javascript; charset=utf-8", plain[] = "text/plain; charset=utf-8";

static const struct player_file {
	const char *name, *type, *data, *end;
} files[] = { { "player.js", javascript, player_script, player_script_end },
	      { "panel.js", javascript, player_panel, player_panel_end },
	      { "player.css", css, player_style, player_style_end } };

static const struct {
	const char *name, *type;
} libraries[] = { { "hls.min.mjs", javascript },
		  { "p2p-media-loader-core.es.min.js", javascript },
		  { "p2p-media-loader-hlsjs.es.min.js", javascript },
		  { "hls.js.LICENSE", plain },
		  { "p2p-media-loader-core.LICENSE", plain },
		  { "p2p-media-loader-hlsjs.LICENSE", plain } };

/* The import map is the one script in the page itself: it goes by its hash (tests/unit/player_shim.sh compares).
 * Endpoints, gateways and trackers come and go while a page lives: where it may connect to is not a list. */
static const char policy[] = "default-src 'none'; script-src 'self' 'sha256-dI20cQgfhj+JY6TcKmaOedxh1J1JwGqJanh3yHp+veo='; "
			     "style-src 'self'; img-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
			     "connect-src 'self' http: https: ws: wss:; base-uri 'none'; form-action 'none'; "
			     "frame-ancestors 'none'";

/* ---- the libraries' folder ------------------------------------------------------------------- */

/* Beside an installed binary, and beside one that runs where it was built. */
static const char *const places[] = { "../share/weir/player", "../player/www", "../../player/www" };

int player_open(void)
{
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;
	int fd = -1;

	if (n < 0)
		return -1;
	self[n] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; fd < 0 && i < sizeof(places) / sizeof(*places); i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", self, places[i], libraries[0].name);
		if (access(path, R_OK))
			continue;
		snprintf(path, sizeof(path), "%s/%s", self, places[i]);
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	return fd;
}

void player_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static enum http_next send_library(struct http_req *req, int folder, const char *name, const char *type)
{
	int fd = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char etag[64];
	struct stat st;
	int status;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return http_reply_error(req, 404, "no_library",
					"%s is not here: run `make player` (it needs npm), `make install`, and restart the gateway", name);
	}
	snprintf(etag, sizeof(etag), "\"%llx-%llx-%llx\"", (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec,
		 (unsigned long long)st.st_mtim.tv_nsec);
	http_add_header(req, "Cache-Control", "no-cache");
	http_add_header(req, "ETag", etag);
	status = http_conditions(req, etag);
	if (status) {
		close(fd);
		return http_reply(req, (unsigned int)status, type, "", 0);
	}
	return http_reply_fd(req, 200, type, fd, 0, (uint64_t)st.st_size);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static enum http_next send_text(struct http_req *req, const char *type, const char *data, const char *end)
{
	char etag[24];
	int status;

	snprintf(etag, sizeof(etag), "\"%016llx\"", (unsigned long long)hash64(data, (size_t)(end - data), 0));
	http_add_header(req, "Referrer-Policy", "no-referrer");
	http_add_header(req, "Cache-Control", "no-cache");
	http_add_header(req, "ETag", etag);
	status = http_conditions(req, etag);
	if (status)
		return http_reply(req, (unsigned int)status, type, "", 0);
	return http_reply(req, 200, type, data, (size_t)(end - data));
}

enum http_next player_page(struct http_req *req, void *arg)
{
	(void)arg;
	http_add_header(req, "Content-Security-Policy", policy);
	return send_text(req, html, player_page_text, player_page_text_end);
}

enum http_next player_file(struct http_req *req, void *arg)
{
	const struct gateway *gw = arg;
	const char *name = http_param(req, "file");

	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (!strcmp(files[i].name, name))
			return send_text(req, files[i].type, files[i].data, files[i].end);
	for (size_t i = 0; !strncmp(name, "lib/", 4) && i < sizeof(libraries) / sizeof(*libraries); i++)
		if (!strcmp(libraries[i].name, name + 4))
			return send_library(req, gw->player, libraries[i].name, libraries[i].type);
	return http_reply_error(req, 404, "no_such_file", "the player has no file %.64s", name);
}

/* For pages of any origin: it holds no secret, and what it asks for has rules of its own. */
enum http_next player_shim_file(struct http_req *req, void *arg)
{
	const char *accepts = http_header(req, "Accept-Encoding");

	(void)arg;
	http_add_header(req, "Access-Control-Allow-Origin", "*");
	http_add_header(req, "Cross-Origin-Resource-Policy", "cross-origin");
	http_add_header(req, "Vary", "Accept-Encoding");
	if (!accepts || !strstr(accepts, "gzip"))
		return send_text(req, javascript, player_shim, player_shim_end);
	http_add_header(req, "Content-Encoding", "gzip");
	return send_text(req, javascript, player_shim_gz, player_shim_gz_end);
}
