/* SPDX-License-Identifier: Apache-2.0 */
/* ID tokens: what the provider signed is taken, in three algorithms; every known attack is refused, and for its own
 * reason (RFC 8725, OpenID Connect Core 3.1.3.7). */
#include "tests/unit/unit.h"

#include <cjose/cjose.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/evp.h>

#include "http/identity/jwt.h"
#include "lib/hash.h"

#define NOW 1700000000

static cjose_jwk_t *rsa, *other_rsa, *ec;
static json_t *keys;
static struct jwt_expect expect = { .issuer = "https://id.example", .audience = "weir", .nonce = "n-0S6", .now = NOW, .skew_s = 60 };

static json_t *public_of(cjose_jwk_t *key, const char *kid)
{
	cjose_err err;
	char *text = cjose_jwk_to_json(key, false, &err);
	json_t *o = json_loads(text, 0, NULL);

	assert_non_null(o);
	json_object_set_new(o, "kid", json_string(kid));
	json_object_set_new(o, "use", json_string("sig"));
	free(text);
	return o;
}

static int setup(void **state)
{
	static const uint8_t e[] = { 1, 0, 1 };
	cjose_err err;

	(void)state;
	rsa = cjose_jwk_create_RSA_random(2048, e, sizeof(e), &err);
	other_rsa = cjose_jwk_create_RSA_random(2048, e, sizeof(e), &err);
	ec = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);
	assert_true(rsa && other_rsa && ec);
	keys = json_pack("{s:[o, o]}", "keys", public_of(rsa, "r1"), public_of(ec, "e1"));
	assert_non_null(keys);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	cjose_jwk_release(rsa);
	cjose_jwk_release(other_rsa);
	cjose_jwk_release(ec);
	json_decref(keys);
	return 0;
}

static json_t *good(void)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:i, s:s, s:s}", "iss", "https://id.example", "aud", "weir", "sub", "248289", "exp",
			 NOW + 300, "iat", NOW - 5, "nonce", "n-0S6", "preferred_username", "ann");
}

/* Takes claims. The caller frees. */
static char *sign(json_t *claims, const char *alg, const char *kid, cjose_jwk_t *key)
{
	cjose_err err;
	cjose_header_t *h = cjose_header_new(&err);
	char *text = json_dumps(claims, JSON_COMPACT), *out;
	const char *exported;
	cjose_jws_t *jws;

	cjose_header_set(h, CJOSE_HDR_ALG, alg, &err);
	if (kid)
		cjose_header_set(h, CJOSE_HDR_KID, kid, &err);
	jws = cjose_jws_sign(key, h, (uint8_t *)text, strlen(text), &err);
	assert_non_null(jws);
	assert_true(cjose_jws_export(jws, &exported, &err));
	out = strdup(exported);
	cjose_jws_release(jws);
	cjose_header_release(h);
	free(text);
	json_decref(claims);
	return out;
}

static int verify(char *token, char why[160])
{
	json_t *claims = NULL;
	int rc;

	why[0] = '\0';
	rc = jwt_verify(&claims, token, keys, &expect, why);
	assert_true((rc == 0) == (claims != NULL));
	if (rc)
		assert_true(*why);
	else
		assert_string_equal(json_string_value(json_object_get(claims, "sub")), "248289");
	json_decref(claims);
	free(token);
	return rc;
}

static void refused(json_t *claims, int rc, const char *because)
{
	char why[160];

	assert_int_equal(verify(sign(claims, "RS256", "r1", rsa), why), rc);
	if (!strstr(why, because))
		fail_msg("\"%s\" does not say %s", why, because);
}

/* The good claims with one of them changed (NULL: removed). */
static json_t *with(const char *key, json_t *value)
{
	json_t *o = good();

	if (value)
		json_object_set_new(o, key, value);
	else
		json_object_del(o, key);
	return o;
}

