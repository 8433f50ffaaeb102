/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c -- one service of the agent: its backends' checks feed the learner, the learner's weights
 * the publisher, and the rates in force the ring.
 *
 * Whose rates are in force: the registry's, when somebody publishes; our own, when we are the
 * publisher, when there is no registry, and when none has answered since the start. A registry that
 * falls silent changes nothing, but that backends which died meanwhile are taken out.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/agent.h"
#include "user/agent/report.h"

#define CAPACITY_EVERY_S 5      /* published at the latest, when it moved at all */
#define CAPACITY_STEP    0.05   /* … and at once after such a change */

bool backend_up(const struct backend *b)
{
	return !b->health || health_verdict(b->health)->up;
}

size_t service_healthy(const struct service *service)
{
	size_t healthy = 0;

	for (size_t i = 0; i < service->n; i++)
		healthy += backend_up(service->backends[i]) && !service->backends[i]->draining;
	return healthy;
}

double service_applied(const struct service *service, size_t i)
{
	return service->rates ? (double)service->slots[i] / service->rates->slots : 0;
}

/* ---- what the registry says -------------------------------------------------------------------- */

/* Takes the registry's rates as the state to go on from. */
static void adopt(struct service *service)
{
	struct rates *rates;
	int err = service->published ? rates_from_json(&rates, service->published) : -ENOENT;

	if (err == -ENOENT)
		return;
	if (err == 0 && sister_waits(service)) {        /* comes back with service_readopt() */
		rates_free(rates);
		return;
	}
	if (err) {
		log_limited(LOG_LEVEL_WARN, 6, "service %s: the rates in the registry are not readable and "
			    "were left out: %.100s", service->name, service->published);
		return;
	}
	err = publish_adopt(service->publish, rates);
	if (err)
		log_error("service %s: rates could not be taken over: %s", service->name, strerror(-err));
	else if (rates->slots == service->conf->slots)
		service_apply(service, rates);
	else if (!service->publisher)
		log_limited(LOG_LEVEL_WARN, 6, "service %s: published with %u slots, but %s says %u: the "
			    "old ring stays", service->name, rates->slots,
			    service->agent->d->conf->path, service->conf->slots);
	rates_free(rates);
}

void service_published(struct service *service, const char *json)
{
	char *copy = json ? strdup(json) : NULL;

	if (json && !copy)
		return;
	free(service->published);
	service->published = copy;
	/* A publisher hears itself; everybody else follows. */
	if (!service->publisher) {
		service->forked = false;
		adopt(service);
	}
}

void service_readopt(struct service *service)
{
	adopt(service);
}

void service_set_publisher(struct service *service, bool publisher)
{
	if (service->publisher == publisher)
		return;
	service->publisher = publisher;
	log_info("service %s: %s", service->name,
		 publisher ? "this agent publishes the rates" : "another agent publishes the rates");
	/* What stands in the registry is what the others have in force: go on from there. */
	adopt(service);
	if (publisher && service->rates)
		service->told_capacity = NAN;
}

void service_set_drain(struct service *service, const char *node, bool draining)
{
	size_t at;
	struct backend *b = service_backend(service, node, &at);

	if (!b || b->draining == draining)
		return;
	b->draining = draining;
	log_info("service %s: %s %s", service->name, node, draining ? "drains" : "is back from draining");
}

/* ---- checks ---------------------------------------------------------------------------------------- */

static void tell_up(struct backend *b)
{
	struct agent *agent = b->service->agent;
	bool up = backend_up(b);
	int index;

	if (b->service->number < 0 || b->told_up == up)
		return;
	index = dataplane_backend_set(agent->dp, b->service->number, b->name, &b->address, up);
	if (index < 0) {
		log_limited(LOG_LEVEL_ERROR, 6, "service %s: %s could not be marked %s: %s",
			    b->service->name, b->name, up ? "up" : "down", dataplane_error(agent->dp));
		return;
	}
	b->index = index;
	b->told_up = up;
}

static void on_check(void *arg, const struct health_result *result)
{
	struct backend *b = arg;
	const struct health_answer *answer = &result->answer;

	b->service->checks[b->through][result->ok]++;
	sight_take(&b->sight, result->ok, agent_now_us() - (uint64_t)(result->took_ms * 1000));
	if (result->ok)
		snprintf(b->check, sizeof(b->check), "ok, %.1f ms", result->took_ms);
	else
		snprintf(b->check, sizeof(b->check), "%s", result->why);
	if (result->ok && answer->reported)
		b->fresh = report_take(b->service->weight, &answer->report, result->took_ms, &b->report);
	if (!result->changed)
		return;
	if (backend_up(b))
		log_info("service %s: %s is up (%s)", b->service->name, b->name, b->check);
	else
		log_warn("service %s: %s is down: %s", b->service->name, b->name, b->check);
	tell_up(b);
	announce_tick(b->service->agent);
}

