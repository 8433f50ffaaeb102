/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.c -- regular expressions as tables: Glushkov's automaton (a state for each character of the expression, Glushkov
 * 1961), made deterministic by subsets, over classes of bytes that no character of it tells apart.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/pattern.h"
#include "lib/utf8.h"

#define POSITIONS 256u
#define STATES	  512u
#define LARGE	  "too large; shorten it or its repetitions"
#define BACKSLASH "\\ before a sign that means nothing known; write \\d \\w \\s, or \\ before punctuation"
#define DEPTH	  32u
#define STEPS	  8192u /* atoms looked at, copies counted */

struct set { /* of positions, or of bytes */
	uint64_t w[4];
};

struct pattern {
	uint8_t class_of[256];
	uint32_t nclasses;
	uint8_t *accepts;
	uint32_t *next; /* [state * nclasses + class], times nclasses; state 0 is dead, 1 the first */
};

struct parser {
	const char *text;
	size_t at;
	unsigned int depth, npositions, steps;
	const char *why; /* the first fault, NULL: none */
	size_t why_at;
	struct set bytes[POSITIONS], follow[POSITIONS];
};

struct part {
	bool nullable;
	struct set first, last;
};

static void set_add(struct set *s, unsigned int i)
{
	s->w[i >> 6] |= 1ull << (i & 63);
}

static bool set_has(const struct set *s, unsigned int i)
{
	return s->w[i >> 6] >> (i & 63) & 1;
}

static void set_or(struct set *s, const struct set *o)
{
	for (int i = 0; i < 4; i++)
		s->w[i] |= o->w[i];
}

static void fail(struct parser *p, const char *why)
{
	if (p->why)
		return;
	p->why = why;
	p->why_at = p->at;
}

static struct part part_position(struct parser *p, const struct set *bytes)
{
	struct part part = { 0 };

	if (p->npositions == POSITIONS) {
		fail(p, LARGE);
		return part;
	}
	p->bytes[p->npositions] = *bytes;
	set_add(&part.first, p->npositions);
	part.last = part.first;
	p->npositions++;
	return part;
}

static void link_parts(struct parser *p, const struct set *last, const struct set *first)
{
	for (unsigned int i = 0; i < p->npositions; i++)
		if (set_has(last, i))
			set_or(&p->follow[i], first);
}

static struct part concat(struct parser *p, struct part a, struct part b)
{
	struct part both = { .nullable = a.nullable && b.nullable, .first = a.first, .last = b.last };

	link_parts(p, &a.last, &b.first);
	if (a.nullable)
		set_or(&both.first, &b.first);
	if (b.nullable)
		set_or(&both.last, &a.last);
	return both;
}

static struct part either(struct part a, struct part b)
{
	a.nullable |= b.nullable;
	set_or(&a.first, &b.first);
	set_or(&a.last, &b.last);
	return a;
}

/* These ASCII characters, and, when beyond, any other: a first byte, and what continues it (values are UTF-8). */
static struct part part_chars(struct parser *p, const struct set *ascii, bool beyond)
{
	struct part part = part_position(p, ascii), other, rest;
	struct set lead = { 0 }, more = { 0 };

	if (!beyond)
		return part;
	for (unsigned int b = 0x80; b < 0x100; b++)
		set_add(b < 0xc0 ? &more : &lead, b);
	other = part_position(p, &lead);
	rest = part_position(p, &more);
	link_parts(p, &rest.last, &rest.first);
	rest.nullable = true;
	return either(part, concat(p, other, rest));
}

static bool in_class(const char *name, size_t len, unsigned int c)
{
	static const struct {
		const char *name;
		const char *ranges; /* pairs */
	} classes[] = { { "alpha", "AZaz" },	  { "digit", "09" },	      { "alnum", "09AZaz" }, { "upper", "AZ" },
			{ "lower", "az" },	  { "space", "\t\r  " },      { "blank", "\t\t  " }, { "punct", "!/:@[`{~" },
			{ "xdigit", "09AFaf" },	  { "print", " ~" },	      { "graph", "!~" },     { "cntrl", "\1\37\177\177" },
			{ "word", "09AZaz__" },	  { NULL, NULL } };

	for (int i = 0; classes[i].name; i++) {
		if (strlen(classes[i].name) != len || memcmp(classes[i].name, name, len))
			continue;
		for (const char *r = classes[i].ranges; *r; r += 2)
			if (c >= (unsigned char)r[0] && c <= (unsigned char)r[1])
				return true;
	}
	return false;
}

