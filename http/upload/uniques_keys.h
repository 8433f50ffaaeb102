/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uniques_keys.h -- key files as uniques.c writes them.
 */
#ifndef WEIR_UPLOAD_UNIQUES_KEYS_H
#define WEIR_UPLOAD_UNIQUES_KEYS_H

#include <stdint.h>

struct keys_out;
int keys_out_new(struct keys_out **out, int fd, uint64_t seed);
/* In ascending order; one that is there already is left out. */
int keys_out_put(struct keys_out *out, uint64_t hi, uint64_t lo);
/* Writes the rest unless err; frees out (may be NULL). err, or 0, or -errno. */
int keys_out_end(struct keys_out *out, int err);

#endif
