/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enroll.c -- an origin that has a token and no certificate yet: HTTP/1.1 on the attach listener.
 *
 *	POST /_/tunnel/enroll {"tunnel","secret","csr"}
 *	200 {"cert","ca","edges":[…]}   403 {"error","cause"}   503: the authority did not answer
 *
 * The edge knows neither secrets nor the authority's key: what it is sent goes to the authority by
 * way of the registry (enroll/ID, on this edge's lease), and what that answers (enrolled/ID) goes
 * back. Nothing here is logged but outcomes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/exchange.h"
#include "user/tunnel/h1.h"

#define BODY_MAX     16384
#define ANSWER_MS    10000 /* for the authority */
#define HEAD_MS	     5000
#define SESSION_MS   20000 /* for a whole connection */
#define PENDING_MAX  64
#define SESSIONS_MAX 256 /* connections of newcomers, of one address half of them at most */
#define LIMIT_SLOTS  1024
#define LIMIT_BURST  30	  /* asks of one address (IPv6: one /64) at once … */
#define LIMIT_MS     2000 /* … and one more each */

struct slot {
	uint64_t key, since_ms;
	double left;
};

struct enroll {
	struct edge *edge;
	struct session *sessions;
	unsigned int npending;
	struct reg_watch *watch;
	uint64_t seed;
	struct metric *results;
	struct slot slots[LIMIT_SLOTS];
};

/* One connection. */
struct session {
	struct session *next, **at;
	struct enroll *e;
	struct h1_server *server;
	struct end *front; /* of the request that is not answered yet */
	struct addr_port peer;
	char *body;
	size_t len;
	char id[33]; /* "" unless the authority is asked */
	struct reactor_timer timer;
};

static void count(struct enroll *e, const char *result)
{
	metric_inc(metric_series(e->results, result, NULL), 1);
}

static void wipe_body(struct session *s)
{
	if (s->body)
		explicit_bzero(s->body, s->len);
	free(s->body);
	s->body = NULL;
	s->len = 0;
}

/* Nothing is asked any more: both keys go. */
static void stop_asking(struct session *s)
{
	char key[sizeof(REG_ENROLLED) + sizeof(s->id)];

	if (!*s->id)
		return;
	snprintf(key, sizeof(key), REG_ENROLL "%s", s->id);
	leased_put(s->e->edge->leased, key, NULL);
	snprintf(key, sizeof(key), REG_ENROLLED "%s", s->id);
	leased_put(s->e->edge->leased, key, NULL);
	s->id[0] = '\0';
	s->e->npending--;
}

static void answer_text(struct session *s, unsigned int status, const char *text)
{
	struct end *front = s->front;

	stop_asking(s);
	wipe_body(s);
	s->front = NULL;
	if (front)
		exchange_answer(s->e->edge->reactor, front, status, "application/json", text, NULL);
	reactor_timer_set(s->e->edge->reactor, &s->timer, HEAD_MS);
}

static void refuse(struct session *s, unsigned int status, const char *result, const char *why)
{
	json_t *o = json_pack("{s:s,s:s}", "error", why, "cause", result);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	count(s->e, result);
	answer_text(s, status, text ? text : "{}");
	free(text);
	json_decref(o);
}

/* ---- the authority's answer ---- */

static void granted(struct session *s, const char *cert)
{
	static char edges[CONTROL_EDGES_MAX][80];
	size_t n = edge_tunnels_peers(s->e->edge->tunnels, true, edges, CONTROL_EDGES_MAX);
	json_t *list = json_array(), *o;
	char *text;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(edges[i]));
	o = json_pack("{s:s,s:s,s:o}", "cert", cert, "ca", s->e->edge->attach->ca_pem, "edges",
		      list);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (text) {
		count(s->e, "signed");
		answer_text(s, 200, text);
	} else {
		refuse(s, 503, "memory", "this edge has no memory");
	}
	free(text);
	json_decref(o);
}

static void answered(struct session *s, const char *value)
{
	json_t *o = json_loads(value, 0, NULL);
	const char *cert = json_string_value(json_object_get(o, "cert"));
	const char *error = json_string_value(json_object_get(o, "error"));
	char from[ADDR_PORT_STRLEN];

	addr_port_format(&s->peer, from, sizeof(from));
	if (cert) {
		log_info("enrolled an origin from %s", from);
		granted(s, cert);
	} else {
		log_limited(LOG_LEVEL_WARN, 30, "refused to enrol an origin from %s: %s", from,
			    error ? error : "the authority's answer cannot be read");
		refuse(s, 403, "refused", error ? error : "the authority refused");
	}
	json_decref(o);
}

