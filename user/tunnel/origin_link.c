// SPDX-License-Identifier: Apache-2.0
/*
 * origin_link.c -- one connection to one edge: dialled, shaken hands, turned round (the edge is the
 * HTTP/2 client), greeted over the control stream, drained by either side.
 *
 * A link ends in one place, fall(), outside of the callbacks of what it holds.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/tunnel/origin.h"

#define HELLO_MS    5000 /* from the handshake to the edge's hello */
#define STREAMS_MAX 1000 /* requests at once on one connection */
#define PING_MS	    1000
#define DEAD_MS	    4000
#define CONNECT_MS  3000
#define QUIET_MS    500	 /* without a request, before a connection that is let go is ended */
#define GRACE_MS    2000 /* for the edge to end it */

/* ---- the end of a link ---- */

void origin_link_free(struct origin_link *l)
{
	struct h2 *h2 = l->h2;
	struct conn *conn = l->conn;

	reactor_timer_stop(l->o->reactor, &l->timer);
	reactor_defer_cancel(l->o->reactor, &l->fall);
	l->h2 = NULL;
	l->conn = NULL;
	if (l->control) /* no event to what is freed here */
		l->control->ops->abort(l->control, END_CANCEL);
	if (conn)
		conn_abort(conn);
	if (h2)
		h2_abort(h2, *l->why ? l->why : "the origin stops");
	control_reader_free(&l->reader);
	control_writer_free(&l->unsent);
	free(l);
}

static void fall(struct reactor_defer *d)
{
	struct origin_link *l =
		(struct origin_link *)((char *)d - offsetof(struct origin_link, fall));

	origin_dial_link_down(l, l->why);
}

/* Ends the link after the batch; the first reason counts. */
static void link_fall(struct origin_link *l, const char *why)
{
	if (!*l->why)
		snprintf(l->why, sizeof(l->why), "%s", why);
	reactor_defer(l->o->reactor, &l->fall);
}

/* ---- why an edge does not want us, in words that say what to do ---- */

