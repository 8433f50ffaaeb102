/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_fetch.c -- the threads that fetch segments: from the server, over the gateway's redirect, and from peers.
 * Nothing is used before its SHA-256 is that of the signed list; a peer whose bytes are wrong is asked no more, and told.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define HOPS	      4	   /* redirects */
#define FAILED_MS     1000 /* before the server is asked again for a segment, as hls.js does */
#define PEER_FAILED_MS 500
#define PEER_SLOW_MS   3000
#define PEER_MS	      6000 /* for a segment of a peer */
#define HAVE_EVERY_MS 700
#define HAVE_MS	      1500
#define FAILS_MAX     3
#define HAVE_MAX      (64u << 10)

struct fetch {
	struct viewer_bytes *b;
	const struct viewer_segment *s; /* NULL: something else. It is given up when another brought it */
	size_t at;
	bool over; /* more came than there can be */
	char location[4096];
};

static int on_head(void *arg, const struct httpc_answer *head)
{
	(void)arg;
	return head->status == 200 || head->status / 100 == 3 ? 0 : -EACCES;
}

static void on_header(void *arg, const char *name, const char *value)
{
	struct fetch *f = arg;

	if (!strcasecmp(name, "Location"))
		snprintf(f->location, sizeof(f->location), "%s", value);
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct fetch *f = arg;

	if (f->s && __atomic_load_n(&f->s->have, __ATOMIC_RELAXED))
		return -ECANCELED;
	f->over = f->at + len > f->b->len;
	if (f->over)
		return -EMSGSIZE;
	memcpy(f->b->data + f->at, data, len);
	f->at += len;
	return 0;
}

/* One hop: the status, or -errno. */
static int hop(struct viewer *v, struct httpc *client, const char *url, const char *authorization, unsigned int timeout_ms,
	       struct fetch *f)
{
	const char *headers[] = { "Accept: */*", authorization, NULL };
	struct httpc_call call = { .url = url,
				   .headers = headers,
				   .on_head = on_head,
				   .on_header = on_header,
				   .on_data = on_data,
				   .arg = f,
				   .timeout_ms = timeout_ms,
				   .stop = &v->quit };
	struct httpc_answer answer;
	int rc;

	f->at = 0;
	f->location[0] = '\0';
	rc = httpc_do(client, &call, &answer);
	if (answer.status && (!rc || answer.status / 100 > 3))
		rc = (int)answer.status;
	httpc_answer_free(&answer);
	return rc;
}

int viewer_get(struct viewer *v, const char *path, size_t max, struct viewer_bytes **out)
{
	struct fetch f = { .b = viewer_bytes_new(max) };
	char url[8192];
	int rc;

	*out = NULL;
	if (!f.b)
		return -ENOMEM;
	snprintf(url, sizeof(url), "%s%s", viewer_gateway(v, NULL), path);
	rc = hop(v, v->media, url, web_authorization(v->web), 0, &f);
	/* the token for the endpoint is in the redirect: ours goes to no other host */
	for (int hops = 0; rc > 0 && rc / 100 == 3 && hops < HOPS; hops++) {
		if (*f.location == '/')
			snprintf(url, sizeof(url), "%.3000s%.4096s", viewer_gateway(v, NULL), f.location);
		else
			snprintf(url, sizeof(url), "%s", f.location);
		rc = hop(v, v->media, url, NULL, 0, &f);
	}
	if (rc == 200) {
		f.b->len = f.at;
		*out = f.b;
	} else {
		viewer_bytes_put(f.b);
	}
	return rc;
}

static void trace_segment(struct viewer *v, const struct viewer_segment *s, const char *from, int rc, int64_t took)
{
	char text[160];

	snprintf(text, sizeof(text), "segment %u from %s: %s, %lld ms", s->n, from,
		 rc == -EBADMSG ? "wrong bytes" :
		 rc	       ? "failed" :
				 "right",
		 (long long)took);
	viewer_trace(v, "segment", "in", text, strlen(text));
}

/* Waits until something changed, or a while. Under the lock. */
static void rest(struct viewer *v, int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += ms * 1000000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&v->changed, &v->lock, &until);
}

