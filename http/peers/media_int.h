/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media_int.h -- what the files of media.h share.
 */
#ifndef WEIR_MEDIA_INT_H
#define WEIR_MEDIA_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/peers/media.h"

#define MEDIA_ASSET_MAX	   192
#define MEDIA_KNOWN_MAX	   256	       /* assets kept; the one asked for least lately goes */
#define MEDIA_MISSES_MAX   256	       /* names asked for that are none, or are not read yet */
#define MEDIA_KEPT_MAX	   (128u << 20) /* bytes of all copies */
#define MEDIA_FRESH_MS	   15000       /* so old a list is asked for again, when anybody asks for it */
#define MEDIA_MISS_MS	   3000	       /* the same when there was none */
#define MEDIA_LIST_MAX	   (5u << 20)  /* bytes of a signed file: its payload, with quotes escaped */
#define MEDIA_COPY_MAX	   (1u << 20)  /* of one other file */
#define MEDIA_COPIES_MAX   (2 * MEDIA_RENDITIONS_MAX + 3)
#define MEDIA_SIGNATURE	   64
#define MEDIA_LIST_NAME	   "weir-media.json"

/* An object that is kept: the list itself, playlists, init segments. */
struct media_copy {
	char name[128], etag[80]; /* below BUCKET/ASSET/ */
	char *data;
	size_t len;
};
/* What was read together; never changed, shared by reference. */
struct media_set {
	atomic_uint refs;
	struct media_asset *asset;
	struct media_copy copies[MEDIA_COPIES_MAX]; /* the list is the first */
	size_t ncopies, bytes;
};
struct media_known {
	char name[MEDIA_ASSET_MAX];
	struct media_set *set; /* NULL: none, or not read yet */
	int64_t asked_ms, read_ms, added_ms;
	bool wanted; /* by somebody, since it was read */
	struct media_known *next; /* of those that go */
};
struct media {
	struct peers_options opt;
	char folder[4096];
	pthread_mutex_t lock; /* all below */
	pthread_cond_t cond;  /* CLOCK_MONOTONIC: something is wanted, or quit */
	struct media_known *known[MEDIA_KNOWN_MAX + MEDIA_MISSES_MAX];
	size_t nknown;
	bool keyed, quit;
	bool names_next; /* an asset had its turn */
	volatile bool stop; /* for httpc */
	uint8_t seed[32];
	char public_key[45];
	pthread_t thread;
	bool has_thread;
	pthread_mutex_t scan_lock;
	char scanned[64]; /* the bucket */
	int64_t scanned_ms;
};
int64_t media_now_ms(void);

/* media.c: a box's references. */
void media_set_put(struct media_set *s); /* accepts NULL */
/* The asset's set with a reference, NULL when it is not there; notes that it was asked for. */
struct media_set *media_set_get(struct media *m, const char *asset);
/* The one that has a copy of that object: one asset's name may be the beginning of another's. */
struct media_set *media_set_find(struct media *m, const char *bucket, const char *key, const struct media_copy **copy);
/* Takes the reference; NULL: it is none. What must go for it goes from the folder too. */
void media_take(struct media *m, const char *asset, struct media_set *set);
/* The same of what was fetched, and into the folder. */
void media_keep(struct media *m, const char *asset, struct media_set *set);
/* Is this set (NULL: any) the asset's now? */
bool media_has(struct media *m, const char *asset, const struct media_set *set);
/* Under the lock: whose turn it is to be read, and its set with a reference; false: nobody's. Assets that are known and
 * names that may be invented take turns; among each, who has waited longest. */
bool media_next_due(struct media *m, char name[MEDIA_ASSET_MAX], struct media_set **last);

/* media_parse.c */
bool media_name_valid(const char *asset); /* "BUCKET/ASSET" */

/* media_key.c: Ed25519 (RFC 8032). */
int media_key_public(const uint8_t seed[32], char out[45]);
int media_key_sign(const uint8_t seed[32], const char *text, size_t len, uint8_t out[MEDIA_SIGNATURE]);
int media_key_verify(const char *public_key, const char *text, size_t len, const uint8_t signature[MEDIA_SIGNATURE]);
/* The signed file of a payload, malloc'ed; and back: its payload when the signature is ours (malloc'ed), else NULL and why. */
char *media_key_wrap(const uint8_t seed[32], const char *public_key, const char *payload, size_t len);
char *media_key_unwrap(const char *public_key, const char *file, size_t len, char why[160]);

/* media_fetch.c: what endpoints have now; last: what was read before, or NULL. 0 and a set with a reference (may be `last`
 * itself), -ENOENT there is none, -EAGAIN no endpoint answered, -EBADMSG it is wrong (it was logged). */
int media_fetch(struct media *m, const char *asset, struct media_set *last, struct media_set **out);
/* Assets of a bucket: up to max names "BUCKET/ASSET"; how many. */
size_t media_fetch_names(struct media *m, const char *bucket, char (*out)[MEDIA_ASSET_MAX], size_t max);
/* From its first copy, the list: 0, or -EBADMSG and why. */
int media_set_parse(struct media *m, const char *asset, struct media_set *s, char why[160]);

/* media_disk.c: copies in the folder. Nothing is saved that is not the asset's set any more, nor forgotten that is. */
void media_disk_save(struct media *m, const char *asset, const struct media_set *set);
void media_disk_forget(struct media *m, const char *asset);
void media_disk_load(struct media *m); /* all of them, by media_take() */

#endif
