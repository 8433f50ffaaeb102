/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c -- `weir peers`: what gateways know of viewers who carry each other, the operator's switch, the simulator.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/web.h"

#define ID_SHOWN 8 /* digits of a viewer, for people */

/* ---- what is asked for ----------------------------------------------------------------------- */

struct asked {
	struct web_flags flags;
	struct cmd_options opt;
	const char *interval, *rounds;
	bool watch;
};

/* An array, by itself or under that name. */
static const json_t *list_of(const json_t *answer, const char *name)
{
	return json_is_array(answer) ? answer : json_object_get(answer, name);
}

static int fetch(const struct asked *a, const char *doing, const char *path, json_t **out)
{
	struct web *w;
	int rc = web_open(&w, &a->opt, &a->flags, false);

	if (rc)
		return rc;
	rc = web_json(w, &(struct web_call){ .doing = doing, .path = path }, out);
	web_close(w);
	return rc;
}

/* Once, or again and again with --watch. */
static int show(const struct asked *a, const char *doing, const char *path, void (*print)(const json_t *))
{
	bool tty = isatty(STDOUT_FILENO) && !a->opt.json, more = true;
	long left = a->rounds ? atol(a->rounds) : a->watch ? -1 : 1;
	int rc = CMD_OK;

	while (more && !rc) {
		json_t *answer = NULL;

		rc = fetch(a, doing, path, &answer);
		if (!rc && tty && a->watch)
			fputs("\033[H\033[2J", stdout);
		if (!rc && a->opt.json)
			cmd_print_json(json_incref(answer));
		else if (!rc)
			print(answer);
		if (!rc && tty && a->watch)
			printf("\nevery %s; q and Enter ends\n", a->interval);
		fflush(stdout);
		json_decref(answer);
		more = (left < 0 || --left > 0) && !rc && cmd_rest((unsigned int)cmd_parse_duration(a->interval));
	}
	return rc;
}

#define ASKED_FLAGS(a)                                                                                             \
	WEB_FLAGS((a).flags), { "--watch", NULL, &(a).watch }, { "--interval", &(a).interval, NULL },              \
	{                                                                                                          \
		"--rounds", &(a).rounds, NULL                                                                      \
	}

/* 0, or an exit code after a message. */
static int check_asked(const struct cmd *cmd, struct asked *a)
{
	a->watch = a->watch || a->rounds;
	if (!cmd_parse_duration(a->interval) || (a->rounds && atol(a->rounds) < 1))
		return cmd_usage(cmd, "--interval wants a time such as 2s, --rounds a number above 0");
	return 0;
}

/* ---- cells ----------------------------------------------------------------------------------- */

/* Viewers choose names of assets, gateways say why. */
static const char *word(const json_t *o, const char *key, const char *none)
{
	return web_safe(js_text(o, key, none));
}

static const char *cell(const char *text)
{
	static char ring[16][64];
	static unsigned int next;
	char *buf = ring[next++ % 16];

	snprintf(buf, 64, "%.63s", text);
	return buf;
}

static const char *bytes_cell(const json_t *o, const char *key, const char *after)
{
	double value = js_num(o, key);
	char text[16], all[32];

	if (isnan(value))
		return "-";
	snprintf(all, sizeof(all), "%s%s", cmd_bytes((uint64_t)fmax(0, value), text), after);
	return cell(all);
}

static const char *share_cell(double share)
{
	char text[32];

	if (isnan(share))
		return "-";
	snprintf(text, sizeof(text), "%.0f%%", share * 100);
	return cell(text);
}

static const char *short_id(const json_t *o, const char *key)
{
	char text[ID_SHOWN + 1];

	snprintf(text, sizeof(text), "%.*s", ID_SHOWN, js_text(o, key, "?"));
	return cell(text);
}

static const char *joined(const json_t *list, size_t each)
{
	char text[64] = "";
	size_t len = 0, i;
	const json_t *one;

	json_array_foreach (list, i, one)
		if (len < sizeof(text) - 1)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.*s", i ? " " : "", (int)each,
						json_is_string(one) ? json_string_value(one) : "?");
	return *text ? cell(text) : "-";
}

