/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c -- the agent as a whole: prepare, start, the tick of a second, reload, stop.
 *
 * Stopping takes nothing down: the program, the links and the maps stay pinned, and the next start
 * adopts them. `weir-agent --detach` takes them down.
 */
#include "user/agent/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"

#define TICK_US 1000000

uint64_t agent_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

struct service *agent_service(struct agent *agent, const char *name)
{
	for (size_t i = 0; i < agent->n; i++)
		if (strcmp(agent->services[i]->name, name) == 0)
			return agent->services[i];
	return NULL;
}

int agent_prepare(struct daemon *d)
{
	const struct conf_agent *conf = &d->conf->agent;
	struct agent *agent = calloc(1, sizeof(*agent));
	int err;

	if (!agent)
		return -ENOMEM;
	agent->d = d;
	d->state = agent;
	/* The loader is forked before anything else is open: it shall hold no more than it needs. */
	err = dataplane_open(&agent->dp, conf, &d->conf->tunnels, &d->user);
	if (err)
		return err;
	err = load_new(&agent->load);
	if (err == 0)
		err = announce_new(&agent->announce);
	if (err == 0)
		err = inside_bind(&agent->inside, d->conf, &conf->inside);
	if (err == 0)
		err = inside_client(&agent->client, d->conf, "weir-agent/" WEIR_VERSION);
	if (err == 0)
		err = handover_bind(&agent->handover, agent);
	if (err == 0)
		err = trace_bind(&agent->trace, agent);
	return err;
}

static void on_tick(void *arg)
{
	struct agent *agent = arg;
	uint64_t now = agent_now_us();
	double dt = (double)(now - agent->last_tick_us) / 1e6;

	agent->last_tick_us = now;
	exchange_tick(agent->exchange);
	route_tick(agent->route);
	filter_tick(agent->filter);
	for (size_t i = 0; i < agent->n; i++)
		service_tick(agent->services[i], dt);
	seen_tick(agent, dt);
	announce_tick(agent);
	notes_tick(agent);
	agent_metrics_update(agent);
}

static void on_loader(int fd, uint32_t revents, void *arg)
{
	struct agent *agent = arg;

	(void)fd;
	(void)revents;
	log_error("the loader process has ended; traffic goes on as it was, but nothing can be "
		  "changed: start weir-agent again");
	loop_fd_stop(agent->dp_watch);
	agent->dp_watch = NULL;
	loop_quit(agent->d->loop, 1);
}

static bool listed(struct service *const *list, size_t n, const struct service *service)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == service)
			return true;
	return false;
}

/* Makes the services what the configuration says; what fails is logged by who fails. After a failure
 * the list is as it was, but services may be half changed: set the old configuration again. */
static int set_services(struct agent *agent, const struct conf_agent *conf)
{
	struct service **services = calloc(conf->nservices ? conf->nservices : 1, sizeof(*services));
	size_t n = 0;
	int err = services ? 0 : -ENOMEM;

	while (err == 0 && n < conf->nservices) {
		services[n] = agent_service(agent, conf->services[n].name);
		err = service_set(agent, &services[n], &conf->services[n], conf->move_budget);
		n += err == 0;
	}
	if (err) {
		for (size_t i = 0; i < n; i++)
			if (!listed(agent->services, agent->n, services[i]))
				service_free(services[i]);
		free(services);
		return err;
	}
	for (size_t i = 0; i < agent->n; i++)
		if (!listed(services, n, agent->services[i]))
			service_free(agent->services[i]);
	free(agent->services);
	agent->services = services;
	agent->n = n;
	return dataplane_sweep(agent->dp, MAPS_CONFIGURED);
}

int agent_start(struct daemon *d)
{
	struct agent *agent = d->state;
	int err = agent_metrics_new(&agent->metrics, d->metrics);

	if (err == 0)
		err = seen_new(agent);
	if (err == 0)
		err = loop_fd_add(d->loop, &agent->dp_watch, dataplane_fd(agent->dp), EPOLLIN, on_loader,
				  agent);
	if (err == 0)
		err = exchange_start(&agent->exchange, agent);
	if (err == 0)
		err = set_services(agent, &d->conf->agent);
	if (err == 0)
		err = route_start(&agent->route, agent);
	if (err == 0)
		err = route_metrics_new(agent->route, d->metrics);
	if (err == 0)
		err = handover_start(agent->handover);
	if (err == 0)
		err = trace_start(agent->trace);
	if (err == 0)
		err = filter_start(&agent->filter, agent);
	if (err == 0)
		err = filter_metrics_new(agent->filter, d->metrics);
	if (err == 0)
		err = inside_serve(agent->inside, d, agent->load, NULL, agent_routes, agent);
	agent->last_tick_us = agent_now_us();
	if (err == 0)
		err = loop_every(d->loop, &agent->timer, TICK_US, 0, on_tick, agent);
	if (err)
		return err;
	exchange_announce(agent->exchange);
	loop_notify_ready("balancing");
	return 0;
}

int agent_reload(struct daemon *d, const struct conf *old)
{
	struct agent *agent = d->state;
	int err = dataplane_try_keys(agent->dp, &d->conf->agent);

	if (err) {
		log_error("the new configuration cannot be used: %s", dataplane_error(agent->dp));
		return err;
	}
	err = dataplane_reconfigure(agent->dp, &d->conf->agent, &d->conf->tunnels);
	if (err) {
		log_error("the new configuration cannot be used: %s", dataplane_error(agent->dp));
		/* What was set until it failed. */
		if (dataplane_reconfigure(agent->dp, &old->agent, &old->tunnels) < 0)
			log_error("nor could the old configuration be set again: restart weir-agent");
		return err;
	}
	err = set_services(agent, &d->conf->agent);
	if (err) {
		if (dataplane_reconfigure(agent->dp, &old->agent, &old->tunnels) < 0 ||
		    set_services(agent, &old->agent) < 0)
			log_error("nor could the old configuration be set again: restart weir-agent");
		return err;
	}
	route_changed(agent->route);
	filter_changed(agent->filter);
	exchange_announce(agent->exchange);
	return 0;
}

void agent_stop(struct daemon *d)
{
	struct agent *agent = d->state;

	if (!agent)
		return;
	loop_timer_stop(agent->timer);
	loop_fd_stop(agent->dp_watch);
	filter_stop(agent->filter);
	inside_stop(agent->inside);
	handover_stop(agent->handover);
	trace_stop(agent->trace);
	route_stop(agent->route);
	exchange_stop(agent->exchange);
	for (size_t i = 0; i < agent->n; i++)
		service_free(agent->services[i]);
	free(agent->services);
	free(agent->metrics);
	seen_free(agent);
	announce_free(agent->announce);
	load_free(agent->load);
	httpc_free(agent->client);
	dataplane_close(agent->dp);
	free(agent);
	d->state = NULL;
}
