/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_early.c -- answers in the middle of a body (RFC 9110 section 9.3 and 10.1.1, RFC 9112 section 9.6).
 *
 * libmicrohttpd takes an answer before a body or after it. A client that still has much to send, or that holds back what it
 * has, would hear of its refusal too late or never. Then the answer is written to the socket here, past libmicrohttpd, which
 * writes nothing while it reads a body. What the client goes on to send is read and dropped for a while: many clients send
 * all before they listen, and a reset would destroy the answer. The connection ends with it.
 *
 * Two threads may come to it: the pool's, when the client sends, and the watcher, when it does not. conns_lock orders them.
 */
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/httpd_impl.h"

static enum MHD_Result print_header(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	if (strcasecmp(name, "Connection") != 0)
		fprintf(arg, "%s: %s\r\n", name, value);
	return MHD_YES;
}

/* Head and body as libmicrohttpd would send them; malloc'ed. */
static char *compose(const struct http_req *req, size_t *len)
{
	char *text = NULL, date[40];
	time_t now = time(NULL);
	struct tm tm;
	FILE *out = open_memstream(&text, len);

	if (!out)
		return NULL;
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	fprintf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %llu\r\n", req->status,
		MHD_get_reason_phrase_for(req->status), date, (unsigned long long)req->answer_bytes);
	MHD_get_response_headers(req->response, print_header, out);
	fputs("\r\n", out);
	if (req->method != HTTP_HEAD && req->answer_bytes)
		fwrite(req->answer_data, 1, req->answer_bytes, out);
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

/* Nothing of this request was sent but a "100 Continue", so that there is room for it. */
static bool send_all(const struct http_req *req, const char *text, size_t len)
{
	const union MHD_ConnectionInfo *info;

	if (!req->server->opt.tls_cert)
		return send(req->conn->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
	info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	for (size_t sent = 0; info && info->tls_session && len;) { /* a record holds 16 KiB */
		ssize_t n = gnutls_record_send(info->tls_session, text + sent, len - sent);

		if (n <= 0)
			break;
		sent += (size_t)n;
		if (sent == len)
			return true;
	}
	return false;
}

/* Streams, files and kept answers are told when the body is over alone. */
static bool can_tell(const struct http_req *req)
{
	return req->response && req->answer_data && !req->cached && !req->upgrade;
}

/* By whoever has set req->told. */
static void tell(struct http_req *req)
{
	size_t len = 0;
	char *text = compose(req, &len);

	req->conn->linger = true;
	if (!text || !send_all(req, text, len))
		shutdown(req->conn->fd, SHUT_RDWR);
	req->conn->told = true;
	free(text);
}

/* True: nobody has told it before. */
static bool claim(struct http_req *req)
{
	struct httpd *server = req->server;
	bool mine;

	pthread_mutex_lock(&server->conns_lock);
	mine = !req->told;
	req->conn->held = NULL;
	req->conn->held_ms = 0;
	pthread_mutex_unlock(&server->conns_lock);
	return mine;
}

/* The client may still go on by itself. */
static void hold(struct http_req *req)
{
	struct httpd *server = req->server;

	pthread_mutex_lock(&server->conns_lock);
	if (req->content_length && !req->told && !req->queued && can_tell(req)) {
		req->conn->held = req;
		req->conn->held_ms = http_now_ms() + HTTP_HELD_MS;
	}
	pthread_mutex_unlock(&server->conns_lock);
}

bool http_may_queue(struct http_req *req)
{
	struct httpd *server = req->server;
	bool told;

	if (!req->content_length)
		return true;
	pthread_mutex_lock(&server->conns_lock);
	told = req->told;
	req->queued = true;
	if (req->conn->held == req) {
		req->conn->held = NULL;
		req->conn->held_ms = 0;
	}
	pthread_mutex_unlock(&server->conns_lock);
	return !told;
}

void http_interrupt(struct http_req *req)
{
	hold(req);
}

void http_drain(struct http_req *req)
{
	bool large = req->content_length == UINT64_MAX || req->content_length - req->received > HTTP_DRAIN_SMALL;
	bool mine = claim(req);

	req->conn->deadline_ms = http_now_ms() + (large || !mine ? HTTP_DRAIN_TOLD_MS : HTTP_DRAIN_MS);
	if (!mine)
		return;
	if (!large || !can_tell(req)) {
		hold(req);
		return;
	}
	req->told = true;
	tell(req);
}

bool http_drained(struct http_req *req)
{
	return (!req->draining && !req->conn->held) || claim(req);
}

void http_tell_held(struct http_conn *conn, int64_t now)
{
	struct http_req *req = conn->held;

	conn->held_ms = 0;
	if (!req || req->told)
		return;
	req->told = true;
	conn->deadline_ms = now + HTTP_DRAIN_MS;
	tell(req);
}

void http_held_gone(struct http_req *req)
{
	if (req->conn->held == req)
		claim(req);
}