/* \d \w \s (D, W, S: not these), else the character itself. */
static bool escape(struct set *s, char c, bool *beyond)
{
	const char *name = (c | 0x20) == 'd' ? "digit" : (c | 0x20) == 'w' ? "word" : (c | 0x20) == 's' ? "space" : NULL;
	bool not = c >= 'A' && c <= 'Z';

	if (name) {
		for (unsigned int b = 0; b < 0x80; b++)
			if (in_class(name, strlen(name), b) != not)
				set_add(s, b);
		*beyond |= not;
		return true;
	}
	if (c == 't' || c == 'n' || c == 'r') {
		set_add(s, c == 't' ? '\t' : c == 'n' ? '\n' : '\r');
		return true;
	}
	if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '<' || c == '>' || c == '`' || c == '\'' || (unsigned char)c >= 0x80)
		return false; /* back references, boundaries */
	set_add(s, (unsigned char)c);
	return true;
}

/* "[:alpha:]" inside brackets; false: none here. */
static bool named_class(struct parser *p, struct set *s)
{
	const char *from = p->text + p->at + 2, *end;

	if (p->text[p->at + 1] != ':')
		return false;
	end = strstr(from, ":]");
	if (!end) {
		fail(p, "[: without :]");
		return false;
	}
	for (unsigned int c = 0; c < 0x80; c++)
		if (in_class(from, (size_t)(end - from), c))
			set_add(s, c);
	p->at = (size_t)(end - p->text) + 2;
	return true;
}

/* Behind '['. */
static struct part bracket(struct parser *p)
{
	struct set s = { 0 };
	bool not = p->text[p->at] == '^', beyond = false, first = true;

	p->at += not;
	for (; p->text[p->at] && (p->text[p->at] != ']' || first) && !p->why; first = false) {
		unsigned char c = (unsigned char)p->text[p->at], to = c;

		if (c >= 0x80 || (c == '[' && strchr(".=", p->text[p->at + 1]) && p->text[p->at + 1])) {
			fail(p, c >= 0x80 ? "a character beyond ASCII in brackets; write (a|b)" : "[. and [= are not known; name the characters");
			break;
		}
		if (c == '[' && named_class(p, &s))
			continue;
		p->at++;
		if (c == '\\' && p->text[p->at]) {
			if (!escape(&s, p->text[p->at++], &beyond))
				fail(p, BACKSLASH);
			continue;
		}
		if (p->text[p->at] == '-' && p->text[p->at + 1] && p->text[p->at + 1] != ']') {
			to = (unsigned char)p->text[p->at + 1];
			p->at += 2;
			if (to < c || to >= 0x80 || to == '[' || to == '\\')
				fail(p, "a range that ends before it begins; write the lower character first");
		}
		for (unsigned int b = c; b <= to && !p->why; b++)
			set_add(&s, b);
	}
	if (p->text[p->at] != ']')
		fail(p, "[ without ]");
	else
		p->at++;
	if (not) {
		s.w[0] = ~s.w[0];
		s.w[1] = ~s.w[1];
	}
	return part_chars(p, &s, beyond != not);
}

static struct part alternatives(struct parser *p);

static struct part literal(struct parser *p)
{
	size_t n = utf8_char(p->text + p->at, strlen(p->text + p->at));
	struct part part = { .nullable = true };

	if (!n)
		fail(p, "a byte that is no UTF-8");
	for (size_t i = 0; i < n; i++) {
		struct set s = { 0 };

		set_add(&s, (unsigned char)p->text[p->at++]);
		part = concat(p, part, part_position(p, &s));
	}
	return part;
}

static struct part atom(struct parser *p)
{
	struct part part = { .nullable = true };
	struct set s = { 0 };
	bool beyond = false;
	char c = p->text[p->at];

