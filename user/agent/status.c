/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c -- what the agent shows of itself: the control commands `status` and `weights`
 * (ARCHITECTURE.md, "Control sockets") and its metrics.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "user/agent/agent.h"

#define INTERFACES_MAX 64

struct agent_metrics {
	struct metric *wanted, *applied, *up, *slots, *load, *capacity;
	struct metric *service_capacity, *healthy, *transition, *publisher, *generation;
	struct metric *coefficient, *variance, *error, *samples, *fallback, *registry;
	struct metric *checks, *egress, *announced;
	struct seen_metrics seen;
	struct metric *notes, *notes_room, *notes_alarm, *kept;
	struct metric *nat_ports, *nat_used, *nat_open, *nat_flows;
};

/* JSON has no NAN: what is unknown is null. */
static json_t *number(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

/* ---- status ---------------------------------------------------------------------------------------- */

static json_t *interfaces(const struct agent *agent)
{
	struct dataplane_interface found[INTERFACES_MAX];
	int n = dataplane_interfaces(agent->dp, found, INTERFACES_MAX);
	json_t *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{ss ss ss}", "name", found[i].name, "mode",
						      found[i].mode, "attach", found[i].attach));
	return list;
}

static json_t *backend_json(const struct service *service, size_t i)
{
	const struct backend *b = service->backends[i];
	const struct weight_state *state = weight_state(service->weight, i);
	char address[ADDR_STRLEN];
	json_t *out = json_pack("{ss ss sb sb sf sf sI}", "name", b->name, "address",
				addr_format(&b->address, address, sizeof(address)), "up", backend_up(b),
				"draining", b->draining, "wanted", state->wanted, "applied",
				service_applied(service, i), "slots", (json_int_t)service->slots[i]);

	json_object_set_new(out, "load", number(state->load));
	json_object_set_new(out, "capacity", number(state->capacity));
	json_object_set_new(out, "packets", json_integer((json_int_t)b->count.packets));
	json_object_set_new(out, "bytes", json_integer((json_int_t)b->count.bytes));
	json_object_set_new(out, "rates", seen_backend_json(b));
	json_object_set_new(out, "check", json_string(b->check));
	json_object_set_new(out, "through", json_string(b->through ? "service" : "address"));
	json_object_set_new(out, "why", json_string(service_why(service, i)));
	return out;
}

/* What was learned, beside a service's other members. */
static json_t *model_json(const struct service *service)
{
	const struct model *m = weight_model(service->weight);
	json_t *metrics = json_array();

	for (size_t j = 0; j < m->n; j++)
		json_array_append_new(metrics, json_pack("{ss sf sf}", "name", m->name[j], "coefficient",
							 model_theta(m, j), "variance",
							 model_variance(m, j)));
	return json_pack("{so sf sf sI sb}", "metrics", metrics, "error", sqrt(m->error),
			 "prior_error", sqrt(m->prior_error), "samples", (json_int_t)m->samples,
			 "fallback", m->fallback);
}

static json_t *service_json(struct service *service)
{
	json_t *addresses = json_array(), *backends = json_array(), *out;
	const struct conf_service *conf = service->conf;
	char text[ADDR_PORT_STRLEN];

	for (size_t i = 0; i < conf->naddresses; i++)
		json_array_append_new(addresses, json_string(addr_port_format(&conf->addresses[i], text,
									      sizeof(text))));
	for (size_t i = 0; i < service->n; i++)
		json_array_append_new(backends, backend_json(service, i));
	out = json_pack("{ss ss so sI sI sI sI sf sb sb sI so}", "name", service->name,
			"site", service->agent->d->conf->site, "addresses", addresses,
			"slots", (json_int_t)conf->slots,
			"generation", (json_int_t)(service->rates ? service->rates->generation : 0),
			"healthy", (json_int_t)service_healthy(service),
			"total", (json_int_t)service->n,
			"capacity", weight_capacity(service->weight),
			"publisher", service->publisher, "announced", service_announced(service),
			"transition", (json_int_t)service->transition, "backends", backends);
	json_object_set_new(out, "frozen", service_held_json(service));
	seen_service_json(service, out);
	json_object_update_new(out, model_json(service));
	return out;
}

