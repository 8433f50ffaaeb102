/* SPDX-License-Identifier: Apache-2.0 */
/* Somebody's bucket policy: no crash; what is refused is refused with a sentence; what is understood answers every question,
 * the same each time, and lets nobody in unless it says itself that it is public or asks for something first. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/policy_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static bool has_conditions(const struct policy *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->statements[i].nconditions)
			return true;
	return false;
}

static void ask_all(const struct policy *p, const struct policy *again)
{
	static const struct policy_who whos[] = { { "", "", false }, { "ada", "crew,team", true }, { "bob", "", false } };
	static const char *const keys[] = { NULL, "", "a", "home/ada/x", "*", "\xc3\xa4?" };
	struct policy_ask ask = { .bucket = "data", .now = 1790000000, .agent = "curl", .max_keys = "10", .sigv4 = true };

	addr_parse(&ask.source, "198.51.100.7");
	for (size_t a = 0; a < policy_nactions; a += 3)
		for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
			for (size_t w = 0; w < 3; w++) {
				enum policy_verdict verdict;

				ask.action = policy_actions[a].name;
				ask.key = keys[k];
				ask.known = (a + k) % 2;
				ask.tags_known = ask.new_tags_known = k % 3;
				verdict = policy_evaluate(p, &whos[w], &ask);
				require(verdict == policy_evaluate(again, &whos[w], &ask));
				require(w || verdict != POLICY_ALLOW || policy_is_public(p) || has_conditions(p));
			}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy *p, *again;
	char err[256];

	if (policy_parse(&p, (const char *)data, size, "data", err)) {
		require(*err && strlen(err) < sizeof(err));
		return 0;
	}
	require(!policy_parse(&again, (const char *)data, size, "data", err));
	ask_all(p, again);
	policy_free(p);
	policy_free(again);
	return 0;
}
