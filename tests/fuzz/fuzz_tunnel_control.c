/* SPDX-License-Identifier: Apache-2.0 */
/* A control stream from another machine: cut into lines in two ways it gives the same lines, and each
 * line that is understood is written and read again as the same. */
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

static struct control c, again;

static int take_line(void *arg, const char *line, size_t len)
{
	char *first, *second;

	++*(size_t *)arg;
	if (control_parse(&c, line, len))
		return 0;
	first = control_format(&c);
	require(first && strchr(first, '\n') == first + strlen(first) - 1);
	require(!control_parse(&again, first, strlen(first) - 1));
	second = control_format(&again);
	require(second && !strcmp(first, second));
	free(first);
	free(second);
	return 0;
}

static int count_line(void *arg, const char *line, size_t len)
{
	(void)line, (void)len;
	++*(size_t *)arg;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_reader whole = { 0 }, parts = { 0 };
	size_t n = 0, m = 0;
	int err = control_feed(&whole, data, size, take_line, &n), other = 0;

	for (size_t at = 0; at < size && !other; at += 3)
		other = control_feed(&parts, data + at, size - at < 3 ? size - at : 3, count_line, &m);
	require(err == other && n == m && (err || whole.len == parts.len));
	control_reader_free(&whole);
	control_reader_free(&parts);
	return 0;
}