static const char *holds(const json_t *list)
{
	json_int_t n = 0;
	char text[32];
	const json_t *range;
	size_t i;

	json_array_foreach (list, i, range)
		n += json_integer_value(json_array_get(range, 1)) - json_integer_value(json_array_get(range, 0)) + 1;
	snprintf(text, sizeof(text), "%lld", (long long)n);
	return cell(text);
}

/* ---- list ------------------------------------------------------------------------------------ */

static void print_assets(const json_t *answer)
{
	const json_t *list = list_of(answer, "assets"), *o;
	struct table *t = table_new("ASSET|STATE|SWITCH|VIEWERS>|FIRST>|SECOND>|ALONE>|GROUPINGS>|SERVER>|BY PEERS>|STALLS>|WHY");
	size_t i;

	json_array_foreach (list, i, o) {
		double server = js_num(o, "egress"), peers = js_num(o, "p2p");

		table_row(t, word(o, "asset", "?"), word(o, "state", "?"), word(o, "mode", "-"), js_show(o, "viewers", 0),
			  js_show(o, "first", 0), js_show(o, "second", 0), js_show(o, "alone", 0), js_show(o, "groupings", 0),
			  bytes_cell(o, "egress", "/s"), share_cell(server + peers > 0 ? peers / (server + peers) : NAN),
			  js_show(o, "stalls", 0), word(o, "why", ""), NULL);
	}
	table_print(t);
	json_array_foreach (json_object_get(answer, "silent"), i, o)
		printf("what %s knows is not among these: %s\n", word(o, "node", "?"), word(o, "why", "it does not answer"));
	if (!json_array_size(list))
		puts("nobody watches now (weir media ls shows what there is)");
}

