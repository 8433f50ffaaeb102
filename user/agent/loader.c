/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c -- the one privileged process of the agent (see loader.h): it answers the agent's
 * messages, keeps backends' next hops fresh (loader_ways.c) and ends transitions. It never reads from the
 * network.
 */
#include "user/agent/loader.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

#define RETRY_MS	  200 /* for next hops that are being resolved */
#define SETTLE_MS	  1000
#define DEBOUNCE_MS	  20

/* ---- answers ---- */

int loader_answer_error(struct loader *l, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf((char *)l->out.body, 256, fmt, ap);
	va_end(ap);
	l->out.len = (uint32_t)strlen((char *)l->out.body);
	return err;
}

int loader_answer_maps(struct loader *l, int rc)
{
	return rc < 0 ? loader_answer_error(l, rc, "%s", maps_error(l->maps)) : rc;
}

static int do_reasons(struct loader *l)
{
	struct weir_count *out = (struct weir_count *)l->out.body;
	int rc = 0;

	for (uint32_t i = 0; !rc && i < WEIR_REASON_COUNT; i++)
		rc = mapset_count(l->fds.reasons, i, &out[i]);
	l->out.len = rc ? 0 : WEIR_REASON_COUNT * sizeof(*out);
	return rc;
}

static int do_backend_counts(struct loader *l)
{
	const uint16_t *index = (const uint16_t *)l->in.body;
	struct weir_count *out = (struct weir_count *)l->out.body;
	uint32_t n = l->in.len / sizeof(*index);
	int rc = 0;

	if (n > LOADER_BODY_MAX / sizeof(*out))
		return -EBADMSG;
	for (uint32_t i = 0; !rc && i < n; i++)
		rc = mapset_count(l->fds.backend_counts, index[i], &out[i]);
	l->out.len = rc ? 0 : n * sizeof(*out);
	return rc;
}

int loader_socket(struct loader *l, int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -errno;
	if (l->mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &l->mark, sizeof(l->mark))) {
		err = -errno;
		close(fd);
		return loader_answer_error(l, err, "a health check's socket cannot be marked: %s",
					   strerror(-err));
	}
	return fd;
}

static int do_socket(struct loader *l)
{
	int fd = loader_socket(l, l->in.number == AF_INET6 ? AF_INET6 : AF_INET);

	if (fd < 0)
		return fd;
	l->send_fd = fd;
	return 0;
}

static int do_interfaces(struct loader *l)
{
	size_t max = LOADER_BODY_MAX / sizeof(struct dataplane_interface);
	size_t n = attach_interfaces(l->path, (struct dataplane_interface *)l->out.body, max);

	l->out.len = (uint32_t)(n * sizeof(struct dataplane_interface));
	return (int)n;
}

/* What may be changed while running: from the configuration at the start and by a reload. */
static int change(struct loader *l, const struct loader_change *c, const struct addr_prefix *from,
		  const struct addr_prefix *prefixes, const uint32_t *ifindex)
{
	int rc;

	l->nfrom = c->nfrom;
	if (c->nfrom)
		memcpy(l->from, from, c->nfrom * sizeof(*from));
	rc = loader_sources(l);
	if (!rc)
		rc = mapset_decap_ifaces(&l->fds, ifindex, c->ninterfaces);
	if (!rc)
		rc = loader_prefixes(l, prefixes, c->nprefixes);
	if (!rc)
		rc = loader_nat(l, &c->nat);
	if (!rc)
		rc = mapset_on(l->fds.settings, c->on & LOADER_SWITCHES, LOADER_SWITCHES & ~c->on);
	l->drain_s = (uint32_t)((c->drain_us + 999999) / 1000000);
	l->mark = c->mark;
	l->mss = c->mss;
	l->ntaken = c->ninterfaces < LOADER_CLAMPED_MAX / 2 ? c->ninterfaces : LOADER_CLAMPED_MAX / 2;
	memcpy(l->taken, ifindex, l->ntaken * sizeof(*ifindex));
	if (!rc && l->started)
		loader_clamp(l);
	return rc;
}

