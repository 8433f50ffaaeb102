// SPDX-License-Identifier: Apache-2.0
/*
 * ctl.c -- the control socket: one JSON line asked, one JSON line answered, then the connection
 * ends.
 *
 * Server: connections are non-blocking on the daemon's loop, at most PEERS_MAX at once, each with
 * 5 s to say its line and 5 s to take its answer. Client: blocking, with a deadline.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/ctl.h"
#include "lib/log.h"

#define REQUEST_MAX (64u << 10)
#define ANSWER_MAX  (16u << 20)
#define SILENCE_US  5000000ull
#define PEERS_MAX   32

struct peer {
	struct ctl *ctl;
	struct peer *next;
	int fd;
	struct loop_fd *watch;
	struct loop_timer *silence;
	char *buf; /* the request while it comes, then the answer */
	size_t len, done;
	bool answering;
};

struct ctl {
	struct addr_port addr;
	uid_t uid;
	int fd;
	struct loop *loop;
	struct loop_fd *watch;
	const struct ctl_command *commands;
	void *arg;
	struct peer *peers;
	unsigned int npeers;
};

int ctl_bind(struct ctl **out, const char *path, uid_t uid)
{
	struct ctl *ctl;
	int err;

	if (strlen(path) >= sizeof(ctl->addr.path))
		return -ENAMETOOLONG;
	ctl = calloc(1, sizeof(*ctl));
	if (!ctl)
		return -ENOMEM;
	strcpy(ctl->addr.path, path);
	ctl->uid = uid;
	ctl->fd = addr_bind(&ctl->addr, SOCK_STREAM, PEERS_MAX, false, 0600);
	if (ctl->fd < 0) {
		err = ctl->fd;
		free(ctl);
		return err;
	}
	if (geteuid() != uid && lchown(path, uid, (gid_t)-1)) {
		err = -errno;
		ctl_free(ctl);
		return err;
	}
	*out = ctl;
	return 0;
}

static void peer_close(struct peer *peer)
{
	struct peer **at = &peer->ctl->peers;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	peer->ctl->npeers--;
	loop_fd_stop(peer->watch);
	loop_timer_stop(peer->silence);
	close(peer->fd);
	free(peer->buf);
	free(peer);
}

static void peer_silent(void *arg)
{
	peer_close(arg);
}

static json_t *failure(const char *sentence)
{
	return json_pack("{s:b,s:s}", "ok", 0, "error", sentence);
}

static json_t *run_command(struct ctl *ctl, const json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "do"));
	const struct ctl_command *c;
	char err[512] = "";
	json_t *members, *answer;

	if (!name)
		return failure("a request is an object with a member \"do\", for example "
			       "{\"do\":\"status\"}");
	for (c = ctl->commands; c->name && strcmp(c->name, name); c++)
		;
	if (!c->name)
		return failure("this program knows no such command");
	members = c->fn(ctl->arg, request, err, sizeof(err));
	if (!members)
		return failure(*err ? err : "the command failed without saying why");
	answer = json_pack("{s:b}", "ok", 1);
	if (answer)
		json_object_update(answer, members);
	json_decref(members);
	return answer;
}

/* Sends what fits; closes the connection when all is said or nobody listens. */
static void peer_send(struct peer *peer)
{
	while (peer->done < peer->len) {
		ssize_t n = send(peer->fd, peer->buf + peer->done, peer->len - peer->done,
				 MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			break;
		peer->done += (size_t)n;
	}
	peer_close(peer);
}

static int peer_watch(struct peer *peer, uint32_t events);

/* The request's line is complete: runs it and turns the connection round. */
static void peer_answer(struct peer *peer, const char *line, size_t len)
{
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	json_t *answer =
		request ? run_command(peer->ctl, request) : failure("the request is not JSON");
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0;

	json_decref(request);
	json_decref(answer);
	if (n > ANSWER_MAX) {
		free(text);
		text = strdup("{\"ok\":false,\"error\":\"the answer is larger than 16 MiB\"}");
		n = text ? strlen(text) : 0;
	}
	if (!n) {
		free(text);
		peer_close(peer);
		return;
	}
	text[n] = '\n'; /* the terminator's place */
	free(peer->buf);
	peer->buf = text;
	peer->len = n + 1;
	peer->done = 0;
	peer->answering = true;
	if (peer_watch(peer, EPOLLOUT)) {
		peer_close(peer);
		return;
	}
	peer_send(peer);
}

static void peer_read(struct peer *peer)
{
	char *end;
	ssize_t n = recv(peer->fd, peer->buf + peer->len, REQUEST_MAX - peer->len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		peer_close(peer);
		return;
	}
	end = memchr(peer->buf + peer->len, '\n', (size_t)n);
	peer->len += (size_t)n;
	if (end)
		peer_answer(peer, peer->buf, (size_t)(end - peer->buf));
	else if (peer->len == REQUEST_MAX)
		peer_close(peer);
}

static void on_peer(int fd, uint32_t revents, void *arg)
{
	struct peer *peer = arg;

	(void)fd, (void)revents;
	if (peer->answering)
		peer_send(peer);
	else
		peer_read(peer);
}

/* (Re)starts the wait for events and the clock of silence. */
static int peer_watch(struct peer *peer, uint32_t events)
{
	int err;

	loop_fd_stop(peer->watch);
	loop_timer_stop(peer->silence);
	peer->watch = NULL;
	peer->silence = NULL;
	err = loop_fd_add(peer->ctl->loop, &peer->watch, peer->fd, events, on_peer, peer);
	if (!err)
		err = loop_every(peer->ctl->loop, &peer->silence, SILENCE_US, 0, peer_silent, peer);
	return err;
}

static bool peer_allowed(const struct ctl *ctl, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	if (cred.uid == 0 || cred.uid == ctl->uid || cred.uid == geteuid())
		return true;
	log_limited(LOG_LEVEL_WARN, 6,
		    "control socket: refused user %u (process %d): only root and "
		    "this program's user may ask",
		    cred.uid, cred.pid);
	return false;
}

static void on_connect(int fd, uint32_t revents, void *arg)
{
	struct ctl *ctl = arg;
	struct peer *peer;
	int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)revents;
	if (conn < 0)
		return;
	peer = calloc(1, sizeof(*peer));
	if (!peer || ctl->npeers >= PEERS_MAX || !peer_allowed(ctl, conn)) {
		close(conn);
		free(peer);
		return;
	}
	peer->ctl = ctl;
	peer->fd = conn;
	peer->next = ctl->peers;
	ctl->peers = peer;
	ctl->npeers++;
	peer->buf = malloc(REQUEST_MAX);
	if (!peer->buf || peer_watch(peer, EPOLLIN))
		peer_close(peer);
}

