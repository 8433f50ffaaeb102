// SPDX-License-Identifier: Apache-2.0
/*
 * request.c -- one request of a client: where it goes, what is changed on the way, what the client
 * sees when it fails, its line in the log.
 *
 * An exchange carries it; this file opens backs for it. While origins are expected back (one has
 * just left, this edge has just started) a request without an origin is held for a while.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/tunnel/budget.h"
#include "user/tunnel/acme.h"
#include "user/tunnel/front_impl.h"
#include "user/tunnel/raw.h"
#include "user/tunnel/spare.h"

#define HOLD_MS 3000 /* for an origin that is expected back, or a free stream */
#define BUSY_MS 32   /* between looks for a free stream */

/* ---- life ------------------------------------------------------------------------------------ */

static void link_to(struct request *r, struct request **list)
{
	r->next = *list;
	if (r->next)
		r->next->at = &r->next;
	r->at = list;
	*list = r;
}

static void unlink_request(struct request *r)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
}

static int64_t unix_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void make_id(struct front *f, char out[REQUEST_ID_LEN + 1])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t id[REQUEST_ID_LEN / 2];

	front_random(f, id, sizeof(id));
	for (size_t i = 0; i < sizeof(id); i++) {
		out[2 * i] = digits[id[i] >> 4];
		out[2 * i + 1] = digits[id[i] & 15];
	}
	out[REQUEST_ID_LEN] = '\0';
}

static struct request *request_new(struct client *c)
{
	struct front *f = c->front;
	struct request *r = spare_zero(sizeof(*r));

	if (!r)
		return NULL;
	make_id(f, r->id);
	r->front = f;
	r->client = c;
	r->cause = PAGE_N;
	r->came_us = unix_us();
	r->peer = c->peer;
	r->protocol = client_protocol(c);
	link_to(r, &c->running);
	f->nrequests++;
	return r;
}

static void hold_stop(struct request *r)
{
	if (r->waiting)
		attach_wait_stop(r->front->edge->attach, &r->waiter);
	r->waiting = false;
	reactor_timer_stop(r->front->reactor, &r->busy);
}

static void set_tunnel(struct request *r, struct edge_tunnel *t)
{
	if (r->tunnel) {
		r->tunnel->users--;
		r->tunnel->open--;
	}
	r->tunnel = t;
	if (t) {
		t->users++;
		t->open++;
	}
}

static void request_free(struct request *r)
{
	struct front *f = r->front;

	hold_stop(r);
	set_tunnel(r, NULL);
	unlink_request(r);
	f->nrequests--;
	free(r->body);
	spare_put(r);
	front_ended(f);
}

void requests_forget(struct client *c)
{
	while (c->running) {
		struct request *r = c->running;

		unlink_request(r);
		r->client = NULL;
		link_to(r, &c->front->orphans);
	}
}

static void abort_list(struct request *list, struct edge_tunnel *t)
{
	for (struct request *r = list, *next; r; r = next) {
		next = r->next;
		if (t && r->tunnel != t)
			continue;
		hold_stop(r);
		r->cause = PAGE_GONE;
		if (!t)
			set_tunnel(r, NULL); /* the registry's copy goes before `ended` */
		exchange_abort(r->exchange, END_CANCEL);
	}
}

void requests_abort(struct front *f, struct edge_tunnel *t)
{
	for (struct client *c = f->clients; c; c = c->next)
		abort_list(c->running, t);
	abort_list(f->orphans, t);
}

/* ---- its account ----------------------------------------------------------------------------- */

static struct site *site_for(const struct request *r)
{
	if (r->tunnel)
		return r->tunnel->gone ? &r->front->nobody : site_of(r->front, r->tunnel);
	return r->gateway ? &r->front->gateway_site : &r->front->nobody;
}

static void count(const struct request *r, const struct access_line *line)
{
	struct front *f = r->front;
	struct site *s = site_for(r);
	unsigned int class = line->status / 100;

	f->served++;
	metric_inc(s->requests[class < 6 ? class : 0], 1);
	metric_inc(s->up, line->bytes_up);
	metric_inc(s->down, line->bytes_down);
	if (!r->port)
		metric_observe(f->m.seconds, (double)line->took_us / 1e6);
	if (line->first_us && !r->port)
		metric_observe(f->m.first_seconds, (double)line->first_us / 1e6);
	if (r->cause < PAGE_N)
		metric_inc(f->m.causes[r->cause], 1);
	else if (line->cause)
		metric_inc(f->m.aborted, 1);
	if (!r->tunnel)
		return;
	r->tunnel->requests++;
	r->tunnel->bytes_up += line->bytes_up;
	r->tunnel->bytes_down += line->bytes_down;
	r->tunnel->errors += line->cause != NULL;
}

