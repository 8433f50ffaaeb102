/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h -- fetch-through: data that this endpoint lacks is pulled from a holder and sent on while
 * it arrives.
 *
 * A relay is a thread that pulls into a buffer of 1 MiB; when it is full the holder is not read
 * (TCP's back-pressure). A holder that breaks off is replaced by the next one at the byte where it
 * stopped; the client sees one unbroken stream. Nothing is kept on disk.
 */
#ifndef WEIR_STORE_RELAY_H
#define WEIR_STORE_RELAY_H

#include "http/store/peers.h"
#include "http/store/names.h"
#include "lib/httpc.h"

struct relays;          /* all of a program: what they share, how many there are */
struct relay;

int relays_new(struct relays **out, struct httpc *httpc, struct peers *peers);
/* Waits until all have ended. Accepts NULL. */
void relays_free(struct relays *all);
/* Told when a holder had to be replaced (for metrics): so far. */
unsigned long relays_failovers(struct relays *all);

/* Bytes [first, first+len) of a version from one of `holders`. wake(arg) is called when a read that
 * got HTTP_READ_LATER should be tried again. 0, -EAGAIN (too many), -ENOENT (no holder is known),
 * -errno. */
int relay_start(struct relay **out, struct relays *all, const struct version *v,
		const char (*holders)[CONF_NAME_MAX], unsigned int nholders, uint64_t first,
		uint64_t len, void (*wake)(void *arg), void *arg);
/* Blocks until the first bytes are there or it is known that there will be none: 0 and the node
 * that sends, or -errno. */
int relay_wait(struct relay *r, char from[CONF_NAME_MAX]);
/* As http_read_fn: in order, never blocks. */
ssize_t relay_read(struct relay *r, char *buf, size_t max);
/* Ends and frees it; no more wakes after it returned. Accepts NULL. */
void relay_stop(struct relay *r);

#endif
