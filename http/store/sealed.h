/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealed.h -- objects that are kept encrypted: AES-256-GCM by OpenSSL, a key for each version.
 *
 * The plain text is cut into blocks of 64 KiB; each is stored as so many bytes of cipher text and a tag of 16 bytes. The nonce is
 * the block's number (a key is used for one version alone), the version's id is authenticated with it, so a block of another place or
 * object is found out as a changed byte is. How long the whole is says its name. The key itself is kept in the name's meta, sealed by the
 * installation's key (users_seal()).
 *
 * Pure: bytes in, bytes out.
 */
#ifndef WEIR_STORE_SEALED_H
#define WEIR_STORE_SEALED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "http/store/version.h"

#define SEALED_KEY   32
#define SEALED_BLOCK 65536u
#define SEALED_TAG   16u
#define SEALED_STEP  (SEALED_BLOCK + SEALED_TAG)

/* What so many bytes take when they are sealed. */
uint64_t sealed_size(uint64_t plain);

/* What a version's sealed key is bound to (users_seal's `about`). Returns out. */
#define SEALED_ABOUT 48
char *sealed_about(const struct version *v, char out[SEALED_ABOUT]);

/* ---- writing ---- */
struct sealer;
/* NULL: no memory. */
struct sealer *sealer_new(const uint8_t key[SEALED_KEY], const struct version *v);
void sealer_free(struct sealer *s); /* wipes; accepts NULL */
typedef int sealer_out(void *arg, const void *data, size_t len);
/* Plain text in any portions; out gets what is to be stored. 0, what out returned, or -EIO (OpenSSL). */
int sealer_add(struct sealer *s, const void *data, size_t len, sealer_out *out, void *arg);
int sealer_end(struct sealer *s, sealer_out *out, void *arg); /* the last block */

/* ---- reading ---- */
struct opener;
/* For plain bytes [first, first + len) of a version with `size` of them; *raw_first and *raw_len: what has to be read of what is
 * stored. NULL: no memory. */
struct opener *opener_new(const uint8_t key[SEALED_KEY], const struct version *v, uint64_t size, uint64_t first, uint64_t len,
			  uint64_t *raw_first, uint64_t *raw_len);
void opener_free(struct opener *o); /* wipes; accepts NULL */
/* The next stored bytes, in order, at most max: > 0, or what ends or delays it (≤ 0), which is passed on. */
typedef ssize_t opener_raw(void *arg, char *buf, size_t max);
/* Plain bytes: > 0; 0 at the end; what raw returned when that was ≤ 0 before the end; OPENER_BAD: a block is not what was stored. */
#define OPENER_BAD (-1000)
ssize_t opener_read(struct opener *o, char *buf, size_t max, opener_raw *raw, void *arg);

#endif
