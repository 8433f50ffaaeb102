/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.h -- the parts of `weir dataset`.
 */
#ifndef WEIR_TOOLS_DATASET_H
#define WEIR_TOOLS_DATASET_H

#include <jansson.h>

#include "tools/cmd.h"

/* Checks a file by rules here, with the gateway's own checker (weir-gateway --check-file); nothing
 * is sent anywhere. Findings as a table, or one JSON text. Exit code: 0 the file would be accepted,
 * 1 it would not or could not be checked. */
int dataset_check_file(const char *rules, const char *file, bool as_json);

/* A file's manifest for people: what it is, its columns, what was made of it. */
void dataset_print_file(const json_t *manifest);

/* Findings (an array, as the checker and gateways give them) as a table; nothing when there are none. */
void dataset_print_findings(const json_t *findings);

#endif
