/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.c -- the client's side of what is carried: its body into a ring, the answer out of another (carry.h).
 *
 * Small answers are gathered and told in one piece, so that an endpoint that dies in their middle is an error and not a
 * cut; larger ones stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "http/gateway/carry_int.h"
#include "lib/log.h"

#define PEM_MAX (1u << 20)

/* ---- rings ---- */

size_t ring_put(struct ring *r, const void *data, size_t len)
{
	size_t room, end, first;

	if (!r->data)
		r->data = malloc(CARRY_RING);
	if (!r->data)
		return 0;
	room = CARRY_RING - r->len;
	len = len < room ? len : room;
	end = (r->at + r->len) % CARRY_RING;
	first = CARRY_RING - end < len ? CARRY_RING - end : len;
	memcpy(r->data + end, data, first);
	memcpy(r->data, (const char *)data + first, len - first);
	r->len += len;
	return len;
}

size_t ring_get(struct ring *r, void *buf, size_t max)
{
	size_t len = max < r->len ? max : r->len;
	size_t first = CARRY_RING - r->at < len ? CARRY_RING - r->at : len;

	if (!len)
		return 0;
	memcpy(buf, r->data + r->at, first);
	memcpy((char *)buf + first, r->data, len - first);
	r->len -= len;
	r->at = r->len ? (r->at + len) % CARRY_RING : 0;
	return len;
}

/* ---- threads ---- */

static int read_pem(char **out, size_t *len, const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1, rc = 0;
	ssize_t n;

	if (!path)
		return 0;
	if (fd < 0)
		return -errno;
	*out = malloc(PEM_MAX);
	n = *out ? read(fd, *out, PEM_MAX) : -1;
	if (n < 0)
		rc = *out ? -errno : -ENOMEM;
	else
		*len = (size_t)n;
	close(fd);
	return rc;
}

int carriers_new(struct carriers **out, const struct conf *conf, unsigned int threads)
{
	struct carriers *all = calloc(1, sizeof(*all));
	int rc;

	if (!all)
		return -ENOMEM;
	all->ncarriers = threads ? threads : 1;
	all->carriers = calloc(all->ncarriers, sizeof(*all->carriers));
	rc = all->carriers ? read_pem(&all->ca, &all->ca_len, conf->tls.ca) : -ENOMEM;
	if (!rc)
		rc = read_pem(&all->cert, &all->cert_len, conf->tls.cert);
	if (!rc)
		rc = read_pem(&all->key, &all->key_len, conf->tls.key);
	for (unsigned int i = 0; all->carriers && i < all->ncarriers; i++) {
		pthread_mutex_init(&all->carriers[i].lock, NULL);
		all->carriers[i].all = all;
	}
	if (rc) {
		log_error("%s: cannot read the certificates of tls: %s", conf->path ? conf->path : "weir.yaml", strerror(-rc));
		carriers_free(all);
		return rc;
	}
	*out = all;
	return 0;
}

