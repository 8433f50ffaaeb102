// SPDX-License-Identifier: Apache-2.0
/*
 * rules_value.c -- one scalar of a dataset's rules becomes one value, and its normal form in JSON.
 * Pure but for memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/upload/rules_table.h"
#include "lib/nearest.h"

static const size_t type_sizes[] = {
	[RULES_TEXT] = sizeof(char *),
	[RULES_NAME] = sizeof(char *),
	[RULES_DATASET] = sizeof(char *),
	[RULES_PRINCIPAL] = sizeof(char *),
	[RULES_ACCEPT] = sizeof(char *),
	[RULES_WORD] = sizeof(int),
	[RULES_SWITCH] = sizeof(bool),
	[RULES_TRISTATE] = sizeof(int),
	[RULES_SIZE] = sizeof(uint64_t),
	[RULES_COUNT] = sizeof(uint64_t),
	[RULES_SMALL] = sizeof(unsigned),
	[RULES_SHARE] = sizeof(double),
	[RULES_CHAR] = sizeof(char),
	[RULES_BOUND] = sizeof(char *),
	[RULES_EXPR] = sizeof(char *),
	[RULES_HEX] = 65,
	[RULES_MAP] = sizeof(struct rules_pair),
	[RULES_SECTION] = 0,
};

size_t rules_type_size(const struct rules_key *key)
{
	return key->type == RULES_SECTION ? key->section->size : type_sizes[key->type];
}

static int __attribute__((format(printf, 2, 3))) refuse(char *why, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, RULES_WHY_MAX, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int set_word(const struct rules_key *key, const char *text, int *at, json_t **json,
		    char *why)
{
	const char *nearest;
	size_t n = 0, used;

	for (; key->words[n]; n++)
		if (*key->words[n] && !strcmp(key->words[n], text)) {
			*at = (int)n;
			*json = json_string(text);
			return *json ? 0 : -ENOMEM;
		}
	nearest = nearest_word(text, key->words, n);
	if (nearest)
		return refuse(why, "\"%.60s\" is not possible; did you mean \"%s\"?", text,
			      nearest);
	used = (size_t)snprintf(why, RULES_WHY_MAX, "\"%.60s\" is not possible; write one of",
				text);
	for (size_t i = 0; i < n && used < RULES_WHY_MAX; i++)
		if (*key->words[i])
			used += (size_t)snprintf(why + used, RULES_WHY_MAX - used, " %s",
						 key->words[i]);
	return -EINVAL;
}

/* 1, 0, -1 for what is neither. */
static int truth(const char *text)
{
	static const char *const yes[] = { "yes", "true", "on" }, *const no[] = { "no", "false",
										  "off" };

	for (size_t i = 0; i < 3; i++) {
		if (!strcasecmp(text, yes[i]))
			return 1;
		if (!strcasecmp(text, no[i]))
			return 0;
	}
	return -1;
}

static int set_switch(const struct rules_key *key, const char *text, void *at, json_t **json,
		      char *why)
{
	int t = truth(text);

	if (key->type == RULES_TRISTATE) {
		if (t < 0 && strcmp(text, "auto"))
			return refuse(why, "\"%.60s\" is not possible; write yes, no or auto",
				      text);
		*(int *)at = t;
		*json = t < 0 ? json_string("auto") : json_boolean(t);
	} else {
		if (t < 0)
			return refuse(why, "\"%.60s\" is not possible; write yes or no", text);
		*(bool *)at = t;
		*json = json_boolean(t);
	}
	return *json ? 0 : -ENOMEM;
}

/* Digits (at most 18) and what follows them. */
static bool digits(const char *text, uint64_t *out, const char **end)
{
	size_t n = strspn(text, "0123456789");

	*out = n && n <= 18 ? strtoull(text, NULL, 10) : 0;
	*end = text + n;
	return n && n <= 18;
}

