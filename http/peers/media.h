/* SPDX-License-Identifier: Apache-2.0 */
/*
 * media.h -- what an asset is made of: the signed list that `weir media add` makes (BUCKET/ASSET/weir-media.json), read
 * from the endpoints once and kept, in memory and in the state folder, so that it is there when they are not.
 *
 * {"version":1,"asset":"BUCKET/ASSET","duration":SECONDS,"renditions":[{"name","bandwidth","width","height","codecs",
 *  "playlist":"NAME/index.m3u8","init":{"uri","bytes","sha256"},"segments":[{"n","uri","duration","bytes","sha256"}]}]}
 * is the payload; the file is {"payload": "…that text…", "signature": base64 of Ed25519 over it, "key": base64 public key}.
 * n is the HLS media sequence number: each is one more than the one before. Renditions ascend by bandwidth, so that their
 * index is hls.js's level. Signed with a key derived from the installation's peers secret. URIs are relative to the list.
 *
 * media_parse.c is pure, media_key.c signs and checks, media.c knows assets, media_fetch.c reads them, media_disk.c keeps
 * them, media_routes.c answers. Besides the list, playlists and init segments are kept (a few KiB): whoever comes while no
 * endpoint lives can begin with these, and has the segments from peers.
 */
#ifndef WEIR_MEDIA_H
#define WEIR_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/peers/peers.h"

struct media_segment {
	uint32_t n, duration_ms, bytes;
	uint8_t sha256[32];
};
struct media_rendition {
	char name[32];
	uint32_t bandwidth; /* bits/s */
	uint32_t width, height;
	char codecs[80];
	const char *playlist, *init; /* keys below BUCKET/ASSET/ */
	uint32_t nsegments;
	const struct media_segment *segments; /* by n */
};
struct media_asset {
	char name[192]; /* "BUCKET/ASSET" */
	uint32_t duration_ms, nrenditions;
	const struct media_rendition *renditions;
};
struct media;
#define MEDIA_PAYLOAD_MAX    (3u << 20) /* two hours of four renditions are 1 MiB */
#define MEDIA_RENDITIONS_MAX 16
#define MEDIA_SEGMENTS_MAX   65536 /* of an asset */
int media_open(struct media **out, const struct peers_options *opt);
void media_close(struct media *m); /* accepts NULL */
int media_set_key(struct media *m, const uint8_t seed[32]); /* from peers_secret() */
/* In base64 (RFC 4648 section 4). */
void media_public_key(struct media *m, char out[45]); /* "": not known yet */
/* The asset: NULL when it is not known (yet: it is fetched by a thread of its own, and is there soon). Put it back. */
const struct media_asset *media_get(struct media *m, const char *asset);
void media_put(struct media *m, const struct media_asset *a); /* accepts NULL */
/* Pure: the payload's text into an asset (free with media_asset_free); a sentence in why. 0 or -EINVAL. */
int media_parse(struct media_asset **out, const char *payload, size_t len, char why[160]);
void media_asset_free(struct media_asset *a);
/* Routes: POST /_/media/:bucket/…asset (body: payload; right to write there) answers the signed file, which the caller
 * then stores; GET /_/media lists assets that the caller may list, as a bucket's objects are (a public bucket's are read by everybody, and
 * listed by nobody in particular) [{asset,duration,renditions,bytes}]. */
enum http_next media_sign_begin(struct http_req *req, struct media *m); /* looks at the right alone */
enum http_next media_sign_end(struct http_req *req, struct media *m);
enum http_next media_list_begin(struct http_req *req, struct media *m);

/* When no endpoint lives: a playlist, MPD, list or init segment of a known asset, from the copy; the caller has checked that
 * the client may read it. False: not known, nothing was answered. */
bool media_reply(struct http_req *req, struct media *m, const char *bucket, const char *key);

#endif
