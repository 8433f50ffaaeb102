/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orca.c -- load reports, read and written (see orca.h).
 *
 * The fields are those of xDS's OrcaLoadReport message; the TEXT form is the one that Envoy reads.
 * A report comes from whoever answers a health check, so that everything in it is bounded: the
 * length of the text, the number and the length of names, the range of values.
 */
#include "lib/orca.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEADER_MAX 8192 /* longer values are refused: no honest report is near it */
#define VALUE_MAX  1e15 /* larger values are nonsense and would spoil sums */

static const struct field {
	const char *name, *camel; /* as the protobuf text and the protobuf JSON form call it */
	size_t offset;
} fields[] = {
	{ "cpu_utilization", "cpuUtilization", offsetof(struct orca_report, cpu_utilization) },
	{ "mem_utilization", "memUtilization", offsetof(struct orca_report, mem_utilization) },
	{ "application_utilization", "applicationUtilization",
	  offsetof(struct orca_report, application_utilization) },
	{ "rps_fractional", "rpsFractional", offsetof(struct orca_report, rps_fractional) },
	{ "eps", "eps", offsetof(struct orca_report, eps) },
};

#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

static double *field_value(struct orca_report *report, const struct field *field)
{
	return (double *)((char *)report + field->offset);
}

void orca_clear(struct orca_report *report)
{
	memset(report, 0, sizeof(*report));
	for (size_t i = 0; i < NFIELDS; i++)
		*field_value(report, &fields[i]) = NAN;
}

static bool name_fits(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= sizeof(((struct orca_named *)NULL)->name))
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("_.-:/", *name))
			return false;
	return true;
}

double orca_named_get(const struct orca_report *report, const char *name)
{
	for (size_t i = 0; i < report->nnamed; i++)
		if (strcmp(report->named[i].name, name) == 0)
			return report->named[i].value;
	return NAN;
}

void orca_named_set(struct orca_report *report, const char *name, double value)
{
	struct orca_named *named = report->named;

	if (!isfinite(value) || !name_fits(name))
		return;
	for (size_t i = 0; i < report->nnamed; i++) {
		if (strcmp(named[i].name, name) == 0) {
			named[i].value = value;
			return;
		}
	}
	if (report->nnamed == ORCA_NAMED_MAX)
		return;
	strcpy(named[report->nnamed].name, name); /* name_fits() measured it */
	named[report->nnamed++].value = value;
}

/* Stores one value by its name; names that mean nothing here are skipped. */
static int set_value(struct orca_report *report, const char *name, double value)
{
	static const char *const maps[] = { "named_metrics.", "utilization." };

	if (!isfinite(value) || value < 0 || value > VALUE_MAX)
		return -EINVAL;
	for (size_t i = 0; i < NFIELDS; i++) {
		if (strcmp(name, fields[i].name) == 0 || strcmp(name, fields[i].camel) == 0) {
			*field_value(report, &fields[i]) = value;
			return 0;
		}
	}
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++)
		if (strncmp(name, maps[i], strlen(maps[i])) == 0)
			orca_named_set(report, name + strlen(maps[i]), value);
	return 0;
}

static int parse_text(struct orca_report *report, char *text)
{
	char *save = NULL;

	for (char *pair = strtok_r(text, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(pair, '='), *name, *name_end, *end;
		double value;
		int err;

		if (!equals)
			return -EINVAL;
		*equals = '\0';
		name = pair + strspn(pair, " \t");
		name_end = name + strcspn(name, " \t");
		if (name_end == name || name_end[strspn(name_end, " \t")] != '\0')
			return -EINVAL;
		*name_end = '\0';
		value = strtod(equals + 1, &end);
		if (end == equals + 1 || end[strspn(end, " \t")] != '\0')
			return -EINVAL;
		err = set_value(report, name, value);
		if (err)
			return err;
	}
	return 0;
}

static int parse_json_map(struct orca_report *report, json_t *map)
{
	const char *key;
	json_t *value;

	json_object_foreach (map, key, value) {
		double number = json_number_value(value);

		if (!json_is_number(value) || !isfinite(number) || number < 0 || number > VALUE_MAX)
			return -EINVAL;
		orca_named_set(report, key, number);
	}
	return 0;
}

static int parse_json(struct orca_report *report, const char *text)
{
	json_t *root = json_loads(text, 0, NULL), *value;
	const char *key;
	int err = json_is_object(root) ? 0 : -EINVAL;

	json_object_foreach (root, key, value) {
		if (err)
			break;
		if (json_is_number(value))
			err = set_value(report, key, json_number_value(value));
		else if (json_is_object(value) &&
			 (strcmp(key, "named_metrics") == 0 || strcmp(key, "namedMetrics") == 0 ||
			  strcmp(key, "utilization") == 0))
			err = parse_json_map(report, value);
	}
	json_decref(root);
	return err;
}

int orca_parse(struct orca_report *report, const char *value)
{
	struct orca_report parsed;
	char text[HEADER_MAX];
	int err = -EINVAL;

	orca_clear(&parsed);
	value += strspn(value, " \t");
	if (strlen(value) >= sizeof(text))
		return -EINVAL;
	strcpy(text, value);
	if (strncasecmp(text, "TEXT ", 5) == 0)
		err = parse_text(&parsed, text + 5);
	else if (strncasecmp(text, "JSON ", 5) == 0)
		err = parse_json(&parsed, text + 5);
	if (err == 0)
		*report = parsed;
	return err;
}

/* Appends "name=value"; a pair that does not fit is left out whole. */
static size_t append(char *buf, size_t used, const char *prefix, const char *name, double value)
{
	char pair[96];
	int len;

	if (!isfinite(value))
		return used;
	len = snprintf(pair, sizeof(pair), "%s%s%s=%.6g", used > 5 ? ", " : "", prefix, name,
		       value);
	if (len < 0 || (size_t)len >= sizeof(pair) || used + (size_t)len >= ORCA_TEXT_MAX)
		return used;
	memcpy(buf + used, pair, (size_t)len + 1);
	return used + (size_t)len;
}

char *orca_format(const struct orca_report *report, char *buf)
{
	struct orca_report copy = *report;
	size_t used = 5;

	strcpy(buf, "TEXT ");
	for (size_t i = 0; i < NFIELDS; i++)
		used = append(buf, used, "", fields[i].name, *field_value(&copy, &fields[i]));
	for (size_t i = 0; i < copy.nnamed; i++)
		used = append(buf, used, "named_metrics.", copy.named[i].name, copy.named[i].value);
	return buf;
}
