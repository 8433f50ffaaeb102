/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.c -- what is wanted, and how it gets into the packet path (see filter.h).
 *
 * A change starts a job on a thread; its result is compared with what is in force. Few differences are
 * put in place, what is new before what goes; many make a new list, put in parts by a timer.
 */
#include "user/agent/filter.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/agent/filter_int.h"

#define IN_PLACE    2000	/* differences; at most DATAPLANE_FILTER_ENTRIES */
#define PUT_US	    1000	/* between two parts of a new list */
#define NANOSECONDS 1000000000ull
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(text) #text
#define HELD_S	    5		/* until a file is tried again that could not be read at the start */
#define CLOCK_STEPS 50		/* a second: the program's clock goes in steps of 10 ms and less */

static void job_start(struct filter *f);

/* What went wrong with the last change: for the log, and for `weir filter` until another comes into force. */
__attribute__((format(printf, 2, 3))) static void fail(struct filter *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(f->error, sizeof(f->error), fmt, args);
	va_end(args);
	log_error("filter: %s", f->error);
}

/* ---- limits ---------------------------------------------------------------------------------------- */

/* A bucket that is smaller than what comes in a step of the clock could never let the rate through. */
static struct weir_limit limit_of(const struct conf_rate *rate)
{
	struct weir_limit limit = { 0 };
	uint32_t least = rate->rate / CLOCK_STEPS + 1, burst = rate->burst > least ? rate->burst : least;

	if (!rate->rate)
		return limit;
	limit.cost_ns = NANOSECONDS / rate->rate;
	limit.burst_ns = (burst - 1) * limit.cost_ns;
	return limit;
}

bool filter_limits_of(const struct conf_agent *conf, struct weir_limits *out)
{
	*out = (struct weir_limits){
		.of = { [WEIR_CLASS_SYN] = limit_of(&conf->filter.syn),
			[WEIR_CLASS_UDP] = limit_of(&conf->filter.udp),
			[WEIR_CLASS_DNS] = limit_of(&conf->filter.dns) },
		.fresh = limit_of(&conf->filter.fresh),
		.bits4 = (uint8_t)conf->filter.prefix4,
		.bits6 = (uint8_t)conf->filter.prefix6,
	};
	return conf->filter.syn.rate || conf->filter.udp.rate || conf->filter.dns.rate;
}

static int limits_apply(struct filter *f)
{
	struct dataplane *dp = f->agent->dp;
	struct weir_limits limits;
	bool any = filter_limits_of(&f->agent->d->conf->agent, &limits);
	int rc = dataplane_filter(dp, DATAPLANE_FILTER_LIMITS, &limits, any ? sizeof(limits) : 0, NULL, NULL);

	if (rc < 0)
		log_error("agent.filter.limits cannot be set: %s", dataplane_error(dp));
	return rc;
}

/* ---- into the packet path ----------------------------------------------------------------------------- */

static void entry_of(struct filterset_entry *out, const struct filterlist_entry *e)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->addr, e->addr, sizeof(out->addr));
	out->family = e->family;
	out->len = e->len;
	out->verdict = e->verdict;
}

static void job_drop(struct filter *f)
{
	struct filter_job *job = f->job;

	f->job = NULL;
	f->done = job->generation;
	filter_job_free(job);
	if (f->wanted > f->done)
		job_start(f);
}

static void job_end(struct filter *f, int rc)
{
	struct filter_job *job = f->job;

	loop_timer_stop(f->timer);
	f->timer = NULL;
	if (rc < 0) {
		f->known = false; /* perhaps a part of it was taken: the next change brings all */
		fail(f, "the lists cannot be put into the packet path (%s); the old ones are in force",
		     dataplane_error(f->agent->dp));
	} else {
		if (job->result.n || f->applied.n)
			log_info("filter: %zu networks in force", job->result.n);
		filterlist_free(&f->applied);
		f->applied = job->result;
		job->result = (struct filterlist){ 0 };
		f->known = true;
		*f->error = '\0';
	}
	job_drop(f);
}

