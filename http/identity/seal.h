/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h -- what a client keeps for us and can neither read nor change: JSON under AES-256-GCM, by a key that every
 * gateway derives from the installation's newest signing key. So a sign-in that begins at one gateway ends at any.
 */
#ifndef WEIR_SEAL_H
#define WEIR_SEAL_H

#include <jansson.h>
#include <stdint.h>

#include "lib/token.h"

#define SEALED_MAX 3500 /* text, with terminator: fits a cookie */

/* purpose: what it is for; another purpose does not open it. 0, -EMSGSIZE, -ENOKEY (no signing key yet) or -ENOMEM. */
int seal(char out[SEALED_MAX], struct users *users, const char *purpose, const json_t *value, int64_t until);
/* A new reference, NULL: not sealed by us, or over. */
json_t *unseal(struct users *users, const char *purpose, const char *text, int64_t now);

#endif
