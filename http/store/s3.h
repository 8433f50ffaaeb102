/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3.h -- S3 at an endpoint: one request from its head to its answer, and what the operations (s3_*.c) share.
 *
 * s3.c takes the requests that are S3's, s3_auth.c asks who sends them and whether they may, s3_body.c receives, checks and
 * keeps or stores what they carry, s3_reply.c answers, s3_table.c says which function does which operation. All of it in
 * this order:
 *
 *	pool thread	target, operation, signature, rights, headers of the body; handler->begin
 *	pool thread	the body: decoded, hashed; into memory or into an upload
 *	worker		the body's checks; handler->run, which answers
 *
 * What only a worker may do (ask the registry whether a bucket is new) sends the first part there, too.
 */
#ifndef WEIR_STORE_S3_H
#define WEIR_STORE_S3_H

#include "http/s3/awschunked.h"
#include "http/s3/checksum.h"
#include "http/s3/conditions.h"
#include "http/s3/errors.h"
#include "http/s3/meta.h"
#include "http/s3/operation.h"
#include "http/s3/sigv4.h"
#include "http/s3/xml_in.h"
#include "http/s3/xml_out.h"
#include "http/store/endpoint.h"
#include "http/store/sealed.h"
#include "http/store/upload.h"
#include "lib/bucket.h"
#include "lib/policy.h"

struct reader;
struct parts_answer;
struct s3;
struct s3_hot;

#define S3_INSIDE_PATH "/i/s3" /* what gateways carry: the client's target follows (s3_choose.h) */

/* How an operation is done. */
struct s3_handler {
	/* On the pool thread (or see waits), when the request may be done and its body is wanted; may be NULL. S3_OK: goes on, or it answered
	 * by a reply function; else the error is answered (s3->fault). Must not block. */
	enum s3_error (*begin)(struct s3 *s3);
	/* On a worker, after the body was found right: answers. NULL: begin did. */
	void (*run)(struct s3 *s3);
	/* The rights are the operation's own matter (DeleteObjects: of each key). */
	bool asks;
	/* run (or begin) asks once more by s3_may_object() or s3_may_part() when s3->denied is set: the policy speaks of tags, or of
	 * what an upload was begun with. */
	bool looks;
	/* begin asks names: it is called on a worker. */
	bool waits;
};
extern const struct s3_handler s3_handlers[S3_OPS_N]; /* no run and no begin: NotImplemented */

/* What comes behind the head, and what it must be. */
struct s3_payload {
	struct awschunked *chunked; /* NULL: as it is */
	uint64_t want, got;	    /* bytes of payload; UINT64_MAX: not said */
	/* gathered: XML and JSON */
	char *text;
	size_t len, room;
	/* streamed: data */
	struct upload *upload;
	struct sealer *sealer; /* NULL: kept as it is */
	char sealed_key[UPLOAD_KEY_TEXT]; /* for the meta */
	uint64_t max;	     /* bytes that it may have */
	struct checksums *sums;
	unsigned int kinds;  /* bits of those that sums computes */
	bool sha_by_upload;  /* SHA-256 is computed where it is stored anyway */
	bool has_md5, has_kind, in_trailer, has_value;
	uint8_t md5[CHECKSUM_MAX]; /* of Content-MD5 */
	enum checksum_kind kind; /* the checksum that the client chose */
	uint8_t value[CHECKSUM_MAX]; /* as it says */
	/* after s3_body_check(): of the whole payload */
	uint64_t size;
	uint8_t sha256[32];
	char etag[33];			    /* MD5, hex (of data) */
	char checksum[CHECKSUM_TEXT_MAX];   /* of `kind`, when has_kind */
};

struct s3 {
	struct endpoint *ep;
	struct http_req *req; /* NULL from the early answer on (s3_early.c): it may be over; and when hot is not */
	struct s3_hot *hot;   /* what was asked in front of the common way, and is told (s3_hot.c) */
	struct s3_target target;
	const char *bucket, *key; /* of target; "" */
	const char *version;	  /* versionId, or NULL */
	const struct s3_operation *op;
	const struct s3_handler *handler;
	const struct bucket *config; /* NULL: there is no such bucket (CreateBucket), or no bucket is meant */
	struct sigv4 sig;
	uint8_t signing[32];	 /* the key of the signature, for chunks */
	struct token_scope who;	 /* user "": a stranger */
	struct s3_fault fault;
	struct s3_payload body;
	struct reader *reader;
	struct held *held; /* of a hot version, until it is sent */
	struct parts_answer *parts; /* of an object of parts */
	bool inside;   /* carried by a gateway */
	bool answered; /* by a function below */
	bool encrypt;  /* what s3_body_store() stores: s3_encryption_asked(), or of a part what its
			  upload says */
	bool ids;      /* s3_add_ids() was called */
	bool asks_more; /* a header of Amazon beside those of a signature: check_rest() looks at it */
	bool denied;	/* but the object's own ACL or tags may allow it */
	bool unsure;	/* the last s3_may() hung on tags, or on an upload's beginning, that were not known */
	bool new_tags_known;
	json_t *new_tags;  /* that the request sends, once somebody asked */
	char *copy_source; /* "BUCKET/KEY" of x-amz-copy-source, once somebody asked */
	bool failed;   /* our fault, for the counter */
	struct {
		int64_t begun;	  /* ns of the monotonic clock */
		const char *code; /* of the error that was answered, or NULL */
		uint64_t sent;	  /* bytes of the answer's body */
		const char *id, *from; /* s3_seen_keep(); else NULL */
	} seen; /* s3_seen.c */
	struct s3_early *early; /* of an answer that began before the end; the worker's and done's */
	int64_t early_ms;	/* when the next of it is due; the worker's own */
	void *own;     /* of the operation; freed by free_own */
	void (*free_own)(void *own);
};