int ctl_serve(struct ctl *ctl, struct loop *loop, const struct ctl_command *commands, void *arg)
{
	ctl->loop = loop;
	ctl->commands = commands;
	ctl->arg = arg;
	return loop_fd_add(loop, &ctl->watch, ctl->fd, EPOLLIN, on_connect, ctl);
}

void ctl_free(struct ctl *ctl)
{
	if (!ctl)
		return;
	while (ctl->peers)
		peer_close(ctl->peers);
	loop_fd_stop(ctl->watch);
	close(ctl->fd);
	/* A daemon of profile PRIV_NET may remove nothing (EPERM): its next start replaces the
	 * file. */
	unlink(ctl->addr.path);
	free(ctl);
}

/* ---- client ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* Waits until fd is ready for events. 0, -ETIMEDOUT or -errno. */
static int wait_ready(int fd, short events, int64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = deadline - now_ms();
		int n = poll(&p, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static int call_send(int fd, const char *text, size_t len, int64_t deadline)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		int err;

		if (n > 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		/* A server that does not like us closes at once: that is a refusal, not a fault. */
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return -EACCES;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		err = wait_ready(fd, POLLOUT, deadline);
		if (err)
			return err;
	}
	return 0;
}

/* One line into *out, which the caller frees. */
static int call_receive(int fd, char **out, size_t *out_len, int64_t deadline)
{
	size_t len = 0, size = 0;
	char *buf = NULL;
	ssize_t n;
	int err = 0;

	while (!err && !(len && buf[len - 1] == '\n')) {
		if (len == size) {
			char *more = realloc(buf, size = size ? size * 2 : 4096);

			if (!more || size > 2 * ANSWER_MAX) {
				free(more ? more : buf);
				return more ? -EPROTO : -ENOMEM;
			}
			buf = more;
		}
		n = recv(fd, buf + len, size - len, 0);
		if (n > 0)
			len += (size_t)n;
		else if (n == 0 || errno == ECONNRESET)
			err = len ? -EPROTO : -EACCES;
		else if (errno == EAGAIN || errno == EINTR)
			err = wait_ready(fd, POLLIN, deadline);
		else
			err = -errno;
	}
	if (err) {
		free(buf);
		return err;
	}
	*out = buf;
	*out_len = len;
	return 0;
}

static int call_connect(const char *path)
{
	struct addr_port ap = { 0 };
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, err;

	if (strlen(path) >= sizeof(ap.path))
		return -ENAMETOOLONG;
	strcpy(ap.path, path);
	len = addr_port_sockaddr(&ap, &ss);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&ss, len)) {
		err = errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(fd);
		return err;
	}
	return fd;
}

int ctl_call(const char *path, const json_t *request, json_t **answer, unsigned int timeout_ms)
{
	int64_t deadline = now_ms() + timeout_ms;
	char *line = json_dumps(request, JSON_COMPACT), *text = NULL;
	json_t *got = NULL;
	size_t len = 0;
	int fd, err;

	if (!line)
		return -EINVAL;
	fd = call_connect(path);
	err = fd < 0 ? fd : call_send(fd, line, strlen(line), deadline);
	if (!err)
		err = call_send(fd, "\n", 1, deadline);
	if (!err)
		err = call_receive(fd, &text, &len, deadline);
	if (!err) {
		got = json_loadb(text, len, 0, NULL);
		if (!json_is_object(got))
			err = -EPROTO;
		else if (!json_is_true(json_object_get(got, "ok")))
			err = -EREMOTEIO;
	}
	if (fd >= 0)
		close(fd);
	free(line);
	free(text);
	if (err && err != -EREMOTEIO)
		json_decref(got);
	else
		*answer = got;
	return err;
}
