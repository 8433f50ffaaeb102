/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compile.h -- zones to answers: everything after the question, for every name and type, made when
 * something changes and not when somebody asks.
 *
 * A table is immutable: workers read it without locks, a change makes a new one. Pure: allocates,
 * but logs nothing and reads no clock. Names are compressed against the question, so that one blob
 * serves every client, whatever letter case it sent.
 */
#ifndef WEIR_DNS_COMPILE_H
#define WEIR_DNS_COMPILE_H

#include "dns/zone.h"

/*
 * The answer after the question. Compression pointers were written for a question of `base_len`
 * bytes of name; for another (an answer from a wildcard, a negative one, a referral) those at the
 * offsets in `shift` move by the difference.
 */
struct dns_blob {
	uint8_t rcode;
	bool authoritative;
	uint8_t base_len;
	uint16_t answers, authority, additional;
	uint16_t len, nshift;
	int16_t steer;	      /* >= 0: addresses of that steered name are appended to the answers */
	uint16_t steer_owner; /* message offset of their owner, for base_len; 12: the question
				 itself */
	const struct dns_blob *unsteered; /* instead, when nothing is known of the steered name */
	const uint16_t *shift;		  /* offsets into body */
	const uint8_t *body;
};

struct dns_answer_for {
	uint16_t type;
	const struct dns_blob *blob;
};

struct dns_node {
	uint8_t name_len;
	bool cut; /* a delegation: every question but DS gets `other`, the referral */
	uint16_t ntypes;
	const uint8_t *name;
	const struct dns_node *wildcard; /* "*" directly below, or NULL */
	const struct dns_table_zone *zone;
	const struct dns_answer_for *types;
	const struct dns_blob *other; /* no such type here; or the referral */
};

struct dns_table_zone {
	const uint8_t *name;
	uint8_t name_len;
	uint32_t serial;
	size_t records;
	const struct dns_blob *nxdomain, *nodata; /* the SOA in the authority section, RFC 2308 */
};

struct dns_table;

/* A name whose A and AAAA are drawn when asked; index is its place in struct steering. */
struct dns_steer {
	const uint8_t *name;
	uint8_t name_len;
	int16_t index;
};

/* zones stay the caller's and may be freed afterwards. 0 or -ENOMEM. A steered name outside all
 * zones is left out. */
int dns_compile(struct dns_table **out, const struct dns_zone *const *zones, size_t nzones,
		const struct dns_steer *steers, size_t nsteers, uint64_t seed);
void dns_table_free(struct dns_table *table); /* accepts NULL */

/* The exact name, or NULL. */
const struct dns_node *dns_table_find(const struct dns_table *table, const uint8_t *name,
				      size_t len);
/* Names with more labels are not in the table. */
unsigned int dns_table_labels(const struct dns_table *table);
size_t dns_table_zones(const struct dns_table *table, const struct dns_table_zone *const **zones);
/* What ANY gets: one HINFO record, RFC 8482 section 4.2. */
const struct dns_blob *dns_table_any(const struct dns_table *table);

#endif
