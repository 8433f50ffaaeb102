/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_watch_serve.c -- the server that gives segments to other viewers, at the pace that the instruction's cap (and
 * --uplink) allows, to those alone whom its `share` names and who have a key of ours.
 */
#include "tools/media_watch.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/httpd.h"

#define PACE_MS	   20	 /* between looks at who waits for the bucket */
#define SAVED_S	   0.25	 /* of the cap may be saved up */
#define PIECE_LEAST 4096 /* bytes: not one at a time when the bucket is empty */
#define BACKLOG	   64

struct gift { /* one segment on its way to a peer */
	LIST_ENTRY(gift) all;
	struct viewer_serve *serve;
	struct http_req *req;
	struct viewer_bytes *b;
	char peer[VIEWER_ID + 1];
	bool waiting;
};

struct viewer_serve {
	struct viewer *v;
	struct httpd *server;
	pthread_t pace;
	bool paced;
	pthread_mutex_t lock; /* all that follows; the viewer's may not be taken under it */
	LIST_HEAD(, gift) gifts;
	double saved;
	int64_t filled_at;
	bool quit;
};

/* ---- the bucket ------------------------------------------------------------------------------ */

static double cap_now(struct viewer *v)
{
	double cap;

	pthread_mutex_lock(&v->lock);
	cap = viewer_told(v)->cap;
	pthread_mutex_unlock(&v->lock);
	if (v->opt.uplink && cap > (double)v->opt.uplink)
		cap = (double)v->opt.uplink;
	return fmax(cap, 0);
}

/* Up to max bytes may go now; 0: none yet. Under the serve's lock. */
static size_t take(struct viewer_serve *s, double cap, size_t max)
{
	int64_t now = viewer_now();
	double most = fmax(cap * SAVED_S, 2 * PIECE_LEAST);

	s->saved = fmin(s->saved + cap * (double)(now - s->filled_at) / 1000, most);
	s->filled_at = now;
	if (s->saved < fmin((double)max, PIECE_LEAST))
		return 0;
	max = s->saved < (double)max ? (size_t)s->saved : max;
	s->saved -= (double)max;
	return max;
}

static void count_up(struct viewer *v, const char *peer, size_t n)
{
	struct viewer_peer *p;

	pthread_mutex_lock(&v->lock);
	v->count.up += n;
	p = viewer_peer_by_id(v, peer);
	if (p)
		p->sent += n;
	pthread_mutex_unlock(&v->lock);
}

static ssize_t read_gift(void *arg, uint64_t pos, char *buf, size_t max)
{
	struct gift *g = arg;
	struct viewer_serve *s = g->serve;
	size_t left = pos < g->b->len ? g->b->len - (size_t)pos : 0, n;
	double cap = cap_now(s->v);

	if (!left)
		return HTTP_READ_END;
	pthread_mutex_lock(&s->lock);
	n = take(s, cap, left < max ? left : max);
	g->waiting = !n;
	pthread_mutex_unlock(&s->lock);
	if (!n)
		return HTTP_READ_LATER;
	memcpy(buf, g->b->data + pos, n);
	count_up(s->v, g->peer, n);
	return (ssize_t)n;
}

static void free_gift(void *arg)
{
	struct gift *g = arg;

	pthread_mutex_lock(&g->serve->lock);
	LIST_REMOVE(g, all);
	pthread_mutex_unlock(&g->serve->lock);
	viewer_bytes_put(g->b);
	free(g);
}

