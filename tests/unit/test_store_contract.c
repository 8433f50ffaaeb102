/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store_contract.c -- what http/store/names.h promises, as one table of functions that any
 * engine of names can be put into: objects, versions and delete markers, meta, listings, uploads in
 * parts, closing of buckets. Each promise is tested at a lone node, at the primary of two, and at
 * the node that has to ask the primary.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <search.h>

#include "http/store/buckets.h"
#include "lib/hash.h"
#include "tests/unit/names_cluster.h"

/* ---- the engine ---- */
struct engine {
	__typeof__(names_put_with) *put;
	__typeof__(names_delete_with) *del;
	__typeof__(names_set_meta) *set_meta;
	__typeof__(names_get_version) *get;
	__typeof__(names_find) *find;
	__typeof__(names_version_used) *used;
	__typeof__(names_list_with) *list;
	__typeof__(names_versions) *versions;
	__typeof__(names_upload_create) *create;
	__typeof__(names_upload_get) *upload;
	__typeof__(names_part_attempt) *attempt;
	__typeof__(names_part_put) *part;
	__typeof__(names_parts) *parts;
	__typeof__(names_uploads) *uploads;
	__typeof__(names_upload_complete) *complete;
	__typeof__(names_upload_abort) *abort;
	__typeof__(names_bucket_open) *open;
	__typeof__(names_bucket_open_if) *open_if;
	__typeof__(names_bucket_close) *close;
	__typeof__(names_usage) *usage;
	__typeof__(names_each) *each;
};

static const struct engine ordered_names = {
	names_put_with,	       names_delete_with,   names_set_meta,
	names_get_version,     names_find,	    names_version_used,
	names_list_with,       names_versions,	    names_upload_create,
	names_upload_get,      names_part_attempt,  names_part_put,	names_parts,
	names_uploads,	       names_upload_complete, names_upload_abort,
	names_bucket_open,     names_bucket_open_if, names_bucket_close,
	names_usage,	       names_each,
};

static const struct engine *e = &ordered_names;
static struct cluster cluster; /* for its registry alone */
static struct child nodes[2];
static unsigned int nnodes;
static struct names *n; /* where the calls go */
static char bucket[32];
static unsigned int bucket_number;

/* ---- short hands ---- */
static char order_text[8192]; /* what a listing told */

static int tell(void *arg, const char *b, const struct name_entry *entry)
{
	(void)arg;
	assert_string_equal(b, bucket);
	assert_false(entry->deleted);
	snprintf(order_text + strlen(order_text), sizeof(order_text) - strlen(order_text),
		 "%s%s%s ", entry->key, entry->marker ? "!" : "", entry->current ? "*" : "");
	return 0;
}

static int tell_prefix(void *arg, const char *b, const char *prefix)
{
	(void)arg;
	assert_string_equal(b, bucket);
	snprintf(order_text + strlen(order_text), sizeof(order_text) - strlen(order_text), "<%s> ",
		 prefix);
	return 0;
}

static struct name_entry *entry_of(const char *key, char version[33])
{
	static struct name_entry entry;

	new_version(version);
	version[31] = '1'; /* not a group */
	memset(&entry, 0, sizeof(entry));
	snprintf(entry.key, sizeof(entry.key), "%s", key);
	strcpy(entry.version, version);
	entry.size = 5;
	sha256_once(version, 32, entry.sha256);
	entry.nholders = 1;
	strcpy(entry.holders[0], nodes[0].name);
	return &entry;
}

static void data_here(const char *version)
{
	char path[256];

	for (unsigned int i = 0; i < nnodes; i++) {
		snprintf(path, sizeof(path), "%s/data/%s", nodes[i].dir, version);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
}

static bool data_anywhere(const char *version)
{
	char path[256];
	bool there = false;

	for (unsigned int i = 0; i < nnodes; i++) {
		snprintf(path, sizeof(path), "%s/data/%s", nodes[i].dir, version);
		there |= access(path, F_OK) == 0;
	}
	return there;
}

static int put_mode(const char *key, enum names_mode mode, char version[33])
{
	struct names_how how = { .mode = mode };
	bool replaced;
	int rc = e->put(n, bucket, entry_of(key, version), &how, &replaced);

	data_here(version);
	return rc;
}

static int delete_mode(const char *key, const char *version, enum names_mode mode,
		       struct names_deleted *out)
{
	struct names_how how = { .mode = mode };

	return e->del(n, bucket, key, version, &how, out);
}

static void listed(const struct names_select *s, const char *want, bool more,
		   struct names_page *page)
{
	struct names_page mine;

	order_text[0] = '\0';
	assert_int_equal(e->list(n, bucket, s, tell, tell_prefix, NULL, page ? page : &mine), 0);
	assert_string_equal(order_text, want);
	assert_int_equal((page ? page : &mine)->more, more);
}

static void versions_are(const struct names_select *s, const char *want, bool more,
			 struct names_page *page)
{
	struct names_page mine;

	order_text[0] = '\0';
	assert_int_equal(e->versions(n, bucket, s, tell, tell_prefix, NULL, page ? page : &mine),
			 0);
	assert_string_equal(order_text, want);
	assert_int_equal((page ? page : &mine)->more, more);
}

static void usage_is(uint64_t objects, uint64_t bytes, uint64_t markers, uint64_t uploads,
		     uint64_t parts)
{
	struct names_usage u;

	assert_int_equal(e->usage(n, bucket, &u), 0);
	assert_int_equal(u.objects, objects);
	assert_int_equal(u.bytes, bytes);
	assert_int_equal(u.markers, markers);
	assert_int_equal(u.uploads, uploads);
	assert_int_equal(u.parts, parts);
}

static void get_is(const char *key, const char *version, int rc, const char *want)
{
	struct name_entry got;

	assert_int_equal(e->get(n, bucket, key, version, &got), rc);
	if (want)
		assert_string_equal(got.version, want);
}

/* ---- objects ---- */

static void plain_replaces(void **state)
{
	char v1[33], v2[33];
	struct names_deleted gone;
	struct name_entry got;

	(void)state;
	get_is("cat", NULL, -ENOENT, NULL);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v2), 0);
	assert_int_equal(e->get(n, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.version, v2);
	assert_true(got.null_version && got.current && !got.marker);
	get_is("cat", "null", 0, v2);
	get_is("cat", v2, -ENOENT, NULL); /* the null version's name is null */
	get_is("dog", "null", -ENOENT, NULL);
	assert_int_equal(e->find(n, bucket, v2, &got), 0);
	assert_int_equal(e->find(n, bucket, v1, &got), -ENOENT);
	usage_is(1, 5, 0, 0, 0);
	wait_until(5, !data_anywhere(v1));
	assert_true(data_anywhere(v2));
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), 0);
	assert_true(!gone.marker && gone.null_version);
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), -ENOENT);
	get_is("cat", NULL, -ENOENT, NULL);
	usage_is(0, 0, 0, 0, 0);
	wait_until(5, !data_anywhere(v2));
}

