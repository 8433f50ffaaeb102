/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c -- the endpoints of the installation (peers.h).
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/store/peers.h"
#include "lib/addr.h"
#include "lib/hash.h"

#define PEERS_MAX 1024

struct peers {
	pthread_mutex_t lock;
	struct peer *list; /* in name order */
	size_t n, room;
	bool heard; /* the list of the registered has been told once */
	char self[CONF_NAME_MAX];
	struct reg_watch *endpoints, *members, *drain;
	struct placement_alike alike;
	pthread_mutex_t tell; /* held while fn runs; taken before the other */
	void (*on_others)(void *arg);
	void *arg;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct peer *)a)->node, ((const struct peer *)b)->node);
}

static struct peer *find(struct peers *p, const char *node)
{
	struct peer key = { 0 };

	if (!p->n || strlen(node) >= sizeof(key.node))
		return NULL;
	strcpy(key.node, node);
	return bsearch(&key, p->list, p->n, sizeof(key), by_name);
}

static struct peer *find_or_add(struct peers *p, const char *node)
{
	struct peer *peer = find(p, node);

	if (peer || !*node || strlen(node) >= sizeof(peer->node) || p->n >= PEERS_MAX)
		return peer;
	if (p->n == p->room) {
		struct peer *more = realloc(p->list, (p->room + 16) * sizeof(*more));

		if (!more)
			return NULL;
		p->list = more;
		p->room += 16;
	}
	p->list[p->n] = (struct peer){ .self = !strcmp(node, p->self) };
	strcpy(p->list[p->n++].node, node);
	qsort(p->list, p->n, sizeof(*p->list), by_name);
	return find(p, node);
}

static void copy_field(char *out, size_t max, const json_t *root, const char *name)
{
	const char *text = json_string_value(json_object_get(root, name));

	if (text && strlen(text) < max)
		strcpy(out, text);
}

/* Inside listeners are plain on loopback and mutual TLS elsewhere. */
static void set_base(struct peer *peer, const char *inside)
{
	struct addr_port ap;
	char text[ADDR_PORT_STRLEN];

	peer->base[0] = '\0';
	if (!inside || addr_port_parse(&ap, inside) || ap.path[0])
		return;
	snprintf(peer->base, sizeof(peer->base), "%s://%s",
		 addr_is_loopback(&ap.addr) ? "http" : "https",
		 addr_port_format(&ap, text, sizeof(text)));
}

static void describe(struct peer *peer, const struct reg_kv *kv)
{
	json_t *root = json_loadb(kv->value, kv->value_len, 0, NULL);

	copy_field(peer->site, sizeof(peer->site), root, "site");
	copy_field(peer->domain, sizeof(peer->domain), root, "domain");
	if (json_object_get(root, "inside"))
		set_base(peer, json_string_value(json_object_get(root, "inside")));
	if (json_is_number(json_object_get(root, "free")))
		peer->free = json_number_value(json_object_get(root, "free"));
	json_decref(root);
}

/* Without the lock: who is told may write to the disk. */
static void tell_others(struct peers *p)
{
	pthread_mutex_lock(&p->tell);
	if (p->on_others && peers_others(p)) {
		p->on_others(p->arg);
		p->on_others = NULL;
	}
	pthread_mutex_unlock(&p->tell);
}

static void on_endpoint(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct peers *p = arg;
	struct peer *peer;

	pthread_mutex_lock(&p->lock);
	if (event == REG_SYNCED) {
		p->heard = true;
	} else {
		peer = find_or_add(p, kv->key + strlen(REG_ENDPOINTS));
		if (peer && event == REG_PUT)
			describe(peer, kv);
		if (peer)
			peer->registered = event == REG_PUT;
	}
	pthread_mutex_unlock(&p->lock);
	tell_others(p);
}

