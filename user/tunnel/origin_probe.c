// SPDX-License-Identifier: Apache-2.0
/*
 * origin_probe.c -- why a target does not answer, in words that say what to do: a connection of its
 * own is made and let go, at the start and after a failure. And its name, asked for again and
 * again.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/origin_back.h"

#define PROBE_MS 1000 /* a target that failed is looked into at most so often */

/* ---- what it fails with ---- */

/* From what a connection said to what is to be done. */
static void explain(const struct target *t, int err, const char *text, char out[ORIGIN_WHY_MAX])
{
	if (err == -ECONNREFUSED)
		snprintf(out, ORIGIN_WHY_MAX,
			 "connection refused: nothing listens there; is the server running, and on "
			 "this address and port?");
	else if (err == -ENOENT)
		snprintf(out, ORIGIN_WHY_MAX, "there is no such socket; is the server running?");
	else if (err == -EACCES || err == -EPERM)
		snprintf(out, ORIGIN_WHY_MAX,
			 "user %u may not connect to it; let that user (`user:`) write to the "
			 "socket",
			 geteuid());
	else if (t->tls && (strstr(text, "verify failed") || strstr(text, "self-signed") ||
			    strstr(text, "issuer")))
		snprintf(out, ORIGIN_WHY_MAX,
			 "its certificate is not trusted (%.200s); name the PEM file of who signed "
			 "it as `ca:` of the "
			 "target",
			 text);
	else if (t->tls && (strstr(text, "wrong version") || strstr(text, "packet length")))
		snprintf(out, ORIGIN_WHY_MAX, "it does not speak TLS; write %s:// instead",
			 target_is_h2(t->spec.kind) ? "h2c" : "http");
	else
		snprintf(out, ORIGIN_WHY_MAX, "%.400s", text);
}

void target_set_problem(struct target *t, int err, const char *text)
{
	char why[ORIGIN_WHY_MAX];

	explain(t, err, text, why);
	if (strcmp(why, t->problem))
		log_warn("target %s (%s): %s", t->conf.to, t->conf.hostname, why);
	snprintf(t->problem, sizeof(t->problem), "%s", why);
}

void target_clear_problem(struct target *t)
{
	if (*t->problem)
		log_info("target %s (%s) answers", t->conf.to, t->conf.hostname);
	t->problem[0] = '\0';
}

/* ---- the probe: a connection of its own, made and let go ---- */

static void probe_from(struct target *t, size_t first);

/* What the target says to a probe, and how that ends, is no news. */
static size_t deaf_data(struct conn *c, void *arg, const uint8_t *data, size_t len)
{
	(void)c, (void)arg, (void)data;
	return len;
}

static void deaf_closed(struct conn *c, void *arg, int err)
{
	(void)c, (void)arg, (void)err;
}

static const struct conn_events deaf = { .data = deaf_data, .closed = deaf_closed };

static void probe_ready(struct conn *c, void *arg)
{
	struct target *t = arg;

	t->probe = NULL;
	conn_handler(c, &deaf, NULL);
	conn_close(c);
	t->good = t->probing < t->n ? t->probing : 0;
	t->proven = true;
	target_clear_problem(t);
	target_unref(t);
}

static void probe_closed(struct conn *c, void *arg, int err)
{
	struct target *t = arg;
	char text[256];

	snprintf(text, sizeof(text), "%s", *conn_error(c) ? conn_error(c) : strerror(-err));
	t->probe = NULL;
	if (t->probing + 1 < t->n)
		probe_from(t, t->probing + 1);
	else
		target_set_problem(t, err, text);
	target_unref(t);
}

static void probe_from(struct target *t, size_t first)
{
	static const struct conn_events on = { .ready = probe_ready, .closed = probe_closed };
	struct conn_dial dial = target_dial(t, first);
	int err;

	t->probing = first;
	t->probed_ms = reactor_now_ms(t->o->reactor);
	err = conn_dial(&t->probe, t->o->reactor, &dial, &on, t);
	if (err) {
		t->probe = NULL;
		target_set_problem(t, err, strerror(-err));
		return;
	}
	t->refs++;
}

void target_probe(struct target *t, bool now)
{
	if (!t->probe && t->n && (now || reactor_now_ms(t->o->reactor) - t->probed_ms >= PROBE_MS))
		probe_from(t, 0);
}

/* ---- names ---- */

static bool place_is_kept(const struct names_job *job, const struct addr_port *to)
{
	for (size_t i = 0; i < job->n; i++)
		if (addr_equal(&job->found[i].addr, &to->addr))
			return true;
	return false;
}

static void take_addresses(struct target *t, const struct names_job *job)
{
	struct target_place kept[NAMES_MAX] = { 0 };
	struct addr_port good = t->n ? t->places[t->good].to : (struct addr_port){ 0 };

	for (size_t i = 0; i < t->n; i++)
		if (!place_is_kept(job, &t->places[i].to))
			target_place_free(t, &t->places[i]);
	for (size_t i = 0; i < job->n; i++) {
		kept[i].to = job->found[i];
		for (size_t k = 0; k < t->n; k++)
			if (addr_equal(&t->places[k].to.addr, &job->found[i].addr))
				kept[i] = t->places[k];
	}
	memcpy(t->places, kept, sizeof(kept));
	t->n = job->n;
	t->good = 0;
	for (size_t i = 0; i < t->n; i++)
		if (addr_equal(&t->places[i].to.addr, &good.addr))
			t->good = i;
}

void target_names_done(struct names_job *job)
{
	struct target *t = (struct target *)((char *)job - offsetof(struct target, job));
	bool first = !t->n;

	if (job->n) {
		take_addresses(t, job);
		if (first && target_is_http(t->spec.kind))
			target_probe(t, true);
	} else {
		target_set_problem(t, -EHOSTUNREACH, job->error);
	}
	target_uses_wake(&t->waiting, t->n ? 0 : -EHOSTUNREACH);
	target_unref(t);
}

void target_ask(struct target *t)
{
	if (t->literal || t->job.running)
		return;
	t->asked_ms = reactor_now_ms(t->o->reactor);
	if (!names_ask(&t->job, t->o->reactor))
		t->refs++;
}
