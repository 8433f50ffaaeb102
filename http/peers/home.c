/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home.c -- the table of this gateway's viewers (home.h, home_int.h): who enters, what is said by it and to it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/home_int.h"
#include "lib/hash.h"

int home_new(struct home **out, const struct home_options *opt)
{
	struct home *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->opt = *opt;
	pthread_mutex_init(&h->lock, NULL);
	for (int i = 0; i < ORDERS; i++)
		pthread_mutex_init(&h->order[i], NULL);
	*out = h;
	return 0;
}

void home_limits(struct home *h, unsigned int viewers, unsigned int per_address)
{
	lock(h);
	h->viewers_max = viewers;
	h->per_address = per_address;
	unlock(h);
}

/* ---- addresses ---- */

/* IPv6 by /64: one subscriber has so many. */
static uint64_t address_hash(const char *client)
{
	struct addr a;

	if (addr_parse(&a, client))
		return hash64(client, strlen(client), 2);
	return hash64(a.bytes, a.family == AF_INET6 ? 8 : 4, a.family);
}

static struct address **address_at(struct home *h, uint64_t hash)
{
	struct address **at = &h->addresses[hash % BUCKETS];

	while (*at && (*at)->hash != hash)
		at = &(*at)->next;
	return at;
}

static int room(struct home *h, uint64_t address)
{
	const struct address *a = *address_at(h, address);

	if (h->nviewers >= h->viewers_max)
		return -ENOSPC;
	return a && a->viewers >= h->per_address ? -EUSERS : 0;
}

int home_room(struct home *h, const char *client)
{
	int rc;

	lock(h);
	rc = room(h, address_hash(client));
	unlock(h);
	return rc;
}

static int address_add(struct home *h, uint64_t hash)
{
	struct address **at = address_at(h, hash);

	if (!*at)
		*at = calloc(1, sizeof(**at));
	if (!*at)
		return -ENOMEM;
	(*at)->hash = hash;
	(*at)->viewers++;
	return 0;
}

void address_remove(struct home *h, uint64_t hash)
{
	struct address **at = address_at(h, hash), *a = *at;

	if (a && !--a->viewers) {
		*at = a->next;
		free(a);
	}
}

/* ---- viewers ---- */

struct viewer **viewer_at(struct home *h, const char *id)
{
	uint64_t hash = hash64(id, strlen(id), 0);
	struct viewer **at = &h->viewers[hash % BUCKETS];

	while (*at && ((*at)->hash != hash || strcmp((*at)->id, id)))
		at = &(*at)->next;
	return at;
}

void viewer_free(struct viewer *v)
{
	if (!v)
		return;
	free(v->asset);
	free(v->facts);
	free(v->report);
	free(v->event);
	for (unsigned int i = 0; i < v->nannounces; i++)
		free(v->announces[i]);
	free(v);
}

static struct viewer *viewer_new(const struct home_guest *g)
{
	struct viewer *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	memcpy(v->id, g->token->viewer, sizeof(v->id));
	v->hash = hash64(v->id, strlen(v->id), 0);
	v->address = address_hash(g->client);
	v->asset = strdup(g->token->asset);
	v->facts = strdup(g->facts);
	if (v->asset && v->facts)
		return v;
	viewer_free(v);
	return NULL;
}

/* Under both locks. 0 and the viewer; *joins: what the owner is to be told, malloc'ed, or NULL: it knows. */
static int enter(struct home *h, const struct home_guest *g, struct viewer **out, char **joins)
{
	struct viewer **at = viewer_at(h, g->token->viewer), *v = *at;
	int rc;

	*joins = NULL;
	if (v && v->excluded)
		return -EACCES;
	if (!v) {
		rc = room(h, address_hash(g->client));
		if (rc)
			return rc;
		v = viewer_new(g);
		if (v) {
			v->barred_until = culprit_until(h, v->address, g->now_ms);
			*joins = viewer_facts(v);
		}
		if (!*joins || address_add(h, v->address)) {
			viewer_free(v);
			free(*joins);
			*joins = NULL;
			return -ENOSPC;
		}
		*at = v;
		h->nviewers++;
		v->owner = h->opt.owner ? h->opt.owner(h->opt.arg, v->asset) : 0;
	}
	v->expires = g->token->expires;
	v->over = false; /* its token is good: it is a newer one, or a clock was set */
	v->seen_ms = g->now_ms;
	*out = v;
	return 0;
}

