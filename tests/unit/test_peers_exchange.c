/* SPDX-License-Identifier: Apache-2.0 */
/* Homes and owners: three gateways of one process, each with a real server, tell each other about viewers; who owns what;
 * one that dies, comes back, joins. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "http/peers/exchange.h"
#include "lib/hash.h"
#include "lib/httpc.h"
#include "lib/httpd.h"

#define GATEWAYS 3
#define HEARD	 4096

struct gateway {
	char node[16], url[64];
	struct peers_options peers;
	struct exchange *x;
	struct httpd *server;
	struct httpc *client;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	unsigned int nup[UP_KINDS], ndown[DOWN_KINDS], changed, gone;
	char last_home[64], last_text[128], order[HEARD + 1];
	size_t norder;
};
static struct gateway g[GATEWAYS];
static bool listed[GATEWAYS]; /* in the registry */

/* ---- what the exchange asks and tells ---- */

static json_t *gateways(void *arg)
{
	json_t *list = json_array();

	(void)arg;
	for (int i = 0; i < GATEWAYS; i++)
		if (listed[i])
			json_array_append_new(list, json_pack("{s:s, s:s}", "node", g[i].node, "inside", g[i].url));
	return list;
}

static void up(void *arg, enum peers_up kind, const char *home, const char *viewer, const char *asset, const char *text)
{
	struct gateway *me = arg;

	(void)viewer, (void)asset;
	pthread_mutex_lock(&me->lock);
	me->nup[kind]++;
	snprintf(me->last_home, sizeof(me->last_home), "%s", home);
	snprintf(me->last_text, sizeof(me->last_text), "%s", text);
	if (kind == UP_TRACK && me->norder < HEARD)
		me->order[me->norder++] = text[0];
	pthread_cond_broadcast(&me->cond);
	pthread_mutex_unlock(&me->lock);
}

static void down(void *arg, enum peers_down kind, const char *viewer, const char *text)
{
	struct gateway *me = arg;

	(void)viewer;
	pthread_mutex_lock(&me->lock);
	me->ndown[kind]++;
	snprintf(me->last_text, sizeof(me->last_text), "%s", text);
	pthread_cond_broadcast(&me->cond);
	pthread_mutex_unlock(&me->lock);
}

static void owner_changed(void *arg)
{
	struct gateway *me = arg;

	pthread_mutex_lock(&me->lock);
	me->changed++;
	pthread_cond_broadcast(&me->cond);
	pthread_mutex_unlock(&me->lock);
}

static void home_gone(void *arg, const char *home)
{
	struct gateway *me = arg;

	(void)home;
	pthread_mutex_lock(&me->lock);
	me->gone++;
	pthread_mutex_unlock(&me->lock);
}

/* Waits, at most 10 s, until the count is there. */
static bool wait_for(struct gateway *me, const unsigned int *count, unsigned int want)
{
	struct timespec until;
	bool there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&me->lock);
	while (*count < want && pthread_cond_timedwait(&me->cond, &me->lock, &until) == 0)
		;
	there = *count >= want;
	pthread_mutex_unlock(&me->lock);
	return there;
}

/* ---- servers ---- */

static enum http_next take_up(struct http_req *req, void *arg)
{
	size_t len;
	const void *body = http_body(req, &len);
	int rc = exchange_take_up(((struct gateway *)arg)->x, body, len);

	return http_reply(req, rc ? 400 : 204, NULL, "", 0);
}

static enum http_next take_down(struct http_req *req, void *arg)
{
	size_t len;
	const void *body = http_body(req, &len);
	int rc = exchange_take_down(((struct gateway *)arg)->x, body, len);

	return http_reply(req, rc ? 400 : 204, NULL, "", 0);
}

static const struct http_route routes[] = {
	{ .methods = 1u << HTTP_POST, .path = "/_/peers/up", .body_max = 1 << 20, .end = take_up },
	{ .methods = 1u << HTTP_POST, .path = "/_/peers/down", .body_max = 1 << 20, .end = take_down },
	{ .path = NULL },
};

