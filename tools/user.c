/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.c -- `weir user` and `weir token`: who may.
 */
#include "tools/user.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/password.h"
#include "lib/token.h"
#include "tools/prompt.h"

#define TTL_MAX (90 * 86400)

int user_say_failure(const char *what, const char *name, int rc)
{
	switch (rc) {
	case -EEXIST:
		return cmd_fail("there is a user %s already; `weir user key add %s` makes another key",
				name, name);
	case -ENOTUNIQ:
		return cmd_fail("a person of the OpenID provider is called %s, whose datasets would "
				"be this user's; take another name",
				name);
	case -ENOENT:
		return cmd_fail("there is no user %s (weir user list)", name);
	case -EAGAIN:
		return cmd_fail("somebody else changed %s at the same time; try again", name);
	case -EINVAL:
		return cmd_fail("%s: a user's name has 1 to 63 letters, digits, '.', '-', '_' or "
				"'@'; rights are some of r w d l a, or none",
				name);
	case -EPROTO:
		return cmd_fail("what the registry holds for %s is no user; `weir user rm %s`, "
				"then add it again",
				name, name);
	default:
		return cmd_fail("cannot %s %s: %s", what, name, registry_error());
	}
}

/* A JSON array of names with ", " between. */
static const char *names_of(const json_t *list, char *out, size_t size)
{
	const json_t *name;
	size_t i, n = 0;

	out[0] = '\0';
	json_array_foreach (list, i, name)
		if (json_is_string(name) && n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "",
					      json_string_value(name));
	return out;
}

static void print_users(json_t *list)
{
	struct table *t = table_new("USER|STATE|RIGHTS|GROUPS|KEYS>|PASSWORD");
	json_t *user, *grant;
	size_t i, k;

	json_array_foreach (list, i, user) {
		char rights[512] = "", keys[16], groups[512];

		json_array_foreach (json_object_get(user, "grants"), k, grant) {
			size_t at = strlen(rights);

			snprintf(rights + at, sizeof(rights) - at, "%s%s in %s/%s", at ? ", " : "",
				 js_text(grant, "rights", ""), js_text(grant, "bucket", "*"),
				 js_text(grant, "prefix", ""));
		}
		snprintf(keys, sizeof(keys), "%zu", json_array_size(json_object_get(user, "keys")));
		table_row(t, js_text(user, "name", "?"),
			  json_is_true(json_object_get(user, "disabled")) ? "disabled" : "active",
			  rights, names_of(json_object_get(user, "groups"), groups, sizeof(groups)),
			  keys, json_is_true(json_object_get(user, "password")) ? "yes" : "no",
			  NULL);
	}
	table_print(t);
}

static int run_list(struct registry *reg, bool as_json)
{
	json_t *list = user_list(reg);

	if (!list)
		return cmd_fail("cannot read the users: %s", registry_error());
	if (as_json)
		return cmd_print_json(list);
	print_users(list);
	json_decref(list);
	return CMD_OK;
}

static int add(struct registry *reg, const char *name, const struct user_flags *flags)
{
	struct user_grant grant = { flags->grant.bucket ? flags->grant.bucket : "*",
				    flags->grant.prefix ? flags->grant.prefix : "",
				    flags->grant.rights ? flags->grant.rights : "rwdl" };
	struct user_key key;
	int rc = user_add(reg, name, strcmp(grant.rights, "none") ? &grant : NULL, &key);

	return rc ? user_say_failure("add", name, rc) : user_print_key(name, &key, flags);
}

static int run_user(const struct cmd *cmd, struct registry *reg, const char *what, const char *name,
		    const struct user_flags *flags)
{
	int rc;

	if (!strcmp(what, "add"))
		return add(reg, name, flags);
	if (!strcmp(what, "disable") || !strcmp(what, "enable"))
		rc = user_set_disabled(reg, name, what[0] == 'd');
	else if (!strcmp(what, "rm"))
		rc = user_remove(reg, name);
	else
		return cmd_usage(cmd, "there is no `weir user %s`", what);
	if (rc)
		return user_say_failure(what, name, rc);
	if (flags->json)
		return cmd_print_json(json_pack("{s:s, s:s}", "user", name, "done", what));
	printf("%s: %s\n", name,
	       !strcmp(what, "rm") ? "removed; its tokens are refused from now on"
	       : what[0] == 'd'	   ? "disabled; keys and tokens are refused"
				   : "enabled");
	return CMD_OK;
}

