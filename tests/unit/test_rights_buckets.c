/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rights_buckets.c -- what buckets say about who may do what: policies, canned ACLs, the public
 * access block, quotas, and what is remembered of an answer.
 */
#include "tests/unit/rights.h"

#include <errno.h>

#include "lib/bucket.h"
#include "lib/user_edit.h"

/* Who owns it, and administrators, change what it is. */
static void policy_is_changed_by(void)
{
	struct user_grant all = { "shelf", "", "rwdl" };
	struct user_key key;

	assert_int_equal(user_add(here.reg, "bea", &all, &key), 0);
	assert_int_equal(bucket_edit_create(here.reg, "shelf", "bea", ACL_PRIVATE), 0);
	assert_int_equal(bucket_edit_create(here.reg, "shelf", "bea", ACL_PRIVATE), -EALREADY);
	assert_int_equal(bucket_edit_create(here.reg, "shelf", "mia", ACL_PRIVATE), -EEXIST);
	assert_int_equal(bucket_edit_create(here.reg, "A", "mia", ACL_PRIVATE), -EINVAL);
	eventually(asks("bea", "s3:PutObject", "shelf", "k"));
	eventually(asks("bea", "s3:PutBucketPolicy", "shelf", NULL)); /* the bucket comes by another watch */
	assert_false(asks("mia", "s3:GetObject", "shelf", "k"));
	assert_false(asks("", "s3:GetObject", "shelf", "k"));
	assert_false(asks("bea", "s3:Frob", "shelf", "k"));
	assert_true(asks("bea", "s3:PutBucketPolicy", "shelf", NULL));
	assert_true(asks("adam", "s3:PutBucketPolicy", "shelf", NULL));
	assert_false(asks("mia", "s3:PutBucketPolicy", "shelf", NULL));
	assert_false(asks("bea", "s3:PutBucketVersioning", "plain", NULL));
	assert_false(asks("", "s3:GetBucketPolicy", "shelf", NULL));
	assert_true(asks("bea", "s3:GetBucketLocation", "shelf", "ignored"));
	assert_true(asks("mia", "s3:ListAllMyBuckets", NULL, NULL));
	assert_false(asks("", "s3:ListAllMyBuckets", NULL, NULL));
}

/* To somebody, to a group, to everybody. */
static void policy_gives(void)
{
	struct token_scope narrow = session("mia");

	policy("shelf", ALLOW(USER("mia"), "s3:GetObject", "shelf/a/*") "," ALLOW(GROUP("crew"), "s3:ListBucket", "shelf") ","
			ALLOW("\"*\"", "s3:GetObject", "shelf/open/*"));
	eventually(asks("mia", "s3:GetObject", "shelf", "a/1"));
	assert_false(asks("mia", "s3:GetObject", "shelf", "b/1"));
	assert_false(asks("mia", "s3:PutObject", "shelf", "a/1"));
	assert_true(asks("rita", "s3:ListBucket", "shelf", NULL));
	assert_false(asks("mia", "s3:ListBucket", "shelf", NULL));
	assert_true(asks("", "s3:GetObject", "shelf", "open/x"));
	assert_true(users_allow(users, &(struct token_scope){ .bucket = "" }, RIGHT_READ, "shelf", "open/x"));
	assert_false(asks("", "s3:GetObjectTagging", "shelf", "open/x"));
	assert_false(asks("", "s3:GetObject", "shelf", "a/1"));
	/* a token that is too narrow stays so, but for what everybody may */
	strcpy(narrow.bucket, "other");
	assert_string_equal(rights_at(&narrow, "shelf", "a/1"), "");
	assert_string_equal(rights_at(&narrow, "shelf", "open/x"), "r");
}

