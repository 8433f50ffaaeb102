/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.c -- messages of WebTorrent trackers (message.h), as bittorrent-tracker's clients write and expect them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/message.h"

static int fault(char why[128], const char *what)
{
	snprintf(why, 128, "%s", what);
	return -EINVAL;
}

bool tracker_id_parse(uint8_t out[TRACKER_ID_LEN], const char *utf8, size_t len)
{
	const uint8_t *p = (const uint8_t *)utf8, *end = p + len;
	uint8_t id[TRACKER_ID_LEN];
	size_t n = 0;

	while (p < end && n < TRACKER_ID_LEN) {
		if (*p < 0x80) {
			id[n++] = *p++;
		} else if ((*p == 0xc2 || *p == 0xc3) && p + 1 < end) { /* U+0080…U+00FF */
			id[n++] = (uint8_t)(*p << 6 | (p[1] & 0x3f));
			p += 2;
		} else {
			return false;
		}
	}
	if (n != TRACKER_ID_LEN || p != end)
		return false;
	memcpy(out, id, sizeof(id));
	return true;
}

static bool id_of(uint8_t out[TRACKER_ID_LEN], const json_t *value)
{
	return json_is_string(value) && tracker_id_parse(out, json_string_value(value), json_string_length(value));
}

/* Receivers' players report a peer_id as text: of one that is no plain text nobody could say what it sent, and with a NUL
 * in it their whole reports were refused. */
static bool peer_id_of(uint8_t out[TRACKER_ID_LEN], const json_t *value)
{
	uint8_t id[TRACKER_ID_LEN];

	if (!id_of(id, value))
		return false;
	for (size_t i = 0; i < TRACKER_ID_LEN; i++)
		if (id[i] < 0x20 || id[i] > 0x7e)
			return false;
	memcpy(out, id, sizeof(id));
	return true;
}

json_t *tracker_id_json(const uint8_t id[TRACKER_ID_LEN])
{
	char text[2 * TRACKER_ID_LEN];
	size_t n = 0;

	for (size_t i = 0; i < TRACKER_ID_LEN; i++) {
		if (id[i] < 0x80) {
			text[n++] = (char)id[i];
		} else {
			text[n++] = (char)(0xc0 | id[i] >> 6);
			text[n++] = (char)(0x80 | (id[i] & 0x3f));
		}
	}
	return json_stringn(text, n);
}

/* The type and the sdp of an offer or answer, as text of its own. */
static int description_of(char **out, const json_t *value, const char *type, char why[128])
{
	const json_t *sdp = json_object_get(value, "sdp");
	const char *said = json_string_value(json_object_get(value, "type"));
	json_t *alone;

	if (!json_is_object(value) || !said || strcmp(said, type) || !json_is_string(sdp))
		return fault(why, "an offer or answer is an object of type and sdp");
	if (json_string_length(sdp) > TRACKER_SDP_MAX)
		return fault(why, "an sdp is at most 16384 bytes");
	if (strlen(json_string_value(sdp)) != json_string_length(sdp))
		return fault(why, "an sdp is text without NUL");
	alone = json_pack("{s:s, s:O}", "type", type, "sdp", sdp);
	*out = alone ? json_dumps(alone, JSON_COMPACT) : NULL;
	json_decref(alone);
	return *out ? 0 : -ENOMEM;
}

static int offers_of(struct tracker_message *m, const json_t *list, char why[128])
{
	size_t i;
	json_t *o;
	int rc;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TRACKER_OFFERS_MAX)
		return fault(why, "offers is an array of at most 10");
	json_array_foreach (list, i, o) {
		struct tracker_offer *to = &m->offers[m->noffers];

		if (!id_of(to->id, json_object_get(o, "offer_id")))
			return fault(why, "an offer_id is a string of 20 characters up to U+00FF");
		rc = description_of(&to->text, json_object_get(o, "offer"), "offer", why);
		if (rc)
			return rc;
		m->noffers++;
	}
	return 0;
}

