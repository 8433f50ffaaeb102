/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_internal.h -- what the files of the registry client share: the exchange of one JSON
 * request, etcd's encodings, and the errors. Nobody else includes it.
 *
 * Values follow etcd v3's JSON gateway: bytes are standard base64, 64-bit numbers are strings,
 * members that are zero are left out.
 */
#ifndef WEIR_REGISTRY_INTERNAL_H
#define WEIR_REGISTRY_INTERNAL_H

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lib/registry.h"

#define REG_IDLE_MAX 8	  /* kept handles, each with its connection */
#define REG_PAGE     500  /* keys asked for at a time */
#define REG_AUTH_MAX 4096 /* "Authorization: …" with terminator */

struct registry {
	char *shown;	       /* the URL as the configuration says it */
	char *base;	       /* what curl is given: scheme and host */
	char *unix_path;       /* or NULL */
	char *user, *password; /* or NULL */
	char *bearer;	       /* or NULL */
	char *ca;	       /* PEM text, or NULL */
	long timeout_ms;
	atomic_bool reachable;

	pthread_mutex_t lock; /* all below */
	CURL *idle[REG_IDLE_MAX];
	size_t nidle;
	pthread_mutex_t login_lock; /* held while one thread logs in for all; over the next three */
	_Atomic unsigned int logins; /* tries that ended */
	int login_rc;		     /* of the last */
	char login_why[512];
	char *auth_token; /* from /v3/auth/authenticate, or NULL */
	struct reg_watch *watches;
	struct reg_lease *leases;
};

/* ---- exchange (registry_http.c) ---- */
enum {
	REG_FRESH = 1
}; /* a connection of its own: curl repeats a request on a kept connection that dies */

/* POSTs request (its reference is taken) to path. 0 and *answer (a new reference), or -errno with
 * the sentence set. */
int reg_call(struct registry *reg, const char *path, json_t *request, unsigned int flags,
	     json_t **answer);
/* A handle made ready for path, with the header list that the caller frees after use. NULL and the
 * sentence set when it cannot be (authentication failed). For streams. */
CURL *reg_stream_new(struct registry *reg, const char *path, const char *body,
		     struct curl_slist **headers);
/* What a failed answer means: -errno, with the sentence set. Forgets the login when that was
 * refused. */
int reg_refused(struct registry *reg, const char *path, long status, const char *body, size_t len);
int reg_curl_failed(struct registry *reg, CURLcode rc);
void reg_error_set(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- encodings (registry.c) ---- */
int64_t reg_i64(const json_t *object, const char *name); /* 0 when absent */
uint64_t reg_u64(const json_t *object, const char *name);
void reg_set_i64(json_t *object, const char *name, int64_t value);
void reg_set_bytes(json_t *object, const char *name, const void *data, size_t len);
/* range_end of all keys with the prefix, as etcd wants it; "" asks for all keys. */
void reg_set_prefix(json_t *object, const char *prefix);
/* Fills *out from a kv object. 0, -EPROTO, -ENOMEM. */
int reg_kv_parse(struct reg_kv *out, const json_t *kv);
/* As registry_list(), and which cluster answered. */
int reg_list(struct registry *reg, const char *prefix, struct reg_kv **out, size_t *n,
	     int64_t *revision, uint64_t *cluster);

int64_t reg_now_ms(void); /* CLOCK_BOOTTIME: a machine that slept does not still hold its leases */

#endif
