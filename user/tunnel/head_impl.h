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

/* Does any of eight bytes lie below 0x20, or is it 0x7f? (Exact as a yes or no: Bit Twiddling
 * Hacks, "Determine if a word has a byte less than n".) */
static inline bool head_has_control(uint64_t w)
{
	const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
	uint64_t below = (w - ones * 0x20) & ~w & tops, del = w ^ ones * 0x7f;

	return below | ((del - ones) & ~del & tops);
}

#endif
