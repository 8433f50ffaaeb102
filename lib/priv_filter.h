/* SPDX-License-Identifier: Apache-2.0 */
/* priv_filter.h -- the system calls that remain; used by priv.c alone. */
#ifndef WEIR_PRIV_FILTER_H
#define WEIR_PRIV_FILTER_H

#include <stdbool.h>

#include "lib/priv.h"

/* Loads the seccomp filter of the profile for all threads of the process, for good. 0 or -errno.
 * Nothing happens for PRIV_NONE, and in builds with a sanitizer, whose runtime needs more. */
bool priv_filter_sanitized(void);
int priv_filter_load(enum priv_profile profile);

#endif
