/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.h -- which network is an address of: its prefix (/24, /48) as a keyed hash, and its AS by a MaxMind database.
 * The address itself goes no further than this. An address of neither family has prefix 0 and AS 0; ::ffff:a.b.c.d is
 * a.b.c.d. All but open and close are thread-safe.
 */
#ifndef WEIR_NETWORK_H
#define WEIR_NETWORK_H

#include <stdint.h>

#include "lib/addr.h"

struct network_db;
/* path: an .mmdb with autonomous_system_number (GeoLite2-ASN and its like). NULL: no AS is known. 0 or -errno; logs. */
int network_open(struct network_db **out, const char *path);
void network_close(struct network_db *db); /* accepts NULL */
/* key: this installation's, so that hashes tell nothing elsewhere and agree among its gateways. db may be NULL. */
void network_of(struct network_db *db, const struct addr *a, const uint8_t key[16], uint32_t *prefix, uint32_t *as);

#endif
