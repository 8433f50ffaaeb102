// SPDX-License-Identifier: Apache-2.0
/*
 * origin.c -- weir-tunnel origin: publishes local servers through edges that it dials.
 *
 * This file puts the parts together: credentials and targets are read while privileged, then the
 * connections to edges stand or are retried for as long as the program runs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/log.h"
#include "user/tunnel/origin.h"

#define SECOND	     1000000u /* in microseconds */
#define READY_ROUNDS 10	      /* seconds after which it counts as started without an edge too */
#define DRAIN_MS     50	      /* how often a drain looks whether it is over */

/* ---- what goes on ---- */

/* What people may type into a browser now, once. */
static void say_hostnames(const struct origin *o)
{
	uint16_t ports[TUNNEL_PORTS_MAX];
	size_t n = targets_ports(o->targets, ports);

	for (size_t i = 0; i < o->cred->nhostnames; i++)
		if (targets_find(o->targets, o->cred->hostnames[i], 0))
			log_info("published: http://%s/ (https:// where the edges have its "
				 "certificate)",
				 o->cred->hostnames[i]);
	for (size_t i = 0; i < n; i++)
		log_info("published: port %u of tunnel %s", ports[i], o->cred->tunnel);
}

void origin_attached(struct origin *o)
{
	if (!o->said)
		say_hostnames(o);
	o->said = true;
	if (!o->ready)
		loop_notify_ready("attached");
	o->ready = true;
}

static void on_second(void *arg)
{
	struct origin *o = arg;

	if (o->draining)
		return;
	targets_second(o->targets);
	origin_dial_second(o->dial);
	if (!o->ready && ++o->seconds >= READY_ROUNDS) {
		o->ready = true;
		loop_notify_ready("runs; no edge is attached yet");
	}
}

/* ---- starting ---- */

static int read_credentials(struct origin *o, struct origin_cred **out)
{
	char why[ORIGIN_WHY_MAX];
	int err = origin_cred_load(out, o->d->conf->origin.credentials, why);

	if (err)
		log_error("%s", why);
	return err;
}

static int read_targets(struct origin *o, struct targets **out)
{
	char why[ORIGIN_WHY_MAX] = "out of memory";
	int err = targets_new(out, o, &o->d->conf->origin, o->targets, why);

	if (err)
		log_error("%s: %s", o->d->conf->path, why);
	return err;
}

static void warn_hostnames(const struct origin *o)
{
	const struct conf_origin *conf = &o->d->conf->origin;

	for (size_t i = 0; i < conf->ntargets; i++)
		if (strcmp(conf->targets[i].hostname, "*") &&
		    !origin_cred_names(o->cred, conf->targets[i].hostname))
			log_warn("origin.targets[%zu]: %s is not in the certificate of tunnel %s: "
				 "no request for it "
				 "will come; `weir tunnel create` names hostnames, and enrolling "
				 "puts them into the "
				 "certificate",
				 i, conf->targets[i].hostname, o->cred->tunnel);
}

static void release(struct origin *o)
{
	access_log_close(o->log);
	load_free(o->load);
	origin_cred_free(o->cred);
	o->d->state = NULL;
	free(o);
}

/* What needs files that the daemons' user may not read. */
static int open_files(struct origin *o)
{
	const struct daemon *d = o->d;
	int err = read_credentials(o, &o->cred);

	if (!err)
		err = read_targets(o, &o->targets);
	if (err)
		return err;
	warn_hostnames(o);
	if (d->conf->origin.access_log)
		err = access_log_open(&o->log, d->conf->origin.access_log, false, d->user.uid,
				      d->user.gid);
	if (!err)
		err = inside_bind(&o->inside, d->conf, &d->conf->origin.inside);
	return err;
}

static int origin_prepare(struct daemon *d)
{
	struct origin *o = calloc(1, sizeof(*o));
	uint8_t id[16];
	int err;

	if (!o)
		return -ENOMEM;
	d->state = o;
	o->d = d;
	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), o->id);
	if (load_new(&o->load)) /* without it edges do not learn how loaded this origin is */
		o->load = NULL;
	err = open_files(o);
	if (err) {
		targets_free(o->targets);
		release(o);
	}
	return err;
}

