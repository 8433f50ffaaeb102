// SPDX-License-Identifier: Apache-2.0
/* worker_wire.c -- messages between the daemon, its nursery and the workers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "http/upload/worker_wire.h"

struct head {
	uint8_t type, more, pad[2];
};

static int send_packet(int fd, struct head head, const void *data, size_t len, const int *fds, size_t nfds, int flags)
{
	char control[CMSG_SPACE(WIRE_FDS * sizeof(int))];
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)data, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (nfds) {
		struct cmsghdr *cmsg;

		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	}
	while (sendmsg(fd, &msg, flags | MSG_NOSIGNAL) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wire_send(int fd, enum wire_type type, const void *data, size_t len, const int *fds, size_t nfds, int flags)
{
	const char *at = data;
	size_t piece;
	int rc;

	if (nfds > WIRE_FDS || len > WIRE_MAX)
		return -EMSGSIZE;
	do {
		piece = len < WIRE_PACKET ? len : WIRE_PACKET;
		rc = send_packet(fd, (struct head){ (uint8_t)type, len > piece, { 0 } }, at, piece, fds, nfds, flags);
		nfds = 0;
		len -= piece;
		at = at ? at + piece : NULL;
	} while (!rc && len);
	return rc;
}

static int grow(struct wire *w, size_t size)
{
	char *data;

	if (size <= w->size)
		return 0;
	if (size > WIRE_MAX + WIRE_PACKET + 1)
		return -EBADMSG;
	/* Doubled up to a limit: a result may take dozens of packets. */
	size = size < w->size * 2 ? w->size * 2 : size;
	data = realloc(w->data, size);
	if (!data)
		return -ENOMEM;
	w->data = data;
	w->size = size;
	return 0;
}

static void take(struct wire *w, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (n > WIRE_FDS - w->nfds)
			n = WIRE_FDS - w->nfds;
		memcpy(w->fds + w->nfds, CMSG_DATA(c), n * sizeof(int));
		w->nfds += n;
	}
}

/* One packet behind what is there: 1, 0 at the end, -errno. */
static int recv_packet(int fd, struct wire *w, bool take_fds, struct head *head)
{
	char control[CMSG_SPACE(WIRE_FDS * sizeof(int))];
	struct iovec iov[2] = { { head, sizeof(*head) }, { w->data + w->len, WIRE_PACKET } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t got;

	if (take_fds) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
	}
	/* ECONNRESET comes once, when the other side closed with something unread, and before what it said last. */
	do {
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	} while (got < 0 && (errno == EINTR || errno == ECONNRESET));
	if (got <= 0)
		return got < 0 ? -errno : 0;
	if (take_fds)
		take(w, &msg);
	if ((size_t)got < sizeof(*head) || msg.msg_flags & MSG_TRUNC)
		return -EBADMSG;
	w->len += (size_t)got - sizeof(*head);
	return 1;
}

int wire_recv(int fd, struct wire *w, bool take_fds)
{
	struct head head = { 0 };
	size_t before;
	int rc;

	w->len = 0;
	w->nfds = 0;
	do {
		bool first = !w->len;

		rc = grow(w, w->len + WIRE_PACKET + 1);
		if (rc)
			return rc;
		before = w->len;
		rc = recv_packet(fd, w, take_fds, &head);
		if (rc <= 0)
			return rc;
		/* A worker that dies within a message leaves a part of one: the nursery's word follows. */
		if (head.type == WIRE_EXIT && !first) {
			w->len -= before;
			memmove(w->data, w->data + before, w->len);
		} else if (!first && head.type != w->type) {
			return -EBADMSG;
		}
		w->type = head.type;
		if (w->len > WIRE_MAX)
			return -EBADMSG;
	} while (head.more);
	w->data[w->len] = '\0';
	return 1;
}

void wire_free(struct wire *w)
{
	free(w->data);
	w->data = NULL;
	w->size = w->len = 0;
}
