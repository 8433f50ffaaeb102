/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd.c -- the HTTP server: start, listen, stop. One libmicrohttpd daemon a socket, each with its
 * threads on epoll. See httpd_impl.h for who does what.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/hash.h"
#include "lib/httpd_impl.h"
#include "lib/log.h"

/* TLS 1.2 and later, and no cipher below 128 bits. */
#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define BACKLOG	       1024

/* libmicrohttpd's own decoding would change the target that http_target_parse() reads. */
static size_t keep_escapes(void *arg, struct MHD_Connection *mhd, char *text)
{
	(void)arg;
	(void)mhd;
	return strlen(text);
}

static unsigned int usable_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (unsigned int)CPU_COUNT(&set);
}

static bool is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static int copy_text(const char **text)
{
	if (*text && !(*text = strdup(*text)))
		return -ENOMEM;
	return 0;
}

static int take_options(struct httpd *server, const struct httpd_options *given, size_t nfds)
{
	struct httpd_options *opt = &server->opt;
	const char *cert = given->tls_cert, *key = given->tls_key, *ca = given->tls_client_ca;
	unsigned int threads = given->threads ? given->threads : usable_cpus();

	*opt = *given;
	opt->tls_cert = opt->tls_key = opt->tls_client_ca = NULL;
	if (copy_text(&cert) || copy_text(&key) || copy_text(&ca))
		return -ENOMEM;
	opt->tls_cert = cert;
	opt->tls_key = key;
	opt->tls_client_ca = ca;
	if (!opt->name)
		opt->name = "http";
	opt->connections_max = opt->connections_max ? opt->connections_max : 4096;
	if (!opt->per_address_max) /* one client alone cannot take all */
		opt->per_address_max = (opt->connections_max + 1) / 2;
	opt->header_bytes_max = opt->header_bytes_max ? opt->header_bytes_max : 16 << 10;
	opt->upload_chunk = opt->upload_chunk ? opt->upload_chunk : 16 << 10;
	if (opt->tls_cert)
		opt->hot = NULL;
	opt->idle_s = opt->idle_s ? opt->idle_s : 30;
	opt->header_s = opt->header_s ? opt->header_s : 10;
	opt->workers = opt->workers ? opt->workers : 4;
	opt->queue_max = opt->queue_max ? opt->queue_max : HTTP_QUEUE_MAX;
	server->threads_each = (unsigned int)((threads + nfds - 1) / (nfds ? nfds : 1));
	if (server->threads_each == 0)
		server->threads_each = 1;
	/* Each thread takes its share of the connections. */
	if (opt->connections_max < server->threads_each)
		opt->connections_max = server->threads_each;
	return 0;
}

/* Starts the daemon of one listening socket. */
static int socket_start(struct httpd *server, struct httpd_socket *s)
{
	const struct httpd_options *opt = &server->opt;
	size_t memory = opt->header_bytes_max + opt->upload_chunk; /* a connection's pool */
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC;
	struct MHD_OptionItem more[12];
	int n = 0;

	if (server->opt.hot)
		flags |= MHD_USE_NO_LISTEN_SOCKET; /* it is given connections, see httpd_hot.c */
	else
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_LISTEN_SOCKET, s->fd, NULL };
	if (server->threads_each > 1)
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_THREAD_POOL_SIZE,
						     server->threads_each, NULL };
	more[n++] = (struct MHD_OptionItem){ MHD_OPTION_PER_IP_CONNECTION_LIMIT,
					     opt->per_address_max, NULL };
	if (!opt->tls_cert)
		flags |= MHD_ALLOW_UPGRADE; /* with TLS, libmicrohttpd would keep relaying for ever */
	if (opt->tls_cert && opt->tls_key) {
		flags |= MHD_USE_TLS;
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_CERT, 0,
						     (void *)opt->tls_cert };
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_KEY, 0,
						     (void *)opt->tls_key };
		more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_PRIORITIES, 0,
						     (void *)TLS_PRIORITIES };
		if (opt->tls_client_ca)
			more[n++] = (struct MHD_OptionItem){ MHD_OPTION_HTTPS_MEM_TRUST, 0,
							     (void *)opt->tls_client_ca };
	}
	more[n] = (struct MHD_OptionItem){ MHD_OPTION_END, 0, NULL };
	/* Without any that stand apart libmicrohttpd's own limit leaves who comes waiting. */
	s->mhd = MHD_start_daemon(
		flags, 0, opt->apart_max ? http_may_connect : NULL, server, http_on_request, server, MHD_OPTION_ARRAY, more,
		MHD_OPTION_CONNECTION_LIMIT, opt->connections_max + opt->apart_max,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, memory, MHD_OPTION_CONNECTION_TIMEOUT,
		opt->idle_s, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, http_on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
		http_on_done, server, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, server,
		MHD_OPTION_END);
	if (!s->mhd)
		return errno ? -errno : -EIO;
	return server->opt.hot ? http_hot_start(server, s) : 0;
}

