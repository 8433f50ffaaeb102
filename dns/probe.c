/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c -- a connect every second; that it is accepted is enough.
 */
#include "dns/probe.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct probe {
	struct loop *loop;
	struct loop_timer *timer;
	struct loop_fd *watch;
	int fd; /* a connection under way, or -1 */
	bool has_target;
	struct addr_port target;
	struct probe_verdict verdict;
	loop_fn *changed;
	void *arg;
};

bool probe_verdict_add(struct probe_verdict *v, bool success)
{
	enum pick_probe wanted = success ? PICK_PROBE_UP : PICK_PROBE_DOWN;

	if (v->state == wanted) {
		v->streak = 0;
		return false;
	}
	/* The first answer ever is believed at once; silence at the start must prove itself. */
	if (success && v->state == PICK_PROBE_UNKNOWN) {
		*v = (struct probe_verdict){ .state = wanted };
		return true;
	}
	if (++v->streak < (success ? PROBE_RISE : PROBE_FALL))
		return false;
	*v = (struct probe_verdict){ .state = wanted };
	return true;
}

static void end_attempt(struct probe *p)
{
	struct linger reset = { .l_onoff = 1 };

	if (p->fd < 0)
		return;
	loop_fd_stop(p->watch);
	p->watch = NULL;
	/* Reset instead of TIME_WAIT: one socket a second would fill the table. */
	(void)setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(p->fd);
	p->fd = -1;
}

static void outcome(struct probe *p, bool success)
{
	end_attempt(p);
	if (probe_verdict_add(&p->verdict, success))
		p->changed(p->arg);
}

static void on_connected(int fd, uint32_t revents, void *arg)
{
	int error = 0;
	socklen_t len = sizeof(error);

	(void)revents;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	outcome(arg, error == 0);
}

static void start_attempt(void *arg)
{
	struct probe *p = arg;
	struct sockaddr_storage ss;
	socklen_t len;

	if (!p->has_target)
		return;
	/* The last one is still without an answer: that is a failure. */
	if (p->fd >= 0)
		outcome(p, false);
	len = addr_port_sockaddr(&p->target, &ss);
	p->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return; /* our own lack of descriptors says nothing about the site */
	if (connect(p->fd, (struct sockaddr *)&ss, len) == 0)
		outcome(p, true);
	else if (errno != EINPROGRESS)
		outcome(p, false);
	else if (loop_fd_add(p->loop, &p->watch, p->fd, EPOLLOUT, on_connected, p))
		end_attempt(p);
}

int probe_new(struct probe **out, struct loop *loop, loop_fn *changed, void *arg)
{
	struct probe *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->fd = -1;
	p->changed = changed;
	p->arg = arg;
	rc = loop_every(loop, &p->timer, PROBE_INTERVAL_US, PROBE_INTERVAL_US / 10, start_attempt,
			p);
	if (rc)
		free(p);
	else
		*out = p;
	return rc;
}

void probe_free(struct probe *p)
{
	if (!p)
		return;
	end_attempt(p);
	loop_timer_stop(p->timer);
	free(p);
}

void probe_target(struct probe *p, const struct addr_port *target)
{
	bool same = target && p->has_target && target->port == p->target.port &&
		    addr_equal(&target->addr, &p->target.addr);

	if (same)
		return;
	end_attempt(p);
	p->has_target = target;
	p->target = target ? *target : (struct addr_port){ 0 };
	p->verdict = (struct probe_verdict){ .state = PICK_PROBE_UNKNOWN };
}

enum pick_probe probe_state(const struct probe *p)
{
	return p ? p->verdict.state : PICK_PROBE_UNKNOWN;
}