static void on_put(void *arg)
{
	struct filter *f = arg;
	static struct filterset_entry part[DATAPLANE_FILTER_ENTRIES];
	const struct filterlist *list = &f->job->result;
	size_t n = 0;
	int rc;

	for (; n < DATAPLANE_FILTER_ENTRIES && f->put < list->n; n++)
		entry_of(&part[n], &list->entry[f->put++]);
	if (n) {
		rc = dataplane_filter(f->agent->dp, DATAPLANE_FILTER_PUT, part, n * sizeof(*part), NULL, NULL);
		if (rc < 0)
			job_end(f, rc);
		return;
	}
	job_end(f, dataplane_filter(f->agent->dp, DATAPLANE_FILTER_COMMIT, NULL, 0, NULL, NULL));
}

struct changes {
	struct filterset_entry e[IN_PLACE];
	size_t n;
};

static void on_changed(void *arg, const struct filterlist_entry *e, const struct filterlist_entry *had)
{
	struct changes *c = arg;

	entry_of(&c->e[c->n], e);
	c->e[c->n++].replaces = had != NULL;
}

static void on_gone(void *arg, const struct filterlist_entry *e, const struct filterlist_entry *had)
{
	struct changes *c = arg;

	(void)had;
	entry_of(&c->e[c->n], e);
	c->e[c->n++].verdict = WEIR_VERDICT_NONE;
}

static void put(struct filter *f)
{
	const struct filterlist *to = &f->job->result;
	static struct changes c;
	int rc;

	if (f->known && filterlist_diff(&f->applied, to, NULL, NULL, NULL) <= IN_PLACE) {
		c.n = 0;
		filterlist_diff(&f->applied, to, on_changed, NULL, &c);
		filterlist_diff(&f->applied, to, NULL, on_gone, &c);
		rc = c.n ? dataplane_filter(f->agent->dp, DATAPLANE_FILTER_CHANGE, c.e, c.n * sizeof(*c.e), NULL,
					    NULL)
			 : 0;
		job_end(f, rc);
		return;
	}
	f->put = 0;
	rc = dataplane_filter(f->agent->dp, DATAPLANE_FILTER_BEGIN, NULL, 0, NULL, NULL);
	if (rc >= 0)
		rc = loop_every(f->agent->d->loop, &f->timer, PUT_US, 0, on_put, f);
	if (rc < 0)
		job_end(f, rc);
}

/* ---- jobs ----------------------------------------------------------------------------------------------- */

/* The faults that people are shown: those of the last reading. */
static void faults_take(struct filter *f, struct filter_base *from, bool quiet)
{
	for (size_t i = 0; i < f->nfaults; i++)
		free(f->fault[i]);
	memcpy(f->fault, from->fault, sizeof(f->fault));
	f->nfaults = from->nfaults;
	f->wrong = from->wrong;
	from->nfaults = 0;
	if (quiet)
		return;
	for (size_t i = 0; i < f->nfaults; i++)
		log_error("%s", f->fault[i]);
	if (f->wrong > f->nfaults)
		log_error("filter: and %zu more faults", f->wrong - f->nfaults);
}

/* A start must not open what the lists of before close, only because a file cannot be read. */
static bool hold(struct filter *f, struct filter_job *job)
{
	bool again = f->held;

	f->held = f->inherited && !f->base && job->fresh->unread;
	if (!f->held)
		return false;
	faults_take(f, job->fresh, again);
	if (!again)
		fail(f, "a list cannot be read; those from before the start are in force until it can be, or is taken "
			"out of the configuration");
	return true;
}

static void on_job(void *arg)
{
	struct filter *f = arg;
	struct filter_job *job = f->job;

	pthread_join(f->thread, NULL);
	if (job->rc) {
		fail(f, "the lists cannot be read (%s); the old ones are in force", strerror(-job->rc));
		job_drop(f);
		return;
	}
	if (job->fresh && hold(f, job)) {
		job_drop(f);
		return;
	}
	if (job->fresh) {
		faults_take(f, job->fresh, false);
		f->refused = job->refused;
		if (job->refused) {
			log_error("filter: lists with faults are not taken by a reload; the old ones are in force");
		} else {
			filter_base_free(f->base);
			f->base = job->fresh;
			job->fresh = NULL;
		}
	}
	put(f);
}

