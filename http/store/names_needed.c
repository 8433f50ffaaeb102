/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_needed.c -- does anything need the data of a version? Asked by who would remove them, so
 * whatever is not certain is "it cannot be said" (names.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "http/store/version.h"

#define GROUP_DIGITS (2 * VERSION_GROUP_BYTES)

struct needed {
	const char *node, *bucket, *version;
	struct name_entry *entry;
};

/* Parts belong to what their group is: the upload, or the object that it became. What was not named there
 * goes with it. */
static int group_txn(struct names_txn *t, uint32_t id, struct needed *q)
{
	char group[VERSION_STRLEN];
	int rc;

	memcpy(group, q->version, GROUP_DIGITS);
	memset(group + GROUP_DIGITS, '0', VERSION_STRLEN - 1 - GROUP_DIGITS);
	group[VERSION_STRLEN - 1] = '\0';
	rc = names_row_of(t, id, NAMES_UPLOADS, group, q->entry);
	if (rc == -ENOENT)
		rc = names_row_of(t, id, NAMES_OBJECTS, group, q->entry);
	/* Set aside when the upload was completed: it is about to be forgotten in good order. */
	return rc == -ENOENT ? names_row_of(t, id, NAMES_DROPPED, q->version, q->entry) : rc;
}

static int needed_txn(struct names_txn *t, void *arg)
{
	struct needed *q = arg;
	enum names_space space;
	struct names_meta meta;
	int rc = names_meta_get(t, q->bucket, &meta);

	if (rc || meta.state != NAMES_STATE_COMPLETE || strcmp(meta.primary, q->node) || meta.secondary[0])
		return -EAGAIN;
	rc = names_row_data(t, meta.id, q->version, &space, q->entry);
	return rc == -ENOENT ? group_txn(t, meta.id, q) : rc;
}

/* This node orders the bucket, nobody else has its names or ever registered, and the registry has said so. */
static bool orders_alone(struct names *n, struct bucket *b, uint64_t *epoch)
{
	struct bucket_view v;
	bool heard;

	pthread_mutex_lock(&n->lock);
	heard = n->endpoints_synced;
	pthread_mutex_unlock(&n->lock);
	if (!heard || nodes_others(n) || read_certain(n, b))
		return false;
	bucket_view(n, b, &v);
	*epoch = v.meta.epoch;
	return v.mod_revision && !v.record.secondary[0] && !v.unsure && !v.taking;
}

int names_needed(struct names *names, const char *bucket, const char *version)
{
	struct name_entry *entry = malloc(sizeof(*entry));
	struct needed q = { names->node, bucket, version, entry };
	struct bucket *b = names_bucket_valid(bucket) ? bucket_look(names, bucket) : NULL;
	uint64_t before, after;
	int rc = -EAGAIN;

	if (entry && b && strlen(version) == VERSION_STRLEN - 1 && orders_alone(names, b, &before)) {
		rc = names_db_read(names->db, needed_txn, &q);
		/* Also behind it: this program may have been stopped in between (names_read.c). */
		if (!orders_alone(names, b, &after) || after != before)
			rc = -EAGAIN;
	}
	free(entry);
	return !rc || rc == -ENOENT ? rc : -EAGAIN;
}
