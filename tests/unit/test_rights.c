/* SPDX-License-Identifier: Apache-2.0 */
/* Groups, roles, datasets, people of a provider, passwords, ended tokens, tokens that a gateway
 * signed. */
#include "tests/unit/registry_here.h"

#include <errno.h>

#include "lib/bucket.h"
#include "lib/token.h"
#include "lib/user_edit.h"

static struct registry_here here;
static struct users *users;

static void put(const char *key, const char *value)
{
	assert_int_equal(registry_put(here.reg, key, value, 0), 0);
}

static void add_user(const char *name, const char *groups)
{
	char key[128], value[512];

	snprintf(key, sizeof(key), REG_USERS "%s", name);
	snprintf(value, sizeof(value),
		 "{\"name\":\"%s\",\"disabled\":false,\"grants\":[],\"keys\":[],\"groups\":[%s]}",
		 name, groups);
	put(key, value);
}

static int setup(void **state)
{
	(void)state;
	registry_here_start(&here);
	put(REG_GROUPS "team",
	    "{\"name\":\"team\",\"role\":\"member\",\"from\":[\"/company/team\",\"t\"]}");
	put(REG_GROUPS "crew",
	    "{\"name\":\"crew\",\"grants\":[{\"bucket\":\"plain\",\"prefix\":\"a/\","
	    "\"rights\":\"rl\"}]}");
	put(REG_GROUPS "watch", "{\"name\":\"watch\",\"role\":\"auditor\"}");
	put(REG_GROUPS "keepers", "{\"name\":\"keepers\",\"role\":\"steward\"}");
	put(REG_GROUPS "chiefs", "{\"name\":\"chiefs\",\"role\":\"admin\"}");
	put(REG_DATASETS "sales", "{\"name\":\"sales\",\"owner\":\"olga\",\"readers\":[\"crew\"],"
				  "\"writers\":[\"team\"],\"generation\":3}");
	put(REG_DATASETS "other",
	    "{\"name\":\"other\",\"owner\":\"otto\",\"readers\":[],\"writers\":[]}");
	put(REG_BUCKETS "sales", "{\"name\":\"sales\",\"public\":false}");
	add_user("olga", "");
	add_user("otto", "");
	add_user("rita", "\"crew\"");
	add_user("wanda", "\"team\",\"gone\"");
	add_user("aude", "\"watch\"");
	add_user("stew", "\"keepers\"");
	add_user("adam", "\"chiefs\",\"crew\"");
	add_user("mia", "");
	assert_int_equal(users_open(&users, here.reg, NULL, NULL), 0);
	eventually(users_count(users) == 8 && users_dataset(users, "sales") &&
		   users_dataset(users, "other"));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	users_close(users);
	registry_here_stop(&here);
	return 0;
}

/* A session of somebody: everything that a token may say. */
static struct token_scope session(const char *name)
{
	struct token_scope s = { .bucket = "*", .rights = 31, .expires = 1000, .issued = 500 };

	snprintf(s.user, sizeof(s.user), "%s", name);
	return s;
}

static struct token_scope person(const char *name, const char *groups)
{
	struct token_scope s = session(name);

	s.provider = true;
	snprintf(s.groups, sizeof(s.groups), "%s", groups);
	return s;
}

/* Which of r w d l does somebody have on a key? */
static const char *rights_at(const struct token_scope *who, const char *bucket, const char *key)
{
	static char buf[8];
	unsigned int rights = 0;

	for (unsigned int right = RIGHT_READ; right <= RIGHT_LIST; right <<= 1)
		if (users_allow(users, who, right, bucket, key))
			rights |= right;
	return rights_format(rights, buf);
}

static const char *of(const char *name, const char *bucket, const char *key)
{
	struct token_scope who = session(name);

	return rights_at(&who, bucket, key);
}

