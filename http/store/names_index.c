/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_index.c -- the index of keys: entries in the exact order of (bytes of the key, newest
 * first), although LMDB's keys end at 511 bytes and ours at 1,024.
 *
 * An entry is in a node, which is the beginning of the LMDB key: the bucket's number (4 bytes) for
 * the root, the same with INDEX_CHILD and a number (8 bytes) for a child. Behind it come as many
 * bytes of our key as fit (`room`), then
 *   0 and the order, inverted (8)  → seq (8), flags (1): the key ends here
 *   1                              → number (8): longer keys go on in that child
 * Our keys hold no byte 0, so a key is before all that it begins. A child goes when it is empty.
 * Uploads have their order as it is: the oldest comes first.
 */
#include <errno.h>

#include "http/store/names_db_internal.h"

#define KEY_ROOM 511 /* LMDB's longest key */
#define TAIL	 9   /* 0 and the order */

static size_t room(const struct keybuf *node)
{
	return KEY_ROOM - TAIL - node->len;
}

static void node_root(struct keybuf *node, uint32_t id)
{
	node->len = 0;
	kb_u32(node, id);
}

static void node_child(struct keybuf *node, uint32_t id, uint64_t number)
{
	node->len = 0;
	kb_u32(node, id | INDEX_CHILD);
	kb_u64(node, number);
}

static uint64_t order_place(uint32_t id, uint64_t order)
{
	return names_id_space(id) == NAMES_UPLOADS ? order : ~order;
}

static void kb_end(struct keybuf *k, uint32_t id, uint64_t order)
{
	kb_add(k, "", 1);
	kb_u64(k, order_place(id, order));
}

unsigned int names_index_flags(const struct name_entry *e)
{
	return (e->deleted ? INDEX_DELETED : 0) | (e->marker ? INDEX_MARKER : 0) |
	       (e->null_version ? INDEX_NULL : 0);
}

/* ---- changing ---- */

/* Where a key's last piece is: the nodes on the way down. */
struct path {
	unsigned int depth;
	struct keybuf node[INDEX_DEPTH];
	struct keybuf link[INDEX_DEPTH]; /* the entry that leads to node[i] */
	const char *rest;
	size_t len;
};

/* With make a missing child gets a number made of it. -ENOENT. */
static int path_find(struct names_txn *t, uint32_t id, const char *key, uint64_t make,
		     struct path *p)
{
	p->depth = 0;
	p->rest = key;
	p->len = strlen(key);
	node_root(&p->node[0], id);
	while (p->len > room(&p->node[p->depth])) {
		const struct keybuf *node = &p->node[p->depth];
		size_t piece = room(node);
		struct keybuf *link = &p->link[p->depth + 1];
		uint64_t number = htobe64(make * INDEX_DEPTH + p->depth);
		MDB_val k, v;
		int rc;

		*link = *node;
		kb_add(link, p->rest, piece);
		kb_add(link, "\1", 1);
		k = kb_val(link);
		rc = names_errno(mdb_get(t->txn, names_table(t->db, T_NAMES), &k, &v));
		if (!rc)
			memcpy(&number, v.mv_data, sizeof(number));
		else if (rc == -ENOENT && make)
			rc = names_kv_put(t, T_NAMES, link, &number, sizeof(number));
		if (rc)
			return rc;
		p->rest += piece;
		p->len -= piece;
		p->depth++;
		node_child(&p->node[p->depth], id, be64toh(number));
	}
	return 0;
}

static void path_end(const struct path *p, uint32_t id, uint64_t order, struct keybuf *k)
{
	*k = p->node[p->depth];
	kb_add(k, p->rest, p->len);
	kb_end(k, id, order);
}

int names_index_put(struct names_txn *t, uint32_t id, const struct name_entry *e)
{
	struct keybuf k, value = { .len = 0 };
	unsigned char flags = (unsigned char)names_index_flags(e);
	struct path p;
	int rc = path_find(t, id, e->key, e->seq, &p);

	if (rc)
		return rc;
	path_end(&p, id, e->order, &k);
	kb_u64(&value, e->seq);
	kb_add(&value, &flags, 1);
	return names_kv_put(t, T_NAMES, &k, value.bytes, value.len);
}

static int node_empty(struct names_txn *t, struct keybuf *node, bool *empty)
{
	MDB_val k = kb_val(node), v;
	MDB_cursor *c;
	int rc = names_errno(mdb_cursor_open(t->txn, names_table(t->db, T_NAMES), &c));

	if (rc)
		return rc;
	rc = names_errno(mdb_cursor_get(c, &k, &v, MDB_SET_RANGE));
	*empty = rc == -ENOENT ||
		 (!rc && (k.mv_size < node->len || memcmp(k.mv_data, node->bytes, node->len)));
	mdb_cursor_close(c);
	return rc == -ENOENT ? 0 : rc;
}

