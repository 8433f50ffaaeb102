/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c -- what is known, and when it changes: new answers, a new table of choices, one swap.
 *
 * A change of records or zones compiles all answers anew; a change of capacities, leases or probes
 * only makes a new table of choices beside the same answers.
 */
#include "dns/publish.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dns/probe.h"
#include "dns/state.h"
#include "dns/zones.h"
#include "lib/log.h"

#define GATHER_US   20000u   /* changes that come together become one view */
#define REMEMBER_US 2000000u /* the state file is written at most so often */
#define ANEW	    4u	     /* beside enum model_change: zones were read again */

/* Answers may serve several views, as long as only choices change. */
struct shared_table {
	struct dns_table *table;
	unsigned int refs;
};

struct publish_view {
	struct view view;
	struct shared_table *answers;
	struct steering *steering;
};

struct steer_source {
	const struct conf_steer *conf;
	uint8_t name[DNS_NAME_MAX], name_len;
	size_t n; /* services */
	struct pick_site site[PICK_SITES_MAX];
	struct probe *probe[PICK_SITES_MAX];
};

struct publish {
	const struct conf *conf;
	struct loop *loop;
	struct views *views;
	struct registry *registry;
	struct model *model;
	struct zones zones;
	struct steer_source *steers;
	size_t nsteers;
	struct shared_table *answers;
	json_t *serials; /* zone → {"digest","serial"} of an earlier life */
	struct loop_timer *gather, *remember;
	struct reg_watch **watches;
	size_t nwatches;
	pthread_mutex_t lock;	     /* for first, last */
	struct heard *first, **last; /* told by the watches, not yet applied */
	unsigned int dirty;
	bool forgetful; /* the state file does not hold what is known */
	char state_path[PATH_MAX];
	struct metric *weight, *up;
};

static void table_unref(struct shared_table *t)
{
	if (!t || --t->refs)
		return;
	dns_table_free(t->table);
	free(t);
}

/* Zones with the registry's records over them, compiled. */
static int compile_answers(struct publish *p)
{
	struct dns_steer *steers = calloc(p->nsteers + 1, sizeof(*steers));
	struct shared_table *answers = calloc(1, sizeof(*answers));
	int rc = -ENOMEM;

	if (steers && answers) {
		for (size_t i = 0; i < p->nsteers; i++)
			steers[i] = (struct dns_steer){ p->steers[i].name, p->steers[i].name_len,
							(int16_t)i };
		rc = zones_compile(&p->zones, p->model, p->serials, steers, p->nsteers,
				   &answers->table);
	}
	free(steers);
	if (rc) {
		free(answers);
		return rc;
	}
	answers->refs = 1;
	table_unref(p->answers);
	p->answers = answers;
	return 0;
}

/* ---- steering ------------------------------------------------------------------------ */

static void site_metrics(struct publish *p, const struct steer_source *s)
{
	for (size_t i = 0; i < s->n && p->weight; i++) {
		const char *service = s->conf->services[i];

		metric_set(metric_series(p->weight, s->conf->name, service, NULL),
			   s->site[i].weight);
		metric_set(metric_series(p->up, s->conf->name, service, NULL), s->site[i].up);
	}
}

static void log_site_changes(const struct steer_source *s, const bool *was, bool first)
{
	for (size_t i = 0; i < s->n; i++)
		if (!first && was[i] != s->site[i].up)
			log_at(s->site[i].up ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
			       "%s: site of %s is %s: %s", s->conf->name, s->conf->services[i],
			       s->site[i].up ? "answered again" : "withdrawn", s->site[i].why);
}

static void weigh_name(struct publish *p, struct steer_source *s)
{
	bool was[PICK_SITES_MAX], first = s->n && !s->site[0].why;

	for (size_t i = 0; i < s->n; i++) {
		struct pick_site *site = &s->site[i];
		struct addr_port target;

		was[i] = site->up;
		model_site(p->model, s->conf->services[i], p->conf->site, site, NULL, NULL);
		if (s->probe[i])
			probe_target(s->probe[i],
				     !site->own && model_probe_address(
							   p->model, s->conf->services[i], &target)
					     ? &target
					     : NULL);
		site->probe = probe_state(s->probe[i]);
	}
	pick_weigh(s->site, s->n);
	log_site_changes(s, was, first);
	site_metrics(p, s);
}