static void policy_denies(void)
{
	/* an explicit Deny wins over grants, over the role admin, over everything */
	policy("shelf", ALLOW("\"*\"", "s3:*", "shelf/*") "," DENY(USER("bea"), "s3:Delete*", "shelf/*") ","
			DENY("\"*\"", "s3:PutObject", "shelf/frozen/*"));
	eventually(!asks("bea", "s3:DeleteObject", "shelf", "k"));
	assert_true(asks("bea", "s3:GetObject", "shelf", "k"));
	assert_false(asks("adam", "s3:PutObject", "shelf", "frozen/k"));
	assert_false(asks("bea", "s3:PutObject", "shelf", "frozen/k"));
	assert_true(asks("mia", "s3:DeleteObject", "shelf", "k"));
	assert_string_equal(of("bea", "shelf", "k"), "rwl");
	assert_string_equal(of("bea", "shelf", "frozen/k"), "rl");
	/* nobody locks themselves out of the policy */
	policy("shelf", DENY("\"*\"", "s3:*", "shelf") "," DENY("\"*\"", "s3:*", "shelf/*"));
	eventually(!asks("bea", "s3:GetObject", "shelf", "k"));
	assert_false(asks("adam", "s3:ListBucket", "shelf", NULL));
	assert_true(asks("bea", "s3:DeleteBucketPolicy", "shelf", NULL));
	assert_true(asks("adam", "s3:PutBucketPolicy", "shelf", NULL));
	assert_false(asks("mia", "s3:PutBucketPolicy", "shelf", NULL));
}

static void policy_unreadable_or_by_address(void)
{
	const struct bucket *b;

	/* one that this version cannot read denies all */
	policy("shelf", "");
	eventually(asks("bea", "s3:GetObject", "shelf", "k"));
	put(REG_BUCKETS "shelf", "{\"name\":\"shelf\",\"owner\":\"bea\",\"public\":true,\"policy\":\"{\\\"Statement\\\":7}\"}");
	eventually(!asks("bea", "s3:GetObject", "shelf", "k"));
	assert_false(asks("", "s3:GetObject", "shelf", "k"));
	policy("shelf", "");
	eventually(asks("", "s3:GetObject", "shelf", "k"));
	assert_false(asks("", "s3:GetObjectVersion", "shelf", "k"));
	assert_false(asks("", "s3:GetObjectTagging", "shelf", "k"));
	b = users_bucket(users, "shelf");
	assert_true(b->is_public);
	assert_null(b->policy);
	bucket_put(b);
	/* over the address */
	policy("shelf", "{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::shelf/*\"],"
			"\"Condition\":{\"NotIpAddress\":{\"aws:SourceIp\":\"198.51.100.0/24\"}}}");
	eventually(!users_bucket_public(users, "shelf"));
	assert_true(asks("bea", "s3:GetObject", "shelf", "k"));
	assert_string_equal(of("bea", "shelf", "k"), "l"); /* asked by who did not look at the address */
}

/* A record is removed only as it was looked at. */
static void bucket_revisions(void)
{
	int64_t before, after;

	assert_int_equal(bucket_edit_remove(here.reg, "sales", 0), -EBUSY);
	assert_int_equal(bucket_edit_look(here.reg, "sales", &before), -EBUSY);
	assert_int_equal(bucket_edit_look(here.reg, "shelf", &before), 0);
	assert_int_equal(bucket_edit_touch(here.reg, "shelf"), 0);
	assert_int_equal(bucket_edit_look(here.reg, "shelf", &after), 0);
	assert_int_equal(bucket_edit_remove(here.reg, "shelf", before), -EAGAIN);
	assert_int_equal(bucket_edit_remove(here.reg, "shelf", after), 0);
	assert_int_equal(bucket_edit_touch(here.reg, "shelf"), -ENOENT);
	assert_int_equal(bucket_edit_remove(here.reg, "shelf", 0), -ENOENT);
}

static void test_policy(void **state)
{
	(void)state;
	policy_is_changed_by();
	policy_gives();
	policy_denies();
	policy_unreadable_or_by_address();
	bucket_revisions();
	eventually(users_bucket(users, "shelf") == NULL);
	assert_int_equal(user_remove(here.reg, "bea"), 0);
}