static void account(struct request *r, const struct head *h, struct access_line *line)
{
	line->time_us = r->came_us;
	line->id = r->id;
	line->client = &r->peer;
	line->tunnel = r->tunnel ? r->tunnel->t.name : r->gateway ? "(gateway)" : NULL;
	line->protocol = r->port ? "tcp" : r->protocol;
	if (h) {
		line->method = h->protocol ? h->protocol : h->method;
		line->host = h->authority;
		line->path = h->path;
		line->agent = head_get(h, "user-agent");
		line->trace = head_get(h, "traceparent");
		/* what was forwarded is valid */
		if (line->trace && (r->exchange || traceparent_valid(line->trace)))
			line->trace += 3;
		else
			line->trace = NULL;
	}
	if (r->cause < PAGE_N)
		line->cause = page_label((enum page_cause)r->cause);
	count(r, line);
	access_log_add(r->front->log, line);
}

const char *request_refused(void *client, unsigned int status, const char *why)
{
	struct client *c = client;
	struct access_line line = { .time_us = unix_us(),
				    .id = c->front->refused_id,
				    .client = &c->peer,
				    .protocol = client_protocol(c),
				    .tunnel = c->tunnel ? c->tunnel->t.name : NULL,
				    .status = status,
				    .cause = "malformed" };

	make_id(c->front, c->front->refused_id);
	metric_inc(c->front->m.malformed, 1);
	metric_inc(c->front->nobody.requests[status / 100 < 6 ? status / 100 : 0], 1);
	log_debug("a request was refused with %u: %s", status, why ? why : "malformed");
	access_log_add(c->front->log, &line);
	return c->front->refused_id;
}

/* ---- answers of the edge itself -------------------------------------------------------------- */

/* Those of a limit are worth another try soon. */
static bool is_passing(enum page_cause cause)
{
	return page_status(cause) == 503 || cause == PAGE_RATE || cause == PAGE_NO_ORIGIN;
}

/* name, value, … for an answer of cause. */
static void page_fields(const struct request *r, enum page_cause cause, const char *out[18])
{
	size_t n = 0;

	out[n++] = "x-request-id";
	out[n++] = r->id;
	out[n++] = "cache-control";
	out[n++] = "no-store";
	out[n++] = "x-content-type-options";
	out[n++] = "nosniff";
	if (r->type == PAGE_HTML) {
		out[n++] = "content-security-policy";
		out[n++] = "default-src 'none'; style-src 'unsafe-inline'";
	}
	if (is_passing(cause)) {
		out[n++] = "retry-after";
		out[n++] = "1";
	}
	if (cause == PAGE_METHOD) {
		out[n++] = "allow";
		out[n++] = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
	}
	out[n] = NULL;
}

/* Refused before an exchange was begun. */
static void refuse(struct request *r, struct end *front, const struct head *h,
		   enum page_cause cause)
{
	bool no_body = !strcmp(h->method, "HEAD");
	struct access_line line = { .status = page_status(cause) };
	const char *fields[18];

	r->cause = (uint8_t)cause;
	r->body = no_body ? NULL : page_format(cause, r->type, r->id);
	line.bytes_down = r->body ? strlen(r->body) : 0;
	page_fields(r, cause, fields);
	exchange_answer(r->front->reactor, front, line.status, page_content_type(r->type), r->body,
			fields);
	account(r, h, &line);
	request_free(r);
}

/* An authority asks who holds the name, before there is a site or a certificate of it. */
static bool acme_serve(struct request *r, struct end *front, const struct head *h)
{
	const char *const fields[] = {
		"x-request-id", r->id, "cache-control", "no-store", "x-content-type-options",
		"nosniff",	NULL
	};
	const char *folder = front_conf(r->front)->acme;
	bool get = !strcmp(h->method, "GET");
	struct access_line line = { .status = 200 };

	if (r->secure || !folder || (!get && !r->head_only))
		return false;
	r->body = acme_text(folder, h->path);
	if (!r->body)
		return false;
	line.bytes_down = get ? strlen(r->body) : 0;
	exchange_answer(r->front->reactor, front, 200, "text/plain", get ? r->body : NULL, fields);
	account(r, h, &line);
	request_free(r);
	return true;
}

