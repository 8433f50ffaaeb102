/* SPDX-License-Identifier: Apache-2.0 */
/*
 * up.c -- `weir up`: runs the roles that one file names as children, each with its own privileges.
 *
 * The registry starts first, the others when it is ready. A child that ends by itself is started
 * again, after a pause that doubles from 0.2 s to 10 s; one that ends with code 0, because somebody
 * sent it SIGTERM, at once: that is how a role is restarted. SIGTERM and SIGINT end all, SIGHUP
 * goes to all. Children say when they are ready by sd_notify(3) to an abstract socket; a message
 * counts only from a process that we started (SCM_CREDENTIALS). Listeners that a child gives us
 * (FDSTORE=1) are kept for the one after it, which starts at once when a child that drains says
 * X_WEIR_GIVES_WAY=1: the old one ends beside it. When every role was ready once, our own starter
 * is told.
 */
#include "tools/cmd.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "tools/fdstore.h"

#define PAUSE_MIN_US 200000
#define PAUSE_MAX_US 10000000
#define STOP_US	     10000000 /* then SIGKILL; more when a role drains for longer */
#define CALM_US	     1000000  /* one that ran for so long and ends well starts again at once */
#define MESSAGE_FDS  64
#define LEAVING_MAX  8 /* that drain beside their successors; one more has none until it ended */

struct child {
	struct up *up;
	const char *role, *mode;
	char program[PATH_MAX];
	pid_t pid;    /* 0: not running */
	bool ready;   /* was, at least once */
	bool serving; /* is, since it was started last */
	uint64_t pause_us, started_us;
	sd_event_source *exit, *again;
	struct leaving {
		pid_t pid; /* 0: free */
		sd_event_source *exit;
	} leaving[LEAVING_MAX];
	struct fdstore store; /* its listeners, for the next one */
};

struct up {
	sd_event *event;
	const char *conf, *ready_path;
	bool verbose, stopping, told;
	int status;
	uint64_t stop_us;
	struct child children[CMD_ROLES];
	size_t nchildren;
};

static int start_child(struct child *c);

static uint64_t now_us(struct up *up)
{
	uint64_t now = 0;

	sd_event_now(up->event, CLOCK_MONOTONIC, &now);
	return now;
}

static bool child_runs(const struct child *c)
{
	for (size_t i = 0; i < LEAVING_MAX; i++)
		if (c->leaving[i].pid)
			return true;
	return c->pid;
}

static bool anyone_runs(const struct up *up)
{
	for (size_t i = 0; i < up->nchildren; i++)
		if (child_runs(&up->children[i]))
			return true;
	return false;
}

static int start_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct child *c = arg;

	(void)source, (void)usec;
	c->again = sd_event_source_unref(c->again);
	return c->up->stopping ? 0 : start_child(c);
}

static void say_end(const struct child *c, const siginfo_t *si)
{
	if (si->si_code == CLD_EXITED)
		fprintf(stderr, "weir up: %s ended with code %d", c->role, si->si_status);
	else
		fprintf(stderr, "weir up: %s was ended by signal %d (%s)", c->role, si->si_status,
			strsignal(si->si_status));
}

/* How long to wait; well: it ended with code 0. */
static uint64_t next_pause(struct child *c, bool well)
{
	uint64_t ran = now_us(c->up) - c->started_us, pause;

	if (well || ran > PAUSE_MAX_US)
		c->pause_us = PAUSE_MIN_US;
	if (well && ran > CALM_US)
		return 0;
	pause = c->pause_us;
	c->pause_us = pause * 2 < PAUSE_MAX_US ? pause * 2 : PAUSE_MAX_US;
	return pause;
}

/* One that drained beside its successor? */
static bool leaving_ended(struct child *c, const siginfo_t *si)
{
	for (size_t i = 0; i < LEAVING_MAX; i++) {
		struct leaving *l = &c->leaving[i];

		if (l->pid != si->si_pid)
			continue;
		l->pid = 0;
		l->exit = sd_event_source_unref(l->exit);
		say_end(c, si);
		fputs(" after its successor took over\n", stderr);
		return true;
	}
	return false;
}

/* A role that never became ready and ends with 2 (configuration) would end so again: give up. */
static int child_ended(sd_event_source *source, const siginfo_t *si, void *arg)
{
	struct child *c = arg;
	struct up *up = c->up;
	uint64_t pause;

	(void)source;
	if (leaving_ended(c, si))
		return up->stopping && !anyone_runs(up) ? sd_event_exit(up->event, up->status) : 0;
	c->pid = 0;
	c->exit = sd_event_source_unref(c->exit);
	if (up->stopping)
		return anyone_runs(up) ? 0 : sd_event_exit(up->event, up->status);
	say_end(c, si);
	if (!c->ready && si->si_code == CLD_EXITED) {
		fprintf(stderr, " before it was ready; stopping\n");
		up->status = si->si_status ? si->si_status : CMD_FAILED;
		raise(SIGTERM);
		return 0;
	}
	pause = next_pause(c, si->si_code == CLD_EXITED && !si->si_status);
	if (pause)
		fprintf(stderr, "; it starts again in %.1f s\n", (double)pause / 1e6);
	else
		fputs("; it starts again\n", stderr);
	sd_event_add_time_relative(up->event, &c->again, CLOCK_MONOTONIC, pause, 1000, start_again,
				   c);
	return 0;
}

