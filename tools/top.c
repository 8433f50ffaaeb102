// SPDX-License-Identifier: Apache-2.0
/*
 * top.c -- `weir top`: what goes through this node's packet path, each second: by reason, service and
 * backend. A node without one shows its status again and again.
 */
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tools/cmd.h"

enum sort { SORT_NAME, SORT_PACKETS, SORT_BITS, SORT_SYN };

static const struct {
	char key;
	const char *name, *rate; /* rate: the member of "rates" that counts */
} sorts[] = { { 'n', "name", NULL }, { 'p', "packets", "packets" }, { 'b', "bits", "bits" }, { 's', "syn", "syn" } };

static volatile sig_atomic_t stopped;

static void on_signal(int signum)
{
	(void)signum;
	stopped = 1;
}

/* ---- the terminal ----------------------------------------------------------------------------------- */

static struct termios terminal;

/* Keys come at once, unseen; false: standard input is no terminal. */
static bool keys_on(void)
{
	const struct sigaction sa = { .sa_handler = on_signal };
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &terminal))
		return false;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	raw = terminal;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	return !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void keys_off(bool on)
{
	if (on)
		tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
}

/* Lines that a table may have before it pushes its own head off the screen. */
static size_t lines_free(bool live)
{
	enum { AROUND = 8 }; /* what is printed above and below, a line that breaks included */
	struct winsize size;

	if (!live || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_row <= AROUND)
		return SIZE_MAX;
	return size.ws_row - AROUND;
}

/* Waits for the next round, or a key, which may change the order. False: enough. */
static bool rest(bool keys, unsigned int seconds, enum sort *sort)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key;

	if (!keys)
		return cmd_rest(seconds) && !stopped;
	if (poll(&in, 1, (int)seconds * 1000) <= 0)
		return !stopped;
	if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q')
		return false;
	for (size_t i = 0; i < sizeof(sorts) / sizeof(*sorts); i++)
		if (key == sorts[i].key)
			*sort = (enum sort)i;
	return !stopped;
}

/* ---- figures ---------------------------------------------------------------------------------------- */

static double rate(const json_t *o, const char *what)
{
	double value = js_num(json_object_get(o, "rates"), what);

	return isfinite(value) ? value : 0;
}

/* "0", "7.5", "950", "12.3k", "4.1G", in one of 16 rotating buffers. */
static const char *si(double value)
{
	static char bufs[16][16];
	static unsigned int next;
	static const char unit[] = " kMGT";
	char *buf = bufs[next++ % 16];
	int u = 0;

	while (value >= 999.5 && unit[u + 1]) {
		value /= 1000;
		u++;
	}
	if (u == 0)
		snprintf(buf, sizeof(bufs[0]), value > 0 && value < 9.95 ? "%.1f" : "%.0f", value);
	else
		snprintf(buf, sizeof(bufs[0]), value < 99.95 ? "%.1f%c" : "%.0f%c", value, unit[u]);
	return buf;
}

static const char *percent(double part)
{
	static char bufs[4][16];
	static unsigned int next;
	char *buf = bufs[next++ % 4];

	snprintf(buf, sizeof(bufs[0]), "%.1f%%", 100 * part);
	return buf;
}

/* ---- the order ---------------------------------------------------------------------------------------- */

static enum sort order;

static int compare(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	const char *by = sorts[order].rate;
	double left = by ? rate(x, by) : 0, right = by ? rate(y, by) : 0;

	if (left != right)
		return left < right ? 1 : -1;
	return strcmp(js_text(x, "name", ""), js_text(y, "name", ""));
}

