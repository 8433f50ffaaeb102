/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h -- which version a key has: ordered by one primary per bucket, with a synced second copy.
 *
 * The registry's names/BUCKET says who orders a bucket: {"epoch","primary","secondary"}. A write is
 * numbered by the primary, written durably by the secondary, then by the primary, then answered.
 * Any endpoint may be asked: calls are routed to the primary. secondary is null when the
 * installation has registered a single endpoint; with more, writes wait for a synced second copy
 * and get -EAGAIN when none can be had.
 *
 * A bucket keeps three things, all ordered and copied in the same way:
 *   objects   versions of keys, newest first. The newest is what the key names now; when that is a
 *             delete marker the key names nothing. Which writes keep older versions is said with
 *             each write (enum names_mode), because it is the bucket's record that knows.
 *   uploads   begun in parts, not yet completed; the upload's id is the version that the object
 *             will have
 *   parts     of uploads, and then of the objects that they became. Each is a version of its own
 *             with data, size and holders.
 *
 * Versions are 32 lower-case hex digits, made by the writer and never used twice. An upload's id
 * ends with eight zeros and is a *group*: its parts' versions have the same first 24 digits, then
 * the part's number (4 hex digits), the endpoint's (2) and its attempt (2): names_part_attempt(). Whoever is told to
 * forget a group removes all versions with those 24 digits.
 *
 * All calls are thread-safe and block (worker threads only), for at most NAMES_TIMEOUT_MS and a
 * little, except those named …_now. They return 0 or:
 *   -EAGAIN     nothing was changed; the service is not available now (503)
 *   -ETIMEDOUT  unknown: it may have happened or may happen yet (504); the same call may be tried
 *               again (put: with the same version)
 *   -ENOENT     no such bucket (or it is closed), key, version, or upload
 *   -ECANCELED  If-Match, If-None-Match or if_seq does not hold (412)
 *   -EINVAL     the bucket, the key or a field is not acceptable
 *   -ENOSPC     a disk of the primary or the secondary is full; nothing was changed
 *   -ENOTEMPTY  names_bucket_close(): something is in it
 *   -EBADMSG    names_upload_complete(): a part is not there or has another ETag (InvalidPart)
 *   -EMSGSIZE   names_upload_complete(): a part but the last is too small (EntityTooSmall)
 * and then names_error() is a sentence for people. Nothing here reads a wall clock to order things:
 * `modified` is for display.
 */
#ifndef WEIR_STORE_NAMES_H
#define WEIR_STORE_NAMES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/httpc.h"
#include "lib/httpd.h"
#include "lib/registry.h"

#define NAMES_KEY_MAX	  1024 /* bytes of UTF-8, without terminator */
#define NAMES_BUCKET_MAX  63
#define NAMES_HOLDERS_MAX 8
#define NAMES_META_MAX	  8192 /* bytes, without terminator */
#define NAMES_ETAG_MAX	  79
#define NAMES_PARTS_MAX	  10000
#define NAMES_TIMEOUT_MS  10000
#define NAMES_LIST_MAX	  1000 /* entries and prefixes of one listing */
#define NAMES_MARKER_MAX  55   /* see struct names_page */

/* A version of an object, a delete marker, an upload or a part. Big: not in arrays on a stack. */
struct name_entry {
	char version[33]; /* of the data; a marker's and a tombstone's own */
	/* Internal: gone, kept until every endpoint has forgotten the data. Never told by reads. */
	bool deleted;
	bool marker;	     /* a delete marker: no data, size 0 */
	bool null_version;   /* written without versioning: clients call it "null" */
	bool current;	     /* filled by reads: it is the newest of its key (never stored) */
	unsigned int nparts; /* > 0: the data are those of names_parts(version), in order; the entry
				has no holders */
	unsigned int part;   /* a part: its number from 1; then key is "UPLOADID/NNNNN" */
	uint64_t size;	     /* bytes; of plain text when it is kept encrypted */
	uint8_t sha256[32];  /* all zero: not known, and not found by names_by_hash() */
	int64_t modified;    /* unix seconds, by the primary's clock, when it was ordered; an
				upload: when it was begun */
	unsigned int nholders;
	char holders[NAMES_HOLDERS_MAX][CONF_NAME_MAX]; /* nodes that have the whole data on disk */
	uint64_t epoch, seq; /* where in the bucket's order it was last changed */
	uint64_t order;	     /* the seq of its writing: newer versions have greater ones */
	/* What conditions compare with, without quotes: printable ASCII, no '"'. "": derived from
	 * sha256, see names_entry_etag(). */
	char etag[NAMES_ETAG_MAX + 1];
	char key[NAMES_KEY_MAX + 1];
	/* The owner's own text (S3: compact JSON of content type, headers, tags, checksums, …),
	 * opaque here; UTF-8 without NUL, ended by one. Listings leave it out unless asked. */
	unsigned int meta_len;
	char meta[NAMES_META_MAX + 1];
};
/* It is mostly empty: these touch what is used. */
void names_entry_clear(struct name_entry *e);
void names_entry_copy(struct name_entry *to, const struct name_entry *from);

