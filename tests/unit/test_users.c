/* SPDX-License-Identifier: Apache-2.0 */
/* Users as daemons know them: keys, tokens, grants, disabling, public buckets; changes arrive by
 * the watch. */
#include "tests/unit/registry_here.h"

#include <errno.h>
#include <pthread.h>

#include "lib/hash.h"
#include "lib/sealing.h"
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
	assert_int_equal(user_key_add(here.reg, "ann", NULL, &more), 0);
	assert_int_equal(registry_put(here.reg, REG_USERS "odd", "{\"name\":\"odd\"}", 0), 0);
	assert_int_equal(user_key_add(here.reg, "odd", NULL, &none), -EPROTO); /* no place for it */
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

/* ---- keys that sign: S3 ---- */

static void chain(const char *secret, const char *date, const char *region, uint8_t out[32])
{
	char first[80];
	uint8_t a[32], b[32];

	snprintf(first, sizeof(first), "AWS4%s", secret);
	hmac_sha256(first, strlen(first), date, strlen(date), a);
	hmac_sha256(a, 32, region, strlen(region), b);
	hmac_sha256(b, 32, "s3", 2, a);
	hmac_sha256(a, 32, "aws4_request", 12, out);
}

static int s3(const char *id, int64_t now, struct users_s3 *out)
{
	return users_s3_key(users, id, "20260127", "eu-central-1", now, out);
}

