/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract_listings.c -- listings: order, delimiters, pages, the longest keys, the greatest
 * entries.
 */
#include <errno.h>

#include "tests/unit/store_contract.h"

static void keys_put(const char *const *keys)
{
	char v[33];

	for (; *keys; keys++)
		assert_int_equal(put_mode(*keys, NAMES_PLAIN, v), 0);
}

/* Texts that no key can begin with, hold or follow as a text. */
static void no_utf8(void)
{
	static const struct names_select refused[] = {
		{ .delimiter = "\xa4" }, { .prefix = "\xc3" }, { .after = "\xff" }, { .limit = 0 }
	};
	struct names_page page;

	for (const struct names_select *s = refused; s->delimiter || s->prefix || s->after; s++) {
		assert_int_equal(
			engine->list(names, bucket, s, tell, tell_prefix, NULL, &page), -EINVAL);
		assert_int_equal(
			engine->versions(names, bucket, s, tell, tell_prefix, NULL, &page), -EINVAL);
	}
}

void delimiters(void **state)
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
	no_utf8();
}

/* The longest names in their exact order, also those that are the beginning of others. */
void longest_keys(void **state)
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
		assert_int_equal(engine->list(names, bucket,
					      &(struct names_select){ .after = last, .limit = 1 },
					      tell, NULL, NULL, &page),
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

void pages_of_versions(void **state)
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
void greatest_entries(void **state)
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
		assert_int_equal(engine->put(names, bucket, mine, &how, NULL), 0);
	}
	for (s.after = after; page.more; pages++) {
		assert_int_equal(engine->list(names, bucket, &s, count_entry, NULL, &told, &page),
				 0);
		strcpy(after, page.next);
	}
	assert_int_equal(told, 100);
	assert_true(pages > 1);
}
