/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt.h -- an ID token verified (OpenID Connect Core 3.1.3.7, RFC 8725): pure, by cjose. Algorithms that are
 * allowed are named (RS256, PS256, ES256); "none" and HMAC never are.
 */
#ifndef WEIR_JWT_H
#define WEIR_JWT_H

#include <jansson.h>
#include <stdint.h>

struct jwt_expect {
	const char *issuer, *audience; /* audience also azp when there are several */
	const char *nonce;	       /* NULL: none (device flow) */
	int64_t now, skew_s;
};
/* keys: a JWK set. 0 and the claims (a new reference); -ENOKEY no such kid (fetch the set anew, once), -EBADMSG signature or
 * form, -EACCES a claim (why says which), -ETIME expired or not yet. why: a sentence's middle. */
int jwt_verify(json_t **claims, const char *token, const json_t *keys, const struct jwt_expect *expect, char why[160]);

#endif
