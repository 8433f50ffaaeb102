/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3.c -- S3 at the gateway: which requests are S3's, whether their signature fits, and what an endpoint gets of them.
 *
 * Clients sign the Host, so that a redirect would break the signature: S3 is carried (carry.h). The signature is checked here,
 * so that a stranger costs no endpoint, and again there by the same code: no trust is passed on. An endpoint gets the method,
 * the raw target behind /i/s3, and headers that S3 knows or that the client signed, composed anew:
 *
 *	X-Weir-S3-Host	   the Host that the client used
 *	X-Weir-S3-Client   the client's address
 *	X-Weir-S3-Proto	   "https" or "http", as the client came
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/gateway/s3_gateway.h"
#include "http/s3/count.h"
#include "http/s3/xml_out.h"
#include "lib/hash.h"

#define CARRIERS 2
#define OURS	 4 /* headers that we add, with the end */

/* ---- which requests ---- */

static bool is_s3(struct gateway *gw, struct http_req *req)
{
	return s3_request_is(http_target(req), http_header(req, "Authorization"), http_header(req, "Host"), gw->s3_domain);
}

const struct http_route *s3_choose(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;

	return is_s3(gw, req) ? gw->s3_route : NULL;
}

bool s3_refuse(struct http_req *req, void *arg, unsigned int status, const char *code, const char *sentence)
{
	struct gateway *gw = arg;

	if (!is_s3(gw, req))
		return false;
	gw->refused++;
	s3_reply_error(gw, req, s3_error_of_refusal(status, code), sentence);
	return true;
}

/* ---- errors ---- */

enum http_next s3_reply_error(struct gateway *gw, struct http_req *req, enum s3_error error, const char *message)
{
	size_t len = 0;
	char *text = s3_error_xml(error, message, NULL, http_id(req), gw->node, NULL, &len);

	/* What is carried is counted where it is done. */
	s3_counts_add(gw->s3_counts, &(struct s3_counted){ .code = s3_error_code(error), .sent = len });
	http_add_header(req, "x-amz-request-id", http_id(req));
	http_add_header(req, "x-amz-id-2", gw->node);
	if (!text)
		return http_reply(req, 503, NULL, NULL, 0);
	return http_reply_owned(req, s3_error_status(error), "application/xml", text, len);
}

char *s3_code_xml(const char *code, const char *message, const char *id, const char *node, size_t *len)
{
	struct xml xml;

	xml_begin(&xml, "Error", false);
	xml_text(&xml, "Code", code);
	xml_text(&xml, "Message", message);
	xml_text(&xml, "RequestId", id);
	xml_text(&xml, "HostId", node);
	return xml_take(&xml, "Error", len);
}

enum http_next s3_reply_code(struct gateway *gw, struct http_req *req, unsigned int status, const char *code, const char *message)
{
	size_t len = 0;
	char *text = s3_code_xml(code, message, http_id(req), gw->node, &len);

	http_add_header(req, "x-amz-request-id", http_id(req));
	http_add_header(req, "x-amz-id-2", gw->node);
	if (!text)
		return http_reply(req, 503, NULL, NULL, 0);
	return http_reply_owned(req, status, "application/xml", text, len);
}

/* An endpoint could not be reached, or went away: clients try again by themselves. */
static enum http_next no_answer(void *arg, struct http_req *req, enum carry_fault fault, const char *node)
{
	struct gateway *gw = arg;

	http_add_header(req, "Retry-After", "1");
	if (*node)
		http_add_header(req, "X-Weir-Endpoint", node);
	if (fault == CARRY_LOST || fault == CARRY_SLOW)
		gw->broken++;
	else
		gw->no_endpoint++;
	switch (fault) {
	case CARRY_LOST:
		return s3_reply_error(gw, req, S3_SERVICE_UNAVAILABLE,
				   "The endpoint went away before it answered. Whether the request took effect is not known; try again.");
	case CARRY_SLOW:
		return s3_reply_error(gw, req, S3_SERVICE_UNAVAILABLE,
				   "The endpoint did not answer in time. Whether the request took effect is not known; try again.");
	default:
		return s3_reply_error(gw, req, S3_SERVICE_UNAVAILABLE, "No endpoint can be reached at the moment; nothing was changed. Try again.");
	}
}

