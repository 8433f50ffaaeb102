/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h -- what a file's columns hold, in one pass and bounded memory: inferred type, count, nulls, distinct
 * (HyperLogLog, Flajolet 2007 with the bias correction of Heule 2013), quantiles (KLL, Karnin-Lang-Liberty 2016, error under
 * 1% of rank), exact min, max, mean, standard deviation, top values (SpaceSaving, Metwally 2005), lengths of text.
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
 * "min_length","max_length"}],"time_range":{"column","from","to"}?}. Columns marked personal show counts alone. */
json_t *stats_json(struct stats *s);
void stats_free(struct stats *s); /* accepts NULL */

#endif
