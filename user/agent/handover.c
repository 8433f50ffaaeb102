// SPDX-License-Identifier: Apache-2.0
/*
 * handover.c -- RUN/agent-listener.sock: this node's edge hands over the sockets on which it
 * listens, so that the kernel leads connections to tunnels' addresses to them.
 *
 * SOCK_SEQPACKET. The edge sends {"do":"listen"} with its listening sockets (SCM_RIGHTS: IPv4,
 * IPv6, at least one), gets {"ok":true} or {"ok":false,"error":SENTENCE}, and keeps the connection,
 * by which it notices a new agent and hands them over again. The sockets live in the kernel's map
 * as long as the edge has them open: this process closes its copies at once.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/agent/agent.h"

#define EDGES_MAX   8 /* an edge and its successor; the rest are mistakes */
#define MESSAGE_MAX 512
#define SOCKETS_MAX 4

struct handover {
	struct agent *agent;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;
	struct loop_fd *watch;
	struct handover_edge {
		struct handover *h;
		int fd; /* -1: free */
		struct loop_fd *watch;
		bool gave; /* its sockets were taken */
	} edges[EDGES_MAX];
};

/* ---- one edge ----------------------------------------------------------------------------------
 */

static void edge_close(struct handover_edge *e)
{
	struct handover *h = e->h;
	bool gave = e->gave, others = false;

	loop_fd_stop(e->watch);
	close(e->fd);
	e->fd = -1;
	e->watch = NULL;
	e->gave = false;
	for (int i = 0; i < EDGES_MAX; i++)
		others |= h->edges[i].gave;
	if (gave && !others) {
		log_info("the edge of this node is gone");
		route_listener(h->agent->route, false);
	}
}

static int family_of(int fd)
{
	socklen_t len = sizeof(int);
	int family = 0;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) ? 0 : family;
}

/* Hands the sockets to the loader, which checks them. NULL, or what is wrong. */
static const char *take_sockets(struct handover_edge *e, const int *fd, size_t n)
{
	struct agent *agent = e->h->agent;

	if (!n)
		return "no socket came along";
	for (size_t i = 0; i < n; i++)
		if (dataplane_listener(agent->dp, family_of(fd[i]), fd[i]) < 0)
			return dataplane_error(agent->dp);
	if (!e->gave)
		log_info("the edge of this node handed over its listener");
	e->gave = true;
	route_listener(agent->route, true);
	return NULL;
}

/* Reads a message and the descriptors that came with it. Returns its length, 0 at the end, -EAGAIN.
 */
static ssize_t receive(int fd, char text[MESSAGE_MAX], int *sockets, size_t *n)
{
	struct iovec iov = { text, MESSAGE_MAX - 1 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(SOCKETS_MAX * sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control.room) };
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	const struct cmsghdr *c;

	*n = 0;
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(sockets, CMSG_DATA(c), *n * sizeof(int));
	}
	text[got] = '\0';
	return got;
}

static void on_edge(int fd, uint32_t revents, void *arg)
{
	struct handover_edge *e = arg;
	const char *wrong = NULL, *word;
	char text[MESSAGE_MAX], answer[384];
	int sockets[SOCKETS_MAX];
	json_t *asked, *said;
	size_t n = 0;
	ssize_t got = receive(fd, text, sockets, &n);

	(void)revents;
	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		edge_close(e);
		return;
	}
	asked = json_loadb(text, (size_t)got, 0, NULL);
	word = json_string_value(json_object_get(asked, "do"));
	wrong = word && !strcmp(word, "listen") ? take_sockets(e, sockets, n)
						: "the question is not understood";
	for (size_t i = 0; i < n; i++)
		close(sockets[i]);
	json_decref(asked);
	if (wrong)
		log_limited(LOG_LEVEL_ERROR, 6, "the edge's listener was not taken: %s", wrong);
	said = wrong ? json_pack("{sb ss}", "ok", 0, "error", wrong) : json_pack("{sb}", "ok", 1);
	if (json_dumpb(said, answer, sizeof(answer), JSON_COMPACT) < sizeof(answer))
		got = send(fd, answer, json_dumpb(said, answer, sizeof(answer), JSON_COMPACT),
			   MSG_NOSIGNAL | MSG_DONTWAIT);
	json_decref(said);
	if (got < 0)
		edge_close(e);
}

/* ---- the socket --------------------------------------------------------------------------------
 */

static bool may_connect(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == geteuid());
}

static void on_connection(int listener, uint32_t revents, void *arg)
{
	struct handover *h = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct handover_edge *e = NULL;

	(void)revents;
	if (fd < 0)
		return;
	for (int i = 0; i < EDGES_MAX && !e; i++)
		if (h->edges[i].fd < 0)
			e = &h->edges[i];
	if (!e || !may_connect(fd) ||
	    loop_fd_add(h->agent->d->loop, &e->watch, fd, EPOLLIN, on_edge, e) < 0) {
		log_limited(LOG_LEVEL_WARN, 6, "%s: a connection was refused", h->path);
		close(fd);
		return;
	}
	e->fd = fd;
}

int handover_bind(struct handover **out, struct agent *agent)
{
	struct addr_port at = { 0 };
	const struct daemon *d = agent->d;
	char path[PATH_MAX];
	struct handover *h;
	int err;

	*out = NULL;
	if (!d->conf->tunnels.enabled)
		return 0;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->agent = agent;
	h->fd = -1;
	for (int i = 0; i < EDGES_MAX; i++)
		h->edges[i] = (struct handover_edge){ .h = h, .fd = -1 };
	conf_ctl_path(d->conf, "agent-listener", path, sizeof(path));
	if (snprintf(h->path, sizeof(h->path), "%s", path) >= (int)sizeof(h->path)) {
		err = -ENAMETOOLONG;
		goto out;
	}
	strcpy(at.path, h->path);
	h->fd = addr_bind(&at, SOCK_SEQPACKET, 0, false, 0600);
	/* The folder is the daemons' user's: what lies there now may be a link. */
	if (h->fd < 0)
		err = h->fd;
	else
		err = lchown(h->path, d->user.uid, (gid_t)-1) || listen(h->fd, EDGES_MAX) ? -errno
											  : 0;
	if (!err) {
		*out = h;
		return 0;
	}
out:
	log_error("%s: cannot listen for the edge: %s", path, strerror(-err));
	handover_stop(h);
	return err;
}

int handover_start(struct handover *h)
{
	return h ? loop_fd_add(h->agent->d->loop, &h->watch, h->fd, EPOLLIN, on_connection, h) : 0;
}

void handover_stop(struct handover *h)
{
	if (!h)
		return;
	for (int i = 0; i < EDGES_MAX; i++)
		if (h->edges[i].fd >= 0)
			edge_close(&h->edges[i]);
	loop_fd_stop(h->watch);
	if (h->fd >= 0) {
		close(h->fd);
		unlink(h->path);
	}
	free(h);
}
