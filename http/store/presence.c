/* SPDX-License-Identifier: Apache-2.0 */
/*
 * presence.c -- this endpoint in the registry (presence.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "http/store/presence.h"
#include "http/store/transfer.h"
#include "lib/log.h"

#define LEASE_TTL_S 5
#define RETRY_S	    1
#define REFRESH_S   10

struct presence {
	struct endpoint *ep;
	pthread_mutex_t conf_lock; /* while conf is read: a reload frees the old one after presence_configure() */
	const struct conf *conf;
	struct reg_lease *lease;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop, registered, complained;
	double announced; /* the free room last told, bytes */
};

/* Room for new data. */
static double room(const struct endpoint *ep)
{
	struct chunks_space space;

	if (chunks_space(ep->chunks, &space) || space.free <= space.reserve)
		return 0;
	return (double)(space.free - space.reserve);
}

static int put_endpoint(struct presence *p)
{
	const struct conf *conf = p->conf;
	char inside[ADDR_PORT_STRLEN], key[sizeof(REG_ENDPOINTS) + CONF_NAME_MAX], *text;
	json_t *root;
	int rc;

	root = json_pack("{s:s, s:s, s:s, s:s?, s:s}", "node", conf->node, "site", conf->site,
			 "domain", conf->domain, "url", conf->endpoint.url, "inside",
			 addr_port_format(&conf->endpoint.inside, inside, sizeof(inside)));
	text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	snprintf(key, sizeof(key), REG_ENDPOINTS "%s", conf->node);
	rc = registry_put(p->ep->daemon->registry, key, text, 0);
	free(text);
	return rc;
}

static int announce(struct presence *p)
{
	const struct conf *conf = p->conf;
	double free_now = room(p->ep);
	json_t *extra;
	char *text;
	int rc;

	extra = json_pack("{s:s?, s:f}", "url", conf->endpoint.url, "free", free_now);
	text = extra ? json_dumps(extra, JSON_COMPACT) : NULL;
	json_decref(extra);
	if (!text)
		return -ENOMEM;
	rc = registry_announce(p->lease, conf, "endpoint", text);
	free(text);
	if (!rc)
		p->announced = free_now;
	return rc;
}

static int register_all(struct presence *p)
{
	int rc;

	pthread_mutex_lock(&p->conf_lock);
	rc = put_endpoint(p);
	if (!rc && !p->lease)
		rc = registry_lease(p->ep->daemon->registry, &p->lease, LEASE_TTL_S, NULL, NULL);
	if (!rc)
		rc = announce(p);
	pthread_mutex_unlock(&p->conf_lock);
	if (!rc)
		names_set_lease(p->ep->names, p->lease);
	if (rc && !p->complained)
		log_warn("the registry cannot be reached (%s); serving what is known, and trying "
			 "again",
			 registry_error());
	else if (!rc && p->complained)
		log_info("registered");
	p->complained = rc != 0;
	return rc;
}

/* Nothing that the last run was sending will be finished: the others may drop it. Before the
 * first upload of this run, else not at all (then it is dropped after an hour). */
static void tell_restart(struct presence *p)
{
	struct peer *list;
	size_t n;

	if (p->ep->server || peers_list(p->ep->peers, &list, &n))
		return;
	for (size_t i = 0; i < n; i++)
		if (list[i].live && !list[i].self && list[i].base[0])
			transfer_restarted(p->ep->httpc, &list[i], p->ep->node);
	free(list);
}

static bool wait_s(struct presence *p, unsigned int seconds)
{
	struct timespec until;
	bool go;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&p->lock);
	while (!p->stop)
		if (pthread_cond_timedwait(&p->changed, &p->lock, &until) == ETIMEDOUT)
			break;
	go = !p->stop;
	pthread_mutex_unlock(&p->lock);
	return go;
}

static void *presence_main(void *arg)
{
	struct presence *p = arg;

	while (register_all(p))
		if (!wait_s(p, RETRY_S))
			return NULL;
	tell_restart(p);
	pthread_mutex_lock(&p->lock);
	p->registered = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	while (wait_s(p, REFRESH_S)) {
		double now = room(p->ep);

		/* Placement looks at powers of two. */
		if (now < 0.9 * p->announced || now > 1.1 * p->announced) {
			pthread_mutex_lock(&p->conf_lock);
			announce(p);
			pthread_mutex_unlock(&p->conf_lock);
		}
	}
	return NULL;
}

void presence_configure(struct presence *p, const struct conf *conf)
{
	pthread_mutex_lock(&p->conf_lock);
	p->conf = conf;
	pthread_mutex_unlock(&p->conf_lock);
}

int presence_new(struct presence **out, struct endpoint *ep, unsigned int wait_ms)
{
	struct presence *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	struct timespec until;
	int rc;

	if (!p)
		return -ENOMEM;
	p->ep = ep;
	p->conf = ep->daemon->conf;
	pthread_mutex_init(&p->conf_lock, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	rc = pthread_create(&p->thread, NULL, presence_main, p);
	if (rc) {
		free(p);
		return -rc;
	}
	pthread_setname_np(p->thread, "presence");
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	pthread_mutex_lock(&p->lock);
	while (!p->registered)
		if (pthread_cond_timedwait(&p->changed, &p->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&p->lock);
	*out = p;
	return 0;
}

void presence_free(struct presence *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	if (p->lease)
		registry_lease_end(p->lease, true);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
}
