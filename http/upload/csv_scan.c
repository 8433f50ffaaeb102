/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csv_scan.c -- positions of delimiters, quotes and line ends: 64 bytes become a mask of bits, bits become positions
 * (as in Langdale and Lemire 2019, "Parsing gigabytes of JSON per second").
 */
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "http/upload/csv_scan.h"

struct masks {
	uint64_t special, high, nul;
};

/* Positions of the bits, eight at a time: what is written too much is overwritten by the next. */
static inline __attribute__((always_inline)) void put(struct csv_scan *s, uint64_t bits, uint32_t base)
{
	uint16_t *at = s->at + s->n;
	unsigned int n = (unsigned int)__builtin_popcountll(bits);

	s->n += n;
	while (n) {
		for (int i = 0; i < 8; i++) {
			at[i] = (uint16_t)(base + (bits ? (uint32_t)__builtin_ctzll(bits) : 0));
			bits &= bits - 1;
		}
		at += 8;
		n = n > 8 ? n - 8 : 0;
	}
}

static inline uint64_t tail_mask(size_t left)
{
	return left >= 64 ? ~0ull : (1ull << left) - 1;
}

/* The loop that every way of looking at 64 bytes shares. */
#define SCAN(name, attribute, look)                                                            \
	attribute static void name(struct csv_scan *s, const char *text, size_t len)           \
	{                                                                                      \
		uint64_t high = 0, nul = 0;                                                    \
                                                                                               \
		s->n = 0;                                                                      \
		for (size_t at = 0; at < len; at += 64) {                                      \
			struct masks m = look(text + at, s->delimiter, s->quote ? s->quote : '\n'); \
			uint64_t tail = tail_mask(len - at);                                   \
                                                                                               \
			high |= m.high & tail;                                                 \
			nul |= m.nul & tail;                                                   \
			put(s, m.special & tail, (uint32_t)at);                                \
		}                                                                              \
		s->high = high != 0;                                                           \
		s->nul = nul != 0;                                                             \
	}

/* Eight bytes at a time: exact zero-byte detection, gathered into bits by a multiplication. */
static inline uint64_t equal8(uint64_t word, char c)
{
	uint64_t x = word ^ (0x0101010101010101u * (unsigned char)c);

	return ~(((x & 0x7f7f7f7f7f7f7f7fu) + 0x7f7f7f7f7f7f7f7fu) | x | 0x7f7f7f7f7f7f7f7fu);
}

static inline uint64_t gather8(uint64_t tops)
{
	return ((tops >> 7) * 0x0102040810204080u) >> 56;
}

static inline struct masks look_plain(const char *p, char delimiter, char quote)
{
	struct masks m = { 0, 0, 0 };

	for (unsigned int i = 0; i < 64; i += 8) {
		uint64_t w;

		memcpy(&w, p + i, 8);
		if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
			w = __builtin_bswap64(w);
		m.special |= gather8(equal8(w, delimiter) | equal8(w, quote) | equal8(w, '\n') | equal8(w, '\r')) << i;
		m.high |= gather8(w & 0x8080808080808080u) << i;
		m.nul |= gather8(equal8(w, '\0')) << i;
	}
	return m;
}
SCAN(scan_plain, , look_plain)

#if defined(__x86_64__)
static inline __attribute__((always_inline)) struct masks look_sse2(const char *p, char delimiter, char quote)
{
	const __m128i d = _mm_set1_epi8(delimiter), q = _mm_set1_epi8(quote), lf = _mm_set1_epi8('\n');
	const __m128i cr = _mm_set1_epi8('\r'), zero = _mm_setzero_si128();
	struct masks m = { 0, 0, 0 };

	for (unsigned int i = 0; i < 64; i += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(p + i));
		__m128i e = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, d), _mm_cmpeq_epi8(v, q)),
					 _mm_or_si128(_mm_cmpeq_epi8(v, lf), _mm_cmpeq_epi8(v, cr)));

		m.special |= (uint64_t)(uint32_t)_mm_movemask_epi8(e) << i;
		m.high |= (uint64_t)(uint32_t)_mm_movemask_epi8(v) << i;
		m.nul |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, zero)) << i;
	}
	return m;
}
SCAN(scan_sse2, , look_sse2)

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
AVX2 static inline __attribute__((always_inline)) struct masks look_avx2(const char *p, char delimiter, char quote)
{
	const __m256i d = _mm256_set1_epi8(delimiter), q = _mm256_set1_epi8(quote), lf = _mm256_set1_epi8('\n');
	const __m256i cr = _mm256_set1_epi8('\r'), zero = _mm256_setzero_si256();
	struct masks m = { 0, 0, 0 };

	for (unsigned int i = 0; i < 64; i += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(p + i));
		__m256i e = _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, d), _mm256_cmpeq_epi8(v, q)),
					    _mm256_or_si256(_mm256_cmpeq_epi8(v, lf), _mm256_cmpeq_epi8(v, cr)));

		m.special |= (uint64_t)(uint32_t)_mm256_movemask_epi8(e) << i;
		m.high |= (uint64_t)(uint32_t)_mm256_movemask_epi8(v) << i;
		m.nul |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, zero)) << i;
	}
	return m;
}
SCAN(scan_avx2, AVX2, look_avx2)
#endif

#if defined(__aarch64__)
/* NEON has no movemask: each byte keeps its own bit, neighbours are added three times. */
static inline uint64_t bits64(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d)
{
	static const uint8_t own[16] = { 1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128 };
	uint8x16_t bit = vld1q_u8(own);
	uint8x16_t ab = vpaddq_u8(vandq_u8(a, bit), vandq_u8(b, bit)), cd = vpaddq_u8(vandq_u8(c, bit), vandq_u8(d, bit));

	ab = vpaddq_u8(ab, cd);
	ab = vpaddq_u8(ab, ab);
	return vgetq_lane_u64(vreinterpretq_u64_u8(ab), 0);
}

static inline struct masks look_neon(const char *p, char delimiter, char quote)
{
	const uint8x16_t d = vdupq_n_u8((uint8_t)delimiter), q = vdupq_n_u8((uint8_t)quote), lf = vdupq_n_u8('\n');
	const uint8x16_t cr = vdupq_n_u8('\r'), top = vdupq_n_u8(0x80), zero = vdupq_n_u8(0);
	uint8x16_t e[4], h[4], z[4];

	for (unsigned int i = 0; i < 4; i++) {
		uint8x16_t v = vld1q_u8((const uint8_t *)p + 16 * i);

		e[i] = vorrq_u8(vorrq_u8(vceqq_u8(v, d), vceqq_u8(v, q)), vorrq_u8(vceqq_u8(v, lf), vceqq_u8(v, cr)));
		h[i] = vcgeq_u8(v, top);
		z[i] = vceqq_u8(v, zero);
	}
	return (struct masks){ bits64(e[0], e[1], e[2], e[3]), bits64(h[0], h[1], h[2], h[3]), bits64(z[0], z[1], z[2], z[3]) };
}
SCAN(scan_neon, , look_neon)
#endif

csv_scan_fn *const *csv_scan_all(void)
{
#if defined(__x86_64__)
	static csv_scan_fn *const all[] = { scan_avx2, scan_sse2, scan_plain, NULL };

	return all + (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") ? 0 : 1);
#elif defined(__aarch64__)
	static csv_scan_fn *const all[] = { scan_neon, scan_plain, NULL };

	return all;
#else
	static csv_scan_fn *const all[] = { scan_plain, NULL };

	return all;
#endif
}

csv_scan_fn *csv_scan_best(void)
{
	return csv_scan_all()[0];
}
