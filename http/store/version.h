/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h -- the identity of one stored version of an object: 16 random bytes (the first four may
 * be those of the last one, see placement_alike()), written as 32 hex digits. File names are made
 * from it alone, never from anything that a client sent.
 */
#ifndef WEIR_STORE_VERSION_H
#define WEIR_STORE_VERSION_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/hash.h"

#define VERSION_BYTES  16
#define VERSION_STRLEN 33

struct version {
	uint8_t id[VERSION_BYTES];
};

/* 0 or -EINVAL: exactly 32 lower-case hex digits. */
static inline int version_parse(struct version *out, const char *text)
{
	if (!text || strlen(text) != VERSION_STRLEN - 1 ||
	    strspn(text, "0123456789abcdef") != VERSION_STRLEN - 1)
		return -EINVAL;
	return hex_decode(text, out->id, VERSION_BYTES);
}

static inline char *version_format(const struct version *v, char text[VERSION_STRLEN])
{
	return hex_encode(v->id, VERSION_BYTES, text);
}

static inline bool version_equal(const struct version *a, const struct version *b)
{
	return !memcmp(a->id, b->id, VERSION_BYTES);
}

/* A group: versions whose ids begin alike, told apart by the last four bytes (the parts of a
 * multipart upload). The id with four zeros stands for all of them. */
#define VERSION_GROUP_BYTES 12

static inline bool version_is_group(const struct version *v)
{
	return !(v->id[12] | v->id[13] | v->id[14] | v->id[15]);
}

static inline bool version_same_group(const struct version *a, const struct version *b)
{
	return !memcmp(a->id, b->id, VERSION_GROUP_BYTES);
}

#endif
