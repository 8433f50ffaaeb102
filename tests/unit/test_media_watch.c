/* SPDX-License-Identifier: Apache-2.0 */
/* weir media watch: instructions by their MAC, wrong bytes, and which segment is fetched next, from whom. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "tests/unit/unit.h"
#include "tools/media_watch.h"

#define N 20 /* segments of 2 s */

static const char *const ann = "-WR0001-annaaaaaaaaa", *const bob = "-WR0001-bobbbbbbbbbb";

static struct viewer *viewer_make(void)
{
	struct viewer *v = calloc(1, sizeof(*v));

	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	v->renditions = calloc(1, sizeof(*v->renditions));
	v->nrenditions = 1;
	v->renditions[0].nsegments = N;
	v->renditions[0].segments = calloc(N, sizeof(struct viewer_segment));
	for (uint32_t i = 0; i < N; i++) {
		struct viewer_segment *s = &v->renditions[0].segments[i];

		*s = (struct viewer_segment){ .n = 100 + i, .duration_ms = 2000, .start_ms = 2000 * (int64_t)i, .bytes = 4 };
		sha256_once("good", 4, s->sha256);
	}
	v->duration_ms = 2000 * N;
	v->opt.buffer_ms = 30000;
	return v;
}

static void viewer_drop(struct viewer *v)
{
	for (uint32_t i = 0; i < N; i++)
		viewer_bytes_put(v->renditions[0].segments[i].have);
	for (size_t i = 0; i < v->npeers; i++)
		free(v->peers[i].have);
	free(v->renditions[0].segments);
	free(v->renditions);
	pthread_mutex_destroy(&v->lock);
	pthread_cond_destroy(&v->changed);
	free(v);
}

static struct viewer_peer *peer_make(struct viewer *v, const char *id)
{
	struct viewer_peer *p = &v->peers[v->npeers++];

	snprintf(p->id, sizeof(p->id), "%s", id);
	snprintf(p->address, sizeof(p->address), "198.18.1.1:1000");
	p->have = calloc(N, 1);
	return p;
}

static int give(struct viewer *v, uint32_t i, const char *bytes)
{
	struct viewer_bytes *b = viewer_bytes_new(strlen(bytes));
	int rc;

	memcpy(b->data, bytes, b->len);
	rc = viewer_store(v, &v->renditions[0].segments[i], b);
	viewer_bytes_put(b);
	return rc;
}

static void tell(struct viewer *v, enum viewer_state state, enum viewer_role role, enum viewer_source source)
{
	v->told = (struct viewer_instruction){ .given = true, .until = viewer_unix() + 60000, .state = state, .role = role, .source = source };
}

static const char *with_key(const char *sdp)
{
	static char text[256];
	const char *at = strstr(sdp, "KEY");

	if (!at)
		return sdp;
	snprintf(text, sizeof(text), "%.*s00112233445566778899aabbccddeeff%s", (int)(at - sdp), sdp, at + 3);
	return text;
}

static char *event_of(const char *payload, const char *key)
{
	uint8_t mac[32];
	char *mac64, *text;
	json_t *o;

	hmac_sha256(key, strlen(key), payload, strlen(payload), mac);
	mac64 = base64_encode(mac, sizeof(mac));
	o = json_pack("{s:s, s:s}", "p", payload, "m", mac64);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	free(mac64);
	return text;
}

static int take(struct viewer_instruction *out, int64_t *report, const char *payload, const char *signed_with)
{
	char *event = event_of(payload, signed_with);
	int rc = viewer_instruction_take(out, report, event, (const uint8_t *)"the key", 7);

	free(event);
	return rc;
}

static void instructions_are_taken_by_their_mac(void **state)
{
	const char *payload = "{\"v\":1,\"seq\":7,\"epoch\":3,\"state\":\"outage\",\"role\":\"first\",\"source\":\"peers\",\"group\":4,"
			      "\"hold\":[[0,101,103],[0,5,4],[0,-1,2],\"x\"],\"share\":[\"-WR0001-annaaaaaaaaa\",\"short\",7],"
			      "\"from\":[\"-WR0001-bobbbbbbbbbb\"],\"cap\":1000,\"until\":99,\"report\":1500}";
	struct viewer_instruction in = { .seq = 42 };
	int64_t report = 0;

	(void)state;
	assert_int_equal(take(&in, &report, payload, "another key"), -EBADMSG);
	assert_int_equal(in.seq, 42);
	assert_int_equal(viewer_instruction_take(&in, &report, "{\"p\":\"{}\"}", (const uint8_t *)"the key", 7), -EBADMSG);
	assert_int_equal(viewer_instruction_take(&in, &report, "no JSON", (const uint8_t *)"the key", 7), -EBADMSG);
	assert_int_equal(take(&in, &report, "{\"v\":2}", "the key"), -EINVAL);
	assert_int_equal(take(&in, &report, "{\"v\":1,\"state\":\"odd\",\"role\":\"first\",\"source\":\"peers\"}", "the key"), -EINVAL);
	assert_int_equal(in.seq, 42);
	assert_int_equal(take(&in, &report, payload, "the key"), 0);
	assert_true(in.given && in.seq == 7 && in.epoch == 3 && in.group == 4 && in.until == 99 && report == 1500);
	assert_true(in.state == VIEWER_OUTAGE && in.role == VIEWER_FIRST && in.source == VIEWER_PEERS_ALONE && in.cap == 1000);
	assert_true(in.nhold == 1 && in.hold[0].first == 101 && in.hold[0].last == 103);
	assert_true(in.share.n == 1 && viewer_ids_have(&in.share, ann) && in.from.n == 1 && viewer_ids_have(&in.from, bob));
}

