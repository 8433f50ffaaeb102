/* SPDX-License-Identifier: Apache-2.0 */
/* Packed bytes of a stranger: whatever they are, limits hold and an end comes, with a reason when it is a bad one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX 1000000u

struct input {
	const uint8_t *data;
	size_t size, piece, out;
};

static void require(int truth)
{
	if (!truth)
		abort();
}

static ssize_t read_input(void *arg, void *buf, size_t max)
{
	struct input *in = arg;
	size_t n = in->size < in->piece ? in->size : in->piece;

	n = n < max ? n : max;
	if (n)
		memcpy(buf, in->data, n);
	in->data += n;
	in->size -= n;
	return (ssize_t)n;
}

static int on_entry(void *arg, const char *name)
{
	(void)arg;
	for (; *name; name++)
		require((unsigned char)*name >= ' ');
	return 0;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct input *in = arg;

	(void)data;
	in->out += len;
	require(in->out <= OUT_MAX);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum file_kind kinds[] = { KIND_GZIP, KIND_ZSTD, KIND_ZIP };
	const struct unpack_limits limits = { .out_max = OUT_MAX, .entries_max = 20 };
	struct input in;
	const struct unpack_sink sink = { on_entry, on_data, &in };
	char why[160];
	int rc;

	if (size < 2)
		return 0;
	in = (struct input){ data + 2, size - 2, 1u + data[1], 0 };
	rc = unpack(kinds[data[0] % 3], read_input, &in, &limits, &sink, why);
	require(rc == 0 || rc == -ENOMEM || ((rc == -EBADMSG || rc == -E2BIG) && why[0]));
	return 0;
}
