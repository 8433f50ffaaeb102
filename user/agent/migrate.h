/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate.h -- pinned maps whose layout is not this object's any more (another program version, other
 * agent.limits): new ones are made beside, filled, put in the program's hands, and take the old ones' names.
 *
 *   migrate_open()    compares, refuses what cannot be kept before anything is touched, makes new maps;
 *   …                 the caller loads its object, which finds its maps by their pin paths;
 *   migrate_fill()    copies, while the old program goes on;
 *   …                 the caller exchanges programs;
 *   migrate_finish()  copies what the old program wrote meanwhile, and renames the pins;
 *   migrate_close()   without finish: removes the new maps again.
 *
 * A process that dies in between leaves pins "new-NAME"; the next migrate_open() goes on with those that a
 * program uses and removes the others. These functions log.
 */
#ifndef WEIR_MIGRATE_H
#define WEIR_MIGRATE_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIGRATE_PREFIX "new-"

struct migration;

/* What becomes of one map. */
struct migrate_plan {
	char name[32];
	enum { MIGRATE_NEW, MIGRATE_KEEP, MIGRATE_CHANGE, MIGRATE_REFUSE } what;
	uint32_t entries, had;	   /* max_entries of the object, and of the pinned map */
	uint32_t value, had_value; /* bytes of a value */
	char why[256];		   /* CHANGE: what differs; REFUSE: why it cannot be kept, and what to do */
	uint64_t bytes;		   /* about so much memory */
};
/* Of every map of an object that is opened, not loaded, pinned in `pin` (which need not exist). Changes
 * nothing. Returns how many, at most max, or -errno. */
int migrate_plan(struct bpf_object *obj, const char *pin, struct migrate_plan *out, size_t max);

/* obj: opened, its max_entries final; it gets its maps' pin paths. pin: kept by the caller. spare: a second one of the same file, likewise
 * opened, used for making maps (the caller destroys it after migrate_close()). *out is NULL when nothing has to change. 0 or -errno. */
int migrate_open(struct migration **out, struct bpf_object *obj, struct bpf_object *spare,
		 const char *pin);
int migrate_fill(struct migration *m);   /* accepts NULL */
int migrate_finish(struct migration *m); /* accepts NULL */
void migrate_close(struct migration *m); /* accepts NULL */

#endif
