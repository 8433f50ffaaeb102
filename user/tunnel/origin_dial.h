/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin_dial.h -- which edges there are, for the two files that keep it: origin_places.c (names
 * and addresses) and origin_dial.c (how many connections to which).
 */
#ifndef WEIR_TUNNEL_ORIGIN_DIAL_H
#define WEIR_TUNNEL_ORIGIN_DIAL_H

#include "user/tunnel/origin.h"

/* What somebody named: weir.yaml, or an edge over its control stream. */
struct place {
	struct origin_dial *d;
	struct place *next;
	struct names_job job;
	char text[TARGET_HOST_MAX + 8];
	bool named, learned; /* by weir.yaml; by an edge: neither: forgotten when the job is done */
	uint64_t asked_ms;
	bool complained;
};

/* One address of a place. */
struct candidate {
	struct candidate *next;
	struct addr_port to;
	char text[ADDR_PORT_STRLEN];
	char edge[CONF_NAME_MAX]; /* who answered there; "" not known */
	struct place *place;	  /* NULL: its name does not lead here any more */
	unsigned int links;	  /* all that point here */
	unsigned int dialling;
	unsigned int failures; /* in a row */
	uint64_t next_ms, avoid_ms;
	uint64_t served_ms; /* when the last connection that was up ended; 0: none was */
	char error[ORIGIN_WHY_MAX];
};

struct origin_dial {
	struct origin *o;
	struct place *places;
	struct candidate *candidates;
	struct origin_link *links;
	struct reactor_timer retry;
	bool draining, alone; /* alone: it was said that no edge is attached */
};

/* ---- origin_places.c ---- */
void places_configured(struct origin_dial *d); /* as d->o->d->conf says */
void places_sweep(struct origin_dial *d);      /* forgets what nobody names any more */
void places_second(struct origin_dial *d);     /* asks again when it is time */
void place_failed(struct place *p);	       /* asks soon: an address of it did not answer */
void candidates_sweep(struct origin_dial *d);

/* ---- origin_dial.c ---- */
void dial_fill(
	struct origin_dial *d); /* as many connections as are wanted, where they are wanted */
unsigned int dial_load_of(const struct origin_dial *d, const struct candidate *c);

#endif
