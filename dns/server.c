/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c -- binding, and the UDP workers' loop: read a batch, answer in place, send the batch.
 */
#include "dns/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dns/tcp.h"
#include "lib/hash.h"
#include "lib/log.h"

#define BATCH 64 /* messages a system call */
/* A question is at most 282 bytes without EDNS options, an answer 1232. Not a power of two: the
 * starts of all buffers would share a few sets of the first-level cache. */
#define BUFFER	    (2048 + 64)
#define TCP_BACKLOG 256
#define RCVBUF	    (4 << 20) /* bytes: what may wait while a worker is off the CPU */

struct udp_worker {
	struct server *server;
	struct view_reader *reader;
	struct metric_series *latency;
	int fd;
	bool any_address; /* bound to the wildcard: the reply's source is taken from the query */
	bool started;
	uint32_t sequence;
	pthread_t thread;
	_Alignas(64) struct server_counts counts;
};

struct server {
	struct views views;
	struct udp_worker **workers;
	size_t nworkers;
	int *tcp_fds;
	size_t ntcp;
	struct tcp *tcp;
	unsigned int tcp_connections;
	uint64_t tcp_idle_us;
	_Atomic bool stopping;
};

/* What one worker reads into and sends from; control data only where the source must be pinned. */
struct batch {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_vec[BATCH], out_vec[BATCH];
	struct sockaddr_storage peer[BATCH];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control[BATCH];
	uint8_t buffer[BATCH][BUFFER];
};

static void bump(_Atomic uint64_t *counter)
{
	/* One writer: a plain add that readers see whole. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

void server_count_answer(struct server_counts *counts, const struct dns_answered *what)
{
	unsigned int index = SERVER_TYPE_OTHER;

	switch (what->qtype) {
#define X(name)                                                                                    \
	case DNS_##name:                                                                           \
		index = SERVER_TYPE_##name;                                                        \
		break;
		SERVER_TYPES(X)
#undef X
	}
	bump(&counts->queries[index]);
	bump(&counts->rcodes[what->rcode < DNS_RCODES ? what->rcode : DNS_SERVFAIL]);
	if (what->truncated)
		bump(&counts->truncated);
}

const char *server_type_name(unsigned int index)
{
	static const char *const names[] = {
#define X(name) #name,
		SERVER_TYPES(X)
#undef X
			"other",
	};

	return names[index < SERVER_TYPES_N ? index : SERVER_TYPE_OTHER];
}

/* ---- the UDP loop -------------------------------------------------------------------- */

static void batch_prepare(struct batch *b, bool any_address)
{
	for (unsigned int i = 0; i < BATCH; i++) {
		struct msghdr *h = &b->in[i].msg_hdr;

		b->in_vec[i].iov_base = b->buffer[i];
		b->in_vec[i].iov_len = BUFFER;
		h->msg_iov = &b->in_vec[i];
		h->msg_iovlen = 1;
		h->msg_name = &b->peer[i];
		h->msg_namelen = sizeof(b->peer[i]);
		h->msg_control = any_address ? b->control[i].bytes : NULL;
		h->msg_controllen = any_address ? sizeof(b->control[i]) : 0;
		b->out[i].msg_hdr.msg_iov = &b->out_vec[i];
		b->out[i].msg_hdr.msg_iovlen = 1;
	}
}

/* The reply leaves from the address that was asked, by whatever route; only link-local needs the
 * interface of the query. */
static void release_interface(struct msghdr *h)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo *info = (struct in_pktinfo *)(void *)CMSG_DATA(c);

			info->ipi_ifindex = 0;
			info->ipi_spec_dst = info->ipi_addr;
		} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo *info = (struct in6_pktinfo *)(void *)CMSG_DATA(c);

			if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr))
				info->ipi6_ifindex = 0;
		}
	}
}

