// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a dataset's rules: rules whose normalised form is the same rules again, or faults with lines. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct rules *rules)
{
	char *text = json_dumps(rules->json, 0);
	struct rules *again = NULL;

	if (!text || rules_parse(&again, text, strlen(text), NULL, stderr) || !json_equal(rules->json, again->json))
		abort();
	rules_free(again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rules *rules = NULL;
	char *said = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&said, &len);
	int err = rules_parse(&rules, (const char *)data, size, NULL, out);

	fclose(out);
	if (err != 0 && err != -EINVAL)
		abort();
	if (!err != !len || !err != !!rules)
		abort();
	/* Every line has a number and no control character of the input. */
	for (char *p = said; *p; p = strchr(p, '\n') + 1) {
		if (*p < '1' || *p > '9')
			abort();
		for (char *c = p; *c != '\n'; c++)
			if ((unsigned char)*c < ' ')
				abort();
	}
	if (!err)
		check_round_trip(rules);
	rules_free(rules);
	free(said);
	return 0;
}
