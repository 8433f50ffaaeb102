/* SPDX-License-Identifier: Apache-2.0 */
/*
 * head_impl.h -- what head.c, head_check.c and the HTTP/1 parts share. Pure.
 */
#ifndef WEIR_TUNNEL_HEAD_IMPL_H
#define WEIR_TUNNEL_HEAD_IMPL_H

#include "user/tunnel/head.h"

bool head_is_token(const char *text, size_t len);
/* Digits alone, at most 18: the number or -1. */
int64_t head_number(const char *text, size_t len);
bool head_field_is(const struct head_field *f, const char *name, size_t len);
const struct head_field *head_find(const struct head *h, const char *name); /* the first, or NULL */
/* The next member of a comma-separated list, without the space around it; false at the end. */
bool head_list_next(const char **at, const char **member, size_t *len);

#endif
