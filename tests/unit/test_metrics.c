// SPDX-License-Identifier: Apache-2.0
/*
 * metrics: every page is read back by a strict reader of the text format 0.0.4 (names, HELP and TYPE before
 * samples, families in one piece, no sample twice, escapes, cumulative buckets), then single promises.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>

#include "lib/metrics.h"
#include "tests/unit/unit.h"

static struct metrics *m;

static int make(void **state)
{
	(void)state;
	return metrics_new(&m);
}

static int drop(void **state)
{
	(void)state;
	metrics_free(m);
	return 0;
}

/* ---- the strict reader ---- */

struct reader {
	char family[100], type[16];
	char seen[64][100];             /* families that are over */
	size_t nseen, samples;
	char bucket_of[400];            /* histogram: the labels without le of the running buckets */
	double bucket_value, bucket_bound;
};

static size_t name_len(const char *p)
{
	size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:");

	return n ? n + strspn(p + n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789") : 0;
}

static void read_comment(struct reader *r, const char *line)
{
	bool help = !strncmp(line, "# HELP ", 7);
	size_t n;

	assert_true(help || !strncmp(line, "# TYPE ", 7));
	line += 7;
	n = name_len(line);
	assert_true(n && line[n] == ' ');
	if (help) {
		for (size_t i = 0; i < r->nseen; i++)
			assert_false(strlen(r->seen[i]) == n && !memcmp(r->seen[i], line, n));
		snprintf(r->family, sizeof(r->family), "%.*s", (int)n, line);
		assert_true(r->nseen < 64);
		strcpy(r->seen[r->nseen++], r->family);
		for (const char *p = line + n; (p = strchr(p, '\\')); p += 2)
			assert_true(p[1] == '\\' || p[1] == 'n');
		r->type[0] = '\0';
		return;
	}
	assert_true(strlen(r->family) == n && !memcmp(r->family, line, n));
	assert_int_equal(r->type[0], 0);
	snprintf(r->type, sizeof(r->type), "%s", line + n + 1);
	assert_true(!strcmp(r->type, "counter") || !strcmp(r->type, "gauge") || !strcmp(r->type, "histogram"));
}

/* {a="b",c="d"}: returns what follows; le's value, or "" */
static const char *read_labels(const char *p, char le[32], char rest[400])
{
	*le = *rest = '\0';
	if (*p != '{')
		return p;
	do {
		size_t n = name_len(++p);
		const char *value = p + n + 2, *end = value;

		assert_true(n && p[n] == '=' && p[n + 1] == '"');
		for (; *end != '"'; end++) {
			assert_true(*end && *end != '\n');
			if (*end == '\\') {
				end++;
				assert_non_null(memchr("\\n\"", *end, 3));
			}
		}
		if (n == 2 && !memcmp(p, "le", 2))
			snprintf(le, 32, "%.*s", (int)(end - value), value);
		else
			snprintf(rest + strlen(rest), 400 - strlen(rest), "%.*s,", (int)(end - p), p);
		p = end + 1;
	} while (*p == ',');
	assert_int_equal(*p, '}');
	return p + 1;
}

static void read_sample(struct reader *r, const char *line)
{
	size_t n = name_len(line), family = strlen(r->family);
	char le[32], rest[400], *end;
	const char *suffix = line + family, *p;
	double value;

	assert_true(r->type[0] && n >= family && !memcmp(line, r->family, family));
	p = read_labels(line + n, le, rest);
	assert_int_equal(*p, ' ');
	value = strtod(p + 1, &end);
	assert_true(end > p + 1 && !*end);
	r->samples++;
	if (strcmp(r->type, "histogram")) {
		assert_int_equal(n, family);
		assert_true(strcmp(r->type, "counter") || (value >= 0 && !strncmp(line + n - 6, "_total", 6)));
		return;
	}
	if (!strncmp(suffix, "_bucket", 7)) {
		double bound = !strcmp(le, "+Inf") ? INFINITY : strtod(le, NULL);

		if (!strcmp(rest, r->bucket_of) && r->bucket_bound < INFINITY)
			assert_true(bound > r->bucket_bound && value >= r->bucket_value);
		strcpy(r->bucket_of, rest);
		r->bucket_bound = bound;
		r->bucket_value = value;
	} else if (!strncmp(suffix, "_count", 6)) {
		assert_true(r->bucket_bound == INFINITY && !strcmp(rest, r->bucket_of) && value == r->bucket_value);
	} else {
		assert_true(!strncmp(suffix, "_sum", 4));
	}
}

/* Renders, checks every line; the page must be freed. */
static char *checked_page(size_t *samples)
{
	struct reader r = { .bucket_bound = INFINITY };
	char *page, *copy, *rest, *line;
	size_t len = 0;

	page = metrics_render(m, &len);
	assert_non_null(page);
	assert_int_equal(strlen(page), len);
	assert_true(!len || page[len - 1] == '\n');
	rest = copy = strdup(page);
	while ((line = strsep(&rest, "\n")))
		if (*line == '#')
			read_comment(&r, line);
		else if (*line)
			read_sample(&r, line);
	free(copy);
	if (samples)
		*samples = r.samples;
	return page;
}

/* ---- the promises ---- */

static void counters_and_gauges(void **state)
{
	struct metric *c = metric_add(m, METRIC_COUNTER, "http_requests_total", "Requests.", "method,code");
	struct metric *g = metric_add(m, METRIC_GAUGE, "disk_free_bytes", "Free space.", NULL);
	struct metric_series *s = metric_series(c, "GET", "200", NULL);
	char *page;

	(void)state;
	metric_inc(s, 2);
	metric_inc(metric_series(c, "GET", "200", NULL), 1);
	assert_ptr_equal(s, metric_series(c, "GET", "200", NULL));
	assert_ptr_not_equal(s, metric_series(c, "GE", "T200", NULL));
	metric_set(metric_series(g, NULL), 1.5e300);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "weir_http_requests_total{method=\"GET\",code=\"200\"} 3\n"));
	assert_non_null(strstr(page, "# HELP weir_http_requests_total Requests.\n"
				     "# TYPE weir_http_requests_total counter\n"));
	assert_non_null(strstr(page, "weir_disk_free_bytes 1.5"));
	free(page);
}

