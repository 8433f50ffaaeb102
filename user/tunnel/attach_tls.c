/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach_tls.c -- the attach listener's TLS: this node's certificate to origins, and whose
 * certificates origins must have.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/log.h"
#include "user/tunnel/attach.h"

#define PEM_MAX 65536

/* The chain that is sent ends with the authority's certificate, by whose digest a newcomer with
 * nothing but a token knows the edge. */
static int add_authority(SSL_CTX *ctx, const char *path, char *why, size_t why_len)
{
	FILE *in = fopen(path, "re");
	X509 *cert;
	int n = 0;

	while (in && (cert = PEM_read_X509(in, NULL, NULL, NULL))) {
		n += SSL_CTX_add1_chain_cert(ctx, cert) == 1;
		X509_free(cert);
	}
	if (in)
		fclose(in);
	if (n)
		return 0;
	snprintf(why, why_len, "%s: cannot read a certificate from it", path);
	return -EINVAL;
}

static char *read_pem(const char *path)
{
	FILE *in = fopen(path, "re");
	char *text = in ? calloc(1, PEM_MAX + 1) : NULL;

	if (text && !fread(text, 1, PEM_MAX, in)) {
		free(text);
		text = NULL;
	}
	if (in)
		fclose(in);
	return text;
}

int attach_tls(SSL_CTX **out, char **ca_pem, const struct conf *conf)
{
	static const char *const alpn[] = { CONTROL_ALPN, "http/1.1", NULL };
	struct conn_tls_files files = { .cert = conf->tls.cert,
					.key = conf->tls.key,
					.ca = conf->edge.origins,
					.server = true,
					.tls13_only = true,
					.alpn = alpn };
	SSL_CTX *ctx = NULL;
	char why[512] = "", *pem;
	int rc;

	if (!conf->tls.cert || !conf->tls.key || !conf->tls.ca || !conf->edge.origins) {
		log_error("edge.attach: origins are known by certificates: tls.ca, tls.cert, "
			  "tls.key and edge.origins must be set (weir ca)");
		return -EINVAL;
	}
	rc = conn_tls_new(&ctx, &files, why, sizeof(why));
	if (!rc)
		rc = add_authority(ctx, conf->tls.ca, why, sizeof(why));
	pem = rc ? NULL : read_pem(conf->tls.ca);
	if (!rc && !pem)
		rc = -ENOMEM;
	if (rc) {
		log_error("edge.attach: %s", why);
		SSL_CTX_free(ctx);
		return rc;
	}
	free(*ca_pem);
	*ca_pem = pem;
	*out = ctx;
	return 0;
}