static void etag_and_meta(void **state)
{
	struct names_how how = { .if_none_match = "*" };
	struct name_entry got;
	char v[33];
	bool replaced;
	struct name_entry *mine = entry_of("cat", v);
	uint64_t seq;

	(void)state;
	strcpy(mine->etag, "9a0364b9e99bb480dd25e1f0284c8555");
	strcpy(mine->meta, "{\"type\":\"image/png\",\"user\":{\"a\":\"\xc3\xa4\\n\"}}");
	mine->meta_len = (unsigned int)strlen(mine->meta);
	assert_int_equal(e->put(n, bucket, mine, &how, &replaced), 0);
	assert_int_equal(e->put(n, bucket, mine, &how, &replaced), 0); /* the same again */
	assert_int_equal(e->get(n, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.etag, mine->etag);
	assert_string_equal(got.meta, mine->meta);
	assert_int_equal(got.meta_len, mine->meta_len);
	seq = got.seq;
	assert_int_equal(e->put(n, bucket, entry_of("cat", v), &how, &replaced), -ECANCELED);
	how = (struct names_how){ .if_match = "\"0000\"" };
	assert_int_equal(e->put(n, bucket, entry_of("cat", v), &how, &replaced), -ECANCELED);
	assert_int_equal(e->set_meta(n, bucket, "cat", NULL, seq + 1, "{}", NULL), -ECANCELED);
	assert_int_equal(e->set_meta(n, bucket, "cat", NULL, seq, "{\"b\":2}", &got), 0);
	assert_string_equal(got.meta, "{\"b\":2}");
	assert_int_equal(e->set_meta(n, bucket, "dog", NULL, 0, "{}", NULL), -ENOENT);
	how = (struct names_how){ .if_match = "\"1\", \"9a0364b9e99bb480dd25e1f0284c8555\"" };
	assert_int_equal(e->put(n, bucket, entry_of("cat", v), &how, &replaced), 0);
	assert_true(replaced);
	mine = entry_of("cat", v);
	strcpy(mine->etag, "a\"b");
	assert_int_equal(e->put(n, bucket, mine, &how, &replaced), -EINVAL);
}

/* ---- versions ---- */

static void versions_are_kept(void **state)
{
	struct names_select all = { .limit = 0 };
	struct names_deleted gone;
	struct name_entry got;
	char v0[33], v1[33], v2[33], v3[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v0), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v2), 0);
	assert_int_equal(put_mode("cow", NAMES_VERSIONED, v3), 0);
	versions_are(&all, "cat* cat cat cow* ", false, NULL);
	listed(&all, "cat* cow* ", false, NULL);
	get_is("cat", NULL, 0, v2);
	get_is("cat", v1, 0, v1);
	get_is("cat", "null", 0, v0);
	get_is("cow", v1, -ENOENT, NULL);
	assert_int_equal(delete_mode("cat", NULL, NAMES_VERSIONED, &gone), 0);
	assert_true(gone.marker && !gone.null_version);
	assert_int_equal(e->get(n, bucket, "cat", NULL, &got), -ENOENT);
	assert_true(got.marker);
	assert_string_equal(got.version, gone.version);
	assert_int_equal(e->get(n, bucket, "cat", gone.version, &got), 0);
	assert_true(got.marker && got.current);
	assert_int_equal(e->get(n, bucket, "none", NULL, &got), -ENOENT);
	assert_false(got.marker);
	listed(&all, "cow* ", false, NULL);
	versions_are(&all, "cat!* cat cat cat cow* ", false, NULL);
	usage_is(4, 20, 1, 0, 0);
	/* Without its marker the newest is there again; without that the next. */
	assert_int_equal(delete_mode("cat", gone.version, NAMES_VERSIONED, &gone), 0);
	assert_true(gone.marker);
	get_is("cat", NULL, 0, v2);
	assert_int_equal(delete_mode("cat", v2, NAMES_VERSIONED, &gone), 0);
	assert_true(!gone.marker && !strcmp(gone.version, v2));
	get_is("cat", NULL, 0, v1);
	assert_int_equal(delete_mode("cat", v2, NAMES_VERSIONED, &gone), -ENOENT);
	wait_until(5, !data_anywhere(v2));
	assert_true(data_anywhere(v1) && data_anywhere(v0));
	assert_int_equal(delete_mode("cat", "null", NAMES_VERSIONED, &gone), 0);
	versions_are(&all, "cat* cow* ", false, NULL);
	/* Only while it is as it was when it was looked at. */
	assert_int_equal(e->get(n, bucket, "cow", NULL, &got), 0);
	assert_int_equal(
		e->del(n, bucket, "cow", NULL,
		       &(struct names_how){ .mode = NAMES_VERSIONED, .if_seq = got.seq - 1 },
		       &gone),
		-ECANCELED);
	assert_int_equal(
		e->del(n, bucket, "cow", v3, &(struct names_how){ .if_seq = got.seq + 1 }, &gone),
		-ECANCELED);
	get_is("cow", NULL, 0, v3);
	/* A marker where nothing was. */
	assert_int_equal(delete_mode("dog", NULL, NAMES_VERSIONED, &gone), 0);
	versions_are(&all, "cat* cow* dog!* ", false, NULL);
	usage_is(2, 10, 1, 0, 0);
}

