/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads_forward.c -- an upload lives at the gateway that began it; its id says which. Requests that come to another
 * one are led there, body and events in a stream, by a thread of their own: what the client sends goes through one
 * ring of bounded size, what the owner says comes back whole, or, of events, through another.
 *
 * The gateway that was asked has checked who asks: it signs a token for the same scope, for a minute.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/uploads_int.h"

#define RING	   (256u << 10)
#define ANSWER_MAX (8u << 20)
#define TOKEN_S	   60
#define HEADERS	   20
#define GATEWAYS   64

struct ring {
	char *data;
	size_t at, len; /* bytes [at, at + len) modulo RING */
};

struct forward {
	struct uploads *u;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int refs; /* the thread's, the request's, an event stream's */
	struct http_req *req; /* NULL: the request is over */
	bool events, streaming;
	/* towards the owner */
	char *method, *url, *sent[HEADERS];
	size_t nsent;
	uint64_t body_len; /* UINT64_MAX: chunked */
	struct ring in;
	bool in_ended;	 /* the body is complete */
	bool waits_room; /* the client is not read until there is room */
	/* back */
	bool over, asked; /* the exchange is over; the handler's end waits for the answer */
	char *names[HEADERS], *values[HEADERS];
	size_t nback;
	struct httpc_answer answer;
	int rc;
	struct ring out;
	bool out_ended;
};

static size_t ring_put(struct ring *r, const char *data, size_t len)
{
	size_t room = RING - r->len, n = len < room ? len : room;

	for (size_t i = 0; i < n;) {
		size_t to = (r->at + r->len) % RING, some = n - i < RING - to ? n - i : RING - to;

		memcpy(r->data + to, data + i, some);
		r->len += some;
		i += some;
	}
	return n;
}

static size_t ring_get(struct ring *r, char *data, size_t max)
{
	size_t n = r->len < max ? r->len : max;

	for (size_t i = 0; i < n;) {
		size_t some = n - i < RING - r->at ? n - i : RING - r->at;

		memcpy(data + i, r->data + r->at, some);
		r->at = (r->at + some) % RING;
		r->len -= some;
		i += some;
	}
	return n;
}

static void forward_put(struct forward *f)
{
	bool last;

	pthread_mutex_lock(&f->lock);
	last = --f->refs == 0;
	pthread_mutex_unlock(&f->lock);
	if (!last)
		return;
	for (size_t i = 0; i < f->nsent; i++)
		free(f->sent[i]);
	for (size_t i = 0; i < f->nback; i++) {
		free(f->names[i]);
		free(f->values[i]);
	}
	httpc_answer_free(&f->answer);
	free(f->method);
	free(f->url);
	free(f->in.data);
	free(f->out.data);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->cond);
	atomic_fetch_sub(&f->u->forwards, 1);
	free(f);
}

/* ---- the thread's side ---- */

