/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segments_store.h -- a store of small versions for tests of its segments, which are small here (64
 * KiB) and made of versions that follow from a number: their id, their size, their bytes.
 * Compaction runs when a test says so.
 *
 * One folder for a group of tests. What goes wrong here fails the test.
 */
#ifndef WEIR_TESTS_SEGMENTS_STORE_H
#define WEIR_TESTS_SEGMENTS_STORE_H

#include "http/store/held.h"
#include "tests/unit/unit.h"

#define MANY 200 /* versions of mixed_load() */

extern char dir[64];
extern struct chunks *chunks; /* NULL: it is closed */
extern struct held_cache *cache;

/* Faults: the store's own calls come here. */
extern const char *sync_fails; /* fdatasync() or syncfs() of a path with this in it is EIO; NULL: of none */
extern unsigned int syncfs_calls;
extern off_t bad_sector;       /* pread() of this sector of files below /s/ is EIO; -1: of none */

/* The group's setup and teardown. */
int store_folder(void **state);
int store_folder_remove(void **state);
/* A test's: an open store without any version, of boot "one"; closed. */
int store_setup(void **state);
int store_teardown(void **state);

/* Opens as if this were another boot of the machine. 0, or it could not. */
int open_as(const char *boot);
/* kill: as if it were killed. */
void close_as(bool kill);

struct version version_of(unsigned int number);
size_t size_of(unsigned int number);
void fill(uint8_t *data, size_t len, unsigned int number); /* the bytes */
void put(unsigned int number);
void put_version(const struct version *v, unsigned int number, size_t len);
void forget(unsigned int number);
/* 0: whole, with its own bytes; -ENOENT; -EBADMSG. */
int check(unsigned int number);
int check_version(const struct version *v, unsigned int number, size_t len);
struct segment_place place_of(struct version v);

struct segments_counts counts(void);
unsigned int files_below(const char *sub);
/* A shell's command, which must succeed. */
void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* MANY versions: a third is forgotten, a few are stored twice. expected(): is it there then? */
void mixed_load(void);
bool expected(unsigned int number);
void check_mixed(void);

#endif