struct told {
	struct enroll *e;
	char *id, *value;
};

static void on_main(void *arg)
{
	struct told *t = arg;
	struct session *s;

	for (s = t->e->sessions; s; s = s->next)
		if (*s->id && !strcmp(s->id, t->id))
			break;
	if (s)
		answered(s, t->value);
	free(t->id);
	free(t->value);
	free(t);
}

static void on_enrolled(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct enroll *e = arg;
	struct told *t = event == REG_PUT ? calloc(1, sizeof(*t)) : NULL;

	if (!t)
		return;
	t->e = e;
	t->id = strdup(kv->key + strlen(REG_ENROLLED));
	t->value = strdup(kv->value);
	if (!t->id || !t->value || loop_post(e->edge->d->loop, on_main, t) < 0) {
		free(t->id);
		free(t->value);
		free(t);
	}
}

/* ---- asking ---- */

/* A newcomer's address may ask so often. */
static bool within_limit(struct enroll *e, const struct addr *a)
{
	uint64_t now = reactor_now_ms(e->edge->reactor);
	uint64_t key = hash64(a->bytes, a->family == AF_INET ? 4 : 8, e->seed);
	struct slot *slot = &e->slots[key % LIMIT_SLOTS];

	if (slot->key != key)
		*slot = (struct slot){ key, now, LIMIT_BURST };
	slot->left += (double)(now - slot->since_ms) / LIMIT_MS;
	slot->since_ms = now;
	if (slot->left > LIMIT_BURST)
		slot->left = LIMIT_BURST;
	if (slot->left < 1)
		return false;
	slot->left--;
	return true;
}

static void ask_authority(struct session *s, const struct enroll_ask *ask)
{
	struct enroll *e = s->e;
	char *value = enroll_ask_format(ask), key[sizeof(REG_ENROLL) + sizeof(s->id)];
	uint8_t id[16];

	if (!value || (!e->watch && registry_watch(e->edge->d->registry, &e->watch, REG_ENROLLED,
						   on_enrolled, e))) {
		free(value);
		refuse(s, 503, "memory", "this edge has no memory");
		return;
	}
	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), s->id);
	e->npending++;
	snprintf(key, sizeof(key), REG_ENROLL "%s", s->id);
	leased_put(e->edge->leased, key, value);
	reactor_timer_set(e->edge->reactor, &s->timer, ANSWER_MS);
	explicit_bzero(value, strlen(value));
	free(value);
}

static void whole(struct session *s)
{
	struct enroll *e = s->e;
	struct enroll_ask ask = { .csr = NULL };

	if (!s->body) {
		refuse(s, 503, "memory", "this edge has no memory");
		return;
	}
	s->body[s->len] = '\0';
	if (strlen(s->body) != s->len || enroll_ask_parse(&ask, s->body)) {
		refuse(s, 400, "malformed", "expected {\"tunnel\",\"secret\",\"csr\"}");
		return;
	}
	if (e->npending >= PENDING_MAX || e->edge->attach->draining || !e->edge->leased)
		refuse(s, 503, "busy", "this edge cannot ask now; try again");
	else
		ask_authority(s, &ask);
	wipe_body(s);
	enroll_ask_clear(&ask);
}

/* ---- the request ---- */

static void on_data(struct end *f, void *arg, const void *data, size_t len, bool last)
{
	struct session *s = arg;

	if (!s->body || s->len + len > BODY_MAX) {
		refuse(s, 413, "malformed", "the request is too large");
		return;
	}
	memcpy(s->body + s->len, data, len);
	s->len += len;
	f->ops->taken(f, len);
	if (last)
		whole(s);
}

static void on_trailers(struct end *f, void *arg, const struct head *h)
{
	(void)f, (void)h;
	whole(arg);
}

static void on_gone(struct end *f, void *arg, enum end_why why)
{
	struct session *s = arg;

	(void)f, (void)why;
	s->front = NULL;
	if (!s->e)
		return;
	stop_asking(s);
	wipe_body(s);
}

