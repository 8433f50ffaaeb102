/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.h -- gz, zstd and zip (libarchive) unpacked in a stream with limits against bombs: bytes out, ratio,
 * entries, nesting (one level), no paths ever used. A zip's entries come one after the other; only regular files.
 */
#ifndef WEIR_UPLOAD_UNPACK_H
#define WEIR_UPLOAD_UNPACK_H

#include <stdint.h>
#include <sys/types.h>

#include "http/upload/sniff.h"

struct unpack_limits {
	uint64_t out_max;   /* bytes in all; 0: 1 TiB */
	uint32_t ratio_max; /* out / in once out is over 16 MiB; 0: 200 */
	uint32_t entries_max; /* 0: 1,000 */
};
struct unpack_sink {
	/* name: "" of gz and zstd; else the entry's own, for people only (checked UTF-8, no control characters). */
	int (*entry)(void *arg, const char *name);
	int (*data)(void *arg, const void *data, size_t len);
	void *arg;
};
/* read: as pread() with its own position: count, 0 at the end, -errno. Blocks in read. 0; -EBADMSG broken
 * (why: a sentence's middle), -E2BIG a limit (why says which), or what read or the sink returned. */
int unpack(enum file_kind kind, ssize_t (*read)(void *arg, void *buf, size_t max), void *read_arg,
	   const struct unpack_limits *limits, const struct unpack_sink *sink, char why[160]);

#endif