/* Under the order lock alone. A viewer's asset is its token's. */
static void tell(struct home *h, enum peers_up kind, const struct viewer_token *t, const char *text)
{
	h->opt.up(h->opt.arg, kind, t->viewer, t->asset, text);
}

static void tell_joins(struct home *h, const struct viewer_token *t, char *joins)
{
	if (joins)
		tell(h, UP_JOIN, t, joins);
	free(joins);
}

void home_free(struct home *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct viewer *v = h->viewers[i], *next; v; v = next) {
			next = v->next;
			viewer_free(v);
		}
		for (struct address *a = h->addresses[i], *next; a; a = next) {
			next = a->next;
			free(a);
		}
	}
	pthread_mutex_destroy(&h->lock);
	for (int i = 0; i < ORDERS; i++)
		pthread_mutex_destroy(&h->order[i]);
	free(h);
}

/* ---- sockets ---- */

static void socket_close(struct home_socket *s, uint16_t code, const char *why)
{
	if (s->conn && !s->closing)
		ws_close(s->conn, code, why);
	s->closing = true; /* one that is not open yet is closed when it is */
}

/* Who opens one after the other, and ends none, holds no more places than these. */
static void socket_cut(struct home_socket *s, const char *why)
{
	if (s->conn)
		ws_cut(s->conn, 1008, why);
	s->closing = true;
}

int home_socket_new(struct home *h, const struct home_guest *g, struct home_socket **out)
{
	pthread_mutex_t *order = order_of(h, g->token->viewer);
	struct home_socket *s = calloc(1, sizeof(*s)), *last = NULL;
	struct viewer *v;
	char *joins;
	int rc;

	if (!s)
		return -ENOSPC;
	pthread_mutex_lock(order);
	lock(h);
	rc = enter(h, g, &v, &joins);
	if (!rc) {
		*s = (struct home_socket){ .next = v->sockets, .home = h, .viewer = v };
		v->sockets = s;
		v->had_socket = true;
		v->nsockets++;
		for (struct home_socket *o = s->next; o && v->nsockets > SOCKETS_MAX; o = o->next)
			last = o->closing ? last : o;
		if (last)
			socket_cut(last, "this viewer has opened newer ones");
	}
	unlock(h);
	tell_joins(h, g->token, joins);
	pthread_mutex_unlock(order);
	if (rc)
		free(s);
	else
		*out = s;
	return rc;
}

void home_socket_opened(struct home_socket *s, struct ws_conn *c)
{
	lock(s->home);
	s->conn = c;
	if (s->closing)
		ws_cut(c, 1008, "the session is over");
	unlock(s->home);
}

void home_socket_said(struct home_socket *s, int64_t now_ms, const char *text)
{
	struct home *h = s->home;
	struct viewer *v = s->viewer; /* stays as long as its socket; id and asset never change */
	pthread_mutex_t *order = order_of(h, v->id);
	struct home_announce announce;
	bool wanted;

	home_announce_read(&announce, text);
	pthread_mutex_lock(order);
	lock(h);
	wanted = !s->closing;
	if (wanted)
		v->speaking = s;
	viewer_announced(v, &announce);
	v->seen_ms = now_ms;
	unlock(h);
	if (wanted)
		h->opt.up(h->opt.arg, UP_TRACK, v->id, v->asset, text);
	pthread_mutex_unlock(order);
}