static int run_list(const struct cmd *cmd, int argc, char **argv)
{
	struct asked a = { .interval = "1s" };
	const struct cmd_flag own[] = { ASKED_FLAGS(a), { NULL, NULL, NULL } };
	int n = cmd_parse(cmd, argc, argv, &a.opt, own), rc;

	if (n < 0)
		return cmd_exit_of(n);
	if (n)
		return cmd_usage(cmd, "wants no name; weir peers groups %s shows one asset", argv[0]);
	rc = check_asked(cmd, &a);
	return rc ? rc : show(&a, "list what is watched", "/_/peers", print_assets);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void print_groups(const json_t *answer)
{
	const json_t *list = list_of(answer, "groups"), *g, *v;
	size_t i, k;

	json_array_foreach (list, i, g) {
		struct table *t = table_new(
			"VIEWER|ROLE|GATEWAY|AT>|BUFFER>|UP>|FROM SERVER>|FROM PEERS>|HELPERS|TO HOLD>|HAS>|FLAGS");

		if (json_is_integer(json_object_get(g, "grouping")))
			printf("%s%s, grouping %s, rendition %s\n", i ? "\n" : "", word(g, "asset", "?"),
			       js_show(g, "grouping", 0), js_show(g, "rendition", 0));
		else
			printf("%s%s, in no grouping\n", i ? "\n" : "", word(g, "asset", "?"));
		json_array_foreach (json_object_get(g, "viewers"), k, v) {
			char buffer[32] = "-";

			if (!isnan(js_num(v, "buffer_ms")))
				snprintf(buffer, sizeof(buffer), "%.1f s", js_num(v, "buffer_ms") / 1e3);
			table_row(t, short_id(v, "viewer"), word(v, "role", "?"), word(v, "home", "-"),
				  js_show(v, "position", 0), buffer, bytes_cell(v, "up", ""), bytes_cell(v, "down_server", ""),
				  bytes_cell(v, "down_peers", ""), joined(json_object_get(v, "helpers"), ID_SHOWN),
				  holds(json_object_get(v, "hold")), js_show(v, "have", 0), joined(json_object_get(v, "flags"), 16), NULL);
		}
		table_print(t);
	}
	if (!json_array_size(list))
		puts("nobody watches it now");
}

/* "film" is "media/film", as weir media has it. */
static const char *asset_of(const char *name, char buf[256])
{
	snprintf(buf, 256, "%s%s", strchr(name, '/') ? "" : "media/", name);
	return buf;
}

static int run_groups(const struct cmd *cmd, int argc, char **argv)
{
	struct asked a = { .interval = "1s" };
	const struct cmd_flag own[] = { ASKED_FLAGS(a), { NULL, NULL, NULL } };
	int n = cmd_parse(cmd, argc, argv, &a.opt, own), rc;
	char path[1024], name[256];

	if (n < 0)
		return cmd_exit_of(n);
	if (n > 1)
		return cmd_usage(cmd, "wants at most one asset, [BUCKET/]ASSET (weir peers list shows them)");
	rc = check_asked(cmd, &a);
	snprintf(path, sizeof(path), "/_/peers/groups%s%s", n ? "?asset=" : "", n ? web_part(asset_of(argv[0], name), false) : "");
	return rc ? rc : show(&a, "show groupings", path, print_groups);
}

/* ---- top ------------------------------------------------------------------------------------- */

static void print_top(const json_t *answer)
{
	const json_t *list = list_of(answer, "viewers"), *v;
	struct table *t = table_new("VIEWER|ASSET|ROLE|GATEWAY|UP>|FROM SERVER>|FROM PEERS>|BY PEERS>|STALLS>|UPLINK>|FLAGS");
	size_t i;

	json_array_foreach (list, i, v) {
		double server = js_num(v, "down_server"), peers = js_num(v, "down_peers");

		table_row(t, short_id(v, "viewer"), word(v, "asset", "-"), word(v, "role", "?"), word(v, "home", "-"),
			  bytes_cell(v, "up", ""), bytes_cell(v, "down_server", ""), bytes_cell(v, "down_peers", ""),
			  share_cell(server + peers > 0 ? peers / (server + peers) : NAN), js_show(v, "stalls", 0),
			  bytes_cell(v, "uplink", "/s"), joined(json_object_get(v, "flags"), 16), NULL);
	}
	table_print(t);
}

static int run_top(const struct cmd *cmd, int argc, char **argv)
{
	struct asked a = { .interval = "1s" };
	const char *by = "up";
	const struct cmd_flag own[] = { ASKED_FLAGS(a), { "--by", &by, NULL }, { NULL, NULL, NULL } };
	int n = cmd_parse(cmd, argc, argv, &a.opt, own), rc;
	char path[64];

	if (n < 0)
		return cmd_exit_of(n);
	if (n || (strcmp(by, "up") && strcmp(by, "down") && strcmp(by, "stalls")))
		return cmd_usage(cmd, "--by wants up, down or stalls%s%s", n ? ", and there is nothing else to say: " : ", not ",
				 n ? argv[0] : by);
	rc = check_asked(cmd, &a);
	snprintf(path, sizeof(path), "/_/peers/top?by=%s", by);
	return rc ? rc : show(&a, "show who carries most", path, print_top);
}

/* ---- switch ---------------------------------------------------------------------------------- */

static int run_switch(const struct cmd *cmd, int argc, char **argv)
{
	static const char *const said[] = { "by what is sensed", "always", "never" };
	static const char *const modes[] = { "auto", "on", "off" };
	struct asked a = { 0 };
	bool all = false;
	const struct cmd_flag own[] = { WEB_FLAGS(a.flags), { "--all", NULL, &all }, { NULL, NULL, NULL } };
	struct web_call call = { .doing = "switch", .method = "POST", .path = "/_/peers/switch", .type = "application/json" };
	int n = cmd_parse(cmd, argc, argv, &a.opt, own), rc, mode = 0;
	json_t *answer = NULL;
	const char *asset, *word;
	char name[256];
	struct web *w;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != (all ? 1 : 2))
		return cmd_usage(cmd, "wants [BUCKET/]ASSET or --all, and then auto, on or off");
	asset = all ? "*" : asset_of(argv[0], name);
	word = argv[n - 1];
	while (mode < 3 && strcmp(modes[mode], word))
		mode++;
	if (mode == 3)
		return cmd_usage(cmd, "wants auto, on or off, not %s", word);
	rc = web_open(&w, &a.opt, &a.flags, false);
	if (rc)
		return rc;
	call.json = json_pack("{s:s, s:s}", "asset", asset, "mode", word);
	rc = web_json(w, &call, &answer);
	web_close(w);
	if (!rc && a.opt.json)
		cmd_print_json(answer ? json_incref(answer) : json_pack("{s:s, s:s}", "asset", asset, "mode", word));
	else if (!rc)
		printf("viewers of %s carry each other %s, from now on\n", all ? "all assets that were not switched by themselves" : asset,
		       said[mode]);
	json_decref(answer);
	return rc;
}