static int set_groups(struct registry *reg, const char *name, const char *const *groups, size_t n,
		      bool as_json)
{
	const char *missing = NULL;
	int rc = user_set_groups(reg, name, groups, n, &missing);

	if (rc == -ENOKEY)
		return cmd_fail("there is no group %s; make it first (weir group add %s)", missing,
				missing);
	if (rc)
		return user_say_failure("change the groups of", name, rc);
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:i}", "user", name, "groups", (int)n));
	printf("%s: %s", name, n ? "in " : "in no group");
	for (size_t i = 0; i < n; i++)
		printf("%s%s", i ? ", " : "", groups[i]);
	putchar('\n');
	return CMD_OK;
}

/* Asked for twice on a terminal. */
static int read_password(bool from_stdin, char *password, size_t size)
{
	char again[PASSWORD_MAX + 2];
	int rc = prompt_secret("new password: ", from_stdin, password, size);

	if (rc)
		return cmd_fail(
			"no password came; on a terminal it is asked for, else give --stdin");
	if (strlen(password) < PASSWORD_MIN || strlen(password) > PASSWORD_MAX)
		return cmd_fail("a password has %d to %d bytes", PASSWORD_MIN, PASSWORD_MAX);
	if (from_stdin)
		return CMD_OK;
	rc = prompt_secret("again: ", false, again, sizeof(again));
	if (rc || strcmp(password, again))
		rc = cmd_fail("these were two different ones; nothing was changed");
	OPENSSL_cleanse(again, sizeof(again));
	return rc;
}

static int set_password(struct registry *reg, const char *name, bool from_stdin, bool none,
			bool as_json)
{
	char password[PASSWORD_MAX + 2];
	int rc = none ? CMD_OK : read_password(from_stdin, password, sizeof(password));

	if (!rc) {
		rc = user_set_password(reg, name, none ? NULL : password);
		rc = rc ? user_say_failure("set the password of", name, rc) : CMD_OK;
	}
	OPENSSL_cleanse(password, sizeof(password));
	if (rc)
		return rc;
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:b}", "user", name, "password", !none));
	printf("%s: %s\n", name, none ? "has no password now" : "the password is set");
	return CMD_OK;
}

static int set_quota(const struct cmd *cmd, struct registry *reg, const char *name, const char *size,
		     const struct user_flags *flags)
{
	struct bucket_quota quota = { 0, 0 };
	int rc;

	if ((strcmp(size, "none") && !cmd_parse_size(size, &quota.bytes)) ||
	    (flags->objects && !cmd_parse_size(flags->objects, &quota.objects)))
		return cmd_usage(cmd, "quota wants a name and a size such as 500MiB or 2TiB, or none; --objects a number");
	rc = user_set_quota(reg, name, &quota);
	if (rc)
		return user_say_failure("set the quota of", name, rc);
	if (flags->json)
		return cmd_print_json(json_pack("{s:s, s:I, s:I}", "user", name, "bytes", (json_int_t)quota.bytes, "objects",
						(json_int_t)quota.objects));
	printf("%s: %s\n", name, quota.bytes || quota.objects ? "all buckets that it owns have this quota together" : "has no quota");
	return CMD_OK;
}

static int run_words(const struct cmd *cmd, struct registry *reg, int n, char **words,
		     const struct user_flags *flags)
{
	if (!strcmp(words[0], "list"))
		return run_list(reg, flags->json);
	if (!strcmp(words[0], "quota"))
		return set_quota(cmd, reg, words[1], words[2], flags);
	if (!strcmp(words[0], "key"))
		return user_key_run(cmd, reg, n - 1, words + 1, flags);
	if (!strcmp(words[0], "groups"))
		return set_groups(reg, words[1], (const char *const *)words + 2, (size_t)n - 2,
				  flags->json);
	if (!strcmp(words[0], "password"))
		return set_password(reg, words[1], flags->from_stdin, flags->none, flags->json);
	return run_user(cmd, reg, words[0], words[1], flags);
}

