/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home_facts.c -- the table of this gateway's viewers: what an owner is told of one beside what it says itself. Its consent,
 * by its last word wherever it was said; that it is excluded; that it helps nobody, for it comes from where others did harm.
 *
 * A session costs nothing, so one who is excluded comes again as another. Its address is all that is known of it: after
 * HOME_EXCLUDED of one address, its new viewers receive but do not give for a while. That costs the others of a large NAT
 * nothing that they play.
 */
#include <jansson.h>
#include <stdlib.h>

#include "http/peers/home_int.h"

char *viewer_facts(const struct viewer *v)
{
	json_t *facts = json_loads(v->facts, 0, NULL);
	char *text;

	if (v->epoch) /* who instructs it from now on must be later */
		json_object_set_new(facts, "epoch", json_integer(v->epoch));
	if (v->said)
		json_object_set_new(facts, "said", json_true());
	if (v->barred_until)
		json_object_set_new(facts, "barred", json_true());
	if (v->excluded)
		json_object_set_new(facts, "excluded", json_true());
	text = facts ? json_dumps(facts, JSON_COMPACT) : NULL;
	json_decref(facts);
	return text;
}

void viewer_consents(struct viewer *v, bool consent)
{
	json_t *facts = json_loads(v->facts, 0, NULL);
	char *text = NULL;

	v->said = true;
	if (facts && json_is_true(json_object_get(facts, "consent")) != consent) {
		json_object_set_new(facts, "consent", json_boolean(consent));
		text = json_dumps(facts, JSON_COMPACT);
	}
	if (text) {
		free(v->facts);
		v->facts = text;
	}
	json_decref(facts);
}

void home_consent(struct home *h, const char *viewer, bool consent)
{
	struct viewer *v;

	lock(h);
	v = *viewer_at(h, viewer);
	if (v) {
		viewer_consents(v, consent);
		free(v->report); /* it may say otherwise, and is older */
		v->report = NULL;
	}
	unlock(h);
}

/* ---- addresses of those who are excluded ---- */

static struct culprit *culprit_find(struct home *h, uint64_t address)
{
	for (unsigned int i = 0; i < h->nculprits; i++)
		if (h->culprits[i].address == address)
			return &h->culprits[i];
	return NULL;
}

static struct culprit *culprit_new(struct home *h)
{
	struct culprit *eldest = &h->culprits[0];

	if (h->nculprits < CULPRITS)
		return &h->culprits[h->nculprits++];
	for (unsigned int i = 1; i < CULPRITS; i++)
		if (h->culprits[i].last_ms < eldest->last_ms)
			eldest = &h->culprits[i];
	return eldest;
}

void culprit_add(struct home *h, uint64_t address, int64_t now_ms)
{
	struct culprit *c = culprit_find(h, address);

	if (!c || now_ms - c->last_ms >= HOME_BARRED_MS) {
		c = c ? c : culprit_new(h);
		*c = (struct culprit){ .address = address };
	}
	c->excluded++;
	c->last_ms = now_ms;
}

int64_t culprit_until(struct home *h, uint64_t address, int64_t now_ms)
{
	const struct culprit *c = culprit_find(h, address);

	return c && c->excluded >= HOME_EXCLUDED && now_ms - c->last_ms < HOME_BARRED_MS ? c->last_ms + HOME_BARRED_MS : 0;
}
