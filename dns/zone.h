/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zone.h -- a zone's records, read from a zone file through ldns and checked, with the records that
 * come and go by the registry merged over them.
 *
 * A zone is built by one thread and then only read. Nothing here logs: faults go to a FILE as
 * "FILE:LINE: what is wrong; what would be right", all of them, not only the first.
 */
#ifndef WEIR_DNS_ZONE_H
#define WEIR_DNS_ZONE_H

#include <stdbool.h>
#include <stdio.h>

#include "dns/wire.h"

struct dns_rr {
	uint16_t type, rdata_len;
	uint32_t ttl; /* seconds; the same for all records of an RRset */
	int line;     /* in the zone file; 0: not from there */
	uint8_t name_len;
	uint8_t name[DNS_NAME_MAX]; /* lower */
	uint8_t rdata[];	    /* uncompressed */
};

struct dns_zone {
	uint8_t name[DNS_NAME_MAX], name_len;
	uint32_t serial;    /* of the SOA as it will be answered */
	struct dns_rr **rr; /* sorted by (name, type, rdata), without duplicates */
	size_t n, room;
};

/* Reads and checks a zone: one SOA and at least one NS at the apex, every record inside the zone,
 * no CNAME beside other data, name servers inside the zone with an address. name is the zone's,
 * label names the source in faults (the path). *out is untouched unless 0 is returned; -EINVAL when
 * there were faults, or -errno. dns_zone_load() opens path. */
int dns_zone_read(struct dns_zone **out, const char *name, FILE *in, const char *label,
		  FILE *faults);
int dns_zone_load(struct dns_zone **out, const char *name, const char *path, FILE *faults);
void dns_zone_free(struct dns_zone *zone); /* accepts NULL */
/* A deep copy; NULL without memory. */
struct dns_zone *dns_zone_copy(const struct dns_zone *zone);

/* Replaces the RRset (name, type) by `values` in the presentation form of the type ("198.18.9.1",
 * "10 mail.edge.example.", relative names are the zone's). owner is relative to the zone, "@" its
 * apex. 0, or -EINVAL and a sentence in err: nothing changed then. SOA and the apex's NS cannot be
 * replaced, nor can a CNAME stand beside other data. */
int dns_zone_merge(struct dns_zone *zone, const char *owner, const char *type, uint32_t ttl,
		   const char *const *values, size_t n, char *err, size_t err_len);

/* Does the zone file itself have records of that name, of whatever type? owner as above. */
bool dns_zone_has_own(const struct dns_zone *zone, const char *owner);

/* Sets the serial in the SOA record (RFC 1982 arithmetic is the caller's). */
void dns_zone_set_serial(struct dns_zone *zone, uint32_t serial);

/* First record of the RRset and its count, or NULL. type 0: any type. */
struct dns_rr *const *dns_zone_find(const struct dns_zone *zone, const uint8_t *name,
				    size_t name_len, uint16_t type, size_t *count);

#endif
