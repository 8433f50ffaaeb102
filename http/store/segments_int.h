/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_int.h -- what the files of the segments share.
 *
 *   segments.c          opening, catching up, closing, looking up
 *   segments_state.c    whether the index can be believed
 *   segments_round.c    the thread that appends
 *   segments_index.c    LMDB: places and segments
 *   segments_compact.c  the thread that compacts
 *
 * The index is changed by rounds alone (and at open). segments.lock guards the memory and is never
 * held across a disk's work.
 */
#ifndef WEIR_STORE_SEGMENTS_INT_H
#define WEIR_STORE_SEGMENTS_INT_H

#include <lmdb.h>
#include <pthread.h>

#include "http/store/pace.h"
#include "http/store/segments.h"

/* What the index has of a segment. */
struct segment_row {
	uint32_t end;                   /* what is indexed of it; records are appended there */
	uint32_t live;                  /* bytes of records that count */
	uint32_t forgets;               /* bytes of FORGOT records */
	uint32_t versions;              /* that live in it */
};

struct segment_file {
	struct segment_file *next;      /* by number, the highest first */
	struct segment_file *hash_next;
	atomic_uint refs;
	uint32_t number;
	struct segment_row row;         /* segments.lock; written by rounds */
	bool dirty;                     /* the row differs from the index (the round's own) */
	unsigned long tried;            /* compaction's last look: 1 + how many had gone by then */
	uint32_t tried_live;            /* and what lived */
	bool unreadable;                /* the disk did not give all of it */
	bool stuck;                     /* has a live version whose record cannot be read */
	/* what readers rely on: see segments_same() */
	atomic_bool appending, gone;
	atomic_uint generation;         /* somebody else changed it */
	_Atomic int64_t ctime_ns;       /* as this program left it; 0: as it was found */
};

#define FORGET_SLOTS 4096
#define FILE_SLOTS   1024

struct segments {
	int root, folder;               /* DIR, DIR/s */
	char *dir;
	uint32_t size;
	unsigned int index_txn;         /* records of one transaction while catching up */
	char boot[64];
	MDB_env *env;                   /* NULL: could not be opened again */
	MDB_dbi places, rows;
	/* LMDB wants no more of an environment after its last page could not be written: a round
	 * opens it again, alone. Held for reading by every transaction. */
	pthread_rwlock_t opened;
	pthread_mutex_t lock;
	pthread_cond_t work;            /* for the thread that appends */
	struct segments_job *head, **tail;
	void (*after)(void *arg);
	void *after_arg;
	/* of gathering */
	unsigned int nqueue, want;
	unsigned int taken, writers; /* jobs of the last round; and of those who came meanwhile */
	bool gathers;
	int64_t round_us;
	bool stop;
	pthread_t thread;
	bool thread_runs;
	struct round *round;            /* its memory */
	struct segment_file *files, *active;
	struct segment_file *by_number[FILE_SLOTS];
	int active_fd;
	uint8_t salt[SEGMENT_SALT];     /* of the active one */
	uint64_t allocated;             /* bytes of the active one that have disk space */
	uint64_t zeroed;                /* that were written before, if with zeros: it is so long */
	unsigned long nrounds, njobs, removed, compacted, moved;
	atomic_uint forgets[FORGET_SLOTS]; /* counts of changes, by version */
	/* compaction */
	struct pace compaction;
	pthread_t compactor;
	bool compactor_runs;
	bool throttled;
};

/* ---- segments_index.c ---- */
int segments_errno(int mdb);
/* A reading transaction, with s->opened held; and its end. 0 or -errno. */
int index_read_begin(struct segments *s, MDB_txn **txn);
void index_read_end(struct segments *s, MDB_txn *txn);
/* A writing one, which only the thread that appends begins; an index that is spoilt is opened
 * again. */
int index_write_begin(struct segments *s, MDB_txn **txn);
/* fresh: what is there is thrown away first. -EBADMSG: damaged. */
int index_open(struct segments *s, bool fresh);
/* sync: 0 when all of it is on the disk. -EIO: it was not open. */
int index_close(struct segments *s, bool sync);
int index_get(struct segments *s, MDB_txn *txn, const struct version *v, struct segment_place *out);
int index_put(struct segments *s, MDB_txn *txn, const struct version *v,
	      const struct segment_place *place);
int index_del(struct segments *s, MDB_txn *txn, const struct version *v);
int index_row_put(struct segments *s, MDB_txn *txn, const struct segment_file *f);
/* Calls fn for each row; it may not change the index. */
int index_rows(struct segments *s, int (*fn)(void *arg, uint32_t number,
					      const struct segment_row *row), void *arg);

/* ---- segments_state.c ---- */
#define STATE_CLEAN  "clean\n"
#define STATE_MAKING "making\n" /* while the index is not whole */
void state_boot(char *out, size_t room); /* this one; "" when the kernel does not say */
int state_write(struct segments *s, const char *text);

/* ---- segments.c ---- */
struct segment_file *file_find(struct segments *s, uint32_t number); /* lock held */
struct segment_file *file_add(struct segments *s, uint32_t number);  /* lock held; NULL: no memory */
void file_unlist(struct segments *s, struct segment_file *f);        /* lock held */
atomic_uint *forget_slot(struct segments *s, const struct version *v);
/* Accounts for a record in a transaction: put, replace, forget. Used by rounds and catching up. */
int segments_apply(struct segments *s, MDB_txn *txn, const struct segment_record *r,
		   const struct segment_place *at);
int segments_rows_write(struct segments *s, MDB_txn *txn);
void file_remember(struct segment_file *f, int fd); /* its ctime, as it is now */
bool file_unchanged(const struct segment_file *f, const struct stat *st);

/* ---- segments_round.c ---- */
int rounds_start(struct segments *s);
void rounds_stop(struct segments *s);

/* ---- segments_compact.c ---- */
int compactor_start(struct segments *s);
void compactor_stop(struct segments *s);

#endif
