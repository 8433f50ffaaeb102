// SPDX-License-Identifier: Apache-2.0
/*
 * h2.c -- an HTTP/2 connection: its session of libnghttp2 over a conn, its timers, and how it ends.
 *
 * What a batch brought is answered once, in h2_run(), after the batch; only DATA go out at once,
 * since their memory is gone afterwards.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/h2_impl.h"
#include "user/tunnel/spare.h"

#define CONNECTION_WINDOW (16u << 20)
#define HEAD_SEND_MAX	  (256u << 10) /* as libnghttp2 estimates it, from above */
#define DRAIN_MS	  1000	       /* for the PING behind the first GOAWAY */
#define WAIT_MIN_MS	  50

void h2_run_soon(struct h2 *h)
{
	reactor_defer(h->reactor, &h->run);
}

void h2_over(struct h2 *h, enum end_why lost, const char *why)
{
	if (h->dead)
		return;
	h->dead = true;
	h->lost = lost;
	if (!h->why[0] && why)
		snprintf(h->why, sizeof(h->why), "%s", why);
	h2_run_soon(h);
}

/* ---- output ------------------------------------------------------------------------------- */

int h2_write(struct h2 *h, const void *data, size_t len)
{
	size_t n = 0;
	uint8_t *p;

	if (!h->conn)
		return 0; /* the streams hear of it soon */
	if (!h->rest_len)
		n = conn_write(h->conn, data, len);
	if (n == len)
		return 0;
	p = realloc(h->rest, h->rest_at + h->rest_len + len - n);
	if (!p)
		return -ENOMEM;
	memcpy(p + h->rest_at + h->rest_len, (const uint8_t *)data + n, len - n);
	h->rest = p;
	h->rest_len += len - n;
	return 0;
}

static void h2_write_rest(struct h2 *h)
{
	size_t n;

	if (!h->rest_len || !h->conn)
		return;
	n = conn_write(h->conn, h->rest + h->rest_at, h->rest_len);
	h->rest_at += n;
	h->rest_len -= n;
	if (h->rest_len)
		return;
	free(h->rest);
	h->rest = NULL;
	h->rest_at = 0;
}

void h2_send(struct h2 *h)
{
	int err;

	if (h->inside || h->dead || h->closing)
		return;
	h->inside = true;
	err = nghttp2_session_send(h->ng);
	h->inside = false;
	if (err)
		h2_over(h, END_ERROR, nghttp2_strerror(err));
}

/* ---- the end ------------------------------------------------------------------------------ */

static void h2_tell(struct h2 *h)
{
	struct stream *s;

	while ((s = h->tell)) {
		h->tell = s->tell_next;
		if (!h->tell)
			h->tell_end = &h->tell;
		stream_told(s);
	}
}

static void h2_tell_all(struct h2 *h, enum end_why lost)
{
	for (struct stream *s = h->streams; s; s = s->next) {
		/* a request that never left may be sent elsewhere */
		bool left = h->opt.server || (s->id && nghttp2_session_find_stream(h->ng, s->id));
		enum end_why why = left ? lost : END_REFUSED;

		stream_closed(s);
		stream_gone(s, why);
	}
	h2_tell(h);
}

static void h2_free(struct h2 *h)
{
	reactor_defer_cancel(h->reactor, &h->run);
	reactor_timer_stop(h->reactor, &h->ping);
	reactor_timer_stop(h->reactor, &h->idle);
	reactor_timer_stop(h->reactor, &h->drain);
	reactor_last_remove(&h->last);
	nghttp2_session_del(h->ng);
	head_free(h->in);
	free(h->rest);
	free(h);
}

static void h2_bury(struct h2 *h)
{
	if (h->conn)
		conn_abort(h->conn);
	h->conn = NULL;
	while (h->streams)
		h2_tell_all(h, h->lost);
	if (h->opt.closed)
		h->opt.closed(h->opt.arg, h->why[0] ? h->why : "closed");
	h2_free(h);
}

/* The reactor goes while the conn closes: its user may be gone, the conn will not tell us. */
static void on_last(struct reactor_last *l)
{
	struct h2 *h = (struct h2 *)((char *)l - offsetof(struct h2, last));

	h->opt.closed = NULL;
	h2_bury(h);
}

/* Nothing more to say or to hear: after GOAWAY, without streams. */
static void h2_see_end(struct h2 *h)
{
	if (h->ending && !h->closing && h->rest_len) /* it does not read: it need not know why */
		h2_over(h, h->lost, NULL);
	if (h->dead || h->closing || h->rest_len)
		return;
	if (!h->ending && (nghttp2_session_want_read(h->ng) || nghttp2_session_want_write(h->ng)))
		return;
	h->closing = true;
	h->last.fn = on_last;
	reactor_last_add(h->reactor, &h->last);
	h2_tell_all(h, h->lost);
	if (h->conn)
		conn_close(h->conn);
}

