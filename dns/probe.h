/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h -- the second witness: does a site's virtual address accept TCP connections from here?
 *
 * Runs on the main thread's loop. A probe changes its verdict after `rise` successes or `fall`
 * failures in a row; before the first verdict it is PICK_PROBE_UNKNOWN.
 */
#ifndef WEIR_DNS_PROBE_H
#define WEIR_DNS_PROBE_H

#include "dns/pick.h"
#include "lib/loop.h"

#define PROBE_INTERVAL_US 1000000u /* also the time-out of one attempt */
#define PROBE_RISE	  2
#define PROBE_FALL	  3

/* Pure: the verdict after one more outcome. */
struct probe_verdict {
	enum pick_probe state;
	unsigned int streak;
};
/* True when the verdict changed. */
bool probe_verdict_add(struct probe_verdict *v, bool success);

struct probe;

/* changed(arg) is called when the verdict changes. 0 or -errno. */
int probe_new(struct probe **out, struct loop *loop, loop_fn *changed, void *arg);
void probe_free(struct probe *probe); /* accepts NULL */
/* Another address starts from the beginning; the same one changes nothing; NULL: none. */
void probe_target(struct probe *probe, const struct addr_port *target);
enum pick_probe probe_state(const struct probe *probe);

#endif
