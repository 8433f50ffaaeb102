/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_request.c -- a request's way through its route, called by libmicrohttpd:
 *
 *	http_on_target	once, with the target as sent
 *	http_on_request	when the head is there; for each piece of a body; when the request is complete
 *	http_on_done	at the end, whatever it was
 *
 * libmicrohttpd repeats the call during which a connection was suspended, so each phase asks first
 * what was already done. Two of its habits shape the code: an answer queued in the first call ends
 * the connection, so a request without a body is answered in its last call; and in the middle of a
 * body no answer can be queued at all, so a refused body is read to its end, or httpd_early.c answers.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/httpd_impl.h"
#include "lib/load.h"
#include "lib/log.h"

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void *route_arg(const struct http_req *req)
{
	return req->route->arg ? req->route->arg : req->server->arg;
}

/* Different for each request, not guessable from the last one's look alone (splitmix64). */
void http_make_id(struct httpd *server, char id[HTTP_ID_LEN + 1])
{
	uint64_t x = server->id_seed + 0x9e3779b97f4a7c15u * atomic_fetch_add(&server->next_id, 1);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	x = htobe64(x ^ x >> 31);
	hex_encode(&x, sizeof(x), id);
}

void *http_on_target(void *arg, const char *target, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct http_conn *conn = info ? info->socket_context : NULL;
	size_t len = target ? strlen(target) : 0;
	struct http_req *req = calloc(1, sizeof(*req) + len + 1);
	int64_t deadline;

	if (!req || !conn) {
		free(req);
		return NULL; /* the next call refuses it */
	}
	memcpy(req->raw, target ? target : "", len);
	req->target_at = target;
	req->server = arg;
	req->mhd = mhd;
	req->conn = conn;
	req->route_index = req->server->nroutes;
	req->started_us = now_us();
	pthread_mutex_init(&req->lock, NULL);
	http_make_id(req->server, req->id);
	deadline = http_now_ms() + req->server->opt.header_s * 1000;
	if (conn->deadline_ms > deadline)
		conn->deadline_ms = deadline;
	pthread_mutex_lock(&req->server->reqs_lock);
	req->all_next = req->server->reqs;
	if (req->all_next)
		req->all_next->all_prev = req;
	req->server->reqs = req;
	pthread_mutex_unlock(&req->server->reqs_lock);
	return req;
}

static void unlink_request(struct http_req *req)
{
	struct httpd *server = req->server;

	pthread_mutex_lock(&server->reqs_lock);
	if (req->all_next)
		req->all_next->all_prev = req->all_prev;
	if (req->all_prev)
		req->all_prev->all_next = req->all_next;
	else
		server->reqs = req->all_next;
	pthread_mutex_unlock(&server->reqs_lock);
}

void http_on_done(void *arg, struct MHD_Connection *mhd, void **slot,
		  enum MHD_RequestTerminationCode why)
{
	struct http_req *req = *slot;
	struct httpd *server = arg;
	uint64_t took_us;

