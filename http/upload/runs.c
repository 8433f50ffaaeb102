// SPDX-License-Identifier: Apache-2.0
/*
 * runs.c -- sorted runs of records in a file, and their merge by a heap with a piece of each run in
 * memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "http/upload/runs.h"

#define PIECE_MIN 16u /* records of one run in memory */
#define PIECE_MAX 4096u

int runs_pread(int fd, void *buf, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf = (char *)buf + n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int runs_pwrite(int fd, const void *buf, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf = (const char *)buf + n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int by_record(const void *a, const void *b)
{
	return record_less(a, b) ? -1 : record_less(b, a);
}

void runs_sort(struct record *records, size_t n)
{
	qsort(records, n, sizeof(*records), by_record);
}

int runs_write(struct runs *runs, const struct record *records, size_t n)
{
	struct run *list;
	int err;

	if (!n)
		return 0;
	if (runs->fd < 0)
		return -ENOSPC;
	if (!(runs->n & (runs->n - 1))) { /* 0, 1, 2, 4 …: room for twice as many */
		list = realloc(runs->list, (runs->n ? 2 * runs->n : 1) * sizeof(*list));
		if (!list)
			return -ENOMEM;
		runs->list = list;
	}
	err = runs_pwrite(runs->fd, records, n * sizeof(*records), runs->end);
	if (err)
		return err;
	runs->list[runs->n++] = (struct run){ runs->end, n };
	runs->end += n * sizeof(*records);
	return 0;
}

void runs_free(struct runs *runs)
{
	free(runs->list);
	runs->list = NULL;
	runs->n = 0;
}

struct source {
	struct record head; /* the next one of the run */
	struct record *piece;
	size_t pos, have;
	uint64_t at, left; /* in the file: where it goes on, records */
};

struct merge {
	int fd;
	size_t n, piece; /* sources in the heap; records of a piece */
	struct source *sources;
	struct source **heap;
	struct record *memory;
};

/* Moves to the source's next record: 1, 0 at its end, -errno. */
static int advance(struct merge *m, struct source *s)
{
	int err;

	if (s->pos == s->have) {
		size_t want = s->left < m->piece ? (size_t)s->left : m->piece;

		if (!want)
			return 0;
		err = runs_pread(m->fd, s->piece, want * sizeof(*s->piece), s->at);
		if (err)
			return err;
		s->at += want * sizeof(*s->piece);
		s->left -= want;
		s->have = want;
		s->pos = 0;
	}
	s->head = s->piece[s->pos++];
	return 1;
}

static void sift(struct merge *m, size_t i)
{
	struct source *s = m->heap[i];

	for (size_t kid; (kid = 2 * i + 1) < m->n; i = kid) {
		if (kid + 1 < m->n && record_less(&m->heap[kid + 1]->head, &m->heap[kid]->head))
			kid++;
		if (!record_less(&m->heap[kid]->head, &s->head))
			break;
		m->heap[i] = m->heap[kid];
	}
	m->heap[i] = s;
}

int merge_new(struct merge **out, const struct runs *runs, size_t first, size_t memory_max)
{
	struct merge *m = calloc(1, sizeof(*m));
	size_t n = runs->n - first;
	int err = 0;

	if (!m)
		return -ENOMEM;
	m->fd = runs->fd;
	m->piece = memory_max / sizeof(struct record) / (n ? n : 1);
	m->piece = m->piece > PIECE_MAX ? PIECE_MAX : m->piece < PIECE_MIN ? PIECE_MIN : m->piece;
	m->sources = calloc(n + 1, sizeof(*m->sources));
	m->heap = calloc(n + 1, sizeof(*m->heap));
	m->memory = malloc((n * m->piece + 1) * sizeof(*m->memory));
	if (!m->sources || !m->heap || !m->memory)
		err = -ENOMEM;
	for (size_t i = 0; !err && i < n; i++) {
		struct source *s = &m->sources[i];

		*s = (struct source){ .piece = m->memory + i * m->piece,
				      .at = runs->list[first + i].at,
				      .left = runs->list[first + i].n };
		err = advance(m, s);
		if (err > 0) {
			m->heap[m->n++] = s;
			err = 0;
		}
	}
	for (size_t i = m->n; !err && i-- > 0;)
		sift(m, i);
	if (err)
		merge_free(m);
	else
		*out = m;
	return err;
}

int merge_next(struct merge *m, struct record *out)
{
	int more;

	if (!m->n)
		return 0;
	*out = m->heap[0]->head;
	more = advance(m, m->heap[0]);
	if (more < 0)
		return more;
	if (!more)
		m->heap[0] = m->heap[--m->n];
	if (m->n)
		sift(m, 0);
	return 1;
}

void merge_free(struct merge *m)
{
	if (!m)
		return;
	free(m->sources);
	free(m->heap);
	free(m->memory);
	free(m);
}
