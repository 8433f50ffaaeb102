/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_end.h -- for tests: somebody who listens to an end, notes and checks what it tells, and
 * sends a body of any length through it. Bodies are a pattern, so that no byte goes astray unseen.
 */
#ifndef WEIR_TESTS_TUNNEL_END_H
#define WEIR_TESTS_TUNNEL_END_H

#include "tests/unit/tunnel_io.h"
#include "user/tunnel/end.h"

struct hear {
	struct end *end;   /* NULL: gone, or let go */
	struct head *head; /* the last that came: a request or a final response */
	struct head *trailers;
	unsigned int heads, infos, gone;
	size_t got; /* bytes */
	bool last;
	enum end_why why;
	bool hold; /* says of nothing that it was taken */
	size_t held;
	/* to be sent */
	size_t to_send, sent;
	bool send_last;
	struct head *send_trailers;
	char text[256];			 /* the first bytes of the body */
	void (*on_last)(struct hear *p); /* after the last byte of the body */
};

static inline uint8_t pattern_at(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static inline void pattern(uint8_t *to, size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = pattern_at(at + i);
}

static inline void hear_send(struct hear *p)
{
	static uint8_t buf[100000];

	while (p->end && p->sent < p->to_send) {
		size_t len = p->to_send - p->sent, n;
		bool last;

		if (len > sizeof(buf))
			len = sizeof(buf);
		last = p->send_last && p->sent + len == p->to_send;
		pattern(buf, p->sent, len);
		n = p->end->ops->data(p->end, buf, len, last);
		memset(buf, 0xee, len); /* nobody may look later */
		p->sent += n;
		if (n < len)
			return;
	}
	if (p->end && !p->to_send && p->send_last) {
		p->send_last = false;
		p->end->ops->data(p->end, NULL, 0, true);
	}
	if (p->end && p->send_trailers) {
		assert_int_equal(p->end->ops->trailers(p->end, p->send_trailers), 0);
		head_free(p->send_trailers);
		p->send_trailers = NULL;
	}
}

static inline void hear_head(struct end *e, void *arg, const struct head *h, bool last)
{
	struct hear *p = arg;

	assert_ptr_equal(e, p->end);
	assert_false(p->last);
	if (h->status && h->status < 200) {
		p->infos++;
		assert_false(last);
		return;
	}
	p->heads++;
	head_free(p->head);
	p->head = head_copy(h);
	assert_non_null(p->head);
	p->last = last;
}

static inline void hear_data(struct end *e, void *arg, const void *data, size_t len, bool last)
{
	struct hear *p = arg;

	assert_ptr_equal(e, p->end);
	assert_false(p->last);
	for (size_t i = 0; i < len; i++) {
		if (p->got + i < sizeof(p->text) - 1)
			p->text[p->got + i] = ((const char *)data)[i];
		if (!p->head || !head_get(p->head, "x-text"))
			assert_int_equal(((const uint8_t *)data)[i], pattern_at(p->got + i));
	}
	p->got += len;
	p->last = last;
	if (p->hold)
		p->held += len;
	else
		e->ops->taken(e, len);
	if (last && p->on_last)
		p->on_last(p);
}

static inline void hear_trailers(struct end *e, void *arg, const struct head *h)
{
	struct hear *p = arg;

	assert_ptr_equal(e, p->end);
	assert_false(p->last);
	p->trailers = head_copy(h);
	p->last = true;
}

static inline void hear_room(struct end *e, void *arg)
{
	struct hear *p = arg;

	assert_ptr_equal(e, p->end);
	hear_send(p);
}

static inline void hear_gone(struct end *e, void *arg, enum end_why why)
{
	struct hear *p = arg;

	assert_ptr_equal(e, p->end);
	p->end = NULL;
	p->gone++;
	p->why = why;
}

static const struct end_events hear_events = {
	.head = hear_head,
	.data = hear_data,
	.trailers = hear_trailers,
	.room = hear_room,
	.gone = hear_gone,
};

static inline void hear(struct hear *p, struct end *e)
{
	p->end = e;
	end_listen(e, &hear_events, p);
}

static inline void hear_release(struct hear *p)
{
	size_t held = p->held;

	p->hold = false;
	p->held = 0;
	if (p->end)
		p->end->ops->taken(p->end, held);
}

static inline void hear_drop(struct hear *p, enum end_why why)
{
	struct end *e = p->end;

	p->end = NULL;
	e->ops->abort(e, why);
}

static inline void hear_free(struct hear *p)
{
	if (p->end)
		hear_drop(p, END_CANCEL);
	head_free(p->head);
	head_free(p->trailers);
	head_free(p->send_trailers);
	*p = (struct hear){ 0 };
}

static inline struct head *request(const char *method, const char *path)
{
	struct head *h = head_new();

	assert_non_null(h);
	assert_int_equal(head_add(h, ":method", 7, method, strlen(method)), 0);
	if (path) {
		assert_int_equal(head_add(h, ":scheme", 7, "https", 5), 0);
		assert_int_equal(head_add(h, ":path", 5, path, strlen(path)), 0);
	}
	assert_int_equal(head_add(h, ":authority", 10, "app.example:443", 15), 0);
	return h;
}

static inline struct head *response(unsigned int status)
{
	struct head *h = head_new();

	assert_non_null(h);
	assert_int_equal(head_set_status(h, status), 0);
	return h;
}

/* Composes, sends, frees. */
static inline void say(struct hear *p, struct head *h, bool last)
{
	assert_int_equal(p->end->ops->head(p->end, h, last), 0);
	head_free(h);
}

#endif
