/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ws_echo.c -- a server of lib/httpd and http/peers/ws.h that tests may ill-treat: ws_echo ADDRESS...
 *
 * Every text comes back, but for: "send N SIZE": N texts of SIZE bytes, and "close CODE REASON". GET /count says what
 * was seen, /count?metrics=1 what the HTTP server counts, /count?trim=1 gives free memory back first. Settings come by
 * environment: MAX, RATE, BURST, PING_S, MESSAGE_MAX, BACKLOG_MAX, THREADS (of WebSockets), IDLE_S, CONNECTIONS and
 * PER_ADDRESS (of HTTP); TLS=CERT:KEY for listeners that speak TLS. Ends on SIGTERM, or on SIGUSR1 with the HTTP server
 * stopped first.
 */
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http/peers/ws.h"
#include "lib/log.h"

#define ADDRESSES_MAX 8

static struct ws_server *ws;
static struct metrics *metrics;
static _Atomic unsigned int opened, messages, closed, refused, errors;
static _Atomic size_t refused_by_send;

/* What each connection's user pointer leads to: that no callback comes out of turn. */
struct user {
	_Atomic int state; /* 1: accepted, 2: opened, 3: closed */
};

static void expect(bool truth, const char *what)
{
	if (truth)
		return;
	errors++;
	log_error("%s", what);
}

static void on_opened(void *arg, struct ws_conn *c)
{
	struct user *user = ws_user(c);

	(void)arg;
	expect(user->state == 1, "opened twice");
	user->state = 2;
	opened++;
}

static void send_many(struct ws_conn *c, unsigned int n, size_t size)
{
	char *text = malloc(size + 1);

	memset(text, 'x', size);
	for (; n && !refused_by_send; n--)
		if (ws_send(c, text, size))
			break;
	if (n)
		refused_by_send++;
	free(text);
}

static void on_message(void *arg, struct ws_conn *c, const char *text, size_t len)
{
	unsigned int n, code;
	size_t size;
	int at = 0;

	(void)arg;
	expect(((struct user *)ws_user(c))->state == 2, "a message when it was not open");
	expect(text[len] == '\0', "text that is not terminated");
	messages++;
	if (sscanf(text, "send %u %zu", &n, &size) == 2)
		send_many(c, n, size);
	else if (sscanf(text, "close %u %n", &code, &at) == 1)
		ws_close(c, (uint16_t)code, text + at);
	else if (sscanf(text, "cut %u %n", &code, &at) == 1)
		ws_cut(c, (uint16_t)code, text + at);
	else
		ws_send(c, text, len);
}

static void on_closed(void *arg, struct ws_conn *c)
{
	struct user *user = ws_user(c);

	(void)arg;
	expect(user->state == 2, "closed when it was not open");
	expect(ws_send(c, "x", 1) < 0, "a closed one takes text");
	free(user);
	closed++;
}

static void on_refused(void *arg)
{
	struct user *user = arg;

	expect(user->state == 1, "refused when it was open");
	free(user);
	refused++;
}

static enum http_next accept_begin(struct http_req *req, void *arg)
{
	struct user *user = calloc(1, sizeof(*user));

	(void)arg;
	user->state = 1;
	return ws_accept(ws, req, user, on_refused);
}

static enum http_next count_begin(struct http_req *req, void *arg)
{
	size_t len;
	char *page = http_query(req, "metrics") ? metrics_render(metrics, &len) : NULL;

	(void)arg;
	if (page)
		return http_reply_owned(req, 200, "text/plain", page, len);
	if (http_query(req, "trim"))
		malloc_trim(0);
	return http_reply_json(req, 200,
			       json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "count", (int)ws_count(ws), "opened",
					 (int)opened, "messages", (int)messages, "closed", (int)closed, "refused",
					 (int)refused, "errors", (int)errors, "unsent", (int)refused_by_send));
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/ws", .begin = accept_begin },
	{ .methods = 1u << HTTP_POST, .path = "/ws", .body_max = 100, .begin = accept_begin },
	{ .methods = 1u << HTTP_GET, .path = "/count", .begin = count_begin },
	{ .path = NULL },
};

static unsigned int from_env(const char *name)
{
	const char *value = getenv(name);

	return value ? (unsigned int)atoi(value) : 0;
}

static char *file_text(const char *path)
{
	char *text = calloc(1, 1 << 16);
	FILE *f = fopen(path, "r");

	if (!f || !text || !fread(text, 1, (1 << 16) - 1, f)) {
		perror(path);
		exit(1);
	}
	fclose(f);
	return text;
}

static void take_tls(struct httpd_options *opt)
{
	char *cert = getenv("TLS"), *key = cert ? strchr(cert, ':') : NULL;

	if (!key)
		return;
	*key++ = '\0';
	opt->tls_cert = file_text(cert);
	opt->tls_key = file_text(key);
}

static int bind_all(int fds[ADDRESSES_MAX], char **addresses)
{
	int n = 0;

	for (; addresses[n] && n < ADDRESSES_MAX; n++) {
		struct addr_port at;

		fds[n] = addr_port_parse(&at, addresses[n]) ? -1 : addr_bind(&at, SOCK_STREAM, 0, false, 0600);
		if (fds[n] < 0) {
			fprintf(stderr, "cannot listen on %s\n", addresses[n]);
			exit(1);
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	struct httpd_options http = { .name = "echo",
				      .threads = from_env("HTTP_THREADS"),
				      .idle_s = from_env("IDLE_S"),
				      .connections_max = from_env("CONNECTIONS"),
				      .per_address_max = from_env("PER_ADDRESS") };
	struct ws_options opt = { .threads = from_env("THREADS"),
				  .max = from_env("MAX"),
				  .message_max = from_env("MESSAGE_MAX"),
				  .backlog_max = from_env("BACKLOG_MAX"),
				  .rate = from_env("RATE"),
				  .burst = from_env("BURST"),
				  .ping_s = from_env("PING_S"),
				  .opened = on_opened,
				  .message = on_message,
				  .closed = on_closed };
	int fds[ADDRESSES_MAX], n, got = 0;
	struct httpd *server;
	sigset_t quit;

	if (argc < 2) {
		fprintf(stderr, "usage: ws_echo ADDRESS...\n");
		return 2;
	}
	log_open("ws_echo", LOG_LEVEL_INFO);
	sigemptyset(&quit);
	sigaddset(&quit, SIGTERM);
	sigaddset(&quit, SIGUSR1);
	sigprocmask(SIG_BLOCK, &quit, NULL);
	take_tls(&http);
	n = bind_all(fds, argv + 1);
	if (metrics_new(&metrics) || ws_start(&ws, &opt))
		return 1;
	http.metrics = metrics;
	if (httpd_start(&server, &http, fds, (size_t)n, routes, NULL) || httpd_listen(server))
		return 1;
	puts("ready");
	fflush(stdout);
	sigwait(&quit, &got);
	if (got == SIGUSR1)
		httpd_stop(server, 500);
	ws_stop(ws);
	if (got != SIGUSR1)
		httpd_stop(server, 500);
	ws_free(ws);
	metrics_free(metrics);
	free((char *)http.tls_cert);
	free((char *)http.tls_key);
	expect(opened == closed, "what was opened was not closed");
	printf("%u opened %u closed %u refused\n", opened, closed, refused);
	return errors != 0;
}