static void test_s3_key(void **state)
{
	struct user_key key, other;
	struct users_s3 got, again;
	char old[160];
	uint8_t want[32];
	struct reg_kv kv;

	(void)state;
	assert_int_equal(s3("WEIRAAAAAAAAAAAAAAAA", 100, &got), -ENOENT);
	assert_int_equal(add("sam", "data", "", "rwl", &key), 0);
	assert_int_equal(strlen(key.id), 20);
	assert_memory_equal(key.id, "WEIR", 4);
	assert_int_equal(strlen(key.secret), 40);
	eventually(!s3(key.id, 100, &got));
	chain(key.secret, "20260127", "eu-central-1", want);
	assert_memory_equal(got.key, want, 32);
	assert_string_equal(got.scope.user, "sam");
	assert_string_equal(got.scope.access_key, key.id);
	assert_true(users_allow(users, &got.scope, RIGHT_READ, "data", "a"));
	assert_false(users_allow(users, &got.scope, RIGHT_READ, "other", "a"));
	assert_int_equal(s3(key.id, 100, &again), 0); /* from the cache */
	assert_memory_equal(again.key, want, 32);
	assert_int_equal(users_s3_key(users, key.id, "20260128", "eu-central-1", 100, &again), 0);
	assert_memory_not_equal(again.key, want, 32);
	assert_int_equal(users_s3_key(users, key.id, "20260127", "us-east-1", 100, &again), 0);
	assert_memory_not_equal(again.key, want, 32);
	assert_int_equal(users_s3_key(users, key.id, "2026012", "us-east-1", 100, &again), -EINVAL);
	assert_int_equal(users_s3_key(users, key.id, "20260127", "", 100, &again), -EINVAL);
	assert_int_equal(users_s3_key(users, "", "20260127", "x", 100, &again), -ENOENT);
	assert_int_equal(s3("WEIRAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 100, &again), -ENOENT);
	/* the registry has no secret that can be read */
	assert_int_equal(registry_get(here.reg, REG_USERS "sam", &kv), 0);
	assert_null(strstr(kv.value, key.secret));
	reg_kv_free(&kv);
	assert_int_equal(user_set_disabled(here.reg, "sam", true), 0);
	eventually(s3(key.id, 100, &got) == -EACCES);
	assert_int_equal(user_set_disabled(here.reg, "sam", false), 0);
	eventually(!s3(key.id, 100, &got));
	assert_int_equal(user_key_set_disabled(here.reg, "sam", key.id, true), 0);
	eventually(s3(key.id, 100, &again) == -EACCES && try_key(key.id, key.secret, &got.scope) == -EACCES);
	assert_false(users_allow(users, &got.scope, RIGHT_READ, "data", "a"));
	assert_int_equal(user_key_set_disabled(here.reg, "sam", key.id, false), 0);
	eventually(!s3(key.id, 100, &got));
	assert_int_equal(user_key_revoke(here.reg, "sam", "none"), -ENOKEY);
	assert_int_equal(user_key_revoke(here.reg, "nobody", key.id), -ENOENT);
	assert_int_equal(user_key_revoke(here.reg, "sam", key.id), 0);
	eventually(s3(key.id, 100, &again) == -ENOENT);
	assert_false(users_allow(users, &got.scope, RIGHT_READ, "data", "a"));
	/* a key of before cannot sign, and says so */
	snprintf(old, sizeof(old), "{\"name\":\"old\",\"grants\":[],\"keys\":[{\"id\":\"0123456789ab\",\"salt\":\"00\",\"hash\":\"x\"}]}");
	assert_int_equal(registry_put(here.reg, REG_USERS "old", old, 0), 0);
	eventually(s3("0123456789ab", 100, &again) == -ENOKEY);
	/* a sealed secret that stands at another key is nobody's */
	assert_int_equal(user_key_add(here.reg, "sam", NULL, &key), 0);
	assert_int_equal(user_key_add(here.reg, "sam", NULL, &other), 0);
	eventually(!s3(key.id, 100, &got) && !s3(other.id, 100, &again));
	assert_memory_not_equal(got.key, again.key, 32);
	assert_int_equal(user_remove(here.reg, "sam"), 0);
	assert_int_equal(user_remove(here.reg, "old"), 0);
	eventually(s3(key.id, 100, &again) == -ENOENT);
}

/* What stands sealed at one key does not open at another. */
static void test_s3_moved(void **state)
{
	struct user_key key;
	struct users_s3 got;
	json_t *user, *one;
	struct reg_kv kv;
	char *text;

	(void)state;
	assert_int_equal(add("max", "*", "", "r", &key), 0);
	eventually(!s3(key.id, 100, &got));
	assert_int_equal(registry_get(here.reg, REG_USERS "max", &kv), 0);
	user = json_loads(kv.value, 0, NULL);
	reg_kv_free(&kv);
	one = json_array_get(json_object_get(user, "keys"), 0);
	json_object_set_new(one, "id", json_string("WEIRBBBBBBBBBBBBBBBB"));
	text = json_dumps(user, 0);
	assert_int_equal(registry_put(here.reg, REG_USERS "max", text, 0), 0);
	eventually(s3("WEIRBBBBBBBBBBBBBBBB", 100, &got) == -ENOKEY && s3(key.id, 100, &got) == -ENOENT);
	free(text);
	json_decref(user);
	assert_int_equal(user_remove(here.reg, "max"), 0);
}

static bool may(const char *id, unsigned int right, const char *bucket, const char *key)
{
	struct users_s3 got;

	return !s3(id, time(NULL), &got) && users_allow(users, &got.scope, right, bucket, key);
}

static void test_scopes(void **state)
{
	const struct user_grant scopes[] = { { "data", "in/", "w" }, { "logs", "", "rl" } }, wrong = { "data", "", "z" };
	struct user_key_options opt = { .scopes = scopes, .nscopes = 2, .expires = time(NULL) + 3600, .note = "robot" },
				bad = { .scopes = &wrong, .nscopes = 1 };
	char header[TOKEN_MAX + 16], token[TOKEN_MAX];
	struct user_key all, key, next;
	struct token_scope who, made;
	struct users_s3 got;
	json_t *list, *first;

	(void)state;
	assert_int_equal(add("rob", "*", "", "rwdla", &all), 0);
	assert_int_equal(user_key_add(here.reg, "rob", &bad, &key), -EINVAL);
	assert_int_equal(user_key_add(here.reg, "none", &opt, &key), -ENOENT);
	assert_int_equal(user_key_add(here.reg, "rob", &opt, &key), 0);
	eventually(may(key.id, RIGHT_WRITE, "data", "in/1"));
	assert_false(may(key.id, RIGHT_READ, "data", "in/1"));
	assert_false(may(key.id, RIGHT_WRITE, "data", "out/1"));
	assert_false(may(key.id, RIGHT_WRITE, "data", NULL));
	assert_true(may(key.id, RIGHT_READ, "logs", "x"));
	assert_true(may(key.id, RIGHT_LIST, "logs", NULL));
	assert_false(may(key.id, RIGHT_WRITE, "logs", "x"));
	assert_false(may(key.id, RIGHT_READ, "other", "x"));
	assert_false(may(key.id, RIGHT_LIST, NULL, NULL));
	assert_true(may(all.id, RIGHT_ADMIN, NULL, NULL));
	/* the same by HTTP's Basic, and by a token that was made with it */
	assert_int_equal(try_key(key.id, key.secret, &who), 0);
	assert_true(users_allow(users, &who, RIGHT_WRITE, "data", "in/1"));
	assert_false(users_allow(users, &who, RIGHT_READ, "data", "in/1"));
	assert_int_equal(users_role(users, &who), ROLE_MEMBER);
	assert_true(who.scoped);
	assert_false(token_allows(&who, RIGHT_LIST, NULL, NULL)); /* no sign-in, no audit log */
	assert_true(users_covers(users, &who, RIGHT_LIST, "logs"));
	assert_false(users_covers(users, &who, RIGHT_WRITE, "logs"));
	assert_false(users_covers(users, &who, RIGHT_WRITE, "data"));
	assert_int_equal(try_key(all.id, all.secret, &made), 0);
	assert_false(made.scoped);
	assert_true(token_allows(&made, RIGHT_LIST, NULL, NULL));
	who.expires = time(NULL) + 60;
	who.rights = 31; /* whatever it says: the key decides */
	eventually(!users_sign(users, &who, token));
	snprintf(header, sizeof(header), "Bearer %s", token);
	assert_int_equal(users_authorize(users, header, time(NULL), &made), 0);
	assert_string_equal(made.access_key, key.id);
	assert_true(made.scoped);
	assert_true(users_allow(users, &made, RIGHT_WRITE, "data", "in/1"));
	assert_false(users_allow(users, &made, RIGHT_READ, "data", "in/1"));
	assert_int_equal(users_role(users, &made), ROLE_MEMBER);
	/* when the key's time is over */
	assert_int_equal(s3(key.id, opt.expires - 1, &got), 0);
	assert_int_equal(s3(key.id, opt.expires, &got), -EKEYEXPIRED);
	list = user_keys(here.reg, "rob");
	assert_int_equal(json_array_size(list), 2);
	first = json_array_get(list, 1);
	assert_string_equal(json_string_value(json_object_get(first, "note")), "robot");
	assert_int_equal(json_integer_value(json_object_get(first, "expires")), opt.expires);
	assert_true(json_is_true(json_object_get(first, "s3")));
	assert_null(json_object_get(first, "secret_sealed"));
	assert_null(json_object_get(first, "hash"));
	json_decref(list);
	/* rotated: the new one may the same, the old one ends */
	assert_int_equal(user_key_rotate(here.reg, "rob", "none", 0, 0, &next), -ENOKEY);
	assert_int_equal(user_key_rotate(here.reg, "rob", key.id, time(NULL) + 1800, 0, &next), 0);
	eventually(may(next.id, RIGHT_WRITE, "data", "in/1"));
	assert_false(may(next.id, RIGHT_READ, "data", "in/1"));
	assert_int_equal(s3(key.id, time(NULL), &got), 0);
	assert_int_equal(s3(key.id, time(NULL) + 1900, &got), -EKEYEXPIRED);
	assert_int_equal(user_key_rotate(here.reg, "rob", key.id, 0, 0, &next), 0);
	eventually(users_authorize(users, header, time(NULL), &who) == -EKEYREVOKED);
	assert_int_equal(user_remove(here.reg, "rob"), 0);
	eventually(!may(all.id, RIGHT_READ, "any", "thing"));
}

/* The id of the sealing key that the user's n-th key names. */
static const char *sealed_by(const char *name, size_t n)
{
	static char kid[32];
	struct reg_kv kv;
	char path[80];
	json_t *user;

	snprintf(path, sizeof(path), REG_USERS "%s", name);
	assert_int_equal(registry_get(here.reg, path, &kv), 0);
	user = json_loadb(kv.value, kv.value_len, 0, NULL);
	snprintf(kid, sizeof(kid), "%s", json_string_value(json_object_get(json_array_get(json_object_get(user, "keys"), n), "secret_sealed")));
	kid[strcspn(kid, ".")] = '\0';
	json_decref(user);
	reg_kv_free(&kv);
	return kid;
}

/* A new sealing key: nobody's access key is another, and what was sealed before opens. */
static void test_reseal(void **state)
{
	char before[SEALED_TEXT_MAX(32)], after[SEALED_TEXT_MAX(32)], out[64], first[17];
	struct user_key ann, ben;
	struct user_reseal r;
	struct users_s3 got;

	(void)state;
	assert_int_equal(add("ann", "*", "", "r", &ann), 0);
	assert_int_equal(add("ben", "*", "", "r", &ben), 0);
	eventually(!s3(ann.id, time(NULL), &got) && !s3(ben.id, time(NULL), &got));
	eventually(!users_seal(users, "sse x", "0123456789abcdef0123456789abcdef", 32, before, sizeof(before)));
	assert_int_equal(users_reseal(here.reg, &r), 0);
	assert_true(r.made && r.done >= 2 && r.older == 1 && !r.lost);
	assert_string_equal(sealed_by("ann", 0), r.kid);
	assert_string_equal(sealed_by("ben", 0), r.kid);
	assert_string_not_equal(r.kid, "first");
	strcpy(first, r.kid);
	eventually(!s3(ann.id, time(NULL), &got) && !s3(ben.id, time(NULL), &got));
	assert_int_equal(users_unseal(users, "sse x", before, out, sizeof(out)), 32);
	/* until all have heard of it objects' keys are sealed by the old one */
	assert_int_equal(users_seal(users, "sse x", out, 32, after, sizeof(after)), 0);
	assert_true(!strncmp(after, "first.", 6));
	/* interrupted: the new key was made, nothing was sealed by it; the next goes on with it */
	assert_int_equal(sealing_key_add(here.reg), 0);
	assert_int_equal(users_reseal(here.reg, &r), 0);
	assert_true(!r.made && r.done >= 2 && r.older == 2);
	assert_string_not_equal(r.kid, first);
	assert_string_equal(sealed_by("ben", 0), r.kid);
	strcpy(first, r.kid);
	assert_int_equal(user_key_add(here.reg, "ben", NULL, &ben), 0);
	assert_string_equal(sealed_by("ben", 1), r.kid);
	assert_int_equal(users_reseal(here.reg, &r), 0); /* it had ended: another one */
	assert_true(r.made && r.older == 3);
	assert_string_not_equal(r.kid, first);
	eventually(!s3(ann.id, time(NULL), &got) && !s3(ben.id, time(NULL), &got));
	assert_int_equal(user_remove(here.reg, "ann"), 0);
	assert_int_equal(user_remove(here.reg, "ben"), 0);
}

static void test_sealing(void **state)
{
	char text[SEALED_TEXT_MAX(32)], out[64];

	(void)state;
	eventually(!users_seal(users, "sse b/k/1", "0123456789abcdef0123456789abcdef", 32, text, sizeof(text)));
	assert_int_equal(users_unseal(users, "sse b/k/1", text, out, sizeof(out)), 32);
	assert_memory_equal(out, "0123456789abcdef0123456789abcdef", 32);
	assert_int_equal(users_unseal(users, "sse b/k/2", text, out, sizeof(out)), -EBADMSG);
	assert_int_equal(users_unseal(users, "sse b/k/1", text, out, 31), -EINVAL);
	assert_int_equal(users_seal(users, "x", out, 32, text, 40), -EINVAL);
	assert_int_equal(users_unseal(users, "x", "first", out, sizeof(out)), -EINVAL);
	assert_int_equal(users_unseal(users, "x", "first.AAAA", out, sizeof(out)), -EINVAL);
	text[0] = 'F';
	assert_int_equal(users_unseal(users, "sse b/k/1", text, out, sizeof(out)), -ENOKEY);
	text[0] = 'f';
	text[20] = text[20] == 'A' ? 'B' : 'A';
	assert_int_equal(users_unseal(users, "sse b/k/1", text, out, sizeof(out)), -EBADMSG);
}

/* Of several lost keys each is remembered: what comes into the registry meanwhile is not looked for again. */
static void test_lost_keys(void **state)
{
	const char *kids[] = { "lost0", "lost1", "lost2" };
	char text[64], path[64];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%s.AAAA", kids[i]);
		assert_true(users_sealing_lost(users, text));
	}
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), REG_SEALING "%s", kids[i]);
		assert_int_equal(registry_put(here.reg, path, "{}", 0), 0);
	}
	for (size_t i = 0; i < 3; i++) {
		snprintf(text, sizeof(text), "%s.AAAA", kids[i]);
		assert_true(users_sealing_lost(users, text));
		snprintf(path, sizeof(path), REG_SEALING "%s", kids[i]);
		assert_int_equal(registry_delete(here.reg, path), 0);
	}
	assert_false(users_sealing_lost(users, "first.AAAA")); /* is there */
	assert_false(users_sealing_lost(users, "no text"));
}

