/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels.c -- what the registry says: tunnels by name, hostname and address, revoked certificates,
 * the other edges; and what this edge says back: itself, and up to which revision it routes.
 *
 * Watches run on threads of their own and post copies to the main thread. Nothing is taken away
 * because the registry is silent.
 *
 * A process that was stopped (SIGSTOP, a machine that slept) until its lease had lapsed, or the
 * time for acknowledgements was over, is another matter: the publisher did not wait for it, so that
 * a hostname may be another tenant's by now. It is stale until it has read everything again, by new
 * watches; what the old ones still tell is left out.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "user/tunnel/attach.h"
#include "user/tunnel/index.h"

#define BEAT_MS	   500	/* the main thread looks at the clock */
#define STOPPED_MS 1500 /* it did not for so long: this process was stopped */

enum kind { KIND_TUNNEL, KIND_REVOKED, KIND_MEMBER, KINDS };
static const char *const prefixes[KINDS] = { REG_TUNNELS, REG_REVOKED, REG_MEMBERS "edge/" };

/* A watch and what its thread may touch. */
struct watch {
	struct reg_watch *watch;
	struct loop *loop;
	struct edge_tunnels *all;
	enum kind kind;
	unsigned int epoch;
};

struct edge_tunnels {
	struct edge *edge;
	struct watch *watches[KINDS];
	unsigned int epoch;
	bool synced[KINDS]; /* in this epoch */
	bool known;	    /* tunnels and revocations were heard once */
	struct index names, hostnames, addresses, revoked, members;
	struct known *gone; /* removed, still in use */
	int64_t applied;    /* revision */
	bool acked;
	/* was this process stopped? */
	struct reactor_timer beat;
	int64_t beat_ms; /* CLOCK_BOOTTIME of the last look */
	uint64_t term;	 /* of the lease then */
	bool certain;	 /* … which was certainly there */
	bool stale;
};

/* A tunnel and when it was heard. */
struct known {
	struct edge_tunnel et;
	uint64_t text; /* digest of what the registry says of it */
	unsigned int epoch;
	struct known *next; /* gone ones */
};

/* A revoked serial number, or another edge. */
struct fact {
	unsigned int epoch;
	size_t n;
	char attach[8][80];
};

struct heard {
	struct edge_tunnels *all;
	enum kind kind;
	enum reg_event event;
	unsigned int epoch;
	int64_t revision;
	char *key, *value;
};

/* ---- the watches' threads ---- */

static void heard_free(struct heard *h)
{
	free(h->key);
	free(h->value);
	free(h);
}

static void on_main(void *arg);

static void on_event(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct watch *w = arg;
	struct heard *h = calloc(1, sizeof(*h));

	if (!h)
		return;
	*h = (struct heard){ .all = w->all, .kind = w->kind, .event = event, .epoch = w->epoch };
	if (kv) {
		h->key = strdup(kv->key + strlen(prefixes[w->kind]));
		h->value = kv->value ? strdup(kv->value) : NULL;
		h->revision = kv->mod_revision;
	}
	if ((kv && (!h->key || (kv->value && !h->value))) || loop_post(w->loop, on_main, h) < 0)
		heard_free(h);
}

/* ---- tables ---- */

static size_t address_key(const struct addr *a)
{
	return a->family == AF_INET ? 4 : a->family == AF_INET6 ? 16 : 0;
}

static void index_tunnel(struct edge_tunnels *all, struct edge_tunnel *et)
{
	const struct addr *both[] = { &et->t.address, &et->t.address6 };
	int rc = 0;

	for (size_t i = 0; i < et->t.nhostnames; i++)
		rc |= index_add(&all->hostnames, et->t.hostnames[i], strlen(et->t.hostnames[i]),
				et);
	for (size_t i = 0; i < 2; i++)
		if (address_key(both[i]))
			rc |= index_add(&all->addresses, both[i]->bytes, address_key(both[i]), et);
	if (rc)
		log_error("tunnel %s: no memory for its names", et->t.name);
}

static void unindex_tunnel(struct edge_tunnels *all, struct edge_tunnel *et)
{
	const struct addr *both[] = { &et->t.address, &et->t.address6 };

	for (size_t i = 0; i < et->t.nhostnames; i++)
		index_remove(&all->hostnames, et->t.hostnames[i], strlen(et->t.hostnames[i]), et);
	for (size_t i = 0; i < 2; i++)
		if (address_key(both[i]))
			index_remove(&all->addresses, both[i]->bytes, address_key(both[i]), et);
}

/* Of several (a hostname that moved, told in two events) the newest has it. */
static struct edge_tunnel *newest(const struct index *ix, const void *key, size_t len)
{
	struct edge_tunnel *best = NULL;

