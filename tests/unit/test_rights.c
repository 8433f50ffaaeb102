/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_rights.c -- groups, roles, datasets, people of a provider, passwords, ended tokens, tokens
 * that a gateway signed.
 */
#include "tests/unit/rights.h"

#include <errno.h>

#include "lib/user_edit.h"

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
		cmocka_unit_test(test_dataset),
		cmocka_unit_test(test_public),
		cmocka_unit_test(test_narrow_tokens),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_people),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_groups_lost),
		cmocka_unit_test(test_name_again),
		cmocka_unit_test(test_ended),
		cmocka_unit_test(test_via_gateway),
		cmocka_unit_test(test_password),
		cmocka_unit_test(test_datasets),
		cmocka_unit_test(test_edit),
	};

	return cmocka_run_group_tests_name("rights", tests, rights_setup, rights_teardown);
}