static struct steering *make_steering(struct publish *p)
{
	struct steering *out = calloc(1, sizeof(*out) + p->nsteers * sizeof(out->name[0]));

	if (!out)
		return NULL;
	out->n = (unsigned int)p->nsteers;
	for (size_t i = 0; i < p->nsteers; i++) {
		weigh_name(p, &p->steers[i]);
		steer_name_fill(&out->name[i], (uint32_t)(p->steers[i].conf->ttl_us / 1000000),
				p->steers[i].site, p->steers[i].n);
	}
	return out;
}

/* ---- views --------------------------------------------------------------------------- */

static void release_view(struct view *view)
{
	struct publish_view *v = (struct publish_view *)view; /* its first member */

	table_unref(v->answers);
	free(v->steering);
	free(v);
}

static int make_view(struct publish *p)
{
	struct publish_view *v;

	if ((p->dirty & (MODEL_RECORDS | ANEW) || !p->answers) && compile_answers(p))
		return -ENOMEM;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->steering = make_steering(p);
	if (!v->steering) {
		free(v);
		return -ENOMEM;
	}
	v->answers = p->answers;
	p->answers->refs++;
	v->view.answers = (struct dns_view){ p->answers->table, v->steering };
	v->view.release = release_view;
	views_swap(p->views, &v->view);
	p->dirty = 0;
	return 0;
}

static void gathered(void *arg)
{
	struct publish *p = arg;

	loop_timer_stop(p->gather);
	p->gather = NULL;
	if (make_view(p))
		log_error("no memory for new answers: the old ones stay");
}

static void changed(struct publish *p, unsigned int what)
{
	if (!what)
		return;
	p->dirty |= what;
	p->forgetful = true;
	if (!p->gather && loop_every(p->loop, &p->gather, GATHER_US, 0, gathered, p))
		gathered(p);
}

static void probe_changed(void *arg)
{
	changed(arg, MODEL_STEERING);
}

/* ---- what the registry says ---------------------------------------------------------- */

struct heard {
	struct heard *next;
	enum reg_event event;
	const char *prefix;
	char *key, *value;
};

struct watched {
	struct publish *publish;
	const char *prefix;
};

static void free_heard(struct heard *h)
{
	free(h->key);
	free(h->value);
	free(h);
}

static struct heard *take_heard(struct publish *p)
{
	struct heard *list;

	pthread_mutex_lock(&p->lock);
	list = p->first;
	p->first = NULL;
	p->last = &p->first;
	pthread_mutex_unlock(&p->lock);
	return list;
}

static void drain_heard(struct publish *p)
{
	struct heard *next;

	for (struct heard *h = take_heard(p); h; h = next) {
		next = h->next;
		free_heard(h);
	}
}

static void apply_heard(void *arg)
{
	struct publish *p = arg;
	unsigned int what = MODEL_NOTHING;
	struct heard *next;

	for (struct heard *h = take_heard(p); h; h = next) {
		next = h->next;
		if (h->event == REG_PUT && h->key)
			what |= model_put(p->model, h->key, h->value ? h->value : "");
		else if (h->event == REG_DELETE && h->key)
			what |= model_delete(p->model, h->key);
		else if (h->event == REG_SYNCED)
			what |= model_synced(p->model, h->prefix);
		free_heard(h);
	}
	changed(p, what);
}

/* On the watch's thread. */
static void on_watch(void *arg, enum reg_event event, const struct reg_kv *kv)
{
	const struct watched *w = arg;
	struct publish *p = w->publish;
	struct heard *h = calloc(1, sizeof(*h));
	bool wake;

	if (!h)
		return;
	h->event = event;
	h->prefix = w->prefix;
	if (kv && event != REG_SYNCED) {
		h->key = strdup(kv->key);
		h->value = kv->value ? strdup(kv->value) : NULL;
	}
	pthread_mutex_lock(&p->lock);
	wake = !p->first;
	*p->last = h;
	p->last = &h->next;
	pthread_mutex_unlock(&p->lock);
	if (wake)
		(void)loop_post(p->loop, apply_heard, p);
}

