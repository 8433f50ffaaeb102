// SPDX-License-Identifier: Apache-2.0
/* samples.c -- see samples.h. */
#include "user/agent/samples.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct samples {
	int fd;
	size_t size, page;
	unsigned long *consumer;
	const unsigned long *producer; /* then, at the next page, the data */
	const uint8_t *data;
};

int samples_open(struct samples **out, int fd, size_t size)
{
	struct samples *s = calloc(1, sizeof(*s));
	void *mine, *theirs;
	int err;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->size = size;
	s->page = (size_t)sysconf(_SC_PAGESIZE);
	mine = mmap(NULL, s->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mine == MAP_FAILED) {
		err = -errno;
		free(s);
		return err;
	}
	theirs = mmap(NULL, s->page + 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)s->page);
	if (theirs == MAP_FAILED) {
		err = -errno;
		munmap(mine, s->page);
		free(s);
		return err;
	}
	s->consumer = mine;
	s->producer = theirs;
	s->data = (const uint8_t *)theirs + s->page;
	*out = s;
	return 0;
}

void samples_close(struct samples *s)
{
	if (!s)
		return;
	munmap(s->consumer, s->page);
	munmap((void *)(uintptr_t)s->producer, s->page + 2 * s->size);
	close(s->fd);
	free(s);
}

int samples_fd(const struct samples *s)
{
	return s->fd;
}

size_t samples_read(struct samples *s, size_t max, samples_fn *fn, void *arg)
{
	unsigned long at = __atomic_load_n(s->consumer, __ATOMIC_ACQUIRE);
	unsigned long end = __atomic_load_n(s->producer, __ATOMIC_ACQUIRE);
	size_t n = 0;

	while (at < end && n < max) {
		const uint8_t *record = s->data + (at & (s->size - 1));
		uint32_t head = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		uint32_t len = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (head & BPF_RINGBUF_BUSY_BIT)
			break; /* still being written: it wakes us again */
		if (!(head & BPF_RINGBUF_DISCARD_BIT) && len >= sizeof(struct weir_sample_record))
			fn(arg, (const void *)(record + BPF_RINGBUF_HDR_SZ));
		n++;
		at += (len + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
		__atomic_store_n(s->consumer, at, __ATOMIC_RELEASE);
	}
	return n;
}
