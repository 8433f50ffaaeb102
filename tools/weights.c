/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.c -- `weir weights show | freeze | thaw | rollback`: an operator holds a service's weights, or goes
 * back to earlier ones. The registry's key weights/SERVICE is what the publisher obeys.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/cmd.h"

static json_t *get_json(struct registry *reg, const char *prefix, const char *name)
{
	struct reg_kv kv;
	char key[256];
	json_t *value;

	snprintf(key, sizeof(key), "%s%s", prefix, name);
	if (registry_get(reg, key, &kv))
		return NULL;
	value = json_loads(kv.value, 0, NULL);
	reg_kv_free(&kv);
	return value;
}

/* ---- show ------------------------------------------------------------------------------------ */

/* The kept generations, oldest first: {"generation","at","by","rates"}. */
static json_t *history_of(struct registry *reg, const char *service)
{
	json_t *list = json_array();
	struct reg_kv *kvs = NULL;
	char prefix[256];
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), REG_HISTORY "%s/", service);
	registry_list(reg, prefix, &kvs, &n, NULL);
	for (size_t i = 0; i < n; i++) {
		json_t *kept = json_loads(kvs[i].value, 0, NULL);
		json_t *rates = json_object_get(kept, "rates");

		if (json_is_object(rates))
			json_array_append_new(list, json_pack("{s:O?, s:O?, s:O?, s:O?}", "generation",
							      json_object_get(rates, "generation"), "at",
							      json_object_get(kept, "at"), "by",
							      json_object_get(kept, "by"), "rates",
							      json_object_get(rates, "rates")));
		json_decref(kept);
	}
	reg_kv_list_free(kvs, n);
	return list;
}

static json_t *service_of(struct registry *reg, const char *service, json_t *rates)
{
	json_t *frozen = get_json(reg, REG_WEIGHTS, service), *out;
	json_t *held = frozen ? json_pack("{s:s, s:I, s:O?, s:b}", "by", js_text(frozen, "by", "?"), "since",
					  (json_int_t)js_num(frozen, "since"), "generation",
					  json_object_get(json_object_get(frozen, "rates"), "generation"),
					  "rollback", json_is_true(json_object_get(frozen, "rollback"))) :
				json_null();

	out = json_pack("{s:s, s:I, s:o, s:o}", "name", service, "generation",
			(json_int_t)js_num(rates, "generation"), "frozen", held, "history",
			history_of(reg, service));
	json_decref(frozen);
	return out;
}

static char *shares(const json_t *rates, char *buf, size_t len)
{
	const json_t *pair;
	double sum = 0;
	size_t i, used = 0;

	json_array_foreach (rates, i, pair)
		sum += json_number_value(json_array_get(pair, 1));
	*buf = 0;
	json_array_foreach (rates, i, pair) {
		const char *name = json_string_value(json_array_get(pair, 0));
		double rate = json_number_value(json_array_get(pair, 1));

		if (used + 96 > len) {
			snprintf(buf + used, len - used, " …");
			break;
		}
		used += (size_t)snprintf(buf + used, len - used, "%s%.64s %.1f%%", i ? "  " : "",
					 name ? name : "?", sum > 0 ? 100 * rate / sum : 0);
	}
	return buf;
}

static void print_service(const json_t *service)
{
	struct table *t = table_new("GENERATION>|AT|BY|SHARES (BY RATES)");
	const json_t *frozen = json_object_get(service, "frozen"), *kept;
	char at[32], text[512];
	time_t when = (time_t)js_num(frozen, "since");
	size_t i;

	printf("%s%s%s: generation %s", cmd_color("\033[1m"), js_text(service, "name", "?"), cmd_color("\033[0m"),
	       js_show(service, "generation", 0));
	if (json_is_object(frozen) && strftime(at, sizeof(at), "%F %T", localtime(&when)))
		printf(", frozen %sby %s since %s",
		       json_is_true(json_object_get(frozen, "rollback")) ? "(rolled back) " : "",
		       js_text(frozen, "by", "?"), at);
	putchar('\n');
	json_array_foreach (json_object_get(service, "history"), i, kept) {
		when = (time_t)js_num(kept, "at");
		strftime(at, sizeof(at), "%F %T", localtime(&when));
		table_row(t, js_show(kept, "generation", 0), at, js_text(kept, "by", "?"),
			  shares(json_object_get(kept, "rates"), text, sizeof(text)), NULL);
	}
	table_print(t);
}

