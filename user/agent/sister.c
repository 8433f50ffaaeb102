// SPDX-License-Identifier: Apache-2.0
/*
 * sister.c -- slot tables between agents (rule 7 of balancing): each serves its own at its inside listener
 * (GET /_/slots/SERVICE), and one that starts without slots, or with older ones, takes over a sister's
 * before it puts rates in force.
 *
 * The table waits at most COPY_WAIT_US; without one the slots begin from the rates alone, and the log
 * says so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/agent/agent.h"
#include "user/agent/table.h"

#define COPY_WAIT_US   4000000
#define SERVING_US     1200000  /* so long packets are counted before slots of this node yield to a sister's */
#define FETCH_MS       1500
#define TABLE_BYTES    (48u << 20)

/* ---- ours, for sisters --------------------------------------------------------------------------- */

static int describe(void *arg, uint16_t index, struct table_backend *b)
{
	const struct service *service = arg;
	int rc = dataplane_owner_get(service->agent->dp, index, &b->id, &b->address, &b->up);

	for (size_t i = 0; rc >= 0 && i < service->n; i++)
		if (service->backends[i]->index == index)
			snprintf(b->name, sizeof(b->name), "%s", service->backends[i]->name);
	return rc;
}

/* NULL: without memory, or the loader said no. */
static struct table *table_of(struct service *service)
{
	struct table *t = table_alloc(service->conf->slots);

	if (!t || dataplane_table_get(service->agent->dp, service->number, t->slot, t->slots) < 0 ||
	    table_name(t, describe, service)) {
		table_free(t);
		return NULL;
	}
	t->generation = service->rates ? service->rates->generation : 0;
	return t;
}

/* On the main thread: the text in a JSON string, or why there is none. */
static json_t *say_table(struct daemon *d, const char *name)
{
	struct agent *agent = d->state;
	struct service *service = agent ? agent_service(agent, name) : NULL;
	struct table *t;
	json_t *answer;
	char *text;

	if (!service || service->number < 0)
		return json_pack("{ss}", "error", "this agent does not balance such a service");
	if (!service->rates || service->copy != COPY_DONE)
		return json_pack("{ss}", "error", "its slots are not filled yet");
	t = table_of(service);
	text = t ? table_to_json(t, name) : NULL;
	answer = text ? json_string(text) : NULL;
	free(text);
	table_free(t);
	return answer;
}

static void work_slots(struct http_req *req, void *arg)
{
	struct agent *agent = arg;
	json_t *answer = daemon_ask(agent->d, say_table, http_param(req, "service"));

	if (json_is_string(answer))
		http_reply(req, 200, "application/json", json_string_value(answer),
			   json_string_length(answer));
	else if (answer)
		http_reply_error(req, 404, "slots", "%s",
				 json_string_value(json_object_get(answer, "error")));
	else
		http_reply_error(req, 503, "busy", "the slot table cannot be read now");
	json_decref(answer);
}

static enum http_next slots(struct http_req *req, void *arg)
{
	return http_work(req, work_slots, arg);
}

const struct http_route agent_routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/_/slots/:service", .begin = slots },
	{ .path = NULL },
};

/* ---- a sister's, fetched (on the worker) --------------------------------------------------------- */

static bool serves(const json_t *member, const char *service)
{
	const json_t *name;
	size_t i;

	json_array_foreach(json_object_get(member, "services"), i, name)
		if (json_is_string(name) && strcmp(json_string_value(name), service) == 0)
			return true;
	return false;
}

static int fetch(struct httpc *client, const json_t *member, const char *service, struct table **out)
{
	const char *inside = json_string_value(json_object_get(member, "inside"));
	struct httpc_call call = { .timeout_ms = FETCH_MS, .body_max = TABLE_BYTES };
	struct httpc_answer answer = { 0 };
	char url[512];
	int err;

	if (!inside || !serves(member, service))
		return -ENOENT;
	snprintf(url, sizeof(url), "%s://%s/_/slots/%s",
		 json_is_true(json_object_get(member, "tls")) ? "https" : "http", inside, service);
	call.url = url;
	err = httpc_do(client, &call, &answer);
	if (err)
		log_info("service %s: %s did not give its slot table: %s", service,
			 json_string_value(json_object_get(member, "node")), answer.error);
	else if (answer.status != 200)
		err = -ENOENT;
	else
		err = table_from_json(out, answer.body, answer.len);
	httpc_answer_free(&answer);
	return err;
}

int sister_fetch(struct registry *reg, struct httpc *client, const char *self, const char *service,
		 struct table **out, char node[CONF_NAME_MAX])
{
	struct reg_kv *kvs = NULL;
	size_t n = 0;
	int err = registry_list(reg, REG_MEMBERS "agent/", &kvs, &n, NULL);
	int best = -ENOENT;

	for (size_t i = 0; err == 0 && best != 0 && i < n; i++) {
		json_t *member = json_loads(kvs[i].value, 0, NULL);
		const char *name = json_string_value(json_object_get(member, "node"));

		if (name && strcmp(name, self) != 0) {
			int rc = fetch(client, member, service, out);

			/* The first that has one: all follow the same rates. */
			if (rc == 0)
				snprintf(node, CONF_NAME_MAX, "%s", name);
			if (rc != -ENOENT)
				best = rc;
		}
		json_decref(member);
	}
	reg_kv_list_free(kvs, n);
	return err ? err : best;
}

/* ---- taken over (on the main thread) ---------------------------------------------------------------- */

