/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_cert.c -- what stands in an origin's certificate: tunnel, hostnames, serial number, end.
 * That it is of the right authority was checked in the handshake.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/attach.h"

#define NAMES_MAX 64 /* of a certificate */

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
	char name[256];
	int len = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name,
					    sizeof(name));

	if (!cert_serial(cert, oc->serial) || len <= 0 || (size_t)len != strlen(name) ||
	    (size_t)len >= sizeof(oc->tunnel) || !tunnel_name_valid(name))
		return -EINVAL;
	strcpy(oc->tunnel, name);
	oc->not_after = cert_time(X509_get0_notAfter(cert));
	oc->born = read_born(cert);
	oc->names = calloc(NAMES_MAX, sizeof(*oc->names));
	if (!oc->names)
		return -ENOMEM;
	oc->nnames = cert_hostnames(cert, oc->names, NAMES_MAX);
	return 0;
}