	if (++p->steps > STEPS)
		fail(p, LARGE);
	switch (c) {
	case '(':
		p->at++;
		if (p->text[p->at] == '?' && p->text[p->at + 1] != ':')
			fail(p, "looking around is not known; write what fits");
		if (p->text[p->at] == '?')
			p->at += 2;
		if (++p->depth > DEPTH)
			fail(p, "( too deep");
		if (p->why)
			return part;
		part = alternatives(p);
		p->depth--;
		if (p->text[p->at] != ')')
			fail(p, "( without )");
		else
			p->at++;
		return part;
	case '[':
		p->at++;
		return bracket(p);
	case '.':
		p->at++;
		s.w[0] = s.w[1] = ~0ull;
		return part_chars(p, &s, true);
	case '\\':
		c = p->text[p->at + 1];
		if (!c || !escape(&s, c, &beyond)) {
			fail(p, BACKSLASH);
			return part;
		}
		p->at += 2;
		return part_chars(p, &s, beyond);
	case '*': case '+': case '?': case '{': case '^': case '$':
		fail(p, strchr("^$", c) ? "^ and $ mean nothing inside; leave them away" : "nothing to repeat; write \\ before the sign");
		return part;
	}
	return literal(p);
}

/* "{m}", "{m,}", "{m,n}" at p->at; false: it is none. */
static bool bounds(struct parser *p, unsigned int *min, unsigned int *max)
{
	char *end;
	unsigned long n = strtoul(p->text + p->at + 1, &end, 10), m = n;

	if (end == p->text + p->at + 1)
		return false;
	if (*end == ',') {
		const char *from = end + 1;

		m = strtoul(from, &end, 10);
		if (end == from)
			m = UINT32_MAX;
	}
	if (*end != '}' || n > POSITIONS || m < n || (m > POSITIONS && m != UINT32_MAX))
		return false;
	*min = (unsigned int)n;
	*max = (unsigned int)m;
	p->at = (size_t)(end - p->text) + 1;
	return true;
}

static struct part repeated(struct parser *p)
{
	size_t start = p->at, behind;
	struct part part = atom(p), all = { .nullable = true };
	unsigned int min = 1, max = 1, i = 1;
	char c = p->text[p->at];

	if (p->why || !c || !strchr("*+?{", c))
		return part;
	if (c == '{') {
		if (!bounds(p, &min, &max))
			fail(p, "{ without numbers up to 256 and }; write \\{ for the sign");
	} else {
		min = c == '+';
		max = c == '?' ? 1 : UINT32_MAX;
		p->at++;
	}
	behind = p->at;
	if (p->text[behind] && strchr("*+?{", p->text[behind]))
		fail(p, "two repetitions of one thing; put the first in parentheses");
	if (p->why)
		return part;
	if (!max)
		return all;
	for (;; i++) { /* as many copies of the atom as there are bounds */
		bool last = max == UINT32_MAX ? i >= min : i == max;

		if (last && max == UINT32_MAX)
			link_parts(p, &part.last, &part.first);
		part.nullable |= i > min;
		all = concat(p, all, part);
		if (last || p->why)
			break;
		p->at = start;
		part = atom(p);
	}
	p->at = behind;
	return all;
}

static struct part sequence(struct parser *p)
{
	struct part all = { .nullable = true };

	if (p->text[p->at] == '^' && !p->depth)
		p->at++;
	while (p->text[p->at] && p->text[p->at] != '|' && p->text[p->at] != ')' && !p->why) {
		if (p->text[p->at] == '$' && !p->depth && (!p->text[p->at + 1] || p->text[p->at + 1] == '|')) {
			p->at++;
			break;
		}
		all = concat(p, all, repeated(p));
	}
	return all;
}

static struct part alternatives(struct parser *p)
{
	struct part all = sequence(p);

	while (p->text[p->at] == '|' && !p->why) {
		p->at++;
		all = either(all, sequence(p));
	}
	return all;
}

