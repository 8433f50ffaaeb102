// SPDX-License-Identifier: Apache-2.0
/*
 * conf_value.c -- one scalar of weir.yaml becomes one value. Pure but for the memory and, for files
 * that must exist, one look at the disk.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/conf_table.h"

struct conf_block {
	struct conf_block *next;
	max_align_t data[];
};

void *conf_alloc(struct conf_arena *arena, size_t size)
{
	struct conf_block *block = calloc(1, sizeof(*block) + size);

	if (!block)
		return NULL;
	block->next = arena->first;
	arena->first = block;
	return block->data;
}

void conf_arena_free(struct conf_arena *arena)
{
	while (arena->first) {
		struct conf_block *next = arena->first->next;

		free(arena->first);
		arena->first = next;
	}
}

/* What each type takes in memory, and how it is written. */
static const struct {
	size_t size;
	const char *words;
} types[] = {
	[CONF_TEXT] = { sizeof(char *), "text" },
	[CONF_NAME] = { CONF_NAME_MAX, "a name of letters, digits, '.', '-' and '_'" },
	[CONF_NAME_TEXT] = { sizeof(char *), "a name of letters, digits, '.', '-' and '_'" },
	[CONF_INTERFACE] = { sizeof(char *), "an interface such as eth1" },
	[CONF_DOMAIN] = { sizeof(char *), "a domain name such as edge.example" },
	[CONF_PATH] = { sizeof(char *), "a path" },
	[CONF_FILE] = { sizeof(char *), "the path of a file" },
	[CONF_URL] = { sizeof(char *), "a URL" },
	[CONF_TIME] = { sizeof(uint64_t), "a time such as 200ms, 5s or 2m" },
	[CONF_SIZE] = { sizeof(uint64_t), "a size such as 512KiB or 8MiB" },
	[CONF_NUMBER] = { sizeof(uint32_t), "a number" },
	[CONF_PORT] = { sizeof(uint16_t), "a port" },
	[CONF_REAL] = { sizeof(double), "a positive number such as 1 or 0.5" },
	[CONF_FRACTION] = { sizeof(double), "a fraction such as 5%" },
	[CONF_RESERVE] = { sizeof(uint64_t) + sizeof(double),
			   "a size such as 8GiB or a fraction such as 5%" },
	[CONF_WORD] = { sizeof(int), "one of" },
	[CONF_SWITCH] = { sizeof(bool), "one of" },
	[CONF_ADDR] = { sizeof(struct addr), "an IPv4 or IPv6 address" },
	[CONF_LISTEN] = { sizeof(struct addr_port), "ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH" },
	[CONF_SERVE] = { sizeof(struct addr_port),
			 "ADDRESS:PORT/tcp, ADDRESS:PORT/udp or ADDRESS/BITS:PORT/tcp" },
	[CONF_PREFIX] = { sizeof(struct addr_prefix), "a network such as 198.18.0.0/16" },
	[CONF_NETWORKS] = { sizeof(char *), "a network such as 203.0.113.0/24, or the path of a file" },
	[CONF_RATE] = { sizeof(struct conf_rate), "a rate such as 200/s, or 200/s burst 400" },
	[CONF_SECTION] = { 0, "section" },
};

size_t conf_type_size(const struct conf_key *key)
{
	return key->type == CONF_SECTION ? key->section->size : types[key->type].size;
}

const char *conf_type_words(const struct conf_key *key)
{
	return types[key->type].words;
}

static int __attribute__((format(printf, 2, 3))) refuse(char *why, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, CONF_WHY_MAX, fmt, args);
	va_end(args);
	return -EINVAL;
}

static int put_text(struct conf_arena *arena, char **at, const char *text)
{
	char *copy = conf_alloc(arena, strlen(text) + 1);

	if (!copy)
		return -ENOMEM;
	strcpy(copy, text);
	*at = copy;
	return 0;
}

