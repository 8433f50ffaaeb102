/* SPDX-License-Identifier: Apache-2.0 */
/* whose.h -- whether a program in the kernel is one of ours: names like "edge" alone might be anybody's. */
#ifndef WEIR_WHOSE_H
#define WEIR_WHOSE_H

#include <stdbool.h>
#include <stdint.h>

/* By its name and the name of a map that it uses. */
bool whose_program(uint32_t id, const char *name, const char *map);
/* Does it use the map of this number? */
bool whose_uses(uint32_t id, uint32_t map);
/* The edge program, of whatever version. 0: false. */
bool whose_edge(uint32_t id);

#endif
