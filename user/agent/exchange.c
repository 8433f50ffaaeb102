/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c -- the agent's side of the registry: what it hears (rates, drains), what it says
 * (itself, its services, and as a publisher rates and capacities), and who publishes.
 *
 * Calls of the registry block, so that a worker thread makes them, one job after the other; a job that
 * fails is tried again every second until it succeeds or a newer one for the same key replaces it.
 * What watches and the worker hear goes to the main thread by loop_post().
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/agent/agent.h"
#include "user/agent/table.h"

#define LEASE_S      5
#define SILENT_US    5000000    /* not a word for so long: the registry is silent */
#define WAIT_US      2000000    /* … or none has ever answered: start without */
#define CLAIM_TICKS  2          /* seconds between attempts to become a publisher */
#define RETRY_S      1

enum job_kind { JOB_ANNOUNCE, JOB_PUT, JOB_LEASED, JOB_RATES, JOB_CLAIM, JOB_COPY };

struct job {
	struct job *next;
	enum job_kind kind;
	char *key, *value;      /* CLAIM, RATES, COPY: key is the service; ANNOUNCE: value is the extra */
	struct conf conf;       /* ANNOUNCE: a copy, of which only what has no pointers is used */
};

struct exchange {
	struct agent *agent;
	struct registry *reg;
	struct reg_watch *rates_watch, *drain_watch, *held_watch;
	char node[CONF_NAME_MAX];
	char *lock_value;       /* {"node"}: of locks that are ours */
	/* main thread */
	json_t *rates, *drains, *held;  /* by service, by node, by service */
	bool synced;
	uint64_t started_us, heard_us;
	unsigned int ticks;
	/* worker */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct past *past;      /* of services that we published */
	struct job *jobs;       /* under lock */
	bool ending;            /* under lock */
	struct reg_lease *lease;        /* made by the worker, under lock; then only read */
};

/* What another thread tells the main one. */
struct message {
	struct exchange *x;
	enum { SAID_RATES, SAID_DRAIN, SAID_SYNCED, SAID_CLAIMED, SAID_REFUSED, SAID_COPIED, SAID_HELD } kind;
	char *name, *value;
	struct table *table;    /* COPIED; value is from whom, or why not */
};

/* ---- to the main thread ------------------------------------------------------------------------- */

static void tell_drain(struct exchange *x, const char *node, bool draining)
{
	if (draining)
		json_object_set_new(x->drains, node, json_true());
	else
		json_object_del(x->drains, node);
	for (size_t i = 0; i < x->agent->n; i++)
		service_set_drain(x->agent->services[i], node, draining);
	route_drained(x->agent->route);
}

static void on_claimed(struct exchange *x, struct service *service)
{
	/* Taken again after the registry was away: the others shall have what is in force here. */
	if (service->publisher && service->rates)
		exchange_put_rates(x, service->rates, service->name);
	service_set_publisher(service, true);
}

static void message_free(struct message *m)
{
	table_free(m->table);
	free(m->name);
	free(m->value);
	free(m);
}

static void on_message(void *arg)
{
	struct message *m = arg;
	struct exchange *x = m->x;
	struct service *service = m->name ? agent_service(x->agent, m->name) : NULL;

	if (m->kind == SAID_SYNCED) {
		x->synced = true;
		for (size_t i = 0; i < x->agent->n; i++)
			sister_waits(x->agent->services[i]);
	}
	if (m->kind == SAID_COPIED && service)
		sister_copied(service, m->table, m->table ? m->value : NULL, m->table ? NULL : m->value);
	if (m->kind == SAID_DRAIN)
		tell_drain(x, m->name, m->value != NULL);
	if (m->kind == SAID_RATES) {
		json_object_set_new(x->rates, m->name, json_string(m->value));
		if (service)
			service_published(service, m->value);
	}
	if (m->kind == SAID_HELD) {
		json_object_set_new(x->held, m->name, m->value ? json_string(m->value) : json_null());
		if (service)
			service_hold(service, m->value);
	}
	if (m->kind == SAID_CLAIMED && service)
		on_claimed(x, service);
	if (m->kind == SAID_REFUSED && service)
		service_set_publisher(service, false);
	message_free(m);
}

static void post(struct exchange *x, int kind, const char *name, const char *value, struct table *table)
{
	struct message *m = calloc(1, sizeof(*m));

	if (!m) {
		table_free(table);
		return;
	}
	m->x = x;
	m->kind = kind;
	m->table = table;
	m->name = name ? strdup(name) : NULL;
	m->value = value ? strdup(value) : NULL;
	if ((name && !m->name) || (value && !m->value) ||
	    loop_post(x->agent->d->loop, on_message, m) < 0)
		message_free(m);
}

