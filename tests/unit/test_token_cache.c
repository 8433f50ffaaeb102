/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens that were verified: found by their whole text, until they expire or the keys change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "lib/token_cache.h"

static const struct token_key key = { "k1", { 1, 2, 3 } };

static void sign(char out[TOKEN_MAX], const char *user, int64_t expires)
{
	struct token_scope scope = { .bucket = "*", .rights = RIGHT_READ, .expires = expires };

	snprintf(scope.user, sizeof(scope.user), "%s", user);
	assert_int_equal(token_sign(out, &scope, &key), 0);
}

static void kept_until_over(void **state)
{
	struct token_scope scope, got;
	struct token_cache *c;
	char token[TOKEN_MAX];

	(void)state;
	assert_int_equal(token_cache_new(&c), 0);
	sign(token, "ann", 1000);
	assert_false(token_cache_get(c, token, 1, &got));
	assert_int_equal(token_verify(&scope, token, &key, 1, 1), 0);
	token_cache_put(c, token, &scope);
	token_cache_put(c, token, &scope);
	assert_true(token_cache_get(c, token, 999, &got));
	assert_memory_equal(&got, &scope, sizeof(got));
	assert_false(token_cache_get(c, token, 1000, &got));
	token_cache_clear(c);
	assert_false(token_cache_get(c, token, 1, &got));
	token_cache_free(c);
}

/* Each byte that is changed makes it another token, also one byte more or less. */
static void whole_text(void **state)
{
	struct token_scope scope, got;
	struct token_cache *c;
	char token[TOKEN_MAX];
	size_t len;

	(void)state;
	assert_int_equal(token_cache_new(&c), 0);
	sign(token, "ann", 1000);
	assert_int_equal(token_verify(&scope, token, &key, 1, 1), 0);
	token_cache_put(c, token, &scope);
	len = strlen(token);
	for (size_t i = 0; i < len; i++) {
		token[i] ^= 1;
		assert_false(token_cache_get(c, token, 1, &got));
		token[i] ^= 1;
	}
	token[len - 1] = '\0';
	assert_false(token_cache_get(c, token, 1, &got));
	token_cache_free(c);
}

/* It never grows: the newest of many is there, and nobody gets another's scope. */
static void bounded(void **state)
{
	struct token_scope scope, got;
	struct token_cache *c;
	char token[TOKEN_MAX], user[16];
	unsigned int there = 0;

	(void)state;
	assert_int_equal(token_cache_new(&c), 0);
	for (int i = 0; i < 5000; i++) {
		snprintf(user, sizeof(user), "u%d", i);
		sign(token, user, 1000);
		assert_int_equal(token_verify(&scope, token, &key, 1, 1), 0);
		token_cache_put(c, token, &scope);
		assert_true(token_cache_get(c, token, 1, &got));
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(user, sizeof(user), "u%d", i);
		sign(token, user, 1000);
		if (!token_cache_get(c, token, 1, &got))
			continue;
		assert_string_equal(got.user, user);
		there++;
	}
	assert_in_range(there, 500, 1024);
	token_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_until_over),
		cmocka_unit_test(whole_text),
		cmocka_unit_test(bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
