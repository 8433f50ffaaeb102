// SPDX-License-Identifier: Apache-2.0
/*
 * rules_load.c -- walks the nodes along the table: every key at its place, every fault with its
 * line, and beside it the normalised form, which has what was said and no defaults.
 */
#include <errno.h>
#include <string.h>

#include "http/upload/rules_table.h"
#include "lib/nearest.h"

struct loader {
	struct rules_arena *arena;
	struct rules_faults *faults;
};

static json_t *load_section(struct loader *l, const struct rules_section *section, char *base,
			    const struct node *node);

static void no_memory(struct loader *l)
{
	l->faults->no_memory = true;
}

/* Takes value's reference; a NULL value (a fault was said) is left out. */
static void put(struct loader *l, json_t *object, const char *name, json_t *value)
{
	if (value && json_object_set_new_nocheck(object, name, value))
		no_memory(l);
}

static void set_defaults(struct loader *l, const struct rules_section *section, char *base)
{
	char why[RULES_WHY_MAX];

	for (size_t i = 0; i < section->nkeys; i++) {
		const struct rules_key *key = &section->keys[i];
		struct node node = { .kind = NODE_SCALAR, .text = (char *)key->fallback };
		json_t *json = NULL;

		if (key->fallback &&
		    rules_value_set(key, &node, l->arena, base + key->offset, &json, why))
			no_memory(l);
		json_decref(json);
		if (key->type == RULES_SECTION && !key->list)
			set_defaults(l, key->section, base + key->offset);
	}
}

static json_t *load_one(struct loader *l, const struct rules_key *key, void *at,
			const struct node *node)
{
	char why[RULES_WHY_MAX] = "";
	json_t *json = NULL;
	int err;

	if (key->type == RULES_SECTION)
		return load_section(l, key->section, at, node);
	if (node->kind != NODE_SCALAR) {
		rules_fault(l->faults, node, NULL, "holds %s; write %s",
			    node->kind == NODE_LIST ? "a list" : "a section",
			    rules_type_words(key));
		return NULL;
	}
	err = rules_value_set(key, node, l->arena, at, &json, why);
	if (err == -ENOMEM)
		no_memory(l);
	else if (err)
		rules_fault(l->faults, node, NULL, "%s", why);
	return json;
}

/* Room for n items at the key's place. NULL without memory. */
static char *make_items(struct loader *l, const struct rules_key *key, char *base, size_t n)
{
	char *items = rules_alloc(l->arena, (n ? n : 1) * rules_type_size(key));

	if (!items) {
		no_memory(l);
		return NULL;
	}
	memcpy(base + key->offset, &items, sizeof(items));
	memcpy(base + key->count_offset, &n, sizeof(n));
	return items;
}

static json_t *load_list(struct loader *l, const struct rules_key *key, char *base,
			 const struct node *node)
{
	/* One name is a list of one: "readers: sales". */
	bool single = node->kind == NODE_SCALAR && key->type != RULES_SECTION;
	size_t n = single ? 1 : node->n, size = rules_type_size(key);
	const struct node *item = single ? node : node->first;
	json_t *list = NULL;
	char *items;

	if (!single && node->kind != NODE_LIST) {
		rules_fault(l->faults, node, NULL, "is not a list; write %s",
			    key->type == RULES_SECTION ? "each item on its own line behind \"- \""
						       : "it in brackets, as in [a, b]");
		return NULL;
	}
	if (key->max && n > key->max) {
		rules_fault(l->faults, node, NULL, "has %zu items; at most %llu are possible", n,
			    (unsigned long long)key->max);
		return NULL;
	}
	items = make_items(l, key, base, n);
	list = json_array();
	for (size_t i = 0; items && list && i < n; i++, item = item->next) {
		json_t *json;

		if (key->type == RULES_SECTION)
			set_defaults(l, key->section, items + i * size);
		json = load_one(l, key, items + i * size, item);
		if (json && json_array_append_new(list, json))
			no_memory(l);
	}
	if (!list)
		no_memory(l);
	return list;
}

