/* SPDX-License-Identifier: Apache-2.0 */
/* Tracker messages as bittorrent-tracker's clients write them are read, what they expect is written, the rest refused. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "http/peers/message.h"

#define HASH "aaaaaaaaaaaaaaaaaaaa"
#define PEER "-PM0203-bbbbbbbbbbbb"

static int parse(struct tracker_message *m, const char *text)
{
	char why[128];
	int rc = tracker_message_parse(m, text, strlen(text), why);

	if (rc == -EINVAL)
		assert_true(strlen(why) > 10);
	return rc;
}

static void refused(const char *text)
{
	struct tracker_message m;

	assert_int_equal(parse(&m, text), -EINVAL);
	tracker_message_free(&m);
}

static void an_announce_is_read(void **state)
{
	struct tracker_message m;

	(void)state;
	assert_int_equal(parse(&m, "{\"numwant\":5,\"uploaded\":0,\"downloaded\":0,\"left\":null,\"event\":\"started\",\"action\":"
				   "\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"offers\":[{\"offer\":{\"type\":"
				   "\"offer\",\"sdp\":\"v=0\\r\\n\"},\"offer_id\":\"\\u0000\\u00ff\xc3\xbf\x7f\\\"cccccccccccccccc\"}]}"),
			 -EINVAL); /* 21 characters */
	tracker_message_free(&m);
	assert_int_equal(parse(&m, "{\"numwant\":5,\"uploaded\":0,\"downloaded\":0,\"left\":null,\"event\":\"started\",\"action\":"
				   "\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"offers\":[{\"offer\":{\"type\":"
				   "\"offer\",\"sdp\":\"v=0\\r\\n\",\"more\":1},\"offer_id\":\"\\u0000\\u00ff\xc2\x80\x7f\\\"ccccccccccccccc\"}]}"),
			 0);
	assert_int_equal(m.action, TRACKER_ANNOUNCE);
	assert_int_equal(m.event, TRACKER_STARTED);
	assert_int_equal(m.numwant, 5);
	assert_int_equal(m.noffers, 1);
	assert_memory_equal(m.info_hash, HASH, 20);
	assert_memory_equal(m.peer_id, PEER, 20);
	assert_memory_equal(m.offers[0].id, "\x00\xff\x80\x7f\"ccccccccccccccc", 20);
	/* of the description its type and sdp alone */
	assert_string_equal(m.offers[0].text, "{\"type\":\"offer\",\"sdp\":\"v=0\\r\\n\"}");
	tracker_message_free(&m);
}

static void an_answer_and_a_scrape_are_read(void **state)
{
	struct tracker_message m;

	(void)state;
	assert_int_equal(parse(&m, "{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"to_peer_id\":\"" HASH
				   "\",\"answer\":{\"type\":\"answer\",\"sdp\":\"x\"},\"offer_id\":\"" PEER "\"}"),
			 0);
	assert_int_equal(m.action, TRACKER_ANSWER);
	assert_memory_equal(m.to_peer_id, HASH, 20);
	assert_memory_equal(m.offer_id, PEER, 20);
	assert_string_equal(m.answer, "{\"type\":\"answer\",\"sdp\":\"x\"}");
	tracker_message_free(&m);
	assert_int_equal(parse(&m, "{\"action\":\"scrape\",\"info_hash\":[\"" HASH "\",\"" PEER "\"]}"), 0);
	assert_int_equal(m.action, TRACKER_SCRAPE);
	assert_int_equal(m.nhashes, 2);
	tracker_message_free(&m);
	assert_int_equal(parse(&m, "{\"action\":\"scrape\",\"info_hash\":\"" HASH "\"}"), 0);
	assert_int_equal(m.nhashes, 1);
	tracker_message_free(&m);
	assert_int_equal(parse(&m, "{\"action\":\"scrape\"}"), 0);
	assert_int_equal(m.nhashes, 0);
	tracker_message_free(&m);
}

static void what_is_malformed_is_refused(void **state)
{
	(void)state;
	refused("");
	refused("[]");
	refused("{\"action\":\"announce\"}");
	refused("{\"action\":\"dance\"}");
	refused("{\"action\":\"announce\",\"info_hash\":\"short\",\"peer_id\":\"" PEER "\"}");
	refused("{\"action\":\"announce\",\"info_hash\":\"\xe2\x82\xac" "aaaaaaaaaaaaaaaaaaa\",\"peer_id\":\"" PEER "\"}"); /* U+20AC */
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":7}");
	/* no text for a player: it could not be accused, or its receivers' reports would be refused */
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"\\u00ffaaaaaaaaaaaaaaaaaaa\"}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"aaaaaaaaaaaaaaaaaaa\\u0000\"}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"event\":\"exploded\"}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"offers\":{}}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"offers\":[{\"offer_id\":\"" HASH "\"}]}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER
		"\",\"offers\":[{\"offer_id\":\"" HASH "\",\"offer\":{\"type\":\"answer\",\"sdp\":\"x\"}}]}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER
		"\",\"offers\":[{\"offer_id\":\"" HASH "\",\"offer\":{\"type\":\"offer\",\"sdp\":\"x\\u0000y\"}}]}");
	refused("{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"answer\":{\"type\":\"answer\",\"sdp\":\"x\"}}");
	refused("{\"action\":\"announce\",\"action\":\"scrape\"}");
}