static enum page_cause cause_of(enum end_why why, unsigned int status)
{
	switch (why) {
	case END_TIMEOUT:
		return status == 408 ? PAGE_SLOW : PAGE_TIMEOUT;
	case END_PROTOCOL:
		return PAGE_INVALID;
	case END_LIMIT:
		return status == 413 ? PAGE_BODY : PAGE_INVALID;
	case END_ERROR:
		return PAGE_ERROR;
	default:
		return PAGE_LOST;
	}
}

static const char *on_failure(void *arg, struct exchange *x, enum end_why why, unsigned int status,
			      struct head *h)
{
	struct request *r = arg;
	const char *fields[18], **f = fields;
	bool no_body = r->head_only;

	(void)x;
	if (r->cause == PAGE_N)
		r->cause = (uint8_t)cause_of(why, status);
	head_set_status(h, page_status((enum page_cause)r->cause));
	free(r->body);
	r->body = no_body ? NULL : page_format((enum page_cause)r->cause, r->type, r->id);
	head_addf(h, "content-type", "%s", page_content_type(r->type));
	page_fields(r, (enum page_cause)r->cause, fields);
	for (; f[0]; f += 2)
		head_add(h, f[0], strlen(f[0]), f[1], strlen(f[1]));
	return r->body;
}

/* ---- the way to the origin ------------------------------------------------------------------- */

static void on_attached(struct attach_waiter *w, bool attached)
{
	struct request *r = (struct request *)((char *)w - offsetof(struct request, waiter));

	r->waiting = false;
	if (!attached)
		r->wait_until_ms = 0;
	exchange_retry(r->exchange);
}

static void on_busy(struct reactor_timer *t)
{
	exchange_retry(((struct request *)((char *)t - offsetof(struct request, busy)))->exchange);
}

/* Later, when that may help. */
static int hold(struct request *r, int rc)
{
	struct front *f = r->front;
	struct attach *a = f->edge->attach;
	uint64_t now = reactor_now_ms(f->reactor);

	if (!r->held) {
		r->held = true;
		r->wait_until_ms = now + HOLD_MS;
	}
	if (now < r->wait_until_ms && rc == -EAGAIN) {
		r->busy.fn = on_busy;
		reactor_timer_set(f->reactor, &r->busy, BUSY_MS);
		return -EAGAIN;
	}
	if (now < r->wait_until_ms && rc == -ENOENT && attach_expected(a, r->tunnel)) {
		r->waiter.fn = on_attached;
		r->waiting = true;
		attach_wait(a, r->tunnel, (unsigned int)(r->wait_until_ms - now), &r->waiter);
		return -EAGAIN;
	}
	r->cause = rc == -EAGAIN ? PAGE_BUSY : PAGE_NO_ORIGIN;
	return rc == -EAGAIN ? -EBUSY : rc;
}

static int on_open(void *arg, struct exchange *x, unsigned int tries, struct end **back)
{
	struct request *r = arg;
	struct edge *edge = r->front->edge;
	int rc;

	(void)x;
	r->cause = PAGE_N;
	if (r->gateway) {
		rc = r->front->gateway ? gateway_stream(r->front->gateway, r->secure, back)
				       : -ENOENT;
		if (rc)
			r->cause = PAGE_NO_GATEWAY;
		return rc;
	}
	if (!r->tunnel || r->tunnel->gone) {
		r->cause = PAGE_GONE;
		return -ENOENT;
	}
	rc = edge->attach
		     ? attach_stream(edge->attach, r->tunnel, r->hostname, r->port, tries, back)
		     : -ENOENT;
	if (!rc)
		return 0;
	if (rc != -EAGAIN && rc != -ENOENT) {
		r->cause = PAGE_ERROR;
		return rc;
	}
	if (!edge->attach) {
		r->cause = PAGE_NO_ORIGIN;
		return rc;
	}
	return hold(r, rc);
}

static void on_response(void *arg, struct exchange *x, struct head *h)
{
	struct request *r = arg;

	(void)x;
	if (h->status >= 200)
		request_fields_answer(h, r->id);
}

static void on_ended(void *arg, struct exchange *x, const struct exchange_account *a)
{
	struct request *r = arg;
	struct client *c = r->client;
	struct access_line line = { .status = a->status,
				    .bytes_up = a->bytes_up,
				    .bytes_down = a->bytes_down,
				    .took_us = a->ended_us - a->began_us,
				    .first_us = a->first_us ? a->first_us - a->began_us : 0,
				    .tries = a->tries,
				    .cause = a->why == END_DONE ? NULL : end_why_word(a->why) };

	(void)x;
	if (r->port) /* a connection ends as it ends */
		line.cause = NULL;
	account(r, a->request, &line);
	request_free(r);
	if (c && c->state == CLIENT_BYTES)
		client_free(c);
}

