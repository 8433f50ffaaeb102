/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_block.c -- the public access block of a bucket, and whether ACLs count in it (ownership of objects): asked, set, taken away; and
 * what is not taken while they hold. What they take away from ACLs and policies that are there is decided where all rights are
 * (lib/users_policy.c).
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

void s3_ownership_get_run(struct s3 *s3)
{
	size_t len;
	char *text;

	if (!s3->config->part[BUCKET_OWNERSHIP]) {
		s3_reply_error(s3, S3_NO_SUCH_OWNERSHIP);
		return;
	}
	text = s3_out_ownership(s3->config->part[BUCKET_OWNERSHIP], &len);
	s3_reply_xml(s3, 200, text, len);
}

/* An ACL that gives to others would stop to count without a word. */
void s3_ownership_put_run(struct s3 *s3)
{
	const char *said;
	enum s3_error error = s3_in_ownership(&said, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);

	if (!error && !strcmp(said, s3_ownerships[0]) && s3->config->acl != ACL_PRIVATE)
		error = s3_fault(&s3->fault, S3_ACL_WITH_OWNERSHIP, NULL);
	if (!error)
		error = s3_config_change(s3, BUCKET_OWNERSHIP, said, S3_MALFORMED_XML);
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 200);
}

void s3_block_delete_run(struct s3 *s3)
{
	bool block = s3->op->op == S3_OP_DeletePublicAccessBlock;
	enum s3_error error = s3_config_change(s3, block ? BUCKET_BLOCK : BUCKET_OWNERSHIP, NULL, S3_INTERNAL);

	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 204);
}

enum s3_error s3_block_acl(struct s3 *s3, const char *acl)
{
	if (!s3->config || !strcmp(acl, "private"))
		return S3_OK;
	if (s3->config->no_acls)
		return s3_fault(&s3->fault, S3_ACL_NOT_SUPPORTED, NULL);
	if (!(s3->config->block & BLOCK_ACLS))
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