static void large_counters_stay_exact(void **state)
{
	struct metric *c = metric_add(m, METRIC_COUNTER, "bytes_total", "Bytes.", NULL);
	char *page;

	(void)state;
	metric_inc(metric_series(c, NULL), (1ull << 60) + 1);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "weir_bytes_total 1152921504606846977\n"));
	free(page);
}

static void strange_values_are_escaped(void **state)
{
	struct metric *g = metric_add(m, METRIC_GAUGE, "odd", "A \\ and\na line.", "what");
	char *page;

	(void)state;
	metric_set(metric_series(g, "a\"b\\c\nd{}", NULL), NAN);
	metric_set(metric_series(g, "plus", NULL), INFINITY);
	metric_set(metric_series(g, "minus", NULL), -INFINITY);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "# HELP weir_odd A \\\\ and\\na line.\n"));
	assert_non_null(strstr(page, "weir_odd{what=\"a\\\"b\\\\c\\nd{}\"} NaN\n"));
	assert_non_null(strstr(page, "{what=\"plus\"} +Inf\n"));
	assert_non_null(strstr(page, "{what=\"minus\"} -Inf\n"));
	free(page);
}

static void histograms(void **state)
{
	static const double bounds[] = { 0.01, 0.1, 1 }, wrong[] = { 1, 1 };
	struct metric *h = metric_add(m, METRIC_HISTOGRAM, "http_request_seconds", "Time.", "route");
	struct metric_series *s;
	char *page;

	(void)state;
	assert_int_equal(metric_buckets(h, wrong, 2), -EINVAL);
	assert_int_equal(metric_buckets(h, bounds, 3), 0);
	s = metric_series(h, "/b/", NULL);
	metric_observe(s, 0.01); /* a bound belongs to its bucket */
	metric_observe(s, 0.05);
	metric_observe(s, 0.5);
	metric_observe(s, 7);
	metric_observe(s, NAN);
	metric_observe(metric_series(h, "/o/", NULL), 1);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "_bucket{route=\"/b/\",le=\"0.01\"} 1\n"));
	assert_non_null(strstr(page, "_bucket{route=\"/b/\",le=\"0.1\"} 2\n"));
	assert_non_null(strstr(page, "_bucket{route=\"/b/\",le=\"1\"} 3\n"));
	assert_non_null(strstr(page, "_bucket{route=\"/b/\",le=\"+Inf\"} 4\n"));
	assert_non_null(strstr(page, "_count{route=\"/b/\"} 4\n"));
	assert_non_null(strstr(page, "_sum{route=\"/b/\"} 7.5"));
	free(page);
}

