// SPDX-License-Identifier: Apache-2.0
/*
 * edge_listen.c -- the sockets on which an edge listens (see edge_listen.h).
 *
 * A socket that was handed down is known by the address it is bound to, so that a changed
 * configuration takes what still fits; the two of tunnels' addresses are known by their names.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/edge_listen.h"

#define BACKLOG 4096 /* what waits while a new process starts; net.core.somaxconn bounds it */

/* What was handed down. */
struct handed {
	char **names;
	int n;
	bool *used;
};

static const char *const tunnel_names[2] = { "tunnel4", "tunnel6" };

/* The name under which the manager keeps it: the address, where ':' separates names. */
static void store_name(int fd, char *out, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t size = sizeof(ss);
	struct addr_port at;

	if (getsockname(fd, (struct sockaddr *)&ss, &size)) {
		snprintf(out, len, "listener");
		return;
	}
	addr_from_sockaddr(&at, (struct sockaddr *)&ss);
	addr_port_format(&at, out, len);
	for (; *out; out++)
		if (*out == ':')
			*out = '_';
}

static void handed_read(struct handed *h)
{
	h->n = sd_listen_fds_with_names(1, &h->names);
	if (h->n < 0)
		h->n = 0;
	h->used = calloc((size_t)h->n + 1, sizeof(*h->used));
	for (int i = 0; i < h->n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		fcntl(fd, F_SETFD, FD_CLOEXEC);
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	}
}

static bool bound_to(int fd, const struct addr_port *want)
{
	struct sockaddr_storage ss;
	socklen_t size = sizeof(ss), len = sizeof(int);
	struct addr_port at;
	int listens = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) || !listens ||
	    getsockname(fd, (struct sockaddr *)&ss, &size))
		return false;
	addr_from_sockaddr(&at, (struct sockaddr *)&ss);
	return addr_equal(&at.addr, &want->addr) && at.port == want->port &&
	       !strcmp(at.path, want->path);
}

/* -1: none. */
static int handed_take(struct handed *h, const struct addr_port *want, const char *name)
{
	for (int i = 0; h->used && i < h->n; i++) {
		int fd = SD_LISTEN_FDS_START + i;

		if (h->used[i] || (name ? strcmp(h->names[i], name) != 0 : !bound_to(fd, want)))
			continue;
		h->used[i] = true;
		return fd;
	}
	return -1;
}

/* What fits nowhere any more. */
static void handed_drop(struct handed *h)
{
	for (int i = 0; i < h->n; i++) {
		if (h->used && !h->used[i]) {
			sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", h->names[i]);
			close(SD_LISTEN_FDS_START + i);
		}
		free(h->names[i]);
	}
	free(h->names);
	free(h->used);
}

static int open_list(int **out, size_t *n, const struct addr_port *list, size_t nlist,
		     const char *key, struct handed *h)
{
	char text[ADDR_PORT_STRLEN];

	*out = calloc(nlist + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < nlist; i++) {
		int fd = handed_take(h, &list[i], NULL);

		if (fd < 0)
			fd = addr_bind(&list[i], SOCK_STREAM, BACKLOG, false, 0666);
		if (fd < 0) {
			log_error("cannot listen on %s (edge.%s): %s",
				  addr_port_format(&list[i], text, sizeof(text)), key,
				  strerror(-fd));
			return fd;
		}
		(*out)[(*n)++] = fd;
	}
	return 0;
}

/* The segment size is announced in the SYN-ACK of every connection that is steered here: what
 * clients then send still fits when another edge has to encapsulate it. */
static int open_tunnel(int family, const char *name, int mss, struct handed *h)
{
	struct addr_port at = { .addr.family = (uint8_t)family, .proto = IPPROTO_TCP };
	int fd = handed_take(h, NULL, name);

	if (family == AF_INET)
		memcpy(at.addr.bytes, "\x7f\0\0\1", 4);
	else
		at.addr.bytes[15] = 1;
	if (fd < 0)
		fd = addr_bind(&at, SOCK_STREAM, 0, false, 0);
	if (fd < 0)
		return fd;
	if (setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)) || listen(fd, BACKLOG)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int edge_sockets_open(struct edge_sockets *s, const struct conf *conf)
{
	static const int families[2] = { AF_INET, AF_INET6 };
	const struct conf_edge *e = &conf->edge;
	struct handed handed = { 0 };
	int rc;

	*s = (struct edge_sockets){ .tunnel = { -1, -1 } };
	handed_read(&handed);
	rc = open_list(&s->plain, &s->nplain, e->listen, e->nlisten, "listen", &handed);
	if (!rc)
		rc = open_list(&s->tls, &s->ntls, e->listen_tls, e->nlisten_tls, "listen_tls",
			       &handed);
	if (!rc)
		rc = open_list(&s->attach, &s->nattach, e->attach, e->nattach, "attach", &handed);
	for (int i = 0; i < 2 && !rc && conf->tunnels.nprefix; i++) {
		s->tunnel[i] = open_tunnel(families[i], tunnel_names[i], (int)e->mss, &handed);
		if (s->tunnel[i] == -EAFNOSUPPORT || s->tunnel[i] == -EADDRNOTAVAIL) {
			s->tunnel[i] = -1; /* this machine has no IPv6 */
		} else if (s->tunnel[i] < 0) {
			rc = s->tunnel[i];
			log_error("cannot make the listener of tunnels' addresses: %s",
				  strerror(-rc));
		}
	}
	handed_drop(&handed);
	return rc;
}

static void store(int fd, const char *name)
{
	char state[256], text[200];

	if (fd < 0)
		return;
	if (!name) {
		store_name(fd, text, sizeof(text));
		name = text;
	}
	snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s", name);
	sd_pid_notify_with_fds(0, 0, state, &fd, 1);
}

void edge_sockets_store(const struct edge_sockets *s)
{
	if (!getenv("NOTIFY_SOCKET"))
		return;
	for (size_t i = 0; i < s->nplain; i++)
		store(s->plain[i], NULL);
	for (size_t i = 0; i < s->ntls; i++)
		store(s->tls[i], NULL);
	for (size_t i = 0; i < s->nattach; i++)
		store(s->attach[i], NULL);
	for (int i = 0; i < 2; i++)
		store(s->tunnel[i], tunnel_names[i]);
}

void edge_sockets_forget(struct edge_sockets *s)
{
	free(s->plain);
	free(s->tls);
	free(s->attach);
	*s = (struct edge_sockets){ .tunnel = { -1, -1 } };
}
