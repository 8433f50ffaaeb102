/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_peers_media.c -- lists of segments: good and hostile ones, their signature, and what tampering with them does.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/media_int.h"
#include "tests/unit/unit.h"

#define SHA "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SEGMENT(n) "{\"n\":" #n ",\"uri\":\"v1/a/" #n ".m4s\",\"duration\":4.0,\"bytes\":1000,\"sha256\":\"" SHA "\"}"
#define RENDITION(name, segments)                                                                                  \
	"{\"name\":\"" name "\",\"bandwidth\":500000,\"width\":320,\"height\":180,\"codecs\":\"avc1.42c00c,mp4a.40.2\"," \
	"\"playlist\":\"v1/" name "/index.m3u8\",\"init\":{\"uri\":\"v1/" name "/init.mp4\",\"bytes\":7,\"sha256\":\"" SHA "\"}," \
	"\"segments\":[" segments "]}"
#define LIST(asset, renditions) "{\"version\":1,\"asset\":\"" asset "\",\"duration\":8.0,\"renditions\":[" renditions "]}"
#define GOOD LIST("media/film", RENDITION("90p", SEGMENT(0) "," SEGMENT(1)) "," RENDITION("180p", SEGMENT(0) "," SEGMENT(1)))

static void a_good_list_is_read(void **state)
{
	struct media_asset *a = NULL;
	char why[160] = "";

	(void)state;
	assert_int_equal(media_parse(&a, GOOD, strlen(GOOD), why), 0);
	assert_string_equal(a->name, "media/film");
	assert_int_equal(a->duration_ms, 8000);
	assert_int_equal(a->nrenditions, 2);
	assert_string_equal(a->renditions[1].name, "180p");
	assert_string_equal(a->renditions[1].playlist, "v1/180p/index.m3u8");
	assert_string_equal(a->renditions[1].init, "v1/180p/init.mp4");
	assert_int_equal(a->renditions[1].nsegments, 2);
	assert_int_equal(a->renditions[1].segments[1].n, 1);
	assert_int_equal(a->renditions[1].segments[1].duration_ms, 4000);
	assert_int_equal(a->renditions[1].segments[1].bytes, 1000);
	assert_int_equal(a->renditions[1].segments[1].sha256[1], 0x11);
	media_asset_free(a);
}

/* The good list with one piece of it replaced. */
static int parse_with(const char *from, const char *to, char why[160])
{
	const char *at = strstr(GOOD, from);
	struct media_asset *a = NULL;
	char text[8192];
	int rc;

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
	rc = media_parse(&a, text, strlen(text), why);
	if (!rc)
		media_asset_free(a);
	return rc;
}

static void hostile_lists_are_refused(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
		{ "{\"version\":1", "[{\"version\":1", "JSON" },
		{ "\"version\":1", "\"version\":2", "version" },
		{ "\"version\":1", "\"version\":1,\"version\":1", "JSON" },
		{ "media/film", "film", "asset" },
		{ "media/film", "me/film", "asset" },
		{ "media/film", "media/../film\\u0001", "asset" },
		{ "\"duration\":8.0", "\"duration\":-8", "duration" },
		{ "\"duration\":8.0", "\"duration\":1e300", "duration" },
		{ "\"duration\":8.0", "\"duration\":\"8\"", "duration" },
		{ "\"name\":\"90p\"", "\"name\":\"180p\"", "two renditions" },
		{ "\"name\":\"90p\"", "\"name\":\"../90p\"", "name" },
		{ "\"name\":\"90p\"", "\"name\":\"a23456789012345678901234567890123\"", "name" },
		{ "\"bandwidth\":500000", "\"bandwidth\":0", "bandwidth" },
		{ "\"bandwidth\":500000", "\"bandwidth\":99999999999", "bandwidth" },
		{ "\"width\":320", "\"width\":-1", "width" },
		{ "avc1.42c00c", "avc1\\\"<script>", "codecs" },
		{ "v1/90p/index.m3u8", "/etc/passwd", "playlist" },
		{ "v1/90p/index.m3u8", "https:x", "playlist" },
		{ "v1/90p/init.mp4", "v1/../../x", "init" },
		{ "\"segments\":[" SEGMENT(0), "\"segments\":[" SEGMENT(5), "n 1 after 5" },
		{ "\"segments\":[" SEGMENT(0) "," SEGMENT(1), "\"segments\":[", "no segments" },
		{ "\"n\":0", "\"n\":4294967296", "n is a whole number" },
		{ "\"n\":0", "\"n\":0.5", "n is a whole number" },
		{ "\"bytes\":1000", "\"bytes\":0", "bytes" },
		{ "\"bytes\":1000", "\"bytes\":999999999", "bytes" },
		{ "\"duration\":4.0", "\"duration\":3600", "duration" },
		{ "v1/a/0.m4s", "//elsewhere.example/0.m4s", "uri" },
		{ "v1/a/0.m4s", "v1/.git/0.m4s", "uri" },
		{ "\"bytes\":1000,\"sha256\":\"0", "\"bytes\":1000,\"sha256\":\"g", "sha256" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char why[160] = "";
		int rc = parse_with(cases[i].from, cases[i].to, why);

		if (rc != -EINVAL || !strstr(why, cases[i].says))
			fail_msg("%s -> %s: %d, %s", cases[i].from, cases[i].to, rc, why);
	}
}

