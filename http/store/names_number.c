/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_number.c -- the number of this endpoint in its installation, 0 to 255: it is a byte of the
 * versions of parts, so that no two endpoints ever make the same one. Taken once in the registry
 * (numbers/NNN, created if absent), and remembered beside the names, so that a registry that is
 * silent later is no event. Once in each run it is looked whether it is this endpoint's there, still:
 * the registry may have been restored from a backup that is older than the number, or have been told
 * that this endpoint is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"

#define NUMBERS 256
#define NUMBER_KEY   (sizeof(REG_NUMBERS) + 12)
#define NUMBER_VALUE (CONF_NAME_MAX + 16)

/* In the local files: the number and whose it is; the folder may be a copy of another endpoint's. */
#define KEY "number"
struct kept {
	uint32_t number;
	char node[CONF_NAME_MAX];
};

static int kept_read(struct names_txn *t, void *arg)
{
	MDB_val k = { sizeof(KEY) - 1, (void *)KEY }, v;
	int rc = names_errno(mdb_get(t->txn, names_table(t->db, T_FORMAT), &k, &v));

	if (!rc && v.mv_size != sizeof(struct kept))
		rc = -ENOENT;
	if (!rc)
		memcpy(arg, v.mv_data, sizeof(struct kept));
	return rc;
}

static int kept_write(struct names_txn *t, void *arg)
{
	MDB_val k = { sizeof(KEY) - 1, (void *)KEY }, v = { sizeof(struct kept), arg };

	return names_errno(mdb_put(t->txn, names_table(t->db, T_FORMAT), &k, &v, 0));
}

/* The number that is this node's already, else the first that is free; -ENOSPC. *mine: which. */
static int number_choose(const char *node, const struct reg_kv *kvs, size_t count, bool *mine)
{
	bool taken[NUMBERS] = { false };

	*mine = false;
	for (size_t i = 0; i < count; i++) {
		unsigned long at = strtoul(kvs[i].key + strlen(REG_NUMBERS), NULL, 10);
		json_t *o = json_loadb(kvs[i].value, kvs[i].value_len, 0, NULL);
		const char *who = json_string_value(json_object_get(o, "node"));

		*mine = at < NUMBERS && who && !strcmp(who, node);
		json_decref(o);
		if (*mine)
			return (int)at;
		if (at < NUMBERS)
			taken[at] = true;
	}
	for (int i = 0; i < NUMBERS; i++)
		if (!taken[i])
			return i;
	names_fail("%d endpoints have numbers: delete numbers/NNN of one that is gone from the "
		   "registry",
		   NUMBERS);
	return -ENOSPC;
}

static void number_words(const struct names *n, int number, char key[NUMBER_KEY], char value[NUMBER_VALUE])
{
	snprintf(key, NUMBER_KEY, REG_NUMBERS "%03d", number);
	snprintf(value, NUMBER_VALUE, "{\"node\":\"%s\"}", n->node);
}

/* Is what was kept somebody else's by now? What is not there any more is put there again. */
static bool number_is_lost(struct names *n, int number)
{
	char key[NUMBER_KEY], value[NUMBER_VALUE];
	struct reg_cond absent = { .key = key };
	struct reg_change make = { .key = key, .value = value };
	struct reg_kv kv;
	json_t *o;
	bool lost;

	number_words(n, number, key, value);
	if (registry_txn(n->registry, &absent, 1, &make, 1, NULL) != -EAGAIN || registry_get(n->registry, key, &kv))
		return false;
	o = json_loadb(kv.value, kv.value_len, 0, NULL);
	lost = json_string_value(json_object_get(o, "node")) &&
	       strcmp(json_string_value(json_object_get(o, "node")), n->node) != 0;
	json_decref(o);
	reg_kv_free(&kv);
	return lost;
}

/* In the registry. The number, -EAGAIN: another one was faster, or -errno. */
static int number_take(struct names *n)
{
	char key[NUMBER_KEY], value[NUMBER_VALUE];
	struct reg_cond absent = { .key = key };
	struct reg_change make = { .key = key, .value = value };
	struct reg_kv *kvs;
	size_t count;
	bool mine;
	int rc = registry_list(n->registry, REG_NUMBERS, &kvs, &count, NULL), number;

	if (rc)
		return rc;
	number = number_choose(n->node, kvs, count, &mine);
	reg_kv_list_free(kvs, count);
	if (number < 0 || mine)
		return number;
	number_words(n, number, key, value);
	rc = registry_txn(n->registry, &absent, 1, &make, 1, NULL);
	return rc ? rc : number;
}

static int number_find(struct names *n)
{
	struct kept kept;
	int number = -EAGAIN;

	if (!names_db_read(n->db, kept_read, &kept) && kept.number < NUMBERS &&
	    !strcmp(kept.node, n->node) && !number_is_lost(n, (int)kept.number))
		return (int)kept.number;
	/* Also when an answer was lost: the list says what came of it. */
	for (int i = 0; i < NUMBERS && number == -EAGAIN; i++)
		number = number_take(n);
	if (number == -ENOSPC)
		return -EAGAIN;
	if (number < 0) {
		names_fail("the registry does not say which number this endpoint has: %s",
			   registry_error());
		return -EAGAIN;
	}
	memset(&kept, 0, sizeof(kept));
	kept.number = (uint32_t)number;
	strcpy(kept.node, n->node);
	if (names_db_write(n->db, kept_write, &kept))
		log_limited(LOG_LEVEL_ERROR, 2, "names: this endpoint's number cannot be kept");
	return number;
}

int names_part_attempt(struct names *n, const char *id, unsigned int number, uint8_t attempt,
		       char out[33])
{
	int mine;

	pthread_mutex_lock(&n->lock);
	mine = n->number;
	pthread_mutex_unlock(&n->lock);
	if (mine < 0) {
		mine = number_find(n);
		if (mine < 0)
			return mine;
		pthread_mutex_lock(&n->lock);
		n->number = mine;
		pthread_mutex_unlock(&n->lock);
	}
	return names_part_version(id, number, (uint16_t)(mine << 8 | attempt), out);
}