static int do_change(struct loader *l)
{
	const struct addr_prefix *from;
	const char(*name)[IFNAMSIZ];
	struct loader_change c;
	uint32_t ifindex[64];

	if (l->in.len < sizeof(c))
		return -EBADMSG;
	memcpy(&c, l->in.body, sizeof(c));
	from = (const void *)(l->in.body + sizeof(c));
	if (c.nfrom > LOADER_FROM_MAX || c.nprefixes > LOADER_PREFIXES_MAX || c.ninterfaces > 64 ||
	    l->in.len != sizeof(c) + (c.nfrom + c.nprefixes) * sizeof(*from) +
				 c.ninterfaces * sizeof(*name))
		return -EBADMSG;
	name = (const void *)(from + c.nfrom + c.nprefixes);
	for (uint32_t i = 0; i < c.ninterfaces; i++) {
		char text[IFNAMSIZ];

		memcpy(text, name[i], sizeof(text));
		text[IFNAMSIZ - 1] = 0;
		ifindex[i] = if_nametoindex(text);
		if (!ifindex[i])
			return loader_answer_error(
				l, -ENODEV, "agent.decap.interfaces: there is no interface %s",
				text);
	}
	return change(l, &c, from, from + c.nfrom, ifindex);
}

static int dispatch(struct loader *l)
{
	switch (l->in.op) {
	case LOADER_SERVICE_SET:
		return loader_do_service_set(l);
	case LOADER_BACKEND_SET:
		return loader_do_backend_set(l);
	case LOADER_BACKEND_QUIC:
		return loader_do_backend_quic(l);
	case LOADER_QUIC_KEY:
		return loader_do_quic_key(l);
	case LOADER_SWEEP:
		if (l->in.number != MAPS_CONFIGURED && l->in.number != MAPS_TUNNELS)
			return -EBADMSG;
		return loader_answer_maps(l, maps_sweep(l->maps, l->in.number));
	case LOADER_SLOTS_GET:
		return loader_do_slots_get(l);
	case LOADER_SLOTS_PUT:
		return loader_do_slots_put(l);
	case LOADER_SLOTS_SET:
		return loader_do_slots_set(l);
	case LOADER_STATE:
		return loader_do_state(l);
	case LOADER_TABLE_GET:
		return loader_do_table_get(l);
	case LOADER_TABLE_PUT:
		return loader_do_table_put(l);
	case LOADER_OWNER_GET:
		return loader_do_owner_get(l);
	case LOADER_OWNER_SET:
		return loader_do_owner_set(l);
	case LOADER_REASONS:
		return do_reasons(l);
	case LOADER_BACKEND_COUNTS:
		return do_backend_counts(l);
	case LOADER_SOCKET:
		return do_socket(l);
	case LOADER_INTERFACES:
		return do_interfaces(l);
	case LOADER_CHANGE:
		return do_change(l);
	case LOADER_SERVICE_REMOVE:
		return loader_do_service_remove(l);
	case LOADER_SERVICE_COUNTS:
		return loader_do_service_counts(l);
	case LOADER_EDGES:
		return loader_do_edges(l);
	case LOADER_LISTENER:
		return loader_do_listener(l);
	case LOADER_LISTEN_COUNTS:
		return loader_do_listen_counts(l);
	case LOADER_SAMPLE_FILTER:
		return loader_do_sample_filter(l);
	case LOADER_SAMPLE_RING:
		return loader_do_sample_ring(l);
	case LOADER_SAMPLE_COUNTS:
		return loader_do_sample_counts(l);
	case LOADER_FLAG_COUNTS:
		return loader_do_flag_counts(l);
	case LOADER_CPU_COUNTS:
		return loader_do_cpu_counts(l);
	case LOADER_PROBE:
		return loader_do_probe(l);
	case LOADER_EGRESS_COUNTS:
		return loader_do_egress_counts(l);
	case LOADER_ANNOUNCE:
		return loader_do_announce(l);
	case LOADER_FILTER:
		return loader_do_filter(l);
	case LOADER_NAT:
		return loader_do_nat(l);
	case LOADER_NOTES:
		return loader_do_notes(l);
	case LOADER_LOADS:
		return loader_do_loads(l);
	}
	return -EOPNOTSUPP;
}

