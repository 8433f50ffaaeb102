/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h -- the data of one PUT, in steps, so that who speaks to the client (plain, S3, a part of
 * an upload) checks, names and answers between them:
 *
 *	upload_new    room, a version, a temporary file
 *	upload_add    pieces, hashed on their way; full chunks go to a second endpoint meanwhile
 *	upload_seal   the end of the data: size and hash are known, nothing is stored yet
 *	upload_store  data and directory on stable storage, here and on the seconds
 *	(the caller gives it a name: upload_entry, upload_ideal, names_put_with)
 *	upload_named  what came of it: without a name the data go
 *	upload_end    always; what did not get so far vanishes, here and elsewhere
 */
#ifndef WEIR_STORE_UPLOAD_H
#define WEIR_STORE_UPLOAD_H

#include "http/store/endpoint.h"
#include "http/store/sealed.h"

#define UPLOAD_COPIES_MAX 4

struct upload;

/* bucket and key are valid (for people: they stand in the file). announced: bytes, UINT64_MAX:
 * unknown. version: NULL, or the one that was given to it. 0 or -errno (-ENOSPC). */
int upload_new(struct upload **out, struct endpoint *ep, const char *bucket, const char *key,
	       uint64_t announced, const struct version *version);
/* A key of its own for the version, for data that are to be kept encrypted: *out seals them on their way to upload_add(), key is the
 * text for the name's meta. 0, -ENOKEY (the installation's sealing key is not here yet: try again) or -errno. */
#define UPLOAD_KEY_TEXT SEALED_TEXT_MAX(SEALED_KEY)
int upload_sealer(struct upload *up, struct sealer **out, char key[UPLOAD_KEY_TEXT]);
/* Never blocks for a peer. 0, or -errno: -ENOSPC, -EFBIG, … */
int upload_add(struct upload *up, const void *data, size_t len);
/* Its disk space is given back at once: a client may take its time to hear of a refusal. */
void upload_discard(struct upload *up);

/* On a worker thread: waits for what is on its way. 0 or -errno; again: the same. */
int upload_seal(struct upload *up, uint64_t *size, uint8_t sha256[32]);
/* On a worker thread. 0, or -errno, and nothing is left of it; -EAGAIN: no second endpoint took a copy, -EDQUOT: a quota
 * (upload_why()). */
int upload_store(struct upload *up);
const char *upload_why(const struct upload *up);

/* Fills in key, version, size, sha256 and holders of what is stored. */
void upload_entry(const struct upload *up, struct name_entry *entry);
/* The nodes that should have it, for names_put_with(): how many. */
struct upload_nodes {
	char text[UPLOAD_COPIES_MAX][CONF_NAME_MAX];
	const char *names[UPLOAD_COPIES_MAX];
};
size_t upload_ideal(const struct upload *up, struct upload_nodes *nodes);
/* Storing and naming what is small without a worker, where neither another endpoint nor the registry has to be asked: after
 * upload_seal(), with the entry that it is to have. True: the request is held, and then(req, arg) is called when all is done; it
 * calls upload_put_end(). False: it is work for a worker, in the usual steps. */
bool upload_put_later(struct upload *up, const struct name_entry *entry, const struct names_how *how, struct http_req *req,
		      http_then_fn *then, void *arg);
/* 0: stored, *entry and *replaced as names_put_with() says, upload_named() was done. Else *stored says which failed, storing or
 * naming. Naming's -EAGAIN: the usual steps on a worker, from upload_store() on, try again. All else is what came of it, and needs
 * no worker: upload_end() forgets what has no name. */
int upload_put_end(struct upload *up, struct name_entry *entry, bool *replaced, bool *stored);
/* rc: what naming returned. -ETIMEDOUT is unknown: the data stay. */
void upload_named(struct upload *up, int rc);
/* fn(arg) is called, once, when nothing of it works any more: also what forgets it elsewhere, some time after upload_end(). */
void upload_at_end(struct upload *up, void (*fn)(void *arg), void *arg);
/* The request is over. Accepts NULL. */
void upload_end(struct upload *up);

#endif
