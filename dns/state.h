/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h -- the name server's memory over a restart: one small JSON file, replaced whole.
 */
#ifndef WEIR_DNS_STATE_H
#define WEIR_DNS_STATE_H

#include <jansson.h>

#define STATE_MAX (16u << 20) /* bytes; a larger file is not ours */

/* A new reference to the object in the file, or NULL (absent, unreadable, not JSON: *rc says
 * which). */
json_t *state_read(const char *path, int *rc);
/* Writes beside and renames, so that a crash leaves the old or the new file. 0 or -errno. */
int state_write(const char *path, const json_t *state);

#endif
