/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.h -- one message in, one answer out, in place.
 *
 * Pure: the daemon's workers, the unit tests and the fuzzer call the same function. Nothing is
 * allocated. A struct dns_view is what a worker holds while it answers a batch.
 */
#ifndef WEIR_DNS_QUERY_H
#define WEIR_DNS_QUERY_H

#include "dns/compile.h"
#include "dns/pick.h"

struct dns_view {
	const struct dns_table *table;
	const struct steering *steering; /* may be NULL */
};

enum dns_transport { DNS_UDP, DNS_TCP, DNS_TRANSPORTS };

/* What was answered, for the counters. */
struct dns_answered {
	uint16_t qtype;
	uint8_t rcode;
	bool truncated;
};

/*
 * Answers the message of len bytes at msg in place. room is the buffer's size, at least
 * DNS_UDP_EDNS for UDP, DNS_TCP_MAX for TCP. sequence is the caller's own for steered names.
 * Returns the answer's length, or 0 when nothing is to be said. Never larger than the client
 * announced, 1,232 bytes or 512 without EDNS over UDP: then TC is set and the sections are empty.
 */
size_t dns_answer(const struct dns_view *view, uint8_t *msg, size_t len, size_t room,
		  enum dns_transport transport, uint32_t *sequence, struct dns_answered *what);

#endif
