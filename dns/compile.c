/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile.c -- the table: every existing name (empty non-terminals too) with its blobs, found by
 * one hash of the lower-case name.
 *
 * All memory of a table lies in one arena, so that freeing it after a swap is a few calls.
 */
#include "dns/compile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dns/blob.h"
#include "lib/hash.h"

#define ARENA_CHUNK (256u * 1024)
#define CHAIN_MAX   8 /* aliases followed in one answer */

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	_Alignas(16) uint8_t data[];
};

struct dns_table {
	struct arena_chunk *arena;
	uint64_t seed;
	unsigned int labels;
	size_t nnodes, nslots; /* nslots is a power of two, at most half of it used */
	struct table_slot {
		uint64_t hash;
		struct dns_node *node;
	} * slots;
	const struct dns_table_zone **zones;
	size_t nzones;
	const struct dns_blob *any;
};

struct compiler {
	struct dns_table *t;
	const struct dns_zone *const *zones; /* the longest names first */
	size_t nzones;
	const struct dns_zone *zone; /* the one being compiled */
	struct dns_table_zone *tz;
	const struct dns_steer *steers;
	size_t nsteers;
	struct blob_writer *w;
};

static void *arena_take(struct dns_table *t, size_t len)
{
	struct arena_chunk *c = t->arena;
	void *p;

	len = (len + 15) & ~(size_t)15;
	if (!c || c->size - c->used < len) {
		size_t size = len > ARENA_CHUNK ? len : ARENA_CHUNK;

		c = malloc(sizeof(*c) + size);
		if (!c)
			return NULL;
		c->next = t->arena;
		c->used = 0;
		c->size = size;
		t->arena = c;
	}
	p = c->data + c->used;
	c->used += len;
	return memset(p, 0, len);
}

static const void *arena_copy(struct dns_table *t, const void *data, size_t len)
{
	void *p = arena_take(t, len);

	return p && len ? memcpy(p, data, len) : p;
}

/* ---- names --------------------------------------------------------------------------- */

static struct table_slot *slot_of(const struct dns_table *t, const uint8_t *name, size_t len,
				  uint64_t hash)
{
	size_t i = hash & (t->nslots - 1);

	while (t->slots[i].node && (t->slots[i].hash != hash || t->slots[i].node->name_len != len ||
				    memcmp(t->slots[i].node->name, name, len) != 0))
		i = (i + 1) & (t->nslots - 1);
	return &t->slots[i];
}

const struct dns_node *dns_table_find(const struct dns_table *t, const uint8_t *name, size_t len)
{
	return slot_of(t, name, len, hash64(name, len, t->seed))->node;
}

