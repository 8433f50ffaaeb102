/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h -- the endpoints of the installation, as the registry tells them: all that ever
 * registered (endpoints/), those that are there now (members/endpoint/), those that drain (drain/).
 *
 * Kept by watches; a registry that is silent changes nothing. Thread-safe; answers are copies.
 */
#ifndef WEIR_STORE_PEERS_H
#define WEIR_STORE_PEERS_H

#include "http/store/placement.h"
#include "lib/conf.h"
#include "lib/registry.h"

struct peers;

struct peer {
	char node[CONF_NAME_MAX], site[CONF_NAME_MAX], domain[CONF_NAME_MAX];
	char base[160];         /* "https://host:port" of its inside listener; "": it has none */
	bool self, registered, live, draining;
	double free;            /* bytes that it may still take, by its last word */
};

/* Installs the watches; returns at once. self is always known as a live one. */
int peers_open(struct peers **out, struct registry *reg, const struct conf *conf);
void peers_close(struct peers *p);      /* accepts NULL */

/* How many ever registered, this one included; 0: the registry has not yet been heard. */
size_t peers_registered(struct peers *p);
/* Is this the only endpoint that anybody ever heard of? */
bool peers_alone(struct peers *p);
/* Did anybody ever hear of another one, since this program started? Once it is so it stays so. */
bool peers_others(struct peers *p);
/* fn is called once when that becomes so, on a watch's thread, or at once when it is so; it may ask here. There is one fn; NULL: none any
 * more, and it does not run when this returns. */
void peers_on_others(struct peers *p, void (*fn)(void *arg), void *arg);
int peers_find(struct peers *p, const char *node, struct peer *out);    /* 0 or -ENOENT */
/* All, in name order: a malloc'ed array. 0 or -ENOMEM. */
int peers_list(struct peers *p, struct peer **out, size_t *n);

/* Live endpoints for copies of a version, best first, none of `taken`; at most max, and 16. */
size_t peers_choose(struct peers *p, const struct version *v, const char (*taken)[CONF_NAME_MAX],
		    size_t ntaken, struct peer *out, size_t max);
/* Those that should hold it, here today or not; this node first. At most max, which is 16 at most. */
size_t peers_ideal(struct peers *p, const struct version *v, char (*out)[CONF_NAME_MAX],
		   size_t max);
/* A fresh version id whose group this node leads, as a rule, so that placement agrees with where it came in. */
struct version peers_new_version(struct peers *p);

#endif
