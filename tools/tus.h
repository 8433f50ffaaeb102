/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tus.h -- a client of tus 1.0 (https://tus.io/protocols/resumable-upload) for a gateway's datasets: an
 * upload is made, its bytes are sent in pieces with a SHA-256 each, and what became of it is heard.
 *
 * Blocking calls, for several threads at once. Nothing here prints: a call returns 0 or -errno and says
 * why in a sentence. A piece is either kept whole by the gateway or not at all, so an upload that broke
 * off goes on where tus_offset() says, and at most one piece is sent again.
 */
#ifndef WEIR_TOOLS_TUS_H
#define WEIR_TOOLS_TUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/rate.h"
#include "tools/web.h"

#define TUS_ID_MAX    80
#define TUS_PIECE     (4u << 20) /* bytes; findings are at most so far behind */
#define TUS_KEY_MAX   129	 /* with its end */

/* Why a call failed. rc again:
 * -EAGAIN   no answer, or the gateway cannot just now (busy, full, stopping): the same later
 * -ESTALE   the offset is another one
 * -ENOENT   the upload or the dataset is not there (any more)
 * -EPERM    the upload takes no more bytes: it is over
 * -EACCES   not signed in, or no right
 * -EFBIG    larger than the dataset takes
 * -EBADMSG  the bytes were damaged on their way
 * -ECANCELED  *stop was set
 * -EINVAL   anything else that the gateway refuses */
struct tus_why {
	int rc;
	long status; /* 0: no answer */
	char code[32], text[320];
};

/* A piece in memory, and what looks at it being sent. */
struct tus_piece {
	const void *data;
	size_t len;
	struct rate *rate;	  /* NULL: as fast as it goes */
	const volatile bool *stop; /* NULL: never */
	void (*sent)(void *arg, size_t bytes); /* as they leave; may be NULL */
	void *arg;
};

struct tus_new {
	const char *dataset, *file;
	uint64_t size;	 /* UINT64_MAX: said with the last piece */
	const char *key; /* of the sender's own, by which tus_find() finds it; NULL: none */
	const struct tus_piece *piece; /* the first one goes along; NULL: none */
};

/* Makes an upload. *offset: how much the gateway has. */
int tus_create(struct web *w, const struct tus_new *n, char id[TUS_ID_MAX], uint64_t *offset,
	       struct tus_why *why);
/* An upload of this file with this key whose answer was lost: 0 and its id, or -ENOENT. */
int tus_find(struct web *w, const char *dataset, const char *file, const char *key, char id[TUS_ID_MAX],
	     struct tus_why *why);
/* Where the next byte goes; *size: UINT64_MAX when not said yet. */
int tus_offset(struct web *w, const char *id, uint64_t *offset, uint64_t *size, struct tus_why *why);
/* A piece; *offset is moved. size: of the whole, with the last piece of an upload that began without. */
int tus_send(struct web *w, const char *id, uint64_t *offset, const struct tus_piece *piece, uint64_t size,
	     struct tus_why *why);
int tus_cancel(struct web *w, const char *id, struct tus_why *why);
/* What is known of it (GET /_/uploads/ID): a new reference. wait_s: first waits so long for its end, or for *stop
 * (may be NULL). */
int tus_show(struct web *w, const char *id, unsigned int wait_s, const volatile bool *stop, json_t **out,
	     struct tus_why *why);
/* accepted, rejected, failed or cancelled? */
bool tus_over(const char *state);

/* "https://HOST/b/DATASET/FILE" and so on: base, then parts; malloc'ed. */
char *tus_url(const struct web *w, const char *before, const char *part, const char *between,
	      const char *other);
/* "Upload-Metadata: …": dataset, file and key; malloc'ed. */
char *tus_metadata_header(const struct tus_new *n);
/* What an answer means. */
int tus_judge(struct tus_why *why, int rc, const struct httpc_answer *answer);

#endif
