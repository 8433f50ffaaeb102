/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_ops.h -- the functions of the operations, for s3_table.c (see struct s3_handler).
 */
#ifndef WEIR_STORE_S3_OPS_H
#define WEIR_STORE_S3_OPS_H

#include "http/store/s3.h"

/* s3_bucket.c */
void s3_buckets_run(struct s3 *s3);
void s3_bucket_create_run(struct s3 *s3);
void s3_bucket_head_run(struct s3 *s3);
void s3_bucket_delete_run(struct s3 *s3);
void s3_bucket_location_run(struct s3 *s3);
/* s3_list.c */
void s3_list_run(struct s3 *s3);
void s3_list_versions_run(struct s3 *s3);
/* s3_put.c */
enum s3_error s3_put_begin(struct s3 *s3);
void s3_put_run(struct s3 *s3);
/* s3_get.c */
enum s3_error s3_get_begin(struct s3 *s3);
void s3_get_run(struct s3 *s3);
/* The lines of an answer with bytes of an object, all of them when whole; its type. */
const char *s3_get_tell(struct s3 *s3, const struct name_entry *entry, const json_t *meta, const char *etag, bool whole);
/* The version (NULL: the current one) of a key; a delete marker and what is not there are errors, with the headers that tell of
 * them. On a worker. */
enum s3_error s3_find(struct s3 *s3, const char *bucket, const char *key, const char *version, struct name_entry *entry);
/* s3_send.c */
struct s3_piece {
	unsigned int status; /* 200, 206 */
	uint64_t first, len;
	bool whole;	  /* the object's checksum is its own, too */
	const char *type; /* Content-Type */
};
/* reader_job.refuse; arg: the struct s3. */
enum http_next s3_send_refuse(void *arg, int rc, const char *sentence);
/* Answers with these bytes of an entry; the headers were added. S3_OK: answered. */
enum s3_error s3_send(struct s3 *s3, const struct name_entry *entry, const json_t *meta, const struct s3_piece *piece);
/* Can it be answered without waiting for a disk or a peer? */
bool s3_is_hot(struct s3 *s3, const struct name_entry *entry);
/* Which bytes are its part `number`; on a worker. */
enum s3_error s3_part_range(struct s3 *s3, const struct name_entry *entry, unsigned int number, struct http_range *out);
/* s3_copy.c */
void s3_copy_run(struct s3 *s3);
/* x-amz-copy-source, its rights and conditions looked at. Big: allocate it. */
struct s3_source {
	char bucket[S3_BUCKET_MAX + 1], key[S3_KEY_MAX + 1], version[65];
	bool versioned; /* its bucket */
	struct name_entry entry;
};
enum s3_error s3_source_find(struct s3 *s3, struct s3_source *out);
/* Bytes of it into body.upload, which is made (version NULL: a new one), and checked: s3_put_entry() or names_part_put() follows. */
enum s3_error s3_source_copy(struct s3 *s3, const struct s3_source *source, const json_t *meta, uint64_t first, uint64_t len,
			     const struct version *version);
/* s3_tagging.c */
void s3_tagging_get_run(struct s3 *s3);
void s3_tagging_put_run(struct s3 *s3);
void s3_tagging_delete_run(struct s3 *s3);
void s3_acl_get_run(struct s3 *s3);
void s3_acl_put_run(struct s3 *s3);
/* s3_attributes.c */
void s3_attributes_run(struct s3 *s3);
/* s3_multipart.c */
void s3_upload_create_run(struct s3 *s3);
void s3_upload_complete_run(struct s3 *s3);
void s3_upload_abort_run(struct s3 *s3);
/* s3_part.c */
enum s3_error s3_part_begin(struct s3 *s3);
void s3_part_run(struct s3 *s3);
void s3_part_copy_run(struct s3 *s3);
void s3_parts_list_run(struct s3 *s3);
void s3_uploads_list_run(struct s3 *s3);
/* s3_config.c */
void s3_config_get_run(struct s3 *s3);
void s3_policy_get_run(struct s3 *s3);
/* Part of the bucket's record, and waits until it is seen here; text NULL: taken away. malformed: what -EINVAL means. */
enum s3_error s3_config_change(struct s3 *s3, enum bucket_part part, const char *text, enum s3_error malformed);
void s3_config_put_run(struct s3 *s3);
void s3_config_delete_run(struct s3 *s3);
void s3_preflight_run(struct s3 *s3);
/* Headers of the bucket's CORS rules, before any answer. */
void s3_cors_add(struct s3 *s3);
/* s3_block.c: public access block, ownership of objects */
void s3_ownership_get_run(struct s3 *s3);
void s3_ownership_put_run(struct s3 *s3);
void s3_block_get_run(struct s3 *s3);
void s3_block_put_run(struct s3 *s3);
void s3_block_delete_run(struct s3 *s3);
/* S3_ACCESS_DENIED (S3_ACL_NOT_SUPPORTED) when the bucket takes no such ACL, or no such policy. */
enum s3_error s3_block_acl(struct s3 *s3, const char *acl);
enum s3_error s3_block_policy(struct s3 *s3, const char *policy, size_t len);
/* s3_default.c */
void s3_default_get_run(struct s3 *s3);
void s3_default_put_run(struct s3 *s3);
void s3_default_delete_run(struct s3 *s3);
void s3_default_lock_run(struct s3 *s3);
/* s3_delete.c */
void s3_delete_run(struct s3 *s3);
enum s3_error s3_delete_many_begin(struct s3 *s3);
void s3_delete_many_run(struct s3 *s3);

#endif
