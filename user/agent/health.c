/* SPDX-License-Identifier: Apache-2.0 */
/*
 * health.c -- probes of backends (see health.h).
 *
 * A check is two sd-event sources: a timer, which is the start of the next probe or the time-out of
 * the running one, and the socket of the running one.
 */
#include "user/agent/health.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define JITTER 0.1              /* of the interval, both ways: checks of many agents spread */

struct health {
	struct health_spec spec;
	struct health_verdict verdict;
	health_socket_fn *open_socket;
	void *socket_arg;
	health_fn *fn;
	void *arg;
	sd_event_source *timer, *io;
	int fd;
	bool connected;
	uint64_t started_us;
	uint64_t random;
	struct addr_port target;        /* of the running probe */
	size_t received;
	char answer[HEALTH_ANSWER_MAX];
};

/* ---- pure parts --------------------------------------------------------------------------------- */

bool health_judge(struct health_verdict *v, bool ok, unsigned int rise, unsigned int fall)
{
	if (v->known && ok == v->up) {
		v->streak = 0;
		return false;
	}
	v->streak++;
	/* What nobody has looked at yet may serve after its first good answer. */
	if (v->streak < (!ok ? fall : v->known ? rise : 1))
		return false;
	v->known = true;
	v->up = ok;
	v->streak = 0;
	return true;
}

static void take_report(struct health_answer *answer, const char *value, size_t len)
{
	char text[HEALTH_ANSWER_MAX];

	if (len >= sizeof(text))
		return;
	memcpy(text, value, len);
	text[len] = '\0';
	if (strlen(text) == len && orca_parse(&answer->report, text) == 0)
		answer->reported = true;
}

int health_parse(struct health_answer *answer, const char *data, size_t len)
{
	static const char name[] = "endpoint-load-metrics:";
	const char *end = memmem(data, len, "\r\n\r\n", 4), *line = data;
	unsigned int status = 0;

	if (len >= 5 && memcmp(data, "HTTP/", 5) != 0)
		return -EINVAL;
	if (!end)
		return len < HEALTH_ANSWER_MAX ? 0 : -EINVAL;
	/* "HTTP/1.1 200" is 12 bytes; the end of the headers lies behind the data read here or EINVAL. */
	if (end - data < 12 || memcmp(data, "HTTP/1.", 7) != 0 || data[8] != ' ')
		return -EINVAL;
	for (int i = 9; i < 12; i++) {
		if (data[i] < '0' || data[i] > '9')
			return -EINVAL;
		status = status * 10 + (unsigned int)(data[i] - '0');
	}
	memset(answer, 0, sizeof(*answer));
	answer->status = status;
	while (line < end) {
		const char *stop = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		size_t size = (size_t)(stop - line);

		if (size >= sizeof(name) - 1 && strncasecmp(line, name, sizeof(name) - 1) == 0)
			take_report(answer, line + sizeof(name) - 1, size - (sizeof(name) - 1));
		line = stop + 2;
	}
	return 1;
}

/* ---- probes ------------------------------------------------------------------------------------- */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static double random_unit(struct health *h)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return (double)(h->random >> 11) / 9007199254740992.0;
}

static void set_timer(struct health *h, uint64_t after_us)
{
	sd_event_source_set_time(h->timer, now_us() + after_us);
	sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static void end_probe(struct health *h)
{
	h->io = sd_event_source_disable_unref(h->io);
	if (h->fd >= 0)
		close(h->fd);
	h->fd = -1;
}

/* Ends the running probe, tells its result, and sets the next one's time. why: NULL when it went well. */
static void finish(struct health *h, const struct health_answer *answer, const char *why)
{
	struct health_result result = { .ok = why == NULL };
	double wait = (double)h->spec.interval_us * (1 - JITTER + 2 * JITTER * random_unit(h));
	uint64_t took = now_us() - h->started_us;

	end_probe(h);
	result.took_ms = (double)took / 1e3;
	if (answer)
		result.answer = *answer;
	snprintf(result.why, sizeof(result.why), "%s", why ? why : "");
	result.changed = health_judge(&h->verdict, result.ok, h->spec.rise, h->spec.fall);
	/* From start to start, so that a slow backend is not looked at less often. */
	set_timer(h, wait > (double)took ? (uint64_t)wait - took : 0);
	h->fn(h->arg, &result);
}

static void finish_errno(struct health *h, const char *what, int err)
{
	char why[96];

	snprintf(why, sizeof(why), "%s: %s", what, strerror(err));
	finish(h, NULL, why);
}

static void finish_status(struct health *h, const struct health_answer *answer)
{
	char why[96];

	if (answer->status >= 200 && answer->status < 400) {
		finish(h, answer, NULL);
		return;
	}
	snprintf(why, sizeof(why), "answered status %u", answer->status);
	finish(h, answer, why);
}

static void read_answer(struct health *h)
{
	ssize_t len = recv(h->fd, h->answer + h->received, sizeof(h->answer) - h->received, 0);
	struct health_answer answer;
	int rc;

	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len < 0) {
		finish_errno(h, "reading the answer", errno);
		return;
	}
	h->received += (size_t)len;
	rc = health_parse(&answer, h->answer, h->received);
	if (rc == 1)
		finish_status(h, &answer);
	else if (rc < 0)
		finish(h, NULL, "answered something that is not HTTP, or too long");
	else if (len == 0)
		finish(h, NULL, "closed the connection without an answer");
}

