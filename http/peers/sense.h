/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sense.h -- is delivery about to stall? A pure state machine with hysteresis, fed with what is known once a tick.
 *
 * calm: the server serves, peers help. strained: the server cannot serve all in time, or will not within the horizon:
 * the first group alone takes from it. outage: nothing comes from it. Upwards at once when enough independent witnesses
 * agree (a witness is a viewer; those of one prefix count as one, so that forged reports from one place say little),
 * downwards only after `settle_ms` without a sign.
 */
#ifndef WEIR_SENSE_H
#define WEIR_SENSE_H

#include <stdbool.h>
#include <stdint.h>

enum sense_state { SENSE_CALM, SENSE_STRAINED, SENSE_OUTAGE };
extern const char *const sense_names[3];
enum sense_mode { SENSE_AUTO, SENSE_ON, SENSE_OFF }; /* the operator's switch; ON: at least strained; OFF: peers do nothing */

struct sense_input { /* of one asset, over the last tick */
	int64_t now_ms;
	uint32_t viewers, prefixes; /* that watch */
	uint32_t asking;	    /* prefixes of which one reports who is to ask the server, so that it can tell; 0: all */
	/* prefixes of which a viewer reported in the last 5 s: a server request failed; of one who asks the server: a segment
	 * took longer than 0.8 of its duration; its buffer is below one segment */
	uint32_t failing, slow, starving;
	uint32_t endpoints_alive, endpoints_known; /* known 0: not known */
	/* bytes/s that all viewers would take from the server were the state calm (else it would seem over as soon as we help) */
	double demand;
	double egress;	 /* bytes/s measured from the server over the last second or so, not longer: below 1% of demand is nothing */
	double capacity; /* bytes/s that the server can give; 0: not known */
	double demand_slope; /* bytes/s per s, smoothed: demand + slope × horizon against capacity is what is predicted */
};
struct sense_options { /* 0: the default */
	uint32_t quorum;     /* independent witnesses for a change upwards, when so many prefixes watch; 2 */
	float share;	     /* … and of the prefixes that ask the server; 0.1 */
	float high, low;     /* demand over capacity that is strained / that lets go; 0.9, 0.7 */
	uint32_t horizon_ms; /* of the prediction; 10,000 */
	uint32_t settle_ms;  /* without a sign before one step down; 10,000 */
};
struct sense {
	enum sense_state state;
	enum sense_mode mode;
	int64_t since_ms;
	int64_t calm_since_ms; /* since when there is no sign of this state; -1: there is one */
	int64_t calmed_ms;     /* when it last became calm; 0: never was anything else */
	uint8_t relapses;      /* strained again soon after: the next step to calm takes settle_ms << relapses */
	char why[128]; /* the last change, in words */
};
void sense_init(struct sense *s);
/* Returns true when the state changed. */
bool sense_tick(struct sense *s, const struct sense_options *opt, const struct sense_input *in);

#endif
