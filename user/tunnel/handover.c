// SPDX-License-Identifier: Apache-2.0
/* handover.c -- the listeners of tunnels' addresses go to weir-agent (see handover.h). */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/handover.h"

#define AGAIN_MS   1000
#define FDS_MAX	   2
#define ANSWER_MAX 1024

struct handover {
	struct reactor *reactor;
	struct reactor_io io; /* fd -1: not connected */
	struct reactor_timer again;
	struct sockaddr_un agent;
	int fds[FDS_MAX];
	size_t nfds;
	bool done, complained;
};

static void retry(struct handover *h, const char *why)
{
	if (h->io.fd >= 0) {
		reactor_remove(h->reactor, &h->io);
		close(h->io.fd);
		h->io.fd = -1;
	}
	if (h->done)
		log_warn("weir-agent takes tunnels' addresses no more: %s", why);
	else if (!h->complained)
		log_info("weir-agent does not take tunnels' addresses yet: %s: %s",
			 h->agent.sun_path, why);
	h->complained = true;
	h->done = false;
	reactor_timer_set(h->reactor, &h->again, AGAIN_MS);
}

static int send_listeners(struct handover *h)
{
	static const char ask[] = "{\"do\":\"listen\"}";
	struct iovec iov = { .iov_base = (void *)ask, .iov_len = sizeof(ask) - 1 };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
	struct cmsghdr *cmsg;

	msg.msg_controllen = CMSG_SPACE(h->nfds * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(h->nfds * sizeof(int));
	memcpy(CMSG_DATA(cmsg), h->fds, h->nfds * sizeof(int));
	return sendmsg(h->io.fd, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void take_answer(struct handover *h, const char *text, size_t len)
{
	json_t *answer = json_loadb(text, len, 0, NULL);
	const char *error = json_string_value(json_object_get(answer, "error"));

	if (json_is_true(json_object_get(answer, "ok"))) {
		if (!h->done)
			log_info("weir-agent steers tunnels' addresses to this edge");
		h->done = true;
		h->complained = false;
	} else {
		retry(h, error ? error : "it refused");
	}
	json_decref(answer);
}

static void on_io(struct reactor_io *io, uint32_t events)
{
	struct handover *h = (struct handover *)((char *)io - offsetof(struct handover, io));
	char text[ANSWER_MAX];
	ssize_t n;

	(void)events;
	while (h->io.fd >= 0) {
		n = recv(h->io.fd, text, sizeof(text), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			retry(h, n < 0 ? strerror(errno) : "it closed the connection");
		else
			take_answer(h, text, (size_t)n);
	}
}

static void try_agent(struct handover *h)
{
	int err = 0;

	h->io.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (h->io.fd < 0 || connect(h->io.fd, (struct sockaddr *)&h->agent, sizeof(h->agent)) < 0)
		err = -errno;
	if (!err)
		err = send_listeners(h);
	if (!err)
		err = reactor_add(h->reactor, &h->io);
	if (err && h->io.fd >= 0) {
		close(h->io.fd);
		h->io.fd = -1;
	}
	if (err)
		retry(h, err == -ENOENT ? "it does not run" : strerror(-err));
}

static void on_again(struct reactor_timer *t)
{
	try_agent((struct handover *)((char *)t - offsetof(struct handover, again)));
}

int handover_start(struct handover **out, struct reactor *r, const char *path, const int *fds,
		   size_t nfds)
{
	struct handover *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct handover){ .reactor = r,
				.io = { .fd = -1, .fn = on_io },
				.again = { .fn = on_again },
				.agent.sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(h->agent.sun_path)) {
		free(h);
		return -ENAMETOOLONG;
	}
	strcpy(h->agent.sun_path, path);
	for (size_t i = 0; i < nfds && h->nfds < FDS_MAX; i++) {
		int fd = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd >= 0)
			h->fds[h->nfds++] = fd;
	}
	if (h->nfds)
		try_agent(h);
	*out = h;
	return 0;
}

void handover_stop(struct handover *h)
{
	if (!h)
		return;
	reactor_timer_stop(h->reactor, &h->again);
	if (h->io.fd >= 0) {
		reactor_remove(h->reactor, &h->io);
		close(h->io.fd);
	}
	for (size_t i = 0; i < h->nfds; i++)
		close(h->fds[i]);
	free(h);
}

bool handover_done(const struct handover *h)
{
	return h && h->done;
}