/* Are these as many words as the action wants? */
static bool words_right(int n, char **words, const struct user_flags *flags)
{
	if (!strcmp(words[0], "list"))
		return n == 1;
	if (!strcmp(words[0], "quota"))
		return n == 3;
	if (!strcmp(words[0], "key"))
		return n >= 2 && n <= 4;
	if (!strcmp(words[0], "groups"))
		return flags->none ? n == 2 : n > 2;
	return n == 2;
}

int cmd_user(const struct cmd *cmd, int argc, char **argv)
{
	static char *list[] = { "list" };
	struct user_flags flags = { .json = false };
	const struct cmd_flag own[] = { { "--rights", &flags.grant.rights, NULL },
					{ "--bucket", &flags.grant.bucket, NULL },
					{ "--prefix", &flags.grant.prefix, NULL },
					{ "--expires", &flags.expires, NULL },
					{ "--keep", &flags.keep, NULL },
					{ "--note", &flags.note, NULL },
					{ "--objects", &flags.objects, NULL },
					{ "--profile", &flags.profile, NULL },
					{ "--stdin", NULL, &flags.from_stdin },
					{ "--none", NULL, &flags.none },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	char **words = list;
	struct registry *reg;
	struct conf *conf;
	int n, rc = CMD_FAILED;

	flags.nscopes = cmd_take_all(&argc, argv, "--scope", flags.scopes, SCOPES_MAX);
	n = cmd_parse(cmd, argc, argv, &opt, own);
	if (n < 0)
		return cmd_exit_of(n);
	if (flags.nscopes > SCOPES_MAX)
		return cmd_usage(cmd, "takes at most %d --scope", SCOPES_MAX);
	words = n ? argv : list;
	n = n ? n : 1;
	flags.json = opt.json;
	if (!words_right(n, words, &flags))
		return cmd_usage(cmd,
				 "wants one action and one name (groups: a name and groups, or "
				 "--none; key: add, list, reseal, rotate, revoke, disable or enable)");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = run_words(cmd, reg, n, words, &flags);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

static int print_token(struct registry *reg, const struct token_scope *scope, bool as_json)
{
	char token[TOKEN_MAX];
	int rc = user_token(reg, scope, token);

	if (rc)
		return user_say_failure("sign a token for", scope->user, rc);
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s, s:I}", "token", token, "user",
						scope->user, "expires",
						(json_int_t)scope->expires));
	puts(token);
	return CMD_OK;
}

int cmd_token(const struct cmd *cmd, int argc, char **argv)
{
	const char *rights = "rwdla", *bucket = "*", *prefix = "", *ttl = "12h";
	const struct cmd_flag own[] = { { "--rights", &rights, NULL },
					{ "--bucket", &bucket, NULL },
					{ "--prefix", &prefix, NULL },
					{ "--ttl", &ttl, NULL },
					{ NULL, NULL, NULL } };
	struct token_scope scope = { .exact = false };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;
	uint64_t seconds;

	if (n < 0)
		return cmd_exit_of(n);
	seconds = cmd_parse_duration(ttl);
	scope.rights = rights_parse(rights);
	if (n != 1 || !user_name_valid(argv[0]))
		return cmd_usage(cmd, "wants the name of a user");
	if (!seconds || seconds > TTL_MAX)
		return cmd_usage(cmd, "--ttl %s: a time such as 30m or 12h, at most 90d", ttl);
	if (!scope.rights || strlen(bucket) >= sizeof(scope.bucket) ||
	    strlen(prefix) >= sizeof(scope.prefix))
		return cmd_usage(
			cmd,
			"--rights takes letters of rwdla, --bucket at most 63 bytes, --prefix 511");
	memcpy(scope.user, argv[0], strlen(argv[0]));
	memcpy(scope.bucket, bucket, strlen(bucket));
	memcpy(scope.prefix, prefix, strlen(prefix));
	scope.expires = (int64_t)time(NULL) + (int64_t)seconds;
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = print_token(reg, &scope, opt.json);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
