/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity_impl.h -- what the files of the sign-on service share; nobody else includes it.
 *
 * identity.c opens and starts; provider.c knows the OpenID provider (discovery, keys, calls); login.c is the
 * authorization code flow, device.c the device flow, password.c local users; person.c makes a person of claims, people.c
 * keeps them in the registry; session.c issues and ends sessions, tokens.c API tokens; audit_merge.c asks all members for
 * their audit lines; jwt.c, seal.c, limit.c are pure; page.c shows faults.
 */
#ifndef WEIR_IDENTITY_IMPL_H
#define WEIR_IDENTITY_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "http/identity/identity.h"
#include "http/identity/limit.h"
#include "http/identity/seal.h"
#include "lib/access.h"

#define SIGN_IN_S 600 /* from the way to the provider to the way back */

struct provider;

struct identity {
	/* copies of the configuration: a reload frees it while threads look */
	bool has_provider;
	char *issuer, *client_id, *client_secret, *audience, *name_claim, *groups_claim, *url, *scopes /* NULL: the usual */;
	int64_t session_s, skew_s;
	char node[CONF_NAME_MAX];

	struct httpc *client;  /* to the provider */
	struct httpc *members; /* to inside listeners */
	struct provider *provider;
	struct users *users;
	struct registry *reg;
	struct audit *audit;
	struct limits *by_user, *by_address, *by_both, *devices;
	struct limits *noted, *noted_all; /* lines of the audit log that strangers can cause at will */
	struct seen *states;   /* of sign-ins that came back: each once */
	struct seen *polls;    /* of device handles */
	atomic_uint hashing;   /* passwords at this moment */
	atomic_uint hunting;   /* for lines of the audit log */
	struct metric *sign_ins; /* how, result */
};

/* ---- provider.c ---- */
int provider_open(struct provider **out, struct identity *id);
int provider_start(struct provider *p);
void provider_stop(struct provider *p); /* accepts NULL, as the next */
void provider_free(struct provider *p);
/* The discovery document that was good last, a new reference; NULL: none yet, why says. */
json_t *provider_document(struct provider *p, char why[256]);
/* jwt_verify() with the provider's keys, which are fetched anew, at most every few seconds, for an unknown kid. Blocks. */
int provider_verify(struct provider *p, json_t **claims, const char *token, const char *nonce, char why[256]);
/* POSTs a form (a URL-encoded body) with the client's credentials. The answer's object, a new reference, and its status;
 * NULL: why says what went wrong. Blocks. */
json_t *provider_post(struct provider *p, const char *url, const char *form, long *status, char why[256]);
/* Calls that wait for the provider: at most a few at once. False: too many now. */
bool provider_enter(struct provider *p);
void provider_leave(struct provider *p);
/* What to ask for; malloc'ed. */
char *provider_scopes(const struct identity *id, const json_t *document);
/* The claims of the userinfo endpoint, NULL when there is none or it fails. Blocks. */
json_t *provider_userinfo(struct provider *p, const char *access_token);
/* name=value pairs, ended by NULL, percent-encoded; a value of NULL leaves the pair out. malloc'ed. */
char *form_encode(const char *name, ...) __attribute__((sentinel));

/* ---- person.c ---- */
struct person {
	char name[64], subject[256], email[256], shown[256];
	char groups[512]; /* weir's */
};
/* claims: of the verified ID token; more: of userinfo, may be NULL. 0 or -EINVAL (why: a whole sentence). */
int person_of(struct person *out, const struct identity *id, const json_t *claims, const json_t *more, char why[256]);
/* Do the claims lack something that userinfo may tell? */
bool person_wants_more(const struct identity *id, const json_t *claims);
/* Both of the above with the calls that they need, people_upsert(), and the session's token. */
int person_sign_in(struct identity *id, const json_t *answer, const char *nonce, struct token_scope *scope, char token[TOKEN_MAX],
		   char why[256]);

/* ---- people.c ---- */
/* 0; -EEXIST the name is somebody else's, -EACCES disabled, -EAGAIN or another: the registry's. why: a whole sentence. */
int people_upsert(struct identity *id, const struct person *person, char why[256]);

/* ---- session.c ---- */
/* Sets id, issued and expires of the scope, and signs. 0 or -errno. */
int session_issue(struct identity *id, struct token_scope *scope, char token[TOKEN_MAX]);
/* Adds the session's cookie. */
int session_set_cookie(struct http_req *req, struct identity *id, const char *token);
bool session_is_secure(const struct http_req *req, const struct identity *id);
/* {user,name,groups,role,csrf,expires,provider}, a new reference. */
json_t *session_json(struct identity *id, const struct token_scope *scope);
/* Names with commas between as an array, a new reference. */
json_t *session_groups(const char *groups);
/* One line of the audit log about this request; why may be NULL. */
void session_audit(struct identity *id, struct http_req *req, const char *who, const char *what, const char *on, const char *result,
		   const char *why);
/* The same for what strangers can cause without end: a few lines of an address, some of all. Who floods must not push out
 * of the log what happened before. All are counted. */
void session_audit_stranger(struct identity *id, struct http_req *req, const char *who, const char *what, const char *result,
			    const char *why);
/* The client's address as limits count it: of IPv6 the /64, of which one machine has all. Returns out. */
char *session_from(const struct http_req *req, char out[ADDR_PORT_STRLEN]);
/* The gathered body as a JSON object; NULL and 400 or 415 was answered. */
json_t *session_body(struct http_req *req);
/* scheme://host of the request, or the configured one. malloc'ed. */
char *session_base(struct http_req *req, const struct identity *id);
/* Is it a path of this site (begins with one '/', no control characters)? */
bool session_path_local(const char *path);

/* ---- page.c ---- */
/* For people in a browser: a page with what went wrong and what to do; JSON for others. */
enum http_next page_fault(struct http_req *req, unsigned int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
