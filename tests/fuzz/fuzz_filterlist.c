// SPDX-License-Identifier: Apache-2.0
/* A list of any bytes: what is taken can be resolved, and the longest entry says the same as all of them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "user/agent/filterlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
	if (!good)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct filterlist list = { 0 }, resolved;
	size_t half = size / 2;

	check(filterlist_parse(&list, (const char *)data, half, WEIR_VERDICT_BLOCK, 1, NULL, NULL) >= 0);
	check(filterlist_parse(&list, (const char *)data + half, size - half, WEIR_VERDICT_ALLOW, 2, NULL, NULL) >= 0);
	check(!filterlist_resolve(&list, &resolved));
	check(resolved.n <= list.n);
	for (size_t i = 0; i < list.n; i++) {
		const struct filterlist_entry *found;
		struct addr a = { .family = list.entry[i].family == WEIR_FAMILY_4 ? AF_INET : AF_INET6 };

		memcpy(a.bytes, list.entry[i].addr, sizeof(a.bytes));
		found = filterlist_find(&resolved, &a);
		check(found && (list.entry[i].verdict == WEIR_VERDICT_BLOCK || found->verdict == WEIR_VERDICT_ALLOW));
	}
	check(filterlist_diff(&resolved, &resolved, NULL, NULL, NULL) == 0);
	filterlist_free(&list);
	filterlist_free(&resolved);
	return 0;
}
