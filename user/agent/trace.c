// SPDX-License-Identifier: Apache-2.0
/*
 * trace.c -- RUN/agent-trace.sock: who asks gets copies of packets until he has enough, his time is
 * over, or he is gone.
 *
 * A stream. The client sends one JSON line (trace_ask.c) and gets one, {"ok":true,…} or
 * {"ok":false,"error":SENTENCE}. Then messages follow: __u32 length of the rest in host order, one byte of
 * kind, and for TRACE_PACKET a struct weir_sample (its time is CLOCK_REALTIME here), `captured` bytes
 * and the names of service, backend and interface, each ended by a zero byte; for TRACE_END, the last,
 * JSON. What a slow client leaves in its buffer is bounded: packets beyond are lost for this client alone.
 *
 * Only root and this program's user may connect: packets are other people's words. A trace that ends,
 * however it ends, takes its filter away.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/agent/samples.h"
#include "user/agent/trace_int.h"

#define CLIENTS_MAX  8 /* those that still ask and those refused, too */
#define REQUEST_MAX  4096
#define BUFFER_MAX   (4u << 20)
#define PATIENCE_US  5000000ull /* to say the request, or to take the last word */
#define CHECK_US     100000
#define READ_MAX     2048 /* records before others have their turn */

enum { TRACE_PACKET = 'p', TRACE_END = 'e' };

struct trace_client {
	struct trace *t;
	int fd; /* -1: free */
	struct loop_fd *watch;
	uint32_t events;
	pid_t pid;
	int filter; /* -1: has none (yet, or any more) */
	bool closing; /* only the buffer is still to be sent */
	struct trace_wish wish;
	uint64_t since_ns, until_us; /* until: the request is there, the trace is over, the rest was taken */
	uint64_t sent, slow, lost_before;
	char *buf;
	size_t len, done, size;
};