/* The service's backends in the order of their names: a table may have as many as they are. */
struct home {
	struct service *service;
	struct backend **order;
};

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct backend *const *)a)->name, (*(struct backend *const *)b)->name);
}

static int name_is(const void *name, const void *b)
{
	return strcmp(name, (*(struct backend *const *)b)->name);
}

static int home_known(void *arg, const struct table_backend *b)
{
	const struct home *home = arg;
	struct backend **found = NULL;

	if (*b->name)
		found = bsearch(b->name, home->order, home->service->n, sizeof(*found), name_is);
	return found ? (*found)->index : 0;
}

static int home_add(void *arg, const struct table_backend *b)
{
	const struct service *service = ((const struct home *)arg)->service;

	return dataplane_owner_set(service->agent->dp, service->number, b->id, &b->address, b->up);
}

static int localize(struct service *service, struct table *t, const char *from)
{
	struct home home = { service, calloc(service->n + 1, sizeof(*home.order)) };
	const struct table_names names = { home_known, home_add, &home };
	int rc = -ENOMEM, failed;

	if (home.order) {
		memcpy(home.order, service->backends, service->n * sizeof(*home.order));
		qsort(home.order, service->n, sizeof(*home.order), by_name);
		rc = table_localize(t, &names, &failed);
	}
	free(home.order);
	if (rc == -E2BIG)
		log_warn("service %s: the slot table of %s cannot be used: more than %d of its owners are no backends here; "
			 "do both have the same configuration?",
			 service->name, from, TABLE_STRANGERS_MAX);
	else if (rc)
		log_warn("service %s: the slot table of %s cannot be used: %s", service->name, from, strerror(-rc));
	else if (failed)
		log_warn("service %s: not all former owners of %s's slots are known here: %s", service->name, from,
			 dataplane_error(service->agent->dp));
	return rc;
}

static int take_over(struct service *service, struct table *t, const char *from)
{
	struct agent *agent = service->agent;
	struct dataplane_service_state state = { 0 };
	uint32_t n = t->slots, changed = 0;
	uint16_t *owner;
	bool serving = false;
	int err = localize(service, t, from);

	if (err)
		return err;
	owner = calloc(n, sizeof(*owner));
	if (!owner)
		return -ENOMEM;
	if (service->copy == COPY_OLDER)
		serving = dataplane_service_state(agent->dp, service->number, &state) == 0 &&
			  state.count.packets != service->copy_packets;
	err = dataplane_table_put(agent->dp, service->number, t->slot, n, serving, &changed);
	if (err == 0)
		err = dataplane_slots_get(agent->dp, service->number, owner, n);
	if (err) {
		log_warn("service %s: the slot table of %s cannot be used: %s", service->name, from,
			 dataplane_error(agent->dp));
		free(owner);
		return err;
	}
	free(service->owner);
	service->owner = owner;
	service->nowner = n;
	log_info("service %s: slot table copied from %s: %u of %u slots, generation %llu%s", service->name,
		 from, changed, n, (unsigned long long)t->generation,
		 serving ? "; only earlier owners, because packets went through here meanwhile" : "");
	return 0;
}

static void done(struct service *service)
{
	service->copy = COPY_DONE;
	service_readopt(service);
}

void sister_copied(struct service *service, struct table *t, const char *from, const char *why)
{
	if (service->copy == COPY_DONE)
		return;
	if (t && t->slots != service->conf->slots)
		log_warn("service %s: %s has %u slots, not %u: its slot table is of no use here",
			 service->name, from, t->slots, service->conf->slots);
	else if (t)
		take_over(service, t, from);
	else if (why)
		log_warn("service %s: no slot table of another agent could be had (%s): slots begin from the "
			 "weights alone; connections that their earlier owners hold may break",
			 service->name, why);
	done(service);
}

void sister_begin(struct service *service)
{
	struct dataplane_service_state state;

	service->copy = COPY_DONE;
	if (service->number < 0 || !service->agent->exchange ||
	    dataplane_service_state(service->agent->dp, service->number, &state) < 0)
		return;
	service->copy = state.generation ? COPY_OLDER : COPY_EMPTY;
	service->copy_generation = state.generation;
	service->copy_packets = state.count.packets;
	service->copy_begun_us = agent_now_us();
}

bool sister_waits(struct service *service)
{
	struct exchange *x = service->agent->exchange;
	uint64_t waited = agent_now_us() - service->copy_begun_us;
	struct rates *rates;

	if (service->copy == COPY_DONE)
		return false;
	/* What is pinned here is what all have in force: nothing was missed. */
	if (service->copy == COPY_OLDER && service->published &&
	    rates_from_json(&rates, service->published) == 0) {
		bool same = (uint32_t)rates->generation == service->copy_generation;

		rates_free(rates);
		if (same) {
			done(service);
			return false;
		}
	}
	if (exchange_state(x) == EXCHANGE_SILENT) {
		sister_copied(service, NULL, NULL, service->copy == COPY_EMPTY ? "the registry is silent" : NULL);
	} else if (waited > COPY_WAIT_US) {
		sister_copied(service, NULL, NULL, "none within 4 s");
	} else if (exchange_state(x) == EXCHANGE_OK && !service->copy_asked &&
		   (service->copy == COPY_EMPTY || waited > SERVING_US)) {
		service->copy_asked = true;
		exchange_copy(x, service->name);
	}
	return service->copy != COPY_DONE;
}
