// SPDX-License-Identifier: Apache-2.0
/*
 * origin_request.c -- one request of an edge: which target, with which fields, answered with what
 * when the target is away; and its line in the access log.
 *
 * Edges are trusted to name the client (x-weir-client), never to choose what is reached: hostnames
 * are those of the certificate, CONNECT goes to ports that weir.yaml names.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/tunnel/origin.h"
#include "user/tunnel/request_fields.h"
#include "user/tunnel/spare.h"

#define ID_MAX	 64
#define PAGE_MAX 640

struct request {
	struct origin *o;
	struct target_use use; /* use.target NULL: none was found */
	struct exchange *exchange;
	char id[ID_MAX + 1];
	char hostname[TUNNEL_HOSTNAME_MAX];
	char page[PAGE_MAX];
};

/* ---- what the edge says of the client ---- */

static void copy_id(char out[ID_MAX + 1], const char *id)
{
	size_t n = 0;

	for (; id && id[n] && n < ID_MAX; n++)
		out[n] = id[n] > ' ' && id[n] < 0x7f ? id[n] : '?';
	out[n] = '\0';
}

static void read_client(struct request *q, const struct head *h)
{
	const char *client = head_get(h, "x-weir-client"), *local = head_get(h, "x-weir-local");
	struct proxy *p = &q->use.proxy;

	copy_id(q->id, head_get(h, "x-request-id"));
	p->local = !client || !local || addr_port_parse(&p->client, client) ||
		   addr_port_parse(&p->server, local);
}

/* ---- the request as the target gets it ---- */

static bool is_ours(const struct head_field *f)
{
	return f->name_len > 7 && !memcmp(f->name, "x-weir-", 7);
}

static void remove_ours(struct head *h)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		if (!is_ours(&h->fields[i]))
			h->fields[n++] = h->fields[i];
	h->n = n;
}

static struct head *compose(const struct request *q, const struct head *from)
{
	const struct target_spec *spec = target_spec_of(q->use.target);
	const char *host = target_conf(q->use.target)->host;
	struct head *h = head_copy_room(from, REQUEST_FIELDS_TEXT, REQUEST_FIELDS);
	int err = 0;

	if (!h)
		return NULL;
	remove_ours(h);
	if (!q->use.raw && q->use.proxy.client.addr.family)
		err = request_fields_target(h, &q->use.proxy.client.addr);
	if (!err && host)
		err = head_set(h, ":authority", host);
	if (!err && h->scheme && target_is_h2(spec->kind)) /* what is spoken on that connection */
		err = head_set(h, ":scheme", spec->kind == TARGET_H2 ? "https" : "http");
	if (err) {
		head_free(h);
		return NULL;
	}
	return h;
}

/* ---- answers of our own ---- */

static const char *status_text(unsigned int status)
{
	switch (status) {
	case 403:
		return "403 Forbidden";
	case 404:
		return "404 Not Found";
	case 421:
		return "421 Misdirected Request";
	case 502:
		return "502 Bad Gateway";
	case 503:
		return "503 Service Unavailable";
	case 504:
		return "504 Gateway Timeout";
	default:
		return "500 Internal Server Error";
	}
}

static const char *page(struct request *q, unsigned int status, const char *said)
{
	snprintf(q->page, sizeof(q->page), "%s\n\n%s\n\nrequest %s\n", status_text(status), said,
		 q->id);
	return q->page;
}

static int64_t unix_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void log_request(struct request *q, const struct exchange_account *a, const char *cause)
{
	const struct head *h = a->request;
	const char *trace = h ? head_get(h, "traceparent") : NULL;
	struct access_line line = {
		.time_us = unix_us() - (int64_t)(a->ended_us - a->began_us),
		.id = q->id,
		.tunnel = q->o->cred->tunnel,
		.host = q->hostname,
		.cause = cause,
		.client = &q->use.proxy.client.addr,
		.status = a->status,
		.bytes_up = a->bytes_up,
		.bytes_down = a->bytes_down,
		.took_us = a->ended_us - a->began_us,
		.first_us = a->first_us > a->began_us ? a->first_us - a->began_us : 0,
		.tries = a->tries,
	};

	if (h) {
		line.method = h->protocol ? h->protocol : h->method;
		line.path = h->path;
		line.agent = head_get(h, "user-agent");
	}
	/* the second part of a traceparent (W3C Trace Context, section 3.2.2) */
	line.trace = trace && strlen(trace) >= 55 ? trace + 3 : NULL;
	if (q->use.target)
		line.target = target_conf(q->use.target)->to;
	if (q->o->log)
		access_log_add(q->o->log, &line);
	origin_count_request(q->o, a->status, a->bytes_up, a->bytes_down, line.took_us);
}

