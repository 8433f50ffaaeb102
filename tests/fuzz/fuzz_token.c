/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's token: no crash, nothing accepted that was not signed; and the same text rightly
 * signed either parses to a scope that signs to the same meaning, or is refused. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/hash.h"
#include "lib/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static const struct token_key key = { "k", { 7 } };

/* The input as a payload with a right signature. */
static void as_payload(const uint8_t *data, size_t size)
{
	struct token_scope scope, again;
	char text[TOKEN_MAX] = "weir1.", second[TOKEN_MAX];
	uint8_t mac[32];
	size_t n;

	if (size > 1400)
		return;
	n = 6 + base64url_encode(data, size, text + 6);
	hmac_sha256(key.secret, sizeof(key.secret), text, n, mac);
	text[n] = '.';
	base64url_encode(mac, sizeof(mac), text + n + 1);
	if (token_verify(&scope, text, &key, 1, 0))
		return;
	require(scope.expires > 0);
	require(!token_sign(second, &scope, &key) && !token_verify(&again, second, &key, 1, 0));
	require(!memcmp(&scope, &again, sizeof(scope)) ||
		(!strcmp(scope.user, again.user) && !strcmp(scope.bucket, again.bucket) &&
		 !strcmp(scope.prefix, again.prefix) && scope.exact == again.exact &&
		 scope.rights == again.rights && scope.expires == again.expires &&
		 scope.issued == again.issued && !strcmp(scope.id, again.id) &&
		 scope.provider == again.provider && !strcmp(scope.groups, again.groups) &&
		 scope.via_gateway == again.via_gateway));
	token_allows(&scope, RIGHT_READ, "bucket", "key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token_scope scope;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	require(token_verify(&scope, text, &key, 1, 0) != 0);
	rights_parse(text);
	as_payload(data, size);
	free(text);
	return 0;
}