/* A dataset's files are given by the dataset; a policy can take away, and show. */
static void test_policy_dataset(void **state)
{
	char (*owned)[64];
	size_t n;

	(void)state;
	policy("sales", ALLOW("\"*\"", "s3:*", "sales/*") "," DENY(USER("olga"), "s3:DeleteObject", "sales/*"));
	eventually(asks("mia", "s3:GetObject", "sales", "a.csv"));
	assert_true(asks("", "s3:GetObject", "sales", "a.csv"));
	assert_false(asks("mia", "s3:PutObject", "sales", "a.csv"));
	assert_false(asks("mia", "s3:GetObject", "sales", ".weir/a.csv/manifest.json"));
	assert_false(asks("olga", "s3:DeleteObject", "sales", "a.csv"));
	assert_true(asks("olga", "s3:PutObject", "sales", "a.csv"));
	/* whoever uploaded first owns no dataset */
	put(REG_BUCKETS "sales", "{\"name\":\"sales\",\"public\":false,\"owner\":\"wanda\"}");
	eventually(!asks("mia", "s3:GetObject", "sales", "a.csv"));
	assert_false(asks("wanda", "s3:PutBucketPolicy", "sales", NULL));
	owned = users_owned(users, "wanda", &n);
	assert_int_equal(n, 0);
	free(owned);
	owned = users_owned(users, "olga", &n);
	assert_int_equal(n, 1);
	free(owned);
	assert_true(asks("olga", "s3:PutBucketPolicy", "sales", NULL));
	policy("sales", "");
	eventually(!asks("mia", "s3:GetObject", "sales", "a.csv"));
}

static void acl(const char *bucket, const char *name)
{
	char err[256] = "";

	if (bucket_edit_part(here.reg, bucket, BUCKET_ACL, name, err))
		fail_msg("%s", err);
}

static void test_acl(void **state)
{
	struct policy_ask ask = { .action = "s3:GetObject", .bucket = "attic", .key = "k", .object_known = true };
	struct token_scope nobody = { .bucket = "" }, mia = session("mia");
	char err[256];

	(void)state;
	assert_int_equal(bucket_edit_create(here.reg, "attic", "otto", ACL_PUBLIC_READ), 0);
	eventually(asks("", "s3:ListBucket", "attic", NULL));
	assert_true(asks("", "s3:ListBucketVersions", "attic", "x"));
	assert_false(asks("", "s3:GetObject", "attic", "k"));
	assert_false(asks("", "s3:PutObject", "attic", "k"));
	assert_false(asks("", "s3:GetBucketAcl", "attic", NULL));
	acl("attic", "public-read-write");
	eventually(asks("", "s3:PutObject", "attic", "k"));
	assert_true(asks("", "s3:DeleteObject", "attic", "k"));
	assert_false(asks("", "s3:DeleteObjectVersion", "attic", "k"));
	assert_false(asks("", "s3:PutBucketAcl", "attic", NULL));
	assert_false(asks("", "s3:CreateBucket", "attic", NULL));
	assert_false(asks("", "s3:DeleteBucket", "attic", NULL));
	policy("attic", DENY("\"*\"", "s3:PutObject", "attic/*"));
	eventually(!asks("", "s3:PutObject", "attic", "k"));
	policy("attic", "");
	acl("attic", "authenticated-read");
	eventually(!asks("", "s3:ListBucket", "attic", NULL));
	assert_true(asks("mia", "s3:ListBucket", "attic", NULL));
	assert_false(asks("mia", "s3:GetObject", "attic", "k"));
	assert_int_equal(bucket_edit_part(here.reg, "attic", BUCKET_ACL, "log-delivery-write", err), -EINVAL);
	assert_non_null(strstr(err, "acl of bucket attic"));
	assert_int_equal(bucket_edit_part(here.reg, "none", BUCKET_ACL, "private", err), -ENOENT);
	acl("attic", NULL);
	eventually(!asks("mia", "s3:ListBucket", "attic", NULL));
	/* an object's own */
	ask.object = ACL_PUBLIC_READ;
	assert_true(users_may(users, &nobody, &ask));
	ask.object = ACL_AUTHENTICATED_READ;
	assert_false(users_may(users, &nobody, &ask));
	assert_true(users_may(users, &mia, &ask));
	ask.object = ACL_PRIVATE;
	assert_false(users_may(users, &mia, &ask));
	assert_int_equal(bucket_edit_remove(here.reg, "attic", 0), 0);
}

