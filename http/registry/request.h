/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h -- etcd's JSON requests on the store: text in, status and JSON out.
 *
 * Pure but for the store: no socket, no thread. Members that are not supported are refused by name,
 * so that nobody relies on what is ignored. Errors are those of etcd's gateway:
 * {"error":…,"message":…,"code":gRPC code}.
 */
#ifndef WEIR_REGISTRY_REQUEST_H
#define WEIR_REGISTRY_REQUEST_H

#include <jansson.h>

#include "http/registry/store.h"

#define REQUEST_BODY_MAX (2u << 20)

/* What the peer may do: nothing; all but writing users; everything. */
enum request_power { POWER_NONE, POWER_DAEMON, POWER_ALL };

enum request_kind {
	REQUEST_RANGE,
	REQUEST_PUT,
	REQUEST_DELETE,
	REQUEST_TXN,
	REQUEST_COMPACT,
	REQUEST_GRANT,
	REQUEST_REVOKE,
	REQUEST_KEEPALIVE,
	REQUEST_KINDS
};
const char *request_path(enum request_kind kind); /* "/v3/kv/range", … */

/* Runs one request. Returns the HTTP status; *answer is a new reference, never NULL but without
 * memory. */
unsigned int request_run(struct store *s, enum request_kind kind, enum request_power power,
			 const char *body, size_t len, json_t **answer);

/* A watch's request: fills *span (copies that the caller frees by key and end) and *start (0: from
 * now). 200, or another status and *answer. */
struct request_watch {
	char *key, *end;
	struct span span;
	int64_t start;
};
unsigned int request_watch_parse(struct request_watch *out, const char *body, size_t len,
				 json_t **answer);

/* ---- answers ---- */
json_t *request_header(const struct store *s, int64_t revision);
json_t *request_error(int code, const char *message);
unsigned int request_status(int code); /* of a gRPC code, as the gateway maps it */
json_t *request_kv(const struct kv *kv, bool keys_only);

#endif
