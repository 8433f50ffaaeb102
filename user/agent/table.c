// SPDX-License-Identifier: Apache-2.0
/* table.c -- slot tables to JSON and back (see table.h). */
#include "user/agent/table.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/ring.h"

#define FIELDS	 7  /* of a slot */
#define SLOT_LEN 64 /* its longest text */

struct table *table_alloc(uint32_t slots)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->slots = slots;
	t->slot = calloc(slots ? slots : 1, sizeof(*t->slot));
	if (t->slot)
		return t;
	free(t);
	return NULL;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	free(t->backends);
	free(t->slot);
	free(t);
}

/* ---- written --------------------------------------------------------------------------------- */

static char *write_slot(char *at, const struct weir_slot *s)
{
	const uint32_t field[FIELDS] = { s->current,   s->previous, s->owners[0], s->owners[1],
					 s->owners[2], s->since,    s->elsewhere };
	int used = FIELDS;

	while (used > 1 && !field[used - 1])
		used--;
	for (int i = 0; i < used; i++)
		at += sprintf(at, i ? ",%u" : "%u", field[i]);
	return at;
}

static char *write_slots(const struct table *t)
{
	char *text = malloc((size_t)t->slots * SLOT_LEN + 1), *at = text;

	if (!text)
		return NULL;
	*at = 0;
	for (uint32_t i = 0; i < t->slots; i++) {
		at = write_slot(at, &t->slot[i]);
		*at++ = ';';
	}
	if (at > text)
		at[-1] = 0;
	return text;
}

char *table_to_json(const struct table *t, const char *service)
{
	json_t *backends = json_array(), *root;
	char *slots = write_slots(t), *text, address[ADDR_STRLEN], id[17];

	for (size_t i = 0; i < t->n; i++) {
		const struct table_backend *b = &t->backends[i];

		snprintf(id, sizeof(id), "%016llx", (unsigned long long)b->id);
		json_array_append_new(
			backends, json_pack("{ss ss ss sb}", "name", b->name, "id", id, "address",
					    addr_format(&b->address, address, sizeof(address)),
					    "up", b->up));
	}
	root = json_pack("{ss sI sI so ss}", "service", service, "slots", (json_int_t)t->slots,
			 "generation", (json_int_t)t->generation, "backends", backends, "table",
			 slots ? slots : "");
	text = root && slots ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	free(slots);
	return text;
}

/* ---- read ------------------------------------------------------------------------------------ */

/* The slot at *at, which then is behind it. */
static int read_slot(const char **at, size_t backends, struct weir_slot *out)
{
	unsigned long field[FIELDS] = { 0 };
	char *end;

	for (int i = 0; i < FIELDS; i++) {
		unsigned long most = i < 5 ? backends : i == 5 ? UINT16_MAX : UINT32_MAX;

		if (**at < '0' || **at > '9')
			return -EINVAL;
		field[i] = strtoul(*at, &end, 10);
		if (field[i] > most)
			return -EINVAL;
		*at = end;
		if (*end != ',')
			break;
		(*at)++;
	}
	*out = (struct weir_slot){
		.current = (uint16_t)field[0],
		.previous = (uint16_t)field[1],
		.owners = { (uint16_t)field[2], (uint16_t)field[3], (uint16_t)field[4] },
		.since = (uint16_t)field[5],
		.elsewhere = (uint32_t)field[6],
	};
	return 0;
}

static int read_slots(struct table *t, const char *text)
{
	for (uint32_t i = 0; i < t->slots; i++) {
		if (read_slot(&text, t->n, &t->slot[i]) || *text != (i + 1 < t->slots ? ';' : 0))
			return -EINVAL;
		text++;
	}
	return 0;
}

static int read_backends(struct table *t, json_t *list)
{
	for (size_t i = 0; i < t->n; i++) {
		struct table_backend *b = &t->backends[i];
		const char *name, *id, *address;
		int up;

		if (json_unpack(json_array_get(list, i), "{ss ss ss sb}", "name", &name, "id", &id,
				"address", &address, "up", &up) < 0 ||
		    strlen(name) >= sizeof(b->name) || addr_parse(&b->address, address) ||
		    strlen(id) != 16 || strspn(id, "0123456789abcdef") != 16)
			return -EINVAL;
		strcpy(b->name, name);
		b->id = strtoull(id, NULL, 16);
		b->up = up;
		if (*name && ring_id(name) != b->id)
			return -EINVAL;
	}
	return 0;
}

