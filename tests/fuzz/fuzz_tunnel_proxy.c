/* SPDX-License-Identifier: Apache-2.0 */
/* A PROXY header from a stranger: what is read is within its bytes, is written and read again as the
 * same, and is read no sooner than it is whole. */
#include <stdlib.h>

#include "user/tunnel/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool truth)
{
	if (!truth)
		abort();
}

static bool same(const struct addr_port *a, const struct addr_port *b)
{
	return addr_equal(&a->addr, &b->addr) && a->port == b->port;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t out[PROXY_HEADER_MAX];
	struct proxy p, again;
	long n = proxy_parse(&p, data, size);
	bool unsaid;

	if (n <= 0) {
		require(n < 0 || size < PROXY_HEADER_MAX);
		return 0;
	}
	require((size_t)n <= size && n <= PROXY_HEADER_MAX);
	require(proxy_parse(&again, data, (size_t)n - 1) == 0);
	/* an IPv4 client that was named as IPv6 beside an IPv6 server cannot be said again */
	unsaid = p.local || p.client.addr.family != p.server.addr.family;
	for (int version = 1; version <= 2; version++) {
		size_t len = proxy_format(&p, version, out);

		require(proxy_parse(&again, out, len) == (long)len);
		require(again.local == unsaid);
		require(unsaid || (same(&p.client, &again.client) && same(&p.server, &again.server)));
	}
	return 0;
}
