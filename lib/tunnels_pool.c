/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels_pool.c -- which address a new tunnel gets: the lowest of the pool that is nobody's and
 * out of quarantine.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/tunnels_pool.h"

static int by_address(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

static int64_t quarantine_over(const struct reg_kv *kv, int64_t now)
{
	json_t *o = json_loadb(kv->value, kv->value_len, 0, NULL);
	const json_t *until = json_object_get(o, "until");
	bool over = json_is_integer(until) && json_integer_value(until) <= now &&
		    !json_object_get(o, "tunnel");

	json_decref(o);
	return over ? kv->mod_revision : 0;
}

int tunnels_taken(struct registry *reg, struct taken_address **out, size_t *n, int64_t *revision)
{
	struct reg_kv *kvs;
	struct taken_address *list;
	size_t nkvs, used = 0;
	int rc = registry_list(reg, REG_ADDRESSES, &kvs, &nkvs, revision);

	if (rc)
		return rc;
	list = calloc(nkvs + 1, sizeof(*list));
	for (size_t i = 0; list && i < nkvs; i++)
		if (!addr_parse(&list[used].addr, kvs[i].key + strlen(REG_ADDRESSES)))
			list[used++].free_at = quarantine_over(&kvs[i], time(NULL));
	reg_kv_list_free(kvs, nkvs);
	if (!list)
		return -ENOMEM;
	qsort(list, used, sizeof(*list), by_address);
	*out = list;
	*n = used;
	return 0;
}

/* The next address; false when it was the last of the prefix. */
static bool addr_next(struct addr *a, const struct addr_prefix *prefix)
{
	for (int i = a->family == AF_INET ? 3 : 15; i >= 0; i--)
		if (++a->bytes[i])
			break;
	return addr_prefix_contains(prefix, a);
}

/* Does the prefix's first address name the network, and (IPv4) its last one everybody in it
 * (RFC 4291 section 2.6.1, RFC 919)? Some clients send nothing there. */
static bool has_special(const struct addr_prefix *p)
{
	return p->len + 2 <= (p->addr.family == AF_INET ? 32 : 128);
}

/* The lowest free address of a prefix, and its key's revision (0: no key); -ENOSPC. */
static int lowest_free(const struct addr_prefix *p, const struct taken_address *list, size_t n,
		       struct addr *out, int64_t *revision)
{
	struct addr a = p->addr, after;
	const struct taken_address *t = list, *end = list + n;

	if (has_special(p))
		addr_next(&a, p);
	for (;; t++) {
		while (t < end && by_address(&t->addr, &a) < 0)
			t++;
		after = a;
		if (has_special(p) && p->addr.family == AF_INET && !addr_next(&after, p))
			return -ENOSPC;
		if (t == end || by_address(&t->addr, &a) || t->free_at) {
			*revision = t < end && !by_address(&t->addr, &a) ? t->free_at : 0;
			*out = a;
			return 0;
		}
		if (!addr_next(&a, p))
			return -ENOSPC;
	}
}

int tunnels_choose(const struct tunnel_pool *pool, uint8_t family, const struct taken_address *list,
		   size_t n, struct addr *out, int64_t *revision)
{
	int rc = 0;

	for (size_t i = 0; i < pool->n; i++) {
		if (pool->prefix[i].addr.family != family)
			continue;
		rc = -ENOSPC;
		if (!lowest_free(&pool->prefix[i], list, n, out, revision))
			return 1;
	}
	return rc;
}