	for (struct index_node *node = index_find(ix, key, len); node; node = index_again(node)) {
		struct edge_tunnel *et = node->value;

		if (!best || et->revision > best->revision)
			best = et;
	}
	return best;
}

struct edge_tunnel *edge_tunnel_of_hostname(struct edge_tunnels *all, const char *hostname)
{
	return newest(&all->hostnames, hostname, strlen(hostname));
}

struct edge_tunnel *edge_tunnel_of_address(struct edge_tunnels *all, const struct addr *address)
{
	return newest(&all->addresses, address->bytes, address_key(address));
}

struct edge_tunnel *edge_tunnel_of_name(struct edge_tunnels *all, const char *name)
{
	return newest(&all->names, name, strlen(name));
}

void edge_tunnels_each(struct edge_tunnels *all, void (*fn)(void *arg, struct edge_tunnel *t),
		       void *arg)
{
	struct index_node *node, *next;

	for (node = index_next(&all->names, NULL); node; node = next) {
		next = index_next(&all->names, node);
		fn(arg, node->value);
	}
}

bool edge_serial_revoked(struct edge_tunnels *all, const char *serial_hex)
{
	return index_find(&all->revoked, serial_hex, strlen(serial_hex)) != NULL;
}

bool edge_tunnels_known(const struct edge_tunnels *all)
{
	return all->known;
}

/* ---- tunnels come, change and go ---- */

static void acknowledge(struct edge_tunnels *all, int64_t revision)
{
	char key[sizeof(REG_ROUTED "edge/") + CONF_NAME_MAX], value[64];

	if (revision > all->applied) {
		all->applied = revision;
		all->acked = false;
	}
	if (all->acked || !all->synced[KIND_TUNNEL])
		return;
	all->acked = true;
	snprintf(key, sizeof(key), REG_ROUTED "edge/%s", all->edge->d->conf->node);
	snprintf(value, sizeof(value), "{\"revision\":%lld}", (long long)all->applied);
	leased_put(all->edge->leased, key, value);
}

static void tunnel_changed(struct edge_tunnels *all, struct edge_tunnel *et)
{
	if (et->gone && all->edge->front)
		front_tunnel_gone(all->edge->front, et);
	if (all->edge->attach)
		attach_tunnel_changed(all->edge->attach, et);
}

static void tunnel_drop(struct edge_tunnels *all, struct edge_tunnel *et)
{
	struct known *k = (struct known *)et;

	unindex_tunnel(all, et);
	index_remove(&all->names, et->t.name, strlen(et->t.name), et);
	et->gone = true;
	k->next = all->gone;
	all->gone = k;
	tunnel_changed(all, et);
}

/* Frees those that were removed and are not used any more. */
static void sweep(struct edge_tunnels *all)
{
	struct known **at = &all->gone, *k;

	while ((k = *at)) {
		if (k->et.users || k->et.origins) {
			at = &k->next;
			continue;
		}
		*at = k->next;
		tunnel_clear(&k->et.t);
		free(k);
	}
}

static void tunnel_put(struct edge_tunnels *all, const struct heard *h)
{
	struct edge_tunnel *et = edge_tunnel_of_name(all, h->key);
	struct known *k = (struct known *)et;
	uint64_t text = hash64(h->value, strlen(h->value), 0);
	struct tunnel t;
	bool fresh = !k;

	/* after a registry was restored the same revision may say something else */
	if (k && et->revision == h->revision && k->text == text) {
		k->epoch = h->epoch;
		return;
	}
	if (tunnel_parse(&t, h->value) || strcmp(t.name, h->key)) {
		/* who may have its hostnames cannot be known: nobody is served by it */
		log_error("the registry's tunnel %s cannot be read; it is not served", h->key);
		if (k)
			tunnel_drop(all, et);
		return;
	}
	if (fresh)
		k = calloc(1, sizeof(*k));
	if (!k || (fresh && index_add(&all->names, h->key, strlen(h->key), &k->et))) {
		log_error("no memory for tunnel %s", h->key);
		tunnel_clear(&t);
		free(k);
		return;
	}
	et = &k->et;
	if (!fresh) {
		unindex_tunnel(all, et);
		tunnel_clear(&et->t);
	}
	et->t = t;
	et->revision = h->revision;
	k->text = text;
	k->epoch = h->epoch;
	index_tunnel(all, et);
	tunnel_changed(all, et);
}

static void tunnel_delete(struct edge_tunnels *all, const char *name)
{
	struct edge_tunnel *et = edge_tunnel_of_name(all, name);

	if (et)
		tunnel_drop(all, et);
}