struct names;

struct names_options {
	const char *dir; /* of the LMDB files; made when it is not there */
	const char *node, *site, *domain;
	struct registry *registry;
	struct httpc *httpc; /* with the installation's certificates: inside_client() */
	/* Removes all data of a version (of a group: of all its versions) from this node.
	 * Idempotent; 0 also when there was nothing. Another result: told again later. Called on
	 * worker threads, several at once. */
	int (*forget)(void *arg, const char *version);
	/* The same for many at once: rc[i] is versions[i]'s result. NULL: forget() one by one. */
	void (*forget_many)(void *arg, const char *const *versions, size_t n, int *rc);
	/* Gets the data of entry->version from one of entry->holders and keeps it durably. 0 done
	 * (this node becomes a holder), 1 the same, but it was here before (it is not forgotten when names do not
	 * know it: that would be no proof); -ENOENT: nobody has it, given up; else told again later.
	 * One at a time, may take its time. forget() of a version is never called while its fetch()
	 * runs. */
	int (*fetch)(void *arg, const char *bucket, const struct name_entry *entry);
	void *arg;
};

/* Opens the local index and starts the threads; works without a registry too (what was known is
 * served). 0 or -errno; logs what is wrong. Strings of options are copied. */
int names_open(struct names **out, const struct names_options *options);
/* The lease under which this node's members/endpoint/NODE was announced: a primary answers reads
 * from its own copy only while that lease is certain, and asks the secondary otherwise. Call after
 * registry_announce(). */
void names_set_lease(struct names *names, struct reg_lease *lease);
/* Waiting calls return -EAGAIN or -ETIMEDOUT, new ones -EAGAIN. Waits for a fetch() that runs: make
 * it end first. Call before the inside listener and the lease end. */
void names_stop(struct names *names);
/* After the inside listener has stopped. Accepts NULL. */
void names_close(struct names *names);

/* The inside listener's route: {1u << HTTP_POST, NAMES_ROUTE, NAMES_BODY_MAX, NULL, NULL, your_end,
 * NULL}, where your_end returns names_http(names, req). */
#define NAMES_ROUTE    "/i/names/:do"
#define NAMES_BODY_MAX (2u << 20) /* completing with 10,000 parts is the longest */
enum http_next names_http(struct names *names, struct http_req *req);

/* A sentence about this thread's last failed call. */
const char *names_error(void);

/* ---- writing ---- */

/* What becomes of the versions that a key has. */
enum names_mode {
	NAMES_PLAIN,	 /* never versioned: the null version is replaced; deleting removes it */
	NAMES_VERSIONED, /* what is there is kept; deleting adds a marker */
	NAMES_SUSPENDED, /* as PLAIN, but versions kept earlier stay; deleting puts a null marker in
			    the null version's place */
};

struct names_how {
	enum names_mode mode;
	/* The headers' values ("*", lists of quoted ETags) or NULL; about the key's current object.
	 */
	const char *if_match, *if_none_match;
	/* The nodes that should hold the data; those that are not in holders are told to fetch. */
	const char *const *ideal;
	size_t nideal;
	/* Deleting: only while the entry that goes (or is covered by a marker) has this seq; 0: any. */
	uint64_t if_seq;
};

/* entry: key, version, size, sha256, etag, meta and holders (who has the data now) are read;
 * modified, epoch, seq, order and null_version are filled in on success. *replaced (may be NULL):
 * the key named an object before; what is not kept is forgotten by every endpoint. Trying the same
 * version again is safe. */
