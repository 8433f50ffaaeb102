/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_table.c -- which functions do which operation (s3.h). What is not here is answered NotImplemented.
 */
#include "http/store/s3_ops.h"

const struct s3_handler s3_handlers[S3_OPS_N] = {
	/* buckets */
	[S3_OP_ListBuckets] = { NULL, s3_buckets_run, true },
	[S3_OP_CreateBucket] = { NULL, s3_bucket_create_run, false },
	[S3_OP_HeadBucket] = { NULL, s3_bucket_head_run, false },
	[S3_OP_DeleteBucket] = { NULL, s3_bucket_delete_run, false },
	[S3_OP_GetBucketLocation] = { NULL, s3_bucket_location_run, false },
	/* what buckets are told to be */
	[S3_OP_GetBucketVersioning] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketLifecycle] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketCors] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketAcl] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketTagging] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketEncryption] = { NULL, s3_config_get_run, false },
	[S3_OP_GetBucketPolicy] = { NULL, s3_policy_get_run, false },
	[S3_OP_GetBucketPolicyStatus] = { NULL, s3_policy_get_run, false },
	[S3_OP_PutBucketVersioning] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketLifecycle] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketCors] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketPolicy] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketAcl] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketTagging] = { NULL, s3_config_put_run, false },
	[S3_OP_PutBucketEncryption] = { NULL, s3_config_put_run, false },
	[S3_OP_DeleteBucketLifecycle] = { NULL, s3_config_delete_run, false },
	[S3_OP_DeleteBucketCors] = { NULL, s3_config_delete_run, false },
	[S3_OP_DeleteBucketPolicy] = { NULL, s3_config_delete_run, false },
	[S3_OP_DeleteBucketTagging] = { NULL, s3_config_delete_run, false },
	[S3_OP_DeleteBucketEncryption] = { NULL, s3_config_delete_run, false },
	[S3_OP_PreflightBucket] = { NULL, s3_preflight_run, true },
	[S3_OP_PreflightObject] = { NULL, s3_preflight_run, true },
	/* listings */
	[S3_OP_ListObjects] = { NULL, s3_list_run, false },
	[S3_OP_ListObjectsV2] = { NULL, s3_list_run, false },
	[S3_OP_ListObjectVersions] = { NULL, s3_list_versions_run, false },
	/* objects */
	[S3_OP_PutObject] = { s3_put_begin, s3_put_run, false },
	[S3_OP_GetObject] = { s3_get_begin, s3_get_run, true },
	[S3_OP_HeadObject] = { s3_get_begin, s3_get_run, true },
	[S3_OP_DeleteObject] = { NULL, s3_delete_run, false },
	[S3_OP_CopyObject] = { NULL, s3_copy_run, false },
	[S3_OP_GetObjectTagging] = { NULL, s3_tagging_get_run, false },
	[S3_OP_PutObjectTagging] = { NULL, s3_tagging_put_run, false },
	[S3_OP_DeleteObjectTagging] = { NULL, s3_tagging_delete_run, false },
	[S3_OP_GetObjectAcl] = { NULL, s3_acl_get_run, false },
	[S3_OP_PutObjectAcl] = { NULL, s3_acl_put_run, false },
	[S3_OP_GetObjectAttributes] = { NULL, s3_attributes_run, false },
	[S3_OP_DeleteObjects] = { NULL, s3_delete_many_run, true },
	/* uploads in parts */
	[S3_OP_CreateMultipartUpload] = { NULL, s3_upload_create_run, false },
	[S3_OP_UploadPart] = { s3_part_begin, s3_part_run, .waits = true },
	[S3_OP_UploadPartCopy] = { NULL, s3_part_copy_run, false },
	[S3_OP_CompleteMultipartUpload] = { NULL, s3_upload_complete_run, false },
	[S3_OP_AbortMultipartUpload] = { NULL, s3_upload_abort_run, false },
	[S3_OP_ListParts] = { NULL, s3_parts_list_run, false },
	[S3_OP_ListMultipartUploads] = { NULL, s3_uploads_list_run, false },
};
