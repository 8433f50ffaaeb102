// SPDX-License-Identifier: Apache-2.0
/*
 * xml_tree.c -- XML bodies by expat: refuses what no client of S3 sends (document types and with them entities, instructions),
 * limits depth and size.
 */
#include "http/s3/xml_tree.h"

#include <expat.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/s3/operation.h"
#include "http/s3/text.h"

#define NS_SEPARATOR '|'

/* Memory of a tree: blocks that are freed together. */
struct block {
	struct block *next;
	size_t used, size;
	char bytes[];
};

struct xml_tree {
	struct block *blocks;
	struct xml_node *root;
};

struct reader {
	struct xml_tree *tree;
	XML_Parser parser;
	struct xml_node *open[XML_DEPTH_MAX];
	unsigned int depth, elements;
	bool marked; /* texts hold marks: see below */
	char *text; /* of the innermost element, up to now */
	size_t text_len, text_room;
	struct s3_fault *fault;
	enum s3_error error;
};

static void *tree_get(struct xml_tree *tree, size_t size)
{
	struct block *block = tree->blocks;
	void *place;

	size = (size + 7) & ~(size_t)7;
	if (!block || block->size - block->used < size) {
		size_t room = size > 8192 ? size : 8192;

		block = malloc(sizeof(*block) + room);
		if (!block)
			return NULL;
		*block = (struct block){ .next = tree->blocks, .size = room };
		tree->blocks = block;
	}
	place = block->bytes + block->used;
	block->used += size;
	return place;
}

