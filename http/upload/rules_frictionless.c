// SPDX-License-Identifier: Apache-2.0
/*
 * rules_frictionless.c -- a Frictionless Table Schema as it is
 * (https://specs.frictionlessdata.io/table-schema/), or a Data Resource or Package around one,
 * becomes nodes of weir's own form. The nodes keep their places: faults name the keys as the text
 * has them. Keys that the specification leaves to others are passed over, as it asks for.
 */
#include <string.h>

#include "http/upload/rules_table.h"

struct rewriter {
	struct rules_arena *arena;
	struct rules_faults *faults;
};

struct renamed {
	const char *from, *to;
};

static const struct renamed field_keys[] = {
	{ "name", "name" },
	{ "title", "title" },
	{ "description", "description" },
	{ "trueValues", "true_values" },
	{ "falseValues", "false_values" },
	{ "decimalChar", "decimal" },
	{ "groupChar", "group" },
	{ "bareNumber", "bare" },
	{ "personal", "personal" },
	{ "level", "level" },
	{ NULL, NULL },
};
static const struct renamed constraint_keys[] = {
	{ "required", "required" },
	{ "unique", "unique" },
	{ "minimum", "minimum" },
	{ "maximum", "maximum" },
	{ "minLength", "min_length" },
	{ "maxLength", "max_length" },
	{ "pattern", "pattern" },
	{ "enum", "enum" },
	{ NULL, NULL },
};
static const struct renamed dialect_names[] = {
	{ "delimiter", "delimiter" }, { "quoteChar", "quote" }, { "header", "header" },
	{ "commentChar", "comment" }, { NULL, NULL },
};

static bool is_table(const struct node *schema)
{
	return node_member(schema, "fields") != NULL;
}

bool rules_is_frictionless(const struct node *root)
{
	const struct node *resources = node_member(root, "resources");

	return is_table(root) || is_table(node_member(root, "schema")) ||
	       (resources && resources->kind == NODE_LIST && resources->first &&
		is_table(node_member(resources->first, "schema")));
}

/* A copy of the node's head under another name: its children stay where they are, its path too. */
static void give(struct rewriter *r, struct node *parent, const struct node *node, const char *name)
{
	struct node *copy = rules_alloc(r->arena, sizeof(*copy));

	if (!copy) {
		r->faults->no_memory = true;
		return;
	}
	*copy = *node;
	copy->as = node;
	node_add(parent, copy, name);
}

static struct node *make(struct rewriter *r, enum node_kind kind, const struct node *as,
			 struct node *parent, const char *name)
{
	struct node *node = node_new(r->arena, kind, as);

	if (!node) {
		r->faults->no_memory = true;
		return NULL;
	}
	if (parent)
		node_add(parent, node, name);
	return node;
}

static void give_text(struct rewriter *r, struct node *parent, const struct node *as,
		      const char *name, const char *text)
{
	struct node *node = make(r, NODE_SCALAR, as, parent, name);

	if (!node)
		return;
	node->quoted = true;
	node->text = rules_copy(r->arena, text);
	r->faults->no_memory |= !node->text;
}

static void give_all(struct rewriter *r, struct node *to, const struct node *from,
		     const struct renamed *names)
{
	for (; names->from; names++) {
		const struct node *n = node_member(from, names->from);

		if (n)
			give(r, to, n, names->to);
	}
}

/* Types that are not ours, and the default (Table Schema 1.0: string). */
static void give_type(struct rewriter *r, struct node *column, const struct node *field)
{
	const struct node *type = node_member(field, "type"),
			  *format = node_member(field, "format");

	if (!type)
		give_text(r, column, field, "type", "string");
	else if (type->kind != NODE_SCALAR)
		give(r, column, type, "type");
	else if (!strcmp(type->text, "geojson"))
		give_text(r, column, type, "type", "object");
	else if (!strcmp(type->text, "list"))
		give_text(r, column, type, "type", "string");
	else
		give(r, column, type, "type");
	/* "default" and "any" of dates are what weir takes anyway; forms of geopoint and geojson
	 * are not told apart. */
	if (format && format->kind == NODE_SCALAR &&
	    (!strcmp(format->text, "default") || !strcmp(format->text, "any") ||
	     !strcmp(format->text, "topojson") || !strcmp(format->text, "array") ||
	     !strcmp(format->text, "object")))
		return;
	if (format)
		give(r, column, format, "format");
}

