// SPDX-License-Identifier: Apache-2.0
/*
 * cert.c -- see cert.h.
 */
#include "user/tunnel/cert.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

X509 *cert_read(const char *path)
{
	FILE *in = fopen(path, "re");
	X509 *cert = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;

	if (in) {
		fclose(in);
		errno = 0;
	}
	return cert;
}

int64_t cert_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

bool cert_serial(const X509 *cert, char out[CERT_SERIAL_MAX])
{
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = serial ? BN_bn2hex(serial) : NULL;
	bool fits = hex && strlen(hex) < CERT_SERIAL_MAX;

	snprintf(out, CERT_SERIAL_MAX, "%s", fits ? hex : "");
	OPENSSL_free(hex);
	BN_free(serial);
	return fits;
}

/* False: it is longer, or holds a NUL. */
static bool take_name(const ASN1_IA5STRING *name, char out[TUNNEL_HOSTNAME_MAX])
{
	const unsigned char *text = ASN1_STRING_get0_data(name);
	int len = ASN1_STRING_length(name);

	if (len <= 0 || len >= TUNNEL_HOSTNAME_MAX)
		return false;
	for (int i = 0; i < len; i++)
		out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i]);
	out[len] = '\0';
	return strlen(out) == (size_t)len && tunnel_hostname_valid(out);
}

size_t cert_hostnames(const X509 *cert, char (*out)[TUNNEL_HOSTNAME_MAX], size_t max)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t n = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && n < max; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		n += name->type == GEN_DNS && take_name(name->d.dNSName, out[n]);
	}
	GENERAL_NAMES_free(names);
	return n;
}

bool cert_is_node(X509 *cert)
{
	return cert && (X509_get_extended_key_usage(cert) & XKU_SSL_CLIENT);
}
