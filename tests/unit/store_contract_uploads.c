/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract_uploads.c -- uploads in parts: parts, tries of them, completing, aborting.
 */
#include "tests/unit/store_contract.h"

#include <errno.h>
#include <search.h>

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
	return engine->part(names, bucket, key, id, number, p, &how);
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
	assert_int_equal(
		engine->parts(names, bucket, id, after, limit, false, tell_part, NULL, &got), 0);
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
	return engine->complete(names, bucket, key, id, list, count, min, out, &how, &replaced);
}

void uploads_become_objects(void **state)
{
	struct names_part list[3] = { { 1, "e1" }, { 3, "" }, { 10000, "e4" } };
	struct name_entry got;
	char id[33], v1[33], again[33], v2[33], v3[33], v4[33], old[33];
	int each = 0;

	(void)state;
	assert_int_equal(put_mode("big", NAMES_PLAIN, old), 0);
	upload_new("big", id);
	assert_int_equal(engine->upload(names, bucket, "big", id, &got), 0);
	assert_string_equal(got.meta, "{\"owner\":\"ann\"}");
	assert_int_equal(engine->upload(names, bucket, "other", id, &got), -ENOENT);
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
	assert_int_equal(engine->find(names, bucket, v3, &got), 0);
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
	assert_int_equal(engine->get(names, bucket, "big", NULL, &got), 0);
	assert_string_equal(got.version, id);
	assert_string_equal(got.etag, "beef-2");
	assert_int_equal(engine->upload(names, bucket, "big", id, &got), -ENOENT);
	parts_are(id, 0, 0, "1:e1:9 3:e3:7 10000:e4:1 ", false);
	usage_is(1, 17, 0, 0, 3);
	wait_until(5, !data_anywhere(v2) && !data_anywhere(old));
	assert_true(data_anywhere(v3));
	assert_int_equal(part_new("big", id, 5, 9, "e5", v1), -ENOENT);
	assert_int_equal(engine->each(names, tell_each, &each), 0);
	assert_int_equal(each, 3);
	assert_int_equal(delete_mode("big", NULL, NAMES_PLAIN, NULL), 0);
	parts_are(id, 0, 0, "", false);
	usage_is(0, 0, 0, 0, 0);
	wait_until(5, !data_anywhere(v3) && !data_anywhere(again) && !data_anywhere(v4));
}

void uploads_end(void **state)
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
	assert_int_equal(engine->uploads(names, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "a/x* a/x* b* ");
	s.limit = 1;
	assert_int_equal(engine->uploads(names, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	memcpy(first, page.next_version, 32);
	first[32] = '\0';
	assert_string_equal(first, a1); /* the oldest */
	s.after = page.next;
	s.after_version = a1;
	s.limit = 0;
	order_text[0] = '\0';
	assert_int_equal(engine->uploads(names, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "a/x* b* ");
	s = (struct names_select){ .delimiter = "/" };
	order_text[0] = '\0';
	assert_int_equal(engine->uploads(names, bucket, &s, tell, tell_prefix, NULL, &page), 0);
	assert_string_equal(order_text, "<a/> b* ");
	assert_int_equal(engine->abort(names, bucket, "b", a1), -ENOENT);
	assert_int_equal(engine->abort(names, bucket, "a/x", a1), 0);
	assert_int_equal(engine->abort(names, bucket, "a/x", a1), -ENOENT);
	wait_until(5, !data_anywhere(v));
	assert_true(data_anywhere(w));
	parts_are(a1, 0, 0, "", false);
	usage_is(0, 1, 0, 2, 1);
	/* The condition is about the object that there is when it is completed. */
	assert_int_equal(put_mode("a/x", NAMES_VERSIONED, v), 0);
	assert_int_equal(
		engine->complete(names, bucket, "a/x", a2, list, 1, 0, &got, &how, &replaced),
		-ECANCELED);
	assert_int_equal(complete("a/x", a2, list, 1, 5, NAMES_VERSIONED, &got), 0);
	versions_are(&(struct names_select){ .limit = 0 }, "a/x* a/x ", false, NULL);
	assert_int_equal(engine->set_meta(names, bucket, "a/x", a2, 0, "{\"tag\":1}", &got), 0);
	assert_int_equal(got.nparts, 1);
	parts_are(a2, 0, 0, "1:x:1 ", false);
	assert_int_equal(delete_mode("a/x", a2, NAMES_VERSIONED, NULL), 0);
	get_is("a/x", NULL, 0, v);
	wait_until(5, !data_anywhere(w));
	list[0].number = 0;
	assert_int_equal(complete("a/x", a2, list, 1, 5, NAMES_VERSIONED, &got), -EINVAL);
}

/* A version that was replaced is known for long: a later try of a part must not get it again. */
void versions_used(void **state)
{
	char id[33], first[33], second[33], other[33], v[33];

	(void)state;
	assert_int_equal(put_mode("cat", NAMES_PLAIN, v), 0);
	assert_int_equal(engine->used(names, bucket, v), 0);
	assert_int_equal(delete_mode("cat", NULL, NAMES_PLAIN, NULL), 0);
	assert_int_equal(engine->used(names, bucket, v), 0);
	upload_new("big", id);
	assert_int_equal(part_new("big", id, 1, 6, "e1", first), 0);
	assert_int_equal(part_new("big", id, 1, 7, "e2", second), 0);
	assert_int_equal(names_part_version(id, 1, 65535, other), 0);
	assert_int_equal(engine->used(names, bucket, second), 0);
	assert_int_equal(engine->used(names, bucket, first), 0);
	assert_int_equal(engine->used(names, bucket, other), -ENOENT);
	wait_until(5, !data_anywhere(first));
	assert_int_equal(engine->used(names, bucket, first), 0);
	assert_int_equal(engine->find(names, bucket, first, &(struct name_entry){ .size = 0 }),
			 -ENOENT);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* No two tries of a part have one version, wherever they are made. */
void tries_are_told_apart(void **state)
{
	static char all[2 * 256][33];
	char id[33], again[33];
	unsigned int count = 0;

	(void)state;
	upload_new("big", id);
	for (unsigned int at = 0; at < nnodes; at++)
		for (unsigned int i = 0; i < 256; i++) {
			assert_int_equal(
				engine->attempt(nodes[at].names, id, 7, (uint8_t)i, all[count]), 0);
			assert_memory_equal(all[count], id, 24);
			assert_memory_equal(all[count++] + 24, "0007", 4);
		}
	assert_int_equal(engine->attempt(names, id, 7, 9, again), 0);
	assert_non_null(lfind(again, all, &(size_t){ count }, sizeof(all[0]), by_text));
	qsort(all, count, sizeof(all[0]), by_text);
	for (unsigned int i = 1; i < count; i++)
		assert_string_not_equal(all[i - 1], all[i]);
	assert_int_equal(engine->attempt(names, id, 0, 1, again), -EINVAL);
	assert_int_equal(engine->attempt(names, id, NAMES_PARTS_MAX + 1, 1, again), -EINVAL);
	assert_int_equal(engine->attempt(names, all[0], 1, 1, again), -EINVAL);
}

/* More parts than one batch can drop. */
void many_parts_dropped(void **state)
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