/* The service's address that checks ask: the one whose port they take. */
static const struct addr *checked_address(const struct conf_service *conf)
{
	return conf->naddresses ? &conf->addresses[0].addr : NULL;
}

static void say_direct(struct service *service, const char *name, const char *why)
{
	if (!service->told_direct)
		log_warn("service %s: %s is checked by its own address, not through the packet path: %s",
			 service->name, name, why);
	service->told_direct = true;
}

static int open_socket(void *arg, struct addr_port *target)
{
	struct backend *b = arg;
	struct service *service = b->service;
	const struct conf_service *conf = service->conf;
	const struct addr *to = checked_address(conf);
	struct dataplane *dp = service->agent->dp;
	int fd;

	b->through = false;
	if (!conf->check.through_service || !to || service->number < 0 || b->index <= 0)
		return dataplane_socket(dp, target->addr.family);
	if (conf->encap != CONF_ENCAP_GUE && conf->encap != CONF_ENCAP_IPIP) {
		say_direct(service, b->name, "the service does not encapsulate");
		return dataplane_socket(dp, target->addr.family);
	}
	fd = dataplane_probe(dp, (uint16_t)b->index, to,
			     conf->encap == CONF_ENCAP_IPIP ? WEIR_ENCAP_IPIP : WEIR_ENCAP_GUE);
	if (fd == -EOPNOTSUPP) {
		say_direct(service, b->name, dataplane_error(dp));
		return dataplane_socket(dp, target->addr.family);
	}
	if (fd < 0) {
		log_limited(LOG_LEVEL_ERROR, 6, "service %s: check of %s: %s", service->name, b->name,
			    dataplane_error(dp));
		return fd;
	}
	b->through = true;
	target->addr = *to;
	return fd;
}

static void fill_spec(const struct service *service, const struct backend *b, struct health_spec *spec)
{
	const struct conf_service *conf = service->conf;

	memset(spec, 0, sizeof(*spec));
	spec->type = conf->check.type;
	spec->target.addr = b->address;
	spec->target.port = conf->check.port;
	if (spec->target.port == 0 && conf->naddresses > 0)
		spec->target.port = conf->addresses[0].port;
	snprintf(spec->path, sizeof(spec->path), "%s", conf->check.path ? conf->check.path : "/");
	spec->interval_us = conf->check.interval_us;
	spec->timeout_us = conf->check.timeout_us;
	spec->rise = conf->check.rise;
	spec->fall = conf->check.fall;
}

/* Starts the check, or starts it anew when its settings changed. */
static int start_check(struct backend *b)
{
	struct service *service = b->service;
	struct health_spec spec;
	int err = 0;

	fill_spec(service, b, &spec);
	if (b->health && memcmp(&spec, &b->spec, sizeof(spec)) == 0)
		return 0;
	health_stop(b->health);
	b->health = NULL;
	b->spec = spec;
	b->sight = (struct sight){ 0 };
	snprintf(b->check, sizeof(b->check), "%s", "not yet");
	if (spec.type == CONF_CHECK_NONE)
		snprintf(b->check, sizeof(b->check), "%s", "none configured");
	else if (spec.target.port == 0)
		snprintf(b->check, sizeof(b->check), "%s", "no port to check: taken as up");
	else
		err = health_start(&b->health, loop_event(service->agent->d->loop), &spec, open_socket,
				   b, on_check, b);
	if (err)
		log_error("service %s: the check of %s could not be started: %s", service->name,
			  b->name, strerror(-err));
	return err;
}

/* ---- set up ----------------------------------------------------------------------------------------- */

static void backend_free(struct backend *b)
{
	if (!b)
		return;
	health_stop(b->health);
	free(b);
}

static int tell_quic_id(const struct service *service, const struct backend *b,
			const struct conf_backend *conf)
{
	uint8_t id[WEIR_QUIC_ID_MAX] = { 0 };
	struct agent *agent = service->agent;
	size_t len = 0;
	int rc;

	/* The configuration was checked: so many pairs of hexadecimal digits. */
	for (; conf->quic_id && conf->quic_id[2 * len] && len < sizeof(id); len++)
		if (sscanf(conf->quic_id + 2 * len, "%2hhx", &id[len]) != 1)
			return -EINVAL;
	rc = dataplane_backend_quic(agent->dp, service->number, b->index, id, len);
	if (rc < 0)
		log_error("service %s: the quic_id of %s could not be set: %s", service->name, b->name,
			  dataplane_error(agent->dp));
	return rc;
}

