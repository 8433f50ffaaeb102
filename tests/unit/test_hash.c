// SPDX-License-Identifier: Apache-2.0
/* hash: published vectors, and that text forms have one spelling only. */
#include <errno.h>

#include "lib/hash.h"
#include "tests/unit/unit.h"

static void sha256_vectors(void **state)
{
	uint8_t out[32], again[32];
	struct sha256 *h;
	char hex[65];

	(void)state;
	sha256_once("abc", 3, out); /* FIPS 180-4, example */
	assert_string_equal(hex_encode(out, 32, hex),
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	h = sha256_new();
	assert_non_null(h);
	sha256_add(h, "a", 1);
	sha256_add(h, "", 0);
	sha256_add(h, "bc", 2);
	sha256_end(h, again);
	assert_memory_equal(out, again, 32);
	sha256_drop(sha256_new());
	sha256_drop(NULL);
}

static void hmac_vectors(void **state)
{
	uint8_t key[20], out[32];
	char hex[65];

	(void)state;
	memset(key, 0x0b, sizeof(key)); /* RFC 4231, case 1 */
	hmac_sha256(key, sizeof(key), "Hi There", 8, out);
	assert_string_equal(hex_encode(out, 32, hex),
			    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	hmac_sha256(NULL, 0, "", 0, out);
	assert_string_equal(hex_encode(out, 32, hex),
			    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void crc_vectors(void **state)
{
	uint8_t zero[32] = { 0 };
	uint32_t crc;

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720 B.4 and the catalogue */
	assert_int_equal(crc32c(0, zero, 32), 0x8a9136aa);
	crc = crc32c(0, "1234", 4);
	assert_int_equal(crc32c(crc, "56789", 5), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);
}

static void hash64_is_xxh3(void **state)
{
	(void)state;
	assert_true(hash64("", 0, 0) == 0x2d06800538d394c2ull); /* XXH3_64bits of nothing */
	assert_true(hash64("a", 1, 0) != hash64("a", 1, 1));
}

static void hex(void **state)
{
	uint8_t out[2] = { 9, 9 };

	(void)state;
	assert_int_equal(hex_decode("aBf0", out, 2), 0);
	assert_memory_equal(out, "\xab\xf0", 2);
	assert_int_equal(hex_decode("ab", out, 2), -EINVAL);
	assert_int_equal(hex_decode("abcde", out, 2), -EINVAL);
	assert_int_equal(hex_decode("abcdef", out, 2), -EINVAL);
	assert_int_equal(hex_decode("ab g", out, 2), -EINVAL);
	assert_memory_equal(out, "\xab\xf0", 2);
}

static void base64_of_url(void **state)
{
	uint8_t in[70], out[70];
	char text[100];
	size_t n;

	(void)state;
	for (size_t len = 0; len <= sizeof(in); len++) {
		random_bytes(in, len);
		n = base64url_encode(in, len, text);
		assert_int_equal(n, strlen(text));
		assert_int_equal(base64url_decode(text, n, out, len), (long)len);
		assert_memory_equal(in, out, len);
		if (len)
			assert_int_equal(base64url_decode(text, strlen(text), out, len - 1), -EINVAL);
	}
	assert_int_equal(base64url_decode("-_8", 3, out, 2), 2);
	assert_memory_equal(out, "\xfb\xff", 2);
	assert_int_equal(base64url_decode("+/8", 3, out, 2), -EINVAL);
	assert_int_equal(base64url_decode("-_8=", 4, out, 9), -EINVAL);
	assert_int_equal(base64url_decode("-_9", 3, out, 2), -EINVAL); /* stray bits */
	assert_int_equal(base64url_decode("A", 1, out, 9), -EINVAL);
	assert_int_equal(base64url_decode("A\0AA", 4, out, 9), -EINVAL);
}

static void base64_standard(void **state)
{
	static const char *const pairs[][2] = { { "", "" },	    { "f", "Zg==" },	 { "fo", "Zm8=" },
						{ "foo", "Zm9v" },  { "foob", "Zm9vYg==" },
						{ "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" } };
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) { /* RFC 4648 section 10 */
		char *text = base64_encode(pairs[i][0], strlen(pairs[i][0]));

		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(base64_decode(text, strlen(text), out, sizeof(out)),
				 (long)strlen(pairs[i][0]));
		free(text);
	}
	assert_int_equal(base64_decode("Zg", 2, out, 9), -EINVAL);
	assert_int_equal(base64_decode("Z===", 4, out, 9), -EINVAL);
	assert_int_equal(base64_decode("Zg==Zg==", 8, out, 9), -EINVAL);
	assert_int_equal(base64_decode("Zm9v\nZm9", 8, out, 9), -EINVAL);
}

static void randomness(void **state)
{
	uint8_t a[64] = { 0 }, b[64] = { 0 };

	(void)state;
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_vectors), cmocka_unit_test(hmac_vectors),
		cmocka_unit_test(crc_vectors),	  cmocka_unit_test(hash64_is_xxh3),
		cmocka_unit_test(hex),		  cmocka_unit_test(base64_of_url),
		cmocka_unit_test(base64_standard), cmocka_unit_test(randomness),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
