/* SPDX-License-Identifier: Apache-2.0 */
/* test_upload_stats.c -- sketches and column statistics against exact computation over the same
 * values. */
#include "tests/unit/unit.h"

#include <malloc.h>
#include <math.h>
#include <xxhash.h>

#include "http/upload/hll.h"
#include "http/upload/kll.h"
#include "http/upload/number.h"
#include "http/upload/stats.h"
#include "http/upload/stats_column.h"
#include "http/upload/top.h"

static uint64_t random_state = 1;

static uint64_t random_bits(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static double random_unit(void)
{
	return (double)(random_bits() >> 11) / 9007199254740992.0;
}

/* ---- distinct ---- */

static void distinct_is_within_two_percent(void **state)
{
	static const uint64_t sizes[] = { 1,	 10,	 257,	 1000,	  5000,	   20000,
					  50000, 100000, 250000, 1000000, 2500000, 5000000 };
	double squares = 0;
	int n = 0;

	(void)state;
	for (uint64_t run = 0; run < 2; run++) {
		struct hll h;
		size_t at = 0;

		assert_int_equal(hll_init(&h, STATS_HLL_BITS), 0);
		for (uint64_t i = 1; i <= 5000000; i++) {
			uint64_t value = i + run * 1000000007,
				 hash = XXH3_64bits(&value, sizeof(value));

			hll_add(&h, hash);
			if (i == sizes[at]) {
				double error = hll_estimate(&h) / (double)i - 1;

				if (fabs(error) > 0.02)
					fail_msg("%llu values, run %llu: %.2f%% off",
						 (unsigned long long)i, (unsigned long long)run,
						 error * 100);
				squares += error * error;
				n++;
				at++;
			}
			if (i % 3 == 0) /* again: changes nothing */
				hll_add(&h, hash);
		}
		hll_fini(&h);
	}
	assert_true(sqrt(squares / n) < 0.0065); /* hll_error() says 0.0046 */
}

/* ---- quantiles ---- */

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* How far q is from the ranks that x has among the sorted values. */
static double rank_error(const double *sorted, size_t n, double x, double q)
{
	size_t below = 0, upto, hi = n;

	for (size_t lo = 0; lo < hi;) {
		size_t mid = (lo + hi) / 2;

		if (sorted[mid] < x)
			lo = mid + 1;
		else
			hi = mid;
		below = lo;
	}
	for (upto = below; upto < n && sorted[upto] == x; upto++)
		;
	if (q * (double)n < (double)below)
		return (double)below / (double)n - q;
	return q * (double)n > (double)upto ? q - (double)upto / (double)n : 0;
}

static double worst_rank(const struct kll *k, const double *sorted, size_t n)
{
	struct kll_view v;
	double worst = 0;

	assert_int_equal(kll_view(&v, k), 0);
	for (int i = 1; i < 200; i++) {
		double error = rank_error(sorted, n, kll_quantile(&v, i / 200.0), i / 200.0);

		if (error > worst)
			worst = error;
	}
	kll_view_fini(&v);
	return worst;
}

static double make(int kind, size_t i, size_t n)
{
	switch (kind) {
	case 0:
		return random_unit();
	case 1:
		return (double)i; /* sorted */
	case 2:
		return (double)(n - i); /* and backwards */
	case 3:
		return floor(1 / (random_unit() + 1e-6)); /* Zipf: many equal, a long tail */
	case 4:
		return i % 2 ? 1e9 + random_unit() : -random_unit(); /* two heaps in turns */
	default:
		return sin((double)i) * (double)i; /* growing waves */
	}
}

static void quantiles_are_within_one_percent(void **state)
{
	static const size_t sizes[] = { 1, 100, 1024, 1025, 10000, 300000, 600000 };
	double *x = malloc(600000 * sizeof(*x));

	(void)state;
	assert_non_null(x);
	for (int kind = 0; kind < 6; kind++)
		for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
			size_t n = sizes[s];
			struct kll k;
			double worst;

			kll_init(&k, STATS_KLL_RUN, (uint64_t)kind + s * 17);
			for (size_t i = 0; i < n; i++)
				assert_int_equal(kll_add(&k, x[i] = make(kind, i, n)), 0);
			qsort(x, n, sizeof(*x), order);
			worst = worst_rank(&k, x, n);
			if (n <= 1024 ? worst > 1.0 / (double)n : worst > 0.0075)
				fail_msg("kind %d, %zu values: %.3f%% of rank", kind, n,
					 worst * 100);
			kll_fini(&k);
		}
	free(x);
}