/* ---- from the server ------------------------------------------------------------------------- */

/* Under the lock, but for the fetching. */
static void from_server(struct viewer *v, struct viewer_segment *s)
{
	char path[2048], *slash = strchr(v->opt.asset, '/');
	struct viewer_bytes *b = NULL;
	int64_t began = viewer_now(), took;
	int rc;

	s->by_server = true;
	pthread_mutex_unlock(&v->lock);
	snprintf(path, sizeof(path), "/b/%.*s/%s/%s", (int)(slash - v->opt.asset), v->opt.asset, web_part(slash + 1, true),
		 web_part(s->uri, true));
	rc = viewer_get(v, path, s->bytes, &b);
	rc = rc == 200 ? 0 : rc < 0 ? rc : -EIO;
	took = viewer_now() - began;
	pthread_mutex_lock(&v->lock);
	s->by_server = false;
	if (!rc) {
		v->count.server += b->len;
		rc = viewer_store(v, s, b);
	}
	if (!v->quit && rc) {
		v->count.failed++;
		s->server_again = viewer_now() + FAILED_MS;
	}
	if ((double)took / s->duration_ms > v->slow)
		v->slow = (double)took / s->duration_ms;
	viewer_bytes_put(b);
	trace_segment(v, s, "the server", rc, took);
}

