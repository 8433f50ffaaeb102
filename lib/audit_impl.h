/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit_impl.h -- what audit.c and audit_search.c share; nobody else includes it.
 */
#ifndef WEIR_AUDIT_IMPL_H
#define WEIR_AUDIT_IMPL_H

#include <pthread.h>
#include <stdbool.h>

#include "lib/audit.h"

#define AUDIT_FOLDER_MAX 480
#define AUDIT_PATH_MAX	 512
#define AUDIT_ID_LEN	 24 /* hex: microseconds since 1970 (16), which node and role (8): ids sort by time */

struct audit {
	pthread_mutex_t lock;
	char folder[AUDIT_FOLDER_MAX], node[64], role[32];
	uint32_t source;
	unsigned int keep_days, part;
	uint64_t bytes_max, size, last_us;
	int fd;
	char day[11]; /* of the open file */
	struct metric_series *failed;
};

struct audit_file {
	char name[21]; /* YYYY-MM-DD.PPP.jsonl */
	uint64_t size;
};
/* Oldest first; the caller frees. 0 or -errno. */
int audit_files(const char *folder, struct audit_file **out, size_t *n);

#endif
