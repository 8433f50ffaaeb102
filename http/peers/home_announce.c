/* SPDX-License-Identifier: Apache-2.0 */
/*
 * home_announce.c -- what of an announce is worth keeping (home.h): the swarm and the peer id. Announces are long, for their
 * offers, and come by the thousand: their text is walked once, nothing is built of it. The owner parses what it is told.
 */
#include <stdio.h>
#include <string.h>

#include "http/peers/home.h"

#define ID_MAX 128 /* 20 bytes, each of which may be \\u00XX */

struct span {
	const char *at;
	size_t len; /* with its quotes */
};

static const char *space(const char *at)
{
	return at + strspn(at, " \t\r\n");
}

/* After a string that begins at its quote; NULL: it does not end. */
static const char *string_end(const char *at)
{
	for (at++; *at && *at != '"'; at++)
		if (*at == '\\' && at[1])
			at++;
	return *at ? at + 1 : NULL;
}

/* After the value, of whatever kind, at the same depth; NULL: the text ends before. */
static const char *value_end(const char *at)
{
	int depth = 0;

	while (*at) {
		if (*at == '"') {
			at = string_end(at);
			if (!at)
				return NULL;
			continue;
		}
		if (!depth && (*at == ',' || *at == '}'))
			return at;
		depth += *at == '{' || *at == '[';
		depth -= *at == '}' || *at == ']';
		at++;
	}
	return NULL;
}

static bool is(const struct span *s, const char *word)
{
	return s->len == strlen(word) + 2 && !strncmp(s->at + 1, word, strlen(word));
}

static bool is_id(const struct span *s)
{
	return s->at && *s->at == '"' && s->len <= ID_MAX;
}

/* The strings that are looked for, of the outermost object. False: that is no announce. */
static bool walk(const char *at, struct span *action, struct span *hash, struct span *peer, struct span *event)
{
	at = space(at);
	if (*at++ != '{')
		return false;
	for (;;) {
		struct span key = { .at = space(at) }, value;

		at = *key.at == '"' ? string_end(key.at) : NULL;
		if (!at)
			return false;
		key.len = (size_t)(at - key.at);
		at = space(at);
		if (*at++ != ':')
			return false;
		value.at = space(at);
		at = *value.at == '"' ? string_end(value.at) : value_end(value.at);
		if (!at)
			return false;
		value.len = (size_t)(at - value.at);
		if (is(&key, "answer") || is(&key, "to_peer_id"))
			return false;
		if (is(&key, "action"))
			*action = value;
		else if (is(&key, "info_hash"))
			*hash = value;
		else if (is(&key, "peer_id"))
			*peer = value;
		else if (is(&key, "event"))
			*event = value;
		at = space(at);
		if (*at == '}')
			return true;
		if (*at++ != ',')
			return false;
	}
}

void home_announce_read(struct home_announce *out, const char *text)
{
	struct span action = { 0 }, hash = { 0 }, peer = { 0 }, event = { 0 };
	int n;

	*out = (struct home_announce){ 0 };
	if (!walk(text, &action, &hash, &peer, &event) || !action.at || !is(&action, "announce") || !is_id(&hash) || !is_id(&peer))
		return;
	n = asprintf(&out->brief, "{\"action\":\"announce\",\"info_hash\":%.*s,\"peer_id\":%.*s,\"offers\":[]}", (int)hash.len, hash.at,
		     (int)peer.len, peer.at);
	if (n < 0)
		out->brief = NULL;
	out->stopped = event.at && is(&event, "stopped");
	out->swarm_len = strlen("{\"action\":\"announce\",\"info_hash\":") + hash.len;
}
