/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle.h -- a thread that does what the buckets' lifecycle rules say: expires objects, old
 * versions and lone delete markers, aborts uploads that were not completed.
 *
 * Only for the buckets of which this node is the primary, each within LIFECYCLE_TICK_S after its
 * rules changed and then every LIFECYCLE_ROUND_S. What was decided from an entry is done only while
 * the entry is the same: a write that came in between is not lost. Which rules apply when is pure:
 * http/s3/lifecycle.h.
 */
#ifndef WEIR_STORE_LIFECYCLE_H
#define WEIR_STORE_LIFECYCLE_H

#include "http/store/names.h"

#define LIFECYCLE_TICK_S  5
#define LIFECYCLE_ROUND_S 3600

struct endpoint;
struct lifecycle;

/* After ep->names and ep->users were opened. */
int lifecycle_new(struct lifecycle **out, struct endpoint *ep);
struct lifecycle_task {
	const char *bucket;
	enum names_mode mode; /* how its versions are kept */
	const char *rules;    /* the record's text */
	int64_t now;	      /* as if it were (unix seconds) */
	/* Are mode and rules still what the record says? Asked before anything is deleted. NULL: yes. */
	bool (*holds)(void *arg);
	void *arg;
};
/* One walk over a bucket. 0, or why it ended early; -ESTALE: by then the record said something else.
 * l may be NULL: without rests. */
int lifecycle_walk(struct lifecycle *l, struct names *names, const struct lifecycle_task *task);
void lifecycle_free(struct lifecycle *l); /* after names_stop(); accepts NULL */

#endif
