/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.h -- the numbers that nearly all files are made of, eight bytes at a time: integers of up
 * to 16 digits and decimals of up to 18, plainly written ("-12", "0.5"; not "+1", "007", "1e3",
 * ".5"). What these do not take goes to value_parse(), which knows every form; what they take, it
 * takes as the same number.
 */
#ifndef WEIR_UPLOAD_NUMBER_H
#define WEIR_UPLOAD_NUMBER_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define NUMBER_BYTES(b) (UINT64_C(0x0101010101010101) * (b))

/* The first bytes of a text, up to eight, the first one lowest, zeros behind the end. Reads nothing
 * beyond it. */
static inline uint64_t number_word(const char *text, size_t len)
{
	uint32_t lo, hi;
	uint64_t w;

	if (len >= 8) {
		memcpy(&w, text, 8);
		return le64toh(w);
	}
	if (len >= 4) {
		memcpy(&lo, text, 4);
		memcpy(&hi, text + len - 4, 4);
		return le32toh(lo) | (uint64_t)le32toh(hi) << (8 * (len - 4));
	}
	if (!len)
		return 0;
	return (uint64_t)(uint8_t)text[0] | (uint64_t)(uint8_t)text[len / 2] << (8 * (len / 2)) |
	       (uint64_t)(uint8_t)text[len - 1] << (8 * (len - 1));
}

/* A word of 1 to 8 digits; false: something else is among them. */
static inline bool number_digits(uint64_t w, size_t len, uint64_t *out)
{
	w <<= 8 * (8 - len);
	if (len < 8)
		w |= NUMBER_BYTES(0x30) >> (8 * len);
	if (((w & NUMBER_BYTES(0xf0)) | ((w + NUMBER_BYTES(0x06)) & NUMBER_BYTES(0xf0)) >> 4) !=
	    NUMBER_BYTES(0x33))
		return false;
	w -= NUMBER_BYTES(0x30);
	w = w * 10 + (w >> 8); /* pairs, then fours, then all (Lemire 2018) */
	*out = (((w & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064)) +
		(((w >> 16) & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001))) >>
	       32;
	return true;
}

static const double number_tens[] = { 1e0,  1e1,  1e2,	1e3,  1e4,  1e5,  1e6,	1e7,  1e8, 1e9,
				      1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18 };
static const uint32_t number_tens_int[] = { 1,	    10,	     100,      1000,	 10000,
					    100000, 1000000, 10000000, 100000000 };

/* word: number_word(text, len). */
static inline bool number_integer(const char *text, size_t len, uint64_t word, int64_t *out)
{
	bool minus = (word & 0xff) == '-';
	uint64_t high, low;

	if (minus) {
		text++, len--;
		word = len < 8 ? word >> 8 : number_word(text, len);
	}
	if (len - 1 > 15 || (len > 1 && (word & 0xff) == '0') || (minus && (word & 0xff) == '0'))
		return false;
	if (!number_digits(word, len < 8 ? len : 8, &high))
		return false;
	if (len > 8) {
		if (!number_digits(number_word(text + 8, len - 8), len - 8, &low))
			return false;
		high = high * number_tens_int[len - 8] + low;
	}
	*out = minus ? -(int64_t)high : (int64_t)high;
	return true;
}

/* Digits, one point among them, digits; no more than 18 and below 2^53: then one division rounds
 * right (Clinger 1990). */
static inline bool number_long_decimal(const char *text, size_t len, uint64_t *digits,
				       size_t *places)
{
	uint64_t n = 0;
	size_t point = len;

	if (len > 19)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned int d = (unsigned int)(uint8_t)text[i] - '0';

		if (d <= 9)
			n = n * 10 + d;
		else if (text[i] == '.' && point == len && i)
			point = i;
		else
			return false;
	}
	*digits = n;
	*places = len - point - 1;
	return point + 1 < len && n < UINT64_C(1) << 53;
}

static inline bool number_decimal(const char *text, size_t len, uint64_t word, double *out)
{
	bool minus = (word & 0xff) == '-';
	uint64_t points, digits;
	size_t places, at;

	if (minus) {
		text++, len--;
		word = len < 8 ? word >> 8 : number_word(text, len);
	}
	if (len < 3 || ((word & 0xff) == '0' && (word >> 8 & 0xff) != '.'))
		return false;
	if (len <= 8) {
		points = word ^ NUMBER_BYTES('.');
		points = (points - NUMBER_BYTES(0x01)) & ~points & NUMBER_BYTES(0x80);
		at = points ? (size_t)__builtin_ctzll(points) / 8 : 0;
		if (at < 1 || at >= len - 1)
			return false;
		word = (word & ((UINT64_C(1) << (8 * at)) - 1)) |
		       (word >> 8) >> (8 * at) << (8 * at);
		places = len - 1 - at;
		if (!number_digits(word, len - 1, &digits))
			return false;
	} else if (!number_long_decimal(text, len, &digits, &places)) {
		return false;
	}
	*out = (double)digits / number_tens[places];
	if (minus)
		*out = -*out;
	return true;
}

#endif