/* ---- s3_auth.c: S3_OK, or the error with s3->fault; the caller answers ---- */
enum s3_error s3_identify(struct s3 *s3);
/* May the sender do the operation on this bucket and key (NULL: what the target names)? action NULL: the operation's. version:
 * the one that is used (s3:VersionId of policies), NULL: none is named; s3->version is the target's alone. */
enum s3_error s3_may(struct s3 *s3, const char *action, const char *bucket, const char *key, const char *version);
/* The same for an object whose ACL and tags are known (meta of its entry). */
enum s3_error s3_may_object(struct s3 *s3, const char *action, const char *bucket, const char *key,
			    const char *version, const json_t *meta);
/* The operation itself, of a part or the end of an upload whose meta is known. */
enum s3_error s3_may_part(struct s3 *s3, const json_t *meta);
bool s3_is_https(const struct s3 *s3); /* as the client came */
/* S3_ACCESS_DENIED when the header (x-amz-expected-bucket-owner, …) names another owner than the bucket has; config may be NULL. */
enum s3_error s3_owner_expected(struct s3 *s3, const struct bucket *config, const char *header);
/* The id of a bucket's owner as clients see it. */
static inline const char *s3_owner_of(const struct bucket *config)
{
	return config->owner[0] ? config->owner : "weir";
}
/* The bucket's record, also when it came a moment ago: waits for the registry, but for strangers. NULL: there is none. On a
 * worker. */
const struct bucket *s3_bucket_find(const struct s3 *s3, const char *bucket);

/* ---- s3_body.c ---- */
/* What the headers say of the body. max: bytes of an object's data. */
enum s3_error s3_body_expect(struct s3 *s3, uint64_t max);
/* The checksum of an object or part whose client sent none. */
void s3_body_choose(struct s3 *s3, enum checksum_kind kind);
/* Where data go: body.upload is made. NULL version: a new one. */
enum s3_error s3_body_store(struct s3 *s3, const struct version *version);
/* Payload that was decoded already. */
enum s3_error s3_body_take(struct s3 *s3, const char *data, size_t len);
enum s3_error s3_body_add(struct s3 *s3, const char *data, size_t len);
/* On a worker: is it complete, and all that was said of it true? Fills what stands last in s3_body; data are sealed, not
 * stored. */
enum s3_error s3_body_check(struct s3 *s3);
void s3_body_free(struct s3 *s3);

/* ---- s3_reply.c: all answer; from any thread ---- */
void s3_add_ids(struct s3 *s3); /* x-amz-request-id and -id-2: the functions below add them, others call this once */
void s3_reply_xml(struct s3 *s3, unsigned int status, char *text, size_t len); /* takes text; NULL: no memory */
void s3_reply_empty(struct s3 *s3, unsigned int status);
void s3_reply_error(struct s3 *s3, enum s3_error error); /* with the sentence of s3->fault when it is this error's */
/* Codes that errors.h has not. */
void s3_reply_code(struct s3 *s3, unsigned int status, const char *code, const char *message);
/* A call of names failed; missing: what -ENOENT means. */
void s3_reply_names(struct s3 *s3, int rc, enum s3_error missing);
enum s3_error s3_names_error(struct s3 *s3, int rc, enum s3_error missing);
/* Storing failed. */
enum s3_error s3_store_error(struct s3 *s3, int rc);
/* http_add_header(), or a line of a ready answer. */
int s3_add_header(struct s3 *s3, const char *name, const char *value);
/* x-amz-… may stand in the query of a presigned URL. */
const char *s3_header(const struct s3 *s3, const char *name);
const char *s3_query(const struct s3 *s3, const char *name);
bool s3_header_is(const struct s3 *s3, const char *name, const char *value); /* without case */
#define S3_VERSION_MAX 34
/* As clients see it: "null" or 32 hex digits. */
const char *s3_version_text(const struct name_entry *entry);
/* With its quotes. Of an object that another way than S3 has stored it is no MD5 and must not look like one. */
#define S3_ETAG_MAX (NAMES_ETAG_MAX + 5)
char *s3_etag(const struct name_entry *entry, char out[S3_ETAG_MAX]);

