/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prompt.h -- asking the person at the terminal.
 */
#ifndef WEIR_TOOLS_PROMPT_H
#define WEIR_TOOLS_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

/* One line from the controlling terminal; 0 or -errno (-ENXIO: there is none). */
int prompt_line(const char *ask, char *out, size_t size);
/* The same without echo; from_stdin: the first line of standard input, without asking. The caller
 * wipes out. */
int prompt_secret(const char *ask, bool from_stdin, char *out, size_t size);

#endif