static enum s3_error refuse_key(int rc, struct s3_fault *fault)
{
	switch (rc) {
	case -ENOENT:
		return s3_fault(fault, S3_INVALID_ACCESS_KEY, NULL);
	case -EACCES:
		return s3_fault(fault, S3_INVALID_ACCESS_KEY, "The access key, or its user, is disabled.");
	case -EKEYEXPIRED:
		return s3_fault(fault, S3_INVALID_ACCESS_KEY, "The access key has expired.");
	case -ENOKEY:
		return s3_fault(fault, S3_INVALID_ACCESS_KEY,
				"The access key cannot sign: it was made for the plain interface. Make one with weir user key add.");
	case -EAGAIN:
		return s3_fault(fault, S3_SERVICE_UNAVAILABLE, "The users are not known here yet; try again.");
	default:
		return s3_fault(fault, S3_INTERNAL, NULL);
	}
}

/* ---- who ---- */

static enum s3_error identify(struct gateway *gw, struct http_req *req, struct s3_asked *a)
{
	enum s3_error error;
	int rc;

	a->request = (struct sigv4_request){ .method = http_method_name(http_method(req)),
					     .target = http_target(req),
					     .headers = a->headers,
					     .nheaders = http_headers(req, a->headers, HTTP_HEADERS_MAX) };
	error = sigv4_read(&a->sig, &a->request, time(NULL), &a->fault);
	if (error || a->sig.kind == SIGV4_NONE)
		return error;
	rc = users_s3_key(gw->users, a->sig.id, a->sig.date, a->sig.region, time(NULL), &a->key);
	if (rc)
		return refuse_key(rc, &a->fault);
	return sigv4_check(&a->sig, &a->request, a->key.key);
}

/* ---- what the endpoint gets ---- */

