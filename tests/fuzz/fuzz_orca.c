/* SPDX-License-Identifier: Apache-2.0 */
/* Load reports of a stranger: whatever parses is finite, survives formatting, and parses again. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/orca.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct orca_report report, again;
	char out[ORCA_TEXT_MAX];
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (orca_parse(&report, text) == 0) {
		require(report.nnamed <= ORCA_NAMED_MAX);
		for (size_t i = 0; i < report.nnamed; i++)
			require(isfinite(report.named[i].value));
		require(isnan(report.cpu_utilization) || report.cpu_utilization >= 0);
		require(orca_parse(&again, orca_format(&report, out)) == 0);
	}
	free(text);
	return 0;
}
