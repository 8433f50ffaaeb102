/* SPDX-License-Identifier: Apache-2.0 */
/* Forms: the same is told whatever the pieces are. The first byte says how long these are. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "lib/form.h"

struct told {
	uint64_t hash, bytes;
	unsigned int parts, ends;
};

static void add(struct told *t, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		t->hash = (t->hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
	t->bytes += len;
}

static int on_part(void *arg, const char *name, const char *filename)
{
	struct told *t = arg;

	assert(t->parts == t->ends && strlen(name) < FORM_NAME_MAX && (!filename || strlen(filename) < FORM_NAME_MAX));
	add(t, name, strlen(name));
	if (filename)
		add(t, filename, strlen(filename));
	return ++t->parts > FORM_PARTS_MAX ? -1 : 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct told *t = arg;

	assert(t->parts == t->ends + 1 && len);
	add(t, data, len);
	return 0;
}

static int on_end(void *arg)
{
	struct told *t = arg;

	assert(++t->ends == t->parts);
	return 0;
}

static int run(const uint8_t *data, size_t size, size_t piece, struct told *t)
{
	struct form_sink sink = { on_part, on_data, on_end, t };
	struct form *form;
	int rc = form_new(&form, "multipart/form-data; boundary=b", &sink);

	assert(!rc);
	for (size_t at = 0; !rc && at < size; at += piece)
		rc = form_feed(form, data + at, size - at < piece ? size - at : piece);
	if (!rc)
		rc = form_end(form);
	form_free(form);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told whole = { 0 }, pieces = { 0 };
	struct form *form;
	char type[256];

	if (!size)
		return 0;
	assert(run(data + 1, size - 1, size, &whole) == run(data + 1, size - 1, data[0] + 1u, &pieces));
	assert(whole.parts == pieces.parts && whole.ends == pieces.ends && whole.bytes == pieces.bytes && whole.hash == pieces.hash);
	if (size < sizeof(type) && !memchr(data, '\0', size)) {
		struct form_sink sink = { on_part, on_data, on_end, &whole };

		memcpy(type, data, size);
		type[size] = '\0';
		if (!form_new(&form, type, &sink))
			form_free(form);
	}
	return 0;
}