static void test_dataset(void **state)
{
	(void)state;
	eventually(!strcmp(of("olga", "sales", "a.csv"), "rwdl"));
	eventually(!strcmp(of("wanda", "sales", "a.csv"), "rwl"));
	eventually(!strcmp(of("rita", "sales", "a.csv"), "rl"));
	eventually(!strcmp(of("adam", "sales", "a.csv"), "rwdl"));
	assert_string_equal(of("otto", "sales", "a.csv"), "");
	assert_string_equal(of("mia", "sales", "a.csv"), "");
	assert_string_equal(of("aude", "sales", "a.csv"), "");
	assert_string_equal(of("stew", "sales", "a.csv"), "");
	assert_string_equal(of("nobody", "sales", "a.csv"), "");
	assert_string_equal(of("", "sales", "a.csv"), "");
	/* what the dataset keeps for itself */
	assert_string_equal(of("rita", "sales", ".weir/a.csv/manifest.json"), "");
	assert_string_equal(of("wanda", "sales", ".weir/a.csv/quarantine.csv"), "rwl");
	assert_string_equal(of("rita", "sales", "derived/a.csv/by-year"), "rl");
	/* not beside the dataset, nor without a bucket */
	assert_string_equal(of("olga", "plain", "a/1"), "");
	assert_string_equal(of("rita", "plain", "a/1"), "rl");
	assert_string_equal(of("rita", "plain", "b/1"), "");
	assert_string_equal(of("olga", NULL, NULL), "");
	assert_string_equal(of("adam", NULL, NULL), "rwdl");
}

/* Public buckets that became a dataset's: their files are, what is kept beside them is not. */
static void test_public(void **state)
{
	struct token_scope nobody = { .bucket = "" };

	(void)state;
	assert_string_equal(rights_at(&nobody, "sales", "a.csv"), "");
	put(REG_BUCKETS "sales", "{\"name\":\"sales\",\"public\":true}");
	eventually(!strcmp(rights_at(&nobody, "sales", "a.csv"), "r"));
	assert_string_equal(rights_at(&nobody, "sales", ".weir/a.csv/keys/id"), "");
	put(REG_BUCKETS "sales", "{\"name\":\"sales\",\"public\":false}");
	eventually(!strcmp(rights_at(&nobody, "sales", "a.csv"), ""));
}

static void test_narrow_tokens(void **state)
{
	struct token_scope who = session("olga"), admin = session("adam");

	(void)state;
	who.rights = RIGHT_READ;
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "r");
	assert_false(users_dataset_owned(users, &who, "sales"));
	who = session("olga");
	assert_true(users_dataset_owned(users, &who, "sales"));
	assert_false(users_dataset_owned(users, &who, "other"));
	assert_false(users_dataset_owned(users, &who, "none"));
	strcpy(who.bucket, "other");
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "");
	assert_true(users_dataset_owned(users, &admin, "sales"));
	assert_int_equal(users_role(users, &admin), ROLE_ADMIN);
	admin.rights &= ~RIGHT_ADMIN;
	assert_int_equal(users_role(users, &admin), ROLE_STEWARD);
	admin.rights = RIGHT_READ;
	assert_int_equal(users_role(users, &admin), ROLE_AUDITOR);
	admin.rights = RIGHT_LIST;
	assert_int_equal(users_role(users, &admin), ROLE_MEMBER);
	admin = session("adam");
	strcpy(admin.bucket, "sales");
	assert_int_equal(users_role(users, &admin), ROLE_MEMBER);
}

static enum role role_of(const char *name)
{
	struct token_scope who = session(name);

	return users_role(users, &who);
}

