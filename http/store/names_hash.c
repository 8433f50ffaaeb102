/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_hash.c -- objects by the hash of their data: from this node's copies, and from all live
 * endpoints'.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

#define HASH_TRY_MS 4000

#define HASH_MAX 64

struct found {
	unsigned int count;
	struct {
		char bucket[NAMES_BUCKET_MAX + 1];
		struct name_entry entry;
	} at[HASH_MAX];
};

static int found_add(void *arg, const char *bucket, const struct name_entry *e)
{
	struct found *f = arg;

	for (unsigned int i = 0; i < f->count; i++)
		if (!strcmp(f->at[i].bucket, bucket) && !strcmp(f->at[i].entry.key, e->key)) {
			if (e->seq > f->at[i].entry.seq)
				f->at[i].entry = *e;
			return 0;
		}
	if (f->count < HASH_MAX) {
		strcpy(f->at[f->count].bucket, bucket);
		f->at[f->count++].entry = *e;
	}
	return 0;
}

struct hash_read {
	const uint8_t *sha256;
	struct found *found;
};

static int hash_txn(struct names_txn *t, void *arg)
{
	struct hash_read *h = arg;

	return names_scan_hash(t, h->sha256, HASH_MAX, found_add, h->found);
}

static int found_tell(const struct found *f, names_entry_fn *fn, void *arg)
{
	int rc = 0;

	for (unsigned int i = 0; i < f->count && !rc; i++)
		rc = fn(arg, f->at[i].bucket, &f->at[i].entry);
	return rc;
}

int names_by_hash(struct names *n, const uint8_t sha256[32], names_entry_fn *fn, void *arg)
{
	struct found *f = calloc(1, sizeof(*f));
	struct hash_read h = { sha256, f };
	int rc = f ? names_db_read(n->db, hash_txn, &h) : -ENOMEM;

	if (!rc)
		rc = found_tell(f, fn, arg);
	free(f);
	return rc;
}

static void hash_there(struct names *n, const char *node, const uint8_t sha256[32], struct found *f)
{
	char hex[65], bucket[NAMES_BUCKET_MAX + 1];
	json_t *answer;
	const json_t *value;
	size_t i;

	if (!node_post(n, node, "hash", json_pack("{s:s}", "sha256", hex_encode(sha256, 32, hex)),
		       &answer, HASH_TRY_MS))
		json_array_foreach (json_object_get(answer, "entries"), i, value) {
			struct name_entry e;

			if (!names_json_text(value, "bucket", bucket, sizeof(bucket)) &&
			    names_bucket_valid(bucket) &&
			    !names_entry_decode(&e, json_object_get(value, "entry")) &&
			    !memcmp(e.sha256, sha256, 32))
				found_add(f, bucket, &e);
		}
	json_decref(answer);
}

int names_by_hash_all(struct names *n, const uint8_t sha256[32], names_entry_fn *fn, void *arg)
{
	struct found *f = calloc(1, sizeof(*f));
	struct hash_read h = { sha256, f };
	struct node *nodes = NULL;
	unsigned int count = nodes_copy(n, &nodes);
	int rc = f ? names_db_read(n->db, hash_txn, &h) : -ENOMEM;

	for (unsigned int i = 0; i < count && !rc; i++)
		if (nodes[i].alive && strcmp(nodes[i].name, n->node))
			hash_there(n, nodes[i].name, sha256, f);
	if (!rc)
		rc = found_tell(f, fn, arg);
	free(nodes);
	free(f);
	return rc;
}
