/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c -- weir-registry: the embedded registry of one machine, speaking a part of etcd v3's JSON
 * API.
 *
 * Requests that may wait for the disk run on the HTTP server's worker threads; keep-alives of
 * leases do not, so that a slow disk ends no lease. A thread of its own lets the leases' clock run.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "http/registry/server.h"
#include "http/registry/store.h"
#include "lib/clock.h"
#include "lib/daemon.h"

#define TICK_MS	    200
#define TICK_MAX_MS 1000 /* more than this means that we did not run: not counted */
#define PROGRESS_MS 10000
#define STOP_MS	    500

struct program {
	int fds[16];
	size_t nfds;
	struct server_options options;
	struct store *store;
	struct server *server;
	pthread_t ticker;
	bool ticking;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
};

static bool enabled(const struct conf *conf)
{
	return conf->registry_server.enabled;
}

/* ---- privileged ---- */

static int read_token(struct program *p, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -errno;
	ssize_t n;

	if (fd < 0) {
		log_error("%s cannot be read: %s; `registry_server: token` names the file with "
			  "TCP's token",
			  path, strerror(-rc));
		return rc;
	}
	n = read(fd, p->options.token, sizeof(p->options.token) - 1);
	close(fd);
	while (n > 0 && strchr("\r\n", p->options.token[n - 1]))
		p->options.token[--n] = '\0';
	if (n < 16) {
		log_error("%s must hold a token of 16 to %zu characters in one line; `openssl rand "
			  "-hex 32` makes one",
			  path, sizeof(p->options.token) - 1);
		return -EINVAL;
	}
	return 0;
}

static int bind_one(struct program *p, const struct daemon *d, const struct addr_port *ap)
{
	char text[ADDR_PORT_STRLEN], ctl[4096];
	int fd;

	addr_port_format(ap, text, sizeof(text));
	conf_ctl_path(d->conf, "registry", ctl, sizeof(ctl));
	if (!strcmp(ap->path, ctl)) {
		log_error("registry_server: %s is the control socket's path; take another, as "
			  "unix:%s/registry.socket",
			  text, d->conf->run);
		return -EINVAL;
	}
	if (!addr_port_is_local(ap) || (!ap->path[0] && !d->conf->registry_server.token_file)) {
		log_error("registry_server: %s: TCP is served on loopback only, and with a "
			  "`token`; for several machines "
			  "run etcd",
			  text);
		return -EINVAL;
	}
	fd = addr_bind(ap, SOCK_STREAM, 1024, false, 0660);
	if (fd < 0) {
		log_error("registry_server: %s cannot be bound: %s", text, strerror(-fd));
		return fd;
	}
	if (ap->path[0] && !geteuid() && chown(ap->path, d->user.uid, d->user.gid))
		log_warn("%s cannot be given to the daemons' user: %s", ap->path, strerror(errno));
	p->fds[p->nfds++] = fd;
	return 0;
}

static int prepare(struct daemon *d)
{
	static struct program program;
	const struct conf_registry_server *conf = &d->conf->registry_server;
	int rc = 0;

	d->state = &program;
	if (conf->nlisten > sizeof(program.fds) / sizeof(program.fds[0])) {
		log_error("registry_server: at most 16 listeners");
		return -EINVAL;
	}
	if (conf->token_file)
		rc = read_token(&program, conf->token_file);
	for (size_t i = 0; i < conf->nlisten && !rc; i++)
		rc = bind_one(&program, d, &conf->listen[i]);
	return rc;
}

/* ---- running ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* false: the program stops. */
static bool wait_tick(struct program *p)
{
	struct timespec until = clock_in_ms(CLOCK_MONOTONIC, TICK_MS);
	bool go_on;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && !pthread_cond_timedwait(&p->wake, &p->lock, &until))
		;
	go_on = !p->stop;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

static void *tick(void *arg)
{
	struct program *p = arg;
	int64_t last = now_ms(), progress = last, now;

	while (wait_tick(p)) {
		now = now_ms();
		store_lease_tick(p->store, now - last > TICK_MAX_MS ? TICK_MS : now - last);
		last = now_ms();
		if (now - progress >= PROGRESS_MS) {
			server_progress(p->server);
			progress = now;
		}
	}
	return NULL;
}

static int start_ticker(struct program *p)
{
	pthread_condattr_t attr;
	int rc;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	rc = -pthread_create(&p->ticker, NULL, tick, p);
	p->ticking = !rc;
	return rc;
}

static int start(struct daemon *d)
{
	struct program *p = d->state;
	char folder[4096], err[512] = "out of memory";
	int rc;

	conf_state_path(d->conf, "registry", folder, sizeof(folder));
	rc = store_open(&p->store, folder, err, sizeof(err));
	if (rc) {
		log_error("%s", err);
		return rc;
	}
	p->options.metrics = d->metrics;
	rc = server_start(&p->server, p->store, p->fds, p->nfds, &p->options);
	if (!rc)
		rc = start_ticker(p);
	if (rc) {
		log_error("the registry cannot serve: %s", strerror(-rc));
		return rc;
	}
	loop_notify_ready("serving");
	return 0;
}

static void stop(struct daemon *d)
{
	struct program *p = d->state;

	if (!p)
		return;
	if (p->ticking) {
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_cond_signal(&p->wake);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->ticker, NULL);
	}
	server_stop(p->server, STOP_MS);
	store_close(p->store);
	explicit_bzero(p->options.token, sizeof(p->options.token));
}

static void status(struct daemon *d, json_t *answer)
{
	struct program *p = d->state;
	struct store_counts counts;

	store_counts(p->store, &counts);
	json_object_set_new(answer, "revision", json_integer(counts.revision));
	json_object_set_new(answer, "keys", json_integer((json_int_t)counts.keys));
	json_object_set_new(answer, "leases", json_integer((json_int_t)counts.leases));
	json_object_set_new(answer, "watches", json_integer((json_int_t)server_watches(p->server)));
}

int main(int argc, char **argv)
{
	static const struct daemon_program program = {
		.name = "weir-registry",
		.role = "registry",
		.summary = "the embedded registry of one machine",
		.enabled = enabled,
		.profile = PRIV_NET_FILES,
		.prepare = prepare,
		.start = start,
		.stop = stop,
		.status = status,
	};

	return daemon_main(&program, argc, argv);
}
