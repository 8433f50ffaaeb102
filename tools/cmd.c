/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd.c -- see cmd.h.
 */
#include "tools/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/ctl.h"

void cmd_help(const struct cmd *cmd)
{
	printf("usage: weir %s %s\n\n%s.\n\n%s", cmd->name, cmd->args, cmd->summary, cmd->help);
}

int cmd_usage(const struct cmd *cmd, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "weir %s: ", cmd->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: weir %s %s\n       weir %s --help\n", cmd->name, cmd->args,
		cmd->name);
	return CMD_USAGE;
}

int cmd_fail(const char *fmt, ...)
{
	va_list ap;

	fputs("weir: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CMD_FAILED;
}

static const struct cmd_flag *find_flag(const struct cmd_flag *flags, const char *arg, size_t len)
{
	for (; flags && flags->name; flags++)
		if (strlen(flags->name) == len && !strncmp(flags->name, arg, len))
			return flags;
	return NULL;
}

int cmd_parse(const struct cmd *cmd, int argc, char **argv, struct cmd_options *opt,
	      const struct cmd_flag *own)
{
	const struct cmd_flag common[] = { { "-c", &opt->conf, NULL },
					   { "--config", &opt->conf, NULL },
					   { "--json", NULL, &opt->json },
					   { NULL, NULL, NULL } };
	bool ended = false;
	int left = 0;

	opt->conf = getenv("WEIR_CONFIG");
	if (!opt->conf)
		opt->conf = CONF_DEFAULT_PATH;
	for (int i = 0; i < argc; i++) {
		const struct cmd_flag *flag;
		const char *equals;

		if (ended || argv[i][0] != '-' || !argv[i][1]) {
			argv[left++] = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			ended = true;
			continue;
		}
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			cmd_help(cmd);
			return -1;
		}
		equals = argv[i][1] == '-' ? strchr(argv[i], '=') : NULL;
		flag = find_flag(common, argv[i],
				 equals ? (size_t)(equals - argv[i]) : strlen(argv[i]));
		if (!flag)
			flag = find_flag(own, argv[i],
					 equals ? (size_t)(equals - argv[i]) : strlen(argv[i]));
		if (!flag) {
			cmd_usage(cmd, "there is no option %s", argv[i]);
			return -2;
		}
		if (flag->set) {
			*flag->set = true;
		} else if (equals) {
			*flag->value = equals + 1;
		} else if (i + 1 < argc) {
			*flag->value = argv[++i];
		} else {
			cmd_usage(cmd, "%s needs a value", argv[i]);
			return -2;
		}
	}
	return left;
}

size_t cmd_take_all(int *argc, char **argv, const char *name, const char **values, size_t max)
{
	size_t len = strlen(name), n = 0;
	int left = 0, i;

	for (i = 0; i < *argc && strcmp(argv[i], "--"); i++) {
		const char *value = NULL;

		if (!strncmp(argv[i], name, len) && argv[i][len] == '=')
			value = argv[i] + len + 1;
		else if (!strcmp(argv[i], name) && i + 1 < *argc)
			value = argv[++i];
		if (!value)
			argv[left++] = argv[i];
		else if (n++ < max)
			values[n - 1] = value;
	}
	while (i < *argc)
		argv[left++] = argv[i++];
	*argc = left;
	return n;
}

int cmd_exit_of(int parsed)
{
	return parsed == -1 ? CMD_OK : CMD_USAGE;
}

int cmd_print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(15));
	putchar('\n');
	json_decref(value);
	return CMD_OK;
}

const char *cmd_color(const char *sgr)
{
	static int on = -1;

	if (on < 0)
		on = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	return on ? sgr : "";
}

#define TABLE_COLUMNS 12

struct table {
	size_t columns, rows;
	bool right[TABLE_COLUMNS];
	int width[TABLE_COLUMNS];
	char **cells;
};

/* Terminal columns of UTF-8 text: every byte that is not a continuation. */
static int text_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void add_cell(struct table *t, size_t column, char *text)
{
	int width = text_width(text);

	if (width > t->width[column])
		t->width[column] = width;
	t->cells[t->rows * t->columns + column] = text;
}

static void grow(struct table *t)
{
	t->cells = realloc(t->cells, (t->rows + 1) * t->columns * sizeof(*t->cells));
	if (!t->cells)
		abort();
}

struct table *table_new(const char *head)
{
	struct table *t = calloc(1, sizeof(*t));
	char *copy = strdup(head), *save = NULL, *names[TABLE_COLUMNS];

	if (!t || !copy)
		abort();
	for (char *name = strtok_r(copy, "|", &save); name && t->columns < TABLE_COLUMNS;
	     name = strtok_r(NULL, "|", &save)) {
		size_t len = strlen(name);

		if (name[len - 1] == '>') {
			t->right[t->columns] = true;
			name[len - 1] = '\0';
		}
		names[t->columns++] = name;
	}
	grow(t);
	for (size_t i = 0; i < t->columns; i++)
		add_cell(t, i, strdup(names[i]));
	t->rows = 1;
	free(copy);
	return t;
}

void table_row(struct table *t, ...)
{
	va_list ap;

	grow(t);
	va_start(ap, t);
	for (size_t i = 0; i < t->columns; i++) {
		const char *text = va_arg(ap, const char *);

		add_cell(t, i, strdup(text ? text : "-"));
	}
	va_end(ap);
	t->rows++;
}