int names_put_with(struct names *names, const char *bucket, struct name_entry *entry,
		   const struct names_how *how, bool *replaced);

/* The same in steps, which wait for nobody, where this node orders the bucket alone. NULL: it does not, or not yet; names_put_with()
 * will see. done(arg) is called once after names_later_begin(), on any thread, maybe before it returned; then names_later_end() gives
 * names_put_with()'s result (what it would try again is -EAGAIN or -ESTALE: nothing was written). */
struct names_later;
struct names_later *names_later_new(struct names *names, const char *bucket, const struct name_entry *entry,
				    const struct names_how *how, void (*done)(void *arg), void *arg);
/* What was begun runs with this thread's next names_later_run(), all together, or soon after. */
void names_later_begin(struct names_later *later);
void names_later_run(struct names *names);
int names_later_end(const struct names_later *later, struct name_entry *entry, bool *replaced); /* both may be NULL */
void names_later_free(struct names_later *later); /* accepts NULL; not between begin and done */

struct names_deleted {
	bool marker;	   /* a marker was added, or what was removed is one */
	bool null_version; /* …, or what was removed: "null" */
	char version[33];  /* the marker's, or what was removed */
};
/* version NULL: deletes the key as how->mode says (NAMES_PLAIN: -ENOENT when there is nothing; the
 * others add a marker always). Else removes that version for good ("null": the null version); the
 * next older one is current then. how: mode and if_match. out may be NULL. After 0 no read finds
 * it, and every endpoint that ever registered will be told to forget the data. */
int names_delete_with(struct names *names, const char *bucket, const char *key, const char *version,
		      const struct names_how *how, struct names_deleted *out);

/* Changes the meta of a version alone (version as in names_get_version()). if_seq: only while
 * entry->seq is that one, else -ECANCELED (an endpoint that fetched the data changes it too: read
 * and try again); 0: whatever it is. entry (may be NULL): as it is now. */
int names_set_meta(struct names *names, const char *bucket, const char *key, const char *version,
		   uint64_t if_seq, const char *meta, struct name_entry *entry);

/* The same of any version with data, current or not, and of parts, where this node orders the bucket; -EAGAIN elsewhere. key: the
 * object's; entry: version, part and seq as they were read; -ECANCELED when seq is another one now. */
int names_set_meta_here(struct names *names, const char *bucket, const char *key, const struct name_entry *entry, const char *meta);

/* ---- reading ---- */

/* What the key names now. -ENOENT also when the bucket is unknown; when the newest version is a
 * delete marker, *entry is that one then (entry->marker; else false). Never older than the last
 * acknowledged write. */
int names_get(struct names *names, const char *bucket, const char *key, struct name_entry *entry);
/* A version of a key: 32 hex digits, "null" for the null version, or NULL for the current one. A
 * marker that is asked for by its version is an entry like others: 0 and entry->marker. */
int names_get_version(struct names *names, const char *bucket, const char *key, const char *version,
		      struct name_entry *entry);
/* The same from this node's own copy, if that is certain at this moment: never waits for another
 * node, so it may be called on a server's thread. -EWOULDBLOCK: ask names_get(). */
int names_get_now(struct names *names, const char *bucket, const char *key,
		  struct name_entry *entry);
int names_get_version_now(struct names *names, const char *bucket, const char *key,
			  const char *version, struct name_entry *entry);
/* A moment, taken before names_get_now(). While it lasts, that would say the same of each key of the bucket again, and be
 * as certain of it. False: there is nothing to take. */
struct names_moment {
	void *bucket;
	uint64_t commits, epoch;
};
bool names_moment(struct names *names, const char *bucket, struct names_moment *moment);
bool names_moment_lasts(struct names *names, const struct names_moment *moment);
/* Whatever has the data of that version: an object's version (current or not) or a part. -ENOENT:
 * nothing needs them. For scrubbing and repair. */
int names_find(struct names *names, const char *bucket, const char *version,
	       struct name_entry *entry);
/* For who would remove the data of a version. 0: a name, a part, or an upload or object whose group it belongs to has them.
 * -ENOENT: nothing has, and nothing will that was begun before this program was: this node orders the bucket, alone, as the only
 * endpoint that is registered, and the registry has told its record. -EAGAIN: it cannot be said. Asks nobody but the registry. */
int names_needed(struct names *names, const char *bucket, const char *version);