static json_t *load_map(struct loader *l, const struct rules_key *key, char *base,
			const struct node *node)
{
	struct rules_pair *items;
	json_t *map;
	size_t i = 0;

	if (node->kind != NODE_MAP) {
		rules_fault(l->faults, node, NULL, "is not a section; write NAME: VALUE below it");
		return NULL;
	}
	if (node->n > key->max) {
		rules_fault(l->faults, node, NULL, "has %zu items; at most %llu are possible",
			    node->n, (unsigned long long)key->max);
		return NULL;
	}
	items = (struct rules_pair *)make_items(l, key, base, node->n);
	map = json_object();
	for (const struct node *n = node->first; items && map && n; n = n->next) {
		if (n->kind != NODE_SCALAR || strlen(n->text) > RULES_TEXT_MAX || !*n->text) {
			rules_fault(l->faults, n, NULL,
				    "is no text; write NAME: VALUE with at most %u bytes",
				    RULES_TEXT_MAX);
			continue;
		}
		if (!*n->name || strlen(n->name) > 256) {
			rules_fault(l->faults, n, NULL,
				    "has no column's name; write 1 to 256 bytes");
			continue;
		}
		if (json_object_get(map, n->name)) {
			rules_fault(l->faults, n, NULL, "is given twice; keep one of them");
			continue;
		}
		items[i++] = (struct rules_pair){ (char *)n->name, n->text, n };
		put(l, map, n->name, json_string(n->text));
	}
	memcpy(base + key->count_offset, &i, sizeof(i));
	if (!map)
		no_memory(l);
	return map;
}

static void unknown_key(struct loader *l, const struct rules_section *section,
			const struct node *node)
{
	const char *names[64] = { NULL }, *nearest;
	char possible[RULES_WHY_MAX];
	size_t used = 0, n = 0;

	for (size_t i = 0; i < section->nkeys; i++)
		if (!section->keys[i].hidden)
			names[n++] = section->keys[i].name;
	nearest = nearest_word(node->name, names, n);
	if (nearest) {
		rules_fault(l->faults, node, NULL, "unknown key; did you mean \"%s\"?", nearest);
		return;
	}
	for (size_t i = 0; i < n && used < sizeof(possible); i++)
		used += (size_t)snprintf(possible + used, sizeof(possible) - used, "%s %s",
					 i ? "," : "", names[i]);
	rules_fault(l->faults, node, NULL, "unknown key; possible here are%s", possible);
}

static void load_pair(struct loader *l, const struct rules_section *section, char *base,
		      const struct node *node, uint64_t *seen, json_t *object)
{
	const struct rules_key *key;
	json_t *json;
	size_t i = 0;

	while (i < section->nkeys && strcmp(section->keys[i].name, node->name))
		i++;
	if (i == section->nkeys) {
		unknown_key(l, section, node);
		return;
	}
	if (*seen & 1ull << i) {
		rules_fault(l->faults, node, NULL, "is given twice; keep one of them");
		return;
	}
	*seen |= 1ull << i;
	key = &section->keys[i];
	if (node_null(node)) {
		*seen &= key->required ? ~(1ull << i) : ~0ull; /* null: as if it were not there */
		return;
	}
	if (key->type == RULES_MAP)
		json = load_map(l, key, base, node);
	else if (key->list)
		json = load_list(l, key, base, node);
	else
		json = load_one(l, key, base + key->offset, node);
	put(l, object, key->name, json);
}

static json_t *load_section(struct loader *l, const struct rules_section *section, char *base,
			    const struct node *node)
{
	uint64_t seen = 0;
	json_t *object;

	if (node->kind != NODE_MAP) {
		rules_fault(l->faults, node, NULL,
			    "is not a section; write keys below it, such as \"%s: ...\"",
			    section->keys[0].name);
		return NULL;
	}
	if (section->node != RULES_NO_NODE)
		*(const struct node **)(base + section->node) = node;
	object = json_object();
	if (!object) {
		no_memory(l);
		return NULL;
	}
	for (const struct node *n = node->first; n; n = n->next)
		load_pair(l, section, base, n, &seen, object);
	for (size_t i = 0; i < section->nkeys; i++)
		if (section->keys[i].required && !(seen & 1ull << i))
			rules_fault(l->faults, node, section->keys[i].name,
				    "is missing; add it here (%s)",
				    rules_type_words(&section->keys[i]));
	return object;
}

json_t *rules_load(struct rules_file *file, struct node *root, struct rules_faults *faults)
{
	struct loader l = { .arena = &file->arena, .faults = faults };

	set_defaults(&l, &rules_root, (char *)file);
	return load_section(&l, &rules_root, (char *)file, root);
}