static void on_member(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct peers *p = arg;
	struct peer *peer;

	if (event == REG_SYNCED)
		return;
	pthread_mutex_lock(&p->lock);
	peer = find_or_add(p, kv->key + strlen(REG_MEMBERS "endpoint/"));
	if (peer && event == REG_PUT)
		describe(peer, kv);
	if (peer)
		peer->live = event == REG_PUT || peer->self;
	pthread_mutex_unlock(&p->lock);
	tell_others(p);
}

static void on_drain(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	struct peers *p = arg;
	struct peer *peer;

	if (event == REG_SYNCED)
		return;
	pthread_mutex_lock(&p->lock);
	peer = find_or_add(p, kv->key + strlen(REG_DRAIN));
	if (peer)
		peer->draining = event == REG_PUT;
	pthread_mutex_unlock(&p->lock);
	tell_others(p);
}

int peers_open(struct peers **out, struct registry *reg, const struct conf *conf)
{
	struct peers *p = calloc(1, sizeof(*p));
	struct peer *self;
	int rc;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->tell, NULL);
	strcpy(p->self, conf->node);
	self = find_or_add(p, conf->node);
	if (!self) {
		peers_close(p);
		return -ENOMEM;
	}
	strcpy(self->site, conf->site);
	strcpy(self->domain, conf->domain);
	self->live = true;
	rc = registry_watch(reg, &p->endpoints, REG_ENDPOINTS, on_endpoint, p);
	if (!rc)
		rc = registry_watch(reg, &p->members, REG_MEMBERS "endpoint/", on_member, p);
	if (!rc)
		rc = registry_watch(reg, &p->drain, REG_DRAIN, on_drain, p);
	if (rc) {
		peers_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

void peers_close(struct peers *p)
{
	if (!p)
		return;
	registry_unwatch(p->endpoints);
	registry_unwatch(p->members);
	registry_unwatch(p->drain);
	pthread_mutex_destroy(&p->lock);
	pthread_mutex_destroy(&p->tell);
	free(p->list);
	free(p);
}

size_t peers_registered(struct peers *p)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->n; i++)
		n += p->list[i].registered || p->list[i].self;
	if (!p->heard)
		n = 0;
	pthread_mutex_unlock(&p->lock);
	return n;
}

bool peers_alone(struct peers *p)
{
	bool alone;

	pthread_mutex_lock(&p->lock);
	alone = p->heard && p->n == 1 && p->list->self;
	pthread_mutex_unlock(&p->lock);
	return alone;
}

bool peers_others(struct peers *p)
{
	bool others;

	pthread_mutex_lock(&p->lock);
	others = p->n > 1;
	pthread_mutex_unlock(&p->lock);
	return others;
}

void peers_on_others(struct peers *p, void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&p->tell);
	p->on_others = fn;
	p->arg = arg;
	pthread_mutex_unlock(&p->tell);
	tell_others(p);
}

int peers_find(struct peers *p, const char *node, struct peer *out)
{
	struct peer *peer;

	pthread_mutex_lock(&p->lock);
	peer = find(p, node);
	if (peer)
		*out = *peer;
	pthread_mutex_unlock(&p->lock);
	return peer ? 0 : -ENOENT;
}

int peers_list(struct peers *p, struct peer **out, size_t *n)
{
	struct peer *copy;

	pthread_mutex_lock(&p->lock);
	copy = malloc(p->n * sizeof(*copy) + 1);
	if (copy) {
		memcpy(copy, p->list, p->n * sizeof(*copy));
		*out = copy;
		*n = p->n;
	}
	pthread_mutex_unlock(&p->lock);
	return copy ? 0 : -ENOMEM;
}

/* Placement's view of them. A node is weighed by its room in steps of a factor of two: every
 * endpoint sees another moment's figure, and they shall rank alike. */
static struct placement_node *placement_nodes(const struct peer *list, size_t n)
{
	struct placement_node *nodes = calloc(n + 1, sizeof(*nodes));

