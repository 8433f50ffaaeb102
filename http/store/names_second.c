/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_second.c -- a primary's talk with the second copy of a bucket: agreeing after a start or a
 * failure, sending operations, copying the bucket to a new one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/names_int.h"
#include "lib/hash.h"

struct position {
	uint64_t state, epoch, seq, seq_epoch;
	char primary[CONF_NAME_MAX];
};

static json_t *greeting(struct names *n, struct bucket *b, uint64_t epoch)
{
	return json_pack("{s:s s:s s:I}", "bucket", b->name, "primary", n->node, "epoch",
			 (json_int_t)epoch);
}

/* node_post(), and a refusal may bring the news that this node was replaced. */
static int second_post(struct names *n, struct bucket *b, const char *second, const char *what,
		       json_t *body, json_t **answer, unsigned int timeout_ms)
{
	json_t *said;
	int rc = node_post(n, second, what, body, &said, timeout_ms);

	if (rc == -ESTALE)
		record_hear(n, b, said);
	if (answer)
		*answer = said;
	else
		json_decref(said);
	return rc;
}

static int position_ask(struct names *n, struct bucket *b, const char *second, uint64_t epoch,
			struct position *p)
{
	json_t *answer;
	int rc = second_post(n, b, second, "position", greeting(n, b, epoch), &answer,
			     NAMES_APPEND_MS);

	if (!rc &&
	    (names_json_u64(answer, "state", &p->state) ||
	     names_json_u64(answer, "epoch", &p->epoch) || names_json_u64(answer, "seq", &p->seq) ||
	     names_json_u64(answer, "seq_epoch", &p->seq_epoch) ||
	     names_json_text(answer, "primary", p->primary, sizeof(p->primary)))) {
		names_fail("%s answers what is not understood", second);
		rc = -EPROTO;
	}
	json_decref(answer);
	return rc;
}

/* ---- copying to another node ---- */
struct copy_out {
	const char *bucket;
	const struct position *there;
	uint64_t from;
	char cursor[NAMES_CURSOR_MAX];
	struct names_meta meta;
	json_t *page;
	bool last;
};

/* Only what is missing, when the other side's position is one that this history has. */
static int export_from(struct names_txn *t, void *arg)
{
	struct copy_out *x = arg;
	const struct position *p = x->there;
	int rc = names_meta_get(t, x->bucket, &x->meta);

	if (!rc)
		x->from = p->state == NAMES_STATE_COMPLETE && p->seq <= x->meta.seq &&
					  p->seq >= x->meta.purged &&
					  names_history_has(t, x->meta.id, p->seq_epoch, p->seq)
				  ? p->seq
				  : 0;
	return rc;
}

static int export_page(struct names_txn *t, void *arg)
{
	struct copy_out *x = arg;

	return names_export(t, &x->meta, x->from, x->cursor, &x->page, &x->last);
}

static int send_pages(struct names *n, struct bucket *b, const char *second, uint64_t epoch,
		      uint64_t session, struct copy_out *x)
{
	int rc = 0;

	while (!rc && !x->last) {
		json_t *o = greeting(n, b, epoch);

		rc = names_db_read(n->db, export_page, x);
		if (rc) {
			json_decref(o);
			return rc;
		}
		json_object_set_new(o, "session", json_integer((json_int_t)session));
		json_object_set_new(o, "page", x->page);
		rc = second_post(n, b, second, "page", o, NULL, NAMES_COPY_MS);
	}
	return rc;
}

/* After 0 `second` has the bucket as it is here, as a copy that belongs to `epoch`. Nothing may
 * change meanwhile. */
