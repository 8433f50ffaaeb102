/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.h -- is a backend there, how fast does it answer, and what load does it report: TCP and
 * HTTP/1.1 checks on the main loop.
 *
 * A probe goes to one backend, never through the ring, over a socket that the caller makes: to the
 * backend's own address, or to the service's over a socket whose packets the kernel encapsulates. One connection a probe, closed after the answer's headers;
 * whatever a backend sends, at most 8 KiB of it are read. Nothing here logs: each result goes to the
 * caller.
 */
#ifndef WEIR_HEALTH_H
#define WEIR_HEALTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "lib/conf.h"
#include "lib/orca.h"

#define HEALTH_ANSWER_MAX 8192

/* ---- pure parts --------------------------------------------------------------------------------- */

/* Up or down by results in a row. Unknown until the first success or `fall` failures. */
struct health_verdict {
	bool known, up;
	unsigned int streak;            /* results in a row that contradict `up` */
};
/* Takes one result; true when known or up changed. */
bool health_judge(struct health_verdict *v, bool ok, unsigned int rise, unsigned int fall);

struct health_answer {
	unsigned int status;            /* of HTTP */
	bool reported;
	struct orca_report report;
};
/* The head of an HTTP/1.x answer. 1: complete, 0: more is needed, -EINVAL: not HTTP, or no end of
 * the headers within HEALTH_ANSWER_MAX. A report that is malformed counts as none. */
int health_parse(struct health_answer *answer, const char *data, size_t len);

/* ---- checks ------------------------------------------------------------------------------------- */

struct health_spec {
	enum conf_check type;           /* TCP or HTTP */
	struct addr_port target;
	char path[256];
	uint64_t interval_us, timeout_us;
	unsigned int rise, fall;
};

struct health_result {
	bool ok, changed;               /* changed: the verdict is new */
	double took_ms;
	struct health_answer answer;    /* HTTP only */
	char why[96];                   /* "" when ok, else what went wrong */
};

/* A non-blocking stream socket that will be connected to *target: the spec's, or what the function puts there
 * instead. Or -errno. */
typedef int health_socket_fn(void *arg, struct addr_port *target);
typedef void health_fn(void *arg, const struct health_result *result);

struct health;
/* The first probe starts at a random moment of the first interval. fn must not call health_stop(). */
int health_start(struct health **out, sd_event *event, const struct health_spec *spec,
		 health_socket_fn *open_socket, void *socket_arg, health_fn *fn, void *arg);
void health_stop(struct health *health);        /* accepts NULL */
const struct health_verdict *health_verdict(const struct health *health);

#endif
