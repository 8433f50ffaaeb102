// SPDX-License-Identifier: Apache-2.0
/*
 * origin_targets.c -- the set of targets that a configuration names.
 *
 * A target lives as long as its set or a request needs it: a reload makes a new set, and what runs
 * goes on with the old one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/origin_back.h"

/* ---- making ---- */

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static int open_tls(struct target *t, char why[ORIGIN_WHY_MAX])
{
	static const char *const h1[] = { "http/1.1", NULL }, *const h2[] = { "h2", NULL };
	const struct conn_tls_files files = {
		.ca = t->conf.ca,
		.alpn = t->spec.kind == TARGET_H2 ? h2 : h1,
	};

	return target_is_tls(t->spec.kind) ? conn_tls_new(&t->tls, &files, why, ORIGIN_WHY_MAX) : 0;
}

/* An address or a socket needs no name server; a name may be known from before a reload. */
static void first_addresses(struct target *t, const struct targets *old)
{
	struct addr a;

	if (*t->spec.path) {
		snprintf(t->places[0].to.path, sizeof(t->places[0].to.path), "%s", t->spec.path);
		t->literal = true;
	} else if (!addr_parse(&a, t->spec.host)) {
		t->places[0].to = (struct addr_port){ .addr = a, .port = t->spec.port };
		t->literal = true;
	}
	t->n = t->literal;
	snprintf(t->job.host, sizeof(t->job.host), "%s", t->spec.host);
	t->job.port = t->spec.port;
	t->job.done = target_names_done;
	for (size_t i = 0; old && i < old->n && !t->n; i++) {
		const struct target *o = old->list[i];

		if (strcmp(o->spec.host, t->spec.host) || o->spec.port != t->spec.port ||
		    o->literal)
			continue;
		t->n = o->n;
		t->good = o->good;
		t->asked_ms = o->asked_ms;
		for (size_t k = 0; k < o->n; k++)
			t->places[k].to = o->places[k].to;
	}
}

static int target_new(struct target **out, struct origin *o, const struct conf_target *conf,
		      const struct targets *old, char why[ORIGIN_WHY_MAX])
{
	struct target *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->o = o;
	t->refs = 1;
	t->conf = (struct conf_target){ copy(conf->hostname), conf->port,	copy(conf->to),
					copy(conf->ca),	      copy(conf->host), conf->proxy };
	err = t->conf.hostname && t->conf.to ? target_check(conf, &t->spec, why) : -ENOMEM;
	if (!err)
		err = open_tls(t, why);
	if (err) {
		target_unref(t);
		return err;
	}
	first_addresses(t, old);
	*out = t;
	return 0;
}

int targets_new(struct targets **out, struct origin *o, const struct conf_origin *conf,
		const struct targets *old, char why[ORIGIN_WHY_MAX])
{
	struct targets *t = calloc(1, sizeof(*t) + conf->ntargets * sizeof(*t->list));
	char rest[ORIGIN_WHY_MAX] = "out of memory";
	int err;

	if (t)
		t->conf = calloc(conf->ntargets, sizeof(*t->conf));
	err = t && t->conf ? 0 : -ENOMEM;
	for (size_t i = 0; !err && i < conf->ntargets; i++) {
		err = target_new(&t->list[i], o, &conf->targets[i], old, rest);
		if (err) {
			snprintf(why, ORIGIN_WHY_MAX, "origin.targets[%zu].%.*s", i,
				 ORIGIN_WHY_MAX - 40, rest);
			break;
		}
		t->conf[t->n] = t->list[i]->conf;
		t->n++;
	}
	if (err) {
		targets_free(t);
		return err;
	}
	*out = t;
	return 0;
}

void targets_start(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct target *one = t->list[i];

		if (!one->n)
			target_ask(one);
		else if (target_is_http(one->spec.kind) && !one->proven)
			target_probe(one, true);
	}
}

void targets_free(struct targets *t)
{
	for (size_t i = 0; t && i < t->n; i++) {
		if (t->list[i]->probe) {
			conn_abort(t->list[i]->probe);
			t->list[i]->probe = NULL;
			target_unref(t->list[i]);
		}
		target_unref(t->list[i]);
	}
	if (t)
		free(t->conf);
	free(t);
}

void targets_second(struct targets *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct target *one = t->list[i];
		uint64_t since = reactor_now_ms(one->o->reactor) - one->asked_ms;

		if (since >= (one->n && !*one->problem ? TARGET_NAMES_MS : TARGET_NAMES_SOON_MS))
			target_ask(one);
	}
}

/* ---- finding ---- */

struct target *targets_find(struct targets *t, const char *hostname, uint16_t port)
{
	int i = target_match(t->conf, t->n, hostname, port);

	return i < 0 ? NULL : t->list[i];
}

bool targets_serve(const struct targets *t, const char *hostname)
{
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->list[i]->conf.hostname, "*") ||
		    !strcmp(t->list[i]->conf.hostname, hostname))
			return true;
	return false;
}

size_t targets_ports(const struct targets *t, uint16_t ports[TUNNEL_PORTS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < t->n && n < TUNNEL_PORTS_MAX; i++) {
		bool known = !t->list[i]->conf.port;

		for (size_t k = 0; k < n; k++)
			known = known || ports[k] == t->list[i]->conf.port;
		if (!known)
			ports[n++] = t->list[i]->conf.port;
	}
	return n;
}

json_t *targets_status(const struct targets *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++) {
		const struct target *one = t->list[i];
		char text[ADDR_PORT_STRLEN] = "";

		if (one->n)
			addr_port_format(&one->places[one->good].to, text, sizeof(text));
		json_array_append_new(
			list,
			json_pack("{ss sI ss ss sb ss sI sI}", "hostname", one->conf.hostname,
				  "port", (json_int_t)one->conf.port, "to", one->conf.to, "address",
				  text, "answers", one->proven && !*one->problem, "problem",
				  one->problem, "requests", (json_int_t)one->requests, "failures",
				  (json_int_t)one->failures));
	}
	return list;
}
