/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt.c -- see jwt.h.
 *
 * The header is read here, before cjose sees the token: the algorithm must be one of ours and must be what the key is
 * for (RFC 8725 sections 3.1 and 3.2), so that neither "none" nor an HMAC keyed with a public key can come about. Claims
 * are read from the bytes whose signature was found good, never before.
 */
#include "http/identity/jwt.h"

#include <cjose/cjose.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

#define TOKEN_BYTES_MAX (64u << 10)
#define HEADER_MAX	4096
#define RSA_MODULUS_MIN 342 /* base64url digits of 2,048 bits */
#define SUBJECT_MAX	255 /* OpenID Connect Core section 2 */

static const struct algorithm {
	const char *name, *kty, *curve;
} algorithms[] = {
	{ "RS256", "RSA", NULL },
	{ "PS256", "RSA", NULL },
	{ "ES256", "EC", "P-256" },
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? text : "";
}

static const struct algorithm *algorithm_find(const char *name)
{
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(*algorithms); i++)
		if (!strcmp(algorithms[i].name, name))
			return &algorithms[i];
	return NULL;
}

/* The first part, decoded; NULL when it is no object. */
static json_t *read_header(const char *token, size_t len)
{
	char raw[HEADER_MAX];
	long n = len < sizeof(raw) ? base64url_decode(token, len, raw, sizeof(raw)) : -1;
	json_t *header = n > 0 ? json_loadb(raw, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (header && !json_is_object(header)) {
		json_decref(header);
		header = NULL;
	}
	return header;
}

/* Does the key say that it is for signatures of this algorithm? */
static bool key_fits(const json_t *key, const struct algorithm *alg)
{
	const char *use = text_of(key, "use"), *said = text_of(key, "alg");

	if (strcmp(text_of(key, "kty"), alg->kty) || (*use && strcmp(use, "sig")) || (*said && strcmp(said, alg->name)))
		return false;
	if (alg->curve)
		return !strcmp(text_of(key, "crv"), alg->curve);
	return strlen(text_of(key, "n")) >= RSA_MODULUS_MIN;
}

/* By kid; a token without one is fine when one key alone fits. */
static const json_t *key_find(const json_t *keys, const char *kid, const struct algorithm *alg)
{
	const json_t *key, *found = NULL;
	size_t i, n = 0;

	json_array_foreach (json_object_get(keys, "keys"), i, key) {
		if (!key_fits(key, alg) || (kid && strcmp(text_of(key, "kid"), kid)))
			continue;
		found = key;
		n++;
	}
	return n == 1 ? found : NULL;
}

/* Nothing but base64url without padding (RFC 7515 section 2): cjose 0.6.2 ends the process at some of what is not. */
static bool base64url_only(const char *text, size_t len)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	return len && len % 4 != 1 && strspn(text, letters) >= len;
}

/* HEADER.PAYLOAD.SIGNATURE (RFC 7515 section 7.1). */
static bool compact_form(const char *token)
{
	for (int part = 0; part < 3; part++) {
		size_t len = strcspn(token, ".");

		if (!base64url_only(token, len) || token[len] != (part < 2 ? '.' : '\0'))
			return false;
		token += len + 1;
	}
	return true;
}

static bool key_members_good(const json_t *key, const char *const *names)
{
	for (; *names; names++) {
		const char *text = text_of(key, *names);

		if (strcmp(*names, "kty") && strcmp(*names, "crv") && !base64url_only(text, strlen(text)))
			return false;
	}
	return true;
}

/* Public members alone: what a set says beside them is not ours to judge. */
static cjose_jwk_t *key_import(const json_t *key, const struct algorithm *alg)
{
	static const char *const rsa[] = { "kty", "n", "e", NULL }, *const ec[] = { "kty", "crv", "x", "y", NULL };
	const char *const *names = alg->curve ? ec : rsa;
	cjose_jwk_t *jwk = NULL;
	cjose_err err;
	json_t *o;
	char *text;

	if (!key_members_good(key, names))
		return NULL;
	o = json_object();
	for (; *names; names++)
		json_object_set(o, *names, json_object_get(key, *names));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (text)
		jwk = cjose_jwk_import(text, strlen(text), &err);
	free(text);
	return jwk;
}