int carriers_start(struct carriers *all)
{
	curl_global_init(CURL_GLOBAL_ALL);
	for (; all->started < all->ncarriers; all->started++) {
		struct carrier *by = &all->carriers[all->started];
		int err;

		by->multi = curl_multi_init();
		if (!by->multi)
			return -ENOMEM;
		curl_multi_setopt(by->multi, CURLMOPT_MAXCONNECTS, 64L); /* kept idle */
		curl_multi_setopt(by->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
		err = pthread_create(&by->thread, NULL, carrier_run, by);
		if (err)
			return -err;
		pthread_setname_np(by->thread, "carrier");
	}
	return 0;
}

size_t carriers_active(struct carriers *all)
{
	return atomic_load(&all->active);
}

void carriers_stop(struct carriers *all)
{
	for (unsigned int i = 0; all && i < all->started; i++) {
		struct carrier *by = &all->carriers[i];

		pthread_mutex_lock(&by->lock);
		by->quit = true;
		pthread_mutex_unlock(&by->lock);
		curl_multi_wakeup(by->multi);
		pthread_join(by->thread, NULL);
	}
	if (all)
		all->started = 0;
}

void carriers_free(struct carriers *all)
{
	if (!all)
		return;
	for (unsigned int i = 0; all->carriers && i < all->ncarriers; i++) {
		if (all->carriers[i].multi)
			curl_multi_cleanup(all->carriers[i].multi);
		pthread_mutex_destroy(&all->carriers[i].lock);
	}
	if (all->key)
		OPENSSL_cleanse(all->key, all->key_len);
	free(all->ca);
	free(all->cert);
	free(all->key);
	free(all->carriers);
	free(all);
}

/* ---- one carry ---- */

void carry_unref(struct carry *c)
{
	if (atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&c->lock);
	for (size_t i = 0; i < c->nheaders; i++) {
		free(c->names[i]);
		free(c->values[i]);
	}
	curl_slist_free_all(c->sent);
	free(c->in.data);
	free(c->out.data);
	free(c->method);
	free(c->target);
	free(c);
}

bool carry_tell(struct carry *c)
{
	struct carrier *by = c->by;
	bool wake = false, runs;

	pthread_mutex_lock(&by->lock);
	runs = !by->quit;
	if (!c->told && runs) {
		atomic_fetch_add(&c->refs, 1);
		c->told = true;
		c->inbox_next = by->inbox;
		wake = !by->inbox;
		by->inbox = c;
	}
	pthread_mutex_unlock(&by->lock);
	if (wake)
		curl_multi_wakeup(by->multi);
	return runs;
}

/* The client's body comes as it comes: libcurl's own Expect is left out, unless the client waits, too. */
static struct curl_slist *compose(const struct carry_order *order)
{
	struct curl_slist *list = NULL, *more;
	bool expects = false;

	for (size_t i = 0; order->headers[i]; i++) {
		more = curl_slist_append(list, order->headers[i]);
		if (!more) {
			curl_slist_free_all(list);
			return NULL;
		}
		list = more;
		expects |= !strncasecmp(order->headers[i], "Expect:", 7);
	}
	if (expects)
		return list;
	more = curl_slist_append(list, order->expects ? "Expect: 100-continue" : "Expect:");
	if (!more)
		curl_slist_free_all(list);
	return more;
}

struct carry *carry_begin(struct carriers *all, struct http_req *req, const struct carry_order *order)
{
	struct carry *c = calloc(1, sizeof(*c));
	bool good;

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->by = &all->carriers[atomic_fetch_add(&all->next, 1) % all->ncarriers];
	c->req = req;
	c->refs = 2; /* the handlers' and the carrier's */
	c->length = UINT64_MAX;
	c->method = strdup(order->method);
	c->target = strdup(order->target);
	c->body_len = order->body_len;
	c->has_body = order->has_body;
	c->is_head = !strcmp(order->method, "HEAD");
	c->pick = order->pick;
	c->refuse = order->refuse;
	c->answered = order->answered;
	c->arg = order->arg;
	c->sent = compose(order);
	good = c->method && c->target && c->sent;
	c->in_ended = !order->has_body;
	c->held = order->has_body && order->expects;
	if (!good) {
		c->refs = 1;
		carry_unref(c);
		return NULL;
	}
	atomic_fetch_add(&all->active, 1);
	if (!carry_tell(c)) { /* the gateway stops */
		atomic_fetch_sub(&all->active, 1);
		c->refs = 1;
		c->over = c->failed = true;
		c->held = false;
		c->fault = CARRY_NONE;
	}
	return c;
}

enum http_next carry_next(struct carry *c)
{
	bool held;

	pthread_mutex_lock(&c->lock);
	held = c->held;
	pthread_mutex_unlock(&c->lock);
	return held ? HTTP_HOLD : HTTP_CONTINUE;
}

static ssize_t read_out(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct carry *c = arg;
	bool tell = false;
	ssize_t n;

	(void)pos;
	pthread_mutex_lock(&c->lock);
	n = (ssize_t)ring_get(&c->out, buf, max);
	if (!n)
		n = !c->over ? HTTP_READ_LATER : c->failed ? HTTP_READ_FAIL : HTTP_READ_END;
	c->out_wanted = n == HTTP_READ_LATER;
	/* Half a ring at a time: waking the carrier for each piece costs more than the piece. */
	if (c->out_paused && c->out.len <= CARRY_RING / 2) {
		c->out_paused = false;
		tell = true;
	}
	pthread_mutex_unlock(&c->lock);
	if (tell)
		carry_tell(c);
	return n;
}

static void free_out(void *arg)
{
	struct carry *c = arg;
	bool tell;

	pthread_mutex_lock(&c->lock);
	tell = !c->over;
	c->cancelled = true;
	pthread_mutex_unlock(&c->lock);
	if (tell)
		carry_tell(c);
	carry_unref(c);
}

bool carry_may_reply(const struct carry *c)
{
	return c->req && !c->replied && (c->over || c->ready);
}

/* An answer that is all here. */
static void reply_whole(struct carry *c)
{
	size_t len = c->out.len;
	char *data = len ? malloc(len) : NULL;

	ring_get(&c->out, data, data ? len : 0);
	if (c->is_head && c->length != UINT64_MAX && c->length)
		http_reply_stream(c->req, c->status, NULL, c->length, read_out, NULL, c); /* of which nothing is read */
	else if (data)
		http_reply_owned(c->req, c->status, NULL, data, len);
	else
		http_reply(c->req, c->status, NULL, NULL, 0);
}

void carry_reply(struct carry *c)
{
	c->replied = true;
	if (c->failed && !c->ready) {
		c->refuse(c->arg, c->req, c->fault, c->ntried ? c->tried[c->ntried - 1] : "");
		return;
	}
	for (size_t i = 0; i < c->nheaders; i++)
		http_add_header(c->req, c->names[i], c->values[i]);
	if (c->over && !c->failed && (!c->out.len || c->out.len == c->length)) {
		reply_whole(c);
	} else {
		c->refs++;
		http_reply_stream(c->req, c->status, NULL, c->length, read_out, free_out, c);
	}
}

enum http_next carry_body(struct carry *c, const void *data, size_t len, size_t *taken)
{
	enum http_next next = HTTP_CONTINUE;
	bool tell = false;

	pthread_mutex_lock(&c->lock);
	if (c->replied || carry_may_reply(c)) { /* before the end: an error. The rest of the body is dropped. */
		if (!c->replied)
			carry_reply(c);
		next = HTTP_ANSWERED;
		*taken = len;
	} else {
		*taken = ring_put(&c->in, data, len);
		c->waits_room = *taken < len;
		tell = c->in_paused;
		c->in_paused = false;
	}
	pthread_mutex_unlock(&c->lock);
	if (tell)
		carry_tell(c);
	return next;
}

enum http_next carry_end(struct carry *c)
{
	enum http_next next = HTTP_LATER;
	bool tell;

	pthread_mutex_lock(&c->lock);
	c->in_ended = c->asked = true;
	tell = c->in_paused;
	c->in_paused = false;
	if (c->replied || carry_may_reply(c)) {
		if (!c->replied)
			carry_reply(c);
		next = HTTP_ANSWERED;
	}
	pthread_mutex_unlock(&c->lock);
	if (tell)
		carry_tell(c);
	return next;
}

void carry_done(struct carry *c)
{
	bool tell;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->req = NULL;
	/* A stream that still runs ends with the answer (free_out). */
	c->cancelled = true;
	tell = !c->over;
	pthread_mutex_unlock(&c->lock);
	if (tell)
		carry_tell(c);
	carry_unref(c);
}
