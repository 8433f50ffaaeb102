/* SPDX-License-Identifier: Apache-2.0 */
/* ws_accept.c -- the handshake of a WebSocket (RFC 6455 section 4.2), and the socket's way to a thread. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/peers/ws_impl.h"
#include "lib/hash.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* section 1.3 */
#define KEY_LEN 24				    /* 16 bytes in base64 */

/* From the answer to the socket. */
struct handshake {
	struct ws_server *server;
	struct ws_conn *conn;
	void (*refused)(void *user);
};

/* Is token among the comma-separated ones, whatever its case? */
static bool has_token(const char *list, const char *token)
{
	size_t len = strlen(token);

	while (list && *list) {
		size_t n;

		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if (n == len && !strncasecmp(list, token, n))
			return true;
		list += n;
	}
	return false;
}

static bool key_ok(const char *key)
{
	uint8_t bytes[16];

	return key && strlen(key) == KEY_LEN && base64_decode(key, KEY_LEN, bytes, sizeof(bytes)) == sizeof(bytes);
}

/* Section 4.2.2, number 5.4; malloc'ed. */
static char *accept_of(const char *key)
{
	char text[KEY_LEN + sizeof(GUID)];
	uint8_t sum[20];
	unsigned int len = sizeof(sum);

	memcpy(text, key, KEY_LEN);
	memcpy(text + KEY_LEN, GUID, sizeof(GUID));
	if (!EVP_Digest(text, sizeof(text) - 1, sum, &len, EVP_sha1(), NULL))
		return NULL;
	return base64_encode(sum, len);
}

static struct ws_conn *conn_new(void *user)
{
	struct ws_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->user = user;
	c->fd = -1;
	c->out_tail = &c->out;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

/* Keeps what came with the handshake; false without memory. */
static bool keep_extra(struct ws_conn *c, const void *extra, size_t len)
{
	if (!len)
		return true;
	c->extra = malloc(sizeof(*c->extra) + len);
	if (!c->extra)
		return false;
	c->extra->len = (uint32_t)len;
	memcpy(c->extra->data, extra, len);
	return true;
}

/* Gives the connection to a thread; false: the service stops. */
static bool hand_over(struct ws_server *s, struct ws_conn *c)
{
	struct ws_thread *t = &s->threads[s->next_thread++ % s->nthreads];

	pthread_rwlock_rdlock(&s->gate);
	if (s->stopping) {
		pthread_rwlock_unlock(&s->gate);
		return false;
	}
	c->thread = t;
	c->tokens = s->opt.burst * WS_MESSAGE_COST * 1000;
	c->tokens_ms = (uint32_t)ws_now_ms();
	pthread_mutex_lock(&t->lock);
	c->next = t->fresh;
	t->fresh = c;
	pthread_mutex_unlock(&t->lock);
	ws_thread_wake(t);
	pthread_rwlock_unlock(&s->gate);
	return true;
}

static void give_up(struct handshake *h)
{
	struct ws_conn *c = h->conn;

	if (h->refused)
		h->refused(c->user);
	if (c->fd >= 0)
		close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c->extra);
	free(c);
	h->server->count--;
}

static void on_taken(void *arg, int fd, const void *extra, size_t len)
{
	struct handshake *h = arg;
	int on = 1;

	h->conn->fd = fd;
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* fails on Unix sockets */
	if (fd < 0 || !keep_extra(h->conn, extra, len) || !hand_over(h->server, h->conn))
		give_up(h);
	ws_server_put(h->server);
	free(h);
}

static enum http_next refuse(struct http_req *req, void *user, void (*refused)(void *user), unsigned int status,
			     const char *sentence)
{
	if (refused)
		refused(user);
	if (status == 426) {
		http_add_header(req, "Upgrade", "websocket");
		http_add_header(req, "Sec-WebSocket-Version", "13");
	} else if (status == 503) {
		http_add_header(req, "Retry-After", "5");
	}
	return http_reply_error(req, status, "websocket", "%s", sentence);
}

/* What is wrong with the request, or NULL. */
static const char *fault_of(const struct http_req *req, unsigned int *status)
{
	const char *version = http_header(req, "Sec-WebSocket-Version");

	*status = 426;
	if (!has_token(http_header(req, "Upgrade"), "websocket"))
		return "this address speaks WebSocket: send an upgrade (RFC 6455)";
	if (version && strcmp(version, "13") != 0)
		return "the version of WebSocket must be 13";
	*status = 400;
	if (http_method(req) != HTTP_GET)
		return "a WebSocket begins with GET";
	if (!has_token(http_header(req, "Connection"), "upgrade"))
		return "the line \"Connection: Upgrade\" is missing";
	if (!version || http_header_repeated(req, "Sec-WebSocket-Version"))
		return "there must be one line Sec-WebSocket-Version";
	if (!key_ok(http_header(req, "Sec-WebSocket-Key")) || http_header_repeated(req, "Sec-WebSocket-Key"))
		return "there must be one line Sec-WebSocket-Key with 16 bytes in base64";
	return NULL;
}

static bool count_in(struct ws_server *s)
{
	if (atomic_fetch_add(&s->count, 1) < s->opt.max)
		return true;
	s->count--;
	return false;
}

enum http_next ws_accept(struct ws_server *s, struct http_req *req, void *user, void (*refused)(void *user))
{
	unsigned int status;
	const char *fault = fault_of(req, &status);
	struct handshake *h;
	char *accept;

	if (fault)
		return refuse(req, user, refused, status, fault);
	if (s->quit || !count_in(s))
		return refuse(req, user, refused, 503, "there are too many WebSockets; try again later, or another gateway");
	h = calloc(1, sizeof(*h));
	accept = accept_of(http_header(req, "Sec-WebSocket-Key"));
	if (!h || !accept || !(h->conn = conn_new(user)) || http_add_header(req, "Sec-WebSocket-Accept", accept)) {
		if (h)
			free(h->conn);
		free(h);
		free(accept);
		s->count--;
		return refuse(req, user, refused, 503, "there is no memory for a WebSocket");
	}
	free(accept);
	h->server = s;
	h->refused = refused;
	atomic_fetch_add(&s->refs, 1);
	return http_reply_upgrade(req, "websocket", on_taken, h);
}