static void say(struct exchange *x, int kind, const char *name, const char *value)
{
	post(x, kind, name, value, NULL);
}

static void on_rates(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	/* Rates that were deleted stay in force: nothing is withdrawn by silence. */
	if (event == REG_PUT)
		say(arg, SAID_RATES, kv->key + strlen(REG_RATES), kv->value);
	else if (event == REG_SYNCED)
		say(arg, SAID_SYNCED, NULL, NULL);
}

static void on_drain(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	if (event == REG_PUT)
		say(arg, SAID_DRAIN, kv->key + strlen(REG_DRAIN), "1");
	else if (event == REG_DELETE)
		say(arg, SAID_DRAIN, kv->key + strlen(REG_DRAIN), NULL);
}

static void on_held(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	if (event != REG_SYNCED)
		say(arg, SAID_HELD, kv->key + strlen(REG_WEIGHTS), event == REG_PUT ? kv->value : NULL);
}

/* ---- the worker ------------------------------------------------------------------------------------ */

static void job_free(struct job *job)
{
	free(job->key);
	free(job->value);
	free(job);
}

static bool same_job(const struct job *a, const struct job *b)
{
	return a->kind == b->kind && strcmp(a->key ? a->key : "", b->key ? b->key : "") == 0;
}

/* Appends the job. An older one for the same key is replaced; `again`: this one is the older. */
static void enqueue(struct exchange *x, struct job *job, bool again)
{
	struct job **at;

	pthread_mutex_lock(&x->lock);
	for (at = &x->jobs; *at; at = &(*at)->next) {
		struct job *old = *at;

		if (!same_job(old, job))
			continue;
		if (again) {
			pthread_mutex_unlock(&x->lock);
			job_free(job);
			return;
		}
		*at = old->next;
		job_free(old);
		if (!*at)
			break;
	}
	job->next = NULL;
	*at = job;
	pthread_cond_signal(&x->wake);
	pthread_mutex_unlock(&x->lock);
}

static void add_job(struct exchange *x, enum job_kind kind, const char *key, char *value)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job || !value || (key && !(job->key = strdup(key)))) {
		free(job);
		free(value);
		return;
	}
	job->kind = kind;
	job->value = value;
	if (kind == JOB_ANNOUNCE)
		job->conf = *x->agent->d->conf;
	enqueue(x, job, false);
}

static void lock_key(const char *service, char *out, size_t len)
{
	snprintf(out, len, REG_LOCKS "rates/%s", service);
}

/* Rates are put only while the lock is ours, in one transaction: a publisher that was away, and does
 * not know yet that another took over, cannot overwrite. */
static int put_rates(struct exchange *x, const struct job *job)
{
	char lock[192];
	struct reg_kv kv;
	int err;

	lock_key(job->key, lock, sizeof(lock));
	if (!registry_lease_holds(x->lease, lock))
		return 0;       /* the next claim tells who publishes; ours are put again when it is us */
	err = registry_get(x->reg, lock, &kv);
	if (err)
		return err == -ENOENT ? 0 : err;
	if (strcmp(kv.value, x->lock_value) == 0) {
		struct reg_cond cond = { lock, kv.mod_revision };

		err = past_put(&x->past, x->reg, &cond, job->key, x->node, job->value);
	}
	reg_kv_free(&kv);
	return err == -EAGAIN ? 0 : err;
}

static int claim(struct exchange *x, const struct job *job)
{
	char lock[192];
	bool had;
	int err;

	lock_key(job->key, lock, sizeof(lock));
	had = registry_lease_holds(x->lease, lock);
	err = registry_lease_claim(x->lease, lock, job->value);
	if (err == 0 && !had) {
		past_forget(&x->past, job->key);
		say(x, SAID_CLAIMED, job->key, NULL);
	} else if (err == -EAGAIN) {
		say(x, SAID_REFUSED, job->key, NULL);
	}
	return 0;       /* another attempt comes with the next tick */
}

static int copy(struct exchange *x, const struct job *job)
{
	char node[CONF_NAME_MAX] = "";
	struct table *table = NULL;
	int err = sister_fetch(x->reg, x->agent->client, x->node, job->key, &table, node);

	post(x, SAID_COPIED, job->key, err == 0 ? node : err == -ENOENT ? NULL : strerror(-err), table);
	return 0;
}