/* What belongs to a connection, what is ours, and what the client's request says of itself. */
static bool never_led(const char *name)
{
	static const char *const names[] = { "Host",  "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
					     "TE",    "Trailer",	"Upgrade",	     "Cookie",	   "X-Request-Id" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return !strncasecmp(name, "Proxy-", 6) || !strncasecmp(name, "X-Weir-", 7);
}

static bool is_known(const char *name)
{
	static const char *const names[] = { "Authorization",	    "Cache-Control",	   "Content-Disposition",
					     "Content-Encoding",    "Content-Language",	   "Content-MD5",
					     "Content-Type",	    "Date",		   "Expires",
					     "If-Match",	    "If-Modified-Since",   "If-None-Match",
					     "If-Unmodified-Since", "If-Range",		   "Range",
					     "Origin",		    "Referer",		   "User-Agent",
					     "Accept",		    "Access-Control-Request-Method",
					     "Access-Control-Request-Headers" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcasecmp(name, names[i]))
			return true;
	return !strncasecmp(name, "x-amz-", 6);
}

/* libcurl sends a header without a value when it ends with a semicolon. */
static char *header_line(const char *name, const char *value)
{
	char *line = NULL;

	if (asprintf(&line, *value ? "%s: %s" : "%s;", name, value) < 0)
		return NULL;
	return line;
}

void s3_lines_free(char **lines)
{
	for (size_t i = 0; lines && lines[i]; i++)
		free(lines[i]);
	free(lines);
}

/* Lines for the endpoint, ended by NULL; NULL without memory. */
char **s3_compose(struct http_req *req, const struct s3_asked *a)
{
	char **lines = calloc(a->request.nheaders + OURS, sizeof(*lines)), from[ADDR_PORT_STRLEN];
	const char *host = http_header(req, "Host");
	bool good = lines != NULL;
	size_t n = 0;

	for (size_t i = 0; good && i < a->request.nheaders; i++) {
		const struct http_pair *h = &a->headers[i];

		/* Expect is answered when the endpoint has said that it wants the body (carry.h). */
		if (never_led(h->name) || (!is_known(h->name) && (a->sig.kind == SIGV4_NONE || !sigv4_signs(&a->sig, h->name))))
			continue;
		lines[n] = header_line(h->name, h->value);
		good = lines[n++] != NULL;
	}
	good = good && (lines[n++] = header_line("X-Weir-S3-Host", host ? host : ""));
	good = good && (lines[n++] = header_line("X-Weir-S3-Client", access_client(req, from)));
	good = good && (lines[n++] = header_line("X-Weir-S3-Proto", access_is_https(req) ? "https" : "http"));
	if (good)
		return lines;
	s3_lines_free(lines);
	return NULL;
}

int s3_pick(void *arg, char (*tried)[64], size_t ntried, char base[256], char node[64])
{
	struct gateway *gw = arg;
	uint32_t n;

	random_bytes(&n, sizeof(n));
	return view_pick_inside(gw->view, (double)n / 4294967296.0, tried, ntried, base, node);
}

static void answered(void *arg, unsigned int status)
{
	struct gateway *gw = arg;

	(void)status;
	gw->carried++;
}

static enum http_next carry(struct gateway *gw, struct http_req *req, const struct s3_asked *a, struct s3_call *call)
{
	char **lines = s3_compose(req, a), *target = NULL;
	uint64_t len = http_content_length(req);
	const char *expect = http_header(req, "Expect");
	struct carry_order order = { .method = a->request.method,
				     .headers = (const char *const *)lines,
				     .body_len = len,
				     .has_body = len != 0,
				     .expects = expect && !strcasecmp(expect, "100-continue"),
				     .pick = s3_pick,
				     .refuse = no_answer,
				     .answered = answered,
				     .arg = gw };
	struct carry *c = NULL;

	if (lines && asprintf(&target, S3_INSIDE "%s", a->request.target) >= 0) {
		order.target = target;
		c = carry_begin(gw->carriers, req, &order);
	}
	free(target);
	s3_lines_free(lines);
	if (!c)
		return s3_reply_error(gw, req, S3_SERVICE_UNAVAILABLE, "The gateway has no memory for this; try again.");
	call->carry = c;
	return carry_next(c);
}

/* ---- one request ---- */

enum http_next s3_begin(struct http_req *req, void *arg)
{
	struct gateway *gw = arg;
	struct s3_asked *a = calloc(1, sizeof(*a));
	struct s3_call *call = calloc(1, sizeof(*call));
	enum http_next next;
	enum s3_error error;

	if (!a || !call) {
		free(a);
		free(call);
		return s3_reply_error(gw, req, S3_SERVICE_UNAVAILABLE, NULL);
	}
	http_set_state(req, call);
	error = identify(gw, req, a);
	if (error) {
		gw->refused++;
		next = s3_reply_error(gw, req, error, a->fault.error == error ? a->fault.message : NULL);
	} else if (http_content_length(req) != UINT64_MAX && http_content_length(req) > gw->object_max) {
		next = s3_reply_error(gw, req, S3_ENTITY_TOO_LARGE, NULL);
	} else if (!s3_dataset_begin(gw, req, a, call, &next)) {
		next = carry(gw, req, a, call);
	}
	explicit_bzero(a->key.key, sizeof(a->key.key));
	free(a);
	return next;
}

enum http_next s3_body(struct http_req *req, void *arg, const void *data, size_t len, size_t *taken)
{
	struct s3_call *call = http_state(req);

	(void)arg;
	return call->dataset ? s3_dataset_body(call->dataset, data, len, taken) : carry_body(call->carry, data, len, taken);
}

enum http_next s3_end(struct http_req *req, void *arg)
{
	struct s3_call *call = http_state(req);

	(void)arg;
	return call->dataset ? s3_dataset_end(call->dataset) : carry_end(call->carry);
}

void s3_done(struct http_req *req, void *arg)
{
	struct s3_call *call = http_state(req);

	(void)arg;
	if (!call)
		return;
	carry_done(call->carry);
	s3_dataset_done(call->dataset);
	free(call);
}

int s3_prepare(struct gateway *gw, const struct conf *conf)
{
	if (conf->s3.domain && !(gw->s3_domain = strdup(conf->s3.domain)))
		return -ENOMEM;
	return carriers_new(&gw->carriers, conf, CARRIERS);
}

int s3_start(struct gateway *gw)
{
	for (const struct http_route *r = gw->routes; r->path; r++)
		if (!strcmp(r->path, "s3"))
			gw->s3_route = r;
	if (s3_counts_new(&gw->s3_counts, gw->daemon->metrics))
		return -ENOMEM;
	return carriers_start(gw->carriers);
}

void s3_stop(struct gateway *gw)
{
	carriers_stop(gw->carriers);
}

void s3_free(struct gateway *gw)
{
	carriers_free(gw->carriers);
	free(gw->s3_domain);
	s3_counts_free(gw->s3_counts);
}