/* A list's objects in order; the caller frees the array. */
static json_t **sorted(const json_t *list, size_t *n)
{
	json_t **all;
	size_t i;

	*n = json_array_size(list);
	all = calloc(*n ? *n : 1, sizeof(*all));
	for (i = 0; all && i < *n; i++)
		all[i] = json_array_get(list, i);
	if (all)
		qsort(all, *n, sizeof(*all), compare);
	return all;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static void row_service(struct table *t, const json_t *s)
{
	char state[32];

	snprintf(state, sizeof(state), "%.0f/%.0f up", js_num(s, "healthy"), js_num(s, "total"));
	table_row(t, js_text(s, "name", "?"), "", state, si(rate(s, "packets")), si(rate(s, "bits")),
		  si(rate(s, "syn")), si(rate(s, "fin")), si(rate(s, "rst")), "", js_show(s, "slots", 0),
		  js_show(s, "transition", 0), "", NULL);
}

static void row_backend(struct table *t, const json_t *b)
{
	bool draining = json_is_true(json_object_get(b, "draining"));

	table_row(t, "", js_text(b, "name", "?"),
		  draining				   ? "draining"
		  : json_is_true(json_object_get(b, "up")) ? "up"
							   : "down",
		  si(rate(b, "packets")), si(rate(b, "bits")), "", "", "", percent(js_num(b, "applied")),
		  js_show(b, "slots", 0), "", js_text(b, "why", ""), NULL);
}

static void print_services(const json_t *answer, size_t room)
{
	struct table *t = table_new("SERVICE|BACKEND|STATE|PACKETS/S>|BITS/S>|SYN/S>|FIN/S>|RST/S>|SHARE>|SLOTS>|"
				    "MOVING>|WHY");
	size_t n = 0, m = 0, left_out = 0;
	json_t **services = sorted(json_object_get(answer, "services"), &n);

	for (size_t i = 0; services && i < n; i++) {
		json_t **backends = sorted(json_object_get(services[i], "backends"), &m);

		if (!room) {
			left_out += 1 + m;
			free(backends);
			continue;
		}
		row_service(t, services[i]);
		room--;
		for (size_t k = 0; backends && k < m; k++) {
			if (room)
				row_backend(t, backends[k]);
			left_out += !room;
			room -= room > 0;
		}
		free(backends);
	}
	free(services);
	if (n)
		table_print(t);
	else
		puts("no services here");
	if (left_out)
		printf("and %zu lines more (--once prints all)\n", left_out);
}

struct reason {
	const char *name;
	double packets;
};

static int by_packets(const void *a, const void *b)
{
	const struct reason *x = a, *y = b;

	return x->packets < y->packets ? 1 : x->packets > y->packets ? -1 : strcmp(x->name, y->name);
}

/* What became of packets in the last second, most frequent first. */
static void print_reasons(const json_t *answer)
{
	json_t *rates = json_object_get(answer, "rates"), *each;
	struct reason list[64];
	const char *name;
	size_t n = 0;

	json_object_foreach (rates, name, each)
		if (n < sizeof(list) / sizeof(*list))
			list[n++] = (struct reason){ name, js_num(each, "packets") };
	qsort(list, n, sizeof(*list), by_packets);
	fputs("packets/s:", stdout);
	for (size_t i = 0; i < n; i++)
		printf(" %s %s", list[i].name, si(list[i].packets));
	puts(n ? "" : " none");
}

static void print_top(const struct conf *conf, const json_t *answer, bool live)
{
	const json_t *trace = json_object_get(answer, "trace");

	printf("%s%s%s, site %s", cmd_color("\033[1m"), conf->node, cmd_color("\033[0m"), conf->site);
	if (js_num(trace, "running") > 0)
		printf("; %s traced, %s packets lost so far", js_show(trace, "running", 0), js_show(trace, "lost", 0));
	putchar('\n');
	print_reasons(answer);
	putchar('\n');
	print_services(answer, lines_free(live));
}

/* ---- round after round ------------------------------------------------------------------------------ */

static void clear(bool live)
{
	if (live)
		fputs("\033[H\033[2J", stdout);
}

static bool one_round(const struct conf *conf, bool json, bool live)
{
	char why[256];
	json_t *answer;

	if (!conf->agent.enabled) {
		clear(live);
		return show_status(conf, json);
	}
	answer = cmd_ask(conf, "agent", "status", why, sizeof(why));
	clear(live);
	if (!answer) {
		fflush(stdout);
		cmd_fail("the agent of %s: %s", conf->path, why);
		return false;
	}
	if (json)
		cmd_print_json(json_incref(answer));
	else
		print_top(conf, answer, live);
	json_decref(answer);
	return true;
}

static int rounds_of(const struct conf *conf, bool json, long left, unsigned int seconds)
{
	bool live = isatty(STDOUT_FILENO) && !json && left != 1, keys = live && keys_on(), fine = true, more = true;

	while (more) {
		fine = one_round(conf, json, live);
		if (live)
			printf("\nevery %u s, by %s; n p b s: by name, packets, bits, SYN; q ends\n", seconds,
			       sorts[order].name);
		fflush(stdout);
		more = left < 0 || --left > 0;
		more = more && rest(keys, seconds, &order);
	}
	keys_off(keys);
	return fine ? CMD_OK : CMD_FAILED;
}

static bool set_order(const char *text)
{
	for (size_t i = 0; i < sizeof(sorts) / sizeof(*sorts); i++)
		if (!strcmp(text, sorts[i].name)) {
			order = (enum sort)i;
			return true;
		}
	return false;
}

int cmd_top(const struct cmd *cmd, int argc, char **argv)
{
	const char *interval = "1s", *rounds = NULL, *by = "packets";
	bool once = false;
	const struct cmd_flag own[] = { { "--interval", &interval, NULL },
					{ "--rounds", &rounds, NULL },
					{ "--sort", &by, NULL },
					{ "--once", NULL, &once },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own);
	struct conf *conf;
	long left;

	if (n < 0)
		return cmd_exit_of(n);
	left = once ? 1 : rounds ? atol(rounds) : isatty(STDOUT_FILENO) ? -1 : 1;
	if (!cmd_parse_duration(interval) || left == 0 || n)
		return cmd_usage(cmd, "--interval wants a time such as 2s, --rounds a number above 0");
	if (!set_order(by))
		return cmd_usage(cmd, "--sort wants name, packets, bits or syn");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	n = rounds_of(conf, opt.json, left, (unsigned int)cmd_parse_duration(interval));
	conf_free(conf);
	return n;
}
