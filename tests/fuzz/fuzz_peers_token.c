/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's viewer token: no crash, nothing accepted that was not signed; and the same text rightly signed either parses
 * to a token that signs to the same meaning, or is refused. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/peers/secret.h"
#include "lib/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static const struct peers_secret secret = { { 7 } };

/* The input as a payload with a right signature. */
static void as_payload(const uint8_t *data, size_t size)
{
	struct viewer_token t, again;
	char text[VIEWER_TOKEN_MAX] = "weirv1.", second[VIEWER_TOKEN_MAX];
	uint8_t key[32], mac[32];
	size_t n;

	if (size > 700)
		return;
	n = 7 + base64url_encode(data, size, text + 7);
	peers_secret_derive(&secret, "token", NULL, key);
	hmac_sha256(key, sizeof(key), text, n, mac);
	text[n] = '.';
	base64url_encode(mac, sizeof(mac), text + n + 1);
	if (viewer_token_verify(&t, text, &secret, 0))
		return;
	require(t.expires > 0 && strlen(t.viewer) == PEERS_VIEWER_LEN && *t.asset);
	if (viewer_token_sign(second, &t, &secret))
		return; /* too long when written out: every byte of a name escaped */
	require(!viewer_token_verify(&again, second, &secret, 0));
	require(!strcmp(t.viewer, again.viewer) && !strcmp(t.asset, again.asset) && !strcmp(t.origin, again.origin) &&
		t.expires == again.expires && t.flags == again.flags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct viewer_token t;
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	require(viewer_token_verify(&t, text, &secret, 0) != 0);
	as_payload(data, size);
	free(text);
	return 0;
}
