// SPDX-License-Identifier: Apache-2.0
/*
 * expr_parse.c -- the text of an expression as a tree: top-down operator precedence (Pratt 1973),
 * one pass, bounded in length, number of nodes and depth.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/upload/expr_tree.h"

enum token { T_END, T_NUMBER, T_TEXT, T_NAME, T_QUOTED_NAME, T_SIGN };

struct parser {
	struct expr *e;
	const char *text;
	size_t pos; /* behind the token */
	enum token token;
	size_t at, len; /* of the token */
	struct value value;
	unsigned int depth;
	char *why;
	size_t *fault_at;
	int err;
};

int expr_refuse(const struct expr *e, size_t at, char why[160], const char *fmt, ...)
{
	size_t column = 1, used;
	va_list args;

	for (size_t i = 0; i < at && e->text[i]; i++)
		column += (e->text[i] & 0xc0) != 0x80;
	used = (size_t)snprintf(why, 160, "column %zu: ", column);
	va_start(args, fmt);
	vsnprintf(why + used, 160 - used, fmt, args);
	va_end(args);
	return -EINVAL;
}

#define REFUSE(p, where, ...)                                                                      \
	do {                                                                                       \
		if (!(p)->err) {                                                                   \
			(p)->err = expr_refuse((p)->e, where, (p)->why, __VA_ARGS__);              \
			*(p)->fault_at = where;                                                    \
		}                                                                                  \
	} while (0)

/* ---- tokens ---- */

