// SPDX-License-Identifier: Apache-2.0
/* exchange_history.c -- rates and their history into the registry, in one transaction (see exchange.c, history.h). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "user/agent/agent.h"
#include "user/agent/history.h"

struct past {
	struct past *next;
	char service[CONF_NAME_MAX];
	struct history history;
};

static void key_of(const char *service, uint64_t generation, char *key, size_t len)
{
	snprintf(key, len, REG_HISTORY "%s/%012llu", service, (unsigned long long)generation);
}

static void past_read(struct registry *reg, struct past *past)
{
	struct reg_kv *kvs = NULL;
	char prefix[192];
	size_t n = 0;

	snprintf(prefix, sizeof(prefix), REG_HISTORY "%s/", past->service);
	if (registry_list(reg, prefix, &kvs, &n, NULL))
		return;
	for (size_t i = 0; i < n; i++) {
		json_t *value = json_loads(kvs[i].value, 0, NULL);
		uint64_t drop;

		/* Too many, of a publisher that died in between: the registry's are trimmed. */
		if (history_add(&past->history, strtoull(kvs[i].key + strlen(prefix), NULL, 10),
				json_integer_value(json_object_get(value, "at")), &drop)) {
			char key[192];

			key_of(past->service, drop, key, sizeof(key));
			registry_delete(reg, key);
		}
		json_decref(value);
	}
	reg_kv_list_free(kvs, n);
}

static struct past *past_of(struct past **list, struct registry *reg, const char *service)
{
	struct past *past = *list;

	while (past && strcmp(past->service, service) != 0)
		past = past->next;
	if (past)
		return past;
	past = calloc(1, sizeof(*past));
	if (!past)
		return NULL;
	snprintf(past->service, sizeof(past->service), "%s", service);
	past->next = *list;
	*list = past;
	past_read(reg, past);
	return past;
}

void past_forget(struct past **list, const char *service)
{
	while (*list) {
		struct past *past = *list;

		if (service && strcmp(past->service, service) != 0) {
			list = &past->next;
			continue;
		}
		*list = past->next;
		free(past);
	}
}

int past_put(struct past **list, struct registry *reg, const struct reg_cond *cond, const char *service,
	     const char *node, const char *rates)
{
	char rates_key[192], key[192], drop_key[192];
	struct reg_change changes[3] = { { rates_key, rates, 0 } };
	struct past *past = past_of(list, reg, service);
	json_t *value = json_pack("{so sI ss}", "rates", json_loads(rates, 0, NULL), "at",
				  (json_int_t)time(NULL), "by", node);
	json_int_t generation = json_integer_value(json_object_get(json_object_get(value, "rates"), "generation"));
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	size_t n = 1;
	uint64_t drop;
	int err;

	snprintf(rates_key, sizeof(rates_key), REG_RATES "%s", service);
	if (past && text) {
		key_of(service, (uint64_t)generation, key, sizeof(key));
		changes[n++] = (struct reg_change){ key, text, 0 };
		if (history_add(&past->history, (uint64_t)generation, time(NULL), &drop)) {
			key_of(service, drop, drop_key, sizeof(drop_key));
			changes[n++] = (struct reg_change){ drop_key, NULL, 0 };
		}
	}
	err = registry_txn(reg, cond, 1, changes, n, NULL);
	if (err)
		past_forget(list, service);     /* what was kept is read again */
	free(text);
	json_decref(value);
	return err;
}
