/* SPDX-License-Identifier: Apache-2.0 */
/* filterlist.c: lines that are right and wrong, who wins, differences; against a slow and simple reading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "user/agent/filterlist.h"

static struct filterlist all, resolved;
static char faults[2000];

static int setup(void **state)
{
	(void)state;
	faults[0] = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	filterlist_free(&all);
	filterlist_free(&resolved);
	return 0;
}

static void on_fault(void *arg, uint32_t line, const char *sentence)
{
	size_t len = strlen(faults);

	(void)arg;
	snprintf(faults + len, sizeof(faults) - len, "%u: %s\n", line, sentence);
}

static int parse(const char *text, enum weir_verdict verdict)
{
	return filterlist_parse(&all, text, strlen(text), verdict, 1, on_fault, NULL);
}

static void resolve(void)
{
	filterlist_free(&resolved);
	assert_int_equal(filterlist_resolve(&all, &resolved), 0);
}

static int verdict(const char *address)
{
	const struct filterlist_entry *e;
	struct addr a;

	assert_int_equal(addr_parse(&a, address), 0);
	e = filterlist_find(&resolved, &a);
	return e ? e->verdict : WEIR_VERDICT_NONE;
}

static void lines(void **state)
{
	(void)state;
	assert_int_equal(parse("# a list\n\n  203.0.113.0/24 # a network\r\n198.51.100.7\n\t2001:db8::/32\t\n::1", 1), 0);
	assert_int_equal(all.n, 4);
	assert_int_equal(all.entry[0].line, 3);
	assert_int_equal(all.entry[0].len, 24);
	assert_int_equal(all.entry[1].len, 32);
	assert_int_equal(all.entry[2].family, WEIR_FAMILY_6);
	assert_int_equal(all.entry[3].line, 6);
	assert_int_equal(all.entry[3].len, 128);
}

static void wrong_lines(void **state)
{
	static const char nul[] = "10.0.0.0/8\0\n10.0.0.0/8\n";

	(void)state;
	assert_int_equal(parse("10.0.0.0/33\n10.0.0.0/8\nhello\n1.2.3\n2001:db8::/129\n10.0.0.0/8 11.0.0.0/8\n"
			       "10.0.0.0/08x\n10.0.0.0/\n/8\n\x01\n", 1), 9);
	assert_int_equal(all.n, 1);
	assert_non_null(strstr(faults, "1: \"10.0.0.0/33\" is not a network"));
	assert_non_null(strstr(faults, "3: \"hello\" is not"));
	assert_non_null(strstr(faults, "10: \"?\" is not"));
	assert_null(strstr(faults, "\n2: "));
	assert_int_equal(filterlist_parse(&all, nul, sizeof(nul) - 1, WEIR_VERDICT_BLOCK, 1, NULL, NULL), 1);
	assert_int_equal(all.n, 2);
	assert_int_equal(parse("", 1), 0);
}

static void allow_wins(void **state)
{
	(void)state;
	parse("10.0.0.0/8\n10.1.2.0/24\n10.1.2.3\n192.0.2.0/24\n0.0.0.0/0\n2001:db8:1::/48\n", WEIR_VERDICT_BLOCK);
	parse("10.1.0.0/16\n192.0.2.0/24\n10.1.2.3\n2001:db8::/32\n", WEIR_VERDICT_ALLOW);
	resolve();
	assert_int_equal(verdict("10.0.0.1"), WEIR_VERDICT_BLOCK);
	assert_int_equal(verdict("10.1.0.1"), WEIR_VERDICT_ALLOW);
	assert_int_equal(verdict("10.1.2.1"), WEIR_VERDICT_ALLOW); /* the longer one to block does not */
	assert_int_equal(verdict("10.1.2.3"), WEIR_VERDICT_ALLOW);
	assert_int_equal(verdict("10.2.0.0"), WEIR_VERDICT_BLOCK);
	assert_int_equal(verdict("192.0.2.9"), WEIR_VERDICT_ALLOW);
	assert_int_equal(verdict("192.0.3.9"), WEIR_VERDICT_BLOCK);
	assert_int_equal(verdict("2001:db8:1::1"), WEIR_VERDICT_ALLOW);
	assert_int_equal(verdict("2001:db9::1"), WEIR_VERDICT_NONE);
	assert_int_equal(resolved.n, 4); /* 0/0, 10.1/16, 192.0.2/24, 2001:db8::/32 */
}

static void nothing(void **state)
{
	(void)state;
	resolve();
	assert_int_equal(resolved.n, 0);
	assert_int_equal(verdict("10.0.0.1"), WEIR_VERDICT_NONE);
}

/* ---- random lists against the definition ---- */

static uint32_t seed = 1;