static int set_backend(struct service *service, struct backend *b, const struct conf_backend *conf)
{
	struct agent *agent = service->agent;
	int rc = 0;

	b->size = conf->capacity;
	b->address = conf->address;
	b->draining = exchange_draining(agent->exchange, b->name);
	if (service->number >= 0) {
		/* Until it was looked at it counts as what it was: traffic of an adopted ring goes on. */
		bool up = !b->health || !health_verdict(b->health)->known || backend_up(b);

		b->index = dataplane_backend_set(agent->dp, service->number, b->name, &b->address, up);
		if (b->index < 0) {
			log_error("service %s: backend %s could not be set: %s", service->name, b->name,
				  dataplane_error(agent->dp));
			return b->index;
		}
		b->told_up = up;
		rc = tell_quic_id(service, b, conf);
	}
	return rc < 0 ? rc : start_check(b);
}

/* The backends of conf, in its order: old ones are kept, what is not named any more ends. */
static int set_backends(struct service *service, const struct conf_service *conf)
{
	struct backend **backends = calloc(conf->nbackends ? conf->nbackends : 1, sizeof(*backends));
	const char **names = calloc(conf->nbackends ? conf->nbackends : 1, sizeof(*names));
	double *sizes = calloc(conf->nbackends ? conf->nbackends : 1, sizeof(*sizes));
	uint32_t *slots = calloc(conf->nbackends ? conf->nbackends : 1, sizeof(*slots));
	int err = backends && names && sizes && slots ? 0 : -ENOMEM;

	for (size_t i = 0; err == 0 && i < conf->nbackends; i++) {
		size_t at;
		struct backend *b = service_backend(service, conf->backends[i].name, &at);

		if (b) {
			slots[i] = service->slots ? service->slots[at] : 0;
			service->backends[at] = service->backends[--service->n];
			if (service->slots)
				service->slots[at] = service->slots[service->n];
		} else {
			b = calloc(1, sizeof(*b));
		}
		if (!b) {
			err = -ENOMEM;
			break;
		}
		b->service = service;
		snprintf(b->name, sizeof(b->name), "%s", conf->backends[i].name);
		backends[i] = b;
		names[i] = b->name;
		sizes[i] = conf->backends[i].capacity;
	}
	for (size_t i = 0; i < service->n; i++)
		backend_free(service->backends[i]);
	free(service->backends);
	free(service->slots);
	service->backends = backends;
	service->slots = slots;
	service->n = err ? 0 : conf->nbackends;
	if (err == 0)
		err = weight_backends(service->weight, names, sizes, service->n);
	for (size_t i = 0; err == 0 && i < service->n; i++)
		err = set_backend(service, service->backends[i], &conf->backends[i]);
	free(names);
	free(sizes);
	return err;
}

/* A service's seed: all agents must choose the same, and it never changes. */
static uint64_t seed_of(const char *name)
{
	return ring_id(name) & UINT32_MAX;
}

static int set_publish(struct service *service, const struct conf_service *conf, double budget)
{
	struct publish *publish;
	int err;

	if (service->publish && service->conf && service->conf->slots == conf->slots) {
		publish_set_budget(service->publish, budget);
		return 0;
	}
	err = publish_new(&publish, conf->slots, seed_of(service->name), budget);
	if (err)
		return err;
	if (service->rates)
		publish_adopt(publish, service->rates);         /* its generation is to be passed */
	publish_free(service->publish);
	service->publish = publish;
	return 0;
}

/* After a restart: what was saved is in force again when it is what the maps hold. */
static void restore(struct service *service)
{
	struct dataplane_service_state state;
	struct rates *rates;

	if (saved_read(service, &rates) < 0)
		return;
	if (rates->slots == service->conf->slots &&
	    (service->number < 0 ||
	     (dataplane_service_state(service->agent->dp, service->number, &state) == 0 &&
	      state.generation == (uint32_t)rates->generation)) &&
	    publish_adopt(service->publish, rates) == 0)
		service_apply(service, rates);
	rates_free(rates);
}

static struct service *service_new(struct agent *agent, const char *name)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->agent = agent;
	snprintf(service->name, sizeof(service->name), "%s", name);
	service->number = -1;
	service->started_s = agent_now_us() / 1000000;
	service->told_capacity = NAN;
	if (weight_new(&service->weight) < 0) {
		free(service);
		return NULL;
	}
	return service;
}

