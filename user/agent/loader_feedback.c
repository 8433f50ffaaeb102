/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader_feedback.c -- the loader's part in feedback (bpf/feedback.h): sends what the packet path put into
 * its ring, each a small datagram to the balancer that a relayed packet came from.
 *
 * Nothing is parsed here: the packet path wrote the record, and its addresses and flow travel as they are.
 * Nothing is received either, and a report that is lost is made again with a later packet.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf/abi/gue.h"
#include "user/agent/loader_int.h"

#define SENT_PER_S 2000u /* reports of all flows together; 180 KB/s */
#define SENT_ONCE  256u  /* before the agent is answered again */

struct feedback {
	struct ring_buffer *ring;
	int sock4, sock6;
	int settings;
	uint16_t port;
	uint32_t second, sent; /* in that second */
	uint32_t now;          /* since the ring was last looked at */
};

/* The sender's address is this node's tunnel address, whatever the routes would take. */
static void send4(const struct feedback *f, const struct weir_report *r, const void *report, size_t len)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = f->port };
	struct iovec iov = { (void *)(uintptr_t)report, len };
	struct in_pktinfo info = { 0 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(info))];
	} control = { .head = { CMSG_LEN(sizeof(info)), IPPROTO_IP, IP_PKTINFO } };
	struct msghdr msg = { &to, sizeof(to), &iov, 1, &control, sizeof(control.room), 0 };

	memcpy(&to.sin_addr, r->balancer, sizeof(to.sin_addr));
	memcpy(&info.ipi_spec_dst, r->own, sizeof(info.ipi_spec_dst));
	memcpy(CMSG_DATA(&control.head), &info, sizeof(info));
	sendmsg(f->sock4, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send6(const struct feedback *f, const struct weir_report *r, const void *report, size_t len)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = f->port };
	struct iovec iov = { (void *)(uintptr_t)report, len };
	struct in6_pktinfo info = { 0 };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(info))];
	} control = { .head = { CMSG_LEN(sizeof(info)), IPPROTO_IPV6, IPV6_PKTINFO } };
	struct msghdr msg = { &to, sizeof(to), &iov, 1, &control, sizeof(control.room), 0 };

	memcpy(&to.sin6_addr, r->balancer, sizeof(to.sin6_addr));
	memcpy(&info.ipi6_addr, r->own, sizeof(info.ipi6_addr));
	memcpy(CMSG_DATA(&control.head), &info, sizeof(info));
	sendmsg(f->sock6, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int tell(void *arg, void *data, size_t len)
{
	struct feedback *f = arg;
	const struct weir_report *r = data;
	struct weir_gue_report report = {
		.gue = { .word = WEIR_GUE_CONTROL, .proto = WEIR_GUE_REPORT },
		.magic = WEIR_GUE_MAGIC,
	};

	if (len < sizeof(*r))
		return 0;
	report.flow = r->flow;
	f->now++;
	if (f->sent++ >= SENT_PER_S) /* thrown away: the ring must not fill with what is old */
		return f->now < SENT_ONCE ? 0 : -EAGAIN;
	if (r->family == WEIR_FAMILY_6)
		send6(f, r, &report, sizeof(report));
	else
		send4(f, r, &report, sizeof(report));
	return f->now < SENT_ONCE ? 0 : -EAGAIN;
}

int loader_start_feedback(struct loader *l)
{
	struct feedback *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	l->feedback = f;
	f->settings = l->fds.settings;
	f->sock4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	f->sock6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* -1: a host without IPv6 */
	if (f->sock4 < 0)
		return -errno;
	f->ring = ring_buffer__new(l->fds.reports, tell, f, NULL);
	return f->ring ? 0 : -errno;
}

int loader_feedback_fd(const struct loader *l)
{
	return ring_buffer__epoll_fd(l->feedback->ring);
}

void loader_feedback(struct loader *l, uint32_t now)
{
	struct feedback *f = l->feedback;
	struct weir_settings s;
	uint32_t zero = 0;

	if (now != f->second) {
		f->second = now;
		f->sent = 0;
		f->port = 0;
	}
	if (!f->port) {
		if (bpf_map_lookup_elem(f->settings, &zero, &s))
			return;
		f->port = htons(s.gue_port ? s.gue_port : WEIR_GUE_PORT);
	}
	f->now = 0;
	ring_buffer__consume(f->ring);
}
