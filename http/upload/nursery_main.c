// SPDX-License-Identifier: Apache-2.0
/*
 * nursery_main.c -- the nursery's process: loads what workers share, then forks one for each pair that the daemon
 * hands it, kills those whose daemon's end was shut, and tells each end how its worker died.
 *
 * It is two processes: the first waits for the second, which does all of this, and forks another when it dies (the
 * kernel, short of memory, may choose it). Orders wait in the socket meanwhile; its workers die with it.
 *
 * It reads no foreign byte: its messages come from the daemon alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "http/upload/nursery.h"
#include "http/upload/pipeline.h"
#include "http/upload/worker_wire.h"

struct child {
	pid_t pid; /* 0: dead, and its status could not be said yet */
	int sock;  /* the worker's end, too */
	int32_t status;
	bool killed;
};

struct house {
	struct wire_config config;
	struct wire wire;
	struct child *children;
	size_t n;
	int signals;
	struct pollfd *polled;
};

/* Workers go first when the machine runs out of memory. Best effort: there may be no /proc. */
static void offer_to_oom_killer(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "500", 3) < 0)
		errno = 0;
	close(fd);
}

static int drop_user(const struct wire_config *config)
{
	const struct priv_user user = config->has_user ? (struct priv_user){ config->uid, config->gid }
						       : (struct priv_user){ getuid(), getgid() };

	return priv_drop(&user, NULL, PRIV_NONE);
}

static int set_up(struct house *house)
{
	sigset_t set;
	int rc;

	/* The daemon alone says when to end: a service manager signals all processes of the service. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	house->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (house->signals < 0)
		return -errno;
	rc = wire_recv(WIRE_FD, &house->wire, false);
	if (rc <= 0)
		return rc ? rc : -EPIPE;
	if (house->wire.type != WIRE_CONFIG || house->wire.len != sizeof(house->config))
		return -EBADMSG;
	memcpy(&house->config, house->wire.data, sizeof(house->config));
	house->children = calloc(house->config.workers, sizeof(*house->children));
	house->polled = calloc(house->config.workers + 2, sizeof(*house->polled));
	if (!house->children || !house->polled)
		return -ENOMEM;
	rc = drop_user(&house->config);
	return rc ? rc : pipeline_prepare();
}

/* In the new process, up to its end. */
static void become_worker(const struct house *house, int sock, pid_t parent)
{
	const struct priv_caps caps = { .memory = house->config.memory,
					.file = house->config.file,
					.cpu_s = house->config.cpu_s,
					.descriptors = 1024 };
	sigset_t none;

	prctl(PR_SET_NAME, "weir-worker");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* A file over its limit is an error of write(2), which has a sentence. */
	signal(SIGXFSZ, SIG_IGN);
	if (dup2(sock, WIRE_FD) < 0 || close_range(WIRE_FD + 1, ~0u, 0) || priv_confine(&caps))
		_exit(1);
	_exit(worker_main());
}

static void say_exit(struct child *child)
{
	child->pid = 0;
	/* Full: the daemon's thread is slow; poll() says when there is room. */
	if (wire_send(child->sock, WIRE_EXIT, &child->status, sizeof(child->status), NULL, 0, MSG_DONTWAIT) == -EAGAIN)
		return;
	close(child->sock);
	child->sock = -1;
}

static void start_child(struct house *house, int sock)
{
	struct child *child = &house->children[house->n];
	pid_t self = getpid();

	if (house->n == house->config.workers) {
		close(sock);
		return;
	}
	*child = (struct child){ .sock = sock };
	house->n++;
	child->pid = fork();
	if (child->pid == 0)
		become_worker(house, sock, self);
	if (child->pid < 0) {
		/* As of a worker that could not build its walls. */
		child->status = 1 << 8;
		say_exit(child);
	}
}

static void reap(struct house *house)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(house->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < house->n; i++) {
			if (house->children[i].pid != pid)
				continue;
			house->children[i].status = status;
			say_exit(&house->children[i]);
		}
	}
}

static void look_after(struct child *child, short events)
{
	if (child->pid > 0 && events & (POLLRDHUP | POLLHUP | POLLERR) && !child->killed) {
		kill(child->pid, SIGKILL);
		child->killed = true;
	} else if (child->pid == 0 && child->sock >= 0 && events) {
		say_exit(child);
	}
}

static void forget_gone(struct house *house)
{
	size_t kept = 0;

	for (size_t i = 0; i < house->n; i++) {
		if (house->children[i].sock >= 0)
			house->children[kept++] = house->children[i];
	}
	house->n = kept;
}

/* 1 to go on, 0 when the daemon is gone. */
static int take_order(struct house *house)
{
	if (wire_recv(WIRE_FD, &house->wire, true) <= 0)
		return 0;
	for (size_t i = 0; i < house->wire.nfds; i++)
		start_child(house, house->wire.fds[i]);
	return 1;
}

static int run(struct house *house)
{
	for (;;) {
		size_t n = house->n;

		house->polled[0] = (struct pollfd){ WIRE_FD, POLLIN, 0 };
		house->polled[1] = (struct pollfd){ house->signals, POLLIN, 0 };
		for (size_t i = 0; i < n; i++) {
			const struct child *child = &house->children[i];
			/* A negative descriptor is left out: the killed one's end stays shut. */
			house->polled[i + 2] = (struct pollfd){ child->killed && child->pid ? -1 : child->sock,
								child->pid ? POLLRDHUP : POLLOUT, 0 };
		}
		if (poll(house->polled, n + 2, -1) < 0 && errno != EINTR)
			return 1;
		for (size_t i = 0; i < n; i++)
			look_after(&house->children[i], house->polled[i + 2].revents);
		if (house->polled[1].revents)
			reap(house);
		forget_gone(house);
		if (house->polled[0].revents && !take_order(house))
			return 0;
	}
}

/* The daemon went or stopped: so do its workers. Whoever still listens gets the word. */
static void end_children(struct house *house)
{
	for (size_t i = 0; i < house->n; i++) {
		struct child *child = &house->children[i];

		if (child->pid > 0) {
			kill(child->pid, SIGKILL);
			waitpid(child->pid, &child->status, 0);
			say_exit(child);
		}
	}
}

static int run_once(struct house *house, pid_t parent)
{
	int code;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		return 1;
	offer_to_oom_killer();
	code = run(house);
	end_children(house);
	return code;
}

/* Until the daemon is gone: 0. */
static int keep_running(struct house *house)
{
	const struct timespec pause = { 0, 100000000 }; /* one that dies at once does not take a CPU */
	pid_t self = getpid();

	for (;;) {
		int status = 0;
		pid_t pid = fork();

		if (pid == 0)
			_exit(run_once(house, self));
		while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status))
			return 0;
		nanosleep(&pause, NULL);
	}
}

int nursery_main(void)
{
	struct house house = { .signals = -1 };
	int32_t status;
	int code = 1;

	prctl(PR_SET_NAME, "weir-nursery");
	status = set_up(&house);
	wire_send(WIRE_FD, WIRE_READY, &status, sizeof(status), NULL, 0, 0);
	if (!status)
		code = keep_running(&house);
	wire_free(&house.wire);
	free(house.children);
	free(house.polled);
	return code;
}
