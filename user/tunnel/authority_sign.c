/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority_sign.c -- a CSR in, a certificate out. Of the CSR only the public key counts, after the
 * proof that whoever asks has the private one (RFC 2986, section 3); names come from the tunnel.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/hash.h"
#include "user/tunnel/authority.h"

#define CLOCK_SLACK_S 3600 /* an origin's clock may be behind by so much */
#define RSA_BITS_MIN  2048
#define RSA_BITS_MAX  4096 /* larger ones cost every handshake too much */

static const char *ssl_why(void)
{
	const char *text = ERR_reason_error_string(ERR_get_error());

	return text ? text : "no reason was given";
}

/* ---- the authority's own files ---- */

static int read_key(EVP_PKEY **out, const char *path, char *why, size_t why_len)
{
	FILE *in = fopen(path, "re");
	struct stat st;
	int rc = 0;

	if (!in || fstat(fileno(in), &st)) {
		rc = -errno;
		snprintf(why, why_len, "%s cannot be read: %s (`weir ca init` makes it)", path,
			 strerror(-rc));
	} else if (st.st_mode & 077) {
		rc = -EPERM;
		snprintf(why, why_len, "%s can be read by others than its owner; chmod 600 it",
			 path);
	} else {
		*out = PEM_read_PrivateKey(in, NULL, NULL, NULL);
		if (!*out) {
			rc = -EINVAL;
			snprintf(why, why_len, "%s holds no key: %s", path, ssl_why());
		}
	}
	if (in)
		fclose(in);
	return rc;
}

static int read_cert(X509 **out, const char *path, char *why, size_t why_len)
{
	int err;

	*out = cert_read(path);
	err = errno;
	if (*out)
		return 0;
	if (err) {
		snprintf(why, why_len, "%s cannot be read: %s (`weir ca init` makes it)", path,
			 strerror(err));
		return -err;
	}
	snprintf(why, why_len, "%s holds no certificate: %s", path, ssl_why());
	return -EINVAL;
}

int signer_read(struct signer *out, const char *folder, char *why, size_t why_len)
{
	struct signer s = { NULL, NULL };
	char path[4096];
	int rc;

	snprintf(path, sizeof(path), "%s/origins.pem", folder);
	rc = read_cert(&s.cert, path, why, why_len);
	snprintf(path, sizeof(path), "%s/origins.key", folder);
	if (!rc)
		rc = read_key(&s.key, path, why, why_len);
	if (!rc && (X509_check_private_key(s.cert, s.key) != 1 || X509_check_ca(s.cert) != 1)) {
		snprintf(why, why_len,
			 "%s does not belong to origins.pem beside it, or that is no "
			 "authority",
			 path);
		rc = -EINVAL;
	}
	ERR_clear_error();
	if (rc)
		signer_clear(&s);
	else
		*out = s;
	return rc;
}

void signer_clear(struct signer *s)
{
	X509_free(s->cert);
	EVP_PKEY_free(s->key);
	memset(s, 0, sizeof(*s));
}

/* ---- what is asked for ---- */

static int refuse(char why[AUTHORITY_WHY_MAX], const char *text)
{
	snprintf(why, AUTHORITY_WHY_MAX, "%s", text);
	ERR_clear_error();
	return -EINVAL;
}

static bool key_allowed(EVP_PKEY *key)
{
	char group[32] = "";
	size_t len = 0;

	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_ED25519:
		return true;
	case EVP_PKEY_EC:
		return EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
		       !strcmp(group, "prime256v1");
	case EVP_PKEY_RSA:
		return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN &&
		       EVP_PKEY_get_bits(key) <= RSA_BITS_MAX;
	default:
		return false;
	}
}

/* The request, whose signature is by the key in it; *key is the request's. */
static int read_request(const char *csr, X509_REQ **out, EVP_PKEY **key,
			char why[AUTHORITY_WHY_MAX])
{
	BIO *bio = BIO_new_mem_buf(csr, -1);
	X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
	int rc = 0;

	BIO_free(bio);
	*key = req ? X509_REQ_get0_pubkey(req) : NULL;
	if (!req)
		rc = refuse(why, "the certificate request cannot be read (PEM, PKCS #10)");
	else if (!*key || !key_allowed(*key))
		rc = refuse(why,
			    "the certificate request's key is neither P-256 nor Ed25519 nor RSA of "
			    "2048 to 4096 bits");
	else if (X509_REQ_verify(req, *key) != 1)
		rc = refuse(why, "the certificate request is not signed by its own key");
	if (rc)
		X509_REQ_free(req);
	else
		*out = req;
	return rc;
}

/* ---- the certificate ---- */

