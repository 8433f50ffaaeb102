/* SPDX-License-Identifier: Apache-2.0 */
/* kll.c -- the quantile sketch of kll.h: sampler, buffer, runs, and the view that answers. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/kll.h"

void kll_init(struct kll *k, uint32_t run, uint64_t seed)
{
	memset(k, 0, sizeof(*k));
	k->run = run;
	k->window = run >= 256 ? 18 : 14;
	k->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

void kll_fini(struct kll *k)
{
	for (unsigned int h = 0; h < KLL_LEVELS; h++)
		free(k->runs[h]);
	free(k->raw);
	free(k->spare);
	memset(k, 0, sizeof(*k));
}

/* xorshift64* (Vigna 2016) */
static uint64_t kll_random(struct kll *k)
{
	k->random ^= k->random >> 12;
	k->random ^= k->random << 25;
	k->random ^= k->random >> 27;
	return (k->random * UINT64_C(0x2545f4914f6cdd1d)) >> 11;
}

/* Two sorted runs of n. From both ends at once: two chains of steps that do not wait for each other,
 * and neither can pass the end of its run in n steps. No branch depends on the data: a mispredicted
 * one costs more than the whole step. */
static void merge_two(double *out, const double *a, const double *b, size_t n)
{
	const double *a_last = a + n - 1, *b_last = b + n - 1;
	double *last = out + 2 * n - 1;

	for (size_t i = 0; i < n; i++) {
		double x = *a, y = *b, x_last = *a_last, y_last = *b_last;
		size_t second = y < x, first = y_last < x_last;

		*out++ = y < x ? y : x;
		b += second;
		a += 1 - second;
		*last-- = x_last > y_last ? x_last : y_last;
		a_last -= first;
		b_last -= 1 - first;
	}
}

static inline void in_order(double *x, double *y)
{
	double less = *y < *x ? *y : *x, more = *y < *x ? *x : *y;

	*x = less;
	*y = more;
}

/* n: a power of two of at least 8, at most 2 × KLL_RUN_MAX. */
static void sort_items(double *x, size_t n)
{
	double other[2 * KLL_RUN_MAX], *from = x, *to = other, *swap;

	for (size_t i = 0; i < n; i += 4) { /* fours by a network of compares */
		in_order(x + i, x + i + 1);
		in_order(x + i + 2, x + i + 3);
		in_order(x + i, x + i + 2);
		in_order(x + i + 1, x + i + 3);
		in_order(x + i + 1, x + i + 2);
	}
	for (size_t w = 4; w < n; w *= 2) {
		for (size_t i = 0; i < n; i += 2 * w)
			merge_two(to + i, from + i, from + i + w, w);
		swap = from, from = to, to = swap;
	}
	if (from != x)
		memcpy(x, from, n * sizeof(*x));
}

static void every_second(double *out, const double *in, size_t n_out, bool odd)
{
	for (size_t i = 0; i < n_out; i++)
		out[i] = in[2 * i + odd];
}

/* k->spare is a sorted run of weight 2^h an item: it finds its place, or joins the run that is
 * there. */
static int carry(struct kll *k, unsigned int h)
{
	double both[2 * KLL_RUN_MAX];

	for (; h < KLL_LEVELS - 1 && k->runs[h]; h++) {
		merge_two(both, k->spare, k->runs[h], k->run);
		every_second(k->spare, both, k->run, kll_random(k) & 1);
		free(k->runs[h]);
		k->runs[h] = NULL;
	}
	k->runs[h] = k->spare;
	k->spare = malloc(k->run * sizeof(*k->spare));
	return k->spare ? 0 : -ENOMEM;
}

/* The buffer is full: half of it goes up. Every 2^17 items' worth the sampler takes half as often,
 * and the run that weighs as the buffer's items then do becomes the buffer's beginning. */
static int compact(struct kll *k)
{
	int r;

	sort_items(k->raw, 2 * k->run);
	every_second(k->spare, k->raw, k->run, kll_random(k) & 1);
	k->nraw = 0;
	r = carry(k, k->shift + 1);
	if (r < 0 || k->weight < UINT64_C(1) << (k->window + k->shift))
		return r;
	k->shift++;
	k->place = k->left = kll_random(k) & ((UINT64_C(1) << k->shift) - 1);
	if (k->runs[k->shift]) {
		memcpy(k->raw, k->runs[k->shift], k->run * sizeof(*k->raw));
		k->nraw = k->run;
		free(k->runs[k->shift]);
		k->runs[k->shift] = NULL;
	}
	return 0;
}