struct trace {
	struct agent *agent;
	char path[sizeof(((struct addr_port *)0)->path)];
	int fd;
	struct loop_fd *watch, *ring_watch;
	struct loop_timer *timer;
	struct samples *ring; /* NULL: nobody traced yet */
	uint64_t wall;	      /* CLOCK_REALTIME less CLOCK_MONOTONIC, ns */
	struct trace_client clients[CLIENTS_MAX];
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* ---- what is to be sent -------------------------------------------------------------------------- */

static void client_close(struct trace_client *c);
static void on_client(int fd, uint32_t revents, void *arg);

static bool buffer_room(struct trace_client *c, size_t more)
{
	size_t size = c->size ? c->size : 65536;
	char *bigger;

	if (c->done) {
		memmove(c->buf, c->buf + c->done, c->len - c->done);
		c->len -= c->done;
		c->done = 0;
	}
	while (size < c->len + more)
		size *= 2;
	if (size > BUFFER_MAX)
		return false;
	bigger = size == c->size ? c->buf : realloc(c->buf, size);
	if (!bigger)
		return false;
	c->buf = bigger;
	c->size = size;
	return true;
}

static bool put(struct trace_client *c, const void *data, size_t len)
{
	if (!buffer_room(c, len))
		return false;
	memcpy(c->buf + c->len, data, len);
	c->len += len;
	return true;
}

static int client_watch(struct trace_client *c, uint32_t events)
{
	if (c->watch && c->events == events)
		return 0;
	loop_fd_stop(c->watch);
	c->watch = NULL;
	c->events = events;
	return loop_fd_add(c->t->agent->d->loop, &c->watch, c->fd, events, on_client, c);
}

/* Sends what the client takes. False: the client is gone, and closed. */
static bool flush(struct trace_client *c)
{
	while (c->done < c->len) {
		ssize_t n = send(c->fd, c->buf + c->done, c->len - c->done, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0) {
			client_close(c);
			return false;
		}
		c->done += (size_t)n;
	}
	if (c->done == c->len)
		c->done = c->len = 0;
	if ((c->closing && !c->len) || client_watch(c, c->len ? EPOLLIN | EPOLLOUT : EPOLLIN)) {
		client_close(c);
		return false;
	}
	return true;
}

static bool put_json(struct trace_client *c, json_t *o, bool line)
{
	char *text = json_dumps(o, JSON_COMPACT);
	uint32_t len = text ? (uint32_t)strlen(text) + 1 : 0;
	uint8_t kind = TRACE_END;
	bool fine = text != NULL;

	json_decref(o);
	if (fine && line)
		fine = put(c, text, len - 1) && put(c, "\n", 1);
	else if (fine)
		fine = put(c, &len, sizeof(len)) && put(c, &kind, 1) && put(c, text, len - 1);
	free(text);
	return fine;
}

/* ---- the filters ---------------------------------------------------------------------------------- */

static uint64_t ring_lost(const struct trace *t)
{
	uint64_t count[WEIR_SAMPLE_COUNTS];

	return dataplane_sample_counts(t->agent->dp, count) < 0 ? 0 : count[WEIR_SAMPLES_LOST];
}

static void filter_off(struct trace_client *c)
{
	const struct weir_sample_filter none = { 0 };
	bool others = false;

	if (c->filter < 0)
		return;
	if (dataplane_sample_filter(c->t->agent->dp, (uint32_t)c->filter, &none) < 0)
		log_warn("a trace's filter cannot be taken away: %s", dataplane_error(c->t->agent->dp));
	c->filter = -1;
	for (int i = 0; i < CLIENTS_MAX; i++)
		others |= c->t->clients[i].filter >= 0;
	if (others)
		return;
	loop_fd_stop(c->t->ring_watch);
	c->t->ring_watch = NULL;
}

/* The trace is over: the filter goes, and a last word is said. */
static void trace_end(struct trace_client *c, const char *why)
{
	uint64_t lost = ring_lost(c->t) - c->lost_before;

	filter_off(c);
	c->closing = true;
	c->until_us = agent_now_us() + PATIENCE_US;
	if (put_json(c, json_pack("{ss sI sI sI}", "ended", why, "packets", (json_int_t)c->sent, "lost",
				  (json_int_t)lost, "slow", (json_int_t)c->slow),
		     false))
		flush(c);
	else
		client_close(c);
}

static void client_close(struct trace_client *c)
{
	filter_off(c);
	loop_fd_stop(c->watch);
	close(c->fd);
	free(c->buf);
	*c = (struct trace_client){ .t = c->t, .fd = -1, .filter = -1 };
}

/* ---- packets --------------------------------------------------------------------------------------- */

static const char *service_name(const struct agent *agent, uint32_t number, char buf[WEIR_NAME_MAX])
{
	const char *name;

	if (!number)
		return "";
	for (size_t i = 0; i < agent->n; i++)
		if (agent->services[i]->number == (int)number - 1)
			return agent->services[i]->name;
	name = route_tunnel_name(agent->route, (int)number - 1);
	if (name)
		return name;
	snprintf(buf, WEIR_NAME_MAX, "#%u", number - 1);
	return buf;
}

static const char *backend_name(const struct agent *agent, uint16_t index, char buf[WEIR_NAME_MAX])
{
	const char *name;

	if (!index)
		return "";
	for (size_t i = 0; i < agent->n; i++)
		for (size_t k = 0; k < agent->services[i]->n; k++)
			if (agent->services[i]->backends[k]->index == index)
				return agent->services[i]->backends[k]->name;
	name = route_end_name(agent->route, index);
	if (name)
		return name;
	snprintf(buf, WEIR_NAME_MAX, "#%u", index);
	return buf;
}

struct packet_message {
	uint32_t len;
	uint8_t kind;
	uint8_t rest[sizeof(struct weir_sample) + WEIR_SAMPLE_SNAP + 3 * WEIR_NAME_MAX];
} __attribute__((packed));

static size_t add_name(struct packet_message *m, size_t at, const char *name)
{
	return at + (size_t)snprintf((char *)m->rest + at, WEIR_NAME_MAX, "%.*s", WEIR_NAME_MAX - 1, name) + 1;
}

static size_t message_fill(const struct trace *t, const struct weir_sample_record *r, struct packet_message *m)
{
	char text[WEIR_NAME_MAX], interface[IF_NAMESIZE];
	struct weir_sample head = r->head;
	size_t at = sizeof(head);

	if (head.captured > WEIR_SAMPLE_SNAP)
		head.captured = WEIR_SAMPLE_SNAP;
	head.time += t->wall;
	memcpy(m->rest, &head, sizeof(head));
	memcpy(m->rest + at, r->data, head.captured);
	at += head.captured;
	at = add_name(m, at, service_name(t->agent, head.service, text));
	at = add_name(m, at, backend_name(t->agent, head.backend, text));
	if (!if_indextoname(head.ifindex, interface))
		snprintf(interface, sizeof(interface), "if%u", head.ifindex);
	at = add_name(m, at, interface);
	m->kind = TRACE_PACKET;
	m->len = (uint32_t)at + 1;
	return sizeof(m->len) + m->len;
}

static void on_sample(void *arg, const struct weir_sample_record *r)
{
	struct packet_message m;
	struct trace *t = arg;
	size_t len = 0;

	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct trace_client *c = &t->clients[i];

		/* What lay in the ring before the trace began was for somebody else. */
		if (c->filter < 0 || !(r->head.filters >> c->filter & 1) || r->head.time < c->since_ns ||
		    c->sent + c->slow >= c->wish.packets)
			continue;
		if (!len)
			len = message_fill(t, r, &m);
		if (put(c, &m, len))
			c->sent++;
		else
			c->slow++;
	}
}