static int show(struct registry *reg, const char *name, bool as_json)
{
	json_t *all = json_array(), *service;
	struct reg_kv *kvs = NULL;
	size_t n = 0, i;
	int rc = registry_list(reg, REG_RATES, &kvs, &n, NULL);

	for (i = 0; i < n; i++) {
		const char *each = kvs[i].key + strlen(REG_RATES);
		json_t *rates = json_loads(kvs[i].value, 0, NULL);

		if (!name || !strcmp(name, each))
			json_array_append_new(all, service_of(reg, each, rates));
		json_decref(rates);
	}
	reg_kv_list_free(kvs, n);
	if (rc)
		rc = cmd_fail("cannot read weights: %s", registry_error());
	else if (name && !json_array_size(all))
		rc = cmd_fail("no rates of a service %s are published", name);
	else if (as_json)
		cmd_print_json(json_pack("{s:O}", "services", all));
	else
		json_array_foreach (all, i, service)
			print_service(service);
	json_decref(all);
	return rc ? CMD_FAILED : CMD_OK;
}

/* ---- freeze, thaw, rollback ------------------------------------------------------------------- */

static int hold(struct registry *reg, const char *service, json_t *rates /* taken */, bool rollback)
{
	const char *who = getenv("SUDO_USER") ? getenv("SUDO_USER") : getenv("USER");
	json_t *value = json_pack("{s:b, s:s, s:I, s:b, s:o}", "frozen", 1, "by", who ? who : "?", "since",
				  (json_int_t)time(NULL), "rollback", rollback, "rates", rates);
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL, key[256];
	int rc = -ENOMEM;

	snprintf(key, sizeof(key), REG_WEIGHTS "%s", service);
	if (text)
		rc = registry_put(reg, key, text, 0);
	free(text);
	json_decref(value);
	return rc ? cmd_fail("weights of %s cannot be held: %s", service, registry_error()) : CMD_OK;
}

static int freeze(struct registry *reg, const char *service)
{
	json_t *rates = get_json(reg, REG_RATES, service);
	char generation[32];

	if (!rates)
		return cmd_fail("no rates of a service %s are published", service);
	snprintf(generation, sizeof(generation), "%.0f", js_num(rates, "generation"));
	if (hold(reg, service, rates, false))
		return CMD_FAILED;
	printf("%s keeps the weights of generation %s; what dies or drains still leaves (weir weights thaw %s)\n",
	       service, generation, service);
	return CMD_OK;
}

static int thaw(struct registry *reg, const char *service)
{
	char key[256];
	int rc;

	snprintf(key, sizeof(key), REG_WEIGHTS "%s", service);
	rc = registry_delete(reg, key);
	if (rc == -ENOENT)
		return cmd_fail("the weights of %s are not frozen", service);
	if (rc)
		return cmd_fail("cannot thaw %s: %s", service, registry_error());
	printf("%s follows what is learned again\n", service);
	return CMD_OK;
}

static int rollback(struct registry *reg, const char *service, const char *generation)
{
	char name[256], *end;
	unsigned long long number = strtoull(generation, &end, 10);
	json_t *kept, *rates;

	snprintf(name, sizeof(name), "%.128s/%012llu", service, number);
	kept = *generation && !*end ? get_json(reg, REG_HISTORY, name) : NULL;
	rates = json_object_get(kept, "rates");
	if (!rates) {
		json_decref(kept);
		return cmd_fail("generation %s of %s is not kept; weir weights show %s lists those that are",
				generation, service, service);
	}
	json_incref(rates);
	json_decref(kept);
	if (hold(reg, service, rates, true))
		return CMD_FAILED;
	printf("%s goes back to the weights of generation %llu at once, outside of the move budget, and keeps them "
	       "(weir weights thaw %s)\n",
	       service, number, service);
	return CMD_OK;
}

int weights_edit(const struct cmd *cmd, const struct cmd_options *opt, int n, char **argv)
{
	bool is_show = !strcmp(argv[0], "show"), is_rollback = !strcmp(argv[0], "rollback");
	bool is_freeze = !strcmp(argv[0], "freeze"), is_thaw = !strcmp(argv[0], "thaw");
	struct registry *reg;
	struct conf *conf;
	int rc = CMD_FAILED;

	if (!is_show && !is_rollback && !is_freeze && !is_thaw)
		return cmd_usage(cmd, "%s is none of show, freeze, thaw, rollback", argv[0]);
	if (is_show ? n > 2 : n != (is_rollback ? 3 : 2))
		return cmd_usage(cmd, is_rollback ? "name a service and a generation" : "name one service");
	if (n > 1 && (strchr(argv[1], '/') || !*argv[1]))
		return cmd_usage(cmd, "%s is no name of a service", argv[1]);
	conf = cmd_conf(opt);
	if (!conf)
		return CMD_USAGE;
	reg = cmd_registry(conf);
	if (reg)
		rc = is_show	   ? show(reg, n > 1 ? argv[1] : NULL, opt->json) :
		     is_freeze	   ? freeze(reg, argv[1]) :
		     is_thaw	   ? thaw(reg, argv[1]) :
				     rollback(reg, argv[1], argv[2]);
	registry_close(reg);
	conf_free(conf);
	return rc;
}