/* Answers without a target, and forgets the request. */
static void refuse(struct request *q, struct end *front, const struct head *h, unsigned int status,
		   const char *cause, const char *said)
{
	const char *const fields[] = { "x-request-id", q->id, "cache-control", "no-store", NULL };
	uint64_t now = reactor_now_us();
	const struct exchange_account a = {
		.request = h, .status = status, .began_us = now, .first_us = now, .ended_us = now
	};

	page(q, status, said);
	origin_count_error(q->o, cause);
	log_request(q, &a, cause);
	exchange_answer(q->o->reactor, front, status, "text/plain; charset=utf-8", q->page, fields);
	spare_put(q);
}

/* ---- the exchange ---- */

static int on_open(void *arg, struct exchange *x, unsigned int tries, struct end **back)
{
	struct request *q = arg;

	q->exchange = x;
	return target_open(&q->use, tries, back);
}

static void on_again(struct target_use *use)
{
	exchange_retry(((struct request *)((char *)use - offsetof(struct request, use)))->exchange);
}

static const char *on_failure(void *arg, struct exchange *x, enum end_why why, unsigned int status,
			      struct head *h)
{
	struct request *q = arg;

	(void)x;
	target_failed(&q->use, why);
	if (why == END_TIMEOUT || q->use.last == -ETIMEDOUT)
		status = 504;
	head_set_status(h, status);
	head_addf(h, "content-type", "text/plain; charset=utf-8");
	head_addf(h, "cache-control", "no-store");
	head_addf(h, "x-request-id", "%s", q->id);
	return page(q, status,
		    status == 504
			    ? "The tunnel stands, but the server behind it does not answer in time."
		    : why == END_LOST || why == END_PROTOCOL
			    ? "The tunnel stands, but the server behind it broke off its answer."
			    : "The tunnel stands, but the server behind it cannot be reached.");
}

static void on_ended(void *arg, struct exchange *x, const struct exchange_account *a)
{
	struct request *q = arg;
	const char *cause = a->why == END_DONE ? NULL : end_why_word(a->why);

	(void)x;
	if (!cause)
		target_answered(&q->use);
	else if (a->why != END_CANCEL)
		origin_count_error(q->o, cause);
	log_request(q, a, cause);
	load_end(q->o->load, a->ended_us - a->began_us, a->status >= 500 || (cause && !a->status));
	q->o->inflight--;
	target_use_end(&q->use);
	spare_put(q);
}

static void start(struct request *q, struct end *front, const struct head *h, bool last)
{
	const struct exchange_options opt = {
		.reactor = q->o->reactor,
		.open = on_open,
		.failure = on_failure,
		.ended = on_ended,
		.tries_max = target_tries(q->use.target),
		.arg = q,
	};
	struct head *request = compose(q, h);

	q->o->inflight++;
	load_begin(q->o->load);
	if (request && !exchange_start(&q->exchange, front, request, last, &opt))
		return;
	load_end(q->o->load, 0, true);
	q->o->inflight--;
	target_use_end(&q->use);
	refuse(q, front, h, 503, "memory", "The origin has no memory for this request.");
}

/* ---- which target ---- */

static bool is_bytes(const struct head *h)
{
	return !strcmp(h->method, "CONNECT") && !h->protocol;
}

static uint16_t port_of(const char *authority)
{
	const char *colon = strrchr(authority, ':');
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;

	return port <= 65535 ? (uint16_t)port : 0;
}

void origin_request(struct origin_link *l, struct end *front, const struct head *h, bool last)
{
	struct request *q = spare_zero(sizeof(*q));
	struct origin *o = l->o;
	struct target *t;
	uint16_t port = 0;

	if (!q) {
		front->ops->abort(front, END_ERROR);
		return;
	}
	q->o = o;
	q->use.again = on_again;
	read_client(q, h);
	if (!h->authority || head_hostname(h->authority, q->hostname, sizeof(q->hostname))) {
		refuse(q, front, h, 421, "hostname", "The request names no host.");
		return;
	}
	if (!origin_cred_names(o->cred, q->hostname)) {
		log_limited(
			LOG_LEVEL_WARN, 6,
			"edge %s sends a request for %s, which is not in this origin's certificate",
			l->edge, q->hostname);
		refuse(q, front, h, 421, "hostname", "This origin does not serve that hostname.");
		return;
	}
	q->use.raw = is_bytes(h);
	q->use.websocket = h->protocol != NULL;
	if (q->use.raw)
		port = port_of(h->authority);
	t = q->use.raw && !port ? NULL : targets_find(o->targets, q->hostname, port);
	if (!t) {
		refuse(q, front, h, q->use.raw ? 403 : 404, q->use.raw ? "port" : "hostname",
		       q->use.raw ? "This origin has no target for that port."
				  : "This origin has no target for that hostname.");
		return;
	}
	target_use_begin(&q->use, t);
	start(q, front, h, last);
}
