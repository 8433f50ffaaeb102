/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's tracker message: read or refused within its limits, and what is read is written as JSON with the same ids. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

/* Written text is JSON, and this member of it is that id. */
static void written(char *text, const char *key, const uint8_t id[TRACKER_ID_LEN])
{
	uint8_t back[TRACKER_ID_LEN];
	json_t *root, *v;

	require(text != NULL);
	root = json_loads(text, JSON_ALLOW_NUL, NULL);
	require(root && json_object_get(root, "action"));
	v = key ? json_object_get(root, key) : NULL;
	if (key)
		require(tracker_id_parse(back, json_string_value(v), json_string_length(v)) && !memcmp(back, id, sizeof(back)));
	json_decref(root);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int counts[TRACKER_HASHES_MAX] = { 0 };
	struct tracker_message m;
	char why[128];
	int rc = tracker_message_parse(&m, (const char *)data, size, why);

	if (rc) {
		require(strlen(why) < sizeof(why));
		written(tracker_write_failure(NULL, why), NULL, NULL);
	} else if (m.action == TRACKER_ANSWER) {
		require(m.answer && strlen(m.answer) < 7 * TRACKER_SDP_MAX);
		written(tracker_write_answer(m.info_hash, m.peer_id, m.offer_id, m.answer), "offer_id", m.offer_id);
	} else if (m.action == TRACKER_SCRAPE) {
		require(m.nhashes <= TRACKER_HASHES_MAX);
		written(tracker_write_scrape((const uint8_t (*)[20])m.hashes, counts, counts, m.nhashes), NULL, NULL);
	} else {
		require(m.noffers <= TRACKER_OFFERS_MAX && m.numwant <= TRACKER_OFFERS_MAX);
		for (unsigned int i = 0; i < m.noffers; i++)
			written(tracker_write_offer(m.info_hash, m.peer_id, m.offers[i].id, m.offers[i].text), "peer_id", m.peer_id);
		written(tracker_write_answer_to_announce(m.info_hash, 10, 0, 1), "info_hash", m.info_hash);
	}
	tracker_message_free(&m);
	return 0;
}
