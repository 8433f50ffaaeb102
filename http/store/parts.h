/* SPDX-License-Identifier: Apache-2.0 */
/*
 * parts.h -- the bytes of an object as one stream, whatever it is made of and wherever it lies: one version or the
 * parts of a multipart upload, encrypted or not, each from this disk or from a holder; a damaged block is taken over by another copy at
 * its byte.
 */
#ifndef WEIR_STORE_PARTS_H
#define WEIR_STORE_PARTS_H

#include "http/store/endpoint.h"
#include "http/store/reader.h"

struct parts;

/* Is it kept encrypted? entry, an object's or a part's, with its meta. Of an object of parts each
 * part says it of itself. */
bool parts_sealed(const struct name_entry *entry);
/* Must it be read by parts_…, because what lies on disk as its version is not its bytes? */
static inline bool parts_needed(const struct name_entry *entry)
{
	return entry->nparts || parts_sealed(entry);
}

/* Bytes [first, first + len) of what an entry names (an object, a part). wake(arg) is called when a read that got
 * HTTP_READ_LATER should be tried again; NULL: reads block instead. Blocks (worker threads). 0, -ENOENT (a part is
 * missing, nobody holds it), -ERANGE, -EKEYREJECTED (its key cannot be opened, and asking again does not help), -EAGAIN (the key that
 * opens it is not here yet), or -errno. */
#define PARTS_KEY_LOST                                                                                              \
	"This object is encrypted, and the installation's sealing key that opens it is lost or does not fit; asking again does not " \
	"help. An administrator can put the key back from a backup of the registry (weir sealing)."
int parts_open(struct parts **out, struct endpoint *ep, const char *bucket, const struct name_entry *entry, uint64_t first,
		uint64_t len, void (*wake)(void *arg), void *arg);
/* As http_read_fn, in order. */
ssize_t parts_read(struct parts *s, char *buf, size_t max);
/* No more wakes after it returned; accepts NULL. */
void parts_stop(struct parts *s);
void parts_free(struct parts *s); /* accepts NULL */

/* What part `number` of an object of parts covers. 0, or -ENOENT. On a worker. */
int parts_find(struct endpoint *ep, const char *bucket, const struct name_entry *entry, unsigned int number, uint64_t *first,
		uint64_t *len);

/* Answers a GET or HEAD of an object of parts, or an encrypted one, with job's range, as reader_reply_local() and reader_reply_relay() do of
 * one version: job->version and its holders are not looked at. On a worker. *kept goes to parts_detach() in `done`. */
struct parts_answer;
enum http_next parts_reply(struct endpoint *ep, struct http_req *req, const char *bucket, const struct name_entry *entry,
			    const struct reader_job *job, struct parts_answer **kept);
void parts_detach(struct parts_answer *a); /* accepts NULL */

#endif
