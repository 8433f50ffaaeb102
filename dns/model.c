/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.c -- one JSON object, key → value, and what is read out of it.
 */
#include "dns/model.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/registry.h"

#define REG_AGENTS REG_MEMBERS "agent/"

struct model {
	json_t *values;	     /* key → parsed object */
	json_t *unconfirmed; /* keys known only from an earlier life */
	bool agents_known;
};

const char *const model_prefixes[] = { REG_SERVICES, REG_CAPACITY, REG_AGENTS, REG_RECORDS, NULL };

struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->values = json_object();
	m->unconfirmed = json_object();
	if (m->values && m->unconfirmed)
		return m;
	model_free(m);
	return NULL;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	json_decref(m->values);
	json_decref(m->unconfirmed);
	free(m);
}

static bool has_prefix(const char *key, const char *prefix)
{
	return strncmp(key, prefix, strlen(prefix)) == 0;
}

static unsigned int change_of(const char *key)
{
	return has_prefix(key, REG_RECORDS) ? MODEL_RECORDS : MODEL_STEERING;
}

unsigned int model_put(struct model *m, const char *key, const char *value)
{
	json_t *parsed = json_loads(value, JSON_REJECT_DUPLICATES, NULL);
	unsigned int change = change_of(key);

	(void)json_object_del(m->unconfirmed, key);
	if (!json_is_object(parsed)) {
		json_decref(parsed);
		return model_delete(m, key);
	}
	if (json_equal(json_object_get(m->values, key), parsed))
		change = MODEL_NOTHING;
	if (json_object_set_new(m->values, key, parsed))
		change = MODEL_NOTHING;
	return change;
}

unsigned int model_delete(struct model *m, const char *key)
{
	(void)json_object_del(m->unconfirmed, key);
	return json_object_del(m->values, key) ? MODEL_NOTHING : change_of(key);
}

unsigned int model_synced(struct model *m, const char *prefix)
{
	unsigned int change = MODEL_NOTHING;
	const char *key;
	json_t *unused;
	void *next;

	json_object_foreach_safe (m->unconfirmed, next, key, unused) {
		/* model_delete() frees the key that it is given. */
		char *copy = has_prefix(key, prefix) ? strdup(key) : NULL;

		if (copy)
			change |= model_delete(m, copy);
		free(copy);
	}
	if (strcmp(prefix, REG_AGENTS) == 0 && !m->agents_known) {
		m->agents_known = true;
		change |= MODEL_STEERING;
	}
	return change;
}

json_t *model_remember(const struct model *m)
{
	json_t *out = json_object(), *value;
	const char *key;

	json_object_foreach (m->values, key, value)
		if (!has_prefix(key, REG_MEMBERS))
			(void)json_object_set(out, key, value);
	return out;
}

unsigned int model_restore(struct model *m, const json_t *remembered)
{
	unsigned int change = MODEL_NOTHING;
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)remembered, key, value) {
		bool ours = has_prefix(key, REG_SERVICES) || has_prefix(key, REG_CAPACITY) ||
			    has_prefix(key, REG_RECORDS);

		if (!ours || !json_is_object(value) || json_object_get(m->values, key))
			continue;
		(void)json_object_set(m->values, key, value);
		(void)json_object_set_new(m->unconfirmed, key, json_true());
		change |= change_of(key);
	}
	return change;
}

/* ---- sites --------------------------------------------------------------------------- */

static const json_t *value_of(const struct model *m, const char *prefix, const char *name)
{
	char key[256];

	if ((size_t)snprintf(key, sizeof(key), "%s%s", prefix, name) >= sizeof(key))
		return NULL;
	return json_object_get(m->values, key);
}

static bool is_leased(const struct model *m, const char *service)
{
	const char *key;
	json_t *value, *name;
	size_t i;

	json_object_foreach (m->values, key, value) {
		if (!has_prefix(key, REG_AGENTS))
			continue;
		json_array_foreach (json_object_get(value, "services"), i, name)
			if (json_is_string(name) && strcmp(json_string_value(name), service) == 0)
				return true;
	}
	return false;
}

static void add_address(struct addr *list, unsigned int *n, const struct addr *a)
{
	for (unsigned int i = 0; i < *n; i++)
		if (addr_equal(&list[i], a))
			return;
	if (*n < PICK_ADDRESSES_MAX)
		list[(*n)++] = *a;
}

static void site_addresses(const json_t *addresses, struct pick_site *out)
{
	json_t *text;
	size_t i;

	out->n4 = out->n6 = 0;
	json_array_foreach (addresses, i, text) {
		struct addr_port ap;

		if (!json_is_string(text) || addr_port_parse(&ap, json_string_value(text)))
			continue;
		if (ap.addr.family == AF_INET)
			add_address(out->v4, &out->n4, &ap.addr);
		else if (ap.addr.family == AF_INET6)
			add_address(out->v6, &out->n6, &ap.addr);
	}
}

