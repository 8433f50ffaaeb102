/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.h -- how a version lies on disk: pure functions over bytes.
 *
 * A version is cut into chunks of 8 MiB (the last one shorter), the unit of transfer, hashing
 * and repair; a chunk into blocks of 64 KiB, the unit of checking. All chunks of a version lie one
 * after another in one file, and what is known about them follows:
 *
 *	data     the object's bytes, from offset 0: any range is one sendfile(2)
 *	records  one a chunk: SHA-256, a crc32c for each block, a crc32c of the record
 *	head     one JSON object: version, size, sha256, bucket, key, the holders meant
 *	         when it was written (for fsck and for people; who holds it now is said by its name)
 *	footer   32 bytes: magic, sizes, crc32c of head and footer
 *
 * So a version becomes visible whole by one rename, and durable by one fdatasync. Integers are
 * little-endian.
 */
#ifndef WEIR_STORE_MANIFEST_H
#define WEIR_STORE_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "http/store/version.h"

#define CHUNK_SIZE      (8u << 20)
#define BLOCK_SIZE      (64u << 10)
#define CHUNK_BLOCKS    (CHUNK_SIZE / BLOCK_SIZE)
#define RECORD_MAX      (32 + 4 * CHUNK_BLOCKS + 4)
#define FOOTER_SIZE     32
#define HEAD_MAX        8192
#define OBJECT_MAX      (1ULL << 43)    /* 8 TiB */
#define HOLDERS_MAX     8
#define BUCKET_MAX      64              /* with terminator, as all below */
#define KEY_MAX         1025    /* with control characters: at most 6 bytes each in the head */
#define NODE_MAX        64

struct manifest {
	struct version version;
	uint64_t size;                  /* bytes of the object */
	uint8_t sha256[32];             /* of the whole object */
	char bucket[BUCKET_MAX], key[KEY_MAX];
	int64_t created;                /* unix seconds */
	char holders[HOLDERS_MAX][NODE_MAX];
	unsigned int nholders;
};

struct chunk_record {
	uint8_t sha256[32];
	uint32_t blocks[CHUNK_BLOCKS];  /* crc32c of each block */
};

/* Chunks of an object, bytes and blocks of one of its chunks, bytes of its record. */
uint64_t manifest_chunks(uint64_t size);
uint32_t chunk_length(uint64_t size, uint64_t number);
unsigned int chunk_blocks(uint32_t length);
uint32_t record_length(uint32_t chunk_len);
/* Where a chunk's record lies in the file; with number = manifest_chunks(size): where the head
 * lies. */
uint64_t record_offset(uint64_t size, uint64_t number);

/* The record of chunk `number` with chunk_len bytes; out has record_length() bytes. */
void record_encode(const struct chunk_record *rec, uint64_t number, uint32_t chunk_len,
		   uint8_t *out);
/* 0 or -EBADMSG (damaged, or another chunk's). */
int record_decode(struct chunk_record *rec, uint64_t number, uint32_t chunk_len, const uint8_t *in);

/* A malloc'ed, terminated JSON text; *len (may be NULL) without the terminator. NULL: no memory. */
char *manifest_encode(const struct manifest *m, size_t *len);
/* 0, or -EBADMSG when it is not a manifest or a field is out of bounds. */
int manifest_decode(struct manifest *m, const char *text, size_t len);

struct footer { uint64_t size; uint32_t head_len, head_crc; };
void footer_encode(const struct footer *f, uint8_t out[FOOTER_SIZE]);
/* file_size: what fstat says; a footer that does not add up is -EBADMSG. */
int footer_decode(struct footer *f, const uint8_t in[FOOTER_SIZE], uint64_t file_size);

#endif