static void test_roles(void **state)
{
	struct token_scope who = session("wanda");
	struct user_grant all = { "*", "", "rwdla" };
	char groups[512];
	struct user_key key;

	(void)state;
	assert_int_equal(role_of("mia"), ROLE_MEMBER);
	assert_int_equal(role_of("aude"), ROLE_AUDITOR);
	assert_int_equal(role_of("stew"), ROLE_STEWARD);
	assert_int_equal(role_of("adam"), ROLE_ADMIN);
	assert_int_equal(role_of("nobody"), ROLE_MEMBER);
	assert_int_equal(user_add(here.reg, "root", &all, &key), 0);
	eventually(role_of("root") == ROLE_ADMIN);
	assert_int_equal(user_add(here.reg, "watcher", &(struct user_grant){ "*", "", "a" }, &key), 0);
	who = session("watcher"); /* the console alone, no data, nobody's admin */
	eventually(users_allow(users, &who, RIGHT_ADMIN, NULL, NULL));
	assert_int_equal(users_role(users, &who), ROLE_MEMBER);
	assert_string_equal(of("watcher", "sales", "a.csv"), "");
	assert_false(users_dataset_owned(users, &who, "sales"));
	assert_int_equal(user_remove(here.reg, "watcher"), 0);
	who = session("wanda");
	assert_int_equal(user_set_disabled(here.reg, "root", true), 0);
	eventually(role_of("root") == ROLE_MEMBER);
	assert_int_equal(user_remove(here.reg, "root"), 0);
	eventually(users_count(users) == 8);
	users_groups(users, &who, groups);
	assert_string_equal(groups, "team"); /* "gone" does not exist */
	assert_int_equal(role_parse("steward"), ROLE_STEWARD);
	assert_int_equal(role_parse("king"), ROLE_MEMBER);
}

static void test_people(void **state)
{
	struct token_scope who = person("pat", "team,chiefs2"), out;
	char token[TOKEN_MAX], header[TOKEN_MAX + 8], groups[512];
	size_t before = users_count(users);

	(void)state;
	eventually(!users_sign(users, &who, token));
	assert_int_equal(users_verify(users, token, 999, &out), 0); /* not in people/ yet */
	assert_string_equal(out.groups, "team,chiefs2");
	snprintf(header, sizeof(header), "Bearer %s", token);
	assert_int_equal(users_authorize(users, header, 999, &out), 0);
	assert_string_equal(rights_at(&out, "sales", "a.csv"), "rwl");
	users_groups(users, &out, groups);
	assert_string_equal(groups, "team");
	assert_int_equal(users_role(users, &out), ROLE_MEMBER);
	who = person("pat", "chiefs");
	assert_int_equal(users_role(users, &who), ROLE_ADMIN);
	put(REG_PEOPLE "pat", "{\"name\":\"pat\",\"disabled\":false,\"not_before\":500}");
	eventually(users_count(users) == before + 1);
	assert_int_equal(users_verify(users, token, 999, &out), 0);
	put(REG_PEOPLE "pat", "{\"name\":\"pat\",\"disabled\":false,\"not_before\":501}");
	eventually(users_verify(users, token, 999, &out) == -EKEYREVOKED);
	assert_int_equal(users_role(users, &who), ROLE_MEMBER);
	put(REG_PEOPLE "pat", "{\"name\":\"pat\",\"disabled\":true}");
	eventually(users_verify(users, token, 999, &out) == -EACCES);
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "");
	/* a provider cannot speak for users of the table, nor own what they own */
	who = person("olga", "");
	assert_int_equal(users_sign(users, &who, token), 0);
	assert_int_equal(users_verify(users, token, 999, &out), -EACCES);
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "");
	assert_int_equal(registry_delete(here.reg, REG_PEOPLE "pat"), 0);
}

/* A token says the groups of when it was issued; who signed in since and lost one has lost it there, too. */
static void test_groups_lost(void **state)
{
	struct token_scope old = person("pia", "team,chiefs"), now = old;
	char groups[512];

	(void)state;
	now.issued = 600;
	put(REG_PEOPLE "pia", "{\"name\":\"pia\",\"issuer\":\"i\",\"groups\":[\"team\",\"watch\"],\"last\":600}");
	eventually(users_role(users, &old) == ROLE_MEMBER);
	users_groups(users, &old, groups);
	assert_string_equal(groups, "team"); /* nor more than the token says */
	assert_int_equal(users_role(users, &now), ROLE_ADMIN); /* people/ may come late */
	assert_int_equal(registry_delete(here.reg, REG_PEOPLE "pia"), 0);
	eventually(users_count(users) == 8);
}

