/* SPDX-License-Identifier: Apache-2.0 */
/* Viewers' tokens: what was signed is what is read; everything else is refused, and for the right reason. The secret in a
 * registry: made once, the same for all. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/peers/group.h"
#include "http/peers/secret.h"
#include "lib/hash.h"

static const struct peers_secret secret = { { 1, 2, 3 } }, other = { { 1, 2, 4 } };
static const struct viewer_token sample = { .viewer = "0123456789abcdef", .asset = "films/big", .expires = 1000, .flags = GROUP_CONSENT,
					    .origin = "https://films.example" };

static int verify(const char *text)
{
	struct viewer_token out = { .asset = "untouched" };
	int rc = viewer_token_verify(&out, text, &secret, 999);

	if (rc)
		assert_string_equal(out.asset, "untouched");
	return rc;
}

/* A token with any payload, rightly signed. */
static void forge(char out[VIEWER_TOKEN_MAX], const char *payload)
{
	uint8_t key[32], mac[32];
	size_t n = 7;

	memcpy(out, "weirv1.", 8);
	n += base64url_encode(payload, strlen(payload), out + 7);
	peers_secret_derive(&secret, "token", NULL, key);
	hmac_sha256(key, sizeof(key), out, n, mac);
	out[n++] = '.';
	base64url_encode(mac, sizeof(mac), out + n);
}

static void test_round(void **state)
{
	struct viewer_token out, plain = sample, longest = sample;
	char text[VIEWER_TOKEN_MAX];

	(void)state;
	assert_int_equal(viewer_token_sign(text, &sample, &secret), 0);
	assert_memory_equal(text, "weirv1.", 7);
	assert_int_equal(viewer_token_verify(&out, text, &secret, 999), 0);
	assert_string_equal(out.viewer, sample.viewer);
	assert_string_equal(out.asset, sample.asset);
	assert_string_equal(out.origin, sample.origin);
	assert_int_equal(out.expires, 1000);
	assert_int_equal(out.flags, GROUP_CONSENT);
	plain.origin[0] = '\0';
	plain.flags = VIEWER_DEAF | GROUP_METERED;
	assert_int_equal(viewer_token_sign(text, &plain, &secret), 0);
	assert_int_equal(viewer_token_verify(&out, text, &secret, 999), 0);
	assert_string_equal(out.origin, "");
	assert_int_equal(out.flags, VIEWER_DEAF | GROUP_METERED);
	memset(longest.asset, 'x', sizeof(longest.asset) - 1);
	memset(longest.origin, 'o', sizeof(longest.origin) - 1);
	assert_int_equal(viewer_token_sign(text, &longest, &secret), 0);
	assert_int_equal(viewer_token_verify(&out, text, &secret, 999), 0);
	assert_string_equal(out.origin, longest.origin);
}

static void test_unsignable(void **state)
{
	struct viewer_token t = sample;
	char text[VIEWER_TOKEN_MAX] = "untouched";

	(void)state;
	t.viewer[3] = 'X';
	assert_int_equal(viewer_token_sign(text, &t, &secret), -EINVAL);
	t = sample;
	t.asset[0] = '\0';
	assert_int_equal(viewer_token_sign(text, &t, &secret), -EINVAL);
	t = sample;
	t.expires = 0;
	assert_int_equal(viewer_token_sign(text, &t, &secret), -EINVAL);
	t = sample;
	strcpy(t.asset, "\xff/x"); /* no UTF-8 */
	assert_int_equal(viewer_token_sign(text, &t, &secret), -EINVAL);
	assert_string_equal(text, "untouched");
}