static void merged_sketches_answer_as_one(void **state)
{
	static const size_t parts[] = { 700000, 10, 1100, 90000, 400000 };
	double *x = malloc(2000000 * sizeof(*x)), worst;
	struct kll all;
	size_t n = 0;

	(void)state;
	assert_non_null(x);
	for (int backwards = 0; backwards < 2; backwards++) {
		kll_init(&all, STATS_KLL_RUN, 5);
		n = 0;
		for (size_t p = 0; p < 5; p++) {
			struct kll one;

			kll_init(&one, STATS_KLL_RUN, p + 9);
			for (size_t i = 0; i < parts[backwards ? 4 - p : p]; i++)
				kll_add(&one, x[n++] = random_unit() + (double)p);
			assert_int_equal(kll_merge(&all, &one), 0);
			kll_fini(&one);
		}
		qsort(x, n, sizeof(*x), order);
		worst = worst_rank(&all, x, n);
		assert_true(worst < 0.01);
		kll_fini(&all);
	}
	free(x);
}

/* ---- top values ---- */

static void top_values_of_a_zipf_are_found(void **state)
{
	enum { VALUES = 100000, DRAWS = 600000 };
	uint64_t *counts = calloc(VALUES + 1, sizeof(*counts));
	const struct top_entry *list[10];
	struct top t;

	(void)state;
	assert_non_null(counts);
	assert_int_equal(top_init(&t, STATS_TOP), 0);
	for (int i = 0; i < DRAWS; i++) { /* the k-th most frequent comes about 1/k as often */
		uint64_t value = (uint64_t)exp(random_unit() * log(VALUES));
		char text[24];
		int len = snprintf(text, sizeof(text), "value %llu", (unsigned long long)value);

		counts[value]++;
		top_add(&t, XXH3_64bits(text, (size_t)len), text, (size_t)len);
	}
	assert_false(t.exact);
	assert_int_equal(top_list(&t, list, 10), 10);
	for (uint64_t i = 0; i < 10; i++) {
		char text[24];
		int len = snprintf(text, sizeof(text), "value %llu", (unsigned long long)i + 1);
		double exact = (double)counts[i + 1];

		assert_int_equal(list[i]->len, len);
		assert_memory_equal(list[i]->text, text, (size_t)len);
		assert_true(fabs((double)list[i]->count - exact) <=
			    0.02 * exact + (double)list[i]->error);
	}
	top_fini(&t);
	free(counts);
}

/* ---- columns ---- */

/* Feeds rows of cells separated by '|'; "" is null. */
static struct stats *feed(const struct rules *rules, const char *const *lines)
{
	struct stats *s;

	assert_int_equal(stats_new(&s, rules), 0);
	for (size_t i = 0; lines[i]; i++) {
		struct cell cells[16];
		struct row row = { .number = i, .cells = cells };
		const char *at = lines[i];

		for (;;) {
			size_t len = strcspn(at, "|");

			cells[row.ncells++] =
				(struct cell){ .text = at, .len = (uint32_t)len, .null = !len };
			if (!at[len])
				break;
			at += len + 1;
		}
		assert_int_equal(i ? stats_row(s, &row) : stats_names(s, cells, row.ncells), 0);
	}
	return s;
}

static const char *text_of(json_t *column, const char *key)
{
	const char *text = json_string_value(json_object_get(column, key));

	return text ? text : "(none)";
}

