/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kll.h -- quantiles of a stream of numbers in bounded memory (Karnin, Lang, Liberty 2016): a
 * sampler feeds a buffer, a full buffer is sorted and every second item goes on with twice the
 * weight, as a sorted run; two runs of a level are merged, and again every second goes up. All
 * levels have the same capacity (the paper's c = 1: a little more memory, merges of sorted runs in
 * place of sorting), the sampler takes one of 2^shift items at random so that it has always seen
 * 2^17 or more items' worth, and the number of levels stays.
 *
 * run = 512: 48 KiB at most, standard error of a rank about 0.2%; run = 64: 6 KiB, about 1%. Exact
 * up to 2 × run items. Items must not be NaN. The same input gives the same answers.
 */
#ifndef WEIR_UPLOAD_KLL_H
#define WEIR_UPLOAD_KLL_H

#include <stddef.h>
#include <stdint.h>

#define KLL_LEVELS  56u
#define KLL_RUN_MAX 512u

struct kll {
	uint64_t left; /* items that the sampler passes over before the next one that it takes */
	double *raw; /* 2 × run items, not sorted, each of weight 2^shift; NULL: nothing came yet */
	uint32_t nraw, run;
	uint32_t shift;
	uint32_t window; /* log2: raise shift when weight is 2^(window + shift) */
	uint64_t place;	 /* of the taken item in its block of 2^shift */
	uint64_t weight; /* of all that was taken */
	uint64_t random;
	double *spare;		  /* one run */
	double *runs[KLL_LEVELS]; /* runs[h]: sorted, each item of weight 2^h; NULL: none */
};

void kll_init(struct kll *k, uint32_t run,
	      uint64_t seed); /* run: a power of two, 8 to KLL_RUN_MAX */
void kll_fini(struct kll *k);
int kll_take(struct kll *k, double x); /* the sampler has chosen x */
int kll_add_many(struct kll *k, double x, uint64_t times); /* as kll_add() so many times, but quick */
/* Adds all of `from` to k; both have the same run. 0 or -ENOMEM. */
int kll_merge(struct kll *k, const struct kll *from);
double kll_error(uint32_t run); /* standard error of a rank, as share */

static inline int kll_add(struct kll *k, double x)
{
	if (k->left) {
		k->left--;
		return 0;
	}
	return kll_take(k, x);
}

/* All items in order, to be asked. */
struct kll_view {
	struct kll_item {
		double x;
		uint64_t upto; /* weight of this and all before */
	} * items;
	size_t n;
	uint64_t weight;
};
int kll_view(struct kll_view *v, const struct kll *k); /* 0, -ENODATA when empty, -ENOMEM */
/* A view of items that are known one by one: room for n, which the caller fills (upto: how many of x there are) and
 * counts in v->n, then they are put in order. -ENODATA when there are none. */
int kll_view_new(struct kll_view *v, size_t n);
int kll_view_sort(struct kll_view *v);
void kll_view_fini(struct kll_view *v);
double kll_quantile(const struct kll_view *v, double q); /* the least x whose rank is >= q */
double kll_rank(const struct kll_view *v, double x);	 /* share of items <= x */

#endif