static uint32_t random_next(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* Few different bits, so that entries contain each other often. */
static struct filterlist_entry random_entry(void)
{
	struct addr_prefix p = { .addr.family = random_next(2) ? AF_INET : AF_INET6 };
	struct filterlist_entry e;
	char text[64];

	p.addr.bytes[0] = (uint8_t)(random_next(4) << 6);
	p.addr.bytes[1] = (uint8_t)(random_next(4) << 6 | random_next(4));
	p.addr.bytes[3] = (uint8_t)random_next(4);
	p.len = (uint8_t)random_next(33);
	addr_prefix_format(&p, text, sizeof(text));
	assert_int_equal(addr_prefix_parse(&p, text), 0); /* host bits are zero then */
	filterlist_make(&e, &p, random_next(3) ? WEIR_VERDICT_BLOCK : WEIR_VERDICT_ALLOW, 1, 0);
	return e;
}

static bool contains(const struct filterlist_entry *e, const struct addr *a)
{
	struct addr_prefix p = { .len = e->len };

	p.addr.family = e->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6;
	memcpy(p.addr.bytes, e->addr, 16);
	return p.addr.family == a->family && addr_prefix_contains(&p, a);
}

static int defined(const struct filterlist *list, const struct addr *a)
{
	int verdict = WEIR_VERDICT_NONE;

	for (size_t i = 0; i < list->n; i++)
		if (contains(&list->entry[i], a) && list->entry[i].verdict > verdict)
			verdict = list->entry[i].verdict;
	return verdict;
}

/* The longest one alone, as a trie finds it. */
static int by_longest(const struct filterlist *list, const struct addr *a)
{
	int verdict = WEIR_VERDICT_NONE, len = -1;

	for (size_t i = 0; i < list->n; i++) {
		if (!contains(&list->entry[i], a) || list->entry[i].len <= len)
			continue;
		len = list->entry[i].len;
		verdict = list->entry[i].verdict;
	}
	return verdict;
}

static void as_defined(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		filterlist_free(&all);
		for (uint32_t i = random_next(40); i; i--) {
			struct filterlist_entry e = random_entry();

			assert_int_equal(filterlist_add(&all, &e), 0);
		}
		resolve();
		for (int i = 0; i < 200; i++) {
			struct filterlist_entry e = random_entry();
			struct addr a = { .family = e.family == WEIR_FAMILY_4 ? AF_INET : AF_INET6 };
			const struct filterlist_entry *found;

			memcpy(a.bytes, e.addr, 16);
			found = filterlist_find(&resolved, &a);
			assert_int_equal(found ? found->verdict : 0, defined(&all, &a));
			assert_int_equal(by_longest(&resolved, &a), defined(&all, &a));
		}
	}
}

/* ---- differences ---- */

static struct filterlist patched;

static void on_changed(void *arg, const struct filterlist_entry *e, const struct filterlist_entry *had)
{
	(void)arg;
	for (size_t i = 0; i < patched.n; i++) {
		if (memcmp(patched.entry[i].addr, e->addr, 16) || patched.entry[i].len != e->len ||
		    patched.entry[i].family != e->family)
			continue;
		assert_non_null(had);
		assert_int_not_equal(patched.entry[i].verdict, e->verdict);
		patched.entry[i] = *e;
		return;
	}
	assert_null(had);
	filterlist_add(&patched, e);
}

static void on_gone(void *arg, const struct filterlist_entry *e, const struct filterlist_entry *had)
{
	(void)arg;
	(void)had;
	for (size_t i = 0; i < patched.n; i++)
		if (!memcmp(&patched.entry[i], e, sizeof(*e))) {
			patched.entry[i] = patched.entry[--patched.n];
			return;
		}
	fail_msg("an entry is gone that was not there");
}

/* Changes, in the order in which they are put, lead to the new list; on the way nobody whose verdict is the
 * same in both has another. */
static void differences(void **state)
{
	struct filterlist before = { 0 };

	(void)state;
	for (int round = 0; round < 200; round++) {
		size_t n;

		for (uint32_t i = random_next(20); i; i--) {
			struct filterlist_entry e = random_entry();

			filterlist_add(&all, &e);
		}
		if (all.n)
			all.n -= random_next((uint32_t)all.n);
		resolve();
		patched = (struct filterlist){ 0 };
		for (size_t i = 0; i < before.n; i++)
			filterlist_add(&patched, &before.entry[i]);
		n = filterlist_diff(&before, &resolved, on_changed, NULL, NULL);
		for (int i = 0; i < 100; i++) {
			struct filterlist_entry e = random_entry();
			struct addr a = { .family = e.family == WEIR_FAMILY_4 ? AF_INET : AF_INET6 };

			memcpy(a.bytes, e.addr, 16);
			if (by_longest(&before, &a) == by_longest(&resolved, &a))
				assert_int_equal(by_longest(&patched, &a), by_longest(&before, &a));
		}
		assert_int_equal(filterlist_diff(&before, &resolved, NULL, on_gone, NULL), n);
		assert_int_equal(patched.n, resolved.n);
		for (size_t i = 0; i < resolved.n; i++) {
			size_t k = 0;

			while (k < patched.n && memcmp(&patched.entry[k], &resolved.entry[i], sizeof(*patched.entry)))
				k++;
			assert_true(k < patched.n);
		}
		filterlist_free(&patched);
		filterlist_free(&before);
		before = resolved;
		resolved = (struct filterlist){ 0 };
	}
	filterlist_free(&before);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void a_million_lines(void **state)
{
	char *text = malloc(20u << 20);
	size_t len = 0;
	double start, parsed;

	(void)state;
	assert_non_null(text);
	for (uint32_t i = 0; i < 1000000; i++) {
		uint32_t a = i * 2654435761u;

		len += (size_t)sprintf(text + len, "%u.%u.%u.%u\n", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
	}
	start = seconds();
	assert_int_equal(filterlist_parse(&all, text, len, WEIR_VERDICT_BLOCK, 1, NULL, NULL), 0);
	parsed = seconds();
	resolve();
	print_message("# a million lines: read in %.2f s, resolved in %.2f s\n", parsed - start, seconds() - parsed);
	assert_int_equal(resolved.n, 1000000);
	free(text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lines), T(wrong_lines), T(allow_wins), T(nothing), T(as_defined), T(differences), T(a_million_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