static json_int_t number_of(json_t *column, const char *key)
{
	return json_integer_value(json_object_get(column, key));
}

static void types_are_the_narrowest_that_hold(void **state)
{
	static const char *const lines[] = {
		"int|num|bool|day|at|text|zip|mixed|none",
		"1|1|true|2026-01-31|2026-01-31T10:00:00Z|a|01234|1||",
		"-20|2.5|false|2025-02-01|2026-01-31T09:59:59Z|zebra|12345|x||",
		"|1e3|true||2026-02-01T00:00:00Z|Ärger|99999|2026-01-01||", NULL
	};
	static const char *const types[] = { "integer", "number", "boolean", "date",  "datetime",
					     "string",	"string", "string",  "string" };
	struct stats *s = feed(NULL, lines);
	json_t *j = stats_json(s), *columns = json_object_get(j, "columns"), *c;

	(void)state;
	assert_non_null(j);
	assert_int_equal(number_of(j, "rows"), 3);
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		assert_string_equal(text_of(json_array_get(columns, i), "type"), types[i]);
	c = json_array_get(columns, 0);
	assert_int_equal(number_of(c, "min"), -20);
	assert_int_equal(number_of(c, "max"), 1);
	assert_int_equal(number_of(c, "nulls"), 1);
	assert_int_equal(number_of(c, "distinct"), 2);
	c = json_array_get(columns, 1);
	assert_float_equal(json_real_value(json_object_get(c, "max")), 1000, 0);
	c = json_array_get(columns, 3);
	assert_string_equal(text_of(c, "min"), "2025-02-01");
	assert_string_equal(text_of(json_object_get(c, "quantiles"), "0.99"), "2026-01-31");
	c = json_array_get(columns, 5);
	assert_string_equal(text_of(c, "min"), "a");
	assert_string_equal(text_of(c, "max"), "Ärger");
	assert_int_equal(number_of(c, "max_length"), 5);
	c = json_object_get(j, "time_range");
	assert_string_equal(text_of(c, "column"), "day");
	assert_string_equal(text_of(c, "from"), "2025-02-01");
	assert_string_equal(text_of(c, "to"), "2026-01-31");
	json_decref(j);
	stats_free(s);
}

static void rules_give_types_and_hide_what_is_personal(void **state)
{
	struct field fields[] = {
		{ .name = (char *)"born", .type = FIELD_DATE, .personal = true },
		{ .name = (char *)"size", .type = FIELD_INTEGER, .decimal = '.' },
		{ .name = (char *)"zip", .type = FIELD_STRING },
	};
	char *missing[] = { (char *)"", (char *)"n/a" };
	struct rules rules = {
		.fields = fields, .nfields = 3, .missing_values = missing, .nmissing = 2
	};
	static const char *const lines[] = { "zip|born|size", "12345|1970-01-01|n/a",
					     "99|1980-01-01|7", "n/a|1980-01-01|huge", NULL };
	struct stats *s = feed(&rules, lines);
	json_t *j = stats_json(s), *columns = json_object_get(j, "columns"), *c;
	char *text = json_dumps(j, 0);

	(void)state;
	assert_null(strstr(text, "1970"));
	assert_null(json_object_get(j, "time_range"));
	c = json_array_get(columns, 0);
	assert_string_equal(text_of(c, "type"), "string");
	assert_int_equal(number_of(c, "nulls"), 1);
	c = json_array_get(columns, 1);
	assert_int_equal(number_of(c, "distinct"), 2);
	assert_null(json_object_get(c, "top"));
	c = json_array_get(columns, 2);
	assert_int_equal(number_of(c, "invalid"), 1);
	assert_int_equal(number_of(c, "max"), 7);
	free(text);
	json_decref(j);
	stats_free(s);
}

static void add_one(struct stats *s, const char *text)
{
	struct cell cell = { .text = text, .len = (uint32_t)strlen(text), .null = !*text };
	struct row row = { .cells = &cell, .ncells = 1 };

	assert_int_equal(stats_row(s, &row), 0);
}

