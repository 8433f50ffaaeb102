// SPDX-License-Identifier: Apache-2.0
/*
 * nursery.c -- the daemon's side of its nursery: executes the program anew, hands it limits and a user, and later one
 * end of a socket pair for each worker that it shall fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "http/upload/nursery.h"
#include "http/upload/worker_wire.h"

#define READY_MS 20000 /* loading libraries takes some milliseconds; a starved machine more */

/* Between fork and exec: nothing but the socket and standard error goes along. */
static void run_program(int sock)
{
	char *const argv[] = { (char *)"weir-nursery", (char *)WORKER_NURSERY_OPTION, NULL };
	char *const envp[] = { (char *)"LC_ALL=C", (char *)"TZ=UTC", NULL };
	int null = open("/dev/null", O_RDWR);

	/* A socket that is WIRE_FD already would keep its close-on-exec. */
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
		_exit(127);
	sock = fcntl(sock, F_DUPFD, WIRE_FD + 1);
	if (sock < 0 || dup2(sock, WIRE_FD) < 0)
		_exit(127);
	close_range(WIRE_FD + 1, ~0u, 0);
	execve("/proc/self/exe", argv, envp);
	_exit(127);
}

static int await_ready(int sock)
{
	struct pollfd pfd = { sock, POLLIN, 0 };
	struct wire w = { 0 };
	int32_t status = -EPROTO;
	int rc;

	do {
		rc = poll(&pfd, 1, READY_MS);
	} while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc ? -errno : -ETIMEDOUT;
	rc = wire_recv(sock, &w, false);
	if (rc > 0 && w.type == WIRE_READY && w.len == sizeof(status))
		memcpy(&status, w.data, sizeof(status));
	wire_free(&w);
	return rc < 0 ? rc : rc ? status : -ENOEXEC;
}

static int configure(int sock, const struct nursery_limits *limits, const struct priv_user *user, unsigned int workers)
{
	struct wire_config config = { .workers = workers };
	int rc;

	config.memory = limits && limits->memory ? limits->memory : 256u << 20;
	config.file = limits && limits->file ? limits->file : 64ull << 30;
	config.cpu_s = limits && limits->cpu_s ? limits->cpu_s : 3600;
	if (user) {
		config.has_user = 1;
		config.uid = user->uid;
		config.gid = user->gid;
	}
	rc = wire_send(sock, WIRE_CONFIG, &config, sizeof(config), NULL, 0, 0);
	return rc ? rc : await_ready(sock);
}

static void end_process(struct nursery *n, bool kill_it)
{
	if (n->sock >= 0)
		close(n->sock);
	if (n->pid <= 0)
		return;
	if (kill_it)
		kill(n->pid, SIGKILL);
	while (waitpid(n->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int nursery_start(struct nursery **out, const struct nursery_limits *limits, const struct priv_user *user)
{
	struct nursery *n = calloc(1, sizeof(*n));
	int pair[2], rc;

	if (!n)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		rc = -errno;
		free(n);
		return rc;
	}
	n->sock = pair[0];
	n->workers_max = limits && limits->workers ? limits->workers : 64;
	if (limits)
		n->limits = *limits;
	n->pid = fork();
	if (n->pid == 0)
		run_program(pair[1]);
	rc = n->pid < 0 ? -errno : 0;
	close(pair[1]);
	if (!rc)
		rc = configure(n->sock, limits, user, n->workers_max);
	if (rc) {
		end_process(n, true);
		free(n);
		return rc;
	}
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->idle, NULL);
	*out = n;
	return 0;
}

int nursery_take(struct nursery *n)
{
	int rc = 0;

	pthread_mutex_lock(&n->lock);
	if (n->ended)
		rc = -EPIPE;
	else if (n->running >= n->workers_max)
		rc = -EAGAIN;
	else
		n->running++;
	pthread_mutex_unlock(&n->lock);
	return rc;
}

void nursery_give(struct nursery *n)
{
	pthread_mutex_lock(&n->lock);
	if (--n->running == 0)
		pthread_cond_broadcast(&n->idle);
	pthread_mutex_unlock(&n->lock);
}

int nursery_fork(struct nursery *n, int sock)
{
	int rc = wire_send(n->sock, WIRE_START, NULL, 0, &sock, 1, 0);

	return rc == -ECONNRESET ? -EPIPE : rc; /* said once, when it went with something unread */
}

pid_t nursery_pid(const struct nursery *n)
{
	return n->pid;
}

bool nursery_gone(const struct nursery *n)
{
	struct pollfd pfd = { n->sock, POLLRDHUP, 0 };

	return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

void nursery_stop(struct nursery *n)
{
	if (!n)
		return;
	pthread_mutex_lock(&n->lock);
	n->ended = true;
	/* The nursery sees the end, kills its workers, says so to their threads here, and goes. */
	shutdown(n->sock, SHUT_RDWR);
	while (n->running)
		pthread_cond_wait(&n->idle, &n->lock);
	pthread_mutex_unlock(&n->lock);
	end_process(n, false);
	pthread_cond_destroy(&n->idle);
	pthread_mutex_destroy(&n->lock);
	free(n);
}
