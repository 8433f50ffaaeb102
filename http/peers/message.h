/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h -- messages of WebTorrent trackers (JSON over WebSocket, BEP 3's names), parsed and written: pure.
 *
 * info_hash, peer_id and offer_id are 20 bytes each, written in JSON as 20 characters U+0000…U+00FF ("binary strings");
 * here they are bytes; a peer_id is printable ASCII, as all players make them, because players report it as text. An SDP is opaque text; of an offer or answer its `type` and `sdp` alone are taken, so that nothing
 * else that a stranger writes reaches another viewer.
 */
#ifndef WEIR_MESSAGE_H
#define WEIR_MESSAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACKER_TEXT_MAX   65536 /* bytes of one message */
#define TRACKER_ID_LEN	   20
#define TRACKER_OFFERS_MAX 10
#define TRACKER_HASHES_MAX 10	 /* of one scrape */
#define TRACKER_SDP_MAX	   16384 /* bytes of one offer or answer */

struct tracker_offer {
	uint8_t id[TRACKER_ID_LEN];
	char *text; /* {"type":…,"sdp":…} as JSON; the message's, unless it was taken (set to NULL) */
};
struct tracker_message {
	enum { TRACKER_ANNOUNCE, TRACKER_ANSWER, TRACKER_SCRAPE } action;
	enum { TRACKER_PERIODIC, TRACKER_STARTED, TRACKER_STOPPED, TRACKER_COMPLETED } event;
	uint8_t info_hash[TRACKER_ID_LEN], peer_id[TRACKER_ID_LEN];
	unsigned int numwant;
	struct tracker_offer offers[TRACKER_OFFERS_MAX];
	unsigned int noffers;
	uint8_t to_peer_id[TRACKER_ID_LEN], offer_id[TRACKER_ID_LEN]; /* of an answer */
	char *answer;						      /* as an offer's text */
	uint8_t hashes[TRACKER_HASHES_MAX][TRACKER_ID_LEN];	      /* of a scrape; none: all that one is in */
	unsigned int nhashes;
};
/* 0, or -EINVAL and a sentence, or -ENOMEM. tracker_message_free() also after a failure. */
int tracker_message_parse(struct tracker_message *out, const char *text, size_t len, char why[128]);
void tracker_message_free(struct tracker_message *m);
/* A binary string's 20 bytes; false when it is not one. */
bool tracker_id_parse(uint8_t out[TRACKER_ID_LEN], const char *utf8, size_t len);
json_t *tracker_id_json(const uint8_t id[TRACKER_ID_LEN]);
#define TRACKER_ID_TEXT_MAX (TRACKER_ID_LEN * 6 + 1) /* each byte at most as \u00XX */
/* The id as the inside of a JSON string; returns out. */
const char *tracker_id_text(char out[TRACKER_ID_TEXT_MAX], const uint8_t id[TRACKER_ID_LEN]);

/* All malloc'ed text, NULL without memory. offer and answer are texts as a parsed message bears them. */
char *tracker_write_answer_to_announce(const uint8_t info_hash[20], unsigned int interval_s, unsigned int complete,
				       unsigned int incomplete);
char *tracker_write_offer(const uint8_t info_hash[20], const uint8_t from_peer[20], const uint8_t offer_id[20],
			  const char *offer);
char *tracker_write_answer(const uint8_t info_hash[20], const uint8_t from_peer[20], const uint8_t offer_id[20],
			   const char *answer);
/* Always with an action: a client takes a message without one for a broken tracker, and is away for minutes. */
char *tracker_write_failure(const uint8_t *info_hash /* or NULL */, const char *reason);
char *tracker_write_scrape(const uint8_t (*info_hashes)[20], const unsigned int *complete, const unsigned int *incomplete,
			   size_t n);

#endif
