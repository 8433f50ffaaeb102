/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_block.c -- the public access block of a bucket: asked, set, taken away; and what is not taken while it holds. What it takes away
 * from ACLs and policies that are there is decided where all rights are (lib/users_policy.c).
 */
#include <string.h>

#include "http/s3/xml_in.h"
#include "http/store/s3_ops.h"

void s3_block_get_run(struct s3 *s3)
{
	size_t len;
	char *text;

	if (!s3->config->part[BUCKET_BLOCK]) {
		s3_reply_error(s3, S3_NO_SUCH_PUBLIC_BLOCK);
		return;
	}
	text = s3_out_public_block(s3->config->block, &len);
	s3_reply_xml(s3, 200, text, len);
}

void s3_block_put_run(struct s3 *s3)
{
	unsigned int bits;
	char words[32];
	enum s3_error error = s3_in_public_block(&bits, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);

	if (!error)
		error = s3_config_change(s3, BUCKET_BLOCK, bucket_block_text(bits, words), S3_MALFORMED_XML);
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 200);
}

void s3_block_delete_run(struct s3 *s3)
{
	enum s3_error error = s3_config_change(s3, BUCKET_BLOCK, NULL, S3_INTERNAL);

	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 204);
}

enum s3_error s3_block_acl(struct s3 *s3, const char *acl)
{
	if (!s3->config || !(s3->config->block & BLOCK_ACLS) || !strcmp(acl, "private"))
		return S3_OK;
	return s3_fault(&s3->fault, S3_ACCESS_DENIED, "The bucket's public access block takes no ACL %s.", acl);
}

enum s3_error s3_block_policy(struct s3 *s3, const char *policy, size_t len)
{
	struct policy *parsed;
	char err[256];
	bool is_public;

	if (!(s3->config->block & BLOCK_POLICY) || policy_parse(&parsed, policy, len, s3->bucket, err))
		return S3_OK; /* what is malformed is told by who stores it */
	is_public = policy_is_public(parsed);
	policy_free(parsed);
	return is_public ? s3_fault(&s3->fault, S3_ACCESS_DENIED, "The bucket's public access block takes no policy that is public.")
			 : S3_OK;
}