static int table_grow(struct dns_table *t)
{
	size_t old_n = t->nslots;
	struct table_slot *old = t->slots,
			  *bigger = calloc(old_n ? old_n * 2 : 64, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	t->slots = bigger;
	t->nslots = old_n ? old_n * 2 : 64;
	for (size_t i = 0; i < old_n; i++)
		if (old[i].node)
			*slot_of(t, old[i].node->name, old[i].node->name_len, old[i].hash) = old[i];
	free(old);
	return 0;
}

/* Finds or adds; a name that a longer zone brought stays that zone's. */
static struct dns_node *node_add(struct compiler *c, const uint8_t *name, size_t len)
{
	struct dns_table *t = c->t;
	uint64_t hash = hash64(name, len, t->seed);
	struct table_slot *slot;
	struct dns_node *node;

	if (t->nslots < 2 * (t->nnodes + 1) && table_grow(t))
		return NULL;
	slot = slot_of(t, name, len, hash);
	if (slot->node)
		return slot->node;
	node = arena_take(t, sizeof(*node));
	if (!node)
		return NULL;
	node->name = arena_copy(t, name, len);
	if (!node->name)
		return NULL;
	node->name_len = (uint8_t)len;
	node->zone = c->tz;
	slot->hash = hash;
	slot->node = node;
	t->nnodes++;
	if (dns_name_labels(name) > t->labels)
		t->labels = dns_name_labels(name);
	return node;
}

/* Does the name lie strictly below a delegation of the zone, or in a longer zone of ours? */
static bool name_is_elsewhere(const struct compiler *c, const uint8_t *name, size_t len)
{
	for (size_t i = 0; i < c->nzones && c->zones[i]->name_len > c->zone->name_len; i++)
		if (dns_name_under(name, len, c->zones[i]->name, c->zones[i]->name_len))
			return true;
	while (len > c->zone->name_len) {
		len -= 1u + *name;
		name += 1 + *name;
		if (len > c->zone->name_len && dns_zone_find(c->zone, name, len, DNS_NS, NULL))
			return true;
	}
	return false;
}

/* Adds a name and the empty non-terminals above it. */
static int add_name_up(struct compiler *c, const uint8_t *name, size_t len)
{
	if (name_is_elsewhere(c, name, len))
		return 0;
	while (len >= c->zone->name_len) {
		size_t before = c->t->nnodes;

		if (!node_add(c, name, len))
			return -ENOMEM;
		if (c->t->nnodes == before || len == c->zone->name_len)
			break;
		len -= 1u + *name;
		name += 1 + *name;
	}
	return 0;
}

static int add_names(struct compiler *c)
{
	int rc = add_name_up(c, c->zone->name, c->zone->name_len);

	for (size_t i = 0; i < c->zone->n && !rc; i++)
		rc = add_name_up(c, c->zone->rr[i]->name, c->zone->rr[i]->name_len);
	for (size_t i = 0; i < c->nsteers && !rc; i++)
		if (dns_name_under(c->steers[i].name, c->steers[i].name_len, c->zone->name,
				   c->zone->name_len))
			rc = add_name_up(c, c->steers[i].name, c->steers[i].name_len);
	return rc;
}

/* ---- blobs --------------------------------------------------------------------------- */

static struct dns_blob *blob_take(struct compiler *c)
{
	struct dns_blob *b = arena_take(c->t, sizeof(*b));

	if (!b)
		return NULL;
	b->steer = -1;
	b->base_len = c->w->base_len;
	b->authoritative = true;
	if (c->w->overflow) {
		b->rcode = DNS_SERVFAIL;
		return b;
	}
	b->len = (uint16_t)c->w->len;
	b->nshift = (uint16_t)c->w->nshift;
	b->body = arena_copy(c->t, c->w->body, c->w->len);
	b->shift = arena_copy(c->t, c->w->shift, c->w->nshift * sizeof(*c->w->shift));
	return b->body && b->shift ? b : NULL;
}

/* The SOA for the authority section: its TTL is the lesser of its own and the minimum (RFC 2308
 * section 3). */
static size_t write_negative_soa(struct compiler *c)
{
	size_t n;
	struct dns_rr *const *soa =
		dns_zone_find(c->zone, c->zone->name, c->zone->name_len, DNS_SOA, &n);
	uint32_t minimum;

	if (!soa)
		return 0;
	minimum = dns_get32(soa[0]->rdata + soa[0]->rdata_len - 4);
	blob_rr_named(c->w, soa[0], minimum < soa[0]->ttl ? minimum : soa[0]->ttl);
	return 1;
}

static const struct dns_blob *negative_blob(struct compiler *c, enum dns_rcode rcode)
{
	struct dns_blob *b;
	size_t n;

	blob_start(c->w, BLOB_BELOW, c->zone->name, c->zone->name_len);
	n = write_negative_soa(c);
	b = blob_take(c);
	if (b && b->rcode == DNS_NOERROR) {
		b->rcode = (uint8_t)rcode;
		b->authority = (uint16_t)n;
	}
	return b;
}

/* The minimal referral: the NS set, and addresses of servers named below the cut (RFC 9471). */
static const struct dns_blob *referral_blob(struct compiler *c, const struct dns_node *node)
{
	size_t n, glue = 0, count;
	struct dns_rr *const *ns = dns_zone_find(c->zone, node->name, node->name_len, DNS_NS, &n);
	struct dns_blob *b;

	blob_start(c->w, BLOB_BELOW, node->name, node->name_len);
	blob_rrset(c->w, BLOB_OWNER_QUESTION, ns, n, ns[0]->ttl);
	for (size_t i = 0; i < n; i++) {
		static const uint16_t types[] = { DNS_A, DNS_AAAA };
		uint8_t target[DNS_NAME_MAX];
		size_t len = ns[i]->rdata_len;

		memcpy(target, ns[i]->rdata, len);
		dns_name_lower(target, len);
		if (!dns_name_under(target, len, node->name, node->name_len))
			continue;
		for (size_t t = 0; t < 2; t++) {
			struct dns_rr *const *a =
				dns_zone_find(c->zone, target, len, types[t], &count);

			for (size_t j = 0; a && j < count; j++, glue++)
				blob_rr_named(c->w, a[j], a[j]->ttl);
		}
	}
	b = blob_take(c);
	if (b && b->rcode == DNS_NOERROR) {
		b->authoritative = false;
		b->authority = (uint16_t)n;
		b->additional = (uint16_t)glue;
	}
	return b;
}

static int steer_index(const struct compiler *c, const struct dns_node *node, uint16_t type)
{
	if (type != DNS_A && type != DNS_AAAA)
		return -1;
	for (size_t i = 0; i < c->nsteers; i++)
		if (c->steers[i].name_len == node->name_len &&
		    memcmp(c->steers[i].name, node->name, node->name_len) == 0)
			return c->steers[i].index;
	return -1;
}

/* The node that answers for an alias's target: itself or the wildcard that covers it; NULL with
 * *outside when the answer is not this zone's to give, without it when the name does not exist. */
static const struct dns_node *target_node(const struct compiler *c, const uint8_t *name, size_t len,
					  bool *outside)
{
	const struct dns_node *node;
	size_t at = 0;

	*outside = !dns_name_under(name, len, c->zone->name, c->zone->name_len) ||
		   name_is_elsewhere(c, name, len);
	if (*outside)
		return NULL;
	for (;;) {
		node = dns_table_find(c->t, name + at, len - at);
		if (node || len - at <= c->zone->name_len)
			break;
		at += 1u + name[at];
	}
	if (node && at)
		node = node->wildcard;
	if (node && (node->zone != c->tz ||
		     dns_zone_find(c->zone, node->name, node->name_len, DNS_NS, NULL)))
		*outside = node->zone != c->tz || node->name_len != c->zone->name_len;
	return *outside ? NULL : node;
}

struct chain {
	const struct dns_node *node; /* where the aliases lead; NULL: nowhere, or outside */
	bool outside;
	uint16_t owner;	  /* message offset of the name there */
	uint16_t answers; /* CNAME records written */
};

/* Writes the aliases from node on and says where they lead. */
static struct chain write_aliases(struct compiler *c, const struct dns_node *node, bool follow)
{
	struct chain ch = { .node = node, .owner = BLOB_OWNER_QUESTION };

	while (follow && ch.node && ch.answers < CHAIN_MAX) {
		struct dns_rr *const *cname =
			dns_zone_find(c->zone, ch.node->name, ch.node->name_len, DNS_CNAME, NULL);
		uint8_t target[DNS_NAME_MAX];
		size_t len;

		if (!cname)
			break;
		len = cname[0]->rdata_len;
		memcpy(target, cname[0]->rdata, len);
		dns_name_lower(target, len);
		blob_rrset(c->w, ch.owner, cname, 1, cname[0]->ttl);
		ch.answers++;
		ch.owner = blob_name_at(c->w, target, len);
		ch.node = target_node(c, target, len, &ch.outside);
		if (ch.answers == CHAIN_MAX || !ch.owner) {
			ch.outside = true;
			ch.node = NULL;
		}
	}
	return ch;
}

static const struct dns_blob *answer_blob(struct compiler *c, const struct dns_node *node,
					  uint16_t type, bool steered)
{
	enum blob_base base = node->name_len > 2 && node->name[0] == 1 && node->name[1] == '*'
				      ? BLOB_WILDCARD
				      : BLOB_EXACT;
	struct dns_rr *const *rr = NULL;
	struct chain ch;
	struct dns_blob *b;
	size_t n = 0, authority = 0;
	int index;

	blob_start(c->w, base, node->name, node->name_len);
	ch = write_aliases(c, node, type != DNS_CNAME);
	index = ch.node && steered ? steer_index(c, ch.node, type) : -1;
	if (ch.node && index < 0)
		rr = dns_zone_find(c->zone, ch.node->name, ch.node->name_len, type ? type : 0xffff,
				   &n);
	if (rr)
		blob_rrset(c->w, ch.owner, rr, n, rr[0]->ttl);
	else if (!ch.outside && index < 0)
		authority = write_negative_soa(c);
	b = blob_take(c);
	if (!b || b->rcode != DNS_NOERROR)
		return b;
	b->answers = (uint16_t)(ch.answers + n);
	b->authority = (uint16_t)authority;
	b->rcode = !ch.node && !ch.outside ? DNS_NXDOMAIN : DNS_NOERROR;
	if (index >= 0) {
		b->steer = (int16_t)index;
		b->steer_owner = ch.owner;
		b->unsteered = answer_blob(c, node, type, false);
		if (!b->unsteered)
			return NULL;
	}
	return b;
}

/* ---- nodes --------------------------------------------------------------------------- */

#define TYPES_MAX 256 /* different types at one name */

static size_t type_note(uint16_t *types, size_t n, uint16_t type)
{
	for (size_t i = 0; i < n; i++)
		if (types[i] == type)
			return n;
	if (n < TYPES_MAX)
		types[n++] = type;
	return n;
}

/* The types with an answer of their own at this name, at its end when it is an alias. */
static size_t node_types(struct compiler *c, const struct dns_node *node, uint16_t *types)
{
	struct dns_rr *const *rr;
	const struct dns_node *end;
	size_t n = 0, count;

	blob_start(c->w, BLOB_EXACT, node->name, node->name_len);
	end = write_aliases(c, node, true).node;
	if (end && steer_index(c, end, DNS_A) >= 0) {
		n = type_note(types, n, DNS_A);
		n = type_note(types, n, DNS_AAAA);
	}
	if (end) {
		rr = dns_zone_find(c->zone, end->name, end->name_len, 0, &count);
		for (size_t i = 0; rr && i < count; i++)
			n = type_note(types, n, rr[i]->type);
	}
	if (end != node)
		n = type_note(types, n, DNS_CNAME);
	return n;
}

static int compile_node(struct compiler *c, struct dns_node *node)
{
	bool apex = node->name_len == c->zone->name_len, alias;
	struct dns_answer_for *answers;
	uint16_t types[TYPES_MAX];
	size_t n;

	node->cut = !apex && dns_zone_find(c->zone, node->name, node->name_len, DNS_NS, NULL);
	alias = dns_zone_find(c->zone, node->name, node->name_len, DNS_CNAME, NULL);
	if (node->cut) {
		types[0] = DNS_DS;
		n = dns_zone_find(c->zone, node->name, node->name_len, DNS_DS, NULL) ? 1 : 0;
		node->other = referral_blob(c, node);
	} else {
		n = node_types(c, node, types);
		node->other = alias ? answer_blob(c, node, 0, false) : c->tz->nodata;
	}
	answers = arena_take(c->t, n * sizeof(*answers));
	if (!answers || !node->other)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		answers[i].type = types[i];
		answers[i].blob = answer_blob(c, node, types[i], true);
		if (!answers[i].blob)
			return -ENOMEM;
	}
	node->types = answers;
	node->ntypes = (uint16_t)n;
	return 0;
}