static void serve(struct gateway *me, int port)
{
	struct httpd_options opt = { .name = me->node, .threads = 1 };
	char text[32];
	struct addr_port at;
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int fd;

	snprintf(text, sizeof(text), "127.0.0.1:%d", port);
	assert_int_equal(addr_port_parse(&at, text), 0);
	fd = addr_bind(&at, SOCK_STREAM, 64, false, 0);
	assert_true(fd >= 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(me->url, sizeof(me->url), "http://127.0.0.1:%d", ntohs(in.sin_port));
	assert_int_equal(httpd_start(&me->server, &opt, &fd, 1, routes, me), 0);
}

static int begin(void **state)
{
	(void)state;
	memset(g, 0, sizeof(g));
	for (int i = 0; i < GATEWAYS; i++) {
		struct exchange_options opt = { .peers = &g[i].peers, .up = up, .down = down,
						.owner_changed = owner_changed, .home_gone = home_gone, .arg = &g[i] };
		struct httpc_options client = { .connect_ms = 1000 };

		snprintf(g[i].node, sizeof(g[i].node), "gw%d", i);
		pthread_mutex_init(&g[i].lock, NULL);
		pthread_cond_init(&g[i].cond, NULL);
		assert_int_equal(httpc_new(&g[i].client, &client), 0);
		g[i].peers.node = g[i].node;
		g[i].peers.client = g[i].client;
		g[i].peers.gateways = gateways;
		serve(&g[i], 0);
		assert_int_equal(exchange_start(&g[i].x, &opt), 0);
		listed[i] = true;
	}
	for (int i = 0; i < GATEWAYS; i++)
		exchange_tick(g[i].x);
	return 0;
}

static int end(void **state)
{
	(void)state;
	for (int i = 0; i < GATEWAYS; i++)
		httpd_stop(g[i].server, 100);
	for (int i = 0; i < GATEWAYS; i++) {
		exchange_stop(g[i].x);
		httpc_free(g[i].client);
	}
	return 0;
}

/* The number of the gateway that owns the asset, by the word of `who`. */
static int owner(int who, const char *asset)
{
	char order[GATEWAYS][64];

	assert_true(exchange_order(g[who].x, asset, order, GATEWAYS) >= 1);
	return order[0][2] - '0';
}

/* An asset that `who` owns. */
static const char *asset_of(int who)
{
	static char name[32];

	for (int i = 0;; i++) {
		snprintf(name, sizeof(name), "media/film%d", i);
		if (owner(who, name) == who)
			return name;
	}
}

#define VIEWER "0123456789abcdef"

/* ---- tests ---- */

static void all_know_the_owner(void **state)
{
	unsigned int of[GATEWAYS] = { 0 };
	char order[GATEWAYS][64], asset[32];

	(void)state;
	for (int i = 0; i < 3000; i++) {
		int first;

		snprintf(asset, sizeof(asset), "media/a%d", i);
		first = owner(0, asset);
		assert_int_equal(owner(1, asset), first);
		assert_int_equal(owner(2, asset), first);
		assert_int_equal(exchange_owns(g[first].x, asset), true);
		of[first]++;
	}
	for (int i = 0; i < GATEWAYS; i++)
		assert_in_range(of[i], 850, 1150); /* 1,000 ± 5.8 standard deviations */
	assert_int_equal(exchange_order(g[0].x, "media/x", order, GATEWAYS), 3);
	assert_string_not_equal(order[0], order[1]);
	assert_string_not_equal(order[1], order[2]);
	assert_int_equal(exchange_order(g[0].x, "media/x", order, 1), 1);
	assert_int_equal(order[0][2] - '0', owner(0, "media/x"));
}

static void messages_come_in_order_there_and_back(void **state)
{
	const char *asset = asset_of(1);
	char sent[HEARD + 1];

	(void)state;
	for (int i = 0; i < HEARD; i++) {
		char text[2] = { (char)('a' + i % 23), 0 };

		sent[i] = text[0];
		exchange_up(g[0].x, UP_TRACK, VIEWER, asset, text);
	}
	assert_true(wait_for(&g[1], &g[1].nup[UP_TRACK], HEARD));
	assert_memory_equal(g[1].order, sent, HEARD);
	assert_string_equal(g[1].last_home, "gw0");
	assert_int_equal(g[2].nup[UP_TRACK], 0);
	exchange_down(g[1].x, "gw0", DOWN_INSTRUCT, VIEWER, "{\"a\":\"\\u00ff\\r\\n\"}");
	assert_true(wait_for(&g[0], &g[0].ndown[DOWN_INSTRUCT], 1));
	assert_string_equal(g[0].last_text, "{\"a\":\"\\u00ff\\r\\n\"}");
	/* its own: a call */
	exchange_up(g[1].x, UP_REPORT, VIEWER, asset, "{}");
	assert_int_equal(g[1].nup[UP_REPORT], 1);
	exchange_down(g[1].x, "gw1", DOWN_TRACK, VIEWER, "x");
	assert_int_equal(g[1].ndown[DOWN_TRACK], 1);
	exchange_down(g[1].x, "nobody", DOWN_TRACK, VIEWER, "x");
}

static void what_is_no_batch_is_refused(void **state)
{
	static const char *const bad[] = { "", "[]", "{}", "{\"from\":1,\"messages\":[]}", "{\"from\":\"gw0\"}",
					   "{\"from\":\"\",\"messages\":[]}", "{\"from\":\"gw0\",\"messages\":{}}" };
	static const char odd[] = "{\"from\":\"gw0\",\"messages\":[7,[0],[99,\"" VIEWER "\",\"a\",\"t\"],[-1,\"" VIEWER
				  "\",\"a\",\"t\"],[0,\"short\",\"a\",\"t\"],[0,\"" VIEWER "\",\"a\",\"taken\"]]}";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(exchange_take_up(g[0].x, bad[i], strlen(bad[i])), -EINVAL);
	assert_int_equal(exchange_take_up(g[0].x, odd, sizeof(odd) - 1), 0);
	assert_int_equal(g[0].nup[UP_JOIN], 1);
	assert_string_equal(g[0].last_text, "taken");
}

static void the_dead_are_passed_over_at_once(void **state)
{
	const char *asset = asset_of(2);
	int port = atoi(strrchr(g[2].url, ':') + 1), next;

	(void)state;
	httpd_stop(g[2].server, 100);
	g[2].server = NULL;
	exchange_up(g[0].x, UP_JOIN, VIEWER, asset, "{}"); /* lost: nobody answers */
	assert_true(wait_for(&g[0], &g[0].changed, 2));    /* the first was that it saw the others */
	next = owner(0, asset);
	assert_int_not_equal(next, 2);
	exchange_up(g[0].x, UP_JOIN, VIEWER, asset, "{}");
	assert_true(wait_for(&g[next], &g[next].nup[UP_JOIN], 1));
	/* it answers again: it owns what it owned, and the one between hears that it no longer does */
	serve(&g[2], port);
	assert_true(wait_for(&g[0], &g[0].changed, 3));
	assert_int_equal(owner(0, asset), 2);
	exchange_up(g[0].x, UP_JOIN, VIEWER, asset, "{}");
	assert_true(wait_for(&g[2], &g[2].nup[UP_JOIN], 1));
	assert_true(wait_for(&g[next], &g[next].nup[UP_LEAVE], 1));
}

static void the_registry_takes_and_gives(void **state)
{
	const char *asset = asset_of(2);
	unsigned int before = g[0].changed;

	(void)state;
	listed[2] = false;
	exchange_tick(g[0].x);
	assert_int_equal(g[0].changed, before + 1);
	assert_int_equal(g[0].gone, 1);
	assert_int_not_equal(owner(0, asset), 2);
	exchange_tick(g[0].x); /* nothing new */
	assert_int_equal(g[0].changed, before + 1);
	assert_int_equal(g[0].gone, 1);
	listed[2] = true;
	exchange_tick(g[0].x);
	assert_int_equal(g[0].changed, before + 2);
	assert_int_equal(owner(0, asset), 2);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(all_know_the_owner),
		TEST(messages_come_in_order_there_and_back),
		TEST(what_is_no_batch_is_refused),
		TEST(the_dead_are_passed_over_at_once),
		TEST(the_registry_takes_and_gives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
