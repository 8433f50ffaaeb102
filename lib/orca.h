/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orca.h -- load reports in the form of the Open Request Cost Aggregation: the HTTP header
 * `endpoint-load-metrics: TEXT cpu_utilization=0.3, rps_fractional=12, named_metrics.inflight=4` or
 * `… : JSON {"cpu_utilization":0.3,"named_metrics":{"inflight":4}}`.
 *
 * Pure. Utilizations are fractions (1 is full; cpu may exceed 1). A value that is absent is NAN.
 */
#ifndef WEIR_ORCA_H
#define WEIR_ORCA_H

#include <stddef.h>

#define ORCA_NAMED_MAX 24
#define ORCA_TEXT_MAX  1536

struct orca_named {
	char name[40];
	double value;
};

struct orca_report {
	double cpu_utilization, mem_utilization, application_utilization;
	double rps_fractional, eps; /* requests and errors per second */
	struct orca_named named[ORCA_NAMED_MAX];
	size_t nnamed;
};

void orca_clear(struct orca_report *report);
/* value is the header's value with its format word. 0, or -EINVAL (report untouched). Unknown
 * fields are skipped. */
int orca_parse(struct orca_report *report, const char *value);
/* Named metric by name; NAN when absent. */
double orca_named_get(const struct orca_report *report, const char *name);
/* Overwrites or adds; ignored when full or value is not finite. */
void orca_named_set(struct orca_report *report, const char *name, double value);
/* The header's value in TEXT form, into buf of ORCA_TEXT_MAX. */
char *orca_format(const struct orca_report *report, char *buf);

#endif
