/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authority.h -- `weir-tunnel authority`: signs the certificates of origins. The one process that has
 * the key of origins.pem; it speaks with nobody but the registry.
 *
 *	authority_sign.c  pure: may this CSR be signed, and the certificate
 *	authority_work.c  what edges ask under enroll/, checked, answered in one transaction
 *	authority.c       the daemon: reads the key while privileged, status, metrics
 */
#ifndef WEIR_TUNNEL_AUTHORITY_H
#define WEIR_TUNNEL_AUTHORITY_H

#include <openssl/x509.h>
#include <stdint.h>

#include "lib/daemon.h"
#include "lib/tunnels.h"
#include "user/tunnel/cert.h"

extern const struct daemon_program authority_program;

#define AUTHORITY_WHY_MAX    160

/* ---- authority_sign.c ---- */
struct signer {
	X509 *cert;
	EVP_PKEY *key;
};
/* Reads FOLDER/origins.pem and FOLDER/origins.key; the key file must be its owner's alone. 0, or
 * -errno with a sentence. */
int signer_read(struct signer *out, const char *folder, char *why, size_t why_len);
void signer_clear(struct signer *s);

struct issued {
	char *pem; /* malloc'ed */
	char serial[CERT_SERIAL_MAX];
	int64_t until; /* unix seconds */
};
/* Signs the public key of a CSR for the tunnel's name and hostnames; everything else that the CSR asks
 * for is ignored. 0, -EINVAL with a sentence for whoever asked (not a CSR, its signature, its key), or
 * -EIO with one for the log. */
int signer_issue(const struct signer *s, const struct tunnel *t, const char *csr, uint64_t lifetime_us,
		 struct issued *out, char why[AUTHORITY_WHY_MAX]);

/* ---- authority_work.c ---- */
enum authority_outcome {
	AUTHORITY_SIGNED,
	AUTHORITY_MALFORMED, /* not an ask at all */
	AUTHORITY_TUNNEL,    /* no such tunnel */
	AUTHORITY_CLOSED,    /* no enrolment is open: none was, or the token was used */
	AUTHORITY_EXPIRED,
	AUTHORITY_SECRET,
	AUTHORITY_CSR,
	AUTHORITY_OUTCOMES
};
extern const char *const authority_outcome_words[AUTHORITY_OUTCOMES];

struct authority;
/* Begins to watch and answer, on threads of its own. signer and reg stay the caller's until
 * authority_close(). */
int authority_open(struct authority **out, struct registry *reg, const struct signer *signer,
		   uint64_t lifetime_us);
void authority_close(struct authority *a); /* accepts NULL */
void authority_set_lifetime(struct authority *a, uint64_t lifetime_us);
uint64_t authority_count(struct authority *a, enum authority_outcome outcome);
size_t authority_pending(struct authority *a); /* asks that wait, because the registry is silent */
/* Removes what revoked/ and issued/ hold of certificates that have expired; *n of them. */
int authority_prune(struct registry *reg, int64_t now, size_t *n);

#endif