/* Answers message i in place; true when it goes into the outgoing batch at place `o`. */
static bool answer_one(struct udp_worker *w, const struct dns_view *view, struct batch *b,
		       unsigned int i, unsigned int o)
{
	struct msghdr *in = &b->in[i].msg_hdr, *out = &b->out[o].msg_hdr;
	struct dns_answered what;
	size_t len = 0;

	if (!(in->msg_flags & MSG_TRUNC))
		len = dns_answer(view, b->buffer[i], b->in[i].msg_len, BUFFER, DNS_UDP,
				 &w->sequence, &what);
	if (len) {
		server_count_answer(&w->counts, &what);
		b->out_vec[o].iov_base = b->buffer[i];
		b->out_vec[o].iov_len = len;
		out->msg_name = in->msg_name;
		out->msg_namelen = in->msg_namelen;
		out->msg_control = in->msg_control;
		out->msg_controllen = w->any_address ? in->msg_controllen : 0;
		if (w->any_address)
			release_interface(out);
	} else {
		bump(&w->counts.ignored);
	}
	in->msg_namelen = sizeof(b->peer[i]);
	if (w->any_address)
		in->msg_controllen = sizeof(b->control[i]);
	return len > 0;
}

/* A peer that cannot be reached must not hold up the others behind it. */
static void send_batch(struct udp_worker *w, struct batch *b, unsigned int n)
{
	for (unsigned int sent = 0; sent < n;) {
		int rc = sendmmsg(w->fd, b->out + sent, n - sent, 0);

		if (rc > 0) {
			sent += (unsigned int)rc;
		} else if (rc == 0 || errno != EINTR) {
			bump(&w->counts.send_failed);
			sent++;
		}
	}
}

static double seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

static void *udp_loop(void *arg)
{
	struct udp_worker *w = arg;
	struct batch *b = calloc(1, sizeof(*b));

	if (!b) {
		log_error("no memory for a UDP worker: it does not serve");
		return NULL;
	}
	batch_prepare(b, w->any_address);
	while (!atomic_load_explicit(&w->server->stopping, memory_order_relaxed)) {
		int n = recvmmsg(w->fd, b->in, BATCH, MSG_WAITFORONE, NULL);
		const struct dns_view *view;
		struct timespec start;
		unsigned int out = 0;

		if (n <= 0)
			continue; /* EINTR, an ICMP error of an earlier reply, or the end */
		clock_gettime(CLOCK_MONOTONIC, &start);
		view = view_hold(&w->server->views, w->reader);
		for (unsigned int i = 0; i < (unsigned int)n; i++)
			out += answer_one(w, view, b, i, out);
		view_drop(w->reader);
		send_batch(w, b, out);
		if (w->latency)
			metric_observe(w->latency, seconds_since(&start));
	}
	free(b);
	return NULL;
}

/* ---- binding ------------------------------------------------------------------------- */

static bool is_any(const struct addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->bytes, zero, a->family == AF_INET6 ? 16 : 4) == 0;
}

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

/* Forged "too big" messages must not fragment answers that fit anyway (RFC 9715). */
static int set_options(int fd, bool six, bool any_address)
{
	int rc = six ? set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT)
		     : set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);

	if (rc || !any_address)
		return rc;
	return six ? set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
		   : set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/* A blocking socket: the worker sleeps in recvmmsg. */
static int bind_udp(const struct addr_port *listen)
{
	int fd = addr_bind(listen, SOCK_DGRAM, 0, true, 0), rc = 0;

	if (fd < 0)
		return fd;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK))
		rc = -errno;
	if (!rc)
		rc = set_options(fd, listen->addr.family == AF_INET6, is_any(&listen->addr));
	/* Beyond the system's limit only with privilege; less is slower, not wrong. */
	if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, RCVBUF))
		(void)set_int(fd, SOL_SOCKET, SO_RCVBUF, RCVBUF);
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

static struct udp_worker *worker_add(struct server *s, const struct addr_port *listen, int fd)
{
	struct udp_worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);

	if (!w)
		return NULL;
	memset(w, 0, sizeof(*w));
	w->server = s;
	w->fd = fd;
	w->any_address = is_any(&listen->addr);
	w->reader = views_reader(&s->views);
	random_bytes(&w->sequence, sizeof(w->sequence));
	s->workers[s->nworkers++] = w;
	return w->reader ? w : NULL;
}

static int bind_listener(struct server *s, const struct addr_port *listen, unsigned int workers)
{
	char text[ADDR_PORT_STRLEN];
	int fd = addr_bind(listen, SOCK_STREAM, TCP_BACKLOG, false, 0);

	if (fd < 0) {
		log_error("cannot listen on %s (TCP): %s; is another name server running there?",
			  addr_port_format(listen, text, sizeof(text)), strerror(-fd));
		return fd;
	}
	s->tcp_fds[s->ntcp++] = fd;
	for (unsigned int i = 0; i < workers; i++) {
		fd = bind_udp(listen);
		if (fd < 0) {
			log_error("cannot listen on %s (UDP): %s; is another name server running "
				  "there?",
				  addr_port_format(listen, text, sizeof(text)), strerror(-fd));
			return fd;
		}
		if (!worker_add(s, listen, fd))
			return -ENOMEM;
	}
	return 0;
}

