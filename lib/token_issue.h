/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_issue.h -- tokens that live long enough to be ended: their ids, the list of API tokens that were issued
 * (token/USER/ID, without the secret), and the list of those that were ended (ended/ID), which every server watches.
 *
 * Keys in both lists are leased until the token would expire. All block as the registry does; 0 or -errno,
 * registry_error() has the sentence.
 */
#ifndef WEIR_TOKEN_ISSUE_H
#define WEIR_TOKEN_ISSUE_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/registry.h"
#include "lib/token.h"

#define TOKEN_TTL_MAX (366ll * 86400) /* of an API token */

/* 16 random hex digits; those of API tokens begin with 'a', of others with a digit. An API token makes no further ones. */
void token_id_new(char id[17], bool api);
bool token_id_is_api(const char *id);

/* Remembers that the token of this scope was issued; note: the owner's words, may be "". */
int token_issued(struct registry *reg, const struct token_scope *scope, const char *note);
/* The user's: [{"id","note","created","expires","bucket","prefix","rights"}], a new reference. */
int token_list(struct registry *reg, const char *user, json_t **out);
/* No server takes a token of this id any more; -ERANGE when it has expired anyway. */
int token_end(struct registry *reg, const char *id, const char *user, int64_t until);
/* Ends an API token of that user; -ENOENT: there is none. */
int token_revoke(struct registry *reg, const char *user, const char *id);

#endif