static struct dns_table_zone *zone_add(struct compiler *c)
{
	struct dns_table_zone *tz = arena_take(c->t, sizeof(*tz));

	if (!tz)
		return NULL;
	tz->name = arena_copy(c->t, c->zone->name, c->zone->name_len);
	tz->name_len = c->zone->name_len;
	tz->serial = c->zone->serial;
	tz->records = c->zone->n;
	tz->nxdomain = negative_blob(c, DNS_NXDOMAIN);
	tz->nodata = negative_blob(c, DNS_NOERROR);
	return tz->name && tz->nxdomain && tz->nodata ? tz : NULL;
}

static int compile_zone(struct compiler *c)
{
	struct dns_table *t = c->t;
	int rc;

	c->tz = zone_add(c);
	if (!c->tz)
		return -ENOMEM;
	t->zones[t->nzones++] = c->tz;
	rc = add_names(c);
	/* Wildcards first: aliases may lead to names that they cover. */
	for (size_t i = 0; i < t->nslots && !rc; i++) {
		struct dns_node *node = t->slots[i].node, *parent;

		if (!node || node->zone != c->tz || node->name_len <= c->zone->name_len ||
		    node->name[0] != 1 || node->name[1] != '*')
			continue;
		parent = slot_of(t, node->name + 2, node->name_len - 2u,
				 hash64(node->name + 2, node->name_len - 2u, t->seed))
				 ->node;
		if (parent)
			parent->wildcard = node;
	}
	for (size_t i = 0; i < t->nslots && !rc; i++)
		if (t->slots[i].node && t->slots[i].node->zone == c->tz)
			rc = compile_node(c, t->slots[i].node);
	return rc;
}

