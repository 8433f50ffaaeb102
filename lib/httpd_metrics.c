/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_metrics.c -- what the HTTP server counts. A route's pattern is its class: what strangers
 * can choose never becomes a label.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/httpd_impl.h"

#define STATUSES 600

static const double seconds[] = { .0005, .001, .0025, .005, .01, .025, .05, .1,
				  .25, .5, 1, 2.5, 5, 10, 30, 60 };

struct httpd_counts {
	struct metric *requests, *refused;
	struct metric_series *took, *in, *out, *ready, *in_flight, *connections;
	/* [route][status], made at first use; the last route is "none" */
	_Atomic(struct metric_series *) by_status[];
};

static void collect(void *arg)
{
	struct httpd *server = arg;

	metric_set(server->counts->in_flight, server->in_flight);
	metric_set(server->counts->connections, server->connections);
}

int http_counts_new(struct httpd *server)
{
	struct metrics *m = server->opt.metrics;
	const char *name = server->opt.name;
	struct metric *took, *in, *out, *ready, *in_flight, *connections;
	struct httpd_counts *c;

	if (!m)
		return 0;
	c = calloc(1, sizeof(*c) + (server->nroutes + 1) * STATUSES * sizeof(c->by_status[0]));
	if (!c)
		return -ENOMEM;
	server->counts = c;
	c->requests = metric_add(m, METRIC_COUNTER, "http_requests_total",
				 "HTTP requests answered, by server, route and status.",
				 "server,route,status");
	c->refused = metric_add(m, METRIC_COUNTER, "http_refused_total",
				"HTTP requests and connections refused before a route saw them.",
				"server,reason");
	took = metric_add(m, METRIC_HISTOGRAM, "http_request_seconds",
			  "Time from a request's first line to its end.", "server");
	in = metric_add(m, METRIC_COUNTER, "http_received_bytes_total", "Bytes of request bodies.",
			"server");
	out = metric_add(m, METRIC_COUNTER, "http_sent_bytes_total",
			 "Bytes of answers' bodies of known length that were sent whole.",
			 "server");
	ready = metric_add(m, METRIC_COUNTER, "http_ready_answers_total",
			   "Answers that were ready in memory; counted among the requests, too.", "server");
	in_flight = metric_add(m, METRIC_GAUGE, "http_requests_in_flight", "Requests being served.",
			       "server");
	connections =
		metric_add(m, METRIC_GAUGE, "http_connections", "Open connections.", "server");
	if (!c->requests || !c->refused || !took || !in || !out || !ready || !in_flight || !connections)
		return -ENOMEM;
	metric_buckets(took, seconds, sizeof(seconds) / sizeof(*seconds));
	c->took = metric_series(took, name, NULL);
	c->in = metric_series(in, name, NULL);
	c->out = metric_series(out, name, NULL);
	c->ready = metric_series(ready, name, NULL);
	c->in_flight = metric_series(in_flight, name, NULL);
	c->connections = metric_series(connections, name, NULL);
	return metrics_on_collect(m, collect, server);
}

void http_counts_free(struct httpd *server)
{
	if (!server->counts)
		return;
	metrics_off_collect(server->opt.metrics, collect, server);
	free(server->counts);
	server->counts = NULL;
}

static struct metric_series *series_of(struct httpd *server, const char *path, size_t route_index, unsigned int status)
{
	_Atomic(struct metric_series *) *slot;
	struct metric_series *s;
	char text[12];

	status = status < STATUSES ? status : 0;
	slot = &server->counts->by_status[route_index * STATUSES + status];
	s = atomic_load_explicit(slot, memory_order_acquire);
	if (s)
		return s;
	snprintf(text, sizeof(text), "%u", status);
	s = metric_series(server->counts->requests, server->opt.name, path, text, NULL);
	atomic_store_explicit(slot, s, memory_order_release);
	return s;
}

void http_count_end(struct http_req *req, bool complete, uint64_t took_us)
{
	struct httpd_counts *c = req->server->counts;

	if (!c)
		return;
	metric_inc(series_of(req->server, req->route ? req->route->path : "none", req->route_index, req->status), 1);
	metric_observe(c->took, (double)took_us / 1e6);
	if (req->received)
		metric_inc(c->in, req->received);
	if (complete && req->answer_bytes && req->method != HTTP_HEAD)
		metric_inc(c->out, req->answer_bytes);
}

void http_count_answer(struct httpd *server, size_t route_index, unsigned int status, uint64_t took_us, uint64_t body)
{
	struct httpd_counts *c = server->counts;

	if (!c)
		return;
	metric_inc(series_of(server, server->routes[route_index].path, route_index, status), 1);
	metric_inc(c->ready, 1);
	metric_observe(c->took, (double)took_us / 1e6);
	if (body)
		metric_inc(c->out, body);
}

void http_count_refusal(struct httpd *server, const char *reason)
{
	if (server->counts)
		metric_inc(metric_series(server->counts->refused, server->opt.name, reason, NULL),
			   1);
}