static void run_child(const struct child *c)
{
	const char *argv[6] = { c->program };
	size_t n = 1;
	char address[64];
	sigset_t none;
	int rc;

	if (c->mode)
		argv[n++] = c->mode;
	argv[n++] = "-c";
	argv[n++] = c->up->conf;
	argv[n++] = c->up->verbose ? "-v" : NULL;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(address, sizeof(address), "@weir-up-%d", (int)getppid());
	setenv("NOTIFY_SOCKET", address, 1);
	setenv("WEIR_SUCCESSOR", "1", 1);
	rc = fdstore_hand_over(&c->store);
	if (rc)
		fprintf(stderr, "weir up: %s starts without its listeners: %s\n", c->role,
			strerror(-rc));
	execv(c->program, (char *const *)argv);
	fprintf(stderr, "weir up: cannot run %s: %s\n", c->program, strerror(errno));
	_exit(127);
}

static int start_child(struct child *c)
{
	int rc;

	c->serving = false;
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (c->pid == 0)
		run_child(c);
	c->started_us = now_us(c->up);
	rc = sd_event_add_child(c->up->event, &c->exit, c->pid, WEXITED, child_ended, c);
	return rc < 0 ? rc : 0;
}

/* The child drains and has given up what its successor needs. One that never served, or one too
 * many, is followed when it has ended. */
static int succeed(struct child *c)
{
	struct leaving *l = c->leaving;

	while (l < c->leaving + LEAVING_MAX && l->pid)
		l++;
	if (c->up->stopping || !c->serving || l == c->leaving + LEAVING_MAX)
		return 0;
	fprintf(stderr, "weir up: %s ends; its successor starts\n", c->role);
	*l = (struct leaving){ c->pid, c->exit };
	c->pid = 0;
	c->exit = NULL;
	return start_child(c);
}

static int start_those_waiting(struct up *up)
{
	for (size_t i = 0; i < up->nchildren; i++) {
		struct child *c = &up->children[i];
		int rc = c->pid || c->again || c->ready ? 0 : start_child(c);

		if (rc)
			return rc;
	}
	return 0;
}

/* --ready FILE: one line with the file's name into a FIFO or file, for scripts that wait. */
static void tell_ready(const struct up *up)
{
	FILE *out = up->ready_path ? fopen(up->ready_path, "ae") : NULL;

	if (out) {
		fprintf(out, "%s\n", up->conf);
		fclose(out);
	}
}

static int child_is_ready(struct up *up, struct child *c)
{
	bool all = true;

	if (!c->serving)
		fprintf(stderr, "weir up: %s is ready\n", c->role);
	c->ready = c->serving = true;
	for (size_t i = 0; i < up->nchildren; i++)
		all = all && up->children[i].ready;
	if (all && !up->told) {
		up->told = true;
		fprintf(stderr, "weir up: everything runs (weir status -c %s)\n", up->conf);
		sd_notify(0, "READY=1");
		tell_ready(up);
	}
	return start_those_waiting(up);
}

/* The parts of a message: who sent it (0: not said) and the descriptors, which are the caller's. */
static pid_t take_control(struct msghdr *msg, int fds[MESSAGE_FDS], size_t *n)
{
	pid_t pid = 0;

	*n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS && len == sizeof(struct ucred)) {
			struct ucred who;

			memcpy(&who, CMSG_DATA(c), sizeof(who));
			pid = who.pid;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			memcpy(fds, CMSG_DATA(c), len);
			*n = len / sizeof(int);
		}
	}
	return pid;
}

static struct child *child_of(struct up *up, pid_t pid)
{
	for (size_t i = 0; pid && i < up->nchildren; i++)
		if (up->children[i].pid == pid)
			return &up->children[i];
	return NULL;
}

static int notified(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	char text[4096],
		control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fds[MESSAGE_FDS];
	size_t n = 0;
	struct child *c;

	(void)source, (void)revents;
	if (len < 0)
		return 0;
	text[len] = '\0';
	c = child_of(arg, take_control(&msg, fds, &n));
	if (!c) {
		while (n)
			close(fds[--n]);
		return 0;
	}
	fdstore_message(&c->store, text, fds, n);
	if (strstr(text, "X_WEIR_GIVES_WAY=1"))
		return succeed(c);
	if (strncmp(text, "READY=1", 7) && !strstr(text, "\nREADY=1"))
		return 0;
	return child_is_ready(arg, c);
}