/* What strangers say they have, and where. */
static void strangers_words_have_limits(void **state)
{
	static const char *const good[] = { "weir-tcp 198.18.1.1:1000 KEY", "weir-tcp [2001:db8::1]:1000 KEY" };
	static const char *const bad[] = { "weir-tcp - -", "weir-tcp 198.18.1.1:0 KEY", "weir-tcp 198.18.1.1 KEY", "weir-tcp /run/x KEY",
					   "weir-tcp 198.18.1.1:1000 KEY x", "weir-tcp 198.18.1.1:1000 0123", "tcp 198.18.1.1:1000 KEY", "" };
	static const char *const here[] = { "weir-tcp 127.0.0.1:80 KEY", "weir-tcp 127.9.9.9:80 KEY", "weir-tcp [::1]:80 KEY",
					    "weir-tcp 0.0.0.0:80 KEY", "weir-tcp [::]:80 KEY", "weir-tcp [::ffff:127.0.0.1]:80 KEY",
					    "weir-tcp [::ffff:0.0.0.0]:80 KEY" };
	static const char *const wide =
		"{\"have\":[[0,-9223372036854775808,100],[0,119,9223372036854775807],[1,100,119],[0,105,104],[0],7]}";
	struct viewer *v = viewer_make();
	struct viewer_peer *p = peer_make(v, ann);
	char address[128], key[VIEWER_KEY + 1], many[4096] = "{\"have\":[";

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(viewer_sdp_take(with_key(good[i]), false, address, key));
	assert_string_equal(address, "[2001:db8::1]:1000");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(viewer_sdp_take(with_key(bad[i]), true, address, key));
	for (size_t i = 0; i < sizeof(here) / sizeof(*here); i++)
		if (viewer_sdp_take(with_key(here[i]), false, address, key) || !viewer_sdp_take(with_key(here[i]), true, address, key))
			fail_msg("%s", here[i]);
	viewer_have_take(v, p, wide, strlen(wide));
	for (size_t i = 0; i < N; i++)
		assert_int_equal(p->have[i], i == 0 || i == 19);
	for (int i = 0; i < VIEWER_RANGES; i++)
		strcat(many, "[0,100,100],");
	strcat(many, "[0,101,101]]}");
	viewer_have_take(v, p, many, strlen(many));
	assert_true(p->have[0] && !p->have[1] && !p->have[19]);
	viewer_have_take(v, p, "no JSON", 7);
	assert_false(p->have[0]);
	viewer_drop(v);
}

static void an_instruction_ends(void **state)
{
	struct viewer *v = viewer_make();

	(void)state;
	assert_int_equal(viewer_told(v)->source, VIEWER_SERVER);
	tell(v, VIEWER_CALM, VIEWER_FIRST, VIEWER_BOTH);
	assert_int_equal(viewer_told(v)->role, VIEWER_FIRST);
	v->told.until = viewer_unix() - 1;
	assert_int_equal(viewer_told(v)->role, VIEWER_ALONE);
	viewer_drop(v);
}

static void wrong_bytes_are_not_kept(void **state)
{
	struct viewer *v = viewer_make();
	struct viewer_range have[4];

	(void)state;
	assert_int_equal(give(v, 0, "evil"), -EBADMSG);
	assert_int_equal(give(v, 0, "goo"), -EBADMSG);
	assert_int_equal(give(v, 0, "good and more"), -EBADMSG);
	assert_int_equal(viewer_buffered(v), 0);
	assert_int_equal(give(v, 0, "good"), 0);
	assert_int_equal(give(v, 1, "good"), 0);
	assert_int_equal(give(v, 3, "good"), 0);
	assert_int_equal(viewer_buffered(v), 4000);
	assert_int_equal(viewer_have(v, have, 4), 2);
	assert_true(have[0].first == 100 && have[0].last == 101 && have[1].first == 103 && have[1].last == 103);
	assert_null(viewer_segment(v, 0, 99));
	assert_null(viewer_segment(v, 0, 100 + N));
	assert_null(viewer_segment(v, 1, 100));
	viewer_drop(v);
}

