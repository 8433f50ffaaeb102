/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's first bytes: a name that comes out is one, a refusal is final, and a hello is read
 * the same whether its bytes came at once or one by one. */
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/sni.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char host[256], part[256];
	int whole = sni_parse(host, data, size), early = 0;
	size_t n = 0;

	if (whole == 1) {
		require(strlen(host) == strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-_."));
		require(!strstr(host, "..") && host[0] != '.');
	}
	if (size > 2048)
		return 0;
	for (; n <= size && !early; n++)
		early = sni_parse(part, data, n);
	require(early == whole);
	require(whole != 1 || !strcmp(host, part));
	return 0;
}