static const char *const nat_names[WEIR_NAT_COUNT] = {
#define NAT_NAME(name, meaning) [WEIR_NAT_COUNT_##name] = #name,
	WEIR_NAT_COUNTS(NAT_NAME)
#undef NAT_NAME
};

/* Null without agent.nat. */
static json_t *nat_json(const struct agent *agent)
{
	struct natset_state s;
	json_t *out;

	if (dataplane_nat(agent->dp, &s) < 0 || !s.addresses)
		return json_null();
	out = json_pack("{sI sI sI sI}", "addresses", (json_int_t)s.addresses, "ports",
			(json_int_t)s.ports, "used", (json_int_t)s.used, "open", (json_int_t)s.open);
	for (int i = 0; i < WEIR_NAT_COUNT; i++)
		json_object_set_new(out, nat_names[i], json_integer((json_int_t)s.count[i]));
	return out;
}

void agent_status(struct daemon *d, json_t *answer)
{
	const struct agent *agent = d->state;
	json_t *services = json_array();

	seen_read(d->state);
	for (size_t i = 0; i < agent->n; i++)
		json_array_append_new(services, service_json(agent->services[i]));
	json_object_set_new(answer, "interfaces", interfaces(agent));
	json_object_set_new(answer, "services", services);
	seen_json(agent, answer);
	filter_status(agent->filter, answer);
	json_object_set_new(answer, "nat", nat_json(agent));
	json_object_set_new(answer, "flows", notes_json(agent));
	route_status(agent->route, answer);
}

/* ---- weights --------------------------------------------------------------------------------------- */

static json_t *learner_backend(const struct service *service, size_t i)
{
	const struct weight_state *state = weight_state(service->weight, i);
	const struct model *m = weight_model(service->weight);
	json_t *metrics = json_object(), *out;

	for (size_t j = 0; j < m->n; j++)
		if (!isnan(state->x[j]))
			json_object_set_new(metrics, m->name[j], json_real(state->x[j]));
	out = json_pack("{ss sb sf sf sI so}", "name", state->name, "up",
			backend_up(service->backends[i]), "wanted", state->wanted,
			"applied", service_applied(service, i),
			"slots", (json_int_t)service->slots[i], "metrics", metrics);
	json_object_set_new(out, "load", number(state->load));
	json_object_set_new(out, "capacity", number(state->capacity));
	json_object_set_new(out, "why", json_string(service_why(service, i)));
	return out;
}

static json_t *learner_json(const struct service *service)
{
	json_t *backends = json_array();
	json_t *out = json_pack("{ss ss so}", "name", service->name, "site",
				service->agent->d->conf->site, "backends", backends);

	for (size_t i = 0; i < service->n; i++)
		json_array_append_new(backends, learner_backend(service, i));
	json_object_update_new(out, model_json(service));
	return out;
}

json_t *agent_weights(void *daemon, const json_t *request, char *err, size_t err_len)
{
	const struct agent *agent = ((struct daemon *)daemon)->state;
	json_t *services = json_array();

	(void)request;
	(void)err;
	(void)err_len;
	for (size_t i = 0; i < agent->n; i++)
		json_array_append_new(services, learner_json(agent->services[i]));
	return json_pack("{so}", "services", services);
}

/* ---- metrics ---------------------------------------------------------------------------------------- */

