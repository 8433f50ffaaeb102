// SPDX-License-Identifier: Apache-2.0
/*
 * origin_metrics.c -- what an origin counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "user/tunnel/origin.h"

struct origin_metrics {
	struct metric *requests, *bytes, *errors, *links;
	struct metric_series *classes[6], *up, *down, *open, *connections, *edges, *rtt, *until,
		*seconds;
};

/* Gauges are read when the page is asked for, on another thread: single words, which may be a
 * moment old. */
static void collect(void *arg)
{
	struct origin *o = arg;
	struct origin_metrics *m = o->metrics;

	metric_set(m->open, o->inflight);
	metric_set(m->until, (double)(o->until - (int64_t)time(NULL)));
	metric_set(m->connections, o->up);
	metric_set(m->edges, o->edges);
	metric_set(m->rtt, (double)o->rtt_us / 1e6);
}

int origin_metrics_open(struct origin *o)
{
	static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
	static const double bounds[] = { .001, .002, .005, .01, .02, .05, .1,
					 .2,   .5,   1,	   2,	5,   10,  30 };
	struct metrics *all = o->d->metrics;
	struct origin_metrics *m = calloc(1, sizeof(*m));
	struct metric *seconds;

	if (!m)
		return -ENOMEM;
	o->metrics = m;
	m->requests = metric_add(all, METRIC_COUNTER, "origin_requests_total",
				 "Requests answered, by status", "class");
	m->bytes = metric_add(all, METRIC_COUNTER, "origin_bytes_total",
			      "Bytes of bodies, from clients (up) and to them", "direction");
	m->errors = metric_add(all, METRIC_COUNTER, "origin_errors_total",
			       "Requests that failed, by cause", "cause");
	m->links = metric_add(all, METRIC_COUNTER, "origin_connections_total",
			      "Connections to edges: attached, lost, refused, drained", "event");
	seconds = metric_add(all, METRIC_HISTOGRAM, "origin_request_seconds",
			     "Whole time of a request", NULL);
	if (!m->requests || !m->bytes || !m->errors || !m->links || !seconds)
		return -ENOMEM;
	metric_buckets(seconds, bounds, sizeof(bounds) / sizeof(*bounds));
	m->seconds = metric_series(seconds, NULL);
	for (size_t i = 0; i < 6; i++)
		m->classes[i] = metric_series(m->requests, classes[i], NULL);
	m->up = metric_series(m->bytes, "up", NULL);
	m->down = metric_series(m->bytes, "down", NULL);
#define GAUGE(name, help) metric_series(metric_add(all, METRIC_GAUGE, name, help, NULL), NULL)
	m->open = GAUGE("origin_open_requests", "Requests that run");
	m->connections = GAUGE("origin_connections", "Connections to edges that stand");
	m->edges = GAUGE("origin_edges", "Edges to which a connection stands");
	m->rtt = GAUGE("origin_rtt_seconds", "Round trip to the nearest edge");
	m->until = GAUGE("origin_certificate_seconds", "Time until the certificate expires");
#undef GAUGE
	return metrics_on_collect(all, collect, o);
}

void origin_metrics_close(struct origin *o)
{
	if (o->metrics)
		metrics_off_collect(o->d->metrics, collect, o);
	free(o->metrics);
	o->metrics = NULL;
}

void origin_count_request(struct origin *o, unsigned int status, uint64_t up, uint64_t down,
			  uint64_t took_us)
{
	struct origin_metrics *m = o->metrics;

	o->requests++;
	o->failed += !status || status >= 500;
	o->bytes_up += up;
	o->bytes_down += down;
	metric_inc(m->classes[status / 100 < 6 ? status / 100 : 5], 1);
	metric_inc(m->up, up);
	metric_inc(m->down, down);
	metric_observe(m->seconds, (double)took_us / 1e6);
}

void origin_count_error(struct origin *o, const char *cause)
{
	metric_inc(metric_series(o->metrics->errors, cause, NULL), 1);
}

void origin_count_link(struct origin *o, const char *what)
{
	metric_inc(metric_series(o->metrics->links, what, NULL), 1);
}