/* ---- simulate -------------------------------------------------------------------------------- */

/* Becomes `weir-gateway --peers-simulate …`: the simulator is part of the program whose grouping it tries. */
static int run_simulate(const struct cmd *cmd, int argc, char **argv)
{
	char self[PATH_MAX], program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char **args = calloc((size_t)argc + 3, sizeof(*args));
	char *slash;

	(void)cmd;
	if (!args)
		return cmd_fail("out of memory");
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(program, sizeof(program), "%.4000s/weir-gateway", self);
	args[0] = "weir-gateway";
	args[1] = "--peers-simulate";
	memcpy(args + 2, argv, (size_t)argc * sizeof(*argv));
	fflush(NULL);
	execv(program, (char *const *)args);
	execvp(args[0], (char *const *)args);
	free(args);
	return cmd_fail("cannot run weir-gateway (%s): %s; it is installed beside weir", program, strerror(errno));
}

/* ---- the table ------------------------------------------------------------------------------- */

#define WEB_HELP                                                                                                   \
	"  --url URL       where (default $WEIR_URL, the login, the gateway that -c FILE names)\n"                 \
	"  --token-file F  who (default $WEIR_TOKEN, the login); needs the right a, or the role admin\n"           \
	"  --ca FILE       certificates that the gateway's is checked by (the system's)\n"                         \
	"  -c FILE         configuration\n  --json          one JSON text\n"
#define WATCH_HELP                                                                                                 \
	"  --watch         again and again; --interval T: pause (1s); --rounds N: end after so many\n" WEB_HELP

static const struct cmd subs[] = {
	{ "peers list", "[--watch]", "Show what is watched: state, viewers, roles, what peers carry, stalls",
	  WATCH_HELP "\nBY PEERS is the share of the bytes of the last seconds that came from other viewers.\nexample: weir peers list --watch\n", run_list },
	{ "peers groups", "[ASSET] [--watch]", "Show who is grouped with whom, who feeds whom, who holds what",
	  WATCH_HELP "\nexample: weir peers groups media/film\n", run_groups },
	{ "peers top", "[--by up|down|stalls]", "Show the viewers who carry, take or stall most",
	  "  --by W          up (gave most), down (took most), stalls (stood still most often)\n" WATCH_HELP
	  "\nexample: weir peers top --by stalls\n",
	  run_top },
	{ "peers switch", "ASSET|--all auto|on|off", "Say when viewers carry each other",
	  "  auto            by what is sensed\n  on              always: the server serves first groups alone\n"
	  "  off             never: each takes from the server\n"
	  "  --all           all assets that were not switched by themselves\n" WEB_HELP
	  "\nIt is kept in the registry, and holds at all gateways.\nexample: weir peers switch media/film off\n",
	  run_switch },
	{ "peers simulate", "…", NULL, NULL, run_simulate },
};

#define SUBS (sizeof(subs) / sizeof(*subs))

int cmd_peers(const struct cmd *cmd, int argc, char **argv)
{
	if (!argc)
		return cmd_usage(cmd, "wants one of list, groups, top, switch, simulate");
	if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))
		return cmd_help(cmd), CMD_OK;
	for (size_t i = 0; i < SUBS; i++)
		if (!strcmp(argv[0], strchr(subs[i].name, ' ') + 1))
			return subs[i].run(&subs[i], argc - 1, argv + 1);
	return cmd_usage(cmd, "there is no `weir peers %s`; there are list, groups, top, switch, simulate", argv[0]);
}