static void h2_run(struct reactor_defer *d)
{
	struct h2 *h = (struct h2 *)((char *)d - offsetof(struct h2, run));

	h2_send(h);
	stream_room(h);
	h2_tell(h);
	if (!h->dead) {
		h2_send(h);
		h2_see_end(h);
	}
	if (h->dead)
		h2_bury(h);
}

/* ---- the conn ----------------------------------------------------------------------------- */

static size_t on_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	struct h2 *h = arg;
	ssize_t n;

	(void)c;
	h->silent = 0;
	h->heard_ms = reactor_now_ms(h->reactor);
	if (h->closing || h->dead)
		return len;
	h->inside = true;
	n = nghttp2_session_mem_recv(h->ng, data, len);
	h->inside = false;
	recv_see_floods(h);
	if (n < 0)
		h2_over(h, END_PROTOCOL, nghttp2_strerror((int)n));
	h2_run_soon(h);
	return len;
}

static void on_writable(struct conn *c, void *arg)
{
	struct h2 *h = arg;

	(void)c;
	h2_write_rest(h);
	h2_run_soon(h);
}

static void on_eof(struct conn *c, void *arg)
{
	struct h2 *h = arg;

	(void)c;
	if (!h->closing)
		h2_over(h, END_LOST, "closed by the peer");
}

static void on_closed(struct conn *c, void *arg, int err)
{
	struct h2 *h = arg;
	const char *why = err ? conn_error(c) : "closed";

	h->conn = NULL;
	h2_over(h, h->lost, why && *why ? why : strerror(-err));
}

static const struct conn_events h2_conn_events = {
	.data = on_data,
	.writable = on_writable,
	.eof = on_eof,
	.closed = on_closed,
};

/* ---- timers ------------------------------------------------------------------------------- */

/* Dead is who said nothing for dead_ms while we looked: after a pause of our own (a stopped
 * process) the first tick finds a long silence, and the peer's bytes still unread. */
static void on_ping(struct reactor_timer *t)
{
	struct h2 *h = (struct h2 *)((char *)t - offsetof(struct h2, ping));
	uint64_t now = reactor_now_ms(h->reactor), quiet = now - h->heard_ms;
	uint64_t next = h->opt.ping_ms;

	if (h->dead || h->closing)
		return;
	h->silent++;
	if (h->opt.dead_ms && quiet >= h->opt.dead_ms && h->silent > 2) {
		h2_over(h, END_LOST, "no answer to PING");
		return;
	}
	if (!h->ping_sent_us) {
		h->ping_sent_us = reactor_now_us();
		nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, (const uint8_t *)&h->ping_sent_us);
		h2_run_soon(h);
	}
	if (h->opt.dead_ms && quiet < h->opt.dead_ms && h->opt.dead_ms - quiet < next)
		next = h->opt.dead_ms - quiet;
	reactor_timer_set(h->reactor, t, next > WAIT_MIN_MS ? next : WAIT_MIN_MS);
}

/* Used: somebody was told of it, and is not told of its end yet. */
static bool h2_is_used(const struct h2 *h)
{
	for (const struct stream *s = h->streams; s; s = s->next)
		if (!s->let_go && (s->told || !h->opt.server))
			return true;
	return false;
}

/* Without streams that are used the connection ends in order; when there are others (a head that
 * never ends, a reset that the peer does not read) or the end itself is not read, at once. */
static void on_idle(struct reactor_timer *t)
{
	struct h2 *h = (struct h2 *)((char *)t - offsetof(struct h2, idle));
	uint64_t now = reactor_now_ms(h->reactor), left = h->opt.idle_ms;

	if (h->dead || h->closing)
		return;
	if (!h2_is_used(h)) {
		uint64_t quiet = now - h->quiet_ms;

		if (quiet < left) {
			left -= quiet;
		} else if (h->n || h->draining) {
			h2_over(h, END_TIMEOUT, "idle");
			return;
		} else {
			snprintf(h->why, sizeof(h->why), "idle");
			h2_drain(h);
		}
	}
	reactor_timer_set(h->reactor, t, left);
}

void h2_drained(struct h2 *h)
{
	if (!h->draining || h->drained || h->dead)
		return;
	h->drained = true;
	reactor_timer_stop(h->reactor, &h->drain);
	nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
			      NULL, 0);
	h2_run_soon(h);
}

static void on_drain(struct reactor_timer *t)
{
	h2_drained((struct h2 *)((char *)t - offsetof(struct h2, drain)));
}

/* ---- libnghttp2's memory ------------------------------------------------------------------ */

static void *ng_malloc(size_t size, void *arg)
{
	(void)arg;
	return spare_get(size);
}

static void ng_free(void *p, void *arg)
{
	(void)arg;
	spare_put(p);
}

static void *ng_calloc(size_t n, size_t size, void *arg)
{
	(void)arg;
	return size && n > SIZE_MAX / size ? NULL : spare_zero(n * size);
}

static void *ng_realloc(void *p, size_t size, void *arg)
{
	(void)arg;
	return spare_resize(p, size);
}

