/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbound.h -- versions that another endpoint is sending here: staged between its requests.
 *
 * Thread-safe: a version is lent to one request at a time. What is not finished is dropped when its
 * sender says so or has started anew, after a long silence (scrub.c: an hour), or at the next start.
 */
#ifndef WEIR_STORE_INBOUND_H
#define WEIR_STORE_INBOUND_H

#include "http/store/staged.h"

struct inbound;

int inbound_new(struct inbound **out, struct chunks *chunks);
void inbound_free(struct inbound *in);          /* accepts NULL */

/* Lends the staged version to a request of endpoint `from`; chunk 0 makes it when it is new. 0,
 * -EBUSY: lent to another request; -ESTALE: unknown, and number is not 0; -EAGAIN: too many at once;
 * or another -errno. */
int inbound_take(struct inbound *in, const struct version *v, const char *from, uint64_t number,
		 struct staged **out);
/* Gives it back; keep false: it is done (or spoilt) and freed. True: it was to be dropped
 * meanwhile, which is the giver's to do for what it made of it. */
bool inbound_give(struct inbound *in, const struct version *v, bool keep);
/* Drops it (of a group: all of them), at once or when it is given back. */
void inbound_forget(struct inbound *in, const struct version *v);
/* That endpoint has started anew: what it was sending will never be finished. What is lent stays. */
void inbound_forget_from(struct inbound *in, const char *from);
/* Drops what was silent for so long. */
void inbound_expire(struct inbound *in, unsigned int seconds);

#endif