static void send_request(struct health *h)
{
	char host[ADDR_PORT_STRLEN], request[512];
	struct addr_port target = h->target;
	int len;

	target.proto = 0;
	addr_port_format(&target, host, sizeof(host));
	len = snprintf(request, sizeof(request),
		       "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-agent\r\nAccept: */*\r\n"
		       "Connection: close\r\n\r\n", h->spec.path, host);
	if (len < 0 || (size_t)len >= sizeof(request)) {
		finish(h, NULL, "the check's path is too long");
		return;
	}
	/* A new connection takes half a kilobyte at once; a short write is a broken one. */
	if (send(h->fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
		finish_errno(h, "sending the request", errno);
		return;
	}
	sd_event_source_set_io_events(h->io, EPOLLIN);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct health *h = arg;
	socklen_t size = sizeof(int);
	int err = 0;

	(void)source;
	(void)revents;
	if (h->connected) {
		read_answer(h);
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
		err = errno;
	if (err) {
		finish_errno(h, "connecting", err);
		return 0;
	}
	h->connected = true;
	if (h->spec.type == CONF_CHECK_TCP)
		finish(h, NULL, NULL);
	else
		send_request(h);
	return 0;
}

static void begin_probe(struct health *h)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int err;

	h->started_us = now_us();
	h->received = 0;
	h->connected = false;
	h->target = h->spec.target;
	h->fd = h->open_socket(h->socket_arg, &h->target);
	if (h->fd < 0) {
		err = -h->fd;
		h->fd = -1;
		finish_errno(h, "making a socket", err);
		return;
	}
	len = addr_port_sockaddr(&h->target, &ss);
	if (connect(h->fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS) {
		finish_errno(h, "connecting", errno);
		return;
	}
	err = sd_event_add_io(sd_event_source_get_event(h->timer), &h->io, h->fd, EPOLLOUT, on_io, h);
	if (err < 0) {
		finish_errno(h, "waiting for the connection", -err);
		return;
	}
	set_timer(h, h->spec.timeout_us);
}

/* An agent that did not run for longer than the time-out looks at what has come meanwhile before it says that nothing did. */
static void look_once_more(struct health *h)
{
	struct pollfd p = { h->fd, h->connected ? POLLIN : POLLOUT, 0 };
	bool connected = h->connected;

	if (poll(&p, 1, 0) > 0)
		on_io(h->io, h->fd, 0, h);
	if (h->fd < 0)
		return;
	if (connected == h->connected)
		finish(h, NULL, h->connected ? "no answer in time" : "no connection in time");
	else
		set_timer(h, h->spec.timeout_us); /* it is asked only now */
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct health *h = arg;

	(void)source;
	(void)usec;
	if (h->fd >= 0)
		look_once_more(h);
	else
		begin_probe(h);
	return 0;
}

int health_start(struct health **out, sd_event *event, const struct health_spec *spec,
		 health_socket_fn *open_socket, void *socket_arg, health_fn *fn, void *arg)
{
	struct health *h = calloc(1, sizeof(*h));
	uint64_t first;
	int err;

	if (!h)
		return -ENOMEM;
	h->spec = *spec;
	h->open_socket = open_socket;
	h->socket_arg = socket_arg;
	h->fn = fn;
	h->arg = arg;
	h->fd = -1;
	if (getrandom(&h->random, sizeof(h->random), 0) != sizeof(h->random) || h->random == 0)
		h->random = now_us() | 1;
	first = now_us() + (uint64_t)((double)spec->interval_us * random_unit(h));
	/* Accuracy 1 ms: the default quarter of a second would be most of a time-out. */
	err = sd_event_add_time(event, &h->timer, CLOCK_MONOTONIC, first, 1000, on_timer, h);
	if (err < 0) {
		free(h);
		return err;
	}
	*out = h;
	return 0;
}

void health_stop(struct health *h)
{
	if (!h)
		return;
	end_probe(h);
	sd_event_source_disable_unref(h->timer);
	free(h);
}

const struct health_verdict *health_verdict(const struct health *h)
{
	return &h->verdict;
}