static int set_scratch(struct service *service, size_t n)
{
	struct weight_input *inputs = calloc(n ? n : 1, sizeof(*inputs));
	struct publish_want *wants = calloc(n ? n : 1, sizeof(*wants));
	struct blind_view *views = calloc(n ? n : 1, sizeof(*views));

	if (!inputs || !wants || !views) {
		free(inputs);
		free(wants);
		free(views);
		return -ENOMEM;
	}
	free(service->inputs);
	free(service->wants);
	free(service->views);
	service->inputs = inputs;
	service->wants = wants;
	service->views = views;
	return 0;
}

int service_set(struct agent *agent, struct service **out, const struct conf_service *conf,
		double move_budget)
{
	struct service *service = *out ? *out : service_new(agent, conf->name);
	bool made = *out == NULL;
	int err = service ? set_scratch(service, conf->nbackends) : -ENOMEM;

	if (err == 0)
		err = set_publish(service, conf, move_budget);
	if (err == 0 && conf->naddresses > 0) {
		err = service->number = dataplane_service_set(agent->dp, conf);
		if (err < 0)
			log_error("service %s could not be set: %s", conf->name, dataplane_error(agent->dp));
	} else {
		service->number = -1;
	}
	if (err >= 0) {
		service->conf = conf;
		err = set_backends(service, conf);
	}
	if (err < 0) {
		if (made)
			service_free(service);
		return err;
	}
	if (made) {
		restore(service);
		sister_begin(service);
		if (exchange_held(agent->exchange, conf->name))
			service_hold(service, exchange_held(agent->exchange, conf->name));
	}
	if (made && exchange_rates(agent->exchange, conf->name))
		service_published(service, exchange_rates(agent->exchange, conf->name));
	else if (!made && service->rates && service->rates->slots == conf->slots)
		service_apply(service, service->rates);         /* backends may have other indexes now */
	*out = service;
	return 0;
}

void service_free(struct service *service)
{
	if (!service)
		return;
	for (size_t i = 0; i < service->n; i++)
		backend_free(service->backends[i]);
	free(service->backends);
	free(service->slots);
	free(service->owner);
	free(service->inputs);
	free(service->wants);
	free(service->views);
	free(service->published);
	service_free_held(service);
	weight_free(service->weight);
	publish_free(service->publish);
	rates_free(service->rates);
	ring_free(service->ring);
	free(service);
}

/* ---- the tick --------------------------------------------------------------------------------------- */

static void learn(struct service *service, double dt, bool blind)
{
	int drifted;

	for (size_t i = 0; i < service->n; i++) {
		struct backend *b = service->backends[i];

		b->learned_up = blind_up(blind, backend_up(b), b->learned_up);
		service->inputs[i].up = b->learned_up;
		service->inputs[i].draining = b->draining;
		service->inputs[i].fresh = b->fresh;
		if (b->fresh)
			service->inputs[i].report = b->report;
		b->fresh = false;
	}
	drifted = weight_tick(service->weight, service->inputs, dt);
	notes_loads(service);
	if (drifted == 1)
		log_warn("service %s: for a minute the learned model foretold load worse than cpu alone; "
			 "weights follow cpu alone until it is better again", service->name);
	else if (drifted == -1)
		log_info("service %s: the learned model is better than cpu alone again", service->name);
}

/* Before that a first ring would be a guess. */
bool service_looked_at(const struct service *service)
{
	uint64_t patience = (service->conf->check.interval_us + service->conf->check.timeout_us) *
			    (service->conf->check.fall + 1) / 1000000 + 1;

	if (agent_now_us() / 1000000 - service->started_s > patience)
		return true;
	for (size_t i = 0; i < service->n; i++) {
		const struct health *health = service->backends[i]->health;

		if (health && !health_verdict(health)->known)
			return false;
	}
	return true;
}

static void fill_wants(struct service *service, bool only_urgent)
{
	for (size_t i = 0; i < service->n; i++) {
		const struct backend *b = service->backends[i];
		const struct weight_state *state = weight_state(service->weight, i);
		struct publish_want *want = &service->wants[i];

		want->name = b->name;
		want->weight = only_urgent ? service_applied(service, i) : state->target;
		want->urgency = !backend_up(b) || b->draining ? PUBLISH_GONE :
				state->failing && !only_urgent ? PUBLISH_FAILING : PUBLISH_CALM;
		/* Frozen: what is up has its held share, whatever was learned. */
		if (!only_urgent && service_held_share(service, b->name, &want->weight) &&
		    want->urgency == PUBLISH_FAILING)
			want->urgency = PUBLISH_CALM;
	}
}

