/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipeline.h -- the whole way of one file: bytes → sniff → unpack → reader → check → statistics and outputs. Runs
 * inside a worker (worker.h); the unit tests, the fuzzers and the bench call the same function.
 */
#ifndef WEIR_UPLOAD_PIPELINE_H
#define WEIR_UPLOAD_PIPELINE_H

#include <jansson.h>
#include <sys/types.h>

#include "http/upload/check.h"

struct pipeline_io {
	/* Blocks until there is more: count, 0 at the end, -errno (-ECANCELED: stop). */
	ssize_t (*read)(void *arg, void *buf, size_t max);
	/* An event for the uploader. name: "finding", "progress", "type", "columns"; value is borrowed. */
	int (*tell)(void *arg, const char *name, json_t *value);
	/* A file of an output, or "quarantine.csv"; a handle, or -errno. NULL: no outputs, no quarantine file. */
	int (*open)(void *arg, const char *name);
	int (*write)(void *arg, int handle, const void *data, size_t len);
	void *arg;
	int spill_fds[64];
	size_t nspill;
	int keyset_fds[64]; /* in the order of fields with a reference; -1: that dataset has none */
	size_t nkeysets;
	const char **key_columns; /* columns whose key set is wanted (others refer to them) */
	int *key_fds;
	size_t nkeys;
	size_t memory_max; /* 0: 16 MiB for uniques */
};
/* rules NULL: no rules, only type and statistics. The result (a new reference, also when rejected):
 * {"verdict":"accepted"|"rejected","type":{"kind","mime","encoding","delimiter","packing"},"rows","good","bad","bytes","findings",
 *  "summary":[…],"statistics":{…},"outputs":[…lineage],"quarantine":N rows,"sha256"} or NULL with *error (-errno) for what is no fault of the file. */
json_t *pipeline_run(const struct rules *rules, const struct pipeline_io *io, int *error);

/* Where data rows first to last stand in a file that is not packed. 0, -ENOENT, -ENOTSUP, or what read returned. */
int pipeline_locate(const struct rules *rules, const struct pipeline_io *io, uint64_t first, uint64_t last,
		    uint64_t *offset, uint64_t *length);

/* Loads what libraries read from files and set up once (libmagic's data, digests): before a worker loses its files. */
int pipeline_prepare(void);

#endif
