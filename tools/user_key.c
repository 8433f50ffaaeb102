/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_key.c -- `weir user key`: access keys, for HTTP and for S3.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tools/user.h"
#include "tools/web.h"

#define EXPIRES_MAX (3650ull * 86400)
#define KEEP_MAX    (366ull * 86400)

static int say_failure(const char *what, const char *name, const char *id, int rc)
{
	if (rc == -ENOKEY)
		return cmd_fail("%s has no key %s (weir user key list %s)", name, id, name);
	if (rc == -EDQUOT)
		return cmd_fail("%s has %d keys, which is the most; revoke some that are not used any more", name, USER_KEYS_MAX);
	if (rc == -EINVAL && token_name_valid(name))
		return cmd_fail("a scope has letters of rwdla, a bucket of at most 63 bytes and a prefix of at most 1024; a note is "
				"UTF-8 of at most %d bytes",
				USER_NOTE_MAX);
	return user_say_failure(what, name, rc);
}

int user_print_key(const char *name, struct user_key *key, const struct user_flags *flags)
{
	if (flags->json)
		cmd_print_json(json_pack("{s:s, s:s, s:s}", "user", name, "id", key->id, "secret", key->secret));
	else if (flags->profile)
		printf("[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", flags->profile, key->id, key->secret);
	else
		printf("key of %s: %s %s\nit is shown this once; with curl: -u %s:%s\n"
		       "S3 clients take them as access key and secret access key\n",
		       name, key->id, key->secret, key->id, key->secret);
	OPENSSL_cleanse(key, sizeof(*key));
	return CMD_OK;
}

/* Scopes by --scope, and one more by --bucket, --prefix, --rights. How many, or -1 after saying what is wrong. */
static int take_scopes(const struct cmd *cmd, const struct user_flags *flags, struct user_grant out[SCOPES_MAX + 1])
{
	int n = 0;

	for (size_t i = 0; i < flags->nscopes; i++)
		if (!user_grant_parse((char *)flags->scopes[i], &out[n++])) {
			cmd_usage(cmd, "--scope wants LETTERS:BUCKET or LETTERS:BUCKET/PREFIX, such as rl:data/2026/");
			return -1;
		}
	if (flags->grant.bucket || flags->grant.prefix || flags->grant.rights)
		out[n++] = (struct user_grant){ flags->grant.bucket ? flags->grant.bucket : "*",
						flags->grant.prefix ? flags->grant.prefix : "",
						flags->grant.rights ? flags->grant.rights : "rwdl" };
	return n;
}

/* "90d" → the moment; 0: never. -1 after saying what is wrong. */
static int64_t take_expiry(const struct cmd *cmd, const char *text)
{
	uint64_t seconds = text ? cmd_parse_duration(text) : 0;

	if (!text || !strcmp(text, "never"))
		return 0;
	if (seconds && seconds <= EXPIRES_MAX)
		return (int64_t)time(NULL) + (int64_t)seconds;
	cmd_usage(cmd, "--expires %s: a time such as 12h or 90d, at most 3650d, or never", text);
	return -1;
}

static int add(const struct cmd *cmd, struct registry *reg, const char *name, const struct user_flags *flags)
{
	struct user_grant scopes[SCOPES_MAX + 1];
	int n = take_scopes(cmd, flags, scopes);
	struct user_key_options opt = { .scopes = scopes, .nscopes = n > 0 ? (size_t)n : 0, .note = flags->note };
	struct user_key key;
	int rc;

	opt.expires = n < 0 ? -1 : take_expiry(cmd, flags->expires);
	if (opt.expires < 0)
		return CMD_USAGE;
	rc = user_key_add(reg, name, &opt, &key);
	return rc ? say_failure("make a key for", name, "", rc) : user_print_key(name, &key, flags);
}

static int rotate(const struct cmd *cmd, struct registry *reg, const char *name, const char *id,
		  const struct user_flags *flags)
{
	int64_t expires = take_expiry(cmd, flags->expires);
	uint64_t keep = flags->keep ? cmd_parse_duration(flags->keep) : 86400;
	struct user_key key;
	int rc;

	if (expires < 0)
		return CMD_USAGE;
	if (flags->keep && !strcmp(flags->keep, "0"))
		keep = 0;
	else if (!keep || keep > KEEP_MAX)
		return cmd_usage(cmd, "--keep %s: a time such as 12h or 7d, at most 366d, or 0", flags->keep);
	rc = user_key_rotate(reg, name, id, (int64_t)time(NULL) + (int64_t)keep, expires, &key);
	if (rc)
		return say_failure("rotate a key of", name, id, rc);
	if (!flags->json)
		fprintf(stderr, keep ? "%s is good for another %s\n" : "%s is gone\n", id, flags->keep ? flags->keep : "1d");
	return user_print_key(name, &key, flags);
}

static int done(const char *name, const char *id, const char *what, bool as_json)
{
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s, s:s}", "user", name, "id", id, "done", what));
	printf("%s: %s %s\n", name, id,
	       !strcmp(what, "revoke")	  ? "is gone; what was signed with it is refused from now on"
	       : !strcmp(what, "disable") ? "is disabled"
					  : "is enabled");
	return CMD_OK;
}