static void server_free(struct httpd *server)
{
	http_counts_free(server);
	http_addresses_free(server);
	free(server->handed);
	free(server->sockets);
	free((char *)server->opt.tls_cert);
	free((char *)server->opt.tls_key);
	free((char *)server->opt.tls_client_ca);
	pthread_mutex_destroy(&server->conns_lock);
	pthread_mutex_destroy(&server->reqs_lock);
	pthread_cond_destroy(&server->held_none);
	pthread_mutex_destroy(&server->topics_lock);
	http_workers_destroy(&server->workers);
	http_workers_destroy(&server->slow);
	free(server);
}

static struct httpd *server_new(const struct http_route *routes, void *arg)
{
	struct httpd *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->routes = routes;
	server->arg = arg;
	while (routes[server->nroutes].path)
		server->nroutes++;
	server->watcher_wake = -1;
	pthread_mutex_init(&server->conns_lock, NULL);
	pthread_mutex_init(&server->reqs_lock, NULL);
	pthread_cond_init(&server->held_none, NULL);
	pthread_mutex_init(&server->topics_lock, NULL);
	http_workers_init(&server->workers, false);
	http_workers_init(&server->slow, true);
	random_bytes(&server->id_seed, sizeof(server->id_seed));
	return server;
}

static int hot_new(struct httpd *server)
{
	if (!server->opt.hot)
		return 0;
	server->handed = calloc(HTTP_HANDED_MAX, sizeof(*server->handed));
	return server->handed ? http_addresses_new(server) : -ENOMEM;
}

static int start_threads(struct httpd *server, bool listen_all)
{
	sigset_t all, old;
	int err;

	/* The main thread's signals are not for the server's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = server->watcher_runs ? 0 : http_watcher_start(server);
	if (!err)
		err = http_workers_start(&server->workers, server->opt.workers);
	if (!err)
		err = http_workers_start(&server->slow, server->opt.slow_workers);
	for (size_t i = 0; !err && i < server->nsockets; i++) {
		struct httpd_socket *s = &server->sockets[i];

		if (s->mhd || (!is_listening(s->fd) && !listen_all))
			continue;
		if (!is_listening(s->fd) && listen(s->fd, BACKLOG))
			err = -errno;
		else
			err = socket_start(server, s);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

int httpd_start(struct httpd **out, const struct httpd_options *opt, const int *fds, size_t nfds,
		const struct http_route *routes, void *arg)
{
	struct httpd *server = server_new(routes, arg);
	int err;

	if (!server)
		return -ENOMEM;
	signal(SIGPIPE, SIG_IGN);
	err = take_options(server, opt, nfds);
	server->sockets = calloc(nfds ? nfds : 1, sizeof(*server->sockets));
	if (!err && !server->sockets)
		err = -ENOMEM;
	if (!err)
		err = http_counts_new(server);
	if (!err)
		err = hot_new(server);
	for (size_t i = 0; !err && i < nfds; i++)
		server->sockets[server->nsockets++].fd = fds[i];
	if (!err)
		err = start_threads(server, false);
	if (err) {
		for (size_t i = 0; i < server->nsockets;
		     i++) /* on failure they stay the caller's */
			if (!server->sockets[i].mhd)
				server->sockets[i].fd = -1;
		httpd_stop(server, 0);
		return err;
	}
	*out = server;
	return 0;
}

int httpd_listen(struct httpd *server)
{
	return start_threads(server, true);
}

void httpd_stop_accepting(struct httpd *server)
{
	if (server)
		http_hot_stop_accepting(server);
	for (size_t i = 0; server && i < server->nsockets; i++) {
		if (server->sockets[i].mhd && server->sockets[i].fd >= 0 && !server->opt.hot)
			MHD_quiesce_daemon(server->sockets[i].mhd);
		if (server->sockets[i].fd >= 0)
			close(server->sockets[i].fd);
		server->sockets[i].fd = -1;
	}
}

void httpd_stop(struct httpd *server, unsigned int grace_ms)
{
	int64_t until;

	if (!server)
		return;
	httpd_stop_accepting(server);
	http_events_end(server);
	until = http_now_ms() + grace_ms;
	while (server->in_flight && http_now_ms() < until)
		poll(NULL, 0, 5);
	pthread_mutex_lock(&server->reqs_lock); /* http_hold() */
	server->stopping = true;
	pthread_mutex_unlock(&server->reqs_lock);
	http_workers_stop(&server->slow);
	http_workers_stop(&server->workers);
	http_wait_held(server);
	http_resume_all(server);
	http_hot_stop(server);
	for (size_t i = 0; i < server->nsockets; i++)
		if (server->sockets[i].mhd)
			MHD_stop_daemon(server->sockets[i].mhd);
	http_watcher_stop(server);
	http_topics_detach(server);
	server_free(server);
}