static void drain(struct trace *t)
{
	t->wall = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	samples_read(t->ring, READ_MAX, on_sample, t);
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct trace_client *c = &t->clients[i];

		if (c->filter >= 0 && c->sent + c->slow >= c->wish.packets)
			trace_end(c, "count");
		else if (c->filter >= 0 && c->len)
			flush(c);
	}
}

static void on_ring(int fd, uint32_t revents, void *arg)
{
	(void)fd;
	(void)revents;
	drain(arg);
}

static void on_timer(void *arg)
{
	struct trace *t = arg;
	uint64_t now = agent_now_us();
	bool busy = false;

	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct trace_client *c = &t->clients[i];

		if (c->filter >= 0 && now >= c->until_us) {
			drain(t); /* what came until then is his */
			if (c->filter >= 0)
				trace_end(c, "seconds");
		} else if (c->fd >= 0 && now >= c->until_us) {
			client_close(c);
		}
		busy |= c->fd >= 0;
	}
	if (busy)
		return;
	loop_timer_stop(t->timer);
	t->timer = NULL;
}

/* ---- requests -------------------------------------------------------------------------------------- */

static int ring_open(struct trace *t)
{
	int fd, rc = 0;

	if (!t->ring) {
		fd = dataplane_sample_ring(t->agent->dp);
		if (fd < 0)
			return fd;
		rc = samples_open(&t->ring, fd, WEIR_SAMPLE_RING);
		if (rc) {
			close(fd);
			return rc;
		}
	}
	if (!t->ring_watch)
		rc = loop_fd_add(t->agent->d->loop, &t->ring_watch, samples_fd(t->ring), EPOLLIN, on_ring, t);
	return rc;
}

/* The first filter that nobody has, or -1 and who has them. */
static int filter_free(const struct trace *t, char *err, size_t err_len)
{
	uint32_t used = 0;
	size_t len = 0;

	for (int i = 0; i < CLIENTS_MAX; i++)
		if (t->clients[i].filter >= 0)
			used |= 1u << t->clients[i].filter;
	for (int i = 0; i < WEIR_SAMPLE_FILTERS; i++)
		if (!(used >> i & 1))
			return i;
	len = (size_t)snprintf(err, err_len, "%d traces run already, end one:", WEIR_SAMPLE_FILTERS);
	for (int i = 0; i < CLIENTS_MAX && len < err_len; i++)
		if (t->clients[i].filter >= 0)
			len += (size_t)snprintf(err + len, err_len - len, " process %d (%.60s)",
						t->clients[i].pid, t->clients[i].wish.text);
	return -1;
}

/* 0, or -errno with a sentence. */
static int trace_begin(struct trace_client *c, const json_t *request, char *err, size_t err_len)
{
	struct trace *t = c->t;
	const char *word = json_string_value(json_object_get(request, "do"));
	struct trace_wish *w = &c->wish;
	int filter, rc;

	if (!word || strcmp(word, "trace")) {
		snprintf(err, err_len, "the request is not understood");
		return -EINVAL;
	}
	rc = trace_wish_read(w, t->agent, request, err, err_len);
	if (rc)
		return rc;
	filter = filter_free(t, err, err_len);
	if (filter < 0)
		return -EBUSY;
	rc = ring_open(t);
	c->lost_before = ring_lost(t);
	c->since_ns = clock_ns(CLOCK_MONOTONIC);
	c->until_us = agent_now_us() + w->seconds * 1000000ull;
	/* The packet path forgets it by itself soon after, whatever happens here. */
	w->filter.until = c->since_ns + (w->seconds < TRACE_SECONDS_MAX ? w->seconds + 1ull : w->seconds) *
						1000000000ull;
	if (!rc)
		rc = dataplane_sample_filter(t->agent->dp, (uint32_t)filter, &w->filter);
	if (rc < 0) {
		snprintf(err, err_len, "the packet path cannot be asked: %s", strerror(-rc));
		return rc;
	}
	c->filter = filter;
	log_info("process %d traces %s: at most %llu packets, %u s", c->pid, w->text,
		 (unsigned long long)w->packets, w->seconds);
	return 0;
}