static void a_list_has_an_end(void **state)
{
	size_t len = MEDIA_PAYLOAD_MAX + 1;
	char *text = malloc(len), why[160] = "";
	struct media_asset *a = NULL;

	(void)state;
	memset(text, ' ', len);
	assert_int_equal(media_parse(&a, text, len, why), -EINVAL);
	memset(text, '[', len);
	assert_int_equal(media_parse(&a, text, len - 1, why), -EINVAL);
	free(text);
	for (size_t n = 0; n < strlen(GOOD); n += 7)
		assert_int_equal(media_parse(&a, GOOD, n, why), -EINVAL);
}

/* RFC 8032 section 7.1, test 1: the key, and the signature of nothing. */
static void signatures_are_ed25519(void **state)
{
	static const uint8_t seed[32] = { 0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
					  0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60 };
	static const uint8_t begin[4] = { 0xe5, 0x56, 0x43, 0x00 };
	uint8_t signature[MEDIA_SIGNATURE];
	char key[45];

	(void)state;
	assert_int_equal(media_key_public(seed, key), 0);
	assert_string_equal(key, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
	assert_int_equal(media_key_sign(seed, "", 0, signature), 0);
	assert_memory_equal(signature, begin, sizeof(begin));
	assert_int_equal(media_key_verify(key, "", 0, signature), 0);
	assert_int_equal(media_key_verify(key, "x", 1, signature), -EBADMSG);
	signature[10] ^= 1;
	assert_int_equal(media_key_verify(key, "", 0, signature), -EBADMSG);
	assert_int_equal(media_key_verify("", "", 0, signature), -EBADMSG);
}

static void tampering_is_seen(void **state)
{
	static const uint8_t seed[32] = { 1 }, other[32] = { 2 };
	char key[45], theirs[45], why[160], *file, *at, *payload;

	(void)state;
	assert_int_equal(media_key_public(seed, key), 0);
	assert_int_equal(media_key_public(other, theirs), 0);
	file = media_key_wrap(seed, key, GOOD, strlen(GOOD));
	assert_non_null(file);
	payload = media_key_unwrap(key, file, strlen(file), why);
	assert_string_equal(payload, GOOD);
	free(payload);
	assert_null(media_key_unwrap(theirs, file, strlen(file), why));
	assert_non_null(strstr(why, "add the asset again"));
	at = strstr(file, "4.0");
	*at = '5';
	assert_null(media_key_unwrap(key, file, strlen(file), why));
	*at = '4';
	at = strstr(file, "\"signature\":\"") + 13;
	*at = *at == 'A' ? 'B' : 'A';
	assert_null(media_key_unwrap(key, file, strlen(file), why));
	assert_null(media_key_unwrap(key, "{}", 2, why));
	assert_null(media_key_unwrap(key, "", 0, why));
	free(file);
	/* a key beside it does not help who signs by another */
	file = media_key_wrap(other, key, GOOD, strlen(GOOD));
	assert_null(media_key_unwrap(key, file, strlen(file), why));
	free(file);
}

static int pick_none(void *arg, char url[256])
{
	(void)arg;
	(void)url;
	return -ENOENT;
}

static struct media_set *a_set(struct media *m, const char *name)
{
	struct media_set *s = calloc(1, sizeof(*s));
	char text[8192], why[160] = "";
	const char *at = strstr(GOOD, "media/film");

	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - GOOD), GOOD, name, at + 10);
	s->refs = 1;
	s->ncopies = 1;
	snprintf(s->copies[0].name, sizeof(s->copies[0].name), MEDIA_LIST_NAME);
	snprintf(s->copies[0].etag, sizeof(s->copies[0].etag), "\"a\"");
	s->copies[0].data = media_key_wrap(m->seed, m->public_key, text, strlen(text));
	s->copies[0].len = strlen(s->copies[0].data);
	if (media_set_parse(m, name, s, why))
		fail_msg("%s", why);
	return s;
}

