/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c -- POST /_/peers/report: what a player says of itself. Here its shape is checked, and that it does not come too
 * often; what it is worth is the owner's to judge.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/peers_int.h"

#define NUMBER_MAX 9007199254740992.0 /* 2^53: what JavaScript counts exactly */

enum shape { NUMBER, FLAG, RANGES, IDS, BYTES_BY_ID };
static const struct field {
	const char *name;
	enum shape shape;
} fields[] = {
	{ "r", NUMBER },	   { "n", NUMBER },	   { "pos", NUMBER },	     { "buffer", NUMBER }, { "have", RANGES },
	{ "down_server", NUMBER }, { "down_peers", NUMBER }, { "up", NUMBER },	     { "stalls", NUMBER }, { "stall_ms", NUMBER },
	{ "failed", NUMBER },	   { "slow", NUMBER },	   { "rtt", NUMBER },	     { "peers", IDS },	   { "bad", IDS },
	{ "from", BYTES_BY_ID },   { "resync", FLAG },	   { "consent", FLAG },
	{ "epoch", NUMBER },
};

static bool number_fine(const json_t *v)
{
	double x = json_number_value(v);

	return json_is_number(v) && isfinite(x) && x >= 0 && x <= NUMBER_MAX;
}

static bool ranges_fine(const json_t *list)
{
	const json_t *range;
	size_t i, k;

	if (!json_is_array(list) || json_array_size(list) > REPORT_RANGES)
		return false;
	json_array_foreach (list, i, range) {
		if (json_array_size(range) != 3)
			return false;
		for (k = 0; k < 3; k++) {
			const json_t *v = json_array_get(range, k);

			if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
				return false;
		}
		if (json_integer_value(json_array_get(range, 1)) > json_integer_value(json_array_get(range, 2)))
			return false;
	}
	return true;
}

static bool id_fine(const char *id)
{
	return id && *id && strlen(id) <= 64;
}

static bool value_fine(enum shape shape, json_t *v)
{
	const json_t *one;
	const char *key;
	size_t i;

	switch (shape) {
	case NUMBER:
		return number_fine(v);
	case FLAG:
		return json_is_boolean(v);
	case RANGES:
		return ranges_fine(v);
	case IDS:
		json_array_foreach (v, i, one)
			if (!id_fine(json_string_value(one)))
				return false;
		return json_is_array(v) && json_array_size(v) <= REPORT_PEERS;
	case BYTES_BY_ID:
		json_object_foreach (v, key, one)
			if (!id_fine(key) || !number_fine(one))
				return false;
		return json_is_object(v) && json_object_size(v) <= REPORT_PEERS;
	}
	return false;
}

/* The first member that is not as it should be; NULL: all are. What nobody knows is passed over. */
static const char *fault(const json_t *o)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		json_t *v = json_object_get(o, fields[i].name);

		if (v && !json_is_null(v) && !value_fine(fields[i].shape, v))
			return fields[i].name;
	}
	return NULL;
}

/* Only what is known goes on. */
static char *known_text(const json_t *o)
{
	json_t *out = json_object();
	char *text;

	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		json_t *v = json_object_get(o, fields[i].name);

		if (v && !json_is_null(v))
			json_object_set(out, fields[i].name, v);
	}
	text = out ? json_dumps(out, JSON_COMPACT) : NULL;
	json_decref(out);
	return text;
}

static enum http_next take(struct http_req *req, struct peers *p, const struct viewer_token *t, const json_t *o)
{
	const json_t *consent = json_object_get(o, "consent");
	char client[ADDR_PORT_STRLEN], *facts = peers_facts(req, p, t, client), *text = known_text(o);
	struct home_guest g = { .token = t, .client = client, .facts = facts, .now_ms = peers_now_ms() };
	int rc = -ENOSPC;

	if (facts && text)
		rc = home_report(p->home, &g, PEERS_REPORT_MS / 2, json_is_boolean(consent) ? json_is_true(consent) : -1, text);
	free(facts);
	free(text);
	if (rc == -EBUSY) {
		p->reports[REPORT_EARLY]++;
		http_add_header(req, "Retry-After", "1");
		return http_reply_error(req, 429, "early", "a report every %d ms is enough", PEERS_REPORT_MS);
	}
	p->reports[rc ? REPORT_REFUSED : REPORT_TAKEN]++;
	return rc ? peers_no_room(req, rc) : http_reply(req, 204, NULL, NULL, 0);
}

enum http_next peers_report(struct http_req *req, void *arg)
{
	struct peers *p = arg;
	struct viewer_token t;
	enum http_next next;
	const char *body, *wrong;
	size_t len;
	json_t *o;

	if (!peers_token(req, p, &t))
		return HTTP_ANSWERED;
	body = http_body(req, &len);
	o = json_loadb(body ? body : "", len, JSON_REJECT_DUPLICATES, NULL);
	wrong = json_is_object(o) ? fault(o) : "the body";
	if (wrong) {
		p->reports[REPORT_REFUSED]++;
		next = http_reply_error(req, 400, "report", "%s is not what a report has there", wrong);
	} else {
		next = take(req, p, &t, o);
	}
	json_decref(o);
	return next;
}