/* A name that is given again: tokens of who had it before are nobody's, and no person of a provider becomes its user. */
static void test_name_again(void **state)
{
	struct token_scope who = session("ned"), out;
	struct user_key key;
	char token[TOKEN_MAX];
	size_t before = users_count(users);

	(void)state;
	assert_int_equal(user_add(here.reg, "ned", NULL, &key), 0);
	eventually(users_count(users) == before + 1);
	who.issued = time(NULL) - 10;
	who.expires = who.issued + 3600;
	eventually(!users_sign(users, &who, token));
	assert_int_equal(users_verify(users, token, time(NULL), &out), 0);
	assert_int_equal(user_remove(here.reg, "ned"), 0);
	eventually(users_verify(users, token, time(NULL), &out) == -EACCES && users_count(users) == before);
	assert_int_equal(user_remove(here.reg, "ned"), -ENOENT);
	assert_int_equal(user_add(here.reg, "ned", NULL, &key), 0);
	eventually(users_verify(users, token, time(NULL), &out) == -EKEYREVOKED);
	who.issued = time(NULL);
	assert_int_equal(users_sign(users, &who, token), 0);
	eventually(!users_verify(users, token, time(NULL), &out));
	assert_int_equal(user_remove(here.reg, "ned"), 0);
	put(REG_PEOPLE "pan", "{\"name\":\"pan\",\"issuer\":\"i\",\"subject\":\"1\"}");
	assert_int_equal(user_add(here.reg, "pan", NULL, &key), -ENOTUNIQ);
	assert_int_equal(registry_delete(here.reg, REG_PEOPLE "pan"), 0);
	eventually(users_count(users) == before);
}

static void test_claims(void **state)
{
	json_t *claim = json_pack("[s, s, i, s]", "/company/team", "crew", 7, "team");
	char groups[512];

	(void)state;
	assert_int_equal(users_groups_from(users, claim, groups), 2);
	assert_true(token_groups_have(groups, "team") && token_groups_have(groups, "crew"));
	json_decref(claim);
	claim = json_string("t");
	assert_int_equal(users_groups_from(users, claim, groups), 1);
	assert_string_equal(groups, "team");
	json_decref(claim);
	claim = json_string("team"); /* `from` names others */
	assert_int_equal(users_groups_from(users, claim, groups), 0);
	assert_string_equal(groups, "");
	json_decref(claim);
	assert_int_equal(users_groups_from(users, NULL, groups), 0);
}

static void test_ended(void **state)
{
	struct token_scope who = session("rita"), out;
	char token[TOKEN_MAX];

	(void)state;
	strcpy(who.id, "00ff");
	eventually(!users_sign(users, &who, token) && !users_verify(users, token, 999, &out));
	put(REG_ENDED "00ff", "{\"user\":\"rita\",\"until\":1000}");
	eventually(users_verify(users, token, 999, &out) == -EKEYREVOKED);
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "");
	strcpy(who.id, "00fe");
	assert_string_equal(rights_at(&who, "sales", "a.csv"), "rl");
	assert_int_equal(registry_delete(here.reg, REG_ENDED "00ff"), 0);
}