/* ---- listing ---- */
/* In the order of the keys' bytes. fn returns 0 to go on, else the listing ends with that result.
 * A page is a consistent snapshot. */
typedef int names_entry_fn(void *arg, const char *bucket, const struct name_entry *entry);
typedef int names_prefix_fn(void *arg, const char *bucket, const char *prefix);

/* What of it is no UTF-8, as keys are: -EINVAL. */
struct names_select {
	const char *prefix;    /* NULL or "": all */
	const char *delimiter; /* NULL or "": none. Keys that have it behind the prefix are told as
				  one: the prefix up to and with the first delimiter. They are
				  skipped, not walked. */
	/* NULL or "": from the start. Only what is greater is told: keys, and common prefixes (so a
	 * key inside a common prefix leaves out that prefix). */
	const char *after;
	/* names_versions(): go on behind this version of `after`; names_uploads(): behind this
	 * upload of `after`. A names_page's next_version, or what a client sent. NULL or "": behind
	 * all of `after`. One that is gone and is not from a page: from the beginning of `after`.
	 */
	const char *after_version;
	unsigned int limit; /* entries and prefixes together; 0: NAMES_LIST_MAX */
	bool meta;	    /* entries with their meta; a page may then be shorter */
};
struct names_page {
	bool more; /* there is more behind the last; a page may be shorter than its limit */
	char next[NAMES_KEY_MAX + 1]; /* the last key or prefix: `after` of the next page */
	char next_version[NAMES_MARKER_MAX + 1]; /* its after_version; "" after a prefix. Opaque,
						    URL-safe. */
};
/* What each key names now (delete markers are left out). prefix_fn may be NULL without delimiter.
 * Entries and prefixes come in one order. */
int names_list_with(struct names *names, const char *bucket, const struct names_select *select,
		    names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		    struct names_page *page);
/* All versions and markers of each key, newest first; entry->current says which is the newest. */
int names_versions(struct names *names, const char *bucket, const struct names_select *select,
		   names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		   struct names_page *page);

/* ---- uploads in parts ---- */

/* A part's version: number 1 to NAMES_PARTS_MAX; attempt: any, another one for each try. 0 or
 * -EINVAL. */
int names_part_version(const char *id, unsigned int number, uint16_t attempt, char out[33]);
/* The version of this endpoint's own try: no other endpoint is ever told the same one, so bytes may
 * be written under it before anybody was asked. That it was not used before is for the caller to
 * see: names_version_used(), and what is on the disk. 0, -EINVAL, or -EAGAIN: the number of this
 * endpoint is not known yet and the registry does not answer. */
int names_part_attempt(struct names *names, const char *id, unsigned int number, uint8_t attempt,
		       char out[33]);
bool names_is_group(const char *version);

/* Has anything had that version, as far as is known (of the bucket's last 65,536 changes at least)? What was replaced or removed may
 * still be about to be forgotten. 0 yes, -ENOENT no. */
int names_version_used(struct names *names, const char *bucket, const char *version);

/* entry: key and meta are read (the owner's text about the upload); version (the upload's id),
 * modified and the place in the order are filled in. */
int names_upload_create(struct names *names, const char *bucket, struct name_entry *entry);
/* -ENOENT: no such upload of that key: never begun, completed or aborted. */
int names_upload_get(struct names *names, const char *bucket, const char *key, const char *id,
		     struct name_entry *entry);
/* The data of a part are on disk; part: version (names_part_version()), size, sha256, etag, meta
 * and holders are read, the rest is filled in. A part of that number that was there before is
 * forgotten. how: ideal alone. -ENOENT as above (then the caller removes the data). */
int names_part_put(struct names *names, const char *bucket, const char *key, const char *id,
		   unsigned int number, struct name_entry *part, const struct names_how *how);
/* Parts of an upload, or of the object that it became (id: its version), by number, after the
 * number `after`; at most limit (0: NAMES_LIST_MAX), fewer when long (*more is right then). Without
 * meta unless asked. An unknown id has no parts: 0. */
int names_parts(struct names *names, const char *bucket, const char *id, unsigned int after,
		unsigned int limit, bool meta, names_entry_fn *fn, void *arg, bool *more);
/* Uploads by key, then by when they were begun. */
int names_uploads(struct names *names, const char *bucket, const struct names_select *select,
		  names_entry_fn *fn, names_prefix_fn *prefix_fn, void *arg,
		  struct names_page *page);

