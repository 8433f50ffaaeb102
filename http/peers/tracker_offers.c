/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracker_offers.c -- offers that nobody could use yet (record.h): kept for one who comes later or a regrouping, the
 * newest few of each viewer, never longer than clients remember them, all together within options.offers_bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "http/peers/record.h"

void offers_free(struct coordinator *c, struct kept_offer *o)
{
	struct present *p = o->of;
	unsigned int i = 0;

	while (i < p->nkept && p->kept[i] != o)
		i++;
	if (i < p->nkept) {
		memmove(&p->kept[i], &p->kept[i + 1], (p->nkept - i - 1) * sizeof(p->kept[0]));
		p->nkept--;
	}
	TAILQ_REMOVE(&c->kept, o, all);
	c->kept_bytes -= o->bytes;
	free(o->text);
	free(o);
}

void offers_keep(struct coordinator *c, struct present *p, struct tracker_offer *offer, int home, int64_t now)
{
	struct kept_offer *o;

	for (unsigned int i = 0; i < p->nkept; i++)
		if (!memcmp(p->kept[i]->id, offer->id, sizeof(offer->id)))
			return; /* said twice */
	o = calloc(1, sizeof(*o));
	if (!o)
		return;
	if (p->nkept == RECORD_KEPT)
		offers_free(c, p->kept[0]);
	o->of = p;
	o->at_ms = now;
	o->home = (uint8_t)home;
	memcpy(o->id, offer->id, sizeof(o->id));
	o->text = offer->text;
	offer->text = NULL;
	o->bytes = (uint32_t)(sizeof(*o) + strlen(o->text) + 1);
	p->kept[p->nkept++] = o;
	TAILQ_INSERT_TAIL(&c->kept, o, all);
	c->kept_bytes += o->bytes;
	while (c->kept_bytes > c->opt.offers_bytes)
		offers_free(c, TAILQ_FIRST(&c->kept));
}

void offers_expire(struct coordinator *c, int64_t now)
{
	struct kept_offer *o;

	while ((o = TAILQ_FIRST(&c->kept)) && now - o->at_ms > OFFER_KEPT_MS)
		offers_free(c, o);
}

void offers_clear(struct coordinator *c, struct present *p)
{
	while (p->nkept)
		offers_free(c, p->kept[p->nkept - 1]);
}