static int start_watches(struct publish *p)
{
	static struct watched watched[8];
	int rc = 0;

	for (p->nwatches = 0; model_prefixes[p->nwatches] && !rc;) {
		struct watched *w = &watched[p->nwatches];

		*w = (struct watched){ p, model_prefixes[p->nwatches] };
		rc = registry_watch(p->registry, &p->watches[p->nwatches], w->prefix, on_watch, w);
		if (!rc)
			p->nwatches++;
	}
	return rc;
}

/* ---- the state file ------------------------------------------------------------------ */

static void remember(void *arg)
{
	struct publish *p = arg;
	json_t *state;
	int rc;

	if (p->views)
		views_reap(p->views);
	if (!p->forgetful)
		return;
	p->forgetful = false;
	state = json_pack("{s:o, s:o}", "registry", model_remember(p->model), "serials",
			  zones_remember(&p->zones));
	rc = state ? state_write(p->state_path, state) : -ENOMEM;
	if (rc)
		log_limited(LOG_LEVEL_WARN, 1,
			    "%s cannot be written: %s; a restart while the registry is silent "
			    "would not know the capacities",
			    p->state_path, strerror(-rc));
	json_decref(state);
}

static void recall(struct publish *p)
{
	int rc;
	json_t *state = state_read(p->state_path, &rc);

	if (!state && rc != -ENOENT)
		log_warn("%s is left out: %s; it is written anew", p->state_path,
			 rc == -EBADMSG ? "it is not the JSON that was written" : strerror(-rc));
	if (!state)
		return;
	(void)model_restore(p->model, json_object_get(state, "registry"));
	p->serials = json_incref(json_object_get(state, "serials"));
	json_decref(state);
}

/* ---- configuration, life ------------------------------------------------------------- */

static void free_steers(struct steer_source *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < list[i].n; j++)
			probe_free(list[i].probe[j]);
	free(list);
}

/* The steered names of conf, which must lie in `zones`. */
static int load_steers(struct steer_source **out, const struct zones *zones,
		       const struct conf *conf)
{
	struct steer_source *list = calloc(conf->ns.nsteer + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < conf->ns.nsteer; i++) {
		const struct conf_steer *c = &conf->ns.steer[i];
		int len = dns_name_parse(list[i].name, c->name);

		if (len < 0 || !zones_hold(zones, list[i].name, (size_t)len) ||
		    c->nservices > PICK_SITES_MAX) {
			log_error("%s: ns.steer: %s must be a name in one of ns.zones, with at "
				  "most %d services",
				  conf->path, c->name, PICK_SITES_MAX);
			free(list);
			return -EINVAL;
		}
		list[i].conf = c;
		list[i].name_len = (uint8_t)len;
		list[i].n = c->nservices;
	}
	*out = list;
	return 0;
}

/* Both or nothing: what stays refers to the configuration that stays. */
static int load_all(struct publish *p, const struct conf *conf)
{
	struct steer_source *steers = NULL;
	struct zones zones = { 0 };
	int rc = zones_load(&zones, &p->zones, &conf->ns);

	if (!rc)
		rc = load_steers(&steers, &zones, conf);
	if (rc) {
		zones_free(&zones);
		return rc;
	}
	zones_free(&p->zones);
	free_steers(p->steers, p->nsteers);
	p->conf = conf;
	p->zones = zones;
	p->steers = steers;
	p->nsteers = conf->ns.nsteer;
	return 0;
}

static int start_probes(struct publish *p)
{
	int rc = 0;

	for (size_t i = 0; i < p->nsteers && !rc; i++)
		for (size_t j = 0; j < p->steers[i].n && !rc; j++)
			rc = probe_new(&p->steers[i].probe[j], p->loop, probe_changed, p);
	return rc;
}