/* What was read is there after a restart without endpoints; a copy that was changed is not. */
static void copies_outlive_the_program(void **state)
{
	static const uint8_t seed[32] = { 1 };
	char folder[256], path[600];
	struct peers_options opt = { .folder = unit_folder(folder, sizeof(folder)), .pick = pick_none };
	const struct media_asset *a = NULL;
	struct media_set *set;
	struct media *m;

	(void)state;
	assert_int_equal(media_open(&m, &opt), 0);
	assert_null(media_get(m, "media/film"));
	assert_int_equal(media_set_key(m, seed), 0);
	set = a_set(m, "media/film");
	media_keep(m, "media/film", set);
	a = media_get(m, "media/film");
	assert_non_null(a);
	media_take(m, "media/film", NULL); /* whoever has it keeps it */
	assert_int_equal(a->renditions[1].segments[1].bytes, 1000);
	media_put(m, a);
	assert_null(media_get(m, "media/film"));
	media_close(m);
	for (int i = 0; i < 2; i++) {
		const struct media_copy *copy = NULL;

		assert_int_equal(media_open(&m, &opt), 0);
		assert_int_equal(media_set_key(m, seed), 0);
		for (int k = 0; k < 500 && !(a = media_get(m, "media/film")); k++)
			usleep(2000);
		assert_true(i ? !a : a != NULL);
		set = media_set_find(m, "media", "film/" MEDIA_LIST_NAME, &copy);
		assert_true(i ? !set : set && !strcmp(copy->name, MEDIA_LIST_NAME));
		assert_null(media_set_find(m, "media", "film2/" MEDIA_LIST_NAME, &copy));
		media_set_put(set);
		media_put(m, a);
		media_close(m);
		snprintf(path, sizeof(path), "sed -i s/eyJwYXls/eyJwYXlt/ %s/media-*.json 2>/dev/null", opt.folder);
		assert_int_equal(WEXITSTATUS(system(path)), i ? 2 : 0); /* the second time it is gone */
	}
	unit_folder_remove(folder);
}

static void a_flood_of_names_pushes_no_asset_out(void **state)
{
	static const uint8_t seed[32] = { 1 };
	struct peers_options opt = { .folder = "", .pick = pick_none };
	const struct media_asset *a;
	struct media *m;
	char name[64];

	(void)state;
	assert_int_equal(media_open(&m, &opt), 0);
	assert_int_equal(media_set_key(m, seed), 0);
	media_take(m, "media/film", a_set(m, "media/film"));
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "media/none%d", i);
		assert_null(media_get(m, name));
	}
	assert_true(m->nknown <= MEDIA_MISSES_MAX + 1);
	a = media_get(m, "media/film");
	assert_non_null(a);
	media_put(m, a);
	for (int i = 0; i < MEDIA_KNOWN_MAX + 20; i++) { /* real ones have an end too */
		snprintf(name, sizeof(name), "media/film%d", i);
		media_take(m, name, a_set(m, name));
	}
	assert_true(m->nknown <= MEDIA_KNOWN_MAX + MEDIA_MISSES_MAX);
	assert_null(media_get(m, "no"));
	assert_null(media_get(NULL, "media/film"));
	media_close(m);
}

/* Bytes have a limit that holds after each: what goes for it goes from the folder too. */
static void copies_have_a_limit(void **state)
{
	static const uint8_t seed[32] = { 1 };
	char folder[256], name[64], count[400];
	struct peers_options opt = { .folder = unit_folder(folder, sizeof(folder)), .pick = pick_none };
	size_t bytes = 0;
	struct media *m;

	(void)state;
	assert_int_equal(media_open(&m, &opt), 0);
	assert_int_equal(media_set_key(m, seed), 0);
	for (int i = 0; i < 6; i++) {
		struct media_set *set;

		snprintf(name, sizeof(name), "media/film%d", i);
		media_set_put(media_set_get(m, name)); /* somebody asked for it */
		set = a_set(m, name);
		set->bytes = 50u << 20;
		media_keep(m, name, set);
		bytes = 0;
		for (size_t k = 0; k < m->nknown; k++)
			bytes += m->known[k]->set ? m->known[k]->set->bytes : 0;
		assert_true(bytes <= MEDIA_KEPT_MAX);
		usleep(2000); /* milliseconds say who was asked for last */
	}
	assert_int_equal(bytes, 100u << 20);
	assert_true(media_has(m, "media/film4", NULL) && media_has(m, "media/film5", NULL));
	snprintf(count, sizeof(count), "test $(ls %s/media-*.json | wc -l) = 2", opt.folder);
	assert_int_equal(system(count), 0);
	media_close(m);
	unit_folder_remove(folder);
}

