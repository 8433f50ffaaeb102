// SPDX-License-Identifier: Apache-2.0
/*
 * metrics.c -- families, series and the page (Prometheus text exposition format 0.0.4).
 *
 * A family's series stand in a list that only grows: whoever holds a series bumps it without a
 * lock, and whoever looks one up walks at most the bucket of a small hash table under the family's
 * lock.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "lib/metrics.h"

#define SERIES_MAX  10000
#define LABELS_MAX  8
#define TABLE_SIZE  1024 /* 10,000 series: ten a bucket */
#define BUCKETS_MAX 32

struct metric_series {
	struct metric *metric;
	struct metric_series *next;  /* in the order of making */
	struct metric_series *chain; /* in the hash table */
	uint64_t hash;
	char *values[LABELS_MAX];
	_Atomic uint64_t count;	    /* counter; histogram: observations */
	_Atomic double value;	    /* gauge; counter's fraction by metric_set; sum */
	_Atomic uint64_t buckets[]; /* histogram: not cumulated */
};

struct metric {
	struct metric *next;
	enum metric_type type;
	const char *name, *help;
	char *labels[LABELS_MAX];
	size_t nlabels;
	double bounds[BUCKETS_MAX];
	size_t nbounds;
	pthread_mutex_t lock; /* for the list and the table, not for values */
	struct metric_series *first, **last, *table[TABLE_SIZE];
	struct metric_series *other; /* stands for all past SERIES_MAX, or without memory */
	size_t nseries;
};

struct collector {
	struct collector *next;
	metrics_collect_fn *fn;
	void *arg;
};

struct metrics {
	struct metric *first, **last;
	struct collector *collectors;
	pthread_mutex_t lock; /* one rendering at a time */
};

int metrics_new(struct metrics **out)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->last = &m->first;
	pthread_mutex_init(&m->lock, NULL);
	*out = m;
	return 0;
}

static void series_free(struct metric_series *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < LABELS_MAX; i++)
		free(s->values[i]);
	free(s);
}

static void metric_free(struct metric *metric)
{
	struct metric_series *s, *next;

	for (s = metric->first; s; s = next) {
		next = s->next;
		series_free(s);
	}
	series_free(metric->other);
	for (size_t i = 0; i < metric->nlabels; i++)
		free(metric->labels[i]);
	pthread_mutex_destroy(&metric->lock);
	free(metric);
}

