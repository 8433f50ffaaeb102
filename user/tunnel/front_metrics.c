// SPDX-License-Identifier: Apache-2.0
/*
 * front_metrics.c -- what the edge counts about clients: by tunnel, by cause.
 *
 * The series of a tunnel are looked up once and kept beside it: a request costs a few increments.
 */
#include <errno.h>
#include <stdlib.h>

#include "lib/hash.h"
#include "user/tunnel/front_impl.h"

static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };

static void site_series(struct front *f, struct site *s, const char *tunnel)
{
	for (size_t i = 0; i < 6; i++)
		s->requests[i] = metric_series(f->m.requests, tunnel, classes[i], NULL);
	s->up = metric_series(f->m.bytes, tunnel, "up", NULL);
	s->down = metric_series(f->m.bytes, tunnel, "down", NULL);
}

static int add_histograms(struct front *f, struct metrics *m)
{
	static const double bounds[] = { .0005, .001, .0025, .005, .01, .025, .05, .1,
					 .25,	.5,   1,     2.5,  5,	10,   60 };
	struct metric *all, *first;

	all = metric_add(m, METRIC_HISTOGRAM, "edge_request_seconds",
			 "From a request's head to the end of its answer.", NULL);
	first = metric_add(m, METRIC_HISTOGRAM, "edge_first_byte_seconds",
			   "From a request's head to its answer's head.", NULL);
	if (!all || !first)
		return -ENOMEM;
	metric_buckets(all, bounds, sizeof(bounds) / sizeof(*bounds));
	metric_buckets(first, bounds, sizeof(bounds) / sizeof(*bounds));
	f->m.seconds = metric_series(all, NULL);
	f->m.first_seconds = metric_series(first, NULL);
	return 0;
}

int front_metrics_add(struct front *f)
{
	static const char *const states[CLIENT_STATES] = { "new", "handshake", "http1", "http2",
							   "bytes" };
	struct metrics *m = f->edge->d->metrics;
	struct metric *open, *accepted, *tls, *errors, *waiting;

	f->m.requests = metric_add(
		m, METRIC_COUNTER, "edge_requests_total",
		"Requests of clients, and connections of bytes, that have ended.", "tunnel,status");
	f->m.bytes = metric_add(m, METRIC_COUNTER, "edge_bytes_total",
				"Bytes of bodies from clients (up) and to them (down).",
				"tunnel,direction");
	f->m.refused = metric_add(m, METRIC_COUNTER, "edge_refused_connections_total",
				  "Connections of clients that were not served.", "reason");
	open = metric_add(m, METRIC_GAUGE, "edge_connections", "Connections of clients, by kind.",
			  "kind");
	accepted = metric_add(m, METRIC_COUNTER, "edge_accepted_total",
			      "Connections of clients accepted.", NULL);
	tls = metric_add(m, METRIC_COUNTER, "edge_tls_handshakes_total",
			 "TLS handshakes with clients.", "result");
	errors = metric_add(m, METRIC_COUNTER, "edge_errors_total",
			    "Requests that the edge answered itself or that broke off, by cause.",
			    "cause");
	waiting = metric_add(m, METRIC_GAUGE, "edge_waiting_bytes",
			     "Bytes that wait for clients and origins who do not take them.", NULL);
	if (!waiting || !f->m.requests || !f->m.bytes || !f->m.refused || !open || !accepted ||
	    !tls || !errors || add_histograms(f, m))
		return -ENOMEM;
	for (int i = 0; i < CLIENT_STATES; i++)
		f->m.open[i] = metric_series(open, states[i], NULL);
	for (int i = 0; i < PAGE_N; i++)
		f->m.causes[i] = metric_series(errors, page_label(i), NULL);
	f->m.aborted = metric_series(errors, "client_left", NULL);
	f->m.malformed = metric_series(errors, "malformed", NULL);
	f->m.accepted = metric_series(accepted, NULL);
	f->m.waiting = metric_series(waiting, NULL);
	f->m.shaken = metric_series(tls, "ok", NULL);
	f->m.shake_failed = metric_series(tls, "failed", NULL);
	/* No tunnel has a name in parentheses. */
	site_series(f, &f->gateway_site, "(gateway)");
	site_series(f, &f->nobody, "(none)");
	return 0;
}

static struct site **chain_of(struct front *f, const struct edge_tunnel *t)
{
	return &f->sites[hash64(&t, sizeof(t), 0) % SITE_CHAINS];
}

struct site *site_of(struct front *f, struct edge_tunnel *t)
{
	struct site **chain = chain_of(f, t), *s = *chain;

	while (s && s->t != t)
		s = s->next;
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return &f->nobody;
	s->t = t;
	site_series(f, s, t->t.name);
	s->next = *chain;
	*chain = s;
	return s;
}

static void site_free(struct site *s)
{
	X509_STORE_free(s->clients);
	sk_X509_NAME_pop_free(s->client_names, X509_NAME_free);
	free(s);
}

void site_drop(struct front *f, struct edge_tunnel *t)
{
	struct site **at = chain_of(f, t), *s;

	while (*at && (*at)->t != t)
		at = &(*at)->next;
	if (!*at)
		return;
	s = *at;
	*at = s->next;
	site_free(s);
}

void sites_free(struct front *f)
{
	for (size_t i = 0; i < SITE_CHAINS; i++) {
		while (f->sites[i]) {
			struct site *s = f->sites[i];

			f->sites[i] = s->next;
			site_free(s);
		}
	}
}

void front_refused(struct front *f, const char *reason)
{
	f->refused++;
	metric_inc(metric_series(f->m.refused, reason, NULL), 1);
}