#define SILENT_MS 500

static void *ask_silent(void *arg)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	assert_false(users_sealing_lost(arg, "lost.AAAA"));
	clock_gettime(CLOCK_MONOTONIC, &to);
	return (void *)(intptr_t)((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
}

/* A registry that takes connections and says nothing holds one thread, now and then. */
static void test_silent_registry(void **state)
{
	struct conf_registry conf = { .timeout_us = SILENT_MS * 1000 };
	struct sockaddr_in in;
	struct registry *reg;
	struct addr_port ap;
	struct users *silent;
	pthread_t threads[16];
	socklen_t len = sizeof(in);
	intptr_t waited = 0;
	char url[64];
	void *ms;
	int fd;

	(void)state;
	assert_int_equal(addr_port_parse(&ap, "127.0.0.1:1"), 0);
	ap.port = 0;
	fd = addr_bind(&ap, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0 && !getsockname(fd, (struct sockaddr *)&in, &len));
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(in.sin_port));
	conf.url = url;
	assert_int_equal(registry_open(&reg, &conf), 0);
	assert_int_equal(users_open(&silent, reg, NULL, NULL), 0);
	for (size_t i = 0; i < 16; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_silent, silent), 0);
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(pthread_join(threads[i], &ms), 0);
		waited += (intptr_t)ms;
	}
	assert_in_range(waited, SILENT_MS / 2, 4 * SILENT_MS); /* all together */
	for (size_t i = 0; i < 16; i++)
		waited += (intptr_t)ask_silent(silent); /* one after the other */
	assert_in_range(waited, SILENT_MS / 2, 8 * SILENT_MS);
	users_close(silent);
	registry_close(reg);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signing_key),    cmocka_unit_test(test_key),
		cmocka_unit_test(test_grants),	       cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_public),	       cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_s3_key),	       cmocka_unit_test(test_s3_moved),
		cmocka_unit_test(test_scopes),	       cmocka_unit_test(test_sealing),
		cmocka_unit_test(test_reseal),	       cmocka_unit_test(test_lost_keys),
		cmocka_unit_test(test_silent_registry),
		cmocka_unit_test(test_names_and_list),
	};

	return cmocka_run_group_tests_name("users", tests, setup, teardown);
}