	(void)mhd;
	if (!req)
		return;
	*slot = NULL;
	if (req->corked) {
		http_file_begin(req->conn->fd, 0);
		http_cork(req, false);
	}
	took_us = (uint64_t)(now_us() - req->started_us);
	http_listener_gone(req);
	if (req->in_flight && req->route->done)
		req->route->done(req, route_arg(req));
	http_held_gone(req);
	if (req->phase == PHASE_HEAD && why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		http_count_refusal(server, "syntax"); /* libmicrohttpd's own 4xx */
	if (req->phase != PHASE_HEAD)
		http_count_end(req, req->told || why == MHD_REQUEST_TERMINATED_COMPLETED_OK, took_us);
	if (req->in_flight) {
		server->in_flight--;
		if (server->opt.load)
			load_end(server->opt.load, took_us, req->status >= 500);
	}
	req->conn->deadline_ms = http_now_ms() + (server->opt.idle_s + server->opt.header_s) * 1000;
	unlink_request(req);
	/* A thread that resumed this request may still be leaving the lock. */
	pthread_mutex_lock(&req->lock);
	pthread_mutex_unlock(&req->lock);
	pthread_mutex_destroy(&req->lock);
	http_drop_answer(req);
	for (int i = 0; i < req->nparams; i++)
		free(req->param_value[i]);
	free(req->path);
	free(req->target_text);
	free(req->query_copy);
	free(req->gathered);
	free(req);
}

/* ---- the head ---- */

/* The row that the server's owner chose for the request. True: the routes need not be looked at. */
static bool choose_route(struct http_req *req)
{
	struct httpd *server = req->server;
	const struct http_route *route = server->opt.choose ? server->opt.choose(req, server->arg) : NULL;

	if (!route)
		return false;
	req->route = route;
	if (route >= server->routes && route < server->routes + server->nroutes)
		req->route_index = (size_t)(route - server->routes);
	return true;
}

static void match_route(struct http_req *req)
{
	const struct http_route *route;
	unsigned int bit = 1u << (req->method == HTTP_HEAD ? HTTP_GET : req->method), allowed = 0;

	for (size_t i = 0; i < req->server->nroutes; i++) {
		int n;

		route = &req->server->routes[i];
		n = http_route_match(route->path, req->target.path, req->target.path_len,
				     req->param);
		if (n < 0)
			continue;
		allowed |= route->methods;
		if (!(route->methods & (bit | 1u << req->method)))
			continue;
		req->nparams = n;
		req->route = route;
		req->route_index = i;
		break;
	}
	if (!req->route && allowed)
		http_refuse(req, 405, "method", "this address does not take that method");
	else if (!req->route)
		http_refuse(req, 404, "not_found", "there is nothing at this address");
}

static void check_body_max(struct http_req *req)
{
	if (req->has_body && req->content_length != UINT64_MAX &&
		 req->content_length > req->route->body_max)
		http_refuse(req, 413, "too_large", "the body may have %llu bytes",
				 (unsigned long long)req->route->body_max);
	else if (req->has_body && req->route->body_max == 0)
		http_refuse(req, 413, "too_large", "no body is wanted here");
}

/* Before any route: the connection ends, too. */
static void refuse(struct http_req *req, const char *reason, unsigned int status, const char *code,
		   const char *sentence)
{
	req->refused = true;
	http_count_refusal(req->server, reason);
	http_refuse(req, status, code, "%s", sentence);
}

static void read_head(struct http_req *req, const char *method, const char *version)
{
	unsigned int status;
	const char *sentence, *reason;

	req->conn->deadline_ms = 0;
	reason = http_check_head(req, method, version, &status, &sentence);
	req->phase = PHASE_BEGIN;
	if (reason) {
		refuse(req, reason, status, "malformed", sentence);
		return;
	}
	if (!http_conn_trusted(req->conn, req->mhd)) {
		refuse(req, "certificate", 403, "certificate",
		       "a client certificate of this installation is required");
		return;
	}
	if (!choose_route(req)) {
		if (http_target_has_dots(&req->target)) {
			refuse(req, "target", 400, "malformed", "the request's target is malformed");
			return;
		}
		match_route(req);
	}
	if (req->route)
		check_body_max(req);
}

/* ---- handlers ---- */

/* What begin or end returned. True: go on (look at req->answered), false: suspended. */
static bool settle(struct http_req *req, enum http_next next, bool *cut)
{
	bool by_work = req->working;

	req->working = false;
	if (next != HTTP_LATER && next != HTTP_HOLD)
		return true;
	if (by_work)
		return false;
	switch (http_wait(req, next == HTTP_LATER)) {
	case HTTP_WAIT_GO:
		return true;
	case HTTP_WAIT_SUSPENDED:
		return false;
	default:
		*cut = true;
		return true;
	}
}

static enum MHD_Result refuse_body(struct http_req *req)
{
	req->draining = true;
	http_drain(req);
	return MHD_YES;
}

/* Answers a request whose body was not read: at once when the client waits for it or has much to
 * send, else after the body was dropped, so that the connection lives on. */
static enum MHD_Result answer_early(struct http_req *req)
{
	bool expects = http_header(req, "Expect") != NULL;

	req->phase = PHASE_BODY;
	if (!expects && req->content_length <= HTTP_DRAIN_SMALL)
		return refuse_body(req);
	req->conn->linger = true;
	return http_queue(req);
}

static bool gather(struct http_req *req, const char *data, size_t len)
{
	if (req->gathered_len + len > req->gathered_size) {
		size_t size = req->content_length <= HTTP_GATHER_MAX
				      ? (size_t)req->content_length
				      : (req->gathered_len + len) * 2;
		char *grown = realloc(req->gathered, size + 1);

		if (!grown)
			return false;
		req->gathered = grown;
		req->gathered_size = size;
	}
	memcpy(req->gathered + req->gathered_len, data, len);
	req->gathered_len += len;
	req->gathered[req->gathered_len] = '\0';
	return true;
}

static enum MHD_Result hand_body(struct http_req *req, const char *data, size_t *size)
{
	for (;;) {
		size_t taken = *size;
		enum http_next next;

		http_arm(req);
		next = req->route->body(req, route_arg(req), data, *size, &taken);
		req->received += taken;
		data += taken;
		*size -= taken;
		if (req->answered) {
			*size = 0;
			return refuse_body(req);
		}
		req->pause_next = next == HTTP_LATER;
		if (*size == 0)
			return MHD_YES;
		req->pause_next = false;
		switch (http_wait(req, false)) {
		case HTTP_WAIT_GO:
			continue;
		case HTTP_WAIT_SUSPENDED:
			return MHD_YES;
		default:
			return MHD_NO;
		}
	}
}

static enum MHD_Result take_body(struct http_req *req, const char *data, size_t *size)
{
	size_t len = *size;
	uint64_t max = req->route ? req->route->body_max : HTTP_DRAIN_SMALL;

