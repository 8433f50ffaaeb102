/* SPDX-License-Identifier: Apache-2.0 */
/*
 * httpd_conn.c -- connections, and the thread that watches over them.
 *
 * libmicrohttpd's own time-out starts again with every byte, so a client that trickles its head
 * keeps a connection for ever: the watcher cuts connections that miss the deadline of their head.
 * It also lingers: a connection that is closed while its client still sends would be reset, and a
 * reset may destroy the answer before the client has read it (RFC 9112 section 9.6); so a
 * duplicate of the socket is kept and read for a moment after libmicrohttpd closed its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/httpd_impl.h"
#include "lib/load.h"
#include "lib/log.h"

#define TICK_MS	  250
#define EVENTS_MS 8000 /* between keep-alive comments of event streams: below httpc.h's stall_ms */

int64_t http_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Who connected over a Unix socket; -1 for others. */
static int64_t peer_uid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int domain;
	socklen_t domain_len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_len) || domain != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -1;
	return cred.uid;
}

/* The time for a head began at the connection's start, or when it was handed over. */
static int64_t first_deadline(struct httpd *server, int fd)
{
	int64_t handed = server->handed && fd < HTTP_HANDED_MAX ? atomic_exchange(&server->handed[fd], 0) : 0;

	return handed ? handed : http_now_ms() + server->opt.header_s * 1000;
}

static void conn_open(struct httpd *server, struct MHD_Connection *mhd, void **slot)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *addr =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct http_conn *conn = calloc(1, sizeof(*conn));

	if (!conn || !fd) {
		free(conn);
		return; /* its requests are refused for the lack of it */
	}
	conn->server = server;
	conn->fd = fd->connect_fd;
	conn->deadline_ms = first_deadline(server, conn->fd);
	if (addr && addr->client_addr && addr->client_addr->sa_family != AF_UNIX)
		addr_from_sockaddr(&conn->peer, addr->client_addr);
	conn->uid = peer_uid(conn->fd);
	conn->local = addr_port_is_local(&conn->peer) || conn->peer.addr.family == AF_UNSPEC;
	pthread_mutex_lock(&server->conns_lock);
	conn->next = server->conns;
	if (conn->next)
		conn->next->prev = conn;
	server->conns = conn;
	pthread_mutex_unlock(&server->conns_lock);
	server->connections++;
	http_address_count(server, &conn->peer, 1);
	if (server->opt.load)
		load_connections(server->opt.load, 1);
	*slot = conn;
}

static void conn_close(struct httpd *server, struct http_conn *conn)
{
	uint64_t one = 1;
	int fd = -1;

	if (!conn)
		return;
	if (conn->linger && !server->stopping)
		fd = fcntl(conn->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_lock(&server->conns_lock);
	if (conn->next)
		conn->next->prev = conn->prev;
	if (conn->prev)
		conn->prev->next = conn->next;
	else
		server->conns = conn->next;
	if (fd >= 0 && server->nlinger < HTTP_LINGER_MAX) {
		server->linger[server->nlinger].fd = fd;
		server->linger[server->nlinger].last_ms = http_now_ms() + HTTP_DRAIN_TOLD_MS;
		server->linger[server->nlinger++].until_ms = http_now_ms() + HTTP_LINGER_MS;
		fd = -1;
	}
	pthread_mutex_unlock(&server->conns_lock);
	if (conn->linger && write(server->watcher_wake, &one, sizeof(one)) < 0)
		log_debug("%s: cannot wake the watcher: %m", server->opt.name);
	if (fd >= 0)
		close(fd);
	server->connections--;
	http_address_count(server, &conn->peer, -1);
	server->apart -= conn->apart;
	if (server->opt.load && !conn->apart)
		load_connections(server->opt.load, -1);
	free(conn);
}

enum MHD_Result http_may_connect(void *arg, const struct sockaddr *addr, socklen_t len)
{
	struct httpd *server = arg;
	unsigned int apart = server->apart, all = server->connections;

	(void)addr, (void)len;
	if (all < apart || all - apart < server->opt.connections_max)
		return MHD_YES;
	http_count_refusal(server, "connections");
	return MHD_NO;
}

bool http_stand_apart(struct http_req *req)
{
	struct httpd *server = req->server;

	if (req->conn->apart)
		return true;
	if (atomic_fetch_add(&server->apart, 1) >= server->opt.apart_max) {
		server->apart--;
		return false;
	}
	req->conn->apart = true;
	if (server->opt.load)
		load_connections(server->opt.load, -1);
	http_add_header(req, "Connection", "close");
	return true;
}

void http_on_connection(void *arg, struct MHD_Connection *mhd, void **conn,
			enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_open(arg, mhd, conn);
	} else {
		conn_close(arg, *conn);
		*conn = NULL;
	}
}

/* ---- certificates ---- */

