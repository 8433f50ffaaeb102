/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c -- the one privileged process of the agent (see loader.h): it answers the agent's
 * messages, keeps backends' next hops fresh and ends transitions. It never reads from the network.
 */
#include "user/agent/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/agent/loader_int.h"

#define CONFIRM_SECONDS	  20  /* below the kernel's base_reachable_time of 30 s */
#define RETRY_MS	  200 /* for next hops that are being resolved */
#define SETTLE_MS	  1000
#define DEBOUNCE_MS	  20
#define OWN_ADDRESSES_MAX 1024

/* ---- answers -------------------------------------------------------------------------------- */

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

static int do_service_set(struct loader *l)
{
	struct maps_service s;
	size_t left = l->in.len - sizeof(s);

	if (l->in.len < sizeof(s))
		return -EBADMSG;
	memcpy(&s, l->in.body, sizeof(s));
	s.name[sizeof(s.name) - 1] = 0;
	if (left != s.naddresses * sizeof(struct maps_address))
		return -EBADMSG;
	return loader_answer_maps(
		l, maps_service_set(l->maps, &s, (const void *)(l->in.body + sizeof(s))));
}

/* Ways that were asked for in one round: thousands of tunnels have the same few edges. */
struct ways {
	struct {
		struct addr to;
		struct netlink_way way;
		int rc;
	} known[64];
	size_t n;
};

static int find_way(struct loader *l, struct ways *ways, const struct addr *to,
		    struct netlink_way *way)
{
	int rc;

	for (size_t i = 0; ways && i < ways->n; i++) {
		if (!addr_equal(&ways->known[i].to, to))
			continue;
		*way = ways->known[i].way;
		return ways->known[i].rc;
	}
	rc = netlink_way(l->nl, to, way);
	if (ways && ways->n < sizeof(ways->known) / sizeof(*ways->known)) {
		ways->known[ways->n].to = *to;
		ways->known[ways->n].way = *way;
		ways->known[ways->n++].rc = rc;
	}
	return rc;
}

struct addr loader_backend_address(const struct weir_backend *b)
{
	struct addr to = { .family = b->family == WEIR_FAMILY_4 ? AF_INET : AF_INET6 };

	memcpy(to.bytes, b->addr, sizeof(to.bytes));
	return to;
}

/* ways may be NULL. */
static int backend_resolve(struct loader *l, uint32_t index, struct ways *ways)
{
	const struct weir_backend *b = maps_backend(l->maps, index);
	struct netlink_way way;
	struct addr to;
	int rc;

	if (!b)
		return 0;
	to = loader_backend_address(b);
	rc = find_way(l, ways, &to, &way);
	if (rc == -EAGAIN) {
		/* The same interface as before: the link address that was known may well be right.
		 */
		l->unresolved = true;
		if (b->ifindex == way.ifindex)
			memcpy(way.mac, b->mac, sizeof(way.mac));
		else
			way.ifindex = 0;
	} else if (rc) {
		memset(&way, 0, sizeof(way));
	}
	loader_tunnel_source(l, b, &way);
	return maps_backend_way(l->maps, index, &way);
}

