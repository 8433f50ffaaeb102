/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h -- the threads' counts as metrics and as members of `status`.
 */
#ifndef WEIR_DNS_REPORT_H
#define WEIR_DNS_REPORT_H

#include <jansson.h>

#include "dns/server.h"

struct report;

/* Registers the families; they are filled when the page is asked for. 0 or -errno. */
int report_new(struct report **out, struct metrics *metrics, const struct server *server);
void report_free(struct report *report); /* accepts NULL; before the server goes */
/* The histogram for server_start(). */
struct metric_series *report_latency(struct report *report);
/* Adds "queries" and "answers". */
void report_status(const struct report *report, json_t *answer);

#endif
