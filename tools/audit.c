/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.c -- `weir audit` and `weir catalogue`: who did what, and what there is to read, from a
 * gateway.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/web.h"

#define PAGE_MAX  1000
#define LINES_MAX 100000

struct audit_flags {
	struct web_flags web;
	const char *who, *what, *on, *result, *text, *since, *until, *max;
};

/* ---- times ----------------------------------------------------------------------------------- */

/* "2026-05-01", "2026-05-01 12:30", "2026-05-01T12:30:05" (local), seconds since 1970, or a time
 * ago: "90m", "7d". */
static bool parse_when(const char *text, int64_t *out)
{
	static const char *const forms[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					     "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d" };
	uint64_t ago = strpbrk(text, "smhd") ? cmd_parse_duration(text) : 0;
	char *end;

	if (ago) {
		*out = (int64_t)time(NULL) - (int64_t)ago;
		return true;
	}
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct tm tm = { .tm_isdst = -1 };

		end = strptime(text, forms[i], &tm);
		if (end && !*end) {
			*out = mktime(&tm);
			return true;
		}
	}
	*out = strtoll(text, &end, 10);
	return end != text && !*end && *out > 0;
}

/* What audit lines have as "at": text, or seconds, or microseconds. */
static const char *when_of(const json_t *o, const char *key, char out[32])
{
	const json_t *v = json_object_get(o, key);
	double at = json_number_value(v);
	time_t seconds = (time_t)(at > 1e14 ? at / 1e6 : at);
	struct tm tm;

	snprintf(out, 32, "%.31s", json_is_string(v) ? web_safe(json_string_value(v)) : "-");
	if (json_is_number(v) && localtime_r(&seconds, &tm))
		strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
	return out;
}

/* ---- audit ----------------------------------------------------------------------------------- */

static void add_query(char *path, size_t size, const char *name, const char *value)
{
	size_t n = strlen(path);

	if (value && *value && n < size)
		snprintf(path + n, size - n, "%c%s=%s", strchr(path, '?') ? '&' : '?', name,
			 web_part(value, false));
}

static void build_path(char *path, size_t size, const struct audit_flags *f, unsigned long page,
		       const char *before)
{
	char count[24];

	snprintf(path, size, "/_/audit");
	snprintf(count, sizeof(count), "%lu", page);
	add_query(path, size, "who", f->who);
	add_query(path, size, "what", f->what);
	add_query(path, size, "on", f->on);
	add_query(path, size, "result", f->result);
	add_query(path, size, "text", f->text);
	add_query(path, size, "since", f->since);
	add_query(path, size, "until", f->until);
	add_query(path, size, "max", count);
	add_query(path, size, "before", before);
}

/* The lines of an answer, whichever way they are packed. */
static json_t *lines_of(json_t *said)
{
	return json_is_array(said) ? said : json_object_get(said, "lines");
}

/* Pages until there are `wanted` lines or no more. */
static int gather(struct web *w, const struct audit_flags *f, unsigned long wanted, json_t *all)
{
	char path[8192], before[256] = "";

	for (;;) {
		unsigned long page = wanted - json_array_size(all);
		struct web_call call = { .doing = "read the audit log", .path = path };
		json_t *said = NULL, *lines;
		size_t n;
		int rc;

		page = page > PAGE_MAX ? PAGE_MAX : page;
		build_path(path, sizeof(path), f, page, before);
		rc = web_json(w, &call, &said);
		if (rc)
			return rc;
		lines = lines_of(said);
		n = json_array_size(lines);
		json_array_extend(all, lines);
		snprintf(before, sizeof(before), "%s",
			 n ? js_text(json_array_get(lines, n - 1), "id", "") : "");
		json_decref(said);
		if (n < page || !*before || json_array_size(all) >= wanted)
			return CMD_OK;
	}
}

static void print_lines(const json_t *all)
{
	struct table *t = table_new("WHEN|WHO|WHAT|ON|RESULT|WHY|FROM|BYTES>|AT");
	const json_t *line;
	char when[32], bytes[16];
	size_t i;

	json_array_foreach (all, i, line) {
		double n = js_num(line, "bytes");

		table_row(t, when_of(line, "at", when), web_safe(js_text(line, "who", "")),
			  web_safe(js_text(line, "what", "?")), web_safe(js_text(line, "on", "")),
			  web_safe(js_text(line, "result", "?")),
			  web_safe(js_text(line, "why", "")), web_safe(js_text(line, "from", "")),
			  n > 0 ? cmd_bytes((uint64_t)n, bytes) : "",
			  web_safe(js_text(line, "node", "")), NULL);
	}
	table_print(t);
}

