/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside.c -- see inside.h.
 *
 * A process has one inside listener. Its own routes find it through `one`, because the argument of
 * all handlers of a server belongs to the program that added routes.
 */
#include "lib/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#define PEM_MAX	       (1u << 20)
#define STATUS_WAIT_S  5
#define STATUS_LOOK_MS 50 /* how often the asker looks whether the program ends */

struct inside {
	int fd;
	char *ca, *cert, *key; /* contents; NULL on loopback without TLS */
	struct daemon *daemon;
	struct load *load;
	struct httpd *server;
	struct http_route *routes;
};

static struct inside *one;
/* The main thread is in inside_stop(), after its loop: nothing posted is run any more. */
static _Atomic bool ending;

/* ---- status, asked of the main thread -------------------------------------------------------- */

/* Shared by the asker and the main thread; the last of the two frees it. */
struct question {
	pthread_mutex_t lock;
	pthread_cond_t answered;
	struct daemon *daemon;
	json_t *(*fn)(struct daemon *d, const char *text);
	char *text;
	json_t *answer;
	bool done;
	int holders;
};

static void release(struct question *q) /* with the lock held */
{
	bool last = --q->holders == 0;

	pthread_mutex_unlock(&q->lock);
	if (!last)
		return;
	json_decref(q->answer);
	free(q->text);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->answered);
	free(q);
}

static void answer_question(void *arg)
{
	struct question *q = arg;
	json_t *answer = q->fn(q->daemon, q->text);

	pthread_mutex_lock(&q->lock);
	q->answer = answer;
	q->done = true;
	pthread_cond_signal(&q->answered);
	release(q);
}

json_t *daemon_ask(struct daemon *d, json_t *(*fn)(struct daemon *d, const char *text),
		   const char *text)
{
	struct question *q = calloc(1, sizeof(*q));
	json_t *answer = NULL;

	if (!q || !(q->text = strdup(text))) {
		free(q);
		return NULL;
	}
	q->fn = fn;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->answered, NULL);
	q->daemon = d;
	q->holders = 2;
	if (loop_post(d->loop, answer_question, q)) {
		free(q->text);
		free(q);
		return NULL;
	}
	pthread_mutex_lock(&q->lock);
	for (int looks = STATUS_WAIT_S * 1000 / STATUS_LOOK_MS; !q->done && !ending && looks > 0;
	     looks--) {
		struct timespec until = clock_in_ms(CLOCK_REALTIME, STATUS_LOOK_MS);

		pthread_cond_timedwait(&q->answered, &q->lock, &until);
	}
	answer = q->answer;
	q->answer = NULL;
	if (ending && !q->done) /* the loop has run for the last time: nobody else holds it */
		q->holders = 1;
	release(q);
	return answer;
}

static json_t *status_now(struct daemon *d, const char *text)
{
	(void)text;
	return daemon_status_now(d);
}

static json_t *daemon_status(struct daemon *d)
{
	return daemon_ask(d, status_now, "");
}

/* ---- routes ---------------------------------------------------------------------------------- */

enum http_next inside_health_begin(struct http_req *req, void *load)
{
	struct orca_report report;
	char text[ORCA_TEXT_MAX];

	if (load) {
		load_report(load, &report);
		http_add_header(req, "endpoint-load-metrics", orca_format(&report, text));
	}
	http_add_header(req, "Cache-Control", "no-store");
	return http_reply(req, 200, "text/plain; charset=utf-8", "ok\n", 3);
}

static enum http_next health(struct http_req *req, void *arg)
{
	(void)arg;
	return inside_health_begin(req, one->load);
}

static void work_metrics(struct http_req *req, void *arg)
{
	size_t len = 0;
	char *page = metrics_render(one->daemon->metrics, &len);

	(void)arg;
	if (page)
		http_reply_owned(req, 200, "text/plain; version=0.0.4; charset=utf-8", page, len);
	else
		http_reply_error(req, 500, "memory", "out of memory");
}

static void work_status(struct http_req *req, void *arg)
{
	json_t *status = daemon_status(one->daemon);

	(void)arg;
	if (status)
		http_reply_json(req, 200, status);
	else
		http_reply_error(req, 503, "busy", "the main thread did not answer within %d s",
				 STATUS_WAIT_S);
}

static enum http_next metrics(struct http_req *req, void *arg)
{
	return http_work(req, work_metrics, arg);
}