int agent_metrics_new(struct agent_metrics **out, struct metrics *m)
{
	static const char both[] = "service,backend", model[] = "service,metric";
	struct agent_metrics *a = calloc(1, sizeof(*a));
	const struct { struct metric **to; enum metric_type type; const char *name, *help, *labels; } all[] = {
		{ &a->wanted, METRIC_GAUGE, "backend_wanted_ratio", "Share that the learner wants", both },
		{ &a->applied, METRIC_GAUGE, "backend_applied_ratio", "Share of the slots in force", both },
		{ &a->up, METRIC_GAUGE, "backend_up", "1 when the check says up", both },
		{ &a->slots, METRIC_GAUGE, "backend_slots", "Slots of the ring in force", both },
		{ &a->load, METRIC_GAUGE, "backend_load_ratio", "Learned load, 1 is full", both },
		{ &a->capacity, METRIC_GAUGE, "backend_capacity_requests_per_second",
		  "Successes per second that the backend would take at load 1", both },
		{ &a->service_capacity, METRIC_GAUGE, "service_capacity_requests_per_second",
		  "Sum of the capacities of what is up", "service" },
		{ &a->healthy, METRIC_GAUGE, "service_healthy_backends", "Up and not draining", "service" },
		{ &a->transition, METRIC_GAUGE, "service_transition_slots", "Slots in transition", "service" },
		{ &a->publisher, METRIC_GAUGE, "service_publisher", "1 when this agent publishes", "service" },
		{ &a->announced, METRIC_GAUGE, "service_announced",
		  "1 while routers are asked for its addresses (agent.announce)", "service" },
		{ &a->generation, METRIC_GAUGE, "service_generation", "Of the rates in force", "service" },
		{ &a->coefficient, METRIC_GAUGE, "model_coefficient", "Load per unit of the metric", model },
		{ &a->variance, METRIC_GAUGE, "model_metric_variance", "How much the metric varies", model },
		{ &a->error, METRIC_GAUGE, "model_error", "Root mean square error, one step ahead",
		  "service,model" },
		{ &a->samples, METRIC_COUNTER, "model_samples_total", "Pairs learned from", "service" },
		{ &a->fallback, METRIC_GAUGE, "model_fallback", "1 while cpu alone is used instead", "service" },
		{ &a->checks, METRIC_COUNTER, "backend_checks_total",
		  "Checks made, by the backend's own address or through the packet path to the service's",
		  "service,through,result" },
		{ &a->egress, METRIC_COUNTER, "egress_packets_total",
		  "Packets of this host itself, by what the tc program did", "what" },
		{ &a->notes, METRIC_GAUGE, "notes", "Flows of moving slots that are remembered", "table" },
		{ &a->notes_room, METRIC_GAUGE, "notes_room", "How many there is room for", "table" },
		{ &a->notes_alarm, METRIC_GAUGE, "notes_alarm",
		  "1 while the table of notes is so full that the oldest may soon be forgotten", NULL },
		{ &a->kept, METRIC_GAUGE, "kept_flows",
		  "Flows that chose another backend than their slot's, also ended ones", NULL },
		{ &a->nat_ports, METRIC_GAUGE, "nat_ports", "Ports of agent.nat's addresses", NULL },
		{ &a->nat_used, METRIC_GAUGE, "nat_used_ports", "Given to a flow that is not expired", NULL },
		{ &a->nat_open, METRIC_GAUGE, "nat_open_connections", "Of these, established TCP", NULL },
		{ &a->nat_flows, METRIC_COUNTER, "nat_flows_total",
		  "Flows opened, with a port evicted from another, refused, and strange replies", "event" },
		{ &a->registry, METRIC_GAUGE, "registry_reachable", "1 while the registry answers", NULL },
	};

	if (!a)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*all[i].to = metric_add(m, all[i].type, all[i].name, all[i].help, all[i].labels);
		if (!*all[i].to) {
			free(a);
			return -ENOMEM;
		}
	}
	if (seen_metrics_new(&a->seen, m)) {
		free(a);
		return -ENOMEM;
	}
	*out = a;
	return 0;
}

static void set2(struct metric *metric, const char *a, const char *b, double value)
{
	metric_set(metric_series(metric, a, b, NULL), value);
}

static void update_checks(const struct agent_metrics *a, const struct service *service)
{
	static const char *const through[] = { "address", "service" }, *const result[] = { "failed", "ok" };

	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < 2; j++)
			metric_set(metric_series(a->checks, service->name, through[i], result[j], NULL),
				   (double)service->checks[i][j]);
}