static bool add_text_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* Built as structures, never as text that a name could add to. */
static bool add_names(X509 *cert, const struct tunnel *t)
{
	GENERAL_NAMES *names = GENERAL_NAMES_new();
	bool ok = names != NULL;

	for (size_t i = 0; ok && i < t->nhostnames; i++) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();

		ok = name && text && ASN1_STRING_set(text, t->hostnames[i], -1);
		if (ok) {
			GENERAL_NAME_set0_value(name, GEN_DNS, text);
			ok = sk_GENERAL_NAME_push(names, name) > 0;
		} else {
			ASN1_IA5STRING_free(text);
			GENERAL_NAME_free(name);
		}
	}
	ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
	GENERAL_NAMES_free(names);
	return ok;
}

/* 128 bits; the first byte is never 0, so that every way of writing it has 32 digits. */
static bool set_serial(X509 *cert, char serial[CERT_SERIAL_MAX])
{
	unsigned char bytes[16];
	BIGNUM *bn;
	char *text;
	bool ok;

	random_bytes(bytes, sizeof(bytes));
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
	bn = BN_bin2bn(bytes, sizeof(bytes), NULL);
	text = bn ? BN_bn2hex(bn) : NULL;
	ok = text && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
	if (ok)
		snprintf(serial, CERT_SERIAL_MAX, "%s", text);
	OPENSSL_free(text);
	BN_free(bn);
	return ok;
}

/* Not longer than the authority's own, past which nobody would take it. */
static bool set_times(X509 *cert, const struct signer *s, uint64_t lifetime_us, int64_t *until)
{
	int64_t now = time(NULL), end = cert_time(X509_get0_notAfter(s->cert));

	*until = now + (int64_t)(lifetime_us / 1000000);
	if (end && *until > end)
		*until = end;
	return ASN1_TIME_set(X509_getm_notBefore(cert), now - CLOCK_SLACK_S) &&
	       ASN1_TIME_set(X509_getm_notAfter(cert), *until);
}

/* The common name is the tunnel's; which of those that had this name, in time, says the serial
 * number (X.520, section 6.2.9: "serialNumber"): when it was made. */
static bool set_subject(X509 *cert, const struct tunnel *t)
{
	X509_NAME *name = X509_get_subject_name(cert);
	char born[24];

	snprintf(born, sizeof(born), "%lld", (long long)t->created);
	return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)t->name, -1, -1, 0) &&
	       X509_NAME_add_entry_by_NID(name, NID_serialNumber, MBSTRING_ASC,
					  (const unsigned char *)born, -1, -1, 0);
}

static bool fill(X509 *cert, const struct signer *s, const struct tunnel *t, EVP_PKEY *key,
		 uint64_t lifetime_us, struct issued *out)
{
	const EVP_MD *digest =
		EVP_PKEY_get_base_id(s->key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();

	return X509_set_version(cert, X509_VERSION_3) && set_serial(cert, out->serial) &&
	       set_times(cert, s, lifetime_us, &out->until) && X509_set_pubkey(cert, key) &&
	       set_subject(cert, t) && X509_set_issuer_name(cert, X509_get_subject_name(s->cert)) &&
	       add_text_extension(cert, s->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_text_extension(cert, s->cert, NID_key_usage, "critical,digitalSignature") &&
	       add_text_extension(cert, s->cert, NID_ext_key_usage, "clientAuth") &&
	       add_text_extension(cert, s->cert, NID_authority_key_identifier, "keyid,issuer") &&
	       add_names(cert, t) && X509_sign(cert, s->key, digest) > 0;
}

static char *pem_of(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;

	if (bio && PEM_write_bio_X509(bio, cert)) {
		len = BIO_get_mem_data(bio, &data);
		text = strndup(data, (size_t)len);
	}
	BIO_free(bio);
	return text;
}

int signer_issue(const struct signer *s, const struct tunnel *t, const char *csr,
		 uint64_t lifetime_us, struct issued *out, char why[AUTHORITY_WHY_MAX])
{
	struct issued made = { .pem = NULL };
	X509_REQ *req = NULL;
	EVP_PKEY *key = NULL;
	X509 *cert;
	int rc = read_request(csr, &req, &key, why);

	if (rc)
		return rc;
	cert = X509_new();
	if (cert && fill(cert, s, t, key, lifetime_us, &made))
		made.pem = pem_of(cert);
	if (!made.pem)
		snprintf(why, AUTHORITY_WHY_MAX, "the certificate cannot be made: %.100s",
			 ssl_why());
	X509_free(cert);
	X509_REQ_free(req);
	ERR_clear_error();
	if (!made.pem)
		return -EIO;
	*out = made;
	return 0;
}
