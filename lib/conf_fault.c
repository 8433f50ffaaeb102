// SPDX-License-Identifier: Apache-2.0
/*
 * conf_fault.c -- the faults of one configuration: gathered in any order, said in the order of the
 * file.
 *
 * Checks that run after the walk know a key's path only; the places noted by the walk give its
 * line.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/conf_table.h"

#define FAULTS_MAX 200
#define PLACES	   4096

struct fault {
	size_t line, order;
	char *text;
};

struct place {
	struct place *next;
	size_t line;
	char path[];
};

struct conf_faults {
	struct fault list[FAULTS_MAX];
	size_t n, left_out;
	struct place *places[PLACES]; /* hash table: where each key of the file stands */
	struct conf_arena arena;      /* of the places */
};

const char *conf_item(char buf[CONF_PATH_LEN], const char *path, size_t i)
{
	snprintf(buf, CONF_PATH_LEN, "%.64s[%zu]", path, i);
	return buf;
}

const char *conf_member(char buf[CONF_PATH_LEN], const char *path, const char *name)
{
	snprintf(buf, CONF_PATH_LEN, "%.70s.%s", path, name);
	return buf;
}

struct conf_faults *conf_faults_new(void)
{
	return calloc(1, sizeof(struct conf_faults));
}

void conf_faults_free(struct conf_faults *faults)
{
	if (!faults)
		return;
	conf_arena_free(&faults->arena);
	free(faults);
}

size_t conf_faults_count(const struct conf_faults *faults)
{
	return faults->n + faults->left_out;
}

static struct place **place_slot(struct conf_faults *faults, const char *path, size_t len)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)path[i]) * 16777619u;
	return &faults->places[h % PLACES];
}

void conf_place_add(struct conf_faults *faults, const char *path, size_t line)
{
	size_t len = strlen(path);
	struct place *place = conf_alloc(&faults->arena, sizeof(*place) + len + 1);
	struct place **slot = place_slot(faults, path, len);

	if (!place)
		return; /* a fault will name its section's line */
	memcpy(place->path, path, len + 1);
	place->line = line;
	place->next = *slot;
	*slot = place;
}

/* The line of the key, or of the nearest section around it that the file has. */
static size_t place_line(struct conf_faults *faults, const char *path)
{
	size_t len = strlen(path);

	while (len) {
		for (struct place *p = *place_slot(faults, path, len); p; p = p->next)
			if (strlen(p->path) == len && !memcmp(p->path, path, len))
				return p->line;
		for (len--; len && path[len] != '.' && path[len] != '['; len--)
			;
	}
	return 1;
}

void conf_fault_at(struct conf_faults *faults, size_t line, const char *path, const char *sentence)
{
	struct fault *f = &faults->list[faults->n];
	size_t len = strlen(path) + strlen(sentence) + 3;

	if (faults->n == FAULTS_MAX) {
		faults->left_out++;
		return;
	}
	f->line = line;
	f->order = faults->n;
	f->text = conf_alloc(&faults->arena, len);
	if (!f->text) {
		faults->left_out++;
		return;
	}
	snprintf(f->text, len, "%s: %s", path, sentence);
	/* What a file says comes back in its faults: not as control characters. */
	for (char *c = f->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	faults->n++;
}

void conf_fault(struct conf_faults *faults, const char *path, const char *fmt, ...)
{
	char sentence[CONF_WHY_MAX + 160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	conf_fault_at(faults, place_line(faults, path), path, sentence);
}

static int fault_order(const void *a, const void *b)
{
	const struct fault *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

void conf_faults_print(struct conf_faults *faults, const char *path, FILE *out)
{
	qsort(faults->list, faults->n, sizeof(faults->list[0]), fault_order);
	for (size_t i = 0; out && i < faults->n; i++)
		fprintf(out, "%s:%zu: %s\n", path, faults->list[i].line, faults->list[i].text);
	if (out && faults->left_out)
		fprintf(out, "%s: and %zu more faults; correct these first\n", path,
			faults->left_out);
}
