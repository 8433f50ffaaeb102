/* SPDX-License-Identifier: Apache-2.0 */
/* filter_int.h -- what filter.c (the state), filter_load.c (its thread), filter_ctl.c (what people see) share. */
#ifndef WEIR_FILTER_INT_H
#define WEIR_FILTER_INT_H

#include <pthread.h>

#include "user/agent/agent.h"
#include "user/agent/filter.h"
#include "user/agent/filterlist.h"
#include "user/agent/filterset.h"

#define FILTER_FAULTS	 20	/* that are told of one reading */
#define FILTER_SOURCES	 250	/* files and networks of the configuration; a byte counts them */
#define FILTER_HAND	 255	/* the source of what was made by hand */
#define FILTER_HAND_MAX	 65536

struct filter_source {
	char *name;             /* the path, or NULL: networks of the configuration itself */
	enum weir_verdict verdict;
	size_t entries;
	unsigned int wrong;
};

/* What the configuration's lists said when they were read; not changed afterwards. */
struct filter_base {
	struct filter_source source[FILTER_SOURCES];
	size_t nsources;
	struct filterlist list;
	char *fault[FILTER_FAULTS];
	size_t nfaults, wrong;  /* those told, and all */
	size_t unread;          /* files that could not be read at all */
};

struct filter_hand {
	struct filterlist_entry e;
	uint64_t until_s;       /* wall clock; 0: for ever */
};

/* The names of lists, apart from the configuration, which a reload frees. */
struct filter_names {
	char *name[FILTER_SOURCES];
	enum weir_verdict verdict[FILTER_SOURCES];
	size_t n;
};

/* One run of the thread. */
struct filter_job {
	struct filter *filter;
	uint64_t generation;
	bool reread;
	struct filter_names names;      /* when reread */
	const struct filter_base *base; /* in force; NULL: none yet */
	struct filterlist hand;
	struct filter_base *fresh;      /* read; NULL: not, or without memory */
	bool refused;                   /* fresh has faults, base was used */
	struct filterlist result;
	int rc;
};

struct filter {
	struct agent *agent;
	struct filter_base *base;
	char *fault[FILTER_FAULTS];     /* of the last reading, also a refused one */
	size_t nfaults, wrong;
	bool refused;
	bool inherited;                 /* there were lists in force when the agent started */
	bool held;                      /* and they stay: a file cannot be read */
	unsigned int held_ticks;
	char error[600];                /* of the last change; empty: it is in force */
	struct filter_hand *hand;
	size_t nhand;
	struct filterlist applied;      /* as the packet path has it */
	bool known;                     /* applied is what is there; not before the first commit */
	uint64_t wanted, done;          /* generations */
	bool reread;                    /* by the next job */
	pthread_t thread;
	struct filter_job *job;         /* runs, or its result is being put */
	struct loop_timer *timer;       /* puts */
	size_t put;
	struct metric *entries, *dropped, *made, *tracked, *evicted, *strangers;
};

/* filter_load.c */
int filter_names_take(struct filter_names *names, const struct conf_agent *conf);
void filter_names_free(struct filter_names *names);
struct filter_base *filter_base_read(const struct filter_names *names);
void filter_base_free(struct filter_base *base);        /* accepts NULL */
void filter_job_run(struct filter_job *job);
void filter_job_free(struct filter_job *job);           /* accepts NULL; with what was not taken out of it */
int filter_hand_read(struct filter *f);
int filter_hand_write(const struct filter *f);

/* filter.c: something changed; returns the generation that will have it. */
uint64_t filter_want(struct filter *f, bool reread);
/* What the configuration says, as numbers; false: no limits. */
bool filter_limits_of(const struct conf_agent *conf, struct weir_limits *out);

#endif
