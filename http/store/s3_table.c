/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_table.c -- which functions do which operation (s3.h). What is not here is answered NotImplemented.
 */
#include "http/store/s3_ops.h"

const struct s3_handler s3_handlers[S3_OPS_N] = {
	/* buckets */
	[S3_OP_ListBuckets] = { .run = s3_buckets_run, .asks = true },
	[S3_OP_CreateBucket] = { .run = s3_bucket_create_run },
	[S3_OP_HeadBucket] = { .run = s3_bucket_head_run },
	[S3_OP_DeleteBucket] = { .run = s3_bucket_delete_run },
	[S3_OP_GetBucketLocation] = { .run = s3_bucket_location_run },
	/* what buckets are told to be */
	[S3_OP_GetBucketVersioning] = { .run = s3_config_get_run },
	[S3_OP_GetBucketLifecycle] = { .run = s3_config_get_run },
	[S3_OP_GetBucketCors] = { .run = s3_config_get_run },
	[S3_OP_GetBucketAcl] = { .run = s3_config_get_run },
	[S3_OP_GetBucketTagging] = { .run = s3_config_get_run },
	[S3_OP_GetBucketEncryption] = { .run = s3_config_get_run },
	[S3_OP_GetBucketPolicy] = { .run = s3_policy_get_run },
	[S3_OP_GetBucketPolicyStatus] = { .run = s3_policy_get_run },
	[S3_OP_PutBucketVersioning] = { .run = s3_config_put_run },
	[S3_OP_PutBucketLifecycle] = { .run = s3_config_put_run },
	[S3_OP_PutBucketCors] = { .run = s3_config_put_run },
	[S3_OP_PutBucketPolicy] = { .run = s3_config_put_run },
	[S3_OP_PutBucketAcl] = { .run = s3_config_put_run },
	[S3_OP_PutBucketTagging] = { .run = s3_config_put_run },
	[S3_OP_PutBucketEncryption] = { .run = s3_config_put_run },
	[S3_OP_DeleteBucketLifecycle] = { .run = s3_config_delete_run },
	[S3_OP_DeleteBucketCors] = { .run = s3_config_delete_run },
	[S3_OP_DeleteBucketPolicy] = { .run = s3_config_delete_run },
	[S3_OP_DeleteBucketTagging] = { .run = s3_config_delete_run },
	[S3_OP_DeleteBucketEncryption] = { .run = s3_config_delete_run },
	[S3_OP_PreflightBucket] = { .run = s3_preflight_run, .asks = true },
	[S3_OP_PreflightObject] = { .run = s3_preflight_run, .asks = true },
	/* listings */
	[S3_OP_ListObjects] = { .run = s3_list_run },
	[S3_OP_ListObjectsV2] = { .run = s3_list_run },
	[S3_OP_ListObjectVersions] = { .run = s3_list_versions_run },
	/* objects */
	[S3_OP_PutObject] = { .begin = s3_put_begin, .run = s3_put_run },
	[S3_OP_GetObject] = { .begin = s3_get_begin, .run = s3_get_run, .asks = true },
	[S3_OP_HeadObject] = { .begin = s3_get_begin, .run = s3_get_run, .asks = true },
	[S3_OP_DeleteObject] = { .run = s3_delete_run },
	[S3_OP_CopyObject] = { .run = s3_copy_run },
	[S3_OP_GetObjectTagging] = { .run = s3_tagging_get_run },
	[S3_OP_PutObjectTagging] = { .run = s3_tagging_put_run },
	[S3_OP_DeleteObjectTagging] = { .run = s3_tagging_delete_run },
	[S3_OP_GetObjectAcl] = { .run = s3_acl_get_run },
	[S3_OP_PutObjectAcl] = { .run = s3_acl_put_run },
	[S3_OP_GetObjectAttributes] = { .run = s3_attributes_run },
	[S3_OP_DeleteObjects] = { .begin = s3_delete_many_begin, .run = s3_delete_many_run, .asks = true },
	/* uploads in parts */
	[S3_OP_CreateMultipartUpload] = { .run = s3_upload_create_run },
	[S3_OP_UploadPart] = { .begin = s3_part_begin, .run = s3_part_run, .waits = true },
	[S3_OP_UploadPartCopy] = { .run = s3_part_copy_run },
	[S3_OP_CompleteMultipartUpload] = { .run = s3_upload_complete_run },
	[S3_OP_AbortMultipartUpload] = { .run = s3_upload_abort_run },
	[S3_OP_ListParts] = { .run = s3_parts_list_run },
	[S3_OP_ListMultipartUploads] = { .run = s3_uploads_list_run },
};