static int do_backend_set(struct loader *l)
{
	struct loader_backend b;
	int rc;

	if (l->in.len != sizeof(b) || l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	memcpy(&b, l->in.body, sizeof(b));
	b.name[sizeof(b.name) - 1] = 0;
	rc = maps_backend_set(l->maps, (int)l->in.number, b.name, &b.address, b.up);
	if (rc > 0)
		backend_resolve(l, (uint32_t)rc, NULL);
	return loader_answer_maps(l, rc);
}

static int do_backend_quic(struct loader *l)
{
	if (l->in.len > WEIR_QUIC_ID_MAX)
		return -EBADMSG;
	return loader_answer_maps(l, maps_backend_quic(l->maps, (int)l->in.number, l->in.offset,
						       l->in.body, (uint8_t)l->in.len));
}

static int do_slots_get(struct loader *l)
{
	uint16_t *owner = (uint16_t *)l->out.body;
	uint32_t n = 0, count = 0;
	const struct weir_slot *slot;

	if (l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	slot = maps_slots(l->maps, (int)l->in.number, &n);
	if (!slot || l->in.offset > n)
		return -ENOENT;
	while (count < LOADER_SLOTS_MAX && l->in.offset + count < n) {
		owner[count] = slot[l->in.offset + count].current;
		count++;
	}
	l->out.len = count * sizeof(*owner);
	return (int)n;
}

static int do_slots_put(struct loader *l)
{
	uint32_t n = l->in.len / sizeof(uint16_t);

	if (l->in.offset > maps_max(l->maps)->slots || n > maps_max(l->maps)->slots - l->in.offset)
		return -EBADMSG;
	memcpy(l->put + l->in.offset, l->in.body, n * sizeof(uint16_t));
	return 0;
}

static int do_slots_set(struct loader *l)
{
	uint32_t generation;

	if (l->in.len != sizeof(generation) || l->in.offset > maps_max(l->maps)->slots ||
	    l->in.number >= maps_max(l->maps)->services)
		return -EBADMSG;
	memcpy(&generation, l->in.body, sizeof(generation));
	return loader_answer_maps(l, maps_slots_set(l->maps, (int)l->in.number, l->put,
						    l->in.offset, generation, maps_now()));
}

static int do_state(struct loader *l)
{
	struct dataplane_service_state state = { 0 };
	int service = (int)l->in.number, rc;

	if (l->in.number >= maps_max(l->maps)->services || !maps_slots(l->maps, service, &state.slots))
		return -ENOENT;
	state.transition = maps_in_transition(l->maps, service);
	state.generation = maps_generation(l->maps, service);
	rc = mapset_count(l->fds.service_counts, l->in.number, &state.count);
	if (rc)
		return rc;
	memcpy(l->out.body, &state, sizeof(state));
	l->out.len = sizeof(state);
	return 0;
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
		return do_service_set(l);
	case LOADER_BACKEND_SET:
		return do_backend_set(l);
	case LOADER_BACKEND_QUIC:
		return do_backend_quic(l);
	case LOADER_SWEEP:
		if (l->in.number != MAPS_CONFIGURED && l->in.number != MAPS_TUNNELS)
			return -EBADMSG;
		return loader_answer_maps(l, maps_sweep(l->maps, l->in.number));
	case LOADER_SLOTS_GET:
		return do_slots_get(l);
	case LOADER_SLOTS_PUT:
		return do_slots_put(l);
	case LOADER_SLOTS_SET:
		return do_slots_set(l);
	case LOADER_STATE:
		return do_state(l);
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
			      .msg_controllen = sizeof(control.room) };
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

/* ---- the kernel's tables --------------------------------------------------------------------- */

struct own {
	struct addr addr[OWN_ADDRESSES_MAX];
	struct addr alone[OWN_ADDRESSES_MAX]; /* that are no network's, as service addresses are */
	size_t n, nalone;
};

static void own_add(void *arg, const struct addr *a, unsigned int prefix_len)
{
	struct own *own = arg;

	if (own->n == OWN_ADDRESSES_MAX || addr_is_loopback(a))
		return;
	own->addr[own->n++] = *a;
	if (prefix_len == (a->family == AF_INET ? 32 : 128))
		own->alone[own->nalone++] = *a;
}

static void refresh(struct loader *l)
{
	static struct own own;
	static struct ways ways;
	int rc;

	l->stale = l->unresolved = false;
	own.n = own.nalone = 0;
	rc = netlink_addresses(l->nl, 0, own_add, &own);
	if (!rc)
		rc = mapset_decap_targets(&l->fds, own.addr, own.n);
	if (!rc && l->egress)
		rc = egress_addresses(l->egress, own.alone, own.nalone);
	if (rc)
		log_limited(LOG_LEVEL_WARN, 6, "this node's addresses cannot be read: %s",
			    strerror(-rc));
	loader_clamp(l);
	ways.n = 0;
	for (uint32_t i = 1; i < maps_backends_end(l->maps); i++)
		backend_resolve(l, i, &ways);
}

static void confirm(struct loader *l, uint32_t now)
{
	struct addr last = { 0 };

	if (now - l->confirmed < CONFIRM_SECONDS)
		return;
	l->confirmed = now;
	for (uint32_t i = 1; i < maps_backends_end(l->maps); i++) {
		const struct weir_backend *b = maps_backend(l->maps, i);
		struct addr to;

		if (!b || (b->flags & WEIR_BACKEND_LOCAL))
			continue;
		to = loader_backend_address(b);
		if (!addr_equal(&to, &last))
			netlink_confirm(l->nl, &to);
		last = to;
	}
}

static void serve(struct loader *l)
{
	struct pollfd fds[] = {
		{ .fd = l->sock, .events = POLLIN },
		{ .fd = netlink_fd(l->nl), .events = POLLIN },
	};
	uint32_t settled = 0;

	for (;;) {
		int wait = l->stale ? DEBOUNCE_MS : l->unresolved ? RETRY_MS : SETTLE_MS;
		int n = poll(fds, 2, wait);
		uint32_t now = maps_now();

		if (n < 0 && errno != EINTR)
			return;
		if (n > 0 && fds[0].revents && !serve_one(l))
			return;
		if (n > 0 && fds[1].revents) {
			netlink_drain(l->nl);
			l->stale = true;
		}
		if (n == 0 && (l->stale || l->unresolved))
			refresh(l);
		if (now != settled) {
			settled = now;
			maps_settle(l->maps, now, l->drain_s);
			if (l->stale) /* news that never pause must not put this off for ever */
				refresh(l);
			confirm(l, now);
			loader_probe_tick(l, now);
		}
	}
}

/* ---- start -------------------------------------------------------------------------------------
 */

size_t loader_decap_interfaces(const struct conf_agent *conf, const struct conf_tunnels *tunnels,
			       char ***names)
{
	bool all = !conf->decap.ninterfaces && tunnels && tunnels->enabled;

	*names = all ? conf->interfaces : conf->decap.interfaces;
	return all ? conf->ninterfaces : conf->decap.ninterfaces;
}

uint32_t loader_switches(const struct conf_agent *conf)
{
	return (conf->forward ? WEIR_ON_ROUTE : 0) | (conf->gue_checksum ? WEIR_ON_CHECKSUM : 0);
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
	int rc = attach_open(&l->path, conf);

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
		rc = loader_start_egress(l, conf);
	if (rc) {
		log_error("the packet path's maps cannot be used: %s", strerror(-rc));
		return rc;
	}
	/* Only root may ask whose tc filter is already there. */
	l->started = true;
	refresh(l);
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
	}
	_exit(l->out.result ? 1 : 0);
}