static const struct unit {
	const char *name;
	uint64_t factor;
} size_units[] = {
	{ "TiB", 1ull << 40 },
	{ "GiB", 1ull << 30 },
	{ "MiB", 1ull << 20 },
	{ "KiB", 1ull << 10 },
	{ "TB", 1000000000000ull },
	{ "GB", 1000000000ull },
	{ "MB", 1000000ull },
	{ "kB", 1000ull },
	{ "KB", 1000ull },
	{ "B", 1 },
	{ "", 1 },
	{ NULL, 0 },
};

static int set_count(const struct rules_key *key, const char *text, void *at, json_t **json,
		     char *why)
{
	uint64_t value, max = key->max ? key->max : 999999999999999999ull;
	const struct unit *u = size_units;
	const char *end;
	bool good = digits(text, &value, &end);

	if (key->type == RULES_SIZE) {
		end += strspn(end, " ");
		while (u->name && strcmp(u->name, end))
			u++;
		good = good && u->name && !__builtin_mul_overflow(value, u->factor, &value);
		if (!good)
			return refuse(why,
				      "\"%.60s\" is not a size; write a whole number and a unit (B "
				      "KiB MiB GiB TiB), such as 2GiB",
				      text);
	} else if (!good || *end) {
		return refuse(why,
			      "\"%.60s\" is not a whole number; write one from %" PRIu64
			      " to %" PRIu64,
			      text, key->min, max);
	}
	if (value < key->min || value > max)
		return refuse(why, "%.60s is out of range; possible is %" PRIu64 " to %" PRIu64,
			      text, key->min, max);
	if (key->type == RULES_SMALL)
		*(unsigned int *)at = (unsigned int)value;
	else
		*(uint64_t *)at = value;
	*json = json_integer((json_int_t)value);
	return *json ? 0 : -ENOMEM;
}

static int set_share(const char *text, double *at, json_t **json, char *why)
{
	size_t whole = strspn(text, "0123456789"), rest = 0;
	double value = 2;
	const char *end;

	if (text[whole] == '.')
		rest = 1 + strspn(text + whole + 1, "0123456789");
	end = text + whole + rest;
	end += strspn(end, " ");
	if (whole && rest != 1 && whole + rest <= 30 && (!*end || !strcmp(end, "%")))
		value = strtod(text, NULL) / (*end ? 100 : 1);
	if (value > 1)
		return refuse(why, "\"%.60s\" is not a share; write 0%% to 100%%, such as 1%%",
			      text);
	*at = value;
	*json = json_string(text);
	return *json ? 0 : -ENOMEM;
}

static int set_char(const char *text, char *at, json_t **json, char *why)
{
	char c = *text;

	if (!strcmp(text, "tab") || !strcmp(text, "\\t"))
		c = '\t';
	else if (!strcmp(text, "none") || !*text)
		c = '\0';
	else if (text[1] || (unsigned char)c >= 0x7f || ((unsigned char)c < ' ' && c != '\t'))
		return refuse(
			why,
			"\"%.60s\" is not one character; write one such as \";\", or tab, or none",
			text);
	*at = c;
	*json = c == '\t' ? json_string("tab") : !c ? json_string("none") : json_stringn(&c, 1);
	return *json ? 0 : -ENOMEM;
}

static bool name_fits(enum rules_type type, const char *text)
{
	size_t len = strlen(text);

	if (type == RULES_DATASET) /* as a bucket's */
		return len >= 3 && len <= 63 && *text != '-' && *text != '.' &&
		       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
	if (type == RULES_PRINCIPAL)
		return len && len <= 63 &&
		       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    ".-_@") == len;
	return len && len <= 256;
}

/* Without a list of types there is nothing to know here but their form: words of ours, or
 * TYPE/SUBTYPE (RFC 6838). */