static void answer(struct loader *l)
{
	struct iovec iov = { &l->out, LOADER_HEAD + l->out.len };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (l->send_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &l->send_fd, sizeof(int));
	}
	while (sendmsg(l->sock, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
	if (l->send_fd >= 0)
		close(l->send_fd);
	l->send_fd = -1;
}

/* The question, and the socket that may come with it. */
static ssize_t receive(struct loader *l)
{
	struct iovec iov = { &l->in, sizeof(l->in) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_LEN(sizeof(int)) }; /* CMSG_SPACE has room for two */
	ssize_t got = recvmsg(l->sock, &msg, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = got < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	l->came_fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&l->came_fd, CMSG_DATA(c), sizeof(int));
	return got;
}

/* False: the agent is gone. */
static bool serve_one(struct loader *l)
{
	ssize_t got = receive(l);

	if (got < 0 && errno == EINTR)
		return true;
	if (got <= 0)
		return false;
	l->out.op = l->in.op;
	l->out.len = 0;
	l->send_fd = -1;
	if (got < (ssize_t)LOADER_HEAD || (size_t)got != LOADER_HEAD + l->in.len)
		l->out.result = -EBADMSG;
	else
		l->out.result = dispatch(l);
	if (l->came_fd >= 0)
		close(l->came_fd); /* the map holds a listener only as long as somebody else does */
	answer(l);
	return true;
}

/* ---- serving ---- */

static void serve(struct loader *l)
{
	struct pollfd fds[] = {
		{ .fd = l->sock, .events = POLLIN },
		{ .fd = netlink_fd(l->nl), .events = POLLIN },
		{ .fd = loader_feedback_fd(l), .events = POLLIN },
	};
	uint32_t settled = 0;

	for (;;) {
		int wait = l->stale ? DEBOUNCE_MS : l->unresolved ? RETRY_MS : SETTLE_MS;
		int n = poll(fds, 3, wait);
		uint32_t now = maps_now();

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0 && fds[0].revents && !serve_one(l))
			return;
		if (n > 0 && fds[1].revents) {
			netlink_drain(l->nl);
			l->stale = true;
		}
		if (n > 0 && fds[2].revents)
			loader_feedback(l, now);
		if (n == 0 && (l->stale || l->unresolved))
			loader_refresh(l);
		if (now != settled) {
			settled = now;
			maps_settle(l->maps, now, l->drain_s);
			if (l->stale || l->unresolved) /* news that never pause must not put this off */
				loader_refresh(l);
			loader_confirm(l, now);
			loader_probe_tick(l, now);
		}
	}
}

/* ---- start ---- */

size_t loader_decap_interfaces(const struct conf_agent *conf, const struct conf_tunnels *tunnels,
			       char ***names)
{
	bool all = !conf->decap.ninterfaces && tunnels && tunnels->enabled;

	*names = all ? conf->interfaces : conf->decap.interfaces;
	return all ? conf->ninterfaces : conf->decap.ninterfaces;
}

uint32_t loader_switches(const struct conf_agent *conf)
{
	return (conf->forward ? WEIR_ON_ROUTE : 0) | (conf->gue_checksum ? WEIR_ON_CHECKSUM : 0) |
	       (conf->feedback ? WEIR_ON_FEEDBACK : 0);
}

/* What may be forwarded to; the interfaces cannot change while we run. */
static int start_ports(struct loader *l, const struct conf_agent *conf)
{
	uint32_t ifindex[WEIR_PORTS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < conf->ninterfaces && n < WEIR_PORTS_MAX; i++) {
		ifindex[n] = if_nametoindex(conf->interfaces[i]);
		n += ifindex[n] != 0;
	}
	return mapset_tx_ports(&l->fds, ifindex, n);
}