struct names_part {
	unsigned int number;
	char etag[NAMES_ETAG_MAX + 1]; /* without quotes; "": not compared */
};
/* The upload becomes the object `key` with its id as version. list: its parts, by number, each
 * greater than the one before (else -EINVAL). Parts that are not in it are forgotten. part_min: so
 * many bytes at least has each part but the last (0: any). entry: etag, meta and sha256 are read;
 * key, version, size, nparts and the rest are filled in. how and *replaced as in names_put_with().
 * Completing again is safe and gives the same entry. */
int names_upload_complete(struct names *names, const char *bucket, const char *key, const char *id,
			  const struct names_part *list, size_t n, uint64_t part_min,
			  struct name_entry *entry, const struct names_how *how, bool *replaced);
/* The parts are forgotten. */
int names_upload_abort(struct names *names, const char *bucket, const char *key, const char *id);

/* ---- buckets ---- */

/* After 0 writes are accepted (they are for a bucket that was never closed, too). */
int names_bucket_open(struct names *names, const char *bucket);
/* The same, only while the bucket is as names_usage() found it (seq; 0: whatever it is) or was opened since; -ECANCELED. So it
 * does not open what was closed a moment ago, also when it was closed already. */
int names_bucket_open_if(struct names *names, const char *bucket, uint64_t seq);
/* -ENOTEMPTY while there is an object, version, marker or upload. After 0 writes get -ENOENT until
 * it is opened again, also those that were under way. Closing what is closed or was never written
 * is 0. */
int names_bucket_close(struct names *names, const char *bucket);

struct names_usage {
	uint64_t objects; /* versions with data */
	uint64_t bytes;	  /* of them, and of parts of uploads */
	uint64_t markers, uploads, parts;
	uint64_t seq; /* of the last change; 0: never written */
	bool closed;
};
/* By the primary; zero for a bucket that was never written. */
int names_usage(struct names *names, const char *bucket, struct names_usage *out);

/* ---- all of it ---- */

/* Objects with that hash, in this node's copies / in all live endpoints' copies (each once). A copy
 * may lag, and may tell versions that are not current: check with names_get(), where the rights are
 * checked too, before use. At most 64 are told. */
int names_by_hash(struct names *names, const uint8_t sha256[32], names_entry_fn *fn, void *arg);
int names_by_hash_all(struct names *names, const uint8_t sha256[32], names_entry_fn *fn, void *arg);

/* Every version with data of its own in this node's copies (as primary or secondary), also older
 * ones and parts, for scrubbing and placement. fn is called without locks held; entries that change
 * meanwhile may be told once, twice or not at all. Without meta. */
int names_each(struct names *names, names_entry_fn *fn, void *arg);

/* Does this node order the bucket, as far as it knows? */
bool names_is_primary(struct names *names, const char *bucket);
/* How often it became so for any bucket, since names were opened: the same number, no bucket has come. */
uint64_t names_came(struct names *names);
/* {"buckets":[{"name","role":"primary"|"secondary"|"none","epoch","primary","secondary","objects","bytes",
 * "uploads","writes":"ok" or why not}], "objects", "outbox":n, "note"?}: a new reference. objects
 * counts the buckets of which this node is primary. */
json_t *names_status(struct names *names);

/* The files (names_db.h), as long as the names are open: for names_mark.h. */
struct names_db *names_files(struct names *names);

/* '"' + first 32 hex digits of the SHA-256 + '"'. */
char *names_etag(const uint8_t sha256[32], char out[35]);
/* An entry's ETag with its quotes: etag, or else as names_etag(). */
char *names_entry_etag(const struct name_entry *entry, char out[NAMES_ETAG_MAX + 3]);
/* The same as S3 tells it: without etag it is no MD5 and must not look like one, so "-0" is added.
 * Conditions take either. */
char *names_entry_s3_etag(const struct name_entry *entry, char out[NAMES_ETAG_MAX + 3]);
/* 3–63 of a-z 0-9 - . starting with a letter or digit. */
bool names_bucket_valid(const char *bucket);
/* 1–1,024 bytes of UTF-8 without NUL; plain: and without control characters, at most 512 bytes
 * (what the plain interface takes). */
bool names_key_valid(const char *key);
bool names_key_plain(const char *key);

#endif
