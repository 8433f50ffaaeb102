/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_mark.h -- are the names the ones that were here all the time? A backup that was put in their
 * place, a copy from elsewhere, or names that begin from nothing do not know what was written before:
 * that a version has no name in them proves nothing about data of that time.
 *
 * Each start, and each round of the scrubber, writes a new random mark into the files of the names, and beside them what
 * they are:
 *
 *	DIR/names.seen	{"mark", "next", "transactions", "inode", "closed", "since"}
 *
 * Files that have another mark, another inode, seen fewer transactions than were counted (a copy by
 * weir-endpoint backup-names begins to count anew), or were changed since they were closed (closed: their ctime then, in ns; a
 * copy that was written over them, with this file) are not the ones of the last run. Then, when this file is not
 * there (the first start of a program that has it), and from the moment at which another endpoint is
 * heard of (its names may be newer than those here) to the end of the program, no data are covered: since is "all". A
 * whole round of the scrubber without any of this sets since to the newest of what it saw: what comes later is covered, what
 * was there is so when the operator says it is.
 *
 * What it cannot see: a copy of the files that was taken, without backup-names, while the endpoint ran or after it was killed,
 * and that was put in place by writing over the file, within the same round or together with names.seen.
 *
 * Thread-safe. 0 or -errno; opening logs what it found.
 */
#ifndef WEIR_STORE_NAMES_MARK_H
#define WEIR_STORE_NAMES_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "http/store/names_db.h"

#define NAMES_MARK_ALL INT64_MAX

struct names_mark;

/* dir: the endpoint's folder, with the names in DIR/names, which db has open. Both outlive the mark. */
int names_mark_open(struct names_mark **out, const char *dir, struct names_db *db);
void names_mark_close(struct names_mark *m);    /* accepts NULL; before the names close */

/* Unix seconds: of what came to the disk then or before, a missing name proves nothing. */
int64_t names_mark_since(struct names_mark *m);

/* More endpoints belong to the installation, or did since the start: since is "all" until the next start, at once, and in the file
 * with 0. Cheap when it was said before. */
int names_mark_others(struct names_mark *m);
/* Before a round. others: as above. 0: since is as durable as it is said to be. */
int names_mark_begin(struct names_mark *m, bool others);
/* Behind a whole one, during which there were none: the newest of all that was seen, and now. */
int names_mark_end(struct names_mark *m, int64_t newest, int64_t now);
/* The operator says that these are the names that there are: since is 0. -EBUSY: there are other endpoints. */
int names_mark_allow(struct names_mark *m);

#endif
