/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h -- members of a JSON request as protobuf's JSON mapping reads them: names in snake_case
 * or camelCase, 64-bit numbers as strings or numbers, bytes in base64, enums by name or number.
 *
 * A reader collects the first fault, so that a parse function reads straight through and asks once.
 * Bytes that it decodes live as long as the reader.
 */
#ifndef WEIR_REGISTRY_FIELDS_H
#define WEIR_REGISTRY_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fields {
	char fault[160]; /* "" while all is well */
	int code;	 /* gRPC's: 3 invalid, 12 not supported */
	char **blobs;
	size_t nblobs;
};
void fields_clear(struct fields *f);
void fields_fault(struct fields *f, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The member, or NULL when absent or null. */
const json_t *fields_get(const json_t *object, const char *name);
int64_t fields_i64(struct fields *f, const json_t *object, const char *name);
bool fields_bool(struct fields *f, const json_t *object, const char *name);
/* Absent: "" and 0. Longer than max: a fault. */
const char *fields_bytes(struct fields *f, const json_t *object, const char *name, size_t max,
			 size_t *len);
/* names ends with NULL; the index, 0 when absent. */
int fields_enum(struct fields *f, const json_t *object, const char *name, const char *const *names);
/* A fault unless every member is one of the names (NULL-terminated). */
void fields_only(struct fields *f, const json_t *object, const char *const *names);

#endif