int server_bind(struct server **out, const struct conf_ns *conf)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned int workers = conf->workers ? conf->workers : cpus > 0 ? (unsigned int)cpus : 1;
	struct server *s = aligned_alloc(64, (sizeof(*s) + 63) & ~(size_t)63);
	int rc = 0;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	if (workers * conf->nlisten > VIEW_READERS_MAX - 1)
		workers = (unsigned int)((VIEW_READERS_MAX - 1) /
					 (conf->nlisten ? conf->nlisten : 1));
	s->tcp_connections = conf->limits.tcp_connections;
	s->tcp_idle_us = conf->limits.tcp_idle_us;
	s->workers = calloc(workers * conf->nlisten + 1, sizeof(*s->workers));
	s->tcp_fds = calloc(conf->nlisten + 1, sizeof(*s->tcp_fds));
	if (!s->workers || !s->tcp_fds)
		rc = -ENOMEM;
	for (size_t i = 0; i < conf->nlisten && !rc; i++)
		rc = bind_listener(s, &conf->listen[i], workers);
	if (rc)
		server_stop(s);
	else
		*out = s;
	return rc;
}

int server_start(struct server *s, struct metric_series *latency)
{
	int rc = tcp_start(&s->tcp, s->tcp_fds, s->ntcp, &s->views, views_reader(&s->views));

	if (rc)
		return rc;
	tcp_limits(s->tcp, s->tcp_connections, s->tcp_idle_us);
	for (size_t i = 0; i < s->nworkers; i++) {
		s->workers[i]->latency = latency;
		rc = pthread_create(&s->workers[i]->thread, NULL, udp_loop, s->workers[i]);
		if (rc)
			return -rc;
		s->workers[i]->started = true;
	}
	return 0;
}

struct views *server_views(struct server *s)
{
	return &s->views;
}

void server_limits(struct server *s, unsigned int connections, uint64_t idle_us)
{
	tcp_limits(s->tcp, connections, idle_us);
}

static void add_counts(struct server_totals *out, const struct server_counts *c,
		       enum dns_transport t)
{
	for (unsigned int i = 0; i < SERVER_TYPES_N; i++)
		out->queries[t][i] += atomic_load_explicit(&c->queries[i], memory_order_relaxed);
	for (unsigned int i = 0; i < DNS_RCODES; i++)
		out->rcodes[t][i] += atomic_load_explicit(&c->rcodes[i], memory_order_relaxed);
	out->truncated += atomic_load_explicit(&c->truncated, memory_order_relaxed);
	out->ignored += atomic_load_explicit(&c->ignored, memory_order_relaxed);
	out->send_failed += atomic_load_explicit(&c->send_failed, memory_order_relaxed);
}

void server_count(const struct server *s, struct server_totals *out)
{
	const struct tcp_counts *tcp = s->tcp ? tcp_counts(s->tcp) : NULL;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < s->nworkers; i++)
		add_counts(out, &s->workers[i]->counts, DNS_UDP);
	if (!tcp)
		return;
	add_counts(out, &tcp->answers, DNS_TCP);
	out->tcp_refused = atomic_load(&tcp->refused);
	out->tcp_evicted = atomic_load(&tcp->evicted);
	out->tcp_idle = atomic_load(&tcp->idle);
	out->tcp_open = atomic_load(&tcp->open);
}

void server_stop(struct server *s)
{
	if (!s)
		return;
	atomic_store(&s->stopping, true);
	tcp_stop(s->tcp);
	for (size_t i = 0; i < s->nworkers; i++) {
		struct udp_worker *w = s->workers[i];

		/* Wakes a reader although the socket is not connected (and says ENOTCONN). */
		(void)shutdown(w->fd, SHUT_RD);
		if (w->started)
			pthread_join(w->thread, NULL);
		close(w->fd);
		free(w);
	}
	for (size_t i = 0; i < s->ntcp; i++)
		close(s->tcp_fds[i]);
	views_swap(&s->views, NULL);
	free(s->workers);
	free(s->tcp_fds);
	free(s);
}
