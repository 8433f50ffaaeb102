/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploads.h -- the upload service that the gateway composes: tus 1.0, PUT, HTML forms, replacing a part; events;
 * datasets and their catalogue; downloads of what a dataset holds.
 *
 * An upload's bytes go to a spool file in the gateway's state folder (durable: a 2xx of tus means synced) and are
 * checked by a worker while they arrive. When all are there and the verdict is good, the file and what was derived
 * from it become objects of the dataset's bucket at the endpoints, the manifest last. ARCHITECTURE.md has the routes,
 * states and object names.
 */
#ifndef WEIR_UPLOAD_UPLOADS_H
#define WEIR_UPLOAD_UPLOADS_H

#include <jansson.h>

#include "http/upload/worker.h"
#include "lib/audit.h"
#include "lib/conf.h"
#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/metrics.h"
#include "lib/priv.h"
#include "lib/registry.h"
#include "lib/token.h"

struct uploads;
struct uploads_options {
	const char *folder; /* STATE/gateway/uploads, exists */
	struct users *users;
	struct registry *registry;
	struct audit *audit;
	struct httpc *client; /* to endpoints and other gateways */
	struct metrics *metrics;
	/* An endpoint for objects (view_pick with a draw): 0 or -ENOENT. */
	int (*pick)(void *arg, char url[256]);
	/* Inside address ("http(s)://HOST:PORT") of the gateway whose node has these digits: 0 or -ENOENT. */
	int (*gateway)(void *arg, const char *digits, char url[256]);
	/* Those of all other gateways that live; how many. */
	size_t (*gateways)(void *arg, char (*urls)[256], size_t max);
	void *arg;
};
/* While privileged, with one thread: starts the nursery (worker.h), which becomes `user`. */
int uploads_prepare(struct uploads **out, const struct conf *conf, const struct priv_user *user);
/* After a reload: limits of what begins from now on; workers and what they may use stay as they were at the start. */
void uploads_configure(struct uploads *u, const struct conf *conf);
int uploads_start(struct uploads *u, const struct uploads_options *opt);
/* When the server is there: topics of events. Takes up what a former process left. */
int uploads_serve(struct uploads *u, struct httpd *server);
void uploads_stop(struct uploads *u); /* before the server stops: cancels workers, ends threads */
void uploads_free(struct uploads *u); /* after it stopped; accepts NULL */
json_t *uploads_status(struct uploads *u); /* for `status`: a new reference */
/* What main() does first (worker.h): -1, or an exit code. */
int uploads_modes(int argc, char **argv);

/* Routes of the public and of the inside listener, ended by a NULL path. The servers' arg must point to a struct whose
 * first member is the `struct uploads *`. */
const struct http_route *uploads_routes(void);
const struct http_route *uploads_inside_routes(void);
/* /b/DATASET/FILE, when uploads_owns() the bucket: PUT with its body, DELETE. `done` is for both; it does nothing for
 * requests of which begin was not called, whose state is NULL. */
enum http_next uploads_put_begin(struct http_req *req, struct uploads *u);
enum http_next uploads_put_body(struct http_req *req, struct uploads *u, const void *data, size_t len, size_t *taken);
enum http_next uploads_put_end(struct http_req *req, struct uploads *u);
void uploads_put_done(struct http_req *req, struct uploads *u);

/* The same for a file that comes by another protocol (S3), whose own code reads the request and answers it. */
struct uploads_file; /* on its way */
struct uploads_outcome {
	enum {
		UPLOAD_ACCEPTED,
		UPLOAD_REJECTED,
		UPLOAD_STORING, /* it is kept here, and endpoints are asked on */
		UPLOAD_CONDITION, /* If-Match, If-None-Match */
		UPLOAD_CANCELLED,
		UPLOAD_STOPPING, /* the gateway; it goes on when it is back */
		UPLOAD_FAILED
	} what;
	const char *id, *why; /* of the upload; a sentence or "" */
	unsigned long long findings;
	const char *first; /* finding's sentence, or "" */
};
struct uploads_file_order {
	const struct token_scope *who;
	const char *dataset, *file, *how; /* how: "s3" */
	uint64_t size;			  /* UINT64_MAX: not known */
	const char *if_match, *if_none_match;
	/* Answers the request, under a lock: short, nothing of this header. It is resumed then. */
	void (*answer)(void *arg, struct http_req *req, const struct uploads_outcome *outcome);
	void *arg;
};
/* May the file be written (RIGHT_WRITE) or deleted (RIGHT_DELETE)? 0 and (may be NULL) how many bytes it may have; -EACCES, -ENOENT
 * (to who may not even read it the dataset is not there), -EINVAL (no name of a file). */
int uploads_file_may(struct uploads *u, struct http_req *req, const struct token_scope *who, unsigned int right, const char *dataset,
		     const char *file, uint64_t *max);
/* Blocks. 0, -ECANCELED (a condition), -EDQUOT (too many unfinished ones of the user), -ENOSPC, -EAGAIN, -errno. */
int uploads_file_new(struct uploads_file **out, struct uploads *u, struct http_req *req, const struct uploads_file_order *order);
/* How many of len bytes may come now; fewer: the request is resumed when more may. */
size_t uploads_file_room(struct uploads_file *f, size_t len);
/* 0, -EFBIG (the dataset's limit), -EMSGSIZE (more than order's size), -ENOSPC, -EPERM (it was cancelled), -errno. */
int uploads_file_bytes(struct uploads_file *f, const void *data, size_t len);
/* All bytes are there and right: answer() comes, maybe before this returns 0. -errno: it does not. */
int uploads_file_end(struct uploads_file *f);
/* The request may end from now on, on another thread: it is not used any more, and answer() comes without it. */
void uploads_file_leave(struct uploads_file *f);
/* The request is over; one that had not come to its end is cancelled. Accepts NULL. */
void uploads_file_drop(struct uploads_file *f);
/* Blocks. 0, -ENOENT, -ECANCELED (if_match, may be NULL), -EAGAIN. The right was checked. */
int uploads_file_delete(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset, const char *file,
			const char *if_match);

/* Is the bucket a dataset's? Then the gateway hands PUT and DELETE of /b/BUCKET/KEY to uploads. */
bool uploads_owns(struct uploads *u, const char *bucket);
/* The first 8 digits of the ids of a node's uploads. */
void uploads_node_digits(const char *node, char digits[9]);

#endif
