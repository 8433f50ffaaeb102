/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum_crc.c -- CRC32 by ISA-L, CRC64NVME by our own code (ISA-L 2.30 has no such polynomial), and what the
 * CRC of two pieces together is.
 *
 * All CRCs here are reflected, begin with all ones and end inverted. A byte string is a polynomial, its first bit
 * the highest power; the register holds it mirrored, so that a shift to the right multiplies by x.
 *
 * CRC64NVME goes 64 bytes a step through carry-less multiplication where the machine has it: four lanes of 128
 * bits are each multiplied by x^512 mod P and the next four are added (Gopal et al., "Fast CRC Computation for
 * Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009). What is left when the lanes are one is at most
 * 128 bits, which the table takes as bytes. Elsewhere: slices of eight bytes by tables.
 */
#include <isa-l.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "http/s3/checksum_impl.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif



static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t table[8][256];
static bool has_clmul;
static uint64_t fold512[2], fold128[2];

uint32_t crc32_zlib(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	return crc32_gzip_refl(crc, p, len);
}

/* ---- polynomials modulo P, mirrored: bit 63 (31) is 1, bit 0 is x^63 (x^31) ---- */

static uint64_t times_x(uint64_t a, uint64_t poly)
{
	return a >> 1 ^ (a & 1 ? poly : 0);
}

static uint64_t multiply(uint64_t a, uint64_t b, uint64_t poly, uint64_t one)
{
	uint64_t out = 0;

	for (uint64_t bit = one; bit; bit >>= 1) {
		if (a & bit)
			out ^= b;
		b = times_x(b, poly);
	}
	return out;
}

/* x^n mod P */
static uint64_t power(uint64_t n, uint64_t poly, uint64_t one)
{
	uint64_t out = one, square = times_x(one, poly);

	for (; n; n >>= 1) {
		if (n & 1)
			out = multiply(out, square, poly, one);
		square = multiply(square, square, poly, one);
	}
	return out;
}

/* The inversions at both ends cancel out: crc(ab) = crc(a)·x^(8·len b) + crc(b). */
uint64_t crc_combine(uint64_t a, uint64_t b, uint64_t b_len, uint64_t poly, unsigned int bits)
{
	uint64_t one = 1ull << (bits - 1);
	uint64_t shift = power(8, poly, one), by = one;

	/* (x^8)^len: len·8 might not fit */
	for (; b_len; b_len >>= 1) {
		if (b_len & 1)
			by = multiply(by, shift, poly, one);
		shift = multiply(shift, shift, poly, one);
	}
	return multiply(a, by, poly, one) ^ b;
}

/* ---- CRC64NVME ---- */

static void make_tables(void)
{
	for (unsigned int i = 0; i < 256; i++) {
		uint64_t v = i;

		for (int bit = 0; bit < 8; bit++)
			v = times_x(v, CRC64NVME_POLY);
		table[0][i] = v;
	}
	for (int t = 1; t < 8; t++)
		for (unsigned int i = 0; i < 256; i++)
			table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
#if defined(__x86_64__)
	__builtin_cpu_init();
	has_clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
	/* A product of mirrored factors comes out one bit low: hence the odd exponents. The half with the
	 * earlier bytes (the low one) is 64 bits further from the end. */
	fold512[0] = power(512 + 64 - 1, CRC64NVME_POLY, 1ull << 63);
	fold512[1] = power(512 - 1, CRC64NVME_POLY, 1ull << 63);
	fold128[0] = power(128 + 64 - 1, CRC64NVME_POLY, 1ull << 63);
	fold128[1] = power(128 - 1, CRC64NVME_POLY, 1ull << 63);
#endif
}

/* state: not inverted. */
static uint64_t by_tables(uint64_t state, const unsigned char *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t v;

		memcpy(&v, p, 8); /* little endian, as all machines of ours */
		v ^= state;
		state = table[7][v & 255] ^ table[6][v >> 8 & 255] ^ table[5][v >> 16 & 255] ^ table[4][v >> 24 & 255] ^
			table[3][v >> 32 & 255] ^ table[2][v >> 40 & 255] ^ table[1][v >> 48 & 255] ^ table[0][v >> 56];
	}
	while (len--)
		state = state >> 8 ^ table[0][(state ^ *p++) & 255];
	return state;
}

#if defined(__x86_64__)
__attribute__((target("pclmul,sse4.1"))) static __m128i fold(__m128i lane, __m128i next, __m128i by)
{
	__m128i low = _mm_clmulepi64_si128(lane, by, 0x00), high = _mm_clmulepi64_si128(lane, by, 0x11);

	return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* len is a multiple of 64, and not 0. */
__attribute__((target("pclmul,sse4.1"))) static uint64_t by_clmul(uint64_t state, const unsigned char *p, size_t len)
{
	const __m128i by512 = _mm_set_epi64x((long long)fold512[1], (long long)fold512[0]);
	const __m128i by128 = _mm_set_epi64x((long long)fold128[1], (long long)fold128[0]);
	const __m128i *in = (const __m128i *)p;
	__m128i lane[4];
	unsigned char rest[16];

	for (int i = 0; i < 4; i++)
		lane[i] = _mm_loadu_si128(in + i);
	lane[0] = _mm_xor_si128(lane[0], _mm_set_epi64x(0, (long long)state));
	for (in += 4, len -= 64; len; in += 4, len -= 64)
		for (int i = 0; i < 4; i++)
			lane[i] = fold(lane[i], _mm_loadu_si128(in + i), by512);
	for (int i = 1; i < 4; i++)
		lane[i] = fold(lane[i - 1], lane[i], by128);
	_mm_storeu_si128((__m128i *)rest, lane[3]);
	return by_tables(0, rest, sizeof(rest));
}
#endif

uint64_t crc64_nvme(uint64_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t state = ~crc;

	pthread_once(&once, make_tables);
#if defined(__x86_64__)
	if (has_clmul && len >= 64) {
		size_t whole = len & ~(size_t)63;

		state = by_clmul(state, p, whole);
		p += whole;
		len -= whole;
	}
#endif
	return ~by_tables(state, p, len);
}
