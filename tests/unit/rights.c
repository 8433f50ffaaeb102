/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.c -- makes the company, and asks for somebody.
 */
#include "tests/unit/rights.h"

#include "lib/bucket.h"

struct registry_here here;
struct users *users;

void put(const char *key, const char *value)
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

int rights_setup(void **state)
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

int rights_teardown(void **state)
{
	(void)state;
	users_close(users);
	registry_here_stop(&here);
	return 0;
}

struct token_scope session(const char *name)
{
	struct token_scope s = { .bucket = "*", .rights = 31, .expires = 1000, .issued = 500 };

	snprintf(s.user, sizeof(s.user), "%s", name);
	return s;
}

struct token_scope person(const char *name, const char *groups)
{
	struct token_scope s = session(name);

	s.provider = true;
	snprintf(s.groups, sizeof(s.groups), "%s", groups);
	return s;
}

const char *rights_at(const struct token_scope *who, const char *bucket, const char *key)
{
	static char buf[8];
	unsigned int rights = 0;

	for (unsigned int right = RIGHT_READ; right <= RIGHT_LIST; right <<= 1)
		if (users_allow(users, who, right, bucket, key))
			rights |= right;
	return rights_format(rights, buf);
}

const char *of(const char *name, const char *bucket, const char *key)
{
	struct token_scope who = session(name);

	return rights_at(&who, bucket, key);
}

bool asks(const char *name, const char *action, const char *bucket, const char *key)
{
	struct token_scope who = session(name);
	struct policy_ask ask = { .action = action, .bucket = bucket, .key = key, .known = true };

	addr_parse(&ask.source, "198.51.100.7");
	if (!*name)
		who = (struct token_scope){ .bucket = "" };
	return users_may(users, &who, &ask);
}

void policy(const char *bucket, const char *statements)
{
	char text[2048], err[256] = "";

	snprintf(text, sizeof(text), "{\"Version\":\"2012-10-17\",\"Statement\":[%s]}", statements);
	if (bucket_edit_part(here.reg, bucket, BUCKET_POLICY, *statements ? text : NULL, err))
		fail_msg("%s", err);
}
