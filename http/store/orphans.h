/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans.h -- data that no name refers to, and when they may be removed.
 *
 * They come to be when a program ends between data and name (a kill in the middle of a PUT: nobody was told that it is stored),
 * or when the outcome of a name stayed unknown (504). The scrubber shows each version that it has read whole; whoever
 * configured `orphans: remove` has it removed when all of this holds:
 *
 *   it was there before this program began    else its upload, copy or part may be under way: data are durable before their name,
 *                                             and an upload does not outlive its program. So is what 504 left until then.
 *   and for a day (ORPHANS_AGE_S)             by its own clock and its manifest's; a start by a wrong clock proves nothing
 *   these names have covered it               a restored backup, names from elsewhere or begun anew are younger or older than
 *                                             data (names_mark.h); the operator alone can say that they are right: weir scrub --orphans
 *   this endpoint is alone                    in an installation of several it is counted and kept. The upload's endpoint may be
 *                                             about to name it (with other copies still on their way that takes hours); a secondary
 *                                             that is away may have its name; its bucket's names may be an older copy than others had;
 *                                             it may be fetched, moved or repaired just now. Also kept: what was meant for others
 *                                             when it was written (its manifest's holders)
 *   names are certain that nothing needs it   this node orders its bucket, alone, by a record that the registry has told: no object's
 *                                             version (older ones, too), no part, no upload or object that a part's group belongs to, nothing that
 *                                             is about to be forgotten in good order (names_needed()). A registry that is silent, a bucket that
 *                                             is unknown, opened or copied: kept
 *   the round before found the same           so one wrong answer removes nothing
 *   it is whole                               damaged ones are not shown: their manifest, which says the bucket, may be wrong
 *
 * `keep`, the default, removes nothing and counts: data of which somebody may still make something cost disk, a mistake here would cost data,
 * and an operator who has seen the figures for some days decides better than a default.
 */
#ifndef WEIR_STORE_ORPHANS_H
#define WEIR_STORE_ORPHANS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "http/store/manifest.h"

#define ORPHANS_AGE_S 86400
#define ORPHANS_MAX   65536 /* versions that a round remembers for the next one: 1 MiB */

/* ---- one of them (pure) ---- */

struct orphan_facts {
	int64_t now, began;	 /* unix seconds; of the program */
	int64_t stored, created; /* of the version: to this disk; by its manifest */
	int64_t since;		 /* names_mark_since() */
	int64_t age;		 /* ORPHANS_AGE_S */
	bool alone;		 /* no other endpoint belongs to the installation, or was meant to hold it */
	bool before;		 /* the round before said ORPHAN_FIRST or ORPHAN_GO of it */
	int needed;		 /* names_needed() */
};

/* In the order in which they are looked at; all but the last two are kept for good reason. */
#define ORPHAN_VERDICTS(X)                                                  \
	X(OTHERS, "in an installation of several endpoints, or not known")  \
	X(YOUNG, "young, or newer than this program's start")               \
	X(RESTORED, "older than these names are known to be")               \
	X(UNSURE, "names could not be asked")                               \
	X(NAMED, "needed after all")                                        \
	X(FIRST, "seen for the first time")                                 \
	X(GO, "without any use")

enum orphan_verdict {
#define X(name, text) ORPHAN_##name,
	ORPHAN_VERDICTS(X)
#undef X
	ORPHAN_VERDICT_COUNT
};
enum orphan_verdict orphan_judge(const struct orphan_facts *facts);

/* ---- all of them: the scrubber's rounds ---- */

struct endpoint;
struct orphans;

/* Logs why nothing will ever be removed when the mark beside the names cannot be kept; -ENOMEM alone is a failure. */
int orphans_new(struct orphans **out, struct endpoint *ep);
void orphans_free(struct orphans *o);   /* accepts NULL; before the names close */

/* Younger than so many seconds: not looked at. usual, or less in tests. */
int64_t orphans_young(const struct orphans *o, int64_t usual);

/* By the scrubber's thread alone. */
void orphans_begin(struct orphans *o);
/* Any version that was read whole: when it came to this disk. */
void orphans_saw(struct orphans *o, int64_t stored);
/* names_find() knows none that needs it. Removes it, when all of the above holds. */
void orphans_found(struct orphans *o, const struct manifest *m, int64_t stored);
/* whole: every version was seen. Logs what changed since the last round. */
void orphans_end(struct orphans *o, bool whole);

/* The operator: names are right as they are. 0, -EBUSY: there are other endpoints; -errno. */
int orphans_allow(struct orphans *o);

/* Adds to a status: "orphans", "orphan_bytes" (of the last whole round), "orphans_removed", "orphans_kept" (why, and how many),
 * "orphans_mode", "orphans_since" (unix seconds; -1: nothing may go). */
void orphans_status(struct orphans *o, json_t *status);

struct orphans_counts {
	uint64_t versions, bytes;       /* of the last whole round, but for what it removed */
	unsigned long removed;          /* of all */
};
void orphans_count(struct orphans *o, struct orphans_counts *out);

#endif
