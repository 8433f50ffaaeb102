/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c -- see report.h.
 */
#include "dns/report.h"

#include <errno.h>
#include <stdlib.h>

struct report {
	struct metrics *metrics;
	const struct server *server;
	struct metric_series *queries[DNS_TRANSPORTS][SERVER_TYPES_N],
		*answers[DNS_TRANSPORTS][DNS_RCODES];
	struct metric_series *truncated, *ignored, *send_failed, *latency;
	struct metric_series *tcp_refused, *tcp_evicted, *tcp_idle, *tcp_open;
};

static const char *const transport_names[DNS_TRANSPORTS] = { "udp", "tcp" };

/* RFC 1035 section 4.1.1 and RFC 6891; NULL: never answered. */
static const char *const rcode_names[DNS_RCODES] = {
	[DNS_NOERROR] = "NOERROR",   [DNS_FORMERR] = "FORMERR", [DNS_SERVFAIL] = "SERVFAIL",
	[DNS_NXDOMAIN] = "NXDOMAIN", [DNS_NOTIMP] = "NOTIMP",	[DNS_REFUSED] = "REFUSED",
	[DNS_BADVERS] = "BADVERS",
};

static void collect(void *arg)
{
	struct report *r = arg;
	struct server_totals t;

	server_count(r->server, &t);
	for (unsigned int p = 0; p < DNS_TRANSPORTS; p++) {
		for (unsigned int i = 0; i < SERVER_TYPES_N; i++)
			metric_set(r->queries[p][i], (double)t.queries[p][i]);
		for (unsigned int i = 0; i < DNS_RCODES; i++)
			if (rcode_names[i])
				metric_set(r->answers[p][i], (double)t.rcodes[p][i]);
	}
	metric_set(r->truncated, (double)t.truncated);
	metric_set(r->ignored, (double)t.ignored);
	metric_set(r->send_failed, (double)t.send_failed);
	metric_set(r->tcp_refused, (double)t.tcp_refused);
	metric_set(r->tcp_evicted, (double)t.tcp_evicted);
	metric_set(r->tcp_idle, (double)t.tcp_idle);
	metric_set(r->tcp_open, (double)t.tcp_open);
}

static int add_latency(struct report *r)
{
	static const double bounds[] = { 5e-6,	 1e-5, 2.5e-5, 5e-5, 1e-4,
					 2.5e-4, 5e-4, 1e-3,   5e-3, 2.5e-2 };
	struct metric *m = metric_add(
		r->metrics, METRIC_HISTOGRAM, "ns_batch_seconds",
		"Time from a batch of UDP questions read to all its answers sent.", NULL);

	if (!m)
		return -ENOMEM;
	r->latency = metric_series(m, NULL);
	return metric_buckets(m, bounds, sizeof(bounds) / sizeof(bounds[0]));
}

static int add_families(struct report *r)
{
	struct metric *queries =
		metric_add(r->metrics, METRIC_COUNTER, "ns_queries_total",
			   "Questions answered, by type and transport.", "type,transport");
	struct metric *answers =
		metric_add(r->metrics, METRIC_COUNTER, "ns_answers_total",
			   "Answers, by response code and transport.", "rcode,transport");
	struct metric *dropped = metric_add(
		r->metrics, METRIC_COUNTER, "ns_dropped_total",
		"Messages without an answer, and answers that could not be sent, by reason.",
		"reason");
	struct metric *truncated = metric_add(r->metrics, METRIC_COUNTER, "ns_truncated_total",
					      "Answers that did not fit and said TC.", NULL);
	struct metric *closed =
		metric_add(r->metrics, METRIC_COUNTER, "ns_tcp_closed_total",
			   "TCP connections that were closed by a limit, by reason.", "reason");
	struct metric *open = metric_add(r->metrics, METRIC_GAUGE, "ns_tcp_connections",
					 "TCP connections open now.", NULL);

	if (!queries || !answers || !dropped || !truncated || !closed || !open)
		return -ENOMEM;
	for (unsigned int p = 0; p < DNS_TRANSPORTS; p++) {
		for (unsigned int i = 0; i < SERVER_TYPES_N; i++)
			r->queries[p][i] = metric_series(queries, server_type_name(i),
							 transport_names[p], NULL);
		for (unsigned int i = 0; i < DNS_RCODES; i++)
			if (rcode_names[i])
				r->answers[p][i] = metric_series(answers, rcode_names[i],
								 transport_names[p], NULL);
	}
	r->ignored = metric_series(dropped, "not_a_question", NULL);
	r->send_failed = metric_series(dropped, "send_failed", NULL);
	r->truncated = metric_series(truncated, NULL);
	r->tcp_refused = metric_series(closed, "network_limit", NULL);
	r->tcp_evicted = metric_series(closed, "evicted", NULL);
	r->tcp_idle = metric_series(closed, "idle", NULL);
	r->tcp_open = metric_series(open, NULL);
	return 0;
}

int report_new(struct report **out, struct metrics *metrics, const struct server *server)
{
	struct report *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->metrics = metrics;
	r->server = server;
	rc = add_latency(r);
	if (!rc)
		rc = add_families(r);
	if (!rc)
		rc = metrics_on_collect(metrics, collect, r);
	if (rc)
		free(r);
	else
		*out = r;
	return rc;
}

void report_free(struct report *r)
{
	if (!r)
		return;
	metrics_off_collect(r->metrics, collect, r);
	free(r);
}

struct metric_series *report_latency(struct report *r)
{
	return r->latency;
}

void report_status(const struct report *r, json_t *answer)
{
	struct server_totals t;
	uint64_t queries = 0;
	json_t *answers = json_object();

	server_count(r->server, &t);
	for (unsigned int i = 0; i < DNS_RCODES; i++) {
		uint64_t n = t.rcodes[DNS_UDP][i] + t.rcodes[DNS_TCP][i];

		queries += n;
		if (n && rcode_names[i])
			json_object_set_new(answers, rcode_names[i], json_integer((json_int_t)n));
	}
	json_object_set_new(answer, "queries", json_integer((json_int_t)queries));
	json_object_set_new(answer, "answers", answers);
}