static void *pace_thread(void *arg)
{
	struct viewer_serve *s = arg;
	const struct timespec pause = { .tv_nsec = PACE_MS * 1000000l };
	bool quit = false;

	while (!quit) {
		struct gift *g;

		nanosleep(&pause, NULL);
		pthread_mutex_lock(&s->lock);
		quit = s->quit;
		LIST_FOREACH(g, &s->gifts, all)
			if (g->waiting) {
				g->waiting = false;
				http_resume(g->req);
			}
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* Who asks, when it has a key; under the viewer's lock. */
static struct viewer_peer *asker(struct viewer *v, const struct http_req *req)
{
	const char *authorization = http_header(req, "Authorization");

	return authorization && !strncasecmp(authorization, "Weir ", 5) ? viewer_peer_by_key(v, authorization + 5) : NULL;
}

static bool may_have(const struct viewer *v, const struct viewer_peer *p)
{
	return !p->bad && viewer_ids_have(&viewer_told(v)->share, p->id);
}

/* 0, or the status of a refusal. Under the viewer's lock. */
static unsigned int judge(struct viewer *v, const struct http_req *req, const struct viewer_peer **out)
{
	const struct viewer_peer *p = asker(v, req);

	*out = p;
	return !p ? 401 : !may_have(v, p) ? 403 : 0;
}

static enum http_next refuse(struct http_req *req, unsigned int status)
{
	return http_reply_error(req, status, status == 401 ? "unauthorized" : status == 403 ? "forbidden" : "not_found",
				status == 401 ? "the key is none of this viewer's" :
				status == 403 ? "this viewer does not share with you now" :
						"this viewer does not have it");
}

static enum http_next have_begin(struct http_req *req, void *arg)
{
	struct viewer *v = ((struct viewer_serve *)arg)->v;
	struct viewer_range ranges[VIEWER_RANGES];
	const struct viewer_peer *p;
	json_t *list;
	unsigned int status;
	size_t n = 0;

	pthread_mutex_lock(&v->lock);
	status = judge(v, req, &p);
	if (!status)
		n = viewer_have(v, ranges, VIEWER_RANGES);
	pthread_mutex_unlock(&v->lock);
	if (status)
		return refuse(req, status);
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("[i, i, i]", (int)ranges[i].rendition, (int)ranges[i].first, (int)ranges[i].last));
	return http_reply_json(req, 200, json_pack("{s:o}", "have", list));
}

/* A number of the path; UINT32_MAX is nowhere. */
static uint32_t number(const struct http_req *req, const char *name)
{
	const char *text = http_param(req, name);
	char *end;
	unsigned long n = text ? strtoul(text, &end, 10) : UINT32_MAX;

	return text && end != text && !*end && n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static enum http_next segment_begin(struct http_req *req, void *arg)
{
	struct viewer_serve *serve = arg;
	struct viewer *v = serve->v;
	const struct viewer_peer *p;
	const struct viewer_segment *s;
	struct gift *g = calloc(1, sizeof(*g));
	unsigned int status;

	if (!g)
		return http_reply_error(req, 503, "memory", "there is no memory now; try again");
	pthread_mutex_lock(&v->lock);
	status = judge(v, req, &p);
	s = viewer_segment(v, number(req, "rendition"), number(req, "n"));
	if (!status && (!s || !s->have))
		status = 404;
	if (!status) {
		g->serve = serve;
		g->req = req;
		g->b = viewer_bytes_get(s->have);
		memcpy(g->peer, p->id, sizeof(g->peer));
	}
	pthread_mutex_unlock(&v->lock);
	if (status) {
		free(g);
		return refuse(req, status);
	}
	pthread_mutex_lock(&serve->lock);
	LIST_INSERT_HEAD(&serve->gifts, g, all);
	pthread_mutex_unlock(&serve->lock);
	return http_reply_stream(req, 200, "application/octet-stream", g->b->len, read_gift, free_gift, g);
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/weir/have", .begin = have_begin },
	{ .methods = 1u << HTTP_GET, .path = "/weir/segment/:rendition/:n", .begin = segment_begin },
	{ .path = NULL },
};

/* ---- its address ----------------------------------------------------------------------------- */

/* Ours, as it is used towards the gateway: no packet is sent. 0 or -errno. */
static int own_address(const char *url, struct addr_port *out)
{
	const char *host = strstr(url, "://") + 3;
	const char *end = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":/");
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *list = NULL;
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	char name[256];
	int fd = -1, rc = -EHOSTUNREACH;

	if (!end)
		return -EINVAL;
	snprintf(name, sizeof(name), "%.*s", (int)(end - host) - (*host == '['), host + (*host == '['));
	if (getaddrinfo(name, "9", &hints, &list))
		return -EHOSTUNREACH;
	for (const struct addrinfo *at = list; at && rc; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && !connect(fd, at->ai_addr, at->ai_addrlen) && !getsockname(fd, (struct sockaddr *)&ss, &len)) {
			addr_from_sockaddr(out, (struct sockaddr *)&ss);
			rc = 0;
		}
		if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	out->port = 0;
	return rc;
}

bool viewer_is_local(const struct viewer *v)
{
	struct addr_port at;

	return !own_address(web_base(v->web), &at) && addr_is_loopback(&at.addr);
}

/* A listening socket; v->at says where. */
static int listen_at(struct viewer *v)
{
	struct addr_port at = { 0 };
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	int fd, rc = 0;

	if (v->opt.bind && (rc = addr_port_parse(&at, v->opt.bind))) {
		rc = addr_parse(&at.addr, v->opt.bind);
		at.port = 0;
	} else if (!v->opt.bind) {
		rc = own_address(web_base(v->web), &at);
	}
	if (rc || *at.path)
		return v->opt.bind ? -EINVAL : rc;
	fd = addr_bind(&at, SOCK_STREAM, BACKLOG, false, 0);
	if (fd < 0)
		return fd;
	if (getsockname(fd, (struct sockaddr *)&ss, &len)) {
		close(fd);
		return -errno;
	}
	addr_from_sockaddr(&at, (struct sockaddr *)&ss);
	at.proto = 0;
	addr_port_format(&at, v->at, sizeof(v->at));
	return fd;
}

int viewer_serve_start(struct viewer *v)
{
	const struct httpd_options options = { .name = "viewer", .threads = 1, .workers = 1, .connections_max = 128 };
	struct viewer_serve *s;
	int fd = listen_at(v), rc;

	if (fd < 0)
		return cmd_fail("cannot listen for other viewers on %s: %s (--bind ADDRESS[:PORT] says where, --consent no gives nothing)",
				v->opt.bind ? v->opt.bind : "the address by which the gateway is reached", strerror(-fd));
	s = calloc(1, sizeof(*s));
	if (!s)
		return close(fd), cmd_fail("out of memory");
	s->v = v;
	s->filled_at = viewer_now();
	pthread_mutex_init(&s->lock, NULL);
	rc = httpd_start(&s->server, &options, &fd, 1, routes, s);
	if (rc) {
		close(fd);
		free(s);
		return cmd_fail("cannot serve other viewers on %s: %s", v->at, strerror(-rc));
	}
	s->paced = !pthread_create(&s->pace, NULL, pace_thread, s);
	v->serve = s;
	return CMD_OK;
}

void viewer_serve_stop(struct viewer *v)
{
	struct viewer_serve *s = v->serve;

	if (!s)
		return;
	v->serve = NULL;
	httpd_stop(s->server, 200);
	pthread_mutex_lock(&s->lock);
	s->quit = true;
	pthread_mutex_unlock(&s->lock);
	if (s->paced)
		pthread_join(s->pace, NULL);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
