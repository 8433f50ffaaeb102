/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealing.c -- `weir sealing`: the installation's sealing keys, what needs which, and removing one that nothing needs any more.
 */
#include "tools/sealing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/sealing.h"
#include "tools/web.h"

#define BUSY_MS	 20000 /* what ended a moment ago counts as under way for 15 s */
#define LOOK_MS	 1000
#define ROUNDS	 3 /* while buckets change hands */

static long long num_of(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key)); /* 0: not there */
}

/* What is known of the keys. */
struct known {
	json_t *keys;	 /* sealing_key_list() */
	json_t *secrets; /* reseal_secrets() */
	json_t *sum;	 /* sealing_sum() */
	bool done;	 /* all endpoints told, to the end */
};

static void known_free(struct known *k)
{
	json_decref(k->keys);
	json_decref(k->secrets);
	json_decref(k->sum);
}

/* nodes: as they told. */
static int known_read(struct registry *reg, const json_t *nodes, struct known *k)
{
	*k = (struct known){ sealing_key_list(reg), reseal_secrets(reg), sealing_sum(nodes), nodes != NULL };
	if (k->keys && k->secrets && k->sum)
		return CMD_OK;
	known_free(k);
	return cmd_fail("cannot read the sealing keys: %s", registry_error());
}

static const json_t *key_of(const json_t *keys, const char *kid)
{
	const json_t *one;
	size_t i;

	json_array_foreach ((json_t *)keys, i, one)
		if (!strcmp(js_text(one, "kid", ""), kid))
			return one;
	return NULL;
}

/* ---- list ------------------------------------------------------------------------------------ */

/* A new key seals when all daemons have heard of it: SEALING_AHEAD_S. */
static const char *state_of(const json_t *key)
{
	if (!key)
		return "lost";
	if (json_is_true(json_object_get(key, "now")))
		return "now";
	return num_of(key, "created") > (long long)time(NULL) ? "soon" : "older";
}

/* One key's row with all that is known of it. */
static json_t *row_of(const struct known *k, const char *kid, const json_t *key)
{
	const json_t *sum = json_object_get(k->sum, kid), *secrets = json_object_get(k->secrets, kid);
	json_t *row = json_pack("{s:s, s:s, s:I}", "kid", kid, "state", state_of(key), "secrets", (json_int_t)num_of(secrets, "secrets"));

	if (key)
		json_object_set(row, "created", json_object_get(key, "created"));
	if (sum) {
		json_object_update(row, (json_t *)sum);
	} else if (k->done) {
		json_object_set_new(row, "objects", json_integer(0));
		json_object_set_new(row, "parts", json_integer(0));
	}
	return row;
}

static json_t *rows(const struct known *k)
{
	json_t *list = json_array(), *one;
	const char *kid;
	size_t i;

	json_array_foreach (k->keys, i, one)
		json_array_append_new(list, row_of(k, js_text(one, "kid", ""), one));
	json_object_foreach (k->sum, kid, one)
		if (!key_of(k->keys, kid))
			json_array_append_new(list, row_of(k, kid, NULL));
	json_object_foreach (k->secrets, kid, one)
		if (!key_of(k->keys, kid) && !json_object_get(k->sum, kid))
			json_array_append_new(list, row_of(k, kid, NULL));
	return list;
}

static void number_text(const json_t *row, const char *what, char out[24])
{
	const json_t *n = json_object_get(row, what);

	snprintf(out, 24, json_is_integer(n) ? "%" JSON_INTEGER_FORMAT : "-", json_integer_value(n));
}

static const char *made(const json_t *row, char out[32])
{
	time_t at = (time_t)num_of(row, "created");
	struct tm tm;

	if (!at || !gmtime_r(&at, &tm))
		return "-";
	strftime(out, 32, "%Y-%m-%d %H:%MZ", &tm);
	return out;
}

static int print(const struct known *k, bool as_json)
{
	json_t *list = rows(k), *row;
	struct table *t;
	size_t i;

	if (as_json)
		return cmd_print_json(list);
	t = table_new("KEY|MADE|SEALS|ACCESS KEYS>|OBJECTS>|PARTS>|ONE OF THEM");
	json_array_foreach (list, i, row) {
		char when[32], secrets[24], objects[24], parts[24];

		number_text(row, "secrets", secrets);
		number_text(row, "objects", objects);
		number_text(row, "parts", parts);
		table_row(t, js_text(row, "kid", "?"), made(row, when), js_text(row, "state", "?"), secrets, objects, parts,
			  web_safe(js_text(row, "where", "")), NULL);
	}
	table_print(t);
	json_array_foreach (list, i, row)
		if (num_of(row, "full"))
			printf("%lld by %s stay so: their metadata leave no room for the newest "
			       "key's name (endpoints' logs name them)\n",
			       num_of(row, "full"), js_text(row, "kid", "?"));
	if (!k->done)
		printf("objects and parts as far as they were told last; weir sealing count looks again\n");
	json_decref(list);
	return CMD_OK;
}