int kll_take(struct kll *k, double x)
{
	uint64_t block = UINT64_C(1) << k->shift;

	if (!k->raw) {
		k->raw = malloc(2 * k->run * sizeof(*k->raw));
		k->spare = malloc(k->run * sizeof(*k->spare));
	}
	if (!k->raw || !k->spare)
		return -ENOMEM;
	k->raw[k->nraw++] = x;
	k->weight += block;
	if (k->shift) { /* the rest of this block, and up to the next one's place */
		uint64_t next = kll_random(k) & (block - 1);

		k->left = block - 1 - k->place + next;
		k->place = next;
	}
	return k->nraw == 2 * k->run ? compact(k) : 0;
}

int kll_add_many(struct kll *k, double x, uint64_t times)
{
	while (k->left < times) {
		int r;

		times -= k->left + 1;
		k->left = 0;
		r = kll_take(k, x);
		if (r < 0)
			return r;
	}
	k->left -= times;
	return 0;
}

static int feed_all(struct kll *k, const double *x, size_t n, uint64_t weight)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = kll_add_many(k, x[i], weight);
	return r;
}

/* The sampler takes half as often from now on; what is in the buffer goes through it again. */
static int coarser(struct kll *k)
{
	double raw[2 * KLL_RUN_MAX];
	uint32_t n = k->nraw;
	double *level = k->runs[k->shift + 1];
	int r = 0;

	if (n)
		memcpy(raw, k->raw, n * sizeof(*raw));
	k->weight -= (uint64_t)n << k->shift;
	k->nraw = 0;
	k->shift++;
	k->place = k->left = kll_random(k) & ((UINT64_C(1) << k->shift) - 1);
	if (level) {
		k->runs[k->shift] = NULL;
		k->weight -= (uint64_t)k->run << k->shift;
		r = feed_all(k, level, k->run, UINT64_C(1) << k->shift);
		free(level);
	}
	return r ? r : feed_all(k, raw, n, UINT64_C(1) << (k->shift - 1));
}

int kll_merge(struct kll *k, const struct kll *from)
{
	int r = 0;

	if (!from->raw)
		return 0;
	while (!r && k->shift < from->shift)
		r = coarser(k);
	if (!r)
		r = feed_all(k, from->raw, from->nraw, UINT64_C(1) << from->shift);
	for (unsigned int h = 0; h < KLL_LEVELS && !r; h++) {
		if (!from->runs[h])
			continue;
		if (h <= k->shift || !k->spare) {
			r = feed_all(k, from->runs[h], from->run, UINT64_C(1) << h);
			continue;
		}
		memcpy(k->spare, from->runs[h], k->run * sizeof(*k->spare));
		k->weight += (uint64_t)k->run << h;
		r = carry(k, h);
	}
	return r;
}

/* Measured on uniform, sorted and Zipf inputs (tests/unit/test_upload_stats.c). */
double kll_error(uint32_t run)
{
	return 1.2 / run;
}

static int item_order(const void *a, const void *b)
{
	double x = ((const struct kll_item *)a)->x, y = ((const struct kll_item *)b)->x;

	return (x > y) - (x < y);
}

int kll_view_new(struct kll_view *v, size_t n)
{
	memset(v, 0, sizeof(*v));
	v->items = malloc((n + 1) * sizeof(*v->items));
	return v->items ? 0 : -ENOMEM;
}

int kll_view_sort(struct kll_view *v)
{
	if (!v->n) {
		kll_view_fini(v);
		return -ENODATA;
	}
	qsort(v->items, v->n, sizeof(*v->items), item_order);
	for (size_t i = 0; i < v->n; i++)
		v->items[i].upto = v->weight += v->items[i].upto;
	return 0;
}

int kll_view(struct kll_view *v, const struct kll *k)
{
	size_t n = k->nraw;
	int r;

	for (unsigned int h = 0; h < KLL_LEVELS; h++)
		n += k->runs[h] ? k->run : 0;
	r = kll_view_new(v, n);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < k->nraw; i++)
		v->items[v->n++] = (struct kll_item){ k->raw[i], UINT64_C(1) << k->shift };
	for (unsigned int h = 0; h < KLL_LEVELS; h++)
		for (uint32_t i = 0; k->runs[h] && i < k->run; i++)
			v->items[v->n++] = (struct kll_item){ k->runs[h][i], UINT64_C(1) << h };
	return kll_view_sort(v);
}

void kll_view_fini(struct kll_view *v)
{
	free(v->items);
	memset(v, 0, sizeof(*v));
}

double kll_quantile(const struct kll_view *v, double q)
{
	double want = q * (double)v->weight;
	size_t lo = 0, hi = v->n - 1;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if ((double)v->items[mid].upto >= want)
			hi = mid;
		else
			lo = mid + 1;
	}
	return v->items[lo].x;
}

double kll_rank(const struct kll_view *v, double x)
{
	size_t lo = 0, hi = v->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->items[mid].x <= x)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? (double)v->items[lo - 1].upto / (double)v->weight : 0;
}
