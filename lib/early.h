/* SPDX-License-Identifier: Apache-2.0 */
/*
 * early.h -- an answer that begins before its operation has ended.
 *
 * Clients give up after a minute of silence. So what takes longer than a few seconds answers 200 with the head of its text (XML's
 * declaration), goes on with white space, and tells the result or the error behind it (Amazon's API reference, CopyObject and
 * CompleteMultipartUpload). The request may be over at any time from then on, on a thread of the server, which must not wait for
 * the worker: the worker goes on without the request, and who is the later of the two, the worker or the request's end, frees what
 * both had (early_leave()).
 */
#ifndef WEIR_EARLY_H
#define WEIR_EARLY_H

#include "lib/httpd.h"

#define EARLY_MS 5000 /* until the answer begins, and between two blanks */

struct early;

/* head: static. NULL: no memory. */
struct early *early_new(const char *head);
/* On the request's worker, which has added all headers: the answer begins, and the connection goes on (http_work_go_on()). Whoever
 * ends the request has to find `early` by then. */
void early_begin(struct early *early, struct http_req *req, const char *type);
/* Nobody listens any more. */
bool early_is_gone(const struct early *early);
void early_blank(struct early *early); /* one more */
/* The end of the answer: text with or without head before it, which is taken (NULL: no memory, the answer is cut). */
void early_say(struct early *early, char *text, size_t len);
/* The worker is ready with what both had, or the request is over (worker false). Waits for nobody; true: the other was before, so the
 * caller frees it all. */
bool early_leave(struct early *early, bool worker);
void early_free(struct early *early); /* accepts NULL */

/* When the next blank is due: *due is 0 at first, and set to the moment after. Tests shorten the time by WEIR_S3_EARLY_MS. */
bool early_is_due(int64_t *due);

#endif
