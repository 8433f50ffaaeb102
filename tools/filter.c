/* SPDX-License-Identifier: Apache-2.0 */
/* filter.c -- `weir filter`: whose packets this node drops, and how many it takes of whom. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/cmd.h"

#define WAIT_SECONDS 60 /* four million lines take less */

static json_t *ask(const struct conf *conf, json_t *request)
{
	const char *who = getenv("SUDO_USER") ? getenv("SUDO_USER") : getenv("USER");
	char why[4400];
	json_t *answer;

	json_object_set_new(request, "do", json_string("filter"));
	json_object_set_new(request, "by", json_string(who ? who : "?"));
	answer = cmd_ask_with(conf, "agent", request, why, sizeof(why));
	if (!answer)
		cmd_fail("weir-agent: %s", why);
	return answer;
}

/* ---- list ---------------------------------------------------------------------------------------- */

static void print_lists(const json_t *answer)
{
	const json_t *lists = json_object_get(answer, "lists"), *hand = json_object_get(answer, "hand"), *one;
	struct table *t;
	size_t i;

	if (json_array_size(lists)) {
		t = table_new("LIST|VERDICT|NETWORKS>|FAULTS>");
		json_array_foreach (lists, i, one)
			table_row(t, js_text(one, "name", "?"), js_text(one, "verdict", "?"),
				  js_show(one, "entries", 0), js_show(one, "faults", 0), NULL);
		table_print(t);
		putchar('\n');
	}
	if (!json_array_size(hand))
		return;
	t = table_new("BY HAND|VERDICT|FOR");
	json_array_foreach (hand, i, one) {
		const json_t *left = json_object_get(one, "seconds_left");
		char text[16] = "ever";

		if (json_is_integer(left))
			cmd_duration((uint64_t)json_integer_value(left), text);
		table_row(t, js_text(one, "network", "?"), js_text(one, "verdict", "?"), text, NULL);
	}
	table_print(t);
	putchar('\n');
}

static void print_limits(const json_t *answer)
{
	static const char *const classes[] = { "syn", "udp", "dns" };
	const json_t *limits = json_object_get(answer, "limits"), *dropped = json_object_get(answer, "dropped");
	struct table *t = table_new("CLASS|A SECOND>|AT ONCE>|DROPPED>|OF STRANGERS>");

	table_row(t, "blocked", "", "", js_show(dropped, "blocked", 0), "", NULL);
	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++) {
		const json_t *limit = json_object_get(limits, classes[i]);

		table_row(t, classes[i], json_is_object(limit) ? js_show(limit, "rate", 0) : "no limit",
			  json_is_object(limit) ? js_show(limit, "burst", 0) : "", js_show(dropped, classes[i], 0),
			  js_show(json_object_get(answer, "without_bucket"), classes[i], 0), NULL);
	}
	table_print(t);
	printf("\n%s networks of IPv4 and %s of IPv6 in force; a /%s or /%s of a source is limited as one, %s have a "
	       "bucket\n", js_show(answer, "entries4", 0), js_show(answer, "entries6", 0), js_show(limits, "prefix4", 0),
	       js_show(limits, "prefix6", 0), js_show(answer, "networks", 0));
}

static int print_faults(const json_t *answer)
{
	const json_t *faults = json_object_get(answer, "fault_lines"), *line;
	double all = js_num(answer, "faults");
	size_t i;

	json_array_foreach (faults, i, line)
		fprintf(stderr, "%s\n", json_string_value(line));
	if (all > (double)json_array_size(faults))
		fprintf(stderr, "and %.0f more\n", all - (double)json_array_size(faults));
	if (json_is_true(json_object_get(answer, "refused")))
		fputs("the lists were not taken, the old ones are in force\n", stderr);
	return all > 0 ? CMD_FAILED : CMD_OK;
}

static int do_list(const struct conf *conf, bool json)
{
	json_t *answer = ask(conf, json_pack("{ss}", "op", "list"));

	if (!answer)
		return CMD_FAILED;
	if (json)
		return cmd_print_json(answer);
	print_lists(answer);
	print_limits(answer);
	print_faults(answer);
	if (*js_text(answer, "error", ""))
		fprintf(stderr, "weir-agent: %s\n", js_text(answer, "error", ""));
	json_decref(answer);
	return CMD_OK;
}

/* ---- add, remove, reload ---------------------------------------------------------------------------- */

/* Asks for a change and waits until it is in force. *seen: what there is then; the caller drops it. */
static int change(const struct conf *conf, json_t *request, json_t **seen)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	json_t *answer = ask(conf, request);
	double generation = js_num(answer, "generation");

	*seen = NULL;
	if (!answer)
		return CMD_FAILED;
	json_decref(answer);
	for (int i = 0; i < WAIT_SECONDS * 50; i++) {
		json_decref(*seen);
		*seen = ask(conf, json_pack("{ss}", "op", "list"));
		if (!*seen)
			return CMD_FAILED;
		if (js_num(*seen, "generation") >= generation)
			return CMD_OK;
		nanosleep(&pause, NULL);
	}
	return cmd_fail("weir-agent still reads lists; `weir filter list` shows when they are in force");
}

