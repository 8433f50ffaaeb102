// SPDX-License-Identifier: Apache-2.0
/* pump.c -- one direction of an exchange: see pump.h. */
#include <errno.h>
#include <string.h>

#include "user/tunnel/budget.h"
#include "user/tunnel/pump.h"
#include "user/tunnel/spare.h"

#define CHUNK 4080 /* bytes, at least: many small ones share it */

struct pump_chunk {
	struct pump_chunk *next;
	size_t len, size;
	size_t at; /* taken */
	unsigned char data[];
};

/* ---- what is kept ------------------------------------------------------------------------- */

static int keep(struct pump *p, const void *data, size_t len)
{
	struct pump_chunk *c = p->last;
	size_t room = c ? c->size - c->len : 0, size;

	if (room > len)
		room = len;
	if (room < len) {
		size = len - room > CHUNK ? len - room : CHUNK;
		c = budget_spent() ? NULL : spare_get(sizeof(*c) + size);
		if (!c)
			return -ENOMEM;
		budget_take(sizeof(*c) + size);
		*c = (struct pump_chunk){ .size = size, .len = len - room };
		memcpy(c->data, (const char *)data + room, len - room);
	}
	if (room) {
		memcpy(p->last->data + p->last->len, data, room);
		p->last->len += room;
		if (!p->next)
			p->next = p->last;
	}
	if (c != p->last) {
		if (p->last)
			p->last->next = c;
		else
			p->first = c;
		p->last = c;
		if (!p->next)
			p->next = c;
	}
	p->kept += len;
	p->waiting += len;
	return 0;
}

static void forget_first(struct pump *p)
{
	struct pump_chunk *c = p->first;

	p->first = c->next;
	if (!p->first)
		p->last = NULL;
	p->kept -= c->len;
	budget_give(sizeof(*c) + c->size);
	spare_put(c);
}

void pump_no_replay(struct pump *p)
{
	p->replay = 0;
	while (p->first && p->first != p->next)
		forget_first(p);
}

void pump_clear(struct pump *p)
{
	p->next = NULL;
	pump_no_replay(p);
	p->waiting = 0;
	head_free(p->trailers);
	p->trailers = NULL;
}

void pump_rewind(struct pump *p)
{
	for (struct pump_chunk *c = p->first; c; c = c->next)
		c->at = 0;
	p->next = p->first;
	p->waiting = p->kept;
	p->sent = 0;
	p->passed = false;
}

/* ---- what goes on ------------------------------------------------------------------------- */

static void taken(struct pump *p, struct end *source, size_t n)
{
	p->sent += n;
	if (p->sent <= p->told)
		return;
	n = (size_t)(p->sent - p->told);
	p->told = p->sent;
	if (source)
		source->ops->taken(source, n);
}

static int pass_end(struct pump *p, struct end *sink)
{
	p->passed = true;
	if (p->trailers)
		return sink->ops->trailers(sink, p->trailers);
	sink->ops->data(sink, NULL, 0, true);
	return 0;
}

int pump_move(struct pump *p, struct end *source, struct end *sink)
{
	struct pump_chunk *c;

	while (sink && (c = p->next)) {
		size_t len = c->len - c->at, n;
		bool last = p->ended && !p->trailers && len == p->waiting;

		n = sink->ops->data(sink, c->data + c->at, len, last);
		c->at += n;
		p->waiting -= n;
		if (n == len) {
			p->next = c->next;
			p->passed = last;
			if (!p->replay)
				forget_first(p);
		}
		taken(p, source, n);
		if (n < len)
			return 0;
	}
	return sink && p->ended && !p->passed ? pass_end(p, sink) : 0;
}

int pump_data(struct pump *p, struct end *source, struct end *sink, const void *data, size_t len,
	      bool last)
{
	size_t n = 0;
	int err;

	p->ended = last;
	if (p->replay && p->kept + len > p->replay)
		pump_no_replay(p);
	if (!p->replay && !p->waiting && sink && len) {
		n = sink->ops->data(sink, data, len, last);
		p->passed = last && n == len;
		taken(p, source, n);
	}
	if (n < len) {
		err = keep(p, (const char *)data + n, len - n);
		if (err)
			return err;
	}
	if (p->replay || (last && !p->passed && !p->waiting))
		return pump_move(p, source, sink);
	return 0;
}

int pump_trailers(struct pump *p, struct end *source, struct end *sink, const struct head *h)
{
	p->ended = true;
	if (!p->replay && !p->waiting && sink) {
		p->passed = true;
		return sink->ops->trailers(sink, h);
	}
	p->trailers = head_copy(h);
	return p->trailers ? pump_move(p, source, sink) : -ENOMEM;
}