static void suspended_replaces_null(void **state)
{
	struct names_select all = { .limit = 0 };
	struct names_deleted gone;
	char v1[33], v2[33], v3[33], v4[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v1), 0);
	assert_int_equal(put_mode("cat", NAMES_SUSPENDED, v2), 0);
	assert_int_equal(put_mode("cat", NAMES_VERSIONED, v3), 0);
	/* The null version is not the newest, and is replaced all the same. */
	assert_int_equal(put_mode("cat", NAMES_SUSPENDED, v4), 0);
	versions_are(&all, "cat* cat cat ", false, NULL);
	get_is("cat", "null", 0, v4);
	wait_until(5, !data_anywhere(v2));
	assert_int_equal(delete_mode("cat", NULL, NAMES_SUSPENDED, &gone), 0);
	assert_true(gone.marker && gone.null_version);
	versions_are(&all, "cat!* cat cat ", false, NULL);
	wait_until(5, !data_anywhere(v4));
	assert_int_equal(delete_mode("cat", "null", NAMES_SUSPENDED, &gone), 0);
	assert_true(gone.marker && gone.null_version);
	get_is("cat", NULL, 0, v3);
	/* As if it had never been versioned: what was kept does not come to light. */
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, &gone), 0);
	get_is("cat", NULL, -ENOENT, NULL);
	get_is("cat", v3, 0, v3);
	/* Another version's meta is changed where it is. */
	assert_int_equal(e->set_meta(n, bucket, "cat", v1, 0, "{\"old\":1}", NULL), 0);
	versions_are(&all, "cat!* cat cat ", false, NULL);
}

/* ---- listings ---- */

static void keys_put(const char *const *keys)
{
	char v[33];

	for (; *keys; keys++)
		assert_int_equal(put_mode(*keys, NAMES_PLAIN, v), 0);
}

static void delimiters(void **state)
{
	static const char *const keys[] = { "a",      "a/b/1", "a/b/2", "a/c",	    "b//x", "b/y",
					    "c+ %\n", "\x01",  "/lead", "\xc3\xa4", NULL };
	struct names_page page;
	struct names_deleted gone;

	(void)state;
	keys_put(keys);
	listed(&(struct names_select){ .limit = 0 },
	       "\x01* /lead* a* a/b/1* a/b/2* a/c* b//x* b/y* c+ %\n* \xc3\xa4* ", false, NULL);
	listed(&(struct names_select){ .delimiter = "/" },
	       "\x01* </> a* <a/> <b/> c+ %\n* \xc3\xa4* ", false, NULL);
	listed(&(struct names_select){ .delimiter = "/", .prefix = "a/" }, "<a/b/> a/c* ", false,
	       NULL);
	listed(&(struct names_select){ .delimiter = "b/", .prefix = "a" }, "a* <a/b/> a/c* ", false,
	       NULL);
	listed(&(struct names_select){ .delimiter = "/", .limit = 3 }, "\x01* </> a* ", true,
	       &page);
	assert_string_equal(page.next, "a");
	listed(&(struct names_select){ .delimiter = "/", .limit = 2, .after = "a" }, "<a/> <b/> ",
	       true, &page);
	assert_string_equal(page.next, "b/");
	listed(&(struct names_select){ .delimiter = "/", .after = page.next }, "c+ %\n* \xc3\xa4* ",
	       false, NULL);
	listed(&(struct names_select){ .delimiter = "/", .after = "a/b/1" },
	       "<b/> c+ %\n* \xc3\xa4* ", false, NULL);
	listed(&(struct names_select){ .after = "a/b/1", .limit = 1 }, "a/b/2* ", true, NULL);
	listed(&(struct names_select){ .prefix = "zz" }, "", false, NULL);
	/* A prefix under which everything is deleted is none. */
	assert_int_equal(delete_mode("b//x", NULL, NAMES_VERSIONED, &gone), 0);
	assert_int_equal(delete_mode("b/y", NULL, NAMES_VERSIONED, &gone), 0);
	listed(&(struct names_select){ .delimiter = "/", .prefix = "" },
	       "\x01* </> a* <a/> c+ %\n* \xc3\xa4* ", false, NULL);
	versions_are(&(struct names_select){ .delimiter = "/", .prefix = "" },
		     "\x01* </> a* <a/> <b/> c+ %\n* \xc3\xa4* ", false, NULL);
}

