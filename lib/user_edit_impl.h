/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_edit_impl.h -- what user_edit.c, user_key.c and user_reseal.c share; nobody else includes it.
 */
#ifndef WEIR_USER_EDIT_IMPL_H
#define WEIR_USER_EDIT_IMPL_H

#include "lib/user_edit.h"

/* The user's value and revision; 0 or an error. */
int user_read(struct registry *reg, const char *name, json_t **user, int64_t *revision);
/* Takes the reference; revision 0: must not exist. */
int user_write(struct registry *reg, const char *name, json_t *user, int64_t revision);
/* A new key: the user's part into *key, the registry's part (a new reference) into *record. opt may be NULL. */
int user_key_new(struct registry *reg, const struct user_key_options *opt, struct user_key *key, json_t **record);
/* As user_list(), with all that the registry has. */
json_t *user_list_sealed(struct registry *reg);
/* Takes from a key's record what nobody needs to see. */
void user_key_public(json_t *key);

#endif
