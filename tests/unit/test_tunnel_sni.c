/* SPDX-License-Identifier: Apache-2.0 */
/* sni.c: OpenSSL's own ClientHellos are read, however they are cut; everything else is refused. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <openssl/ssl.h>

#include "user/tunnel/sni.h"

/* What OpenSSL sends first for this name (NULL: none); returns its length. */
static size_t hello_of(uint8_t *out, size_t size, const char *name, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *in = BIO_new(BIO_s_mem()), *sent = BIO_new(BIO_s_mem());
	SSL *ssl;
	int n;

	assert_non_null(ctx);
	SSL_CTX_set_max_proto_version(ctx, version);
	ssl = SSL_new(ctx);
	assert_non_null(ssl);
	SSL_set_bio(ssl, in, sent);
	if (name)
		assert_int_equal(SSL_set_tlsext_host_name(ssl, name), 1);
	assert_true(SSL_connect(ssl) < 0);
	n = BIO_read(sent, out, (int)size);
	assert_true(n > 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return (size_t)n;
}

/* The same handshake message in records of `part` bytes. */
static size_t split(uint8_t *out, const uint8_t *hello, size_t len, size_t part)
{
	size_t n = 0;

	for (size_t at = 5; at < len; at += part) {
		size_t size = len - at < part ? len - at : part;

		memcpy(out + n, hello, 3);
		out[n + 3] = (uint8_t)(size >> 8);
		out[n + 4] = (uint8_t)size;
		memcpy(out + n + 5, hello + at, size);
		n += 5 + size;
	}
	return n;
}

/* Every beginning asks for more, the whole gives the name. */
static void reads_as(const uint8_t *data, size_t len, const char *name)
{
	char host[256];

	for (size_t n = 0; n < len; n++)
		assert_int_equal(sni_parse(host, data, n), 0);
	assert_int_equal(sni_parse(host, data, len), 1);
	assert_string_equal(host, name);
}

static void reads_real_hellos(void **state)
{
	static const struct {
		const char *name, *want;
	} names[] = {
		{ "app.edge.example", "app.edge.example" },
		{ "APP.Edge.Example", "app.edge.example" },
		{ "x_1.a-b.example", "x_1.a-b.example" },
		{ NULL, "" },
	};
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	uint8_t hello[4096], parts[32768];

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		for (size_t i = 0; i < 4; i++) {
			size_t len = hello_of(hello, sizeof(hello), names[i].name, versions[v]);

			reads_as(hello, len, names[i].want);
			reads_as(parts, split(parts, hello, len, 100), names[i].want);
			reads_as(parts, split(parts, hello, len, 7), names[i].want);
		}
	}
}

static void more_behind_the_hello_is_ignored(void **state)
{
	uint8_t hello[4096];
	size_t len = hello_of(hello, 2048, "app.edge.example", TLS1_3_VERSION);
	char host[256];

	(void)state;
	memset(hello + len, 0xff, 1000);
	assert_int_equal(sni_parse(host, hello, len + 1000), 1);
	assert_string_equal(host, "app.edge.example");
}

static void refuses_other_protocols(void **state)
{
	static const char *const others[] = { "GET / HTTP/1.1\r\n", "SSH-2.0-x\r\n", "PRI * HTTP/2.0\r\n",
					      "\x80\x2e\x01\x00\x02", "\x15\x03\x01\x00\x02\x02\x28" };
	char host[256] = "kept";

	(void)state;
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(sni_parse(host, (const uint8_t *)others[i], 1), -EINVAL);
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x02", 2), -EINVAL);
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x03\x01\x00\x00", 5), -EINVAL);
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x03\x01\x40\x01", 5), -EINVAL);
	/* a ServerHello, and a hello of 64 KiB */
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x03\x01\x01\x00\x02", 6), -EINVAL);
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x03\x01\x01\x00\x01\x01", 7), -EINVAL);
	assert_int_equal(sni_parse(host, (const uint8_t *)"\x16\x03\x01\x01\x00\x01\x00\x3f\xfd", 9),
			 -EINVAL);
	assert_string_equal(host, "kept");
}

/* Where the server_name extension begins: its type. */
static size_t find_extension(const uint8_t *hello, size_t len, const char *name)
{
	for (size_t i = 0; i + strlen(name) <= len; i++)
		if (!memcmp(hello + i, name, strlen(name)))
			return i - 9;
	fail();
	return 0;
}

static void refuses_what_is_inside_wrong(void **state)
{
	uint8_t good[4096], bad[4096];
	size_t len = hello_of(good, sizeof(good), "app.edge.example", TLS1_3_VERSION);
	size_t at = find_extension(good, len, "app.edge.example");
	const struct {
		size_t where;
		uint8_t value;
	} changes[] = {
		{ at + 3, 20 },	       /* the extension is shorter than its list */
		{ at + 3, 22 },	       /* and longer */
		{ at + 5, 18 },	       /* the list */
		{ at + 6, 1 },	       /* another type of name */
		{ at + 8, 15 },	       /* the name: something is behind it */
		{ at + 8, 17 },	       /* and runs out of the list */
		{ at + 9, '.' },       /* an empty label */
		{ at + 9, ' ' },       { at + 9, 0 },  { at + 10, '/' }, { at + 24, '.' },
		{ at + 12, 0xc3 },     /* not ASCII */
		{ 5 + 4 + 2 + 32, 33 },/* session id */
	};
	char host[256];

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
		memcpy(bad, good, len);
		bad[changes[i].where] = changes[i].value;
		assert_int_equal(sni_parse(host, bad, len), -EINVAL);
	}
}

/* A second server_name (made of the extension that follows it) is another's name smuggled in. */
static void refuses_two_names(void **state)
{
	uint8_t hello[4096];
	size_t len = hello_of(hello, 2048, "app.edge.example", TLS1_3_VERSION), size;
	size_t at = find_extension(hello, len, "app.edge.example"), ext = 4 + 21;
	char host[256];

	(void)state;
	memmove(hello + at + ext, hello + at, len - at);
	for (size_t where = 3; where; where = where == 3 ? 7 : 0) { /* record, message */
		size = (size_t)(hello[where] << 8 | hello[where + 1]) + ext;
		hello[where] = (uint8_t)(size >> 8);
		hello[where + 1] = (uint8_t)size;
	}
	assert_int_equal(sni_parse(host, hello, len + ext), -EINVAL);
}

/* Records of one byte each may not make anybody collect more than SNI_HELLO_MAX. */
static void refuses_to_wait_for_ever(void **state)
{
	uint8_t *many = malloc(SNI_HELLO_MAX + 6);
	char host[256];

	(void)state;
	assert_non_null(many);
	for (size_t at = 0; at + 6 <= SNI_HELLO_MAX + 6; at += 6)
		memcpy(many + at, "\x16\x03\x01\x00\x01\x00", 6);
	many[5] = 1;
	many[5 + 12] = 0x30;
	assert_int_equal(sni_parse(host, many, SNI_HELLO_MAX - 100), 0);
	assert_int_equal(sni_parse(host, many, SNI_HELLO_MAX), -EINVAL);
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_real_hellos),
		cmocka_unit_test(more_behind_the_hello_is_ignored),
		cmocka_unit_test(refuses_other_protocols),
		cmocka_unit_test(refuses_what_is_inside_wrong),
		cmocka_unit_test(refuses_two_names),
		cmocka_unit_test(refuses_to_wait_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