static void series_are_bounded(void **state)
{
	struct metric *c = metric_add(m, METRIC_COUNTER, "by_client_total", "Counted by whom.", "client");
	char name[32], *page;
	size_t samples;

	(void)state;
	for (int i = 0; i < 12000; i++) {
		snprintf(name, sizeof(name), "client-%d", i);
		metric_inc(metric_series(c, name, NULL), 1);
	}
	page = checked_page(&samples);
	assert_int_equal(samples, 10001);
	assert_non_null(strstr(page, "{client=\"other\"} 2000\n"));
	free(page);
}

static void collect(void *arg)
{
	metric_set(arg, 42);
}

static void collected_at_the_moment_of_asking(void **state)
{
	struct metric *g = metric_add(m, METRIC_GAUGE, "elsewhere", "Kept elsewhere.", NULL);
	char *page;

	(void)state;
	assert_int_equal(metrics_on_collect(m, collect, metric_series(g, NULL)), 0);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "weir_elsewhere 42\n"));
	free(page);
}

static struct metric *shared;

static void *bump(void *arg)
{
	for (int i = 0; i < 20000; i++)
		metric_inc(metric_series(shared, i & 1 ? "odd" : "even", NULL), 1);
	return arg;
}

static void threads_lose_nothing(void **state)
{
	pthread_t threads[4];
	char *page;

	(void)state;
	shared = metric_add(m, METRIC_COUNTER, "bumps_total", "Bumps.", "parity");
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, bump, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "{parity=\"odd\"} 40000\n"));
	assert_non_null(strstr(page, "{parity=\"even\"} 40000\n"));
	free(page);
}

static double value_of(const char *page, const char *name)
{
	const char *p = page;
	size_t n = strlen(name);

	while ((p = strstr(p, name)) && !(p[n] == ' ' && (p == page || p[-1] == '\n')))
		p += n;
	assert_non_null(p);
	return strtod(p + n, NULL);
}

static void the_process_is_described(void **state)
{
	char *page;

	(void)state;
	assert_int_equal(metrics_add_process(m, "weir-test"), 0);
	page = checked_page(NULL);
	assert_non_null(strstr(page, "weir_build_info{program=\"weir-test\",version=\""));
	assert_true(value_of(page, "process_resident_memory_bytes") > 100000);
	assert_true(value_of(page, "process_open_fds") >= 3);
	assert_true(value_of(page, "process_threads") >= 1);
	assert_true(value_of(page, "process_start_time_seconds") > 1.6e9);
	assert_true(value_of(page, "process_max_fds") > 0);
	free(page);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(counters_and_gauges), T(large_counters_stay_exact), T(strange_values_are_escaped),
		T(histograms), T(series_are_bounded), T(collected_at_the_moment_of_asking),
		T(threads_lose_nothing), T(the_process_is_described),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