static void hear_tunnel(struct edge_tunnels *all, const struct heard *h)
{
	if (h->event == REG_PUT)
		tunnel_put(all, h);
	else if (h->event == REG_DELETE)
		tunnel_delete(all, h->key);
	if (h->event == REG_SYNCED) {
		struct index_node *node, *next;

		for (node = index_next(&all->names, NULL); node; node = next) {
			next = index_next(&all->names, node);
			if (((struct known *)node->value)->epoch != h->epoch)
				tunnel_drop(all, node->value);
		}
	}
	acknowledge(all, h->revision);
}

/* ---- revocations and other edges ---- */

static struct fact *fact_of(struct index *ix, const char *key, unsigned int epoch)
{
	struct index_node *node = index_find(ix, key, strlen(key));
	struct fact *f = node ? node->value : calloc(1, sizeof(*f));

	if (f && !node && index_add(ix, key, strlen(key), f)) {
		free(f);
		return NULL;
	}
	if (f)
		f->epoch = epoch;
	return f;
}

static void fact_remove(struct index *ix, const char *key)
{
	struct index_node *node = index_find(ix, key, strlen(key));
	struct fact *f = node ? node->value : NULL;

	if (!f)
		return;
	index_remove(ix, key, strlen(key), f);
	free(f);
}

/* What was not told again is no more. */
static void facts_sweep(struct index *ix, unsigned int epoch)
{
	struct index_node *node, *next;

	for (node = index_next(ix, NULL); node; node = next) {
		next = index_next(ix, node);
		if (((struct fact *)node->value)->epoch != epoch)
			fact_remove(ix, node->key);
	}
}

static void hear_revoked(struct edge_tunnels *all, const struct heard *h)
{
	if (h->event == REG_SYNCED)
		facts_sweep(&all->revoked, h->epoch);
	else if (h->event == REG_DELETE)
		fact_remove(&all->revoked, h->key);
	else if (!fact_of(&all->revoked, h->key, h->epoch))
		log_error("no memory for the revoked certificate %s", h->key);
	if (h->event == REG_PUT && all->edge->attach)
		attach_serial_revoked(all->edge->attach, h->key);
}

static void hear_member(struct edge_tunnels *all, const struct heard *h)
{
	struct fact *f;
	json_t *value, *one;
	size_t i;

	if (h->event == REG_SYNCED)
		facts_sweep(&all->members, h->epoch);
	else if (h->event == REG_DELETE)
		fact_remove(&all->members, h->key);
	else if ((f = fact_of(&all->members, h->key, h->epoch))) {
		f->n = 0;
		value = json_loads(h->value, 0, NULL);
		json_array_foreach (json_object_get(value, "attach"), i, one) {
			const char *text = json_string_value(one);

			if (text && strlen(text) < sizeof(f->attach[0]) &&
			    f->n < sizeof(f->attach) / sizeof(f->attach[0]))
				strcpy(f->attach[f->n++], text);
		}
		json_decref(value);
	}
	if (all->edge->attach)
		attach_peers_changed(all->edge->attach);
}

size_t edge_tunnels_peers(const struct edge_tunnels *all, bool own,
			  char (*out)[sizeof(((struct control *)0)->edges[0])], size_t max)
{
	const char *me = all->edge->d->conf->node;
	size_t n = 0;

	for (struct index_node *node = index_next(&all->members, NULL); node;
	     node = index_next(&all->members, node)) {
		const struct fact *f = node->value;

		if (!own && !strcmp(node->key, me))
			continue;
		for (size_t i = 0; i < f->n && n < max; i++)
			strcpy(out[n++], f->attach[i]);
	}
	return n;
}

/* ---- hearing ---- */

static void on_main(void *arg)
{
	struct heard *h = arg;
	struct edge_tunnels *all = h->all;

	if (h->epoch != all->epoch) {
		heard_free(h);
		return;
	}
	if (h->event == REG_SYNCED)
		all->synced[h->kind] = true;
	if (h->kind == KIND_TUNNEL)
		hear_tunnel(all, h);
	else if (h->kind == KIND_REVOKED)
		hear_revoked(all, h);
	else
		hear_member(all, h);
	if (all->synced[KIND_TUNNEL] && all->synced[KIND_REVOKED]) {
		if (all->stale)
			log_info("the registry was heard: tunnels are served again");
		all->stale = false;
		all->known = true;
	}
	heard_free(h);
}

static struct watch *watch_new(struct edge_tunnels *all, enum kind kind)
{
	struct watch *w = calloc(1, sizeof(*w));
	int rc = w ? 0 : -ENOMEM;

	if (!rc) {
		*w = (struct watch){ NULL, all->edge->d->loop, all, kind, all->epoch };
		rc = registry_watch(all->edge->d->registry, &w->watch, prefixes[kind], on_event, w);
	}
	if (rc) {
		log_error("cannot watch %s: %s", prefixes[kind], strerror(-rc));
		free(w);
		return NULL;
	}
	return w;
}