static int check_accept(const char *text, char *why)
{
	static const char *const kinds[] = { "*",  "csv",  "tsv", "json", "jsonl",
					     "gz", "gzip", "zst", "zstd", "zip" };
	const char *slash = strchr(text, '/'), *nearest;
	const size_t n = sizeof(kinds) / sizeof(*kinds);
	static const char token[] = "abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.+-";

	for (size_t i = 0; i < n; i++)
		if (!strcmp(kinds[i], text))
			return 0;
	if (slash && slash > text && slash - text <= 64 &&
	    strspn(text, token) == (size_t)(slash - text) && slash[1] && strlen(slash) <= 72 &&
	    (!strcmp(slash, "/*") || strspn(slash + 1, token) == strlen(slash + 1)))
		return 0;
	nearest = nearest_word(text, kinds + 1, n - 1);
	if (nearest)
		return refuse(why, "\"%.60s\" is not a file type; did you mean \"%s\"?", text,
			      nearest);
	return refuse(why,
		      "\"%.60s\" is not a file type; write csv, tsv, json, jsonl, gz, zst, zip, a "
		      "MIME type such as image/png or image/*, or \"*\"",
		      text);
}

static int set_text(const struct rules_key *key, const struct node *node, struct rules_arena *arena,
		    char **at, json_t **json, char *why)
{
	size_t len = strlen(node->text), max = key->max && !key->list ? key->max : RULES_TEXT_MAX;
	const char *end;
	uint64_t number;

	if (len > max)
		return refuse(why, "has %zu bytes; at most %zu are possible", len, max);
	switch (key->type) {
	case RULES_NAME:
		if (!name_fits(key->type, node->text))
			return refuse(why, "is not a column's name; write 1 to 256 bytes");
		break;
	case RULES_DATASET:
		if (!name_fits(key->type, node->text))
			return refuse(
				why,
				"\"%.70s\" is not a dataset's name; write 3 to 63 lower-case "
				"letters, digits, '-' and '.', beginning with a letter or digit",
				node->text);
		break;
	case RULES_PRINCIPAL:
		if (!name_fits(key->type, node->text))
			return refuse(why,
				      "\"%.70s\" is not a user's or group's name; write up to 63 "
				      "letters, digits, '.', '-', '_' and '@'",
				      node->text);
		break;
	case RULES_ACCEPT:
		if (check_accept(node->text, why))
			return -EINVAL;
		break;
	default:
		if (!len && !key->list)
			return refuse(why, "is empty; write %s or leave the key out",
				      rules_type_words(key));
	}
	*at = node->text;
	(void)arena;
	if (key->type == RULES_BOUND && !node->quoted && digits(node->text, &number, &end) &&
	    !*end && (*node->text != '0' || !node->text[1]))
		*json = json_integer((json_int_t)number);
	else
		*json = json_string(node->text);
	return *json ? 0 : -ENOMEM;
}

static int set_hex(const char *text, char *at, json_t **json, char *why)
{
	if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return refuse(why,
			      "is not 64 hexadecimal digits; leave the key out, weir makes it");
	memcpy(at, text, 65);
	*json = json_string(text);
	return *json ? 0 : -ENOMEM;
}

int rules_value_set(const struct rules_key *key, const struct node *node, struct rules_arena *arena,
		    void *at, json_t **json, char why[RULES_WHY_MAX])
{
	switch (key->type) {
	case RULES_WORD:
		return set_word(key, node->text, at, json, why);
	case RULES_SWITCH:
	case RULES_TRISTATE:
		return set_switch(key, node->text, at, json, why);
	case RULES_SIZE:
	case RULES_COUNT:
	case RULES_SMALL:
		return set_count(key, node->text, at, json, why);
	case RULES_SHARE:
		return set_share(node->text, at, json, why);
	case RULES_CHAR:
		return set_char(node->text, at, json, why);
	case RULES_HEX:
		return set_hex(node->text, at, json, why);
	default:
		return set_text(key, node, arena, at, json, why);
	}
}