void metrics_free(struct metrics *m)
{
	struct metric *metric, *next;
	struct collector *c, *next_c;

	if (!m)
		return;
	for (metric = m->first; metric; metric = next) {
		next = metric->next;
		metric_free(metric);
	}
	for (c = m->collectors; c; c = next_c) {
		next_c = c->next;
		free(c);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* "a,b" into metric->labels. */
static bool split_labels(struct metric *metric, const char *labels)
{
	while (labels && *labels) {
		size_t n = strcspn(labels, ",");

		if (metric->nlabels == LABELS_MAX)
			return false;
		metric->labels[metric->nlabels] = strndup(labels, n);
		if (!metric->labels[metric->nlabels])
			return false;
		metric->nlabels++;
		labels += n + (labels[n] == ',');
	}
	return true;
}

static struct metric_series *series_new(struct metric *metric, const char *const *values)
{
	struct metric_series *s;

	s = calloc(1, sizeof(*s) + (BUCKETS_MAX + 1) * sizeof(s->buckets[0]) *
					   (metric->type == METRIC_HISTOGRAM));
	if (!s)
		return NULL;
	s->metric = metric;
	for (size_t i = 0; i < metric->nlabels; i++) {
		s->values[i] = strdup(values ? values[i] : "other");
		if (!s->values[i]) {
			series_free(s);
			return NULL;
		}
	}
	return s;
}

static struct metric *metric_find(struct metrics *m, enum metric_type type, const char *name)
{
	struct metric *metric;

	pthread_mutex_lock(&m->lock);
	for (metric = m->first; metric; metric = metric->next)
		if (metric->type == type && !strcmp(metric->name, name))
			break;
	pthread_mutex_unlock(&m->lock);
	return metric;
}

struct metric *metric_add(struct metrics *m, enum metric_type type, const char *name,
			  const char *help, const char *labels)
{
	struct metric *metric = metric_find(m, type, name);

	if (metric)
		return metric;
	metric = calloc(1, sizeof(*metric));
	if (!metric)
		return NULL;
	metric->type = type;
	metric->name = name;
	metric->help = help;
	metric->last = &metric->first;
	pthread_mutex_init(&metric->lock, NULL);
	/* The series of last resort is made now, so that metric_series() never fails. */
	if (split_labels(metric, labels))
		metric->other = series_new(metric, NULL);
	if (!metric->other) {
		metric_free(metric);
		return NULL;
	}
	pthread_mutex_lock(&m->lock);
	*m->last = metric;
	m->last = &metric->next;
	pthread_mutex_unlock(&m->lock);
	return metric;
}

int metric_buckets(struct metric *metric, const double *bounds, size_t n)
{
	if (metric->type != METRIC_HISTOGRAM || n > BUCKETS_MAX)
		return -EINVAL;
	for (size_t i = 1; i < n; i++)
		if (!(bounds[i - 1] < bounds[i]))
			return -EINVAL;
	memcpy(metric->bounds, bounds, n * sizeof(*bounds));
	metric->nbounds = n;
	return 0;
}

static bool same_values(const struct metric_series *s, const char *const *values)
{
	for (size_t i = 0; i < s->metric->nlabels; i++)
		if (strcmp(s->values[i], values[i]))
			return false;
	return true;
}

/* Finds or makes; the lock is held. */
static struct metric_series *series_get(struct metric *metric, const char *const *values)
{
	struct metric_series *s, **slot;
	uint64_t hash = 0;

	for (size_t i = 0; i < metric->nlabels; i++)
		hash = hash64(values[i], strlen(values[i]), hash + i);
	slot = &metric->table[hash % TABLE_SIZE];
	for (s = *slot; s; s = s->chain)
		if (s->hash == hash && same_values(s, values))
			return s;
	if (metric->nseries >= SERIES_MAX)
		return metric->other;
	s = series_new(metric, values);
	if (!s)
		return metric->other;
	s->hash = hash;
	s->chain = *slot;
	*slot = s;
	*metric->last = s;
	metric->last = &s->next;
	metric->nseries++;
	return s;
}

struct metric_series *metric_series(struct metric *metric, ...)
{
	const char *values[LABELS_MAX];
	struct metric_series *s;
	va_list args;
	size_t n = 0;

	va_start(args, metric);
	for (const char *v; n < metric->nlabels && (v = va_arg(args, const char *)); n++)
		values[n] = v;
	va_end(args);
	while (n < metric->nlabels)
		values[n++] = "";
	pthread_mutex_lock(&metric->lock);
	s = series_get(metric, values);
	pthread_mutex_unlock(&metric->lock);
	return s;
}

void metric_inc(struct metric_series *s, uint64_t by)
{
	atomic_fetch_add_explicit(&s->count, by, memory_order_relaxed);
}

void metric_set(struct metric_series *s, double value)
{
	atomic_store_explicit(&s->value, value, memory_order_relaxed);
}

static void add_double(_Atomic double *to, double by)
{
	double was = atomic_load_explicit(to, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(to, &was, was + by, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

void metric_observe(struct metric_series *s, double value)
{
	const struct metric *metric = s->metric;
	size_t i = 0;

	if (metric->type != METRIC_HISTOGRAM || isnan(value))
		return;
	while (i < metric->nbounds && value > metric->bounds[i])
		i++;
	atomic_fetch_add_explicit(&s->buckets[i], 1, memory_order_relaxed);
	add_double(&s->value, value);
}

int metrics_on_collect(struct metrics *m, metrics_collect_fn *fn, void *arg)
{
	struct collector *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_lock(&m->lock);
	*c = (struct collector){ m->collectors, fn, arg };
	m->collectors = c;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

void metrics_off_collect(struct metrics *m, metrics_collect_fn *fn, void *arg)
{
	pthread_mutex_lock(&m->lock);
	for (struct collector **at = &m->collectors; *at; at = &(*at)->next) {
		struct collector *c = *at;

		if (c->fn != fn || c->arg != arg)
			continue;
		*at = c->next;
		free(c);
		break;
	}
	pthread_mutex_unlock(&m->lock);
}

/* ---- the page ---- */

/* What every Prometheus client library calls process_* keeps that name. */
static const char *prefix(const struct metric *metric)
{
	return strncmp(metric->name, "process_", 8) ? "weir_" : "";
}

/* The format's escapes: backslash and line feed everywhere, quotes in label values. */
static void put_escaped(FILE *out, const char *text, bool quotes)
{
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\\\", out);
		else if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '"' && quotes)
			fputs("\\\"", out);
		else
			fputc(*text, out);
	}
}

static void put_value(FILE *out, double v)
{
	if (isnan(v))
		fputs(" NaN\n", out);
	else if (isinf(v))
		fputs(v > 0 ? " +Inf\n" : " -Inf\n", out);
	else
		fprintf(out, " %.17g\n", v);
}

/* NAME and labels; le: the bucket's bound as text, or NULL. */
static void put_name(FILE *out, const struct metric_series *s, const char *suffix, const char *le)
{
	const struct metric *metric = s->metric;
	const char *separator = "{";

	fprintf(out, "%s%s%s", prefix(metric), metric->name, suffix);
	for (size_t i = 0; i < metric->nlabels; i++) {
		fprintf(out, "%s%s=\"", separator, metric->labels[i]);
		put_escaped(out, s->values[i], true);
		fputc('"', out);
		separator = ",";
	}
	if (le)
		fprintf(out, "%sle=\"%s\"", separator, le);
	if (le || metric->nlabels)
		fputc('}', out);
}

static void put_histogram(FILE *out, struct metric_series *s)
{
	const struct metric *metric = s->metric;
	uint64_t sum = 0;
	char le[32];

	/* The count is the last bucket's, not a counter of its own: the page is always consistent.
	 */
	for (size_t i = 0; i <= metric->nbounds; i++) {
		sum += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
		if (i < metric->nbounds)
			snprintf(le, sizeof(le), "%.10g", metric->bounds[i]);
		else
			snprintf(le, sizeof(le), "+Inf");
		put_name(out, s, "_bucket", le);
		fprintf(out, " %llu\n", (unsigned long long)sum);
	}
	put_name(out, s, "_sum", NULL);
	put_value(out, atomic_load_explicit(&s->value, memory_order_relaxed));
	put_name(out, s, "_count", NULL);
	fprintf(out, " %llu\n", (unsigned long long)sum);
}

static void put_series(FILE *out, struct metric_series *s)
{
	double value = atomic_load_explicit(&s->value, memory_order_relaxed);
	uint64_t count = atomic_load_explicit(&s->count, memory_order_relaxed);

	if (s->metric->type == METRIC_HISTOGRAM) {
		put_histogram(out, s);
		return;
	}
	put_name(out, s, "", NULL);
	/* A counter that is kept elsewhere is set, one that is counted here stays exact past 2^53.
	 */
	if (s->metric->type == METRIC_COUNTER && value == 0)
		fprintf(out, " %llu\n", (unsigned long long)count);
	else
		put_value(out, value + (double)count);
}

static bool other_used(struct metric *metric)
{
	struct metric_series *s = metric->other;
	bool used = atomic_load(&s->count) || atomic_load(&s->value) != 0;

	for (size_t i = 0; metric->type == METRIC_HISTOGRAM && i <= metric->nbounds; i++)
		used = used || atomic_load(&s->buckets[i]);
	return used;
}

static void put_metric(FILE *out, struct metric *metric)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };
	struct metric_series *s;

	fprintf(out, "# HELP %s%s ", prefix(metric), metric->name);
	put_escaped(out, metric->help, false);
	fprintf(out, "\n# TYPE %s%s %s\n", prefix(metric), metric->name, types[metric->type]);
	pthread_mutex_lock(&metric->lock);
	for (s = metric->first; s; s = s->next)
		put_series(out, s);
	if (other_used(metric))
		put_series(out, metric->other);
	pthread_mutex_unlock(&metric->lock);
}

char *metrics_render(struct metrics *m, size_t *len)
{
	char *page = NULL;
	FILE *out = open_memstream(&page, len);

	if (!out)
		return NULL;
	pthread_mutex_lock(&m->lock);
	for (struct collector *c = m->collectors; c; c = c->next)
		c->fn(c->arg);
	for (struct metric *metric = m->first; metric; metric = metric->next)
		put_metric(out, metric);
	pthread_mutex_unlock(&m->lock);
	if (fclose(out)) {
		free(page);
		return NULL;
	}
	return page;
}