static void watch_end(void *arg)
{
	struct watch *w = arg;

	registry_unwatch(w->watch);
}

/* Everything is read again; the old watches end on another thread, because that may block. */
static void read_again(struct edge_tunnels *all)
{
	all->epoch++;
	for (enum kind k = 0; k < KINDS; k++) {
		struct watch *old = all->watches[k];

		all->synced[k] = false;
		all->watches[k] = watch_new(all, k);
		if (old && reactor_work(all->edge->reactor, watch_end, free, old)) {
			watch_end(old);
			free(old);
		}
	}
}

/* ---- was this process stopped? ---- */

static int64_t boot_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Did the publisher stop waiting for this edge? Its lease lapsed: certain before and not any more,
 * or another one by now; or, when the registry was silent before, a whole lease has passed. Or the
 * time for acknowledgements was over. */
static bool left_behind(const struct edge_tunnels *all, int64_t stopped_ms, bool certain,
			uint64_t term)
{
	int64_t patience_ms = (int64_t)(all->edge->d->conf->tunnels.ack_timeout_us / 1000);

	if (stopped_ms > EDGE_LEASE_S * 1000 || stopped_ms > patience_ms)
		return true;
	return all->certain && (!certain || term != all->term);
}

/* A stop shows as a hole in the looks. */
static void look(struct edge_tunnels *all)
{
	int64_t now = boot_ms(), hole = now - all->beat_ms;
	uint64_t term = 0;
	bool certain;

	if (hole < BEAT_MS / 2)
		return;
	certain = registry_lease_certain(all->edge->lease, &term);
	if (hole > STOPPED_MS && all->known && left_behind(all, hole, certain, term)) {
		log_warn("this process was stopped for %.1f s: tunnels are not served until the "
			 "registry was heard",
			 (double)hole / 1000);
		all->stale = true;
		read_again(all);
	}
	all->beat_ms = now;
	all->certain = certain;
	all->term = term;
}

static void on_beat(struct reactor_timer *t)
{
	struct edge_tunnels *all =
		(struct edge_tunnels *)((char *)t - offsetof(struct edge_tunnels, beat));

	look(all);
	sweep(all);
	for (enum kind k = 0; k < KINDS; k++)
		if (!all->watches[k])
			all->watches[k] = watch_new(all, k);
	reactor_timer_set(all->edge->reactor, t, BEAT_MS);
}

bool edge_is_stale(const struct edge_tunnels *all)
{
	look((struct edge_tunnels *)all); /* the first event after a stop may be a request */
	return all->stale || !all->known;
}

/* ---- public ---- */

int edge_tunnels_open(struct edge_tunnels **out, struct edge *edge)
{
	struct edge_tunnels *all = calloc(1, sizeof(*all));
	int rc = all ? 0 : -ENOMEM;

	if (!rc)
		rc = leased_open(&edge->leased, edge);
	if (!rc && !edge->lease)
		rc = registry_lease(edge->d->registry, &edge->lease, EDGE_LEASE_S, NULL, NULL);
	if (rc) {
		log_error("cannot take part in the registry: %s", strerror(-rc));
		leased_close(edge->leased);
		edge->leased = NULL;
		free(all);
		return rc;
	}
	all->edge = edge;
	all->beat.fn = on_beat;
	all->beat_ms = boot_ms();
	all->certain = registry_lease_certain(edge->lease, &all->term);
	*out = all;
	edge_announce(edge);
	for (enum kind k = 0; k < KINDS; k++)
		all->watches[k] = watch_new(all, k);
	reactor_timer_set(edge->reactor, &all->beat, BEAT_MS);
	return 0;
}

void edge_tunnels_close(struct edge_tunnels *all)
{
	if (!all)
		return;
	reactor_timer_stop(all->edge->reactor, &all->beat);
	for (enum kind k = 0; k < KINDS; k++) {
		if (all->watches[k])
			watch_end(all->watches[k]);
		free(all->watches[k]);
		all->watches[k] = NULL;
	}
	leased_stop(all->edge->leased);
}

void edge_tunnels_free(struct edge_tunnels *all)
{
	struct index_node *node = NULL;

	if (!all)
		return;
	leased_close(all->edge->leased);
	all->edge->leased = NULL;
	while ((node = index_next(&all->names, node))) {
		struct known *k = node->value;

		k->next = all->gone;
		all->gone = k;
	}
	for (struct known *k = all->gone; k; k = k->next) {
		k->et.users = 0;
		k->et.origins = NULL;
	}
	sweep(all);
	facts_sweep(&all->revoked, ~0u);
	facts_sweep(&all->members, ~0u);
	index_free(&all->names);
	index_free(&all->hostnames);
	index_free(&all->addresses);
	index_free(&all->revoked);
	index_free(&all->members);
	free(all);
}