/* The payload of a token whose signature is good, else NULL. */
static json_t *verified_payload(const char *token, size_t len, const json_t *key, const struct algorithm *alg)
{
	cjose_jwk_t *jwk = key_import(key, alg);
	cjose_jws_t *jws = NULL;
	json_t *claims = NULL;
	uint8_t *plain = NULL;
	size_t plain_len = 0;
	cjose_err err;

	if (jwk)
		jws = cjose_jws_import(token, len, &err);
	if (jws && cjose_jws_verify(jws, jwk, &err) && cjose_jws_get_plaintext(jws, &plain, &plain_len, &err))
		claims = json_loadb((const char *)plain, plain_len, JSON_REJECT_DUPLICATES, NULL);
	if (claims && !json_is_object(claims)) {
		json_decref(claims);
		claims = NULL;
	}
	if (jws)
		cjose_jws_release(jws);
	if (jwk)
		cjose_jwk_release(jwk);
	return claims;
}

/* ---- claims ---------------------------------------------------------------------------------- */

static int fault(char why[160], int rc, const char *what)
{
	snprintf(why, 160, "%s", what);
	return rc;
}

/* Section 3.1.3.7, items 3 to 5. */
static bool audience_good(const json_t *claims, const char *audience)
{
	const json_t *aud = json_object_get(claims, "aud"), *azp = json_object_get(claims, "azp"), *one;
	bool named = false;
	size_t i;

	if (azp && strcmp(text_of(claims, "azp"), audience))
		return false;
	if (json_is_string(aud))
		return !strcmp(json_string_value(aud), audience);
	json_array_foreach (aud, i, one)
		named |= json_is_string(one) && !strcmp(json_string_value(one), audience);
	return named && (json_array_size(aud) == 1 || azp);
}

static int check_times(const json_t *claims, const struct jwt_expect *expect, char why[160])
{
	const json_t *exp = json_object_get(claims, "exp"), *iat = json_object_get(claims, "iat"), *nbf = json_object_get(claims, "nbf");
	double now = (double)expect->now, skew = (double)expect->skew_s;

	if (!json_is_number(exp) || !json_is_number(iat) || (nbf && !json_is_number(nbf)))
		return fault(why, -EACCES, "says by exp, iat or nbf no time");
	if (json_number_value(exp) + skew <= now)
		return fault(why, -ETIME, "has expired (exp); are the clocks right?");
	if (json_number_value(iat) - skew > now)
		return fault(why, -ETIME, "is of the future (iat); are the clocks right?");
	if (nbf && json_number_value(nbf) - skew > now)
		return fault(why, -ETIME, "is not good yet (nbf); are the clocks right?");
	return 0;
}

static int check_claims(const json_t *claims, const struct jwt_expect *expect, char why[160])
{
	const char *sub = text_of(claims, "sub");

	if (strcmp(text_of(claims, "iss"), expect->issuer))
		return fault(why, -EACCES, "is of another issuer (iss)");
	if (!audience_good(claims, expect->audience))
		return fault(why, -EACCES, "is for another audience (aud, azp)");
	if (!*sub || strlen(sub) > SUBJECT_MAX)
		return fault(why, -EACCES, "names no subject (sub)");
	if (expect->nonce && strcmp(text_of(claims, "nonce"), expect->nonce))
		return fault(why, -EACCES, "answers another sign-in (nonce)");
	return check_times(claims, expect, why);
}

int jwt_verify(json_t **out, const char *token, const json_t *keys, const struct jwt_expect *expect, char why[160])
{
	size_t len = strnlen(token, TOKEN_BYTES_MAX);
	const char *dot = len < TOKEN_BYTES_MAX ? strchr(token, '.') : NULL;
	json_t *header = dot ? read_header(token, (size_t)(dot - token)) : NULL, *claims = NULL;
	const struct algorithm *alg = algorithm_find(text_of(header, "alg"));
	const json_t *kid = json_object_get(header, "kid"), *key = NULL;
	int rc = 0;

	if (!header || !compact_form(token))
		rc = fault(why, -EBADMSG, "is not a signed token (JWS)");
	else if (!alg)
		rc = fault(why, -EBADMSG, "is not signed by RS256, PS256 or ES256");
	else if (json_object_get(header, "crit") || (kid && !json_is_string(kid)))
		rc = fault(why, -EBADMSG, "has a header that is not understood (crit, kid)");
	else if (!(key = key_find(keys, json_string_value(kid), alg)))
		rc = fault(why, -ENOKEY, "is signed by a key that the provider does not publish");
	else if (!(claims = verified_payload(token, len, key, alg)))
		rc = fault(why, -EBADMSG, "has a wrong signature");
	else
		rc = check_claims(claims, expect, why);
	json_decref(header);
	if (rc)
		json_decref(claims);
	else
		*out = claims;
	return rc;
}
