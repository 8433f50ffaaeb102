/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names_op.h -- one step in a bucket's order, as it is logged, sent and applied; and the rules that
 * need no state: what a valid name is, whether a condition holds, what the messages look like.
 *
 * Pure: values in, values out. An operation carries everything that applying it needs, so that
 * the primary and the secondary come to the same content.
 */
#ifndef WEIR_STORE_NAMES_OP_H
#define WEIR_STORE_NAMES_OP_H

#include "http/store/names.h"
#include "lib/json_text.h"

#define NAMES_TARGETS_MAX 256	       /* endpoints that ever registered */
#define NAMES_BATCH_MAX	  200	       /* operations of one message */
#define NAMES_BATCH_BYTES (640u << 10) /* of names_entry_weight(): below NAMES_BODY_MAX */
#define NAMES_DONE_MAX	  64	       /* tasks confirmed by one operation */
#define NAMES_KEEP_BYTES  (NAMES_PARTS_MAX / 8 + 1)

enum names_op_kind {
	NAMES_OP_PUT = 1,
	NAMES_OP_DELETE,
	NAMES_OP_FORGOTTEN, /* `node` has forgotten the versions that the operations `seqs` replaced
			     */
	NAMES_OP_FETCHED,   /* `node` has the data of entry.version now, or gave up */
	NAMES_OP_OPEN,	    /* the bucket takes writes */
	NAMES_OP_CLOSE,	    /* … and does not any more */
	NAMES_OP_COMPLETE,  /* a put of an object of parts that leaves some out; which, says `keep` */
};

/* What a row belongs to. Every row is written into a slot: a null version into its key's only one,
 * others into (key, order); parts are null versions of the key "UPLOADID/NNNNN". Parts that an object
 * left out are moved by its own operation, however many there are, and wait as NAMES_DROPPED for
 * the primary to have them forgotten. */
enum names_space { NAMES_OBJECTS, NAMES_UPLOADS, NAMES_PARTS, NAMES_DROPPED };

enum names_task_kind { NAMES_TASK_FORGET = 1, NAMES_TASK_FETCH };

struct names_op {
	enum names_op_kind kind;
	enum names_space space; /* put, delete */
	uint64_t epoch, seq;
	/* By which a later try finds it; "": none. An entry's own version when it is written
	 * first. */
	char id[33];
	bool replaced;	     /* there was a live object before */
	char forget[33];     /* the version that every target is to forget, or "" */
	unsigned int nfetch; /* put: these nodes are to fetch the data */
	char fetch[NAMES_HOLDERS_MAX][CONF_NAME_MAX];
	char node[CONF_NAME_MAX]; /* forgotten, fetched */
	bool holds;		  /* fetched: it has the data */
	unsigned int nseqs;	  /* forgotten; fetched: the one task's */
	uint64_t seqs[NAMES_DONE_MAX];
	struct name_entry entry; /* put, delete: what is written; fetched: the version */
	uint8_t keep[NAMES_KEEP_BYTES]; /* complete alone: the bit of a part's number: it stays */
};

static inline bool names_keeps(const uint8_t keep[NAMES_KEEP_BYTES], unsigned int part)
{
	return part <= NAMES_PARTS_MAX && keep[part / 8] >> (part % 8) & 1;
}

/* Operations of one bucket that follow each other, from its primary. */
struct names_batch {
	char bucket[NAMES_BUCKET_MAX + 1];
	char primary[CONF_NAME_MAX];
	uint64_t epoch;
	uint64_t prev_epoch, prev_seq; /* the operation before the first */
	unsigned int ntargets;
	char (*targets)[CONF_NAME_MAX]; /* who must forget what was replaced */
	unsigned int nops;
	struct names_op *ops;
};

void names_batch_free(struct names_batch *batch); /* its members */

/* Does the object (NULL: there is none) meet If-Match and If-None-Match? 0 or -ECANCELED (RFC 9110
 * sections 13.1.1 and 13.1.2). Headers may be NULL. Either of its ETags will do. */
int names_conditions(const char *if_match, const char *if_none_match,
		     const struct name_entry *entry);

/* UTF-8 without NUL (RFC 3629)? */
bool names_text_valid(const char *text, size_t len);
/* Versions as 16 bytes. 0 or -EINVAL. */
int names_version_pack(uint8_t out[16], const char *hex);
bool names_node_valid(const char *node);
/* The key of a part. */
void names_part_key(char out[NAMES_KEY_MAX + 1], const char *id, unsigned int number);
/* All fields that a writer gives. 0 or -EINVAL. */
int names_entry_check(const struct name_entry *entry);

/* JSON and back. Encoders return a new reference (NULL without memory); decoders are strict and
 * return 0 or -EINVAL with the output undefined, names_batch_decode() leaves nothing to free then.
 */
json_t *names_entry_encode(const struct name_entry *entry);
/* The same bytes as text, for pages of many. */
void names_entry_write(struct json_text *json, const struct name_entry *entry);
/* At most so many bytes of JSON. */
size_t names_entry_weight(const struct name_entry *entry);
int names_entry_decode(struct name_entry *out, const json_t *value);
json_t *names_batch_encode(const struct names_batch *batch);
int names_batch_decode(struct names_batch *out, const json_t *value);

/* Strict member readers: 0, or -EINVAL when absent, of another type or too long. */
int names_json_text(const json_t *object, const char *member, char *out, size_t room);
int names_json_u64(const json_t *object, const char *member, uint64_t *out);

/* names/BUCKET in the registry. */
struct names_record {
	uint64_t epoch;
	char primary[CONF_NAME_MAX];
	char secondary[CONF_NAME_MAX]; /* "": none */
};
char *names_record_encode(const struct names_record *record); /* malloc'ed */
int names_record_decode(struct names_record *out, const char *text, size_t len);

#endif