static void answer(struct trace_client *c, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL), *said;
	char err[1400] = "the request is not JSON";
	int rc = json_is_object(request) ? trace_begin(c, request, err, sizeof(err)) : -EINVAL;

	json_decref(request);
	c->len = c->done = 0; /* the request was there */
	if (rc < 0) {
		c->closing = true;
		c->until_us = agent_now_us() + PATIENCE_US;
		said = json_pack("{sb ss}", "ok", 0, "error", err);
	} else {
		said = json_pack("{sb ss sI sI}", "ok", 1, "trace", c->wish.text, "count",
				 (json_int_t)c->wish.packets, "seconds", (json_int_t)c->wish.seconds);
	}
	if (said && put_json(c, said, true))
		flush(c);
	else
		client_close(c);
}

/* A client that traces says nothing more: whatever comes, or the end, ends it. */
static void on_client(int fd, uint32_t revents, void *arg)
{
	struct trace_client *c = arg;
	bool asks = c->filter < 0 && !c->closing;
	char *end, drop[64];
	ssize_t n;

	if ((revents & EPOLLOUT) && !flush(c))
		return;
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (asks && !buffer_room(c, REQUEST_MAX))
		return client_close(c);
	n = asks ? recv(fd, c->buf + c->len, REQUEST_MAX - c->len, MSG_DONTWAIT)
		 : recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !asks)
		return client_close(c);
	c->len += (size_t)n;
	end = memchr(c->buf, '\n', c->len);
	if (end)
		answer(c, c->buf, (size_t)(end - c->buf));
	else if (c->len >= REQUEST_MAX)
		client_close(c);
}

static bool may_connect(int fd, pid_t *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || (peer.uid && peer.uid != geteuid()))
		return false;
	*pid = peer.pid;
	return true;
}

static void on_connection(int listener, uint32_t revents, void *arg)
{
	struct trace *t = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct trace_client *c = NULL;
	pid_t pid = 0;

	(void)revents;
	if (fd < 0)
		return;
	for (int i = 0; i < CLIENTS_MAX && !c; i++)
		if (t->clients[i].fd < 0)
			c = &t->clients[i];
	if (!c || !may_connect(fd, &pid)) {
		log_limited(LOG_LEVEL_WARN, 6, "%s: a connection was refused", t->path);
		close(fd);
		return;
	}
	c->fd = fd;
	c->pid = pid;
	c->until_us = agent_now_us() + PATIENCE_US;
	if (client_watch(c, EPOLLIN) ||
	    (!t->timer && loop_every(t->agent->d->loop, &t->timer, CHECK_US, 0, on_timer, t)))
		client_close(c);
}

/* ---- the socket ------------------------------------------------------------------------------------- */

int trace_bind(struct trace **out, struct agent *agent)
{
	struct trace *t = calloc(1, sizeof(*t));
	struct addr_port at = { 0 };
	char path[4096];
	int err;

	*out = NULL;
	if (!t)
		return -ENOMEM;
	t->agent = agent;
	t->fd = -1;
	for (int i = 0; i < CLIENTS_MAX; i++)
		t->clients[i] = (struct trace_client){ .t = t, .fd = -1, .filter = -1 };
	conf_ctl_path(agent->d->conf, "agent-trace", path, sizeof(path));
	err = snprintf(t->path, sizeof(t->path), "%s", path) < (int)sizeof(t->path) ? 0 : -ENAMETOOLONG;
	if (!err) {
		strcpy(at.path, t->path);
		t->fd = addr_bind(&at, SOCK_STREAM, CLIENTS_MAX, false, 0600);
		err = t->fd < 0 ? t->fd : lchown(t->path, agent->d->user.uid, (gid_t)-1) ? -errno : 0;
	}
	if (!err) {
		*out = t;
		return 0;
	}
	log_error("%s: cannot listen for traces: %s", path, strerror(-err));
	trace_stop(t);
	return err;
}

int trace_start(struct trace *t)
{
	return loop_fd_add(t->agent->d->loop, &t->watch, t->fd, EPOLLIN, on_connection, t);
}

size_t trace_running(const struct trace *t)
{
	size_t n = 0;

	for (int i = 0; t && i < CLIENTS_MAX; i++)
		n += t->clients[i].filter >= 0;
	return n;
}

void trace_stop(struct trace *t)
{
	if (!t)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (t->clients[i].filter >= 0)
			trace_end(&t->clients[i], "the agent stops");
		if (t->clients[i].fd >= 0)
			client_close(&t->clients[i]);
	}
	loop_timer_stop(t->timer);
	loop_fd_stop(t->watch);
	samples_close(t->ring);
	if (t->fd >= 0) {
		close(t->fd);
		unlink(t->path);
	}
	free(t);
}