static int origin_start(struct daemon *d)
{
	struct origin *o = d->state;
	int err = reactor_new(&o->reactor, d->loop);

	if (!err && o->log)
		access_log_start(o->log, o->reactor);
	if (!err)
		err = origin_metrics_open(o);
	if (!err) {
		targets_start(o->targets);
		err = origin_dial_open(&o->dial, o);
	}
	if (!err)
		err = loop_every(d->loop, &o->second, SECOND, 0, on_second, o);
	if (err)
		log_error("cannot start: %s", strerror(-err));
	else
		err = inside_serve(o->inside, d, o->load, NULL, NULL, NULL);
	if (!err)
		log_info("tunnel %s, certificate valid until %s, %zu edge%s to dial",
			 o->cred->tunnel, o->cred->until_text, d->conf->origin.nedges,
			 d->conf->origin.nedges == 1 ? "" : "s");
	return err;
}

/* ---- ending ---- */

static void origin_stop(struct daemon *d)
{
	struct origin *o = d->state;

	inside_stop(o->inside);
	loop_timer_stop(o->second);
	if (o->reactor)
		reactor_timer_stop(o->reactor, &o->drain);
	origin_dial_close(o->dial);
	targets_free(o->targets);
	reactor_free(o->reactor); /* ends requests that still ran: they are logged and counted */
	origin_dial_free(o->dial);
	origin_metrics_close(o);
	release(o);
}

/* Ends when every connection has, or when the time is over. */
static void drain_look(struct reactor_timer *t)
{
	struct origin *o = (struct origin *)((char *)t - offsetof(struct origin, drain));

	origin_dial_settle(o->dial);
	if (!origin_dial_is_idle(o->dial) && reactor_now_ms(o->reactor) < o->drain_until_ms) {
		reactor_timer_set(o->reactor, t, DRAIN_MS);
		return;
	}
	if (o->inflight)
		log_warn("%u requests did not end within %" PRIu64 " s and are broken off",
			 o->inflight, o->d->conf->origin.drain_us / SECOND);
	loop_quit(o->d->loop, EXIT_SUCCESS);
}

static void origin_drain(struct daemon *d)
{
	struct origin *o = d->state;
	uint64_t now = reactor_now_ms(o->reactor);

	log_info("draining: edges %s, %u run",
		 loop_is_restart(d->loop) ? "keep new requests until the next process has come"
					  : "send no new requests here",
		 o->inflight);
	o->draining = true;
	o->drain_until_ms = now + d->conf->origin.drain_us / 1000;
	o->drain.fn = drain_look;
	origin_dial_drain(o->dial);
	if (loop_is_restart(d->loop) && daemon_has_successor()) {
		inside_stop_accepting(o->inside);
		daemon_give_way(d);
	}
	reactor_timer_set(o->reactor, &o->drain, 1);
}

/* ---- reload ---- */

static bool same_service(const struct origin *o, const struct targets *new)
{
	uint16_t a[TUNNEL_PORTS_MAX], b[TUNNEL_PORTS_MAX];
	size_t n = targets_ports(o->targets, a);

	if (targets_ports(new, b) != n || memcmp(a, b, n * sizeof(*a)) != 0)
		return false;
	for (size_t i = 0; i < o->cred->nhostnames; i++)
		if (targets_serve(o->targets, o->cred->hostnames[i]) !=
		    targets_serve(new, o->cred->hostnames[i]))
			return false;
	return true;
}

