/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h -- `weir-agent --dry-run`: what a start would do. Prints to standard output, changes nothing. */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include "lib/conf.h"

/* The exit code: 0, or 1 when the start would fail. */
int plan_print(const struct conf *conf);

#endif
