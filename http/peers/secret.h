/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret.h -- the installation's peers secret (registry, peers/secret: made by the first gateway that finds none) and
 * what is derived from it: viewer tokens, session keys, the key that signs media lists, the key of network hashes. Any
 * gateway can derive them; nothing of a viewer needs to be stored to be checked.
 *
 * A viewer's token: "weirv1." PAYLOAD "." MAC (base64url), payload {"v":viewer,"a":asset,"x":expires,"f":flags,
 * "o":origin of the page, left out when there is none}; HMAC-SHA256 by HMAC(secret, "token"). A session's key, which
 * signs instructions to this viewer alone: HMAC(secret, "session" viewer). Compared in constant time.
 */
#ifndef WEIR_SECRET_H
#define WEIR_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "http/peers/exchange.h"

#define VIEWER_TOKEN_MAX 1024
#define VIEWER_ORIGIN_MAX 256
#define VIEWER_DEAF (1u << 16) /* of flags: asked to receive nothing from others either */

struct peers_secret {
	uint8_t bytes[32];
};
/* Reads it, or makes it. 0 or -errno (registry_error() says why; -EPROTO: what is there is no secret). Blocks as the
 * registry does. */
int peers_secret_get(struct registry *reg, struct peers_secret *out);
/* HMAC-SHA256(secret, purpose of). of may be NULL. Purposes: "token", "session" (of a viewer), "exchange" (of a way),
 * "media", "network". */
void peers_secret_derive(const struct peers_secret *s, const char *purpose, const char *of, uint8_t out[32]);

struct viewer_token {
	char viewer[PEERS_VIEWER_LEN + 1];
	char asset[PEERS_ASSET_MAX];
	int64_t expires;  /* unix seconds */
	uint32_t flags;	  /* GROUP_CONSENT, … as the session was asked for; VIEWER_DEAF */
	char origin[VIEWER_ORIGIN_MAX]; /* of the page that opened the session: it may come to any gateway; "" */
};
int viewer_token_sign(char out[VIEWER_TOKEN_MAX], const struct viewer_token *t, const struct peers_secret *s);
/* 0, -EINVAL malformed, -EBADMSG wrong signature, -ETIME expired. */
int viewer_token_verify(struct viewer_token *out, const char *text, const struct peers_secret *s, int64_t now);
/* base64 of HMAC-SHA256(HMAC(secret, "exchange" way), text): a batch of another gateway of this installation. */
void exchange_mac(char out[45], const struct peers_secret *s, const char *way, const void *text, size_t len);
/* base64 of HMAC-SHA256(session key of viewer, text): goes beside every instruction. */
void session_mac(char out[45], const struct peers_secret *s, const char *viewer, const char *text);

#endif