static int copy_to(struct names *n, struct bucket *b, const char *second, uint64_t epoch,
		   const struct position *there)
{
	struct copy_out x = { .bucket = b->name, .there = there };
	uint64_t session;
	json_t *o;
	int rc = names_db_read(n->db, export_from, &x);

	if (rc)
		return rc;
	random_bytes(&session, sizeof(session));
	session = (session >> 2) + 1; /* a JSON integer, not 0 */
	o = greeting(n, b, epoch);
	json_object_set_new(o, "session", json_integer((json_int_t)session));
	json_object_set_new(o, "from", json_integer((json_int_t)x.from));
	rc = second_post(n, b, second, "begin", o, NULL, NAMES_COPY_MS);
	if (!rc)
		rc = send_pages(n, b, second, epoch, session, &x);
	if (rc)
		return rc;
	o = greeting(n, b, epoch);
	json_object_set_new(o, "session", json_integer((json_int_t)session));
	json_object_set_new(o, "seq", json_integer((json_int_t)x.meta.seq));
	json_object_set_new(o, "seq_epoch", json_integer((json_int_t)x.meta.seq_epoch));
	rc = second_post(n, b, second, "end", o, NULL, NAMES_COPY_MS);
	if (!rc)
		log_info("bucket %s: copied to %s, operations %llu to %llu", b->name, second,
			 (unsigned long long)x.from + 1, (unsigned long long)x.meta.seq);
	return rc;
}

/* ---- taking what the secondary has more ---- */
struct take_back {
	const char *bucket;
	struct names_meta meta; /* expected, then the new one */
	uint64_t seq, seq_epoch;
	json_t *pages;
};

static int import_txn(struct names_txn *t, void *arg)
{
	struct take_back *m = arg;
	struct names_meta meta;
	json_t *page;
	size_t i;
	int rc = names_meta_get(t, m->bucket, &meta);

	if (!rc && (meta.epoch != m->meta.epoch || meta.seq != m->meta.seq ||
		    meta.state != NAMES_STATE_COMPLETE))
		rc = -ESTALE;
	if (!rc)
		rc = names_import_begin(t, &meta, meta.seq);
	json_array_foreach (m->pages, i, page) {
		if (!rc)
			rc = names_import(t, &meta, page);
	}
	if (rc)
		return rc;
	meta.seq = m->seq;
	meta.seq_epoch = m->seq_epoch;
	rc = names_meta_put(t, m->bucket, &meta);
	if (!rc)
		m->meta = meta;
	return rc;
}

/* Operations that the secondary wrote and this node did not: a batch at most, cut off by a failure.
 */
static int pull(struct names *n, struct bucket *b, const struct names_meta *meta,
		const struct position *p)
{
	struct take_back m = { .bucket = b->name,
			    .meta = *meta,
			    .seq = p->seq,
			    .seq_epoch = p->seq_epoch,
			    .pages = json_array() };
	char cursor[NAMES_CURSOR_MAX] = "";
	bool last = false;
	int rc = 0;

	for (int pages = 0; !rc && !last; pages++) {
		json_t *o = greeting(n, b, meta->epoch), *answer;

		json_object_set_new(o, "from", json_integer((json_int_t)meta->seq));
		json_object_set_new(o, "cursor", json_string(cursor));
		rc = second_post(n, b, meta->secondary, "pull", o, &answer, NAMES_COPY_MS);
		last = json_is_true(json_object_get(answer, "last"));
		if (!rc &&
		    (names_json_text(answer, "cursor", cursor, sizeof(cursor)) ||
		     json_array_append(m.pages, json_object_get(answer, "page")) || pages > 100000))
			rc = -EPROTO;
		json_decref(answer);
	}
	if (!rc)
		rc = names_db_write(n->db, import_txn, &m);
	json_decref(m.pages);
	if (rc)
		return rc;
	log_info("bucket %s: took operations %llu to %llu back from %s", b->name,
		 (unsigned long long)meta->seq + 1, (unsigned long long)p->seq, meta->secondary);
	bucket_meta_set(n, b, &m.meta);
	return 0;
}

int second_agree(struct names *n, struct bucket *b)
{
	struct bucket_view v;
	struct position p;
	int rc;

	bucket_view(n, b, &v);
	rc = position_ask(n, b, v.meta.secondary, v.meta.epoch, &p);
	if (rc)
		return rc;
	if (p.epoch > v.meta.epoch) {
		names_fail("%s has seen a newer primary of bucket %s", v.meta.secondary, b->name);
		return -ESTALE;
	}
	if (p.state != NAMES_STATE_COMPLETE || p.epoch != v.meta.epoch ||
	    strcmp(p.primary, n->node) || p.seq < v.meta.seq) {
		log_warn("bucket %s: the copy at %s is not complete, sending it", b->name,
			 v.meta.secondary);
		return copy_to(n, b, v.meta.secondary, v.meta.epoch, &p);
	}
	return p.seq == v.meta.seq ? 0 : pull(n, b, &v.meta, &p);
}

