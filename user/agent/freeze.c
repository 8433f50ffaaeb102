// SPDX-License-Identifier: Apache-2.0
/*
 * freeze.c -- weights held by an operator (`weir weights freeze`, `rollback`): the registry's key
 * weights/SERVICE brings the rates to hold, and whoever publishes keeps to their shares.
 *
 * What dies or drains still leaves at once, and gets its held share back when it returns. A rollback is put
 * in force as a whole by the publisher: the ring is then exactly the one of that generation.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/log.h"
#include "user/agent/agent.h"

#define ROLLBACK_FRESH_S 60     /* an older command was carried out by somebody, or is by small steps */

struct held {
	struct rates *rates;
	double *share;          /* [rates->n] of the slots */
	double mean;            /* for a backend that they do not name */
	char by[64];
	int64_t since;
	bool rollback;
};

static void held_free(struct held *held)
{
	if (!held)
		return;
	rates_free(held->rates);
	free(held->share);
	free(held);
}

void service_free_held(struct service *service)
{
	held_free(service->held);
	service->held = NULL;
}

/* Shares are slots of the ring, not rates: those are calibrated. */
static int count_shares(struct held *held)
{
	uint32_t *owner;
	int err = rates_ring(held->rates, NULL, &owner);

	if (err)
		return err;
	held->share = calloc(held->rates->n ? held->rates->n : 1, sizeof(*held->share));
	for (uint32_t i = 0; held->share && i < held->rates->slots; i++)
		if (owner[i] != RING_NONE)
			held->share[owner[i]] += 1.0 / held->rates->slots;
	free(owner);
	held->mean = held->rates->n ? 1.0 / (double)held->rates->n : 1;
	return held->share ? 0 : -ENOMEM;
}

static int held_read(struct held **out, const char *json)
{
	json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, NULL), *rates = NULL;
	struct held *held = calloc(1, sizeof(*held));
	json_int_t since = 0;
	const char *by = "?";
	char *text = NULL;
	int err = held ? -EINVAL : -ENOMEM, rollback = 0;

	if (held && !json_unpack(root, "{so s?s s?I s?b}", "rates", &rates, "by", &by, "since", &since,
				 "rollback", &rollback))
		text = json_dumps(rates, JSON_COMPACT | JSON_ENCODE_ANY);
	if (text)
		err = rates_from_json(&held->rates, text);
	if (err == 0)
		err = count_shares(held);
	if (err == 0) {
		snprintf(held->by, sizeof(held->by), "%.63s", by);
		held->since = since;
		held->rollback = rollback;
		*out = held;
	} else {
		held_free(held);
	}
	free(text);
	json_decref(root);
	return err;
}

static bool same_entries(const struct rates *a, const struct rates *b)
{
	if (a->n != b->n || a->slots != b->slots || a->seed != b->seed)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->entries[i].name, b->entries[i].name) || a->entries[i].rate != b->entries[i].rate)
			return false;
	return true;
}

/* The old rates as a new generation. */
static void roll_back(struct service *service)
{
	const struct held *held = service->held;
	struct rates *copy;
	int rc;

	if (!service->publisher || !service->rates || !held->rollback ||
	    held->since < time(NULL) - ROLLBACK_FRESH_S || same_entries(held->rates, service->rates))
		return;
	if (held->rates->slots != service->rates->slots || held->rates->seed != service->rates->seed) {
		log_warn("service %s: a rollback to rates of another number of slots was left out",
			 service->name);
		return;
	}
	if (rates_copy(&copy, held->rates) < 0)
		return;
	copy->generation = service->rates->generation + 1;
	rc = publish_adopt(service->publish, copy);
	if (rc == 0)
		rc = service_apply(service, copy);
	if (rc == 0)
		exchange_put_rates(service->agent->exchange, copy, service->name);
	if (rc)
		log_error("service %s: the weights of an earlier generation cannot be put in force: %s", service->name,
			  strerror(-rc));
	else
		log_info("service %s: the weights of an earlier generation are in force again (generation %llu)",
			 service->name, (unsigned long long)copy->generation);
	rates_free(copy);
}

void service_hold(struct service *service, const char *json)
{
	struct held *held = NULL;
	int err = json ? held_read(&held, json) : 0;

	if (err) {
		log_warn("service %s: weights/%s in the registry is not readable and was left out: %.100s",
			 service->name, service->name, json);
		return;
	}
	if (!held && !service->held)
		return;
	held_free(service->held);
	service->held = held;
	if (!held) {
		log_info("service %s: weights follow what is learned again", service->name);
		return;
	}
	log_info("service %s: weights are frozen by %s", service->name, held->by);
	roll_back(service);
}

bool service_held_share(const struct service *service, const char *name, double *share)
{
	const struct held *held = service->held;

	if (!held)
		return false;
	*share = held->mean;
	for (size_t i = 0; i < held->rates->n; i++)
		if (strcmp(held->rates->entries[i].name, name) == 0)
			*share = held->share[i];
	return true;
}

json_t *service_held_json(const struct service *service)
{
	const struct held *held = service->held;

	return held ? json_pack("{ss sI sI}", "by", held->by, "since", (json_int_t)held->since, "generation",
				(json_int_t)held->rates->generation) :
		      json_null();
}
