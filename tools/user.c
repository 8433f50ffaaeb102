/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.c -- `weir user` and `weir token`: who may.
 */
#include "tools/cmd.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/token.h"
#include "lib/user_edit.h"

#define TTL_MAX (90 * 86400)

static int say_failure(const char *what, const char *name, int rc)
{
	switch (rc) {
	case -EEXIST:
		return cmd_fail("there is a user %s already; `weir user key %s` makes another key",
				name, name);
	case -ENOENT:
		return cmd_fail("there is no user %s (weir user list)", name);
	case -EAGAIN:
		return cmd_fail("somebody else changed %s at the same time; try again", name);
	case -EINVAL:
		return cmd_fail("%s: a user's name has 1 to 63 letters, digits, '.', '-', '_' or "
				"'@'; rights are some of r w d l a",
				name);
	case -EPROTO:
		return cmd_fail("what the registry holds for %s is no user; `weir user rm %s`, "
				"then add it again",
				name, name);
	default:
		return cmd_fail("cannot %s %s: %s", what, name, registry_error());
	}
}

static int print_key(const char *name, struct user_key *key, bool as_json)
{
	if (as_json)
		cmd_print_json(json_pack("{s:s, s:s, s:s}", "user", name, "id", key->id, "secret",
					 key->secret));
	else
		printf("key of %s: %s %s\nit is shown this once; with curl: -u %s:%s\n", name,
		       key->id, key->secret, key->id, key->secret);
	OPENSSL_cleanse(key, sizeof(*key));
	return CMD_OK;
}

static void print_users(json_t *list)
{
	struct table *t = table_new("USER|STATE|RIGHTS|KEYS>");
	json_t *user, *grant;
	size_t i, k;

	json_array_foreach (list, i, user) {
		char rights[512] = "", keys[16];

		json_array_foreach (json_object_get(user, "grants"), k, grant) {
			size_t at = strlen(rights);

			snprintf(rights + at, sizeof(rights) - at, "%s%s in %s/%s", at ? ", " : "",
				 js_text(grant, "rights", ""), js_text(grant, "bucket", "*"),
				 js_text(grant, "prefix", ""));
		}
		snprintf(keys, sizeof(keys), "%zu", json_array_size(json_object_get(user, "keys")));
		table_row(t, js_text(user, "name", "?"),
			  json_is_true(json_object_get(user, "disabled")) ? "disabled" : "active",
			  rights, keys, NULL);
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

static int run_user(const struct cmd *cmd, struct registry *reg, const char *what, const char *name,
		    const struct user_grant *grant, bool as_json)
{
	struct user_key key;
	int rc;

	if (!strcmp(what, "add"))
		rc = user_add(reg, name, grant, &key);
	else if (!strcmp(what, "key"))
		rc = user_add_key(reg, name, &key);
	else if (!strcmp(what, "disable") || !strcmp(what, "enable"))
		rc = user_set_disabled(reg, name, what[0] == 'd');
	else if (!strcmp(what, "rm"))
		rc = user_remove(reg, name);
	else
		return cmd_usage(cmd, "there is no `weir user %s`", what);
	if (rc)
		return say_failure(what, name, rc);
	if (!strcmp(what, "add") || !strcmp(what, "key"))
		return print_key(name, &key, as_json);
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s}", "user", name, "done", what));
	printf("%s: %s\n", name,
	       !strcmp(what, "rm") ? "removed; its tokens are refused from now on"
	       : what[0] == 'd'	   ? "disabled; keys and tokens are refused"
				   : "enabled");
	return CMD_OK;
}

int cmd_user(const struct cmd *cmd, int argc, char **argv)
{
	struct user_grant grant = { .bucket = "*", .prefix = "", .rights = "rwdl" };
	const struct cmd_flag own[] = { { "--rights", &grant.rights, NULL },
					{ "--bucket", &grant.bucket, NULL },
					{ "--prefix", &grant.prefix, NULL },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;
	bool list;

	if (n < 0)
		return cmd_exit_of(n);
	list = n == 0 || (n == 1 && !strcmp(argv[0], "list"));
	if (!list && n != 2)
		return cmd_usage(cmd, "wants one action and one name");
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = list ? run_list(reg, opt.json)
			  : run_user(cmd, reg, argv[0], argv[1], &grant, opt.json);
	registry_close(reg);
	conf_free(conf);
	return rc;
}

static int print_token(struct registry *reg, const struct token_scope *scope, bool as_json)
{
	char token[TOKEN_MAX];
	int rc = user_token(reg, scope, token);

	if (rc)
		return say_failure("sign a token for", scope->user, rc);
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
