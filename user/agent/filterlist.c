/* SPDX-License-Identifier: Apache-2.0 */
/* filterlist.c -- see filterlist.h. */
#include "user/agent/filterlist.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void filterlist_free(struct filterlist *list)
{
	free(list->entry);
	*list = (struct filterlist){ 0 };
}

void filterlist_make(struct filterlist_entry *e, const struct addr_prefix *prefix, enum weir_verdict verdict,
		     unsigned int source, uint32_t line)
{
	memset(e, 0, sizeof(*e));
	memcpy(e->addr, prefix->addr.bytes, prefix->addr.family == AF_INET ? 4 : 16);
	e->family = prefix->addr.family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6;
	e->len = prefix->len;
	e->verdict = (uint8_t)verdict;
	e->source = (uint8_t)source;
	e->line = line;
}

int filterlist_add(struct filterlist *list, const struct filterlist_entry *e)
{
	struct filterlist_entry *grown;
	size_t room = list->room ? list->room * 2 : 64;

	if (list->n == list->room) {
		grown = realloc(list->entry, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		list->entry = grown;
		list->room = room;
	}
	list->entry[list->n++] = *e;
	return 0;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* What is left of a line without its comment and the blanks around it. */
static size_t strip(const char **line, size_t len)
{
	const char *comment = memchr(*line, '#', len);

	if (comment)
		len = (size_t)(comment - *line);
	for (; len && is_blank(**line); len--)
		(*line)++;
	while (len && is_blank((*line)[len - 1]))
		len--;
	return len;
}

static bool parse_line(const char *line, size_t len, struct addr_prefix *prefix)
{
	char text[ADDR_STRLEN + 8];

	if (len >= sizeof(text) || memchr(line, 0, len))
		return false;
	memcpy(text, line, len);
	text[len] = 0;
	return !addr_prefix_parse(prefix, text);
}

static void say(filterlist_fault_fn *fault, void *arg, uint32_t number, const char *line, size_t len)
{
	char sentence[200], shown[61];
	size_t n = len < sizeof(shown) - 1 ? len : sizeof(shown) - 1;

	if (!fault)
		return;
	for (size_t i = 0; i < n; i++)
		shown[i] = line[i] >= ' ' && line[i] < 127 ? line[i] : '?';
	shown[n] = 0;
	snprintf(sentence, sizeof(sentence),
		 "\"%s\" is not a network; write one a line, like 203.0.113.0/24 or 2001:db8::/32", shown);
	fault(arg, number, sentence);
}

int filterlist_parse(struct filterlist *list, const char *text, size_t len, enum weir_verdict verdict,
		     unsigned int source, filterlist_fault_fn *fault, void *arg)
{
	uint32_t number = 0;
	int wrong = 0;

	for (size_t at = 0; at < len;) {
		const char *line = text + at, *end = memchr(line, '\n', len - at);
		size_t n = end ? (size_t)(end - line) : len - at;
		struct filterlist_entry e;
		struct addr_prefix prefix;

		at += n + 1;
		number++;
		n = strip(&line, n);
		if (!n)
			continue;
		if (!parse_line(line, n, &prefix)) {
			say(fault, arg, number, line, n);
			wrong += wrong < 1000000000;
			continue;
		}
		filterlist_make(&e, &prefix, verdict, source, number);
		if (filterlist_add(list, &e))
			return -ENOMEM;
	}
	return wrong;
}

char *filterlist_format(const struct filterlist_entry *e, char *buf, size_t len)
{
	struct addr_prefix p = { .len = e->len };

	p.addr.family = e->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6;
	memcpy(p.addr.bytes, e->addr, sizeof(p.addr.bytes));
	return addr_prefix_format(&p, buf, len);
}

/* ---- what decides ---------------------------------------------------------------------------------- */

/* Families apart, then by address, networks before what is inside them. */
static int compare_place(const struct filterlist_entry *a, const struct filterlist_entry *b)
{
	int order = a->family - b->family;

	if (!order)
		order = memcmp(a->addr, b->addr, sizeof(a->addr));
	return order ? order : a->len - b->len;
}

/* And of two for the same network the one to allow first. */
static int compare(const void *x, const void *y)
{
	const struct filterlist_entry *a = x, *b = y;
	int order = compare_place(a, b);

	return order ? order : b->verdict - a->verdict;
}

/* Are the first e->len bits of addr those of e? */
static bool covers(const struct filterlist_entry *e, uint8_t family, const uint8_t *addr)
{
	unsigned int bytes = e->len / 8, rest = e->len % 8;

	if (e->family != family || memcmp(e->addr, addr, bytes) != 0)
		return false;
	return !rest || !((e->addr[bytes] ^ addr[bytes]) >> (8 - rest));
}

int filterlist_resolve(const struct filterlist *list, struct filterlist *out)
{
	const struct filterlist_entry *around[130]; /* those kept that contain where we are, widest first */
	size_t depth = 0;

	*out = (struct filterlist){ 0 };
	if (!list->n)
		return 0;
	out->entry = malloc(list->n * sizeof(*out->entry));
	if (!out->entry)
		return -ENOMEM;
	out->room = list->n;
	memcpy(out->entry, list->entry, list->n * sizeof(*out->entry));
	qsort(out->entry, list->n, sizeof(*out->entry), compare);
	for (size_t i = 0; i < list->n; i++) {
		struct filterlist_entry e = out->entry[i];

		while (depth && !covers(around[depth - 1], e.family, e.addr))
			depth--;
		/* Inside an allowed network nothing more is said; a block inside a block is none. */
		if (depth && (around[depth - 1]->verdict == WEIR_VERDICT_ALLOW ||
			      around[depth - 1]->verdict == e.verdict))
			continue;
		out->entry[out->n] = e;
		around[depth++] = &out->entry[out->n++];
	}
	return 0;
}

const struct filterlist_entry *filterlist_find(const struct filterlist *list, const struct addr *a)
{
	uint8_t family = a->family == AF_INET ? WEIR_FAMILY_4 : WEIR_FAMILY_6;
	struct filterlist_entry key = { .family = family, .len = 255 };
	size_t low = 0, high = list->n;

	memcpy(key.addr, a->bytes, family == WEIR_FAMILY_4 ? 4 : 16);
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_place(&list->entry[middle], &key) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	/* Networks that contain the address lie before it, the nearest decides. What lies between is walked
	 * over: people ask for one address at a time. */
	while (low--) {
		const struct filterlist_entry *e = &list->entry[low];

		if (e->family != family)
			return NULL;
		if (covers(e, family, key.addr))
			return e;
	}
	return NULL;
}

size_t filterlist_diff(const struct filterlist *from, const struct filterlist *to, filterlist_diff_fn *changed,
		       filterlist_diff_fn *gone, void *arg)
{
	size_t i = 0, j = 0, n = 0;

	while (i < from->n || j < to->n) {
		int order = i == from->n ? 1
			    : j == to->n ? -1
					 : compare_place(&from->entry[i], &to->entry[j]);

		if (order < 0) {
			if (gone)
				gone(arg, &from->entry[i], NULL);
			n++;
		} else if (order > 0 || from->entry[i].verdict != to->entry[j].verdict) {
			if (changed)
				changed(arg, &to->entry[j], order ? NULL : &from->entry[i]);
			n++;
		}
		i += order <= 0;
		j += order >= 0;
	}
	return n;
}
