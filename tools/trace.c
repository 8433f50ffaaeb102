// SPDX-License-Identifier: Apache-2.0
/*
 * trace.c -- `weir trace`: packets as the packet path sees them, live or into a capture. Talks to
 * RUN/agent-trace.sock (user/agent/trace.c says in what words).
 */
#include "tools/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/daemon.h"
#include "tools/cmd.h"
#include "tools/pcapng.h"

#define REASONS_MAX 64
#define MESSAGE_MAX 4096
enum { TRACE_PACKET = 'p', TRACE_END = 'e' };

struct wishes {
	const char *address, *port, *proto, *service, *backend, *one_of, *count, *seconds, *snap;
	const char *reason[REASONS_MAX];
	size_t nreasons;
	bool inner;
};

struct watcher {
	FILE *in, *out; /* out: the capture, or NULL */
	const char *path;
	struct pcapng capture;
	bool json;
	json_t *end; /* the agent's last word */
	uint64_t packets;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signum)
{
	(void)signum;
	stopped = 1;
}

/* A read that waits shall end, so without SA_RESTART. */
static void catch_signals(void)
{
	const struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

/* ---- the request ---------------------------------------------------------------------------------- */

static bool set_number(json_t *o, const char *key, const char *text)
{
	char *end;
	long long value;

	if (!text)
		return true;
	errno = 0;
	value = strtoll(text, &end, 10);
	if (errno || end == text || *end || value < 1)
		return false;
	json_object_set_new(o, key, json_integer(value));
	return true;
}

static void set_text(json_t *o, const char *key, const char *text)
{
	if (text)
		json_object_set_new(o, key, json_string(text));
}

/* "A,B" is two. */
static json_t *reason_list(const struct wishes *w)
{
	json_t *list = json_array();

	for (size_t i = 0; i < w->nreasons; i++) {
		const char *at = w->reason[i];

		while (*at) {
			size_t len = strcspn(at, ",");

			if (len)
				json_array_append_new(list, json_stringn(at, len));
			at += len + (at[len] == ',');
		}
	}
	return list;
}

/* A new reference, or NULL after naming the option that is no number. */
static json_t *request_of(const struct cmd *cmd, const struct wishes *w)
{
	const struct {
		const char *key, *option, *text;
	} numbers[] = { { "port", "--port", w->port },
			{ "one_of", "--one-of", w->one_of },
			{ "count", "--count", w->count },
			{ "seconds", "--seconds", w->seconds },
			{ "snap", "--snap", w->snap } };
	json_t *o = json_pack("{ss so sb}", "do", "trace", "reason", reason_list(w), "inner", w->inner);

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		if (set_number(o, numbers[i].key, numbers[i].text))
			continue;
		cmd_usage(cmd, "%s wants a whole number above 0", numbers[i].option);
		json_decref(o);
		return NULL;
	}
	set_text(o, "address", w->address);
	set_text(o, "proto", w->proto);
	set_text(o, "service", w->service);
	set_text(o, "backend", w->backend);
	return o;
}

/* ---- the connection -------------------------------------------------------------------------------- */

static const char *why_not(int err)
{
	switch (err) {
	case ENOENT:
	case ECONNREFUSED:
		return "the agent does not run; start it (weir up, or systemctl start weir-agent)";
	case EACCES:
	case EPERM:
	case EPIPE:
	case ECONNRESET:
		return "only root and the agent's user may see packets";
	}
	return strerror(err);
}