static void test_via_gateway(void **state)
{
	struct token_scope who = { .user = "pat",
				   .bucket = "sales",
				   .prefix = "a.csv",
				   .exact = true,
				   .rights = RIGHT_WRITE,
				   .expires = 1000,
				   .via_gateway = true },
			   out;
	struct users *endpoint;
	char token[TOKEN_MAX];

	(void)state;
	eventually(!users_sign(users, &who, token));
	assert_int_equal(users_verify(users, token, 999, &out), -EACCES); /* a gateway takes none */
	assert_int_equal(users_open(&endpoint, here.reg, NULL, NULL), 0);
	users_take_via_gateway(endpoint);
	eventually(!users_verify(endpoint, token, 999, &out));
	assert_true(users_allow(endpoint, &out, RIGHT_WRITE, "sales", "a.csv"));
	assert_false(users_allow(endpoint, &out, RIGHT_WRITE, "sales", "b.csv"));
	assert_false(users_allow(endpoint, &out, RIGHT_READ, "sales", "a.csv"));
	assert_false(users_allow(endpoint, &out, RIGHT_WRITE, "other", "a.csv"));
	out = (struct token_scope){ .bucket = "*", .rights = 31, .via_gateway = true };
	assert_false(users_allow(endpoint, &out, RIGHT_WRITE, "sales", "a.csv"));
	assert_int_equal(users_role(endpoint, &out), ROLE_MEMBER);
	users_close(endpoint);
}

static void test_password(void **state)
{
	struct token_scope out;

	(void)state;
	assert_int_equal(users_password(users, "rita", "correct horse", &out), -ENOENT);
	assert_int_equal(users_password(users, "nobody", "correct horse", &out), -ENOENT);
	assert_int_equal(user_set_password(here.reg, "rita", "short"), -ERANGE);
	assert_int_equal(user_set_password(here.reg, "nobody", "correct horse"), -ENOENT);
	assert_int_equal(user_set_password(here.reg, "rita", "correct horse"), 0);
	eventually(!users_password(users, "rita", "correct horse", &out));
	assert_string_equal(out.user, "rita");
	assert_string_equal(out.bucket, "*");
	assert_int_equal(out.rights, 15);
	assert_int_equal(users_password(users, "rita", "correct horsf", &out), -EACCES);
	assert_int_equal(users_password(users, "rita", "", &out), -EACCES);
	assert_int_equal(user_set_disabled(here.reg, "rita", true), 0);
	eventually(users_password(users, "rita", "correct horse", &out) == -ENOENT);
	assert_int_equal(user_set_disabled(here.reg, "rita", false), 0);
	assert_int_equal(user_set_password(here.reg, "rita", NULL), 0);
	eventually(users_password(users, "rita", "correct horse", &out) == -ENOENT &&
		   !strcmp(of("rita", "sales", "a"), "rl"));
}

static void test_datasets(void **state)
{
	struct token_scope who = session("rita"), admin = session("adam");
	json_t *list = users_datasets(users, &who), *one = json_array_get(list, 0);

	(void)state;
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(json_string_value(json_object_get(one, "name")), "sales");
	assert_true(json_is_true(json_object_get(one, "read")));
	assert_true(json_is_false(json_object_get(one, "write")));
	assert_true(json_is_false(json_object_get(one, "own")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(one, "record"), "generation")),
		3);
	json_decref(list);
	list = users_datasets(users, &admin);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")),
			    "other");
	assert_true(json_is_true(json_object_get(json_array_get(list, 1), "own")));
	json_decref(list);
	assert_null(users_dataset_record(users, "none"));
	list = users_dataset_record(users, "sales");
	assert_int_equal(json_integer_value(json_object_get(list, "generation")), 3);
	json_decref(list);
}

/* ---- buckets: policies, canned ACLs ---- */

static bool asks(const char *name, const char *action, const char *bucket, const char *key)
{
	struct token_scope who = session(name);
	struct policy_ask ask = { .action = action, .bucket = bucket, .key = key, .known = true };

	addr_parse(&ask.source, "198.51.100.7");
	if (!*name)
		who = (struct token_scope){ .bucket = "" };
	return users_may(users, &who, &ask);
}

static void policy(const char *bucket, const char *statements)
{
	char text[2048], err[256] = "";

	snprintf(text, sizeof(text), "{\"Version\":\"2012-10-17\",\"Statement\":[%s]}", statements);
	if (bucket_edit_part(here.reg, bucket, BUCKET_POLICY, *statements ? text : NULL, err))
		fail_msg("%s", err);
}

