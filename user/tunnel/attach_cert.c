/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_cert.c -- what stands in an origin's certificate: tunnel, hostnames, serial number, end.
 * That it is of the right authority was checked in the handshake.
 */
#include <errno.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "user/tunnel/attach.h"

#define NAMES_MAX 64 /* of a certificate */

static int64_t asn1_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* DNS names as the tunnel writes them: lower case. Names with a NUL or too long are left out. */
static int read_names(struct oconn *oc, X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int n = names ? sk_GENERAL_NAME_num(names) : 0;

	if (n > NAMES_MAX)
		n = NAMES_MAX;
	oc->names = calloc((size_t)n + 1, sizeof(*oc->names));
	for (int i = 0; oc->names && i < n; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		size_t len;

		if (name->type != GEN_DNS)
			continue;
		len = (size_t)ASN1_STRING_length(name->d.dNSName);
		if (!len || len >= TUNNEL_HOSTNAME_MAX ||
		    memchr(ASN1_STRING_get0_data(name->d.dNSName), 0, len))
			continue;
		for (size_t k = 0; k < len; k++) {
			char c = (char)ASN1_STRING_get0_data(name->d.dNSName)[k];

			oc->names[oc->nnames][k] = (char)(c >= 'A' && c <= 'Z' ? c | 32 : c);
		}
		/* a star is no name: it would stand for all of a list */
		oc->nnames += tunnel_hostname_valid(oc->names[oc->nnames]);
	}
	GENERAL_NAMES_free(names);
	return oc->names ? 0 : -ENOMEM;
}

/* When the tunnel was made; 0: the certificate does not say. */
static int64_t read_born(const X509 *cert)
{
	char text[24], *end;
	int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_serialNumber, text,
					    sizeof(text));
	long long born = len > 0 && *text >= '0' && *text <= '9' ? strtoll(text, &end, 10) : 0;

	return born && !*end ? born : 0;
}

int oconn_read_certificate(struct oconn *oc, X509 *cert)
{
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = serial ? BN_bn2hex(serial) : NULL;
	char name[256];
	int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
					    sizeof(name));
	int rc = -EINVAL;

	if (hex && strlen(hex) < sizeof(oc->serial) && len > 0 && (size_t)len == strlen(name) &&
	    (size_t)len < sizeof(oc->tunnel) && tunnel_name_valid(name)) {
		strcpy(oc->serial, hex);
		strcpy(oc->tunnel, name);
		oc->not_after = asn1_time(X509_get0_notAfter(cert));
		oc->born = read_born(cert);
		rc = read_names(oc, cert);
	}
	OPENSSL_free(hex);
	BN_free(serial);
	return rc;
}