/* No bit may be changed, nothing added or taken away. */
static void test_tampered(void **state)
{
	char text[VIEWER_TOKEN_MAX], bad[VIEWER_TOKEN_MAX + 8];
	struct viewer_token out;
	size_t len;

	(void)state;
	viewer_token_sign(text, &sample, &secret);
	len = strlen(text);
	assert_int_equal(viewer_token_verify(&out, text, &other, 999), -EBADMSG);
	for (size_t i = 0; i < len; i++)
		for (int bit = 0; bit < 7; bit++) {
			strcpy(bad, text);
			bad[i] = (char)(bad[i] ^ (1 << bit));
			assert_int_not_equal(verify(bad), 0);
		}
	for (size_t i = 0; i < len; i++) {
		strcpy(bad, text);
		bad[i] = '\0';
		assert_int_not_equal(verify(bad), 0);
	}
	snprintf(bad, sizeof(bad), "%sA", text);
	assert_int_equal(verify(bad), -EINVAL);
	snprintf(bad, sizeof(bad), "%s.A", text);
	assert_int_not_equal(verify(bad), 0);
	/* a user's tokens are signed by other keys, and say so first */
	snprintf(bad, sizeof(bad), "weir1.%s", text + 7);
	assert_int_equal(verify(bad), -EINVAL);
}

static void test_expiry(void **state)
{
	char text[VIEWER_TOKEN_MAX];
	struct viewer_token out;

	(void)state;
	viewer_token_sign(text, &sample, &secret);
	assert_int_equal(viewer_token_verify(&out, text, &secret, 999), 0);
	assert_int_equal(viewer_token_verify(&out, text, &secret, 1000), -ETIME);
	assert_int_equal(viewer_token_verify(&out, text, &other, 1001), -EBADMSG); /* the signature first */
}

static void test_payloads(void **state)
{
	static const char *const wrong[] = {
		"", "{", "[]", "{}", "{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000,\"f\":-1}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000,\"f\":4294967296}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":0,\"f\":0}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":\"1000\",\"f\":0}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"\",\"x\":1000,\"f\":0}",
		"{\"v\":\"0123456789abcde\",\"a\":\"b/c\",\"x\":1000,\"f\":0}",
		"{\"v\":\"0123456789ABCDEF\",\"a\":\"b/c\",\"x\":1000,\"f\":0}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000,\"f\":0,\"o\":\"\"}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000,\"f\":0,\"more\":1}",
		"{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"a\":\"b/d\",\"x\":1000,\"f\":0}",
	};
	char text[VIEWER_TOKEN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		forge(text, wrong[i]);
		assert_int_equal(verify(text), -EINVAL);
	}
	forge(text, "{\"v\":\"0123456789abcdef\",\"a\":\"b/c\",\"x\":1000,\"f\":0}");
	assert_int_equal(verify(text), 0);
}

/* RFC 2104 by hand, as a page computes it. */
static void test_session_mac(void **state)
{
	char mac[45], again[45], elsewhere[45];
	uint8_t key[32], sum[32], got[32];

	(void)state;
	session_mac(mac, &secret, sample.viewer, "{\"v\":1}");
	peers_secret_derive(&secret, "session", sample.viewer, key);
	hmac_sha256(key, sizeof(key), "{\"v\":1}", 7, sum);
	assert_int_equal(base64_decode(mac, strlen(mac), got, sizeof(got)), 32);
	assert_memory_equal(got, sum, 32);
	session_mac(again, &secret, sample.viewer, "{\"v\":2}");
	session_mac(elsewhere, &secret, "0123456789abcdee", "{\"v\":1}");
	assert_string_not_equal(mac, again);
	assert_string_not_equal(mac, elsewhere);
}

static void test_purposes(void **state)
{
	static const char *const purposes[] = { "token", "session", "media", "network" };
	uint8_t keys[4][32];

	(void)state;
	for (int i = 0; i < 4; i++)
		peers_secret_derive(&secret, purposes[i], NULL, keys[i]);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			assert_memory_not_equal(keys[i], keys[k], 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round),	 cmocka_unit_test(test_unsignable), cmocka_unit_test(test_tampered),
		cmocka_unit_test(test_expiry),	 cmocka_unit_test(test_payloads),   cmocka_unit_test(test_session_mac),
		cmocka_unit_test(test_purposes),
	};

	return cmocka_run_group_tests_name("peers_token", tests, NULL, NULL);
}