static struct node *rewrite_field(struct rewriter *r, struct node *columns,
				  const struct node *field)
{
	struct node *column, *constraints = node_member(field, "constraints");

	if (field->kind != NODE_MAP) {
		rules_fault(r->faults, field, NULL, "is not a field; write {\"name\": \"...\"}");
		return NULL;
	}
	column = make(r, NODE_MAP, field, columns, NULL);
	if (!column)
		return NULL;
	give_all(r, column, field, field_keys);
	give_type(r, column, field);
	if (constraints && constraints->kind == NODE_MAP)
		give_all(r, column, constraints, constraint_keys);
	else if (constraints)
		rules_fault(r->faults, constraints, NULL,
			    "is not an object; write {\"required\": true}");
	return column;
}

/* The only name of a text or a list of one; NULL with a fault. */
static const struct node *only(struct rewriter *r, const struct node *key, const char *name)
{
	const struct node *n = node_member(key, name);

	if (n && n->kind == NODE_LIST && n->n == 1)
		n = n->first;
	if (n && n->kind == NODE_SCALAR)
		return n;
	rules_fault(r->faults, n ? n : key, n ? NULL : name,
		    n && n->kind == NODE_LIST
			    ? "names several columns; refer to one column in each foreign key"
			    : "is missing; name one column");
	return NULL;
}

static void rewrite_key(struct rewriter *r, const struct node *columns, const struct node *key)
{
	const struct node *fields = only(r, key, "fields"),
			  *reference = node_member(key, "reference");
	const struct node *to = reference ? only(r, reference, "fields") : NULL;
	const struct node *resource = reference ? node_member(reference, "resource") : NULL;
	struct node *references;

	if (!reference)
		rules_fault(r->faults, key, "reference",
			    "is missing; write {\"resource\": \"...\", \"fields\": \"...\"}");
	if (!fields || !to)
		return;
	if (!resource || resource->kind != NODE_SCALAR || !*resource->text) {
		rules_fault(r->faults, resource ? resource : reference,
			    resource ? NULL : "resource",
			    "refers to the file itself, which is not checked; name another dataset "
			    "or remove the key");
		return;
	}
	for (struct node *c = columns->first; c; c = c->next) {
		const struct node *name = node_member(c, "name");

		if (!name || name->kind != NODE_SCALAR || strcmp(name->text, fields->text))
			continue;
		references = make(r, NODE_MAP, key, c, "references");
		if (references) {
			give(r, references, resource, "dataset");
			give(r, references, to, "column");
		}
		return;
	}
	rules_fault(r->faults, fields, NULL, "there is no field \"%.60s\"; name one of fields",
		    fields->text);
}

/* Only what weir's own form knows of the other keys is taken along, so that a schema may carry it.
 */
static void give_own(struct rewriter *r, struct node *out, const struct node *from)
{
	for (size_t i = 0; i < rules_root.nkeys; i++) {
		const char *name = rules_root.keys[i].name;
		const struct node *n = node_member(from, name);

		if (n && strcmp(name, "columns") && strcmp(name, "dialect") &&
		    !node_member(out, name))
			give(r, out, n, name);
	}
}

struct node *rules_frictionless(struct rules_arena *arena, struct node *root,
				struct rules_faults *faults)
{
	struct rewriter r = { arena, faults };
	const struct node *resource = root, *schema = root, *n;
	struct node *out = node_new(arena, NODE_MAP, root), *columns;

	if (node_member(root, "resources"))
		resource = node_member(root, "resources")->first;
	if (!is_table(root))
		schema = node_member(resource, "schema");
	columns = out ? make(&r, NODE_LIST, node_member(schema, "fields"), out, "columns") : NULL;
	if (!columns) {
		faults->no_memory = true;
		return NULL;
	}
	if (columns->as->kind != NODE_LIST) {
		rules_fault(faults, columns->as, NULL,
			    "is not a list; write [{\"name\": \"...\"}]");
		return NULL;
	}
	for (n = columns->as->first; n; n = n->next)
		rewrite_field(&r, columns, n);
	n = node_member(schema, "foreignKeys");
	for (n = n && n->kind == NODE_LIST ? n->first : NULL; n; n = n->next)
		rewrite_key(&r, columns, n);
	if ((n = node_member(schema, "missingValues")))
		give(&r, out, n, "missing_values");
	if ((n = node_member(schema, "primaryKey")) && !(n->kind == NODE_LIST && !n->n))
		give(&r, out, n, "primary_key");
	n = node_member(resource, "dialect");
	if (n && n->kind == NODE_MAP)
		give_all(&r, make(&r, NODE_MAP, n, out, "dialect"), n, dialect_names);
	give_own(&r, out, schema);
	if (resource != schema)
		give_own(&r, out, resource);
	if (root != resource)
		give_own(&r, out, root);
	return out;
}