/* Bytes that are in the same positions' sets are one class. */
static void classes_make(struct pattern *x, const struct parser *p)
{
	uint8_t example[256];

	for (unsigned int b = 0; b < 256; b++) {
		unsigned int c = 0;

		for (; c < x->nclasses; c++) {
			unsigned int i = 0;

			while (i < p->npositions && set_has(&p->bytes[i], b) == set_has(&p->bytes[i], example[c]))
				i++;
			if (i == p->npositions)
				break;
		}
		if (c == x->nclasses)
			example[x->nclasses++] = (uint8_t)b;
		x->class_of[b] = (uint8_t)c;
	}
}

/* The state of this set of positions, a new one perhaps; 0 when there are too many. */
static unsigned int state_of(struct set *states, unsigned int *n, const struct set *s)
{
	for (unsigned int i = 2; i < *n; i++)
		if (!memcmp(&states[i], s, sizeof(*s)))
			return i;
	if (*n == STATES)
		return 0;
	states[*n] = *s;
	return (*n)++;
}

static int tables_make(struct pattern *x, const struct parser *p, const struct part *whole)
{
	struct set *states = calloc(STATES, sizeof(*states));
	unsigned int n = 2;
	int rc = 0;

	x->next = calloc(STATES * x->nclasses, sizeof(*x->next));
	x->accepts = calloc(STATES, 1);
	if (!states || !x->next || !x->accepts) {
		free(states);
		return -ENOMEM;
	}
	x->accepts[1] = whole->nullable;
	for (unsigned int s = 1; s < n && !rc; s++) {
		for (unsigned int b = 0, done = 0; b < 256 && !rc; b++) {
			struct set to = { 0 };

			if (x->class_of[b] != done)
				continue;
			done++; /* classes are numbered in the order of their first byte */
			for (unsigned int i = 0; i < p->npositions; i++)
				if ((s == 1 ? set_has(&whole->first, i) : 0) && set_has(&p->bytes[i], b))
					set_add(&to, i);
			for (unsigned int i = 0; s > 1 && i < p->npositions; i++)
				if (set_has(&states[s], i))
					set_or(&to, &p->follow[i]);
			for (unsigned int i = 0; s > 1 && i < p->npositions; i++)
				if (set_has(&to, i) && !set_has(&p->bytes[i], b))
					to.w[i >> 6] &= ~(1ull << (i & 63));
			if (!(to.w[0] | to.w[1] | to.w[2] | to.w[3]))
				continue;
			x->next[s * x->nclasses + x->class_of[b]] = state_of(states, &n, &to) * x->nclasses;
			rc = x->next[s * x->nclasses + x->class_of[b]] ? 0 : -EINVAL;
		}
		for (int w = 0; w < 4 && s > 1; w++)
			x->accepts[s] |= (states[s].w[w] & whole->last.w[w]) != 0;
	}
	free(states);
	return rc;
}

/* "what is wrong at N; what would be right" */
static void said(char why[160], const struct parser *p)
{
	const char *rest = strchr(p->why, ';');

	snprintf(why, 160, "%.*s at %zu%s", rest ? (int)(rest - p->why) : (int)strlen(p->why), p->why, p->why_at + 1, rest ? rest : "");
}

int pattern_new(struct pattern **out, const char *text, char why[160])
{
	struct parser *p = calloc(1, sizeof(*p));
	struct pattern *x = calloc(1, sizeof(*x));
	struct part whole;
	int rc = -ENOMEM;

	if (p && x) {
		p->text = text;
		if (strlen(text) > PATTERN_TEXT_MAX)
			fail(p, LARGE);
		whole = alternatives(p);
		if (text[p->at])
			fail(p, ") without (");
		classes_make(x, p);
		rc = p->why ? -EINVAL : tables_make(x, p, &whole);
		if (rc == -EINVAL && !p->why)
			fail(p, LARGE);
		if (p->why)
			said(why, p);
	}
	free(p);
	if (rc)
		pattern_free(x);
	else
		*out = x;
	return rc;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	free(p->next);
	free(p->accepts);
	free(p);
}

bool pattern_match(const struct pattern *p, const char *text, size_t len)
{
	const uint32_t *next = p->next;
	uint32_t s = p->nclasses;

	for (size_t i = 0; i < len && s; i++)
		s = next[s + p->class_of[(unsigned char)text[i]]];
	return s && p->accepts[s / p->nclasses];
}
