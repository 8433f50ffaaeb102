/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin_back.h -- the inside of a target, for the files that make it up: origin_targets.c (sets of
 * targets), origin_probe.c (names, and why one does not answer), origin_back.c (its use).
 */
#ifndef WEIR_TUNNEL_ORIGIN_BACK_H
#define WEIR_TUNNEL_ORIGIN_BACK_H

#include "user/tunnel/h1.h"
#include "user/tunnel/origin.h"

#define TARGET_NAMES_MS	     30000 /* a target's name is asked for again */
#define TARGET_NAMES_SOON_MS 2000  /* while it is not known, or its server does not answer */

struct target_place { /* one address of a target */
	struct addr_port to;
	struct h1_pool *pool; /* made at the first use, as the next */
	struct h2_target *h2;
};

struct target {
	struct origin *o;
	unsigned int refs;
	struct conf_target conf; /* a copy */
	struct target_spec spec;
	SSL_CTX *tls;
	struct names_job job;
	bool literal; /* no name to ask for */
	uint64_t asked_ms;
	struct target_place places[NAMES_MAX];
	size_t n, good; /* good: where a connection stood last */
	bool proven;
	struct target_use *waiting, *used, *opening;
	struct conn *probe; /* finds out why it fails */
	size_t probing;
	uint64_t probed_ms;
	char problem[ORIGIN_WHY_MAX]; /* "" none is known */
	uint64_t requests, failures;
};

struct targets {
	size_t n;
	struct conf_target *conf; /* the same as each one's, side by side for target_match() */
	struct target *list[];
};

void target_unref(struct target *t);
void target_place_free(struct target *t, struct target_place *p);
struct conn_dial target_dial(const struct target *t, size_t place);
/* Logged when it is new. */
void target_set_problem(struct target *t, int err, const char *text);
void target_clear_problem(struct target *t);
void target_probe(struct target *t, bool now); /* now: not only once in a while */
void target_ask(struct target *t);	       /* for its name */
/* For names_job.done. */
void target_names_done(struct names_job *job);

#endif