static int common_name(gnutls_session_t session, char *out, size_t len)
{
	unsigned int n = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	gnutls_x509_crt_t crt;
	int err;

	if (!chain || n == 0 || gnutls_x509_crt_init(&crt))
		return -EACCES;
	err = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER);
	if (!err)
		err = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out,
						    &len);
	gnutls_x509_crt_deinit(crt);
	return err ? -EACCES : 0;
}

bool http_conn_trusted(struct http_conn *conn, struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info;
	unsigned int status = 0;

	if (!conn->server->opt.tls_client_ca)
		return true;
	if (conn->tls_checked)
		return conn->tls_ok;
	conn->tls_checked = true;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	conn->tls_ok = info && info->tls_session &&
		       !gnutls_certificate_verify_peers2(info->tls_session, &status) &&
		       status == 0 &&
		       !common_name(info->tls_session, conn->peer_name, sizeof(conn->peer_name));
	return conn->tls_ok;
}

/* ---- the watcher ---- */

/* The client has its answer and ended. libmicrohttpd waits for edges, and does not hear of an end
 * that came with the last bytes it read: such a request would stay, with all that it has, until its
 * time is over. */
static bool has_left(const struct http_conn *conn)
{
	char byte;

	return conn->told && recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void cut_late(struct httpd *server, int64_t now)
{
	unsigned int cut = 0;

	pthread_mutex_lock(&server->conns_lock);
	for (struct http_conn *conn = server->conns; conn; conn = conn->next) {
		int64_t deadline = conn->deadline_ms, held = conn->held_ms;

		if (held && held < now)
			http_tell_held(conn, now);
		if (deadline && deadline < now) {
			shutdown(conn->fd, SHUT_RDWR);
			conn->deadline_ms = 0;
			cut++;
		} else if (has_left(conn)) {
			shutdown(conn->fd, SHUT_RDWR);
		}
	}
	pthread_mutex_unlock(&server->conns_lock);
	while (cut--)
		http_count_refusal(server, "slow");
}

/* Reads and drops what lingering clients still send; closes those that ended or had their time. */
static void linger_read(struct httpd *server, int64_t now)
{
	static __thread char buf[64 << 10];
	size_t kept = 0;

	pthread_mutex_lock(&server->conns_lock);
	for (size_t i = 0; i < server->nlinger; i++) {
		ssize_t n = recv(server->linger[i].fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n > 0) /* many clients send all of a body before they listen */
			server->linger[i].until_ms = now + HTTP_LINGER_MS;
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || server->linger[i].until_ms < now ||
		    server->linger[i].last_ms < now)
			close(server->linger[i].fd);
		else
			server->linger[kept++] = server->linger[i];
	}
	server->nlinger = kept;
	pthread_mutex_unlock(&server->conns_lock);
}

static void watcher_sleep(struct httpd *server)
{
	struct pollfd fds[1 + HTTP_LINGER_MAX] = { { .fd = server->watcher_wake,
						     .events = POLLIN } };
	nfds_t n = 1;
	uint64_t count;

	pthread_mutex_lock(&server->conns_lock);
	for (size_t i = 0; i < server->nlinger; i++)
		fds[n++] = (struct pollfd){ .fd = server->linger[i].fd, .events = POLLIN };
	pthread_mutex_unlock(&server->conns_lock);
	if (poll(fds, n, TICK_MS) > 0 && (fds[0].revents & POLLIN) &&
	    read(server->watcher_wake, &count, sizeof(count)) < 0)
		log_debug("%s: watcher: %m", server->opt.name);
}

static void *watcher_run(void *arg)
{
	struct httpd *server = arg;
	int64_t last_cut = http_now_ms(), last_events = last_cut;

	while (!server->watcher_quit) {
		int64_t now;

		watcher_sleep(server);
		now = http_now_ms();
		linger_read(server, now);
		if (now - last_cut >= TICK_MS) {
			cut_late(server, now);
			last_cut = now;
		}
		if (now - last_events >= EVENTS_MS) {
			http_events_tick(server);
			last_events = now;
		}
	}
	return NULL;
}

int http_watcher_start(struct httpd *server)
{
	int err;

	server->watcher_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->watcher_wake < 0)
		return -errno;
	err = pthread_create(&server->watcher, NULL, watcher_run, server);
	server->watcher_runs = !err;
	return -err;
}

void http_watcher_stop(struct httpd *server)
{
	uint64_t one = 1;

	server->watcher_quit = true;
	if (server->watcher_runs && write(server->watcher_wake, &one, sizeof(one)) > 0)
		pthread_join(server->watcher, NULL);
	server->watcher_runs = false;
	for (size_t i = 0; i < server->nlinger; i++)
		close(server->linger[i].fd);
	server->nlinger = 0;
	if (server->watcher_wake >= 0)
		close(server->watcher_wake);
	server->watcher_wake = -1;
}
