/* SPDX-License-Identifier: Apache-2.0 */
/* missing.h -- is a cell no value: null, empty, or one of the rules' missing values? */
#ifndef WEIR_UPLOAD_MISSING_H
#define WEIR_UPLOAD_MISSING_H

#include <string.h>

#include "http/upload/rows.h"
#include "http/upload/rules.h"

/* Bytes of the longest missing value: longer cells need no look. rules may be NULL. */
static inline size_t missing_longest(const struct rules *rules)
{
	size_t longest = 0;

	for (size_t i = 0; rules && i < rules->nmissing; i++) {
		size_t len = strlen(rules->missing_values[i]);

		longest = len > longest ? len : longest;
	}
	return longest;
}

static inline bool missing_value(const struct rules *rules, size_t longest, const struct cell *cell)
{
	if (cell->null || !cell->len)
		return true;
	if (cell->len > longest)
		return false;
	for (size_t i = 0; i < rules->nmissing; i++)
		if (strlen(rules->missing_values[i]) == cell->len &&
		    !memcmp(rules->missing_values[i], cell->text, cell->len))
			return true;
	return false;
}

#endif