/* The longest names in their exact order, also those that are the beginning of others. */
static void longest_keys(void **state)
{
	static const int lens[] = { 1024, 1023, 989, 988, 987, 499, 498, 497, 1 };
	struct names_page page = { .more = true };
	char key[NAMES_KEY_MAX + 2], v[33], last[NAMES_KEY_MAX + 1] = "";
	unsigned int told = 0;

	(void)state;
	memset(key, 'k', sizeof(key));
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		key[lens[i]] = '\0';
		assert_int_equal(put_mode(key, NAMES_VERSIONED, v), 0);
		key[lens[i] - 1] = 'l';
		assert_int_equal(put_mode(key, NAMES_VERSIONED, v), 0);
		key[lens[i] - 1] = 'k';
	}
	while (page.more) {
		order_text[0] = '\0';
		assert_int_equal(e->list(n, bucket,
					 &(struct names_select){ .after = last, .limit = 1 }, tell,
					 NULL, NULL, &page),
				 0);
		assert_true(strcmp(page.next, last) > 0);
		strcpy(last, page.next);
		told++;
	}
	assert_int_equal(told, 18);
	memset(key, 'k', sizeof(key));
	key[1025] = '\0';
	assert_int_equal(put_mode(key, NAMES_PLAIN, v), 0); /* cut by entry_of(): 1,024 */
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memset(key, 'k', sizeof(key));
		key[lens[i]] = '\0';
		get_is(key, NULL, 0, NULL);
	}
}

static void pages_of_versions(void **state)
{
	struct names_select s = { .limit = 2 };
	struct names_page page;
	struct names_deleted gone;
	char first[33], v[33];

	(void)state;
	assert_int_equal(put_mode("a", NAMES_VERSIONED, first), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(put_mode("a", NAMES_VERSIONED, v), 0);
	assert_int_equal(put_mode("b", NAMES_VERSIONED, v), 0);
	versions_are(&s, "a* a ", true, &page);
	s.after = page.next;
	s.after_version = page.next_version;
	/* The one where the page ended is removed, and so is the newest. */
	v[0] = '\0';
	memcpy(v, page.next_version, 32);
	v[32] = '\0';
	assert_int_equal(delete_mode("a", v, NAMES_VERSIONED, &gone), 0);
	{
		struct names_page next;

		versions_are(&s, "a a ", true, &next);
		strcpy(page.next, next.next);
		strcpy(page.next_version, next.next_version);
	}
	versions_are(&s, "a b* ", false, NULL);
	/* A client's own marker. */
	s.after_version = first;
	versions_are(&s, "b* ", false, NULL);
	s.after_version = NULL;
	versions_are(&s, "b* ", false, NULL);
	s.after_version = "00112233445566778899aabbccddeeff";
	versions_are(&s, "a* a ", true, NULL);
}

static int count_entry(void *arg, const char *b, const struct name_entry *entry)
{
	(void)b;
	assert_int_equal(entry->meta_len, NAMES_META_MAX);
	++*(int *)arg;
	return 0;
}

/* Entries of the greatest size: pages get shorter, nothing is left out. */
static void greatest_entries(void **state)
{
	struct names_how how = { .mode = NAMES_PLAIN };
	struct names_select s = { .meta = true };
	struct names_page page = { .more = true };
	char v[33], after[NAMES_KEY_MAX + 1] = "";
	int told = 0, pages = 0;

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct name_entry *mine = entry_of("", v);

		memset(mine->key, '\x01', NAMES_KEY_MAX - 3);
		snprintf(mine->key + NAMES_KEY_MAX - 3, 4, "%03d", i);
		memset(mine->meta, '\x02', NAMES_META_MAX);
		mine->meta_len = NAMES_META_MAX;
		assert_int_equal(e->put(n, bucket, mine, &how, NULL), 0);
	}
	for (s.after = after; page.more; pages++) {
		assert_int_equal(e->list(n, bucket, &s, count_entry, NULL, &told, &page), 0);
		strcpy(after, page.next);
	}
	assert_int_equal(told, 100);
	assert_true(pages > 1);
}

static _Atomic int writes_done;

static void write_done(struct write *w)
{
	assert_int_equal(w->rc, 0);
	write_free(w);
	writes_done++;
}