static nghttp2_mem ng_mem = { NULL, ng_malloc, ng_free, ng_calloc, ng_realloc };

/* ---- public ------------------------------------------------------------------------------- */

static int h2_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int err = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&opt))
		goto out;
	recv_callbacks(cb);
	stream_callbacks(cb);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	nghttp2_option_set_no_closed_streams(opt, 1);
	nghttp2_option_set_max_send_header_block_length(opt, HEAD_SEND_MAX);
	/* ours is stricter, or meant to be as wide as it is */
	nghttp2_option_set_stream_reset_rate_limit(opt, 1000ull + h->opt.resets_max,
						   1000ull + h->opt.resets_max);
	if (h->opt.server)
		err = nghttp2_session_server_new3(&h->ng, cb, h, opt, &ng_mem);
	else
		err = nghttp2_session_client_new3(&h->ng, cb, h, opt, &ng_mem);
	if (err)
		err = -ENOMEM;
out:
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return err;
}

static int h2_settings(struct h2 *h)
{
	const struct h2_options *o = &h->opt;
	uint32_t window = o->connection_window ? o->connection_window : CONNECTION_WINDOW;
	uint32_t first, max;
	nghttp2_settings_entry set[8];
	size_t n = 0;

	stream_settings(o, &first, &max);
	set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, first };
	set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 };
	if (o->frame_max)
		set[n++] =
			(nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, o->frame_max };
	if (o->header_bytes_max)
		set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
						     (uint32_t)o->header_bytes_max };
	if (o->server)
		set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
	else
		set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
	if (o->server && o->streams_max)
		set[n++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
						     o->streams_max };
	if (nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, set, n) ||
	    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0, (int32_t)window))
		return -EINVAL;
	return 0;
}

int h2_new(struct h2 **out, struct conn *c, const struct h2_options *opt)
{
	struct h2 *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return -ENOMEM;
	h->opt = *opt;
	h->lost = END_LOST;
	h->tell_end = &h->tell;
	h->waiting_end = &h->waiting;
	h->reactor = conn_reactor(c);
	h->run.fn = h2_run;
	h->ping.fn = on_ping;
	h->idle.fn = on_idle;
	h->drain.fn = on_drain;
	err = h2_session(h);
	if (!err)
		err = h2_settings(h);
	if (err) {
		nghttp2_session_del(h->ng);
		free(h);
		return err;
	}
	h->conn = c;
	h->heard_ms = h->quiet_ms = reactor_now_ms(h->reactor);
	conn_handler(c, &h2_conn_events, h);
	if (opt->ping_ms)
		reactor_timer_set(h->reactor, &h->ping, 0);
	if (opt->idle_ms)
		reactor_timer_set(h->reactor, &h->idle, opt->idle_ms);
	h2_run_soon(h);
	*out = h;
	return 0;
}

bool h2_can_open(const struct h2 *h)
{
	return !h->opt.server && !h->dead && !h->closing && !h->goaway && !h->draining &&
	       h->n < nghttp2_session_get_remote_settings(
			      h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) &&
	       nghttp2_session_check_request_allowed(h->ng);
}

int h2_open(struct h2 *h, struct end **back)
{
	struct stream *s;

	if (!h2_can_open(h))
		return -EAGAIN;
	s = stream_new(h, 0);
	if (!s)
		return -ENOMEM;
	*back = &s->end;
	return 0;
}

void h2_drain(struct h2 *h)
{
	static const uint8_t mark[8];

	if (h->dead || h->closing || h->draining)
		return;
	h->draining = true;
	if (!h->opt.server) {
		h2_drained(h);
		return;
	}
	nghttp2_submit_shutdown_notice(h->ng);
	nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, mark);
	reactor_timer_set(h->reactor, &h->drain, DRAIN_MS);
	h2_run_soon(h);
}

void h2_end(struct h2 *h, const char *why)
{
	h->opt.closed = NULL;
	h->opt.goaway = NULL;
	h->opt.refused = NULL;
	if (h->dead || h->closing)
		return;
	h->ending = true;
	if (nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
				  nghttp2_session_get_last_proc_stream_id(h->ng), NGHTTP2_NO_ERROR,
				  (const uint8_t *)why, strlen(why)))
		h2_over(h, END_LOST, why);
	h2_run_soon(h);
}

void h2_abort(struct h2 *h, const char *why)
{
	h->opt.closed = NULL;
	h->opt.goaway = NULL;
	h->opt.refused = NULL;
	if (h->conn)
		conn_abort(h->conn);
	h->conn = NULL;
	h2_over(h, END_LOST, why);
}

struct conn *h2_conn(struct h2 *h)
{
	return h->conn;
}

size_t h2_streams(const struct h2 *h)
{
	return h->n;
}

bool h2_peer_settled(const struct h2 *h)
{
	return h->settled;
}

bool h2_peer_connects(const struct h2 *h)
{
	return nghttp2_session_get_remote_settings(h->ng,
						   NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

uint32_t h2_rtt_us(const struct h2 *h)
{
	return h->rtt_us;
}
