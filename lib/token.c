/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.c -- see token.h.
 *
 * Pure: keys, text and time in, scope out. The payload is JSON in base64url; the MAC covers the
 * text before the second dot as it was sent, so that there is one reading of what was signed.
 */
#include "lib/token.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"

#define PREFIX	   "weir1."
#define PREFIX_LEN 6
#define MAC_TEXT   43 /* 32 bytes in base64url without padding */

static const struct {
	char letter;
	unsigned int right;
} letters[] = { { 'r', RIGHT_READ },
		{ 'w', RIGHT_WRITE },
		{ 'd', RIGHT_DELETE },
		{ 'l', RIGHT_LIST },
		{ 'a', RIGHT_ADMIN } };

unsigned int rights_parse(const char *text)
{
	unsigned int rights = 0;

	for (; *text; text++) {
		unsigned int right = 0;

		for (size_t i = 0; i < sizeof(letters) / sizeof(*letters); i++)
			if (letters[i].letter == *text)
				right = letters[i].right;
		if (!right)
			return 0;
		rights |= right;
	}
	return rights;
}

char *rights_format(unsigned int rights, char buf[8])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(letters) / sizeof(*letters); i++)
		if (rights & letters[i].right)
			buf[n++] = letters[i].letter;
	buf[n] = '\0';
	return buf;
}

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@"

bool token_name_valid(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= 63 && len == strspn(name, NAME_CHARACTERS);
}

bool token_id_valid(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= 16 && len == strspn(id, "0123456789abcdef");
}

bool token_groups_valid(const char *groups)
{
	size_t len;

	for (;; groups += len + 1) {
		len = strspn(groups, NAME_CHARACTERS);
		if (len < 1 || len > 63)
			return false;
		if (!groups[len])
			return true;
		if (groups[len] != ',')
			return false;
	}
}

bool token_groups_have(const char *groups, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = groups; len && (at = strstr(at, name)); at++)
		if ((at == groups || at[-1] == ',') && (!at[len] || at[len] == ','))
			return true;
	return false;
}

/* Appends "." and the MAC to the text of len bytes; out has room. */
static void append_mac(char *out, size_t len, const struct token_key *key)
{
	uint8_t mac[32];

	hmac_sha256(key->secret, sizeof(key->secret), out, len, mac);
	out[len] = '.';
	base64url_encode(mac, sizeof(mac), out + len + 1);
}

static bool access_key_valid(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= TOKEN_ACCESS_KEY_MAX &&
	       len == strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
}

/* The members that a token may have beside the seven that it must: only those that say something,
 * so that a scope has one text. */
static int pack_options(json_t *o, const struct token_scope *scope)
{
	int rc = 0;

	if (scope->issued > 0)
		rc |= json_object_set_new(o, "i", json_integer((json_int_t)scope->issued));
	if (*scope->id)
		rc |= token_id_valid(scope->id)
			      ? json_object_set_new(o, "j", json_string(scope->id))
			      : -1;
	if (scope->provider)
		rc |= json_object_set_new(o, "v", json_true());
	if (scope->provider && *scope->groups)
		rc |= token_groups_valid(scope->groups)
			      ? json_object_set_new(o, "g", json_string(scope->groups))
			      : -1;
	if (*scope->access_key)
		rc |= access_key_valid(scope->access_key) ? json_object_set_new(o, "c", json_string(scope->access_key)) : -1;
	if (scope->via_gateway)
		rc |= json_object_set_new(o, "w", json_true());
	return rc ? -EINVAL : 0;
}

int token_sign(char out[TOKEN_MAX], const struct token_scope *scope, const struct token_key *key)
{
	char rights[8], text[TOKEN_MAX];
	json_t *o =
		json_pack("{s:s, s:s, s:s, s:s, s:b, s:s, s:I}", "k", key->kid, "u", scope->user,
			  "b", scope->bucket, "p", scope->prefix, "x", scope->exact, "r",
			  rights_format(scope->rights, rights), "e", (json_int_t)scope->expires);
	char *payload = o && !pack_options(o, scope) ? json_dumps(o, JSON_COMPACT) : NULL;
	size_t len = payload ? strlen(payload) : 0, n;

	json_decref(o);
	if (!payload || PREFIX_LEN + (len + 2) / 3 * 4 + 1 + MAC_TEXT >= TOKEN_MAX) {
		free(payload);
		return -EINVAL;
	}
	memcpy(text, PREFIX, PREFIX_LEN);
	n = PREFIX_LEN + base64url_encode(payload, len, text + PREFIX_LEN);
	free(payload);
	append_mac(text, n, key);
	memcpy(out, text, TOKEN_MAX);
	return 0;
}

