// SPDX-License-Identifier: Apache-2.0
/*
 * rules_tree.c -- the text of a dataset's rules as nodes with lines, and the faults that are found
 * in it.
 *
 * YAML is read by libyaml's events; JSON is YAML but for pairs of surrogates, which are joined
 * before. What a reader would have to be an expert for (anchors, tags, several documents), or a
 * machine would drown in (depth, number), is refused here.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "http/upload/rules_table.h"

struct rules_block {
	struct rules_block *next;
	size_t used, size;
	max_align_t data[];
};

#define BLOCK 16384u

void *rules_alloc(struct rules_arena *arena, size_t size)
{
	struct rules_block *b = arena->first;
	size_t need = (size + 15) & ~(size_t)15, room = need > BLOCK ? need : BLOCK;

	if (need < size)
		return NULL;
	if (!b || b->size - b->used < need) {
		b = calloc(1, sizeof(*b) + room);
		if (!b)
			return NULL;
		b->size = room;
		b->next = arena->first;
		arena->first = b;
	}
	b->used += need;
	return (char *)b->data + b->used - need;
}

char *rules_copy(struct rules_arena *arena, const char *text)
{
	size_t len = strlen(text) + 1;
	char *copy = rules_alloc(arena, len);

	return copy ? memcpy(copy, text, len) : NULL;
}

void rules_arena_free(struct rules_arena *arena)
{
	while (arena->first) {
		struct rules_block *next = arena->first->next;

		free(arena->first);
		arena->first = next;
	}
}

/* ---- faults ---- */