static void test_good(void **state)
{
	char why[160];

	(void)state;
	assert_int_equal(verify(sign(good(), "RS256", "r1", rsa), why), 0);
	assert_int_equal(verify(sign(good(), "PS256", "r1", rsa), why), 0);
	assert_int_equal(verify(sign(good(), "ES256", "e1", ec), why), 0);
	assert_int_equal(verify(sign(good(), "RS256", NULL, rsa), why), 0); /* one key fits */
	assert_int_equal(verify(sign(with("aud", json_pack("[s]", "weir")), "RS256", "r1", rsa), why), 0);
	assert_int_equal(verify(sign(with("exp", json_integer(NOW - 59)), "RS256", "r1", rsa), why), 0); /* skew */
	assert_int_equal(verify(sign(with("iat", json_integer(NOW + 59)), "RS256", "r1", rsa), why), 0);
	assert_int_equal(verify(sign(with("nbf", json_integer(NOW + 59)), "RS256", "r1", rsa), why), 0);
}

static void test_audience(void **state)
{
	json_t *two = with("aud", json_pack("[s, s]", "weir", "other"));
	char why[160];

	(void)state;
	refused(with("aud", json_string("other")), -EACCES, "audience");
	refused(with("aud", json_string("weir2")), -EACCES, "audience");
	refused(with("aud", json_pack("[s]", "other")), -EACCES, "audience");
	refused(with("aud", json_pack("[]")), -EACCES, "audience");
	refused(with("aud", NULL), -EACCES, "audience");
	refused(with("azp", json_string("other")), -EACCES, "audience");
	refused(json_incref(two), -EACCES, "audience"); /* several, and azp does not say that it is for us */
	json_object_set_new(two, "azp", json_string("weir"));
	assert_int_equal(verify(sign(two, "RS256", "r1", rsa), why), 0);
}

static void test_claims(void **state)
{
	(void)state;
	refused(with("iss", json_string("https://id.example/")), -EACCES, "issuer");
	refused(with("iss", json_string("https://evil.example")), -EACCES, "issuer");
	refused(with("iss", NULL), -EACCES, "issuer");
	refused(with("nonce", json_string("n-0S7")), -EACCES, "nonce");
	refused(with("nonce", NULL), -EACCES, "nonce");
	refused(with("sub", NULL), -EACCES, "sub");
	refused(with("sub", json_string("")), -EACCES, "sub");
	refused(with("exp", json_integer(NOW - 61)), -ETIME, "expired");
	refused(with("exp", NULL), -EACCES, "exp");
	refused(with("exp", json_string("9999999999")), -EACCES, "exp");
	refused(with("iat", json_integer(NOW + 61)), -ETIME, "future");
	refused(with("iat", NULL), -EACCES, "iat");
	refused(with("nbf", json_integer(NOW + 61)), -ETIME, "not good yet");
	expect.nonce = NULL; /* device flow: none was sent */
	assert_int_equal(verify(sign(with("nonce", NULL), "RS256", "r1", rsa), (char[160]){ 0 }), 0);
	expect.nonce = "n-0S6";
}

/* A token of any header and signature. */
static char *forge(const char *header, const void *mac, size_t mac_len)
{
	json_t *claims = good();
	char *text = json_dumps(claims, JSON_COMPACT), *out = calloc(1, 8192);
	size_t n = base64url_encode(header, strlen(header), out);

	out[n++] = '.';
	n += base64url_encode(text, strlen(text), out + n);
	out[n++] = '.';
	base64url_encode(mac, mac_len, out + n);
	json_decref(claims);
	free(text);
	return out;
}

static void test_none(void **state)
{
	char why[160];

	(void)state;
	assert_int_equal(verify(forge("{\"alg\":\"none\"}", "", 0), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"alg\":\"none\",\"kid\":\"r1\"}", "", 0), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"alg\":\"None\",\"kid\":\"r1\"}", "x", 1), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"kid\":\"r1\"}", "x", 1), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"alg\":\"RS256\",\"kid\":\"r1\"}", "", 0), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"alg\":\"RS256\",\"alg\":\"none\",\"kid\":\"r1\"}", "", 0), why), -EBADMSG);
	assert_int_equal(verify(forge("{\"alg\":\"RS256\",\"kid\":\"r1\",\"crit\":[\"b64\"],\"b64\":false}", "x", 1), why), -EBADMSG);
	assert_int_equal(verify(forge("[\"RS256\"]", "", 0), why), -EBADMSG);
}