static int take_text(const json_t *o, const char *key, char *out, size_t len)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_string(v) || json_string_length(v) >= len ||
	    strlen(json_string_value(v)) != json_string_length(v))
		return -EINVAL;
	memcpy(out, json_string_value(v), json_string_length(v) + 1);
	return 0;
}

/* A member that is true where it stands. */
static int take_true(const json_t *o, const char *key, bool *out, size_t *members)
{
	const json_t *v = json_object_get(o, key);

	*out = json_is_true(v);
	*members += v != NULL;
	return v && !*out ? -EINVAL : 0;
}

/* The members that may be absent; *members: how many there were. */
static int parse_options(const json_t *o, struct token_scope *scope, size_t *members)
{
	const json_t *issued = json_object_get(o, "i"), *id = json_object_get(o, "j"),
		     *groups = json_object_get(o, "g"), *by = json_object_get(o, "c");

	*members = (issued != NULL) + (id != NULL) + (groups != NULL) + (by != NULL);
	scope->issued = json_integer_value(issued);
	if ((issued && scope->issued <= 0) || take_true(o, "v", &scope->provider, members) ||
	    take_true(o, "w", &scope->via_gateway, members))
		return -EINVAL;
	if (id && (take_text(o, "j", scope->id, sizeof(scope->id)) || !token_id_valid(scope->id)))
		return -EINVAL;
	if (by && (take_text(o, "c", scope->access_key, sizeof(scope->access_key)) || !access_key_valid(scope->access_key)))
		return -EINVAL;
	if (groups &&
	    (!scope->provider || take_text(o, "g", scope->groups, sizeof(scope->groups)) ||
	     !token_groups_valid(scope->groups)))
		return -EINVAL;
	return 0;
}

/* The payload's members, strictly these; kid apart. */
static int parse_payload(const char *text, size_t len, struct token_scope *scope, char kid[17])
{
	char raw[TOKEN_MAX], rights[8];
	long n = base64url_decode(text, len, raw, sizeof(raw));
	json_t *o = n > 0 ? json_loadb(raw, (size_t)n, JSON_REJECT_DUPLICATES, NULL) : NULL;
	const json_t *exact = json_object_get(o, "x"), *expires = json_object_get(o, "e");
	size_t options;
	int rc = -EINVAL;

	memset(scope, 0, sizeof(*scope));
	if (!parse_options(o, scope, &options) && json_object_size(o) == 7 + options &&
	    !take_text(o, "k", kid, 17) && !take_text(o, "u", scope->user, sizeof(scope->user)) &&
	    !take_text(o, "b", scope->bucket, sizeof(scope->bucket)) &&
	    !take_text(o, "p", scope->prefix, sizeof(scope->prefix)) &&
	    !take_text(o, "r", rights, sizeof(rights)) && json_is_boolean(exact) &&
	    json_is_integer(expires)) {
		scope->exact = json_is_true(exact);
		scope->expires = json_integer_value(expires);
		scope->rights = rights_parse(rights);
		rc = scope->rights || !*rights ? 0 : -EINVAL;
	}
	json_decref(o);
	return rc;
}

int token_verify(struct token_scope *out, const char *token, const struct token_key *keys,
		 size_t nkeys, int64_t now)
{
	size_t len = strnlen(token, TOKEN_MAX);
	const char *dot = len < TOKEN_MAX && !strncmp(token, PREFIX, PREFIX_LEN)
				  ? strchr(token + PREFIX_LEN, '.')
				  : NULL;
	uint8_t sent[32], right[32];
	struct token_scope scope;
	char kid[17];

	if (!dot || token + len - dot - 1 != MAC_TEXT ||
	    base64url_decode(dot + 1, MAC_TEXT, sent, sizeof(sent)) != sizeof(sent) ||
	    parse_payload(token + PREFIX_LEN, (size_t)(dot - token - PREFIX_LEN), &scope, kid))
		return -EINVAL;
	for (size_t i = 0; i < nkeys; i++) {
		if (strcmp(keys[i].kid, kid))
			continue;
		hmac_sha256(keys[i].secret, sizeof(keys[i].secret), token, (size_t)(dot - token),
			    right);
		if (CRYPTO_memcmp(sent, right, sizeof(right)))
			return -EBADMSG;
		if (now >= scope.expires)
			return -ETIME;
		*out = scope;
		return 0;
	}
	return -ENOKEY;
}

bool token_allows(const struct token_scope *scope, unsigned int right, const char *bucket,
		  const char *key)
{
	if ((scope->rights & right) != right || (scope->scoped && !bucket))
		return false;
	if (strcmp(scope->bucket, "*") && (!bucket || strcmp(scope->bucket, bucket)))
		return false;
	if (scope->exact)
		return key && !strcmp(scope->prefix, key);
	return !*scope->prefix || (key && !strncmp(scope->prefix, key, strlen(scope->prefix)));
}