static void the_server_is_asked_when_it_must_be(void **state)
{
	struct viewer *v = viewer_make();
	struct viewer_segment *s = v->renditions[0].segments;
	struct viewer_peer *p;

	(void)state;
	assert_ptr_equal(viewer_pick_server(v, 0), &s[0]); /* alone */
	s[0].server_again = 500;
	assert_ptr_equal(viewer_pick_server(v, 0), &s[1]);
	s[0].server_again = 0;
	tell(v, VIEWER_OUTAGE, VIEWER_FIRST, VIEWER_PEERS_ALONE);
	assert_ptr_equal(viewer_pick_server(v, 0), &s[0]); /* it would stall, and nobody has it */
	give(v, 0, "good");
	assert_null(viewer_pick_server(v, 0)); /* there is time */
	tell(v, VIEWER_CALM, VIEWER_SECOND, VIEWER_BOTH);
	for (uint32_t i = 1; i < 4; i++)
		give(v, i, "good");
	assert_null(viewer_pick_server(v, 0)); /* helpers may yet have it */
	v->pos_ms = 4000;
	assert_ptr_equal(viewer_pick_server(v, 0), &s[4]);
	p = peer_make(v, ann);
	p->have[4] = 1;
	s[4].by_peers = 1;
	assert_ptr_not_equal(viewer_pick_server(v, 0), &s[4]); /* on its way */
	v->pos_ms = 7000;
	assert_ptr_equal(viewer_pick_server(v, 0), &s[4]); /* too late for that */
	viewer_drop(v);
}

static void what_is_to_be_held_comes_after_what_is_played(void **state)
{
	struct viewer *v = viewer_make();
	struct viewer_segment *s = v->renditions[0].segments;

	(void)state;
	v->opt.buffer_ms = 4000;
	tell(v, VIEWER_STRAINED, VIEWER_FIRST, VIEWER_BOTH);
	v->told.hold[v->told.nhold++] = (struct viewer_range){ 0, 112, 113 };
	assert_ptr_equal(viewer_pick_server(v, 0), &s[0]);
	give(v, 0, "good");
	give(v, 1, "good");
	assert_ptr_equal(viewer_pick_server(v, 0), &s[12]);
	give(v, 12, "good");
	assert_ptr_equal(viewer_pick_server(v, 0), &s[13]);
	v->told.hold[0] = (struct viewer_range){ 7, 112, 113 }; /* no such rendition */
	assert_null(viewer_pick_server(v, 0));
	viewer_drop(v);
}

static void peers_are_asked_as_told(void **state)
{
	struct viewer *v = viewer_make();
	struct viewer_segment *s = v->renditions[0].segments;
	struct viewer_peer *a = peer_make(v, ann), *b = peer_make(v, bob), *from = NULL;

	(void)state;
	memset(a->have, 1, N);
	memset(b->have, 1, N);
	assert_null(viewer_pick_peer(v, 0, &from)); /* alone: the server */
	tell(v, VIEWER_CALM, VIEWER_SECOND, VIEWER_BOTH);
	viewer_ids_add(&v->told.from, bob);
	assert_ptr_equal(viewer_pick_peer(v, 0, &from), &s[0]);
	assert_ptr_equal(from, b);
	b->bad = true;
	assert_null(viewer_pick_peer(v, 0, &from));
	v->told.state = VIEWER_OUTAGE; /* whoever has it */
	assert_ptr_equal(viewer_pick_peer(v, 0, &from), &s[0]);
	assert_ptr_equal(from, a);
	b->bad = false;
	viewer_ids_add(&v->told.from, ann);
	a->rate = 2000;
	b->rate = 50000;
	assert_ptr_equal(viewer_pick_peer(v, 0, &from), &s[0]);
	assert_ptr_equal(from, b); /* the faster one */
	s[0].by_peers = 1;
	s[0].asked = b;
	s[0].asked_at = 0;
	assert_ptr_equal(viewer_pick_peer(v, 100, &from), &s[1]);
	assert_ptr_equal(viewer_pick_peer(v, 2000, &from), &s[0]); /* it takes too long: the other one, too */
	assert_ptr_equal(from, a);
	viewer_drop(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions_are_taken_by_their_mac), cmocka_unit_test(strangers_words_have_limits), cmocka_unit_test(an_instruction_ends),
		cmocka_unit_test(wrong_bytes_are_not_kept),	       cmocka_unit_test(the_server_is_asked_when_it_must_be),
		cmocka_unit_test(what_is_to_be_held_comes_after_what_is_played), cmocka_unit_test(peers_are_asked_as_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
