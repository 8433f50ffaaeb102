// SPDX-License-Identifier: Apache-2.0
/* What is parsed is formatted, and what was formatted parses to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), out[ADDR_PORT_STRLEN];
	struct addr_port ap, ap2;
	struct addr_prefix p, p2;
	struct addr a, a2;

	if (!text)
		return 0;
	if (!addr_parse(&a, text)) {
		check(!addr_parse(&a2, addr_format(&a, out, sizeof(out))));
		check(addr_equal(&a, &a2));
	}
	if (!addr_prefix_parse(&p, text)) {
		check(!addr_prefix_parse(&p2, addr_prefix_format(&p, out, sizeof(out))));
		check(p.len == p2.len && addr_equal(&p.addr, &p2.addr));
		check(addr_prefix_contains(&p, &p.addr));
	}
	if (!addr_port_parse(&ap, text)) {
		struct sockaddr_storage ss;

		check(!addr_port_parse(&ap2, addr_port_format(&ap, out, sizeof(out))));
		check(ap.port == ap2.port && ap.proto == ap2.proto && !strcmp(ap.path, ap2.path));
		check(addr_equal(&ap.addr, &ap2.addr) && addr_port_sockaddr(&ap, &ss) > 0);
	}
	free(text);
	return 0;
}