void home_socket_free(struct home_socket *s)
{
	struct home *h = s->home;
	struct viewer *v = s->viewer;
	struct home_socket **at;

	lock(h);
	for (at = &v->sockets; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	v->nsockets--;
	if (v->speaking == s)
		v->speaking = v->sockets;
	unlock(h);
	free(s);
}

/* ---- streams ---- */

int home_stream_add(struct home *h, const struct home_guest *g, struct home_stream *s)
{
	pthread_mutex_t *order = order_of(h, g->token->viewer);
	struct viewer *v;
	char *joins;
	int rc;

	pthread_mutex_lock(order);
	lock(h);
	rc = enter(h, g, &v, &joins);
	if (!rc) {
		if (v->stream) {
			v->stream->viewer = NULL;
			v->stream->end(v->stream);
		}
		v->stream = s;
		s->viewer = v;
		if (v->event)
			s->push(s, v->event, v->event_len);
	}
	unlock(h);
	tell_joins(h, g->token, joins);
	pthread_mutex_unlock(order);
	return rc;
}

void home_stream_remove(struct home *h, struct home_stream *s)
{
	struct viewer *v;

	lock(h);
	v = s->viewer;
	if (v && v->stream == s)
		v->stream = NULL;
	s->viewer = NULL;
	unlock(h);
}

/* ---- reports ---- */

int home_report(struct home *h, const struct home_guest *g, int64_t gap_ms, int consent, const char *text)
{
	pthread_mutex_t *order = order_of(h, g->token->viewer);
	char *kept = strdup(text);
	struct viewer *v;
	char *joins;
	int rc;

	if (!kept)
		return -ENOSPC;
	pthread_mutex_lock(order);
	lock(h);
	rc = enter(h, g, &v, &joins);
	if (!rc && v->reported_ms && g->now_ms - v->reported_ms < gap_ms)
		rc = -EBUSY;
	if (!rc) {
		v->reported_ms = g->now_ms;
		free(v->report);
		v->report = kept;
		kept = NULL;
		if (consent >= 0)
			viewer_consents(v, consent);
	}
	unlock(h);
	tell_joins(h, g->token, joins);
	if (!rc)
		tell(h, UP_REPORT, g->token, text);
	pthread_mutex_unlock(order);
	free(kept);
	return rc;
}

/* ---- from the owner ---- */

void home_track(struct home *h, const char *viewer, const char *text)
{
	struct viewer *v;

	lock(h);
	v = *viewer_at(h, viewer);
	if (v && v->speaking && v->speaking->conn && !v->speaking->closing)
		ws_send(v->speaking->conn, text, strlen(text));
	unlock(h);
}

void home_instruct(struct home *h, const char *viewer, int64_t epoch, const char *event, size_t len)
{
	char *kept = malloc(len);
	struct viewer *v;

	if (!kept)
		return;
	memcpy(kept, event, len);
	lock(h);
	v = *viewer_at(h, viewer);
	if (v && !v->excluded && epoch >= v->epoch) {
		v->epoch = epoch;
		free(v->event);
		v->event = kept;
		v->event_len = len;
		kept = NULL;
		if (v->stream)
			v->stream->push(v->stream, event, len);
	}
	unlock(h);
	free(kept);
}

void viewer_close(struct viewer *v, const char *why)
{
	for (struct home_socket *s = v->sockets; s; s = s->next)
		socket_close(s, 1008, why);
	if (v->stream) {
		v->stream->viewer = NULL;
		v->stream->end(v->stream);
		v->stream = NULL;
	}
}

void home_close(struct home *h, const char *viewer, int64_t now_ms, const char *why)
{
	struct viewer *v;

	lock(h);
	v = *viewer_at(h, viewer);
	if (v) {
		if (!v->excluded)
			culprit_add(h, v->address, now_ms);
		v->excluded = true;
		viewer_close(v, why);
	}
	unlock(h);
}