static int start_change(struct loader *l, const struct conf_agent *conf,
			const struct conf_tunnels *tunnels)
{
	bool routed = tunnels && tunnels->enabled;
	struct loader_change c = {
		.drain_us = conf->drain_us,
		.mark = conf->mark,
		.mss = conf->decap.mss,
		.on = loader_switches(conf),
		.nfrom = (uint32_t)conf->decap.nfrom,
		.nprefixes = routed ? (uint32_t)tunnels->nprefix : 0,
		.nat = loader_nat_want(conf),
	};
	uint32_t ifindex[64];
	char **names;
	size_t n = loader_decap_interfaces(conf, tunnels, &names);

	if (n > 64 || c.nfrom > LOADER_FROM_MAX || c.nprefixes > LOADER_PREFIXES_MAX)
		return -E2BIG;
	c.ninterfaces = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		ifindex[i] = if_nametoindex(names[i]);
		if (!ifindex[i]) {
			log_error("agent.decap.interfaces: there is no interface %s", names[i]);
			return -ENODEV;
		}
	}
	if (n && names == conf->interfaces)
		log_info("tunnels: encapsulated packets of other edges are taken on all of "
			 "agent.interfaces; agent.decap.interfaces names fewer");
	return change(l, &c, conf->decap.from, routed ? tunnels->prefix : NULL, ifindex);
}

/* On veth a frame sent back by XDP_TX lies in the peer's ring until something else wakes it. */
static int start_tx(struct loader *l, const struct conf_agent *conf)
{
	bool veth = false;

	for (size_t i = 0; i < conf->ninterfaces; i++)
		veth |= netlink_is_veth(l->nl, if_nametoindex(conf->interfaces[i]));
	return mapset_off(&l->fds, veth ? WEIR_OFF_TX : 0, veth ? 0 : WEIR_OFF_TX);
}

static int start(struct loader *l, const struct conf_agent *conf,
		 const struct conf_tunnels *tunnels, const struct priv_user *user)
{
	int rc = loader_start_quic(l, conf);

	if (!rc)
		rc = attach_open(&l->path, conf);
	if (rc)
		return rc;
	attach_fds(l->path, &l->fds);
	rc = loader_start_tunnels(l, conf, tunnels);
	if (rc)
		return rc;
	rc = maps_open(&l->maps, &l->fds);
	if (!rc) {
		l->put = calloc(maps_max(l->maps)->slots, sizeof(*l->put));
		rc = l->put ? 0 : -ENOMEM;
	}
	if (!rc)
		rc = loader_start_filter(l);
	if (!rc)
		rc = netlink_open(&l->nl);
	if (!rc)
		rc = start_change(l, conf, tunnels);
	if (!rc)
		rc = start_ports(l, conf);
	if (!rc)
		rc = start_tx(l, conf);
	if (!rc)
		rc = loader_start_seeing(l);
	if (!rc)
		rc = loader_start_feedback(l);
	if (!rc)
		rc = loader_start_egress(l, conf);
	if (rc) {
		log_error("the packet path's maps cannot be used: %s", strerror(-rc));
		return rc;
	}
	/* Only root may ask whose tc filter is already there. */
	l->started = true;
	loader_refresh(l);
	rc = priv_drop(user, "cap_bpf,cap_net_admin", PRIV_NONE);
	if (rc)
		log_error("the loader cannot give up its privileges: %s", strerror(-rc));
	return rc;
}

void loader_run(int sock, const struct conf_agent *conf, const struct conf_tunnels *tunnels,
		const struct priv_user *user)
{
	struct loader *l = calloc(1, sizeof(*l));

	/* It ends when the agent does, not at a signal to the whole group. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	prctl(PR_SET_NAME, "weir-loader");
	if (!l)
		_exit(1);
	l->sock = sock;
	l->send_fd = -1;
	l->out.result = start(l, conf, tunnels, user);
	answer(l);
	if (!l->out.result) {
		serve(l);
		loader_samples_clear(l); /* nobody reads any more */
		loader_probes_clear(l);
	}
	_exit(l->out.result ? 1 : 0);
}