/* Another node has the data now, and the tags change, both in the same moment: both are kept. */
static void fetched_and_meta(void **state)
{
	const char *ideal[] = { "n9" };
	struct names_how how = { .nideal = 1, .ideal = ideal };
	struct bucket *b = bucket_find(n, bucket);
	struct write *fetched = write_new(WRITE_FETCHED), *meta = write_new(WRITE_META);
	struct names_op *done = calloc(1, sizeof(*done));
	struct name_entry got;
	bool replaced;
	char v[33];

	(void)state;
	assert_int_equal(e->put(n, bucket, entry_of("cat", v), &how, &replaced), 0);
	assert_int_equal(e->get(n, bucket, "cat", NULL, &got), 0);
	done->kind = NAMES_OP_FETCHED;
	strcpy(done->node, "n9");
	done->holds = true;
	done->nseqs = 1;
	done->seqs[0] = got.seq;
	strcpy(done->entry.version, v);
	fetched->done = done;
	strcpy(meta->entry.key, "cat");
	version_random(meta->entry.version);
	meta->entry.meta_len = (unsigned int)sprintf(meta->entry.meta, "{\"tag\":1}");
	fetched->complete = meta->complete = write_done;
	pthread_mutex_lock(&n->lock);
	b->not_before = INT64_MAX; /* both wait in the queue */
	pthread_mutex_unlock(&n->lock);
	bucket_enqueue(n, b, fetched);
	bucket_enqueue(n, b, meta);
	pthread_mutex_lock(&n->lock);
	b->not_before = 0;
	bucket_schedule_locked(n, b);
	pthread_mutex_unlock(&n->lock);
	wait_until(5, writes_done == 2);
	free(done);
	assert_int_equal(e->get(n, bucket, "cat", NULL, &got), 0);
	assert_string_equal(got.meta, "{\"tag\":1}");
	assert_int_equal(got.nholders, 2);
	assert_string_equal(got.holders[1], "n9");
}

/* ---- uploads ---- */

static void upload_new(const char *key, char id[33])
{
	static struct name_entry u;

	memset(&u, 0, sizeof(u));
	snprintf(u.key, sizeof(u.key), "%s", key);
	strcpy(u.meta, "{\"owner\":\"ann\"}");
	u.meta_len = (unsigned int)strlen(u.meta);
	assert_int_equal(e->create(n, bucket, &u), 0);
	assert_true(names_is_group(u.version));
	strcpy(id, u.version);
}

static int part_new(const char *key, const char *id, unsigned int number, uint64_t size,
		    const char *etag, char version[33])
{
	static uint16_t attempt;
	struct names_how how = { .mode = NAMES_PLAIN };
	struct name_entry *p = entry_of(key, version);

	assert_int_equal(names_part_version(id, number, ++attempt, version), 0);
	strcpy(p->version, version);
	strcpy(p->etag, etag);
	p->size = size;
	data_here(version);
	return e->part(n, bucket, key, id, number, p, &how);
}

static char parts_text[4096];
static int tell_part(void *arg, const char *b, const struct name_entry *p)
{
	(void)arg;
	assert_string_equal(b, bucket);
	snprintf(parts_text + strlen(parts_text), sizeof(parts_text) - strlen(parts_text),
		 "%u:%s:%llu ", p->part, p->etag, (unsigned long long)p->size);
	assert_int_equal(p->nholders, 1);
	return 0;
}

static void parts_are(const char *id, unsigned int after, unsigned int limit, const char *want,
		      bool more)
{
	bool got;

	parts_text[0] = '\0';
	assert_int_equal(e->parts(n, bucket, id, after, limit, false, tell_part, NULL, &got), 0);
	assert_string_equal(parts_text, want);
	assert_int_equal(got, more);
}

static int tell_each(void *arg, const char *b, const struct name_entry *p)
{
	if (!strcmp(b, bucket))
		++*(int *)arg;
	assert_true(p->nholders);
	return 0;
}

static int complete(const char *key, const char *id, const struct names_part *list, size_t count,
		    uint64_t min, enum names_mode mode, struct name_entry *out)
{
	struct names_how how = { .mode = mode };
	bool replaced;

	memset(out, 0, sizeof(*out));
	strcpy(out->etag, "beef-2");
	strcpy(out->meta, "{\"done\":1}");
	out->meta_len = (unsigned int)strlen(out->meta);
	return e->complete(n, bucket, key, id, list, count, min, out, &how, &replaced);
}

