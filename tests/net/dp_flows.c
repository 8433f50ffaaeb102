/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dp_flows.c -- traffic for the tests of the data plane.
 *
 *	dp_flows serve PORT			echoes TCP and UDP on all addresses, until killed
 *	dp_flows tcp ADDRESS PORT N SECONDS	N connections, each asks 8 bytes about every 100 ms
 *						and opens anew after 1 to 50 questions; prints
 *						"opened O answered A broken B young Y" (Y of the broken
 *						ones had no answer yet); with DP_SPREAD=S flow i comes
 *						from 100.64.(i mod S).9
 *	dp_flows udp ADDRESS PORT N INTERVAL_US	N numbered datagrams; prints "sent S received R"
 *
 *	dp_flows bulk ADDRESS PORT BYTES SECONDS	sends so many bytes over one connection while
 *reading them back; prints how many came
 *
 * Broken: reset, closed early, or without an answer for 5 s. Each server's answer is the question,
 *so a connection that reached another server would not be noticed by content, but by the reset.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLOWS_MAX  20000
#define GIVE_UP_MS 5000
#define EVENTS	   256

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static socklen_t target(struct sockaddr_storage *ss, const char *address, const char *port)
{
	struct sockaddr_in *v4 = (void *)ss;
	struct sockaddr_in6 *v6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (strchr(address, ':')) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)atoi(port));
		inet_pton(AF_INET6, address, &v6->sin6_addr);
		return sizeof(*v6);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)atoi(port));
	inet_pton(AF_INET, address, &v4->sin_addr);
	return sizeof(*v4);
}

/* ---- serve ---- */

static int listener(const char *port, int type)
{
	struct sockaddr_storage ss;
	socklen_t len = target(&ss, "::", port);
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) ||
	    (type == SOCK_STREAM && listen(fd, 4096))) {
		perror("dp_flows: listen");
		exit(1);
	}
	return fd;
}

static void watch(int ep, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void serve_tcp(int fd)
{
	char buf[4096];
	ssize_t got = recv(fd, buf, sizeof(buf), 0);

	for (ssize_t sent = 0, n; sent < got; sent += n) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		n = send(fd, buf + sent, (size_t)(got - sent), MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			break;
		if (n < 0 && poll(&p, 1, 2000) <= 0)
			break;
		n = n < 0 ? 0 : n;
	}
	if (got > 0)
		return;
	if (got == 0 || errno != EAGAIN)
		close(fd);
}

/* A datagram is answered from the address that it came to, as a server of a service must. */
static void serve_udp(int fd)
{
	struct sockaddr_storage from;
	char buf[2048], control[256];
	struct iovec iov = { buf, sizeof(buf) };
	struct msghdr msg = { .msg_name = &from,
			      .msg_namelen = sizeof(from),
			      .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t got;

	while ((got = recvmsg(fd, &msg, 0)) >= 0) {
		iov.iov_len = (size_t)got;
		/* The way back is the routes': it may have come by a tunnel's device. */
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
			if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
				((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
		sendmsg(fd, &msg, 0);
		iov.iov_len = sizeof(buf);
		msg.msg_namelen = sizeof(from);
		msg.msg_controllen = sizeof(control);
	}
}

static _Noreturn void serve(const char *port)
{
	int tcp = listener(port, SOCK_STREAM), udp = listener(port, SOCK_DGRAM), one = 1;
	int ep = epoll_create1(0);
	struct epoll_event events[EVENTS];

	setsockopt(udp, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	watch(ep, tcp);
	watch(ep, udp);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd, new;

			if (fd == udp) {
				serve_udp(fd);
			} else if (fd == tcp) {
				while ((new = accept4(tcp, NULL, NULL, SOCK_NONBLOCK)) >= 0)
					watch(ep, new);
			} else {
				serve_tcp(fd);
			}
		}
	}
}

/* ---- tcp ---- */

struct flow {
	int fd;	       /* -1: none */
	int questions; /* left */
	bool waiting;  /* for an answer (or to be connected) */
	bool heard; /* an answer came */
	int64_t due, asked;
};

static struct flow flow[FLOWS_MAX];
static struct sockaddr_storage to;
static socklen_t to_len;
static long opened, answered, broken, young;
static int spread; /* DP_SPREAD: flow i comes from 100.64.(i mod spread).9 */

static void flow_end(struct flow *f, const char *why)
{
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);

	if (why) {
		getsockname(f->fd, (struct sockaddr *)&from, &len);
		fprintf(stderr, "broken: port %d, %s (%s)\n", ntohs(from.sin_port), why,
			strerror(errno));
		broken++;
		young += !f->heard;
	}
	close(f->fd);
	f->fd = -1;
	f->due = now_us() + rand() % 50000;
}

static void flow_bind(const struct flow *f, int i)
{
	struct sockaddr_in from = { .sin_family = AF_INET };

	if (!spread)
		return;
	from.sin_addr.s_addr = htonl(100u << 24 | 64 << 16 | (uint32_t)(i % spread) << 8 | 9);
	if (bind(f->fd, (struct sockaddr *)&from, sizeof(from)))
		perror("dp_flows: bind");
}

static void flow_open(struct flow *f, int ep, int i)
{
	struct epoll_event e = { .events = EPOLLOUT, .data.u32 = (uint32_t)i };
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: ports are few */

	f->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	f->questions = 1 + rand() % 50;
	f->heard = false;
	f->waiting = true;
	f->asked = now_us();
	opened++;
	flow_bind(f, i);
	if (connect(f->fd, (struct sockaddr *)&to, to_len) && errno != EINPROGRESS)
		flow_end(f, "connect");
	else
		epoll_ctl(ep, EPOLL_CTL_ADD, f->fd, &e);
}

static void flow_event(struct flow *f, int ep, int i)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
	int err = 0;
	socklen_t len = sizeof(err);
	char buf[64];
	ssize_t got;

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	errno = err;
	if (err) {
		flow_end(f, "error");
		return;
	}
	epoll_ctl(ep, EPOLL_CTL_MOD, f->fd, &e);
	got = recv(f->fd, buf, sizeof(buf), 0);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		flow_end(f, "closed");
		return;
	}
	if (got > 0) {
		answered++;
		f->heard = true;
		f->questions--;
	}
	f->waiting = false;
	f->due = now_us() + 50000 + rand() % 100000;
}

