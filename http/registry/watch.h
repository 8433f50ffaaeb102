/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h -- answers of /v3/watch: JSON lines as etcd's gateway prints them, for as long as the
 * client stays.
 *
 * A watch holds no queue: it remembers the revision at which it goes on, and reads the store's
 * history when its connection can take more. One that was too slow for the history is told so
 * (compact_revision) and ended.
 */
#ifndef WEIR_REGISTRY_WATCH_H
#define WEIR_REGISTRY_WATCH_H

#include "http/registry/request.h"
#include "lib/httpd.h"

#define WATCHES_MAX 1024

struct watches;

int watches_new(struct watches **out, struct store *store); /* also becomes the store's listener */
void watches_free(struct watches *ws); /* accepts NULL; after the HTTP server has stopped */
/* Takes wanted's texts. Answers with the stream, or 429 when there are too many. *slot says while
 * the watch lives that it does; call watches_detach() with it when the request is over. */
struct watch;
enum http_next watches_reply(struct watches *ws, struct http_req *req, struct request_watch *wanted,
			     struct watch **slot);
void watches_detach(struct watches *ws, struct watch **slot);
/* Tells every client how far it is, which also finds those that went away. */
void watches_progress(struct watches *ws);
void watches_stop(struct watches *ws); /* ends all streams */
size_t watches_count(struct watches *ws);

#endif