	if (!req->draining && !req->answered && req->received + len > max)
		http_refuse(req, 413, "too_large", "the body may have %llu bytes", (unsigned long long)max);
	if (!req->draining && req->answered) /* by whoever calls http_interrupt(), too */
		refuse_body(req);
	if (!req->draining && req->route->body)
		return hand_body(req, data, size);
	*size = 0;
	req->received += len;
	if (!req->draining && !gather(req, data, len)) {
		http_refuse(req, 503, "memory", "there is no memory for the body");
		return refuse_body(req);
	}
	/* What is dropped has a bound in time, and in bytes when its length was not announced. */
	return req->draining && req->content_length == UINT64_MAX &&
			       req->received > max + HTTP_DRAIN_SMALL
		       ? MHD_NO
		       : MHD_YES;
}

/* Calls begin once. True: go on. */
static bool begin(struct http_req *req, bool *cut)
{
	req->phase = PHASE_BEGUN;
	req->in_flight = true;
	req->server->in_flight++;
	if (req->server->opt.load)
		load_begin(req->server->opt.load);
	if (!req->route->begin)
		return true;
	return settle(req, req->route->begin(req, route_arg(req)), cut);
}

/* Calls end once, when the request is complete. True: go on. */
static bool end(struct http_req *req, bool *cut)
{
	req->phase = PHASE_END;
	req->conn->deadline_ms = 0;
	if (req->answered || !req->route->end)
		return true;
	return settle(req, req->route->end(req, route_arg(req)), cut);
}

/* Calls what was said at the release of a request that was held. True: go on. */
static bool then(struct http_req *req, bool *cut)
{
	http_then_fn *fn = req->then_fn;

	req->then_fn = NULL;
	return !fn || settle(req, fn(req, req->then_arg), cut);
}

/* The body said LATER and no more of it, or nothing, has come since. True: go on. */
static bool pause_over(struct http_req *req, bool *cut)
{
	if (!req->pause_next)
		return true;
	req->pause_next = false;
	switch (http_wait(req, false)) {
	case HTTP_WAIT_GO:
		return true;
	case HTTP_WAIT_STOP:
		*cut = true;
		return true;
	default:
		return false;
	}
}

static enum MHD_Result last_call(struct http_req *req)
{
	bool cut = false;

	if (req->phase < PHASE_END && !pause_over(req, &cut))
		return MHD_YES;
	if (req->phase < PHASE_END && !cut && !end(req, &cut))
		return MHD_YES;
	if (!cut && !then(req, &cut))
		return MHD_YES;
	if (cut)
		return MHD_NO;
	if (!req->answered)
		http_refuse(req, 500, "no_answer", "the server had nothing to say to this request");
	return http_drained(req) ? http_queue(req) : MHD_NO;
}

enum MHD_Result http_on_request(void *arg, struct MHD_Connection *mhd, const char *url,
				const char *method, const char *version, const char *data,
				size_t *size, void **slot)
{
	struct http_req *req = *slot;
	bool cut = false;

	(void)arg;
	(void)mhd;
	(void)url;
	if (!req)
		return MHD_NO;
	if (req->phase == PHASE_HEAD) {
		read_head(req, method, version);
		if (req->refused) { /* whatever body follows, or does not: it ends here */
			req->phase = PHASE_END;
			req->conn->linger = true;
			return http_queue(req);
		}
		if (!req->has_body)
			return MHD_YES; /* the last call comes at once */
	}
	if (req->phase == PHASE_BEGIN && !req->answered && !begin(req, &cut))
		return MHD_YES;
	if (cut)
		return MHD_NO;
	if (req->has_body && req->phase < PHASE_BODY) {
		if (req->answered)
			return answer_early(req);
		req->phase = PHASE_BODY;
		return MHD_YES;
	}
	if (*size > 0) {
		if (!pause_over(req, &cut))
			return MHD_YES;
		return cut ? MHD_NO : take_body(req, data, size);
	}
	return last_call(req);
}