/* A socket, or -1 after a message. */
static int reach(const struct conf *conf)
{
	struct addr_port at = { 0 };
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	if (!conf->agent.enabled) {
		cmd_fail("%s has no section agent: this node has no packet path", conf->path);
		return -1;
	}
	conf_ctl_path(conf, "agent-trace", at.path, sizeof(at.path));
	len = addr_port_sockaddr(&at, &ss);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&ss, len))
		return fd;
	cmd_fail("%s: %s", at.path, why_not(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Sends the request, reads the answer's line. 0, or an exit code after a message. */
static int ask(struct watcher *w, int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT), line[MESSAGE_MAX];
	json_t *answer;
	int rc = CMD_OK;

	if (!text || send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 || send(fd, "\n", 1, MSG_NOSIGNAL) < 0 ||
	    !fgets(line, sizeof(line), w->in)) {
		free(text);
		return cmd_fail("the agent closed the connection: %s", why_not(EPIPE));
	}
	free(text);
	answer = json_loads(line, 0, NULL);
	if (!json_is_true(json_object_get(answer, "ok")))
		rc = cmd_fail("%s", js_text(answer, "error", "the agent's answer is not understood"));
	else
		fprintf(stderr, "tracing %s: at most %s packets, %s s; ^C ends\n", js_text(answer, "trace", "?"),
			js_show(answer, "count", 0), js_show(answer, "seconds", 0));
	json_decref(answer);
	return rc;
}

/* ---- packets --------------------------------------------------------------------------------------- */

static int show_packet(struct watcher *w, const struct trace_packet *p)
{
	char text[768];
	json_t *o;

	w->packets++;
	if (w->out) {
		const struct pcapng_packet packet = {
			.interface = p->interface,
			.time_ns = p->head.time,
			.data = p->data,
			.captured = p->head.captured,
			.length = p->head.length,
			.comment = trace_packet_comment(p, text, sizeof(text)),
		};

		return pcapng_add(&w->capture, &packet);
	}
	if (w->json) {
		o = trace_packet_json(p);
		json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		json_decref(o);
	} else {
		puts(trace_packet_line(p, text, sizeof(text)));
	}
	return fflush(stdout) ? -errno : 0;
}

/* Reads messages until the last one, the connection's end or a signal. 0 or -errno. */
static int watch(struct watcher *w)
{
	static uint8_t body[MESSAGE_MAX];
	struct trace_packet p;
	uint32_t len;
	int rc = 0;

	while (!rc && !stopped && fread(&len, sizeof(len), 1, w->in) == 1) {
		if (len < 1 || len > sizeof(body) || fread(body, len, 1, w->in) != 1)
			return stopped ? 0 : -EPROTO;
		if (body[0] == TRACE_END) {
			w->end = json_loadb((const char *)body + 1, len - 1, 0, NULL);
			return w->end ? 0 : -EPROTO;
		}
		if (body[0] != TRACE_PACKET)
			continue;
		rc = trace_packet_read(&p, body + 1, len - 1);
		if (!rc)
			rc = show_packet(w, &p);
	}
	return rc;
}

static int finish(struct watcher *w)
{
	double lost = w->end ? js_num(w->end, "lost") : 0, slow = w->end ? js_num(w->end, "slow") : 0;
	struct timespec now;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	if (w->out && w->end)
		rc = pcapng_lost(&w->capture, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
				 (uint64_t)(lost + slow));
	if (w->out && fclose(w->out) && !rc)
		rc = -errno;
	if (rc)
		return cmd_fail("%s: %s", w->path, strerror(-rc));
	if (!w->end && !stopped)
		return cmd_fail("the agent ended the connection after %llu packets",
				(unsigned long long)w->packets);
	if (w->json && w->end) {
		json_dumpf(w->end, stdout, JSON_COMPACT);
		putchar('\n');
	}
	fprintf(stderr, "%llu packets%s%s", (unsigned long long)w->packets, w->out ? " in " : "",
		w->out ? w->path : "");
	if (lost + slow > 0)
		fprintf(stderr, "; %.0f that passed the filter were lost: --one-of takes fewer", lost + slow);
	fputc('\n', stderr);
	return CMD_OK;
}

static int run(const struct conf *conf, struct watcher *w, const json_t *request)
{
	int fd = reach(conf), rc;

	if (fd < 0)
		return CMD_FAILED;
	w->in = fdopen(fd, "r");
	catch_signals();
	rc = ask(w, fd, request);
	if (!rc && w->path) {
		w->out = fopen(w->path, "wbe");
		rc = w->out ? CMD_OK : cmd_fail("%s: %s", w->path, strerror(errno));
	}
	if (!rc && w->out)
		rc = pcapng_begin(&w->capture, w->out, "weir trace " WEIR_VERSION, WEIR_SAMPLE_SNAP) ? CMD_FAILED
												      : CMD_OK;
	if (!rc) {
		rc = watch(w);
		if (rc)
			rc = cmd_fail("%s", w->out && rc != -EPROTO ? strerror(-rc)
								     : "the agent's words are not understood");
		rc = rc ? rc : finish(w);
	}
	fclose(w->in);
	json_decref(w->end);
	return rc;
}

int cmd_trace(const struct cmd *cmd, int argc, char **argv)
{
	struct wishes w = { 0 };
	struct watcher watcher = { 0 };
	const struct cmd_flag own[] = { { "--address", &w.address, NULL },   { "--port", &w.port, NULL },
					{ "--proto", &w.proto, NULL },	     { "--service", &w.service, NULL },
					{ "--backend", &w.backend, NULL },   { "--one-of", &w.one_of, NULL },
					{ "--count", &w.count, NULL },	     { "--seconds", &w.seconds, NULL },
					{ "--snap", &w.snap, NULL },	     { "--inner", NULL, &w.inner },
					{ "--write", &watcher.path, NULL }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	struct conf *conf;
	json_t *request;
	int n;

	w.nreasons = cmd_take_all(&argc, argv, "--reason", w.reason, REASONS_MAX);
	n = cmd_parse(cmd, argc, argv, &opt, own);
	if (n < 0)
		return cmd_exit_of(n);
	if (n)
		return cmd_usage(cmd, "%s is not understood; every wish is an option", argv[0]);
	request = request_of(cmd, &w);
	if (!request)
		return CMD_USAGE;
	conf = cmd_conf(&opt);
	if (!conf) {
		json_decref(request);
		return CMD_USAGE;
	}
	watcher.json = opt.json;
	n = run(conf, &watcher, request);
	json_decref(request);
	conf_free(conf);
	return n;
}
