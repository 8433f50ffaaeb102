/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.c -- which service addresses this node asks routers for: the table `agent.announce` holds those
 * that have a backend up, and a routing daemon (BIRD's kernel protocol with `learn`) announces what is there.
 *
 * Nothing is said before every service was looked at, so that a restart withdraws nothing. When the agent
 * dies the routes stay, as the packet path does; a node that drains has none.
 */
#include "user/agent/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

struct announce {
	uint32_t table;
	struct addr_prefix *told;
	size_t n;
	bool said; /* anything, in this process's life */
};

static bool listed(const struct addr_prefix *list, size_t n, const struct addr_prefix *p)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].len == p->len && addr_equal(&list[i].addr, &p->addr))
			return true;
	return false;
}

bool service_announced(const struct service *service)
{
	const struct agent *agent = service->agent;

	return agent->d->conf->agent.announce && service->number >= 0 && service->rates &&
	       service_healthy(service) > 0 && !exchange_draining(agent->exchange, agent->d->conf->node);
}

/* The caller frees *out. 0, -EAGAIN: a service was not looked at yet, -ENOMEM. */
static int wanted(const struct agent *agent, struct addr_prefix **out, size_t *n)
{
	struct addr_prefix *list;
	size_t room = 1;

	for (size_t i = 0; i < agent->n; i++) {
		if (!service_looked_at(agent->services[i]))
			return -EAGAIN;
		room += agent->services[i]->conf->naddresses;
	}
	list = calloc(room, sizeof(*list));
	if (!list)
		return -ENOMEM;
	*n = 0;
	for (size_t i = 0; i < agent->n; i++) {
		const struct conf_service *conf = agent->services[i]->conf;

		for (size_t k = 0; service_announced(agent->services[i]) && k < conf->naddresses; k++) {
			struct addr_prefix p = { .addr = conf->addresses[k].addr };

			p.len = conf->addresses[k].prefix;
			if (!p.len)
				p.len = p.addr.family == AF_INET ? 32 : 128;
			if (!listed(list, *n, &p))
				list[(*n)++] = p;
		}
	}
	*out = list;
	return 0;
}

static void log_changes(const struct addr_prefix *list, size_t n, const struct addr_prefix *other, size_t m,
			const char *what)
{
	char text[ADDR_STRLEN + 4];

	for (size_t i = 0; i < n; i++)
		if (!listed(other, m, &list[i]))
			log_info("%s %s", addr_prefix_format(&list[i], text, sizeof(text)), what);
}

void announce_tick(struct agent *agent)
{
	struct announce *a = agent->announce;
	uint32_t table = agent->d->conf->agent.announce;
	struct addr_prefix *list = NULL;
	size_t n = 0;

	if ((!table && !a->table) || (table && wanted(agent, &list, &n) < 0))
		return;
	if (a->said && table == a->table && n == a->n && !memcmp(list, a->told, n * sizeof(*list))) {
		free(list);
		return;
	}
	if (dataplane_announce(agent->dp, table, list, n) < 0) {
		log_limited(LOG_LEVEL_ERROR, 6, "%s", dataplane_error(agent->dp));
		free(list);
		return;
	}
	log_changes(list, n, a->told, a->n, "is announced: a backend is up");
	log_changes(a->told, a->n, list, n, "is not announced any more: no backend is up, or this node drains");
	free(a->told);
	*a = (struct announce){ .table = table, .told = list, .n = n, .said = true };
}

int announce_new(struct announce **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void announce_free(struct announce *a)
{
	if (a)
		free(a->told);
	free(a);
}
