/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob.h -- writing the part of an answer that follows the question, with name compression.
 *
 * One writer is used again and again by the compiler; its memory is bounded. A record that does not
 * fit marks the writer as overflown, and the answer becomes SERVFAIL. Internal to compile.c.
 */
#ifndef WEIR_DNS_BLOB_H
#define WEIR_DNS_BLOB_H

#include "dns/compile.h"

#define BLOB_MAX       (DNS_TCP_MAX - DNS_HEADER_LEN - DNS_NAME_MAX - 4 - DNS_OPT_LEN)
#define BLOB_NAMES_MAX 512 /* suffixes that later names may point to */

/* How the question's name relates to the one that the blob is compiled for. */
enum blob_base {
	BLOB_EXACT,    /* it is that name */
	BLOB_BELOW,    /* it ends in that name: every pointer into it moves */
	BLOB_WILDCARD, /* it ends in that name's parent; its own whole name is the owner */
};

#define BLOB_OWNER_QUESTION DNS_HEADER_LEN

struct blob_writer {
	enum blob_base base;
	uint8_t base_len;
	bool overflow;
	unsigned int nnames;
	size_t len, nshift;
	struct {
		uint16_t at;
		uint8_t len;
		const uint8_t *name;
	} names[BLOB_NAMES_MAX];
	uint16_t shift[BLOB_MAX / 2];
	uint8_t body[BLOB_MAX];
};

/* name must stay valid until the blob is taken. */
void blob_start(struct blob_writer *w, enum blob_base base, const uint8_t *name, uint8_t len);
/* The message offset of a name that is in the message already, to be an owner; 0: it is not. */
uint16_t blob_name_at(const struct blob_writer *w, const uint8_t *name, size_t len);
/* Writes records of one RRset; owner is a message offset. The rdata must stay valid. */
void blob_rrset(struct blob_writer *w, uint16_t owner, struct dns_rr *const *rr, size_t n,
		uint32_t ttl);
/* A record whose owner is a whole name, compressed where possible. */
void blob_rr_named(struct blob_writer *w, const struct dns_rr *rr, uint32_t ttl);

#endif