/* Without asking anybody: what was told of the last wish. */
static int list(struct registry *reg, bool as_json)
{
	struct reseal_wish wish = { .id = "" };
	json_t *nodes = NULL;
	struct known k;
	int rc = reseal_wish_get(reg, &wish);

	if (!rc)
		rc = reseal_told(reg, &wish, &nodes);
	if (rc && rc != -ENOENT)
		return cmd_fail("cannot read what endpoints told: %s", registry_error());
	rc = known_read(reg, nodes, &k);
	if (rc == CMD_OK) {
		k.done = false;
		rc = print(&k, as_json);
		known_free(&k);
	}
	json_decref(nodes);
	return rc;
}

static int count(struct registry *reg, const char *what, bool as_json)
{
	struct sealing_ask ask = { .what = what, .quiet = as_json };
	json_t *nodes;
	struct known k;
	int rc = sealing_ask(reg, &ask, &nodes);

	if (rc)
		return rc;
	rc = known_read(reg, nodes, &k);
	if (rc == CMD_OK) {
		rc = print(&k, as_json);
		known_free(&k);
	}
	json_decref(nodes);
	return rc;
}

static int begin(struct registry *reg, bool as_json)
{
	struct reseal_wish wish;

	if (reseal_wish_post(reg, RESEAL_RESEAL, &wish))
		return cmd_fail("cannot tell the endpoints: %s", registry_error());
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s}", "id", wish.id, "done", "begun"));
	printf("the endpoints begin; weir sealing list says how far they are\n");
	return CMD_OK;
}

/* ---- remove ---------------------------------------------------------------------------------- */

/* Is there such a key, and is it an older one? */
static int check_key(struct registry *reg, const char *kid)
{
	struct known k;
	const json_t *key;
	int rc = known_read(reg, NULL, &k), secrets;

	if (rc)
		return rc;
	key = key_of(k.keys, kid);
	secrets = (int)num_of(json_object_get(k.secrets, kid), "secrets");
	if (!key)
		rc = cmd_fail("there is no sealing key %s (weir sealing list)", kid);
	else if (json_is_true(json_object_get(key, "now")) && key != json_array_get(k.keys, 0))
		rc = cmd_fail("%s still seals for some seconds, until all daemons know the newer key; try again", kid);
	else if (key == json_array_get(k.keys, 0))
		rc = cmd_fail("%s is the newest key: it seals what comes. weir user key reseal makes another one", kid);
	else if (secrets)
		rc = cmd_fail("%s still seals the secrets of %d access keys, one of them of %s: weir user key reseal", kid, secrets,
			      js_text(json_object_get(k.secrets, kid), "user", "?"));
	known_free(&k);
	return rc;
}

/* All endpoints seal by the newest, and nothing is under way that began with the old one. */
static int wait_still(struct registry *reg, const char *kid)
{
	struct sealing_ask ask = { .what = RESEAL_STILL, .all = true, .quiet = true };

	for (int waited = 0;; waited += LOOK_MS) {
		json_t *nodes, *sum, *one, *keys = sealing_key_list(reg);
		const char *newest = js_text(json_array_get(keys, 0), "kid", ""), *node, *late = NULL;
		int rc = keys ? sealing_ask(reg, &ask, &nodes) : cmd_fail("cannot read the sealing keys: %s", registry_error()), busy = 0;

		if (!rc) {
			json_object_foreach (nodes, node, one)
				if (strcmp(js_text(json_object_get(one, "told"), "newest", ""), newest))
					late = node;
			sum = sealing_sum(nodes);
			busy = (int)num_of(json_object_get(sum, kid), "busy");
			if (waited >= BUSY_MS && late)
				rc = cmd_fail("endpoint %s does not seal by the newest key yet; try again", late);
			else if (waited >= BUSY_MS && busy)
				rc = cmd_fail("%s is used by %d uploads under way, at %s at least: try again when they have ended", kid, busy,
					      js_text(json_object_get(sum, kid), "node", "?"));
			json_decref(sum);
			json_decref(nodes);
		}
		json_decref(keys);
		if (rc || (!late && !busy))
			return rc;
		nanosleep(&(struct timespec){ .tv_sec = LOOK_MS / 1000 }, NULL);
	}
}

