/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan.h -- `weir-agent --dry-run`: what a start would do. Prints to standard output, changes nothing.
 *
 * As JSON: {"interfaces":[{"name","would":"attach"|"join"|"adopt"|"detach"|"fail","mode","program","why"}],
 * "decap":[{"name","would":"take"|"fail","why"}],
 * "listen":{"would":"attach"|"adopt"|"detach"|"nothing","program"},"egress":{"maps":[NAME],"interfaces":[NAME]},
 * "maps":{"folder","bytes","kept","migrated","made","in_the_way","error","list":[{"name","of":"edge"|"listen","would":"keep"|"migrate"|"make"|"fail",
 * "entries","had_entries","value_bytes","had_value_bytes","bytes","why"}]},"limits":[{"name","used","limit"}],
 * "services":[{"name","addresses","slots","backends","balanced"}],"quic":{"keys","error"},"root":BOOL,"ok":BOOL}
 */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include <stdbool.h>

#include "lib/conf.h"

/* The exit code: 0, or 1 when the start would fail. */
int plan_print(const struct conf *conf, bool as_json);

#endif