static void *thread_main(void *arg)
{
	struct filter_job *job = arg;

	filter_job_run(job);
	loop_post(job->filter->agent->d->loop, on_job, job->filter);
	return NULL;
}

static const char *names_why(int rc)
{
	return rc == -E2BIG ? "agent.filter: more than " TEXT(FILTER_SOURCES)
			      " networks and files; put networks into a file"
			    : strerror(-rc);
}

static int job_fill(struct filter *f, struct filter_job *job)
{
	int rc = 0;

	job->filter = f;
	job->generation = f->wanted;
	job->base = f->base;
	job->reread = f->reread || !f->base;
	if (job->reread)
		rc = filter_names_take(&job->names, &f->agent->d->conf->agent);
	for (size_t i = 0; !rc && i < f->nhand; i++)
		rc = filterlist_add(&job->hand, &f->hand[i].e);
	return rc;
}

static void job_start(struct filter *f)
{
	struct filter_job *job = calloc(1, sizeof(*job));
	int rc = job ? job_fill(f, job) : -ENOMEM;

	f->reread = false;
	f->job = job;
	if (!rc)
		rc = -pthread_create(&f->thread, NULL, thread_main, job);
	if (!rc)
		return;
	fail(f, "the lists cannot be read (%s); the old ones are in force", names_why(rc));
	f->done = f->wanted;
	f->job = NULL;
	filter_job_free(job);
}

uint64_t filter_want(struct filter *f, bool reread)
{
	f->wanted++;
	f->reread |= reread;
	if (!f->job)
		job_start(f);
	return f->wanted;
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

int filter_start(struct filter **out, struct agent *agent)
{
	struct filter *f = calloc(1, sizeof(*f));
	struct filterset_state state = { 0 };
	size_t len = sizeof(state);
	int rc;

	if (!f)
		return -ENOMEM;
	f->agent = agent;
	f->inherited = dataplane_filter(agent->dp, DATAPLANE_FILTER_STATE, NULL, 0, &state, &len) >= 0 && state.list_on;
	rc = filter_hand_read(f);
	if (rc > 0)
		log_error("filter: %d lines of STATE/agent/filter are not understood and left out", rc);
	else if (rc < 0)
		log_error("filter: what was made by hand cannot be read: %s", strerror(-rc));
	*out = f;
	rc = limits_apply(f);
	if (rc < 0)
		return rc;
	filter_want(f, true);
	return 0;
}

void filter_changed(struct filter *f)
{
	limits_apply(f);
	filter_want(f, true);
}

void filter_tick(struct filter *f)
{
	uint64_t now = (uint64_t)time(NULL);
	size_t left = 0;

	if (f->held && !f->job && ++f->held_ticks % HELD_S == 0)
		filter_want(f, true);
	for (size_t i = 0; i < f->nhand; i++)
		if (!f->hand[i].until_s || f->hand[i].until_s > now)
			f->hand[left++] = f->hand[i];
	if (left == f->nhand)
		return;
	f->nhand = left;
	filter_want(f, false);
	filter_hand_write(f);
}

void filter_stop(struct filter *f)
{
	if (!f)
		return;
	if (f->job && !f->timer)
		pthread_join(f->thread, NULL);
	loop_timer_stop(f->timer);
	filter_job_free(f->job);
	filter_base_free(f->base);
	for (size_t i = 0; i < f->nfaults; i++)
		free(f->fault[i]);
	filterlist_free(&f->applied);
	free(f->hand);
	free(f);
}

int filter_check(const struct conf *conf)
{
	struct filter_names names = { 0 };
	struct filter_base *base = NULL;
	int rc = filter_names_take(&names, &conf->agent);

	if (!rc)
		base = filter_base_read(&names);
	filter_names_free(&names);
	if (!base) {
		fprintf(stderr, "%s\n", names_why(rc ? rc : -ENOMEM));
		return -EINVAL;
	}
	for (size_t i = 0; i < base->nfaults; i++)
		fprintf(stderr, "%s\n", base->fault[i]);
	rc = base->wrong ? -EINVAL : 0;
	filter_base_free(base);
	return rc;
}
