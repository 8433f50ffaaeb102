/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml_tree.h -- a small XML body as a tree, for the files of http/s3 alone.
 *
 * What a body may be is said in xml_in.h. Leaves have text ("" when empty), other elements only white space between their
 * children. Names are without name space.
 */
#ifndef WEIR_S3_XML_TREE_H
#define WEIR_S3_XML_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "http/s3/errors.h"

#define XML_DEPTH_MAX 12
#define XML_ELEMENTS_MAX 65536 /* of a body: 10,000 parts have 40,000 with a checksum each; one has some 70 bytes in the tree */

struct xml_node {
	const char *name, *text;
	const char *type; /* xsi:type, "" none */
	struct xml_node *child, *next;
	struct xml_node *last; /* child */
};
struct xml_tree;
/* The root must be named so. S3_MALFORMED_XML, S3_MAX_MESSAGE_LENGTH. */
enum s3_error xml_tree_parse(struct xml_tree **out, const char *root, const void *body, size_t len,
			     struct s3_fault *fault);
const struct xml_node *xml_tree_root(const struct xml_tree *tree);
void xml_tree_free(struct xml_tree *tree); /* accepts NULL */

/* What an element may hold: rows of a table that ends with a NULL name. */
struct xml_field {
	const char *name;
	enum { XML_ONE, XML_OPTIONAL, XML_MANY } count; /* once, at most once, any number */
	const struct xml_node **out;			/* the (first) one, NULL when absent; may be NULL */
};
/* Every child is in the table and as often as it may be, or S3_MALFORMED_XML. */
enum s3_error xml_fields(const struct xml_node *node, const struct xml_field *fields, struct s3_fault *fault);
/* The next sibling of the same name. */
const struct xml_node *xml_next(const struct xml_node *node);
const char *xml_text_of(const struct xml_node *node); /* "" for NULL */
/* A whole number within [min, max], else the error, with a sentence. */
enum s3_error xml_number(long long *out, const struct xml_node *node, long long min, long long max, enum s3_error error,
			 struct s3_fault *fault);
/* <Tag> into an object of tags; a bad or a second one: S3_INVALID_TAG. */
enum s3_error s3_in_tag(json_t *tags, const struct xml_node *node, struct s3_fault *fault);

#endif