/* Did each look at all the buckets that it ordered before and after? */
static bool is_whole(const json_t *nodes, const json_t *before, const json_t *after)
{
	const json_t *buckets = json_object_get(after, "buckets");
	const char *node;
	json_t *n;

	if (!json_equal(before, after))
		return false;
	json_object_foreach ((json_t *)buckets, node, n)
		if (num_of(json_object_get(json_object_get(nodes, node), "told"), "buckets") != json_integer_value(n))
			return false;
	return true;
}

/* CMD_OK: nothing needs it. *again: buckets changed hands meanwhile. */
static int check_objects(struct registry *reg, const char *kid, bool quiet, bool *again)
{
	struct sealing_ask ask = { .what = RESEAL_COUNT, .all = true, .quiet = quiet };
	json_t *nodes, *before = NULL, *after = NULL, *sum;
	const json_t *one;
	int rc = reseal_orders(reg, &before) ? cmd_fail("cannot read who orders buckets: %s", registry_error()) : sealing_ask(reg, &ask, &nodes);

	*again = false;
	if (!rc) {
		sum = sealing_sum(nodes);
		one = json_object_get(sum, kid);
		if (num_of(one, "objects") + num_of(one, "parts") > 0)
			rc = cmd_fail("%s still seals the keys of %lld objects and %lld parts, such as %s: weir sealing reseal seals them by the newest",
				      kid, num_of(one, "objects"), num_of(one, "parts"), web_safe(js_text(one, "where", "?")));
		else if (num_of(one, "busy") > 0)
			rc = cmd_fail("%s was used by an upload meanwhile; try again", kid);
		else if (reseal_orders(reg, &after))
			rc = cmd_fail("cannot read who orders buckets: %s", registry_error());
		else
			*again = !is_whole(nodes, before, after);
		json_decref(sum);
		json_decref(nodes);
	}
	json_decref(before);
	json_decref(after);
	return rc;
}

static int remove_key(struct registry *reg, const char *kid, bool as_json)
{
	bool again = true;
	int rc = check_key(reg, kid);

	if (!rc)
		rc = wait_still(reg, kid);
	for (int i = 0; !rc && again && i < ROUNDS; i++)
		rc = check_objects(reg, kid, as_json, &again);
	if (!rc && again)
		return cmd_fail("buckets are made or change hands all the time: whether any needs %s is not certain; try again", kid);
	if (rc)
		return rc;
	rc = check_key(reg, kid); /* it took a while */
	if (rc)
		return rc;
	if (sealing_key_remove(reg, kid))
		return cmd_fail("cannot remove %s: %s", kid, registry_error());
	if (as_json)
		return cmd_print_json(json_pack("{s:s, s:s}", "kid", kid, "done", "remove"));
	printf("%s is gone; backups of names (weir-endpoint backup-names) from before its objects were sealed anew need it from the\n"
	       "registry's backup of that time\n",
	       kid);
	return CMD_OK;
}

static int run(const struct cmd *cmd, struct registry *reg, int n, char **words, bool wait, bool as_json)
{
	const char *what = n ? words[0] : "list";

	if (n == 2 && !strcmp(what, "remove"))
		return remove_key(reg, words[1], as_json);
	if (n > 1)
		return cmd_usage(cmd, "wants list, count, reseal or remove KEY");
	if (!strcmp(what, "remove"))
		return cmd_usage(cmd, "remove wants a KEY (weir sealing list)");
	if (!strcmp(what, "list"))
		return list(reg, as_json);
	if (!strcmp(what, "count"))
		return count(reg, RESEAL_COUNT, as_json);
	if (!strcmp(what, "reseal"))
		return wait || isatty(1) ? count(reg, RESEAL_RESEAL, as_json) : begin(reg, as_json);
	return cmd_usage(cmd, "there is no `weir sealing %s`", what);
}

int cmd_sealing(const struct cmd *cmd, int argc, char **argv)
{
	bool wait = false;
	const struct cmd_flag own[] = { { "--wait", NULL, &wait }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own), rc = CMD_FAILED;
	struct registry *reg;
	struct conf *conf;

	if (n < 0)
		return cmd_exit_of(n);
	conf = cmd_conf(&opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = run(cmd, reg, n, argv, wait, opt.json);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