static void moments_and_bins_are_exact(void **state)
{
	struct cell name = { .text = "x", .len = 1 };
	long double sum = 0, squares = 0;
	const json_int_t n = 100000;
	json_int_t counted = 0;
	struct stats *s;
	json_t *j, *c, *bins, *bin;
	size_t i;

	(void)state;
	assert_int_equal(stats_new(&s, NULL), 0);
	stats_names(s, &name, 1);
	random_state = 3;
	for (json_int_t k = 0; k < n;
	     k++) { /* a far mean and a small spread: what naive sums lose */
		char text[40];

		snprintf(text, sizeof(text), "%.3f", 1e9 + random_unit());
		sum += strtold(text, NULL) - 1000000000;
		add_one(s, text);
	}
	random_state = 3;
	for (json_int_t k = 0; k < n; k++) {
		char text[40];
		long double d;

		snprintf(text, sizeof(text), "%.3f", 1e9 + random_unit());
		d = strtold(text, NULL) - 1000000000 - sum / n;
		squares += d * d;
	}
	j = stats_json(s);
	c = json_array_get(json_object_get(j, "columns"), 0);
	assert_true(fabs(json_real_value(json_object_get(c, "mean")) - 1e9 - (double)(sum / n)) <
		    1e-6);
	assert_true(fabs(json_real_value(json_object_get(c, "stddev")) /
				 (double)sqrtl(squares / (n - 1)) -
			 1) < 1e-6);
	bins = json_object_get(c, "histogram");
	assert_int_equal(json_array_size(bins), 20);
	json_array_foreach (bins, i, bin)
		counted += number_of(bin, "count");
	assert_int_equal(counted, n);
	json_decref(j);
	stats_free(s);
}

static void a_column_that_turns_into_text_stays_right(void **state)
{
	struct cell name = { .text = "x", .len = 1 };
	struct stats *s;
	json_t *j, *c;

	(void)state;
	assert_int_equal(stats_new(&s, NULL), 0);
	stats_names(s, &name, 1);
	for (int k = 10; k < 5000; k++) {
		char text[40];

		snprintf(text, sizeof(text), "%d", k);
		add_one(s, text);
	}
	add_one(s, "\xff\xfe no UTF-8");
	j = stats_json(s);
	c = json_array_get(json_object_get(j, "columns"), 0);
	assert_string_equal(text_of(c, "type"), "string");
	assert_string_equal(text_of(c, "min"), "10");
	assert_string_equal(text_of(c, "max"), "?? no UTF-8");
	assert_null(json_object_get(c, "quantiles"));
	assert_true(labs((long)number_of(c, "distinct") - 4991) < 100);
	assert_true(json_is_true(json_object_get(c, "top_sampled")));
	assert_int_equal(json_array_size(json_object_get(c, "top")), 0);
	json_decref(j);
	stats_free(s);
}

/* By value until there are too many different ones, or one too long to be parsed from the list. */
static void few_values_then_many(void **state)
{
	for (int kind = 0; kind < 3; kind++) {
		struct cell name = { .text = "x", .len = 1 };
		double sum = 0, n = 0;
		struct stats *s;
		json_t *j, *c, *q;

		(void)state;
		assert_int_equal(stats_new(&s, NULL), 0);
		stats_names(s, &name, 1);
		for (int k = 0; k < 40000; k++) {
			double x = kind == 1 && k >= 20000 ? k : k % 200;
			char text[64];

			snprintf(text, sizeof(text), "%.*f", kind == 2 && k == 20000 ? 45 : 0, x);
			add_one(s, text);
			sum += x, n++;
		}
		j = stats_json(s);
		c = json_array_get(json_object_get(j, "columns"), 0);
		q = json_object_get(c, "quantiles");
		assert_int_equal(number_of(c, "count"), 40000);
		assert_float_equal(json_number_value(json_object_get(c, "mean")), sum / n, 1e-6);
		assert_float_equal(json_number_value(json_object_get(c, "min")), 0, 0);
		assert_float_equal(json_number_value(json_object_get(c, "max")), kind == 1 ? 39999 : 199, 0);
		assert_float_equal(json_number_value(json_object_get(q, "0.25")), kind == 1 ? 100 : 49, kind ? 4 : 0);
		if (kind == 1)
			assert_float_equal(json_number_value(json_object_get(q, "0.75")), 30000, 400);
		assert_int_equal(json_object_get(c, "quantile_error") != NULL, kind > 0);
		json_decref(j);
		stats_free(s);
	}
}

