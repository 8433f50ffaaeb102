/* SPDX-License-Identifier: Apache-2.0 */
/*
 * datasets.h -- datasets as records of the registry (datasets/NAME), and the files that they hold, as the routes of the
 * gateway show and change them. Internal to the upload service.
 */
#ifndef WEIR_UPLOAD_DATASETS_H
#define WEIR_UPLOAD_DATASETS_H

#include "http/upload/uploads_int.h"

enum http_next datasets_begin(struct http_req *req, struct uploads *u);	     /* GET, POST /_/datasets */
enum http_next datasets_end(struct http_req *req, struct uploads *u);
enum http_next datasets_one_begin(struct http_req *req, struct uploads *u); /* GET, PUT, DELETE /_/datasets/:name */
enum http_next datasets_one_end(struct http_req *req, struct uploads *u);
enum http_next datasets_files(struct http_req *req, struct uploads *u);	     /* …/files */
enum http_next datasets_file(struct http_req *req, struct uploads *u);	     /* …/files/ and a file */
enum http_next datasets_catalogue(struct http_req *req, struct uploads *u);
enum http_next datasets_preview_begin(struct http_req *req, struct uploads *u);
enum http_next datasets_preview_end(struct http_req *req, struct uploads *u);

/* The same of who may, blocking: 0, -ENOENT, -ECANCELED (if_match, may be NULL), -EAGAIN. */
int datasets_delete(struct uploads *u, struct http_req *req, const struct token_scope *who, const char *dataset, const char *file,
		    const char *if_match);
/* DELETE /b/DATASET/FILE: the owner's; removes what was derived too. The call's request is answered later. */
enum http_next datasets_delete_file(struct call *c, const char *dataset, const char *file);
/* Do If-Match and If-None-Match hold for the file as it is? 0, -ECANCELED, -EAGAIN. Blocks. */
int datasets_condition(struct uploads *u, const char *dataset, const char *file, const char *match, const char *none);

/* The manifest of a file: 0, -ENOENT, -EAGAIN; a new reference without what is internal. Blocks. */
int dataset_manifest(struct uploads *u, const char *dataset, const char *file, const char *user, json_t **out);
/* Manifests of files after `after` in order, at most max: an array; *next: where to go on, malloc'ed, or NULL. */
int dataset_manifests(struct uploads *u, const char *dataset, const char *after, size_t max, const char *user,
		      json_t **out, char **next);
/* The dataset is there and the caller has the right there; else answers 401, 403 or 404. */
bool dataset_allowed(struct uploads *u, struct http_req *req, unsigned int right, const char *name,
		     struct token_scope *who);

#endif