void table_print(struct table *t)
{
	for (size_t row = 0; row < t->rows; row++) {
		if (row == 0)
			fputs(cmd_color("\033[1m"), stdout);
		for (size_t i = 0; i < t->columns; i++) {
			char *text = t->cells[row * t->columns + i];
			int pad = t->width[i] - text_width(text);

			if (t->right[i])
				printf("%*s%s", pad, "", text);
			else if (i + 1 < t->columns)
				printf("%s%*s", text, pad, "");
			else
				fputs(text, stdout);
			if (i + 1 < t->columns)
				fputs("  ", stdout);
			free(text);
		}
		if (row == 0)
			fputs(cmd_color("\033[0m"), stdout);
		putchar('\n');
	}
	free(t->cells);
	free(t);
}

bool cmd_parse_size(const char *text, uint64_t *out)
{
	static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB", "PiB" };
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	for (unsigned int unit = 0; unit < sizeof(units) / sizeof(*units); unit++)
		if (!strcmp(end, units[unit]) || (!unit && !strcmp(end, "B")))
			return !errno && !__builtin_mul_overflow(*out, (uint64_t)1 << 10 * unit, out);
	return false;
}

char *cmd_bytes(uint64_t bytes, char buf[16])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit < 6) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, 16, unit && value < 100 ? "%.1f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

char *cmd_duration(uint64_t seconds, char buf[16])
{
	unsigned int s = seconds > UINT32_MAX ? UINT32_MAX : (unsigned int)seconds;

	if (s < 120)
		snprintf(buf, 16, "%u s", s);
	else if (s < 7200)
		snprintf(buf, 16, "%u m %u s", s / 60, s % 60);
	else if (s < 48 * 3600)
		snprintf(buf, 16, "%u h %u m", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 16, "%u d %u h", s / 86400, s / 3600 % 24);
	return buf;
}

uint64_t cmd_parse_duration(const char *text)
{
	static const struct {
		const char *unit;
		uint64_t seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
	char *end;
	unsigned long n;

	if (!isdigit((unsigned char)text[0]))
		return 0;
	errno = 0;
	n = strtoul(text, &end, 10);
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!errno && n < 1000000000 && !strcmp(end, units[i].unit))
			return n * units[i].seconds;
	return 0;
}

bool cmd_rest(unsigned int seconds)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char key[16];

	if (!isatty(STDIN_FILENO)) {
		struct timespec pause = { .tv_sec = seconds };

		nanosleep(&pause, NULL);
		return true;
	}
	if (poll(&in, 1, (int)seconds * 1000) <= 0)
		return true;
	return read(STDIN_FILENO, key, sizeof(key)) > 0 && !memchr(key, 'q', sizeof(key));
}

struct conf *cmd_conf(const struct cmd_options *opt)
{
	struct conf *conf = NULL;

	return conf_load(&conf, opt->conf, stderr) ? NULL : conf;
}

struct registry *cmd_registry(const struct conf *conf)
{
	struct registry *reg = NULL;

	if (registry_open(&reg, &conf->registry)) {
		cmd_fail("the registry of %s cannot be used: %s", conf->path, registry_error());
		return NULL;
	}
	return reg;
}

void cmd_roles(const struct conf *conf, struct cmd_role roles[CMD_ROLES])
{
	const struct cmd_role all[CMD_ROLES] = {
		{ "registry", "weir-registry", NULL, conf->registry_server.enabled },
		{ "endpoint", "weir-endpoint", NULL, conf->endpoint.enabled },
		{ "gateway", "weir-gateway", NULL, conf->gateway.enabled },
		{ "agent", "weir-agent", NULL, conf->agent.enabled },
		{ "ns", "weir-ns", NULL, conf->ns.enabled },
		{ "authority", "weir-tunnel", "authority", conf->authority.enabled },
		{ "edge", "weir-tunnel", "edge", conf->edge.enabled },
		{ "origin", "weir-tunnel", "origin", conf->origin.enabled },
		{ NULL, NULL, NULL, false },
	};

	memcpy(roles, all, sizeof(all));
}

json_t *cmd_ask(const struct conf *conf, const char *role, const char *what, char *why,
		size_t why_len)
{
	return cmd_ask_with(conf, role, json_pack("{s:s}", "do", what), why, why_len);
}

json_t *cmd_ask_with(const struct conf *conf, const char *role, json_t *request, char *why,
		     size_t why_len)
{
	char path[256];
	json_t *answer = NULL;
	int rc = ctl_call(conf_ctl_path(conf, role, path, sizeof(path)), request, &answer, 5000);

	json_decref(request);
	if (rc == 0)
		return answer;
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		snprintf(why, why_len, "not running");
	else if (rc == -EACCES || rc == -EPERM)
		snprintf(why, why_len, "not allowed: ask as root or as the daemon's user");
	else if (rc == -EREMOTEIO)
		snprintf(why, why_len, "%s", js_text(answer, "error", "failed"));
	else
		snprintf(why, why_len, "does not answer on %s: %s", path, strerror(-rc));
	json_decref(answer);
	return NULL;
}

const char *js_text(const json_t *o, const char *key, const char *fallback)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : fallback;
}

double js_num(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *js_show(const json_t *o, const char *key, int decimals)
{
	static char ring[16][32];
	static unsigned int next;
	double value = js_num(o, key);
	char *buf = ring[next++ % 16];

	if (isnan(value))
		return "-";
	snprintf(buf, 32, "%.*f", decimals, value);
	return buf;
}