static void flow_tick(struct flow *f, int ep, int i, int64_t now, bool ending)
{
	if (f->fd >= 0 && f->waiting) {
		if (now - f->asked > GIVE_UP_MS * 1000LL) {
			errno = ETIMEDOUT;
			flow_end(f, "no answer");
		}
		return;
	}
	if (now < f->due)
		return;
	if (f->fd < 0) {
		if (!ending)
			flow_open(f, ep, i);
		return;
	}
	if (!f->questions || ending) {
		flow_end(f, NULL);
		return;
	}
	f->waiting = true;
	f->asked = now;
	if (send(f->fd, "question", 8, MSG_NOSIGNAL) != 8)
		flow_end(f, "send");
}

static int load_tcp(int n, int seconds)
{
	int64_t end = now_us() + seconds * 1000000LL;
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0);
	bool busy = true;

	for (int i = 0; i < n; i++) {
		flow[i].fd = -1;
		flow[i].due = now_us() + rand() % 500000;
	}
	while (busy) {
		int got = epoll_wait(ep, events, EVENTS, 5);
		int64_t now = now_us();

		for (int i = 0; i < got; i++)
			flow_event(&flow[events[i].data.u32], ep, (int)events[i].data.u32);
		busy = now < end;
		for (int i = 0; i < n; i++) {
			flow_tick(&flow[i], ep, i, now, now >= end);
			busy |= flow[i].fd >= 0;
		}
	}
	printf("opened %ld answered %ld broken %ld young %ld\n", opened, answered, broken, young);
	return broken != 0;
}

/* ---- udp ---- */

static int load_udp(int n, int interval_us)
{
	int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0), sent = 0, received = 0;
	int64_t next = now_us(), end = 0;
	char *seen = calloc((size_t)n, 1);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (fd < 0 || !seen || connect(fd, (struct sockaddr *)&to, to_len))
		return 1;
	while (received < n && (!end || now_us() < end)) {
		uint32_t number;

		if (sent < n && now_us() >= next) {
			number = (uint32_t)sent++;
			send(fd, &number, sizeof(number), 0);
			next += interval_us;
			if (sent == n)
				end = now_us() + 2000000;
		}
		while (recv(fd, &number, sizeof(number), 0) == sizeof(number)) {
			if (number < (uint32_t)n && !seen[number]) {
				seen[number] = 1;
				received++;
			}
		}
		poll(&p, 1, sent < n && next - now_us() < 1000 ? 0 : 1);
	}
	printf("sent %d received %d\n", sent, received);
	free(seen);
	return sent != received;
}

/* ---- bulk ---- */

static int load_bulk(long bytes, int seconds)
{
	int64_t end = now_us() + seconds * 1000000LL;
	int fd = socket(to.ss_family, SOCK_STREAM, 0);
	struct pollfd p = { .fd = fd };
	long sent = 0, came = 0;
	static char buf[16384];

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, to_len))
		return 1;
	while (came < bytes && now_us() < end) {
		long part = bytes - sent < (long)sizeof(buf) ? bytes - sent : (long)sizeof(buf);
		ssize_t n;

		p.events = POLLIN | (part ? POLLOUT : 0);
		if (poll(&p, 1, 100) < 0)
			break;
		n = p.revents & POLLIN ? recv(fd, buf, sizeof(buf), MSG_DONTWAIT) : 0;
		came += n > 0 ? n : 0;
		n = p.revents & POLLOUT ? send(fd, buf, (size_t)part, MSG_DONTWAIT | MSG_NOSIGNAL)
					: 0;
		sent += n > 0 ? n : 0;
	}
	close(fd);
	printf("%ld\n", came);
	return came != bytes;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	srand(1);
	spread = getenv("DP_SPREAD") ? atoi(getenv("DP_SPREAD")) : 0;
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc != 6 || atoi(argv[4]) <= 0 || atoi(argv[4]) > 1000000)
		return 2;
	to_len = target(&to, argv[2], argv[3]);
	if (!strcmp(argv[1], "udp"))
		return load_udp(atoi(argv[4]), atoi(argv[5]));
	if (!strcmp(argv[1], "bulk"))
		return load_bulk(atol(argv[4]), atoi(argv[5]));
	return atoi(argv[4]) <= FLOWS_MAX ? load_tcp(atoi(argv[4]), atoi(argv[5])) : 2;
}