void rules_fault_at(struct rules_faults *faults, size_t line, const char *path,
		    const char *sentence)
{
	struct rules_fault *f = &faults->list[faults->n];
	size_t len = strlen(path) + strlen(sentence) + 3;

	if (faults->n == sizeof(faults->list) / sizeof(*faults->list)) {
		faults->left_out++;
		return;
	}
	f->text = rules_alloc(faults->arena, len);
	if (!f->text) {
		faults->no_memory = true;
		return;
	}
	f->line = line;
	f->order = faults->n++;
	snprintf(f->text, len, "%s: %s", path, sentence);
	/* What the text says comes back in its faults: not as control characters. */
	for (char *c = f->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

/* "columns[2].constraints.minLength", as the text has it; at most size bytes. */
static void node_path(const struct node *node, const char *name, char *out, size_t size)
{
	const struct node *up[RULES_DEPTH_MAX + 4];
	size_t n = 0, used = 0;

	for (; node && n < RULES_DEPTH_MAX + 4; node = node->parent) {
		node = node->as ? node->as : node;
		up[n++] = node;
	}
	*out = '\0';
	while (n--) {
		if (used >= size - 1)
			return;
		if (up[n]->name)
			used += (size_t)snprintf(out + used, size - used, "%s%.60s",
						 used ? "." : "", up[n]->name);
		else if (up[n]->parent)
			used += (size_t)snprintf(out + used, size - used, "[%zu]", up[n]->index);
	}
	if (name && used < size - 1)
		snprintf(out + used, size - used, "%s%.60s", used ? "." : "", name);
}

void rules_fault(struct rules_faults *faults, const struct node *node, const char *name,
		 const char *fmt, ...)
{
	char sentence[RULES_WHY_MAX + 160], path[192];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	node_path(node, name, path, sizeof(path));
	rules_fault_at(faults, node ? node->line : 1, *path ? path : "rules", sentence);
}

static int fault_order(const void *a, const void *b)
{
	const struct rules_fault *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

void rules_faults_print(struct rules_faults *faults, FILE *out)
{
	if (!out)
		return;
	qsort(faults->list, faults->n, sizeof(faults->list[0]), fault_order);
	for (size_t i = 0; i < faults->n; i++)
		fprintf(out, "%zu: %s\n", faults->list[i].line, faults->list[i].text);
	if (faults->left_out)
		fprintf(out, "%zu: rules: and %zu more faults; correct these first\n",
			faults->list[faults->n - 1].line, faults->left_out);
}

/* ---- nodes ---- */

struct node *node_member(const struct node *map, const char *name)
{
	if (map && map->kind == NODE_MAP)
		for (struct node *n = map->first; n; n = n->next)
			if (!strcmp(n->name, name))
				return n;
	return NULL;
}

struct node *node_new(struct rules_arena *arena, enum node_kind kind, const struct node *as)
{
	struct node *node = rules_alloc(arena, sizeof(*node));

	if (!node)
		return NULL;
	node->kind = kind;
	if (as) {
		node->line = as->line;
		node->as = as->as ? as->as : as;
	}
	return node;
}

void node_add(struct node *parent, struct node *child, const char *name)
{
	child->next = NULL;
	if (name)
		child->name = name;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->n++;
}

bool node_null(const struct node *node)
{
	return node->kind == NODE_SCALAR && !node->quoted &&
	       (!*node->text || !strcmp(node->text, "~") || !strcmp(node->text, "null"));
}

struct builder {
	struct rules_arena *arena;
	struct rules_faults *faults;
	struct node *root, *open[RULES_DEPTH_MAX + 1];
	const char *name[RULES_DEPTH_MAX + 1]; /* of a map: the key that waits for its value */
	size_t depth, nodes, documents;
};

/* What one event says against the text, or NULL. */
static const char *event_fault(struct builder *b, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return "aliases are not taken; write the value out";
	case YAML_SCALAR_EVENT:
		if (e->data.scalar.anchor || e->data.scalar.tag)
			return "anchors and tags are not taken; write the plain value";
		if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
			return "holds a NUL character; leave it out";
		break;
	case YAML_SEQUENCE_START_EVENT:
		if (e->data.sequence_start.anchor || e->data.sequence_start.tag)
			return "anchors and tags are not taken; write the plain list";
		break;
	case YAML_MAPPING_START_EVENT:
		if (e->data.mapping_start.anchor || e->data.mapping_start.tag)
			return "anchors and tags are not taken; write the plain section";
		break;
	case YAML_DOCUMENT_START_EVENT:
		return ++b->documents > 1 ? "a second document begins; keep one" : NULL;
	default:
		return NULL;
	}
	if (b->depth > RULES_DEPTH_MAX - 1 && e->type != YAML_SCALAR_EVENT)
		return "is nested too deeply; nothing here is deeper than 6";
	return ++b->nodes > RULES_NODES_MAX ? "has more than 100000 values; write fewer" : NULL;
}

/* Hangs a new node where the text stands. A fault or NULL. */
static const char *place(struct builder *b, const yaml_event_t *e, enum node_kind kind)
{
	struct node *up = b->depth ? b->open[b->depth - 1] : NULL, *node;
	const char *name = up && up->kind == NODE_MAP ? b->name[b->depth - 1] : NULL;

	if (up && up->kind == NODE_MAP && !name) { /* this is the key */
		if (kind != NODE_SCALAR)
			return "is not a key; a key is one word";
		b->name[b->depth - 1] = rules_copy(b->arena, (const char *)e->data.scalar.value);
		b->faults->no_memory |= !b->name[b->depth - 1];
		return NULL;
	}
	node = node_new(b->arena, kind, NULL);
	if (!node) {
		b->faults->no_memory = true;
		return NULL;
	}
	node->line = e->start_mark.line + 1;
	node->parent = up;
	if (kind == NODE_SCALAR) {
		node->text = rules_copy(b->arena, (const char *)e->data.scalar.value);
		node->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		b->faults->no_memory |= !node->text;
	}
	if (!up) {
		b->root = node;
	} else {
		node->index = up->n;
		node_add(up, node, name);
		b->name[b->depth - 1] = NULL;
	}
	if (kind != NODE_SCALAR) {
		b->name[b->depth] = NULL;
		b->open[b->depth++] = node;
	}
	return NULL;
}

static const char *take_event(struct builder *b, const yaml_event_t *e)
{
	const char *wrong = event_fault(b, e);

	if (wrong)
		return wrong;
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		return place(b, e, NODE_SCALAR);
	case YAML_SEQUENCE_START_EVENT:
		return place(b, e, NODE_LIST);
	case YAML_MAPPING_START_EVENT:
		return place(b, e, NODE_MAP);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return NULL;
	default:
		return NULL;
	}
}

static void syntax_fault(const yaml_parser_t *parser, size_t line, struct rules_faults *faults)
{
	char sentence[RULES_WHY_MAX], context[120] = "";

	if (parser->context)
		snprintf(context, sizeof(context), " %.80s from line %zu", parser->context,
			 parser->context_mark.line + 1);
	if (parser->problem_mark.line + 1 > line)
		line = parser->problem_mark.line + 1;
	snprintf(sentence, sizeof(sentence),
		 "%s%s; indent with spaces, close brackets, and put texts with \": \", \"#\" or "
		 "brackets in quotes",
		 parser->problem ? parser->problem : "is not text", context);
	rules_fault_at(faults, line, "syntax", sentence);
}

static int hex4(const char *p)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = p[i] | 32;

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return -1;
		v = v << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return v;
}

