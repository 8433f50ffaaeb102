/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.c -- `weir group`: what people may together. Written by root, like users.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/user_edit.h"
#include "tools/cmd.h"
#include "tools/web.h"

#define NAMES_MAX  64
#define GRANTS_MAX 64

struct group_flags {
	const char *from[NAMES_MAX], *grants[GRANTS_MAX], *role;
	size_t nfrom, ngrants;
	bool own_name, no_grants, json;
};

static int say_failure(const char *what, const char *name, int rc)
{
	switch (rc) {
	case -EEXIST:
		return cmd_fail("there is a group %s already (weir group set %s …)", name, name);
	case -ENOENT:
		return cmd_fail("there is no group %s (weir group list)", name);
	case -EAGAIN:
		return cmd_fail("somebody else changed %s at the same time; try again", name);
	case -EINVAL:
		return cmd_fail(
			"%s: a group's name has 1 to 63 letters, digits, '.', '-', '_' or '@'; a "
			"role is member, auditor, steward or admin",
			name);
	case -EPROTO:
		return cmd_fail(
			"what the registry holds for %s is no group; `weir group remove %s`, "
			"then add it again",
			name, name);
	default:
		return cmd_fail("cannot %s %s: %s", what, name, registry_error());
	}
}

static int change(const struct cmd *cmd, struct registry *reg, const char *what, const char *name,
		  const struct group_flags *flags)
{
	struct user_grant grants[GRANTS_MAX];
	struct group_change c = { .role = flags->role,
				  .from = flags->from,
				  .nfrom = flags->nfrom,
				  .has_from = flags->nfrom || flags->own_name,
				  .grants = grants,
				  .ngrants = flags->ngrants,
				  .has_grants = flags->ngrants || flags->no_grants };
	int rc;

	for (size_t i = 0; i < flags->ngrants; i++)
		if (!user_grant_parse((char *)flags->grants[i], &grants[i]))
			return cmd_usage(cmd,
					 "--grant wants LETTERS:BUCKET or LETTERS:BUCKET/PREFIX, "
					 "such as rl:data/2026/ or r:\"*\"");
	rc = strcmp(what, "add") ? group_set(reg, name, &c) : group_add(reg, name, &c);
	if (rc)
		return say_failure(what, name, rc);
	if (flags->json)
		return cmd_print_json(json_pack("{s:s, s:s}", "group", name, "done", what));
	printf("%s: %s\n", name, strcmp(what, "add") ? "changed" : "made");
	return CMD_OK;
}

static void append(char *out, size_t size, const char *fmt, const char *a, const char *b,
		   const char *c)
{
	size_t n = strlen(out);

	if (n)
		n += (size_t)snprintf(out + n, size - n, ", ");
	if (n < size)
		snprintf(out + n, size - n, fmt, a, b, c);
}

static void print_groups(const json_t *list)
{
	struct table *t = table_new("GROUP|ROLE|FROM THE PROVIDER'S|RIGHTS");
	const json_t *group, *one;
	size_t i, k;

	json_array_foreach (list, i, group) {
		char from[512] = "", rights[512] = "";

		json_array_foreach (json_object_get(group, "from"), k, one)
			append(from, sizeof(from), "%s%s%s",
			       web_safe(json_string_value(one) ?: "?"), "", "");
		json_array_foreach (json_object_get(group, "grants"), k, one)
			append(rights, sizeof(rights), "%s in %s/%s", js_text(one, "rights", ""),
			       js_text(one, "bucket", "*"), js_text(one, "prefix", ""));
		table_row(t, js_text(group, "name", "?"), js_text(group, "role", "member"),
			  *from ? from : js_text(group, "name", "?"), rights, NULL);
	}
	table_print(t);
}

static int list(struct registry *reg, bool as_json)
{
	json_t *groups = group_list(reg);

	if (!groups)
		return cmd_fail("cannot read the groups: %s", registry_error());
	if (as_json)
		return cmd_print_json(groups);
	print_groups(groups);
	json_decref(groups);
	return CMD_OK;
}

static int run(const struct cmd *cmd, struct registry *reg, const char *what, const char *name,
	       const struct group_flags *flags)
{
	int rc;

	if (!strcmp(what, "list"))
		return list(reg, flags->json);
	if (!strcmp(what, "add") || !strcmp(what, "set"))
		return change(cmd, reg, what, name, flags);
	if (strcmp(what, "remove"))
		return cmd_usage(cmd, "there is no `weir group %s`", what);
	rc = group_remove(reg, name);
	if (rc)
		return say_failure("remove", name, rc);
	if (flags->json)
		return cmd_print_json(json_pack("{s:s, s:s}", "group", name, "done", "remove"));
	printf("%s: removed; it gives nothing any more, also to those who have its name\n", name);
	return CMD_OK;
}

int cmd_group(const struct cmd *cmd, int argc, char **argv)
{
	struct group_flags flags = { .json = false };
	const struct cmd_flag own[] = { { "--role", &flags.role, NULL },
					{ "--own-name", NULL, &flags.own_name },
					{ "--no-grants", NULL, &flags.no_grants },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	struct registry *reg;
	struct conf *conf;
	int n, rc = CMD_FAILED;
	bool all;

	flags.nfrom = cmd_take_all(&argc, argv, "--from", flags.from, NAMES_MAX);
	flags.ngrants = cmd_take_all(&argc, argv, "--grant", flags.grants, GRANTS_MAX);
	n = cmd_parse(cmd, argc, argv, &opt, own);
	if (n < 0)
		return cmd_exit_of(n);
	all = n == 0 || (n == 1 && !strcmp(argv[0], "list"));
	if (!all && n != 2)
		return cmd_usage(cmd, "wants one action and one name");
	if (flags.nfrom > NAMES_MAX || flags.ngrants > GRANTS_MAX)
		return cmd_usage(cmd, "takes at most %d --from and %d --grant", NAMES_MAX,
				 GRANTS_MAX);
	flags.json = opt.json;
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = run(cmd, reg, all ? "list" : argv[0], all ? NULL : argv[1], &flags);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