/* The public key as the secret of an HMAC: whatever form of it, HMAC is not taken at all. */
static void test_hmac(void **state)
{
	static const char *const headers[] = { "{\"alg\":\"HS256\",\"kid\":\"r1\"}", "{\"alg\":\"HS256\"}", "{\"alg\":\"HS512\",\"kid\":\"r1\"}" };
	char *secret = json_dumps(json_array_get(json_object_get(keys, "keys"), 0), JSON_COMPACT), why[160];
	uint8_t mac[32];

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++) {
		char *token = forge(headers[i], "", 0), *last = strrchr(token, '.');

		hmac_sha256(secret, strlen(secret), token, (size_t)(last - token), mac);
		base64url_encode(mac, sizeof(mac), last + 1);
		assert_int_equal(verify(token, why), -EBADMSG);
		assert_non_null(strstr(why, "RS256"));
	}
	free(secret);
}

static void test_keys(void **state)
{
	json_t *weak = json_deep_copy(keys), *all = keys;
	char why[160];

	(void)state;
	assert_int_equal(verify(sign(good(), "RS256", "r2", rsa), why), -ENOKEY);
	assert_int_equal(verify(sign(good(), "RS256", "r1", other_rsa), why), -EBADMSG);
	assert_int_equal(verify(sign(good(), "RS256", "e1", rsa), why), -ENOKEY); /* a key of another kind */
	assert_int_equal(verify(sign(good(), "RS384", "r1", rsa), why), -EBADMSG);
	json_object_set_new(json_array_get(json_object_get(weak, "keys"), 0), "use", json_string("enc"));
	keys = weak;
	assert_int_equal(verify(sign(good(), "RS256", "r1", rsa), why), -ENOKEY);
	json_object_set_new(json_array_get(json_object_get(weak, "keys"), 0), "use", json_string("sig"));
	json_object_set_new(json_array_get(json_object_get(weak, "keys"), 0), "alg", json_string("PS256"));
	assert_int_equal(verify(sign(good(), "RS256", "r1", rsa), why), -ENOKEY);
	assert_int_equal(verify(sign(good(), "PS256", "r1", rsa), why), 0);
	json_object_set_new(json_array_get(json_object_get(weak, "keys"), 0), "n", json_string("AQAB"));
	assert_int_equal(verify(sign(good(), "PS256", "r1", rsa), why), -ENOKEY); /* too short a key */
	keys = all;
	json_decref(weak);
}

/* One bit anywhere: never taken. */
static void test_tampered(void **state)
{
	char *token = sign(good(), "ES256", "e1", ec), why[160];
	size_t len = strlen(token);
	int taken = 0;

	(void)state;
	for (size_t i = 0; i < len - 1; i++) { /* the last digit's low bits are no part of the signature */
		char *copy = strdup(token);

		copy[i] = copy[i] == 'A' ? 'B' : 'A';
		taken += verify(copy, why) == 0;
	}
	assert_int_equal(taken, 0);
	for (size_t i = 0; i < len; i++) { /* padding inside: cjose would end the process */
		char *copy = strdup(token);

		copy[i] = '=';
		assert_int_equal(verify(copy, why), -EBADMSG);
	}
	for (size_t i = 0; i < len; i += 7)
		assert_int_not_equal(verify(strndup(token, i), why), 0);
	assert_int_equal(verify(strdup(""), why), -EBADMSG);
	assert_int_equal(verify(strdup("a.b"), why), -EBADMSG);
	assert_int_equal(verify(strdup("e30.e30.e30.e30.e30"), why), -EBADMSG);
	free(token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_audience), cmocka_unit_test(test_claims), cmocka_unit_test(test_none),
		cmocka_unit_test(test_hmac), cmocka_unit_test(test_keys),     cmocka_unit_test(test_tampered),
	};

	return cmocka_run_group_tests_name("identity_jwt", tests, setup, teardown);
}
