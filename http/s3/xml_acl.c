// SPDX-License-Identifier: Apache-2.0
/*
 * xml_acl.c -- access control lists as far as they are canned ones.
 */
#include <string.h>

#include "http/s3/xml_in.h"
#include "http/s3/xml_tree.h"

enum { ALL_READ = 1, ALL_WRITE = 2, KNOWN_READ = 4 };

static bool is_permission(const char *text)
{
	static const char *const known[] = { "FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP", NULL };
	size_t i = 0;

	while (known[i] && strcmp(known[i], text))
		i++;
	return known[i];
}

static enum s3_error grant_read(unsigned int *grants, const struct xml_node *node, const char *owner,
				struct s3_fault *fault)
{
	static const char groups[] = "http://acs.amazonaws.com/groups/global/";
	const struct xml_node *grantee, *permission, *id, *name, *uri, *mail;
	const struct xml_field outer[] = {
		{ "Grantee", XML_ONE, &grantee }, { "Permission", XML_ONE, &permission }, { NULL, 0, NULL }
	};
	const struct xml_field inner[] = { { "ID", XML_OPTIONAL, &id },
					   { "DisplayName", XML_OPTIONAL, &name },
					   { "URI", XML_OPTIONAL, &uri },
					   { "EmailAddress", XML_OPTIONAL, &mail },
					   { NULL, 0, NULL } };
	enum s3_error error = xml_fields(node, outer, fault);

	if (!error)
		error = xml_fields(grantee, inner, fault);
	if (error)
		return error;
	if (mail)
		return s3_fault(fault, S3_UNRESOLVABLE_EMAIL, NULL);
	if (!is_permission(permission->text))
		return s3_fault(fault, S3_MALFORMED_ACL, "<Permission> is none that there is.");
	if (!strcmp(xml_text_of(id), owner) && id && !strcmp(permission->text, "FULL_CONTROL"))
		return S3_OK;
	if (uri && !strncmp(uri->text, groups, strlen(groups))) {
		const char *group = uri->text + strlen(groups);
		bool reads = !strcmp(permission->text, "READ");

		if (!strcmp(group, "AllUsers") && (reads || !strcmp(permission->text, "WRITE"))) {
			*grants |= reads ? ALL_READ : ALL_WRITE;
			return S3_OK;
		}
		if (!strcmp(group, "AuthenticatedUsers") && reads) {
			*grants |= KNOWN_READ;
			return S3_OK;
		}
	}
	return s3_fault(fault, S3_NOT_IMPLEMENTED,
			"Grants other than those of the canned ACLs private, public-read, public-read-write and "
			"authenticated-read are not implemented: a bucket policy says more.");
}

static enum s3_error acl_read(const char **out, const struct xml_node *root, struct s3_fault *fault)
{
	const struct xml_node *owner, *list, *id, *name, *grant;
	const struct xml_field outer[] = {
		{ "Owner", XML_ONE, &owner }, { "AccessControlList", XML_ONE, &list }, { NULL, 0, NULL }
	};
	const struct xml_field who[] = { { "ID", XML_ONE, &id }, { "DisplayName", XML_OPTIONAL, &name }, { NULL, 0, NULL } };
	const struct xml_field grants[] = { { "Grant", XML_MANY, &grant }, { NULL, 0, NULL } };
	enum s3_error error = xml_fields(root, outer, fault);
	unsigned int given = 0;

	if (!error)
		error = xml_fields(owner, who, fault);
	if (!error)
		error = xml_fields(list, grants, fault);
	for (; !error && grant; grant = xml_next(grant))
		error = grant_read(&given, grant, id->text, fault);
	if (error)
		return error;
	if (!given)
		*out = "private";
	else if (given == ALL_READ)
		*out = "public-read";
	else if (given == (ALL_READ | ALL_WRITE))
		*out = "public-read-write";
	else if (given == KNOWN_READ)
		*out = "authenticated-read";
	else
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "These grants together are none of the canned ACLs.");
	return S3_OK;
}

enum s3_error s3_in_acl(const char **out, const void *body, size_t len, struct s3_fault *fault)
{
	struct xml_tree *tree;
	enum s3_error error = xml_tree_parse(&tree, "AccessControlPolicy", body, len, fault);

	if (error == S3_MALFORMED_XML)
		return s3_fault(fault, S3_MALFORMED_ACL, NULL);
	if (error)
		return error;
	error = acl_read(out, xml_tree_root(tree), fault);
	xml_tree_free(tree);
	return error == S3_MALFORMED_XML ? s3_fault(fault, S3_MALFORMED_ACL, NULL) : error;
}

enum s3_error s3_acl_parse(const char **out, const char *header, struct s3_fault *fault)
{
	/* The owner of an object is that of its bucket: the two of the bucket's owner say nothing more. */
	static const char *const known[][2] = { { "private", "private" },
						{ "public-read", "public-read" },
						{ "public-read-write", "public-read-write" },
						{ "authenticated-read", "authenticated-read" },
						{ "bucket-owner-read", "private" },
						{ "bucket-owner-full-control", "private" } };

	if (!header)
		header = "private";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (!strcmp(known[i][0], header)) {
			*out = known[i][1];
			return S3_OK;
		}
	}
	if (!strcmp(header, "aws-exec-read") || !strcmp(header, "log-delivery-write"))
		return s3_fault(fault, S3_NOT_IMPLEMENTED, "The ACL %s is not implemented.", header);
	return s3_fault(fault, S3_INVALID_ARGUMENT, "\"%.60s\" is no canned ACL.", header);
}