static void uploads_become_objects(void **state)
{
	struct names_part list[3] = { { 1, "e1" }, { 3, "" }, { 10000, "e4" } };
	struct name_entry got;
	char id[33], v1[33], again[33], v2[33], v3[33], v4[33], old[33];
	int each = 0;

	(void)state;
	assert_int_equal(put_mode("big", NAMES_PLAIN, old), 0);
	upload_new("big", id);
	assert_int_equal(e->upload(n, bucket, "big", id, &got), 0);
	assert_string_equal(got.meta, "{\"owner\":\"ann\"}");
	assert_int_equal(e->upload(n, bucket, "other", id, &got), -ENOENT);
	assert_int_equal(part_new("other", id, 1, 6, "e1", v1), -ENOENT);
	assert_int_equal(part_new("big", id, 1, 6, "e0", v1), 0);
	assert_int_equal(part_new("big", id, 10000, 1, "e4", v4), 0);
	assert_int_equal(part_new("big", id, 3, 7, "e3", v3), 0);
	assert_int_equal(part_new("big", id, 2, 8, "e2", v2), 0);
	assert_int_equal(part_new("big", id, 1, 9, "e1", again), 0);
	wait_until(5, !data_anywhere(v1)); /* replaced */
	parts_are(id, 0, 0, "1:e1:9 2:e2:8 3:e3:7 10000:e4:1 ", false);
	parts_are(id, 1, 2, "2:e2:8 3:e3:7 ", true);
	usage_is(1, 5 + 25, 0, 1, 4);
	assert_int_equal(e->find(n, bucket, v3, &got), 0);
	assert_int_equal(got.part, 3);
	/* Refused: another ETag, not there, too small; then nothing has changed. */
	strcpy(list[0].etag, "e0");
	assert_int_equal(complete("big", id, list, 3, 0, NAMES_PLAIN, &got), -EBADMSG);
	strcpy(list[0].etag, "e1");
	list[1].number = 4;
	assert_int_equal(complete("big", id, list, 3, 0, NAMES_PLAIN, &got), -EBADMSG);
	list[1].number = 3;
	assert_int_equal(complete("big", id, list, 3, 8, NAMES_PLAIN, &got), -EMSGSIZE);
	parts_are(id, 0, 0, "1:e1:9 2:e2:8 3:e3:7 10000:e4:1 ", false);
	get_is("big", NULL, 0, old);
	assert_int_equal(complete("big", id, list, 3, 7, NAMES_PLAIN, &got), 0);
	assert_int_equal(got.size, 17);
	assert_int_equal(got.nparts, 3);
	assert_string_equal(got.version, id);
	/* Once more: the same. */
	assert_int_equal(complete("big", id, list, 3, 7, NAMES_PLAIN, &got), 0);
	assert_int_equal(got.size, 17);
	assert_int_equal(e->get(n, bucket, "big", NULL, &got), 0);
	assert_string_equal(got.version, id);
	assert_string_equal(got.etag, "beef-2");
	assert_int_equal(e->upload(n, bucket, "big", id, &got), -ENOENT);
	parts_are(id, 0, 0, "1:e1:9 3:e3:7 10000:e4:1 ", false);
	usage_is(1, 17, 0, 0, 3);
	wait_until(5, !data_anywhere(v2) && !data_anywhere(old));
	assert_true(data_anywhere(v3));
	assert_int_equal(part_new("big", id, 5, 9, "e5", v1), -ENOENT);
	assert_int_equal(e->each(n, tell_each, &each), 0);
	assert_int_equal(each, 3);
	assert_int_equal(delete_mode("big", NULL, NAMES_PLAIN, NULL), 0);
	parts_are(id, 0, 0, "", false);
	usage_is(0, 0, 0, 0, 0);
	wait_until(5, !data_anywhere(v3) && !data_anywhere(again) && !data_anywhere(v4));
}