static int origin_reload(struct daemon *d, const struct conf *old)
{
	struct origin *o = d->state;
	struct origin_cred *cred = NULL;
	struct targets *targets = NULL;
	bool changed;
	int err = read_credentials(o, &cred);

	if (!err)
		err = read_targets(o, &targets);
	if (err) {
		origin_cred_free(cred);
		return err;
	}
	if ((old->origin.access_log || d->conf->origin.access_log) &&
	    (!old->origin.access_log || !d->conf->origin.access_log ||
	     strcmp(old->origin.access_log, d->conf->origin.access_log)))
		log_warn("origin.access_log: another file counts from the next start");
	changed = memcmp(cred->print, o->cred->print, sizeof(cred->print)) != 0;
	if (changed) {
		log_info("the credentials are new (valid until %s): connections are made anew",
			 cred->until_text);
		origin_cred_free(o->cred);
		o->cred = cred;
	} else {
		origin_cred_free(cred);
	}
	/* Edges are told by the hello what is served here: once a connection. */
	changed = changed || !same_service(o, targets);
	targets_free(o->targets);
	o->targets = targets;
	targets_start(targets);
	warn_hostnames(o);
	origin_dial_reload(o->dial, changed);
	return 0;
}

/* ---- showing ---- */

static void origin_status(struct daemon *d, json_t *answer)
{
	const struct origin *o = d->state;
	json_t *hostnames = json_array();
	size_t edges, up;

	if (!o->dial)
		return;
	up = origin_dial_up(o->dial, &edges);
	for (size_t i = 0; i < o->cred->nhostnames; i++)
		json_array_append_new(hostnames, json_string(o->cred->hostnames[i]));
	json_object_set_new(answer, "tunnel", json_string(o->cred->tunnel));
	json_object_set_new(answer, "origin", json_string(o->id));
	json_object_set_new(answer, "hostnames", hostnames);
	json_object_set_new(answer, "certificate",
			    json_pack("{ss sI ss}", "serial", o->cred->serial, "until",
				      (json_int_t)o->cred->until, "until_text",
				      o->cred->until_text));
	json_object_set_new(answer, "attached",
			    json_pack("{sI sI sI}", "connections", (json_int_t)up, "edges",
				      (json_int_t)edges, "wanted",
				      (json_int_t)d->conf->origin.connections));
	json_object_set_new(answer, "connections", origin_dial_status(o->dial));
	json_object_set_new(answer, "edges", origin_dial_candidates(o->dial));
	json_object_set_new(answer, "targets", targets_status(o->targets));
	json_object_set_new(answer, "requests",
			    json_pack("{sI sI sI sI sI}", "total", (json_int_t)o->requests,
				      "failed", (json_int_t)o->failed, "inflight",
				      (json_int_t)o->inflight, "bytes_up", (json_int_t)o->bytes_up,
				      "bytes_down", (json_int_t)o->bytes_down));
	json_object_set_new(answer, "draining", json_boolean(o->draining));
}

/* -n: what the table of keys does not know. */
static int origin_check(const struct conf *conf)
{
	const struct conf_origin *c = &conf->origin;
	char why[TARGET_WHY_MAX], host[TARGET_HOST_MAX], said[ORIGIN_WHY_MAX];
	struct origin_cred *cred = NULL;
	struct target_spec spec;
	uint16_t port;
	int err = 0;

	for (size_t i = 0; i < c->nedges; i++)
		if (names_split(c->edges[i], host, &port)) {
			fprintf(stderr,
				"%s: origin.edges[%zu]: \"%s\" is no NAME:PORT or ADDRESS:PORT\n",
				conf->path, i, c->edges[i]);
			err = -EINVAL;
		}
	for (size_t i = 0; i < c->ntargets; i++)
		if (target_check(&c->targets[i], &spec, why)) {
			fprintf(stderr, "%s: origin.targets[%zu].%s\n", conf->path, i, why);
			err = -EINVAL;
		}
	if (origin_cred_load(&cred, c->credentials, said)) {
		fprintf(stderr, "%s: %s\n", conf->path, said);
		err = -EINVAL;
	}
	origin_cred_free(cred);
	return err;
}

static bool origin_enabled(const struct conf *conf)
{
	return conf->origin.enabled;
}

const struct daemon_program origin_program = {
	.name = "weir-tunnel",
	.role = "origin",
	.summary = "publish local servers through edges",
	.enabled = origin_enabled,
	.profile = PRIV_NET,
	.prepare = origin_prepare,
	.start = origin_start,
	.stop = origin_stop,
	.drain = origin_drain,
	.reload = origin_reload,
	.status = origin_status,
	.check = origin_check,
};
