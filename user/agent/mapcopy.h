/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mapcopy.h -- the content of a BPF map into another of the same keys: another size, longer values.
 *
 * Copied twice: all of it while the old program still runs, and what that one wrote meanwhile once the
 * new program runs. Nothing here logs.
 */
#ifndef WEIR_MAPCOPY_H
#define WEIR_MAPCOPY_H

#include <bpf/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Entries as the system call hands them over; a per-CPU map's values are one behind the other. */
struct mapcopy {
	struct bpf_map_info info;
	size_t stride; /* of a value in all */
	uint32_t n;
	uint8_t *keys, *values;
};

/* Bytes of one entry's value as the system call wants them. */
size_t mapcopy_stride(const struct bpf_map_info *info);
bool mapcopy_per_cpu(uint32_t type);
/* May its content be thrown away (rings of events)? */
bool mapcopy_is_stream(uint32_t type);
/* Can an old map's entries be put into a map of the new type? */
bool mapcopy_convertible(uint32_t old_type, uint32_t new_type);

/* All entries of fd. 0 or -errno; free with mapcopy_clear(). */
int mapcopy_read(int fd, struct mapcopy *out);
void mapcopy_clear(struct mapcopy *c);
/* Writes them into fd (zeros behind shorter values). Of arrays those past the end are left out, of LRU maps
 * those that do not fit. */
int mapcopy_write(int fd, const struct mapcopy *c);
/* What changed from `before` to `after`, two readings of one map, into fd, which a program writes to already:
 * new and changed entries; of per-CPU counters the difference is added. Returns how many, or -errno. */
int mapcopy_catch_up(int fd, struct mapcopy *before, struct mapcopy *after);
/* Entries that are not all zeros at or past this index of an array. */
uint32_t mapcopy_used_from(const struct mapcopy *c, uint32_t index);

#endif