static void update_egress(const struct agent_metrics *a, struct dataplane *dp)
{
	static const char *const what[] = {
#define EGRESS_ROW(name, meaning) #name,
		WEIR_EGRESS_COUNTS(EGRESS_ROW)
#undef EGRESS_ROW
	};
	uint64_t count[WEIR_EGRESS_COUNT];

	if (dataplane_egress_counts(dp, count) < 0)
		return;
	for (size_t i = 0; i < WEIR_EGRESS_COUNT; i++)
		metric_set(metric_series(a->egress, what[i], NULL), (double)count[i]);
}

static void update_service(const struct agent_metrics *a, struct service *service)
{
	const struct model *m = weight_model(service->weight);
	const char *name = service->name;

	for (size_t i = 0; i < service->n; i++) {
		const struct backend *b = service->backends[i];
		const struct weight_state *state = weight_state(service->weight, i);

		set2(a->wanted, name, b->name, state->wanted);
		set2(a->applied, name, b->name, service_applied(service, i));
		set2(a->up, name, b->name, backend_up(b));
		set2(a->slots, name, b->name, service->slots[i]);
		set2(a->load, name, b->name, state->load);
		set2(a->capacity, name, b->name, state->capacity);
	}
	for (size_t j = 0; j < m->n; j++) {
		set2(a->coefficient, name, m->name[j], model_theta(m, j));
		set2(a->variance, name, m->name[j], model_variance(m, j));
	}
	set2(a->error, name, "learned", sqrt(m->error));
	set2(a->error, name, "cpu", sqrt(m->prior_error));
	update_checks(a, service);
	metric_set(metric_series(a->announced, name, NULL), service_announced(service));
	metric_set(metric_series(a->service_capacity, name, NULL), weight_capacity(service->weight));
	metric_set(metric_series(a->healthy, name, NULL), (double)service_healthy(service));
	metric_set(metric_series(a->transition, name, NULL), service->transition);
	metric_set(metric_series(a->publisher, name, NULL), service->publisher);
	metric_set(metric_series(a->generation, name, NULL),
		   service->rates ? (double)service->rates->generation : 0);
	metric_set(metric_series(a->samples, name, NULL), (double)m->samples);
	metric_set(metric_series(a->fallback, name, NULL), m->fallback);
}

static void update_notes(const struct agent_metrics *a, const struct agent *agent)
{
	metric_set(metric_series(a->notes, "established", NULL), agent->notes.notes);
	metric_set(metric_series(a->notes, "half_open", NULL), agent->notes.half_open);
	metric_set(metric_series(a->notes_room, "established", NULL), agent->notes.room);
	metric_set(metric_series(a->notes_room, "half_open", NULL), agent->notes.half_open_room);
	metric_set(metric_series(a->kept, NULL), agent->notes.kept);
	metric_set(metric_series(a->notes_alarm, NULL), agent->notes_alarm);
}

/* Nothing is said before there were addresses; after their end there are no ports. */
static void update_nat(const struct agent_metrics *a, struct agent *agent)
{
	struct natset_state s;

	if (dataplane_nat(agent->dp, &s) < 0 || !(s.addresses || agent->nat_shown))
		return;
	agent->nat_shown = true;
	metric_set(metric_series(a->nat_ports, NULL), s.ports);
	metric_set(metric_series(a->nat_used, NULL), s.used);
	metric_set(metric_series(a->nat_open, NULL), s.open);
	for (int i = 0; i < WEIR_NAT_COUNT; i++)
		metric_set(metric_series(a->nat_flows, nat_names[i], NULL), (double)s.count[i]);
}

void agent_metrics_update(struct agent *agent)
{
	const struct agent_metrics *a = agent->metrics;

	for (size_t i = 0; i < agent->n; i++)
		update_service(a, agent->services[i]);
	seen_metrics_update(&a->seen, agent);
	update_egress(a, agent->dp);
	metric_set(metric_series(a->registry, NULL), exchange_state(agent->exchange) == EXCHANGE_OK);
	filter_metrics_update(agent->filter);
	update_nat(a, agent);
	update_notes(a, agent);
	route_metrics_update(agent->route);
}