static int kill_rest(sd_event_source *source, uint64_t usec, void *arg)
{
	struct up *up = arg;

	(void)source, (void)usec;
	for (size_t i = 0; i < up->nchildren; i++) {
		struct child *c = &up->children[i];

		for (size_t k = 0; k < LEAVING_MAX; k++)
			if (c->leaving[k].pid)
				kill(c->leaving[k].pid, SIGKILL);
		if (c->pid) {
			fprintf(stderr, "weir up: %s does not end; killing it\n", c->role);
			kill(c->pid, SIGKILL);
		}
	}
	return 0;
}

/* Those that drain already are told to end at once by the second signal only. */
static void signal_child(const struct child *c, int sig, bool again)
{
	if (c->pid)
		kill(c->pid, sig);
	for (size_t i = 0; again && sig == SIGTERM && i < LEAVING_MAX; i++)
		if (c->leaving[i].pid)
			kill(c->leaving[i].pid, sig);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *arg)
{
	struct up *up = arg;
	int sig = (int)si->ssi_signo;
	bool again = up->stopping;

	(void)source;
	if (sig != SIGHUP && !up->stopping) {
		up->stopping = true;
		sd_notify(0, "STOPPING=1");
		sd_event_add_time_relative(up->event, NULL, CLOCK_MONOTONIC, up->stop_us, 0,
					   kill_rest, up);
	}
	for (size_t i = 0; i < up->nchildren; i++)
		signal_child(&up->children[i], sig == SIGHUP ? SIGHUP : SIGTERM, again);
	if (up->stopping && !anyone_runs(up))
		return sd_event_exit(up->event, up->status);
	return 0;
}

static int open_notify(struct up *up)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, len, rc;

	if (fd < 0)
		return -errno;
	len = snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "weir-up-%d", (int)getpid());
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len))) {
		rc = -errno;
		close(fd);
		return rc;
	}
	rc = sd_event_add_io(up->event, NULL, fd, EPOLLIN, notified, up);
	return rc < 0 ? rc : 0;
}

/* The programs lie beside this one. */
static int find_programs(struct up *up, const struct conf *conf)
{
	struct cmd_role roles[CMD_ROLES];
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return cmd_fail("cannot tell where this program is: %s", strerror(errno));
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	cmd_roles(conf, roles);
	for (size_t i = 0; roles[i].role; i++) {
		struct child *c = &up->children[up->nchildren];

		if (!roles[i].enabled)
			continue;
		c->up = up;
		c->role = roles[i].role;
		c->mode = roles[i].mode;
		c->pause_us = PAUSE_MIN_US;
		if (snprintf(c->program, sizeof(c->program), "%s/%s", self, roles[i].program) >=
			    (int)sizeof(c->program) ||
		    access(c->program, X_OK))
			return cmd_fail("there is no program %s/%s; run `make` or `make install`",
					self, roles[i].program);
		up->nchildren++;
	}
	if (!up->nchildren)
		return cmd_fail(
			"%s names no role; it needs a section agent, ns, gateway, endpoint, "
			"edge, origin, authority or registry_server",
			conf->path);
	return CMD_OK;
}

static int supervise(struct up *up)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	sigset_t mask;
	int rc;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	for (size_t i = 0; i < 3; i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	rc = sd_event_new(&up->event);
	for (size_t i = 0; rc >= 0 && i < 3; i++)
		rc = sd_event_add_signal(up->event, NULL, signals[i], on_signal, up);
	if (rc >= 0)
		rc = open_notify(up);
	if (rc >= 0) /* the registry alone first, when it is ours */
		rc = strcmp(up->children[0].role, "registry") ? start_those_waiting(up)
							      : start_child(&up->children[0]);
	if (rc < 0)
		return cmd_fail("cannot start: %s", strerror(-rc));
	return sd_event_loop(up->event);
}

int cmd_up(const struct cmd *cmd, int argc, char **argv)
{
	struct up up = { .status = CMD_OK };
	const struct cmd_flag own[] = { { "-v", NULL, &up.verbose },
					{ "--ready", &up.ready_path, NULL },
					{ NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	struct conf *conf;
	char path[PATH_MAX];
	int rc = cmd_parse(cmd, argc, argv, &opt, own);

	if (rc < 0)
		return cmd_exit_of(rc);
	if (rc > 0)
		return cmd_usage(cmd, "%s is too much", argv[0]);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	up.conf = realpath(opt.conf, path) ? path : opt.conf;
	rc = find_programs(&up, conf);
	up.stop_us = STOP_US;
	if (conf->edge.enabled)
		up.stop_us += conf->edge.drain_us;
	else if (conf->origin.enabled)
		up.stop_us += conf->origin.drain_us;
	conf_free(conf);
	if (!rc)
		rc = supervise(&up);
	for (size_t i = 0; i < up.nchildren; i++) {
		struct child *c = &up.children[i];

		sd_event_source_unref(c->exit);
		sd_event_source_unref(c->again);
		for (size_t k = 0; k < LEAVING_MAX; k++)
			sd_event_source_unref(c->leaving[k].exit);
		fdstore_clear(&c->store);
	}
	sd_event_unref(up.event);
	return rc;
}
