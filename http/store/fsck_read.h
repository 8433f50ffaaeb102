/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsck_read.h -- every stored version of a folder, read from end to end without changing anything.
 */
#ifndef WEIR_STORE_FSCK_READ_H
#define WEIR_STORE_FSCK_READ_H

#include "http/store/manifest.h"
#include "http/store/segments.h"

struct fsck_version {
	struct version version;
	char place[48];                 /* below the folder, for people */
	struct segment_place packed;    /* segment 0: a file */
	uint64_t size;
	uint8_t sha256[32];
	char bucket[BUCKET_MAX];
	bool unfinished;                /* nobody was told that it is stored: the next start cuts it off (rc is not 0) */
	int rc;                         /* 0, or -EBADMSG and why; -errno */
	const char *why;
};

/* root: descriptor of the folder dir. *out is malloc'ed; *unreadable: bytes of segments that the disk does
 * not give. 0 or -errno. */
int fsck_read(int root, const char *dir, struct fsck_version **out, size_t *n, uint64_t *unreadable);
/* Does the index of segments say the same? 0, or -EBADMSG. Also 0 when there is none, or it would be
 * made anew anyway. */
int fsck_index(int root, const char *dir, const struct fsck_version *v, size_t n);

#endif
