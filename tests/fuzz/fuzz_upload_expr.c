// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an expression, bound to types and evaluated over values of its own bytes: nothing overrun; what is bound has
 * the type that was said, or one that is a number as well. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A value of the type made of eight bytes. */
static struct value value_of(enum field_type type, const uint8_t *data, size_t size, size_t i)
{
	struct value v = { .type = type };

	for (size_t k = 0; k < 8 && size; k++)
		v.i = (int64_t)((uint64_t)v.i << 8 | data[(i * 8 + k) % size]);
	if (type == FIELD_BOOLEAN)
		v.i &= 1;
	if (type == FIELD_NUMBER)
		memcpy(&v.d, &v.i, 8);
	if (type == FIELD_INTEGER || type == FIELD_YEAR)
		v.d = (double)v.i;
	if (type == FIELD_STRING || type >= FIELD_OBJECT) {
		v.text = (const char *)data;
		v.len = size % 300;
	}
	return v;
}

static void evaluate(struct expr *e, const enum field_type *types, size_t n, const uint8_t *data, size_t size)
{
	static struct expr_scratch scratch;
	struct value columns[64], out;
	enum field_type type = FIELD_ANY;
	char why[160], text[9000];
	bool bound;

	for (size_t i = 0; i < n; i++)
		columns[i] = value_of(data[i % size] & 0x40 ? FIELD_ANY : types[i], data, size, i);
	bound = !expr_bind(e, types, &type, why);
	scratch.used = 0;
	if (expr_eval(e, columns, &scratch, &out) && out.type != FIELD_ANY)
		abort();
	if (scratch.used > sizeof(scratch.buf))
		abort();
	if (bound && type != FIELD_ANY && out.type != FIELD_ANY && out.type != type &&
	    !((type == FIELD_NUMBER || type == FIELD_YEAR || type == FIELD_INTEGER) && (out.type == FIELD_INTEGER || out.type == FIELD_NUMBER)) &&
	    !(type == FIELD_STRING && out.type >= FIELD_OBJECT))
		abort();
	if (out.type != FIELD_ANY)
		value_format(text, sizeof(text), &out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* terminated, and of its own size, so that a read past the end is seen */
	char *text = size ? malloc(size) : NULL, why[160] = "";
	enum field_type types[64];
	const char *const *names;
	struct expr *e = NULL;
	size_t at = 0, n;
	int err;

	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	err = expr_parse(&e, text, why, &at);
	if (err != 0 && err != -EINVAL)
		abort();
	if (err && (at > strlen(text) || !strchr(why, ':') || strlen(why) >= sizeof(why)))
		abort();
	if (!err) {
		n = expr_columns(e, &names);
		for (size_t i = 0; i < n; i++)
			types[i] = (enum field_type)((data[0] + i * 7) % FIELD_TYPES);
		evaluate(e, types, n, data, size);
	}
	expr_free(e);
	free(text);
	return 0;
}