static enum http_next status(struct http_req *req, void *arg)
{
	return http_work(req, work_status, arg);
}

static const struct http_route own_routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/_/health", .begin = health },
	{ .methods = 1u << HTTP_GET, .path = "/_/metrics", .begin = metrics },
	{ .methods = 1u << HTTP_GET, .path = "/_/status", .begin = status },
};
#define OWN_ROUTES (sizeof(own_routes) / sizeof(*own_routes))

/* ---- start and stop -------------------------------------------------------------------------- */

/* A whole small file, terminated; NULL with the reason in the log. */
static char *read_pem(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd >= 0 ? calloc(1, PEM_MAX + 1) : NULL;
	ssize_t n = text ? read(fd, text, PEM_MAX) : -1;

	if (n <= 0) {
		log_error("%s: cannot be read: %s", path, n == 0 ? "it is empty" : strerror(errno));
		free(text);
		text = NULL;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

static int read_certificates(struct inside *in, const struct conf_tls *tls)
{
	in->ca = read_pem(tls->ca);
	in->cert = read_pem(tls->cert);
	in->key = read_pem(tls->key);
	return in->ca && in->cert && in->key ? 0 : -EINVAL;
}

int inside_bind(struct inside **out, const struct conf *conf, const struct addr_port *addr)
{
	bool local = addr_port_is_local(addr);
	char text[ADDR_PORT_STRLEN];
	struct inside *in;
	int rc = 0;

	*out = NULL;
	if (addr->addr.family == AF_UNSPEC && !*addr->path)
		return 0;
	addr_port_format(addr, text, sizeof(text));
	if (!local && !conf->tls.cert) {
		log_error("%s: inside: %s is off loopback and needs `tls:` (weir ca makes the "
			  "certificates)",
			  conf->path, text);
		return -EINVAL;
	}
	in = calloc(1, sizeof(*in));
	if (!in)
		return -ENOMEM;
	in->fd = addr_bind(addr, SOCK_STREAM, 256, false, 0660);
	if (in->fd < 0) {
		rc = in->fd;
		log_error("cannot listen on %s (inside): %s", text, strerror(-rc));
	} else if (!local) {
		rc = read_certificates(in, &conf->tls);
	}
	if (rc)
		inside_stop(in);
	else
		*out = in;
	return rc;
}

static void wipe(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

int inside_serve(struct inside *in, struct daemon *d, struct load *load,
		 const struct httpd_options *options, const struct http_route *extra, void *arg)
{
	struct httpd_options opt = options ? *options
					   : (struct httpd_options){ .threads = 1,
								     .workers = 2,
								     .connections_max = 256 };
	size_t n = 0;

	if (!in)
		return 0;
	while (extra && extra[n].path)
		n++;
	in->routes = calloc(OWN_ROUTES + n + 1, sizeof(*in->routes));
	if (!in->routes)
		return -ENOMEM;
	memcpy(in->routes, own_routes, sizeof(own_routes));
	if (n)
		memcpy(in->routes + OWN_ROUTES, extra, n * sizeof(*extra));
	in->daemon = d;
	in->load = load;
	one = in;
	opt.name = "inside";
	opt.metrics = d->metrics;
	opt.tls_cert = in->cert;
	opt.tls_key = in->key;
	opt.tls_client_ca = in->ca;
	return httpd_start(&in->server, &opt, &in->fd, 1, in->routes, arg);
}

void inside_stop_accepting(struct inside *in)
{
	if (in)
		httpd_stop_accepting(in->server);
}

void inside_stop(struct inside *in)
{
	if (!in)
		return;
	ending = true;
	httpd_stop(in->server, 2000);
	ending = false;
	if (!in->server && in->fd >= 0)
		close(in->fd);
	wipe(in->key);
	free(in->ca);
	free(in->cert);
	free(in->routes);
	if (one == in)
		one = NULL;
	free(in);
}

int inside_client(struct httpc **out, const struct conf *conf, const char *user_agent)
{
	struct httpc_options opt = { .ca = conf->tls.ca,
				     .cert = conf->tls.cert,
				     .key = conf->tls.key,
				     .user_agent = user_agent };
	int rc = httpc_new(out, &opt);

	if (rc)
		log_error("%s: cannot read the certificates of tls: %s", conf->path, strerror(-rc));
	return rc;
}