static bool says(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

/* text: conn_error(), h2's reason: OpenSSL's alerts and the edge's GOAWAY among them. */
static void explain(const struct origin_link *l, const char *text, char out[ORIGIN_WHY_MAX])
{
	const struct origin_cred *cred = l->o->cred;
	const char *folder = l->o->d->conf->origin.credentials;

	if (!strncmp(text, H2_PEER_SAYS, strlen(H2_PEER_SAYS)))
		snprintf(out, ORIGIN_WHY_MAX, "the edge says: %.400s", text + strlen(H2_PEER_SAYS));
	else if (says(text, "alert certificate expired"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "the edge says that this origin's certificate has expired (it is valid "
			 "until %s; if that is "
			 "not over, a clock is wrong); `weir tunnel enroll` renews it",
			 cred->until_text);
	else if (says(text, "alert certificate revoked"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "the edge says that this origin's certificate (serial %s) was revoked; "
			 "enroll again with a new "
			 "token",
			 cred->serial);
	else if (says(text, "alert unknown ca"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "the edge does not know who signed %.200s/cert.pem: it belongs to another "
			 "installation, or the "
			 "edge's `origins:` names another authority",
			 folder);
	else if (says(text, "no application protocol"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "what listens there is no attach listener of an edge (it does not "
			 "speak " CONTROL_ALPN "); see `edge.attach` there");
	else if (!says(text, "alert") && says(text, "certificate has expired"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "the edge's certificate has expired; `weir ca issue` makes it a new one "
			 "(or is this machine's clock wrong?)");
	else if (!says(text, "alert") && (says(text, "certificate") || says(text, "issuer")))
		snprintf(out, ORIGIN_WHY_MAX,
			 "it is no edge of this installation: its certificate is not of "
			 "%.200s/ca.pem (%.160s)",
			 folder, text);
	else if (says(text, "wrong version number") || says(text, "unsupported protocol"))
		snprintf(out, ORIGIN_WHY_MAX,
			 "what listens there does not speak TLS 1.3; is the port that of "
			 "`edge.attach`?");
	else if (says(text, "without close_notify"))
		snprintf(out, ORIGIN_WHY_MAX, "the edge ended the connection without a word");
	else
		snprintf(out, ORIGIN_WHY_MAX, "%.400s", *text ? text : "the connection ended");
}

/* ---- the control stream ---- */

static void control_flush(struct origin_link *l)
{
	if (l->control && l->unsent.len)
		control_written(&l->unsent, l->control->ops->data(l->control, l->unsent.text,
								  l->unsent.len, false));
}

static void control_say(struct origin_link *l, const struct control *what)
{
	if (!l->control)
		return;
	control_write(&l->unsent, what);
	control_flush(l);
}

static void say_hello(struct origin_link *l)
{
	const struct origin *o = l->o;
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return;
	c->kind = CONTROL_ORIGIN_HELLO;
	snprintf(c->version, sizeof(c->version), "%s", WEIR_VERSION);
	snprintf(c->origin, sizeof(c->origin), "%s", o->id);
	for (size_t i = 0; i < o->cred->nhostnames; i++)
		if (targets_serve(o->targets, o->cred->hostnames[i]))
			snprintf(c->hostnames[c->nhostnames++], TUNNEL_HOSTNAME_MAX, "%s",
				 o->cred->hostnames[i]);
	c->nports = targets_ports(o->targets, c->ports);
	c->connections = o->d->conf->origin.connections;
	control_say(l, c);
	free(c);
}

static void edge_hello(struct origin_link *l, const struct control *c)
{
	snprintf(l->edge, sizeof(l->edge), "%s", c->edge);
	snprintf(l->site, sizeof(l->site), "%s", c->site);
	reactor_timer_stop(l->o->reactor, &l->timer);
	if (l->state != LINK_GREETING)
		return;
	l->state = LINK_UP;
	l->up_ms = reactor_now_ms(l->o->reactor);
	if (c->nedges)
		origin_dial_learned(l->o->dial, c);
	origin_dial_link_up(l);
}

/* Our half of the control stream ends, for which the edge ends the connection. */
static void control_finish(struct origin_link *l)
{
	if (!l->control || l->unsent.len || l->finished)
		return;
	l->finished = true;
	l->control->ops->data(l->control, NULL, 0, true);
}

static void leave(struct origin_link *l)
{
	if (l->state !=
	    LINK_UP) /* before the hello it is a refusal, whose reason comes with the end */
		return;
	l->state = LINK_LEAVING;
	origin_dial_link_leaving(l);
}

/* The edge opens no more streams here: when the last has ended, so does the connection. */
static void part(struct origin_link *l)
{
	l->parted = true;
	leave(l);
}

static int on_line(void *arg, const char *line, size_t len)
{
	struct origin_link *l = arg;
	struct control *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	err = control_parse(c, line, len);
	/* What a newer edge says and this version does not know is passed over. */
	if (err) {
		log_limited(LOG_LEVEL_DEBUG, 6, "edge %s: a control line of %zu bytes is not known",
			    l->edge, len);
		free(c);
		return 0;
	}
	if (c->kind == CONTROL_EDGE_HELLO)
		edge_hello(l, c);
	else if (c->kind == CONTROL_EDGES)
		origin_dial_learned(l->o->dial, c);
	else if (c->kind == CONTROL_DRAIN)
		leave(l);
	free(c);
	return 0;
}

static void control_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct origin_link *l = arg;
	int err = control_feed(&l->reader, data, len, on_line, l);

	if (len && l->control)
		e->ops->taken(e, len);
	if (err)
		link_fall(l, "the edge's control stream is broken: a line is too long");
	else if (last)
		part(l);
}

static void control_trailers(struct end *e, void *arg, const struct head *h)
{
	(void)e, (void)h;
	part(arg);
}

static void control_room(struct end *e, void *arg)
{
	(void)e;
	control_flush(arg);
}

static void control_gone(struct end *e, void *arg, enum end_why why)
{
	struct origin_link *l = arg;

	(void)e;
	l->control = NULL;
	if (l->state == LINK_LEAVING || why == END_DONE)
		return;
	/* With the connection its own reason follows; alone it is a reset. */
	if (why == END_CANCEL)
		link_fall(l, "the edge ended the control stream");
}

static const struct end_events control_events = {
	.data = control_data,
	.trailers = control_trailers,
	.room = control_room,
	.gone = control_gone,
};

static void control_begin(struct origin_link *l, struct end *front)
{
	struct head *h = head_new();

	l->control = front;
	end_listen(front, &control_events, l);
	if (!h || head_set_status(h, 200) || front->ops->head(front, h, false))
		link_fall(l, "out of memory");
	else
		say_hello(l);
	head_free(h);
}

/* ---- HTTP/2, roles reversed ---- */

static void on_request(void *arg, struct end *front, const struct head *h, bool last)
{
	struct origin_link *l = arg;

	if (l->state == LINK_GREETING && !l->control && h->path && !strcmp(h->path, CONTROL_PATH) &&
	    h->method && !strcmp(h->method, "POST"))
		control_begin(l, front);
	else
		origin_request(l, front, h, last);
}

static void on_goaway(void *arg)
{
	part(arg);
}

static void h2_closed(void *arg, const char *why)
{
	struct origin_link *l = arg;
	char text[ORIGIN_WHY_MAX];

	l->h2 = NULL;
	explain(l, why ? why : "", text);
	link_fall(l, text);
}

static void no_hello(struct reactor_timer *t)
{
	struct origin_link *l =
		(struct origin_link *)((char *)t - offsetof(struct origin_link, timer));

	link_fall(l, "the edge took the connection, but greeted for 5 s with nothing; is it "
		     "overloaded, or older than "
		     "this origin?");
}

static int turn_round(struct origin_link *l)
{
	const struct h2_options opt = {
		.server = true,
		.header_bytes_max = HEAD_BYTES_MAX,
		.frame_max = H2_TUNNEL_FRAME,
		.streams_max = STREAMS_MAX,
		.resets_max = UINT_MAX, /* the edge counts its clients' */
		.ping_ms = PING_MS,
		.dead_ms = DEAD_MS,
		.request = on_request,
		.goaway = on_goaway,
		.closed = h2_closed,
		.arg = l,
	};
	struct conn *c = l->conn;
	int err = h2_new(&l->h2, c, &opt);

	if (!err)
		l->conn = NULL; /* h2's now */
	return err;
}

static void conn_ready(struct conn *c, void *arg)
{
	struct origin_link *l = arg;

	if (strcmp(conn_alpn(c), CONTROL_ALPN)) {
		link_fall(l, "what listens there is no attach listener of an edge (it does not "
			     "speak " CONTROL_ALPN "); see `edge.attach` there");
		return;
	}
	if (!cert_is_node(SSL_get0_peer_certificate(conn_tls(c)))) {
		link_fall(l, "it is no edge: its certificate is for a server alone, not for a node "
			     "of the installation (`weir ca issue` makes those)");
		return;
	}
	l->state = LINK_GREETING;
	reactor_timer_set(l->o->reactor, &l->timer, HELLO_MS);
	if (turn_round(l))
		link_fall(l, "out of memory");
}

static void conn_closed(struct conn *c, void *arg, int err)
{
	struct origin_link *l = arg;
	char text[ORIGIN_WHY_MAX];

	explain(l, *conn_error(c) ? conn_error(c) : strerror(-err), text);
	l->conn = NULL;
	link_fall(l, text);
}

static const struct conn_events conn_on = { .ready = conn_ready, .closed = conn_closed };

int origin_link_dial(struct origin_link **out, struct origin *o, const struct addr_port *to)
{
	const struct conn_dial dial = { .to = *to, .tls = o->cred->tls, .timeout_ms = CONNECT_MS };
	struct origin_link *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->o = o;
	l->to = *to;
	l->timer.fn = no_hello;
	l->fall.fn = fall;
	l->began_ms = reactor_now_ms(o->reactor);
	err = conn_dial(&l->conn, o->reactor, &dial, &conn_on, l);
	if (err) {
		free(l);
		return err;
	}
	*out = l;
	return 0;
}

/* ---- what dial and reloads want of it ---- */

void origin_link_load(struct origin_link *l, double cpu)
{
	struct control c = { .kind = CONTROL_LOAD, .cpu = cpu, .inflight = l->o->inflight };

	/* Old figures are worth nothing: what was not taken yet is not added to. */
	if (l->control && !l->unsent.len && l->state == LINK_UP)
		control_say(l, &c);
}

void origin_link_detach(struct origin_link *l)
{
	const struct control c = { .kind = CONTROL_DETACH,
				   .back = l->o->draining && loop_is_restart(l->o->d->loop) };

	if (l->detached)
		return;
	l->detached = true;
	l->state = LINK_LEAVING;
	if (!l->h2) {
		link_fall(l, "not needed any more");
		return;
	}
	control_say(l, &c);
	h2_drain(l->h2);
	l->busy_ms = reactor_now_ms(l->o->reactor);
}

void origin_link_settle(struct origin_link *l)
{
	uint64_t now = reactor_now_ms(l->o->reactor);

	if (l->state != LINK_LEAVING || (!l->detached && !l->parted))
		return;
	if (origin_link_open(l) || !l->busy_ms)
		l->busy_ms = now;
	/* What the edge sent before it heard of it has come by then. */
	if (now - l->busy_ms >= QUIET_MS)
		control_finish(l);
	if (now - l->busy_ms >= QUIET_MS + GRACE_MS)
		link_fall(l, "it was let go");
}

size_t origin_link_open(const struct origin_link *l)
{
	size_t n = l->h2 ? h2_streams(l->h2) : 0;

	return n && l->control ? n - 1 : n;
}