static void columns_may_come_later_and_be_many(void **state)
{
	struct cell cells[1024];
	char names[1024][8], values[1024][16];
	struct row row = { .cells = cells, .ncells = 1024 };
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, used;
	struct stats *s;
	json_t *j, *c;

	(void)state;
	for (int i = 0; i < 1024; i++)
		cells[i] = (struct cell){ .text = names[i],
					  .len = (uint32_t)snprintf(names[i], 8, "c%d", i) };
	assert_int_equal(stats_new(&s, NULL), 0);
	stats_names(s, cells, 64);
	row.ncells = 64;
	assert_int_equal(stats_row(s, &row), 0); /* "c0", … are texts */
	stats_names(s, cells, 1024);
	row.ncells = 1024;
	for (int k = 0; k < 1200; k++) {
		for (int i = 0; i < 1024; i++)
			cells[i] = (struct cell){ .text = values[i],
						  .len = (uint32_t)snprintf(values[i], 16, "%d",
									    k * 7 + i) };
		assert_int_equal(stats_row(s, &row), 0);
	}
	used = mallinfo2().uordblks + mallinfo2().hblkhd - before;
	assert_true(used < (16u << 20));
	j = stats_json(s);
	assert_int_equal(json_array_size(json_object_get(j, "columns")), 1024);
	c = json_array_get(json_object_get(j, "columns"), 1000);
	assert_int_equal(number_of(c, "nulls"), 1);
	assert_string_equal(text_of(c, "sketch"), "small");
	assert_true(labs((long)number_of(c, "distinct") - 1200) < 120);
	json_decref(j);
	stats_free(s);
}

/* What the fast paths take is what strtod and strtoll make of it. */
static void fast_numbers_are_right(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		char text[40], *end;
		int64_t whole;
		double x;
		size_t len;
		int places = (int)(random_bits() % 7);

		if (i % 2)
			snprintf(text, sizeof(text), "%lld",
				 (long long)(int64_t)random_bits() >> (random_bits() % 64));
		else
			snprintf(text, sizeof(text), "%.*f", places,
				 (random_unit() - 0.5) * pow(10, (double)(random_bits() % 14)));
		if (i % 7 == 0)
			text[random_bits() % strlen(text)] = (char)(32 + random_bits() % 95);
		len = strlen(text);
		if (number_integer(text, len, number_word(text, len), &whole)) {
			assert_int_equal(whole, strtoll(text, &end, 10));
			assert_int_equal(*end, 0);
		}
		if (number_decimal(text, len, number_word(text, len), &x)) {
			assert_true(x == strtod(text, &end));
			assert_int_equal(*end, 0);
		} else if (i % 7 && i % 2 == 0 && places) {
			assert_true(len > 16); /* 16 digits may be over 2^53 */
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distinct_is_within_two_percent),
		cmocka_unit_test(quantiles_are_within_one_percent),
		cmocka_unit_test(merged_sketches_answer_as_one),
		cmocka_unit_test(top_values_of_a_zipf_are_found),
		cmocka_unit_test(types_are_the_narrowest_that_hold),
		cmocka_unit_test(rules_give_types_and_hide_what_is_personal),
		cmocka_unit_test(moments_and_bins_are_exact),
		cmocka_unit_test(a_column_that_turns_into_text_stays_right),
		cmocka_unit_test(few_values_then_many),
		cmocka_unit_test(columns_may_come_later_and_be_many),
		cmocka_unit_test(fast_numbers_are_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