	for (size_t i = 0; nodes && i < n; i++) {
		strcpy(nodes[i].name, list[i].node);
		strcpy(nodes[i].site, list[i].site);
		strcpy(nodes[i].domain, list[i].domain);
		nodes[i].weight = list[i].self ? 1 : 0;
		for (double step = 1 << 20; step <= list[i].free; step *= 2)
			nodes[i].weight = step;
	}
	return nodes;
}

static bool named(const char (*names)[CONF_NAME_MAX], size_t n, const char *node)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], node))
			return true;
	return false;
}

size_t peers_choose(struct peers *p, const struct version *v, const char (*taken)[CONF_NAME_MAX],
		    size_t ntaken, struct peer *out, size_t max)
{
	const struct placement_node *away[16];
	struct placement_node *nodes;
	size_t n = 0, naway = 0, found = 0, picks[16];
	struct peer *list;

	if (max > 16)
		max = 16;
	if (peers_list(p, &list, &n))
		return 0;
	nodes = placement_nodes(list, n);
	for (size_t i = 0; nodes && i < n; i++) {
		if (named(taken, ntaken, list[i].node) && naway < 16)
			away[naway++] = &nodes[i];
		else if (!list[i].live || list[i].draining || !list[i].base[0])
			nodes[i].weight = 0;
	}
	if (nodes)
		found = placement_choose(nodes, n, placement_group(v), away, naway, picks, max);
	for (size_t i = 0; i < found; i++)
		out[i] = list[picks[i]];
	free(nodes);
	free(list);
	return found;
}

/* Nobody else to choose from: most lists are not worth copying. */
static bool is_single(struct peers *p)
{
	bool single;

	pthread_mutex_lock(&p->lock);
	single = p->n == 1 && p->list->self;
	pthread_mutex_unlock(&p->lock);
	return single;
}

size_t peers_ideal(struct peers *p, const struct version *v, char (*out)[CONF_NAME_MAX], size_t max)
{
	const struct placement_node *self = NULL;
	struct placement_node *nodes;
	size_t n = 0, found = 0, picks[16];
	struct peer *list;

	if (max && is_single(p)) {
		strcpy(out[0], p->self);
		return 1;
	}
	if (!max || max > 16 || peers_list(p, &list, &n))
		return 0;
	nodes = placement_nodes(list, n);
	for (size_t i = 0; nodes && i < n; i++) {
		if (list[i].self)
			self = &nodes[i];
		else if (!list[i].registered || list[i].draining)
			nodes[i].weight = 0;
		else if (!list[i].live && !(nodes[i].weight > 0))
			nodes[i].weight = 1; /* away since before this node started */
	}
	if (self) {
		strcpy(out[0], p->self);
		found = placement_choose(nodes, n, placement_group(v), &self, 1, picks, max - 1);
		for (size_t i = 0; i < found; i++)
			strcpy(out[i + 1], list[picks[i]].node);
		found++;
	}
	free(nodes);
	free(list);
	return found;
}

struct version peers_new_version(struct peers *p)
{
	struct placement_node *nodes = NULL;
	struct peer *list = NULL;
	struct version v;
	size_t n = 0, pick;

	if (is_single(p)) { /* all groups are this node's */
		random_bytes(v.id, VERSION_BYTES);
		pthread_mutex_lock(&p->lock);
		placement_alike(&p->alike, &v);
		pthread_mutex_unlock(&p->lock);
		return v;
	}
	if (!peers_list(p, &list, &n))
		nodes = placement_nodes(list, n);
	/* Each try succeeds with this node's share of the groups. */
	for (unsigned int tries = 0; tries < 256; tries++) {
		random_bytes(v.id, VERSION_BYTES);
		if (!nodes || !placement_choose(nodes, n, placement_group(&v), NULL, 0, &pick, 1) ||
		    list[pick].self)
			break;
	}
	free(nodes);
	free(list);
	return v;
}