/* Who sees no backend is rather blind itself, and must not empty the others' rings as well. */
static bool is_blind(struct service *service)
{
	const struct conf_service *conf = service->conf;

	if (!service->rates)
		return false;
	for (size_t i = 0; i < service->n; i++) {
		const struct backend *b = service->backends[i];

		service->views[i] = (struct blind_view){ backend_up(b), b->health ? &b->sight : NULL };
	}
	return blind_is(&service->blind, service->views, service->n, agent_now_us(),
			(conf->check.interval_us + conf->check.timeout_us) * (conf->check.rise + 1));
}

static void publish_own(struct service *service, double dt, bool only_urgent, bool blind)
{
	int rc;

	if (blind) {
		log_limited(LOG_LEVEL_WARN, 6, "service %s: %s: the rates stay as they are", service->name,
			    service->blind.none ? "no backend is up, or not for long"
							: "a backend is down and no other has answered since");
		return;
	}
	fill_wants(service, only_urgent);
	rc = publish_tick(service->publish, service->wants, service->n, dt);
	if (rc < 0)
		log_limited(LOG_LEVEL_ERROR, 6, "service %s: no new rates: %s", service->name, strerror(-rc));
	if (rc != 1)
		return;
	service->forked = only_urgent;
	if (service_apply(service, publish_rates(service->publish)) == 0 && service->publisher)
		exchange_put_rates(service->agent->exchange, publish_rates(service->publish),
				   service->name);
}

/* The capacity of the service, for the name servers: when it moved, or its health did. */
static void publish_capacity(struct service *service)
{
	double capacity = weight_capacity(service->weight);
	size_t healthy = service_healthy(service);
	uint64_t now = agent_now_us() / 1000000;
	uint64_t generation = service->rates ? service->rates->generation : 0;
	double change = fabs(capacity - service->told_capacity) / fmax(1e-9, service->told_capacity);

	if (healthy == service->told_healthy && change <= CAPACITY_STEP &&
	    (now - service->told_s < CAPACITY_EVERY_S ||
	     (change == 0 && generation == service->told_generation)))
		return;
	service->told_capacity = capacity;
	service->told_healthy = healthy;
	service->told_generation = generation;
	service->told_s = now;
	exchange_put_capacity(service->agent->exchange, service->name,
			      json_pack("{ss sf sI sI sI}", "site", service->agent->d->conf->site,
					"capacity", capacity, "healthy", (json_int_t)healthy,
					"total", (json_int_t)service->n,
					"generation", (json_int_t)generation));
}

void service_tick(struct service *service, double dt)
{
	enum exchange_state registry = exchange_state(service->agent->exchange);
	struct dataplane_service_state state;
	bool blind = is_blind(service);

	for (size_t i = 0; i < service->n; i++)
		tell_up(service->backends[i]);
	learn(service, dt, blind);
	if (sister_waits(service))
		return;
	/* Nor does a publisher move what the others cannot follow. */
	if ((service->publisher && registry != EXCHANGE_SILENT) || registry == EXCHANGE_NONE ||
	    (registry == EXCHANGE_SILENT && !service->published)) {
		if (service_looked_at(service))
			publish_own(service, dt, false, blind);
	} else if (registry == EXCHANGE_SILENT && service->rates) {
		publish_own(service, dt, true, blind);
	} else if (service->forked) {
		service->forked = false;
		adopt(service);
	}
	if (service->publisher && service->rates)
		publish_capacity(service);
	if (service->number >= 0 &&
	    dataplane_service_state(service->agent->dp, service->number, &state) == 0)
		service->transition = state.transition;
}

const char *service_why(const struct service *service, size_t i)
{
	const struct weight_state *state = weight_state(service->weight, i);
	double aim = state->target * service->conf->slots;

	const struct health *health = service->backends[i]->health;

	if (health && !health_verdict(health)->known)
		return "not looked at yet";
	if (service->held && backend_up(service->backends[i]) && !service->backends[i]->draining)
		return "weights are frozen";
	if (*state->why)
		return state->why;
	if (!service->rates)
		return "no rates yet";
	if (fabs(service->slots[i] - aim) <= publish_tolerance(aim) + 1)
		return "";
	if (!service->publisher && exchange_state(service->agent->exchange) != EXCHANGE_NONE)
		return "another agent publishes the rates";
	return "waits for the move budget";
}