static void add_copy(struct media_set *s, const char *name)
{
	struct media_copy *c = &s->copies[s->ncopies++];

	snprintf(c->name, sizeof(c->name), "%s", name);
	c->data = strdup("");
}

/* Assets "a" and "a/b": each key finds the one that has it, in whichever order they came. */
static void names_within_names(void **state)
{
	static const uint8_t seed[32] = { 1 };
	static const struct {
		const char *key, *asset;
	} keys[] = { { "a/" MEDIA_LIST_NAME, "media/a" }, { "a/b/" MEDIA_LIST_NAME, "media/a/b" }, { "a/b/index.m3u8", "media/a" }, { "a/b/x", NULL } };

	(void)state;
	for (int order = 0; order < 2; order++) {
		struct peers_options opt = { .folder = "", .pick = pick_none };
		struct media_set *sets[2], *found;
		const struct media_copy *copy;
		struct media *m;

		assert_int_equal(media_open(&m, &opt), 0);
		assert_int_equal(media_set_key(m, seed), 0);
		sets[0] = a_set(m, "media/a");
		sets[1] = a_set(m, "media/a/b");
		add_copy(sets[0], "b/index.m3u8");
		for (int i = 0; i < 2; i++)
			media_take(m, i == order ? "media/a" : "media/a/b", sets[i == order ? 0 : 1]);
		for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
			found = media_set_find(m, "media", keys[i].key, &copy);
			if (keys[i].asset ? !found || strcmp(found->asset->name, keys[i].asset) : found != NULL)
				fail_msg("%s: %s", keys[i].key, found ? found->asset->name : "nothing");
			media_set_put(found);
		}
		media_close(m);
	}
}

/* Names that somebody invented take turns with assets, and are asked for in the order in which they came. */
static void invented_names_wait(void **state)
{
	struct peers_options opt = { .folder = "", .pick = pick_none };
	char name[MEDIA_ASSET_MAX], want[32];
	struct media_set *last = NULL;
	struct media *m;

	(void)state;
	assert_int_equal(media_open(&m, &opt), 0);
	assert_int_equal(media_key_public(m->seed, m->public_key), 0); /* not keyed: its thread reads nothing */
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "media/none%d", i);
		assert_null(media_set_get(m, name));
		usleep(2000);
	}
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "media/film%d", i);
		media_take(m, name, a_set(m, name));
		media_set_put(media_set_get(m, name));
	}
	pthread_mutex_lock(&m->lock);
	m->keyed = true;
	m->known[5]->read_ms -= MEDIA_FRESH_MS;
	m->known[6]->read_ms -= MEDIA_FRESH_MS + 1000;
	for (int i = 0; i < 7; i++) {
		static const char *const order[] = { "film1", "none0", "film0", "none1", "none2", "none3", "none4" };

		assert_true(media_next_due(m, name, &last));
		snprintf(want, sizeof(want), "media/%s", order[i]);
		assert_string_equal(name, want);
		assert_int_equal(last != NULL, order[i][0] == 'f');
		media_set_put(last);
	}
	assert_false(media_next_due(m, name, &last));
	m->keyed = false;
	pthread_mutex_unlock(&m->lock);
	media_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_list_is_read),
		cmocka_unit_test(hostile_lists_are_refused),
		cmocka_unit_test(a_list_has_an_end),
		cmocka_unit_test(signatures_are_ed25519),
		cmocka_unit_test(tampering_is_seen),
		cmocka_unit_test(copies_outlive_the_program),
		cmocka_unit_test(a_flood_of_names_pushes_no_asset_out),
		cmocka_unit_test(copies_have_a_limit),
		cmocka_unit_test(names_within_names),
		cmocka_unit_test(invented_names_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