static const struct dns_blob *any_blob(struct compiler *c)
{
	/* CPU "RFC8482", empty OS; an hour. */
	static const uint8_t hinfo[] = { 0xc0, 12,   0,	   DNS_HINFO, 0,   1,	0,
					 0,    0x0e, 0x10, 0,	      9,   7,	'R',
					 'F',  'C',  '8',  '4',	      '8', '2', 0 };
	struct dns_blob *b = arena_take(c->t, sizeof(*b));

	if (!b)
		return NULL;
	b->authoritative = true;
	b->steer = -1;
	b->answers = 1;
	b->body = hinfo;
	b->len = sizeof(hinfo);
	return b;
}

static int longer_first(const void *pa, const void *pb)
{
	const struct dns_zone *a = *(const struct dns_zone *const *)pa,
			      *b = *(const struct dns_zone *const *)pb;

	return (int)b->name_len - (int)a->name_len;
}

int dns_compile(struct dns_table **out, const struct dns_zone *const *zones, size_t nzones,
		const struct dns_steer *steers, size_t nsteers, uint64_t seed)
{
	struct compiler c = { .steers = steers, .nsteers = nsteers, .nzones = nzones };
	const struct dns_zone **sorted = calloc(nzones + 1, sizeof(*sorted));
	int rc = -ENOMEM;

	c.t = calloc(1, sizeof(*c.t));
	c.w = malloc(sizeof(*c.w));
	if (c.t && c.w && sorted) {
		c.t->seed = seed;
		memcpy(sorted, zones, nzones * sizeof(*sorted));
		qsort(sorted, nzones, sizeof(*sorted), longer_first);
		c.zones = sorted;
		c.t->zones = calloc(nzones + 1, sizeof(*c.t->zones));
		c.t->any = any_blob(&c);
		rc = c.t->zones && c.t->any ? table_grow(c.t) : -ENOMEM;
		for (size_t i = 0; i < nzones && !rc; i++) {
			c.zone = sorted[i];
			rc = compile_zone(&c);
		}
	}
	free(sorted);
	free(c.w);
	if (rc)
		dns_table_free(c.t);
	else
		*out = c.t;
	return rc;
}

void dns_table_free(struct dns_table *t)
{
	struct arena_chunk *next;

	if (!t)
		return;
	for (struct arena_chunk *chunk = t->arena; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(t->slots);
	free(t->zones);
	free(t);
}

unsigned int dns_table_labels(const struct dns_table *t)
{
	return t->labels;
}

size_t dns_table_zones(const struct dns_table *t, const struct dns_table_zone *const **zones)
{
	if (zones)
		*zones = t->zones;
	return t->nzones;
}

const struct dns_blob *dns_table_any(const struct dns_table *t)
{
	return t->any;
}