/* Turns what people write into seconds; text has room. False: said. */
static bool when_flag(const struct cmd *cmd, const char *name, const char **flag, char text[24])
{
	int64_t at;

	if (!*flag)
		return true;
	if (!parse_when(*flag, &at)) {
		cmd_usage(cmd,
			  "%s %s: a day (2026-05-31), a time (\"2026-05-31 12:30\"), or how long "
			  "ago (90m, 7d)",
			  name, *flag);
		return false;
	}
	snprintf(text, 24, "%lld", (long long)at);
	*flag = text;
	return true;
}

int cmd_audit(const struct cmd *cmd, int argc, char **argv)
{
	struct audit_flags f = { .max = "100" };
	const struct cmd_flag own[] = { WEB_FLAGS(f.web),
					{ "--who", &f.who, NULL },
					{ "--what", &f.what, NULL },
					{ "--on", &f.on, NULL },
					{ "--result", &f.result, NULL },
					{ "--text", &f.text, NULL },
					{ "--since", &f.since, NULL },
					{ "--until", &f.until, NULL },
					{ "--max", &f.max, NULL },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	char since[24], until[24], *end;
	unsigned long wanted;
	struct web *w = NULL;
	json_t *all;

	if (n < 0)
		return cmd_exit_of(n);
	wanted = strtoul(f.max, &end, 10);
	if (n || *end || !wanted || wanted > LINES_MAX)
		return cmd_usage(cmd, n ? "takes options alone" : "--max takes a count up to %d",
				 LINES_MAX);
	if (!when_flag(cmd, "--since", &f.since, since) ||
	    !when_flag(cmd, "--until", &f.until, until))
		return CMD_USAGE;
	rc = web_open(&w, &opt, &f.web, false);
	if (rc)
		return rc;
	all = json_array();
	rc = gather(w, &f, wanted, all);
	if (!rc && opt.json)
		cmd_print_json(json_incref(all));
	else if (!rc)
		print_lines(all);
	json_decref(all);
	web_close(w);
	return rc;
}

/* ---- catalogue ------------------------------------------------------------------------------- */

static void range_of(const json_t *file, char out[80])
{
	const json_t *range = json_object_get(file, "time_range");
	const json_t *from = json_is_array(range) ? json_array_get(range, 0)
						  : json_object_get(range, "from"),
		     *to = json_is_array(range) ? json_array_get(range, 1)
						: json_object_get(range, "to");

	snprintf(out, 80, "%.32s%s%.32s", web_safe(json_string_value(from) ?: ""),
		 from && to ? " to " : "", web_safe(json_string_value(to) ?: ""));
}

static void print_catalogue(const json_t *said)
{
	struct table *t = table_new("DATASET|FILE|VERSION>|SIZE>|ROWS>|TIMES|OUTPUTS>");
	const json_t *d, *file;
	size_t i, k;

	json_array_foreach (json_object_get(said, "datasets"), i, d) {
		const json_t *files = json_object_get(d, "files");

		if (!json_array_size(files))
			table_row(t, web_safe(js_text(d, "name", "?")), "(none yet)", "", "", "",
				  "", "", NULL);
		json_array_foreach (files, k, file) {
			char size[16], range[80], outputs[16];

			range_of(file, range);
			snprintf(outputs, sizeof(outputs), "%zu",
				 json_array_size(json_object_get(file, "outputs")));
			table_row(t, web_safe(js_text(d, "name", "?")),
				  web_safe(js_text(file, "file", "?")), js_show(file, "version", 0),
				  cmd_bytes((uint64_t)fmax(0, js_num(file, "size")), size),
				  js_show(file, "rows", 0), range, outputs, NULL);
		}
	}
	table_print(t);
}

int cmd_catalogue(const struct cmd *cmd, int argc, char **argv)
{
	struct web_call call = { .doing = "read the catalogue", .path = "/_/catalogue" };
	struct web_flags flags = { 0 };
	const struct cmd_flag own[] = { WEB_FLAGS(flags), { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc;
	json_t *said = NULL;
	struct web *w = NULL;

	if (n < 0)
		return cmd_exit_of(n);
	if (n)
		return cmd_usage(cmd, "takes options alone");
	rc = web_open(&w, &opt, &flags, false);
	if (!rc)
		rc = web_json(w, &call, &said);
	if (!rc && opt.json)
		cmd_print_json(json_incref(said));
	else if (!rc)
		print_catalogue(said);
	json_decref(said);
	web_close(w);
	return rc;
}
