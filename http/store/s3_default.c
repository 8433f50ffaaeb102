/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_default.c -- what buckets here never have: a website, replication, logs, … . Tools ask for all of it before they do anything
 * with a bucket, and take another answer than Amazon's for a bucket without them as a failure. To set it to what it is anyway (no
 * notifications, no logs, the owner pays) changes nothing and is done; to set anything else, or what has no Put in the table below, is
 * NotImplemented.
 */
#include <string.h>

#include "http/s3/xml_tree.h"
#include "http/store/s3_ops.h"

struct preset {
	enum s3_op op;
	enum s3_error missing;	     /* what is not there is an error, or … */
	const char *root;	     /* … a document */
	const char *element, *value; /* of the document, or NULL */
	bool list;		     /* with id: one of them, which is not there */
};
static const struct preset presets[] = {
	{ .op = S3_OP_GetObjectLock, .missing = S3_NO_SUCH_OBJECT_LOCK },
	{ .op = S3_OP_GetBucketWebsite, .missing = S3_NO_SUCH_WEBSITE },
	{ .op = S3_OP_GetBucketReplication, .missing = S3_NO_SUCH_REPLICATION },
	{ .op = S3_OP_GetBucketNotification, .root = "NotificationConfiguration" },
	{ .op = S3_OP_PutBucketNotification, .root = "NotificationConfiguration" },
	{ .op = S3_OP_GetBucketLogging, .root = "BucketLoggingStatus" },
	{ .op = S3_OP_PutBucketLogging, .root = "BucketLoggingStatus" },
	{ .op = S3_OP_GetBucketAccelerate, .root = "AccelerateConfiguration" },
	{ .op = S3_OP_GetBucketRequestPayment, .root = "RequestPaymentConfiguration", .element = "Payer", .value = "BucketOwner" },
	{ .op = S3_OP_PutBucketRequestPayment, .root = "RequestPaymentConfiguration", .element = "Payer", .value = "BucketOwner" },
	{ .op = S3_OP_GetBucketInventory, .root = "ListInventoryConfigurationsResult", .list = true },
	{ .op = S3_OP_GetBucketAnalytics, .root = "ListBucketAnalyticsConfigurationResult", .list = true },
	{ .op = S3_OP_GetBucketMetrics, .root = "ListMetricsConfigurationsResult", .list = true },
	{ .op = S3_OP_GetBucketTiering, .root = "ListBucketIntelligentTieringConfigurationsOutput", .list = true },
	{ .op = S3_OP_DeleteBucketInventory, .missing = S3_NO_SUCH_CONFIGURATION },
	{ .op = S3_OP_DeleteBucketAnalytics, .missing = S3_NO_SUCH_CONFIGURATION },
	{ .op = S3_OP_DeleteBucketMetrics, .missing = S3_NO_SUCH_CONFIGURATION },
	{ .op = S3_OP_DeleteBucketTiering, .missing = S3_NO_SUCH_CONFIGURATION },
	{ .op = S3_OP_NONE },
};

static const struct preset *preset_of(const struct s3 *s3)
{
	const struct preset *preset = presets;

	while (preset->op != S3_OP_NONE && preset->op != s3->op->op)
		preset++;
	return preset;
}

void s3_default_get_run(struct s3 *s3)
{
	const struct preset *preset = preset_of(s3);
	enum s3_error missing = preset->list && s3_query(s3, "id") ? S3_NO_SUCH_CONFIGURATION : preset->missing;
	struct xml xml;
	size_t len;
	char *text;

	if (missing || !preset->root) {
		s3_reply_error(s3, missing);
		return;
	}
	xml_begin(&xml, preset->root, true);
	if (preset->list)
		xml_bool(&xml, "IsTruncated", false);
	xml_text(&xml, preset->element ? preset->element : "", preset->value);
	text = xml_take(&xml, preset->root, &len);
	s3_reply_xml(s3, 200, text, len);
}

/* Does the body say what is the case anyway? */
static bool says_preset(const struct preset *preset, const struct xml_node *root)
{
	const struct xml_node *child = root->child;

	if (!child)
		return !preset->element;
	return preset->element && !child->next && !strcmp(child->name, preset->element) && !strcmp(child->text, preset->value);
}

void s3_default_put_run(struct s3 *s3)
{
	const struct preset *preset = preset_of(s3);
	struct xml_tree *tree = NULL;
	enum s3_error error = xml_tree_parse(&tree, preset->root, s3->body.text ? s3->body.text : "", s3->body.len, &s3->fault);

	if (!error && !says_preset(preset, xml_tree_root(tree)))
		error = s3_fault(&s3->fault, S3_NOT_IMPLEMENTED, "%s is not implemented here, but to say that there is none.",
				 s3->op->name);
	xml_tree_free(tree);
	if (error)
		s3_reply_error(s3, error);
	else
		s3_reply_empty(s3, 200);
}

/* What is not there is away; of a list's items Amazon says that there was none. */
void s3_default_delete_run(struct s3 *s3)
{
	enum s3_error missing = preset_of(s3)->missing;

	if (missing)
		s3_reply_error(s3, missing);
	else
		s3_reply_empty(s3, 204);
}

/* Retention and legal hold. */
void s3_default_lock_run(struct s3 *s3)
{
	s3_fault(&s3->fault, S3_INVALID_REQUEST, "Bucket is missing Object Lock Configuration");
	s3_reply_error(s3, S3_INVALID_REQUEST);
}
