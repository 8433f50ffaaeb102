/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scrub.c -- `weir scrub` and `weir fsck`: what an endpoint of this node has stored is looked at,
 * while it runs or while it does not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cmd.h"

static long long number(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static json_t *ask(const struct conf *conf, bool start, bool orphans)
{
	char why[256];
	json_t *answer = cmd_ask_with(conf, "endpoint",
				      json_pack("{s:s, s:b, s:b}", "do", "scrub", "start", (int)start, "orphans", (int)orphans),
				      why, sizeof(why));

	if (!answer)
		fprintf(stderr, "weir scrub: the endpoint of this node: %s\n", why);
	return answer;
}

static void show(const json_t *now, bool line)
{
	long long total = number(now, "round_total"), done = number(now, "round_done");

	printf("%s%s: %lld of %lld versions (%lld %%), %lld MB; damaged %lld, repaired %lld, fetched %lld, "
	       "without a name %lld (%lld MB)%s",
	       line ? "\r\033[K" : "",
	       json_is_true(json_object_get(now, "running")) ? "scrubbing" : "idle", done, total,
	       total ? 100 * done / total : 100, number(now, "round_bytes") / 1000000,
	       number(now, "damaged"), number(now, "repaired"), number(now, "missing"),
	       number(now, "orphans"), number(now, "orphan_bytes") / 1000000, line ? "" : "\n");
	fflush(stdout);
}

/* What became of data without a name, in the last round, and why. */
static void show_orphans(const json_t *now)
{
	const char *why;
	const json_t *n;

	if (number(now, "orphans_removed"))
		printf("without a name, removed since the start: %lld\n", number(now, "orphans_removed"));
	json_object_foreach ((json_t *)json_object_get(now, "orphans_kept"), why, n)
		printf("without a name, kept: %lld %s\n", (long long)json_integer_value(n), why);
}

/* Until the round that was asked for has ended; the last answer, or NULL. */
static json_t *watch(const struct conf *conf, json_t *now, bool quiet)
{
	long long before = number(now, "rounds");
	bool terminal = !quiet && isatty(1);

	while (now && number(now, "rounds") == before) {
		if (terminal)
			show(now, true);
		sleep(1);
		json_decref(now);
		now = ask(conf, false, false);
	}
	if (terminal)
		putchar('\n');
	return now;
}

int cmd_scrub(const struct cmd *cmd, int argc, char **argv)
{
	bool status = false, wait = false, orphans = false;
	const struct cmd_flag own[] = { { "--status", NULL, &status },
					{ "--wait", NULL, &wait },
					{ "--orphans", NULL, &orphans },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own);
	struct conf *conf;
	json_t *now;

	if (n < 0)
		return cmd_exit_of(n);
	if (n || (status && (wait || orphans)))
		return cmd_usage(cmd, n ? "it takes no names" : "--status only looks");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	now = ask(conf, !status, orphans);
	if (now && !status && (wait || isatty(1)))
		now = watch(conf, now, opt.json);
	if (now && opt.json) {
		json_dumpf(now, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (now) {
		show(now, false);
		show_orphans(now);
	}
	n = now ? CMD_OK : CMD_FAILED;
	json_decref(now);
	conf_free(conf);
	return n;
}

/* The endpoint's program knows its own files. */
int cmd_fsck(const struct cmd *cmd, int argc, char **argv)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof("weir-endpoint"));
	char **args = calloc((size_t)argc + 5, sizeof(*args)), *slash, *conf = getenv("WEIR_CONFIG");
	int head = 2;

	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			free(args);
			return cmd_help(cmd), CMD_OK;
		}
	if (!args || n < 0)
		return CMD_FAILED;
	path[n] = '\0';
	slash = strrchr(path, '/');
	strcpy(slash ? slash + 1 : path, "weir-endpoint");
	args[0] = path;
	args[1] = (char *)"fsck";
	if (conf && *conf) { /* a -c of the command line comes later, and counts */
		args[head++] = (char *)"-c";
		args[head++] = conf;
	}
	for (int i = 0; i < argc; i++)
		args[head + i] = argv[i];
	execv(path, args);
	execvp("weir-endpoint", args);
	fprintf(stderr, "weir fsck: %s: %s\n", path, strerror(errno));
	free(args);
	return CMD_FAILED;
}
