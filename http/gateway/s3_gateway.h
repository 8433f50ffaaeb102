/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_gateway.h -- what s3.c (which requests, who, carrying) and s3_dataset.c (changes of a dataset's bucket) share.
 */
#ifndef WEIR_S3_GATEWAY_H
#define WEIR_S3_GATEWAY_H

#include "http/gateway/gateway.h"
#include "http/s3/errors.h"
#include "http/s3/sigv4.h"

#define S3_INSIDE "/i/s3" /* before the client's raw target, at endpoints' inside listeners */

/* CompleteMultipartUpload and DeleteObjects of datasets, which may take minutes; more get 503 SlowDown. Each has a thread, for who waits
 * for one could not be told anything meanwhile; nearly always they wait for a verdict. */
#define S3_SLOW_MAX 64

/* Who asks, and how the request says so. Big. */
struct s3_asked {
	struct http_pair headers[HTTP_HEADERS_MAX];
	struct sigv4_request request;
	struct sigv4 sig;
	struct users_s3 key; /* of signed ones */
	struct s3_fault fault;
};

/* A request's state: one of the two. */
struct s3_dataset;
struct s3_call {
	struct carry *carry;
	struct s3_dataset *dataset;
};

enum http_next s3_reply_error(struct gateway *gw, struct http_req *req, enum s3_error error, const char *message);
enum http_next s3_reply_code(struct gateway *gw, struct http_req *req, unsigned int status, const char *code, const char *message);
/* <Error> with a code of ours; malloc'ed, NULL without memory. */
char *s3_code_xml(const char *code, const char *message, const char *id, const char *node, size_t *len);
/* Header lines for the endpoint, ended by NULL; NULL without memory. */
char **s3_compose(struct http_req *req, const struct s3_asked *a);
void s3_lines_free(char **lines); /* accepts NULL */
int s3_pick(void *gw, char (*tried)[64], size_t ntried, char base[256], char node[64]);

/* s3_dataset.c. begin: true when it is a change of a dataset's bucket that the upload service makes: *next is what the handler
 * returns, and the others follow. */
bool s3_dataset_begin(struct gateway *gw, struct http_req *req, struct s3_asked *a, struct s3_call *call, enum http_next *next);
enum http_next s3_dataset_body(struct s3_dataset *d, const void *data, size_t len, size_t *taken);
enum http_next s3_dataset_end(struct s3_dataset *d);
void s3_dataset_done(struct s3_dataset *d); /* accepts NULL */

#endif
