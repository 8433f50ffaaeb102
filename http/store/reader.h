/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h -- sends a range of a version: from this disk, from a holder, or from this disk until a
 * damaged block and from a holder after it.
 */
#ifndef WEIR_STORE_READER_H
#define WEIR_STORE_READER_H

#include "http/store/endpoint.h"

struct reader;

struct reader_job {
	unsigned int status;            /* 200 or 206 */
	struct version version;
	uint64_t first, len;            /* the range */
	bool head;                      /* HEAD: the length alone */
	const char *type;               /* Content-Type; NULL: READER_TYPE */
	/* Who has it; none: only this disk may be used (peers ask so). */
	const char (*holders)[CONF_NAME_MAX];
	unsigned int nholders;
	/* Where to keep the stream that may wait for a holder; the route's `done` passes it to
	 * reader_detach(). Needed when there are holders. */
	struct reader **kept;
	/* Answers when nobody can be reached who has it (rc -EAGAIN: status 503) or when what it is encrypted with is lost
	 * (-EKEYREJECTED); NULL: JSON, as all plain errors. */
	enum http_next (*refuse)(void *arg, int rc, const char *sentence);
	void *refuse_arg;
};

#define READER_TYPE "application/octet-stream"

/* Replies from this disk; the caller keeps its reference of held. Headers that the caller wants
 * were added. From any thread. */
enum http_next reader_reply_local(struct endpoint *ep, struct http_req *req, struct held *held,
				  const struct reader_job *job);
/* The request is over: the stream wakes it no more. Accepts NULL. */
void reader_detach(struct reader *r);

/* In the job's words: rc as there. Plainly -EKEYREJECTED is 410, which nobody asks again for and no cache keeps. */
enum http_next reader_refuse(struct http_req *req, const struct reader_job *job, int rc, const char *sentence);

/* Replies with what a holder sends, on a worker thread: adds X-Weir-From; 503 when nobody sends
 * it. */
enum http_next reader_reply_relay(struct endpoint *ep, struct http_req *req,
				  const struct reader_job *job);

#endif
