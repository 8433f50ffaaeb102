/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract.h -- what the contract of http/store/names.h is tested with: the table of
 * functions that any engine of names can be put into, the nodes where the calls go, and the words
 * in which the tests say what they expect. What is not as expected fails the test; nothing is
 * returned to free.
 */
#ifndef WEIR_TESTS_STORE_CONTRACT_H
#define WEIR_TESTS_STORE_CONTRACT_H

#include "tests/unit/names_cluster.h"

struct engine {
	__typeof__(names_put_with) *put;
	__typeof__(names_delete_with) *del;
	__typeof__(names_set_meta) *set_meta;
	__typeof__(names_get_version) *get;
	__typeof__(names_find) *find;
	__typeof__(names_version_used) *used;
	__typeof__(names_list_with) *list;
	__typeof__(names_versions) *versions;
	__typeof__(names_upload_create) *create;
	__typeof__(names_upload_get) *upload;
	__typeof__(names_part_attempt) *attempt;
	__typeof__(names_part_put) *part;
	__typeof__(names_parts) *parts;
	__typeof__(names_uploads) *uploads;
	__typeof__(names_upload_complete) *complete;
	__typeof__(names_upload_abort) *abort;
	__typeof__(names_bucket_open) *open;
	__typeof__(names_bucket_open_if) *open_if;
	__typeof__(names_bucket_close) *close;
	__typeof__(names_usage) *usage;
	__typeof__(names_each) *each;
};

extern const struct engine *const engine;
extern struct child nodes[2];
extern unsigned int nnodes;
extern struct names *names; /* where the calls go */
extern char bucket[32];	    /* the test's own, of which nodes[0] is the primary */

/* An entry of five bytes, a new version, held by nodes[0]; it lives until the next. */
struct name_entry *entry_of(const char *key, char version[33]);

/* The files that stand for a version's data, at every node. */
void data_here(const char *version);
bool data_anywhere(const char *version);

/* Writes and deletions in the mode of the bucket: 0 or -errno of the engine. */
int put_mode(const char *key, enum names_mode mode, char version[33]);
int delete_mode(const char *key, const char *version, enum names_mode mode,
		struct names_deleted *out);

/* An upload in parts, with an owner in its meta. */
void upload_new(const char *key, char id[33]);

/* What a listing told: "key " each, a marker with !, the current version with *, a prefix as
 * <a/>. */
extern char order_text[8192];
int tell(void *arg, const char *b, const struct name_entry *entry);
int tell_prefix(void *arg, const char *b, const char *prefix);

/* A listing tells `want`, and whether there is more; page may be NULL. */
void listed(const struct names_select *s, const char *want, bool more, struct names_page *page);
void versions_are(const struct names_select *s, const char *want, bool more,
		  struct names_page *page);

void usage_is(uint64_t objects, uint64_t bytes, uint64_t markers, uint64_t uploads, uint64_t parts);

/* A get answers rc, and the version where it is given. */
void get_is(const char *key, const char *version, int rc, const char *want);

/* The contract, by theme. */
void plain_replaces(void **state);
void etag_and_meta(void **state);
void versions_are_kept(void **state);
void suspended_replaces_null(void **state);
void fetched_and_meta(void **state);

void delimiters(void **state);
void longest_keys(void **state);
void pages_of_versions(void **state);
void greatest_entries(void **state);

void uploads_become_objects(void **state);
void uploads_end(void **state);
void versions_used(void **state);
void tries_are_told_apart(void **state);
void many_parts_dropped(void **state);

void closed_buckets(void **state);
void opened_as_seen(void **state);
void removed_while_written(void **state);

#endif