void model_site(const struct model *m, const char *service, const char *own_site,
		struct pick_site *out, const char **site, const json_t **addresses)
{
	const json_t *s = value_of(m, REG_SERVICES, service),
		     *c = value_of(m, REG_CAPACITY, service);
	const json_t *capacity = json_object_get(c, "capacity"),
		     *healthy = json_object_get(c, "healthy");
	const char *where = json_string_value(json_object_get(s ? s : c, "site"));

	out->own = where && strcmp(where, own_site) == 0;
	out->published = json_is_number(capacity) && json_is_integer(healthy);
	out->capacity = out->published ? json_number_value(capacity) : 0;
	out->healthy = out->published && json_integer_value(healthy) > 0
			       ? (unsigned int)json_integer_value(healthy)
			       : 0;
	out->total = (unsigned int)json_integer_value(json_object_get(c, "total"));
	out->registry_known = m->agents_known;
	out->leased = is_leased(m, service);
	site_addresses(json_object_get(s, "addresses"), out);
	if (site)
		*site = where;
	if (addresses)
		*addresses = json_object_get(s, "addresses");
}

bool model_probe_address(const struct model *m, const char *service, struct addr_port *out)
{
	json_t *text;
	size_t i;

	json_array_foreach (json_object_get(value_of(m, REG_SERVICES, service), "addresses"), i,
			    text) {
		struct addr_port ap;

		if (!json_is_string(text) || addr_port_parse(&ap, json_string_value(text)))
			continue;
		if (ap.port && !ap.path[0] && (ap.proto == IPPROTO_TCP || ap.proto == 0)) {
			*out = ap;
			return true;
		}
	}
	return false;
}

/* ---- records ------------------------------------------------------------------------- */

static bool parse_record(const json_t *value, uint32_t *ttl, const char ***values, size_t *n)
{
	const json_t *list = json_object_get(value, "values"), *t = json_object_get(value, "ttl");
	json_t *text;
	size_t i;

	if (!json_is_array(list) || (t && !json_is_integer(t)))
		return false;
	if (t && (json_integer_value(t) < 0 || json_integer_value(t) > 0x7fffffff))
		return false;
	*ttl = t ? (uint32_t)json_integer_value(t) : 60;
	*n = json_array_size(list);
	*values = calloc(*n + 1, sizeof(**values));
	if (!*values)
		return false;
	json_array_foreach (list, i, text) {
		if (!json_is_string(text)) {
			free(*values);
			return false;
		}
		(*values)[i] = json_string_value(text);
	}
	return true;
}

/* key is "…/records/ZONE/NAME/TYPE"; name and type are cut out of `rest`, a copy of what follows
 * ZONE/. */
static void merge_one(struct dns_zone *zone, char *rest, const char *key, const json_t *value,
		      void (*refused)(void *arg, const char *key, const char *why), void *arg)
{
	char *slash = strrchr(rest, '/'), err[512];
	const char **values;
	uint32_t ttl;
	size_t n;

	if (!slash) {
		refused(arg, key, "a record's key is records/ZONE/NAME/TYPE");
		return;
	}
	*slash = '\0';
	if (!parse_record(value, &ttl, &values, &n)) {
		refused(arg, key, "the value must be {\"ttl\":SECONDS,\"values\":[TEXT,…]}");
		return;
	}
	/* The name servers' own names, say: whoever writes the zone file decides about them. */
	if (json_object_get(value, "tunnel") && dns_zone_has_own(zone, rest))
		refused(arg, key, "it is a tunnel's, and the zone file has that name itself");
	else if (dns_zone_merge(zone, rest, slash + 1, ttl, values, n, err, sizeof(err)))
		refused(arg, key, err);
	free(values);
}

void model_merge(const struct model *m, struct dns_zone *zone, const char *zone_name,
		 void (*refused)(void *arg, const char *key, const char *why), void *arg)
{
	size_t len = strlen(zone_name);
	const char *key;
	json_t *value;

	while (len > 1 && zone_name[len - 1] == '.')
		len--;
	json_object_foreach (m->values, key, value) {
		const char *rest = key + strlen(REG_RECORDS);
		char *copy;

		if (!has_prefix(key, REG_RECORDS) || strncasecmp(rest, zone_name, len) != 0)
			continue;
		rest += len;
		rest += *rest == '.';
		copy = *rest == '/' ? strdup(rest + 1) : NULL;
		if (copy)
			merge_one(zone, copy, key, value, refused, arg);
		free(copy);
	}
}
