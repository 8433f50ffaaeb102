/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool.h -- the files of unfinished uploads, in one folder: ID.json (the state, written atomically), ID.data (the
 * bytes), ID.SUFFIX (outputs). What a kill -9 leaves is taken up by the next start: the length of ID.data is how much
 * came. IDs are hexadecimal and suffixes ours: nothing that a stranger said becomes a name of a file.
 *
 * Thread-safe; functions return 0, a descriptor, or -errno, and log nothing. All may block.
 */
#ifndef WEIR_UPLOAD_SPOOL_H
#define WEIR_UPLOAD_SPOOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SPOOL_ID_LEN 40 /* 8 of the node, 32 random: hexadecimal digits */

struct spool;
int spool_open(struct spool **out, const char *folder, const char *node); /* the folder is there */
void spool_close(struct spool *s); /* accepts NULL */
/* A new id of this node; whose an id is: 8 digits are the node's. */
void spool_id(const struct spool *s, char id[SPOOL_ID_LEN + 1]);
void spool_node_digits(const char *node, char digits[9]);
bool spool_id_valid(const char *id);

/* Written beside, synced, renamed, the folder synced. */
int spool_save(struct spool *s, const char *id, const json_t *state);
/* A new reference; NULL: none or damaged. */
json_t *spool_load(struct spool *s, const char *id);
/* A descriptor for reading alone, for both, or for both of a file that is made when it is not there. Suffix: "data",
 * "out.3" … */
enum spool_mode { SPOOL_READ, SPOOL_WRITE, SPOOL_MAKE };
int spool_file(struct spool *s, const char *id, const char *suffix, enum spool_mode mode);
/* A file without name, for reading and writing, that is gone with its descriptor. */
int spool_temporary(struct spool *s);
/* Each id that has a state; what has none (a start that broke off) is removed. */
int spool_each(struct spool *s, void (*fn)(void *arg, const char *id, json_t *state), void *arg);
/* Removes the files of an id: all, or all but its state. */
void spool_remove(struct spool *s, const char *id, bool state_too);
/* Bytes free for us on the disk. */
uint64_t spool_free_bytes(struct spool *s);

/* Copies len bytes between files, in the kernel where it can. -ENODATA: from is shorter. */
int spool_copy(int from, uint64_t at, uint64_t len, int to, uint64_t to_at);

#endif