static int do_change(const struct conf *conf, json_t *request, bool json, const char *said)
{
	json_t *seen;
	int rc = change(conf, request, &seen);

	if (rc == CMD_OK && json) {
		rc = (js_num(seen, "faults") > 0 && !said) || *js_text(seen, "error", "") ? CMD_FAILED : CMD_OK;
		cmd_print_json(json_incref(seen));
	} else if (rc == CMD_OK && *js_text(seen, "error", "")) {
		if (!said)
			print_faults(seen);
		rc = cmd_fail("weir-agent: %s", js_text(seen, "error", ""));
	} else if (rc == CMD_OK && said) {
		puts(said);
	} else if (rc == CMD_OK) {
		rc = print_faults(seen);
		if (rc == CMD_OK)
			printf("%.0f networks in force\n", js_num(seen, "entries4") + js_num(seen, "entries6"));
	}
	json_decref(seen);
	return rc;
}

static int do_add(const struct cmd *cmd, const struct conf *conf, char **argv, const char *time, bool json)
{
	uint64_t seconds = time ? cmd_parse_duration(time) : 0;
	char said[128];

	if (strcmp(argv[1], "block") && strcmp(argv[1], "allow"))
		return cmd_usage(cmd, "\"%s\" is not a verdict; write block or allow", argv[1]);
	if (time && !seconds)
		return cmd_usage(cmd, "\"%s\" is not a time such as 1h", time);
	snprintf(said, sizeof(said), "%.64s: %s%s%.20s", argv[2], *argv[1] == 'b' ? "blocked" : "allowed",
		 time ? " for " : "", time ? time : "");
	return do_change(conf,
			 json_pack("{ss ss ss sI}", "op", "add", "verdict", argv[1], "network", argv[2], "seconds",
				   (json_int_t)seconds),
			 json, said);
}

/* ---- top, test ----------------------------------------------------------------------------------------- */

static int do_top(const struct cmd *cmd, const struct conf *conf, const char *max, bool json)
{
	long n = max ? strtol(max, NULL, 10) : 20;
	json_t *answer, *one;
	struct table *t;
	size_t i;

	if (n < 1 || n > 500)
		return cmd_usage(cmd, "--max is from 1 to 500");
	answer = ask(conf, json_pack("{ss sI}", "op", "top", "max", (json_int_t)n));
	if (!answer)
		return CMD_FAILED;
	if (json)
		return cmd_print_json(answer);
	t = table_new("NETWORK|SYN>|UDP>|DNS>");
	json_array_foreach (json_object_get(answer, "networks"), i, one)
		table_row(t, js_text(one, "network", "?"), js_show(one, "syn", 0), js_show(one, "udp", 0),
			  js_show(one, "dns", 0), NULL);
	table_print(t);
	json_decref(answer);
	return CMD_OK;
}

static int do_test(const struct conf *conf, const char *address, bool json)
{
	json_t *answer = ask(conf, json_pack("{ss ss}", "op", "test", "address", address));
	const char *verdict, *path;

	if (!answer)
		return CMD_FAILED;
	if (json)
		return cmd_print_json(answer);
	verdict = js_text(answer, "verdict", "none");
	path = js_text(answer, "packet_path", "unknown");
	if (!strcmp(verdict, "none"))
		printf("%s: on no list\n", address);
	else
		printf("%s: %s by %s (%s)\n", address, *verdict == 'b' ? "blocked" : "allowed",
		       js_text(answer, "network", "?"), js_text(answer, "from", "?"));
	if (strcmp(verdict, path))
		printf("the packet path still says %s: lists are on their way\n", path);
	json_decref(answer);
	return CMD_OK;
}

static int run(const struct cmd *cmd, const struct conf *conf, int n, char **argv, const char *time, const char *max,
	       bool json)
{
	const char *what = n ? argv[0] : "list";

	if (time && strcmp(what, "add"))
		return cmd_usage(cmd, "--for goes with add");
	if (max && strcmp(what, "top"))
		return cmd_usage(cmd, "--max goes with top");
	if (!strcmp(what, "list") && n <= 1)
		return do_list(conf, json);
	if (!strcmp(what, "add") && n == 3)
		return do_add(cmd, conf, argv, time, json);
	if (!strcmp(what, "remove") && n == 2)
		return do_change(conf, json_pack("{ss ss}", "op", "remove", "network", argv[1]), json, "removed");
	if (!strcmp(what, "reload") && n == 1)
		return do_change(conf, json_pack("{ss}", "op", "reload"), json, NULL);
	if (!strcmp(what, "top") && n == 1)
		return do_top(cmd, conf, max, json);
	if (!strcmp(what, "test") && n == 2)
		return do_test(conf, argv[1], json);
	return cmd_usage(cmd, "write list, add block|allow NETWORK, remove NETWORK, reload, top, or test ADDRESS");
}

int cmd_filter(const struct cmd *cmd, int argc, char **argv)
{
	const char *time = NULL, *max = NULL;
	const struct cmd_flag own[] = { { "--for", &time, NULL }, { "--max", &max, NULL }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_FAILED;
	rc = run(cmd, conf, n, argv, time, max, opt.json);
	conf_free(conf);
	return rc;
}
