/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tunnel_cert.c -- what is read out of certificates: names that are no tunnel's hostnames
 * count as none, whatever they hold; a site's certificate is no node's.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "user/tunnel/cert.h"

struct raw {
	const char *text;
	int len;
};

static X509 *with_names(const struct raw *names, size_t n, const char *uses)
{
	X509 *cert = X509_new();
	GENERAL_NAMES *all = GENERAL_NAMES_new();
	X509_EXTENSION *ext;

	for (size_t i = 0; i < n; i++) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();

		ASN1_STRING_set(text, names[i].text, names[i].len);
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
		sk_GENERAL_NAME_push(all, name);
	}
	assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 0, 0), 1);
	GENERAL_NAMES_free(all);
	if (uses) {
		ext = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, uses);
		assert_int_equal(X509_add_ext(cert, ext, -1), 1);
		X509_EXTENSION_free(ext);
	}
	return cert;
}

/* OpenSSL judges only what is whole. */
static void complete(X509 *cert)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	X509_set_version(cert, X509_VERSION_3);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	EVP_PKEY_free(key);
}

static void hostnames(void **state)
{
	static const struct raw names[] = {
		{ "App.Edge.EXAMPLE", 16 },
		{ "*.edge.example", 14 },
		{ "bank.example\0.evil.example", 26 },
		{ "one", 3 },
		{ "", 0 },
		{ "dot.edge.example.", 17 },
		{ "a b.example", 11 },
		{ "two.edge.example", 16 },
	};
	char out[8][TUNNEL_HOSTNAME_MAX];
	X509 *cert = with_names(names, 8, NULL);

	(void)state;
	assert_int_equal(cert_hostnames(cert, out, 8), 2);
	assert_string_equal(out[0], "app.edge.example");
	assert_string_equal(out[1], "two.edge.example");
	assert_int_equal(cert_hostnames(cert, out, 1), 1);
	assert_int_equal(cert_hostnames(cert, out, 0), 0);
	X509_free(cert);
	cert = X509_new();
	assert_int_equal(cert_hostnames(cert, out, 8), 0);
	X509_free(cert);
}

static void long_names(void **state)
{
	char text[400], out[2][TUNNEL_HOSTNAME_MAX];
	struct raw name = { text, 0 };
	X509 *cert;

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t i = 10; i < sizeof(text); i += 10)
		text[i] = '.';
	for (name.len = 250; name.len < 256; name.len++) {
		cert = with_names(&name, 1, NULL);
		assert_int_equal(cert_hostnames(cert, out, 2),
				 name.len < TUNNEL_HOSTNAME_MAX && text[name.len - 1] != '.');
		X509_free(cert);
	}
}

static void nodes(void **state)
{
	static const struct raw name = { "gw-a1", 5 };
	static const struct {
		const char *uses;
		bool node;
	} all[] = { { "serverAuth,clientAuth", true },
		    { "clientAuth", true }, /* TLS itself asks for serverAuth */
		    { "serverAuth", false },
		    { NULL, true } };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		X509 *cert = with_names(&name, 1, all[i].uses);

		complete(cert);
		assert_int_equal(cert_is_node(cert), all[i].node);
		X509_free(cert);
	}
	assert_false(cert_is_node(NULL));
}

static void serials(void **state)
{
	unsigned char bytes[24];
	char out[CERT_SERIAL_MAX];
	X509 *cert = X509_new();

	(void)state;
	memset(bytes, 0xab, sizeof(bytes));
	for (int n = 1; n <= 24; n++) {
		BIGNUM *bn = BN_bin2bn(bytes, n, NULL);

		BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
		BN_free(bn);
		assert_int_equal(cert_serial(cert, out), n <= 20);
		assert_int_equal(strlen(out), n <= 20 ? 2 * n : 0);
		assert_int_equal(strspn(out, "AB"), strlen(out));
	}
	X509_free(cert);
}

static void files(void **state)
{
	(void)state;
	assert_null(cert_read("/nowhere/cert.pem"));
	assert_int_not_equal(errno, 0);
	assert_null(cert_read("/dev/null"));
	assert_int_equal(errno, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostnames), cmocka_unit_test(long_names), cmocka_unit_test(nodes),
		cmocka_unit_test(serials),   cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