static int do_job(struct exchange *x, const struct job *job)
{
	struct reg_lease *lease = NULL;
	int err;

	if (!x->lease) {
		err = registry_lease(x->reg, &lease, LEASE_S, NULL, NULL);
		if (err)
			return err;
		pthread_mutex_lock(&x->lock);
		x->lease = lease;
		pthread_mutex_unlock(&x->lock);
	}
	switch (job->kind) {
	case JOB_ANNOUNCE:
		return registry_announce(x->lease, &job->conf, "agent", job->value);
	case JOB_PUT:
		return registry_put(x->reg, job->key, job->value, 0);
	case JOB_LEASED:
		return registry_lease_put(x->lease, job->key, job->value);
	case JOB_RATES:
		return put_rates(x, job);
	case JOB_CLAIM:
		return claim(x, job);
	case JOB_COPY:
		return copy(x, job);
	}
	return 0;
}

/* Waits under the lock, at most a second when a job has just failed. */
static void wait_for_work(struct exchange *x, bool failed)
{
	struct timespec until;

	if (!failed) {
		pthread_cond_wait(&x->wake, &x->lock);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_S;
	while (!x->ending && pthread_cond_timedwait(&x->wake, &x->lock, &until) != ETIMEDOUT)
		;
}

static void *work(void *arg)
{
	struct exchange *x = arg;
	bool failed = false;

	pthread_mutex_lock(&x->lock);
	while (!x->ending) {
		struct job *job = x->jobs;
		int err;

		if (!job || failed) {
			wait_for_work(x, failed);
			failed = false;
			continue;
		}
		x->jobs = job->next;
		pthread_mutex_unlock(&x->lock);
		err = do_job(x, job);
		failed = err < 0;
		if (failed) {
			log_limited(LOG_LEVEL_DEBUG, 6, "registry: %s: %s", job->key ? job->key : "announce",
				    registry_error());
			enqueue(x, job, true);
		} else {
			job_free(job);
		}
		pthread_mutex_lock(&x->lock);
	}
	pthread_mutex_unlock(&x->lock);
	return NULL;
}

/* ---- what the agent asks for ------------------------------------------------------------------------ */

enum exchange_state exchange_state(const struct exchange *x)
{
	uint64_t now = agent_now_us();

	if (!x)
		return EXCHANGE_NONE;
	if (!x->synced)
		return now - x->started_us < WAIT_US ? EXCHANGE_WAITING : EXCHANGE_SILENT;
	return now - x->heard_us < SILENT_US ? EXCHANGE_OK : EXCHANGE_SILENT;
}

bool exchange_draining(const struct exchange *x, const char *node)
{
	return x && json_object_get(x->drains, node);
}

const char *exchange_held(const struct exchange *x, const char *service)
{
	return x ? json_string_value(json_object_get(x->held, service)) : NULL;
}

const char *exchange_rates(const struct exchange *x, const char *service)
{
	return x ? json_string_value(json_object_get(x->rates, service)) : NULL;
}

static json_t *service_value(const struct agent *agent, const struct conf_service *conf)
{
	json_t *addresses = json_array(), *backends = json_array();
	char text[ADDR_PORT_STRLEN];

	for (size_t i = 0; i < conf->naddresses; i++)
		json_array_append_new(addresses, json_string(addr_port_format(&conf->addresses[i], text,
									      sizeof(text))));
	for (size_t i = 0; i < conf->nbackends; i++) {
		const struct conf_backend *b = &conf->backends[i];

		json_array_append_new(backends, json_pack("{ss ss sf}", "name", b->name, "address",
							  addr_format(&b->address, text, sizeof(text)),
							  "capacity", b->capacity));
	}
	return json_pack("{ss sI so so}", "site", agent->d->conf->site, "slots",
			 (json_int_t)conf->slots, "addresses", addresses, "backends", backends);
}

/* Who routes tunnels, and from where it encapsulates. */
static void add_tunnels(json_t *extra, const struct conf *conf)
{
	static const char *const keys[] = { "address", "address6" };
	struct addr address[2];
	char text[ADDR_STRLEN];

	if (!conf->tunnels.enabled)
		return;
	json_object_set_new(extra, "tunnels", json_true());
	agent_edge_addresses(&conf->edge, address);
	for (int k = 0; k < 2; k++)
		if (address[k].family != AF_UNSPEC)
			json_object_set_new(extra, keys[k], json_string(addr_format(
				&address[k], text, sizeof(text))));
}

void exchange_announce(struct exchange *x)
{
	json_t *names, *extra;

	if (!x)
		return;
	names = json_array();
	for (size_t i = 0; i < x->agent->n; i++) {
		const struct service *service = x->agent->services[i];
		json_t *value = service_value(x->agent, service->conf);
		char key[192];

		json_array_append_new(names, json_string(service->name));
		snprintf(key, sizeof(key), REG_SERVICES "%s", service->name);
		add_job(x, JOB_PUT, key, json_dumps(value, JSON_COMPACT));
		json_decref(value);
	}
	extra = json_pack("{so}", "services", names);
	add_tunnels(extra, x->agent->d->conf);
	add_job(x, JOB_ANNOUNCE, NULL, json_dumps(extra, JSON_COMPACT));
	json_decref(extra);
}

void exchange_claim(struct exchange *x, const char *service)
{
	if (x)
		add_job(x, JOB_CLAIM, service, strdup(x->lock_value));
}

void exchange_copy(struct exchange *x, const char *service)
{
	if (x)
		add_job(x, JOB_COPY, service, strdup(""));
}

void exchange_put_rates(struct exchange *x, const struct rates *rates, const char *service)
{
	if (x)
		add_job(x, JOB_RATES, service, rates_to_json(rates));
}

void exchange_put_capacity(struct exchange *x, const char *service, json_t *value)
{
	char key[192];

	snprintf(key, sizeof(key), REG_CAPACITY "%s", service);
	if (x)
		add_job(x, JOB_PUT, key, json_dumps(value, JSON_COMPACT));
	json_decref(value);
}

void exchange_put_leased(struct exchange *x, const char *key, const char *value)
{
	if (x)
		add_job(x, JOB_LEASED, key, strdup(value));
}

void exchange_tick(struct exchange *x)
{
	struct reg_lease *lease;

	if (!x)
		return;
	if (registry_reachable(x->reg))
		x->heard_us = agent_now_us();
	if (!x->synced || x->ticks++ % CLAIM_TICKS != 0)
		return;
	pthread_mutex_lock(&x->lock);
	lease = x->lease;
	pthread_mutex_unlock(&x->lock);
	for (size_t i = 0; i < x->agent->n; i++) {
		const struct service *service = x->agent->services[i];
		char lock[192];

		lock_key(service->name, lock, sizeof(lock));
		if (!lease || !service->publisher || !registry_lease_holds(lease, lock))
			exchange_claim(x, service->name);
	}
}

static char *make_lock_value(const char *node)
{
	json_t *value = json_pack("{ss}", "node", node);
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	json_decref(value);
	return text;
}

int exchange_start(struct exchange **out, struct agent *agent)
{
	struct exchange *x;
	pthread_condattr_t attr;
	int err;

	if (!agent->d->registry) {
		*out = NULL;
		return 0;
	}
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->agent = agent;
	x->reg = agent->d->registry;
	snprintf(x->node, sizeof(x->node), "%s", agent->d->conf->node);
	x->rates = json_object();
	x->drains = json_object();
	x->held = json_object();
	x->started_us = x->heard_us = agent_now_us();
	pthread_mutex_init(&x->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&x->wake, &attr);
	pthread_condattr_destroy(&attr);
	x->lock_value = make_lock_value(agent->d->conf->node);
	err = x->rates && x->drains && x->held && x->lock_value ? 0 : -ENOMEM;
	if (err == 0)
		err = registry_watch(x->reg, &x->held_watch, REG_WEIGHTS, on_held, x);
	if (err == 0)
		err = registry_watch(x->reg, &x->rates_watch, REG_RATES, on_rates, x);
	if (err == 0)
		err = registry_watch(x->reg, &x->drain_watch, REG_DRAIN, on_drain, x);
	if (err == 0)
		err = -pthread_create(&x->thread, NULL, work, x);
	x->running = err == 0;
	if (err) {
		log_error("the registry cannot be watched: %s", strerror(-err));
		exchange_stop(x);
		return err;
	}
	*out = x;
	return 0;
}

void exchange_stop(struct exchange *x)
{
	if (!x)
		return;
	pthread_mutex_lock(&x->lock);
	x->ending = true;
	pthread_cond_signal(&x->wake);
	pthread_mutex_unlock(&x->lock);
	if (x->running)
		pthread_join(x->thread, NULL);
	registry_unwatch(x->rates_watch);
	registry_unwatch(x->drain_watch);
	registry_unwatch(x->held_watch);
	past_forget(&x->past, NULL);
	if (x->lease)
		registry_lease_end(x->lease, true);
	while (x->jobs) {
		struct job *job = x->jobs;

		x->jobs = job->next;
		job_free(job);
	}
	json_decref(x->rates);
	json_decref(x->drains);
	json_decref(x->held);
	free(x->lock_value);
	pthread_cond_destroy(&x->wake);
	pthread_mutex_destroy(&x->lock);
	free(x);
}
