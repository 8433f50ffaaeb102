/* SPDX-License-Identifier: Apache-2.0 */
/*
 * audit.h -- who did what, when, from where, with which result: lines of JSON in files of the daemon's own folder,
 * one a day, that can be searched. A line is written before the answer is sent; when it cannot be (disk full), the
 * log says so once a minute and the counter weir_audit_failed_total grows. Secrets and tokens never get in.
 */
#ifndef WEIR_AUDIT_H
#define WEIR_AUDIT_H

#include <jansson.h>
#include <stdint.h>

#include "lib/httpd.h"
#include "lib/metrics.h"
#include "lib/token.h"

struct audit;
struct audit_options {
	const char *folder; /* made when absent */
	const char *node, *role;
	unsigned int keep_days; /* 0: 90 */
	uint64_t bytes_max;	/* of all files; the oldest go; 0: 1 GiB */
	struct metrics *metrics; /* may be NULL */
};
int audit_open(struct audit **out, const struct audit_options *opt);
void audit_close(struct audit *a); /* accepts NULL */

struct audit_entry {
	const char *who;     /* user, or "" */
	const char *what;    /* "login", "logout", "upload", "download", "delete", "replace", "dataset.create", "dataset.change",
			      * "token.create", "device", … */
	const char *on;	     /* "DATASET/FILE", "dataset NAME", or "" */
	const char *result;  /* "ok", "denied", "failed" */
	const char *why;     /* a few words, may be NULL */
	const char *from;    /* address of the client */
	const char *request; /* its id */
	uint64_t bytes;
};
/* Thread-safe; at is now. a may be NULL: nothing is written. */
void audit_write(struct audit *a, const struct audit_entry *e);

struct audit_object {
	const char *what, *bucket, *key; /* key may be NULL */
	const char *result, *why;	 /* as above */
	uint64_t bytes;
};

struct audit_query {
	const char *who, *what, *on, *result; /* NULL: any; on: prefix */
	const char *text;		      /* anywhere in the line */
	int64_t since, until;		      /* unix seconds; 0: none */
	size_t max;			      /* 0: 100; at most 1,000 */
	const char *before;		      /* the "id" of the last line of the page before */
};
/* Newest first: [{"id","at","node","role","who","what","on","result","why","from","request","bytes"}]; a new reference, NULL without
 * memory. Reads files: on a worker thread. */
json_t *audit_search(struct audit *a, const struct audit_query *q);

/* What a request's query asks for: who what on result text since until (unix seconds) before max. The texts live as long as
 * the request. 0, or answers 400 and returns -EINVAL. */
int audit_query_read(struct http_req *req, struct audit_query *q);
/* A token made for one thing does not tell what its user did: it needs the right r on everything. False: 403 was answered. */
bool audit_may_read(struct http_req *req, const struct token_scope *who);
/* GET /_/audit of an inside listener: this node's own lines, as audit_search() gives them. Whoever asks sends the
 * credentials of the person for whom it asks: auditors see all, others their own lines. */
enum http_next audit_reply(struct http_req *req, struct audit *a, struct users *users);

/* A line about an object, BUCKET/KEY: who, where from and the request's id are the request's. */
void audit_object(struct audit *a, const struct http_req *req, const struct token_scope *who,
		  const struct audit_object *o);

#endif