void *viewer_server_thread(void *arg)
{
	struct viewer *v = arg;

	pthread_mutex_lock(&v->lock);
	while (!v->quit) {
		struct viewer_segment *s = viewer_pick_server(v, viewer_now());

		if (s)
			from_server(v, s);
		else
			rest(v, 100);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* ---- from peers ------------------------------------------------------------------------------ */

/* GET from a peer by its key; under no lock. */
static int ask_peer(struct viewer *v, const char *address, const char *key, const char *path, unsigned int timeout_ms,
		    struct fetch *f)
{
	char url[256], authorization[64];
	int rc;

	snprintf(url, sizeof(url), "http://%.127s%s", address, path);
	snprintf(authorization, sizeof(authorization), "Authorization: Weir %s", key);
	rc = hop(v, v->media, url, authorization, timeout_ms, f);
	if (f->over)
		return -EBADMSG;
	if (rc == 200)
		f->b->len = f->at;
	return rc == 200 ? 0 : rc == 429 || rc == 403 || rc == 404 ? -EAGAIN : rc < 0 ? rc : -EIO;
}

/* Under the lock. */
static void peer_said(struct viewer *v, struct viewer_peer *p, int rc)
{
	if (rc == -EBADMSG) {
		p->bad = true;
		v->count.refused++;
		viewer_ids_add(&v->bad, p->id);
		cmd_fail("a segment of peer %s had not the SHA-256 of the signed list; it was thrown away, and the peer is asked no more",
			 p->id);
		viewer_peer_drop(v, p);
		return;
	}
	if (!rc || rc == -EAGAIN) {
		p->fails = 0;
		return;
	}
	if (p->again < viewer_now() + PEER_FAILED_MS)
		p->again = viewer_now() + PEER_FAILED_MS;
	if (++p->fails < FAILS_MAX)
		return;
	viewer_peer_drop(v, p);
	viewer_track_again(v);
}

static void from_peer(struct viewer *v, struct viewer_segment *s, struct viewer_peer *p)
{
	struct fetch f = { .b = viewer_bytes_new(s->bytes), .s = s };
	size_t rendition = 0;
	char path[96], address[128], key[VIEWER_KEY + 1], id[VIEWER_ID + 1];
	int64_t began = viewer_now(), took;
	int rc = -ENOMEM;

	while (rendition + 1 < v->nrenditions && (s < v->renditions[rendition].segments ||
						  s >= v->renditions[rendition].segments + v->renditions[rendition].nsegments))
		rendition++;
	snprintf(path, sizeof(path), "/weir/segment/%zu/%u", rendition, s->n);
	memcpy(address, p->address, sizeof(address));
	memcpy(key, p->key_out, sizeof(key));
	memcpy(id, p->id, sizeof(id));
	s->by_peers++;
	s->asked = p;
	s->asked_at = began;
	p->busy++;
	pthread_mutex_unlock(&v->lock);
	if (f.b)
		rc = ask_peer(v, address, key, path, PEER_MS, &f);
	pthread_mutex_lock(&v->lock);
	s->by_peers--;
	p->busy--;
	took = viewer_now() - began + 1;
	if (!rc) {
		rc = viewer_store(v, s, f.b);
		v->count.peers += rc ? 0 : f.b->len;
		p->received += rc ? 0 : f.b->len;
	}
	if (f.b && (!rc || f.at)) /* what came of one that was given up says how fast it is, too */
		p->rate = p->rate > 0 ? (p->rate + (double)f.at * 1000 / (double)took) / 2 : (double)f.at * 1000 / (double)took;
	if (rc == -EAGAIN || (rc && !s->have)) /* it gave it away, may not give, or is too slow: others first */
		p->again = viewer_now() + (rc == -EAGAIN ? PEER_FAILED_MS : PEER_SLOW_MS);
	if (!v->quit && !(rc && rc != -EBADMSG && s->have))
		peer_said(v, p, rc);
	viewer_bytes_put(f.b);
	trace_segment(v, s, id, rc, took);
}

void viewer_have_take(struct viewer *v, struct viewer_peer *p, const char *text, size_t len)
{
	json_t *o = json_loadb(text, len, 0, NULL);
	const struct viewer_rendition *r = &v->renditions[v->mine];
	const json_int_t begin = r->segments[0].n, end = begin + r->nsegments;
	const json_t *range;
	size_t i;

	if (p->have)
		memset(p->have, 0, r->nsegments);
	json_array_foreach (json_object_get(o, "have"), i, range) {
		json_int_t rendition = json_integer_value(json_array_get(range, 0)), first = json_integer_value(json_array_get(range, 1)),
			   last = json_integer_value(json_array_get(range, 2));

		if (i == VIEWER_RANGES) /* more is none of ours: we say no more either */
			break;
		if (p->have && json_array_size(range) == 3 && rendition == (json_int_t)v->mine)
			for (json_int_t n = first < begin ? begin : first; n <= last && n < end; n++)
				p->have[n - begin] = 1;
	}
	json_decref(o);
}

/* The one whose word is the oldest, when it is old. Under the lock. */
static struct viewer_peer *pick_have(struct viewer *v, int64_t now)
{
	struct viewer_peer *oldest = NULL;

	for (size_t i = 0; i < v->npeers; i++) {
		struct viewer_peer *p = &v->peers[i];

		if (*p->address && !p->bad && p->asked_at + HAVE_EVERY_MS <= now && p->again <= now &&
		    (!oldest || p->asked_at < oldest->asked_at))
			oldest = p;
	}
	return oldest;
}

static void ask_have(struct viewer *v, struct viewer_peer *p)
{
	struct fetch f = { .b = viewer_bytes_new(HAVE_MAX) };
	char address[128], key[VIEWER_KEY + 1];
	int rc = -ENOMEM;

	memcpy(address, p->address, sizeof(address));
	memcpy(key, p->key_out, sizeof(key));
	p->asked_at = viewer_now();
	p->busy++;
	pthread_mutex_unlock(&v->lock);
	if (f.b)
		rc = ask_peer(v, address, key, "/weir/have", HAVE_MS, &f);
	pthread_mutex_lock(&v->lock);
	p->busy--;
	if (!rc)
		viewer_have_take(v, p, (const char *)f.b->data, f.b->len);
	rc = rc == -EBADMSG ? -EIO : rc; /* no segment */
	if (!v->quit)
		peer_said(v, p, rc);
	viewer_bytes_put(f.b);
	pthread_cond_broadcast(&v->changed);
}

void *viewer_peer_thread(void *arg)
{
	struct viewer *v = arg;

	pthread_mutex_lock(&v->lock);
	while (!v->quit) {
		int64_t now = viewer_now();
		struct viewer_peer *p = NULL;
		struct viewer_segment *s = viewer_pick_peer(v, now, &p);

		if (s)
			from_peer(v, s, p);
		else if ((p = pick_have(v, now)))
			ask_have(v, p);
		else
			rest(v, 100);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}