static bool name_begins(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static char *pool_put(struct parser *p, const char *text, size_t len)
{
	char *at = p->e->pool +
		   p->e->used; /* the pool has twice the text's length: every part is shorter */

	memcpy(at, text, len);
	at[len] = '\0';
	p->e->used += len + 1;
	return at;
}

static void take_number(struct parser *p)
{
	const char *s = p->text + p->at;
	size_t n = strspn(s, "0123456789");
	bool whole = true;
	char buf[64];

	if (s[n] == '.' && digit(s[n + 1])) {
		n += 1 + strspn(s + n + 1, "0123456789");
		whole = false;
	}
	if ((s[n] == 'e' || s[n] == 'E') &&
	    (digit(s[n + 1]) || ((s[n + 1] == '-' || s[n + 1] == '+') && digit(s[n + 2])))) {
		n += 2 + strspn(s + n + 2, "0123456789");
		whole = false;
	}
	p->pos = p->at + n;
	p->len = n;
	p->token = T_NUMBER;
	if (n >= sizeof(buf) || name_begins(s[n])) {
		REFUSE(p, p->at,
		       name_begins(s[n]) ? "a name cannot begin with a digit; put it in `backticks`"
					 : "the number is too long; shorten it");
		return;
	}
	memcpy(buf, s, n);
	buf[n] = '\0';
	p->value = (struct value){ .type = FIELD_NUMBER, .d = strtod(buf, NULL) };
	if (whole && n <= 18)
		expr_integer(&p->value, strtoll(buf, NULL, 10));
	else if (!isfinite(p->value.d))
		REFUSE(p, p->at, "the number is too large; write one below 1e308");
}

/* 'text' or `name`, with its sign doubled inside. */
static void take_quoted(struct parser *p, char quote)
{
	char *begin = p->e->pool + p->e->used, *out = begin;
	size_t i = p->at + 1;
	bool closed = false;

	for (; p->text[i]; i++) {
		closed = p->text[i] == quote && p->text[++i] != quote;
		if (closed)
			break;
		*out++ = p->text[i];
	}
	if (!closed) {
		REFUSE(p, p->at, "the %s does not end; close it with %c",
		       quote == '\'' ? "text" : "name", quote);
		p->pos = p->at + strlen(p->text + p->at);
		return;
	}
	*out = '\0';
	p->e->used += (size_t)(out - begin) + 1;
	p->pos = i;
	p->len = i - p->at;
	p->token = quote == '\'' ? T_TEXT : T_QUOTED_NAME;
	p->value =
		(struct value){ .type = FIELD_STRING, .text = begin, .len = (size_t)(out - begin) };
}

static void next(struct parser *p)
{
	static const char *const signs[] = { "<=", ">=", "<>", "!=", "==", "<", ">", "=",
					     "(",  ")",	 ",",  "+",  "-",  "*", "/", "%" };
	const char *s;

	p->pos += strspn(p->text + p->pos, " \t\r\n");
	p->at = p->pos;
	s = p->text + p->at;
	p->token = T_END;
	p->len = 0;
	if (!*s || p->err)
		return;
	if (digit(*s) || (*s == '.' && digit(s[1]))) {
		take_number(p);
	} else if (*s == '\'' || *s == '`') {
		take_quoted(p, *s);
	} else if (name_begins(*s)) {
		while (name_begins(s[p->len]) || digit(s[p->len]))
			p->len++;
		p->pos += p->len;
		p->token = T_NAME;
	} else {
		for (size_t i = 0; i < sizeof(signs) / sizeof(*signs); i++)
			if (!strncmp(s, signs[i], strlen(signs[i]))) {
				p->len = strlen(signs[i]);
				p->pos += p->len;
				p->token = T_SIGN;
				return;
			}
		if (*s == '"')
			REFUSE(p, p->at,
			       "\" is not known; put texts in 'single quotes' and names in "
			       "`backticks`");
		else if (*s == '&' || *s == '|' || *s == '!')
			REFUSE(p, p->at, "\"%c\" is not known; write and, or, not", *s);
		else
			REFUSE(p, p->at,
			       "\"%c\" is not known here; names with such signs stand in "
			       "`backticks`",
			       (unsigned char)*s < ' ' ? '?' : *s);
	}
}

static bool is_sign(const struct parser *p, const char *sign)
{
	return p->token == T_SIGN && strlen(sign) == p->len &&
	       !memcmp(p->text + p->at, sign, p->len);
}

static bool is_word(const struct parser *p, const char *word)
{
	return p->token == T_NAME && strlen(word) == p->len &&
	       !strncasecmp(p->text + p->at, word, p->len);
}

static bool accept_sign(struct parser *p, const char *sign)
{
	if (!is_sign(p, sign))
		return false;
	next(p);
	return true;
}

static bool accept_word(struct parser *p, const char *word)
{
	if (!is_word(p, word))
		return false;
	next(p);
	return true;
}

static void expect(struct parser *p, const char *sign)
{
	if (!accept_sign(p, sign))
		REFUSE(p, p->at,
		       p->token == T_END ? "the expression ends; \"%s\" is missing"
					 : "\"%s\" is missing here; add it",
		       sign);
}

/* ---- nodes ---- */

static uint16_t node(struct parser *p, enum expr_op op, size_t at)
{
	struct expr_node *n;

	if (p->e->nnodes == EXPR_NODES_MAX) {
		REFUSE(p, at, "the expression has more than %u parts; write several rules",
		       EXPR_NODES_MAX);
		return 0;
	}
	n = &p->e->nodes[p->e->nnodes];
	*n = (struct expr_node){ .op = (uint8_t)op, .depth = 1, .at = (uint32_t)at };
	return (uint16_t)p->e->nnodes++;
}

static void add_kid(struct parser *p, uint16_t parent, uint16_t kid)
{
	struct expr_node *n = p->e->nodes;
	uint16_t *link = &n[parent].kid;

	if (!parent || !kid)
		return;
	while (*link)
		link = &n[*link].next;
	*link = kid;
	if (n[kid].depth >= n[parent].depth)
		n[parent].depth = (uint8_t)(n[kid].depth + 1);
	if (n[parent].depth > EXPR_DEPTH_MAX)
		REFUSE(p, n[parent].at,
		       "the expression is nested deeper than %u; write several rules",
		       EXPR_DEPTH_MAX);
}

static uint16_t constant(struct parser *p, const struct value *v, size_t at)
{
	uint16_t n = node(p, EXPR_CONSTANT, at);

	if (n)
		p->e->nodes[n].v = *v;
	return n;
}

static uint16_t column(struct parser *p, const char *name, size_t at)
{
	uint16_t n = node(p, EXPR_COLUMN, at);
	size_t i = 0;

	while (i < p->e->nnames && strcmp(p->e->names[i], name))
		i++;
	if (i == EXPR_COLUMNS_MAX) {
		REFUSE(p, at, "the expression uses more than %u columns; write several rules",
		       EXPR_COLUMNS_MAX);
		return 0;
	}
	if (i == p->e->nnames)
		p->e->names[p->e->nnames++] = name;
	p->e->nodes[n].column = (uint16_t)i;
	return n;
}

/* ---- grammar ---- */

static uint16_t parse(struct parser *p, unsigned int floor);

static const struct function {
	const char *name;
	enum expr_op op;
	unsigned int min, max;
	const char *form;
} functions[] = {
	{ "if", EXPR_IF, 3, 3, "if(condition, then, else)" },
	{ "coalesce", EXPR_COALESCE, 1, 32, "coalesce(a, b, ...)" },
	{ "len", EXPR_LEN, 1, 1, "len(text)" },
	{ "lower", EXPR_LOWER, 1, 1, "lower(text)" },
	{ "upper", EXPR_UPPER, 1, 1, "upper(text)" },
	{ "trim", EXPR_TRIM, 1, 1, "trim(text)" },
	{ "substr", EXPR_SUBSTR, 2, 3, "substr(text, from, count)" },
	{ "concat", EXPR_CONCAT, 1, 32, "concat(a, b, ...)" },
	{ "matches", EXPR_MATCHES, 2, 2, "matches(text, 'pattern')" },
	{ "round", EXPR_ROUND, 1, 2, "round(number, digits)" },
	{ "abs", EXPR_ABS, 1, 1, "abs(number)" },
	{ "date", EXPR_DATE, 1, 1, "date('2026-01-31')" },
	{ "year", EXPR_YEAR, 1, 1, "year(date)" },
	{ "month", EXPR_MONTH, 1, 1, "month(date)" },
	{ "day", EXPR_DAY, 1, 1, "day(date)" },
};

static void check_pattern(struct parser *p, uint16_t call)
{
	struct expr_node *n = &p->e->nodes[call], *text = &p->e->nodes[p->e->nodes[n->kid].next];
	char why[160];
	int err;

	if (text->op != EXPR_CONSTANT || text->v.type != FIELD_STRING) {
		REFUSE(p, text->at, "a pattern is a text in quotes; write matches(name, '[A-Z]+')");
		return;
	}
	if (p->e->npatterns++ == EXPR_PATTERNS_MAX) {
		REFUSE(p, n->at, "the expression has more than %u patterns; write several rules",
		       EXPR_PATTERNS_MAX);
		return;
	}
	err = pattern_new(&n->pattern, text->v.text, why);
	if (err == -ENOMEM)
		p->err = err;
	else if (err)
		REFUSE(p, text->at, "%s", why);
}

/* Behind "name(". */
static uint16_t call(struct parser *p, const char *name, size_t len, size_t at)
{
	const struct function *f = NULL;
	unsigned int n = 0;
	uint16_t result;

	for (size_t i = 0; i < sizeof(functions) / sizeof(*functions); i++)
		if (strlen(functions[i].name) == len && !strncasecmp(functions[i].name, name, len))
			f = &functions[i];
	if (!f) {
		if (len == 5 && !strncasecmp(name, "today", 5))
			REFUSE(p, at,
			       "today() is not there: a rule must say the same tomorrow; write "
			       "date('2026-01-31')");
		REFUSE(p, at,
		       "there is no function %.*s(); there are if coalesce len lower upper trim "
		       "substr concat matches round abs date year month day",
		       (int)(len > 20 ? 20 : len), name);
		return 0;
	}
	result = node(p, f->op, at);
	if (!is_sign(p, ")"))
		do {
			add_kid(p, result, parse(p, 0));
			n++;
		} while (!p->err && n <= f->max && accept_sign(p, ","));
	if (!p->err && (n < f->min || n > f->max))
		REFUSE(p, at, "%s() does not take %u values; write %s", f->name, n, f->form);
	expect(p, ")");
	if (!p->err && f->op == EXPR_MATCHES)
		check_pattern(p, result);
	return result;
}

static uint16_t name_or_call(struct parser *p)
{
	static const char *const words[] = {
		"and", "or", "in", "is", "null", "true", "false", "not"
	};
	const char *name = p->text + p->at;
	size_t len = p->len, at = p->at;
	struct value v = { .type = FIELD_BOOLEAN };

	if (is_word(p, "true") || is_word(p, "false")) {
		v.i = is_word(p, "true");
		next(p);
		return constant(p, &v, at);
	}
	if (accept_word(p, "null")) {
		expr_null(&v);
		return constant(p, &v, at);
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (is_word(p, words[i])) {
			REFUSE(p, at,
			       "\"%s\" stands where a value is wanted; put a value before it, or a "
			       "column of this name in `backticks`",
			       words[i]);
			return 0;
		}
	next(p);
	if (accept_sign(p, "("))
		return call(p, name, len, at);
	return column(p, pool_put(p, name, len), at);
}

static uint16_t unary(struct parser *p, enum expr_op op, unsigned int floor, size_t at)
{
	uint16_t n = node(p, op, at);

	add_kid(p, n, parse(p, floor));
	return n;
}

enum { P_OR = 1, P_AND, P_NOT, P_COMPARE, P_ADD, P_MUL, P_UNARY };

static uint16_t primary(struct parser *p)
{
	struct value v = p->value;
	size_t at = p->at;
	uint16_t n;

	switch (p->token) {
	case T_NUMBER:
	case T_TEXT:
		next(p);
		return constant(p, &v, at);
	case T_QUOTED_NAME:
		next(p);
		return column(p, v.text, at);
	case T_NAME:
		if (accept_word(p, "not"))
			return unary(p, EXPR_NOT, P_NOT, at);
		return name_or_call(p);
	case T_SIGN:
		if (accept_sign(p, "("))
			break;
		if (accept_sign(p, "-"))
			return unary(p, EXPR_NEG, P_UNARY, at);
		/* fall through */
	default:
		REFUSE(p, at,
		       p->token == T_END
			       ? "the expression ends where a value is wanted; add one"
			       : "a value is wanted here; write a number, 'text' or a column");
		return 0;
	}
	n = parse(p, 0);
	expect(p, ")");
	return n;
}

static uint16_t in_list(struct parser *p, uint16_t left, bool negated, size_t at)
{
	uint16_t n = node(p, negated ? EXPR_NOT_IN : EXPR_IN, at);

	add_kid(p, n, left);
	expect(p, "(");
	do
		add_kid(p, n, parse(p, 0));
	while (!p->err && accept_sign(p, ","));
	expect(p, ")");
	return n;
}

static const struct infix {
	const char *sign;
	enum expr_op op;
	unsigned int power;
} infixes[] = {
	{ "<=", EXPR_LE, P_COMPARE }, { ">=", EXPR_GE, P_COMPARE }, { "<>", EXPR_NE, P_COMPARE },
	{ "!=", EXPR_NE, P_COMPARE }, { "==", EXPR_EQ, P_COMPARE }, { "=", EXPR_EQ, P_COMPARE },
	{ "<", EXPR_LT, P_COMPARE },  { ">", EXPR_GT, P_COMPARE },  { "+", EXPR_ADD, P_ADD },
	{ "-", EXPR_SUB, P_ADD },     { "*", EXPR_MUL, P_MUL },	    { "/", EXPR_DIV, P_MUL },
	{ "%", EXPR_MOD, P_MUL },
};

/* is null, in (…), not in (…); 0 when it is none of them, with the token as it was. */
static uint16_t postfix(struct parser *p, uint16_t left)
{
	size_t at = p->at;
	bool negated;
	uint16_t n;

	if (accept_word(p, "is")) {
		negated = accept_word(p, "not");
		if (!accept_word(p, "null"))
			REFUSE(p, p->at,
			       "\"is\" stands before null or not null only; write = for values");
		n = node(p, negated ? EXPR_IS_NOT_NULL : EXPR_IS_NULL, at);
		add_kid(p, n, left);
		return n;
	}
	if (accept_word(p, "in"))
		return in_list(p, left, false, at);
	if (!accept_word(p, "not"))
		return 0;
	if (!accept_word(p, "in"))
		REFUSE(p, p->at,
		       "\"not\" stands before in (…) or before a condition only; write and not, or "
		       "!=");
	return in_list(p, left, true, at);
}

/* One operator and what is right of it; left itself when none binds as strongly as floor. */
static uint16_t infix(struct parser *p, uint16_t left, unsigned int floor, bool *compared)
{
	const struct infix *found = NULL;
	static const struct infix word_and = { "and", EXPR_AND, P_AND },
				  word_or = { "or", EXPR_OR, P_OR };
	size_t at = p->at;
	uint16_t n;

	if (is_word(p, "and"))
		found = &word_and;
	else if (is_word(p, "or"))
		found = &word_or;
	for (size_t i = 0; p->token == T_SIGN && !found && i < sizeof(infixes) / sizeof(*infixes);
	     i++)
		if (is_sign(p, infixes[i].sign))
			found = &infixes[i];
	if (!found && floor < P_COMPARE && (n = postfix(p, left)))
		return n;
	if (!found || found->power <= floor)
		return left;
	if (found->power == P_COMPARE && *compared) {
		REFUSE(p, at, "comparisons do not chain; write a < b and b < c");
		return left;
	}
	*compared = found->power == P_COMPARE;
	next(p);
	n = node(p, found->op, at);
	add_kid(p, n, left);
	add_kid(p, n, parse(p, found->power));
	return n;
}

/* What binds more strongly than floor. */
static uint16_t parse(struct parser *p, unsigned int floor)
{
	bool compared = false;
	uint16_t left, n;

	if (p->err)
		return 0;
	if (++p->depth > EXPR_DEPTH_MAX) {
		REFUSE(p, p->at, "the expression is nested deeper than %u; write several rules",
		       EXPR_DEPTH_MAX);
		return 0;
	}
	left = primary(p);
	while (!p->err && (n = infix(p, left, floor, &compared)) != left)
		left = n;
	p->depth--;
	return left;
}

int expr_parse(struct expr **out, const char *text, char why[160], size_t *at)
{
	struct expr *e = calloc(1, sizeof(*e));
	struct parser p = { .e = e, .text = text, .why = why, .fault_at = at };
	size_t len = strlen(text);

	if (!e)
		return -ENOMEM;
	*at = 0;
	if (len > EXPR_TEXT_MAX) {
		snprintf(why, 160,
			 "column %u: the expression has more than %u bytes; write several rules",
			 EXPR_TEXT_MAX + 1, EXPR_TEXT_MAX);
		*at = EXPR_TEXT_MAX;
		free(e);
		return -EINVAL;
	}
	e->text = strdup(text);
	e->pool = malloc(2 * len + 16);
	e->nodes = calloc(EXPR_NODES_MAX, sizeof(*e->nodes));
	e->nnodes = 1;
	if (e->text && e->pool && e->nodes) {
		next(&p);
		e->root = parse(&p, 0);
		if (p.token != T_END)
			REFUSE(&p, p.at,
			       "the expression goes on behind its end; add and, or, or a comma");
	} else {
		p.err = -ENOMEM;
	}
	if (p.err) {
		expr_free(e);
		return p.err;
	}
	p.e->nodes = realloc(e->nodes, e->nnodes * sizeof(*e->nodes)) ?: e->nodes;
	*out = e;
	return 0;
}
