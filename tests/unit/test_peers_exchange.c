/* SPDX-License-Identifier: Apache-2.0 */
/* Homes and owners: three gateways of one process, each with a real server, tell each other about viewers; who owns what;
 * one that dies, comes back, joins. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "http/peers/exchange.h"
#include "lib/httpc.h"
#include "lib/httpd.h"

#define GATEWAYS 3
#define SPARE	 3 /* one more, which runs but that the registry does not list yet */
#define HEARD	 4096
#define DEAD_MAX 80

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
static struct gateway g[GATEWAYS + 1];
static bool listed[GATEWAYS + 1]; /* in the registry */
static int dead_from, dead_to;	  /* and these, where nobody is */

/* ---- what the exchange asks and tells ---- */

static json_t *gateways(void *arg)
{
	json_t *list = json_array();

	(void)arg;
	for (int i = 0; i <= SPARE; i++)
		if (listed[i])
			json_array_append_new(list, json_pack("{s:s, s:s}", "node", g[i].node, "inside", g[i].url));
	for (int i = dead_from; i < dead_to; i++)
		json_array_append_new(list, json_pack("{s:o, s:s?}", "node", json_sprintf("dead%d", i), "inside", i ? NULL : "http://127.0.0.1:1"));
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

static unsigned int forget_ms;

static int begin(void **state)
{
	(void)state;
	memset(g, 0, sizeof(g));
	dead_from = dead_to = 0;
	for (int i = 0; i <= SPARE; i++) {
		struct exchange_options opt = { .peers = &g[i].peers, .up = up, .down = down,
						.owner_changed = owner_changed, .home_gone = home_gone, .forget_ms = forget_ms, .arg = &g[i] };
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
		listed[i] = i < GATEWAYS;
	}
	for (int i = 0; i < GATEWAYS; i++)
		exchange_tick(g[i].x);
	return 0;
}

static int begin_forgetful(void **state)
{
	int rc;

	forget_ms = 1;
	rc = begin(state);
	forget_ms = 0;
	return rc;
}

static int end(void **state)
{
	(void)state;
	for (int i = 0; i <= SPARE; i++)
		httpd_stop(g[i].server, 100);
	for (int i = 0; i <= SPARE; i++) {
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

/* An asset that `who` owns, by the word of gw0. */
static const char *asset_of(int who)
{
	static char name[32];

	for (int i = 0;; i++) {
		snprintf(name, sizeof(name), "media/film%d", i);
		if (owner(0, name) == who)
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

static int64_t unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What gateway `to` (a name) would be told by gw9, which nobody else is; handed to x. */
static int give(struct exchange *x, const char *to, int64_t run, int64_t at, int64_t number, const char *messages)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"from\":\"gw9\",\"to\":\"%s\",\"run\":%lld,\"at\":%lld,\"n\":%lld,\"messages\":%s}", to,
		 (long long)run, (long long)at, (long long)number, messages);
	return exchange_take_up(x, text, strlen(text));
}

static void what_is_no_batch_is_refused(void **state)
{
	static const char *const bad[] = { "", "[]", "{}", "{\"from\":1,\"messages\":[]}", "{\"from\":\"gw9\"}",
					   "{\"from\":\"\",\"messages\":[]}", "{\"from\":\"gw9\",\"messages\":{}}",
					   "{\"from\":\"gw9\",\"run\":1,\"messages\":[]}",
					   "{\"from\":\"gw9\",\"to\":\"gw0\",\"run\":1,\"at\":1,\"n\":\"1\",\"messages\":[]}" };
	static const char odd[] = "[7,[0],[99,\"" VIEWER "\",\"a\",\"t\"],[-1,\"" VIEWER "\",\"a\",\"t\"],[0,\"short\",\"a\",\"t\"],[0,\"" VIEWER
				  "\",\"a\",\"taken\"]]";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(exchange_take_up(g[0].x, bad[i], strlen(bad[i])), -EINVAL);
	assert_int_equal(give(g[0].x, "gw0", 0, unix_ms(), 1, "[]"), -EINVAL);
	assert_int_equal(give(g[0].x, "gw0", 1, unix_ms(), 1, "{}"), -EINVAL);
	assert_int_equal(give(g[0].x, "gw0", 1, unix_ms(), 1, odd), 0);
	assert_int_equal(g[0].nup[UP_JOIN], 1);
	assert_string_equal(g[0].last_text, "taken");
}

/* Its MAC is right: it is good at one gateway, within 30 s, once; and nothing of a process is that began anew since. */
static void a_batch_is_taken_once(void **state)
{
	static const char one[] = "[[0,\"" VIEWER "\",\"a\",\"t\"]]";
	struct exchange_options opt = { .peers = &g[0].peers, .up = up, .down = down, .owner_changed = owner_changed,
					.home_gone = home_gone, .arg = &g[0] };
	struct exchange_counts counts;
	struct exchange *anew;
	int64_t now = unix_ms() + 10; /* not before it began */

	(void)state;
	assert_int_equal(give(g[0].x, "gw1", 5, now, 1, one), -ESTALE); /* for another */
	assert_int_equal(give(g[0].x, "gw0", 5, now - 31000, 2, one), -ESTALE);
	assert_int_equal(give(g[0].x, "gw0", 5, now + 35000, 3, one), -ESTALE);
	assert_int_equal(give(g[0].x, "gw0", 5, now, 4, one), 0);
	assert_int_equal(give(g[0].x, "gw0", 5, now, 4, one), -ESTALE); /* again */
	assert_int_equal(give(g[0].x, "gw0", 5, now, 3, one), -ESTALE);
	assert_int_equal(give(g[0].x, "gw0", 5, now + 25000, 9, one), 0);
	assert_int_equal(g[0].nup[UP_JOIN], 2);
	assert_int_equal(g[0].gone, 0);
	/* the other begins anew */
	assert_int_equal(give(g[0].x, "gw0", 6, now, 1, one), 0);
	assert_int_equal(g[0].gone, 1);
	assert_int_equal(give(g[0].x, "gw0", 5, now, 10, one), -ESTALE);
	assert_int_equal(give(g[0].x, "gw0", 6, now, 2, one), 0);
	assert_int_equal(g[0].gone, 1);
	assert_int_equal(g[0].nup[UP_JOIN], 4);
	exchange_counts(g[0].x, &counts);
	assert_int_equal(counts.refused, 6);
	/* this one begins anew, and remembers no number: what is from before is not taken */
	assert_int_equal(exchange_start(&anew, &opt), 0);
	assert_int_equal(give(anew, "gw0", 6, now - 100, 2, one), -ESTALE);
	assert_int_equal(give(anew, "gw0", 6, unix_ms() + 100, 3, one), 0);
	exchange_stop(anew);
}

/* ---- memory that lacks ---- */

static _Atomic bool lacks;

static void *scarce(size_t size)
{
	return lacks ? NULL : malloc(size);
}

/* A batch for which there is no memory: it is counted, and all is told again. */
static void what_has_no_memory_is_told_again(void **state)
{
	const char *asset = asset_of(1);
	struct exchange_counts counts;
	unsigned int seen;

	(void)state;
	exchange_up(g[0].x, UP_JOIN, VIEWER, asset, "{}");
	assert_true(wait_for(&g[1], &g[1].nup[UP_JOIN], 1));
	seen = g[0].changed;
	json_set_alloc_funcs(scarce, free);
	lacks = true;
	exchange_up(g[0].x, UP_REPORT, VIEWER, asset, "{}");
	while (owner(0, asset) == 1) /* others lack memory too, and are taken for away */
		assert_true(wait_for(&g[0], &g[0].changed, ++seen));
	lacks = false;
	while (owner(0, asset) != 1) /* it answers again: what waits for it is told */
		assert_true(wait_for(&g[0], &g[0].changed, ++seen));
	exchange_counts(g[0].x, &counts);
	assert_int_equal(counts.lost, 1);
	exchange_up(g[0].x, UP_LEAVE, VIEWER, asset, "");
	assert_true(wait_for(&g[1], &g[1].nup[UP_LEAVE], 1));
	assert_int_equal(g[1].nup[UP_REPORT], 0);
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

/* More names than there is room for, one after the other: the long dead make room, and their links lead to who comes. */
static void the_long_dead_make_room(void **state)
{
	char order[GATEWAYS + 1][64];
	const char *asset;

	(void)state;
	for (dead_to = 0; dead_to < DEAD_MAX; dead_to++)
		exchange_tick(g[0].x);
	listed[SPARE] = true;
	exchange_tick(g[0].x);
	assert_int_equal(exchange_order(g[0].x, "media/x", order, 4), 3); /* there is no room for it */
	dead_from = dead_to;
	for (int64_t since = unix_ms(); exchange_order(g[0].x, "media/x", order, 4) < 4;) {
		exchange_tick(g[0].x);
		assert_true(unix_ms() < since + 10000);
	}
	asset = asset_of(SPARE);
	exchange_up(g[0].x, UP_JOIN, VIEWER, asset, "{}");
	assert_true(wait_for(&g[SPARE], &g[SPARE].nup[UP_JOIN], 1));
	assert_string_equal(g[SPARE].last_home, "gw0");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(all_know_the_owner),
		TEST(messages_come_in_order_there_and_back),
		TEST(what_is_no_batch_is_refused),
		TEST(a_batch_is_taken_once),
		TEST(what_has_no_memory_is_told_again),
		TEST(the_dead_are_passed_over_at_once),
		TEST(the_registry_takes_and_gives),
		cmocka_unit_test_setup_teardown(the_long_dead_make_room, begin_forgetful, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
