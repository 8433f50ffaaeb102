/* SPDX-License-Identifier: Apache-2.0 */
/* raw.h -- a conn as an end of an exchange: bytes without messages (CONNECT, TLS that is passed through). */
#ifndef WEIR_TUNNEL_RAW_H
#define WEIR_TUNNEL_RAW_H

#include "user/tunnel/conn.h"
#include "user/tunnel/end.h"

/* A front: the client's connection. Its request was composed by the caller; the response's 2xx head
 * is swallowed, any other one ends it. */
int raw_front(struct end **out, struct conn *c, unsigned int idle_ms);
/* A back: dials; tells a head with status 200 when connected, END_REFUSED when it cannot. preface
 * (may be NULL, copied) is sent first. */
int raw_dial(struct end **out, struct reactor *r, const struct conn_dial *dial,
	     unsigned int idle_ms, const void *preface, size_t preface_len);

#endif