/* What was just allowed is remembered: not longer than it is true, and not for another bearer. */
static void test_remembered(void **state)
{
	struct token_scope early = session("rob"), late = session("rob"), narrow = session("rob"), wrong;
	struct user_grant all = { "chest", "", "rl" };
	struct user_key key;

	(void)state;
	late.issued = 800;
	narrow.rights = RIGHT_LIST;
	assert_int_equal(user_add(here.reg, "rob", &all, &key), 0);
	assert_int_equal(bucket_edit_create(here.reg, "chest", "otto", ACL_PRIVATE), 0);
	eventually(!strcmp(rights_at(&early, "chest", "a"), "rl"));
	assert_string_equal(rights_at(&late, "chest", "b"), "rl");
	assert_string_equal(rights_at(&narrow, "chest", "b"), "l");
	assert_string_equal(of("mia", "chest", "a"), "");
	assert_false(asks("rob", "s3:PutObject", "chest", "a"));
	assert_true(asks("rob", "s3:GetObject", "chest", "a"));
	assert_true(asks("rob", "s3:GetObject", "chest", "a"));
	wrong = person("rob", "");
	assert_string_equal(rights_at(&wrong, "chest", "a"), "");
	/* signed out everywhere at 700: what was issued before is nobody's, also after a later one was allowed */
	put(REG_PEOPLE "rob", "{\"name\":\"rob\",\"local\":true,\"not_before\":700}");
	eventually(!strcmp(rights_at(&early, "chest", "a"), ""));
	assert_string_equal(rights_at(&late, "chest", "a"), "rl");
	assert_string_equal(rights_at(&early, "chest", "a"), "");
	/* a policy that comes later */
	policy("chest", DENY(USER("rob"), "s3:GetObject", "chest/secret/*"));
	eventually(!strcmp(rights_at(&late, "chest", "secret/a"), "l"));
	assert_string_equal(rights_at(&late, "chest", "a"), "rl");
	assert_string_equal(rights_at(&late, "chest", "secret/a"), "l");
	policy("chest", "");
	eventually(!strcmp(rights_at(&late, "chest", "secret/a"), "rl"));
	assert_int_equal(user_set_disabled(here.reg, "rob", true), 0);
	eventually(!strcmp(rights_at(&late, "chest", "a"), ""));
	assert_int_equal(registry_delete(here.reg, REG_PEOPLE "rob"), 0);
	assert_int_equal(user_remove(here.reg, "rob"), 0);
	assert_int_equal(bucket_edit_remove(here.reg, "chest", 0), 0);
}

static void *count_made(const char *text, size_t len)
{
	int *made = malloc(sizeof(*made));

	assert_int_equal(len, strlen(text));
	*made = (int)len;
	return made;
}

static bool has_bytes(const char *name, uint64_t bytes, enum bucket_versioning versioning)
{
	const struct bucket *b = users_bucket(users, name);
	bool has = b && b->quota.bytes == bytes && b->versioning == versioning;

	bucket_put(b);
	return has;
}

static bool has_limits(const char *name, uint64_t bucket, uint64_t owner)
{
	struct users_limits limits;
	bool any = users_limits(users, name, &limits);

	return any == (bucket || owner) && limits.bucket.bytes == bucket && limits.owner.bytes == owner;
}

/* What is public no longer is, for strangers; a word that is not known blocks all. */
static void block_public(void)
{
	unsigned int block;
	char text[32], err[256];

	for (unsigned int i = 0; i <= BLOCK_ALL; i++) {
		assert_int_equal(bucket_block_parse(bucket_block_text(i, text), &block), 0);
		assert_int_equal(block, i);
	}
	assert_int_equal(bucket_block_parse("restrict acls", &block), -EINVAL);
	assert_int_equal(block, BLOCK_ALL);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_BLOCK, "some", err), -EINVAL);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_OWNERSHIP, "Nobody", err), -EINVAL);
	assert_true(asks("", "s3:GetObject", "cellar", "k"));
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_BLOCK, "acls ignore policy", err), 0);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_BLOCK, "restrict", err), 0);
	eventually(!users_bucket_public(users, "cellar"));
	assert_false(asks("", "s3:GetObject", "cellar", "k"));
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_BLOCK, NULL, err), 0);
	eventually(users_bucket_public(users, "cellar"));
}