#define ALLOW(who, what, on) "{\"Effect\":\"Allow\",\"Principal\":" who ",\"Action\":\"" what "\",\"Resource\":\"arn:aws:s3:::" on "\"}"
#define DENY(who, what, on) "{\"Effect\":\"Deny\",\"Principal\":" who ",\"Action\":\"" what "\",\"Resource\":\"arn:aws:s3:::" on "\"}"
#define USER(name) "{\"AWS\":\"arn:aws:iam::weir:user/" name "\"}"
#define GROUP(name) "{\"AWS\":\"arn:aws:iam::weir:group/" name "\"}"

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

/* The command line's half: groups and who is in them. */
static void test_edit(void **state)
{
	static const char *const from[] = { "/staff", "/ops" }, *const good[] = { "crew" },
				 *const bad[] = { "crew", "none" };
	struct user_grant grant = { "logs", "", "r" }, odd = { "logs", "", "rx" };
	struct group_change change = { .role = "steward",
				       .from = from,
				       .nfrom = 2,
				       .has_from = true,
				       .grants = &grant,
				       .ngrants = 1,
				       .has_grants = true },
			    role = { .role = "auditor" }, wrong = { .role = "king" },
			    no_right = { .grants = &odd, .ngrants = 1, .has_grants = true };
	const char *missing = NULL;
	json_t *list;

	(void)state;
	assert_int_equal(group_add(here.reg, "ops", &change), 0);
	assert_int_equal(group_add(here.reg, "ops", &change), -EEXIST);
	assert_int_equal(group_add(here.reg, "a,b", &role), -EINVAL);
	assert_int_equal(group_set(here.reg, "ops", &wrong), -EINVAL);
	assert_int_equal(group_set(here.reg, "ops", &no_right), -EINVAL);
	assert_int_equal(group_set(here.reg, "none", &role), -ENOENT);
	assert_int_equal(group_set(here.reg, "ops", &role), 0);
	list = group_list(here.reg);
	assert_int_equal(json_array_size(list), 6);
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 3), "role")),
			    "auditor");
	assert_int_equal(json_array_size(json_object_get(json_array_get(list, 3), "from")), 2);
	assert_int_equal(json_array_size(json_object_get(json_array_get(list, 3), "grants")), 1);
	json_decref(list);
	assert_int_equal(user_set_groups(here.reg, "mia", bad, 2, &missing), -ENOKEY);
	assert_string_equal(missing, "none");
	assert_int_equal(user_set_groups(here.reg, "none", good, 1, NULL), -ENOENT);
	assert_int_equal(user_set_groups(here.reg, "mia", good, 1, NULL), 0);
	eventually(!strcmp(of("mia", "sales", "a"), "rl"));
	assert_int_equal(user_set_groups(here.reg, "mia", NULL, 0, NULL), 0);
	eventually(!strcmp(of("mia", "sales", "a"), ""));
	assert_int_equal(group_remove(here.reg, "ops"), 0);
	assert_int_equal(group_remove(here.reg, "ops"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dataset),	      cmocka_unit_test(test_public),
		cmocka_unit_test(test_narrow_tokens), cmocka_unit_test(test_roles),
		cmocka_unit_test(test_people),	      cmocka_unit_test(test_claims),
		cmocka_unit_test(test_groups_lost),   cmocka_unit_test(test_name_again),
		cmocka_unit_test(test_ended),	      cmocka_unit_test(test_via_gateway),
		cmocka_unit_test(test_password),      cmocka_unit_test(test_datasets),
		cmocka_unit_test(test_policy),	      cmocka_unit_test(test_policy_dataset),
		cmocka_unit_test(test_acl),	      cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_edit),
	};

	return cmocka_run_group_tests_name("rights", tests, setup, teardown);
}