int table_from_json(struct table **out, const char *text, size_t len)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *backends = NULL;
	json_int_t slots = 0, generation = -1;
	const char *table = NULL;
	struct table *t = NULL;
	int rc = -EINVAL;

	if (json_unpack(root, "{sI sI so ss}", "slots", &slots, "generation", &generation,
			"backends", &backends, "table", &table) < 0 ||
	    slots < 1 || slots > RING_SLOTS_MAX || generation < 0 || !json_is_array(backends) ||
	    json_array_size(backends) > UINT16_MAX)
		goto out;
	t = table_alloc((uint32_t)slots);
	if (t)
		t->backends = calloc(json_array_size(backends) + 1, sizeof(*t->backends));
	rc = t && t->backends ? 0 : -ENOMEM;
	if (rc)
		goto out;
	t->generation = (uint64_t)generation;
	t->n = json_array_size(backends);
	rc = read_backends(t, backends);
	if (!rc)
		rc = read_slots(t, table);
out:
	json_decref(root);
	if (rc)
		table_free(t);
	else
		*out = t;
	return rc;
}

/* ---- at home --------------------------------------------------------------------------------- */

/* By index; the place of one that was not asked for yet, and of one that there is not. */
enum { PLACE_NEW = 0, PLACE_NONE = UINT16_MAX };

struct naming {
	struct table *t;
	uint16_t *place;
	int (*describe)(void *arg, uint16_t index, struct table_backend *b);
	void *arg;
};

/* The place of that owner in the table, from 1; it is appended when it is new. 0: unknown. */
static uint16_t place_of(struct naming *n, uint16_t index)
{
	if (!index)
		return 0;
	if (n->place[index] == PLACE_NEW)
		n->place[index] = n->describe(n->arg, index, &n->t->backends[n->t->n]) < 0 ? PLACE_NONE
											   : (uint16_t)++n->t->n;
	return n->place[index] == PLACE_NONE ? 0 : n->place[index];
}

int table_name(struct table *t, int (*describe)(void *arg, uint16_t index, struct table_backend *b), void *arg)
{
	struct naming n = { t, calloc(UINT16_MAX + 1, sizeof(*n.place)), describe, arg };

	t->backends = calloc(WEIR_BACKENDS_MAX, sizeof(*t->backends));
	if (!n.place || !t->backends) {
		free(n.place);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < t->slots; i++) {
		struct weir_slot *s = &t->slot[i];

		s->current = place_of(&n, s->current);
		s->previous = place_of(&n, s->previous);
		for (unsigned int k = 0; k < WEIR_OWNERS; k++)
			s->owners[k] = place_of(&n, s->owners[k]);
	}
	free(n.place);
	return 0;
}

static void mark_used(const struct table *t, bool *used)
{
	for (uint32_t i = 0; i < t->slots; i++) {
		const struct weir_slot *s = &t->slot[i];

		used[s->current] = used[s->previous] = true;
		for (unsigned int k = 0; k < WEIR_OWNERS; k++)
			used[s->owners[k]] = true;
	}
	used[0] = false;
}

/* index[] of those that are known; how many others there are. */
static size_t find_known(const struct table *t, const struct table_names *names, const bool *used, uint16_t *index)
{
	size_t strangers = 0;

	for (size_t i = 1; i <= t->n; i++) {
		int rc = used[i] ? names->known(names->arg, &t->backends[i - 1]) : 0;

		index[i] = rc > 0 ? (uint16_t)rc : 0;
		strangers += used[i] && !index[i];
	}
	return strangers;
}

static int add_strangers(const struct table *t, const struct table_names *names, const bool *used, uint16_t *index)
{
	for (size_t i = 1; i <= t->n; i++) {
		int rc = used[i] && !index[i] ? names->add(names->arg, &t->backends[i - 1]) : 0;

		if (rc < 0)
			return rc;
		if (rc > 0)
			index[i] = (uint16_t)rc;
	}
	return 0;
}

int table_localize(struct table *t, const struct table_names *names, int *failed)
{
	uint16_t *index = calloc(t->n + 1, sizeof(*index));
	bool *used = calloc(t->n + 1, sizeof(*used));
	int rc = index && used ? 0 : -ENOMEM;

	*failed = 0;
	if (!rc)
		mark_used(t, used);
	if (!rc && find_known(t, names, used, index) > TABLE_STRANGERS_MAX)
		rc = -E2BIG;
	if (!rc)
		*failed = add_strangers(t, names, used, index);
	for (uint32_t i = 0; !rc && i < t->slots; i++) {
		struct weir_slot *s = &t->slot[i];

		s->current = index[s->current];
		s->previous = index[s->previous];
		for (unsigned int k = 0; k < WEIR_OWNERS; k++)
			s->owners[k] = index[s->owners[k]];
	}
	free(used);
	free(index);
	return rc;
}