static int event_of(struct tracker_message *m, const json_t *value, char why[128])
{
	static const char *const names[] = { "update", "started", "stopped", "completed", "paused", "" };
	static const uint8_t events[] = { TRACKER_PERIODIC, TRACKER_STARTED, TRACKER_STOPPED, TRACKER_COMPLETED,
					  TRACKER_PERIODIC, TRACKER_PERIODIC };
	const char *said = json_string_value(value);

	m->event = TRACKER_PERIODIC;
	if (!value || json_is_null(value))
		return 0;
	for (size_t i = 0; said && i < sizeof(events); i++) {
		if (!strcmp(said, names[i])) {
			m->event = events[i];
			return 0;
		}
	}
	return fault(why, "event is started, stopped, completed, update or paused");
}

static int announce_of(struct tracker_message *m, const json_t *root, char why[128])
{
	const json_t *answer = json_object_get(root, "answer"), *want = json_object_get(root, "numwant");
	int rc;

	if (!id_of(m->info_hash, json_object_get(root, "info_hash")))
		return fault(why, "info_hash is a string of 20 characters up to U+00FF");
	if (!peer_id_of(m->peer_id, json_object_get(root, "peer_id")))
		return fault(why, "peer_id is a string of 20 characters of ASCII, none of them a control character");
	if (answer && !json_is_null(answer)) {
		m->action = TRACKER_ANSWER;
		if (!id_of(m->to_peer_id, json_object_get(root, "to_peer_id")))
			return fault(why, "to_peer_id, required with an answer, is a string of 20 characters up to U+00FF");
		if (!id_of(m->offer_id, json_object_get(root, "offer_id")))
			return fault(why, "offer_id, required with an answer, is a string of 20 characters up to U+00FF");
		return description_of(&m->answer, answer, "answer", why);
	}
	rc = event_of(m, json_object_get(root, "event"), why);
	if (!rc)
		rc = offers_of(m, json_object_get(root, "offers"), why);
	if (json_is_integer(want) && json_integer_value(want) > 0)
		m->numwant = json_integer_value(want) < TRACKER_OFFERS_MAX ? (unsigned int)json_integer_value(want) : TRACKER_OFFERS_MAX;
	return rc;
}

static int scrape_of(struct tracker_message *m, const json_t *hashes, char why[128])
{
	size_t i;
	json_t *h;

	m->action = TRACKER_SCRAPE;
	if (!hashes || json_is_null(hashes))
		return 0;
	if (json_is_string(hashes)) {
		m->nhashes = 1;
		return id_of(m->hashes[0], hashes) ? 0 : fault(why, "info_hash is a string of 20 characters up to U+00FF");
	}
	if (!json_is_array(hashes) || json_array_size(hashes) > TRACKER_HASHES_MAX)
		return fault(why, "a scrape is of at most 10 info_hash");
	json_array_foreach (hashes, i, h) {
		if (!id_of(m->hashes[m->nhashes], h))
			return fault(why, "info_hash is a string of 20 characters up to U+00FF");
		m->nhashes++;
	}
	return 0;
}

int tracker_message_parse(struct tracker_message *out, const char *text, size_t len, char why[128])
{
	json_error_t err;
	const char *action;
	json_t *root;
	int rc;

	memset(out, 0, sizeof(*out));
	why[0] = '\0';
	if (len > TRACKER_TEXT_MAX)
		return fault(why, "a message is at most 65536 bytes");
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &err);
	if (!json_is_object(root)) {
		json_decref(root);
		return fault(why, "a message is a JSON object");
	}
	action = json_string_value(json_object_get(root, "action"));
	if (action && !strcmp(action, "announce"))
		rc = announce_of(out, root, why);
	else if (action && !strcmp(action, "scrape"))
		rc = scrape_of(out, json_object_get(root, "info_hash"), why);
	else
		rc = fault(why, "action is announce or scrape");
	json_decref(root);
	return rc;
}

