/* SPDX-License-Identifier: Apache-2.0 */
/* A file of a stranger on its whole way, under rules of every kind: always a verdict, and counts that add up. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http/upload/pipeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct rules *rules;
static int spill;

struct input {
	const uint8_t *data;
	size_t size, piece;
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

static int tell(void *arg, const char *name, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);

	(void)arg, (void)name;
	require(text != NULL);
	free(text);
	return 0;
}

static int open_file(void *arg, const char *name)
{
	(void)arg, (void)name;
	return 1;
}

static int write_file(void *arg, int handle, const void *data, size_t len)
{
	(void)arg, (void)handle, (void)data, (void)len;
	return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char text[] = "accept: ['*']\n"
				   "columns:\n"
				   "  - {name: a, type: integer, unique: yes, minimum: 1}\n"
				   "  - {name: b, type: number, maximum: 10}\n"
				   "  - {name: c, type: date}\n"
				   "  - {name: d, type: string, pattern: '[a-z]+', max_length: 5}\n"
				   "tolerance: {on_fault: quarantine}\n";

	(void)argc, (void)argv;
	require(rules_parse(&rules, text, sizeof(text) - 1, "t", stderr) == 0);
	require(check_spills(rules) == 1);
	spill = memfd_create("spill", MFD_CLOEXEC);
	require(spill >= 0 && pipeline_prepare() == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in;
	struct pipeline_io io = { .read = read_input, .tell = tell, .open = open_file, .write = write_file, .arg = &in };
	json_t *result;
	json_int_t rows, good, bad;
	int error;

	if (size < 2)
		return 0;
	in = (struct input){ data + 2, size - 2, 1u + data[1] * 3u };
	io.spill_fds[0] = spill;
	io.nspill = data[0] & 1;
	result = pipeline_run(data[0] & 1 ? rules : NULL, &io, &error);
	require(result != NULL || error < 0);
	if (result) {
		require(json_unpack(result, "{s:I, s:I, s:I}", "rows", &rows, "good", &good, "bad", &bad) == 0);
		require(rows == good + bad);
	}
	json_decref(result);
	return 0;
}
