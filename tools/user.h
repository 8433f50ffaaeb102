/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h -- what the files of `weir user` share.
 */
#ifndef WEIR_TOOLS_USER_H
#define WEIR_TOOLS_USER_H

#include "lib/user_edit.h"
#include "tools/cmd.h"

#define SCOPES_MAX 32

struct user_flags {
	struct user_grant grant; /* NULL members: not given */
	const char *scopes[SCOPES_MAX];
	size_t nscopes;
	const char *expires, *keep, *note, *profile, *objects;
	bool from_stdin, none, json;
};

/* A sentence for what lib/user_edit.h returned; CMD_FAILED. */
int user_say_failure(const char *what, const char *name, int rc);
/* Prints a new key once and wipes it. */
int user_print_key(const char *name, struct user_key *key, const struct user_flags *flags);
/* `weir user key …`: the words after "key". */
int user_key_run(const struct cmd *cmd, struct registry *reg, int n, char **words, const struct user_flags *flags);

#endif
