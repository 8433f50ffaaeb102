/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset_file.c -- `weir dataset files NAME FILE` (dataset.h): what a manifest says, for people. All of it is in --json.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/dataset.h"
#include "tools/web.h"

#define SHOWN_MAX 40 /* characters of a value */

/* Ends a text that was cut, before its last character, which may not be whole. */
static void end_cut(char *text)
{
	size_t len = strlen(text);

	while (len && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
		len--;
	strcpy(text + (len ? len - 1 : 0), "\xe2\x80\xa6");
}

/* A value of a column as one word; out has room. */
static const char *show_value(const json_t *value, char out[SHOWN_MAX + 8])
{
	const char *text = json_string_value(value);

	if (json_is_integer(value))
		snprintf(out, SHOWN_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		snprintf(out, SHOWN_MAX, "%.10g", json_real_value(value));
	else if (json_is_boolean(value))
		snprintf(out, SHOWN_MAX, "%s", json_is_true(value) ? "true" : "false");
	else if (snprintf(out, SHOWN_MAX, "%s", text ? web_safe(text) : "-") >= SHOWN_MAX)
		end_cut(out);
	return out;
}

static void print_summary(const json_t *summary)
{
	const json_t *s;
	size_t i;

	json_array_foreach (summary, i, s)
		printf("            %s of %s%s%s\n", js_show(s, "count", 0), web_safe(js_text(s, "rule", "?")),
		       *js_text(s, "column", "") ? " in " : "", web_safe(js_text(s, "column", "")));
}

static void print_columns(const json_t *statistics)
{
	const json_t *columns = json_object_get(statistics, "columns"), *c;
	struct table *t;
	size_t i;

	if (!json_array_size(columns))
		return;
	t = table_new("COLUMN|TYPE|COUNT>|NULLS>|DISTINCT>|MIN|MEDIAN|MAX|MOST OFTEN");
	json_array_foreach (columns, i, c) {
		const json_t *top = json_array_get(json_object_get(c, "top"), 0);
		char min[SHOWN_MAX + 8], median[SHOWN_MAX + 8], max[SHOWN_MAX + 8], value[SHOWN_MAX + 8],
			most[SHOWN_MAX + 48] = "-", about[40];

		snprintf(about, sizeof(about), "%s%s", json_object_get(c, "distinct_error") ? "~" : "",
			 js_show(c, "distinct", 0));
		if (json_is_true(json_object_get(c, "personal")))
			snprintf(most, sizeof(most), "(personal)");
		else if (top)
			snprintf(most, sizeof(most), "%s (%s)", show_value(json_object_get(top, "value"), value),
				 js_show(top, "count", 0));
		table_row(t, web_safe(js_text(c, "name", "?")), web_safe(js_text(c, "type", "?")),
			  js_show(c, "count", 0), js_show(c, "nulls", 0), about,
			  show_value(json_object_get(c, "min"), min),
			  show_value(json_object_get(json_object_get(c, "quantiles"), "0.5"), median),
			  show_value(json_object_get(c, "max"), max), most, NULL);
	}
	putchar('\n');
	table_print(t);
}

static void print_outputs(const json_t *outputs)
{
	struct table *t;
	const json_t *o;
	size_t i;

	if (!json_array_size(outputs))
		return;
	t = table_new("OUTPUT|FORMAT|PACKING|ROWS>|SIZE>|KEY");
	json_array_foreach (outputs, i, o) {
		char size[16];

		table_row(t, web_safe(js_text(o, "output", js_text(o, "name", "?"))), web_safe(js_text(o, "format", "-")),
			  web_safe(*js_text(o, "packing", "") ? js_text(o, "packing", "") : "-"), js_show(o, "rows", 0),
			  cmd_bytes((uint64_t)fmax(0, js_num(o, "bytes")), size), web_safe(js_text(o, "key", "?")), NULL);
	}
	putchar('\n');
	table_print(t);
}

static void print_type(const json_t *type)
{
	const char *packing = js_text(type, "packing", ""), *delimiter = js_text(type, "delimiter", "");

	printf("type        %s, %s%s%s%s%s%s%s%s\n", web_safe(js_text(type, "kind", "?")), web_safe(js_text(type, "mime", "?")),
	       *packing ? ", " : "", web_safe(packing), *js_text(type, "encoding", "") ? ", " : "",
	       web_safe(js_text(type, "encoding", "")), *delimiter ? ", delimiter " : "",
	       !strcmp(delimiter, "\t") ? "tab" : web_safe(delimiter),
	       json_is_false(json_object_get(type, "header")) ? ", no header" : "");
}

void dataset_print_file(const json_t *m)
{
	const json_t *up = json_object_get(m, "uploaded"), *statistics = json_object_get(m, "statistics"),
		     *range = json_object_get(statistics, "time_range");
	time_t at = (time_t)js_num(up, "at");
	char size[16], when[32] = "-", from[SHOWN_MAX + 8], to[SHOWN_MAX + 8];
	struct tm tm;

	if (json_is_number(json_object_get(up, "at")) && localtime_r(&at, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	printf("%s  version %s, %s\n", web_safe(js_text(m, "file", "?")), js_show(m, "version", 0),
	       cmd_bytes((uint64_t)fmax(0, js_num(m, "size")), size));
	print_type(json_object_get(m, "type"));
	printf("sha256      %s\nuploaded    %s by %s, from %s (%s)\n", web_safe(js_text(m, "sha256", "-")), when,
	       web_safe(js_text(up, "by", "?")), web_safe(js_text(up, "from", "?")), web_safe(js_text(up, "how", "?")));
	if (json_object_get(m, "rows"))
		printf("rows        %s, of them %s good, %s in quarantine\n", js_show(m, "rows", 0), js_show(m, "good", 0),
		       js_show(m, "quarantined", 0));
	printf("findings    %s\n", js_show(m, "findings", 0));
	print_summary(json_object_get(m, "summary"));
	if (json_is_object(range))
		printf("times       %s: %s to %s\n", web_safe(js_text(range, "column", "?")),
		       show_value(json_object_get(range, "from"), from), show_value(json_object_get(range, "to"), to));
	print_columns(statistics);
	print_outputs(json_object_get(m, "outputs"));
}
