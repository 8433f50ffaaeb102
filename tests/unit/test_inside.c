/* SPDX-License-Identifier: Apache-2.0 */
/* The listener for one's own kind: its routes, the status asked of the main thread, refusals, the
 * end. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

#include "lib/inside.h"
#include "lib/log.h"

static char folder[80];
static const struct daemon_program program = { .name = "weir-test", .role = "test" };

/* A daemon with what the listener needs, and its loop. */
static void make_daemon(struct daemon *d, struct conf *conf)
{
	memset(d, 0, sizeof(*d));
	memset(conf, 0, sizeof(*conf));
	snprintf(conf->node, sizeof(conf->node), "n1");
	snprintf(conf->site, sizeof(conf->site), "s1");
	conf->path = (char *)"weir.yaml";
	d->role = "test";
	d->program = &program;
	d->conf = conf;
	assert_int_equal(loop_new(&d->loop), 0);
	assert_int_equal(metrics_new(&d->metrics), 0);
}

static void free_daemon(struct daemon *d)
{
	loop_free(d->loop);
	metrics_free(d->metrics);
}

static enum http_next extra(struct http_req *req, void *arg)
{
	return http_reply(req, 200, "text/plain", arg, strlen(arg));
}

static const struct http_route extra_routes[] = {
	{ .methods = 1u << HTTP_GET, .path = "/i/extra", .begin = extra },
	{ .path = NULL },
};

/* What the asking thread saw, while the main thread runs the loop. */
struct asker {
	struct daemon *d;
	pthread_t thread;
	char health[256], metrics[65536], status[4096], extra[64];
};

static void ask(struct httpc *c, const char *path, char *out, size_t len)
{
	struct httpc_answer answer;
	char url[256];
	struct httpc_call call = { .url = url };

	snprintf(url, sizeof(url), "unix:%s/inside:%s", folder, path);
	*out = '\0';
	if (!httpc_do(c, &call, &answer))
		snprintf(out, len, "%ld %s", answer.status, answer.body ? answer.body : "");
	httpc_answer_free(&answer);
}

static void quit(void *arg)
{
	loop_quit(arg, 0);
}

static void *ask_all(void *arg)
{
	struct asker *a = arg;
	struct httpc *c;

	if (!inside_client(&c, a->d->conf, "test")) {
		ask(c, "/_/health", a->health, sizeof(a->health));
		ask(c, "/_/metrics", a->metrics, sizeof(a->metrics));
		ask(c, "/_/status", a->status, sizeof(a->status));
		ask(c, "/i/extra", a->extra, sizeof(a->extra));
		httpc_free(c);
	}
	loop_post(a->d->loop, quit, a->d->loop);
	return NULL;
}

static void address(struct addr_port *at)
{
	memset(at, 0, sizeof(*at));
	snprintf(at->path, sizeof(at->path), "%s/inside", folder);
}

static void serves(void **state)
{
	struct conf conf;
	struct daemon d;
	struct asker a = { .d = &d };
	struct addr_port at;
	struct inside *in;

	(void)state;
	make_daemon(&d, &conf);
	address(&at);
	assert_int_equal(inside_bind(&in, &conf, &at), 0);
	assert_int_equal(inside_serve(in, &d, NULL, NULL, extra_routes, (void *)"more"), 0);
	assert_int_equal(pthread_create(&a.thread, NULL, ask_all, &a), 0);
	assert_int_equal(loop_run(d.loop), 0);
	pthread_join(a.thread, NULL);
	inside_stop(in);
	assert_string_equal(a.health, "200 ok\n");
	assert_non_null(strstr(a.metrics, "weir_http_requests_total{server=\"inside\",route=\"/_/"
					  "health\",status=\"200\"} 1"));
	assert_int_equal(strncmp(a.status, "200 {", 5), 0);
	assert_non_null(strstr(a.status, "\"node\":\"n1\""));
	assert_non_null(strstr(a.status, "\"role\":\"test\""));
	assert_string_equal(a.extra, "200 more");
	free_daemon(&d);
}

static void *ask_status(void *arg)
{
	struct asker *a = arg;
	struct httpc *c;

	if (!inside_client(&c, a->d->conf, "test")) {
		ask(c, "/_/status", a->status, sizeof(a->status));
		httpc_free(c);
	}
	return NULL;
}

/* The main thread is about to end and never runs the loop again: the end does not wait for the
 * answer's time. */
static void ends_while_asked(void **state)
{
	struct conf conf;
	struct daemon d;
	struct asker a = { .d = &d };
	struct addr_port at;
	struct inside *in;
	struct timespec start, stop;
	size_t len;
	char *page = NULL;

	(void)state;
	make_daemon(&d, &conf);
	address(&at);
	assert_int_equal(inside_bind(&in, &conf, &at), 0);
	assert_int_equal(inside_serve(in, &d, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(pthread_create(&a.thread, NULL, ask_status, &a), 0);
	for (int i = 0; i < 5000 && !(page && strstr(page, "in_flight{server=\"inside\"} 1"));
	     i++) {
		free(page);
		usleep(1000);
		page = metrics_render(d.metrics, &len);
	}
	free(page);
	clock_gettime(CLOCK_MONOTONIC, &start);
	inside_stop(in);
	clock_gettime(CLOCK_MONOTONIC, &stop);
	pthread_join(a.thread, NULL);
	assert_true(stop.tv_sec - start.tv_sec < 2);
	free_daemon(&d);
}

static void refuses(void **state)
{
	struct conf conf;
	struct daemon d;
	struct addr_port at;
	struct inside *in = (void *)1;

	(void)state;
	make_daemon(&d, &conf);
	memset(&at, 0, sizeof(at));
	assert_int_equal(inside_bind(&in, &conf, &at),
			 0); /* not said: no listener, and nobody minds */
	assert_null(in);
	assert_int_equal(inside_serve(in, &d, NULL, NULL, NULL, NULL), 0);
	inside_stop(in);
	assert_int_equal(addr_port_parse(&at, "198.51.100.1:7003"), 0);
	assert_int_equal(inside_bind(&in, &conf, &at),
			 -EINVAL); /* off loopback without certificates */
	assert_null(in);
	free_daemon(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves),
		cmocka_unit_test(ends_while_asked),
		cmocka_unit_test(refuses),
	};
	int rc;

	log_open("test_inside", LOG_LEVEL_ERROR);
	unit_folder(folder, sizeof(folder));
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unit_folder_remove(folder);
	return rc;
}