/* ---- s3_early.c: on the worker ---- */
/* From time to time by what may take long and has checked all that a client can get wrong: after some seconds the answer begins as a
 * 200 whose body says the rest, and blanks keep the connection. False: give it up, nobody listens any more or this program stops. */
bool s3_early_tick(struct s3 *s3);
bool s3_early_stops(struct endpoint *ep); /* it was this program */
/* The end of such an answer; takes text (NULL: no memory, the answer is cut). False: it has not begun, text is the caller's. */
bool s3_early_say(struct s3 *s3, char *text, size_t len);
/* The worker is ready with struct s3, or the request is over (worker false). Waits for nobody; true: the other was before, so the
 * caller frees struct s3. */
bool s3_early_leave(struct s3_early *early, bool worker);
void s3_early_free(struct s3_early *early); /* with struct s3; accepts NULL */

/* ---- s3_expiry.c: what lifecycle rules say, when the bucket has some ---- */
void s3_add_expiration(struct s3 *s3, const struct name_entry *entry, const json_t *meta); /* of a current object */
void s3_add_abort_date(struct s3 *s3, const struct name_entry *upload);

/* ---- s3_seen.c: metrics and the audit log ---- */
void s3_seen_begin(struct s3 *s3);
/* What is answered, before it is: code of the error (a literal) or NULL, bytes of the body. Reply functions call it. */
void s3_seen_answer(struct s3 *s3, const char *code, uint64_t sent);
/* One key of DeleteObjects: has its line like a DeleteObject. */
void s3_seen_deleted(struct s3 *s3, const char *key, const char *code);
void s3_seen_done(struct s3 *s3);
/* The request will not be there when these are told: copies what is told of it. id and from live as long as s3. */
#define S3_SEEN_ID 24
void s3_seen_keep(struct s3 *s3, char id[S3_SEEN_ID], char from[ADDR_PORT_STRLEN]);
const char *s3_seen_id(const struct s3 *s3); /* the request's */

/* ---- s3_meta.c: between headers and the meta of an entry ---- */
/* Content-Type, …, x-amz-meta-…, x-amz-tagging, x-amz-acl of the request. *out is the caller's. */
enum s3_error s3_meta_of_request(struct s3 *s3, json_t **out);
enum s3_error s3_meta_store(struct s3 *s3, const json_t *meta, struct name_entry *entry);
/* The checksum that s3_body_check() found, and the sealed key of what was stored encrypted. */
void s3_meta_checksum(const struct s3 *s3, json_t *meta);
/* NULL without memory, or when it is damaged (answered as an internal error by the caller). */
json_t *s3_meta_of_entry(const struct name_entry *entry);
/* The headers of a GET or HEAD: type (out, not added), metadata, version, checksums, counts. */
const char *s3_meta_answer(struct s3 *s3, const struct name_entry *entry, const json_t *meta, bool whole);
/* A parameter response-… that overrides no header, or NULL. */
const char *s3_override_unknown(const struct s3 *s3);
/* {"CRC32": …} of meta as XML and headers name it; algorithm "": none. */
struct s3_checksum_text s3_meta_checksum_text(const json_t *meta);
void s3_add_checksum(struct s3 *s3, const json_t *meta);
void s3_add_encryption(struct s3 *s3, const json_t *meta); /* x-amz-server-side-encryption, when it is */
/* Of an object or an upload that begins: by the request, or by the bucket. A part is what its
 * upload was begun as. */
bool s3_encryption_asked(struct s3 *s3);
void s3_add_modified(struct s3 *s3, const struct name_entry *entry); /* Last-Modified */
void s3_add_version(struct s3 *s3, const struct name_entry *entry); /* x-amz-version-id, when the bucket is versioned */

/* ---- s3_put.c: naming ---- */
enum names_mode s3_names_mode(const struct s3 *s3);
/* The headers' conditions for a write, as names takes them; *how is filled. */
enum s3_error s3_names_how(struct s3 *s3, struct names_how *how);
/* The error for what names answered, rc, to a write with these conditions: S3_NO_SUCH_KEY when
 * nothing is there for If-Match to speak of; missing for another -ENOENT. */
enum s3_error s3_put_refused(struct s3 *s3, int rc, const struct names_how *how,
			     enum s3_error missing);
/* Stores and names what was received, with this meta, to which the checksum is added. *entry is zero before. */
enum s3_error s3_put_entry(struct s3 *s3, struct name_entry *entry, json_t *meta, const struct names_how *how);

#endif