static const char *moment(json_int_t t, char out[32])
{
	time_t at = (time_t)t;
	struct tm tm;

	if (!t || !gmtime_r(&at, &tm))
		return "never";
	strftime(out, 32, "%Y-%m-%d %H:%MZ", &tm);
	return out;
}

static void scopes_text(const json_t *key, char *out, size_t size)
{
	const json_t *one;
	size_t i, n = 0;

	snprintf(out, size, "%s", json_array_size(json_object_get(key, "scopes")) ? "" : "all of its user's");
	json_array_foreach (json_object_get(key, "scopes"), i, one)
		if (n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s in %s/%s", n ? ", " : "", js_text(one, "rights", ""),
					      js_text(one, "bucket", "*"), web_safe(js_text(one, "prefix", "")));
}

/* true also when the registry does not tell */
static bool is_user(struct registry *reg, const char *name)
{
	char path[sizeof(REG_USERS) + 64];
	struct reg_kv kv;
	int rc;

	snprintf(path, sizeof(path), REG_USERS "%.63s", name);
	rc = registry_get(reg, path, &kv);
	if (!rc)
		reg_kv_free(&kv);
	return rc != -ENOENT;
}

static int list(struct registry *reg, const char *name, bool as_json)
{
	json_t *keys = user_keys(reg, name), *key;
	struct table *t;
	size_t i;

	if (!keys)
		return cmd_fail("cannot read the users: %s", registry_error());
	if (name && !json_array_size(keys) && !is_user(reg, name)) {
		json_decref(keys);
		return cmd_fail("there is no user %s (weir user list)", name);
	}
	if (as_json)
		return cmd_print_json(keys);
	t = table_new("USER|KEY|S3|STATE|RIGHTS|CREATED|EXPIRES|NOTE");
	json_array_foreach (keys, i, key) {
		json_int_t expires = json_integer_value(json_object_get(key, "expires"));
		char made[32], ends[32], scopes[1024];

		scopes_text(key, scopes, sizeof(scopes));
		table_row(t, js_text(key, "user", "?"), js_text(key, "id", "?"),
			  json_is_true(json_object_get(key, "s3")) ? "yes" : "no",
			  json_is_true(json_object_get(key, "disabled"))    ? "disabled"
			  : expires && expires <= (json_int_t)time(NULL) ? "expired"
									    : "active",
			  scopes, moment(json_integer_value(json_object_get(key, "created")), made), moment(expires, ends),
			  web_safe(js_text(key, "note", "")), NULL);
	}
	table_print(t);
	json_decref(keys);
	return CMD_OK;
}

static int reseal(struct registry *reg, bool as_json)
{
	struct user_reseal r;
	int rc = users_reseal(reg, &r);

	if (rc == -EDQUOT)
		return cmd_fail("there are as many sealing keys as there may be");
	if (rc)
		return cmd_fail("cannot seal the access keys anew: %s; %u were, and the same command goes on",
				*registry_error() ? registry_error() : strerror(-rc), r.done);
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:b, s:i, s:i, s:i, s:i}", "kid", r.kid, "made", r.made, "resealed", (int)r.done,
						"users", (int)r.users, "lost", (int)r.lost, "older", (int)r.older));
	printf("%s %s: it seals the secrets of %u access keys of %u users now\n", r.made ? "made the sealing key" : "went on with the sealing key",
	       r.kid, r.done, r.users);
	if (r.lost)
		printf("%u access keys cannot sign: no sealing key opens their secrets\n", r.lost);
	if (r.older)
		printf("%u older stay, for encrypted objects: weir sealing reseal has theirs sealed by the newest, weir sealing remove KEY removes "
		       "what nothing needs\n",
		       r.older);
	return CMD_OK;
}

int user_key_run(const struct cmd *cmd, struct registry *reg, int n, char **words, const struct user_flags *flags)
{
	const char *what = words[0], *name = n > 1 ? words[1] : NULL;
	int rc;

	if (!strcmp(what, "list") && n <= 2)
		return list(reg, name, flags->json);
	if (!strcmp(what, "reseal") && n == 1)
		return reseal(reg, flags->json);
	if (n == 1 && (!strcmp(what, "add") || !strcmp(what, "rotate") || !strcmp(what, "revoke") || !strcmp(what, "disable") ||
		       !strcmp(what, "enable")) && !is_user(reg, what))
		return cmd_usage(cmd, strcmp(what, "add") ? "user key %s wants NAME KEY (weir user key list)" : "user key %s wants a user's NAME", what);
	if (n == 1 || (!strcmp(what, "add") && n == 2)) /* `weir user key NAME` as it always was */
		return add(cmd, reg, n == 1 ? what : name, flags);
	if (n != 3 || (strcmp(what, "rotate") && strcmp(what, "revoke") && strcmp(what, "disable") && strcmp(what, "enable")))
		return cmd_usage(cmd, "wants user key add NAME, list [NAME], reseal, or rotate|revoke|disable|enable NAME KEY");
	if (!strcmp(what, "rotate"))
		return rotate(cmd, reg, name, words[2], flags);
	rc = strcmp(what, "revoke") ? user_key_set_disabled(reg, name, words[2], what[0] == 'd')
				    : user_key_revoke(reg, name, words[2]);
	return rc ? say_failure("change a key of", name, words[2], rc) : done(name, words[2], what, flags->json);
}