static void uploads_end(void **state)
{
	struct names_part list[1] = { { 1, "x" } };
	struct names_select s = { .limit = 0 };
	struct names_page page;
	struct names_how how = { .if_none_match = "*" };
	struct name_entry got = { .size = 0 };
	char a1[33], a2[33], b[33], v[33], w[33], first[33];
	bool replaced;

	(void)state;
	upload_new("a/x", a1);
	upload_new("a/x", a2);
	upload_new("b", b);
	assert_int_equal(part_new("a/x", a1, 1, 1, "x", v), 0);
	assert_int_equal(part_new("a/x", a2, 1, 1, "x", w), 0);
	order_text[0] = '\0';
	assert_int_equal(e->uploads(n, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "a/x* a/x* b* ");
	s.limit = 1;
	assert_int_equal(e->uploads(n, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	memcpy(first, page.next_version, 32);
	first[32] = '\0';
	assert_string_equal(first, a1); /* the oldest */
	s.after = page.next;
	s.after_version = a1;
	s.limit = 0;
	order_text[0] = '\0';
	assert_int_equal(e->uploads(n, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "a/x* b* ");
	s = (struct names_select){ .delimiter = "/" };
	order_text[0] = '\0';
	assert_int_equal(e->uploads(n, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "<a/> b* ");
	assert_int_equal(e->abort(n, bucket, "b", a1), -ENOENT);
	assert_int_equal(e->abort(n, bucket, "a/x", a1), 0);
	assert_int_equal(e->abort(n, bucket, "a/x", a1), -ENOENT);
	wait_until(5, !data_anywhere(v));
	assert_true(data_anywhere(w));
	parts_are(a1, 0, 0, "", false);
	usage_is(0, 1, 0, 2, 1);
	/* The condition is about the object that there is when it is completed. */
	assert_int_equal(put_mode("a/x", NAMES_VERSIONED, v), 0);
	assert_int_equal(e->complete(n, bucket, "a/x", a2, list, 1, 0, &got, &how, &replaced),
			 -ECANCELED);
	assert_int_equal(complete("a/x", a2, list, 1, 5, NAMES_VERSIONED, &got), 0);
	versions_are(&(struct names_select){ .limit = 0 }, "a/x* a/x ", false, NULL);
	assert_int_equal(e->set_meta(n, bucket, "a/x", a2, 0, "{\"tag\":1}", &got), 0);
	assert_int_equal(got.nparts, 1);
	parts_are(a2, 0, 0, "1:x:1 ", false);
	assert_int_equal(delete_mode("a/x", a2, NAMES_VERSIONED, NULL), 0);
	get_is("a/x", NULL, 0, v);
	wait_until(5, !data_anywhere(w));
	list[0].number = 0;
	assert_int_equal(complete("a/x", a2, list, 1, 5, NAMES_VERSIONED, &got), -EINVAL);
}

/* A version that was replaced is known for long: a later try of a part must not get it again. */
static void versions_used(void **state)
{
	char id[33], first[33], second[33], other[33], v[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	assert_int_equal(e->used(n, bucket, v), 0);
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, NULL), 0);
	assert_int_equal(e->used(n, bucket, v), 0);
	upload_new("big", id);
	assert_int_equal(part_new("big", id, 1, 6, "e1", first), 0);
	assert_int_equal(part_new("big", id, 1, 7, "e2", second), 0);
	assert_int_equal(names_part_version(id, 1, 65535, other), 0);
	assert_int_equal(e->used(n, bucket, second), 0);
	assert_int_equal(e->used(n, bucket, first), 0);
	assert_int_equal(e->used(n, bucket, other), -ENOENT);
	wait_until(5, !data_anywhere(first));
	assert_int_equal(e->used(n, bucket, first), 0);
	assert_int_equal(e->find(n, bucket, first, &(struct name_entry){ .size = 0 }), -ENOENT);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* No two tries of a part have one version, wherever they are made. */
static void tries_are_told_apart(void **state)
{
	static char all[2 * 256][33];
	char id[33], again[33];
	unsigned int count = 0;

	(void)state;
	upload_new("big", id);
	for (unsigned int at = 0; at < nnodes; at++)
		for (unsigned int i = 0; i < 256; i++) {
			assert_int_equal(e->attempt(nodes[at].names, id, 7, (uint8_t)i, all[count]), 0);
			assert_memory_equal(all[count], id, 24);
			assert_memory_equal(all[count++] + 24, "0007", 4);
		}
	assert_int_equal(e->attempt(n, id, 7, 9, again), 0);
	assert_non_null(lfind(again, all, &(size_t){ count }, sizeof(all[0]), by_text));
	qsort(all, count, sizeof(all[0]), by_text);
	for (unsigned int i = 1; i < count; i++)
		assert_string_not_equal(all[i - 1], all[i]);
	assert_int_equal(e->attempt(n, id, 0, 1, again), -EINVAL);
	assert_int_equal(e->attempt(n, id, NAMES_PARTS_MAX + 1, 1, again), -EINVAL);
	assert_int_equal(e->attempt(n, all[0], 1, 1, again), -EINVAL);
}

/* More parts than one batch can drop. */
static void many_parts_dropped(void **state)
{
	struct names_part list[1] = { { 250, "" } };
	struct name_entry got;
	char id[33], first[33], v[33];

	(void)state;
	upload_new("big", id);
	assert_int_equal(part_new("big", id, 1, 1, "x", first), 0);
	for (unsigned int i = 2; i <= 450; i += 1)
		assert_int_equal(part_new("big", id, i, 1, "x", v), 0);
	assert_int_equal(complete("big", id, list, 1, 0, NAMES_PLAIN, &got), 0);
	parts_are(id, 0, 0, "250:x:1 ", false);
	usage_is(1, 1, 0, 0, 1);
	wait_until(5, !data_anywhere(v) && !data_anywhere(first));
}

/* ---- buckets ---- */

static void closed_buckets(void **state)
{
	struct name_entry got = { .size = 0 };
	struct names_deleted gone;
	struct names_usage u;
	char v[33], id[33];

	(void)state;
	assert_int_equal(e->close(n, bucket), 0); /* never written */
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	assert_int_equal(e->open(n, bucket), 0);
	assert_int_equal(e->open(n, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	assert_int_equal(e->close(n, bucket), -ENOTEMPTY);
	assert_int_equal(delete_mode("cat", NULL, NAMES_VERSIONED, &gone), 0);
	assert_int_equal(delete_mode("cat", "null", NAMES_VERSIONED, NULL), 0);
	assert_int_equal(e->close(n, bucket), -ENOTEMPTY); /* the marker */
	assert_int_equal(delete_mode("cat", gone.version, NAMES_VERSIONED, NULL), 0);
	upload_new("cat", id);
	assert_int_equal(e->close(n, bucket), -ENOTEMPTY);
	assert_int_equal(e->abort(n, bucket, "cat", id), 0);
	assert_int_equal(e->close(n, bucket), 0);
	assert_int_equal(e->close(n, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	strcpy(got.key, "cat");
	assert_int_equal(e->create(n, bucket, &got), -ENOENT);
	assert_int_equal(e->usage(n, bucket, &u), 0);
	assert_true(u.closed);
	assert_int_equal(e->open(n, bucket), 0);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	usage_is(1, 5, 0, 0, 0);
}

/* Who looked at a closed bucket does not open it when it was closed again since. */
static void opened_as_seen(void **state)
{
	struct names_usage before, u;
	char v[33];

	(void)state;
	assert_int_equal(e->usage(n, bucket, &u), 0);
	assert_true(!u.closed);
	assert_int_equal(e->close(n, bucket), 0);
	assert_int_equal(e->usage(n, bucket, &before), 0);
	assert_true(before.closed && before.seq);
	assert_int_equal(e->close(n, bucket), 0);
	assert_int_equal(e->open_if(n, bucket, before.seq), -ECANCELED);
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), -ENOENT);
	assert_int_equal(e->usage(n, bucket, &u), 0);
	assert_true(u.closed && u.seq > before.seq);
	assert_int_equal(e->open_if(n, bucket, u.seq), 0);
	assert_int_equal(e->open_if(n, bucket, u.seq), 0); /* it is open */
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
}

static struct buckets *buckets;

static void *remover(void *arg)
{
	bool registry;
	int rc = buckets_remove(buckets, n, bucket, &registry);

	(void)arg;
	assert_true(!rc || rc == -ENOENT || rc == -ENOTEMPTY || rc == -EAGAIN);
	return NULL;
}

static void *maker(void *arg)
{
	int opened;

	(void)arg;
	for (int i = 0; i < 3; i++)
		buckets_create(buckets, n, bucket, "otto", ACL_PRIVATE, &opened);
	return NULL;
}

static bool has_record(void)
{
	char key[128];
	struct reg_kv kv;
	int rc;

	snprintf(key, sizeof(key), REG_BUCKETS "%s", bucket);
	rc = registry_get(nodes[0].registry, key, &kv);
	if (!rc)
		reg_kv_free(&kv);
	assert_true(!rc || rc == -ENOENT);
	return !rc;
}

/* A write is acknowledged while the bucket is removed and made: then it has a record. */
static void removed_while_written(void **state)
{
	int opened, kept = 0;
	char v[33];

	(void)state;
	assert_int_equal(buckets_new(&buckets, nodes[0].registry), 0);
	for (int round = 0; round < 40; round++) {
		pthread_t threads[3];
		int rc = -ENOENT;

		buckets_create(buckets, n, bucket, "otto", ACL_PRIVATE, &opened);
		assert_int_equal(opened, 0);
		pthread_create(&threads[0], NULL, remover, NULL);
		pthread_create(&threads[1], NULL, maker, NULL);
		pthread_create(&threads[2], NULL, round % 2 ? maker : remover, NULL);
		rest_ms(round % 8); /* else it is there before it is closed */
		for (int i = 0; i < 100 && rc == -ENOENT; i++)
			rc = put_mode("cat", NAMES_PLAIN, v);
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		if (!rc) {
			assert_true(has_record());
			assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, NULL), 0);
		}
		kept += !rc;
		if (has_record())
			assert_int_equal(buckets_open(buckets, n, bucket), 0);
	}
	assert_true(kept > 0);
	buckets_free(buckets);
}

/* ---- where ---- */

static void up(unsigned int count, unsigned int at)
{
	char url[160];

	if (!cluster.registry)
		cluster_start(&cluster, 0);
	snprintf(url, sizeof(url), "unix:%s", cluster.socket);
	for (nnodes = 0; nnodes < count; nnodes++) {
		char name[16], top[64];

		snprintf(name, sizeof(name), "n%u-%u", count, nnodes);
		snprintf(top, sizeof(top), "%s", cluster.top);
		child_open(&nodes[nnodes], name, nnodes ? "b" : "a", top, url, 0, NULL);
	}
	n = nodes[at].names;
}

static int down(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < nnodes; i++) {
		char key[600];

		/* The next ones are another installation. */
		snprintf(key, sizeof(key), REG_ENDPOINTS "%s", nodes[i].name);
		registry_delete(nodes[i].registry, key);
		child_close(&nodes[i]);
	}
	return 0;
}

static int up_lone(void **state)
{
	(void)state;
	up(1, 0);
	return 0;
}

static int up_two(void **state)
{
	(void)state;
	up(2, 0);
	return 0;
}

/* Every test has a bucket of its own, of which nodes[0] is the primary. */
static int fresh(void **state)
{
	(void)state;
	snprintf(bucket, sizeof(bucket), "bucket-%u", bucket_number++);
	n = nodes[0].names;
	if (nnodes == 2) /* its primary is who is asked first */
		wait_until(10, names_bucket_open(n, bucket) == 0);
	return 0;
}

static int fresh_asked(void **state)
{
	fresh(state);
	n = nodes[1].names;
	return 0;
}

#define CONTRACT(setup)                                                                            \
	cmocka_unit_test_setup(plain_replaces, setup),                                             \
		cmocka_unit_test_setup(etag_and_meta, setup),                                      \
		cmocka_unit_test_setup(versions_are_kept, setup),                                  \
		cmocka_unit_test_setup(suspended_replaces_null, setup),                            \
		cmocka_unit_test_setup(delimiters, setup),                                         \
		cmocka_unit_test_setup(longest_keys, setup),                                       \
		cmocka_unit_test_setup(pages_of_versions, setup),                                  \
		cmocka_unit_test_setup(greatest_entries, setup),                                   \
		cmocka_unit_test_setup(uploads_become_objects, setup),                             \
		cmocka_unit_test_setup(versions_used, setup),                                      \
		cmocka_unit_test_setup(tries_are_told_apart, setup),                               \
		cmocka_unit_test_setup(uploads_end, setup),                                        \
		cmocka_unit_test_setup(opened_as_seen, setup)

int main(void)
{
	const struct CMUnitTest lone[] = {
		CONTRACT(fresh),
		cmocka_unit_test_setup(closed_buckets, fresh),
		cmocka_unit_test_setup(many_parts_dropped, fresh),
		cmocka_unit_test_setup(fetched_and_meta, fresh),
		cmocka_unit_test_setup(removed_while_written, fresh),
	};
	const struct CMUnitTest two[] = { CONTRACT(fresh) };
	const struct CMUnitTest asked[] = { CONTRACT(fresh_asked) };
	int failed;

	log_open("test", getenv("NAMES_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	failed = cmocka_run_group_tests_name("a lone node", lone, up_lone, down);
	failed += cmocka_run_group_tests_name("the primary of two", two, up_two, down);
	failed += cmocka_run_group_tests_name("the other of two", asked, up_two, down);
	cluster_end(&cluster);
	return failed;
}