int second_append(struct names *n, struct bucket *b, const struct names_batch *batch)
{
	struct bucket_view v;

	bucket_view(n, b, &v);
	return second_post(n, b, v.meta.secondary, "append", names_batch_encode(batch), NULL,
			   NAMES_APPEND_MS);
}

int second_confirm(struct names *n, struct bucket *b, const char *second, uint64_t epoch)
{
	return second_post(n, b, second, "confirm", greeting(n, b, epoch), NULL, NAMES_APPEND_MS);
}

/* ---- choosing ---- */

/* Another site is better than another failure domain, that is better than another machine only. */
static int distance(const struct names *n, const struct node *node)
{
	if (strcmp(node->site, n->site))
		return 2;
	return strcmp(node->domain, n->domain) != 0;
}

struct candidate {
	struct node node;
	int distance;
	uint64_t draw; /* spreads the buckets over equals */
};

static int candidate_order(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->distance != y->distance)
		return y->distance - x->distance;
	return x->draw < y->draw ? -1 : x->draw > y->draw;
}

static unsigned int candidates(struct names *n, struct bucket *b, const char *except,
			       struct candidate **out)
{
	struct node *nodes;
	unsigned int all = nodes_copy(n, &nodes), count = 0;
	struct candidate *c = calloc(all + 1, sizeof(*c));

	for (unsigned int i = 0; c && i < all; i++) {
		if (!nodes[i].alive || !nodes[i].registered || !strcmp(nodes[i].name, n->node) ||
		    !strcmp(nodes[i].name, except))
			continue;
		c[count].node = nodes[i];
		c[count].distance = distance(n, &nodes[i]);
		c[count].draw = hash64(nodes[i].name, strlen(nodes[i].name),
				       hash64(b->name, strlen(b->name), 0));
		count++;
	}
	free(nodes);
	if (c)
		qsort(c, count, sizeof(*c), candidate_order);
	*out = c;
	return c ? count : 0;
}

int second_find(struct names *n, struct bucket *b, const char *except)
{
	struct candidate *c;
	unsigned int count = candidates(n, b, except, &c);
	int rc = -EAGAIN;

	if (!count)
		names_fail("no other endpoint is alive that could hold the second copy of the "
			   "names of bucket %s",
			   b->name);
	for (unsigned int i = 0; i < count && i < 3; i++) {
		struct bucket_view v;
		struct position p;

		bucket_view(n, b, &v);
		rc = position_ask(n, b, c[i].node.name, v.meta.epoch + 1, &p);
		if (!rc)
			rc = copy_to(n, b, c[i].node.name, v.meta.epoch + 1, &p);
		if (rc)
			continue;
		rc = record_change_second(n, b, c[i].node.name);
		break;
	}
	free(c);
	return rc;
}

/* Who has the newest copy of a bucket that the registry does not know? `best` and *epoch are this
 * node's on entry. */
void second_newest(struct names *n, struct bucket *b, char best[CONF_NAME_MAX], uint64_t *epoch)
{
	struct candidate *c;
	unsigned int count = candidates(n, b, "", &c);
	uint64_t seq = 0;
	struct bucket_view v;

	bucket_view(n, b, &v);
	if (*epoch)
		seq = v.meta.seq;
	for (unsigned int i = 0; i < count; i++) {
		struct position p;

		if (position_ask(n, b, c[i].node.name, 1, &p) || p.state != NAMES_STATE_COMPLETE ||
		    p.epoch < *epoch || (p.epoch == *epoch && p.seq <= seq))
			continue;
		strcpy(best, c[i].node.name);
		*epoch = p.epoch;
		seq = p.seq;
	}
	free(c);
}
