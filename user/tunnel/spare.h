/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spare.h -- memory for what comes and goes with each request: heads, streams, exchanges, and what
 * libnghttp2 allocates.
 *
 * Pieces are of a few sizes, and those given back wait in a list for the next request, which costs
 * a tenth of malloc() in a program with threads. At most about 4 MiB wait. Main thread only; built
 * with a sanitizer it is malloc() itself, so that nothing escapes the sanitizer.
 */
#ifndef WEIR_TUNNEL_SPARE_H
#define WEIR_TUNNEL_SPARE_H

#include <stddef.h>

void *spare_get(size_t size);  /* NULL without memory */
void *spare_zero(size_t size); /* all bytes 0 */
/* As realloc(): the same piece when its size suffices. */
void *spare_resize(void *p, size_t size);
void spare_put(void *p); /* accepts NULL */

#endif
