/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealing_ask.c -- see sealing.h.
 */
#include "tools/sealing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS	 250   /* between looks into the registry */
#define BEGIN_MS 15000 /* an endpoint that knows what is asked for has told something by then */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* How far they are, together. */
struct far {
	unsigned int nodes, done;
	long long looked, resealed;
	const char *away, *silent; /* one of those, or NULL */
	const char *waits, *why;   /* who says what it waits for */
};

static struct far far_of(const json_t *nodes)
{
	struct far f = { .nodes = 0 };
	const char *node;
	json_t *one;

	json_object_foreach ((json_t *)nodes, node, one) {
		const json_t *told = json_object_get(one, "told");

		if (!json_is_true(json_object_get(one, "alive"))) {
			f.away = node;
			continue;
		}
		f.nodes++;
		f.done += json_is_true(json_object_get(told, "done"));
		f.looked += (long long)json_integer_value(json_object_get(told, "looked"));
		f.resealed += (long long)json_integer_value(json_object_get(told, "resealed"));
		if (!json_is_object(told))
			f.silent = node;
		if (json_object_get(told, "why")) {
			f.waits = node;
			f.why = js_text(told, "why", "");
		}
	}
	return f;
}

static void show(const struct far *f, bool change)
{
	fprintf(stderr, "\r\033[K%u of %u endpoints, %lld versions and parts looked at", f->done, f->nodes, f->looked);
	if (change)
		fprintf(stderr, ", %lld sealed anew", f->resealed);
	if (f->waits)
		fprintf(stderr, "; %s waits: %s", f->waits, f->why);
	fflush(stderr);
}

/* 1: go on waiting. */
static int judge(const struct far *f, const struct sealing_ask *ask, int64_t since)
{
	if (f->away && ask->all)
		return cmd_fail("endpoint %s is registered, and away: what it has is not known. Start it first", f->away);
	if (!f->nodes)
		return cmd_fail("there is no endpoint");
	if (f->silent && now_ms() > since + BEGIN_MS)
		return cmd_fail("endpoint %s does not say anything to this: its program is older, or it does not reach the registry", f->silent);
	return f->done == f->nodes && !f->silent ? CMD_OK : CMD_USAGE;
}

/* All endpoints do one thing at a time, the last that was asked for. CMD_OK: that is still this. */
static int check_wish(struct registry *reg, const struct reseal_wish *wish)
{
	struct reseal_wish now;
	int rc = reseal_wish_get(reg, &now);

	if (rc)
		return cmd_fail("cannot read what is asked of the endpoints: %s", rc == -ENOENT ? "it was removed" : registry_error());
	if (!strcmp(now.id, wish->id))
		return CMD_OK;
	if (!strcmp(wish->what, RESEAL_RESEAL) && strcmp(now.what, RESEAL_RESEAL))
		return cmd_fail("somebody else asked for `%s` meanwhile; the endpoints go on sealing behind that: weir sealing count says how far they are",
				now.what);
	return cmd_fail("somebody else asked for `%s` meanwhile, and endpoints do one thing at a time; try again", now.what);
}

int sealing_ask(struct registry *reg, const struct sealing_ask *ask, json_t **nodes)
{
	bool terminal = !ask->quiet && isatty(2), change = !strcmp(ask->what, RESEAL_RESEAL);
	char busy[CONF_NAME_MAX];
	struct reseal_wish wish;
	int64_t since = now_ms();
	struct far f = { .nodes = 0 };
	int rc;

	if (!change && reseal_unfinished(reg, busy, sizeof(busy)))
		fprintf(stderr, "endpoint %s still seals keys anew (weir sealing reseal); that goes on behind this\n", busy);
	rc = reseal_wish_post(reg, ask->what, &wish);

	while (!rc) {
		int verdict;

		rc = reseal_told(reg, &wish, nodes);
		if (rc)
			break;
		f = far_of(*nodes);
		if (terminal && strcmp(ask->what, RESEAL_STILL) != 0)
			show(&f, change);
		verdict = f.silent && check_wish(reg, &wish) ? CMD_FAILED : judge(&f, ask, since);
		if (verdict != CMD_USAGE) {
			if (terminal && strcmp(ask->what, RESEAL_STILL) != 0)
				fputc('\n', stderr);
			if (verdict == CMD_OK && f.away)
				fprintf(stderr, "endpoint %s is away: nothing was asked of it\n", f.away);
			if (verdict != CMD_OK)
				json_decref(*nodes);
			return verdict;
		}
		json_decref(*nodes);
		nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000 }, NULL);
	}
	return cmd_fail("the registry does not take part: %s", registry_error());
}

static void add(json_t *sum, const char *kid, const char *what, json_int_t n)
{
	json_t *one = json_object_get(sum, kid);

	if (!one) {
		one = json_pack("{s:i, s:i, s:i, s:i, s:i}", "objects", 0, "parts", 0, "lost", 0,
				"full", 0, "busy", 0);
		json_object_set_new(sum, kid, one);
	}
	if (what)
		json_object_set_new(one, what, json_integer(json_integer_value(json_object_get(one, what)) + n));
}

json_t *sealing_sum(const json_t *nodes)
{
	json_t *sum = json_object(), *one, *key, *n;
	const char *node, *kid, *what;

	json_object_foreach ((json_t *)nodes, node, one) {
		const json_t *told = json_object_get(one, "told");

		json_object_foreach (json_object_get(told, "keys"), kid, key) {
			add(sum, kid, NULL, 0);
			json_object_foreach (key, what, n)
				if (json_is_integer(n))
					add(sum, kid, what, json_integer_value(n));
			json_object_set(json_object_get(sum, kid), "where", json_object_get(key, "where"));
		}
		json_object_foreach (json_object_get(told, "busy"), kid, n) {
			add(sum, kid, "busy", json_integer_value(n));
			json_object_set_new(json_object_get(sum, kid), "node", json_string(node));
		}
	}
	return sum;
}
