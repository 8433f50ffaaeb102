/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_certs.h -- authorities and certificates for tests, made by OpenSSL into files.
 *
 *	struct certs_ca ca;
 *	certs_ca(&ca, folder, "ours");                  folder/ours.pem, ours.key
 *	certs_issue(&ca, folder, "node", "DNS:a.example,IP:127.0.0.1", "serverAuth");
 */
#ifndef WEIR_TESTS_TUNNEL_CERTS_H
#define WEIR_TESTS_TUNNEL_CERTS_H

#include "tests/unit/unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct certs_ca {
	X509 *cert;
	EVP_PKEY *key;
};

static inline void certs_write(const char *folder, const char *name, X509 *cert, EVP_PKEY *key,
			       X509 *chain)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
	assert_non_null(f = fopen(path, "w"));
	assert_int_equal(PEM_write_X509(f, cert), 1);
	if (chain)
		assert_int_equal(PEM_write_X509(f, chain), 1);
	fclose(f);
	snprintf(path, sizeof(path), "%s/%s.key", folder, name);
	assert_non_null(f = fopen(path, "w"));
	assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
	fclose(f);
}

static inline void certs_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

/* Valid from `from` to `to` seconds from now; alt and usage may be NULL. */
static inline X509 *certs_make(const struct certs_ca *ca, const char *name, EVP_PKEY *key,
			       long from, long to, const char *alt, const char *usage)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *subject;

	assert_non_null(cert);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), from);
	X509_gmtime_adj(X509_getm_notAfter(cert), to);
	X509_set_pubkey(cert, key);
	subject = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1,
				   0);
	X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca->cert) : subject);
	certs_extension(cert, ca ? ca->cert : cert, NID_basic_constraints,
			ca ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (alt)
		certs_extension(cert, ca->cert, NID_subject_alt_name, alt);
	if (usage)
		certs_extension(cert, ca->cert, NID_ext_key_usage, usage);
	assert_true(X509_sign(cert, ca ? ca->key : key, EVP_sha256()) > 0);
	return cert;
}

static inline void certs_ca(struct certs_ca *ca, const char *folder, const char *name)
{
	ca->key = EVP_EC_gen("P-256");
	assert_non_null(ca->key);
	ca->cert = certs_make(NULL, name, ca->key, -3600, 86400, NULL, NULL);
	certs_write(folder, name, ca->cert, ca->key, NULL);
}

static inline void certs_issue_for(const struct certs_ca *ca, const char *folder, const char *name,
				   const char *alt, const char *usage, long from, long to)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert;

	assert_non_null(key);
	cert = certs_make(ca, name, key, from, to, alt, usage);
	certs_write(folder, name, cert, key, ca->cert);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* FOLDER/NAME.pem (with the authority's after it) and NAME.key. */
static inline void certs_issue(const struct certs_ca *ca, const char *folder, const char *name,
			       const char *alt, const char *usage)
{
	certs_issue_for(ca, folder, name, alt, usage, -3600, 86400);
}

static inline void certs_ca_free(struct certs_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
}

#endif