static void test_bucket(void **state)
{
	const struct bucket_quota quota = { 1000, 5 };
	const struct bucket *b, *again;
	const int *made;
	json_t *list;
	struct token_scope who = session("mia"), adam = session("adam");
	char err[256], *big = calloc(1, BUCKET_PART_MAX + 2), (*owned)[64];
	size_t nowned;

	(void)state;
	assert_int_equal(bucket_edit_create(here.reg, "cellar", "mia", ACL_PRIVATE), 0);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_VERSIONING, "on", err), -EINVAL);
	assert_non_null(strstr(err, "enabled or suspended"));
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_POLICY, "{}", err), -EINVAL);
	memset(big, 'x', BUCKET_PART_MAX + 1);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_CORS, big, err), -EINVAL);
	free(big);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_VERSIONING, "enabled", err), 0);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_ENCRYPTION, "AES256", err), 0);
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_CORS, "<cors/>", err), 0);
	assert_int_equal(bucket_edit_quota(here.reg, "cellar", &quota), 0);
	assert_int_equal(user_set_quota(here.reg, "mia", &quota), 0);
	assert_int_equal(user_set_quota(here.reg, "none", &quota), -ENOENT);
	eventually(has_limits("cellar", 1000, 1000));
	assert_int_equal(user_set_quota(here.reg, "mia", &(struct bucket_quota){ 0, 0 }), 0);
	eventually(has_limits("cellar", 1000, 0));
	owned = users_owned(users, "mia", &nowned);
	assert_int_equal(nowned, 1);
	assert_string_equal(owned[0], "cellar");
	free(owned);
	eventually(has_bytes("cellar", 1000, VERSIONING_ENABLED));
	b = users_bucket(users, "cellar");
	assert_string_equal(b->name, "cellar");
	assert_string_equal(b->owner, "mia");
	assert_true(b->encrypt);
	assert_int_equal(b->versioning, VERSIONING_ENABLED);
	assert_int_equal(b->quota.objects, 5);
	assert_string_equal(b->part[BUCKET_CORS], "<cors/>");
	made = bucket_made(b, BUCKET_CORS, count_made, free);
	assert_int_equal(*made, 7);
	assert_ptr_equal(bucket_made(b, BUCKET_CORS, count_made, free), made);
	assert_null(bucket_made(b, BUCKET_LIFECYCLE, count_made, free));
	/* who has the old one keeps it */
	assert_int_equal(bucket_edit_part(here.reg, "cellar", BUCKET_VERSIONING, "suspended", NULL), 0);
	eventually(has_bytes("cellar", 1000, VERSIONING_SUSPENDED));
	again = users_bucket(users, "cellar");
	assert_int_equal(b->versioning, VERSIONING_ENABLED);
	assert_true(again->revision > b->revision);
	assert_int_equal(*made, 7);
	bucket_put(b);
	bucket_put(again);
	/* which buckets does somebody see? */
	list = users_buckets(users, &who);
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")), "cellar");
	json_decref(list);
	list = users_buckets(users, &adam);
	assert_int_equal(json_array_size(list), 2);
	json_decref(list);
	strcpy(who.bucket, "other");
	list = users_buckets(users, &who);
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	assert_int_equal(bucket_edit_owner(here.reg, "cellar", "otto"), 0);
	assert_int_equal(bucket_edit_public(here.reg, "cellar", true), 0);
	eventually(users_bucket_public(users, "cellar"));
	block_public();
	assert_int_equal(bucket_edit_remove(here.reg, "cellar", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_policy_dataset),
		cmocka_unit_test(test_acl),
		cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_remembered),
	};

	return cmocka_run_group_tests_name("rights of buckets", tests, rights_setup, rights_teardown);
}
