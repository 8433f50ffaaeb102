/* SPDX-License-Identifier: Apache-2.0 */
/*
 * samples.h -- reads the ring of samples that the packet path fills (bpf/abi/sample.h), by memory
 * alone: the descriptor is mapped, no bpf(2) is called, so that the reader needs no privilege.
 *
 * The layout is that of BPF_MAP_TYPE_RINGBUF: a page with the consumer's position, one with the producer's, then
 * the data twice in a row, so that no record breaks (kernel document bpf/ringbuf.rst). One reader at a time.
 */
#ifndef WEIR_SAMPLES_H
#define WEIR_SAMPLES_H

#include <stddef.h>

#include "bpf/abi/sample.h"

struct samples;

/* fd is a ring of `size` bytes of data (a power of two) and becomes the reader's. 0 or -errno. */
int samples_open(struct samples **out, int fd, size_t size);
void samples_close(struct samples *s); /* accepts NULL */
/* Readable when there is something. */
int samples_fd(const struct samples *s);

/* Hands over each record in turn, at most max, and frees its room; returns how many there were. */
typedef void samples_fn(void *arg, const struct weir_sample_record *r);
size_t samples_read(struct samples *s, size_t max, samples_fn *fn, void *arg);

#endif
