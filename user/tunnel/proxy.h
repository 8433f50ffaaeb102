/* SPDX-License-Identifier: Apache-2.0 */
/* proxy.h -- the PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt, section 2). Pure. */
#ifndef WEIR_TUNNEL_PROXY_H
#define WEIR_TUNNEL_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/addr.h"

#define PROXY_HEADER_MAX 536 /* version 2 with TLVs that we accept; version 1 has at most 107 */

struct proxy {
	bool local; /* LOCAL or UNKNOWN: the addresses are the connection's own */
	struct addr_port client, server;
};

/* The beginning of a connection: the header's length, 0 when more is needed, or -EINVAL. */
long proxy_parse(struct proxy *out, const uint8_t *data, size_t len);
/* version 1 or 2. Addresses of different families are written as UNKNOWN, LOCAL. Returns the length. */
size_t proxy_format(const struct proxy *p, int version, uint8_t out[PROXY_HEADER_MAX]);

#endif
