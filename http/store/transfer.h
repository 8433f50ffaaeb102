/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transfer.h -- what one endpoint asks another over its inside listener:
 *
 *	PUT    /i/chunk/VERSION/NUMBER   a chunk for a version under way; X-Weir-Sha256 is its hash,
 *	                                 X-Weir-From the sender; the last carries X-Weir-Manifest
 *	                                 (JSON) and is answered 201 when the whole version is on
 *	                                 stable storage
 *	DELETE /i/version/VERSION        forget it, finished or not
 *	DELETE /i/from/NODE              forget what NODE was sending: it has started anew
 *	GET    /i/manifest/VERSION       the manifest, as JSON
 *	GET    /i/data/VERSION           the data, or a range of it
 *
 * Peers answer from their own disk alone, they never ask on: no request can run in a circle.
 * Blocking; 0 or -errno, and transfer_error() is a sentence about this thread's last failure.
 */
#ifndef WEIR_STORE_TRANSFER_H
#define WEIR_STORE_TRANSFER_H

#include "http/store/peers.h"
#include "http/store/staged.h"
#include "lib/httpc.h"

/* Sends chunk `number` of s; last: the manifest's JSON, then the peer commits (an empty object has
 * only this). -ENOSPC: its disk is full. */
int transfer_chunk(struct httpc *c, const struct peer *to, const char *self,
		   const struct version *v, const struct staged *s, uint64_t number,
		   const char *last);
int transfer_restarted(struct httpc *c, const struct peer *to, const char *self);
int transfer_forget(struct httpc *c, const struct peer *to, const struct version *v);
int transfer_manifest(struct httpc *c, const struct peer *from, const struct version *v,
		      struct manifest *out);
/* Data [first, first+len) in pieces; on_data returns non-zero to stop, which is then returned. *got
 * counts what on_data has taken; less than len without an error is -EPROTO. */
int transfer_data(struct httpc *c, const struct peer *from, const struct version *v, uint64_t first,
		  uint64_t len, int (*on_data)(void *arg, const void *data, size_t n), void *arg,
		  uint64_t *got);
const char *transfer_error(void);

#endif
