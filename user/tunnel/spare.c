// SPDX-License-Identifier: Apache-2.0
/* spare.c -- see spare.h. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/spare.h"

#define STEP	   64u
#define SMALL_MAX  4096u	/* larger pieces are malloc()'s */
#define KEPT_BYTES (320u << 10) /* of one size */

static const uint16_t sizes[] = { 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096 };

#define SIZES (sizeof(sizes) / sizeof(*sizes))
#define LARGE SIZES

struct piece {
	union {
		struct piece *next; /* while it waits */
		size_t size;	    /* of a large one */
	};
	size_t class;
	_Alignas(16) unsigned char data[];
};
_Static_assert(offsetof(struct piece, data) == 16, "data is aligned as malloc()'s is");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEPT false
#else
#define KEPT true
#endif

static struct {
	struct piece *first;
	size_t n;
} lists[SIZES];

static struct piece *piece_of(void *p)
{
	return (struct piece *)((unsigned char *)p - offsetof(struct piece, data));
}

/* The smallest that holds it: found once for each step of 64 bytes. */
static size_t class_of(size_t size)
{
	static uint8_t found[SMALL_MAX / STEP + 1]; /* class + 1 */
	size_t step = (size + STEP - 1) / STEP, class = 0;

	if (size > SMALL_MAX)
		return LARGE;
	if (!found[step]) {
		while (sizes[class] < step * STEP)
			class ++;
		found[step] = (uint8_t)(class + 1);
	}
	return found[step] - 1u;
}

static size_t room_of(const struct piece *piece)
{
	return piece->class == LARGE ? piece->size : sizes[piece->class];
}

void *spare_get(size_t size)
{
	size_t class = class_of(size);
	struct piece *piece;

	if (class != LARGE && (piece = lists[class].first)) {
		lists[class].first = piece->next;
		lists[class].n--;
		return piece->data;
	}
	if (size > SIZE_MAX - sizeof(*piece))
		return NULL;
	piece = malloc(sizeof(*piece) + (class == LARGE || !KEPT ? size : sizes[class]));
	if (!piece)
		return NULL;
	piece->class = KEPT ? class : LARGE;
	piece->size = size;
	return piece->data;
}

void *spare_zero(size_t size)
{
	void *p = spare_get(size);

	return p ? memset(p, 0, size) : NULL;
}

void *spare_resize(void *p, size_t size)
{
	size_t room = p ? room_of(piece_of(p)) : 0;
	void *to;

	if (p && KEPT && size <= room)
		return p;
	to = spare_get(size);
	if (!to || !p)
		return to;
	memcpy(to, p, room < size ? room : size);
	spare_put(p);
	return to;
}

void spare_put(void *p)
{
	struct piece *piece;

	if (!p)
		return;
	piece = piece_of(p);
	if (piece->class == LARGE || lists[piece->class].n * sizes[piece->class] >= KEPT_BYTES) {
		free(piece);
		return;
	}
	piece->next = lists[piece->class].first;
	lists[piece->class].first = piece;
	lists[piece->class].n++;
}