/* ---- begin ----------------------------------------------------------------------------------- */

static void options_for(const struct request *r, struct exchange_options *opt)
{
	const struct conf_edge *conf = front_conf(r->front);

	*opt = (struct exchange_options){
		.reactor = r->front->reactor,
		.idle_ms = (unsigned int)(conf->limits.idle_us / 1000),
		.total_ms = (unsigned int)(conf->limits.total_us / 1000),
		.body_max = r->port ? 0 : conf->limits.body,
		.open = on_open,
		.response = r->port ? NULL : on_response,
		.failure = on_failure,
		.ended = on_ended,
		.arg = (void *)r,
	};
}

/* The head as the gateway or the origin gets it. */
static struct head *forwarded(const struct request *r, const struct client *c, const struct head *h)
{
	char trace[TRACEPARENT_LEN + 1];
	struct request_origin from = { .id = r->id,
				       .traceparent = trace,
				       .client = &c->peer,
				       .client_port = c->peer_port,
				       .local = r->gateway ? NULL : &c->local,
				       .local_port = c->local_port };
	struct head *copy = head_copy_room(h, REQUEST_FIELDS_TEXT, REQUEST_FIELDS);
	uint8_t random[24];

	front_random(r->front, random, sizeof(random));
	traceparent_make(trace, random);
	if (copy && (r->gateway ? request_fields_forward : request_fields_tunnel)(copy, &from)) {
		head_free(copy);
		return NULL;
	}
	return copy;
}

static void start(struct request *r, struct end *front, const struct head *h, bool last)
{
	struct head *copy = forwarded(r, r->client, h);
	struct exchange_options opt;

	if (!copy) {
		refuse(r, front, h, PAGE_ERROR);
		return;
	}
	options_for(r, &opt);
	if (exchange_start(&r->exchange, front, copy, last, &opt))
		refuse(r, front, h, PAGE_ERROR);
}

void request_begin(void *client, struct end *front, const struct head *h, bool last)
{
	struct client *c = client;
	struct front *f = c->front;
	const struct conf_edge *conf = front_conf(f);
	struct request *r = request_new(c);
	enum page_cause cause;
	struct route route;

	if (!r) {
		exchange_answer(f->reactor, front, 500, NULL, NULL, NULL);
		return;
	}
	r->type = page_type_of(head_get(h, "accept"));
	r->head_only = !strcmp(h->method, "HEAD");
	r->secure = c->tls;
	cause = request_route(c, h, &route);
	if (cause == PAGE_N && !route.tunnel)
		r->gateway = true;
	else if (route.tunnel)
		set_tunnel(r, route.tunnel);
	if (cause == PAGE_N && budget_tight())
		cause = PAGE_BUSY;
	if (!limits_request(c->address, conf->limits.rate, reactor_now_ms(f->reactor)))
		cause = PAGE_RATE;
	else if (acme_serve(r, front, h))
		return;
	if (cause == PAGE_N && h->content_length > 0 &&
	    (uint64_t)h->content_length > conf->limits.body)
		cause = PAGE_BODY;
	if (cause != PAGE_N) {
		refuse(r, front, h, cause);
		return;
	}
	memcpy(r->hostname, route.hostname, sizeof(r->hostname));
	start(r, front, h, last);
}

/* CONNECT HOSTNAME:PORT, as origins know bytes. */
static struct head *bytes_head(const char *hostname, uint16_t port)
{
	struct head *h = head_new();
	char authority[TUNNEL_HOSTNAME_MAX + 8];

	snprintf(authority, sizeof(authority), "%s:%u", hostname, port);
	if (h && (head_set(h, ":method", "CONNECT") || head_set(h, ":authority", authority))) {
		head_free(h);
		return NULL;
	}
	return h;
}

int request_bytes(struct client *c, struct edge_tunnel *t, const char *hostname, uint16_t port)
{
	struct request *r = request_new(c);
	struct head *h = bytes_head(hostname, port);
	struct end *front = NULL;

	if (r && h && !raw_front(&front, c->conn, 0)) {
		r->port = port;
		snprintf(r->hostname, sizeof(r->hostname), "%s", hostname);
		set_tunnel(r, t);
		start(r, front, h, false);
		head_free(h);
		return 0;
	}
	head_free(h);
	if (r)
		request_free(r);
	conn_abort(c->conn);
	client_free(c);
	return -ENOMEM;
}
