/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealing.h -- secrets that must be had back (access keys for S3, objects' keys), under AES-256-GCM by a key of the
 * installation: sealing/KID of the registry, {"kid","secret","created"} as signing/KID.
 *
 * A sealed text is KID "." base64url(nonce (12), cipher text, tag (16)); `about` is authenticated with it, so that a text
 * moved to another place does not open. Nonces are random: a key seals up to 2^32 texts (NIST SP 800-38D section 8.3).
 * Pure but for sealing_key_get(). Nothing here logs; keys are wiped by their owner.
 */
#ifndef WEIR_SEALING_H
#define WEIR_SEALING_H

#include "lib/registry.h"
#include "lib/token.h"

/* out has SEALED_TEXT_MAX(len) bytes; 0, -EINVAL (size too small, len beyond 4,096) or -ENOMEM. */
int sealing_seal(const struct token_key *key, const char *about, const void *data, size_t len, char *out, size_t size);
/* As users_unseal(). */
long sealing_open(const struct token_key *keys, size_t nkeys, const char *about, const char *text, void *out, size_t max);

/* The id of the key that a text is sealed by (SEALING_KID_MAX bytes); -EINVAL: it is no such text. */
int sealing_kid(const char *text, char out[SEALING_KID_MAX]);

/* The newest key of the registry, made when there is none, for who has no table of users. It blocks; 0 or the registry's
 * error. */
int sealing_key_get(struct registry *reg, struct token_key *out);
/* All of them, newest first. As sealing_key_get(), but none is made: -ENOENT. */
#define SEALING_KEYS_MAX 32
int sealing_keys_get(struct registry *reg, struct token_key out[SEALING_KEYS_MAX], size_t *n);
/* One more, the newest from now on. Daemons seal with it SEALING_AHEAD_S later, when all have heard of it. -EDQUOT: there are
 * SEALING_KEYS_MAX. */
#define SEALING_AHEAD_S 10
int sealing_key_add(struct registry *reg);
/* [{"kid", "created", "now": is it the one that daemons seal by}], newest first, without secrets; a new reference, NULL on failure. */
json_t *sealing_key_list(struct registry *reg);
/* For good: what is sealed by it does not open any more, and whether there is such a thing is the caller's to know. -EBUSY: it is the
 * newest; -ENOENT. */
int sealing_key_remove(struct registry *reg, const char *kid);
/* Makes the first key under `prefix` (signing/ or sealing/) when there is none: 0 also when somebody else was first. */
int sealing_key_make(struct registry *reg, const char *prefix);
/* One record of either: 0, or -EINVAL. The record's secret is wiped. */
int sealing_key_parse(const char *kid, json_t *value, struct token_key *key, int64_t *created);

#endif
