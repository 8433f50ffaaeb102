/* SPDX-License-Identifier: Apache-2.0 */
/* Users as daemons know them: keys, tokens, grants, disabling, public buckets; changes arrive by
 * the watch. */
#include "tests/unit/registry_here.h"

#include <errno.h>

#include "lib/hash.h"
#include "lib/token.h"
#include "lib/user_edit.h"

static struct registry_here here;
static struct users *users;

static int setup(void **state)
{
	(void)state;
	registry_here_start(&here);
	assert_int_equal(users_open(&users, here.reg, NULL, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	users_close(users);
	registry_here_stop(&here);
	return 0;
}

static void basic(char out[256], const char *id, const char *secret)
{
	char text[128], *encoded;

	snprintf(text, sizeof(text), "%s:%s", id, secret);
	encoded = base64_encode(text, strlen(text));
	snprintf(out, 256, "Basic %s", encoded);
	free(encoded);
}

static int try_key(const char *id, const char *secret, struct token_scope *who)
{
	char header[256];

	basic(header, id, secret);
	return users_authorize(users, header, 100, who);
}

static int add(const char *name, const char *bucket, const char *prefix, const char *rights,
	       struct user_key *key)
{
	struct user_grant grant = { bucket, prefix, rights };

	return user_add(here.reg, name, &grant, key);
}

static void test_signing_key(void **state)
{
	struct token_scope s = {
		.user = "x", .bucket = "*", .rights = RIGHT_READ, .expires = 1000
	};
	struct users *other;
	struct reg_kv *kvs;
	char one[TOKEN_MAX], two[TOKEN_MAX];
	size_t n;

	(void)state;
	eventually(!users_sign(users, &s, one));
	assert_int_equal(users_open(&other, here.reg, NULL, NULL), 0);
	eventually(!users_sign(other, &s, two));
	assert_string_equal(one, two);
	users_close(other);
	assert_int_equal(registry_list(here.reg, REG_SIGNING, &kvs, &n, NULL), 0);
	assert_int_equal(n, 1);
	reg_kv_list_free(kvs, n);
}

static void test_key(void **state)
{
	struct user_key key, more, none;
	struct token_scope who;

	(void)state;
	assert_int_equal(users_authorize(users, NULL, 100, &who), -ENOENT);
	assert_int_equal(add("ann", "data", "a/", "rwl", &key), 0);
	assert_int_equal(add("ann", "data", "a/", "rwl", &more), -EEXIST);
	eventually(users_count(users) == 1);
	eventually(!try_key(key.id, key.secret, &who));
	assert_string_equal(who.user, "ann");
	assert_string_equal(who.bucket, "*");
	/* datasets may give these to anybody; users_allow() decides */
	assert_int_equal(who.rights, RIGHT_READ | RIGHT_WRITE | RIGHT_LIST | RIGHT_DELETE);
	assert_int_equal(try_key(key.id, "wrong", &who), -EACCES);
	assert_int_equal(try_key(key.id, "", &who), -EACCES);
	assert_int_equal(try_key("nobody", key.secret, &who), -EACCES);
	assert_int_equal(user_add_key(here.reg, "ann", &more), 0);
	assert_int_equal(registry_put(here.reg, REG_USERS "odd", "{\"name\":\"odd\"}", 0), 0);
	assert_int_equal(user_add_key(here.reg, "odd", &none), -EPROTO); /* no place for it */
	assert_int_equal(user_remove(here.reg, "odd"), 0);
	eventually(!try_key(more.id, more.secret, &who));
	assert_int_equal(try_key(key.id, key.secret, &who), 0);
	assert_int_equal(try_key(more.id, key.secret, &who), -EACCES);
	assert_int_equal(users_authorize(users, "Basic !!!", 100, &who), -EINVAL);
	assert_int_equal(users_authorize(users, "Basic bm9jb2xvbg==", 100, &who), -EINVAL);
	assert_int_equal(users_authorize(users, "Digest x", 100, &who), -EINVAL);
	assert_int_equal(user_set_disabled(here.reg, "ann", true), 0);
	eventually(try_key(key.id, key.secret, &who) == -EACCES);
	assert_int_equal(user_set_disabled(here.reg, "ann", false), 0);
	eventually(!try_key(key.id, key.secret, &who));
	assert_int_equal(user_remove(here.reg, "ann"), 0);
	eventually(try_key(key.id, key.secret, &who) == -EACCES);
	eventually(users_count(users) == 0);
	assert_int_equal(user_remove(here.reg, "ann"), -ENOENT);
}

static void test_grants(void **state)
{
	struct user_key key;
	struct token_scope who;

	(void)state;
	assert_int_equal(add("bob", "data", "a/", "rl", &key), 0);
	eventually(!try_key(key.id, key.secret, &who));
	assert_true(users_allow(users, &who, RIGHT_READ, "data", "a/1"));
	assert_true(users_allow(users, &who, RIGHT_LIST, "data", "a/"));
	assert_false(users_allow(users, &who, RIGHT_LIST, "data", ""));
	assert_false(users_allow(users, &who, RIGHT_READ, "data", "b"));
	assert_false(users_allow(users, &who, RIGHT_READ, "other", "a/1"));
	assert_false(users_allow(users, &who, RIGHT_WRITE, "data", "a/1"));
	assert_false(users_allow(users, &who, RIGHT_LIST, NULL, NULL));
	assert_int_equal(user_remove(here.reg, "bob"), 0);
	assert_int_equal(add("root", "*", "", "rwdla", &key), 0);
	eventually(!try_key(key.id, key.secret, &who));
	assert_true(users_allow(users, &who, RIGHT_LIST, NULL, NULL));
	assert_true(users_allow(users, &who, RIGHT_DELETE, "any", "thing"));
	assert_int_equal(user_remove(here.reg, "root"), 0);
	eventually(!users_allow(users, &who, RIGHT_READ, "any", "thing"));
}

/* A token never gives more than its user has, nor more than it says. */
static void test_tokens(void **state)
{
	struct token_scope wide = {
		.user = "cat", .bucket = "*", .rights = RIGHT_READ | RIGHT_WRITE, .expires = 1000
	};
	struct token_scope narrow = { .user = "cat",
				      .bucket = "data",
				      .prefix = "k",
				      .exact = true,
				      .rights = RIGHT_READ,
				      .expires = 1000 };
	char text[TOKEN_MAX], header[TOKEN_MAX + 16];
	struct token_scope who;
	struct user_key key;

	(void)state;
	assert_int_equal(add("cat", "data", "", "r", &key), 0);
	eventually(!try_key(key.id, key.secret, &who));
	eventually(!users_sign(users, &wide, text));
	snprintf(header, sizeof(header), "bearer %s", text);
	assert_int_equal(users_authorize(users, header, 999, &who), 0);
	assert_true(users_allow(users, &who, RIGHT_READ, "data", "k"));
	assert_false(users_allow(users, &who, RIGHT_WRITE, "data", "k"));
	assert_false(users_allow(users, &who, RIGHT_READ, "other", "k"));
	assert_int_equal(users_authorize(users, header, 1000, &who), -ETIME);
	assert_int_equal(users_sign(users, &narrow, text), 0);
	assert_int_equal(users_verify(users, text, 999, &who), 0);
	assert_true(users_allow(users, &who, RIGHT_READ, "data", "k"));
	assert_false(users_allow(users, &who, RIGHT_READ, "data", "k2"));
	assert_int_equal(user_token(here.reg, &narrow, text), 0);
	assert_int_equal(users_verify(users, text, 999, &who), 0);
	assert_int_equal(user_set_disabled(here.reg, "cat", true), 0);
	eventually(users_verify(users, text, 999, &who) == -EACCES);
	assert_int_equal(user_remove(here.reg, "cat"), 0);
	assert_int_equal(user_token(here.reg, &narrow, text), -ENOENT);
}

static void test_public(void **state)
{
	struct token_scope nobody = { .user = "" };

	(void)state;
	assert_false(users_bucket_public(users, "pub"));
	assert_int_equal(
		registry_put(here.reg, REG_BUCKETS "pub", "{\"name\":\"pub\",\"public\":true}", 0),
		0);
	assert_int_equal(registry_put(here.reg, REG_BUCKETS "priv",
				      "{\"name\":\"priv\",\"public\":false}", 0),
			 0);
	assert_int_equal(registry_put(here.reg, REG_BUCKETS "odd", "no json", 0), 0);
	eventually(users_bucket_public(users, "pub"));
	assert_true(users_allow(users, &nobody, RIGHT_READ, "pub", "k"));
	assert_false(users_allow(users, &nobody, RIGHT_WRITE, "pub", "k"));
	assert_false(users_allow(users, &nobody, RIGHT_LIST, "pub", ""));
	assert_false(users_allow(users, &nobody, RIGHT_READ, "priv", "k"));
	assert_false(users_allow(users, &nobody, RIGHT_READ, "odd", "k"));
	assert_false(users_allow(users, &nobody, RIGHT_READ, NULL, NULL));
	assert_int_equal(registry_delete(here.reg, REG_BUCKETS "pub"), 0);
	eventually(!users_bucket_public(users, "pub"));
}

/* A new signing key is used at once; what the old one signed stays valid until that is deleted. */
static void test_rotation(void **state)
{
	struct token_scope s = { .user = "dan",
				 .bucket = "*",
				 .rights = RIGHT_READ,
				 .expires = 1000 },
			   who;
	char old[TOKEN_MAX], new[TOKEN_MAX] = "";
	struct user_key key;

	(void)state;
	assert_int_equal(add("dan", "*", "", "r", &key), 0);
	eventually(!users_sign(users, &s, old) && !users_verify(users, old, 999, &who));
	assert_int_equal(registry_put(here.reg, REG_SIGNING "second",
				      "{\"kid\":\"second\",\"created\":99999999999,"
				      "\"secret\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
				      0),
			 0);
	eventually(!users_sign(users, &s, new) && strcmp(old, new));
	assert_int_equal(users_verify(users, old, 999, &who), 0);
	assert_int_equal(users_verify(users, new, 999, &who), 0);
	assert_int_equal(registry_delete(here.reg, REG_SIGNING "first"), 0);
	eventually(users_verify(users, old, 999, &who) == -ENOKEY);
	assert_int_equal(users_verify(users, new, 999, &who), 0);
	assert_int_equal(registry_delete(here.reg, REG_SIGNING "second"), 0);
	eventually(!users_sign(users, &s, new) && users_verify(users, new, 999, &who) == 0);
	assert_int_equal(user_remove(here.reg, "dan"), 0);
}

static void test_names_and_list(void **state)
{
	struct user_key key;
	json_t *list, *user;

	(void)state;
	assert_int_equal(add("../etc", "*", "", "r", &key), -EINVAL);
	assert_int_equal(add("", "*", "", "r", &key), -EINVAL);
	assert_int_equal(add("eve", "*", "", "rx", &key), -EINVAL);
	assert_int_equal(add("eve", "*", "", "r", &key), 0);
	list = user_list(here.reg);
	assert_int_equal(json_array_size(list), 1);
	user = json_array_get(json_object_get(json_array_get(list, 0), "keys"), 0);
	assert_string_equal(json_string_value(json_object_get(user, "id")), key.id);
	assert_null(json_object_get(user, "hash"));
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signing_key),    cmocka_unit_test(test_key),
		cmocka_unit_test(test_grants),	       cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_public),	       cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_names_and_list),
	};

	return cmocka_run_group_tests_name("users", tests, setup, teardown);
}