void tracker_message_free(struct tracker_message *m)
{
	for (unsigned int i = 0; i < TRACKER_OFFERS_MAX; i++)
		free(m->offers[i].text);
	free(m->answer);
	memset(m, 0, sizeof(*m));
}

const char *tracker_id_text(char out[TRACKER_ID_TEXT_MAX], const uint8_t id[TRACKER_ID_LEN])
{
	static const char hex[] = "0123456789abcdef";
	char *p = out;

	for (size_t i = 0; i < TRACKER_ID_LEN; i++) {
		if (id[i] < 0x20 || id[i] == '"' || id[i] == '\\' || id[i] == 0x7f) {
			memcpy(p, "\\u00", 4);
			p[4] = hex[id[i] >> 4];
			p[5] = hex[id[i] & 15];
			p += 6;
		} else if (id[i] < 0x80) {
			*p++ = (char)id[i];
		} else {
			*p++ = (char)(0xc0 | id[i] >> 6);
			*p++ = (char)(0x80 | (id[i] & 0x3f));
		}
	}
	*p = '\0';
	return out;
}

char *tracker_write_answer_to_announce(const uint8_t info_hash[20], unsigned int interval_s, unsigned int complete,
				       unsigned int incomplete)
{
	char hash[TRACKER_ID_TEXT_MAX], *out;

	if (asprintf(&out, "{\"action\":\"announce\",\"interval\":%u,\"complete\":%u,\"incomplete\":%u,\"info_hash\":\"%s\"}",
		     interval_s, complete, incomplete, tracker_id_text(hash, info_hash)) < 0)
		return NULL;
	return out;
}

static char *write_description(const char *what, const uint8_t info_hash[20], const uint8_t from_peer[20],
			       const uint8_t offer_id[20], const char *text)
{
	char hash[TRACKER_ID_TEXT_MAX], peer[TRACKER_ID_TEXT_MAX], id[TRACKER_ID_TEXT_MAX], *out;

	if (asprintf(&out, "{\"action\":\"announce\",\"%s\":%s,\"offer_id\":\"%s\",\"peer_id\":\"%s\",\"info_hash\":\"%s\"}", what,
		     text, tracker_id_text(id, offer_id), tracker_id_text(peer, from_peer), tracker_id_text(hash, info_hash)) < 0)
		return NULL;
	return out;
}

char *tracker_write_offer(const uint8_t info_hash[20], const uint8_t from_peer[20], const uint8_t offer_id[20],
			  const char *offer)
{
	return write_description("offer", info_hash, from_peer, offer_id, offer);
}

char *tracker_write_answer(const uint8_t info_hash[20], const uint8_t from_peer[20], const uint8_t offer_id[20],
			   const char *answer)
{
	return write_description("answer", info_hash, from_peer, offer_id, answer);
}

char *tracker_write_failure(const uint8_t *info_hash, const char *reason)
{
	json_t *root = json_pack("{s:s, s:s}", "action", "announce", "failure reason", reason);
	char *out;

	if (root && info_hash)
		json_object_set_new(root, "info_hash", tracker_id_json(info_hash));
	out = root ? json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	return out;
}

char *tracker_write_scrape(const uint8_t (*info_hashes)[20], const unsigned int *complete, const unsigned int *incomplete,
			   size_t n)
{
	char hash[TRACKER_ID_TEXT_MAX], *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	if (!f)
		return NULL;
	fputs("{\"action\":\"scrape\",\"files\":{", f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s\"%s\":{\"complete\":%u,\"incomplete\":%u,\"downloaded\":0}", i ? "," : "",
			tracker_id_text(hash, info_hashes[i]), complete[i], incomplete[i]);
	fputs("}}", f);
	if (fclose(f)) {
		free(out);
		return NULL;
	}
	return out;
}
