// SPDX-License-Identifier: Apache-2.0
/*
 * rules.c -- text in, checked rules out: tree, Table Schema, table, checks; and what looks into
 * them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/pattern.h"
#include "http/upload/rules_table.h"
#include "lib/hash.h"

static void read_rules(struct rules_file *file, const char *text, size_t len, const char *name,
		       struct rules_faults *faults)
{
	struct node *root = rules_tree(&file->arena, text, len, faults);

	if (root && root->kind == NODE_MAP && rules_is_frictionless(root))
		root = rules_frictionless(&file->arena, root, faults);
	if (!root)
		return;
	file->root = root;
	file->rules.json = rules_load(file, root, faults);
	if (!file->rules.json || faults->no_memory)
		return;
	if (!file->rules.name && name) {
		file->rules.name = rules_copy(&file->arena, name);
		if (!file->rules.name ||
		    json_object_set_new(file->rules.json, "dataset", json_string(name)))
			faults->no_memory = true;
	}
	rules_check(file, faults);
}

int rules_parse(struct rules **out, const char *text, size_t len, const char *name, FILE *said)
{
	struct rules_file *file = calloc(1, sizeof(*file));
	struct rules_faults *faults = calloc(1, sizeof(*faults));
	int err = -ENOMEM;

	if (file && faults) {
		faults->arena = &file->arena;
		read_rules(file, text, len, name, faults);
		err = faults->no_memory ? -ENOMEM : faults->n ? -EINVAL : 0;
		if (err == -EINVAL)
			rules_faults_print(faults, said);
	}
	free(faults);
	if (err && file)
		rules_free(&file->rules);
	else if (!err)
		*out = &file->rules;
	return err;
}

void rules_free(struct rules *rules)
{
	struct rules_file *file = (struct rules_file *)rules;

	if (!rules)
		return;
	for (size_t i = 0; i < file->nfields; i++)
		pattern_free(file->fields[i].f.matcher);
	for (size_t i = 0; i < rules->nrows; i++)
		expr_free(rules->rows[i].expr);
	for (size_t i = 0; i < file->noutputs; i++) {
		struct output *o = &file->outputs[i].o;

		expr_free(o->filter);
		for (size_t j = 0; j < o->ncolumns; j++)
			expr_free(o->columns[j].expr);
	}
	json_decref(rules->json);
	rules_arena_free(&file->arena);
	free(file);
}

void rules_seed(const struct rules *rules, uint8_t seed[16])
{
	static const char purpose[] = "weir uniques";
	uint8_t mac[32];

	if (!rules || !*rules->mask_salt) {
		random_bytes(seed, 16);
		return;
	}
	hmac_sha256(rules->mask_salt, strlen(rules->mask_salt), purpose, sizeof(purpose) - 1, mac);
	memcpy(seed, mac, 16);
}

const struct field *rules_field(const struct rules *rules, const char *name, size_t len)
{
	for (size_t i = 0; i < rules->nfields; i++) {
		const char *n = rules->fields[i].name;

		if (n && !strncmp(n, name, len) && !n[len])
			return &rules->fields[i];
	}
	return NULL;
}