int names_index_del(struct names_txn *t, uint32_t id, const struct name_entry *e)
{
	struct keybuf k;
	struct path p;
	int rc = path_find(t, id, e->key, 0, &p);

	if (!rc) {
		path_end(&p, id, e->order, &k);
		rc = names_kv_del(t, T_NAMES, &k, NULL);
	}
	for (unsigned int d = p.depth; d > 0 && !rc; d--) {
		bool empty;

		rc = node_empty(t, &p.node[d], &empty);
		if (rc || !empty)
			break;
		rc = names_kv_del(t, T_NAMES, &p.link[d], NULL);
	}
	return rc;
}

/* ---- walking ---- */

int names_walk_open(struct names_walk *w, struct names_txn *t, uint32_t id)
{
	w->t = t;
	w->id = id;
	return names_errno(mdb_cursor_open(t->txn, names_table(t->db, T_NAMES), &w->c));
}

void names_walk_close(struct names_walk *w)
{
	mdb_cursor_close(w->c);
}

static int walk_push(struct names_walk *w, uint64_t number)
{
	if (w->depth + 1 >= INDEX_DEPTH)
		return -EIO;
	w->level[w->depth + 1].from = w->level[w->depth].from + room(&w->level[w->depth].node);
	w->depth++;
	node_child(&w->level[w->depth].node, w->id, number);
	return 0;
}

/* The fields of the entry at k, v; or of the first behind it, when these lead elsewhere. rc: how k
 * and v were got. */
static int walk_load(struct names_walk *w, int rc, MDB_val k, MDB_val v)
{
	for (;;) {
		const struct keybuf *node = &w->level[w->depth].node;
		size_t from = w->level[w->depth].from, len;
		struct keybuf at;

		if (rc && rc != MDB_NOTFOUND)
			return names_errno(rc);
		if (rc || k.mv_size <= node->len || memcmp(k.mv_data, node->bytes, node->len)) {
			if (!w->depth)
				return -ENOENT;
			w->depth--; /* behind the entry that led here */
			at = w->level[w->depth].node;
			kb_add(&at, w->key + w->level[w->depth].from, room(&at));
			kb_add(&at, "\2", 1);
			k = kb_val(&at);
			rc = mdb_cursor_get(w->c, &k, &v, MDB_SET_RANGE);
			continue;
		}
		len = k.mv_size - node->len - (v.mv_size == 8 ? 1 : TAIL);
		if (from + len > NAMES_KEY_MAX || (v.mv_size != 8 && v.mv_size != 9))
			return -EIO;
		memcpy(w->key + from, (char *)k.mv_data + node->len, len);
		if (v.mv_size == 9) {
			w->len = from + len;
			w->key[w->len] = '\0';
			w->order = order_place(w->id, get_u64((char *)k.mv_data + k.mv_size - 8));
			w->seq = get_u64(v.mv_data);
			w->flags = ((unsigned char *)v.mv_data)[8];
			return 0;
		}
		if (walk_push(w, get_u64(v.mv_data)))
			return -EIO;
		at = w->level[w->depth].node;
		k = kb_val(&at);
		rc = mdb_cursor_get(w->c, &k, &v, MDB_SET_RANGE);
	}
}

static int walk_seek(struct names_walk *w, const char *bytes, size_t len, bool end, uint64_t order)
{
	size_t from = 0;

	w->depth = 0;
	w->level[0].from = 0;
	node_root(&w->level[0].node, w->id);
	for (;;) {
		struct keybuf at = w->level[w->depth].node;
		size_t piece = room(&at);
		MDB_val k, v;
		int rc;

		if (len - from <= piece) {
			kb_add(&at, bytes + from, len - from);
			if (end)
				kb_end(&at, w->id, order);
			k = kb_val(&at);
			rc = mdb_cursor_get(w->c, &k, &v, MDB_SET_RANGE);
			return walk_load(w, rc, k, v);
		}
		kb_add(&at, bytes + from, piece);
		kb_add(&at, "\1", 1);
		k = kb_val(&at);
		rc = mdb_cursor_get(w->c, &k, &v, MDB_SET_RANGE);
		if (rc || k.mv_size != at.len || memcmp(k.mv_data, at.bytes, at.len) ||
		    v.mv_size != 8)
			return walk_load(w, rc, k, v);
		memcpy(w->key + from, bytes + from, piece);
		if (walk_push(w, get_u64(v.mv_data)))
			return -ENOENT; /* longer than any key */
		from += piece;
	}
}

int names_walk_seek(struct names_walk *w, const char *bytes, size_t len)
{
	return walk_seek(w, bytes, len, false, 0);
}

int names_walk_seek_order(struct names_walk *w, const char *key, uint64_t order)
{
	return walk_seek(w, key, strlen(key), true, order);
}

int names_walk_next(struct names_walk *w)
{
	MDB_val k, v;
	int rc = mdb_cursor_get(w->c, &k, &v, MDB_NEXT);

	return walk_load(w, rc, k, v);
}

int names_walk_current(struct names_walk *w, const char *key)
{
	int rc = names_walk_seek_order(w, key, UINT64_MAX);

	while (!rc && !strcmp(w->key, key) && w->flags & INDEX_DELETED)
		rc = names_walk_next(w);
	return !rc && strcmp(w->key, key) ? -ENOENT : rc;
}