/* folder + path, unless path is absolute. */
static int put_path(struct conf_arena *arena, char **at, const char *before, const char *folder,
		    const char *path)
{
	bool relative = *path != '/';
	size_t len = strlen(before) + strlen(folder) + strlen(path) + 2;
	char *copy = conf_alloc(arena, len);

	if (!copy)
		return -ENOMEM;
	snprintf(copy, len, "%s%s%s%s", before, relative ? folder : "", relative ? "/" : "", path);
	*at = copy;
	return 0;
}

static const char alnum[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

static bool name_fits(const char *text)
{
	size_t first = strspn(text, alnum);

	return first &&
	       strspn(text + first, "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789") == strlen(text + first) &&
	       strlen(text) < CONF_NAME_MAX;
}

static int set_name(const char *text, char *why)
{
	if (name_fits(text))
		return 0;
	return refuse(why,
		      "\"%.60s\" is not a name; use up to %d letters, digits, '.', '-' and '_', "
		      "beginning "
		      "with a letter or digit",
		      text, CONF_NAME_MAX - 1);
}

/* Host names and zone names: labels of letters, digits, '-' and '_' (RFC 1035 2.3.1, RFC 8552). */
static int set_domain(const char *text, struct conf_arena *arena, char **at, char *why)
{
	size_t len = strlen(text), label = 0;
	char copy[256];

	if (len > 1 && text[len - 1] == '.')
		len--;
	if (!len || len > 253)
		return refuse(why,
			      "is not a domain name; it has %zu characters, 1 to 253 are possible",
			      len);
	for (size_t i = 0; i < len; i++) {
		bool dot = text[i] == '.';

		if (!dot && !strchr(alnum, text[i]) && text[i] != '-' && text[i] != '_')
			return refuse(
				why,
				"\"%.60s\" is not a domain name; use letters, digits, '-', '_' and "
				"dots, as in files.edge.example",
				text);
		if (dot && !label)
			return refuse(
				why,
				"\"%.60s\" has an empty label; write it like files.edge.example",
				text);
		label = dot ? 0 : label + 1;
		if (label > 63)
			return refuse(why, "\"%.60s\" has a label over 63 characters; shorten it",
				      text);
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	return put_text(arena, at, copy);
}

static int set_file(const char *text, const char *folder, struct conf_arena *arena, char **at,
		    char *why)
{
	char *path = NULL;
	struct stat st;
	int err;

	if (!*text)
		return refuse(why, "is empty; write the path of a file");
	err = put_path(arena, &path, "", folder, text);
	if (err)
		return err;
	*at = path; /* also when it is refused: the key is there, checks of pairs need not complain
		       as well */
	/* Only what is certain is a fault: a folder closed to this user says nothing. */
	if (stat(path, &st) && (errno == ENOENT || errno == ENOTDIR))
		return refuse(
			why,
			"there is no file %.180s; make it or correct the path (relative paths "
			"begin at the configuration's folder)",
			path);
	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		return refuse(why, "%.180s is a folder; name a file", path);
	return 0;
}

/* A network or the path of a file of such; what consists of an address's characters is no path. */
static int set_networks(const char *text, const char *folder, struct conf_arena *arena, char **at,
			char *why)
{
	struct addr_prefix p;
	bool path = *text == '/' || *text == '.' || text[strspn(text, "0123456789abcdefABCDEF:./")];

	if (!path && *text) {
		if (addr_prefix_parse(&p, text))
			return refuse(why, "\"%.60s\" is not a network; write it like 203.0.113.0/24 or "
				      "2001:db8::/32, or a file's path (./NAME beside this one)",
				      text);
		return put_text(arena, at, text);
	}
	while (text[0] == '.' && text[1] == '/')
		text += 2;
	return set_file(text, folder, arena, at, why);
}

/* Digits only; false when there are none, or too many. *end is what follows. */
static bool parse_digits(const char *text, uint64_t *out, const char **end)
{
	uint64_t n = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return false;
	*out = n;
	*end = p;
	return p != text;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit time_units[] = {
	{ "us", 1 },	      { "ms", 1000 },	      { "s", 1000000 },
	{ "m", 60000000ull }, { "h", 3600000000ull }, { "d", 86400000000ull },
	{ NULL, 0 },
};
static const struct unit size_units[] = {
	{ "TiB", 1ull << 40 },
	{ "GiB", 1ull << 30 },
	{ "MiB", 1ull << 20 },
	{ "KiB", 1ull << 10 },
	{ "B", 1 },
	{ "", 1 },
	{ NULL, 0 },
};

static bool parse_units(const char *text, const struct unit *units, uint64_t *out)
{
	const char *end;

	if (!parse_digits(text, out, &end))
		return false;
	for (; units->name; units++)
		if (!strcmp(end, units->name))
			return !__builtin_mul_overflow(*out, units->factor, out);
	return false;
}

/* A number of microseconds or bytes in the largest unit that divides it. */
static const char *unit_text(const struct unit *units, uint64_t value, char *buf, size_t len)
{
	const struct unit *best = NULL;

	for (const struct unit *u = units; u->name; u++)
		if (*u->name && value % u->factor == 0 && (!best || u->factor > best->factor))
			best = u;
	snprintf(buf, len, "%" PRIu64 "%s", best ? value / best->factor : value,
		 best ? best->name : "");
	return buf;
}

static int set_units(const struct conf_key *key, const char *text, const struct unit *units,
		     uint64_t *at, char *why)
{
	uint64_t value, max = key->max ? key->max : UINT64_MAX;
	char low[32], high[32];

	if (!parse_units(text, units, &value)) {
		bool is_time = units == time_units;

		return refuse(
			why,
			"\"%.60s\" is not a %s; write a whole number and a unit (%s), such as %s",
			text, is_time ? "time" : "size",
			is_time ? "us ms s m h d" : "B KiB MiB GiB TiB", is_time ? "5s" : "8MiB");
	}
	if (value < key->min || value > max)
		return refuse(why, "%.60s is out of range; possible is %s to %s", text,
			      unit_text(units, key->min, low, sizeof(low)),
			      unit_text(units, max, high, sizeof(high)));
	*at = value;
	return 0;
}

static int set_number(const struct conf_key *key, const char *text, uint64_t type_max, uint64_t *at,
		      char *why)
{
	uint64_t value = 0, max = key->max ? key->max : type_max;
	const char *end = text;
	bool good;

	if (!strncmp(text, "0x", 2)) {
		size_t digits = strspn(text + 2, "0123456789abcdefABCDEF");

		good = digits && digits <= 15 && !text[2 + digits];
		value = good ? strtoull(text + 2, NULL, 16) : 0;
	} else {
		good = parse_digits(text, &value, &end) && !*end;
	}
	if (!good)
		return refuse(why,
			      "\"%.60s\" is not a whole number; write one from %" PRIu64
			      " to %" PRIu64,
			      text, key->min, max);
	if (value < key->min || value > max)
		return refuse(why, "%.60s is out of range; possible is %" PRIu64 " to %" PRIu64,
			      text, key->min, max);
	*at = value;
	return 0;
}

/* "200/s" or "200/s burst 400"; without a burst it is twice a second's. */
static int set_rate(const char *text, struct conf_rate *at, char *why)
{
	static const char between[] = "/s burst ";
	uint64_t rate, burst = 0;
	const char *end;
	bool good = parse_digits(text, &rate, &end) && !strncmp(end, between, 2);

	if (good && end[2]) {
		good = !strncmp(end, between, sizeof(between) - 1) &&
		       parse_digits(end + sizeof(between) - 1, &burst, &end) && !*end && burst;
	} else if (good) {
		burst = rate * 2;
	}
	if (!good)
		return refuse(why, "\"%.60s\" is not a rate; write packets a second such as 200/s, or 200/s "
			      "burst 400 to say how many may come at once", text);
	if (!rate || rate > 100000000 || burst > 1000000000)
		return refuse(why, "%.60s is out of range; possible is 1/s to 100000000/s", text);
	*at = (struct conf_rate){ (uint32_t)rate, (uint32_t)burst };
	return 0;
}

/* A decimal number without exponent, sign, "inf" or "nan"; *end is what follows. */
static bool parse_real(const char *text, double *out, const char **end)
{
	size_t whole = strspn(text, "0123456789"), rest = 0;

	if (text[whole] == '.')
		rest = 1 + strspn(text + whole + 1, "0123456789");
	if (!whole || rest == 1 || whole + rest > 30)
		return false;
	*out = strtod(text, NULL);
	*end = text + whole + rest;
	return true;
}

static int set_fraction(const char *text, double *at, char *why)
{
	const char *end;
	double value;

	if (!parse_real(text, &value, &end) || strcmp(end, "%"))
		return refuse(why, "\"%.60s\" is not a fraction; write it like 5%%", text);
	if (value <= 0 || value > 100)
		return refuse(why, "%.60s is out of range; possible is more than 0%% up to 100%%",
			      text);
	*at = value / 100;
	return 0;
}

static int set_reserve(const struct conf_key *key, const char *text, void *at, char *why)
{
	uint64_t bytes = 0;
	double fraction = 0;
	int err;

	if (strchr(text, '%')) {
		err = set_fraction(text, &fraction, why);
		if (!err && fraction > 0.95)
			err = refuse(why, "%.60s leaves no room for data; write at most 95%%",
				     text);
	} else {
		err = set_units(key, text, size_units, &bytes, why);
	}
	if (err)
		return err;
	memcpy(at, &bytes, sizeof(bytes));
	memcpy((char *)at + sizeof(bytes), &fraction, sizeof(fraction));
	return 0;
}

static int set_real(const char *text, double *at, char *why)
{
	const char *end;
	double value;

	if (!parse_real(text, &value, &end) || *end)
		return refuse(why, "\"%.60s\" is not a number; write one such as 1 or 0.5", text);
	if (value < 0.001 || value > 1e6)
		return refuse(why, "%.60s is out of range; possible is 0.001 to 1000000", text);
	*at = value;
	return 0;
}

static int find_word(const struct conf_key *key, const char *text, int *at, char *why)
{
	char list[160] = "";

	for (int i = 0; key->words[i]; i++) {
		if (!strcmp(key->words[i], text)) {
			*at = i;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			 key->words[i]);
	}
	return refuse(why, "\"%.60s\" is not known here; write one of: %s%s", text, list,
		      key->type == CONF_NUMBER ? ", or a number" : "");
}

/* A number that may also be a word. */
static bool is_word(const struct conf_key *key, const char *text)
{
	return key->words && (*text < '0' || *text > '9');
}

static int set_interface(const char *text, struct conf_arena *arena, char **at, char *why)
{
	size_t len = strlen(text);

	/* dev_valid_name() of the kernel: IFNAMSIZ is 16 */
	if (!len || len > 15 || strpbrk(text, "/: \t") || !strcmp(text, ".") || !strcmp(text, ".."))
		return refuse(
			why, "\"%.60s\" is not an interface's name; write one that `ip link` shows",
			text);
	return put_text(arena, at, text);
}

static int set_addr_port(const struct conf_key *key, const char *text, const char *folder,
			 struct addr_port *at, char *why)
{
	struct addr_port ap;
	char full[PATH_MAX + 8];

	if (!strncmp(text, "unix:", 5) && text[5] && text[5] != '/') {
		snprintf(full, sizeof(full), "unix:%s/%s", folder, text + 5);
		text = full;
	}
	if (!strncmp(text, "unix:", 5) && strlen(text + 5) >= sizeof(ap.path))
		return refuse(why,
			      "\"%.120s\" is too long for a socket; its path may have %zu bytes",
			      text, sizeof(ap.path) - 1);
	if (key->type == CONF_SERVE ? addr_serve_parse(&ap, text) : addr_port_parse(&ap, text))
		return refuse(
			why, "\"%.60s\" is not an address with a port; write it like %s", text,
			key->type == CONF_SERVE ? "198.18.1.100:80/tcp, [2001:db8::1]:80/tcp or "
						  "198.18.64.0/20:80/tcp"
						: "127.0.0.1:7001, [::1]:7001 or unix:/path");
	if (key->type == CONF_SERVE && !ap.proto)
		return refuse(why,
			      "\"%.60s\" does not say which protocol; write %.60s/tcp or %.60s/udp",
			      text, text, text);
	if (key->type == CONF_LISTEN && ap.proto)
		return refuse(why, "\"%.60s\" names a protocol; write it without /tcp or /udp",
			      text);
	*at = ap;
	return 0;
}

static int set_url(const char *text, const char *folder, struct conf_arena *arena, char **at,
		   char *why)
{
	const char *rest;

	if (!strncmp(text, "unix:", 5) && text[5])
		return put_path(arena, at, "unix:", folder, text + 5);
	rest = !strncmp(text, "http://", 7)    ? text + 7
	       : !strncmp(text, "https://", 8) ? text + 8
					       : NULL;
	if (!rest || !*rest || strspn(rest, "/:?#") || strpbrk(rest, " \t\"<>@\\^`{|}"))
		return refuse(
			why,
			"\"%.60s\" is not a URL; write http://HOST:PORT, https://HOST:PORT or "
			"unix:PATH",
			text);
	return put_text(arena, at, text);
}

static int set_addr(const struct conf_key *key, const char *text, void *at, char *why)
{
	if (key->type == CONF_ADDR && addr_parse(at, text))
		return refuse(
			why,
			"\"%.60s\" is not an address; write it like 198.18.1.11 or 2001:db8::11",
			text);
	if (key->type == CONF_PREFIX && addr_prefix_parse(at, text))
		return refuse(
			why,
			"\"%.60s\" is not a network; write it like 198.18.0.0/16 or 2001:db8::/32",
			text);
	return 0;
}

static int set_scalar(const struct conf_key *key, const char *text, void *at, char *why)
{
	uint64_t number;
	int word, err;

	switch (key->type) {
	case CONF_TIME:
		return set_units(key, text, time_units, at, why);
	case CONF_SIZE:
		return set_units(key, text, size_units, at, why);
	case CONF_NUMBER:
		if (is_word(key, text))
			return find_word(key, text, at, why);
		err = set_number(key, text, UINT32_MAX, &number, why);
		if (!err)
			*(uint32_t *)at = (uint32_t)number;
		return err;
	case CONF_PORT:
		err = set_number(key, text, UINT16_MAX, &number, why);
		if (!err)
			*(uint16_t *)at = (uint16_t)number;
		return err;
	case CONF_WORD:
		return find_word(key, text, at, why);
	case CONF_SWITCH:
		err = find_word(key, text, &word, why);
		if (!err)
			*(bool *)at = word == 1;
		return err;
	case CONF_RATE:
		return set_rate(text, at, why);
	case CONF_REAL:
		return set_real(text, at, why);
	case CONF_FRACTION:
		return set_fraction(text, at, why);
	case CONF_RESERVE:
		return set_reserve(key, text, at, why);
	default:
		return set_addr(key, text, at, why);
	}
}

int conf_value_set(const struct conf_key *key, const char *text, const char *folder,
		   struct conf_arena *arena, void *at, char why[CONF_WHY_MAX])
{
	int err;

	switch (key->type) {
	case CONF_TEXT:
		return *text ? put_text(arena, at, text)
			     : refuse(why, "is empty; write a text or remove it");
	case CONF_NAME:
		err = set_name(text, why);
		if (!err)
			strcpy(at, text);
		return err;
	case CONF_NAME_TEXT:
		err = set_name(text, why);
		return err ? err : put_text(arena, at, text);
	case CONF_INTERFACE:
		return set_interface(text, arena, at, why);
	case CONF_DOMAIN:
		return set_domain(text, arena, at, why);
	case CONF_PATH:
		return *text ? put_path(arena, at, "", folder, text)
			     : refuse(why, "is empty; write a path");
	case CONF_FILE:
		return set_file(text, folder, arena, at, why);
	case CONF_NETWORKS:
		return set_networks(text, folder, arena, at, why);
	case CONF_URL:
		return set_url(text, folder, arena, at, why);
	case CONF_LISTEN:
	case CONF_SERVE:
		return set_addr_port(key, text, folder, at, why);
	default:
		return set_scalar(key, text, at, why);
	}
}