static char *tree_text(struct xml_tree *tree, const char *text, size_t len)
{
	char *copy = tree_get(tree, len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

static void stop(struct reader *reader, enum s3_error error)
{
	if (!reader->error)
		reader->error = error;
	XML_StopParser(reader->parser, XML_FALSE);
}

#define refuse(reader, ...) stop(reader, s3_fault((reader)->fault, S3_MALFORMED_XML, __VA_ARGS__))

/* The local name; NULL: of a name space that is not S3's. */
static const char *local(const char *name)
{
	const char *bar = strrchr(name, NS_SEPARATOR);

	if (!bar)
		return name;
	return strstr(name, "2006-03-01") ? bar + 1 : NULL;
}

static bool is_space(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", text[i]))
			return false;
	return true;
}

/* Keys may hold characters that XML 1.0 cannot: clients send them as they are, or as references (&#x1;), which expat refuses.
 * They are led through it as a mark and a letter, and the mark itself as mark and 'x'. The mark is U+F8FF. */
#define MARK	 "\xef\xa3\xbf"
#define MARK_LEN 3

/* The control character at p, and how many bytes it takes; 0: there is none. */
static size_t control_at(const char *p, size_t left, unsigned int *c)
{
	unsigned int n = 0;
	size_t i = 2, digits = 0;
	bool is_hex;

	*c = (unsigned char)*p;
	if (*c < 0x20)
		return *c && *c != '\t' && *c != '\n' && *c != '\r';
	if (left < 4 || p[0] != '&' || p[1] != '#')
		return 0;
	is_hex = p[i] == 'x';
	for (i += is_hex; i < left && digits < 8; i++, digits++) {
		const char *at = strchr("0123456789abcdef", p[i] >= 'A' && p[i] <= 'F' ? p[i] | 0x20 : p[i]);

		if (!p[i] || !at || (!is_hex && at[0] > '9'))
			break;
		n = n * (is_hex ? 16 : 10) + (unsigned int)(at[0] <= '9' ? at[0] - '0' : at[0] - 'a' + 10);
	}
	*c = n;
	if (!digits || i == left || p[i] != ';' || !n || n >= 0x20 || n == '\t' || n == '\n' || n == '\r')
		return 0;
	return i + 1;
}

static bool needs_marks(const char *body, size_t len)
{
	unsigned int c;

	for (size_t i = 0; i < len; i++)
		if (control_at(body + i, len - i, &c))
			return true;
	return false;
}

/* body with marks, malloc'ed; NULL without memory. */
static char *with_marks(const char *body, size_t len, size_t *out_len)
{
	char *out = malloc(len * (MARK_LEN + 1) + 1);
	size_t n = 0, step;
	unsigned int c;

	for (size_t i = 0; out && i < len; i += step) {
		bool mark = len - i >= MARK_LEN && !memcmp(body + i, MARK, MARK_LEN);

		step = mark ? MARK_LEN : control_at(body + i, len - i, &c);
		if (!step) {
			out[n++] = body[i];
			step = 1;
			continue;
		}
		memcpy(out + n, MARK, MARK_LEN);
		n += MARK_LEN;
		out[n++] = mark ? 'x' : (char)('@' + c);
	}
	*out_len = n;
	return out;
}

/* In place: the text of a leaf as it was meant. */
static void unmark(char *text)
{
	char *out = text;

	while (*text) {
		if (strncmp(text, MARK, MARK_LEN) || !text[MARK_LEN]) {
			*out++ = *text++;
			continue;
		}
		if (text[MARK_LEN] == 'x') {
			memcpy(out, MARK, MARK_LEN);
			out += MARK_LEN;
		} else {
			*out++ = (char)(text[MARK_LEN] - '@');
		}
		text += MARK_LEN + 1;
	}
	*out = '\0';
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct reader *reader = arg;
	struct xml_node *node, *parent = reader->depth ? reader->open[reader->depth - 1] : NULL;
	const char *plain = local(name), *type = "";

	if (reader->error)
		return;
	if (!plain)
		return refuse(reader, "<%.80s> is of another name space than \"http://s3.amazonaws.com/doc/2006-03-01/\".",
			      strrchr(name, NS_SEPARATOR) + 1);
	if (reader->depth == XML_DEPTH_MAX)
		return refuse(reader, "<%.80s> is nested deeper than %d elements.", plain, XML_DEPTH_MAX);
	if (reader->elements++ == XML_ELEMENTS_MAX)
		return refuse(reader, "The body has more than %d elements.", XML_ELEMENTS_MAX);
	if (!is_space(reader->text, reader->text_len))
		return refuse(reader, "There is text beside <%.80s>.", plain);
	reader->text_len = 0;
	for (; attributes[0]; attributes += 2)
		if (!strcmp(attributes[0], "http://www.w3.org/2001/XMLSchema-instance|type"))
			type = attributes[1];
	node = tree_get(reader->tree, sizeof(*node));
	if (!node)
		return stop(reader, S3_INTERNAL);
	*node = (struct xml_node){ .name = tree_text(reader->tree, plain, strlen(plain)), .text = "",
				   .type = tree_text(reader->tree, type, strlen(type)) };
	if (!node->name || !node->type)
		return stop(reader, S3_INTERNAL);
	if (!parent)
		reader->tree->root = node;
	else if (parent->last)
		parent->last->next = node;
	else
		parent->child = node;
	if (parent)
		parent->last = node;
	reader->open[reader->depth++] = node;
}

static void on_end(void *arg, const XML_Char *name)
{
	struct reader *reader = arg;
	struct xml_node *node;

	(void)name;
	if (reader->error)
		return;
	node = reader->open[--reader->depth];
	if (node->child && !is_space(reader->text, reader->text_len))
		return refuse(reader, "There is text beside the elements of <%.80s>.", node->name);
	if (!node->child) {
		char *text = tree_text(reader->tree, reader->text_len ? reader->text : "", reader->text_len);

		if (!text)
			return stop(reader, S3_INTERNAL);
		if (reader->marked)
			unmark(text);
		node->text = text;
	}
	reader->text_len = 0;
}

static void on_text(void *arg, const XML_Char *text, int len)
{
	struct reader *reader = arg;
	size_t n = (size_t)len;

	if (reader->error)
		return;
	if (reader->text_room - reader->text_len < n) {
		size_t room = (reader->text_len + n) * 2 + 64;
		char *more = realloc(reader->text, room);

		if (!more)
			return stop(reader, S3_INTERNAL);
		reader->text = more;
		reader->text_room = room;
	}
	memcpy(reader->text + reader->text_len, text, n);
	reader->text_len += n;
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *system, const XML_Char *public, int internal)
{
	struct reader *reader = arg;

	(void)name, (void)system, (void)public, (void)internal;
	refuse(reader, "A document type is not allowed here.");
}

static void on_instruction(void *arg, const XML_Char *target, const XML_Char *data)
{
	struct reader *reader = arg;

	(void)target, (void)data;
	refuse(reader, "A processing instruction is not allowed here.");
}

static enum s3_error parse(struct reader *reader, const char *root, const void *body, size_t len)
{
	XML_Parser parser = reader->parser;

	XML_SetUserData(parser, reader);
	XML_SetElementHandler(parser, on_start, on_end);
	XML_SetCharacterDataHandler(parser, on_text);
	XML_SetStartDoctypeDeclHandler(parser, on_doctype);
	XML_SetProcessingInstructionHandler(parser, on_instruction);
	if (XML_Parse(parser, body, (int)len, 1) != XML_STATUS_OK && !reader->error)
		return s3_fault(reader->fault, S3_MALFORMED_XML, "Line %lu, column %lu: %s.",
				(unsigned long)XML_GetCurrentLineNumber(parser),
				(unsigned long)XML_GetCurrentColumnNumber(parser), XML_ErrorString(XML_GetErrorCode(parser)));
	if (reader->error)
		return reader->error == S3_INTERNAL ? s3_fault(reader->fault, S3_INTERNAL, NULL) : reader->error;
	if (strcmp(reader->tree->root->name, root) != 0)
		return s3_fault(reader->fault, S3_MALFORMED_XML, "The body is <%.80s>, not <%s>.", reader->tree->root->name,
				root);
	return S3_OK;
}

enum s3_error xml_tree_parse(struct xml_tree **out, const char *root, const void *body, size_t len,
			     struct s3_fault *fault)
{
	struct reader reader = { .fault = fault };
	enum s3_error error;
	char *marked = NULL;

	if (len > S3_XML_MAX)
		return s3_fault(fault, S3_MAX_MESSAGE_LENGTH, "The body has more than %zu bytes.", S3_XML_MAX);
	if (needs_marks(body, len)) {
		marked = with_marks(body, len, &len);
		if (!marked)
			return s3_fault(fault, S3_INTERNAL, NULL);
		reader.marked = true;
		body = marked;
	}
	reader.tree = calloc(1, sizeof(*reader.tree));
	reader.parser = XML_ParserCreateNS(NULL, NS_SEPARATOR);
	error = reader.tree && reader.parser ? parse(&reader, root, body, len) : s3_fault(fault, S3_INTERNAL, NULL);
	if (reader.parser)
		XML_ParserFree(reader.parser);
	free(reader.text);
	free(marked);
	if (error)
		xml_tree_free(reader.tree);
	else
		*out = reader.tree;
	return error;
}

const struct xml_node *xml_tree_root(const struct xml_tree *tree)
{
	return tree->root;
}

void xml_tree_free(struct xml_tree *tree)
{
	struct block *next;

	if (!tree)
		return;
	for (struct block *block = tree->blocks; block; block = next) {
		next = block->next;
		free(block);
	}
	free(tree);
}

static const struct xml_field *field_of(const struct xml_field *fields, const char *name)
{
	for (; fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

enum s3_error xml_fields(const struct xml_node *node, const struct xml_field *fields, struct s3_fault *fault)
{
	uint32_t seen = 0;

	for (const struct xml_field *field = fields; field->name; field++)
		if (field->out)
			*field->out = NULL;
	if (!node->child && *node->text && !is_space(node->text, strlen(node->text)))
		return s3_fault(fault, S3_MALFORMED_XML, "<%.80s> holds text instead of elements.", node->name);
	for (const struct xml_node *child = node->child; child; child = child->next) {
		const struct xml_field *field = field_of(fields, child->name);
		uint32_t bit = field ? UINT32_C(1) << (field - fields) : 0;

		if (!field)
			return s3_fault(fault, S3_MALFORMED_XML, "<%.80s> is not known in <%.80s>.", child->name,
					node->name);
		if ((seen & bit) && field->count != XML_MANY)
			return s3_fault(fault, S3_MALFORMED_XML, "<%s> is there twice in <%.80s>.", field->name,
					node->name);
		if (!(seen & bit) && field->out)
			*field->out = child;
		seen |= bit;
	}
	for (const struct xml_field *field = fields; field->name; field++)
		if (field->count == XML_ONE && !(seen & UINT32_C(1) << (field - fields)))
			return s3_fault(fault, S3_MALFORMED_XML, "<%s> is missing in <%.80s>.", field->name, node->name);
	return S3_OK;
}

const struct xml_node *xml_next(const struct xml_node *node)
{
	const char *name = node->name;

	do
		node = node->next;
	while (node && strcmp(node->name, name) != 0);
	return node;
}

const char *xml_text_of(const struct xml_node *node)
{
	return node ? node->text : "";
}

enum s3_error xml_number(long long *out, const struct xml_node *node, long long min, long long max, enum s3_error error,
			 struct s3_fault *fault)
{
	long long n = s3_digits(node->text);

	if (n < 0 && (node->text[0] != '-' || s3_digits(node->text + 1) < 0))
		return s3_fault(fault, S3_MALFORMED_XML, "<%s> must be a whole number.", node->name);
	if (n < min || n > max)
		return s3_fault(fault, error, "'%s' must be from %lld to %lld.", node->name, min, max);
	*out = n;
	return S3_OK;
}
