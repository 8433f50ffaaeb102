// SPDX-License-Identifier: Apache-2.0
/*
 * origin_back.c -- a target in use: which of its addresses, the connections that are kept to each,
 * the PROXY protocol in front of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/origin_back.h"
#include "user/tunnel/raw.h"

#define CONNECT_MS 3000
#define IDLE_MAX   256 /* connections that are kept to one address: dialling anew costs more */

/* ---- small things ---- */

const struct conf_target *target_conf(const struct target *t)
{
	return &t->conf;
}

const struct target_spec *target_spec_of(const struct target *t)
{
	return &t->spec;
}

/* The first contact may need each address once; a kept connection may turn out closed once more. */
unsigned int target_tries(const struct target *t)
{
	return (unsigned int)t->n + 2;
}

struct conn_dial target_dial(const struct target *t, size_t i)
{
	return (struct conn_dial){
		.to = t->places[i].to,
		.tls = t->tls,
		.server_name = t->tls ? t->spec.host : NULL,
		.timeout_ms = CONNECT_MS,
	};
}

void target_place_free(struct target *t, struct target_place *p)
{
	if (p->pool)
		h1_pool_free(p->pool);
	h2_target_free(p->h2, &t->waiting);
	p->pool = NULL;
	p->h2 = NULL;
}

void target_unref(struct target *t)
{
	if (--t->refs)
		return;
	for (size_t i = 0; i < t->n; i++)
		target_place_free(t, &t->places[i]);
	SSL_CTX_free(t->tls);
	free(t->conf.hostname);
	free(t->conf.to);
	free(t->conf.ca);
	free(t->conf.host);
	free(t);
}

static size_t address_of_try(const struct target *t, unsigned int try)
{
	if (!t->proven || try < 1)
		return (t->good + try) % t->n;
	return (t->good + try - 1) % t->n; /* the good one twice */
}

/* ---- using ---- */

void target_use_begin(struct target_use *use, struct target *t)
{
	use->target = t;
	t->refs++;
	t->requests++;
	use->used_next = t->used;
	use->used_at = &t->used;
	if (t->used)
		t->used->used_at = &use->used_next;
	t->used = use;
}

void target_use_end(struct target_use *use)
{
	struct target *t = use->target;

	if (!t)
		return;
	target_use_stop(use);
	*use->used_at = use->used_next;
	if (use->used_next)
		use->used_next->used_at = use->used_at;
	use->target = NULL;
	target_unref(t);
}

static size_t preface_of(const struct target *t, const struct target_use *use, uint8_t *out)
{
	if (t->conf.proxy == CONF_PROXY_OFF)
		return 0;
	return proxy_format(&use->proxy, t->conf.proxy == CONF_PROXY_V1 ? 1 : 2, out);
}

/* Called while h1_open() runs, or when the connection stands. */
static size_t on_preface(void *arg, struct end *back, uint8_t *out, size_t max)
{
	struct target *t = arg;
	const struct target_use *use = t->opening;

	/* The newest first: an older one may have let go of an end at the same place. */
	for (const struct target_use *u = t->used; u && !use; u = u->used_next)
		if (u->back == back)
			use = u;
	return use && max >= PROXY_HEADER_MAX ? preface_of(t, use, out) : 0;
}

static int open_h1(struct target *t, struct target_use *use, struct end **back)
{
	struct target_place *p = &t->places[use->address];
	int err = 0;

	if (!p->pool) {
		const struct h1_pool_options opt = {
			.dial = target_dial(t, use->address),
			.idle_max = IDLE_MAX,
			.preface = t->conf.proxy == CONF_PROXY_OFF ? NULL : on_preface,
			.arg = t,
		};

		err = h1_pool_new(&p->pool, t->o->reactor, &opt);
	}
	t->opening = use;
	if (!err)
		err = h1_open(p->pool, back);
	t->opening = NULL;
	return err;
}

static void h2_failed(void *arg, int err, const char *why)
{
	target_set_problem(arg, err, why);
}

static int open_h2(struct target *t, struct target_use *use, struct end **back)
{
	struct target_place *p = &t->places[use->address];
	int err = 0;

	if (!p->h2) {
		const struct h2_target_options opt = { .dial = target_dial(t, use->address),
						       .failed = h2_failed,
						       .arg = t };

		err = h2_target_new(&p->h2, t->o->reactor, &opt);
	}
	return err ? err : h2_target_open(p->h2, use, back);
}

static int open_raw(struct target *t, struct target_use *use, struct end **back)
{
	struct conn_dial dial = target_dial(t, use->address);
	uint8_t preface[PROXY_HEADER_MAX];
	size_t len = preface_of(t, use, preface);

	return raw_dial(back, t->o->reactor, &dial, 0, len ? preface : NULL, len);
}

int target_open(struct target_use *use, unsigned int tries, struct end **back)
{
	struct target *t = use->target;
	int err = use->err;

	use->err = 0;
	use->back = NULL;
	if (err)
		use->failed++;
	use->last = err;
	if (err && use->failed >= t->n)
		return err;
	if (!t->n) {
		target_ask(t);
		if (!t->job.running)
			return -EHOSTUNREACH;
		target_use_wait(use, &t->waiting);
		return -EAGAIN;
	}
	for (;;) {
		use->address = address_of_try(t, tries + use->failed);
		err = use->raw			   ? open_raw(t, use, back)
		      : target_is_h2(t->spec.kind) ? open_h2(t, use, back)
						   : open_h1(t, use, back);
		if (!err)
			use->back = *back;
		if (!err || err == -EAGAIN || ++use->failed >= t->n)
			break;
	}
	if (err && err != -EAGAIN) {
		use->last = err;
		target_set_problem(t, err, strerror(-err));
	}
	return err;
}

void target_answered(struct target_use *use)
{
	struct target *t = use->target;

	if (use->address < t->n)
		t->good = use->address;
	t->proven = true;
	if (*t->problem)
		target_clear_problem(t);
}

void target_failed(struct target_use *use, enum end_why why)
{
	struct target *t = use->target;

	t->failures++;
	if (why != END_REFUSED && why != END_LOST && why != END_TIMEOUT)
		return;
	target_probe(t, false);
	if (reactor_now_ms(t->o->reactor) - t->asked_ms >= TARGET_NAMES_SOON_MS)
		target_ask(t);
}
