/* SPDX-License-Identifier: Apache-2.0 */
/*
 * password.h -- what is kept of a person's password: scrypt (RFC 7914) with its own salt.
 *
 * A hash takes 32 MiB and 50 to 100 ms of one CPU (n = 32768, r = 8, p = 1), so that guessing is
 * dear. Nothing here logs; what was derived is wiped.
 */
#ifndef WEIR_PASSWORD_H
#define WEIR_PASSWORD_H

#include <jansson.h>
#include <stdbool.h>

#define PASSWORD_MIN 8	  /* bytes */
#define PASSWORD_MAX 1024 /* bytes */

/* {"kdf":"scrypt","n","r","p","salt","hash"} (salt and hash in hex); NULL: too short or long, or no
 * memory. */
json_t *password_hash(const char *password);
/* Is it the password of this record? Takes as long when the record is NULL or broken: then false.
 */
bool password_check(const json_t *record, const char *password);

#endif
