/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sealed.c -- see sealed.h.
 */
#include "http/store/sealed.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONCE 12

struct sealer {
	EVP_CIPHER_CTX *ctx;
	struct version version;
	uint64_t block;
	size_t fill;
	uint8_t key[SEALED_KEY];
	uint8_t plain[SEALED_BLOCK], cipher[SEALED_STEP];
};

struct opener {
	EVP_CIPHER_CTX *ctx;
	struct version version;
	uint64_t size, block; /* of the plain text; the next one */
	uint64_t left;	      /* plain bytes still wanted */
	size_t skip;	      /* of the next block */
	size_t have;	      /* of its stored bytes */
	size_t at, end;	      /* what is opened and not handed out */
	uint8_t key[SEALED_KEY];
	uint8_t plain[SEALED_BLOCK], cipher[SEALED_STEP];
};

uint64_t sealed_size(uint64_t plain)
{
	return plain + (plain + SEALED_BLOCK - 1) / SEALED_BLOCK * SEALED_TAG;
}

char *sealed_about(const struct version *v, char out[SEALED_ABOUT])
{
	char text[VERSION_STRLEN];

	snprintf(out, SEALED_ABOUT, "sse %s", version_format(v, text));
	return out;
}

/* Four zero bytes and the block's number, big-endian. */
static void make_nonce(uint64_t block, uint8_t nonce[NONCE])
{
	memset(nonce, 0, NONCE);
	for (int i = 0; i < 8; i++)
		nonce[NONCE - 1 - i] = (uint8_t)(block >> 8 * i);
}

/* ---- writing ---- */

struct sealer *sealer_new(const uint8_t key[SEALED_KEY], const struct version *v)
{
	struct sealer *s = malloc(sizeof(*s));

	if (!s)
		return NULL;
	s->ctx = EVP_CIPHER_CTX_new();
	s->version = *v;
	s->block = 0;
	s->fill = 0;
	memcpy(s->key, key, SEALED_KEY);
	if (!s->ctx) {
		free(s);
		return NULL;
	}
	return s;
}

void sealer_free(struct sealer *s)
{
	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->ctx);
	OPENSSL_cleanse(s, sizeof(*s));
	free(s);
}

static int seal_block(struct sealer *s, sealer_out *out, void *arg)
{
	uint8_t nonce[NONCE];
	int n = 0, last = 0;

	make_nonce(s->block, nonce);
	if (!EVP_EncryptInit_ex(s->ctx, EVP_aes_256_gcm(), NULL, s->key, nonce) ||
	    !EVP_EncryptUpdate(s->ctx, NULL, &n, s->version.id, VERSION_BYTES) ||
	    !EVP_EncryptUpdate(s->ctx, s->cipher, &n, s->plain, (int)s->fill) ||
	    !EVP_EncryptFinal_ex(s->ctx, s->cipher + n, &last) ||
	    !EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_GCM_GET_TAG, SEALED_TAG, s->cipher + s->fill))
		return -EIO;
	n = (int)(s->fill + SEALED_TAG);
	s->block++;
	s->fill = 0;
	return out(arg, s->cipher, (size_t)n);
}

int sealer_add(struct sealer *s, const void *data, size_t len, sealer_out *out, void *arg)
{
	const uint8_t *p = data;
	int rc = 0;

	while (!rc && len) {
		size_t n = SEALED_BLOCK - s->fill < len ? SEALED_BLOCK - s->fill : len;

		memcpy(s->plain + s->fill, p, n);
		s->fill += n;
		p += n;
		len -= n;
		if (s->fill == SEALED_BLOCK)
			rc = seal_block(s, out, arg);
	}
	return rc;
}

int sealer_end(struct sealer *s, sealer_out *out, void *arg)
{
	return s->fill ? seal_block(s, out, arg) : 0;
}

/* ---- reading ---- */

struct opener *opener_new(const uint8_t key[SEALED_KEY], const struct version *v, uint64_t size, uint64_t first, uint64_t len,
			  uint64_t *raw_first, uint64_t *raw_len)
{
	struct opener *o = malloc(sizeof(*o));
	uint64_t end = (first + len + SEALED_BLOCK - 1) / SEALED_BLOCK * SEALED_STEP;

	if (!o)
		return NULL;
	o->ctx = EVP_CIPHER_CTX_new();
	if (!o->ctx) {
		free(o);
		return NULL;
	}
	o->version = *v;
	o->size = size;
	o->block = first / SEALED_BLOCK;
	o->left = len;
	o->skip = (size_t)(first % SEALED_BLOCK);
	o->have = o->at = o->end = 0;
	memcpy(o->key, key, SEALED_KEY);
	*raw_first = o->block * SEALED_STEP;
	if (end > sealed_size(size))
		end = sealed_size(size);
	*raw_len = len ? end - *raw_first : 0;
	return o;
}

void opener_free(struct opener *o)
{
	if (!o)
		return;
	EVP_CIPHER_CTX_free(o->ctx);
	OPENSSL_cleanse(o, sizeof(*o));
	free(o);
}

/* Plain bytes of the next block. */
static size_t block_length(const struct opener *o)
{
	uint64_t rest = o->size - o->block * SEALED_BLOCK;

	return rest < SEALED_BLOCK ? (size_t)rest : SEALED_BLOCK;
}

static int open_block(struct opener *o, size_t len)
{
	uint8_t nonce[NONCE];
	int n = 0, last = 0;

	make_nonce(o->block, nonce);
	if (!EVP_DecryptInit_ex(o->ctx, EVP_aes_256_gcm(), NULL, o->key, nonce) ||
	    !EVP_DecryptUpdate(o->ctx, NULL, &n, o->version.id, VERSION_BYTES) ||
	    !EVP_DecryptUpdate(o->ctx, o->plain, &n, o->cipher, (int)len) ||
	    !EVP_CIPHER_CTX_ctrl(o->ctx, EVP_CTRL_GCM_SET_TAG, SEALED_TAG, o->cipher + len) ||
	    EVP_DecryptFinal_ex(o->ctx, o->plain + n, &last) <= 0)
		return -EBADMSG;
	o->block++;
	o->have = 0;
	o->at = o->skip;
	o->end = len - o->skip < o->left ? len : o->skip + (size_t)o->left;
	o->skip = 0;
	return 0;
}

/* Reads and opens the next block. > 0, or why not. */
static ssize_t next_block(struct opener *o, opener_raw *raw, void *arg)
{
	size_t len = block_length(o), step = len + SEALED_TAG;

	while (o->have < step) {
		ssize_t n = raw(arg, (char *)o->cipher + o->have, step - o->have);

		if (n <= 0)
			return n;
		o->have += (size_t)n;
	}
	return open_block(o, len) ? OPENER_BAD : 1;
}

ssize_t opener_read(struct opener *o, char *buf, size_t max, opener_raw *raw, void *arg)
{
	size_t n;

	if (!o->left)
		return 0;
	if (o->at == o->end) {
		ssize_t rc = next_block(o, raw, arg);

		if (rc <= 0)
			return rc;
	}
	n = o->end - o->at < max ? o->end - o->at : max;
	memcpy(buf, o->plain + o->at, n);
	o->at += n;
	o->left -= n;
	return (ssize_t)n;
}
