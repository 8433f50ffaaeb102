/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reseal.h -- by which of the installation's sealing keys objects' own keys are sealed: counted, and sealed anew by the newest.
 *
 * Whoever wants it writes reseal/wish into the registry (`weir sealing`, lib/reseal_ask.h): {"id","what","at",
 * "reseal"?: {"id","at"} of the last reseal when this is none}. A thread of every endpoint
 * does it for the buckets that it orders and tells how far it is in reseal/told/NODE, every second and at its end; a wish that was
 * begun before a restart is gone through again, which finds what is left; and who becomes a bucket's primary within a day of a
 * "reseal" does that bucket then, also when something else was asked for since, which a reseal gives way to and goes on behind. What a wish asks for:
 *   "still"   is anything under way here that is sealed by an older key? An upload keeps the key that it began with, and may take
 *             hours; no later one takes an older key.
 *   "count"   by which keys is what there is sealed?
 *   "reseal"  the same, and what is of older keys is sealed anew: the meta of a version or a part is changed while it is the one that
 *             was looked at (names_set_meta_here()). No byte of data is touched or copied.
 *
 * Told: {"id","what","done":bool,"newest":KID,"buckets": of how many buckets it is primary,"looked","resealed",
 * "busy":{KID: uploads},"keys":{KID:{"objects","parts","lost","full","where":"BUCKET/KEY"}},"why"?: what it waits for}. lost: those that
 * do not open, by no key that is there; full: those that open, and whose metadata leave no room for the newest key's name.
 */
#ifndef WEIR_STORE_RESEAL_H
#define WEIR_STORE_RESEAL_H

#include <jansson.h>

#include "http/store/names.h"
#include "lib/token.h"

struct endpoint;
struct reseal;

/* After ep->names and ep->users were opened. */
int reseal_new(struct reseal **out, struct endpoint *ep);
void reseal_stop(struct reseal *r); /* after names_stop(); accepts NULL */
void reseal_free(struct reseal *r); /* when nothing is uploaded any more; accepts NULL */

/* users_seal() of an upload's key, which counts as under way until reseal_end(). kid: of the key that was taken. */
int reseal_begin(struct reseal *r, const char *about, const void *key, size_t len, char *text, size_t size, char kid[SEALING_KID_MAX]);
void reseal_end(struct reseal *r, const char *kid);

/* ---- one bucket (reseal_walk.c) ---- */
struct reseal_task {
	struct names *names;
	struct users *users;
	const char *bucket, *newest; /* newest: the id of the key that seals */
	bool change;		     /* else it is only counted */
	bool (*rest)(void *arg);     /* between pages; false: end with -EAGAIN. NULL: no rests */
	void *arg;
	json_t *keys; /* "keys" as above: added to, when the walk came to its end */
	uint64_t looked, resealed; /* added to */
};
/* 0, or why it ended early: names_error(). What was sealed anew stays so. */
int reseal_walk(struct reseal_task *task);

#endif
