/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h -- what a file's columns hold, in one pass and bounded memory: inferred type, count, nulls, distinct
 * (HyperLogLog, Flajolet 2007, read by its history: Ting 2014), quantiles (KLL, Karnin-Lang-Liberty 2016, error under
 * 1% of rank), exact min, max, mean, standard deviation, top values (SpaceSaving, Metwally 2005), lengths of text.
 *
 * At most 98 KiB a column; of a file with more than 64 columns 10 KiB ("sketch": "small"; distinct within some 4%,
 * ranks within some 4%): 1,024 columns stay within 16 MiB. Distinct and top values go by the text as it stands in the file,
 * and are exact up to 256 (32) distinct values; so are the quantiles of such a column.
 */
#ifndef WEIR_UPLOAD_STATS_H
#define WEIR_UPLOAD_STATS_H

#include <jansson.h>

#include "http/upload/rows.h"
#include "http/upload/rules.h"

struct stats;
/* rules may be NULL: types are inferred. Columns are those of the header. */
int stats_new(struct stats **out, const struct rules *rules);
int stats_names(struct stats *s, const struct cell *names, uint32_t n); /* again, longer: new columns */
int stats_row(struct stats *s, const struct row *row);
/* {"rows","bytes"?,"columns":[{"name","type","count","nulls","distinct","min","max","mean","stddev","quantiles":{"0.01":…,
 * "0.05","0.25","0.5","0.75","0.95","0.99"},"histogram":[{"from","to","count"}…20],"top":[{"value","count"}…10],
 * "min_length","max_length"}],"time_range":{"column","from","to"}?}. Columns marked personal show counts alone ("personal":
 * true). Members that are there when they mean something: "invalid" (cells that are no values of the declared type),
 * "distinct_error" (relative standard error; none: exact), "quantile_error" (standard error of a rank), "top_sampled":
 * true (top values are estimates; those that say little are left out) and "at_most": true of one whose count is an upper
 * bound. Dates and times are ISO 8601 text. Text has "min", "max" and lengths in place of quantiles and histogram; one
 * bin when all values are equal. "rows" less "nulls" is "count". */
json_t *stats_json(struct stats *s);
void stats_free(struct stats *s); /* accepts NULL */

#endif
