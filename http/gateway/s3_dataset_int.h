/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_dataset_int.h -- what s3_dataset.c (what is done) and s3_dataset_answer.c (how it is told) share; nobody else includes it.
 */
#ifndef WEIR_S3_DATASET_INT_H
#define WEIR_S3_DATASET_INT_H

#include <pthread.h>

#include "http/gateway/s3_digest.h"
#include "http/gateway/s3_gateway.h"
#include "http/s3/operation.h"
#include "lib/early.h"

struct s3_dataset {
	struct gateway *gw;
	struct http_req *req;
	struct s3_target target;
	const struct s3_operation *op;
	struct token_scope who;
	struct s3_digest *digest;
	struct uploads_file *file; /* PutObject, or what parts become */
	uint64_t size, max;
	char etag[80]; /* without quotes */
	struct s3_fault fault;
	/* DeleteObjects, CompleteMultipartUpload: the body, and what the endpoint gets of the request */
	char *text;
	size_t len, room;
	char **lines;
	/* CompleteMultipartUpload: the worker waits for the verdict, and after a while the answer begins */
	pthread_mutex_t lock; /* of `answered` and `early`; after the upload's */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	bool slow; /* counted */
	bool answered, accepted;
	int rc; /* of the file */
	struct early *early; /* from then on there is no request: what is told needs … */
	int64_t due_ms;	     /* the next blank */
	char id[24], host[256];
	bool is_https;
};

/* ---- s3_dataset_answer.c ---- */
/* d->fault's sentence when it is of this error. */
enum http_next s3_dataset_reply(struct s3_dataset *d, enum s3_error error);
/* For a failure of uploads.h. */
enum s3_error s3_dataset_error(struct s3_dataset *d, int rc);
enum http_next s3_dataset_say(struct s3_dataset *d, enum s3_error error, const char *message);
/* As an endpoint said it; takes text. */
void s3_dataset_pass_on(struct s3_dataset *d, unsigned int status, char *text, size_t len);
/* The upload came to its end (uploads_file_order.answer). */
void s3_dataset_outcome(void *arg, struct http_req *req, const struct uploads_outcome *o);
/* From time to time on the worker that completes an upload: when it takes long the answer begins, and blanks keep the connection. */
void s3_dataset_tick(struct s3_dataset *d);
/* Until s3_dataset_outcome(). */
void s3_dataset_wait(struct s3_dataset *d);

#endif
