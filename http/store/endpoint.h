/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h -- what the parts of weir-endpoint share: made by endpoint.c at start, constant
 * afterwards but for what is atomic.
 */
#ifndef WEIR_STORE_ENDPOINT_H
#define WEIR_STORE_ENDPOINT_H

#include <stdatomic.h>

#include "http/store/buckets.h"
#include "http/store/held.h"
#include "http/store/inbound.h"
#include "http/store/jobs.h"
#include "http/store/names.h"
#include "http/store/peers.h"
#include "http/store/relay.h"
#include "lib/access.h"
#include "lib/audit.h"
#include "lib/daemon.h"
#include "lib/inside.h"

struct exported;
struct lifecycle;
struct repair;
struct presence;
struct ready_cache;
struct reseal;
struct s3_counts;

struct endpoint {
	struct daemon *daemon;
	char node[CONF_NAME_MAX];
	char dir[4096];
	atomic_uint copies;             /* wanted, this node's included; a reload changes it */
	atomic_bool orphans_remove;     /* orphans.h; a reload changes it */
	/* CLOCK_MONOTONIC, ms: what takes long and was not acknowledged is given up from then on, for this program stops. 0: it runs. */
	_Atomic int64_t give_up_ms;
	uint64_t object_max;            /* bytes */
	char *s3_domain;                /* buckets are its subdomains; NULL: path style alone */
	char *s3_region;                /* "us-east-1" when none was said */

	struct chunks *chunks;
	struct held_cache *held;
	struct ready_cache *ready;      /* answers in front of the common way, see hot.h */
	struct inbound *inbound;
	struct peers *peers;
	struct names *names;
	struct buckets *buckets;
	struct users *users;
	struct audit *audit;            /* of what happens to datasets' objects */
	struct httpc *httpc;
	struct relays *relays;
	struct jobs *senders;           /* chunks on their way to second copies */
	struct repair *repair;
	struct lifecycle *lifecycle;    /* expires objects, old versions, uploads */
	struct reseal *reseal;          /* seals objects' keys anew */
	struct presence *presence;      /* in the registry */
	struct s3_counts *s3_counts;    /* of S3's operations */
	struct exported *exported;      /* what metrics.c keeps */
	struct load *load;
	struct inside *inside;
	struct httpd *_Atomic server;   /* the public one */
	int *listeners;
	size_t nlisteners;

	struct {
		atomic_ulong puts, gets, deletes, lists, failed, relayed, repaired, damaged,
			fetched, orphans;
	} counts;
};

/* The program (daemon.h). */
extern const struct daemon_program endpoint_program;

/* Metrics of the store, beside those of the server (metrics.c). */
int endpoint_metrics(struct endpoint *ep);

/* Why an object has a single copy here: for answers and status. */
const char *endpoint_lone_note(const struct endpoint *ep);
/* Answers for a call of names.h that failed. */
enum http_next endpoint_reply_names(struct http_req *req, int rc);

#endif
