/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dp_churn.c -- many TCP connections of mixed life, for test_churn.
 *
 *	dp_churn ADDRESS PORT N SECONDS IDLE_MAX_S
 *
 * Keeps N connections open to an echo server. Seven in ten are short (2 to 15 s, a question every
 * 0.5 to 2 s), two in ten are quieter (up to a minute, idle up to 20 s), one in ten lives to the
 * end of the run and is idle for up to IDLE_MAX_S between questions. At the end each that is open
 * asks once more, so that one that broke while idle is noticed. Broken: refused, reset, closed
 * early, or without an answer for 10 s; each is told on standard error with the second, its port,
 * kind, age and how long it had been idle. Prints "opened O answered A broken B idle I" (the
 * longest silence that a connection lived through, in seconds).
 */
#include <arpa/inet.h>
#include <errno.h>
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
#define EVENTS	   256
#define TICK_MS	   20
#define SECOND	   1000000LL
#define GIVE_UP	   (10 * SECOND)
#define LAST_WORDS (5 * SECOND) /* the questions at the end are spread over so long */

enum kind { SHORT, QUIET, LONG };

struct flow {
	int fd; /* -1: none */
	enum kind kind;
	bool waiting; /* for an answer, or to be connected */
	bool last;    /* its last question is due or asked */
	int64_t opened, due, asked, heard, end;
};

static struct flow flow[FLOWS_MAX];
static struct sockaddr_in to;
static int64_t begun, run_end, idle_max, longest;
static long opened, answered, broken;

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec / 1000;
}

static int64_t between(int64_t low, int64_t high)
{
	return low + (int64_t)((double)rand() / RAND_MAX * (double)(high - low));
}

static void flow_end(struct flow *f, int64_t now, const char *why)
{
	static const char *const kinds[] = { "short", "quiet", "long" };
	struct sockaddr_in from = { 0 };
	socklen_t len = sizeof(from);

	if (why) {
		getsockname(f->fd, (struct sockaddr *)&from, &len);
		fprintf(stderr,
			"broken at %.1f s: port %d, %s, open for %.1f s, silent for %.1f s: %s (%s)\n",
			(double)(now - begun) / SECOND, ntohs(from.sin_port), kinds[f->kind],
			(double)(now - f->opened) / SECOND, (double)(now - f->heard) / SECOND, why,
			strerror(errno));
		broken++;
	}
	close(f->fd);
	f->fd = -1;
	f->due = now + between(0, SECOND / 2);
}

static void flow_open(struct flow *f, int64_t now, int ep, uint32_t i)
{
	struct epoll_event e = { .events = EPOLLOUT, .data.u32 = i };
	struct linger reset = { 1, 0 }; /* no TIME_WAIT: ports are few */

	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	f->kind = i % 10 < 7 ? SHORT : i % 10 < 9 ? QUIET : LONG;
	f->waiting = true;
	f->last = false;
	f->opened = f->asked = f->heard = now;
	f->end = f->kind == SHORT   ? now + between(2 * SECOND, 15 * SECOND)
		 : f->kind == QUIET ? now + between(10 * SECOND, 60 * SECOND)
				    : run_end;
	if (f->end > run_end)
		f->end = run_end;
	opened++;
	if (connect(f->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		flow_end(f, now, "connect");
	else
		epoll_ctl(ep, EPOLL_CTL_ADD, f->fd, &e);
}

static int64_t pause_of(const struct flow *f)
{
	if (f->kind == SHORT)
		return between(SECOND / 2, 2 * SECOND);
	return between(SECOND, f->kind == QUIET ? 20 * SECOND : idle_max);
}

static void flow_event(struct flow *f, int64_t now, int ep, uint32_t i)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = i };
	int err = 0;
	socklen_t len = sizeof(err);
	char buf[64];
	ssize_t got;

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	errno = err;
	if (err) {
		flow_end(f, now, "error");
		return;
	}
	epoll_ctl(ep, EPOLL_CTL_MOD, f->fd, &e);
	got = recv(f->fd, buf, sizeof(buf), 0);
	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		flow_end(f, now, "closed");
		return;
	}
	if (got > 0) {
		answered++;
		if (f->asked - f->heard > longest)
			longest = f->asked - f->heard;
	}
	f->heard = now;
	f->waiting = false;
	f->due = now + pause_of(f);
}

static void flow_tick(struct flow *f, int64_t now, int ep, uint32_t i)
{
	bool ending = now >= run_end;

	if (f->fd >= 0 && f->waiting) {
		if (now - f->asked > GIVE_UP) {
			errno = ETIMEDOUT;
			flow_end(f, now, "no answer");
		}
		return;
	}
	if (f->fd >= 0 && ending && f->heard >= run_end) {
		flow_end(f, now, NULL);
		return;
	}
	if (f->fd >= 0 && ending && !f->last) {
		f->last = true;
		f->due = now + between(0, LAST_WORDS);
		return;
	}
	if (now < f->due)
		return;
	if (f->fd < 0) {
		if (!ending)
			flow_open(f, now, ep, i);
		return;
	}
	if (now >= f->end && !ending) {
		flow_end(f, now, NULL);
		return;
	}
	f->waiting = true;
	f->asked = now;
	if (send(f->fd, "question", 8, MSG_NOSIGNAL) != 8)
		flow_end(f, now, "send");
}

static void run(uint32_t n)
{
	struct epoll_event events[EVENTS];
	int ep = epoll_create1(0);
	int64_t ticked = 0;
	bool busy = true;

	for (uint32_t i = 0; i < n; i++) {
		flow[i].fd = -1;
		flow[i].due = begun + between(0, 5 * SECOND);
	}
	while (busy) {
		int got = epoll_wait(ep, events, EVENTS, TICK_MS);
		int64_t now = now_us();

		for (int i = 0; i < got; i++)
			flow_event(&flow[events[i].data.u32], now, ep, events[i].data.u32);
		if (now - ticked < TICK_MS * 1000)
			continue;
		ticked = now;
		busy = now < run_end;
		for (uint32_t i = 0; i < n; i++) {
			flow_tick(&flow[i], now, ep, i);
			busy |= flow[i].fd >= 0;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 6 || atoi(argv[3]) <= 0 || atoi(argv[3]) > FLOWS_MAX || atoi(argv[5]) <= 0 ||
	    inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fputs("dp_churn ADDRESS PORT N SECONDS IDLE_MAX_S\n", stderr);
		return 2;
	}
	to.sin_family = AF_INET;
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	srand(1);
	begun = now_us();
	run_end = begun + atoi(argv[4]) * SECOND;
	idle_max = atoi(argv[5]) * SECOND;
	run((uint32_t)atoi(argv[3]));
	printf("opened %ld answered %ld broken %ld idle %lld\n", opened, answered, broken,
	       (long long)(longest / SECOND));
	return broken != 0;
}
