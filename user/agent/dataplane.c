/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataplane.c -- the agent's end of the loader's socket (see dataplane.h and loader.h).
 */
#include "user/agent/dataplane.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/agent/dataplane_int.h"

#define ANSWER_SECONDS 10 /* longer: something is very wrong with the loader */

/* ---- the exchange
 * -------------------------------------------------------------------------------- */

int dataplane_fail(struct dataplane *dp, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(dp->error, sizeof(dp->error), fmt, ap);
	va_end(ap);
	return err;
}

const char *dataplane_error(const struct dataplane *dp)
{
	return dp->error;
}

/* Reads one message into dp->m; *fd (may be NULL) is a descriptor that came along, or -1. */
static int receive(struct dataplane *dp, int *fd)
{
	struct iovec iov = { &dp->m, sizeof(dp->m) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *c;
	ssize_t got;
	int came = -1;

	do {
		got = recvmsg(dp->sock, &msg, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return dataplane_fail(dp, -ETIMEDOUT, "the loader does not answer");
	if (got < (ssize_t)LOADER_HEAD || (size_t)got != LOADER_HEAD + dp->m.len)
		return dataplane_fail(dp, -EPIPE, "the loader died; the packet path goes on as it was");
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&came, CMSG_DATA(c), sizeof(int));
	if (fd)
		*fd = came;
	else if (came >= 0)
		close(came);
	return 0;
}

/* dp->m holds number, offset, len and body; afterwards the answer. Returns its result. A descriptor
 * may go with the question (with, or -1) and come with the answer. */
static int ask_with(struct dataplane *dp, enum loader_op op, int with, int *fd)
{
	struct iovec iov = { &dp->m, LOADER_HEAD + dp->m.len };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;
	int rc;

	dp->m.op = op;
	if (with >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &with, sizeof(int));
	}
	do {
		sent = sendmsg(dp->sock, &msg, MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return dataplane_fail(dp, -EPIPE, "the loader died; the packet path goes on as it was");
	rc = receive(dp, fd);
	if (rc)
		return rc;
	if (dp->m.result < 0)
		return dataplane_fail(dp, dp->m.result, "%.*s", dp->m.len ? (int)dp->m.len : 64,
			    dp->m.len ? (char *)dp->m.body : strerror(-dp->m.result));
	return dp->m.result;
}

int dataplane_ask(struct dataplane *dp, enum loader_op op, int *fd)
{
	return ask_with(dp, op, -1, fd);
}

int dataplane_do(struct dataplane *dp, enum loader_op op)
{
	return dataplane_ask(dp, op, NULL);
}

int dataplane_ask_for(struct dataplane *dp, enum loader_op op, void *out, size_t len)
{
	int rc = dataplane_ask(dp, op, NULL);

	if (rc < 0)
		return rc;
	if (dp->m.len != len)
		return dataplane_fail(dp, -EPROTO, "the loader's answer is not understood");
	memcpy(out, dp->m.body, len);
	return 0;
}

void dataplane_prepare(struct dataplane *dp, uint32_t number, uint32_t offset, const void *body,
		    size_t len)
{
	dp->m.number = number;
	dp->m.offset = offset;
	dp->m.len = (uint32_t)len;
	if (len)
		memcpy(dp->m.body, body, len);
}

/* ---- start and end
 * ----------------------------------------------------------------------------------- */

static int remember(struct dataplane *dp, const struct conf_agent *conf)
{
	dp->attach = conf->attach;
	dp->mode = conf->mode;
	dp->limits.limits = conf->limits;
	dp->pin = strdup(conf->pin);
	dp->interfaces = calloc(conf->ninterfaces ? conf->ninterfaces : 1, sizeof(*dp->interfaces));
	if (!dp->pin || !dp->interfaces)
		return -ENOMEM;
	for (size_t i = 0; i < conf->ninterfaces; i++) {
		dp->interfaces[i] = strdup(conf->interfaces[i]);
		if (!dp->interfaces[i])
			return -ENOMEM;
		dp->ninterfaces++;
	}
	return 0;
}

/* The child keeps standard input to error and its socket, nothing else of the agent's. */
static _Noreturn void child(int sock, const struct conf_agent *conf,
			    const struct conf_tunnels *tunnels, const struct priv_user *user)
{
	int at = 3;

	if (sock != at && dup2(sock, at) < 0)
		_exit(1);
	close_range((unsigned int)at + 1, ~0u, 0);
	fcntl(at, F_SETFD, FD_CLOEXEC);
	loader_run(at, conf, tunnels, user);
}

int dataplane_open(struct dataplane **out, const struct conf_agent *conf,
		   const struct conf_tunnels *tunnels, const struct priv_user *user)
{
	struct timeval patience = { .tv_sec = ANSWER_SECONDS };
	struct dataplane *dp = calloc(1, sizeof(*dp));
	int pair[2] = { -1, -1 }, rc;

	if (!dp)
		return -ENOMEM;
	dp->sock = -1;
	rc = remember(dp, conf);
	dp->tunnels = tunnels && tunnels->enabled;
	if (!rc && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		rc = -errno;
	if (rc)
		goto out;
	dp->sock = pair[0];
	dp->loader = fork();
	if (dp->loader == 0)
		child(pair[1], conf, tunnels, user);
	rc = dp->loader < 0 ? -errno : 0;
	close(pair[1]);
	if (rc)
		goto out;
	rc = receive(dp, NULL);
	if (!rc)
		rc = dp->m.result;
	setsockopt(dp->sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (rc)
		goto out;
	*out = dp;
	return 0;
out:
	dataplane_close(dp);
	return rc;
}

void dataplane_close(struct dataplane *dp)
{
	if (!dp)
		return;
	if (dp->sock >= 0)
		close(dp->sock);
	if (dp->loader > 0)
		waitpid(dp->loader, NULL, 0);
	for (size_t i = 0; i < dp->ninterfaces; i++)
		free(dp->interfaces[i]);
	free(dp->interfaces);
	free(dp->pin);
	free(dp);
}

int dataplane_fd(const struct dataplane *dp)
{
	return dp->sock;
}

static int refuse_changes(struct dataplane *dp, const struct conf_agent *conf)
{
	bool same = dp->ninterfaces == conf->ninterfaces;

	for (size_t i = 0; same && i < conf->ninterfaces; i++)
		same = !strcmp(dp->interfaces[i], conf->interfaces[i]);
	if (!same)
		return dataplane_fail(dp, -EBUSY, "agent.interfaces changed: restart weir-agent");
	if (dp->attach != (int)conf->attach)
		return dataplane_fail(dp, -EBUSY, "agent.attach changed: restart weir-agent");
	if (dp->mode != (int)conf->mode)
		return dataplane_fail(dp, -EBUSY, "agent.mode changed: restart weir-agent");
	if (memcmp(&dp->limits.limits, &conf->limits, sizeof(conf->limits)))
		return dataplane_fail(dp, -EBUSY, "agent.limits changed: restart weir-agent");
	if (strcmp(dp->pin, conf->pin))
		return dataplane_fail(dp, -EBUSY, "agent.pin changed: restart weir-agent");
	return 0;
}

void dataplane_append(struct dataplane *dp, const void *data, size_t n, size_t size)
{
	if (n)
		memcpy(dp->m.body + dp->m.len, data, n * size);
	dp->m.len += (uint32_t)(n * size);
}

/* The path of a service's key; the loader reads the file. */
static int ask_quic_key(struct dataplane *dp, uint32_t number, bool only_try, const char *path)
{
	size_t len = strlen(path) + 1;

	if (len > LOADER_PATH_MAX)
		return dataplane_fail(dp, -ENAMETOOLONG, "quic.key: the path is too long");
	dataplane_prepare(dp, number, only_try, path, len);
	return dataplane_ask(dp, LOADER_QUIC_KEY, NULL);
}

int dataplane_try_keys(struct dataplane *dp, const struct conf_agent *conf)
{
	int rc = 0;

	for (size_t i = 0; rc >= 0 && i < conf->nservices; i++)
		if (conf->services[i].quic.key && conf->services[i].naddresses)
			rc = ask_quic_key(dp, 0, true, conf->services[i].quic.key);
	return rc < 0 ? rc : 0;
}

int dataplane_reconfigure(struct dataplane *dp, const struct conf_agent *conf,
			  const struct conf_tunnels *tunnels)
{
	char **names;
	struct loader_change c = {
		.drain_us = conf->drain_us,
		.mark = conf->mark,
		.mss = conf->decap.mss,
		.on = loader_switches(conf),
		.nfrom = (uint32_t)conf->decap.nfrom,
		.nprefixes = dp->tunnels ? (uint32_t)tunnels->nprefix : 0,
		.ninterfaces = (uint32_t)loader_decap_interfaces(conf, tunnels, &names),
		.nat = loader_nat_want(conf),
	};
	int rc = refuse_changes(dp, conf);

	if (!rc && dp->tunnels != (tunnels && tunnels->enabled))
		rc = dataplane_fail(dp, -EBUSY, "tunnels: was %s: restart weir-agent",
			  dp->tunnels ? "removed" : "added");
	if (rc)
		return rc;
	if (sizeof(c) + (c.nfrom + c.nprefixes) * sizeof(*conf->decap.from) + c.ninterfaces * 16u >
	    LOADER_BODY_MAX)
		return dataplane_fail(dp, -E2BIG, "agent.decap: too many sources or interfaces");
	dataplane_prepare(dp, 0, 0, &c, sizeof(c));
	dataplane_append(dp, conf->decap.from, c.nfrom, sizeof(*conf->decap.from));
	dataplane_append(dp, tunnels ? tunnels->prefix : NULL, c.nprefixes, sizeof(struct addr_prefix));
	for (uint32_t i = 0; i < c.ninterfaces; i++) {
		char name[16] = "";

		snprintf(name, sizeof(name), "%s", names[i]);
		dataplane_append(dp, name, 1, sizeof(name));
	}
	rc = dataplane_ask(dp, LOADER_CHANGE, NULL);
	return rc < 0 ? rc : 0;
}

/* ---- services, backends, slots
 * -------------------------------------------------------------------------- */

static uint8_t service_flags(const struct conf_service *service)
{
	uint8_t flags = (service->by_addresses ? WEIR_SERVICE_ADDRESSES : 0) |
			(service->two ? WEIR_SERVICE_TWO : 0);

	if (service->udp == CONF_UDP_STICKY)
		flags |= WEIR_SERVICE_UDP_STICKY;
	if (service->udp == CONF_UDP_QUIC)
		flags |= WEIR_SERVICE_QUIC;
	return flags;
}

int dataplane_service_set(struct dataplane *dp, const struct conf_service *service)
{
	static const uint8_t encap[] = { [CONF_ENCAP_GUE] = WEIR_ENCAP_GUE,
					 [CONF_ENCAP_IPIP] = WEIR_ENCAP_IPIP,
					 [CONF_ENCAP_NAT] = WEIR_ENCAP_NAT };
	struct maps_service s = {
		.slots = service->slots,
		.encap = encap[service->encap],
		.port = service->port,
		.flags = service_flags(service),
		.naddresses = (uint16_t)service->naddresses,
	};
	size_t room = (LOADER_BODY_MAX - sizeof(s)) / sizeof(struct maps_address);
	int rc;

	if (service->naddresses > room)
		return dataplane_fail(dp, -E2BIG, "service %s has more than %zu addresses", service->name,
			    room);
	snprintf(s.name, sizeof(s.name), "%s", service->name);
	if (service->udp == CONF_UDP_QUIC)
		s.quic = (struct weir_quic){ .config = (uint8_t)service->quic.config,
					     .server_id = (uint8_t)service->quic.server_id,
					     .nonce = (uint8_t)service->quic.nonce,
					     .encrypted = service->quic.key != NULL };
	dataplane_prepare(dp, 0, 0, &s, sizeof(s));
	for (size_t i = 0; i < service->naddresses; i++) {
		struct maps_address a;

		memset(&a, 0, sizeof(a));
		a.addr = service->addresses[i].addr;
		a.port = service->addresses[i].port;
		a.prefix = service->addresses[i].prefix;
		a.proto = service->addresses[i].proto ? service->addresses[i].proto : IPPROTO_TCP;
		memcpy(dp->m.body + dp->m.len, &a, sizeof(a));
		dp->m.len += sizeof(a);
	}
	rc = dataplane_ask(dp, LOADER_SERVICE_SET, NULL);
	if (rc >= 0 && s.quic.encrypted) {
		int err = ask_quic_key(dp, (uint32_t)rc, false, service->quic.key);

		return err < 0 ? err : rc;
	}
	return rc;
}

int dataplane_backend_set(struct dataplane *dp, int service, const char *name,
			  const struct addr *address, bool up)
{
	struct loader_backend b;

	memset(&b, 0, sizeof(b));
	snprintf(b.name, sizeof(b.name), "%s", name);
	b.address = *address;
	b.up = up;
	dataplane_prepare(dp, (uint32_t)service, 0, &b, sizeof(b));
	return dataplane_ask(dp, LOADER_BACKEND_SET, NULL);
}

int dataplane_backend_quic(struct dataplane *dp, int service, int index, const uint8_t *id, size_t len)
{
	dataplane_prepare(dp, (uint32_t)service, (uint32_t)index, id, len);
	return dataplane_ask(dp, LOADER_BACKEND_QUIC, NULL);
}

int dataplane_sweep(struct dataplane *dp, enum maps_scope scope)
{
	dataplane_prepare(dp, scope, 0, NULL, 0);
	return dataplane_ask(dp, LOADER_SWEEP, NULL);
}

int dataplane_slots_get(struct dataplane *dp, int service, uint16_t *owner, size_t n)
{
	for (size_t at = 0; at < n;) {
		int rc;

		dataplane_prepare(dp, (uint32_t)service, (uint32_t)at, NULL, 0);
		rc = dataplane_ask(dp, LOADER_SLOTS_GET, NULL);
		if (rc < 0)
			return rc;
		if ((size_t)rc != n || !dp->m.len || at + dp->m.len / sizeof(*owner) > n)
			return dataplane_fail(dp, -EINVAL, "service %d has %d slots, not %zu", service, rc,
				    n);
		memcpy(owner + at, dp->m.body, dp->m.len);
		at += dp->m.len / sizeof(*owner);
	}
	return 0;
}

int dataplane_slots_set(struct dataplane *dp, int service, const uint16_t *owner, size_t n,
			uint32_t generation, uint32_t *moved)
{
	int rc;

	for (size_t at = 0; at < n;) {
		size_t part = n - at < LOADER_SLOTS_MAX ? n - at : LOADER_SLOTS_MAX;

		dataplane_prepare(dp, (uint32_t)service, (uint32_t)at, owner + at, part * sizeof(*owner));
		rc = dataplane_ask(dp, LOADER_SLOTS_PUT, NULL);
		if (rc < 0)
			return rc;
		at += part;
	}
	dataplane_prepare(dp, (uint32_t)service, (uint32_t)n, &generation, sizeof(generation));
	rc = dataplane_ask(dp, LOADER_SLOTS_SET, NULL);
	if (rc < 0)
		return rc;
	if (moved)
		*moved = (uint32_t)rc;
	return 0;
}

int dataplane_service_state(struct dataplane *dp, int service, struct dataplane_service_state *out)
{
	int rc;

	dataplane_prepare(dp, (uint32_t)service, 0, NULL, 0);
	rc = dataplane_ask(dp, LOADER_STATE, NULL);
	if (rc < 0)
		return rc;
	if (dp->m.len != sizeof(*out))
		return dataplane_fail(dp, -EPROTO, "the loader's answer is not understood");
	memcpy(out, dp->m.body, sizeof(*out));
	return 0;
}

/* ---- counters, sockets, interfaces
 * ----------------------------------------------------------------------- */

int dataplane_reasons(struct dataplane *dp, struct weir_count out[WEIR_REASON_COUNT])
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_REASONS, out, WEIR_REASON_COUNT * sizeof(*out));
}

int dataplane_backend_counts(struct dataplane *dp, const uint16_t *backends, size_t n,
			     struct weir_count *out)
{
	if (n > 1024)
		return dataplane_fail(dp, -E2BIG, "more than 1024 backends asked for");
	dataplane_prepare(dp, 0, 0, backends, n * sizeof(*backends));
	return dataplane_ask_for(dp, LOADER_BACKEND_COUNTS, out, n * sizeof(*out));
}

int dataplane_socket(struct dataplane *dp, int family)
{
	int fd = -1, rc;

	dataplane_prepare(dp, (uint32_t)family, 0, NULL, 0);
	rc = dataplane_ask(dp, LOADER_SOCKET, &fd);
	if (rc < 0)
		return rc;
	return fd >= 0 ? fd : dataplane_fail(dp, -EPROTO, "the loader sent no socket");
}

int dataplane_interfaces(struct dataplane *dp, struct dataplane_interface *out, size_t max)
{
	size_t n;
	int rc;

	dataplane_prepare(dp, 0, 0, NULL, 0);
	rc = dataplane_ask(dp, LOADER_INTERFACES, NULL);
	if (rc < 0)
		return rc;
	n = dp->m.len / sizeof(*out);
	if (n > max)
		n = max;
	memcpy(out, dp->m.body, n * sizeof(*out));
	return (int)n;
}

/* ---- tunnels -----------------------------------------------------------------------------------
 */

int dataplane_service_remove(struct dataplane *dp, int service)
{
	dataplane_prepare(dp, (uint32_t)service, 0, NULL, 0);
	return dataplane_ask(dp, LOADER_SERVICE_REMOVE, NULL);
}

int dataplane_service_counts(struct dataplane *dp, const uint32_t *services, size_t n,
			     struct weir_count *out)
{
	if (n > 1024)
		return dataplane_fail(dp, -E2BIG, "more than 1024 services asked for");
	dataplane_prepare(dp, 0, 0, services, n * sizeof(*services));
	return dataplane_ask_for(dp, LOADER_SERVICE_COUNTS, out, n * sizeof(*out));
}

int dataplane_edges(struct dataplane *dp, const struct addr self[2], const struct addr *others,
		    size_t n)
{
	struct loader_edges e;

	memset(&e, 0, sizeof(e));
	memcpy(e.self, self, sizeof(e.self));
	e.n = (uint32_t)n;
	if (n > (LOADER_BODY_MAX - sizeof(e)) / sizeof(*others))
		return dataplane_fail(dp, -E2BIG, "too many edges: %zu", n);
	dataplane_prepare(dp, 0, 0, &e, sizeof(e));
	dataplane_append(dp, others, n, sizeof(*others));
	return dataplane_ask(dp, LOADER_EDGES, NULL);
}

int dataplane_listener(struct dataplane *dp, int family, int fd)
{
	dataplane_prepare(dp, (uint32_t)family, 0, NULL, 0);
	return ask_with(dp, LOADER_LISTENER, fd, NULL);
}

int dataplane_listen_counts(struct dataplane *dp, uint64_t out[WEIR_LISTEN_COUNT])
{
	dataplane_prepare(dp, 0, 0, NULL, 0);
	return dataplane_ask_for(dp, LOADER_LISTEN_COUNTS, out, WEIR_LISTEN_COUNT * sizeof(*out));
}

/* ---- names of the reasons ---- */

static const struct {
	const char *name, *fate;
} reasons[] = {
#define REASON_ROW(name, fate, meaning) { #name, fate },
	WEIR_REASONS(REASON_ROW)
#undef REASON_ROW
};

const char *dataplane_reason_name(enum weir_reason reason)
{
	return reasons[reason].name;
}

const char *dataplane_reason_fate(enum weir_reason reason)
{
	return reasons[reason].fate;
}