/* An announce with so many offers of such an sdp. */
static char *announce(unsigned int offers, size_t sdp)
{
	char *out = malloc(offers * (sdp + 200) + 300), *p = out;

	assert_non_null(out);
	p += sprintf(p, "{\"action\":\"announce\",\"info_hash\":\"" HASH "\",\"peer_id\":\"" PEER "\",\"offers\":[");
	for (unsigned int i = 0; i < offers; i++) {
		p += sprintf(p, "%s{\"offer_id\":\"ooooooooooooooooooo%c\",\"offer\":{\"type\":\"offer\",\"sdp\":\"", i ? "," : "", 'a' + i);
		memset(p, 's', sdp);
		p += sdp;
		p += sprintf(p, "\"}}");
	}
	sprintf(p, "]}");
	return out;
}

static void sizes_are_limited(void **state)
{
	struct tracker_message m;
	struct {
		unsigned int offers;
		size_t sdp;
		int rc;
	} tries[] = { { 10, 100, 0 }, { 11, 100, -EINVAL }, { 1, 16384, 0 }, { 1, 16385, -EINVAL }, { 3, 16384, 0 }, { 4, 16384, -EINVAL } };

	(void)state;
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		char *text = announce(tries[i].offers, tries[i].sdp);

		assert_int_equal(parse(&m, text), tries[i].rc);
		tracker_message_free(&m);
		free(text);
	}
}

static void what_is_written_is_json_with_the_same_bytes(void **state)
{
	uint8_t id[20], back[20];
	char *text;
	json_t *root;

	(void)state;
	for (int from = 0; from < 256; from += 20) {
		for (int i = 0; i < 20; i++)
			id[i] = (uint8_t)(from + i);
		text = tracker_write_offer(id, id, id, "{\"type\":\"offer\",\"sdp\":\"x\"}");
		root = json_loads(text, JSON_ALLOW_NUL, NULL);
		assert_non_null(root);
		for (const char *const *key = (const char *const[]){ "info_hash", "peer_id", "offer_id", NULL }; *key; key++) {
			json_t *v = json_object_get(root, *key), *own = tracker_id_json(id);

			assert_true(tracker_id_parse(back, json_string_value(v), json_string_length(v)));
			assert_memory_equal(back, id, 20);
			assert_true(json_equal(v, own));
			json_decref(own);
		}
		assert_string_equal(json_string_value(json_object_get(root, "action")), "announce");
		assert_string_equal(json_string_value(json_object_get(json_object_get(root, "offer"), "sdp")), "x");
		json_decref(root);
		free(text);
	}
}

static void every_message_has_an_action(void **state)
{
	const uint8_t hash[1][20] = { HASH };
	unsigned int none = 0, two = 2;
	char *text;

	(void)state;
	text = tracker_write_failure(NULL, "no");
	assert_string_equal(text, "{\"action\":\"announce\",\"failure reason\":\"no\"}");
	free(text);
	text = tracker_write_failure(hash[0], "no");
	assert_string_equal(text, "{\"action\":\"announce\",\"failure reason\":\"no\",\"info_hash\":\"" HASH "\"}");
	free(text);
	text = tracker_write_answer_to_announce(hash[0], 15, 1, 2);
	assert_string_equal(text, "{\"action\":\"announce\",\"interval\":15,\"complete\":1,\"incomplete\":2,\"info_hash\":\"" HASH "\"}");
	free(text);
	text = tracker_write_scrape(hash, &none, &two, 1);
	assert_string_equal(text, "{\"action\":\"scrape\",\"files\":{\"" HASH "\":{\"complete\":0,\"incomplete\":2,\"downloaded\":0}}}");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_announce_is_read),
		cmocka_unit_test(an_answer_and_a_scrape_are_read),
		cmocka_unit_test(what_is_malformed_is_refused),
		cmocka_unit_test(sizes_are_limited),
		cmocka_unit_test(what_is_written_is_json_with_the_same_bytes),
		cmocka_unit_test(every_message_has_an_action),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
