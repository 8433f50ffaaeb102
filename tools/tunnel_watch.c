/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_watch.c -- `weir tunnel top` and `logs`: what goes through this node's edge, as its
 * control socket tells.
 */
#include "tools/tunnel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- top ----------------------------------------------------------------------------------------
 */

/* The edge's answer, or NULL after a message. */
static json_t *ask_edge(const struct conf *conf, json_t *request)
{
	char why[256];
	json_t *answer = cmd_ask_with(conf, "edge", request, why, sizeof(why));

	if (!answer)
		cmd_fail("the edge of %s: %s%s", conf->path, why,
			 conf->edge.enabled ? ""
					    : " (it has no section edge; ask a node that has)");
	return answer;
}

static const json_t *same_name(const json_t *list, const char *name)
{
	const json_t *o;
	size_t i;

	json_array_foreach (list, i, o)
		if (!strcmp(js_text(o, "name", ""), name))
			return o;
	return NULL;
}

/* What a counter grew by in a second, between two answers; "-" when there was none before. */
static const char *rate(const json_t *now, const json_t *before, const char *key, double seconds,
			bool bytes, char buf[32])
{
	double by = js_num(now, key) - js_num(before, key);
	char text[16];

	if (!before || isnan(by) || by < 0 || seconds <= 0)
		return "-";
	if (bytes)
		snprintf(buf, 32, "%s/s", cmd_bytes((uint64_t)(by / seconds), text));
	else
		snprintf(buf, 32, "%.1f", by / seconds);
	return buf;
}

static void print_top(const json_t *now, const json_t *before, double seconds)
{
	const json_t *list = json_object_get(now, "tunnels"),
		     *old = json_object_get(before, "tunnels"), *o;
	struct table *t =
		table_new("TUNNEL|ORIGINS>|OPEN>|REQUESTS/S>|IN>|OUT>|ERRORS/S>|REQUESTS>");
	char requests[32], in[32], out[32], errors[32], origins[16];
	size_t i;

	json_array_foreach (list, i, o) {
		const json_t *was = same_name(old, js_text(o, "name", ""));

		snprintf(origins, sizeof(origins), "%zu",
			 json_array_size(json_object_get(o, "origins")));
		table_row(t, js_text(o, "name", "?"), origins, js_show(o, "open", 0),
			  rate(o, was, "requests", seconds, false, requests),
			  rate(o, was, "bytes_up", seconds, true, in),
			  rate(o, was, "bytes_down", seconds, true, out),
			  rate(o, was, "errors", seconds, false, errors), js_show(o, "requests", 0),
			  NULL);
	}
	table_print(t);
}

int tunnel_top(const struct cmd *cmd, int argc, char **argv)
{
	const char *interval = "1s", *rounds = NULL;
	const struct cmd_flag own[] = { { "--interval", &interval, NULL },
					{ "--rounds", &rounds, NULL },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	bool tty = isatty(STDOUT_FILENO);
	int n = cmd_parse(cmd, argc, argv, &opt, own);
	json_t *before = NULL, *now;
	uint64_t seconds;
	struct conf *conf;
	long left;

	if (n < 0)
		return cmd_exit_of(n);
	seconds = cmd_parse_duration(interval);
	left = rounds ? atol(rounds) : tty ? -1 : 2;
	if (n || !seconds || !left)
		return cmd_usage(cmd,
				 "--interval wants a time such as 2s, --rounds a number above 0");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	for (bool more = true; more;) {
		now = ask_edge(conf, json_pack("{s:s}", "do", "status"));
		if (!now)
			break;
		if (tty && !opt.json)
			fputs("\033[H\033[2J", stdout);
		if (opt.json)
			cmd_print_json(json_incref(json_object_get(now, "tunnels")));
		else
			print_top(now, before, (double)seconds);
		if (tty && !opt.json)
			printf("\nevery %s; q and Enter ends\n", interval);
		fflush(stdout);
		json_decref(before);
		before = now;
		more = (left < 0 || --left > 0) && cmd_rest((unsigned int)seconds);
	}
	n = now ? CMD_OK : CMD_FAILED;
	json_decref(before);
	conf_free(conf);
	return n;
}

/* ---- logs ---------------------------------------------------------------------------------------
 */

static void print_request(const json_t *l, bool as_json)
{
	const char *cause = js_text(l, "cause", "");

	if (as_json) {
		json_dumpf(l, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
		putchar('\n');
		return;
	}
	printf("%s %s %s %s%s %s %s ms %s%s%s\n", js_text(l, "time", "-"),
	       js_text(l, "client", "-"), js_text(l, "method", "-"), js_text(l, "host", ""),
	       js_text(l, "path", ""), js_show(l, "status", 0), js_show(l, "ms", 1),
	       js_text(l, "id", ""), *cause ? " " : "", cause);
}

/* Prints what came after `after`; the number of the last one, or -1 after a message. */
static json_int_t print_requests(const struct conf *conf, const char *tunnel, json_int_t after,
				 json_int_t max, bool as_json)
{
	json_t *request = json_pack("{s:s, s:I, s:I}", "do", "logs", "after", after, "max", max);
	json_t *answer, *l;
	size_t i;

	if (tunnel)
		json_object_set_new(request, "tunnel", json_string(tunnel));
	answer = ask_edge(conf, request);
	if (!answer)
		return -1;
	json_array_foreach (json_object_get(answer, "lines"), i, l)
		print_request(l, as_json);
	if (json_is_integer(json_object_get(answer, "last")))
		after = json_integer_value(json_object_get(answer, "last"));
	fflush(stdout);
	json_decref(answer);
	return after;
}

int tunnel_logs(const struct cmd *cmd, int argc, char **argv)
{
	const char *lines = "20";
	bool follow = false;
	const struct cmd_flag own[] = { { "--follow", NULL, &follow },
					{ "-f", NULL, &follow },
					{ "--lines", &lines, NULL },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own);
	json_int_t after = 0, max;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	max = atol(lines);
	if (n > 1 || max < 1 || max > 1000)
		return cmd_usage(cmd, "wants at most one name, and --lines from 1 to 1000");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	do {
		after = print_requests(conf, n ? argv[0] : NULL, after, max, opt.json);
		max = 1000;
	} while (after >= 0 && follow && cmd_rest(1));
	conf_free(conf);
	return after < 0 ? CMD_FAILED : CMD_OK;
}