static ssize_t read_body(void *arg, char *buf, size_t max)
{
	struct forward *f = arg;
	ssize_t n;

	pthread_mutex_lock(&f->lock);
	while (!f->in.len && !f->in_ended && f->req)
		pthread_cond_wait(&f->cond, &f->lock);
	n = (ssize_t)ring_get(&f->in, buf, max);
	if (!n && !f->in_ended)
		n = -ECANCELED;
	if (f->waits_room && f->req) {
		f->waits_room = false;
		http_resume(f->req);
	}
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* What clients of uploads need of the owner's headers. */
static void on_header(void *arg, const char *name, const char *value)
{
	static const char *const wanted[] = { "Location", "ETag", "Retry-After", "Cache-Control" };
	struct forward *f = arg;
	bool keep = !strncasecmp(name, "Upload-", 7) || !strncasecmp(name, "Tus-", 4);

	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		keep |= !strcasecmp(name, wanted[i]);
	if (!keep || f->nback == HEADERS)
		return;
	f->names[f->nback] = strdup(name);
	f->values[f->nback] = strdup(value);
	if (f->names[f->nback] && f->values[f->nback])
		f->nback++;
}

static ssize_t read_events(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct forward *f = arg;
	ssize_t n;

	(void)pos;
	pthread_mutex_lock(&f->lock);
	n = (ssize_t)ring_get(&f->out, buf, max);
	if (!n)
		n = f->out_ended ? HTTP_READ_END : HTTP_READ_LATER;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
	return n;
}

static void free_events(void *arg)
{
	forward_put(arg);
}

/* Under the lock: the answer as the owner gave it. */
static void reply(struct forward *f)
{
	struct http_req *req = f->req;

	if (f->rc || !f->answer.status) {
		http_add_header(req, "Retry-After", "2");
		http_reply_error(req, 503, "gateway", "the gateway that has this upload does not answer (%.120s); try again",
				 f->answer.error);
		return;
	}
	for (size_t i = 0; i < f->nback; i++)
		http_add_header(req, f->names[i], f->values[i]);
	if (f->answer.len)
		http_reply(req, (unsigned int)f->answer.status, "application/json", f->answer.body, f->answer.len);
	else
		http_reply(req, (unsigned int)f->answer.status, NULL, NULL, 0);
}

static int on_head(void *arg, const struct httpc_answer *head)
{
	struct forward *f = arg;

	pthread_mutex_lock(&f->lock);
	while (f->events && !f->asked && f->req)
		pthread_cond_wait(&f->cond, &f->lock);
	if (f->events && head->status == 200 && f->req) {
		f->streaming = true;
		f->refs++;
		http_add_header(f->req, "Cache-Control", "no-store");
		http_reply_stream(f->req, 200, "text/event-stream", UINT64_MAX, read_events, free_events, f);
		http_resume(f->req);
	}
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int gather(struct forward *f, const void *data, size_t len)
{
	char *more;

	if (f->answer.len + len > ANSWER_MAX)
		return -EMSGSIZE;
	more = realloc(f->answer.body, f->answer.len + len + 1);
	if (!more)
		return -ENOMEM;
	f->answer.body = more;
	memcpy(more + f->answer.len, data, len);
	f->answer.len += len;
	more[f->answer.len] = '\0';
	return 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct forward *f = arg;
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	if (!f->streaming)
		rc = gather(f, data, len);
	for (size_t done = 0; f->streaming && done < len;) {
		done += ring_put(&f->out, (const char *)data + done, len - done);
		if (f->req)
			http_resume(f->req);
		else
			rc = -ECANCELED;
		if (rc)
			break;
		if (done < len)
			pthread_cond_wait(&f->cond, &f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}

static void *lead(void *arg)
{
	struct forward *f = arg;
	struct httpc_call call = { .method = f->method,
				   .url = f->url,
				   .headers = (const char *const *)f->sent,
				   .on_head = on_head,
				   .on_data = on_data,
				   .on_header = on_header,
				   .arg = f };
	struct httpc_answer answer;
	int rc;

	if (f->body_len) {
		call.read = read_body;
		call.read_len = f->body_len;
	} else if (!strcmp(f->method, "PATCH")) {
		call.body = "";
	}
	rc = httpc_do(f->u->opt.client, &call, &answer);
	pthread_mutex_lock(&f->lock);
	f->answer.status = answer.status;
	memcpy(f->answer.error, answer.error, sizeof(answer.error));
	f->rc = rc;
	f->over = f->out_ended = true;
	/* A client that still sends is answered when it has ended (forward_end). */
	if (f->req && f->streaming) {
		http_resume(f->req);
	} else if (f->req && f->asked) {
		reply(f);
		http_resume(f->req);
	} else if (f->req && f->waits_room) {
		f->waits_room = false;
		http_resume(f->req);
	}
	pthread_mutex_unlock(&f->lock);
	httpc_answer_free(&answer);
	forward_put(f);
	return NULL;
}

/* ---- the request's side ---- */

static bool add_sent(struct forward *f, const char *name, const char *value)
{
	if (!value || f->nsent == HEADERS - 1)
		return true;
	return asprintf(&f->sent[f->nsent++], "%s: %s", name, value) >= 0;
}

static int token_for(struct uploads *u, const struct token_scope *who, char token[TOKEN_MAX + 8])
{
	struct token_scope scope = *who;
	int64_t until = time(NULL) + TOKEN_S;

	if (!scope.expires || scope.expires > until)
		scope.expires = until;
	memcpy(token, "Bearer ", 8);
	return users_sign(u->opt.users, &scope, token + 7);
}

static bool fill(struct forward *f, struct call *c, const char *base)
{
	static const char *const led[] = { "Tus-Resumable",	"Upload-Offset",   "Upload-Length", "Upload-Defer-Length",
					   "Upload-Metadata",	"Upload-Checksum", "Upload-Concat", "Content-Type",
					   "X-HTTP-Method-Override" };
	static const char *const methods[HTTP_METHODS] = { "GET",    "HEAD",  "PUT",	"POST",
							   "DELETE", "PATCH", "OPTIONS" };
	struct http_req *req = c->req;
	const char *rows = http_query(req, "rows"), *bytes = http_query(req, "bytes"), *range = rows ? rows : bytes;
	char token[TOKEN_MAX + 8], *encoded = range ? http_percent_encode(range, false) : NULL;
	bool good = !token_for(c->u, &c->who, token) && add_sent(f, "Authorization", token) && add_sent(f, "X-Weir-Led", "1");

	for (size_t i = 0; i < sizeof(led) / sizeof(*led); i++)
		good = good && add_sent(f, led[i], http_header(req, led[i]));
	f->method = strdup(methods[http_method(req)]);
	if (asprintf(&f->url, "%s%s%s%s%s", base, http_path(req), encoded ? "?" : "", encoded ? (rows ? "rows=" : "bytes=") : "",
		     encoded ? encoded : "") < 0)
		f->url = NULL;
	free(encoded);
	f->in.data = malloc(RING);
	f->out.data = malloc(RING);
	f->body_len = http_content_length(req);
	f->events = strstr(http_path(req), "/events") != NULL;
	return good && f->method && f->url && f->in.data && f->out.data;
}

static int start(struct call *c, const char *base)
{
	struct forward *f = calloc(1, sizeof(*f));
	pthread_t thread;
	int rc;

	if (!f)
		return -ENOMEM;
	f->u = c->u;
	f->req = c->req;
	f->refs = 2;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->cond, NULL);
	atomic_fetch_add(&c->u->forwards, 1);
	c->forward = f;
	rc = fill(f, c, base) ? -pthread_create(&thread, NULL, lead, f) : -ENOMEM;
	if (!rc)
		pthread_detach(thread);
	else
		f->refs--; /* no thread */
	return rc;
}

bool forward_begin(struct uploads *u, struct http_req *req, const char *id, enum http_next *next)
{
	struct call *c = http_state(req);
	char digits[9], ours[9], base[256];
	int rc;

	spool_node_digits(u->node, ours);
	snprintf(digits, sizeof(digits), "%.8s", id);
	if (!spool_id_valid(id) || !strcmp(digits, ours) || http_header(req, "X-Weir-Led"))
		return false;
	rc = u->opt.gateway(u->opt.arg, digits, base);
	if (!rc)
		rc = start(c, base);
	if (rc) {
		http_add_header(req, "Retry-After", "2");
		*next = http_reply_error(req, 503, "gateway", "the gateway that has this upload is not there; try again");
	} else {
		/* Without a body `end` follows at once. */
		*next = HTTP_CONTINUE;
	}
	return true;
}

enum http_next forward_body(struct call *c, const void *data, size_t len, size_t *taken)
{
	struct forward *f = c->forward;

	pthread_mutex_lock(&f->lock);
	*taken = f->over ? len : ring_put(&f->in, data, len);
	f->waits_room = *taken < len;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
	return HTTP_CONTINUE;
}

enum http_next forward_end(struct call *c)
{
	struct forward *f = c->forward;
	bool over;

	pthread_mutex_lock(&f->lock);
	f->in_ended = f->asked = true;
	pthread_cond_broadcast(&f->cond);
	over = f->over && !f->streaming;
	if (over)
		reply(f);
	pthread_mutex_unlock(&f->lock);
	return over ? HTTP_ANSWERED : HTTP_LATER;
}

void forward_done(struct call *c)
{
	struct forward *f = c->forward;

	pthread_mutex_lock(&f->lock);
	f->req = NULL;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
	forward_put(f);
}

/* ---- parts of a final upload ---- */

struct part {
	uint64_t offset, length;
	bool has_offset, has_length, partial;
	int fd;
	uint64_t at, end;
};

static void on_part_header(void *arg, const char *name, const char *value)
{
	struct part *p = arg;

	if (!strcasecmp(name, "Upload-Offset"))
		p->has_offset = !tus_number(&p->offset, value);
	else if (!strcasecmp(name, "Upload-Length"))
		p->has_length = !tus_number(&p->length, value);
	else if (!strcasecmp(name, "Upload-Concat"))
		p->partial = !strcmp(value, "partial");
}

static int on_part_data(void *arg, const void *data, size_t len)
{
	struct part *p = arg;
	const char *from = data;

	if (len > p->end - p->at)
		return -EMSGSIZE;
	while (len) {
		ssize_t n = pwrite(p->fd, from, len, (off_t)p->at);

		if (n < 0)
			return -errno;
		from += n;
		len -= (size_t)n;
		p->at += (uint64_t)n;
	}
	return 0;
}

/* One exchange about a part with the gateway that has it; the answer's status, or -errno. */
static long ask_part(struct call *c, const char *id, const char *method, const char *format, struct httpc_call *call)
{
	const char *headers[] = { NULL, "Tus-Resumable: " TUS_VERSION, "X-Weir-Led: 1", NULL };
	char base[256], digits[9], token[TOKEN_MAX + 8], url[400], *header = NULL;
	struct httpc_answer answer;
	long rc;

	snprintf(digits, sizeof(digits), "%.8s", id);
	if (!spool_id_valid(id) || c->u->opt.gateway(c->u->opt.arg, digits, base))
		return 404;
	if (token_for(c->u, &c->who, token) || asprintf(&header, "Authorization: %s", token) < 0)
		return -ENOMEM;
	headers[0] = header;
	snprintf(url, sizeof(url), format, base, id);
	call->method = method;
	call->url = url;
	call->headers = headers;
	rc = httpc_do(c->u->opt.client, call, &answer);
	rc = rc ? rc : answer.status;
	httpc_answer_free(&answer);
	free(header);
	return rc;
}

int forward_part_size(struct call *c, const char *id, uint64_t *size)
{
	struct part p = { .fd = -1 };
	struct httpc_call call = { .on_header = on_part_header, .arg = &p, .timeout_ms = 5000 };
	long rc = ask_part(c, id, "HEAD", "%s/_/tus/%s", &call);

	if (rc < 0)
		return -EHOSTUNREACH;
	if (rc != 200)
		return -ENOENT;
	if (!p.partial)
		return -EINVAL;
	*size = p.offset;
	return p.has_offset && p.has_length && p.offset == p.length ? 0 : -EAGAIN;
}

int forward_part_copy(struct call *c, const char *id, uint64_t size, int fd, uint64_t at)
{
	struct part p = { .fd = fd, .at = at, .end = at + size };
	struct httpc_call call = { .on_data = on_part_data, .arg = &p };
	long rc = ask_part(c, id, "GET", "%s/_/uploads/%s/data", &call);

	return rc == 200 && p.at == p.end ? 0 : -EHOSTUNREACH;
}

/* ---- lists of all gateways ---- */

static void add_list(struct call *c, const char *base, const char *authorization, json_t *list)
{
	const char *headers[] = { authorization, NULL };
	struct httpc_call call = { .headers = headers, .timeout_ms = 2000, .body_max = ANSWER_MAX };
	struct httpc_answer answer;
	char url[320];
	json_t *said = NULL;

	snprintf(url, sizeof(url), "%s/_/uploads?here=1", base);
	call.url = url;
	if (!httpc_do(c->u->opt.client, &call, &answer) && answer.status == 200)
		said = json_loadb(answer.body, answer.len, 0, NULL);
	if (json_is_array(json_object_get(said, "uploads")))
		json_array_extend(list, json_object_get(said, "uploads"));
	json_decref(said);
	httpc_answer_free(&answer);
}

void forward_lists(struct call *c, json_t *list)
{
	char(*urls)[256] = calloc(GATEWAYS, sizeof(*urls)), token[TOKEN_MAX + 8], *header = NULL;
	size_t n = urls ? c->u->opt.gateways(c->u->opt.arg, urls, GATEWAYS) : 0;

	if (n && !token_for(c->u, &c->who, token) && asprintf(&header, "Authorization: %s", token) >= 0)
		for (size_t i = 0; i < n; i++)
			add_list(c, urls[i], header, list);
	free(header);
	free(urls);
}

/* ---- bytes of an upload, for the gateway that joins parts ---- */

enum http_next forward_data(struct http_req *req, struct uploads *u)
{
	struct call *c;
	enum http_next next = upload_of_path(req, u, &c);
	uint64_t size;
	int fd;

	if (!c)
		return next;
	pthread_mutex_lock(&c->up->lock);
	size = c->up->received;
	pthread_mutex_unlock(&c->up->lock);
	fd = spool_file(u->spool, c->up->id, "data", SPOOL_READ);
	if (fd < 0)
		return http_reply_error(req, 410, "gone", "this upload's bytes are no longer here");
	return http_reply_fd(req, 200, "application/octet-stream", fd, 0, size);
}
