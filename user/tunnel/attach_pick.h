/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_pick.h -- to which of a tunnel's connections a request goes.
 *
 * First the origin process with the least (open + 1) / weight, then its connection with the fewest
 * open, ties by round-trip time; but requests of the same moment go together (up to PICK_TOGETHER),
 * so that they share a TLS record and a system call, and so do their answers. Weights are learned:
 * by Little's law an origin that had L requests in flight and answered X a second took L / X for
 * one; its capacity is taken as successes per second of service, times the fraction that succeeded,
 * over the mean of the tunnel's origins. So a slow or a failing origin gets less, but at least one
 * request in PICK_LOOK: that is how it is found out that it is well again. Pure: no socket, no
 * clock.
 */
#ifndef WEIR_TUNNEL_ATTACH_PICK_H
#define WEIR_TUNNEL_ATTACH_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PICK_WEIGHT_MIN (1.0 / 256)
#define PICK_WEIGHT_MAX 8.0
#define PICK_LOOK	64
#define PICK_TOGETHER	16   /* more open than on the others, at most */
#define PICK_SAMPLES	20.0 /* fewer tell nothing: weight 1, what the mean has */
#define PICK_HALF_S	10.0 /* half of what a sample tells is forgotten after so long */

/* One origin process, over all of its connections. Zeroed but for weight, which starts as 1. */
struct pick_origin {
	double weight;
	unsigned int open;
	double good, all, busy_s; /* answers, and seconds that they took; older ones count less */
	double recent;		  /* picks of the last seconds */
	uint64_t mark;		  /* pick()'s own */
};

struct pick_conn {
	struct pick_origin *origin;
	unsigned int open;
	uint32_t rtt_us; /* 0: not known */
	bool usable;	 /* set by the caller before each pick */
	uint64_t turn;	 /* pick()'s own */
};

/* Index of the chosen one, or -1 when none is usable. avoid: not this one when there is another;
 * may be NULL. turn: the moment, any number but 0. Counts the pick as recent, not as open. */
long pick(struct pick_conn *const *conns, size_t n, const struct pick_conn *avoid, uint64_t turn);

/* A new one among others: it is no better than they only because nothing went to it yet. */
void pick_join(struct pick_origin *o, struct pick_origin *const *others, size_t n);

/* An answer came (good: not the origin's fault) or did not, `busy_s` after the whole request was
 * sent. A client that gave up tells only that it waited: pick_waited(). */
void pick_answered(struct pick_origin *o, double busy_s, bool good);
void pick_waited(struct pick_origin *o, double busy_s);

/* Each second or so: forgets, and moves the weights towards what was learned. */
void pick_learn(struct pick_origin *const *origins, size_t n, double dt_s);

/* The round-trip time as other programs are told it: the one told before as long as the new one is
 * not clearly another (a third and 200 µs), so that the registry is not written each second. */
uint32_t pick_rtt_step(uint32_t told_us, uint32_t now_us);

#endif