/* JSON writes characters past U+FFFF as two escapes, which YAML does not know: they become the
 * character. */
static size_t join_surrogates(char *text, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		int hi, lo;

		if (text[i] != '\\' || i + 1 >= len) {
			text[out++] = text[i];
			continue;
		}
		if (len - i >= 12 && text[i + 1] == 'u' && text[i + 6] == '\\' &&
		    text[i + 7] == 'u' && (hi = hex4(text + i + 2)) >> 10 == 0x36 &&
		    (lo = hex4(text + i + 8)) >> 10 == 0x37) {
			unsigned int c = 0x10000u + (((unsigned int)hi & 0x3ff) << 10) +
					 ((unsigned int)lo & 0x3ff);

			text[out++] = (char)(0xf0 | c >> 18);
			text[out++] = (char)(0x80 | (c >> 12 & 63));
			text[out++] = (char)(0x80 | (c >> 6 & 63));
			text[out++] = (char)(0x80 | (c & 63));
			i += 11;
			continue;
		}
		text[out++] = text[i++];
		text[out++] = text[i];
	}
	return out;
}

static void read_events(struct builder *b, const char *text, size_t len)
{
	const char *wrong = NULL;
	yaml_parser_t parser;
	bool more = true;
	size_t line = 1;

	if (!yaml_parser_initialize(&parser)) {
		b->faults->no_memory = true;
		return;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	while (more && !wrong && !b->faults->no_memory) {
		yaml_event_t event;

		if (!yaml_parser_parse(&parser, &event)) {
			syntax_fault(&parser, line, b->faults);
			break;
		}
		line = event.start_mark.line + 1;
		wrong = take_event(b, &event);
		more = event.type != YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (wrong)
		rules_fault_at(b->faults, line, "syntax", wrong);
}

struct node *rules_tree(struct rules_arena *arena, const char *text, size_t len,
			struct rules_faults *faults)
{
	struct builder b = { .arena = arena, .faults = faults };
	char *copy;

	if (len > RULES_BYTES_MAX) {
		rules_fault_at(faults, 1, "rules", "is larger than 1 MiB; write less");
		return NULL;
	}
	copy = rules_alloc(arena, len + 1);
	if (!copy) {
		faults->no_memory = true;
		return NULL;
	}
	memcpy(copy, text, len);
	if (copy[strspn(copy, " \t\r\n")] == '{')
		len = join_surrogates(copy, len);
	read_events(&b, copy, len);
	if (!faults->n && !b.root)
		rules_fault_at(faults, 1, "rules",
			       "is empty; write at least \"columns:\" with a name for each");
	return faults->n || faults->no_memory ? NULL : b.root;
}
