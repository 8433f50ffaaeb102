/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listing.h -- the listings of S3: parameters, tokens, and the pages as XML.
 *
 * A page is made while the rows come: s3_list_begin(), then s3_list_row() and s3_list_prefix() in key order, then
 * s3_list_end(). Rows and prefixes count together against max. Nothing is kept of a row but its XML.
 *
 * Where to begin: `after` of the parameters. It is a key, and the listing goes on behind it; when it ends with the
 * delimiter (it was a common prefix: `after_prefix`), everything under it is left out, too. Tokens of ListObjectsV2 are opaque:
 * base64url of a byte of format, a byte of kind ('k' key, 'p' prefix), the text and a crc32c, so that a mutilated one is
 * refused (S3_INVALID_ARGUMENT) and not taken for another place.
 */
#ifndef WEIR_S3_LISTING_H
#define WEIR_S3_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/s3/errors.h"
#include "http/s3/operation.h"
#include "http/s3/xml_out.h"

#define S3_LIST_MAX  1000
#define S3_TOKEN_MAX 1400 /* text of a token, with terminator */

enum s3_list_kind { S3_LIST_V1, S3_LIST_V2, S3_LIST_VERSIONS, S3_LIST_UPLOADS, S3_LIST_PARTS };

/* Strings belong to the target, or are in `place`. */
struct s3_list_params {
	enum s3_list_kind kind;
	const char *prefix, *delimiter;	   /* "": none; a delimiter may have several characters */
	const char *after;		   /* marker, start-after, key-marker, or what the token says; "": from the start */
	bool after_prefix;		   /* and leave out what begins with it */
	const char *after_version;	   /* version-id-marker, upload-id-marker; "": none */
	unsigned int after_part;	   /* part-number-marker */
	unsigned int max;		   /* 0 to S3_LIST_MAX (asked for more: that) */
	bool url;			   /* encoding-type=url */
	bool fetch_owner;
	const char *marker_said, *start_after_said, *token_said; /* as sent, for the answer; NULL: not sent */
	char place[S3_KEY_MAX + 1];
};
/* S3_INVALID_ARGUMENT with a sentence: max-keys no number or negative, unknown encoding type, a bad token, a version marker
 * without key marker. kind PARTS: max-parts, part-number-marker. out must not be moved (it points into itself). */
enum s3_error s3_list_params(struct s3_list_params *out, enum s3_list_kind kind, const struct s3_target *target,
			     struct s3_fault *fault);

/* 0, or -EINVAL (too long). */
int s3_token_make(char out[S3_TOKEN_MAX], const char *text, bool prefix);
int s3_token_read(const char *token, char text[S3_KEY_MAX + 1], bool *prefix);

/* The common prefix of a key: its length up to and with the first delimiter behind the prefix; 0: none. */
size_t s3_common_prefix(const char *key, const char *prefix, const char *delimiter);

struct s3_list_row {
	const char *key;
	const char *version; /* VERSIONS: version id ("null" too); UPLOADS: upload id */
	uint64_t size;
	int64_t modified;
	const char *etag;
	struct s3_owner owner;		  /* id NULL: not told */
	bool latest, marker;		  /* VERSIONS */
	unsigned int part;		  /* PARTS */
	struct s3_checksum_text checksum; /* algorithm "": none; LIST tells the algorithm, PARTS the value, too */
};

struct s3_list {
	const struct s3_list_params *params;
	const char *bucket;
	struct xml rows, prefixes;
	unsigned int n; /* rows and prefixes */
	char last_key[S3_KEY_MAX + 1], last_version[65];
	unsigned int last_part;
	bool last_is_prefix;
	/* UPLOADS and PARTS: */
	const char *upload_key, *upload_id; /* PARTS: of which upload */
	struct s3_owner owner;
	struct s3_checksum_text upload_checksum; /* algorithm and type chosen when it was created */
};
void s3_list_begin(struct s3_list *list, const struct s3_list_params *params, const char *bucket);
/* 0, or 1: the page is full, the row was not taken (and the listing is truncated). */
int s3_list_row(struct s3_list *list, const struct s3_list_row *row);
int s3_list_prefix(struct s3_list *list, const char *prefix);
/* The document; list is empty afterwards. more: there is something behind the last row. With max 0, never truncated. */
char *s3_list_end(struct s3_list *list, bool more, size_t *len);
void s3_list_drop(struct s3_list *list); /* instead of s3_list_end() */

#endif