static void on_head(struct end *f, void *arg, const struct head *h, bool last)
{
	(void)f, (void)arg, (void)h, (void)last;
}

static void on_room(struct end *f, void *arg)
{
	(void)f, (void)arg;
}

static const struct end_events front_events = { on_head, on_data, on_trailers, on_room, on_gone };

static void on_request(void *arg, struct end *front, const struct head *h, bool last)
{
	struct session *s = arg;

	s->front = front;
	end_listen(front, &front_events, s);
	reactor_timer_set(s->e->edge->reactor, &s->timer, SESSION_MS);
	if (strcmp(h->path ? h->path : "", CONTROL_ENROLL)) {
		refuse(s, 404, "malformed", "origins attach here; there is no such page");
	} else if (strcmp(h->method, "POST")) {
		refuse(s, 405, "malformed", "expected POST");
	} else if (!within_limit(s->e, &s->peer.addr)) {
		refuse(s, 429, "limited", "too many requests from this address; try again later");
	} else if (last) {
		refuse(s, 400, "malformed", "the request is empty");
	} else {
		s->body = malloc(BODY_MAX + 1);
		s->len = 0;
	}
}

static const char *on_refused(void *arg, unsigned int status, const char *why)
{
	struct session *s = arg;

	(void)status, (void)why;
	count(s->e, "malformed");
	return NULL;
}

static void session_forget(struct session *s)
{
	stop_asking(s);
	wipe_body(s);
	reactor_timer_stop(s->e->edge->reactor, &s->timer);
	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	s->e = NULL;
}

static void on_closed(void *arg)
{
	struct session *s = arg;

	if (s->e)
		session_forget(s);
	free(s);
}

static void on_timer(struct reactor_timer *t)
{
	struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));

	if (*s->id) {
		log_limited(LOG_LEVEL_WARN, 10,
			    "the authority did not answer an enrolment in %d s: does weir-tunnel "
			    "authority run?",
			    ANSWER_MS / 1000);
		refuse(s, 503, "silent", "the authority did not answer in time; try again later");
	} else {
		h1_server_abort(s->server); /* `closed` follows */
	}
}

static bool has_room(const struct enroll *e, const struct addr *from)
{
	unsigned int all = 0, same = 0;

	for (const struct session *s = e->sessions; s; s = s->next) {
		all++;
		same += attach_same_source(&s->peer.addr, from);
	}
	return all < SESSIONS_MAX && same < SESSIONS_MAX / 2;
}

int enroll_serve(struct edge *edge, struct conn *c)
{
	struct enroll *e = edge->attach->enroll;
	struct session *s = calloc(1, sizeof(*s));
	struct h1_server_options opt = { .scheme = "https",
					 .header_bytes_max = 8192,
					 .head_ms = HEAD_MS,
					 .idle_ms = HEAD_MS,
					 .request = on_request,
					 .refused = on_refused,
					 .closed = on_closed,
					 .arg = s };
	int rc;

	if (!s)
		return -ENOMEM;
	if (!has_room(e, &conn_peer(c)->addr)) {
		count(e, "limited");
		free(s);
		return -EBUSY;
	}
	s->e = e;
	s->peer = *conn_peer(c);
	s->timer.fn = on_timer;
	rc = h1_server_new(&s->server, c, &opt);
	if (rc) {
		free(s);
		return rc;
	}
	s->next = e->sessions;
	s->at = &e->sessions;
	if (s->next)
		s->next->at = &s->next;
	e->sessions = s;
	reactor_timer_set(edge->reactor, &s->timer, SESSION_MS);
	return 0;
}

int enroll_open(struct enroll **out, struct edge *edge)
{
	struct enroll *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->edge = edge;
	random_bytes(&e->seed, sizeof(e->seed));
	e->results = metric_add(edge->d->metrics, METRIC_COUNTER, "edge_enrolments_total",
				"Enrolments that origins asked for.", "result");
	if (!e->results) {
		free(e);
		return -ENOMEM;
	}
	*out = e;
	return 0;
}

void enroll_close(struct enroll *e)
{
	if (!e)
		return;
	registry_unwatch(e->watch);
	while (e->sessions) {
		struct session *s = e->sessions;

		session_forget(s);
		h1_server_abort(s->server);
	}
	free(e);
}
