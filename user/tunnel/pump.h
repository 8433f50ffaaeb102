/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pump.h -- one direction of an exchange: what the sink does not take at once is kept here, in
 * order, and the source hears of what was taken; with `replay` what was taken stays too, so that it
 * can be given to another sink from the beginning.
 */
#ifndef WEIR_TUNNEL_PUMP_H
#define WEIR_TUNNEL_PUMP_H

#include "user/tunnel/end.h"

struct pump_chunk;

struct pump {
	struct pump_chunk *first, *last;
	struct pump_chunk *next; /* the first with something to be taken; NULL: none */
	size_t kept;		 /* bytes in the chunks */
	size_t waiting;		 /* of them not taken */
	uint64_t sent;		 /* taken by this sink … */
	uint64_t told;		 /* … and by any, which the source knows of */
	size_t replay;		 /* so much is kept for another sink; 0: nothing */
	struct head *trailers;
	bool ended;  /* the source's end came (with the trailers, if any) */
	bool passed; /* and the sink has it */
};

/* From the source; sink NULL: there is none yet. 0 or -ENOMEM. `replay` turns 0 when it grows over.
 */
int pump_data(struct pump *p, struct end *source, struct end *sink, const void *data, size_t len,
	      bool last);
int pump_trailers(struct pump *p, struct end *source, struct end *sink, const struct head *h);
/* Gives the sink what waits, as much as it takes. 0 or -errno. */
int pump_move(struct pump *p, struct end *source, struct end *sink);
void pump_rewind(struct pump *p);    /* for another sink: from the beginning */
void pump_no_replay(struct pump *p); /* forgets what was taken */
void pump_clear(struct pump *p);

#endif