int publish_new(struct publish **out, const struct conf *conf)
{
	struct publish *p = calloc(1, sizeof(*p));
	char folder[PATH_MAX - 16];
	int rc;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->last = &p->first;
	p->model = model_new();
	p->watches = calloc(8, sizeof(struct reg_watch *));
	rc = p->model && p->watches ? load_all(p, conf) : -ENOMEM;
	if (rc) {
		publish_free(p);
		return rc;
	}
	snprintf(p->state_path, sizeof(p->state_path), "%s/known.json",
		 conf_state_path(conf, "ns", folder, sizeof(folder)));
	recall(p);
	*out = p;
	return 0;
}

int publish_check(const struct conf *conf)
{
	struct publish p = { 0 };
	int rc = load_all(&p, conf);

	zones_free(&p.zones);
	free_steers(p.steers, p.nsteers);
	return rc;
}

int publish_start(struct publish *p, struct loop *loop, struct views *views,
		  struct registry *registry, struct metrics *metrics)
{
	int rc;

	p->loop = loop;
	p->views = views;
	p->registry = registry;
	p->weight = metric_add(metrics, METRIC_GAUGE, "ns_site_weight_ratio",
			       "Share of a steered name's answers that name this service's site.",
			       "name,service");
	p->up = metric_add(metrics, METRIC_GAUGE, "ns_site_up",
			   "1 when the site of this service is answered for the name, else 0.",
			   "name,service");
	if (!p->weight || !p->up)
		return -ENOMEM;
	rc = start_probes(p);
	if (!rc)
		rc = make_view(p);
	if (!rc)
		rc = loop_every(loop, &p->remember, REMEMBER_US, 0, remember, p);
	if (!rc && registry)
		rc = start_watches(p);
	return rc;
}

int publish_reload(struct publish *p, const struct conf *conf)
{
	int rc = load_all(p, conf);

	if (rc)
		return rc;
	/* From here on the new configuration holds, whatever memory there is. */
	p->dirty |= ANEW;
	p->forgetful = true;
	if (start_probes(p) || make_view(p))
		log_error("no memory for new answers: the old ones stay");
	return 0;
}

static json_t *site_status(const struct publish *p, const struct steer_source *s, size_t i)
{
	struct pick_site unused;
	const json_t *addresses = NULL;
	const char *site = NULL;

	model_site(p->model, s->conf->services[i], p->conf->site, &unused, &site, &addresses);
	return json_pack("{s:s, s:s?, s:o, s:f, s:b, s:s}", "service", s->conf->services[i], "site",
			 site, "addresses", addresses ? json_deep_copy(addresses) : json_array(),
			 "weight", s->site[i].weight, "up", s->site[i].up, "why",
			 s->site[i].why ? s->site[i].why : "not known yet");
}

void publish_status(const struct publish *p, json_t *answer)
{
	json_t *zones = json_array(), *steer = json_array();
	const struct dns_table_zone *const *list;
	size_t n = p->answers ? dns_table_zones(p->answers->table, &list) : 0;

	for (size_t i = 0; i < n; i++) {
		char name[DNS_TEXT_MAX];

		json_array_append_new(zones, json_pack("{s:s, s:I, s:I}", "name",
						       dns_name_format(list[i]->name, name),
						       "serial", (json_int_t)list[i]->serial,
						       "records", (json_int_t)list[i]->records));
	}
	for (size_t i = 0; i < p->nsteers; i++) {
		json_t *sites = json_array();

		for (size_t j = 0; j < p->steers[i].n; j++)
			json_array_append_new(sites, site_status(p, &p->steers[i], j));
		json_array_append_new(steer, json_pack("{s:s, s:o}", "name",
						       p->steers[i].conf->name, "sites", sites));
	}
	json_object_set_new(answer, "zones", zones);
	json_object_set_new(answer, "steer", steer);
}

void publish_free(struct publish *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nwatches; i++)
		registry_unwatch(p->watches[i]);
	drain_heard(p);
	p->views = NULL;
	if (p->loop)
		remember(p);
	pthread_mutex_destroy(&p->lock);
	loop_timer_stop(p->gather);
	loop_timer_stop(p->remember);
	free_steers(p->steers, p->nsteers);
	zones_free(&p->zones);
	table_unref(p->answers);
	model_free(p->model);
	json_decref(p->serials);
	free(p->watches);
	free(p);
}
