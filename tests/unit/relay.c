/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c -- a thread that accepts, and one for each connection.
 */
#include "tests/unit/relay.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/unit.h"

struct pump {
	struct relay *r;
	int a, b;
};

static bool relay_note(struct relay *r, int fd)
{
	bool noted = false;

	pthread_mutex_lock(&r->lock);
	for (int i = 0; i < CONNS_MAX && !noted && !r->cut; i++)
		if (r->fds[i] < 0) {
			r->fds[i] = fd;
			noted = true;
		}
	pthread_mutex_unlock(&r->lock);
	return noted;
}

static void relay_close(struct relay *r, int fd)
{
	pthread_mutex_lock(&r->lock);
	for (int i = 0; i < CONNS_MAX; i++)
		if (r->fds[i] == fd)
			r->fds[i] = -1;
	pthread_mutex_unlock(&r->lock);
	close(fd);
}

static void relay_thread(struct relay *r, int change)
{
	pthread_mutex_lock(&r->lock);
	r->threads += (unsigned int)change;
	pthread_cond_signal(&r->ended);
	pthread_mutex_unlock(&r->lock);
}

static int pump_one(int from, int to)
{
	char buf[16384];
	ssize_t n = read(from, buf, sizeof(buf)), done = 0;

	while (done < n) {
		ssize_t w = write(to, buf + done, (size_t)(n - done));

		if (w <= 0)
			return -1;
		done += w;
	}
	return n > 0 ? 0 : -1;
}

static void *pump_run(void *arg)
{
	struct pump p = *(struct pump *)arg;
	struct pollfd fds[2] = { { .fd = p.a, .events = POLLIN }, { .fd = p.b, .events = POLLIN } };
	int rc = 0;

	free(arg);
	while (!rc && poll(fds, 2, -1) > 0 && !p.r->cut) {
		if (fds[0].revents)
			rc = pump_one(p.a, p.b);
		if (!rc && fds[1].revents)
			rc = pump_one(p.b, p.a);
	}
	relay_close(p.r, p.a);
	relay_close(p.r, p.b);
	relay_thread(p.r, -1);
	return NULL;
}

static int relay_dial(struct relay *r)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)r->to_port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(r->to_path[0] ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	memcpy(un.sun_path, r->to_path, sizeof(un.sun_path));
	rc = r->to_path[0] ? connect(fd, (struct sockaddr *)&un, sizeof(un))
			   : connect(fd, (struct sockaddr *)&in, sizeof(in));
	if (!rc)
		return fd;
	close(fd);
	return -1;
}

static void *relay_run(void *arg)
{
	struct relay *r = arg;

	for (;;) {
		int a = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC), b;
		struct pump *p;
		pthread_t t;

		if (a < 0)
			break;
		b = r->cut ? -1 : relay_dial(r);
		p = malloc(sizeof(*p));
		*p = (struct pump){ r, a, b };
		relay_thread(r, 1);
		if (b < 0 || !relay_note(r, a) || !relay_note(r, b) ||
		    pthread_create(&t, NULL, pump_run, p)) {
			relay_close(r, a);
			if (b >= 0)
				relay_close(r, b);
			free(p);
			relay_thread(r, -1);
			continue;
		}
		pthread_detach(t);
	}
	relay_thread(r, -1);
	return NULL;
}

void relay_start(struct relay *r, const char *path)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(in);
	pthread_t t;

	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->ended, NULL);
	r->threads = 1;
	memset(r->fds, -1, sizeof(r->fds));
	r->listener = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (path) {
		snprintf(r->path, sizeof(r->path), "%s", path);
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
		assert_int_equal(bind(r->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	} else {
		assert_int_equal(bind(r->listener, (struct sockaddr *)&in, sizeof(in)), 0);
		getsockname(r->listener, (struct sockaddr *)&in, &len);
		r->port = ntohs(in.sin_port);
	}
	listen(r->listener, 64);
	pthread_create(&t, NULL, relay_run, r);
	pthread_detach(t);
}

void relay_cut(struct relay *r, bool cut)
{
	pthread_mutex_lock(&r->lock);
	r->cut = cut;
	for (int i = 0; i < CONNS_MAX && cut; i++)
		if (r->fds[i] >= 0)
			shutdown(r->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&r->lock);
}

void relay_end(struct relay *r)
{
	relay_cut(r, true);
	shutdown(r->listener, SHUT_RDWR);
	pthread_mutex_lock(&r->lock);
	while (r->threads)
		pthread_cond_wait(&r->ended, &r->lock);
	pthread_mutex_unlock(&r->lock);
	close(r->listener);
}
