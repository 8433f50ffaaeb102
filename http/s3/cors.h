/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cors.h -- a bucket's CORS rules: which answer headers a browser gets.
 *
 * Of the record: {"rules":[{"id","origins":[…],"methods":["GET",…],"headers":["*"],"expose":[…],"max_age":3600},…]}; the first
 * rule that fits counts. An origin and a header may have one '*'.
 */
#ifndef WEIR_S3_CORS_H
#define WEIR_S3_CORS_H

#include <jansson.h>
#include <stdbool.h>

/* The headers to add; strings are allocated (expose and headers may be NULL), freed by s3_cors_free(). */
struct s3_cors {
	char *origin;	     /* Access-Control-Allow-Origin: "*" when the rule allows all, else the origin */
	bool credentials;    /* Access-Control-Allow-Credentials: true, when the origin was named */
	char *methods;	     /* Access-Control-Allow-Methods: of the rule, "GET, PUT" */
	char *headers;	     /* Access-Control-Allow-Headers: those asked for (preflight) */
	char *expose;	     /* Access-Control-Expose-Headers */
	long max_age;	     /* Access-Control-Max-Age; -1: not said */
};
/* cors: the record's, or NULL. origin, method: of the request (preflight: Access-Control-Request-Method); asked: the value of
 * Access-Control-Request-Headers, or NULL. False: no rule fits, *out is empty: a preflight is answered S3_CORS_FORBIDDEN, another
 * request without these headers. The answer also needs "Vary: Origin, Access-Control-Request-Headers,
 * Access-Control-Request-Method". */
bool s3_cors_match(struct s3_cors *out, const json_t *cors, const char *origin, const char *method, const char *asked);
void s3_cors_free(struct s3_cors *cors);

#endif
